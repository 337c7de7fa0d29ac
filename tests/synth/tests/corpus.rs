//! The labelled corpus, audited by the real binary: nothing missed, nothing made up.
//!
//! The table that comes out is `auditor/CORPUS.md`, word for word.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bailiwick_synth::corpus::{self, SCENES};
use bailiwick_synth::crowd::{Keeping, Sizes};
use bailiwick_synth::{Confusion, Truth};
use base::{Reason, ShownBy};
use serde_json::Value;

const SEEDS: [u64; 3] = [1, 2, 3];

/// What `bailiwick audit` says about a site, and its exit status.
fn audit(site: &Path, truth: &Truth, more: &[&str]) -> (Value, i32) {
    let output = Command::new(bailiwick_tests::bailiwick())
        .arg("--config")
        .arg(site.join("bailiwick.toml"))
        .args(["audit", "--format", "json", "--since", &truth.since.to_string()])
        .args(["--until", &truth.until.to_string()])
        .args(more)
        .output()
        .unwrap();
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    });
    (printed, output.status.code().unwrap())
}

#[test]
fn no_planted_breach_is_missed_and_no_benign_twin_is_accused() {
    let folder = tempfile::tempdir().unwrap();
    let mut confusion = Confusion::default();
    for seed in SEEDS {
        for scene in SCENES {
            let site = folder.path().join(format!("{seed}-{}", scene.name));
            let truth = scene.make(&site, seed, corpus::DAY.parse().unwrap()).unwrap();
            // Signing and writing hundreds of reports is the same work for every seed.
            let more: &[&str] = if seed == SEEDS[0] { &[] } else { &["--dry-run"] };
            let (printed, exit) = audit(&site, &truth, more);
            let known = confusion.off_diagonal.len();
            confusion.add(&truth, &printed, exit).unwrap();
            for line in &mut confusion.off_diagonal[known..] {
                line.insert_str(0, &format!("seed {seed}, {}: ", scene.name));
            }
        }
    }
    let table = confusion.table(&corpus::kinds());
    println!("{table}");
    assert!(
        confusion.off_diagonal.is_empty(),
        "{} off the diagonal:\n{}",
        confusion.off_diagonal.len(),
        confusion.off_diagonal.join("\n")
    );
    let path = bailiwick_tests::workspace().join("auditor/CORPUS.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text.contains(&table),
        "{} has another table; this is the one:\n{table}",
        path.display()
    );
}

/// Whatever evidence can show is planted somewhere, so that nothing can stop being found unnoticed.
#[test]
fn every_reason_that_evidence_can_show_is_planted() {
    let folder = tempfile::tempdir().unwrap();
    let mut planted = BTreeSet::new();
    for scene in SCENES {
        let site = folder.path().join(scene.name);
        let truth = scene.make(&site, SEEDS[0], corpus::DAY.parse().unwrap()).unwrap();
        let due = truth.reports.iter().flat_map(|report| &report.findings);
        planted.extend(due.map(|due| due.reason));
    }
    let by_evidence = |reason: &&Reason| !matches!(reason.shown_by(), ShownBy::Gate | ShownBy::Person);
    let can_show: BTreeSet<Reason> = Reason::ALL.iter().filter(by_evidence).copied().collect();
    assert_eq!(planted, can_show);
}

#[test]
fn the_same_seed_makes_the_same_evidence_and_the_same_truth() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, seed| {
        let site = folder.path().join(name);
        let truth = SCENES[1].make(&site, seed, corpus::DAY.parse().unwrap()).unwrap();
        let read = |file: &str| std::fs::read(site.join(file)).unwrap();
        (
            truth,
            read("truth.json"),
            read("data/log/gw-1/checkpoint"),
            read("data/log/gw-2/checkpoint"),
        )
    };
    assert_eq!(make("a", 5), make("b", 5));
    assert_ne!(make("c", 6).2, make("a-again", 5).2);
}

/// Whatever the archive has, and whatever the log still has: the same audit, word for word.
#[test]
fn the_corpus_read_from_the_archive_from_logs_and_from_both_is_judged_alike() {
    let folder = tempfile::tempdir().unwrap();
    let mut confusion = Confusion::default();
    for seed in SEEDS {
        // What is changed in a log beside its archive is for `evidence verify` to find.
        for scene in SCENES.iter().filter(|scene| scene.name != "tampered") {
            let site = folder.path().join(format!("{seed}-{}", scene.name));
            let make = |keeping| scene.make_keeping(&site, seed, corpus::DAY.parse().unwrap(), keeping);
            let truth = make(Keeping::Archived).unwrap();
            let said = || audit(&site, &truth, &["--dry-run"]);
            let from_archive = said();
            confusion.add(&truth, &from_archive.0, from_archive.1).unwrap();
            let files = parquet_files(&site.join("data/archive"));
            assert!(files.len() > 8, "{}", files.len());
            for file in files.iter().step_by(3) {
                std::fs::remove_file(file).unwrap();
            }
            assert_eq!(said(), from_archive, "seed {seed}, {}: from both", scene.name);
            std::fs::remove_dir_all(site.join("data/archive")).unwrap();
            assert_eq!(said(), from_archive, "seed {seed}, {}: from logs", scene.name);
            std::fs::remove_dir_all(&site).unwrap();
            let truth = make(Keeping::Pruned).unwrap();
            let (printed, exit) = audit(&site, &truth, &["--dry-run"]);
            confusion.add(&truth, &printed, exit).unwrap();
        }
    }
    assert_eq!(confusion.off_diagonal, Vec::<String>::new());
}

/// A second audit begins to verify where the first ended, unless it is asked for everything; what was changed
/// before that is found all the same, because it is read.
#[test]
fn an_audit_goes_on_where_the_last_one_ended_and_notices_what_was_changed_before() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    let sizes = Sizes {
        plugins: 2,
        artifacts: 2,
        runs: 4,
        gateways: 1,
        events: 800,
        breaches: 0.1,
        days: 1,
        only_archive: None,
        keeping: Keeping::Log,
    };
    let truth = sizes.make(&site, 1, corpus::DAY.parse().unwrap()).unwrap();
    let verified_from = |printed: &Value| printed["logs"][0]["verified_from"].as_u64().unwrap();
    let (first, exit) = audit(&site, &truth, &[]);
    assert_eq!(verified_from(&first), 0);
    let (second, again) = audit(&site, &truth, &["--dry-run"]);
    assert!(verified_from(&second) > 500, "{second:#}");
    assert_eq!(again, exit);
    let (full, _) = audit(&site, &truth, &["--dry-run", "--full"]);
    assert_eq!(verified_from(&full), 0);
    let verdicts = |printed: &Value| -> Vec<Value> {
        let reports = printed["reports"].as_array().unwrap().iter();
        reports.map(|report| report["verdict"].clone()).collect()
    };
    assert_eq!(verdicts(&second), verdicts(&full));

    corpus::tamper(&site.join("data/log/gw-1")).unwrap();
    for more in [&["--dry-run"][..], &["--dry-run", "--full"]] {
        let (printed, exit) = audit(&site, &truth, more);
        assert_eq!(exit, 1, "{printed:#}");
        assert_eq!(printed["logs"], Value::Array(Vec::new()), "{printed:#}");
        let doubts = printed["doubts"].to_string();
        assert!(doubts.contains("tampered_evidence"), "{doubts}");
    }
}

fn parquet_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(parquet_files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// A test of the test: whatever an audit gets wrong is off the diagonal.
#[test]
fn a_wrong_verdict_a_missed_finding_and_a_false_alarm_all_show() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    let truth = SCENES[1].make(&site, 1, corpus::DAY.parse().unwrap()).unwrap();
    let (printed, exit) = audit(&site, &truth, &["--dry-run"]);
    let reports = printed["reports"].as_array().unwrap();
    let doubted = reports
        .iter()
        .position(|report| report["verdict"] == "inconclusive");
    let at = doubted.unwrap();
    let off = |truth: &Truth, printed: &Value, exit| {
        let mut confusion = Confusion::default();
        confusion.add(truth, printed, exit).unwrap();
        confusion.off_diagonal
    };
    assert_eq!(off(&truth, &printed, exit), Vec::<String>::new());
    assert_eq!(off(&truth, &printed, 0).len(), 1);
    let mut wrong = printed.clone();
    wrong["reports"][at]["verdict"] = "conforming".into();
    assert_eq!(off(&truth, &wrong, exit).len(), 1);
    let mut wrong = printed.clone();
    wrong["reports"][at]["findings"] = Value::Array(Vec::new());
    assert_eq!(off(&truth, &wrong, exit).len(), 1);
    let mut wrong = printed.clone();
    let finding = wrong["reports"][at]["findings"][0].clone();
    wrong["reports"][at]["findings"]
        .as_array_mut()
        .unwrap()
        .push(finding);
    assert_eq!(off(&truth, &wrong, exit).len(), 1);
    let mut wrong = printed.clone();
    wrong["reports"].as_array_mut().unwrap().remove(at);
    assert_eq!(off(&truth, &wrong, exit).len(), 2, "no verdict and no finding");
    let mut wrong = printed;
    wrong["doubts"] = Value::Array(Vec::new());
    wrong["notices"] = serde_json::json!(["something"]);
    assert_eq!(off(&truth, &wrong, exit).len(), 2);
}
