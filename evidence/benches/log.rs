//! What the log costs: wall time and CPU time per event, per entry and per proof.
//!
//! `cargo bench -p bailiwick-evidence` runs all of it but `large`; names after `--` choose. Files go to a
//! temporary folder below `target`, on a real disk. The figures that were measured stand in
//! `BENCHMARKS.md`.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to say"
)]
#![allow(missing_docs, reason = "a binary")]

extern crate bailiwick_evidence as evidence;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base::{Attribution, Decision, DnsResult, Mode, ObservedScheme, Outcome, Port, Timestamp, Transport};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::export::Form;
use evidence::merkle::{leaf_hash, root_of};
use evidence::{
    Draft, Event, EventKind, LogWriter, Origin, Shelf, Tile, VerifiedLog, VerifyOptions, prove_entry,
    verify_log, verify_proof,
};
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

/// The events of a tunnel to an API, opening and closing in turn: half a kilobyte on average, as
/// events of busy gateways are.
fn event(number: u64) -> Event {
    let time = Timestamp::from_unix_us(1_790_000_000_000_000 + i64::try_from(number).unwrap() * 10);
    let close = !number.is_multiple_of(2);
    let kind = if close { EventKind::Close } else { EventKind::Open };
    let mut event = Event::new(kind, time, "gw-1");
    event.artifact_digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap());
    event.attribution = Some(Attribution::Token);
    event.connection_id = Some(format!("{number:013x}"));
    event.decision = Some(Decision::Allow);
    event.destination_host = Some("acme.openai.azure.com".parse().unwrap());
    event.mode = Some(Mode::Observe);
    event.plugin_id = Some("azure_openai_embeddings".parse().unwrap());
    event.port = Some(Port::HTTPS);
    event.run_id = Some("0193d1f2-7a00-7000-8000-000000000001".parse().unwrap());
    event.transport = Some(Transport::Tcp);
    if close {
        event.bytes_in = Some(48_213 + number % 1000);
        event.bytes_out = Some(1_517 + number % 100);
        event.connect_ms = Some(12);
        event.dialed_ip = Some("192.0.2.17".parse().unwrap());
        event.dns_ms = Some(3);
        event.dns_result = Some(DnsResult::Ok);
        event.duration_ms = Some(840 + number % 50);
        event.outcome = Some(Outcome::ServerClosed);
        event.payload_class = Some("tls out<16KiB in<256KiB".to_owned());
        event.resolved_ips = vec!["192.0.2.17".parse().unwrap()];
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
        append(&log, &events);
    }
    if runs("export") {
        let log = folder.path().join("exported");
        append_for(&log, &events, 32);
        export(&log, 32 << 16);
    }
    if runs("prove") {
        prove(&folder.path().join("large"));
    }
    if chosen.iter().any(|chosen| chosen == "large") {
        // 153 times 65,536 events. A log that is kept is not written again.
        let kept = std::env::var_os(KEPT_LOG).map(std::path::PathBuf::from);
        let log = kept.unwrap_or_else(|| folder.path().join("large"));
        if !log.join("checkpoint").exists() {
            let unit = "event";
            measure("write a large log", unit, 153 << 16, || {
                append_for(&log, &events, 153)
            });
        }
        verify(&log, 153 << 16);
    }
}

/// Names the folder of the log of `large`, which is then kept.
const KEPT_LOG: &str = "BAILIWICK_BENCH_LOG";

fn verifier() -> NoteVerifier {
    NoteVerifier::new("acme/gw-1", &key().public()).unwrap()
}

/// The whole way of an event: encoded, put into the journal, flushed every 100 ms and sealed every
/// 200 ms by other threads, as a gateway does it. Then verified, twice as long each time.
fn append(log: &Path, events: &[Event]) {
    let rounds: u64 = 16;
    measure("encode, append, flush, seal, sign", "event", rounds << 16, || {
        append_for(log, events, rounds)
    });
    for rounds in [rounds, 2 * rounds] {
        verify(log, rounds << 16);
        append_for(log, events, rounds);
    }
}

/// Appends all `events` so many times.
fn append_for(log: &Path, events: &[Event], rounds: u64) {
    let (mut writer, _) = LogWriter::open(log, &origin(), key()).unwrap();
    let (mut flushed, mut sealed) = (Instant::now(), Instant::now());
    let (mut flush, mut seal) = (None, None);
    for _ in 0..rounds {
        for batch in events.chunks(1024) {
            let drafts: Vec<Draft> = batch.iter().map(|event| Draft::new(event).unwrap()).collect();
            writer.append_drafts(&drafts).unwrap();
            if flush.is_none() && flushed.elapsed() > Duration::from_millis(100) {
                flushed = Instant::now();
                let work = writer.start_flush();
                flush = work.map(|work| std::thread::spawn(|| work.run()));
            }
            if seal.is_none() && sealed.elapsed() > Duration::from_millis(200) {
                sealed = Instant::now();
                let work = writer.start_seal().unwrap();
                seal = work.map(|work| std::thread::spawn(|| work.run()));
            }
            if let Some(done) = flush.take_if(|work| work.is_finished()) {
                writer.finish_flush(done.join().unwrap()).unwrap();
            }
            if let Some(done) = seal.take_if(|work| work.is_finished()) {
                writer.finish_seal(done.join().unwrap()).unwrap();
            }
        }
    }
    if let Some(done) = flush {
        writer.finish_flush(done.join().unwrap()).unwrap();
    }
    if let Some(done) = seal {
        writer.finish_seal(done.join().unwrap()).unwrap();
    }
    writer.checkpoint().unwrap();
}

fn verify(log: &Path, entries: u64) {
    let before = held_since();
    let found = measure(&format!("verify {entries} entries"), "entry", entries, || {
        verify_log(log, &verifier(), &VerifyOptions::default(), &mut |_| {}).unwrap()
    });
    assert_eq!((found.is_tampered(), found.size()), (false, entries));
    println!(
        "    it held {} KiB more than before it began",
        most_memory_kib() - before
    );
}

/// The largest resident size this process ever had.
fn most_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A log of a hundred million entries, of which the tiles that some proofs need are on disk: every
/// tile above the leaves, and for each sample its leaves and its entries.
fn prove(log: &Path) {
    const SIZE: u64 = 100_000_000;
    let samples: Vec<u64> = (0..200).map(|i| i * 499_999 + 12_345).collect();
    let entry = |index: u64| {
        let mut event = Event::new(EventKind::Stop, Timestamp::from_unix_us(0), "gw-1");
        event.seq = index;
        event.to_entry().unwrap()
    };
    let write = |shelf, index, bytes: &[u8]| {
        let path = log.join(Tile::of_tree(shelf, index, SIZE).unwrap().to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let bytes = |hashes: &[base::Sha256Digest]| {
        hashes
            .iter()
            .flat_map(|hash| *hash.as_bytes())
            .collect::<Vec<u8>>()
    };
    let mut above = Vec::new();
    for number in 0..SIZE / 256 {
        let entries: Vec<_> = (number * 256..(number + 1) * 256).map(entry).collect();
        let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        if samples.iter().any(|index| index / 256 == number) {
            write(Shelf::Level(0), number, &bytes(&leaves));
            let bundle: Vec<u8> = entries
                .iter()
                .flat_map(|entry| {
                    [
                        &u16::try_from(entry.len()).unwrap().to_be_bytes(),
                        entry.as_slice(),
                    ]
                    .concat()
                })
                .collect();
            write(Shelf::Entries, number, &bundle);
        }
        above.push(root_of(&leaves));
    }
    let root = root_of(&above);
    for level in 1..4 {
        for (number, hashes) in above.chunks(256).enumerate() {
            write(Shelf::Level(level), number as u64, &bytes(hashes));
        }
        above = above.chunks_exact(256).map(root_of).collect();
    }
    let text = format!("acme/gw-1\n{SIZE}\n{}\n", STANDARD.encode(root.as_bytes()));
    fs::write(
        log.join("checkpoint"),
        seal::note::sign(&text, "acme/gw-1", &key()).unwrap(),
    )
    .unwrap();
    let mut largest = 0;
    let mut took = Vec::new();
    measure("prove one of 100,000,000", "proof", samples.len() as u64, || {
        for &index in &samples {
            let began = Instant::now();
            let proven = prove_entry(log, &verifier(), index).unwrap();
            took.push(began.elapsed());
            largest = largest.max(proven.proof.len());
            assert_eq!(
                verify_proof(&proven.proof, &proven.entry, &verifier())
                    .unwrap()
                    .event
                    .seq,
                index
            );
        }
    });
    took.sort();
    println!(
        "    half took {:?}, 99 of 100 {:?}; the largest has {largest} bytes",
        took[100], took[198]
    );
}

/// Every entry proven and handed on, in each form. What is written is thrown away.
fn export(log: &Path, entries: u64) {
    let log =
        VerifiedLog::open_range(log, &verifier(), &VerifyOptions::default(), 0..0, &mut |_| {}).unwrap();
    let held = held_since();
    for (form, share) in [(Form::Jsonl, 1), (Form::Csv, 4), (Form::Ocsf, 8)] {
        let entries = entries / share;
        measure(
            &format!("export {entries} entries as {form}"),
            "event",
            entries,
            || {
                let mut reader = log.entries(0..entries);
                let mut lines = Vec::new();
                while let Some(bundle) = reader.read_on().unwrap() {
                    lines.clear();
                    for (_, entry) in bundle.entries() {
                        form.push("acme/gw-1", entry, &mut lines).unwrap();
                    }
                    std::hint::black_box(&lines);
                }
            },
        );
    }
    println!(
        "    it held {} KiB more than before it began",
        most_memory_kib() - held
    );
}

/// The most that is held from now on is counted from here.
fn held_since() -> u64 {
    // Forget the most that was ever held (proc_pid_clear_refs(5)).
    let _ = fs::write("/proc/self/clear_refs", "5");
    most_memory_kib()
}
