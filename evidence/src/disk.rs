//! The edge where the log meets the disk: every file operation of the writer and of the archive in a
//! folder, and nothing else.
//!
//! It stands behind a trait so that tests can let each single operation fail, before it lands and
//! after, and can lose what was never synced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// From this many files on, one sync of the whole file system is cheaper than one for each.
#[cfg(target_os = "linux")]
const SYNC_AT_ONCE: usize = 16;

/// What the writer asks of a file system. Several threads may ask at once.
pub(crate) trait Disk: Send + Sync {
    /// Takes the lock at `path` for as long as this disk lives; `false` where another has it.
    fn lock(&self, path: &Path) -> io::Result<bool>;
    /// Makes one folder; it may exist.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Reads a part of a file, shorter where it ends before.
    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>>;
    /// What is in a folder: files with their sizes, and folders. Nothing, where there is no such folder.
    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, Option<u64>)>>;
    /// Removes a file; it may be gone.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Whether anything has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Writes a whole file that nobody reads yet, over whatever had its name.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, in the place of whatever had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a folder and the files in it; it may be gone.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes files and folders, all below `root`, survive a loss of power.
    fn sync(&self, root: &Path, paths: &[PathBuf]) -> io::Result<()>;
    /// Opens a journal, making it where there is none.
    fn open_journal(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>>;
}

/// A file that is added to at its end. One thread writes, others may sync.
pub(crate) trait JournalFile: Send + Sync {
    /// All that the file holds.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// Adds to the end, at once.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to its first `length` bytes.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Makes what was added survive a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Debug, Default)]
pub(crate) struct RealDisk {
    lock: OnceLock<File>,
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        // Closing would do, were it not for children: between fork and exec they hold a copy of the
        // open file, and with it the lock.
        if let Some(lock) = self.lock.get() {
            let _ = lock.unlock();
        }
    }
}

impl Disk for RealDisk {
    fn lock(&self, path: &Path) -> io::Result<bool> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(self.lock.set(file).is_ok()),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::new();
        file.take(range.end.saturating_sub(range.start))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, Option<u64>)>> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let look = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let kind = entry.file_type()?;
            Ok((entry.path(), (!kind.is_dir()).then_some(entry.metadata()?.len())))
        };
        entries.map(look).collect()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn sync(&self, root: &Path, paths: &[PathBuf]) -> io::Result<()> {
        // Since Linux 5.8 it reports a failed write as fsync does.
        #[cfg(target_os = "linux")]
        if paths.len() >= SYNC_AT_ONCE {
            rustix::fs::syncfs(File::open(root)?)?;
            return Ok(());
        }
        let _ = root;
        paths.iter().try_for_each(|path| File::open(path)?.sync_all())
    }

    fn open_journal(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(file))
    }
}

impl JournalFile for File {
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self;
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
