//! The log from outside: what its writer promises, what its verifier sees, what its files are.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests, including the helpers between them"
)]

extern crate bailiwick_evidence as evidence;

mod archive_crash;
mod archiving;
mod crash;
mod expiring;
mod going_on;
mod golden;
mod mutations;
mod reading;
mod tampering;
mod witnessing;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};

use base::Timestamp;
use evidence::{
    Checkpoint, Event, EventKind, LogWriter, Origin, Recovery, Verification, VerifyOptions, verify_log,
};
use seal::SigningKey;
use seal::note::NoteVerifier;

const GATEWAY: &str = "gw-1";

fn key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[7; 32])
}

fn origin() -> Origin {
    Origin::new("acme", GATEWAY).unwrap()
}

fn verifier() -> NoteVerifier {
    NoteVerifier::new("acme/gw-1", &key().public()).unwrap()
}

fn event(number: u64) -> Event {
    let time = Timestamp::from_unix_us(1_790_000_000_000_000 + i64::try_from(number).unwrap() * 1000);
    let mut event = Event::new(EventKind::Open, time, GATEWAY);
    event.connection_id = Some(format!("c{number}"));
    event.destination_host = Some("api.weather.example".parse().unwrap());
    event
}

fn events(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers.map(event).collect()
}

/// A log in a temporary folder.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    /// A log of `size` entries under one checkpoint.
    fn of(size: u64) -> Self {
        let log = Self::empty();
        log.grow_to(size);
        log
    }

    /// Appends up to `size` entries, signs them and lets the writer go.
    fn grow_to(&self, size: u64) -> Checkpoint {
        let mut writer = self.writer();
        let mut events = events(writer.size()..size);
        writer.append(&mut events).unwrap();
        writer.checkpoint().unwrap()
    }

    fn open(&self) -> (LogWriter, Recovery) {
        LogWriter::open(&self.path(), &origin(), key()).unwrap()
    }

    fn writer(&self) -> LogWriter {
        self.open().0
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.file(name), bytes).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    fn verify(&self) -> Verification {
        self.verify_held(None)
    }

    fn verify_held(&self, held: Option<Checkpoint>) -> Verification {
        let options = VerifyOptions {
            held,
            ..VerifyOptions::default()
        };
        verify_log(&self.path(), &verifier(), &options, &mut |_| {}).unwrap()
    }
}

/// Files below `folder`, by their names relative to it.
fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}
