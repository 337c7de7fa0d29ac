//! The store: the edge where lists meet the disk.
//!
//! One folder, one writer. The files are those of the crate's description, so the folder can be
//! served as it is. What [`Store::save`] has returned from is on the disk, and only then may the list
//! be acted on.
//!
//! Trusted with this folder: nobody can forge a list in it, because [`Store::load`] judges every
//! byte again. Whoever can write to it can put back an older list that was once genuine together with
//! an older `seen.json`; the issuer's next list, or any other reader, shows that.
//!
//! # Order of writing
//!
//! All files are first written beside their places (`*.tmp`) and synced, so that a full disk is met
//! before anything is replaced. Then they move into place one after the other, each step synced:
//! body and delta, then the head, then `seen.json`. A crash between any two steps leaves a folder that
//! loads: until the head moved, the list before; from then on, the new one.

mod disk;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base::json;
use seal::trust::TrustRoot;

use self::disk::{Disk, Files};
use crate::head::{HEAD_FILE, body_file, delta_file};
use crate::{Accepted, ENTRY_BYTES, ListRefused, Reader, Seen};

/// What the reader remembers.
pub const SEEN_FILE: &str = "seen.json";

/// A folder that holds one list.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    disk: Box<dyn Disk>,
    /// A list whose head may have reached its place although saving it failed.
    unsettled: Option<Seen>,
}

/// Why a folder is not used as a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the revocation list folder {folder}; check its parent and the permissions")]
pub struct OpenError {
    folder: PathBuf,
    source: io::Error,
}

/// Why it is unknown what was seen last.
#[derive(Debug, thiserror::Error)]
pub enum SeenError {
    /// The file cannot be read.
    #[error("cannot read {path}, which says how new a revocation list must be; check the permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was damaged by something else than a crash.
    #[error(
        "{path} is damaged: {detail}; restore it from a backup, or delete it after comparing the list's number with the issuer's"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// Why the stored list is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {path} of the stored revocation list; check the permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is gone.
    #[error(
        "revocation list {crl_number} was stored here and {path} is missing; fetch that list or a newer one again"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The list that it belongs to.
        crl_number: u64,
    },
    /// The list does not pass the tests that it passed when it was stored.
    #[error("the stored revocation list in {folder} is no longer acceptable; fetch the newest list again")]
    Refused {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: ListRefused,
    },
    /// What was seen last cannot be told.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// The list is good and was not yet remembered, and that could not be mended.
    #[error(transparent)]
    Remember(#[from] SaveError),
}

/// Why a list was not stored. It must not be acted on; what was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The disk is full, read-only or broken. Saving the same list again may be tried.
    #[error(
        "cannot write {path}; the list before stays in force; free some space or mend the disk, then try again"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another list got here first.
    #[error(
        "cannot store revocation list {offered}: {folder} holds list {held} already; load it and go on from there"
    )]
    NotNewer {
        /// The folder.
        folder: PathBuf,
        /// The number that was seen.
        held: u64,
        /// The number of the list to be stored.
        offered: u64,
    },
    /// Storing another list failed half-way, and readers of the folder may have met it.
    #[error(
        "cannot store revocation list {offered}: storing list {pending} was interrupted; load the folder and go on from what it holds"
    )]
    Unsettled {
        /// The list that was interrupted.
        pending: u64,
        /// The list to be stored.
        offered: u64,
    },
    /// What was seen last cannot be told.
    #[error(transparent)]
    Seen(#[from] SeenError),
}

impl Store {
    /// Uses `folder`, and creates it if need be.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let folder = folder.into();
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Ok(Self::on(folder, Box::new(Files))),
            Err(source) => Err(OpenError { folder, source }),
        }
    }

    fn on(folder: PathBuf, disk: Box<dyn Disk>) -> Self {
        Self {
            folder,
            disk,
            unsettled: None,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The head's file.
    pub fn head_path(&self) -> PathBuf {
        self.folder.join(HEAD_FILE)
    }

    /// What was seen last, whether or not the list is still there. A [`Reader`] that starts from it
    /// cannot be shown anything older.
    ///
    /// # Errors
    /// [`SeenError`].
    pub fn seen(&self) -> Result<Option<Seen>, SeenError> {
        let path = self.folder.join(SEEN_FILE);
        let bytes = match read(&path, json::MAX_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SeenError::Read { path, source }),
        };
        let value = json::parse(&bytes).map_err(|error| error.to_string());
        let seen = value.and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
        seen.map(Some)
            .map_err(|detail| SeenError::Damaged { path, detail })
    }

    /// Reads the stored list and judges it as if it came from a stranger, save that it is measured by
    /// its own date: age lifts no revocation. `None` if nothing was ever stored.
    ///
    /// # Errors
    /// [`LoadError`], naming the file or the reason.
    pub fn load(&mut self, trust: &TrustRoot, issuer: &str) -> Result<Option<Accepted>, LoadError> {
        let seen = self.seen()?;
        let Some(head) = self.read_part(HEAD_FILE, json::MAX_BYTES as u64)? else {
            return match seen {
                None => Ok(None),
                Some(seen) => Err(self.missing(HEAD_FILE, seen.crl_number)),
            };
        };
        let refused = |source| LoadError::Refused {
            folder: self.folder.clone(),
            source,
        };
        let reader = Reader::new(issuer, seen);
        let examined = reader.examine_kept(&head, trust).map_err(refused)?;
        let body_file = examined.body_file();
        let size = examined.head().entries.saturating_mul(ENTRY_BYTES as u64);
        let Some(body) = self.read_part(&body_file, size)? else {
            return Err(self.missing(&body_file, examined.head().crl_number));
        };
        let accepted = examined.with_body(&body).map_err(refused)?;
        self.unsettled = None;
        if !accepted.is_known() {
            // Saving was interrupted after the head had moved; this is its last step.
            self.unsettled = Some(accepted.seen());
            self.write_aside(SEEN_FILE, &seen_bytes(&accepted.seen()))?;
            self.move_into_place(&[SEEN_FILE.to_owned()])?;
            self.unsettled = None;
        }
        Ok(Some(accepted))
    }

    /// Stores a list. When this returns, the list survives whatever happens, and may be acted on.
    ///
    /// # Errors
    /// [`SaveError`]; nothing half-written is left behind, and the folder still loads.
    pub fn save(&mut self, accepted: &Accepted) -> Result<(), SaveError> {
        self.check_newer(accepted)?;
        let number = accepted.list().crl_number();
        let mut entries = vec![(body_file(number), accepted.body().to_vec())];
        entries.extend(accepted.delta().map(|delta| (delta_file(number), delta.to_vec())));
        let head = (HEAD_FILE.to_owned(), accepted.head().to_vec());
        let seen = (SEEN_FILE.to_owned(), seen_bytes(&accepted.seen()));
        for (name, bytes) in entries.iter().chain([&head, &seen]) {
            self.write_aside(name, bytes)?;
        }
        let names: Vec<String> = entries.into_iter().map(|(name, _)| name).collect();
        self.move_into_place(&names)?;
        self.unsettled = Some(accepted.seen());
        self.move_into_place(&[head.0])?;
        self.move_into_place(&[seen.0])?;
        self.unsettled = None;
        self.sweep(number);
        Ok(())
    }

    /// A list may replace only an older one, or itself.
    fn check_newer(&self, accepted: &Accepted) -> Result<(), SaveError> {
        let offered = accepted.seen();
        if let Some(pending) = self.unsettled.filter(|pending| *pending != offered) {
            return Err(SaveError::Unsettled {
                pending: pending.crl_number,
                offered: offered.crl_number,
            });
        }
        match self.seen()? {
            Some(held) if held != offered && held.crl_number >= offered.crl_number => {
                Err(SaveError::NotNewer {
                    folder: self.folder.clone(),
                    held: held.crl_number,
                    offered: offered.crl_number,
                })
            }
            _ => Ok(()),
        }
    }

    fn write_aside(&self, name: &str, bytes: &[u8]) -> Result<(), SaveError> {
        let aside = self.aside(name);
        self.disk.write(&aside, bytes).map_err(|source| {
            self.drop_aside();
            SaveError::Write { path: aside, source }
        })
    }

    fn move_into_place(&self, names: &[String]) -> Result<(), SaveError> {
        let failed = |path: PathBuf, source| {
            self.drop_aside();
            SaveError::Write { path, source }
        };
        for name in names {
            let place = self.folder.join(name);
            self.disk
                .rename(&self.aside(name), &place)
                .map_err(|source| failed(place, source))?;
        }
        self.disk
            .sync_folder(&self.folder)
            .map_err(|source| failed(self.folder.clone(), source))
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.tmp"))
    }

    /// Gives back the space of what was written aside. Failing at this hurts nobody: the next save
    /// overwrites these files, and no reader looks at them.
    fn drop_aside(&self) {
        for name in self.names().filter(|name| name.ends_with(".tmp")) {
            let _ = self.disk.remove(&self.folder.join(name));
        }
    }

    /// Removes bodies and deltas of lists before the last. The last one's stay, for readers that
    /// fetched its head a moment ago. A file too many hurts nobody, so failing is no error.
    fn sweep(&self, number: u64) {
        for name in self.names() {
            let stem = name.strip_suffix(".body").or_else(|| name.strip_suffix(".delta"));
            let of = stem
                .and_then(|stem| stem.strip_prefix("crl-"))
                .and_then(|of| of.parse::<u64>().ok());
            if of.is_some_and(|of| of < number.saturating_sub(1)) {
                let _ = self.disk.remove(&self.folder.join(name));
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    }

    /// A file's bytes, one more than `limit` at most; `None` if it does not exist.
    fn read_part(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, LoadError> {
        let path = self.folder.join(name);
        match read(&path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LoadError::Read { path, source }),
        }
    }

    fn missing(&self, name: &str, crl_number: u64) -> LoadError {
        LoadError::Missing {
            path: self.folder.join(name),
            crl_number,
        }
    }
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn seen_bytes(seen: &Seen) -> Vec<u8> {
    let mut bytes = json::canonical(seen).expect("numbers that were read from JSON, and a digest");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests;
