//! What matching costs: is a destination covered by a manifest, and by which declaration.
//!
//! `cargo bench -p bailiwick-manifests`. The figures that were measured stand in `BENCHMARKS.md`.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to say"
)]
#![allow(missing_docs, reason = "a binary")]

extern crate bailiwick_manifests as manifests;

use std::hint::black_box;
use std::time::{Duration, Instant};

use base::{ObservedScheme, Target, Timestamp};
use manifests::Manifest;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_unix_us(1_795_000_000_000_000);
/// Manifests matched against; more than caches hold of any one of them.
const MANIFESTS: usize = 2000;
const PAIRS: u64 = 20_000_000;

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap(),
        u32::try_from(spent.tv_nsec).unwrap(),
    )
}

/// A manifest of `entries` declarations: names, wildcards of both kinds, ports, and one network.
fn manifest(number: usize, entries: usize) -> Manifest {
    let egress: Vec<String> = (0..entries)
        .map(|at| match at % 6 {
            0 => format!("api-{at}.plugin-{number}.example.com"),
            1 => format!("*.cdn-{at}.plugin-{number}.example.net"),
            2 => format!("**.deep-{at}.plugin-{number}.example.org"),
            3 => format!("https://odd-{at}.plugin-{number}.example.com:443,8443,9000-9010"),
            4 => format!("tcp://db-{at}.plugin-{number}.example.com:5432"),
            _ => format!("198.51.{}.0/24", at % 200),
        })
        .collect();
    Manifest::draft_from_value(&json!({
        "plugin_id": format!("plugin-{number}"), "allowed_egress": egress, "data_classes": [], "sdk_allowlist": [],
        "built_by": "benches", "built_at": "2026-11-01T00:00:00Z",
    }))
    .unwrap()
}

/// Destinations of plugin `number`, one for each kind of entry, and two that nothing covers.
fn destinations(number: usize) -> Vec<(Target, Option<ObservedScheme>)> {
    let tls = Some(ObservedScheme::Tls);
    [
        (format!("api-0.plugin-{number}.example.com:443"), tls),
        (format!("edge7.cdn-1.plugin-{number}.example.net:443"), tls),
        (format!("a.b.c.deep-2.plugin-{number}.example.org:443"), tls),
        (format!("odd-3.plugin-{number}.example.com:9005"), tls),
        (
            format!("db-4.plugin-{number}.example.com:5432"),
            Some(ObservedScheme::Tcp),
        ),
        ("198.51.5.77:443".to_owned(), tls),
        (format!("api-0.plugin-{number}.example.com.evil.example:443"), tls),
        (format!("paste-{number}.example:443"), tls),
    ]
    .map(|(target, scheme)| (Target::from_authority(target.as_bytes()).unwrap(), scheme))
    .into()
}

fn measure(
    what: &str,
    entries: usize,
    pairs: u64,
    ask: impl Fn(&Manifest, &Target, Option<ObservedScheme>) -> bool,
) {
    let manifests: Vec<Manifest> = (0..MANIFESTS).map(|number| manifest(number, entries)).collect();
    let visits: Vec<Vec<_>> = (0..MANIFESTS).map(destinations).collect();
    let (wall, before) = (Instant::now(), cpu());
    let (mut asked, mut covered) = (0_u64, 0_u64);
    'all: loop {
        for (manifest, visits) in manifests.iter().zip(&visits) {
            for (target, scheme) in visits {
                covered += u64::from(ask(black_box(manifest), black_box(target), *scheme));
                asked += 1;
            }
            if asked >= pairs {
                break 'all;
            }
        }
    }
    let (wall, spent) = (wall.elapsed(), cpu() - before);
    println!(
        "{what:<34} {entries:>4} entries  {:>7.1} ns CPU, {:>7.1} ns wall per pair; {:>5.1} million pairs per CPU second; {:.0} % covered",
        spent.as_secs_f64() * 1e9 / asked as f64,
        wall.as_secs_f64() * 1e9 / asked as f64,
        asked as f64 / spent.as_secs_f64() / 1e6,
        covered as f64 * 100.0 / asked as f64,
    );
}

fn main() {
    for entries in [6, 12, 30, 100] {
        measure(
            "which declaration covers it",
            entries,
            PAIRS,
            |manifest, target, scheme| manifest.covering(target, scheme, NOW).is_some(),
        );
    }
    for entries in [6, 12, 30, 100] {
        measure(
            "the same, misses explained",
            entries,
            PAIRS / 10,
            |manifest, target, scheme| manifest.coverage(target, scheme, NOW).is_covered(),
        );
    }
}
