//! Approvals that ran out: the load gate asks for one when a build is loaded, and the night asks whether
//! it still stood when the build connected.

use base::{BreachClause, PolicyException, Reason, Severity, Tier, Verdict};
use evidence::EventKind::{Close, Open};

use crate::clause::{Measure, Restraint};
use crate::script::{about, at, run};
use crate::stage::{Stage, manifest, was_in_force};
use crate::{NightOutcome, Reported};

/// A build that connects ten and twenty seconds into the day, approved until fifteen seconds into it.
fn lapses() -> Stage {
    Stage::new()
        .declares("p", &["*.ok.example"])
        .observes("p", "api.ok.example:443")
        .observes("p", "api.ok.example:443")
        .change(|stage| stage.artifacts[0].approved_until = Some(at(15)))
}

/// The site asks for approvals, and a clause counts those that ran out.
fn asked(stage: &mut Stage) {
    let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
    medium.approval_required = true;
    medium.on_breach = Some(BreachClause {
        reasons: [Reason::PolicyExpired].into(),
        min_connections: 1,
        ..medium.on_breach.clone().unwrap()
    });
}

fn reasons(report: &Reported) -> Vec<(Reason, Severity, u64)> {
    let findings = report.findings.iter();
    findings
        .map(|finding| (finding.reason, finding.severity, finding.connections))
        .collect()
}

fn measures(outcome: &NightOutcome) -> Vec<Measure> {
    outcome.acts.iter().map(|act| act.proposal.measure).collect()
}

#[test]
fn connections_after_the_approval_ran_out_stand_against_a_build_where_the_site_asks_for_approvals() {
    let outcome = lapses().change(asked).audit();
    let report = &outcome.reports[0];
    assert_eq!(report.verdict, Verdict::NonConforming);
    assert_eq!(reasons(report), [(Reason::PolicyExpired, Severity::Medium, 1)]);
    let finding = &report.findings[0];
    assert_eq!((finding.first, finding.last), (at(20), at(21)));
    assert_eq!(finding.nearest_declared.as_deref(), Some("*.ok.example"));
    assert_eq!(finding.runs, [run("p", 1)]);
    assert!(!finding.events.is_empty());
    let said = format!("the approval of this build ran out at {}", at(15));
    assert!(
        finding.fix.starts_with(&said) && !finding.fix.contains('\n'),
        "{}",
        finding.fix
    );
    assert_eq!(measures(&outcome), [Measure::Quarantine]);
}

#[test]
fn where_nobody_asks_for_approvals_it_is_worth_knowing_and_counts_for_nothing() {
    let clause = |stage: &mut Stage| {
        asked(stage);
        stage
            .policy
            .tiers
            .get_mut(&Tier::Medium)
            .unwrap()
            .approval_required = false;
    };
    let outcome = lapses().change(clause).audit();
    let report = &outcome.reports[0];
    assert_eq!(report.verdict, Verdict::Conforming);
    assert_eq!(reasons(report), [(Reason::PolicyExpired, Severity::Info, 1)]);
    assert_eq!(measures(&outcome), []);
}

#[test]
fn an_approval_that_was_renewed_in_time_leaves_nothing_to_say() {
    let renewed = |renewed_at: i64| {
        lapses().change(asked).change(move |stage| {
            let mut before = was_in_force(at(renewed_at), manifest("p", &["*.ok.example"]), b"");
            before.payload = stage.artifacts[0].manifest_payload;
            before.approved_until = stage.artifacts[0].approved_until.replace(at(90_000));
            stage.artifacts[0].earlier = vec![before];
        })
    };
    let in_time = renewed(14).report("p", None);
    assert_eq!(
        (in_time.verdict, reasons(&in_time)),
        (Verdict::Conforming, Vec::new())
    );
    // At the very moment, and a while too late.
    assert_eq!(reasons(&renewed(15).report("p", None)), []);
    let late = renewed(21).report("p", None);
    assert_eq!(reasons(&late), [(Reason::PolicyExpired, Severity::Medium, 1)]);
    // It is one manifest all the time, approved twice.
    let stage = renewed(14);
    stage.audit();
    assert!(
        stage
            .published
            .borrow()
            .iter()
            .all(|p| p.report.manifests.is_empty())
    );
}

#[test]
fn a_tunnel_that_was_asked_for_in_time_may_outlast_its_approval() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .line(about(Open, 10, "a", "p", "ok.example:443"))
        .line(about(Close, 30, "a", "p", "ok.example:443").reached(1, 1))
        .change(|stage| stage.artifacts[0].approved_until = Some(at(15)))
        .change(asked);
    assert_eq!(reasons(&night.report("p", None)), []);
    let later = night.change(|stage| stage.artifacts[0].approved_until = Some(at(10)));
    assert_eq!(reasons(&later.report("p", None)).len(), 1);
}

#[test]
fn a_run_that_began_without_an_approval_shows_even_where_it_connects_nowhere() {
    let night = Stage::new().declares("p", &[]).change(|stage| {
        stage.artifacts[0].approved_until = Some(at(50));
        stage.runs[0].started = at(100);
        stage.runs[0].ended = Some(at(200));
    });
    for which in [None, Some(run("p", 1))] {
        let report = night.report("p", which);
        assert_eq!(reasons(&report), [(Reason::PolicyExpired, Severity::Low, 0)]);
        assert_eq!(report.findings[0].runs, [run("p", 1)]);
        assert!(report.findings[0].fix.contains("and it was run after that"));
    }
    let before = night.change(|stage| stage.artifacts[0].approved_until = Some(at(101)));
    assert_eq!(reasons(&before.report("p", None)), []);
}

#[test]
fn two_people_may_let_a_build_run_on_without_its_approval() {
    let night = lapses().change(asked).change(|stage| {
        stage.policy.exceptions = vec![PolicyException {
            plugin_id: "p".parse().unwrap(),
            artifact_digest: None,
            reasons: [Reason::PolicyExpired].into(),
            to: None,
            why: "the certifier is away".to_owned(),
            signed_by: ["ada".to_owned(), "bob".to_owned()],
            until: at(90_000),
            backing: base::Backing::Signed,
        }];
    });
    let outcome = night.audit();
    assert_eq!(
        reasons(&outcome.reports[0]),
        [(Reason::PolicyExpired, Severity::Info, 1)]
    );
    assert_eq!(measures(&outcome), []);
}

#[test]
fn the_high_tier_is_told_and_a_person_decides() {
    let high = |stage: &mut Stage| {
        stage.artifacts[0].tier = Tier::High;
        let clause = BreachClause {
            reasons: [Reason::PolicyExpired].into(),
            ..BreachClause::initial(base::AutomaticAction::Quarantine, "ops")
        };
        let tier = stage.policy.tiers.get_mut(&Tier::High).unwrap();
        (tier.approval_required, tier.on_breach) = (true, Some(clause));
    };
    let acts = measures(&lapses().change(high).audit());
    assert!(
        matches!(
            acts.as_slice(),
            [Measure::Alert(Restraint::HighTier | Restraint::NotCorroborated)]
        ),
        "{acts:?}"
    );
}
