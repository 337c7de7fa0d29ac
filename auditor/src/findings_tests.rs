//! Findings beside the destination: classes of data, libraries, limits, exceptions, and whose manifest
//! counts.

use base::{AutomaticAction, PolicyException, Reason, RefusalReason, Severity, Tier, Verdict};
use evidence::EventKind::Open;
use manifests::{Limits, Manifest};

use crate::script::{about, at, run, visit};
use crate::site::{Component, EarlierManifest};
use crate::stage::{NIGHT_S, Stage, manifest};
use crate::{Hypothesis, Measure, Reported, Restraint, Would};

fn reasons(report: &Reported) -> Vec<(Reason, Severity)> {
    let findings = report.findings.iter();
    findings
        .map(|finding| (finding.reason, finding.severity))
        .collect()
}

fn handles(mut stage: Stage, class: &str) -> Stage {
    stage.runs[0].data_class = Some(class.parse().unwrap());
    stage
}

#[test]
fn a_run_of_another_class_than_the_destination_is_declared_for_is_a_breach() {
    let night = || {
        Stage::new()
            .declares("p", &["ok.example"])
            .observes("p", "ok.example:443")
    };
    assert_eq!(night().verdict("p"), Verdict::Conforming);
    assert_eq!(handles(night(), "official").verdict("p"), Verdict::Conforming);
    let report = handles(night(), "secret").report("p", None);
    assert_eq!(report.verdict, Verdict::NonConforming);
    let finding = &report.findings[0];
    assert_eq!(
        (finding.reason, finding.severity),
        (Reason::DataClassBreach, Severity::High)
    );
    assert_eq!(finding.nearest_declared.as_deref(), Some("ok.example"));
    assert!(
        finding
            .fix
            .contains("declared for official and the run handled secret"),
        "{}",
        finding.fix
    );
}

#[test]
fn a_declaration_of_its_own_classes_outweighs_the_manifests() {
    let night =
        handles(Stage::new().declares("p", &["ok.example"]), "secret").observes("p", "ok.example:443");
    let night = night.change(|stage| {
        let declaration = &mut stage.artifacts[0].manifest.allowed_egress[0];
        declaration.data_classes = Some(vec!["secret".parse().unwrap()]);
    });
    assert_eq!(night.verdict("p"), Verdict::Conforming);
}

#[test]
fn a_library_outside_its_declared_range_is_drift_and_never_stops_anything_by_itself() {
    let night = |version: &str| {
        let component = Component {
            name: "OpenAI".to_owned(),
            version: version.to_owned(),
        };
        Stage::new()
            .declares("p", &["ok.example"])
            .observes("p", "ok.example:443")
            .change(move |stage| {
                stage.artifacts[0].manifest.sdk_allowlist = vec!["openai>=2.0,<3.0".parse().unwrap()];
                stage.artifacts[0].components = vec![component];
                let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
                medium
                    .on_breach
                    .as_mut()
                    .unwrap()
                    .reasons
                    .insert(Reason::SdkDrift);
            })
    };
    assert_eq!(night("2.9.1").verdict("p"), Verdict::Conforming);
    for outside in ["3.0", "1.99", "not a version"] {
        let stage = night(outside);
        let report = stage.report("p", None);
        assert_eq!(
            reasons(&report),
            [(Reason::SdkDrift, Severity::Medium)],
            "{outside}"
        );
        assert!(
            report.findings[0].fix.contains("openai"),
            "{}",
            report.findings[0].fix
        );
        let measure = stage.audit().acts[0].proposal.measure;
        assert_eq!(measure, Measure::Alert(Restraint::NotCorroborated));
    }
}

fn limited(limits: Limits) -> impl FnOnce(&mut Stage) {
    move |stage| stage.artifacts[0].manifest.limits = Some(limits)
}

#[test]
fn more_connections_in_a_minute_than_declared_exceed_a_limit() {
    let night = |count: i64, apart: i64| {
        let visits =
            (0..count).flat_map(move |n| visit(100 + n * apart, &n.to_string(), "p", "ok.example:443"));
        let limits = Limits {
            connections_per_minute: Some(5),
            ..Limits::default()
        };
        let stage = Stage::new()
            .declares("p", &["ok.example"])
            .change(limited(limits));
        visits.fold(stage, Stage::line)
    };
    assert_eq!(night(5, 1).verdict("p"), Verdict::Conforming);
    assert_eq!(night(20, 15).verdict("p"), Verdict::Conforming);
    let report = night(6, 1).report("p", None);
    assert_eq!(reasons(&report), [(Reason::LimitExceeded, Severity::Medium)]);
    let finding = &report.findings[0];
    assert_eq!((finding.connections, finding.runs.len()), (6, 1));
    assert!(
        finding
            .fix
            .starts_with("6 connections within a minute where 5 are declared")
    );
    assert!(!finding.events.is_empty());
}

#[test]
fn more_bytes_or_a_longer_run_than_declared_exceed_a_limit() {
    let night = |limits: Limits| {
        Stage::new()
            .declares("p", &["ok.example"])
            .observes("p", "ok.example:443")
            .change(limited(limits))
    };
    let bytes = |text: &str| Limits {
        bytes_per_run: Some(text.parse().unwrap()),
        ..Limits::default()
    };
    // 100 bytes out and 200 in.
    assert_eq!(night(bytes("1KiB")).verdict("p"), Verdict::Conforming);
    assert_eq!(night(bytes("200B")).verdict("p"), Verdict::NonConforming);
    let wall_time = |text: &str| Limits {
        wall_time: Manifest::draft_from_value(&serde_json::json!({
            "plugin_id": "p", "allowed_egress": [], "data_classes": [], "sdk_allowlist": [], "built_by": "ci",
            "built_at": "2026-11-01T00:00:00Z", "limits": {"wall_time": text},
        }))
        .unwrap()
        .limits
        .unwrap()
        .wall_time,
        ..Limits::default()
    };
    assert_eq!(night(wall_time("25h")).verdict("p"), Verdict::Conforming);
    let long = night(wall_time("1h")).report("p", None);
    assert_eq!(reasons(&long), [(Reason::LimitExceeded, Severity::Medium)]);
}

fn exception(until: i64, to: Option<&str>) -> PolicyException {
    PolicyException {
        plugin_id: "p".parse().unwrap(),
        artifact_digest: None,
        reasons: [Reason::UndeclaredHost].into(),
        to: to.map(str::to_owned),
        why: "until 2.0 ships".to_owned(),
        signed_by: ["ada".to_owned(), "bob".to_owned()],
        until: at(until),
    }
}

fn excepted(exception: PolicyException) -> Stage {
    Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "evil.example:443")
        .observes("p", "evil.example:443")
        .change(|stage| stage.policy.exceptions = vec![exception])
}

#[test]
fn an_exception_lets_pass_and_still_shows_what_it_let_pass() {
    let night = excepted(exception(2 * NIGHT_S, Some("evil.example")));
    let outcome = night.audit();
    assert_eq!(outcome.acts, []);
    let report = &outcome.reports[0];
    assert_eq!(report.verdict, Verdict::Conforming);
    assert_eq!(reasons(report), [(Reason::UndeclaredHost, Severity::Info)]);
    assert!(
        report.findings[0].fix.contains("by ada and bob: until 2.0 ships"),
        "{}",
        report.findings[0].fix
    );
}

#[test]
fn an_exception_for_another_place_or_past_its_time_lets_nothing_pass() {
    let elsewhere = excepted(exception(2 * NIGHT_S, Some("other.example")));
    assert_eq!(elsewhere.verdict("p"), Verdict::NonConforming);

    let lapsed = excepted(exception(1, None));
    let outcome = lapsed.audit();
    let report = &outcome.reports[0];
    assert_eq!(report.verdict, Verdict::NonConforming);
    let found: Vec<Reason> = report.findings.iter().map(|finding| finding.reason).collect();
    assert_eq!(found, [Reason::UndeclaredHost, Reason::PolicyExpired]);
    assert_eq!(outcome.acts[0].proposal.measure, Measure::Quarantine);
}

#[test]
fn an_exception_that_ran_out_is_a_finding_that_stands_against_nobody() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "ok.example:443")
        .change(|stage| stage.policy.exceptions = vec![exception(-1, None)]);
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::Conforming);
    assert_eq!(reasons(&report), [(Reason::PolicyExpired, Severity::Low)]);
}

#[test]
fn a_wider_manifest_signed_in_the_afternoon_excuses_nothing_of_the_morning() {
    let wider = |until: i64| {
        Stage::new()
            .declares("p", &["ok.example", "evil.example"])
            .observes("p", "evil.example:443")
            .change(move |stage| {
                stage.artifacts[0].earlier = vec![EarlierManifest {
                    until: at(until),
                    manifest: manifest("p", &["ok.example"]),
                    payload: base::Sha256Digest::of(b"earlier"),
                }];
            })
    };
    // The run was registered a minute before the period.
    assert_eq!(wider(50_000).verdict("p"), Verdict::NonConforming);
    assert_eq!(wider(-61).verdict("p"), Verdict::Conforming);
    let night = wider(50_000);
    night.audit();
    let published = night.published.borrow();
    let of_run = published
        .iter()
        .find(|p| p.report.run_id == Some(run("p", 1)))
        .unwrap();
    assert_eq!(
        of_run.report.manifest.digest.sha256,
        base::Sha256Digest::of(b"earlier")
    );
}

#[test]
fn attempts_after_revocation_are_worth_knowing_and_no_breach() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .line(about(Open, 5, "a", "p", "ok.example:443").refused(RefusalReason::Quarantined));
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::Conforming);
    assert_eq!(reasons(&report), [(Reason::AfterRevocation, Severity::Info)]);
    assert_eq!(report.findings[0].refused, 1);
}

#[test]
fn watch_is_asked_for_once_and_stops_nothing() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "evil.example:443")
        .observes("p", "evil.example:443")
        .change(|stage| {
            let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
            medium.on_breach.as_mut().unwrap().action = AutomaticAction::Watch;
        });
    night.audit();
    assert_eq!(
        (night.watched.borrow().len(), night.quarantined.borrow().len()),
        (1, 0)
    );
    let action = night.published.borrow()[0].report.actions[0].action;
    assert_eq!(action, reports::predicate::ActionKind::Watch);
}

fn what_if(stage: &Stage, what_if: Hypothesis) -> Vec<(Would, String, u64)> {
    let mut night = stage.night();
    night.what_if = what_if;
    let outcome = night.run(stage).unwrap();
    assert!(outcome.dry_run && stage.published.borrow().is_empty());
    let changes = outcome.changes.into_iter();
    changes
        .map(|change| (change.would, change.target.to_string(), change.connections))
        .collect()
}

fn two_places() -> Stage {
    Stage::new()
        .declares("p", &["ok.example", "also.example"])
        .observes("p", "ok.example:443")
        .observes("p", "also.example:443")
        .observes("p", "evil.example:443")
}

#[test]
fn a_narrower_draft_shows_which_connections_would_break() {
    let draft = Hypothesis {
        manifest: Some(manifest("p", &["ok.example", "evil.example"])),
        ..Hypothesis::default()
    };
    let expected = [
        (Would::Breach, "also.example:443".to_owned(), 1),
        (Would::NoBreach, "evil.example:443".to_owned(), 1),
    ];
    assert_eq!(what_if(&two_places(), draft), expected);
}

#[test]
fn the_low_tier_would_have_refused_what_its_list_does_not_hold() {
    let stage = two_places().change(|stage| {
        stage.policy.tiers.get_mut(&Tier::Low).unwrap().allow = vec!["ok.example".to_owned()];
    });
    let low = Hypothesis {
        tier: Some(Tier::Low),
        ..Hypothesis::default()
    };
    let expected = [
        (Would::Denied, "also.example:443".to_owned(), 1),
        (Would::Denied, "evil.example:443".to_owned(), 1),
    ];
    assert_eq!(what_if(&stage, low), expected);
}

#[test]
fn a_draft_policy_shows_what_it_would_do() {
    let stage = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "evil.example:443")
        .observes("p", "evil.example:443");
    let mut policy = stage.policy.clone();
    let medium = policy.tiers.get_mut(&Tier::Medium).unwrap();
    medium.on_breach.as_mut().unwrap().action = AutomaticAction::Alert;
    let mut night = stage.night();
    night.what_if.policy = Some(policy);
    let outcome = night.run(&stage).unwrap();
    assert_eq!(
        outcome.acts[0].proposal.measure,
        Measure::Alert(Restraint::Clause)
    );
    assert!(stage.quarantined.borrow().is_empty());
}

#[test]
fn a_report_says_in_how_many_runs_a_host_was_seen_and_what_was_open_at_midnight() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .runs("p", 2)
        .observes("p", "ok.example:443")
        .line(about(Open, 50, "t", "p", "ok.example:443").of("p", 2));
    let rows = night.report("p", None).observed;
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.scheme.is_some(), row.runs, row.alive_at_end))
        .collect();
    assert_eq!(seen, [(false, 1, 1), (true, 1, 0)]);
    let run_rows = night.report("p", Some(run("p", 1))).observed;
    assert_eq!(run_rows[0].runs, 0);
}
