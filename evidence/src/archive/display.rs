//! Showing a log to whoever reads the store: its hash tiles, and last its checkpoint.
//!
//! What archive files hold can be held against these by anybody who has the log's key, without the
//! gateway's own disk. Entries go there in archive files alone: they are let go by the site's policy, and
//! hashes stay. Below `log/<gateway>/` names are those of c2sp.org/tlog-tiles.

use std::path::Path;
use std::sync::Arc;

use base::Sha256Digest;
use seal::note::NoteVerifier;

use super::store::{LOGS, Store, StoreError};
use crate::folder::{Folder, Found, Unreadable};
use crate::tile::{Shelf, TILE_WIDTH, Tile, tile_bytes};
use crate::writer::CHECKPOINT_FILE;
use crate::{Checkpoint, InvalidCheckpoint, ReadError, VerifiedLog};

/// What a round of showing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Entries under the checkpoint that the store shows now.
    pub size: u64,
    /// Tiles that were put in this round.
    pub tiles: u64,
}

/// Why a log is not shown as it stands. What was shown before still is.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// There is nothing that was signed.
    #[error("{folder} holds no checkpoint; name the folder that has the file \"checkpoint\" in it")]
    NoCheckpoint {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// The log's own checkpoint is not to be believed.
    #[error("the log's checkpoint is not to be believed; run: bailiwick evidence verify")]
    Checkpoint(#[from] InvalidCheckpoint),
    /// A tile cannot be read, or is not there.
    #[error("the log's hashes cannot be read as they were signed; run: bailiwick evidence verify")]
    Log(#[from] ReadError),
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store shows something else than it was given.
    #[error(
        "{place} gives back {found} for {name}; it lies about success, or somebody else writes there: the log is not shown further"
    )]
    Other {
        /// The store.
        place: String,
        /// The file.
        name: String,
        /// What it gives back.
        found: String,
    },
    /// What the store shows is signed with this log's key, and this log does not continue it.
    #[error(
        "{place} shows a checkpoint of {shown} entries that this log of {size} does not continue: one of the two was rolled back or copied; keep both, they are evidence"
    )]
    Forked {
        /// The store.
        place: String,
        /// Entries under the checkpoint shown.
        shown: u64,
        /// Entries under the log's own.
        size: u64,
    },
}

impl From<Unreadable> for ShowError {
    fn from(error: Unreadable) -> Self {
        Self::Log(error.into())
    }
}

/// Shows the log in `folder` as its checkpoint has it now.
///
/// # Errors
/// [`ShowError`]; then the store still shows an earlier beginning of the log, or nothing.
pub fn show(folder: &Path, verifier: &NoteVerifier, store: &Arc<dyn Store>) -> Result<Shown, ShowError> {
    let files = Folder::new(folder);
    let Some(signed) = files.checkpoint()? else {
        return Err(ShowError::NoCheckpoint {
            folder: folder.to_owned(),
        });
    };
    let checkpoint = Checkpoint::open(&signed, verifier)?;
    let size = checkpoint.size();
    let below = format!("{LOGS}{}", checkpoint.origin().gateway());
    let name = format!("{below}/{CHECKPOINT_FILE}");
    let shown = match store.get(&name)? {
        // What is signed by nobody may be replaced; whoever reads it believes nothing of it either.
        Some(shown) => Checkpoint::open(&shown, verifier).ok(),
        None => None,
    };
    let from = shown.as_ref().map_or(0, Checkpoint::size);
    if let Some(shown) = &shown {
        let log = VerifiedLog::provisional(&files, verifier, &checkpoint);
        if from > size || !log.continues(shown)? {
            return Err(ShowError::Forked {
                place: store.place(),
                shown: from,
                size,
            });
        }
        if from == size {
            return Ok(Shown { size, tiles: 0 });
        }
    }
    let mut tiles = 0;
    for tile in tiles_between(from, size) {
        let hashes = match files.hashes(tile)? {
            Found::Whole(hashes) => hashes,
            Found::Missing { file } | Found::Malformed { file, .. } => {
                return Err(ReadError::Changed { file }.into());
            }
        };
        let name = format!("{below}/{tile}");
        let bytes = tile_bytes(&hashes);
        store.put_if_absent(&name, &bytes)?;
        gives_back(store.as_ref(), &name, &bytes)?;
        tiles += 1;
    }
    // The checkpoint says that all of this is there; so it comes last.
    store.replace(&name, &signed)?;
    gives_back(store.as_ref(), &name, &signed)?;
    Ok(Shown { size, tiles })
}

fn gives_back(store: &dyn Store, name: &str, bytes: &[u8]) -> Result<(), ShowError> {
    match store.get(name)? {
        Some(found) if found == bytes => Ok(()),
        found => Err(ShowError::Other {
            place: store.place(),
            name: name.to_owned(),
            found: found.map_or("nothing".to_owned(), |found| {
                format!("{} bytes that hash to {}", found.len(), Sha256Digest::of(&found))
            }),
        }),
    }
}

/// The hash tiles that a tree of `size` entries has and one of `from` had not, full ones and the partial
/// ones at its edge.
fn tiles_between(from: u64, size: u64) -> Vec<Tile> {
    let mut tiles = Vec::new();
    for level in 0..8 {
        let shelf = Shelf::Level(level);
        let hashes = |size: u64| size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        if hashes(size) == 0 {
            break;
        }
        let first = hashes(from) / TILE_WIDTH as u64;
        let news = (first..hashes(size).div_ceil(TILE_WIDTH as u64))
            .filter_map(|index| Tile::of_tree(shelf, index, size))
            .filter(|tile| Tile::of_tree(shelf, tile.index(), from) != Some(*tile));
        tiles.extend(news);
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_of_a_tree_is_shown_once_however_it_grew() {
        let names = |from, size| {
            let tiles = tiles_between(from, size);
            tiles.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(0, 1), ["tile/0/000.p/1"]);
        assert_eq!(names(1, 1), [] as [&str; 0]);
        assert_eq!(names(0, 256), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(
            names(250, 300),
            ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]
        );
        assert_eq!(names(300, 301), ["tile/0/001.p/45"]);
        // Whatever the steps, the last tree is all there.
        let whole: std::collections::BTreeSet<String> = names(0, 70_000).into_iter().collect();
        let mut steps = std::collections::BTreeSet::new();
        let mut at = 0;
        for next in [3, 256, 511, 60_000, 65_536, 69_999, 70_000] {
            steps.extend(names(at, next));
            at = next;
        }
        assert!(whole.is_subset(&steps));
    }
}
