//! What is judged as it arrives, and that the night agrees.

use base::{ArtifactState, AutomaticAction, DnsResult, RefusalReason, Tier, Verdict};
use evidence::EventKind::{Close, Connected, Gap, Open};

use crate::live::{Live, LiveGround};
use crate::script::{Line, about, artifact, at, event, visit};
use crate::site::PastAct;
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

/// Days of one plugin, as lists of (second, target, how it ends).
fn day() -> impl proptest::strategy::Strategy<Value = Vec<(i64, u8, u8)>> {
    proptest::collection::vec((0_i64..400, 0_u8..3, 0_u8..3), 0..12)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever the day, the watch asks for the act if and only if the night would.
    #[test]
    fn the_night_agrees_with_the_watch(mut day in day()) {
        day.sort_unstable();
        let mut lines: Vec<Line> = Vec::new();
        for (number, (second, target, end)) in day.into_iter().enumerate() {
            let target = ["ok.example:443", "evil.example:443", "evil.example:22"][usize::from(target)];
            let id = number.to_string();
            match end {
                0 => lines.extend(visit(second, &id, "p", target)),
                1 => lines.push(about(Open, second, &id, "p", target).refused(RefusalReason::Tier)),
                _ => lines.push(about(Close, second, &id, "p", target).failed(DnsResult::NxDomain)),
            }
        }
        lines.sort_by_key(|line| line.0.time);
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
