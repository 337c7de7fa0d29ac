//! What recording costs a connection, all threads counted, and how long its opening waits.
//!
//! A connection is an `open` that is waited for and a `close` that is not. First as many as go, from
//! tasks of one runtime; then a steady 1,000 a second, under `group` and under `strict`, on a real
//! disk. `cargo bench -p bailiwick-proxy --bench recorder`. The figures that were measured stand in
//! `evidence/BENCHMARKS.md`.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to say"
)]
#![allow(missing_docs, reason = "a binary")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bailiwick_proxy::{Durability, EvidenceSettings, Recorder};
use base::{Attribution, Decision, Mode, ObservedScheme, Outcome, Port, Timestamp, Transport};
use evidence::{Event, EventKind, LogWriter, Origin};
use rustix::time::{ClockId, clock_gettime};
use seal::SigningKey;

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap(),
        u32::try_from(spent.tv_nsec).unwrap(),
    )
}

fn connection(number: u64) -> Event {
    let time = Timestamp::from_unix_us(1_790_000_000_000_000 + i64::try_from(number).unwrap());
    let mut event = Event::new(EventKind::Open, time, "gw-1");
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
    event
}

fn close(event: &mut Event) {
    event.kind = EventKind::Close;
    event.bytes_in = Some(48_213);
    event.bytes_out = Some(1_517);
    event.dialed_ip = Some("192.0.2.17".parse().unwrap());
    event.duration_ms = Some(840);
    event.outcome = Some(Outcome::ServerClosed);
    event.payload_class = Some("tls out<16KiB in<256KiB".to_owned());
    event.resolved_ips = vec!["192.0.2.17".parse().unwrap()];
    event.scheme = Some(ObservedScheme::Tls);
    event.sni = Some("acme.openai.azure.com".to_owned());
}

fn recorder(durability: Durability) -> (tempfile::TempDir, Recorder) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let origin = Origin::new("acme", "gw-1").unwrap();
    let key = SigningKey::ed25519_from_seed(&[7; 32]);
    let (writer, _) = LogWriter::open(&folder.path().join("log"), &origin, key).unwrap();
    let settings = EvidenceSettings {
        durability,
        ..EvidenceSettings::new("gw-1")
    };
    (folder, Recorder::start(writer, settings, None).unwrap())
}

/// As many connections as go, over so many tasks. The making of the events themselves is measured
/// apart and taken off.
async fn flood(tasks: u64, each: u64) {
    let before = cpu();
    for number in 0..tasks * each {
        let mut event = connection(number);
        close(&mut event);
        std::hint::black_box(&event);
    }
    let making = cpu() - before;
    let (_folder, recorder) = recorder(Durability::Group);
    let recorder = Arc::new(recorder);
    let (wall, before) = (Instant::now(), cpu());
    let connections = (0..tasks).map(|task| {
        let recorder = Arc::clone(&recorder);
        tokio::spawn(async move {
            for number in 0..each {
                let mut event = connection(task * each + number);
                recorder.record_and_wait(&event).await.unwrap();
                close(&mut event);
                recorder.record(&event);
            }
        })
    });
    for connection in connections.collect::<Vec<_>>() {
        connection.await.unwrap();
    }
    recorder.close().await;
    let (spent, wall) = ((cpu() - before).saturating_sub(making), wall.elapsed());
    let count = (tasks * each) as f64;
    println!(
        "group, {tasks:>4} tasks: {:>7.2} µs CPU per connection, {:>8.0} connections/s",
        spent.as_secs_f64() * 1e6 / count,
        count / wall.as_secs_f64(),
    );
}

/// A steady rate; prints how long openings waited.
async fn steady(durability: Durability, rate: u32, seconds: u32) {
    let (_folder, recorder) = recorder(durability);
    let recorder = Arc::new(recorder);
    let mut connections = Vec::new();
    let before = cpu();
    let start = tokio::time::Instant::now();
    for number in 0..rate * seconds {
        // Timers fire each millisecond at best; at 1,000 a second that is one connection each.
        tokio::time::sleep_until(start + Duration::from_secs(1) * number / rate).await;
        let recorder = Arc::clone(&recorder);
        connections.push(tokio::spawn(async move {
            let mut event = connection(u64::from(number));
            let asked = Instant::now();
            recorder.record_and_wait(&event).await.unwrap();
            let waited = asked.elapsed();
            close(&mut event);
            recorder.record(&event);
            waited
        }));
    }
    let mut waited = Vec::new();
    for connection in connections {
        waited.push(connection.await.unwrap());
    }
    let spent = cpu() - before;
    waited.sort();
    let at = |share: f64| waited[((waited.len() - 1) as f64 * share) as usize];
    println!(
        "{durability:?}, {rate} connections/s: opening waited {:?} (half), {:?} (90 %), {:?} (99 %); {:.2} µs CPU per connection with the load itself",
        at(0.5),
        at(0.9),
        at(0.99),
        spent.as_secs_f64() * 1e6 / waited.len() as f64,
    );
    recorder.close().await;
}

/// What the disk itself takes, for comparison.
fn flushes() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = std::fs::File::create(folder.path().join("file")).unwrap();
    let mut took: Vec<Duration> = (0..200)
        .map(|_| {
            std::io::Write::write_all(&mut file, &[b'x'; 670]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    took.sort();
    println!(
        "one fdatasync: {:?} (half), {:?} (90 %), {:?} (99 %)",
        took[100], took[180], took[198]
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    for tasks in [1, 16, 256] {
        flood(tasks, 200_000 / tasks).await;
    }
    flushes();
    steady(Durability::Group, 1000, 5).await;
    steady(Durability::Strict, 1000, 5).await;
    flushes();
}
