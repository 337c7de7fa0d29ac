//! What a writer reports when it cannot do its work, and what its caller should do then.

use std::io;
use std::path::PathBuf;

use crate::InvalidEvent;

/// Why events were not appended. None of the batch is recorded.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// One event cannot be an entry. Mend or drop it and append the others again.
    #[error("event {position} of the batch cannot be an entry")]
    Event {
        /// Its place in the batch.
        position: usize,
        /// What is wrong with it.
        source: InvalidEvent,
    },
    /// One event was seen by another gateway. Its own log takes it; appending it here is a mistake.
    #[error("event {position} of the batch was seen by gateway {found:?}, and this is the log of {own:?}")]
    Gateway {
        /// Its place in the batch.
        position: usize,
        /// The event's gateway.
        found: String,
        /// The log's gateway.
        own: String,
    },
    /// The journal could not be written. The writer is as it was before: append again later, or
    /// follow `on_failure`. Should the process die first, the batch may turn up in the log after all.
    #[error("could not append to the journal in {folder}; free space or mend the disk, then append again")]
    Journal {
        /// The log's folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Too many entries wait for a checkpoint, and none could be made. Mend what it says, then append
    /// again.
    #[error("no more entries are taken before a checkpoint covers the {waiting} that wait for one")]
    Backlog {
        /// Entries that no checkpoint covers.
        waiting: u64,
        /// Why no checkpoint could be made.
        source: Box<CheckpointError>,
    },
}

/// Why the journal may not survive a loss of power.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The journal could not be synced. Nothing appended since the last success is durable; treat it
    /// as `on_failure` says. The next `sync` takes the long way, through a checkpoint.
    #[error("could not sync the journal in {folder}")]
    Journal {
        /// The log's folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier sync failed and the checkpoint that would make up for it could not be made.
    #[error("the journal could not be synced, nor a checkpoint made in its place")]
    Checkpoint(#[from] CheckpointError),
}

/// A file that could not be written, for whoever asked to name.
pub(crate) struct Unwritten {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Why no checkpoint was made. The last one stands, and no entry is lost.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file could not be written. Free space or mend the disk and try again.
    #[error("could not write {path}; the last checkpoint stands")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The checkpoint in the folder is not the one that this writer signed. Somebody else writes
    /// here: stop recording, keep the folder as it is and find out who; signing on would fork the log.
    #[error("the checkpoint in {folder} was changed by another program; nothing more is signed here")]
    Changed {
        /// The log's folder.
        folder: PathBuf,
    },
    /// The last seal was not given back yet. Give it back, or wait for whoever has it, and try again.
    #[error("the last checkpoint of the log in {folder} is still being written")]
    UnderWay {
        /// The log's folder.
        folder: PathBuf,
    },
}

impl From<Unwritten> for CheckpointError {
    fn from(Unwritten { path, source }: Unwritten) -> Self {
        Self::Write { path, source }
    }
}
