//! The edge where the archive meets the disk: a folder as a store.
//!
//! A file is written aside, synced, renamed into place, and its folders are synced. A half-written one has
//! a name that nobody reads.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::store::{Put, Store, StoreError, StoredFile, is_listed};
use crate::disk::{Disk, RealDisk};
use crate::publisher::{make_folders, replace_file};

/// A folder of this machine, or one that is mounted.
pub struct LocalStore {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl std::fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStore")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl LocalStore {
    /// The folder is made when something is put into it first.
    pub fn new(root: &Path) -> Self {
        Self::on(Arc::<RealDisk>::default(), root)
    }

    pub(crate) fn on(disk: Arc<dyn Disk>, root: &Path) -> Self {
        Self {
            disk,
            root: root.to_owned(),
        }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if name.split('/').all(is_plain) {
            Ok(self.root.join(name))
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidFilename))
        }
    }

    fn error(&self, what: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError {
        let (name, place) = (name.to_owned(), self.place());
        move |source| StoreError {
            what,
            name,
            place,
            source,
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<Put> {
        let path = self.path(name)?;
        if self.disk.exists(&path)? {
            // Whoever put it may have died before its name was durable.
            let folder = path.parent().unwrap_or(&self.root);
            self.disk.sync(&self.root, &[path.clone(), folder.to_owned()])?;
            return Ok(Put::Existed);
        }
        self.write(&path, bytes)?;
        Ok(Put::New)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        let (mut known, mut unsynced) = (HashSet::new(), BTreeSet::new());
        for above in self
            .root
            .ancestors()
            .skip(1)
            .filter(|above| !above.as_os_str().is_empty())
        {
            if self.disk.exists(above)? {
                known.insert(above.to_owned());
            }
        }
        make_folders(self.disk.as_ref(), folder, &mut known, &mut unsynced).map_err(|error| error.source)?;
        self.clear(folder)?;
        if let Err(error) = replace_file(self.disk.as_ref(), folder, path, bytes) {
            // On a full disk half a file would keep the room that the next attempt needs.
            let _ = self.clear(folder);
            return Err(error.source);
        }
        let unsynced: Vec<PathBuf> = unsynced.into_iter().collect();
        self.disk.sync(&self.root, &unsynced)
    }

    /// Removes what a writer left behind that died in the middle: one writes into a folder at a time.
    fn clear(&self, folder: &Path) -> io::Result<()> {
        for (path, size) in self.disk.list(folder)? {
            if size.is_some() && path.extension().is_some_and(|kind| kind == "tmp") {
                self.disk.remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn walk(&self, folder: &Path, found: &mut Vec<StoredFile>) -> io::Result<()> {
        for (path, size) in self.disk.list(folder)? {
            match size {
                None => self.walk(&path, found)?,
                Some(size_bytes) => {
                    // Other names are nobody's: a file that is being written has such a one.
                    let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
                    if let Some(name) = name.filter(|name| !name.ends_with(".tmp")) {
                        found.push(StoredFile {
                            name: name.to_owned(),
                            size_bytes,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Store for LocalStore {
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put, StoreError> {
        self.put(name, bytes).map_err(self.error("put", name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.path(name).and_then(|path| self.write(&path, bytes));
        written.map_err(self.error("put", name))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let gone = self.path(name).and_then(|path| {
            self.disk.remove_file(&path)?;
            let folder = path.parent().unwrap_or(&self.root).to_owned();
            if self.disk.exists(&folder)? {
                self.disk.sync(&self.root, &[folder])?;
            }
            Ok(())
        });
        gone.map_err(self.error("remove", name))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.path(name).and_then(|path| self.disk.read(&path));
        present(read).map_err(self.error("read", name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self
            .path(name)
            .and_then(|path| self.disk.read_range(&path, range));
        present(read).map_err(self.error("read", name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredFile>, StoreError> {
        let mut found = Vec::new();
        let folder = match prefix.trim_end_matches('/') {
            "" => Ok(self.root.clone()),
            name => self.path(name),
        };
        folder
            .and_then(|folder| self.walk(&folder, &mut found))
            .map_err(self.error("list", prefix))?;
        found.retain(|file| is_listed(prefix, &file.name));
        found.sort();
        Ok(found)
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path(name).map_err(self.error("look at", name))?;
        let folder = path.parent().unwrap_or(&self.root);
        let listed = self.disk.list(folder).map_err(self.error("look at", name))?;
        Ok(listed
            .into_iter()
            .find(|(at, _)| *at == path)
            .and_then(|(_, size)| size))
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }
}

fn present<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        read => read.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_once_and_read_whole_or_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(&folder.path().join("archive"));
        assert_eq!(store.list("").unwrap(), []);
        assert_eq!(store.put_if_absent("a/b/c.parquet", b"0123").unwrap(), Put::New);
        assert_eq!(
            store.put_if_absent("a/b/c.parquet", b"9999").unwrap(),
            Put::Existed
        );
        assert_eq!(store.get("a/b/c.parquet").unwrap().unwrap(), b"0123");
        assert_eq!(store.get_range("a/b/c.parquet", 1..3).unwrap().unwrap(), b"12");
        assert_eq!(store.get_range("a/b/c.parquet", 3..9).unwrap().unwrap(), b"3");
        assert_eq!(store.get("a/b/d.parquet").unwrap(), None);
        assert_eq!(store.size("a/b/c.parquet").unwrap(), Some(4));
        assert_eq!(store.size("x/c.parquet").unwrap(), None);
        std::fs::write(folder.path().join("archive/a/half.parquet.tmp"), b"0").unwrap();
        store.replace("log/gw-1/checkpoint", b"one").unwrap();
        store.replace("log/gw-1/checkpoint", b"two").unwrap();
        assert_eq!(store.get("log/gw-1/checkpoint").unwrap().unwrap(), b"two");
        assert_eq!(store.list("log/gw-1/").unwrap().len(), 1);
        // What is put next into a folder takes the place of what was left there half.
        std::fs::write(folder.path().join("archive/log/gw-1/old.tmp"), b"0").unwrap();
        store.put_if_absent("log/gw-1/other", b"0").unwrap();
        assert!(!folder.path().join("archive/log/gw-1/old.tmp").exists());
        let names = |prefix| {
            store
                .list(prefix)
                .unwrap()
                .into_iter()
                .map(|file| file.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["a/b/c.parquet"]);
        assert_eq!(names("a/b/"), ["a/b/c.parquet"]);
        assert_eq!(names("b/"), [""; 0]);
        store.remove("a/b/c.parquet").unwrap();
        store.remove("a/b/c.parquet").unwrap();
        assert_eq!(store.get("a/b/c.parquet").unwrap(), None);
        store.remove("never/was.parquet").unwrap();
        for name in ["../x", "a//b", "/etc/x", ""] {
            assert!(store.put_if_absent(name, b"x").is_err(), "{name:?}");
            assert!(store.remove(name).is_err(), "{name:?}");
        }
    }
}
