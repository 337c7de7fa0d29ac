//! The fold of an archive file: the same observations as from its entries, read from its columns.
//!
//! No row becomes an event. What rows say of a connection is cut into the three parts of
//! [`crate::facts`], each different part is read once ([`rows`]), connections are tied together by the
//! numbers of their parts ([`parts`]), and what is known of equal connections is added to observations
//! together, once at the end of the file ([`sums`]). Rows that are about no connection are few, and go
//! the way of entries.
//!
//! Order matters only where there is not room for everything; it is kept there.

mod codes;
mod others;
mod parts;
mod rows;
mod sums;
#[cfg(test)]
pub(crate) mod tests;
mod timing;

use std::ops::ControlFlow;

use base::Timestamp;
use evidence::EventKind;
use evidence::archive::{Archive, InvalidArchive};

use crate::connection::{Connection, Life};
use crate::facts::Facts;
use crate::fold::LogFold;
use crate::tally::Cited;
use parts::{Known, Parts};
use rows::{FileRows, NO_ID};
use sums::{One, Sums};
use timing::Timing;

/// Where the connection with an id is.
const UNKNOWN: u32 = u32::MAX;
/// It ended, and may begin anew.
const ENDED: u32 = u32::MAX - 1;

/// One connection that is open, by the numbers of what is known of it.
#[derive(Clone, Copy, Debug)]
struct Open {
    known: Known,
    life: Life,
    id: u32,
}

/// The fold of one file.
struct FileFold<'a, 'f, 'b> {
    log: &'a mut LogFold<'f, 'b>,
    rows: &'a FileRows<'a>,
    parts: Parts,
    /// Places that are taken by open connections.
    open: Vec<Option<Open>>,
    free: Vec<u32>,
    /// By the number of an id: where its connection is.
    place_of: Vec<u32>,
    sums: Sums,
    timing: Timing<'b>,
}

impl LogFold<'_, '_> {
    /// Takes the entries of a file, which follow those taken before. `Break` once no later entry can
    /// concern the period.
    ///
    /// # Errors
    /// [`InvalidArchive`]; nothing of the file was taken.
    pub(crate) fn handle_file(&mut self, archive: &Archive) -> Result<ControlFlow<()>, InvalidArchive> {
        if let Some(flow) = self.pass_over(archive)? {
            return Ok(flow);
        }
        let (rows, parts) = FileRows::read(archive)?;
        let mut fold = FileFold {
            timing: Timing::new(self.fold.book),
            sums: Sums::default(),
            open: Vec::new(),
            free: Vec::new(),
            place_of: vec![UNKNOWN; rows.ids()],
            parts,
            rows: &rows,
            log: self,
        };
        let first = archive.entries().start;
        for row in 0..archive.row_count() {
            if fold.handle_row(row, first + row as u64).is_break() {
                fold.finish();
                return Ok(ControlFlow::Break(()));
            }
        }
        fold.finish();
        Ok(ControlFlow::Continue(()))
    }
}

impl FileFold<'_, '_, '_> {
    fn handle_row(&mut self, row: usize, index: u64) -> ControlFlow<()> {
        let Some(kind) = self.rows.kind(row) else {
            return self.handle_as_entry(row, index);
        };
        let time = self.rows.time(row);
        if time <= self.log.fold.believable_until {
            self.log.clock = self.log.clock.max(time);
        }
        if self.log.clock >= self.log.fold.period.to {
            return self.handle_as_entry(row, index);
        }
        let is_before = self.log.clock < self.log.fold.period.from && index < self.log.audited_to;
        match kind {
            EventKind::Start | EventKind::Stop | EventKind::Gap => return self.handle_as_entry(row, index),
            EventKind::Kill | EventKind::Archived | EventKind::Pruned => {}
            EventKind::Open | EventKind::Connected | EventKind::Progress if is_before => {
                self.go_on_before(row, index);
            }
            EventKind::Close | EventKind::Refused if is_before => self.forget(row),
            EventKind::Open | EventKind::Connected | EventKind::Progress => {
                let open = self.go_on_within(row, index, time);
                self.keep(open);
            }
            EventKind::Close | EventKind::Refused => {
                let open = self.go_on_within(row, index, time);
                self.settle(&open);
            }
        }
        if is_before {
            self.log.stretch.from = index + 1;
        }
        self.log.stretch.to = index + 1;
        self.log.whole_until = self.log.clock;
        ControlFlow::Continue(())
    }

    /// What concerns every connection, or none, is handled as if it had been read from the log.
    fn handle_as_entry(&mut self, row: usize, index: u64) -> ControlFlow<()> {
        self.put_down();
        self.log.handle_entry(index, &self.rows.event(row))
    }

    fn go_on_before(&mut self, row: usize, index: u64) {
        // Without an id nothing ties it to the period.
        if self.rows.id(row) != NO_ID {
            let entry = self.entry(index);
            let mut open = self.take(row, entry);
            open.known = self.parts.learn(open.known, self.rows.said(row));
            open.life.go_on_before(entry, self.rows.bytes(row));
            self.keep(open);
        }
    }

    fn go_on_within(&mut self, row: usize, index: u64, time: Timestamp) -> Open {
        let entry = self.entry(index);
        let mut open = self.take(row, entry);
        open.known = self.parts.learn(open.known, self.rows.said(row));
        open.life.go_on_within(entry, self.rows.bytes(row), time);
        self.sums.count_event(open.known);
        open
    }

    const fn entry(&self, index: u64) -> Cited {
        Cited {
            log: self.log.log,
            index,
        }
    }

    /// The connection that a row is about; a new one where none is open.
    fn take(&mut self, row: usize, entry: Cited) -> Open {
        let id = self.rows.id(row);
        let found = if id == NO_ID { None } else { self.take_open(id) };
        found.unwrap_or(Open {
            known: Known::NOTHING,
            life: Life::new(entry),
            id,
        })
    }

    fn take_open(&mut self, id: u32) -> Option<Open> {
        let place = std::mem::replace(&mut self.place_of[id as usize], ENDED);
        match place {
            ENDED => None,
            UNKNOWN if self.log.open.is_empty() => None,
            // It may have been opened before this file.
            UNKNOWN => {
                let Connection { facts, life } = self.log.open.remove(self.rows.id_text(id))?;
                let known = self.parts.take_in(facts);
                Some(Open { known, life, id })
            }
            place => {
                self.free.push(place);
                self.open[place as usize].take()
            }
        }
    }

    fn keep(&mut self, open: Open) {
        if open.id == NO_ID {
            // Nothing can ever close it; it still happened.
            return self.settle(&open);
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.open.push(None);
            u32::try_from(self.open.len() - 1).expect("a file has fewer rows")
        });
        self.open[place as usize] = Some(open);
        self.place_of[open.id as usize] = place;
    }

    fn forget(&mut self, row: usize) {
        let id = self.rows.id(row);
        if id != NO_ID {
            self.take_open(id);
        }
    }

    fn settle(&mut self, open: &Open) {
        let Some(one) = One::of(&self.parts, open.known, &open.life) else {
            return;
        };
        let passage = self.timing.passage(&self.parts, one.known, &one.share);
        let sum = self.sums.settle(&one, passage);
        self.timing.note(self.log.fold, &self.parts, sum, &one);
    }

    /// Hands everything that is open, or was added up, over to the fold of the log.
    fn put_down(&mut self) {
        self.sums.add_to(&self.parts, self.log.fold);
        self.timing.forget_sums();
        for open in self.open.drain(..).flatten() {
            let facts: Facts = self.parts.facts(open.known);
            let connection = Connection {
                facts,
                life: open.life,
            };
            self.log
                .open
                .insert(self.rows.id_text(open.id).to_owned(), connection);
            self.place_of[open.id as usize] = UNKNOWN;
        }
        self.free.clear();
        // A connection that ended may begin anew, and then it is looked for like any other.
        self.place_of.fill(UNKNOWN);
    }

    fn finish(mut self) {
        self.put_down();
    }
}
