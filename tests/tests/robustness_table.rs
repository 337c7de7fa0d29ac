//! The table of the gateway's promises speaks of tests and benchmarks that exist, and leaves no promise out.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use bailiwick_tests::tables::{Proofs, named, rows};

/// What the gateway promises, in the order of the table. Whoever takes one back takes it out here too.
const PROMISES: &[&str] = &[
    "heads",
    "headers",
    "streams",
    "connections of a run",
    "connections of a plugin",
    "connection rate",
    "clients at once",
    "idle time",
    "total time",
    "name lookups",
    "memory",
    "one plugin at its limit does not slow another",
    "slow heads",
    "slow bodies",
    "rapid reset",
    "CONTINUATION flood",
    "other floods of frames",
    "a zero-window peer",
    "a half-open client",
    "9,000 tunnels in one process",
    "a million connections",
    "descriptors",
    "ports to connect from",
    "the resolver",
    "an upstream black hole",
    "an upstream that refuses",
    "the disk",
    "reload by SIGHUP",
    "reload by the API: limits",
    "reload by the API: the resolver's map",
    "reload: tiers and policy",
    "reload: certificates",
    "reload: lists",
    "drain with a deadline",
    "socket activation",
    "`sd_notify` and the watchdog",
    "the limit of descriptors",
    "nobody is refused and nothing is cut",
    "tunnels in TLS",
    "streams of HTTP/2",
    "listeners whose ports the system chose",
    "listeners of runs",
    "kills, lists and ended runs",
    "the policy, tiers and run keys",
    "one of the two dies",
    "whoever should not be let in",
    "histograms on `/metrics`",
    "no host or plugin as a label",
    "`/readyz` while draining",
    "`/readyz` while evidence cannot be written",
    "one line for what is refused or fails",
    "no secrets",
    "resolving, connecting, peeking, idle, half-closed, stalled peer",
    "by TLS, HTTP/2 and through a parent",
    "nobody slips through",
    "other digests do not notice",
    "p99 at 9,000 tunnels",
];

#[test]
fn every_promise_has_its_line_and_everything_named_there_exists() {
    let (rows, proofs) = (rows("ROBUSTNESS.md").unwrap(), Proofs::find().unwrap());
    let listed: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed, PROMISES);
    for row in &rows {
        let promise = &row[0];
        assert_eq!(row.len(), 3, "{promise}: another number of cells");
        assert!(!row[2].is_empty(), "{promise}: nothing is shown");
        for name in named(&row[1]) {
            proofs.has(name).unwrap_or_else(|why| panic!("{promise}: {why}"));
        }
    }
}

#[test]
fn what_is_not_there_is_no_proof() {
    let proofs = Proofs::find().unwrap();
    for missing in [
        "limits::nothing_of_this_name",
        "nothing::whatever",
        "proxy/src/head.rs::scan",
        "proxy/src/head.rs::nothing_of_this_name",
        "proxy/src/nothing.rs::a_head_has_limits",
        "benches/nothing",
        "benches/README.md",
        "",
    ] {
        assert!(proofs.has(missing).is_err(), "{missing}");
    }
}
