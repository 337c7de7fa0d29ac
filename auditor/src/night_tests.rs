//! Nights over real logs: what a person would say, and what is done about it.

use std::fs;

use base::{Attribution, DnsResult, Reason, RefusalReason, Severity, Tier, Verdict};
use evidence::EventKind::{Close, Gap, Open};
use reports::predicate::Period;
use seal::note::NoteVerifier;

use crate::script::{about, at, event, run, visit, who};
use crate::stage::{NIGHT_S, Stage, gateway_key, manifest, owner_key, today};
use crate::{ActResult, Exit, Measure, NightOutcome, Reported, Restraint, Schedule};

const AZURE: &str = "**.openai.azure.com";

/// The story: one plugin keeps its word, the other does not.
fn story() -> Stage {
    Stage::new()
        .declares("embeddings", &[AZURE])
        .declares("invoice-ocr", &[AZURE])
        .observes("embeddings", "acme.openai.azure.com:443")
        .observes("invoice-ocr", "acme.openai.azure.com:443")
        .observes("invoice-ocr", "api.randomsite.com:443")
        .observes("invoice-ocr", "api.randomsite.com:443")
}

fn reasons(report: &Reported) -> Vec<(Reason, Severity)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.reason, finding.severity))
        .collect()
}

fn measures(outcome: &NightOutcome) -> Vec<Measure> {
    outcome.acts.iter().map(|act| act.proposal.measure).collect()
}

#[test]
fn one_plugin_keeps_its_word_and_one_does_not() {
    let night = story();
    let outcome = night.audit();
    assert_eq!(outcome.exit(), Exit::Findings);
    assert_eq!(outcome.troubles, Vec::<String>::new());
    assert_eq!(outcome.reports.len(), 4);
    let verdicts: Vec<_> = outcome
        .reports
        .iter()
        .map(|report| (report.run_id.is_some(), report.verdict))
        .collect();
    assert_eq!(
        verdicts,
        [
            (false, Verdict::Conforming),
            (true, Verdict::Conforming),
            (false, Verdict::NonConforming),
            (true, Verdict::NonConforming),
        ]
    );
    let finding = &outcome.reports[2].findings[0];
    assert_eq!(finding.reason, Reason::UndeclaredHost);
    assert_eq!(finding.host.as_ref().unwrap().to_string(), "api.randomsite.com");
    assert_eq!(finding.connections, 2);
    assert_eq!(finding.runs, [run("invoice-ocr", 1)]);
    assert!(!finding.events.is_empty() && finding.fix.contains("api.randomsite.com"));

    assert_eq!(outcome.acts.len(), 1);
    let act = &outcome.acts[0];
    assert_eq!(act.proposal.plugin_id.as_str(), "invoice-ocr");
    assert_eq!(act.proposal.clause, "tiers.medium.on_breach");
    assert_eq!(act.proposal.enabled_by, "ops");
    assert_eq!(act.result, ActResult::Stopped { crl_number: 42 });
}

#[test]
fn every_publication_is_signed_bound_to_its_evidence_and_readable() {
    let night = story();
    night.audit();
    let root = seal::trust::TrustRoot::parse(&night.auditor.trust_root).unwrap();
    let published = night.published.borrow();
    assert_eq!(published.len(), 4);
    for publication in published.iter() {
        let opened = reports::open_report(&publication.bundle, &root).unwrap();
        assert_eq!(opened.report, publication.report);
        assert_eq!(opened.payload_digest, publication.payload);
        let file = publication.context.evidence.as_ref().unwrap();
        assert_eq!(opened.evidence_bundle, Some((file.name.clone(), file.digest)));
        // What a run's report rests on is in the evidence bundle of its artifact's.
        let artifacts = published.iter().find(|other| {
            other.report.run_id.is_none() && other.report.plugin_id == publication.report.plugin_id
        });
        let bytes = artifacts.unwrap().evidence.as_ref().unwrap();
        assert_eq!(file.digest, base::Sha256Digest::of(bytes));
        assert_eq!(
            publication.evidence.is_some(),
            publication.report.run_id.is_none()
        );
        let plugin = publication.report.plugin_id.as_str();
        let (report, context) = (&publication.report, &publication.context);
        assert!(reports::render::html(report, context).contains(plugin));
        assert!(reports::render::text(report, context).contains(plugin));
    }
    let breach = &published[2].report;
    assert_eq!(breach.actions[0].clause, "tiers.medium.on_breach");
    assert_eq!(breach.actions[0].crl_number, Some(42));
    assert_eq!((breach.coverage.runs, breach.coverage.events), (1, 6));
    assert_eq!(breach.logs[0].checkpoint, night.checkpoint(1));
}

#[test]
fn the_evidence_bundle_proves_every_cited_event_and_holds_nobody_elses() {
    let night = story();
    night.audit();
    let published = night.published.borrow();
    let breach = &published[2];
    let files = reports::bundle::read_bundle(breach.evidence.as_ref().unwrap()).unwrap();
    let verifier = NoteVerifier::new("acme/gw-1", &gateway_key(1).public()).unwrap();
    let cited = &breach.report.findings[0].events;
    assert_eq!(cited.len(), 4);
    for event in cited {
        let name = format!("events/acme~gw-1/{}.json", event.index);
        let proof = std::str::from_utf8(&files[&format!("{name}.tlog-proof")]).unwrap();
        let proven = evidence::verify_proof(proof, &files[&name], &verifier).unwrap();
        assert_eq!(proven.index, event.index);
        assert_eq!(proven.event.plugin_id.unwrap().as_str(), "invoice-ocr");
    }
    let events = files
        .keys()
        .filter(|name| name.starts_with("events/") && name.ends_with(".json"));
    assert_eq!(events.count(), cited.len());
    assert_eq!(
        files["PLUGIN_MANIFEST.sigstore.json"],
        night.artifacts[1].manifest_bundle
    );
    assert_eq!(files["root.json"], night.auditor.trust_root);
    assert_eq!(files["keys/owner.pub"], owner_key().public().to_pem().as_bytes());
    for name in [
        "VERIFY.md",
        "policy.json",
        "report-inputs.json",
        "keys/auditor.pub",
        "keys/acme~gw-1.vkey",
    ] {
        assert!(files.contains_key(name), "{name}");
    }
}

#[test]
fn the_same_night_is_the_same_bytes() {
    let publications = || {
        let night = story().gateway(&visit(5, "x", "embeddings", "b.openai.azure.com:443"));
        night.audit();
        night.published.take()
    };
    assert_eq!(publications(), publications());

    // Nor does it matter in which order the site answers.
    let shuffled = story()
        .gateway(&visit(5, "x", "embeddings", "b.openai.azure.com:443"))
        .change(|stage| {
            stage.artifacts.reverse();
            stage.runs.reverse();
        });
    shuffled.audit();
    assert_eq!(publications(), shuffled.published.take());
}

#[test]
fn upper_case_a_trailing_dot_and_a_retry_are_no_breach() {
    let night = Stage::new()
        .declares("weather", &["api.example.com"])
        .observes("weather", "API.Example.COM.:443")
        .line(about(Open, 500, "r", "weather", "api.example.com:443"))
        .line(about(Close, 501, "r", "weather", "api.example.com:443").failed(DnsResult::ServFail))
        .line(
            about(Close, 502, "s", "weather", "api.example.com:443")
                .reached(1, 1)
                .sni("API.example.com."),
        );
    let report = night.report("weather", None);
    assert_eq!((report.verdict, reasons(&report)), (Verdict::Conforming, vec![]));
}

#[test]
fn every_kind_of_departure_has_its_reason() {
    let departs = |target: &str| {
        let night = Stage::new()
            .declares("p", &["*.example.com", "192.0.2.0/24"])
            .observes("p", target);
        let report = night.report("p", None);
        assert_eq!(report.verdict, Verdict::NonConforming, "{target}");
        report.findings[0].reason
    };
    assert_eq!(departs("other.example.net:443"), Reason::UndeclaredHost);
    assert_eq!(departs("example.com:443"), Reason::UndeclaredHost);
    assert_eq!(departs("a.b.example.com:443"), Reason::UndeclaredHost);
    assert_eq!(departs("evil-example.com:443"), Reason::UndeclaredHost);
    assert_eq!(departs("api.example.com.evil.net:443"), Reason::UndeclaredHost);
    assert_eq!(departs("api.example.com:22"), Reason::UndeclaredPort);
    assert_eq!(departs("198.51.100.7:443"), Reason::IpLiteral);

    let night = Stage::new().declares("p", &["api.example.com"]).line(
        about(Close, 5, "a", "p", "api.example.com:443")
            .reached(1, 1)
            .with(|event| event.scheme = Some(base::ObservedScheme::Ssh)),
    );
    assert_eq!(
        night.report("p", None).findings[0].reason,
        Reason::UndeclaredScheme
    );
}

#[test]
fn both_names_of_a_connection_must_be_declared() {
    let with_sni = |sni: &str| {
        let line = about(Close, 5, "a", "p", "ok.example:443").reached(1, 1).sni(sni);
        let night = Stage::new()
            .declares("p", &["ok.example", "also.example"])
            .line(line);
        let report = night.report("p", None);
        (report.verdict, reasons(&report))
    };
    let breach = (
        Verdict::NonConforming,
        vec![(Reason::SniMismatch, Severity::High)],
    );
    let note = (Verdict::Conforming, vec![(Reason::SniMismatch, Severity::Info)]);
    assert_eq!(with_sni("ok.example"), (Verdict::Conforming, vec![]));
    assert_eq!(with_sni("evil.example"), breach);
    assert_eq!(with_sni("not a name"), breach);
    assert_eq!(with_sni("also.example"), note);
    assert_eq!(with_sni("absent"), note);
}

#[test]
fn a_declared_front_does_not_cover_what_is_behind_it() {
    // The breach is told, not hidden behind the harmless name that was seen as well.
    let night = Stage::new()
        .declares("p", &["ok.example", "also.example"])
        .line(
            about(Close, 5, "a", "p", "ok.example:443")
                .reached(1, 1)
                .sni("also.example"),
        )
        .line(
            about(Close, 6, "b", "p", "ok.example:443")
                .reached(1, 1)
                .sni("evil.example"),
        );
    let report = night.report("p", None);
    assert_eq!(reasons(&report), [(Reason::SniMismatch, Severity::High)]);
    assert_eq!(report.findings[0].connections, 1);
    assert!(report.findings[0].fix.contains("\"evil.example\""));
    assert!(!report.findings[0].fix.contains("also.example"));
}

#[test]
fn a_name_that_leads_to_a_private_address_is_a_breach_even_when_declared() {
    let night = Stage::new()
        .declares("p", &["intranet.example"])
        .line(about(Open, 5, "a", "p", "intranet.example:443").refused(RefusalReason::Floor));
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::NonConforming);
    assert_eq!(reasons(&report), [(Reason::PrivateResolution, Severity::High)]);
}

#[test]
fn the_decision_is_not_the_verdict() {
    let denied = |target: &str| {
        let line = about(Open, 5, "a", "p", target).refused(RefusalReason::Tier);
        Stage::new()
            .declares("p", &["ok.example"])
            .line(line)
            .verdict("p")
    };
    assert_eq!(denied("ok.example:443"), Verdict::Conforming);
    assert_eq!(denied("evil.example:443"), Verdict::NonConforming);
}

#[test]
fn a_manifest_that_declares_nothing_makes_everything_a_breach() {
    let night = Stage::new().declares("p", &[]).observes("p", "any.example:443");
    assert_eq!(night.verdict("p"), Verdict::NonConforming);
}

#[test]
fn a_declaration_that_ran_out_no_longer_covers() {
    let night = |expires: &str| {
        let mut stage = Stage::new()
            .declares("p", &["ok.example"])
            .observes("p", "ok.example:443");
        let declared = &mut stage.artifacts[0].manifest.allowed_egress;
        declared.change(|list| list[0].expires = Some(expires.parse().unwrap()));
        stage.verdict("p")
    };
    assert_eq!(night("2026-11-20T00:00:00Z"), Verdict::NonConforming);
    assert_eq!(night("2026-11-23T00:00:00Z"), Verdict::Conforming);
}

#[test]
fn a_run_without_events_is_no_traffic_and_worth_a_note() {
    let night = Stage::new().declares("p", &["ok.example"]);
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::NoTraffic);
    assert_eq!(reasons(&report), [(Reason::NoCoverage, Severity::Info)]);
    assert_eq!(night.audit().exit(), Exit::Clean);

    let silent_by_promise = Stage::new().declares("p", &[]);
    assert_eq!(reasons(&silent_by_promise.report("p", None)), []);

    let just_begun = Stage::new().declares("p", &["ok.example"]).change(|stage| {
        stage.runs[0].started = at(NIGHT_S - 5);
        stage.runs[0].ended = None;
    });
    assert_eq!(reasons(&just_begun.report("p", None)), []);
}

#[test]
fn a_tunnel_alive_at_the_end_of_the_period_appears() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .line(about(Open, 5, "a", "p", "ok.example:443"))
        .line(about(Open, 6, "b", "p", "evil.example:443"));
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::NonConforming);
    assert_eq!(report.findings[0].connections, 1);
}

#[test]
fn a_tunnel_that_has_not_spoken_yet_is_no_finding_of_its_own() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "evil.example:443")
        .line(about(Open, 60, "silent", "p", "evil.example:443"));
    let report = night.report("p", None);
    let [finding] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings)
    };
    assert_eq!((finding.connections, finding.scheme), (2, None));

    // What was spoken stays apart where it is what is undeclared.
    let spoken = Stage::new()
        .declares("p", &["http://ok.example:443"])
        .observes("p", "ok.example:443")
        .line(about(Open, 60, "silent", "p", "ok.example:443"));
    let report = spoken.report("p", None);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].scheme, Some(base::ObservedScheme::Tls));
}

#[test]
fn a_gap_is_never_conforming() {
    let gap = || event(Gap, 50).with(|event| event.cause = Some("queue overflow".to_owned()));
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "ok.example:443")
        .line(gap());
    let outcome = night.audit();
    assert_eq!(night.verdict("p"), Verdict::Inconclusive);
    assert_eq!(outcome.exit(), Exit::CannotTell);
    assert_eq!(outcome.doubts.len(), 1);

    // Nor is a night without traffic what it seems.
    let quiet = Stage::new().declares("p", &["ok.example"]).line(gap());
    assert_eq!(quiet.verdict("p"), Verdict::Inconclusive);
}

#[test]
fn a_breach_outweighs_a_gap_and_is_left_to_a_person() {
    let night = story().line(event(Gap, 50).with(|event| event.cause = Some("disk".to_owned())));
    let outcome = night.audit();
    assert_eq!(night.verdict("embeddings"), Verdict::Inconclusive);
    assert_eq!(night.verdict("invoice-ocr"), Verdict::NonConforming);
    assert_eq!(measures(&outcome), [Measure::Alert(Restraint::Doubt)]);
    assert!(night.quarantined.borrow().is_empty());
}

#[test]
fn a_gap_in_one_plugins_evidence_is_no_doubt_about_another() {
    let night = story().line(event(Gap, 50).with(|event| {
        event.cause = Some("budget".to_owned());
        event.plugin_id = Some("embeddings".parse().unwrap());
    }));
    let outcome = night.audit();
    assert_eq!(measures(&outcome), [Measure::Quarantine]);
    assert_eq!(night.verdict("embeddings"), Verdict::Inconclusive);
}

#[test]
fn a_missing_segment_is_never_a_clean_night() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "ok.example:443");
    assert_eq!(night.verdict("p"), Verdict::Conforming);
    for file in night.entry_files(1) {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(night.verdict("p"), Verdict::Inconclusive);
}

#[test]
fn nothing_from_a_tampered_log_is_believed() {
    let night = story().gateway(&visit(5, "x", "embeddings", "b.openai.azure.com:443"));
    let file = &night.entry_files(1)[0];
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
    let outcome = night.audit();
    assert_eq!(outcome.exit(), Exit::Findings);
    assert_eq!(outcome.doubts[0].reason, Reason::TamperedEvidence);
    assert!(outcome.acts.is_empty());
    for report in &outcome.reports {
        assert_eq!(report.verdict, Verdict::Inconclusive, "{report:?}");
        assert_eq!(report.findings[0].reason, Reason::TamperedEvidence);
        assert_eq!(report.findings[0].origin.as_deref(), Some("acme/gw-1"));
    }
    let published = night.published.borrow();
    assert_eq!(
        (
            published[0].report.coverage.gateways_seen,
            published[0].report.coverage.gateways_expected
        ),
        (1, 2)
    );
}

#[test]
fn a_cut_tail_shows_against_a_checkpoint_held_elsewhere() {
    let longer = story();
    let held = longer.checkpoint(1);
    let cut = Stage::new()
        .declares("embeddings", &[AZURE])
        .observes("embeddings", "acme.openai.azure.com:443")
        .change(|stage| {
            stage.held.insert(1, held);
        });
    let outcome = cut.audit();
    assert_eq!(outcome.doubts[0].reason, Reason::TamperedEvidence);
    assert_eq!(cut.verdict("embeddings"), Verdict::Inconclusive);
}

#[test]
fn a_gateway_without_a_log_leaves_everybody_in_doubt() {
    let night = story().gateway(&[]);
    fs::remove_dir_all({
        night.write_logs();
        night.log_folder(2)
    })
    .unwrap();
    let outcome = night.audit();
    assert_eq!(outcome.doubts[0].reason, Reason::EvidenceGap);
    assert_eq!(night.verdict("embeddings"), Verdict::Inconclusive);
    assert_eq!(night.verdict("invoice-ocr"), Verdict::NonConforming);
    assert_eq!(measures(&outcome), [Measure::Alert(Restraint::Doubt)]);

    let deleted = story();
    let held = deleted.checkpoint(1);
    fs::remove_dir_all(deleted.log_folder(1)).unwrap();
    let deleted = deleted.change(|stage| {
        stage.held.insert(1, held);
    });
    assert_eq!(deleted.audit().doubts[0].reason, Reason::TamperedEvidence);
}

#[test]
fn entries_that_wait_for_a_checkpoint_are_missed() {
    let waiting = |seconds| {
        let line = about(Open, seconds, "u", "embeddings", "acme.openai.azure.com:443");
        story().change(|stage| stage.unsigned.push(line)).audit()
    };
    assert_eq!(waiting(100).doubts.len(), 1);
    assert_eq!(waiting(NIGHT_S + 10).doubts.len(), 0);
}

#[test]
fn one_connection_is_not_enough_to_act_on_and_two_are() {
    let one = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "evil.example:443");
    let outcome = one.audit();
    assert_eq!(outcome.exit(), Exit::Findings);
    assert_eq!(measures(&outcome), [Measure::Alert(Restraint::NotCorroborated)]);
    assert!(one.quarantined.borrow().is_empty());
    assert_eq!(one.published.borrow()[0].report.actions.len(), 1);

    let two = one_more(
        Stage::new()
            .declares("p", &["ok.example"])
            .observes("p", "evil.example:443"),
    );
    assert_eq!(measures(&two.audit()), [Measure::Quarantine]);
}

fn one_more(stage: Stage) -> Stage {
    stage.observes("p", "worse.example:443")
}

#[test]
fn failed_lookups_are_findings_and_never_corroborate() {
    let fails = |stage: Stage, number: u8| {
        let id = format!("f{number}");
        let line = about(Close, i64::from(number), &id, "p", "typo.example:443").failed(DnsResult::NxDomain);
        stage.line(line.of("p", number))
    };
    let night = (1..=9).fold(Stage::new().declares("p", &["ok.example"]), fails);
    let outcome = night.audit();
    assert_eq!(night.verdict("p"), Verdict::NonConforming);
    assert_eq!(measures(&outcome), [Measure::Alert(Restraint::NotCorroborated)]);
}

#[test]
fn two_runs_corroborate_as_well_as_two_connections() {
    let attempt = |number: u8| {
        about(Open, 5, &format!("a{number}"), "p", "evil.example:443")
            .of("p", number)
            .refused(RefusalReason::Tier)
    };
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .line(attempt(1))
        .line(attempt(2));
    assert_eq!(measures(&night.audit()), [Measure::Quarantine]);
}

#[test]
fn the_high_tier_alerts_only() {
    let night = story().tier(Tier::High);
    let outcome = night.audit();
    assert_eq!(measures(&outcome), [Measure::Alert(Restraint::Clause)]);
    assert_eq!(outcome.acts[0].proposal.clause, "tiers.high.on_breach");
    assert!(night.quarantined.borrow().is_empty());
}

#[test]
fn what_would_stop_too_many_running_plugins_waits_for_a_second_person() {
    let breaches = |count: usize| {
        (0..count).fold(Stage::new(), |stage, number| {
            let plugin = format!("plugin-{number}");
            stage
                .declares(&plugin, &["ok.example"])
                .observes(&plugin, "evil.example:443")
                .observes(&plugin, "evil.example:443")
        })
    };
    let few = breaches(2).change(|stage| few_at_once(stage, 2));
    few.audit();
    assert_eq!((few.quarantined.borrow().len(), few.asked.borrow().len()), (2, 0));

    let many = breaches(3).change(|stage| few_at_once(stage, 2));
    let outcome = many.audit();
    assert_eq!(
        (many.quarantined.borrow().len(), many.asked.borrow().len()),
        (0, 3)
    );
    assert!(outcome.acts.iter().all(|act| act.result == ActResult::Asked));
    assert_eq!(
        many.published.borrow()[0].report.actions[0].action,
        reports::predicate::ActionKind::AwaitApproval
    );
}

fn few_at_once(stage: &mut Stage, max: u64) {
    let clause = stage.policy.tiers.get_mut(&Tier::Medium).unwrap();
    clause.on_breach.as_mut().unwrap().max_blast_radius = max;
}

#[test]
fn an_artifact_that_is_stopped_already_is_not_stopped_again() {
    let night = story();
    assert_eq!(night.audit().acts.len(), 1);
    assert_eq!(night.audit().acts.len(), 0);
    assert_eq!(night.quarantined.borrow().len(), 1);
}

#[test]
fn an_act_that_fails_is_said_and_not_claimed() {
    let night = story().change(|stage| stage.fails_to_quarantine = true);
    let outcome = night.audit();
    assert!(matches!(&outcome.acts[0].result, ActResult::Failed { why } if why.contains("disk is full")));
    assert_eq!(outcome.troubles.len(), 1);
    let published = night.published.borrow();
    let report = &published
        .iter()
        .find(|p| p.report.plugin_id.as_str() == "invoice-ocr")
        .unwrap()
        .report;
    assert_eq!(report.actions[0].crl_number, None);
}

#[test]
fn a_report_that_cannot_be_kept_does_not_stop_the_others() {
    let night = story();
    night.fails_to_publish.set(true);
    let outcome = night.audit();
    assert_eq!(outcome.troubles.len(), 1);
    assert_eq!(outcome.reports.len(), 4);
    assert_eq!(
        (
            outcome.reports[0].place.is_some(),
            outcome.reports[1].place.is_some()
        ),
        (false, true)
    );
}

#[test]
fn reports_that_were_written_and_not_kept_are_said_to_be_lost() {
    let night = story().change(|stage| stage.fails_to_keep = true);
    let outcome = night.audit();
    assert_eq!(outcome.troubles.len(), 4);
    assert!(outcome.troubles[0].ends_with("the disk went away"));
    let is_lost = |report: &Reported| report.place.is_none() && report.payload.is_none();
    assert!(outcome.reports.iter().all(is_lost));
}

#[test]
fn a_report_whose_predecessor_is_lost_is_not_chained_to_nothing() {
    let night = story().change(|stage| stage.lost_previous_reports = true);
    let outcome = night.audit();
    assert_eq!(outcome.troubles.len(), 4);
    assert!(night.published.borrow().is_empty());
    // What was seen is said all the same.
    assert_eq!(outcome.exit(), Exit::Findings);
    assert_eq!(outcome.count(Verdict::NonConforming), 2);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let night = story();
    let mut dry = night.night();
    dry.dry_run = true;
    let outcome = dry.run(&night).unwrap();
    assert_eq!(measures(&outcome), [Measure::Quarantine]);
    assert_eq!(outcome.acts[0].result, ActResult::Proposed);
    assert_eq!(outcome.exit(), Exit::Findings);
    assert!(night.published.borrow().is_empty() && night.quarantined.borrow().is_empty());
}

#[test]
fn a_draft_shows_what_would_have_been() {
    let night = story();
    let mut what_if = night.night();
    what_if.what_if.manifest = Some(manifest("invoice-ocr", &[AZURE, "api.randomsite.com"]));
    let outcome = what_if.run(&night).unwrap();
    let plugins: Vec<_> = outcome
        .reports
        .iter()
        .map(|report| report.plugin_id.as_str())
        .collect();
    assert_eq!(plugins, ["invoice-ocr", "invoice-ocr"]);
    assert_eq!(outcome.exit(), Exit::Clean);
    assert!(outcome.dry_run && night.published.borrow().is_empty());

    what_if.what_if.manifest = Some(manifest("embeddings", &[]));
    assert_eq!(what_if.run(&night).unwrap().exit(), Exit::Findings);
}

#[test]
fn an_audit_can_be_about_one_plugin_or_one_run() {
    let night = story();
    let mut one = night.night();
    one.plugin_id = Some("embeddings".parse().unwrap());
    let outcome = one.run(&night).unwrap();
    assert_eq!((outcome.exit(), outcome.reports.len()), (Exit::Clean, 2));

    let mut one = night.night();
    one.run_id = Some(run("invoice-ocr", 1));
    let outcome = one.run(&night).unwrap();
    assert_eq!((outcome.exit(), outcome.reports.len()), (Exit::Findings, 1));
    // A part of the evidence is not what anybody is stopped for.
    assert!(outcome.acts.is_empty());
}

#[test]
fn each_run_is_judged_on_its_own() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .runs("p", 2)
        .observes("p", "ok.example:443")
        .line(
            about(Close, 50, "x", "p", "evil.example:443")
                .of("p", 2)
                .reached(1, 1),
        );
    let outcome = night.audit();
    let of = |number| {
        let report = outcome.report(
            &"p".parse().unwrap(),
            &crate::stage::digest("p"),
            Some(run("p", number)),
        );
        report.unwrap().verdict
    };
    assert_eq!((of(1), of(2)), (Verdict::Conforming, Verdict::NonConforming));
    assert_eq!(night.verdict("p"), Verdict::NonConforming);
}

#[test]
fn traffic_of_nobody_is_nobodys_breach() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "ok.example:443")
        .line(
            about(Open, 50, "x", "p", "evil.example:443")
                .of_nobody()
                .refused(RefusalReason::CredentialsMissing),
        );
    let outcome = night.audit();
    assert_eq!(outcome.exit(), Exit::Clean);
    assert_eq!(outcome.strays.len(), 1);
    assert_eq!(
        outcome.strays[0].0.refusal,
        Some(RefusalReason::CredentialsMissing)
    );
}

#[test]
fn a_name_that_may_be_hidden_is_worth_knowing_and_its_cover_is_no_mismatch() {
    let hidden = |id: &str, sni: &str| {
        about(Close, 60, id, "p", "ok.example:443")
            .reached(1, 1)
            .sni(sni)
            .with(|event| event.sni_visibility = Some(base::SniVisibility::Ech))
    };
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .line(hidden("a", "cover.example"))
        .line(hidden("b", "ok.example"))
        .line(hidden("c", "absent"));
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::Conforming);
    assert_eq!(reasons(&report), [(Reason::NoCoverage, Severity::Info)]);
    let finding = &report.findings[0];
    assert_eq!(finding.connections, 3);
    assert!(
        finding.fix.starts_with("found inside: \"cover.example\"; "),
        "{}",
        finding.fix
    );

    // In the clear the same name is a breach.
    let clear = Stage::new().declares("p", &["ok.example"]).line(
        hidden("a", "cover.example").with(|event| event.sni_visibility = Some(base::SniVisibility::Clear)),
    );
    assert_eq!(
        reasons(&clear.report("p", None)),
        [(Reason::SniMismatch, Severity::High)]
    );
}

#[test]
fn a_declared_proxy_conforms_and_what_is_behind_it_is_said_to_be_unseen() {
    let night = Stage::new().declares("p", &["http://proxy.example:3128"]).line(
        about(Close, 60, "a", "p", "proxy.example:3128")
            .reached(1, 1)
            .with(|event| {
                event.scheme = Some(base::ObservedScheme::Http);
                event.host_header = Some("proxy.example:3128".to_owned());
                event.inner_target = Some("evil.example:443".to_owned());
            }),
    );
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::Conforming);
    assert_eq!(reasons(&report), [(Reason::NoCoverage, Severity::Info)]);
    assert!(report.findings[0].fix.contains("\"evil.example:443\""));
}

#[test]
fn the_host_named_inside_a_plain_tunnel_is_held_against_the_manifest_too() {
    let inside = |host: &str| {
        let night = Stage::new()
            .declares("p", &["http://ok.example", "http://also.example"])
            .line(
                about(Close, 60, "a", "p", "ok.example:80")
                    .reached(1, 1)
                    .with(|event| {
                        event.scheme = Some(base::ObservedScheme::Http);
                        event.host_header = Some(host.to_owned());
                    }),
            );
        reasons(&night.report("p", None))
    };
    assert_eq!(inside("OK.example:80"), []);
    assert_eq!(inside("also.example"), [(Reason::SniMismatch, Severity::Info)]);
    assert_eq!(inside("evil.example"), [(Reason::SniMismatch, Severity::High)]);
    assert_eq!(inside("unparsed"), [(Reason::SniMismatch, Severity::Info)]);
}

#[test]
fn what_the_answer_named_later_is_what_was_spoken() {
    let spoke = |kind, scheme| {
        about(kind, 60, "a", "p", "ok.example:80")
            .reached(1, 1)
            .with(|event| event.scheme = Some(scheme))
    };
    let night = Stage::new()
        .declares("p", &["http://ok.example"])
        .line(spoke(evidence::EventKind::Connected, base::ObservedScheme::Tcp))
        .line(spoke(Close, base::ObservedScheme::Http));
    assert_eq!(night.verdict("p"), Verdict::Conforming);
}

#[test]
fn headers_that_claim_an_identity_are_a_finding_that_changes_no_verdict() {
    let night = Stage::new().declares("p", &["http://ok.example"]).line(
        about(Close, 60, "a", "p", "ok.example:80")
            .reached(1, 1)
            .with(|event| {
                event.scheme = Some(base::ObservedScheme::Http);
                event.stripped_headers = vec!["x-plugin-id".to_owned()];
            }),
    );
    let report = night.report("p", None);
    assert_eq!(report.verdict, Verdict::Conforming);
    assert_eq!(reasons(&report), [(Reason::IdentityHeaderForged, Severity::Low)]);
    assert!(report.findings[0].fix.contains("\"x-plugin-id\""));
}

#[test]
fn a_dead_token_that_is_presented_again_is_a_finding_about_its_run() {
    let presented = |id: &str, refusal| {
        about(Open, 70, id, "p", "evil.example:443")
            .of_nobody()
            .refused(refusal)
            .with(|event| {
                event.run_id = Some(run("p", 1));
                event.credential_fingerprint = Some("SHA256:abc".to_owned());
            })
    };
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .declares("other", &["ok.example"])
        .observes("p", "ok.example:443")
        .observes("other", "ok.example:443")
        .line(presented("x", RefusalReason::RunEnded))
        .line(presented("y", RefusalReason::RunEnded))
        .line(presented("z", RefusalReason::CredentialsConflict));
    let outcome = night.audit();
    assert_eq!((outcome.exit(), outcome.troubles.len()), (Exit::Clean, 0));
    let report = night.report("p", None);
    assert_eq!(
        reasons(&report),
        [
            (Reason::CredentialsReplayed, Severity::Low),
            (Reason::CredentialsConflict, Severity::Low)
        ]
    );
    let finding = &report.findings[0];
    assert_eq!((finding.connections, finding.refused), (2, 2));
    assert_eq!(finding.runs, [run("p", 1)]);
    assert!(finding.fix.contains("token SHA256:abc:") && !finding.events.is_empty());
    assert_eq!(night.report("other", None).findings, []);
    // A token that no run is known for is the site's business alone.
    assert_eq!(outcome.strays.len(), 2);
    assert_eq!(outcome.strays[0].0.credential.as_deref(), Some("SHA256:abc"));
}

#[test]
fn many_names_are_noted_and_too_many_to_judge_are_never_conforming() {
    let names = |count: usize| {
        let lines = (0..count).map(|n| {
            about(Close, 60, &n.to_string(), "p", &format!("n{n}.evil.example:443"))
                .failed(DnsResult::NxDomain)
        });
        lines
            .fold(Stage::new().declares("p", &["*.evil.example"]), Stage::line)
            .report("p", None)
    };
    assert_eq!(reasons(&names(crate::NOTED_HOSTS - 1)), []);
    let noted = names(crate::NOTED_HOSTS);
    assert_eq!(reasons(&noted), [(Reason::LimitExceeded, Severity::Info)]);
    assert!(
        noted.findings[0].fix.starts_with("500 hosts"),
        "{}",
        noted.findings[0].fix
    );
}

#[test]
fn an_artifact_that_nobody_admitted_is_a_finding() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .observes("ghost", "ok.example:443");
    let outcome = night.audit();
    assert_eq!(outcome.unknown, [who("ghost", 1)]);
    assert_eq!(outcome.exit(), Exit::Findings);
}

#[test]
fn missed_nights_are_caught_up_in_order_each_once() {
    let night = Stage::new()
        .declares("p", &["ok.example"])
        .line(about(Close, 3600, "a", "p", "ok.example:443").reached(1, 1))
        .line(about(Close, NIGHT_S + 3600, "b", "p", "evil.example:443").reached(1, 1))
        .line(about(Close, 2 * NIGHT_S + 3600, "c", "p", "ok.example:443").reached(1, 1))
        .change(|stage| stage.runs[0].ended = None);
    let schedule = Schedule::parse("0 2 * * *", "UTC").unwrap();
    let now = crate::stage::hour(2 * 24 + 5);
    let mut audited_to = at(0).plus_seconds(-3600);
    let mut verdicts = Vec::new();
    for period in schedule.due(audited_to, now) {
        let mut due = night.night();
        (due.period, due.now) = (period, now);
        let outcome = due.run(&night).unwrap();
        assert_eq!(period.from, audited_to);
        verdicts.push((period.to, outcome.reports[0].verdict));
        night.audited_to.set(Some(outcome.logs[0].to));
        audited_to = period.to;
    }
    assert_eq!(
        verdicts,
        [
            (crate::stage::hour(2), Verdict::Conforming),
            (crate::stage::hour(26), Verdict::NonConforming),
            (crate::stage::hour(50), Verdict::Conforming),
        ]
    );
    let published = night.published.borrow();
    let artifacts: Vec<_> = published.iter().filter(|p| p.report.run_id.is_none()).collect();
    let chain: Vec<_> = artifacts
        .iter()
        .map(|p| p.report.previous_report.map(|before| before.digest.sha256))
        .collect();
    assert_eq!(
        chain,
        [None, Some(artifacts[0].payload), Some(artifacts[1].payload)]
    );
    let stretches: Vec<_> = artifacts
        .iter()
        .map(|p| (p.report.logs[0].from, p.report.logs[0].to))
        .collect();
    assert_eq!(stretches, [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(schedule.due(audited_to, now).count(), 0);
}

#[test]
fn an_empty_period_or_a_policy_without_sense_is_refused() {
    let night = story();
    let mut empty = night.night();
    empty.period = Period {
        from: today().to,
        to: today().to,
    };
    assert!(
        empty
            .run(&night)
            .unwrap_err()
            .to_string()
            .contains("ends before it begins")
    );

    let night = story().change(|stage| few_at_once(stage, 0));
    assert!(night.night().run(&night).is_err());
    assert!(night.published.borrow().is_empty());
}

#[test]
fn a_proof_of_identity_is_what_attributes_and_not_a_name() {
    let night = Stage::new().declares("p", &["ok.example"]).line(
        about(Close, 5, "a", "p", "evil.example:443")
            .reached(1, 1)
            .with(|event| event.attribution = Some(Attribution::None)),
    );
    assert_eq!(night.verdict("p"), Verdict::NoTraffic);
}
