//! The archive: closed stretches of a log as Parquet, lossless and readable by tools nobody here wrote.
//!
//! [`ArchiveWriter`] takes entries and makes a file; every row of it is written back and held against
//! its entry before the file is handed out. [`Archive`] reads a file from bytes that anybody may have
//! made: as entries ([`Archive::rows`]), from which leaf hashes and root follow, or column by column as
//! codes and numbers ([`Archive::texts`], [`Archive::numbers`]), for whoever counts.
//!
//! A file says nothing about itself that could be believed. What makes it evidence is the log: an
//! `archived` entry binds its hash, and its rows hash to the leaves that the checkpoint signs.

mod archiver;
mod builder;
mod columns;
mod cut;
mod delta;
mod dictionary;
mod display;
mod expirer;
mod failure;
mod footer;
mod frame;
mod hybrid;
mod local_store;
mod name;
mod pages;
mod pruner;
mod rows;
pub(crate) mod shelf;
mod sources;
mod store;
#[cfg(test)]
mod tests;
mod thrift;
mod values;
mod writer;

use std::ops::Range;

use base::Sha256Digest;

pub use archiver::{ArchiveError, Archiver, Bound, Closing};
pub(crate) use archiver::{is_about_the_archive, last_of};
pub use columns::{COLUMNS, Column, ColumnType};
pub use display::{ShowError, Shown, show};
pub use expirer::{DueToExpire, ExpireError, Expired, Expirer};
pub use failure::InvalidArchive;
pub use local_store::LocalStore;
pub use name::{ArchiveName, InvalidArchiveName};
pub use pruner::{PruneError, Pruned, Pruner};
pub use rows::Rows;
pub use sources::{ArchivedLog, BoundFile, Source};
pub use store::{LOGS, Put, Store, StoreError, StoredFile, is_listed};
pub use values::{ABSENT, ListColumn, NumberColumn, TextColumn};
pub use writer::{ArchiveFile, ArchiveWriter, MAX_ROWS, PushError, WriteError};

use columns::{SEQ, column};
use footer::Footer;

/// One file, whose footer and whose sequence were found to be in order. Its columns are read when they
/// are asked for.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    footer: Footer,
    first: u64,
}

impl Archive {
    /// Reads a file.
    ///
    /// # Errors
    /// [`InvalidArchive`].
    pub fn read(bytes: Vec<u8>) -> Result<Self, InvalidArchive> {
        let footer = Footer::read(&bytes)?;
        let mut archive = Self {
            bytes,
            footer,
            first: 0,
        };
        let seq = archive.number_column(SEQ)?;
        let first = seq.numbers()[0].unsigned_abs();
        for (&seq, index) in seq.numbers().iter().zip(first..) {
            if seq.unsigned_abs() != index {
                let what = "its sequence number is another";
                return Err(InvalidArchive::Row { index, what });
            }
        }
        archive.first = first;
        Ok(archive)
    }

    /// The log that it says its entries are of, `<site>/<gateway>`.
    pub fn origin(&self) -> &str {
        &self.footer.origin
    }

    /// The entries in it.
    pub const fn entries(&self) -> Range<u64> {
        self.first..self.first + self.footer.rows as u64
    }

    /// How many these are.
    pub const fn row_count(&self) -> usize {
        self.footer.rows
    }

    /// The entries, written again from the columns.
    ///
    /// # Errors
    /// [`InvalidArchive`].
    pub fn rows(&self) -> Result<Rows<'_>, InvalidArchive> {
        Rows::of(self)
    }

    /// A column of texts.
    ///
    /// # Errors
    /// [`InvalidArchive`].
    pub fn texts(&self, name: &str) -> Result<TextColumn, InvalidArchive> {
        self.text_column(known(name, |kind| kind == ColumnType::Text)?)
    }

    /// A column of numbers, moments or flags.
    ///
    /// # Errors
    /// [`InvalidArchive`].
    pub fn numbers(&self, name: &str) -> Result<NumberColumn, InvalidArchive> {
        let is_number = |kind| {
            matches!(
                kind,
                ColumnType::Int32 | ColumnType::Int64 | ColumnType::Flag | ColumnType::Time
            )
        };
        self.number_column(known(name, is_number)?)
    }

    /// A column of lists: of texts, or of objects as canonical JSON.
    ///
    /// # Errors
    /// [`InvalidArchive`].
    pub fn lists(&self, name: &str) -> Result<ListColumn, InvalidArchive> {
        let is_list = |kind| matches!(kind, ColumnType::Texts | ColumnType::Objects);
        self.list_column(known(name, is_list)?)
    }

    /// How many bytes of the file a column takes; `None` where it has no such column.
    pub fn stored_bytes(&self, name: &str) -> Option<u64> {
        let chunk = self.footer.chunks[column(name)?].as_ref()?;
        Some(chunk.place.len() as u64)
    }

    /// How many bytes the file has.
    pub const fn file_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What the file hashes to.
    pub fn sha256(&self) -> Sha256Digest {
        Sha256Digest::of(&self.bytes)
    }

    /// The file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether the file has the column at all.
    fn has(&self, at: usize) -> bool {
        self.footer.chunks[at].is_some()
    }

    fn text_column(&self, at: usize) -> Result<TextColumn, InvalidArchive> {
        let chunk = self.footer.chunks[at].as_ref();
        values::read_text_column(&self.bytes, &COLUMNS[at], self.footer.rows, chunk)
    }

    fn number_column(&self, at: usize) -> Result<NumberColumn, InvalidArchive> {
        let chunk = self.footer.chunks[at].as_ref();
        values::read_number_column(&self.bytes, &COLUMNS[at], self.footer.rows, chunk)
    }

    fn list_column(&self, at: usize) -> Result<ListColumn, InvalidArchive> {
        let chunk = self.footer.chunks[at].as_ref();
        values::read_list_column(&self.bytes, &COLUMNS[at], self.footer.rows, chunk)
    }
}

fn known(name: &str, is_good: impl Fn(ColumnType) -> bool) -> Result<usize, InvalidArchive> {
    let found = column(name).filter(|&at| is_good(COLUMNS[at].kind()));
    found.ok_or_else(|| InvalidArchive::NoSuchColumn {
        name: name.to_owned(),
    })
}
