//! The table of adversarial cases speaks of scenarios that exist, and leaves no case out.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The numbers of the cases, which have gaps.
const CASES: [u8; 60] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26, 28, 29, 30, 31, 33,
    34, 35, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64,
    65, 67, 68, 69, 70, 72,
];

fn tests() -> PathBuf {
    bailiwick_tests::workspace().join("tests")
}

/// Each line of the table: the case's number, and the scenarios that it names.
fn rows() -> Vec<(u8, Vec<String>)> {
    let table = std::fs::read_to_string(tests().join("ADVERSARIAL.md")).unwrap();
    table
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let case = cells.get(1)?.parse().ok()?;
            assert_eq!(cells.len(), 6, "case {case} has another number of cells: {line}");
            assert!(!cells[4].is_empty(), "case {case} shows nothing");
            let scenarios = cells[3].split(", ").map(|name| name.trim_matches('`').to_owned());
            Some((case, scenarios.collect()))
        })
        .collect()
}

/// Every scenario that `cargo test --test e2e` runs, as `group::name`.
fn scenarios() -> BTreeSet<String> {
    let e2e = tests().join("tests/e2e");
    let main = std::fs::read_to_string(e2e.join("main.rs")).unwrap();
    let groups = main.lines().filter_map(|line| {
        let (group, rest) = line.trim().strip_prefix("(\"")?.split_once("\", ")?;
        rest.ends_with("::SCENARIOS),").then_some(group)
    });
    groups
        .flat_map(|group| {
            let file = e2e.join(format!("{group}.rs"));
            let file = if file.exists() {
                file
            } else {
                e2e.join(group).join("mod.rs")
            };
            let text = std::fs::read_to_string(file).unwrap();
            let names = text.lines().filter_map(|line| {
                let name = line.trim().strip_prefix("name: \"")?.strip_suffix("\",")?;
                Some(format!("{group}::{name}"))
            });
            names.collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_case_has_its_line_and_every_scenario_named_there_is_run() {
    let (rows, scenarios) = (rows(), scenarios());
    let listed: Vec<_> = rows.iter().map(|(case, _)| *case).collect();
    assert_eq!(listed, CASES);
    for (case, named) in rows {
        for name in named {
            assert!(scenarios.contains(&name), "case {case}: no scenario {name}");
        }
    }
}
