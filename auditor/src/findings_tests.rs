//! Findings beside the destination: classes of data, libraries, limits, exceptions, and whose manifest
//! counts.

use base::{AutomaticAction, Backing, PolicyException, Reason, RefusalReason, Severity, Tier, Verdict};
use evidence::EventKind::Open;
use manifests::{Limits, Manifest};

use crate::script::{about, at, run, visit};
use crate::site::Component;
use crate::stage::{NIGHT_S, Stage, manifest, was_in_force};
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
        let declared = &mut stage.artifacts[0].manifest.allowed_egress;
        declared.change(|list| list[0].data_classes = Some(vec!["secret".parse().unwrap()]));
    });
    assert_eq!(night.verdict("p"), Verdict::Conforming);
}

/// A plugin whose library has this version where another is declared, and a clause that counts that.
fn drifting(version: &str) -> Stage {
    let component = Component {
        name: "OpenAI".to_owned(),
        version: version.to_owned(),
    };
    Stage::new().declares("p", &["ok.example"]).change(move |stage| {
        stage.artifacts[0].manifest.sdk_allowlist = vec!["openai>=2.0,<3.0".parse().unwrap()];
        stage.artifacts[0].components = vec![component];
        counts(stage, Reason::SdkDrift);
    })
}

/// The medium tier's clause counts this reason too.
fn counts(stage: &mut Stage, reason: Reason) {
    let medium = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
    medium.on_breach.as_mut().unwrap().reasons.insert(reason);
}

fn measures(stage: &Stage) -> Vec<Measure> {
    let acts = stage.audit().acts;
    acts.iter().map(|act| act.proposal.measure).collect()
}

#[test]
fn a_library_outside_its_declared_range_is_drift() {
    let night = |version: &str| drifting(version).observes("p", "ok.example:443");
    assert_eq!(night("2.9.1").verdict("p"), Verdict::Conforming);
    for outside in ["3.0", "1.99", "not a version"] {
        let report = night(outside).report("p", None);
        let finding = &report.findings[0];
        assert_eq!(
            reasons(&report),
            [(Reason::SdkDrift, Severity::Medium)],
            "{outside}"
        );
        assert_eq!(finding.runs, [run("p", 1)]);
        assert!(finding.fix.contains("openai"), "{}", finding.fix);
    }
}

#[test]
fn drift_counts_by_what_the_drifted_build_does_like_every_other_reason() {
    let visits = |count: usize| (0..count).fold(drifting("3.0"), |s, _| s.observes("p", "ok.example:443"));
    // Nothing that anybody saw it do.
    assert_eq!(measures(&visits(0)), [Measure::Alert(Restraint::NotCorroborated)]);
    assert_eq!(measures(&visits(1)), [Measure::Alert(Restraint::NotCorroborated)]);
    assert_eq!(measures(&visits(2)), [Measure::Quarantine]);
    let by_runs = visits(1)
        .runs("p", 2)
        .line(about(Open, 50, "x", "p", "ok.example:443").of("p", 2));
    assert_eq!(measures(&by_runs), [Measure::Quarantine]);
    // A clause that does not name it does nothing about it.
    let unnamed = visits(2).change(|stage| stage.policy = base::Policy::initial("ops"));
    assert_eq!(measures(&unnamed), []);
    // One connection that also goes elsewhere is still one.
    let once = drifting("3.0").observes("p", "evil.example:443");
    assert_eq!(measures(&once), [Measure::Alert(Restraint::NotCorroborated)]);
}

#[test]
fn drift_is_judged_by_the_ranges_in_force_at_each_moment() {
    let night = |until: i64, drifted_before: bool| {
        drifting("3.0")
            .line(visit(100, "a", "p", "ok.example:443")[1].clone())
            .line(visit(300, "b", "p", "ok.example:443")[1].clone())
            .change(move |stage| {
                let now = stage.artifacts[0].manifest.clone();
                let other = Manifest {
                    sdk_allowlist: vec!["openai>=3.0".parse().unwrap()],
                    ..now.clone()
                };
                let (earlier, now) = if drifted_before {
                    (now, other)
                } else {
                    (other, now)
                };
                stage.artifacts[0].manifest = now;
                stage.artifacts[0].earlier = vec![was_in_force(at(until), earlier, b"earlier")];
            })
    };
    let alert = [Measure::Alert(Restraint::NotCorroborated)];
    // In force from the second visit on, from the first on, and up to one of them.
    assert_eq!(measures(&night(301, false)), alert);
    assert_eq!(measures(&night(101, false)), [Measure::Quarantine]);
    assert_eq!(measures(&night(301, true)), alert);
    assert_eq!(measures(&night(302, true)), [Measure::Quarantine]);
    // Replaced before its run began, nobody ran under it.
    assert_eq!(night(-61, true).verdict("p"), Verdict::Conforming);
}

#[test]
fn an_exception_for_everywhere_lets_drift_and_limits_pass() {
    let excepted = |reason: Reason, to: Option<&'static str>, until: i64| {
        move |stage: &mut Stage| {
            stage.policy.exceptions = vec![PolicyException {
                reasons: [reason].into(),
                ..exception(until, to)
            }];
        }
    };
    let visits = |stage: Stage| {
        stage
            .observes("p", "ok.example:443")
            .observes("p", "ok.example:443")
    };
    let drift = |to, until| visits(drifting("3.0")).change(excepted(Reason::SdkDrift, to, until));
    let passed = drift(None, 2 * NIGHT_S);
    assert_eq!(passed.verdict("p"), Verdict::Conforming);
    assert_eq!(
        reasons(&passed.report("p", None)),
        [(Reason::SdkDrift, Severity::Info)]
    );
    assert_eq!(measures(&passed), []);
    assert_eq!(
        drift(Some("ok.example"), 2 * NIGHT_S).verdict("p"),
        Verdict::NonConforming
    );
    assert_eq!(measures(&drift(None, 1)), [Measure::Quarantine]);

    let one_a_minute = Limits {
        connections_per_minute: Some(1),
        ..Limits::default()
    };
    let many = visits(visits(
        Stage::new()
            .declares("p", &["ok.example"])
            .change(limited(one_a_minute)),
    ))
    .change(|stage| counts(stage, Reason::LimitExceeded));
    assert_eq!(measures(&many), [Measure::Quarantine]);
    let passed = many.change(excepted(Reason::LimitExceeded, None, 2 * NIGHT_S));
    assert_eq!(
        reasons(&passed.report("p", None)),
        [(Reason::LimitExceeded, Severity::Info)]
    );
    assert_eq!(measures(&passed), []);
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

fn wall_time(text: &str) -> Limits {
    let manifest = Manifest::draft_from_value(&serde_json::json!({
        "plugin_id": "p", "allowed_egress": [], "data_classes": [], "sdk_allowlist": [], "built_by": "ci",
        "built_at": "2026-11-01T00:00:00Z", "limits": {"wall_time": text},
    }));
    manifest.unwrap().limits.unwrap()
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
    assert_eq!(night(wall_time("25h")).verdict("p"), Verdict::Conforming);
    let long = night(wall_time("1h")).report("p", None);
    assert_eq!(reasons(&long), [(Reason::LimitExceeded, Severity::Medium)]);
}

#[test]
fn the_connections_beyond_a_limit_are_counted_like_any_other_breach() {
    let night = |seconds: &[i64], target: &str| {
        let limits = Limits {
            connections_per_minute: Some(2),
            ..Limits::default()
        };
        let stage = Stage::new()
            .declares("p", &["ok.example"])
            .change(limited(limits))
            .change(|stage| counts(stage, Reason::LimitExceeded));
        let visits = seconds
            .iter()
            .enumerate()
            .flat_map(|(n, &second)| visit(second, &n.to_string(), "p", target));
        visits.fold(stage, Stage::line)
    };
    let alert = [Measure::Alert(Restraint::NotCorroborated)];
    assert_eq!(measures(&night(&[1, 2], "ok.example:443")), []);
    assert_eq!(measures(&night(&[1, 2, 3], "ok.example:443")), alert);
    assert_eq!(
        measures(&night(&[1, 2, 3, 4], "ok.example:443")),
        [Measure::Quarantine]
    );
    assert_eq!(
        measures(&night(&[1, 2, 3, 101, 102, 103], "ok.example:443")),
        [Measure::Quarantine]
    );
    // The one beyond the limit goes where nobody declared, and is one connection still.
    let both = night(&[1, 2], "ok.example:443");
    let both = visit(3, "x", "p", "evil.example:443")
        .into_iter()
        .fold(both, Stage::line);
    assert_eq!(measures(&both), alert);
}

#[test]
fn bytes_and_time_beyond_a_limit_count_from_the_connection_on_that_is_beyond_it() {
    let night = |limits: Limits, count: i64| {
        let stage = Stage::new()
            .declares("p", &["ok.example"])
            .change(limited(limits))
            .change(|stage| counts(stage, Reason::LimitExceeded));
        let visits = (0..count).flat_map(|n| visit(100 * n, &n.to_string(), "p", "ok.example:443"));
        visits.fold(stage, Stage::line)
    };
    // 300 bytes each.
    let bytes = |count| {
        let limits = Limits {
            bytes_per_run: Some("599B".parse().unwrap()),
            ..Limits::default()
        };
        measures(&night(limits, count))
    };
    let alert = [Measure::Alert(Restraint::NotCorroborated)];
    assert_eq!(bytes(1), []);
    assert_eq!(bytes(2), alert);
    assert_eq!(bytes(3), [Measure::Quarantine]);
    // The run began a minute before the first.
    let seconds = |count| {
        let mut stage = night(wall_time("160s"), count);
        stage.runs[0].ended = Some(at(1000));
        measures(&stage)
    };
    assert_eq!(seconds(2), alert);
    assert_eq!(seconds(3), alert);
    assert_eq!(seconds(4), [Measure::Quarantine]);
}

#[test]
fn a_limit_is_the_one_in_force_at_the_moment() {
    let night = |until: i64, earlier: u64, now: u64| {
        let limits = |allowed| Limits {
            connections_per_minute: Some(allowed),
            ..Limits::default()
        };
        let stage = Stage::new()
            .declares("p", &["ok.example"])
            .change(limited(limits(now)));
        let stage = stage.change(|stage| {
            stage.artifacts[0].earlier = vec![was_in_force(
                at(until),
                Manifest {
                    limits: Some(limits(earlier)),
                    ..stage.artifacts[0].manifest.clone()
                },
                b"earlier",
            )];
        });
        let visits = (0..3).flat_map(|n| visit(100 + n, &n.to_string(), "p", "ok.example:443"));
        visits.fold(stage, Stage::line).verdict("p")
    };
    // Three visits, at seconds 100, 101 and 102.
    assert_eq!(night(102, 2, 3), Verdict::Conforming);
    assert_eq!(night(103, 2, 3), Verdict::NonConforming);
    assert_eq!(night(102, 3, 2), Verdict::NonConforming);
    assert_eq!(night(103, 3, 2), Verdict::Conforming);
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
        backing: Backing::Signed,
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
fn an_exception_that_two_people_did_not_sign_lets_nothing_pass_and_runs_out_unnoticed() {
    for backing in [
        Backing::Unknown,
        Backing::Lacking {
            what: "only ada signed it".to_owned(),
        },
    ] {
        let night = |until| {
            excepted(PolicyException {
                backing: backing.clone(),
                ..exception(until, Some("evil.example"))
            })
        };
        assert_eq!(night(2 * NIGHT_S).verdict("p"), Verdict::NonConforming);
        assert_eq!(night(2 * NIGHT_S).quarantined_by_night(), ["p"]);
        let lapsed = night(-1).report("p", None);
        assert_eq!(reasons(&lapsed), [(Reason::UndeclaredHost, Severity::High)]);
    }
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
                stage.artifacts[0].earlier = vec![was_in_force(
                    at(until),
                    manifest("p", &["ok.example"]),
                    b"earlier",
                )];
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
    // The report names the one that was in force at its end, and both with their times.
    let now = night.artifacts[0].manifest_payload;
    assert_eq!(of_run.report.manifest.digest.sha256, now);
    let named = of_run.report.manifests.iter();
    let named: Vec<_> = named.map(|one| (one.digest.sha256, one.from, one.to)).collect();
    let ended = at(NIGHT_S - 60);
    let earlier = base::Sha256Digest::of(b"earlier");
    assert_eq!(named, [(earlier, at(0), at(50_000)), (now, at(50_000), ended)]);
}

#[test]
fn a_run_is_reported_by_the_manifests_that_were_in_force_while_it_ran() {
    let night = |ended: i64, payload: &'static [u8]| {
        let stage = Stage::new()
            .declares("p", &["ok.example"])
            .observes("p", "ok.example:443")
            .change(move |stage| {
                stage.artifacts[0].earlier =
                    vec![was_in_force(at(50_000), manifest("p", &["ok.example"]), payload)];
                stage.runs[0].ended = Some(at(ended));
            });
        stage.audit();
        let published = stage.published.borrow().clone();
        published.into_iter().map(|p| p.report).collect::<Vec<_>>()
    };
    // It was over before the other manifest came: that one is nobody's measure here.
    let reports = night(40_000, b"earlier");
    let of_run = reports.iter().find(|report| report.run_id.is_some()).unwrap();
    assert_eq!(of_run.manifest.digest.sha256, base::Sha256Digest::of(b"earlier"));
    assert_eq!(of_run.manifests, []);
    assert!(
        !String::from_utf8(of_run.to_json().unwrap())
            .unwrap()
            .contains("manifests")
    );
    let of_all = reports.iter().find(|report| report.run_id.is_none()).unwrap();
    assert_eq!(of_all.manifests.len(), 2);
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
