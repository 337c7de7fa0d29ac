//! What the log costs: wall time and CPU time per event, per entry and per proof.
//!
//! `cargo bench -p bailiwick-evidence` runs all of it; names after `--` choose. Files go to a
//! temporary folder below `target`, on a real disk. The figures that were measured stand in
//! `BENCHMARKS.md`.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to say"
)]
#![allow(missing_docs, reason = "a binary")]

extern crate bailiwick_evidence as evidence;

use std::time::{Duration, Instant};

use base::{Attribution, Decision, DnsResult, Mode, ObservedScheme, Outcome, Port, Timestamp, Transport};
use evidence::{Event, EventKind, LogWriter, Origin, VerifyOptions, verify_log};
use rustix::time::{ClockId, clock_gettime};
use seal::SigningKey;
use seal::note::NoteVerifier;

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap(),
        u32::try_from(spent.tv_nsec).unwrap(),
    )
}

/// Runs `work` and prints what one of its `units` cost.
fn measure<T>(what: &str, unit: &str, units: u64, work: impl FnOnce() -> T) -> T {
    let (wall, before) = (Instant::now(), cpu());
    let result = work();
    let (wall, spent) = (wall.elapsed(), cpu() - before);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / units as f64;
    println!(
        "{what:<44} {:>9.3} µs CPU, {:>9.3} µs wall per {unit}; {:>10.0} {unit}s per CPU second",
        each(spent),
        each(wall),
        units as f64 / spent.as_secs_f64(),
    );
    result
}

fn key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[7; 32])
}

fn origin() -> Origin {
    Origin::new("acme", "gw-1").unwrap()
}

/// A closing event as a tunnel to an API leaves it: about half a kilobyte… and more with addresses.
fn event(number: u64) -> Event {
    let time = Timestamp::from_unix_us(1_790_000_000_000_000 + i64::try_from(number).unwrap() * 10);
    let close = !number.is_multiple_of(2);
    let kind = if close { EventKind::Close } else { EventKind::Open };
    let mut event = Event::new(kind, time, "gw-1");
    event.artifact_digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap());
    event.attribution = Some(Attribution::Token);
    event.connection_id = Some(format!("{number:016x}"));
    event.crl_number = Some(42);
    event.decision = Some(Decision::Allow);
    event.destination_host = Some("acme.openai.azure.com".parse().unwrap());
    event.matched_entry = Some("acme.openai.azure.com".to_owned());
    event.mode = Some(Mode::Observe);
    event.plugin_id = Some("azure_openai_embeddings".parse().unwrap());
    event.policy_version = Some(7);
    event.port = Some(Port::HTTPS);
    event.run_id = Some("0193d1f2-7a00-7000-8000-000000000001".parse().unwrap());
    event.transport = Some(Transport::Tcp);
    event.would_deny = Some(false);
    if close {
        event.alpn = Some("h2,http/1.1".to_owned());
        event.bytes_in = Some(48_213 + number % 1000);
        event.bytes_out = Some(1_517 + number % 100);
        event.connect_ms = Some(12);
        event.dialed_ip = Some("192.0.2.17".parse().unwrap());
        event.dns_ms = Some(3);
        event.dns_result = Some(DnsResult::Ok);
        event.duration_ms = Some(840 + number % 50);
        event.outcome = Some(Outcome::ServerClosed);
        event.payload_class = Some("tls out<16KiB in<256KiB".to_owned());
        event.resolved_ips = vec!["192.0.2.17".parse().unwrap(), "192.0.2.18".parse().unwrap()];
        event.scheme = Some(ObservedScheme::Tls);
        event.sni = Some("acme.openai.azure.com".to_owned());
    }
    event
}

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runs = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let events: Vec<Event> = (0..1 << 16).map(event).collect();
    let bytes: usize = events.iter().map(|event| event.to_entry().unwrap().len()).sum();
    println!("an event has {} bytes on average", bytes / events.len());
    if runs("encode") {
        measure("encode", "event", 1 << 20, || {
            for _ in 0..16 {
                for event in &events {
                    std::hint::black_box(event.to_entry().unwrap());
                }
            }
        });
        let entries: Vec<_> = events.iter().map(|event| event.to_entry().unwrap()).collect();
        measure("hash", "entry", 1 << 20, || {
            for _ in 0..16 {
                for entry in &entries {
                    std::hint::black_box(evidence::merkle::leaf_hash(entry));
                }
            }
        });
        measure("read", "entry", 1 << 18, || {
            for _ in 0..4 {
                for entry in &entries {
                    std::hint::black_box(Event::from_entry(entry).unwrap());
                }
            }
        });
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = folder.path().join("log");
    if runs("append") {
        let (mut writer, _) = LogWriter::open(&log, &origin(), key()).unwrap();
        let rounds = 16;
        let mut events = events.clone();
        measure("append and sign every 200 ms", "event", rounds << 16, || {
            let mut signed = Instant::now();
            for _ in 0..rounds {
                for batch in events.chunks_mut(256) {
                    writer.append(batch).unwrap();
                    if signed.elapsed() > Duration::from_millis(200) {
                        writer.checkpoint().unwrap();
                        signed = Instant::now();
                    }
                }
            }
            writer.checkpoint().unwrap();
        });
        drop(writer);
        let verifier = NoteVerifier::new("acme/gw-1", &key().public()).unwrap();
        measure("verify", "entry", rounds << 16, || {
            verify_log(&log, &verifier, &VerifyOptions::default(), &mut |_| {}).unwrap()
        });
    }
}
