//! The golden log: five events under a fixed key, checked byte for byte.
//!
//! `BAILIWICK_BLESS=1` writes the files anew, for a change of format that is meant.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Attribution, Decision, Mode, ObservedScheme, Outcome, Port, RefusalReason, Timestamp, Transport};
use evidence::archive::{Archive, ArchiveWriter};
use evidence::{Event, EventKind, VerifiedLog, split_bundle, verify_proof};

use super::{GATEWAY, Log, files, origin, verifier};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/evidence")
}

fn at(kind: EventKind, second: u32) -> Event {
    let time: Timestamp = format!("2026-11-21T10:32:{second:02}.5Z").parse().unwrap();
    Event::new(kind, time, GATEWAY)
}

fn connection(kind: EventKind, second: u32) -> Event {
    let mut event = at(kind, second);
    event.attribution = Some(Attribution::Token);
    event.connection_id = Some("0001".to_owned());
    event.decision = Some(Decision::Allow);
    event.destination_host = Some("api.weather.example".parse().unwrap());
    event.mode = Some(Mode::Observe);
    event.plugin_id = Some("acme.weather".parse().unwrap());
    event.artifact_digest = Some(format!("sha256:{}", "ab".repeat(32)).parse().unwrap());
    event.port = Some(Port::HTTPS);
    event.run_id = Some("0193d1f2-7a00-7000-8000-000000000001".parse().unwrap());
    event.transport = Some(Transport::Tcp);
    event
}

fn story() -> Vec<Event> {
    let mut close = connection(EventKind::Close, 3);
    close.scheme = Some(ObservedScheme::Tls);
    close.sni = Some("api.weather.example".to_owned());
    close.dialed_ip = Some("192.0.2.1".parse().unwrap());
    close.resolved_ips = vec!["192.0.2.1".parse().unwrap()];
    close.bytes_out = Some(517);
    close.bytes_in = Some(4213);
    close.duration_ms = Some(840);
    close.outcome = Some(Outcome::ServerClosed);
    let mut refused = at(EventKind::Refused, 4);
    refused.decision = Some(Decision::Deny);
    refused.reason = Some(RefusalReason::Malformed);
    refused.raw_target = Some("ok.example\\x00.evil.example".to_owned());
    let mut gap = at(EventKind::Gap, 5);
    gap.cause = Some("queue_overflow".to_owned());
    gap.count = Some(3);
    vec![
        at(EventKind::Start, 1),
        connection(EventKind::Open, 2),
        close,
        refused,
        gap,
    ]
}

#[test]
fn the_golden_log_is_written_byte_for_byte() {
    let log = Log::empty();
    let mut writer = log.writer();
    writer.append(&mut story()).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    let proof = reader.prove(2).unwrap();

    let mut written: Vec<(String, Vec<u8>)> = files(&log.path())
        .into_iter()
        .filter(|name| !name.starts_with("journal") && name != "lock")
        .map(|name| (format!("log/{name}"), log.read(&name)))
        .collect();
    written.push((
        "log.vkey".to_owned(),
        format!("{}\n", verifier().to_vkey()).into(),
    ));
    written.push(("event-2.json".to_owned(), proof.entry));
    written.push(("event-2.json.tlog-proof".to_owned(), proof.proof.into()));
    written.sort();
    if std::env::var_os("BAILIWICK_BLESS").is_some() {
        for (name, bytes) in &written {
            let path = golden().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let names: Vec<String> = written.iter().map(|(name, _)| name.clone()).collect();
    let there: Vec<String> = files(&golden())
        .into_iter()
        .filter(|name| name.starts_with("log") || name.starts_with("event-2"))
        .collect();
    assert_eq!(there, names);
    for (name, bytes) in written {
        assert_eq!(
            String::from_utf8_lossy(&fs::read(golden().join(&name)).unwrap()),
            String::from_utf8_lossy(&bytes),
            "{name}"
        );
    }
}

#[test]
fn the_golden_log_and_its_proof_verify() {
    let vkey = fs::read_to_string(golden().join("log.vkey")).unwrap();
    let verifier = seal::note::NoteVerifier::from_vkey(vkey.trim()).unwrap();
    let reader = VerifiedLog::open(&golden().join("log"), &verifier).unwrap();
    let events: Vec<Event> = reader.events(0..u64::MAX).map(|found| found.unwrap().1).collect();
    let mut story = story();
    for (event, seq) in story.iter_mut().zip(0..) {
        event.seq = seq;
    }
    assert_eq!(events, story);
    let entry = fs::read(golden().join("event-2.json")).unwrap();
    let proof = fs::read_to_string(golden().join("event-2.json.tlog-proof")).unwrap();
    let proven = verify_proof(&proof, &entry, &verifier).unwrap();
    assert_eq!(proven.event, story[2]);
}

#[test]
fn the_golden_archive_gives_the_golden_log_back() {
    let bundle = fs::read(golden().join("log/tile/entries/000.p/5")).unwrap();
    let entries = split_bundle(&bundle, 5, true).unwrap();
    let mut writer = ArchiveWriter::new(&origin(), 0);
    for entry in &entries {
        writer.push(entry).unwrap();
    }
    let file = writer.finish().unwrap();
    let path = golden().join("archive").join(file.name.to_string());
    if std::env::var_os("BAILIWICK_BLESS").is_some() {
        let _ = fs::remove_dir_all(golden().join("archive"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &file.bytes).unwrap();
    }
    let kept = fs::read(&path).unwrap();
    assert!(kept == file.bytes, "{} is written otherwise now", path.display());
    let archive = Archive::read(kept).unwrap();
    assert_eq!((archive.origin(), archive.entries()), ("acme/gw-1", 0..5));
    let mut rows = archive.rows().unwrap();
    for (entry, index) in entries.iter().zip(0..) {
        assert_eq!(rows.next_row().unwrap(), Some((index, *entry)));
    }
    assert_eq!(rows.next_row().unwrap(), None);
}
