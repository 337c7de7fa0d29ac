//! The archive of a gateway, written while its log is, or without one.
//!
//! Logs of tens of millions of events fill disks, and what counts rows does not look at them. So these
//! files are what a log with such entries would have been archived as, entry for entry. Where there is a
//! log, it gets the entries that bind them, each after the hour that it is about, and nothing has to be
//! read back.

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
    /// The first entry that is in no file.
    archived_to: u64,
}

impl GatewayArchive {
    pub(crate) fn new(folder: &Path, origin: Origin, closing: Closing) -> Self {
        Self {
            folder: folder.to_owned(),
            writer: ArchiveWriter::new(&origin, 0),
            closing,
            hour: None,
            entries: 0,
            archived_to: 0,
        }
    }

    /// Appends an event; it gets the `seq` that a log would give it. Gives the entry that binds a file which
    /// was closed before it, and stands before it in the log.
    ///
    /// # Errors
    /// The event is too large, or the disk refuses.
    pub fn append(&mut self, event: &Event) -> Result<Option<Event>> {
        let mut binding = None;
        let hour = event.time.unix_us().div_euclid(HOUR_US);
        let is_over = self.closing == Closing::Hours && self.hour.is_some_and(|open| open < hour);
        if is_over || self.writer.is_full() {
            binding = self.close(event)?;
        }
        self.hour = Some(hour);
        self.push(event.clone())?;
        Ok(binding)
    }

    fn push(&mut self, mut event: Event) -> Result<()> {
        event.seq = self.entries;
        self.writer.push(&event.to_entry()?)?;
        self.entries += 1;
        Ok(())
    }

    /// Writes the file; the entry that would bind it in the log is the first of the next.
    fn close(&mut self, before: &Event) -> Result<Option<Event>> {
        if self.writer.is_empty() {
            return Ok(None);
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
        self.archived_to = range.end;
        self.push(archived.clone())?;
        Ok(Some(archived))
    }

    /// Closes the last file. Gives the entry that binds it, and the first entry that is in no file.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(mut self, last: &Event) -> Result<(Option<Event>, u64)> {
        let binding = self.close(last)?;
        Ok((binding, self.archived_to))
    }

    /// Entries so far.
    pub const fn size(&self) -> u64 {
        self.entries
    }
}
