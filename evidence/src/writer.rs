//! The one writer of a log.
//!
//! An entry goes three ways. `append` writes it to the journal at once, so that the death of the
//! process loses nothing; `sync` makes the journal survive a loss of power; `checkpoint` moves
//! entries into tiles, makes those durable, signs the tree and empties the journal. At every moment
//! the folder holds a signed checkpoint with all that it covers, and every entry beyond it stands in
//! the journal.
//!
//! All file operations go through the edge in [`crate::disk`].

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use base::Sha256Digest;
use seal::SigningKey;

use crate::disk::{Disk, RealDisk};
use crate::edge::{RightEdge, TileBytes, last_partial};
use crate::failure::{AppendError, CheckpointError, SyncError, Unwritten};
use crate::journal::{MAGIC, push_record};
use crate::merkle::leaf_hash;
use crate::recovery::{self, OpenError, Recovery};
use crate::{Checkpoint, Event, Origin};

pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
pub(crate) const JOURNAL_FILE: &str = "journal";
pub(crate) const LOCK_FILE: &str = "lock";
pub(crate) const TILE_FOLDER: &str = "tile";

/// Tiles that wait in memory for a checkpoint, in bytes. Beyond this, `append` makes one itself.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// The one writer of a log. It holds the folder's lock until it is dropped.
pub struct LogWriter {
    disk: Box<dyn Disk>,
    root: PathBuf,
    origin: Origin,
    key: SigningKey,
    edge: RightEdge,
    /// Tiles that were filled since the last checkpoint.
    full: Vec<TileBytes>,
    full_bytes: usize,
    last: Checkpoint,
    /// The checkpoint file as it was last seen.
    signed: String,
    /// A checkpoint that may or may not have reached the disk.
    attempted: Option<String>,
    journal: Journal,
    known_folders: HashSet<PathBuf>,
    /// Folders with names in them that may not survive a loss of power yet.
    unsynced_folders: BTreeSet<PathBuf>,
    batch: Batch,
}

/// What the writer knows about the journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Journal {
    /// Where the last whole record ends.
    length: u64,
    /// The file may be longer, or shorter, than `length`, and must be cut before it is used.
    uncut: bool,
    /// A sync failed, and a second sync of the same bytes would prove nothing: the system may have
    /// dropped them. What was in it must become durable by way of tiles.
    doubtful: bool,
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
    /// Entries that a crash left in the journal are taken up again; they are signed with the next
    /// checkpoint. Where [`Recovery::torn_bytes`] is not zero, the caller appends a `gap`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing in the folder was changed then, unless the log is new.
    pub fn open(folder: &Path, origin: &Origin, key: SigningKey) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Box::<RealDisk>::default(), folder, origin, key)
    }

    pub(crate) fn open_on(
        mut disk: Box<dyn Disk>,
        folder: &Path,
        origin: &Origin,
        key: SigningKey,
    ) -> Result<(Self, Recovery), OpenError> {
        let state = recovery::recover(disk.as_mut(), folder, origin, &key)?;
        let full_bytes = state.full.iter().map(|(_, bytes)| bytes.len()).sum();
        let writer = Self {
            disk,
            root: folder.to_owned(),
            origin: origin.clone(),
            key,
            edge: state.edge,
            full: state.full,
            full_bytes,
            last: state.checkpoint,
            signed: state.signed,
            attempted: None,
            journal: Journal {
                length: state.journal_length,
                uncut: false,
                doubtful: false,
            },
            known_folders: HashSet::from([folder.to_owned()]),
            unsynced_folders: BTreeSet::new(),
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
    /// When it returns, the events survive the death of this process; `sync` or `checkpoint` makes
    /// them survive a loss of power.
    ///
    /// # Errors
    /// [`AppendError`]; none of the batch is recorded then.
    pub fn append(&mut self, events: &mut [Event]) -> Result<Range<u64>, AppendError> {
        if self.full_bytes > MAX_WAITING_BYTES {
            self.checkpoint().map_err(|source| AppendError::Backlog {
                waiting: self.waiting(),
                source: Box::new(source),
            })?;
        }
        self.encode(events)?;
        self.write_journal().map_err(|source| AppendError::Journal {
            folder: self.root.clone(),
            source,
        })?;
        let first = self.size();
        let waiting_tiles = self.full.len();
        for (range, leaf) in self.batch.entries.drain(..) {
            self.edge.push(&self.batch.bytes[range], leaf, &mut self.full);
        }
        let new_tiles = &self.full[waiting_tiles..];
        self.full_bytes += new_tiles.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        Ok(first..self.size())
    }

    /// Makes everything appended so far survive a loss of power.
    ///
    /// # Errors
    /// [`SyncError`].
    pub fn sync(&mut self) -> Result<(), SyncError> {
        if self.journal.doubtful {
            self.checkpoint()?;
            if !self.journal.doubtful {
                return Ok(());
            }
        }
        let synced = self.cut_if_uncut().and_then(|()| self.disk.sync_journal());
        synced.map_err(|source| {
            self.journal.doubtful = true;
            SyncError::Journal {
                folder: self.root.clone(),
                source,
            }
        })
    }

    /// Covers everything appended so far by a signed checkpoint, durably, and returns it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn checkpoint(&mut self) -> Result<Checkpoint, CheckpointError> {
        if self.waiting() > 0 || self.attempted.is_some() {
            self.publish_tiles()?;
            self.publish_checkpoint()?;
            self.forget_superseded();
        }
        self.empty_journal();
        Ok(self.last.clone())
    }

    /// Encodes the batch and hashes its entries.
    fn encode(&mut self, events: &mut [Event]) -> Result<(), AppendError> {
        self.batch.bytes.clear();
        self.batch.entries.clear();
        for (position, (event, seq)) in events.iter_mut().zip(self.edge.size()..).enumerate() {
            if event.gateway != self.origin.gateway() {
                return Err(AppendError::Gateway {
                    position,
                    found: event.gateway.clone(),
                    own: self.origin.gateway().to_owned(),
                });
            }
            event.seq = seq;
            let entry = event
                .to_entry()
                .map_err(|source| AppendError::Event { position, source })?;
            let leaf = leaf_hash(&entry);
            push_record(&mut self.batch.bytes, &entry, &leaf);
            let end = self.batch.bytes.len();
            self.batch.entries.push((end - entry.len()..end, leaf));
        }
        Ok(())
    }

    fn write_journal(&mut self) -> io::Result<()> {
        if self.batch.bytes.is_empty() {
            return Ok(());
        }
        self.cut_if_uncut()?;
        if let Err(error) = self.disk.append_journal(&self.batch.bytes) {
            // Some of it may be there. What was not acknowledged must not stay; if it cannot be cut
            // now, it is cut before anything else is written.
            self.journal.uncut = true;
            let _ = self.cut_if_uncut();
            return Err(error);
        }
        self.journal.length += self.batch.bytes.len() as u64;
        Ok(())
    }

    fn cut_if_uncut(&mut self) -> io::Result<()> {
        if self.journal.uncut {
            self.disk.cut_journal(self.journal.length)?;
            self.journal.uncut = false;
        }
        Ok(())
    }

    /// Entries, then hashes: written aside, synced, renamed, and their folders synced. No checkpoint
    /// covers them yet, so a failure leaves nothing that anybody relies on.
    fn publish_tiles(&mut self) -> Result<(), Unwritten> {
        let partials = self.edge.partials();
        // A partial tile that the last checkpoint already has is durable and is not touched again.
        let is_new = |tile: &crate::Tile| last_partial(tile.shelf(), self.last.size()) != Some(*tile);
        let tiles: Vec<(PathBuf, &[u8])> = self
            .full
            .iter()
            .chain(partials.iter().filter(|(tile, _)| is_new(tile)))
            .map(|(tile, bytes)| (self.root.join(tile.to_string()), bytes.as_slice()))
            .collect();
        let disk = self.disk.as_mut();
        let mut asides = Vec::with_capacity(tiles.len());
        for (path, bytes) in &tiles {
            let folder = path.parent().unwrap_or(&self.root);
            make_folders(disk, folder, &mut self.known_folders, &mut self.unsynced_folders)?;
            let aside = aside(path);
            disk.write(&aside, bytes).map_err(at(path))?;
            asides.push(aside);
        }
        disk.sync(&self.root, &asides)
            .map_err(at(&self.root.join(TILE_FOLDER)))?;
        for ((path, _), aside) in tiles.iter().zip(&asides) {
            if let Some(folder) = path.parent() {
                self.unsynced_folders.insert(folder.to_owned());
            }
            disk.rename(aside, path).map_err(at(path))?;
        }
        let folders: Vec<PathBuf> = self.unsynced_folders.iter().cloned().collect();
        disk.sync(&self.root, &folders)
            .map_err(at(&self.root.join(TILE_FOLDER)))?;
        self.unsynced_folders.clear();
        Ok(())
    }

    fn publish_checkpoint(&mut self) -> Result<(), CheckpointError> {
        let path = self.root.join(CHECKPOINT_FILE);
        let found = self.disk.read(&path).map_err(at(&path))?;
        if let Some(attempted) = self.attempted.take_if(|own| own.as_bytes() == found) {
            self.signed = attempted;
        } else if self.signed.as_bytes() != found {
            return Err(CheckpointError::Changed {
                folder: self.root.clone(),
            });
        }
        let checkpoint = Checkpoint::new(self.origin.clone(), self.edge.size(), self.edge.root());
        let signed = checkpoint
            .sign(&self.key)
            .expect("origin and key were found fit for notes when the log was opened");
        // From here on either of two checkpoints may be in the folder; this tree continues both.
        self.attempted = Some(signed.clone());
        replace_file(self.disk.as_mut(), &self.root, &path, signed.as_bytes())?;
        self.attempted = None;
        self.signed = signed;
        self.last = checkpoint;
        Ok(())
    }

    /// Drops what the new checkpoint made needless: tiles in memory, and partial tiles that full ones
    /// replaced (the specification lets them go once the full tile is there).
    fn forget_superseded(&mut self) {
        for (tile, _) in self.full.drain(..) {
            let folder = self.root.join(tile.partial_folder());
            self.known_folders.remove(&folder);
            // A leftover is clutter and nothing worse.
            let _ = self.disk.remove_folder(&folder);
        }
        self.full_bytes = 0;
    }

    /// The checkpoint covers all that the journal holds. Should cutting it fail, its records are
    /// known by their `seq` and skipped when the log is opened.
    fn empty_journal(&mut self) {
        let empty = MAGIC.len() as u64;
        if self.journal.length != empty || self.journal.doubtful {
            self.journal.length = empty;
            self.journal.uncut = true;
        }
        let emptied = self.cut_if_uncut();
        if self.journal.doubtful && emptied.and_then(|()| self.disk.sync_journal()).is_ok() {
            self.journal.doubtful = false;
        }
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("root", &self.root)
            .field("origin", &self.origin)
            .field("size", &self.size())
            .field("last", &self.last)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

/// Writes a file aside, syncs it, renames it into place and syncs the folder.
pub(crate) fn replace_file(
    disk: &mut dyn Disk,
    folder: &Path,
    path: &Path,
    bytes: &[u8],
) -> Result<(), Unwritten> {
    let aside = aside(path);
    disk.write(&aside, bytes).map_err(at(&aside))?;
    disk.sync(folder, std::slice::from_ref(&aside))
        .map_err(at(&aside))?;
    disk.rename(&aside, path).map_err(at(path))?;
    disk.sync(folder, &[folder.to_owned()]).map_err(at(folder))
}

/// Makes `folder` and what is above it, down to a folder that is known.
///
/// The folder above is to be synced even where this one existed: whoever made it may have died
/// before syncing.
pub(crate) fn make_folders(
    disk: &mut dyn Disk,
    folder: &Path,
    known: &mut HashSet<PathBuf>,
    unsynced: &mut BTreeSet<PathBuf>,
) -> Result<(), Unwritten> {
    if known.contains(folder) {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folders(disk, above, known, unsynced)?;
        unsynced.insert(above.to_owned());
    }
    disk.make_folder(folder).map_err(at(folder))?;
    known.insert(folder.to_owned());
    Ok(())
}

/// The name under which a file is written before it is whole.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Unwritten {
    let path = path.to_owned();
    move |source| Unwritten { path, source }
}
