//! What the archive costs: CPU time per row written, per row verified, and bytes per event on disk.
//!
//! `cargo bench -p bailiwick-evidence --bench archive`; names after `--` choose among `write`, `size`,
//! `verify` and `count`. The figures that were measured stand in `BENCHMARKS.md`.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to say"
)]
#![allow(missing_docs, reason = "a binary")]

extern crate bailiwick_evidence as evidence;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base::{
    Attribution, Decision, DnsResult, Mode, ObservedScheme, Outcome, Port, Sha256Digest, Timestamp, Transport,
};
use evidence::archive::{ABSENT, Archive, ArchiveFile, ArchiveWriter, COLUMNS, MAX_ROWS};
use evidence::merkle::leaf_hash;
use evidence::{Event, EventKind, Origin};
use rustix::time::{ClockId, clock_gettime};

/// What is asked of events every night, and so has to be small.
const CORE: [&str; 17] = [
    "artifact_digest",
    "bytes_in",
    "bytes_out",
    "connection_id",
    "decision",
    "destination_host",
    "duration_ms",
    "gateway",
    "kind",
    "mode",
    "outcome",
    "plugin_id",
    "port",
    "run_id",
    "scheme",
    "seq",
    "time",
];

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap(),
        u32::try_from(spent.tv_nsec).unwrap(),
    )
}

fn measure<T>(what: &str, rows: usize, work: impl FnOnce() -> T) -> T {
    let (wall, before) = (Instant::now(), cpu());
    let result = work();
    let (wall, spent) = (wall.elapsed(), cpu() - before);
    println!(
        "{what:<52} {:>7.3} µs CPU, {:>7.3} µs wall per row; {:>11.0} rows per CPU second",
        spent.as_secs_f64() * 1e6 / rows as f64,
        wall.as_secs_f64() * 1e6 / rows as f64,
        rows as f64 / spent.as_secs_f64(),
    );
    result
}

/// Numbers that look like chance and are the same every time (Vigna, splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % most
    }

    /// Few are common, most are rare.
    fn skewed(&mut self, most: u64) -> u64 {
        let (one, other) = (self.below(most), self.below(most));
        one.min(other).min(self.below(most))
    }
}

/// A busy gateway: 60 plugins of one or two builds, 4 runs each at a time, each with its own few hosts;
/// openings and closings interleave.
fn day(rows: usize) -> Vec<Vec<u8>> {
    let mut dice = Dice(7);
    let mut open: Vec<Event> = Vec::new();
    let (mut entries, mut us, mut next) = (Vec::with_capacity(rows), 1_790_000_000_000_000_i64, 0_u64);
    while entries.len() < rows {
        us += i64::try_from(dice.below(600)).unwrap();
        let time = Timestamp::from_unix_us(us);
        let closes = open.len() > 200 || (!open.is_empty() && dice.below(2) == 0);
        let mut event = if closes {
            let mut event = open.swap_remove(usize::try_from(dice.below(open.len() as u64)).unwrap());
            event.kind = EventKind::Close;
            event.time = time;
            close(&mut event, &mut dice);
            event
        } else {
            let event = opening(time, &mut dice, next);
            next += 1;
            open.push(event.clone());
            event
        };
        event.seq = entries.len() as u64;
        entries.push(event.to_entry().unwrap());
    }
    entries
}

fn opening(time: Timestamp, dice: &mut Dice, number: u64) -> Event {
    let plugin = dice.skewed(60);
    let mut event = Event::new(EventKind::Open, time, "gw-1");
    let build = u64::from(dice.below(20) == 0);
    event.artifact_digest = Some(base::ArtifactDigest::new(Sha256Digest::of(
        format!("{plugin}-{build}").as_bytes(),
    )));
    event.attribution = Some(Attribution::Token);
    event.connection_id = Some(format!("18f3a2b4c5d-{number:x}"));
    event.decision = Some(Decision::Allow);
    let host = dice.skewed(1 + plugin % 12);
    event.destination_host = Some(
        format!("api-{host}.service-{}.example", plugin % 40)
            .parse()
            .unwrap(),
    );
    event.mode = Some(Mode::Observe);
    event.plugin_id = Some(format!("team-{}.plugin-{plugin}", plugin % 9).parse().unwrap());
    event.port = Some(if dice.below(30) == 0 {
        Port::try_from(8443).unwrap()
    } else {
        Port::HTTPS
    });
    event.run_id = Some(base::RunId::from_parts(
        1_790_000_000_000 + plugin,
        [u8::try_from(dice.below(4)).unwrap(); 10],
    ));
    event.transport = Some(Transport::Tcp);
    event.crl_number = Some(42);
    event.policy_version = Some(7);
    event.would_deny = Some(false);
    event
}

fn close(event: &mut Event, dice: &mut Dice) {
    let host = event.destination_host.as_ref().unwrap().to_string();
    let ip = format!("192.0.2.{}", host.len() + usize::from(host.as_bytes()[4]) % 100)
        .parse()
        .unwrap();
    event.bytes_in = Some(2_000 + dice.skewed(60_000));
    event.bytes_out = Some(600 + dice.skewed(3_000));
    event.connect_ms = Some(1 + dice.skewed(40));
    event.dialed_ip = Some(ip);
    event.dns_ms = Some(dice.skewed(20));
    event.dns_result = Some(DnsResult::Ok);
    event.duration_ms = Some(20 + dice.skewed(4_000));
    event.first_byte_ms = Some(5 + dice.skewed(200));
    event.outcome = Some(if dice.below(3) == 0 {
        Outcome::ClientClosed
    } else {
        Outcome::ServerClosed
    });
    event.payload_class = Some("tls out<16KiB in<256KiB".to_owned());
    event.resolved_ips = vec![ip];
    event.scheme = Some(ObservedScheme::Tls);
    event.sni = Some(host);
    event.alpn = Some("h2,http/1.1".to_owned());
}

fn write(entries: &[Vec<u8>]) -> Vec<ArchiveFile> {
    let origin = Origin::new("acme", "gw-1").unwrap();
    let mut files = Vec::new();
    let mut writer = ArchiveWriter::new(&origin, 0);
    for chunk in entries.chunks(MAX_ROWS) {
        chunk.iter().for_each(|entry| writer.push(entry).unwrap());
        files.push(writer.finish().unwrap());
    }
    files
}

fn verify(files: &[ArchiveFile]) -> u64 {
    let mut sum = 0;
    for file in files {
        let archive = Archive::read(file.bytes.clone()).unwrap();
        let mut rows = archive.rows().unwrap();
        while let Some((_, entry)) = rows.next_row().unwrap() {
            sum += u64::from(leaf_hash(entry).as_bytes()[0]);
        }
    }
    sum
}

/// Connections per plugin, artifact, host, port and scheme: what a night asks.
fn fold(files: &[ArchiveFile]) -> usize {
    let mut all: HashMap<[String; 5], u64> = HashMap::new();
    for file in files {
        let archive = Archive::read(file.bytes.clone()).unwrap();
        let texts = ["plugin_id", "artifact_digest", "destination_host", "scheme"]
            .map(|name| archive.texts(name).unwrap());
        let ports = archive.numbers("port").unwrap();
        // Codes of a file make one number; few different ones come together.
        let mut groups: HashMap<u128, u64> = HashMap::new();
        let (mut last, mut count) = (None, 0);
        let codes = texts.each_ref().map(|column| column.codes());
        for row in 0..archive.row_count() {
            let port = ports.row(row).unwrap_or(0).unsigned_abs();
            let key = codes.iter().fold(u128::from(port), |key, codes| {
                key << 24 | u128::from(codes[row] & 0xff_ffff)
            });
            if last == Some(key) {
                count += 1;
            } else {
                if let Some(last) = last.replace(key) {
                    *groups.entry(last).or_default() += count;
                }
                count = 1;
            }
        }
        if let Some(last) = last {
            *groups.entry(last).or_default() += count;
        }
        for (key, count) in groups {
            let text = |place: usize| {
                let code = u32::try_from(key >> (24 * (3 - place)) & 0xff_ffff).unwrap();
                texts[place]
                    .text(if code == ABSENT & 0xff_ffff { ABSENT } else { code })
                    .unwrap_or("")
                    .to_owned()
            };
            let key = [text(0), text(1), text(2), text(3), (key >> 96).to_string()];
            *all.entry(key).or_default() += count;
        }
    }
    all.len()
}

/// The largest resident size this process ever had.
fn most_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runs = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let rows = 20 * MAX_ROWS;
    let entries = day(rows);
    let bytes: usize = entries.iter().map(Vec::len).sum();
    println!("an entry has {} bytes on average", bytes / rows);
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = most_memory_kib();
    measure(
        "write one file, read it back, hold every row to it",
        MAX_ROWS,
        || write(&entries[..MAX_ROWS]),
    );
    println!(
        "    it held {} KiB more than before it began",
        most_memory_kib() - before
    );
    let files = measure("write, read back, hold every row to its entry", rows, || {
        write(&entries)
    });
    if runs("write") {
        for _ in 0..2 {
            measure("write, read back, hold every row to its entry", rows, || {
                std::hint::black_box(write(&entries))
            });
        }
    }
    if runs("size") {
        size(&files, rows);
    }
    if runs("verify") {
        measure("verify by file hash", rows, || {
            files
                .iter()
                .for_each(|file| assert_eq!(Sha256Digest::of(&file.bytes), file.sha256));
        });
        measure("verify by regenerated leaves", rows, || {
            std::hint::black_box(verify(&files))
        });
    }
    if runs("count") {
        let groups = measure("count by plugin, artifact, host, port, scheme", rows, || {
            fold(&files)
        });
        println!("    {groups} groups");
    }
}

/// Bytes per event, and each column's share of them.
fn size(files: &[ArchiveFile], rows: usize) {
    let size: usize = files.iter().map(|file| file.bytes.len()).sum();
    println!(
        "{:.2} bytes per event, all columns; {size} bytes in {} files",
        size as f64 / rows as f64,
        files.len()
    );
    let mut core = 0;
    for column in COLUMNS {
        let name = column.name();
        let stored: u64 = files
            .iter()
            .map(|file| {
                Archive::read(file.bytes.clone())
                    .unwrap()
                    .stored_bytes(name)
                    .unwrap_or(0)
            })
            .sum();
        let share = stored as f64 / rows as f64;
        core += if CORE.contains(&name) { stored } else { 0 };
        if share >= 0.01 {
            println!(
                "    {name:<24} {share:>6.3} bytes per event{}",
                if CORE.contains(&name) { ", core" } else { "" }
            );
        }
    }
    println!(
        "{:.2} bytes per event for the 17 core columns",
        core as f64 / rows as f64
    );
}
