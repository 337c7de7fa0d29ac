//! The table of adversarial cases speaks of scenarios that exist, and leaves no case out.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use bailiwick_tests::tables::{Proofs, named, rows};

/// The numbers of the cases, which have gaps.
const CASES: [u8; 60] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26, 28, 29, 30, 31, 33,
    34, 35, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64,
    65, 67, 68, 69, 70, 72,
];

/// Each line of the table: the case's number, and the scenarios that it names.
fn cases() -> Vec<(u8, Vec<String>)> {
    let cases = rows("ADVERSARIAL.md").unwrap().into_iter().map(|row| {
        let case = row[0].parse().unwrap();
        assert_eq!(row.len(), 4, "case {case} has another number of cells");
        assert!(!row[3].is_empty(), "case {case} shows nothing");
        (case, named(&row[2]).map(str::to_owned).collect())
    });
    cases.collect()
}

#[test]
fn every_case_has_its_line_and_every_scenario_named_there_is_run() {
    let (cases, proofs) = (cases(), Proofs::find().unwrap());
    let listed: Vec<_> = cases.iter().map(|(case, _)| *case).collect();
    assert_eq!(listed, CASES);
    for (case, named) in cases {
        for name in named {
            proofs
                .has(&name)
                .unwrap_or_else(|why| panic!("case {case}: {why}"));
        }
    }
}
