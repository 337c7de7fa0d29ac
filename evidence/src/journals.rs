//! The writer's two journal files: which one takes records, and what is known of each.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, JournalFile};
use crate::flush::{Flush, FlushedFile};
use crate::journal::{JOURNAL_FILES, MAGIC, mark};

const EMPTY: u64 = MAGIC.len() as u64;

pub(crate) struct Journals {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    sides: [Option<Side>; 2],
    active: usize,
    /// A file was made and its name may not survive a loss of power.
    is_name_new: bool,
    is_flushing: bool,
}

pub(crate) struct Side {
    pub(crate) file: Arc<dyn JournalFile>,
    /// Where the last whole record ends.
    pub(crate) length: u64,
    /// The file may be longer, or shorter, than `length`, and must be cut before it is used.
    uncut: bool,
    /// Records were added since the last flush began.
    unflushed: bool,
    /// A sync failed, and a second sync of the same bytes would prove nothing: the system may have
    /// dropped them. What was in it must become durable by way of tiles.
    doubtful: bool,
    /// How often the file was emptied, so that an old failure says nothing about new records.
    fill: u64,
}

impl Side {
    pub(crate) fn new(file: Arc<dyn JournalFile>, length: u64) -> Self {
        Self {
            file,
            length,
            uncut: false,
            unflushed: length > EMPTY,
            doubtful: false,
            fill: 0,
        }
    }

    /// A file whose whole content goes before anything is added: it holds records that cannot follow.
    pub(crate) fn spent(file: Arc<dyn JournalFile>) -> Self {
        Self {
            uncut: true,
            ..Self::new(file, EMPTY)
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.uncut
    }

    fn is_empty(&self) -> bool {
        self.length == EMPTY && !self.uncut && !self.doubtful
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cut_if_uncut()?;
        if let Err(error) = self.file.append(bytes) {
            // Some of it may be there. What was not acknowledged must not stay; if it cannot be cut
            // now, it is cut before anything else is written.
            self.uncut = true;
            let _ = self.cut_if_uncut();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.unflushed = true;
        Ok(())
    }

    fn cut_if_uncut(&mut self) -> io::Result<()> {
        if self.uncut {
            self.file.cut(self.length)?;
            self.uncut = false;
        }
        Ok(())
    }

    /// A checkpoint covers all that the file holds. Should cutting it fail, its records are known by
    /// their `seq` and skipped when the log is opened.
    fn empty(&mut self) {
        if self.is_empty() {
            return;
        }
        self.length = EMPTY;
        self.uncut = true;
        self.unflushed = false;
        self.fill += 1;
        // What was doubtful is under a checkpoint now, and goes.
        if self.cut_if_uncut().is_ok() {
            self.doubtful = false;
        }
    }
}

impl Journals {
    pub(crate) fn new(disk: Arc<dyn Disk>, root: &Path, sides: [Option<Side>; 2], active: usize) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            sides,
            active,
            is_name_new: false,
            is_flushing: false,
        }
    }

    fn active(&mut self) -> &mut Side {
        self.sides[self.active]
            .as_mut()
            .expect("the active journal was opened")
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            Ok(())
        } else {
            self.active().append(bytes)
        }
    }

    /// Lets new records go into the other file, where that is free; `signed` entries are under a
    /// checkpoint. What is in this one can then be cut away as soon as it is sealed.
    pub(crate) fn switch(&mut self, signed: u64) -> io::Result<()> {
        let other = 1 - self.active;
        if self.active().length == EMPTY {
            return Ok(());
        }
        if self.sides[other].is_none() {
            let file = self.disk.open_journal(&self.root.join(JOURNAL_FILES[other]))?;
            // Left empty by a crash, or not there before.
            self.sides[other] = Some(Side {
                length: 0,
                uncut: true,
                ..Side::new(file, 0)
            });
            self.is_name_new = true;
        }
        let Some(side) = self.sides[other].as_mut() else {
            return Ok(());
        };
        if side.length == 0 {
            side.append(MAGIC)?;
        }
        side.cut_if_uncut()?;
        if side.is_empty() {
            side.append(&mark(signed))?;
            self.active = other;
        }
        Ok(())
    }

    /// A checkpoint over `signed` entries was made; the log has `size`. What it covers goes.
    pub(crate) fn sealed(&mut self, signed: u64, size: u64) {
        let other = 1 - self.active;
        if signed == size {
            if let Some(side) = self.sides[other].as_mut() {
                side.empty();
            }
            self.active().empty();
            return;
        }
        let Some(side) = &self.sides[other] else {
            return;
        };
        if side.is_empty() {
            return;
        }
        // Without the mark the other file stays: a later seal cuts it.
        if self.active().append(&mark(signed)).is_ok()
            && let Some(side) = self.sides[other].as_mut()
        {
            side.empty();
        }
    }

    /// A sync failed and no checkpoint has made up for it yet.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.sides.iter().flatten().any(|side| side.doubtful)
    }

    pub(crate) const fn is_flushing(&self) -> bool {
        self.is_flushing
    }

    /// A flush of whatever was not flushed, for a log of `size` entries.
    pub(crate) fn start_flush(&mut self, size: u64) -> Option<Flush> {
        if self.is_flushing || self.is_doubtful() {
            return None;
        }
        // The older records first: of acknowledged ones, none may be missing before another.
        let order = [1 - self.active, self.active];
        let mut files = Vec::new();
        for at in order {
            if let Some(side) = self.sides[at].as_mut().filter(|side| side.unflushed) {
                side.unflushed = false;
                files.push(FlushedFile {
                    file: Arc::clone(&side.file),
                    side: at,
                    fill: side.fill,
                });
            }
        }
        if files.is_empty() {
            return None;
        }
        self.is_flushing = true;
        Some(Flush {
            files,
            disk: Arc::clone(&self.disk),
            root: self.root.clone(),
            is_name_new: std::mem::take(&mut self.is_name_new),
            size,
        })
    }

    pub(crate) fn finish_flush(&mut self, flush: &Flush, is_done: bool) {
        self.is_flushing = false;
        if is_done {
            return;
        }
        self.is_name_new |= flush.is_name_new;
        for flushed in &flush.files {
            if let Some(side) = self.sides[flushed.side].as_mut()
                && side.fill == flushed.fill
            {
                side.doubtful = true;
                side.unflushed = true;
            }
        }
    }
}

impl std::fmt::Debug for Journals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journals")
            .field("active", &JOURNAL_FILES[self.active])
            .field("doubtful", &self.is_doubtful())
            .finish_non_exhaustive()
    }
}
