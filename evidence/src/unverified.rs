//! Following a log while it is written, believing nothing and proving nothing.
//!
//! For people who watch (`events --follow`). What comes out of here may be anything that somebody put
//! into the folder; verdicts are made from [`crate::VerifiedLog`] alone.

use std::path::Path;
use std::sync::Arc;

use crate::archive::{Expired, Store, is_about_the_archive};
use crate::folder::{Folder, Found, Unreadable};
use crate::journal::Records;
use crate::tile::{Shelf, TILE_WIDTH, Tile};
use crate::verification::Expiry;
use crate::{Checkpoint, Event, InvalidEvent};

/// Reads entries in order as they appear, signed or not yet.
#[derive(Clone, Debug)]
pub struct UnverifiedReader {
    folder: Folder,
    next: u64,
}

/// Why the next entries were not read.
#[derive(Debug, thiserror::Error)]
pub enum UnverifiedReadError {
    /// The disk refused to say.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The log is damaged here. Verify it to hear more.
    #[error("the log cannot be read at entry {index}: {what}; run: bailiwick evidence verify")]
    Damaged {
        /// The entry.
        index: u64,
        /// What was met.
        what: String,
    },
    /// An entry is no event.
    #[error("entry {index} is no event that this version reads")]
    NotAnEvent {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        source: InvalidEvent,
    },
}

impl UnverifiedReader {
    /// A reader that begins with entry `first`.
    pub fn new(folder: &Path, first: u64) -> Self {
        Self {
            folder: Folder::new(folder),
            next: first,
        }
    }

    /// The same, reading pruned entries from `archive` where the log names that one.
    #[must_use]
    pub fn with_archive(self, archive: Option<Arc<dyn Store>>) -> Self {
        Self {
            folder: Folder::with_archive(self.folder.root(), archive),
            ..self
        }
    }

    /// How many entries the log says it has, those in the journal included.
    ///
    /// # Errors
    /// [`UnverifiedReadError`].
    pub fn claimed_size(&self) -> Result<u64, UnverifiedReadError> {
        let signed = self.claimed_checkpoint()?;
        let journals = self.folder.journals()?;
        let last = journals
            .iter()
            .filter_map(|journal| Records::of(journal).ok()?.last()?.seq());
        Ok(last.fold(signed, |size, seq| size.max(seq.saturating_add(1))))
    }

    /// The next entries in order, at most one bundle or both journals; empty where there is
    /// nothing new.
    ///
    /// # Errors
    /// [`UnverifiedReadError`]; the next call begins with the same entry.
    pub fn read_on(&mut self) -> Result<Vec<(u64, Event)>, UnverifiedReadError> {
        // Twice, because the writer may move entries from the journal to a bundle in between.
        for _ in 0..2 {
            let size = self.claimed_checkpoint()?;
            let events = if self.next < size {
                self.in_bundle(size)?
            } else {
                self.in_journal()?
            };
            if let Some((last, _)) = events.last() {
                self.next = last + 1;
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }

    fn claimed_checkpoint(&self) -> Result<u64, UnverifiedReadError> {
        let Some(signed) = self.folder.checkpoint()? else {
            return Ok(0);
        };
        match Checkpoint::claimed(&signed) {
            Ok(checkpoint) => Ok(checkpoint.size()),
            Err(invalid) => Err(self.damaged(invalid.to_string())),
        }
    }

    /// What the log says expired, looked for from its end.
    fn claimed_expiry(&self, size: u64) -> Result<Option<Expiry>, UnverifiedReadError> {
        for number in (0..size.div_ceil(TILE_WIDTH as u64)).rev() {
            let tile = Tile::of_tree(Shelf::Entries, number, size);
            let Some(Found::Whole(bundle)) = tile.map(|tile| self.folder.bundle(tile)).transpose()? else {
                break;
            };
            let (entries, _) = bundle.entries();
            let about = entries.into_iter().filter(|entry| is_about_the_archive(entry));
            let mut declared = about.filter_map(|entry| {
                let event = Event::from_entry(entry).ok()?;
                Some(Expiry {
                    end: Expired::by(&event)?.to,
                    declared_by: event.seq,
                })
            });
            if let Some(declared) = declared.next_back() {
                return Ok(Some(declared));
            }
        }
        Ok(None)
    }

    fn in_bundle(&mut self, size: u64) -> Result<Vec<(u64, Event)>, UnverifiedReadError> {
        let width = TILE_WIDTH as u64;
        let bundle = loop {
            let Some(tile) = Tile::of_tree(Shelf::Entries, self.next / width, size) else {
                return Ok(Vec::new());
            };
            match self.folder.bundle(tile)? {
                // What expired is passed over.
                Found::Whole(bundle) if self.next < bundle.first() => self.next = bundle.first(),
                Found::Whole(bundle) => break bundle,
                Found::Missing { .. } if !self.folder.knows_expiry() => {
                    self.folder.learn(self.claimed_expiry(size)?);
                }
                Found::Missing { file } => return Err(self.damaged(format!("{file} is missing"))),
                Found::Malformed { file, what } => return Err(self.damaged(format!("{file}: {what}"))),
            }
        };
        let (entries, trouble) = bundle.entries();
        let first = bundle.first();
        let events: Vec<(u64, Event)> = entries
            .iter()
            .zip(first..)
            .filter(|(_, index)| *index >= self.next)
            .map(|(entry, index)| Ok((index, event(entry, index)?)))
            .collect::<Result<_, UnverifiedReadError>>()?;
        match trouble {
            Some(what) if events.is_empty() => Err(self.damaged(format!("{}: {what}", bundle.file))),
            _ => Ok(events),
        }
    }

    fn in_journal(&self) -> Result<Vec<(u64, Event)>, UnverifiedReadError> {
        let mut events = Vec::new();
        for journal in self.folder.journals()? {
            let Ok(records) = Records::of(&journal) else {
                return Err(self.damaged("the journal is of another form".to_owned()));
            };
            for record in records {
                let index = self.next + events.len() as u64;
                let event = event(record.entry, index)?;
                if event.seq == index {
                    events.push((index, event));
                }
            }
        }
        Ok(events)
    }

    fn damaged(&self, what: String) -> UnverifiedReadError {
        UnverifiedReadError::Damaged {
            index: self.next,
            what,
        }
    }
}

fn event(entry: &[u8], index: u64) -> Result<Event, UnverifiedReadError> {
    Event::from_entry(entry).map_err(|source| UnverifiedReadError::NotAnEvent { index, source })
}
