//! What is judged as it arrives, and that the night agrees.

use base::{ArtifactState, AutomaticAction, DnsResult, Reason, RefusalReason, Tier, Verdict};
use evidence::EventKind::{Close, Connected, Gap, Open};
use manifests::Limits;

use crate::live::{Live, LiveGround};
use crate::script::{Line, about, artifact, at, event, visit};
use crate::site::{Component, PastAct};
use crate::stage::Stage;
use crate::{ActResult, Measure, Proposal, Restraint};

/// A stage whose medium tier is judged live: two connections within a minute.
fn stage() -> Stage {
    Stage::new().declares("p", &["ok.example"]).change(|stage| {
        let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
        let clause = medium.on_breach.as_mut().unwrap();
        (clause.live, clause.within_s) = (true, Some(60));
    })
}

fn watch(stage: &Stage, lines: &[Line]) -> Vec<(i64, Proposal)> {
    let ground = LiveGround::new(&stage.policy, &stage.artifacts, &stage.runs).unwrap();
    let mut live = Live::new(at(0));
    let mut proposals = Vec::new();
    for (index, line) in (0..).zip(lines) {
        let now = line.0.time;
        let asked = live.handle_entry(&ground, 0, index, &line.0, now);
        proposals.extend(asked.map(|proposal| ((now.unix_us() - at(0).unix_us()) / 1_000_000, proposal)));
    }
    proposals
}

/// A tunnel to `target` that stands from `second` on.
fn tunnel(second: i64, id: &str, target: &str) -> [Line; 2] {
    let connected = about(Connected, second + 1, id, "p", target).reached(0, 0);
    [about(Open, second, id, "p", target), connected]
}

#[test]
fn a_clause_is_met_while_the_tunnels_are_still_open() {
    let lines = [
        tunnel(10, "a", "evil.example:443"),
        tunnel(20, "b", "evil.example:443"),
    ]
    .concat();
    let asked = watch(&stage(), &lines);
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].0, asked[0].1.measure), (21, Measure::Quarantine));
    assert_eq!(asked[0].1.clause, "tiers.medium.on_breach");
}

#[test]
fn what_is_declared_what_fails_to_resolve_and_what_is_too_far_apart_asks_for_nothing() {
    let declared = [
        tunnel(10, "a", "ok.example:443"),
        tunnel(20, "b", "ok.example:443"),
    ]
    .concat();
    assert_eq!(watch(&stage(), &declared), []);
    let apart = [
        tunnel(10, "a", "evil.example:443"),
        tunnel(80, "b", "evil.example:443"),
    ]
    .concat();
    assert_eq!(watch(&stage(), &apart), []);
    let lookups: Vec<Line> = (0..9)
        .map(|n| about(Close, n, &n.to_string(), "p", "typo.example:443").failed(DnsResult::NxDomain))
        .collect();
    assert_eq!(watch(&stage(), &lookups), []);
}

#[test]
fn one_connection_counts_once_however_many_events_it_has() {
    let mut lines = tunnel(10, "a", "evil.example:443").to_vec();
    lines.push(about(Close, 30, "a", "p", "evil.example:443").reached(1, 1));
    assert_eq!(watch(&stage(), &lines), []);
}

#[test]
fn nothing_is_done_on_evidence_with_a_gap() {
    let mut lines = vec![event(Gap, 1)];
    lines.extend(
        [
            tunnel(10, "a", "evil.example:443"),
            tunnel(20, "b", "evil.example:443"),
        ]
        .concat(),
    );
    assert_eq!(watch(&stage(), &lines), []);
}

#[test]
fn an_owner_who_won_an_appeal_is_left_alone_live_until_the_protection_ends() {
    let lines = [
        tunnel(10, "a", "evil.example:443"),
        tunnel(20, "b", "evil.example:443"),
        tunnel(30, "c", "evil.example:443"),
    ]
    .concat();
    let protected = |until| {
        let stage = stage().change(|stage| stage.artifacts[0].protected_until = Some(at(until)));
        asked_at(&stage, &lines)
    };
    assert_eq!(protected(60), NEVER);
    assert_eq!(protected(31), [31]);
    assert_eq!(protected(21), [21]);
}

#[test]
fn an_artifact_that_is_stopped_is_left_alone() {
    let stage = stage().change(|stage| stage.artifacts[0].state = ArtifactState::Quarantined);
    let lines = [
        tunnel(10, "a", "evil.example:443"),
        tunnel(20, "b", "evil.example:443"),
    ]
    .concat();
    assert_eq!(watch(&stage, &lines), []);
}

#[test]
fn what_could_not_be_done_is_asked_for_again() {
    let stage = stage();
    let ground = LiveGround::new(&stage.policy, &stage.artifacts, &stage.runs).unwrap();
    let mut live = Live::new(at(0));
    let lines = [
        tunnel(10, "a", "evil.example:443"),
        tunnel(20, "b", "evil.example:443"),
        tunnel(30, "c", "evil.example:443"),
        tunnel(40, "d", "evil.example:443"),
    ]
    .concat();
    let mut asked = Vec::new();
    for (index, line) in (0..).zip(&lines) {
        if let Some(proposal) = live.handle_entry(&ground, 0, index, &line.0, line.0.time) {
            if asked.is_empty() {
                live.take_back(&proposal);
            }
            asked.push(proposal);
        }
    }
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1]);
}

/// What a policy counts beside destinations: limits, libraries, classes of data.
fn of_every_kind(stage: Stage) -> Stage {
    stage.change(|stage| {
        let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
        let clause = medium.on_breach.as_mut().unwrap();
        clause
            .reasons
            .extend([Reason::SdkDrift, Reason::LimitExceeded, Reason::DataClassBreach]);
    })
}

fn drifting(mut stage: Stage) -> Stage {
    stage.artifacts[0].manifest.sdk_allowlist = vec!["openai>=2.0".parse().unwrap()];
    stage.artifacts[0].components = vec![Component {
        name: "openai".to_owned(),
        version: "1.0".to_owned(),
    }];
    stage
}

fn of_another_class(mut stage: Stage) -> Stage {
    stage.runs[0].data_class = Some("secret".parse().unwrap());
    stage
}

fn limited(mut stage: Stage, limits: Limits) -> Stage {
    stage.artifacts[0].manifest.limits = Some(limits);
    stage
}

fn a_minute(connections: u64) -> Limits {
    Limits {
        connections_per_minute: Some(connections),
        ..Limits::default()
    }
}

fn bytes(bytes: u64) -> Limits {
    Limits {
        bytes_per_run: Some(format!("{bytes}B").parse().unwrap()),
        ..Limits::default()
    }
}

const NEVER: [i64; 0] = [];

/// Seconds at which something was asked for, watched live.
fn asked_at(stage: &Stage, lines: &[Line]) -> Vec<i64> {
    let asked = watch(stage, lines);
    assert!(
        asked
            .iter()
            .all(|(_, asked)| asked.measure == Measure::Quarantine)
    );
    asked.iter().map(|(second, _)| *second).collect()
}

#[test]
fn drift_a_class_of_data_and_limits_stop_a_build_live() {
    let visits: Vec<Line> = (0..4)
        .flat_map(|n| visit(10 * n, &n.to_string(), "p", "ok.example:443"))
        .collect();
    let plain = of_every_kind(stage());
    assert_eq!(asked_at(&plain, &visits), NEVER);
    // Known as soon as the second connection ended.
    assert_eq!(asked_at(&drifting(of_every_kind(stage())), &visits), [11]);
    assert_eq!(asked_at(&of_another_class(of_every_kind(stage())), &visits), [11]);
    // The third and the fourth are beyond two a minute.
    assert_eq!(
        asked_at(&limited(of_every_kind(stage()), a_minute(2)), &visits),
        [31]
    );
    // 300 bytes each: beyond 599 from the second on.
    assert_eq!(
        asked_at(&limited(of_every_kind(stage()), bytes(599)), &visits),
        [21]
    );
    // A clause that does not name them does nothing about them.
    let unnamed = limited(drifting(of_another_class(stage())), a_minute(1));
    assert_eq!(asked_at(&unnamed, &visits), NEVER);
}

#[test]
fn what_is_learnt_later_of_one_connection_does_not_make_it_two() {
    // Undeclared when it is connected, and beyond the bytes when it ends.
    let lines = [
        about(Open, 1, "a", "p", "evil.example:443"),
        about(Connected, 2, "a", "p", "evil.example:443").reached(0, 0),
        about(Close, 3, "a", "p", "evil.example:443").reached(500, 500),
    ];
    let stage = limited(of_every_kind(stage()), bytes(100));
    assert_eq!(asked_at(&stage, &lines), NEVER);
    // A clause that counts the bytes alone learns of it then.
    let by_bytes = stage.change(|stage| {
        let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
        let clause = medium.on_breach.as_mut().unwrap();
        clause.reasons = [Reason::LimitExceeded].into();
        clause.min_connections = 1;
    });
    assert_eq!(asked_at(&by_bytes, &lines), [3]);
}

#[test]
fn a_tunnel_that_stood_when_the_watch_began_adds_no_bytes_to_it() {
    let lines = [about(Close, 3, "a", "p", "ok.example:443").reached(500, 500)];
    let stage = limited(of_every_kind(stage()), bytes(100)).change(|stage| {
        let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
        medium.on_breach.as_mut().unwrap().min_connections = 1;
    });
    assert_eq!(asked_at(&stage, &lines), NEVER);
}

#[test]
fn what_runs_out_during_the_day_counts_live_from_its_very_instant() {
    let stage = stage().change(|stage| {
        stage.expire(0, 0, at(100));
    });
    let visits: Vec<Line> = [80, 90, 100, 110]
        .into_iter()
        .flat_map(|second| tunnel(second, &second.to_string(), "ok.example:443"))
        .collect();
    assert_eq!(asked_at(&stage, &visits), [111]);
}

/// Days of one plugin, as lists of (second, target, how it ends).
fn day() -> impl proptest::strategy::Strategy<Value = Vec<(i64, u8, u8)>> {
    proptest::collection::vec((0_i64..400, 0_u8..3, 0_u8..3), 0..12)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    /// Whatever the day, the watch asks for the act if and only if the night would.
    #[test]
    fn the_night_agrees_with_the_watch(mut day in day(), kind in 0_usize..5) {
        day.sort_unstable();
        let mut lines: Vec<Line> = Vec::new();
        for (number, (second, target, end)) in day.into_iter().enumerate() {
            let target = ["ok.example:443", "evil.example:443", "evil.example:22"][usize::from(target)];
            let id = number.to_string();
            match end {
                0 => lines.extend(visit(second, &id, "p", target)),
                1 => lines.push(about(Open, second, &id, "p", target).refused(RefusalReason::Tier)),
                _ => lines.extend([
                    about(Open, second, &id, "p", target),
                    about(Close, second, &id, "p", target).failed(DnsResult::NxDomain),
                ]),
            }
        }
        lines.sort_by_key(|line| line.0.time);
        let kinds: [fn(Stage) -> Stage; 5] = [
            |stage| stage,
            |stage| limited(stage, a_minute(2)),
            |stage| limited(stage, bytes(700)),
            |stage| drifting(of_another_class(stage)),
            |stage| stage.change(|stage| {
                stage.expire(0, 0, at(200));
            }),
        ];
        let stage = || kinds[kind](of_every_kind(stage()));
        let asked = watch(&stage(), &lines);
        let night = lines.iter().cloned().fold(stage(), Stage::line);
        let acts = night.audit().acts;
        let stops = acts.iter().any(|act| act.proposal.measure == Measure::Quarantine);
        proptest::prop_assert_eq!(asked.len() == 1, stops);
    }
}

#[test]
fn an_act_made_live_is_cited_by_the_night_and_not_repeated() {
    let act = PastAct {
        at: at(21),
        action: AutomaticAction::Quarantine,
        clause: "tiers.medium.on_breach".to_owned(),
        enabled_by: "ops".to_owned(),
        crl_number: Some(7),
    };
    let night = stage()
        .observes("p", "evil.example:443")
        .observes("p", "evil.example:443")
        .change(|stage| {
            stage.artifacts[0].state = ArtifactState::Quarantined;
            stage.artifacts[0].acts = vec![act];
        });
    let outcome = night.audit();
    assert_eq!(outcome.acts.len(), 1);
    let done = ActResult::DoneBefore {
        at: at(21),
        crl_number: Some(7),
    };
    assert_eq!(outcome.acts[0].result, done);
    assert!(night.quarantined.borrow().is_empty());
    let published = night.published.borrow();
    let report = &published[0].report;
    assert_eq!(report.verdict, Verdict::NonConforming);
    let taken = &report.actions[0];
    assert_eq!((taken.crl_number, taken.at), (Some(7), Some(at(21))));
    assert_eq!(
        (taken.clause.as_str(), taken.enabled_by.as_str()),
        ("tiers.medium.on_breach", "ops")
    );
    assert_eq!(report.artifact_digest, artifact("p"));
}

#[test]
fn an_act_that_this_periods_evidence_does_not_bear_out_is_another_nights_to_cite() {
    let act = PastAct {
        at: at(5),
        action: AutomaticAction::Quarantine,
        clause: "tiers.medium.on_breach".to_owned(),
        enabled_by: "ops".to_owned(),
        crl_number: Some(7),
    };
    let night = stage().observes("p", "ok.example:443").change(|stage| {
        stage.artifacts[0].state = ArtifactState::Quarantined;
        stage.artifacts[0].acts = vec![act];
    });
    assert_eq!(night.audit().acts, []);
    assert_eq!(night.verdict("p"), Verdict::Conforming);
}

#[test]
fn a_window_of_the_night_is_the_window_of_the_clause() {
    let night = |seconds: [i64; 2]| {
        let lines = seconds
            .iter()
            .enumerate()
            .flat_map(|(n, &second)| visit(second, &n.to_string(), "p", "evil.example:443"));
        lines.fold(stage(), Stage::line).audit().acts[0].proposal.measure
    };
    assert_eq!(night([0, 60]), Measure::Quarantine);
    assert_eq!(night([0, 61]), Measure::Alert(Restraint::NotCorroborated));
}

#[test]
fn what_a_person_lifted_is_not_done_again_on_the_same_evidence() {
    let act = PastAct {
        at: at(21),
        action: AutomaticAction::Quarantine,
        clause: "tiers.medium.on_breach".to_owned(),
        enabled_by: "ops".to_owned(),
        crl_number: Some(7),
    };
    let reinstated = stage().change(|stage| {
        stage.artifacts[0].state = ArtifactState::Reinstated;
        stage.artifacts[0].acts = vec![act];
    });
    let lines = [
        tunnel(10, "a", "evil.example:443"),
        tunnel(20, "b", "evil.example:443"),
    ]
    .concat();
    assert_eq!(watch(&reinstated, &lines), []);
    let night = lines.into_iter().fold(reinstated, Stage::line);
    let acts = night.audit().acts;
    assert_eq!(acts.len(), 1);
    assert!(matches!(acts[0].result, ActResult::DoneBefore { .. }));
    assert!(night.quarantined.borrow().is_empty());
}
