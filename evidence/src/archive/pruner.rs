//! Letting entries go that the archive has: their bundles are removed, their hashes stay.
//!
//! Nothing goes that was not read back from the archive and found to be, byte for byte, what the log has.
//! That it went is an entry itself, and durable before the first bundle is removed: a bundle that is
//! missing without one was taken away, and a verifier says so.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Timestamp;
use seal::note::NoteVerifier;

use super::archiver::{Archiver, is_about_the_archive, last_of};
use super::shelf::PLACE_FILE;
use super::store::Store;
use super::{ArchiveError, ArchiveName, Bound, Expired, InvalidArchive};
use crate::disk::{Disk, RealDisk};
use crate::publisher::replace_file;
use crate::tile::{Shelf, TILE_WIDTH, Tile};
use crate::{Event, EventKind};

const WIDTH: u64 = TILE_WIDTH as u64;

/// What a `pruned` entry says: entries from `from` on and below `to` are in the archive alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The first entry.
    pub from: u64,
    /// The entry after the last.
    pub to: u64,
}

/// Why nothing was let go.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The log or the archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive has lost a file. Find it, or archive anew from another copy of the log.
    #[error("{name} is bound by the log and is not in {place}; nothing is pruned that it was to hold")]
    Gone {
        /// The archive.
        place: String,
        /// The file.
        name: String,
    },
    /// A file is not the one that the log binds, or does not give the entries back.
    #[error(
        "{name} in {place} is not what the log binds, and nothing is pruned that it was to hold: {source}"
    )]
    Changed {
        /// The archive.
        place: String,
        /// The file.
        name: String,
        /// What is wrong with it.
        source: InvalidArchive,
    },
    /// A bundle could not be removed. The log is whole; the next round removes it.
    #[error("could not remove {path}; it is removed in the next round")]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive was moved, and not with everything that the log let go. Copy the rest, and ask again.
    #[error(
        "the log let entries go whose files are in another place, and {place} has none with entry {index}; copy all of them there first, or name the old place again"
    )]
    Moved {
        /// The new place.
        place: String,
        /// The first entry that it lacks.
        index: u64,
    },
    /// The archive's place could not be written down; nothing was removed.
    #[error("could not write {path}; nothing was removed")]
    Place {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// One log, and the archive that it is held against before anything goes.
pub struct Pruner {
    archiver: Archiver,
    folder: PathBuf,
    store: Arc<dyn Store>,
    disk: Box<dyn Disk>,
}

impl Pruned {
    /// What `event` says, if it is a `pruned` entry.
    pub fn by(event: &Event) -> Option<Self> {
        let (from, to) = (event.entries_from?, event.entries_to?);
        // With a scope it tells of something else than the log's own bundles.
        let is_one = event.kind == EventKind::Pruned && event.scope.is_none();
        let is_one = is_one && from < to && to.is_multiple_of(WIDTH);
        // It can only tell of what came before it.
        (is_one && to <= event.seq).then_some(Self { from, to })
    }

    /// The entry that says so.
    pub fn event(&self, time: Timestamp, gateway: &str) -> Event {
        let mut event = Event::new(EventKind::Pruned, time, gateway);
        event.count = Some(self.to - self.from);
        event.entries_from = Some(self.from);
        event.entries_to = Some(self.to);
        event
    }
}

impl Pruner {
    /// Opens the log as its checkpoint has it now.
    ///
    /// # Errors
    /// [`PruneError`].
    pub fn open(folder: &Path, verifier: &NoteVerifier, store: &Arc<dyn Store>) -> Result<Self, PruneError> {
        Ok(Self {
            archiver: Archiver::open(folder, verifier, store)?,
            folder: folder.to_owned(),
            store: Arc::clone(store),
            disk: Box::<RealDisk>::default(),
        })
    }

    #[cfg(test)]
    pub(crate) fn on(self, disk: Box<dyn Disk>) -> Self {
        Self { disk, ..self }
    }

    /// Entries below this were let go, as the log has it.
    ///
    /// # Errors
    /// [`PruneError`].
    pub fn pruned_to(&self) -> Result<u64, PruneError> {
        let last = last_of(self.archiver.log(), |event| Pruned::by(event).is_some());
        let last = last.map_err(ArchiveError::from)?;
        Ok(last.as_ref().and_then(Pruned::by).map_or(0, |pruned| pruned.to))
    }

    /// What may go: bundles whose every entry is older than `before` and stands in files that the log
    /// binds and that were read back just now. Whoever called puts [`Pruned::event`] under a checkpoint,
    /// and then calls [`Self::remove`].
    ///
    /// # Errors
    /// [`PruneError`]; also where a file that was to be held against the log cannot be believed.
    pub fn due(&self, before: Timestamp) -> Result<Option<Pruned>, PruneError> {
        let from = self.pruned_to()?;
        let mut to = from;
        // The entry that binds a file stands after all that are in it, and files follow each other: the
        // first that is too young ends the search.
        'search: for bundle in from / WIDTH..self.archiver.size().div_ceil(WIDTH) {
            let entries = self.archiver.log().proven_entries(bundle * WIDTH);
            let (_, _, entries) = entries.map_err(ArchiveError::from)?;
            for entry in entries.iter().filter(|entry| is_about_the_archive(entry)) {
                let Some(bound) = Event::from_entry(entry).ok().as_ref().and_then(Bound::by) else {
                    continue;
                };
                let range = bound.name.entries();
                if range.end <= to {
                    continue;
                }
                if range.start > to || !self.is_older(&bound, before)? {
                    break 'search;
                }
                to = range.end;
            }
        }
        to -= to % WIDTH;
        Ok((to > from).then_some(Pruned { from, to }))
    }

    /// Whether all entries of a file are older; then it was read back and held against the log.
    fn is_older(&self, bound: &Bound, before: Timestamp) -> Result<bool, PruneError> {
        let name = bound.name.to_string();
        let place = self.store.place();
        let Some(bytes) = self.store.get(&name).map_err(ArchiveError::from)? else {
            return Err(PruneError::Gone { place, name });
        };
        let changed = |source| PruneError::Changed {
            place: place.clone(),
            name: name.clone(),
            source,
        };
        let origin = self.archiver.log().checkpoint().origin().as_str();
        let archive = bound.open(bytes, origin).map_err(changed)?;
        if !bound.name.is_of(&bound.sha256) {
            return Err(changed(InvalidArchive::Hash {
                found: bound.sha256.to_hex(),
                expected: bound.name.hash().to_owned(),
            }));
        }
        // An entry that stands whole states no time here, and is kept.
        let times = archive.numbers("time").map_err(changed)?;
        let is_older =
            (0..archive.row_count()).all(|row| times.row(row).is_some_and(|us| us < before.unix_us()));
        if is_older {
            self.archiver.hold_to(&archive)?.map_err(changed)?;
        }
        Ok(is_older)
    }

    /// Removes the bundles below what the log says was pruned, and returns how many there were. `place`
    /// says where the archive is, relative to the log's folder.
    ///
    /// # Errors
    /// [`PruneError`].
    pub fn remove(&self, place: &str) -> Result<u64, PruneError> {
        let to = self.pruned_to()?;
        let place_file = self.folder.join(PLACE_FILE);
        let line = format!("{place}\n");
        let named = self.disk.read(&place_file).ok();
        if to > 0 && named.as_deref() != Some(line.as_bytes()) {
            if named.is_some() {
                self.has_all_below(to)?;
            }
            replace_file(self.disk.as_ref(), &self.folder, &place_file, line.as_bytes()).map_err(
                |error| PruneError::Place {
                    path: error.path,
                    source: error.source,
                },
            )?;
        }
        // The lowest go first, so whatever an interrupted round left is at the top.
        let path = |bundle: u64| self.folder.join(Tile::full(Shelf::Entries, bundle).to_string());
        let mut first = to / WIDTH;
        let end = first;
        while let Some(below) = first.checked_sub(1) {
            let path = path(below);
            let exists = self.disk.exists(&path);
            if !exists.map_err(|source| PruneError::Remove { path, source })? {
                break;
            }
            first = below;
        }
        for bundle in first..end {
            let path = path(bundle);
            self.disk
                .remove_file(&path)
                .map_err(|source| PruneError::Remove { path, source })?;
        }
        Ok(end - first)
    }
}

impl Pruner {
    /// Whether the archive has, by their names, files with every entry below `to` that did not expire.
    fn has_all_below(&self, to: u64) -> Result<(), PruneError> {
        let expired = last_of(self.archiver.log(), |event| Expired::by(event).is_some());
        let expired = expired.map_err(ArchiveError::from)?;
        let expired_to = expired
            .as_ref()
            .and_then(Expired::by)
            .map_or(0, |expired| expired.to);
        let gateway = self.archiver.log().checkpoint().origin().gateway();
        let files = self.store.list("").map_err(ArchiveError::from)?;
        let mut ranges: Vec<Range<u64>> = files
            .iter()
            .filter_map(|file| file.name.parse::<ArchiveName>().ok())
            .filter(|name| name.gateway() == gateway)
            .map(|name| name.entries())
            .collect();
        ranges.sort_by_key(|range| range.start);
        let has = ranges.iter().fold(expired_to, |has, range| {
            if range.start <= has {
                range.end.max(has)
            } else {
                has
            }
        });
        if has < to {
            return Err(PruneError::Moved {
                place: self.store.place(),
                index: has,
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Pruner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pruner")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
