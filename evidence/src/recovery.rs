//! Opening a log for writing: what the last writer left, checked before anything is added to it.
//!
//! The folder is believed as far as it agrees with the signed checkpoint. Whatever contradicts the
//! checkpoint is refused, because a writer that signs on would sign a fork.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use seal::SigningKey;
use seal::note::{NoteError, NoteVerifier};

use crate::disk::{Disk, JournalFile};
use crate::edge::{RightEdge, TileBytes, last_partial};
use crate::failure::Unwritten;
use crate::journal::{JOURNAL_FILES, MAGIC, Records, in_order};
use crate::journals::Side;
use crate::merkle::{empty_root, leaf_hash};
use crate::publisher::{make_folders, replace_file};
use crate::tile::{Shelf, Tile, split_bundle, tile_hashes};
use crate::writer::{CHECKPOINT_FILE, LOCK_FILE, TILE_FOLDER};
use crate::{Checkpoint, InvalidCheckpoint, InvalidEvent, Origin};

/// What was found when a log was opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the log was started just now.
    pub is_new: bool,
    /// Entries that the last checkpoint covers.
    pub signed: u64,
    /// Entries taken up again from the journal, which no checkpoint covers yet.
    pub reintegrated: u64,
    /// Bytes at a journal's end that were no whole record and were cut: a crash may have taken events
    /// with them.
    pub torn_bytes: u64,
    /// Entries that were given a place in the log and did not survive a loss of power, or that came
    /// after such and cannot keep their place.
    pub lost: u64,
}

impl Recovery {
    /// Whether events may be missing. The caller then appends a `gap` before anything else.
    pub const fn may_lack_events(&self) -> bool {
        self.torn_bytes > 0 || self.lost > 0
    }
}

/// Why a log was not opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another writer has the log. One gateway, one folder: stop the other, or name another folder.
    #[error("the log in {folder} is in use by another writer; stop it first, or use another folder")]
    Locked {
        /// The log's folder.
        folder: PathBuf,
    },
    /// The key cannot sign checkpoints.
    #[error("this key cannot sign checkpoints; use an Ed25519 key")]
    Key(#[source] NoteError),
    /// The disk refused.
    #[error("could not open the log: {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds a log with entries and no checkpoint. Restore the checkpoint from whoever
    /// holds a copy; starting anew here would hide that entries are gone.
    #[error("the log in {folder} has lost its checkpoint; restore it from a copy, or use another folder")]
    CheckpointMissing {
        /// The log's folder.
        folder: PathBuf,
    },
    /// The checkpoint is another log's, another key's, or was edited.
    #[error("the log in {folder} cannot be continued")]
    Checkpoint {
        /// The log's folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: InvalidCheckpoint,
    },
    /// Tiles are missing or changed. `evidence verify` says which entry; restore the folder from a
    /// copy, or keep it as it is and start another.
    #[error("the log in {folder} does not match its own checkpoint: {what}; run: bailiwick evidence verify")]
    Damaged {
        /// The log's folder.
        folder: PathBuf,
        /// What does not match.
        what: String,
    },
    /// The journal continues a longer log than the checkpoint covers: the checkpoint was rolled back.
    /// Restore the newer one from whoever holds a copy.
    #[error(
        "the journal in {folder} continues at entry {journal} and the checkpoint covers {signed}: an older checkpoint was put back; restore the newer one from a copy"
    )]
    RolledBack {
        /// The log's folder.
        folder: PathBuf,
        /// Entries covered, with those of the journal before the jump.
        signed: u64,
        /// Where the journal goes on.
        journal: u64,
    },
    /// The journal is of another form, perhaps a later version's. Nothing was cut.
    #[error("{path} is not a journal that this version reads; open the log with the version that wrote it")]
    NotAJournal {
        /// The journal.
        path: PathBuf,
    },
    /// The journal holds a whole record that is not an event of this log, perhaps a later version's.
    /// Nothing was cut.
    #[error("the journal's record for entry {index} is not an event of this log")]
    NotAnEvent {
        /// The index that it would get.
        index: u64,
        /// What is wrong with it; absent where it is an event of another gateway.
        source: Option<InvalidEvent>,
    },
}

/// All that a writer starts from.
pub(crate) struct State {
    pub(crate) edge: RightEdge,
    pub(crate) full: Vec<TileBytes>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) signed: String,
    pub(crate) journals: [Option<Side>; 2],
    pub(crate) active: usize,
    pub(crate) recovery: Recovery,
}

pub(crate) fn recover(
    disk: &dyn Disk,
    folder: &Path,
    origin: &Origin,
    key: &SigningKey,
) -> Result<State, OpenError> {
    let verifier = NoteVerifier::new(origin.as_str(), &key.public()).map_err(OpenError::Key)?;
    let opening = Opening { disk, folder, origin };
    opening.take_folder()?;
    let (signed, is_new) = opening.checkpoint(key)?;
    let checkpoint =
        Checkpoint::open(signed.as_bytes(), &verifier).map_err(|source| OpenError::Checkpoint {
            folder: folder.to_owned(),
            source,
        })?;
    let mut edge = opening.edge(&checkpoint)?;
    let mut full = Vec::new();
    let found = opening.journals(&mut edge, &mut full)?;
    opening.tidy(checkpoint.size());
    Ok(State {
        recovery: Recovery {
            is_new,
            signed: checkpoint.size(),
            reintegrated: edge.size() - checkpoint.size(),
            torn_bytes: found.torn_bytes,
            lost: found.lost,
        },
        edge,
        full,
        checkpoint,
        signed,
        journals: found.sides,
        active: found.active,
    })
}

/// What the journals hold, once the edge has taken up what follows the checkpoint.
struct JournalsFound {
    sides: [Option<Side>; 2],
    active: usize,
    torn_bytes: u64,
    lost: u64,
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    origin: &'a Origin,
}

impl Opening<'_> {
    fn take_folder(&self) -> Result<(), OpenError> {
        let mut known = HashSet::new();
        for above in self
            .folder
            .ancestors()
            .filter(|above| !above.as_os_str().is_empty())
        {
            if self.disk.exists(above).map_err(at(above))? {
                known.insert(above.to_owned());
            }
        }
        let mut unsynced = BTreeSet::new();
        make_folders(self.disk, self.folder, &mut known, &mut unsynced)?;
        // The folder's own name must be as durable as what it will hold.
        for above in unsynced {
            self.disk
                .sync(&above, std::slice::from_ref(&above))
                .map_err(at(&above))?;
        }
        let lock = self.folder.join(LOCK_FILE);
        if self.disk.lock(&lock).map_err(at(&lock))? {
            Ok(())
        } else {
            Err(OpenError::Locked {
                folder: self.folder.to_owned(),
            })
        }
    }

    /// The signed checkpoint; for a new log, one over nothing, so that from the first moment a log
    /// without a checkpoint is a damaged log.
    fn checkpoint(&self, key: &SigningKey) -> Result<(String, bool), OpenError> {
        let path = self.folder.join(CHECKPOINT_FILE);
        match self.disk.read(&path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(signed) => return Ok((signed, false)),
                Err(_) => {
                    return Err(OpenError::Checkpoint {
                        folder: self.folder.to_owned(),
                        source: InvalidCheckpoint::Malformed,
                    });
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
        for name in JOURNAL_FILES.into_iter().chain([TILE_FOLDER]) {
            let path = self.folder.join(name);
            if self.disk.exists(&path).map_err(at(&path))? {
                return Err(OpenError::CheckpointMissing {
                    folder: self.folder.to_owned(),
                });
            }
        }
        let signed = Checkpoint::new(self.origin.clone(), 0, empty_root())
            .sign(key)
            .map_err(OpenError::Key)?;
        replace_file(self.disk, self.folder, &path, signed.as_bytes())?;
        Ok((signed, true))
    }

    /// Reads the right edge and holds it against the checkpoint.
    fn edge(&self, checkpoint: &Checkpoint) -> Result<RightEdge, OpenError> {
        let size = checkpoint.size();
        let mut levels = Vec::new();
        for level in (0_u8..8).take_while(|level| size >> (8 * u32::from(*level)) > 0) {
            let hashes = match last_partial(Shelf::Level(level), size) {
                Some(tile) => {
                    let (path, bytes) = self.tile(tile)?;
                    tile_hashes(&bytes, tile.width()).ok_or_else(|| self.damaged(&path, "is too short"))?
                }
                None => Vec::new(),
            };
            levels.push(hashes);
        }
        let bundle = match last_partial(Shelf::Entries, size) {
            Some(tile) => self.bundle(tile, &levels[0])?,
            None => Vec::new(),
        };
        let edge = RightEdge::resume(size, levels, bundle);
        if edge.root() == *checkpoint.root() {
            Ok(edge)
        } else {
            Err(OpenError::Damaged {
                folder: self.folder.to_owned(),
                what: "the last hash tiles do not hash to the signed root".to_owned(),
            })
        }
    }

    /// The bytes of the last, partial bundle, each entry held against its hash.
    fn bundle(&self, tile: Tile, leaves: &[base::Sha256Digest]) -> Result<Vec<u8>, OpenError> {
        let (path, mut bytes) = self.tile(tile)?;
        let entries = split_bundle(&bytes, tile.width(), false)
            .map_err(|invalid| self.damaged(&path, &invalid.to_string()))?;
        if !entries
            .iter()
            .map(|entry| leaf_hash(entry))
            .eq(leaves.iter().copied())
        {
            return Err(self.damaged(&path, "does not match its hashes"));
        }
        let length = entries.iter().map(|entry| 2 + entry.len()).sum();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// A partial tile, or the full one that took its place.
    fn tile(&self, tile: Tile) -> Result<(PathBuf, Vec<u8>), OpenError> {
        for tile in [tile, tile.filled()] {
            let path = self.folder.join(tile.to_string());
            match self.disk.read(&path) {
                Ok(bytes) => return Ok((path, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(&path)(error)),
            }
        }
        Err(self.damaged(&self.folder.join(tile.to_string()), "is missing"))
    }

    /// Takes up the journals' entries beyond the checkpoint, and cuts what is no whole record.
    fn journals(&self, edge: &mut RightEdge, full: &mut Vec<TileBytes>) -> Result<JournalsFound, OpenError> {
        let signed = edge.size();
        let paths = JOURNAL_FILES.map(|name| self.folder.join(name));
        let mut files = [None, None];
        let mut bytes = [Vec::new(), Vec::new()];
        for (at_file, path) in paths.iter().enumerate() {
            // The second is made when it is needed first.
            if at_file == 0 || self.disk.exists(path).map_err(at(path))? {
                let file = self.disk.open_journal(path).map_err(at(path))?;
                bytes[at_file] = file.read().map_err(at(path))?;
                files[at_file] = Some(file);
            }
        }
        let mut found = JournalsFound {
            sides: [None, None],
            active: 0,
            torn_bytes: 0,
            lost: 0,
        };
        for at_file in in_order(&bytes) {
            let Some(file) = files[at_file].take() else {
                continue;
            };
            let (path, bytes) = (&paths[at_file], &bytes[at_file]);
            let mut records =
                Records::of(bytes).map_err(|_| OpenError::NotAJournal { path: path.clone() })?;
            let marked = records.marked();
            let lost = self.take_up(&mut records, marked, signed, edge, full)?;
            let whole = records.read_bytes();
            let torn = bytes.len() - whole;
            if lost > 0 {
                // What is in it cannot follow. It stays until something else does: should the next
                // records not come to be, the loss is found again.
                found.sides[at_file] = Some(Side::spent(file));
                found.torn_bytes += torn as u64;
                found.lost += lost;
                continue;
            }
            if whole == 0 {
                self.start_journal(path, file.as_ref())?;
                // A start that was cut short is no loss; it is durable before the first record follows.
                found.torn_bytes += torn.saturating_sub(MAGIC.len()) as u64;
                found.sides[at_file] = Some(Side::new(file, MAGIC.len() as u64));
                continue;
            }
            if torn > 0 {
                file.cut(whole as u64).map_err(at(path))?;
            }
            found.torn_bytes += torn as u64;
            found.sides[at_file] = Some(Side::new(file, whole as u64));
            if whole > MAGIC.len() {
                found.active = at_file;
            }
        }
        if found.sides[found.active].as_ref().is_some_and(Side::is_spent) {
            // Cutting it before anything is written elsewhere would lose the loss.
            let other = 1 - found.active;
            if found.sides[other].is_none() {
                let file = self.disk.open_journal(&paths[other]).map_err(at(&paths[other]))?;
                self.start_journal(&paths[other], file.as_ref())?;
                found.sides[other] = Some(Side::new(file, MAGIC.len() as u64));
            }
            found.active = other;
        }
        Ok(found)
    }

    /// Takes up what follows; returns how many entries cannot.
    fn take_up(
        &self,
        records: &mut Records<'_>,
        marked: Option<u64>,
        signed: u64,
        edge: &mut RightEdge,
        full: &mut Vec<TileBytes>,
    ) -> Result<u64, OpenError> {
        let mut end = edge.size();
        for record in records.by_ref() {
            let index = edge.size();
            let event = record.event().map_err(|source| OpenError::NotAnEvent {
                index,
                source: Some(source),
            })?;
            if event.gateway != self.origin.gateway() {
                return Err(OpenError::NotAnEvent { index, source: None });
            }
            if event.seq == index {
                edge.push(record.entry, record.leaf, full);
            } else if event.seq > index && marked.is_none_or(|marked| marked > signed) {
                return Err(OpenError::RolledBack {
                    folder: self.folder.to_owned(),
                    signed: index,
                    journal: event.seq,
                });
            }
            // A smaller one is covered already: the last writer died before it emptied the journal.
            end = end.max(event.seq.saturating_add(1));
        }
        Ok(end.saturating_sub(edge.size()))
    }

    fn start_journal(&self, path: &Path, file: &dyn JournalFile) -> Result<(), OpenError> {
        file.cut(0)
            .and_then(|()| file.append(MAGIC))
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync(self.folder, &[self.folder.to_owned()]))
            .map_err(at(path))
    }

    /// Removes partial tiles that a full one replaced just before the last writer died. A leftover
    /// is clutter and nothing worse.
    fn tidy(&self, size: u64) {
        let shelves = (0_u8..8).map(Shelf::Level).chain([Shelf::Entries]);
        for shelf in shelves {
            let shift = match shelf {
                Shelf::Level(level) => 8 * (u32::from(level) + 1),
                Shelf::Entries => 8,
            };
            let full_tiles = size.checked_shr(shift).unwrap_or(0);
            if let Some(last) = full_tiles.checked_sub(1) {
                let partials = self.folder.join(Tile::full(shelf, last).partial_folder());
                let _ = self.disk.remove_folder(&partials);
            }
        }
    }

    fn damaged(&self, path: &Path, what: &str) -> OpenError {
        let name = path.strip_prefix(self.folder).unwrap_or(path).display();
        OpenError::Damaged {
            folder: self.folder.to_owned(),
            what: format!("{name} {what}"),
        }
    }
}

impl From<Unwritten> for OpenError {
    fn from(Unwritten { path, source }: Unwritten) -> Self {
        Self::Io { path, source }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}
