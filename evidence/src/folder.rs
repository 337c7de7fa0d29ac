//! The edge where a log is read: files of a folder that may have been copied from anywhere.
//!
//! Nothing read here is believed. What is missing or of the wrong size is an answer, not an error;
//! an error is a disk that refuses to say. Entries that were pruned are read from the archive, by
//! whoever reads.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base::Sha256Digest;

use crate::Checkpoint;
use crate::archive::Store;
use crate::archive::shelf::{MAX_PLACE_BYTES, PLACE_FILE, Shelf, Shelved, is_address};
use crate::checkpoint::MAX_CHECKPOINT_BYTES;
use crate::journal::{JOURNAL_FILES, in_order};
use crate::merkle::leaf_hash;
use crate::tile::{self, MAX_BUNDLE_BYTES, TILE_WIDTH, Tile, split_bundle, tile_hashes};
use crate::verification::Expiry;
use crate::writer::{CHECKPOINT_FILE, TILE_FOLDER};

/// Larger journals are not ours: the writer makes a checkpoint long before.
const MAX_JOURNAL_BYTES: usize = 1 << 30;

/// A file that is there and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read {path}; {}", self.remedy())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Unreadable {
    /// Whether it is in an archive that is no folder of this machine: it may be back in a moment.
    pub fn is_elsewhere(&self) -> bool {
        is_address(&self.path.to_string_lossy())
    }

    fn remedy(&self) -> &'static str {
        if self.is_elsewhere() {
            "the archive does not answer, and nobody can tell until it does"
        } else {
            "check the file's permissions and the disk"
        }
    }
}

/// What stands where a file should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<T> {
    Whole(T),
    Missing { file: String },
    Malformed { file: String, what: String },
}

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Where entries are that no longer stand here, once somebody asked; `None` where the log names no
    /// archive.
    shelf: Arc<OnceLock<Option<Shelf>>>,
    /// What reaches an archive that is no folder, where the log names that one.
    archive: Option<Arc<dyn Store>>,
    /// What the log says expired, once somebody had to know; `None` where it says nothing.
    expiry: Arc<OnceLock<Option<Expiry>>>,
}

/// Entries of one bundle, as read.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) file: String,
    bytes: Vec<u8>,
    tile: Tile,
    exact: bool,
    /// The leaf hashes of the first entries, where these expired: nobody has their bytes any more.
    expired: Vec<Sha256Digest>,
}

impl Folder {
    pub(crate) fn new(root: &Path) -> Self {
        Self::with_archive(root, None)
    }

    /// A folder whose pruned entries may be in `archive`.
    pub(crate) fn with_archive(root: &Path, archive: Option<Arc<dyn Store>>) -> Self {
        Self {
            root: root.to_owned(),
            shelf: Arc::default(),
            archive,
            expiry: Arc::default(),
        }
    }

    /// The same folder as somebody sees it who was told what expired.
    pub(crate) fn knowing(&self, expiry: Option<Expiry>) -> Self {
        Self {
            expiry: Arc::new(OnceLock::from(expiry)),
            ..self.clone()
        }
    }

    /// Whether somebody found out what expired.
    pub(crate) fn knows_expiry(&self) -> bool {
        self.expiry.get().is_some()
    }

    /// From here on bundles are read in the knowledge of what expired.
    pub(crate) fn learn(&self, expiry: Option<Expiry>) {
        // Another thread may have been first, with the same.
        let _ = self.expiry.set(expiry);
    }

    /// What expired, as far as somebody had to find out.
    pub(crate) fn expiry(&self) -> Option<Expiry> {
        self.expiry.get().copied().flatten()
    }

    /// The archive that the log names.
    pub(crate) fn shelf(&self) -> Result<Option<&Shelf>, Unreadable> {
        if self.shelf.get().is_none() {
            let place = self.read(PLACE_FILE, MAX_PLACE_BYTES)?;
            let place = place.and_then(|place| String::from_utf8(place).ok());
            let signed = self.checkpoint()?.unwrap_or_default();
            let origin = Checkpoint::claimed(&signed).ok();
            let named = place.zip(origin);
            let shelf = named.map(|(place, claimed)| {
                Shelf::named(
                    &self.root,
                    &place,
                    self.archive.as_ref(),
                    claimed.origin().as_str(),
                )
            });
            // Another thread may have been first, with the same.
            let _ = self.shelf.set(shelf);
        }
        Ok(self.shelf.get().and_then(Option::as_ref))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn checkpoint(&self) -> Result<Option<Vec<u8>>, Unreadable> {
        self.read(CHECKPOINT_FILE, MAX_CHECKPOINT_BYTES)
    }

    /// Both journals, the one that begins with the earlier entry first; empty where there is none.
    pub(crate) fn journals(&self) -> Result<[Vec<u8>; 2], Unreadable> {
        let mut bytes = [Vec::new(), Vec::new()];
        for (bytes, name) in bytes.iter_mut().zip(JOURNAL_FILES) {
            *bytes = self.read(name, MAX_JOURNAL_BYTES)?.unwrap_or_default();
        }
        Ok(in_order(&bytes).map(|at| std::mem::take(&mut bytes[at])))
    }

    /// Whether anything of a log is here, with or without its checkpoint.
    pub(crate) fn holds_anything(&self) -> bool {
        [CHECKPOINT_FILE, TILE_FOLDER]
            .iter()
            .chain(&JOURNAL_FILES)
            .any(|name| self.root.join(name).exists())
    }

    /// The hashes of a tile.
    pub(crate) fn hashes(&self, tile: Tile) -> Result<Found<Vec<Sha256Digest>>, Unreadable> {
        let Some((file, bytes, width)) = self.either(tile, TILE_WIDTH * 32)? else {
            return Ok(Found::Missing {
                file: tile.to_string(),
            });
        };
        if bytes.len() != width * 32 {
            let what = format!("it has {} bytes instead of {}", bytes.len(), width * 32);
            return Ok(Found::Malformed { file, what });
        }
        Ok(match tile_hashes(&bytes, tile.width()) {
            Some(hashes) => Found::Whole(hashes),
            None => Found::Missing { file },
        })
    }

    /// The bundle of a tile's entries.
    pub(crate) fn bundle(&self, tile: Tile) -> Result<Found<Bundle>, Unreadable> {
        Ok(match self.either(tile, MAX_BUNDLE_BYTES)? {
            Some((file, bytes, width)) => Found::Whole(Bundle {
                file,
                bytes,
                tile,
                exact: width == tile.width(),
                expired: Vec::new(),
            }),
            None => self.shelved(tile)?,
        })
    }

    /// What the archive has in the place of a bundle that is not here: only full ones are ever pruned.
    fn shelved(&self, tile: Tile) -> Result<Found<Bundle>, Unreadable> {
        let missing = Found::Missing {
            file: tile.to_string(),
        };
        let Some(shelf) = self.shelf()?.filter(|_| tile.is_full()) else {
            return Ok(missing);
        };
        let expired_to = self.expiry().map_or(0, |expiry| expiry.end);
        let shelved = shelf.bundle(tile, expired_to).map_err(|error| Unreadable {
            path: PathBuf::from(format!("{}/{}", error.place, error.name)),
            source: error.source,
        })?;
        Ok(match shelved {
            Shelved::Whole { file, bytes, expired } => {
                let leaves = match expired {
                    0 => Vec::new(),
                    _ => match self.hashes(Tile::full(tile::Shelf::Level(0), tile.index()))? {
                        Found::Whole(leaves) => leaves,
                        Found::Missing { file } => return Ok(Found::Missing { file }),
                        Found::Malformed { file, what } => return Ok(Found::Malformed { file, what }),
                    },
                };
                Found::Whole(Bundle {
                    file,
                    bytes,
                    tile,
                    exact: true,
                    expired: leaves.into_iter().take(expired).collect(),
                })
            }
            Shelved::Missing => missing,
            Shelved::Malformed { file, what } => Found::Malformed {
                file,
                what: what.to_string(),
            },
        })
    }

    /// A tile's file, or that of the full tile which took its place, and how wide that is.
    fn either(&self, tile: Tile, most: usize) -> Result<Option<(String, Vec<u8>, usize)>, Unreadable> {
        for tile in [tile, tile.filled()] {
            let file = tile.to_string();
            if let Some(bytes) = self.read(&file, most)? {
                return Ok(Some((file, bytes, tile.width())));
            }
        }
        Ok(None)
    }

    /// Reads at most one byte more than `most`, which no caller takes for whole.
    fn read(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, Unreadable> {
        let path = self.root.join(name);
        let read = || -> io::Result<Option<Vec<u8>>> {
            // Opening a pipe would wait for ever.
            let metadata = fs::metadata(&path)?;
            if !metadata.is_file() {
                return Ok(None);
            }
            // Room for one byte more, so that the read which finds the end needs no growth.
            let expected = usize::try_from(metadata.len()).unwrap_or(most).min(most);
            let mut bytes = Vec::with_capacity(expected + 1);
            File::open(&path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        match read() {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            read => read.map_err(|source| Unreadable {
                path: path.clone(),
                source,
            }),
        }
    }
}

impl Bundle {
    /// The leaf hashes of entries that expired, from the bundle's first on.
    pub(crate) fn expired(&self) -> &[Sha256Digest] {
        &self.expired
    }

    /// The index of the first entry that is there.
    pub(crate) fn first(&self) -> u64 {
        self.tile.first_entry() + self.expired.len() as u64
    }

    /// Every leaf of the bundle, where `entries` are those that are there.
    pub(crate) fn leaves(&self, entries: &[&[u8]]) -> Vec<Sha256Digest> {
        let kept = entries.iter().map(|entry| leaf_hash(entry));
        self.expired.iter().copied().chain(kept).collect()
    }

    /// The entries that are there, and what is wrong with the file after the last of them.
    pub(crate) fn entries(&self) -> (Vec<&[u8]>, Option<String>) {
        let width = self.tile.width() - self.expired.len();
        match split_bundle(&self.bytes, width, self.exact) {
            Ok(entries) => (entries, None),
            Err(invalid) => {
                let whole = match invalid {
                    crate::InvalidBundle::Short { position } => position,
                    crate::InvalidBundle::Long { .. } => width,
                };
                let entries = split_bundle(&self.bytes, whole, false).unwrap_or_default();
                (entries, Some(invalid.to_string()))
            }
        }
    }
}
