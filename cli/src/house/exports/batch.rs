//! Batches: signed entries in the form that a receiver wants, with what it needs to tell them apart.

use std::fmt::Write as _;

use base::Timestamp;
use evidence::export::Form;
use evidence::{Checkpoint, Event, EventKind, UnverifiedReader, VerifiedLog, VerifyOptions};

use super::Log;

/// Bundles read at once.
const MAX_BUNDLES: usize = 8;

/// Neighbouring entries of one bundle.
pub struct Batch {
    /// The log.
    pub origin: String,
    /// The first entry.
    pub first: u64,
    /// What follows the last entry.
    pub next: u64,
    /// When the first was written.
    pub first_time: Timestamp,
    /// Each line, with what syslog says about it beside.
    pub lines: Vec<Line>,
}

/// One line.
pub struct Line {
    /// Its text, without a newline.
    pub text: Vec<u8>,
    /// The entry that it is of.
    pub seq: u64,
    /// When that was written.
    pub time: Timestamp,
    /// What kind of event that is.
    pub kind: EventKind,
    /// The gateway.
    pub gateway: String,
}

/// What was read.
pub struct Reading {
    /// In order; empty where there is nothing new.
    pub batches: Vec<Batch>,
    /// The signed checkpoint that they were proven under.
    pub checkpoint: String,
    /// Entries under it.
    pub size: u64,
}

/// Reads entries from `from` on, proven under the log's checkpoint, which must continue the one `held`.
///
/// # Errors
/// The log is not there yet, or is not what it was.
pub fn read(log: &Log, form: Form, from: u64, held: Option<&str>) -> anyhow::Result<Reading> {
    let held = held
        .map(|held| Checkpoint::open(held.as_bytes(), &log.verifier))
        .transpose()?;
    let opened = VerifiedLog::open_range(
        &log.folder,
        &log.verifier,
        &VerifyOptions {
            verified: None,
            held,
            archive: log.archive.clone(),
        },
        0..0,
        &mut |_| {},
    )?;
    let size = opened.checkpoint().size();
    anyhow::ensure!(
        from <= size,
        "the log has {size} entries and {from} were handed on: it was cut; see: bailiwick evidence verify"
    );
    let mut batches = Vec::new();
    let mut entries = opened.entries(from..size);
    while batches.len() < MAX_BUNDLES {
        let Some(bundle) = entries.read_on()? else { break };
        let mut lines = Vec::new();
        for (seq, entry) in bundle.entries() {
            lines.extend(lines_of(log, form, seq, entry)?);
        }
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            // What expired before it was handed on is passed over; else there is no more.
            if bundle.entries().next().is_none() {
                continue;
            }
            break;
        };
        batches.push(Batch {
            origin: log.verifier.name().to_owned(),
            first: first.seq,
            next: last.seq + 1,
            first_time: first.time,
            lines,
        });
    }
    Ok(Reading {
        batches,
        checkpoint: opened.signed_checkpoint().to_owned(),
        size,
    })
}

fn lines_of(log: &Log, form: Form, seq: u64, entry: &[u8]) -> anyhow::Result<Vec<Line>> {
    let event = Event::from_entry(entry)?;
    let mut text = Vec::new();
    form.push(log.verifier.name(), entry, &mut text)?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines
        .map(|line| Line {
            text: line.to_vec(),
            seq,
            time: event.time,
            kind: event.kind,
            gateway: event.gateway.clone(),
        })
        .collect())
}

/// How many signed entries the log says it has.
pub fn claimed_size(log: &Log) -> u64 {
    let signed = std::fs::read(log.folder.join("checkpoint")).unwrap_or_default();
    Checkpoint::open(&signed, &log.verifier).map_or(0, |checkpoint| checkpoint.size())
}

/// When an entry was written, as the log says.
pub fn time_of(log: &Log, index: u64) -> Option<Timestamp> {
    let events = UnverifiedReader::new(&log.folder, index)
        .with_archive(log.archive.clone())
        .read_on()
        .ok()?;
    events.first().map(|(_, event)| event.time)
}

impl Batch {
    /// The lines, each with a newline.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for line in &self.lines {
            text.extend_from_slice(&line.text);
            text.push(b'\n');
        }
        text
    }

    /// The entries in it, for people and for receivers that tell what they have already.
    pub fn range(&self) -> String {
        let mut range = String::new();
        let _ = write!(range, "{}-{}", self.first, self.next - 1);
        range
    }
}
