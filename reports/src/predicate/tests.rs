use base::{Reason, Severity, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{breach, clean, doubtful, finding, observed, silent, time};

fn refused(report: &ConformanceReport) -> Inconsistent {
    report.check().unwrap_err()
}

#[test]
fn reports_of_every_verdict_agree_with_themselves_and_round_trip() {
    for report in [clean(), breach(), doubtful(), silent()] {
        assert_eq!(report.check(), Ok(()));
        let json = report.to_json().unwrap();
        let read = ConformanceReport::parse(&json).unwrap();
        assert_eq!(read, report);
        assert_eq!(read.to_json().unwrap(), json);
    }
}

#[test]
fn a_breach_is_never_conforming_and_a_gap_does_not_buy_doubt() {
    for claimed in [Verdict::Conforming, Verdict::Inconclusive, Verdict::NoTraffic] {
        let mut report = breach();
        report.verdict = claimed;
        let follows = Verdict::NonConforming;
        assert_eq!(refused(&report), Inconsistent::Verdict { claimed, follows });
    }
    let mut report = breach();
    report.coverage.gaps = doubtful().coverage.gaps;
    assert_eq!(report.check(), Ok(()));
}

#[test]
fn missing_evidence_is_never_conforming() {
    let claims_conforming = |change: fn(&mut ConformanceReport)| {
        let mut report = clean();
        change(&mut report);
        matches!(
            report.check(),
            Err(Inconsistent::Verdict {
                follows: Verdict::Inconclusive,
                ..
            })
        )
    };
    assert!(claims_conforming(|r| r.coverage.gaps = doubtful().coverage.gaps));
    assert!(claims_conforming(|r| r.coverage.gateways_expected = 2));
    assert!(claims_conforming(|r| r.omitted.gaps = 1));
    assert!(claims_conforming(
        |r| r.findings = vec![finding(r, Reason::NoCoverage, None)]
    ));
    let mut quiet = silent();
    quiet.coverage.gateways_seen = 0;
    assert!(matches!(refused(&quiet), Inconsistent::Verdict { .. }));
}

#[test]
fn a_note_changes_no_verdict() {
    let mut report = clean();
    let mut note = finding(&report, Reason::SniMismatch, Some("acme.openai.azure.com"));
    note.severity = Severity::Info;
    report.findings = vec![note];
    assert_eq!(report.check(), Ok(()));
}

#[test]
fn an_undeclared_destination_needs_a_finding() {
    let mut report = breach();
    report.observed.push(observed("paste.example", None, 1));
    assert_eq!(
        refused(&report),
        Inconsistent::Unmentioned {
            target: "paste.example:443".into()
        }
    );
}

#[test]
fn a_finding_keeps_its_id_and_cites_what_the_report_names() {
    let mut report = breach();
    report.period.to = time("2026-11-23T00:00:00Z");
    assert!(matches!(refused(&report), Inconsistent::FindingId { .. }));
    let mut report = breach();
    report.logs[0].to = 321;
    assert_eq!(refused(&report), Inconsistent::UncitedLog { index: 321 });
    report.logs[0].to = 322;
    assert_eq!(report.check(), Ok(()));
    report.logs[0].origin = "acme/gw-2".into();
    assert_eq!(refused(&report), Inconsistent::UncitedLog { index: 321 });
}

#[test]
fn a_findings_id_follows_from_what_it_is_about_and_nothing_else() {
    let report = breach();
    let id = report.findings[0].id;
    // Written down, because reports of years ago must still find their findings.
    assert_eq!(id.to_string(), "c318611b513dde9547df465bb63b3f1d");
    let again = |change: fn(&mut Finding)| {
        let mut finding = report.findings[0].clone();
        change(&mut finding);
        FindingId::of(&report.scope(), &finding.key())
    };
    assert_eq!(again(|f| f.connections = 9), id);
    assert_eq!(again(|f| f.fix = "another".into()), id);
    assert_ne!(again(|f| f.reason = Reason::UndeclaredPort), id);
    assert_ne!(again(|f| f.host = Some("b.example".parse().unwrap())), id);
    assert_ne!(again(|f| f.port = None), id);
    assert_ne!(again(|f| f.scheme = None), id);
    assert_ne!(again(|f| f.origin = Some("acme/gw-1".into())), id);
    let mut run = report.clone();
    run.run_id = Some(report.findings[0].runs[0]);
    assert_ne!(FindingId::of(&run.scope(), &report.findings[0].key()), id);
}

#[test]
fn numbers_and_times_that_cannot_be_are_refused() {
    let broken = |change: fn(&mut ConformanceReport)| {
        let mut report = breach();
        change(&mut report);
        refused(&report)
    };
    assert!(matches!(
        broken(|r| r.period.to = r.period.from),
        Inconsistent::Backwards { .. }
    ));
    assert!(matches!(
        broken(|r| r.logs[0].to = 0),
        Inconsistent::UncitedLog { .. }
    ));
    assert!(matches!(
        broken(|r| r.logs[0].from = 999_999),
        Inconsistent::Backwards { .. }
    ));
    assert!(matches!(
        broken(|r| r.findings[0].refused = 4),
        Inconsistent::Excess { .. }
    ));
    assert!(matches!(
        broken(|r| r.observed[0].refused = 99_999),
        Inconsistent::Excess { .. }
    ));
    assert!(matches!(
        broken(|r| r.coverage.gateways_seen = 2),
        Inconsistent::Excess { .. }
    ));
    assert!(matches!(
        broken(|r| r.coverage.events = 0),
        Inconsistent::Excess { .. }
    ));
    assert!(matches!(
        broken(|r| r.findings[0].fix.clear()),
        Inconsistent::Text { .. }
    ));
    assert!(matches!(
        broken(|r| r.unused[0] = "x".repeat(4096)),
        Inconsistent::Text { .. }
    ));
    assert!(matches!(
        broken(|r| r.observed.reverse()),
        Inconsistent::Order { .. }
    ));
    assert!(matches!(
        broken(|r| r.findings.push(r.findings[0].clone())),
        Inconsistent::Order { .. }
    ));
}

#[test]
fn an_act_on_the_list_names_the_list_and_has_a_cause() {
    let mut report = breach();
    report.actions[1].crl_number = None;
    assert!(matches!(refused(&report), Inconsistent::Action { .. }));
    report.actions[1].crl_number = Some(41);
    assert!(matches!(refused(&report), Inconsistent::Action { .. }));
    let mut report = clean();
    report.actions = breach().actions;
    assert!(matches!(refused(&report), Inconsistent::Action { .. }));
}

#[test]
fn reading_is_strict() {
    let value: Value = serde_json::to_value(breach()).unwrap();
    let read = |edit: &dyn Fn(&mut Value)| {
        let mut value = value.clone();
        edit(&mut value);
        ConformanceReport::from_value(value)
    };
    assert!(read(&|_| {}).is_ok());
    for pointer in [
        "",
        "/coverage",
        "/logs/0",
        "/observed/0",
        "/findings/0",
        "/findings/0/events/0",
        "/actions/0",
        "/manifest/digest",
        "/auditor",
        "/period",
    ] {
        let extra = read(&|v| v.pointer_mut(pointer).unwrap()["extra"] = json!(1));
        assert!(matches!(extra, Err(InvalidReport::Shape { .. })), "{pointer}");
    }
    for (pointer, key) in [
        ("", "run_id"),
        ("", "previous_report"),
        ("", "verdict"),
        ("/coverage", "scope"),
        ("/observed/0", "matched"),
        ("/observed/0", "scheme"),
        ("/findings/0", "host"),
        ("/actions/0", "crl_number"),
    ] {
        let absent = read(&|v| {
            v.pointer_mut(pointer)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(key);
        });
        assert!(
            matches!(absent, Err(InvalidReport::Shape { .. })),
            "{pointer} {key}"
        );
    }
    for (pointer, wrong) in [
        ("/verdict", json!("fine")),
        ("/observed/0/port", json!(0)),
        ("/observed/0/host", json!("a b")),
        ("/findings/0/id", json!("F".repeat(32))),
        ("/findings/0/id", json!("0".repeat(30))),
        ("/manifest/digest/sha256", json!("A".repeat(64))),
        ("/coverage/scope", json!("everything")),
    ] {
        assert!(
            read(&|v| *v.pointer_mut(pointer).unwrap() = wrong.clone()).is_err(),
            "{pointer}"
        );
    }
}

#[test]
fn a_shape_error_does_not_repeat_control_characters() {
    let mut value = serde_json::to_value(clean()).unwrap();
    value["\u{1b}[31m\u{202e}"] = json!(1);
    let error = ConformanceReport::from_value(value).unwrap_err().to_string();
    assert!(!error.contains(['\u{1b}', '\u{202e}']), "{error:?}");
}

#[test]
fn ten_thousand_findings_still_fit_and_the_count_stays_true() {
    let mut report = breach();
    for number in 0..10_000 {
        let name = format!("{number:05}.{}.paste.example", "x".repeat(60));
        report.observed.push(observed(&name, None, 1));
        let mut one = finding(&report, Reason::UndeclaredHost, Some(&name));
        one.events = (0..50)
            .map(|index| EventReference {
                origin: "acme/gw-1".into(),
                index,
            })
            .collect();
        report.findings.push(one);
    }
    report.fit();
    assert_eq!(report.check(), Ok(()));
    assert_eq!(report.findings.len() as u64 + report.omitted.findings, 10_001);
    assert_eq!(report.observed.len() as u64 + report.omitted.observed, 10_002);
    assert!(report.to_json().unwrap().len() <= MAX_PAYLOAD_BYTES);
}

#[test]
fn shortening_keeps_the_gravest_findings() {
    let mut report = breach();
    for number in 0..2000 {
        let name = format!("h{number}.example");
        let mut note = finding(&report, Reason::SniMismatch, Some(&name));
        note.severity = Severity::Info;
        report.findings.push(note);
    }
    report.fit();
    assert_eq!(report.findings[0].reason, Reason::UndeclaredHost);
    assert_eq!(report.check(), Ok(()));
}

#[test]
fn a_finding_about_a_whole_run_outlives_those_about_single_hosts() {
    let mut report = breach();
    for number in 0..2000 {
        let name = format!("h{number}.example");
        let one = finding(&report, Reason::UndeclaredHost, Some(&name));
        report.findings.push(one);
    }
    let mut crowd = finding(&report, Reason::LimitExceeded, None);
    crowd.severity = Severity::Info;
    report.findings.push(crowd);
    report.fit();
    assert_eq!(report.findings.len() as u64 + report.omitted.findings, 2002);
    assert_eq!(report.findings[0].reason, Reason::UndeclaredHost);
    assert_eq!(report.findings.last().unwrap().reason, Reason::LimitExceeded);
    assert_eq!(report.check(), Ok(()));
}

fn arbitrary() -> impl Strategy<Value = ConformanceReport> {
    let host = "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,5}){1,2}";
    let rows = prop::collection::vec((host, 1u16.., 0u64..1000, any::<bool>()), 0..12);
    (rows, any::<bool>(), 0u64..3, "\\PC{1,40}").prop_map(|(rows, is_run, away, words)| {
        let mut report = clean();
        report.observed.clear();
        report.run_id = is_run.then(|| "019aa3f0-1c00-7000-8000-000000000001".parse().unwrap());
        report.coverage.gateways_expected = 1 + away;
        for (name, port, connections, declared) in rows {
            let mut row = observed(&name, declared.then_some("*.example"), connections);
            row.port = port.try_into().unwrap();
            if !declared {
                let mut one = finding(&report, Reason::UndeclaredHost, Some(&name));
                one.port = Some(row.port);
                one.fix.clone_from(&words);
                one.id = FindingId::of(&report.scope(), &one.key());
                report.findings.push(one);
            }
            report.observed.push(row);
        }
        report.put_in_order();
        report.observed.dedup_by(|a, b| a.key() == b.key());
        report.verdict = report.verdict_that_follows();
        report
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(report in arbitrary()) {
        if report.check().is_ok() {
            let json = report.to_json().unwrap();
            prop_assert_eq!(ConformanceReport::parse(&json).unwrap(), report);
        }
    }

    #[test]
    fn order_does_not_depend_on_who_gathered(report in arbitrary(), seed in any::<u64>()) {
        let mut shuffled = report.clone();
        let turn = |length: usize| if length == 0 { 0 } else { seed as usize % length };
        let (findings, observed) = (turn(shuffled.findings.len()), turn(shuffled.observed.len()));
        shuffled.findings.rotate_left(findings);
        shuffled.observed.rotate_left(observed);
        shuffled.put_in_order();
        prop_assert_eq!(shuffled, report);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ConformanceReport::parse(&bytes);
    }
}
