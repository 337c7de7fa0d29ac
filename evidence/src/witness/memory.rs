//! The edge where a witness meets the disk: one file per log, with the last checkpoint it cosigned.
//!
//! The file is the signed note itself, with the log's signature and the witness's own cosignature, so
//! that anybody can hold it against the log: `bailiwick evidence verify --checkpoint FILE`.
//!
//! Trusted with this folder: whoever can put an older file back makes the witness forget, and it could
//! then be led to cosign another story. Nobody can make it remember what was never cosigned.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::checkpoint::MAX_CHECKPOINT_BYTES;

const LOCK_FILE: &str = "lock";
const ENDING: &str = ".checkpoint";

/// Why a witness's memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Another process has the folder. Two memories would be two witnesses under one name.
    #[error("{folder} is in use by another witness; stop it first, or use another folder")]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk refused.
    #[error("could not use the witness's memory: {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what the witness wrote. Restore it from a copy; without it the witness could be
    /// led to cosign a second story.
    #[error(
        "{path} is not what this witness wrote ({what}); restore it from a copy, or give the witness a new name, key and folder"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a witness needs of a place to remember.
pub(crate) trait Memory: Send {
    /// The note kept for `origin`, and the file's name for messages.
    fn recall(&mut self, origin: &str) -> Result<Option<String>, MemoryError>;
    /// Keeps `note` for `origin` in the place of an earlier one, durably.
    fn keep(&mut self, origin: &str, note: &str) -> Result<(), MemoryError>;
    /// Where the note for `origin` is.
    fn path(&self, origin: &str) -> PathBuf;
}

/// A folder of notes, held by one process.
#[derive(Debug)]
pub(crate) struct FolderMemory {
    folder: PathBuf,
    lock: File,
}

impl FolderMemory {
    /// Opens the folder, making it where there is none, and takes its lock.
    pub(crate) fn open(folder: &Path) -> Result<Self, MemoryError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(at(folder))?;
        let path = folder.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                folder: folder.to_owned(),
                lock,
            }),
            Err(TryLockError::WouldBlock) => Err(MemoryError::Locked {
                folder: folder.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(at(&path)(source)),
        }
    }
}

impl Drop for FolderMemory {
    fn drop(&mut self) {
        // Closing would do, were it not for children: between fork and exec they hold a copy of the
        // open file, and with it the lock.
        let _ = self.lock.unlock();
    }
}

impl Memory for FolderMemory {
    fn recall(&mut self, origin: &str) -> Result<Option<String>, MemoryError> {
        recall(&self.path(origin))
    }

    fn keep(&mut self, origin: &str, note: &str) -> Result<(), MemoryError> {
        replace(&self.path(origin), note)
    }

    fn path(&self, origin: &str) -> PathBuf {
        kept_path(&self.folder, origin)
    }
}

/// The file in a witness's folder that keeps the note for `origin`.
pub(crate) fn kept_path(folder: &Path, origin: &str) -> PathBuf {
    folder.join(format!("{}{ENDING}", file_name(origin)))
}

/// A note's text; `None` where there is no file.
pub(crate) fn recall(path: &Path) -> Result<Option<String>, MemoryError> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_CHECKPOINT_BYTES as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(at(path))?,
    };
    let text = String::from_utf8(bytes).map_err(|_| MemoryError::Foreign {
        path: path.to_owned(),
        what: "it is no text",
    })?;
    Ok(Some(text))
}

/// Replaces a file so that a reader sees the old note or the new, and a loss of power keeps one of them.
pub(crate) fn replace(path: &Path, note: &str) -> Result<(), MemoryError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o644)
            .open(&aside)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()
    };
    write().map_err(at(&aside))?;
    fs::rename(&aside, path).map_err(at(path))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(at(folder))
}

/// A name for an origin's file: what no file name may carry is written as `%` and two hex digits, so
/// that each origin has one file and no origin leads out of the folder.
fn file_name(origin: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let mut name = String::new();
    for (place, byte) in origin.bytes().enumerate() {
        if plain(byte) || (byte == b'.' && place > 0) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> MemoryError {
    let path = path.to_owned();
    move |source| MemoryError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_origin_has_a_file_of_its_own_inside_the_folder() {
        assert_eq!(file_name("acme/gw-1"), "acme%2fgw-1");
        assert_eq!(file_name("../../etc/x"), "%2e.%2f..%2fetc%2fx");
        assert_ne!(file_name("a%2fb/c"), file_name("a/b/c"));
        for origin in ["../x", "./x", "a/..", "\u{e9}/x"] {
            let path = kept_path(Path::new("memory"), origin);
            assert_eq!(path.parent(), Some(Path::new("memory")), "{origin}");
        }
    }

    #[test]
    fn one_process_has_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderMemory::open(folder.path()).unwrap();
        assert!(matches!(
            FolderMemory::open(folder.path()),
            Err(MemoryError::Locked { .. })
        ));
        drop(first);
        assert!(FolderMemory::open(folder.path()).is_ok());
    }

    #[test]
    fn what_is_kept_is_recalled_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = FolderMemory::open(folder.path()).unwrap();
        assert_eq!(memory.recall("acme/gw-1").unwrap(), None);
        memory.keep("acme/gw-1", "one\n").unwrap();
        memory.keep("acme/gw-1", "two\n").unwrap();
        drop(memory);
        let mut memory = FolderMemory::open(folder.path()).unwrap();
        assert_eq!(memory.recall("acme/gw-1").unwrap().as_deref(), Some("two\n"));
        assert_eq!(memory.recall("acme/gw-2").unwrap(), None);
    }
}
