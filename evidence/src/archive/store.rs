//! Where files are put for good: one small seam, so that a fleet can share a bucket and one machine
//! needs nothing but a folder.
//!
//! A store is trusted with nothing. What is put is read back and hashed before anybody relies on it, and
//! what is got is held against the log.

use std::fmt;
use std::ops::Range;

/// Where published logs are in a store.
pub const LOGS: &str = "log/";

/// A folder or a bucket. Names are relative, parts divided by slashes.
pub trait Store: fmt::Debug + Send + Sync {
    /// Puts a whole file under a name that no file has. Afterwards it survives a loss of power; nobody
    /// ever sees a part of it.
    ///
    /// # Errors
    /// [`StoreError`]; whether the file is there is then unknown, and putting it again is safe.
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put, StoreError>;

    /// Puts a whole file in the place of whatever had its name. Only what says itself how new it is may be
    /// put so: a signed checkpoint.
    ///
    /// # Errors
    /// [`StoreError`]; which of the two is there is then unknown.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Removes the file of that name for good; it may be gone. Only what the log says expired may go so.
    ///
    /// # Errors
    /// [`StoreError`]; whether the file is there is then unknown, and removing it again is safe.
    fn remove(&self, name: &str) -> Result<(), StoreError>;

    /// The file of that name.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// A part of the file of that name, shorter where the file ends before.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every file whose name begins with `prefix`, which ends with a slash or is empty, by name. Published
    /// logs, below [`LOGS`], are among them only where the prefix says so: their files are many.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list(&self, prefix: &str) -> Result<Vec<StoredFile>, StoreError>;

    /// How large the file of that name is, in bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    fn size(&self, name: &str) -> Result<Option<u64>, StoreError>;

    /// What the store is, for messages: a path or an address.
    fn place(&self) -> String;
}

/// What became of a file that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    New,
    /// A file of that name was there.
    Existed,
}

/// A file in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// A store did not do what it was asked. Mend what it says, and ask again.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} {name} in {place}")]
pub struct StoreError {
    /// What was attempted.
    pub what: &'static str,
    /// On which file.
    pub name: String,
    /// In which store.
    pub place: String,
    /// What it said.
    pub source: std::io::Error,
}

/// Whether [`Store::list`] names a file.
pub fn is_listed(prefix: &str, name: &str) -> bool {
    prefix.starts_with(LOGS) || !name.starts_with(LOGS)
}
