//! Filling an archive file with the entries of a log.

use base::{Sha256Digest, Timestamp};

use super::builder::{Builder, Pages};
use super::columns::{COLUMNS, RAW, SEQ, TIME};
use super::cut::{Cut, number, time};
use super::failure::InvalidArchive;
use super::name::ArchiveName;
use super::{Archive, frame};
use crate::{Event, InvalidEvent, Origin};

/// Rows of a full file.
pub const MAX_ROWS: usize = 50_000;
/// A file is full before its entries have more bytes than this, one entry aside.
const MAX_ENTRY_BYTES: usize = 48 << 20;

/// Takes entries in order and makes a file of them.
#[derive(Debug)]
pub struct ArchiveWriter {
    origin: Origin,
    first: u64,
    first_time: Option<Timestamp>,
    columns: Vec<Builder>,
    /// What the file must give back.
    entries: Vec<u8>,
    ends: Vec<usize>,
    cut: Cut,
}

/// A file that was read back and found to hold its entries, byte for byte.
#[derive(Clone, Debug)]
pub struct ArchiveFile {
    /// What it is to be called.
    pub name: ArchiveName,
    /// What it hashes to.
    pub sha256: Sha256Digest,
    /// Entries in it.
    pub rows: u64,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Why an entry cannot be the next row.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// It is no event. Logs have none such: verify this one.
    #[error("entry {index} is no event that this version reads")]
    NotAnEvent {
        /// Where it was to stand.
        index: u64,
        /// What is wrong with it.
        source: InvalidEvent,
    },
    /// Another entry stands in its place.
    #[error("entry {index} says that it is entry {seq}")]
    Misplaced {
        /// Where it was to stand.
        index: u64,
        /// What it says.
        seq: u64,
    },
}

/// Why entries did not become a file. None was accepted that would not give them back.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There are none.
    #[error("an archive file has at least one entry")]
    Empty,
    /// The file could not be put together.
    #[error("could not put the archive file together: {what}")]
    Frame {
        /// What the library said.
        what: String,
    },
    /// What was written does not give the entries back: a defect of this program. The entries stay where
    /// they are; report it.
    #[error("the file for entries {first} to {last} does not give them back: {what}")]
    NotLossless {
        /// The first entry.
        first: u64,
        /// The last entry.
        last: u64,
        /// What differs.
        what: String,
    },
}

impl ArchiveWriter {
    /// A file of the log `origin` that begins with entry `first`.
    pub fn new(origin: &Origin, first: u64) -> Self {
        Self {
            origin: origin.clone(),
            first,
            first_time: None,
            columns: COLUMNS.iter().map(Builder::new).collect(),
            entries: Vec::new(),
            ends: Vec::new(),
            cut: Cut::default(),
        }
    }

    /// The entry that the next row is to be.
    pub fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Whether there are no rows yet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether another file has to take the next entry.
    pub fn is_full(&self) -> bool {
        self.ends.len() >= MAX_ROWS || self.entries.len() >= MAX_ENTRY_BYTES
    }

    /// Adds the entry that [`Self::next`] names.
    ///
    /// # Errors
    /// [`PushError`]; the file is as it was then.
    ///
    /// # Panics
    /// Where the file is full.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), PushError> {
        assert!(!self.is_full(), "the caller asks before");
        let index = self.next();
        // Without a time it is no event, and the reader says why.
        let time = |cut: &Cut| cut.value(entry, TIME).and_then(|value| time(value.bytes));
        if self.cut.take(entry)
            && let Some(time) = time(&self.cut)
        {
            let seq = self.cut.value(entry, SEQ).and_then(|value| number(value.bytes));
            if seq != Some(index) {
                let seq = seq.unwrap_or(u64::MAX);
                return Err(PushError::Misplaced { index, seq });
            }
            self.first_time.get_or_insert(Timestamp::from_unix_us(time));
            let row = self.row();
            for (at, value) in self.cut.values(entry) {
                self.columns[at].push(row, value);
            }
            self.keep(entry);
        } else {
            let event = Event::from_entry(entry).map_err(|source| PushError::NotAnEvent { index, source })?;
            if event.seq != index {
                return Err(PushError::Misplaced {
                    index,
                    seq: event.seq,
                });
            }
            self.first_time.get_or_insert(event.time);
            self.push_whole(entry);
        }
        Ok(())
    }

    /// Adds an entry that its columns would not give back.
    pub(super) fn push_whole(&mut self, entry: &[u8]) {
        let (row, index) = (self.row(), self.next());
        let text = std::str::from_utf8(entry).expect("an event is JSON, and JSON is UTF-8");
        self.columns[SEQ].push_required(row, index);
        self.columns[RAW].push_raw(row, text);
        self.keep(entry);
    }

    fn row(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("a file has far fewer rows")
    }

    fn keep(&mut self, entry: &[u8]) {
        self.entries.extend_from_slice(entry);
        self.ends.push(self.entries.len());
    }

    /// Makes the file, reads it back and holds every row to its entry. The writer then stands at the entry
    /// after it, for the next file; the memory that it has serves again, because new pages cost a fifth of
    /// the time that a file takes.
    ///
    /// # Errors
    /// [`WriteError`]; the rows are still there.
    pub fn finish(&mut self) -> Result<ArchiveFile, WriteError> {
        let rows = self.ends.len();
        let Some(time) = self.first_time.filter(|_| rows > 0) else {
            return Err(WriteError::Empty);
        };
        let pages: Vec<Pages> = self.columns.iter().map(|column| column.pages(rows)).collect();
        let bytes = frame::file(self.origin.as_str(), rows, &pages).map_err(|error| WriteError::Frame {
            what: error.to_string(),
        })?;
        drop(pages);
        let (first, last) = (self.first, self.first + rows as u64 - 1);
        let lossy = |what: String| WriteError::NotLossless { first, last, what };
        let archive = Archive::read(bytes).map_err(|error| lossy(error.to_string()))?;
        self.hold_to(&archive).map_err(|error| lossy(error.to_string()))?;
        let sha256 = archive.sha256();
        let file = ArchiveFile {
            name: ArchiveName::new(time, self.origin.gateway(), first, last, &sha256),
            sha256,
            rows: rows as u64,
            bytes: archive.into_bytes(),
        };
        self.first = self.next();
        self.first_time = None;
        self.columns.iter_mut().for_each(Builder::clear);
        self.entries.clear();
        self.ends.clear();
        Ok(file)
    }

    fn hold_to(&self, archive: &Archive) -> Result<(), InvalidArchive> {
        let mut rows = archive.rows()?;
        let mut start = 0;
        for (&end, index) in self.ends.iter().zip(self.first..) {
            let row = rows
                .next_row()?
                .map(|(at, entry)| (at, entry == &self.entries[start..end]));
            if row != Some((index, true)) {
                return Err(InvalidArchive::Row {
                    index,
                    what: "it is not the entry that was to be written",
                });
            }
            start = end;
        }
        Ok(())
    }
}
