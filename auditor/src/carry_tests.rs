//! A limit on the bytes of a run is about the run, however many nights it lasts.

use base::{Reason, Verdict};
use evidence::EventKind::Close;
use manifests::Limits;
use reports::predicate::{ConformanceReport, Period};

use crate::Exit;
use crate::script::{about, at, run};
use crate::stage::{NIGHT_S, Stage};

/// A run over three days that moves 300 bytes on each, under a limit of `allowed`.
fn leak(allowed: &str) -> Stage {
    let day = |number: i64, id: &str| {
        about(Close, number * NIGHT_S + 3600, id, "p", "ok.example:443").reached(100, 200)
    };
    let limits = Limits {
        bytes_per_run: Some(allowed.parse().unwrap()),
        ..Limits::default()
    };
    Stage::new()
        .declares("p", &["ok.example"])
        .line(day(0, "a"))
        .line(day(1, "b"))
        .line(day(2, "c"))
        .change(move |stage| {
            stage.artifacts[0].manifest.limits = Some(limits);
            stage.runs[0].ended = None;
        })
}

fn day(number: i64) -> Period {
    Period {
        from: at(number * NIGHT_S),
        to: at((number + 1) * NIGHT_S),
    }
}

/// Audits one day, and gives the verdict on the build and the report on the run.
fn audit(stage: &Stage, number: i64) -> (Verdict, ConformanceReport) {
    let mut night = stage.night();
    (night.period, night.now) = (day(number), day(2).to.plus_seconds(60));
    let outcome = night.run(stage).unwrap();
    assert_eq!(outcome.troubles, Vec::<String>::new());
    let published = stage.published.borrow();
    let of_run = published
        .iter()
        .rev()
        .find(|p| p.report.run_id == Some(run("p", 1)));
    (outcome.reports[0].verdict, of_run.unwrap().report.clone())
}

#[test]
fn a_slow_leak_that_stays_below_the_limit_each_night_is_found_when_the_run_exceeds_it() {
    let stage = leak("800B");
    for (number, before) in [(0, 0), (1, 300)] {
        let (verdict, report) = audit(&stage, number);
        assert_eq!(
            (verdict, report.bytes_before),
            (Verdict::Conforming, before),
            "day {number}"
        );
    }
    let (verdict, report) = audit(&stage, 2);
    assert_eq!(verdict, Verdict::NonConforming);
    assert_eq!((report.bytes_before, report.bytes_so_far()), (600, 900));
    let [finding] = report.findings.as_slice() else {
        panic!("{:?}", report.findings)
    };
    assert_eq!(finding.reason, Reason::LimitExceeded);
    let said = format!(
        "900 bytes moved where 800 are declared, 600 of them before {}",
        at(2 * NIGHT_S)
    );
    assert!(finding.fix.starts_with(&said), "{}", finding.fix);
    assert_eq!(finding.events.len(), 1, "the entry of this night that shows it");
}

#[test]
fn a_run_that_moves_exactly_what_is_declared_in_three_nights_keeps_its_word() {
    let stage = leak("900B");
    for number in 0..3 {
        assert_eq!(audit(&stage, number).0, Verdict::Conforming, "day {number}");
    }
}

#[test]
fn a_night_that_was_interrupted_and_resumed_counts_its_bytes_once() {
    let stage = leak("800B");
    audit(&stage, 0);
    audit(&stage, 1);
    // The same night once more, after an interruption: it carries what came before it, and not itself.
    assert_eq!(audit(&stage, 1).1.bytes_before, 300);
    assert_eq!(audit(&stage, 2).1.bytes_before, 600);
    let exactly = leak("900B");
    for number in [0, 1, 1, 2, 2] {
        assert_eq!(audit(&exactly, number).0, Verdict::Conforming, "day {number}");
    }
}

#[test]
fn a_report_that_is_lost_is_said_and_its_night_is_no_clean_one() {
    let stage = leak("800B").change(|stage| stage.lost_previous_reports = true);
    let mut night = stage.night();
    (night.period, night.now) = (day(2), day(2).to.plus_seconds(60));
    let outcome = night.run(&stage).unwrap();
    let said = |trouble: &&String| trouble.contains("moved before cannot be read");
    assert_eq!(
        outcome.troubles.iter().filter(said).count(),
        1,
        "{:?}",
        outcome.troubles
    );
    assert_eq!(outcome.exit(), Exit::CannotTell);
}

#[test]
fn a_report_of_a_first_night_says_nothing_of_bytes_before() {
    let stage = leak("800B");
    let (_, report) = audit(&stage, 0);
    let text = String::from_utf8(report.to_json().unwrap()).unwrap();
    assert!(!text.contains("bytes_before"), "{text}");
}
