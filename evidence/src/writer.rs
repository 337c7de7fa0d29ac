//! The one writer of a log.
//!
//! An entry goes three ways. `append` writes it to a journal at once, so that the death of the
//! process loses nothing; a flush makes the journal survive a loss of power; a seal moves entries
//! into tiles, makes those durable, signs the tree and empties the journal. At every moment the
//! folder holds a signed checkpoint with all that it covers, and every entry beyond it stands in a
//! journal.
//!
//! Flushes and seals wait for the disk. [`LogWriter::sync`] and [`LogWriter::checkpoint`] do so where
//! they are called; [`LogWriter::start_flush`] and [`LogWriter::start_seal`] hand the waiting out to
//! another thread, and appending goes on meanwhile.
//!
//! All file operations go through the edge in [`crate::disk`].

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Sha256Digest;
use seal::SigningKey;

use crate::disk::{Disk, RealDisk};
use crate::edge::{RightEdge, TileBytes};
use crate::encode::{Draft, encode_entry, encoded_gateway};
use crate::failure::{AppendError, CheckpointError, SyncError};
use crate::flush::{Flush, Flushed, Seal, Sealed};
use crate::journal::push_record;
use crate::journals::Journals;
use crate::publisher::Publisher;
use crate::recovery::{self, OpenError, Recovery};
use crate::{Checkpoint, Event, InvalidEvent, Origin};

pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
pub(crate) const LOCK_FILE: &str = "lock";
pub(crate) const TILE_FOLDER: &str = "tile";

/// Tiles that wait in memory for a checkpoint, in bytes. Beyond this, `append` makes one itself.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// While a seal is under way more may wait; beyond this nothing is appended until it is done.
const MAX_BYTES_BEHIND_A_SEAL: usize = 4 * MAX_WAITING_BYTES;

/// The one writer of a log. It holds the folder's lock until it and its last [`Seal`] are dropped.
pub struct LogWriter {
    root: PathBuf,
    origin: Origin,
    /// The gateway's name as it stands in entries.
    gateway: Vec<u8>,
    edge: RightEdge,
    /// Tiles that were filled since the last seal began.
    full: Vec<TileBytes>,
    full_bytes: usize,
    last: Checkpoint,
    signed: String,
    /// Entries that a finished flush or seal made durable.
    durable: u64,
    journals: Journals,
    /// Away with a seal that is under way.
    publisher: Option<Publisher>,
    batch: Batch,
}

/// The records of one `append`, kept to spare allocations.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    entries: Vec<(Range<usize>, Sha256Digest)>,
}

impl LogWriter {
    /// Opens the log in `folder` for writing, or starts one there.
    ///
    /// Entries that a crash left in the journals are taken up again; they are signed with the next
    /// checkpoint. Where [`Recovery::may_lack_events`] says so, the caller appends a `gap` first of
    /// all.
    ///
    /// # Errors
    /// [`OpenError`]; nothing in the folder was changed then, unless the log is new.
    pub fn open(folder: &Path, origin: &Origin, key: SigningKey) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::<RealDisk>::default(), folder, origin, key)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        origin: &Origin,
        key: SigningKey,
    ) -> Result<(Self, Recovery), OpenError> {
        let state = recovery::recover(disk.as_ref(), folder, origin, &key)?;
        let publisher = Publisher::new(
            Arc::clone(&disk),
            folder,
            origin.clone(),
            Arc::new(key),
            state.checkpoint.clone(),
            state.signed.clone(),
        );
        let writer = Self {
            root: folder.to_owned(),
            origin: origin.clone(),
            gateway: encoded_gateway(origin.gateway()),
            full_bytes: bytes_in(&state.full),
            edge: state.edge,
            full: state.full,
            durable: state.checkpoint.size(),
            last: state.checkpoint,
            signed: state.signed,
            journals: Journals::new(disk, folder, state.journals, state.active),
            publisher: Some(publisher),
            batch: Batch::default(),
        };
        Ok((writer, state.recovery))
    }

    /// The log's name.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Entries in the log: the index that the next one gets.
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Entries that no checkpoint covers yet.
    pub const fn waiting(&self) -> u64 {
        self.edge.size() - self.last.size()
    }

    /// Bytes of tiles that no seal has taken yet; appending more keeps them in memory.
    pub const fn waiting_bytes(&self) -> usize {
        self.full_bytes
    }

    /// Entries that survive a loss of power, as far as a flush or a seal has said so.
    pub const fn durable(&self) -> u64 {
        self.durable
    }

    /// The last checkpoint that was signed.
    pub const fn last_checkpoint(&self) -> &Checkpoint {
        &self.last
    }

    /// The last checkpoint as the signed note that others may hold against this log.
    pub fn signed_checkpoint(&self) -> &str {
        &self.signed
    }

    /// Appends all `events` or none, gives each its `seq`, and returns the indices they got.
    ///
    /// When it returns, the events survive the death of this process; a flush or a checkpoint makes
    /// them survive a loss of power.
    ///
    /// # Errors
    /// [`AppendError`]; none of the batch is recorded then.
    pub fn append(&mut self, events: &mut [Event]) -> Result<Range<u64>, AppendError> {
        let own = self.origin.gateway();
        let misfit = |event: &Event| (event.gateway != own).then(|| event.gateway.clone());
        if let Some((position, found)) = first_misfit(events, misfit) {
            return Err(self.other_gateway(position, found));
        }
        let range = self.append_with(events, |event, seq, out| {
            event.seq = seq;
            encode_entry(event, seq, out)
        })?;
        Ok(range)
    }

    /// Like [`Self::append`], for events that were encoded already.
    ///
    /// # Errors
    /// [`AppendError`]; none of the batch is recorded then.
    pub fn append_drafts(&mut self, drafts: &[Draft]) -> Result<Range<u64>, AppendError> {
        let own = self.gateway.as_slice();
        let misfit = |draft: &Draft| {
            (draft.gateway() != own).then(|| String::from_utf8_lossy(draft.gateway()).into_owned())
        };
        if let Some((position, found)) = first_misfit(drafts, misfit) {
            return Err(self.other_gateway(position, found));
        }
        let mut drafts: Vec<&Draft> = drafts.iter().collect();
        self.append_with(&mut drafts, |draft, seq, out| {
            draft.write(seq, out);
            Ok(())
        })
    }

    fn other_gateway(&self, position: usize, found: String) -> AppendError {
        AppendError::Gateway {
            position,
            found,
            own: self.origin.gateway().to_owned(),
        }
    }

    fn append_with<T>(
        &mut self,
        items: &mut [T],
        write: impl Fn(&mut T, u64, &mut Vec<u8>) -> Result<(), InvalidEvent>,
    ) -> Result<Range<u64>, AppendError> {
        self.make_room()?;
        let batch = &mut self.batch;
        batch.bytes.clear();
        batch.entries.clear();
        for (position, (item, seq)) in items.iter_mut().zip(self.edge.size()..).enumerate() {
            let start = batch.bytes.len() + crate::journal::RECORD_HEAD;
            let leaf = push_record(&mut batch.bytes, |out| write(item, seq, out))
                .map_err(|source| AppendError::Event { position, source })?;
            batch.entries.push((start..batch.bytes.len(), leaf));
        }
        self.journals
            .append(&batch.bytes)
            .map_err(|source| AppendError::Journal {
                folder: self.root.clone(),
                source,
            })?;
        let first = self.edge.size();
        let waiting_tiles = self.full.len();
        for (range, leaf) in batch.entries.drain(..) {
            self.edge.push(&batch.bytes[range], leaf, &mut self.full);
        }
        self.full_bytes += bytes_in(&self.full[waiting_tiles..]);
        Ok(first..self.edge.size())
    }

    /// Keeps memory bounded while nobody seals, or while a seal takes too long.
    fn make_room(&mut self) -> Result<(), AppendError> {
        let is_full = if self.publisher.is_some() {
            self.full_bytes > MAX_WAITING_BYTES
        } else {
            self.full_bytes > MAX_BYTES_BEHIND_A_SEAL
        };
        if is_full {
            self.checkpoint().map_err(|source| AppendError::Backlog {
                waiting: self.waiting(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    /// Makes everything appended so far survive a loss of power, and waits for that.
    ///
    /// # Errors
    /// [`SyncError`].
    pub fn sync(&mut self) -> Result<(), SyncError> {
        if self.needs_seal() {
            self.checkpoint()?;
            if !self.needs_seal() {
                return Ok(());
            }
        }
        match self.start_flush() {
            Some(flush) => self.finish_flush(flush.run()).map(|_| ()),
            None => Ok(()),
        }
    }

    /// A flush failed, and only a seal can make up for it: the system may have dropped what it was
    /// given, and would call a second flush of the same bytes a success.
    pub fn needs_seal(&self) -> bool {
        self.journals.is_doubtful()
    }

    /// Hands out the waiting for the disk; `None` where all is flushed, a flush is under way, or
    /// [`Self::needs_seal`].
    pub fn start_flush(&mut self) -> Option<Flush> {
        let size = self.edge.size();
        let flush = self.journals.start_flush(size);
        if flush.is_none() && !self.needs_seal() && !self.journals.is_flushing() {
            self.durable = size;
        }
        flush
    }

    /// Takes a flush back and returns how many entries are durable.
    ///
    /// # Errors
    /// [`SyncError`], as the disk had it. Nothing is flushed again before a seal was made.
    pub fn finish_flush(&mut self, flushed: Flushed) -> Result<u64, SyncError> {
        let Flushed { flush, result } = flushed;
        self.journals.finish_flush(&flush, result.is_ok());
        result?;
        self.durable = self.durable.max(flush.size);
        Ok(self.durable)
    }

    /// Covers everything appended so far by a signed checkpoint, durably, and returns it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn checkpoint(&mut self) -> Result<Checkpoint, CheckpointError> {
        match self.take_seal()? {
            Some(seal) => self.finish_seal(seal.run()),
            None => {
                self.journals.sealed(self.last.size(), self.edge.size());
                Ok(self.last.clone())
            }
        }
    }

    /// Hands out the making of a checkpoint over everything appended so far; `None` where there is
    /// nothing to sign. Appending goes on meanwhile; [`Self::finish_seal`] wants the outcome.
    ///
    /// # Errors
    /// [`CheckpointError::UnderWay`].
    pub fn start_seal(&mut self) -> Result<Option<Seal>, CheckpointError> {
        let seal = self.take_seal()?;
        if seal.is_some() {
            // Where the other file cannot be had, this one grows on: untidy and not less safe.
            let _ = self.journals.switch(self.last.size());
        } else {
            self.journals.sealed(self.last.size(), self.edge.size());
        }
        Ok(seal)
    }

    /// Takes a seal back and returns the new checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError`]; the last one stands, and the next seal covers the same entries.
    pub fn finish_seal(&mut self, sealed: Sealed) -> Result<Checkpoint, CheckpointError> {
        let Sealed {
            publisher,
            mut full,
            result,
        } = sealed;
        self.last.clone_from(&publisher.last);
        self.signed.clone_from(&publisher.signed);
        self.publisher = Some(publisher);
        if let Err(error) = result {
            full.append(&mut self.full);
            self.full = full;
            self.full_bytes = bytes_in(&self.full);
            return Err(error);
        }
        self.durable = self.durable.max(self.last.size());
        self.journals.sealed(self.last.size(), self.edge.size());
        Ok(self.last.clone())
    }

    fn take_seal(&mut self) -> Result<Option<Seal>, CheckpointError> {
        let size = self.edge.size();
        let publisher = self.publisher.take_if(|publisher| publisher.is_behind(size));
        let Some(publisher) = publisher else {
            return match self.publisher {
                Some(_) => Ok(None),
                None => Err(CheckpointError::UnderWay {
                    folder: self.root.clone(),
                }),
            };
        };
        self.full_bytes = 0;
        Ok(Some(Seal {
            publisher,
            edge: self.edge.clone(),
            full: std::mem::take(&mut self.full),
        }))
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("root", &self.root)
            .field("origin", &self.origin)
            .field("size", &self.size())
            .field("last", &self.last)
            .field("journals", &self.journals)
            .finish_non_exhaustive()
    }
}

fn bytes_in(tiles: &[TileBytes]) -> usize {
    tiles.iter().map(|(_, bytes)| bytes.len()).sum()
}

fn first_misfit<T>(items: &[T], misfit: impl Fn(&T) -> Option<String>) -> Option<(usize, String)> {
    items
        .iter()
        .enumerate()
        .find_map(|(position, item)| Some((position, misfit(item)?)))
}
