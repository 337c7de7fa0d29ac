//! Reports about single runs: what they name, and which evidence they rest on.

use std::collections::BTreeSet;

use base::{Sha256Digest, Verdict};
use evidence::EventKind::Gap;
use reports::predicate::{ConformanceReport, EventReference};

use crate::docket::Docket;
use crate::fold::Fold;
use crate::gather::{Evidence, gather_into};
use crate::observation::Stretch;
use crate::records::Records;
use crate::report::{self, Particulars};
use crate::script::{at, event, run, visit};
use crate::seen::Seen;
use crate::stage::{NIGHT_S, Stage, today};
use crate::terms::Rulebook;

const DECLARED: &str = "**.openai.azure.com";

/// The reports about the artifact and about its first run, where `change` makes of the evidence what it will.
fn reports(stage: &Stage, change: impl FnOnce(&mut Evidence)) -> [ConformanceReport; 2] {
    let records = Records::read(stage, today()).unwrap();
    let book = Rulebook::new(&records.artifacts, &records.runs, &records.policy, None).unwrap();
    let fold = Fold::new(today(), at(NIGHT_S + 60))
        .by(&book)
        .packing(Seen::default());
    let mut evidence = gather_into(fold, stage, records.gateways.clone());
    change(&mut evidence);
    let docket = Docket::new(&records.artifacts[0], &records, &evidence, &book);
    let letterhead = records.letterhead(&stage.auditor);
    [None, Some(run("weather", 1))].map(|run_id| {
        let opened = docket.open(&evidence).unwrap();
        let case = docket.case(run_id, today(), &evidence, &opened);
        let particulars = Particulars {
            manifest: docket.at_end(run_id, today()).1,
            manifests: docket.manifests(run_id, today()),
            bytes_before: 0,
            previous: None,
            runs: 1,
            actions: Vec::new(),
        };
        let report = report::write(&letterhead, &case, &evidence, &case.judge(), particulars);
        report.check().unwrap();
        report
    })
}

/// So many gateways more, of which nothing is in any report.
fn more_gateways(evidence: &mut Evidence, count: u64) {
    for number in 0..count {
        let stretch = Stretch {
            origin: format!("acme/idle-{number}"),
            from: 0,
            to: 1,
        };
        evidence.observations.logs.push(stretch);
        evidence.logs.push(evidence.logs[0].clone());
    }
    evidence.gateways_expected += count;
}

#[test]
fn a_report_about_a_run_is_as_small_with_a_thousand_gateways_as_with_one() {
    let stage = Stage::new()
        .declares("weather", &[DECLARED])
        .observes("weather", "acme.openai.azure.com:443");
    let [_, alone] = reports(&stage, |_| ());
    let [artifact, among] = reports(&stage, |evidence| more_gateways(evidence, 999));
    assert_eq!(artifact.logs.len(), 1000);
    assert_eq!(artifact.omitted.logs, 0);
    assert_eq!(among.logs, alone.logs);
    assert_eq!((alone.omitted.logs, among.omitted.logs), (0, 999));
    assert_eq!(among.verdict, Verdict::Conforming);
    assert_eq!(
        (among.coverage.gateways_seen, among.coverage.gateways_expected),
        (1000, 1000)
    );
    let size = |report: &ConformanceReport| serde_json::to_vec(report).unwrap().len();
    assert!(
        size(&among) < size(&alone) + 40,
        "{} and {}",
        size(&among),
        size(&alone)
    );
    // The page says what was left out, and where it stands.
    let night = stage.audit();
    assert_eq!(night.troubles, Vec::<String>::new());
    let context = stage.published.borrow()[1].context.clone();
    for page in [
        reports::render::text(&among, &context),
        reports::render::html(&among, &context),
    ] {
        assert!(page.contains("999 further logs"), "{page}");
    }
}

#[test]
fn a_gateway_that_holds_a_run_or_is_in_doubt_is_named_by_its_report() {
    let own = |seconds, id: &str| visit(seconds, id, "weather", "acme.openai.azure.com:443");
    let stage = Stage::new()
        .declares("weather", &[DECLARED])
        .declares("other", &[DECLARED])
        .observes("other", "acme.openai.azure.com:443")
        .gateway(&own(100, "one"))
        .gateway(&[event(Gap, 200)])
        .gateway(&own(300, "two"))
        .gateway(&visit(400, "three", "other", "acme.openai.azure.com:443"));
    let origins = |report: &ConformanceReport| -> Vec<String> {
        report.logs.iter().map(|log| log.origin.clone()).collect()
    };
    // The artifact that comes first by its name is `other`; its first run is not asked about here.
    let night = stage.audit();
    let of_run = |plugin: &str| {
        let published = stage.published.borrow();
        let report = published.iter().map(|publication| &publication.report);
        let mut of_run = report.filter(|report| report.run_id == Some(run(plugin, 1)));
        of_run.next().unwrap().clone()
    };
    assert_eq!(night.troubles, Vec::<String>::new());
    let report = of_run("weather");
    assert_eq!(origins(&report), ["acme/gw-2", "acme/gw-3", "acme/gw-4"]);
    assert_eq!(report.omitted.logs, 2);
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert_eq!(origins(&of_run("other")), ["acme/gw-1", "acme/gw-3", "acme/gw-5"]);
}

#[test]
fn a_run_has_an_evidence_bundle_of_its_own_where_its_artifacts_does_not_hold_what_it_cites() {
    let mut stage = Stage::new().declares("weather", &[DECLARED]);
    for number in 1..=8 {
        let id = format!("of run {number}");
        let lines = visit(i64::from(number) * 100, &id, "weather", "paste.example:443");
        for line in lines {
            stage = stage.line(line.of("weather", number));
        }
        stage = stage.runs("weather", number);
    }
    let outcome = stage.audit();
    assert_eq!(outcome.troubles, Vec::<String>::new());
    let root = seal::trust::TrustRoot::parse(&stage.auditor.trust_root).unwrap();
    let published = stage.published.borrow();
    let cited = |report: &ConformanceReport| -> BTreeSet<EventReference> {
        let events = report.findings.iter().flat_map(|finding| &finding.events);
        events.cloned().collect()
    };
    let of_artifact = cited(&published[0].report);
    let mut own = 0;
    for publication in &published[1..] {
        let report = &publication.report;
        assert_eq!(report.verdict, Verdict::NonConforming);
        let opened = reports::open_report(&publication.bundle, &root).unwrap();
        let (_, bound) = opened.evidence_bundle.unwrap();
        let bytes = match &publication.evidence {
            Some(bytes) => {
                own += 1;
                assert!(!cited(report).is_subset(&of_artifact));
                bytes
            }
            None => {
                assert!(cited(report).is_subset(&of_artifact));
                published[0].evidence.as_ref().unwrap()
            }
        };
        assert_eq!(bound, Sha256Digest::of(bytes));
        let files = reports::bundle::read_bundle(bytes).unwrap();
        for event in cited(report) {
            let name = format!("events/acme~gw-1/{}.json.tlog-proof", event.index);
            assert!(files.contains_key(&name), "{name}");
        }
    }
    assert!(0 < own && own < 8, "{own} of 8 runs have one of their own");
}

#[test]
fn a_run_that_is_audited_alone_has_an_evidence_bundle_of_its_own() {
    let stage = Stage::new()
        .declares("weather", &[DECLARED])
        .observes("weather", "acme.openai.azure.com:443");
    let mut night = stage.night();
    night.run_id = Some(run("weather", 1));
    night.run(&stage).unwrap();
    let published = stage.published.borrow();
    assert_eq!(published.len(), 1);
    assert!(published[0].evidence.is_some());
}
