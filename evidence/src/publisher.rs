//! What a seal does: entries into tiles, tiles onto the disk, a signature over all of them.
//!
//! Everything here may wait for the disk, and nothing here is needed to append. So a seal takes the
//! publisher along to another thread, and brings it back.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seal::SigningKey;

use crate::disk::Disk;
use crate::edge::{RightEdge, TileBytes, last_partial};
use crate::failure::{CheckpointError, Unwritten};
use crate::writer::{CHECKPOINT_FILE, TILE_FOLDER};
use crate::{Checkpoint, Origin};

pub(crate) struct Publisher {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) root: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) last: Checkpoint,
    /// The checkpoint file as it was last seen.
    pub(crate) signed: String,
    /// A checkpoint that may or may not have reached the disk.
    attempted: Option<String>,
    known_folders: HashSet<PathBuf>,
    /// Folders with names in them that may not survive a loss of power yet.
    unsynced_folders: BTreeSet<PathBuf>,
}

impl Publisher {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        root: &Path,
        origin: Origin,
        key: Arc<SigningKey>,
        last: Checkpoint,
        signed: String,
    ) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            origin,
            key,
            last,
            signed,
            attempted: None,
            known_folders: HashSet::from([root.to_owned()]),
            unsynced_folders: BTreeSet::new(),
        }
    }

    /// Whether a tree of `size` entries still has to be signed for.
    pub(crate) const fn is_behind(&self, size: u64) -> bool {
        self.last.size() < size || self.attempted.is_some()
    }

    /// Publishes the tree that `edge` and the tiles in `full` complete.
    pub(crate) fn publish(&mut self, edge: &RightEdge, full: &[TileBytes]) -> Result<(), CheckpointError> {
        self.publish_tiles(edge, full)?;
        self.publish_checkpoint(edge)?;
        self.forget_superseded(full);
        Ok(())
    }

    /// Entries, then hashes: written aside, synced, renamed, and their folders synced. No checkpoint
    /// covers them yet, so a failure leaves nothing that anybody relies on.
    fn publish_tiles(&mut self, edge: &RightEdge, full: &[TileBytes]) -> Result<(), Unwritten> {
        let partials = edge.partials();
        // A partial tile that the last checkpoint already has is durable and is not touched again.
        let is_new = |tile: &crate::Tile| last_partial(tile.shelf(), self.last.size()) != Some(*tile);
        let tiles: Vec<(PathBuf, &[u8])> = full
            .iter()
            .chain(partials.iter().filter(|(tile, _)| is_new(tile)))
            .map(|(tile, bytes)| (self.root.join(tile.to_string()), bytes.as_slice()))
            .collect();
        let disk = self.disk.as_ref();
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

    fn publish_checkpoint(&mut self, edge: &RightEdge) -> Result<(), CheckpointError> {
        let path = self.root.join(CHECKPOINT_FILE);
        let found = self.disk.read(&path).map_err(at(&path))?;
        if let Some(attempted) = self.attempted.take_if(|own| own.as_bytes() == found) {
            self.signed = attempted;
        } else if self.signed.as_bytes() != found {
            return Err(CheckpointError::Changed {
                folder: self.root.clone(),
            });
        }
        let checkpoint = Checkpoint::new(self.origin.clone(), edge.size(), edge.root());
        let signed = checkpoint
            .sign(&self.key)
            .expect("origin and key were found fit for notes when the log was opened");
        // From here on either of two checkpoints may be in the folder; this tree continues both.
        self.attempted = Some(signed.clone());
        replace_file(self.disk.as_ref(), &self.root, &path, signed.as_bytes())?;
        self.attempted = None;
        self.signed = signed;
        self.last = checkpoint;
        Ok(())
    }

    /// Drops partial tiles that full ones replaced: the specification lets them go once the full tile
    /// is there.
    fn forget_superseded(&mut self, full: &[TileBytes]) {
        for (tile, _) in full {
            let folder = self.root.join(tile.partial_folder());
            self.known_folders.remove(&folder);
            // A leftover is clutter and nothing worse.
            let _ = self.disk.remove_folder(&folder);
        }
    }
}

/// Writes a file aside, syncs it, renames it into place and syncs the folder.
pub(crate) fn replace_file(
    disk: &dyn Disk,
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
    disk: &dyn Disk,
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
