//! Pruned entries, read from the archive as if they still stood in the log.
//!
//! A log that was pruned names its archive in the file `archive`: a folder, relative to the log's own, or
//! the address of a bucket, which is asked only by readers that were given that very one.
//! Neither the name nor the files are believed. A file has to hash to what its name says and to be of
//! this log; whether its rows are the entries, the hash tiles say to whoever reads them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::Sha256Digest;

use super::archiver::open;
use super::store::{Put, Store, StoreError, StoredFile};
use super::{ArchiveName, InvalidArchive, LocalStore};
use crate::tile::{Tile, push_entry};

/// The file in a log's folder that names its archive.
pub(crate) const PLACE_FILE: &str = "archive";
/// Longer names are none.
pub(crate) const MAX_PLACE_BYTES: usize = 4096;

/// Whether a place is the address of a store, and no folder.
pub(crate) fn is_address(place: &str) -> bool {
    place.contains("://")
}

/// A store that a log names and whose reader was not told how to reach it.
#[derive(Debug)]
struct Elsewhere(String);

/// The archive of one log.
#[derive(Debug)]
pub(crate) struct Shelf {
    store: Arc<dyn Store>,
    origin: String,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    /// The files of this log, by their first entry.
    files: Option<Vec<ArchiveName>>,
    /// The file that was read last: most readers go on where they are.
    open: Option<Opened>,
    /// What every file that was read hashes to.
    read: BTreeMap<String, Sha256Digest>,
}

#[derive(Debug)]
struct Opened {
    name: ArchiveName,
    entries: Vec<u8>,
    ends: Vec<usize>,
}

/// What the archive has in the place of a bundle.
#[derive(Debug)]
pub(crate) enum Shelved {
    /// The bundle's bytes, and the file they come from.
    Whole {
        file: String,
        bytes: Vec<u8>,
        /// How many entries at its beginning expired, and so are not in `bytes`.
        expired: usize,
    },
    /// No file has these entries.
    Missing,
    /// A file has them by its name, and is not to be believed.
    Malformed { file: String, what: InvalidArchive },
}

impl Elsewhere {
    fn unreachable<T>(&self, what: &'static str, name: &str) -> Result<T, StoreError> {
        Err(StoreError {
            what,
            name: name.to_owned(),
            place: self.0.clone(),
            source: std::io::Error::other(
                "nothing here says how to reach it; name it as archive_to under [evidence]",
            ),
        })
    }
}

impl Store for Elsewhere {
    fn put_if_absent(&self, name: &str, _: &[u8]) -> Result<Put, StoreError> {
        self.unreachable("put", name)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.unreachable("read", name)
    }

    fn get_range(&self, name: &str, _: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        self.unreachable("read", name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredFile>, StoreError> {
        self.unreachable("list", prefix)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.unreachable("look at", name)
    }

    fn replace(&self, name: &str, _: &[u8]) -> Result<(), StoreError> {
        self.unreachable("put", name)
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.unreachable("remove", name)
    }

    fn place(&self) -> String {
        self.0.clone()
    }
}

impl Shelf {
    /// The archive that `place` names, for a log in `folder`.
    pub(crate) fn named(folder: &Path, place: &str, given: Option<&Arc<dyn Store>>, origin: &str) -> Self {
        let place = place.trim_end_matches('\n');
        let store: Arc<dyn Store> = match given {
            Some(given) if given.place() == place => Arc::clone(given),
            _ if is_address(place) => Arc::new(Elsewhere(place.to_owned())),
            _ => {
                let root: PathBuf = folder.join(place);
                Arc::new(LocalStore::new(&root))
            }
        };
        Self::of(store, origin)
    }

    pub(crate) fn of(store: Arc<dyn Store>, origin: &str) -> Self {
        Self {
            store,
            origin: origin.to_owned(),
            desk: Mutex::default(),
        }
    }

    /// What the archive is, for messages.
    pub(crate) fn place(&self) -> String {
        self.store.place()
    }

    /// Every file that was read so far, with what it hashes to.
    pub(crate) fn read(&self) -> BTreeMap<String, Sha256Digest> {
        self.desk().read.clone()
    }

    /// The entries of a bundle. Those below `expired_to` may be gone.
    pub(crate) fn bundle(&self, tile: Tile, expired_to: u64) -> Result<Shelved, StoreError> {
        let mut desk = self.desk();
        let first = tile.first_entry();
        let (mut bytes, mut file) = (Vec::new(), String::new());
        let mut expired = 0;
        for index in first..first + tile.width() as u64 {
            // What is gone is the log's beginning: the oldest files go first.
            if bytes.is_empty() && index < expired_to && !self.has(&mut desk, index)? {
                expired += 1;
                continue;
            }
            if desk
                .open
                .as_ref()
                .is_none_or(|open| !open.name.entries().contains(&index))
            {
                match self.find(&mut desk, index)? {
                    Ok(Some(opened)) => desk.open = Some(opened),
                    Ok(None) => return Ok(Shelved::Missing),
                    Err((file, what)) => return Ok(Shelved::Malformed { file, what }),
                }
            }
            if let Some(open) = &desk.open {
                if file.is_empty() {
                    file = format!("{}/{}", self.place(), open.name);
                }
                push_entry(&mut bytes, open.entry(index));
            }
        }
        if file.is_empty() {
            file = tile.to_string();
        }
        Ok(Shelved::Whole { file, bytes, expired })
    }

    /// Whether a file has entry `index`, by the files' names.
    fn has(&self, desk: &mut Desk, index: u64) -> Result<bool, StoreError> {
        if desk.files.is_none() {
            desk.files = Some(self.files()?);
        }
        let files = desk.files.as_deref().unwrap_or_default();
        let after = files.partition_point(|name| name.entries().start <= index);
        Ok(after > 0 && files[after - 1].entries().contains(&index))
    }

    /// The file with entry `index`.
    fn find(
        &self,
        desk: &mut Desk,
        index: u64,
    ) -> Result<Result<Option<Opened>, (String, InvalidArchive)>, StoreError> {
        if desk.files.is_none() {
            desk.files = Some(self.files()?);
        }
        let files = desk.files.as_deref().unwrap_or_default();
        let Some(name) = files.iter().find(|name| name.entries().contains(&index)).cloned() else {
            return Ok(Ok(None));
        };
        let Some(bytes) = self.store.get(&name.to_string())? else {
            // It was there a moment ago.
            desk.files = None;
            return Ok(Ok(None));
        };
        Ok(match Opened::read(bytes, name.clone(), &self.origin) {
            Ok((opened, sha256)) => {
                desk.read.insert(name.to_string(), sha256);
                Ok(Some(opened))
            }
            Err(what) => Err((format!("{}/{name}", self.place()), what)),
        })
    }

    fn files(&self) -> Result<Vec<ArchiveName>, StoreError> {
        let gateway = self.origin.split_once('/').map_or("", |(_, gateway)| gateway);
        let names = self.store.list("")?;
        let names = names.into_iter().filter_map(|file| file.name.parse().ok());
        let mut own: Vec<ArchiveName> = names
            .filter(|name: &ArchiveName| name.gateway() == gateway)
            .collect();
        own.sort_by_key(|name| name.entries().start);
        Ok(own)
    }

    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        // What is on the desk is a copy; whoever panicked over it left nothing behind that matters.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    fn read(bytes: Vec<u8>, name: ArchiveName, origin: &str) -> Result<(Self, Sha256Digest), InvalidArchive> {
        let archive = open(bytes, &name, origin)?;
        let (mut entries, mut ends) = (Vec::new(), Vec::with_capacity(archive.row_count()));
        let mut rows = archive.rows()?;
        while let Some((_, entry)) = rows.next_row()? {
            entries.extend_from_slice(entry);
            ends.push(entries.len());
        }
        let opened = Self { name, entries, ends };
        Ok((opened, archive.sha256()))
    }

    fn entry(&self, index: u64) -> &[u8] {
        let Range { start, .. } = self.name.entries();
        let at = usize::try_from(index - start).unwrap_or(usize::MAX);
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[from..self.ends[at]]
    }
}
