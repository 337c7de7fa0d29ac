//! Boundaries: whatever runs out or comes in force within a day is judged at each moment by what was in
//! force then.

use base::{Backing, PolicyException, Reason, Severity, Timestamp, Verdict};
use evidence::EventKind::{Close, Open};

use crate::script::{about, at, run, visit};
use crate::stage::{NIGHT_S, Stage, manifest, was_in_force};
use crate::{Hypothesis, Reported, Would};

const NOON_S: i64 = NIGHT_S / 2;

/// A microsecond before noon.
fn just_before_noon() -> Timestamp {
    Timestamp::from_unix_us(at(NOON_S).unix_us() - 1)
}

/// One visit that is over in an instant.
fn at_once(stage: Stage, moment: Timestamp, id: &str, target: &str) -> Stage {
    let line = |kind| {
        let line = about(kind, 0, id, "p", target);
        line.with(|event| event.time = moment)
    };
    stage.line(line(Open)).line(line(Close).reached(1, 1))
}

/// A tunnel from one second to another.
fn tunnel(stage: Stage, from: i64, to: i64, target: &str) -> Stage {
    stage
        .line(about(Open, from, "tunnel", "p", target))
        .line(about(Close, to, "tunnel", "p", target).reached(1, 1))
}

/// Declares `ok.example` and, until noon, `late.example`.
fn expires_at_noon() -> Stage {
    Stage::new()
        .declares("p", &["ok.example", "late.example"])
        .change(|stage| stage.expire(0, 1, at(NOON_S)))
}

/// Declares `late.example` from noon on, when another manifest is admitted.
fn declared_from_noon() -> Stage {
    Stage::new()
        .declares("p", &["ok.example", "late.example"])
        .change(|stage| replaces(stage, manifest("p", &["ok.example"])))
}

/// Declares `late.example` until noon, when a narrower manifest is admitted.
fn narrower_from_noon() -> Stage {
    Stage::new()
        .declares("p", &["ok.example"])
        .change(|stage| replaces(stage, manifest("p", &["ok.example", "late.example"])))
}

fn replaces(stage: &mut Stage, earlier: manifests::Manifest) {
    stage.artifacts[0].earlier = vec![was_in_force(at(NOON_S), earlier, b"earlier")];
}

/// Lets `late.example` pass until noon.
fn let_pass_until_noon() -> Stage {
    Stage::new().declares("p", &["ok.example"]).change(|stage| {
        stage.policy.exceptions = vec![PolicyException {
            plugin_id: "p".parse().unwrap(),
            artifact_digest: None,
            reasons: [Reason::UndeclaredHost].into(),
            to: Some("late.example".to_owned()),
            why: "until 2.0 ships".to_owned(),
            signed_by: ["ada".to_owned(), "bob".to_owned()],
            until: at(NOON_S),
            backing: Backing::Signed,
        }];
    })
}

/// Connections that stand against the owner.
fn breaking(report: &Reported) -> u64 {
    let breaches = report
        .findings
        .iter()
        .filter(|finding| finding.reason == Reason::UndeclaredHost && finding.severity != Severity::Info);
    breaches.map(|finding| finding.connections).sum()
}

const LATE: &str = "late.example:443";

#[test]
fn of_two_visits_on_either_side_of_the_instant_one_is_a_breach_and_one_is_not() {
    for (name, stage, breaks_before) in [
        (
            "a declaration that expires",
            expires_at_noon as fn() -> Stage,
            false,
        ),
        ("a wider manifest", declared_from_noon, true),
        ("a narrower manifest", narrower_from_noon, false),
        ("an exception that ends", let_pass_until_noon, false),
    ] {
        let before = || at_once(stage(), just_before_noon(), "a", LATE);
        let after = |stage| at_once(stage, at(NOON_S), "b", LATE);
        let verdict = |breaks| match breaks {
            true => Verdict::NonConforming,
            false => Verdict::Conforming,
        };
        assert_eq!(before().verdict("p"), verdict(breaks_before), "{name}, before");
        assert_eq!(
            after(stage()).verdict("p"),
            verdict(!breaks_before),
            "{name}, after"
        );
        // In one run, to one destination: each by its own moment, in whatever order they are told.
        let both = after(before()).report("p", None);
        assert_eq!(breaking(&both), 1, "{name}: {:#?}", both.findings);
        let breach = both
            .findings
            .iter()
            .find(|finding| finding.severity != Severity::Info);
        let moment = if breaks_before {
            just_before_noon()
        } else {
            at(NOON_S)
        };
        assert_eq!(breach.unwrap().first, moment, "{name}");
        assert_eq!(breach.unwrap().last, moment, "{name}");
    }
}

#[test]
fn a_tunnel_across_the_instant_is_held_against_both_sides() {
    for (name, stage) in [
        ("a declaration that expires", expires_at_noon as fn() -> Stage),
        ("a wider manifest", declared_from_noon),
        ("a narrower manifest", narrower_from_noon),
        ("an exception that ends", let_pass_until_noon),
    ] {
        let report = tunnel(stage(), NOON_S - 5, NOON_S + 5, LATE).report("p", None);
        assert_eq!(report.verdict, Verdict::NonConforming, "{name}");
        assert_eq!(breaking(&report), 1, "{name}: once, not once for each side");
        assert_eq!(report.observed[0].matched, None, "{name}");
    }
    for stage in [expires_at_noon, declared_from_noon, narrower_from_noon] {
        let report = tunnel(stage(), NOON_S - 5, NOON_S + 5, "ok.example:443").report("p", None);
        assert_eq!(report.verdict, Verdict::Conforming);
        assert_eq!(report.observed[0].matched.as_deref(), Some("ok.example"));
    }
}

#[test]
fn many_visits_of_a_day_are_counted_on_the_right_side() {
    let day = |stage: Stage| {
        let visits = (0..24).flat_map(|hour| visit(hour * 3600, &hour.to_string(), "p", LATE));
        visits.fold(stage, Stage::line).report("p", None)
    };
    let report = day(expires_at_noon());
    assert_eq!(breaking(&report), 12);
    let row = &report.observed[0];
    assert_eq!((row.connections, row.runs, row.matched.as_deref()), (24, 1, None));
    let report = day(declared_from_noon());
    assert_eq!(breaking(&report), 12);
    assert_eq!(report.findings[0].runs, [run("p", 1)]);
    assert_eq!(report.findings[0].last, at(11 * 3600 + 1));
}

#[test]
fn only_what_breaks_on_its_own_side_corroborates() {
    // One before noon, when it was declared, and one after: one breach is not two.
    let one = || {
        let before = at_once(expires_at_noon(), at(100), "a", LATE);
        at_once(before, at(NOON_S), "b", LATE)
    };
    assert!(one().quarantined_by_night().is_empty());
    let two = at_once(one(), at(NOON_S + 1), "c", LATE);
    assert_eq!(two.quarantined_by_night(), ["p"]);
}

#[test]
fn a_name_inside_a_connection_is_judged_at_its_moment_too() {
    let inside = |stage: Stage, second: i64| {
        let lines = visit(second, "a", "p", "ok.example:443");
        lines
            .into_iter()
            .map(|line| line.sni("late.example"))
            .fold(stage, Stage::line)
            .verdict("p")
    };
    assert_eq!(inside(expires_at_noon(), NOON_S - 5), Verdict::Conforming);
    assert_eq!(inside(expires_at_noon(), NOON_S), Verdict::NonConforming);
    assert_eq!(inside(declared_from_noon(), NOON_S - 5), Verdict::NonConforming);
    assert_eq!(inside(declared_from_noon(), NOON_S), Verdict::Conforming);
}

#[test]
fn what_is_imagined_is_held_against_each_moment_as_well() {
    let night = at_once(
        at_once(expires_at_noon(), at(100), "a", LATE),
        at(NOON_S),
        "b",
        LATE,
    );
    let mut hypothetical = night.night();
    // A draft that declares it all day mends what broke after noon, and nothing before.
    hypothetical.what_if = Hypothesis {
        manifest: Some(manifest("p", &["ok.example", "late.example"])),
        ..Hypothesis::default()
    };
    let outcome = hypothetical.run(&night).unwrap();
    let changes: Vec<_> = outcome
        .changes
        .iter()
        .map(|change| (change.would, change.connections, change.first))
        .collect();
    assert_eq!(changes, [(Would::NoBreach, 1, at(NOON_S))]);
}
