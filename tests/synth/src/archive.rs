//! The archive of a gateway, written without the log that it would come from.
//!
//! Logs of tens of millions of events fill disks, and what counts rows does not look at them. So these
//! files are what a log with such entries would have been archived as, entry for entry, without the
//! signatures that would make them evidence.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use evidence::archive::ArchiveWriter;
use evidence::{Event, EventKind, Origin};

const HOUR_US: i64 = 3_600_000_000;

/// When a file is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Closing {
    /// With the hour, or with 50,000 entries
    Hours,
    /// With 50,000 entries only
    Full,
}

/// An archive in the making.
#[derive(Debug)]
pub struct GatewayArchive {
    folder: PathBuf,
    closing: Closing,
    writer: ArchiveWriter,
    hour: Option<i64>,
    entries: u64,
}

impl GatewayArchive {
    pub(crate) fn new(folder: &Path, origin: Origin, closing: Closing) -> Self {
        Self {
            folder: folder.to_owned(),
            writer: ArchiveWriter::new(&origin, 0),
            closing,
            hour: None,
            entries: 0,
        }
    }

    /// Appends an event; it gets the `seq` that a log would give it.
    ///
    /// # Errors
    /// The event is too large, or the disk refuses.
    pub fn append(&mut self, event: Event) -> Result<()> {
        let hour = event.time.unix_us().div_euclid(HOUR_US);
        let is_over = self.closing == Closing::Hours && self.hour.is_some_and(|open| open < hour);
        if is_over || self.writer.is_full() {
            self.close(&event)?;
        }
        self.hour = Some(hour);
        self.push(event)
    }

    fn push(&mut self, mut event: Event) -> Result<()> {
        event.seq = self.entries;
        self.writer.push(&event.to_entry()?)?;
        self.entries += 1;
        Ok(())
    }

    /// Writes the file; the entry that would bind it in the log is the first of the next.
    fn close(&mut self, before: &Event) -> Result<()> {
        if self.writer.is_empty() {
            return Ok(());
        }
        let file = self.writer.finish()?;
        let path = self.folder.join(file.name.to_string());
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, &file.bytes))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let range = file.name.entries();
        let mut archived = Event::new(EventKind::Archived, before.time, &before.gateway);
        archived.count = Some(range.end - range.start);
        archived.entries_from = Some(range.start);
        archived.entries_to = Some(range.end);
        archived.file = Some(file.name.to_string());
        archived.file_sha256 = Some(file.sha256);
        self.push(archived)
    }

    /// Closes the last file. Gives the number of entries.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(mut self, last: &Event) -> Result<u64> {
        let entries = self.entries;
        self.close(last)?;
        Ok(entries)
    }

    /// Entries so far.
    pub const fn size(&self) -> u64 {
        self.entries
    }
}
