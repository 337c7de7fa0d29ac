//! Work that waits for the disk, and that may be done on another thread while entries are appended.
//!
//! A [`Seal`] puts what was appended under a signed checkpoint; a [`Flush`] makes it survive a loss of
//! power and signs nothing. [`LogWriter`](crate::LogWriter) hands out at most one of each, and wants
//! the outcome back.

use std::path::PathBuf;
use std::sync::Arc;

use crate::CheckpointError;
use crate::disk::{Disk, JournalFile};
use crate::edge::{RightEdge, TileBytes};
use crate::failure::SyncError;
use crate::publisher::Publisher;

/// Entries on their way under a checkpoint.
#[must_use = "entries that are taken and not sealed stay in the journal"]
pub struct Seal {
    pub(crate) publisher: Publisher,
    pub(crate) edge: RightEdge,
    pub(crate) full: Vec<TileBytes>,
}

/// What became of a [`Seal`].
#[must_use = "the writer makes no other checkpoint before it has this"]
pub struct Sealed {
    pub(crate) publisher: Publisher,
    pub(crate) full: Vec<TileBytes>,
    pub(crate) result: Result<(), CheckpointError>,
}

impl Seal {
    /// Writes, syncs and signs; this is what may take long.
    pub fn run(self) -> Sealed {
        let Self {
            mut publisher,
            edge,
            full,
        } = self;
        let result = publisher.publish(&edge, &full);
        Sealed {
            publisher,
            full,
            result,
        }
    }
}

/// Journal records on their way to the platter.
#[must_use = "what is not flushed may not survive a loss of power"]
pub struct Flush {
    /// In the order in which their records follow each other.
    pub(crate) files: Vec<FlushedFile>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) root: PathBuf,
    /// The folder holds the name of a journal that may not survive yet.
    pub(crate) is_name_new: bool,
    /// Entries that are durable once this is done.
    pub(crate) size: u64,
}

pub(crate) struct FlushedFile {
    pub(crate) file: Arc<dyn JournalFile>,
    pub(crate) side: usize,
    /// How often the file had been emptied.
    pub(crate) fill: u64,
}

/// What became of a [`Flush`].
#[must_use = "the writer flushes nothing else before it has this"]
pub struct Flushed {
    pub(crate) flush: Flush,
    pub(crate) result: Result<(), SyncError>,
}

impl Flush {
    /// Waits for the disk.
    pub fn run(self) -> Flushed {
        let synced = self.files.iter().try_for_each(|flushed| flushed.file.sync());
        let named = synced.and_then(|()| {
            if self.is_name_new {
                self.disk.sync(&self.root, std::slice::from_ref(&self.root))
            } else {
                Ok(())
            }
        });
        let result = named.map_err(|source| SyncError::Journal {
            folder: self.root.clone(),
            source,
        });
        Flushed { flush: self, result }
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal")
            .field("size", &self.edge.size())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed")
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flush")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Flushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flushed")
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}
