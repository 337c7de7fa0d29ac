//! The disk itself: files kept twice, as programs see them and as they would survive a loss of power.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, JournalFile};

/// When within its operation a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    /// Nothing was done.
    Before,
    /// All was done, and an error is reported.
    After,
    /// Half the bytes were written.
    Half,
}

/// What comes after the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The next operations work again.
    GoesOn,
    /// Every further operation fails in the same way, until the disk is mended.
    StaysBroken,
    /// The process is dead; what it did is all there.
    ProcessDies,
    /// Only what was synced survives.
    PowerGoes,
    /// Names survive and unsynced contents are zeroes.
    PowerGoesLeavingZeroes,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) operation: usize,
    pub(super) strike: Strike,
    pub(super) then: Then,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes up to here were given up by a failed sync: they look written and never become durable.
    given_up: usize,
}

impl File {
    fn sync(&mut self) {
        let kept = self.durable.len().min(self.given_up);
        let mut durable = self.bytes.clone();
        let end = self.given_up.min(durable.len());
        if kept < end {
            durable[kept..end].fill(0);
        }
        self.durable = durable;
    }
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    contents: Vec<File>,
    seen: Names,
    durable: Names,
    locked: bool,
    pub(super) operations: usize,
    pub(super) plan: Option<Plan>,
    pub(super) struck: bool,
    dead: bool,
}

/// A disk in memory; clones share it, forks do not.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulatedDisk(Arc<Mutex<Platter>>);

fn no_space() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Platter {
    /// Counts an operation that changes something and says how it is to fail.
    fn strike(&mut self) -> io::Result<Option<Strike>> {
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        self.operations += 1;
        let Some(plan) = self.plan else {
            return Ok(None);
        };
        let hit = self.operations - 1 == plan.operation;
        let again = self.operations - 1 > plan.operation && plan.then == Then::StaysBroken;
        if hit || again {
            self.struck = true;
            return Ok(Some(plan.strike));
        }
        Ok(None)
    }

    /// Does `work` as far as the plan lets it.
    fn operate(&mut self, half: impl FnOnce(&mut Self), work: impl FnOnce(&mut Self)) -> io::Result<()> {
        let strike = self.strike()?;
        match strike {
            None => {
                work(self);
                return Ok(());
            }
            Some(Strike::Before) => {}
            Some(Strike::After) => work(self),
            Some(Strike::Half) => half(self),
        }
        let dies = |plan: Plan| !matches!(plan.then, Then::GoesOn | Then::StaysBroken);
        self.dead = self.plan.is_some_and(dies);
        Err(no_space())
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut File> {
        let id = *self.seen.files.get(path).ok_or_else(not_found)?;
        Ok(&mut self.contents[id])
    }

    fn file_or_new(&mut self, path: &Path) -> &mut File {
        let id = *self.seen.files.entry(path.to_owned()).or_insert_with(|| {
            self.contents.push(File::default());
            self.contents.len() - 1
        });
        &mut self.contents[id]
    }

    pub(super) fn make_folder(&mut self, path: &Path) {
        self.seen.folders.insert(path.to_owned());
    }

    /// All that is seen would survive.
    pub(super) fn sync_all(&mut self) {
        self.contents.iter_mut().for_each(File::sync);
        self.durable = self.seen.clone();
    }

    pub(super) fn overwrite(&mut self, path: &Path, bytes: &[u8]) {
        let file = self.file_or_new(path);
        file.bytes = bytes.to_vec();
        file.given_up = 0;
    }

    pub(super) fn sync_path(&mut self, path: &Path) {
        if let Ok(file) = self.file(path) {
            file.sync();
            return;
        }
        let inside = |name: &Path| name.parent() == Some(path);
        self.durable.files.retain(|name, _| !inside(name));
        self.durable.folders.retain(|name| !inside(name));
        let seen = &self.seen;
        let files = seen.files.iter().filter(|(name, _)| inside(name));
        self.durable
            .files
            .extend(files.map(|(name, id)| (name.clone(), *id)));
        let folders = seen.folders.iter().filter(|name| inside(name));
        self.durable.folders.extend(folders.cloned());
    }

    /// The journal's sync failed: the system gave its bytes up and will call the file clean.
    fn give_up(&mut self, path: &Path) {
        if let Ok(file) = self.file(path) {
            file.given_up = file.bytes.len();
        }
    }

    /// What a new process finds.
    pub(super) fn restart(&mut self) {
        match self.plan.map(|plan| plan.then) {
            Some(Then::PowerGoes) => {
                let durable = self.durable.clone();
                let reachable = |name: &Path| {
                    name.ancestors()
                        .skip(1)
                        .all(|above| above.parent().is_none() || durable.folders.contains(above))
                };
                self.seen.files = durable.files.clone();
                self.seen.folders = durable.folders.clone();
                self.seen.files.retain(|name, _| reachable(name));
                self.seen.folders.retain(|name| reachable(name));
                for file in &mut self.contents {
                    file.bytes = file.durable.clone();
                    file.given_up = 0;
                }
            }
            Some(Then::PowerGoesLeavingZeroes) => {
                for file in &mut self.contents {
                    let mut bytes = file.durable.clone();
                    bytes.resize(file.bytes.len(), 0);
                    file.bytes = bytes;
                    file.given_up = 0;
                }
            }
            _ => {}
        }
        self.plan = None;
        self.dead = false;
        self.locked = false;
    }
}

/// One journal on a simulated disk.
struct SimulatedJournal {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl SimulatedDisk {
    pub(super) fn of(platter: Platter) -> Self {
        Self(Arc::new(Mutex::new(platter)))
    }

    pub(super) fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(|platter| platter.clone()))))
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Platter) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// Copies what is there to a real folder, for the verifier.
    pub(super) fn copy_to(&self, target: &Path) {
        self.with(|platter| {
            for (name, id) in &platter.seen.files {
                let path = target.join(name.strip_prefix("/").unwrap());
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, &platter.contents[*id].bytes).unwrap();
            }
        });
    }
}

impl Disk for SimulatedDisk {
    fn lock(&self, _: &Path) -> io::Result<bool> {
        Ok(self.with(|platter| !std::mem::replace(&mut platter.locked, true)))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.with(|platter| {
            let make = |platter: &mut Platter| {
                platter.seen.folders.insert(path.to_owned());
            };
            platter.operate(|_| {}, make)
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.with(|platter| platter.file(path).map(|file| file.bytes.clone()))
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let bytes = Disk::read(self, path)?;
        let at = |end: u64| usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[at(range.start)..at(range.end)].to_vec())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(PathBuf, Option<u64>)>> {
        Ok(self.with(|platter| {
            let inside = |name: &&PathBuf| name.parent() == Some(path);
            let seen = &platter.seen;
            let folders = seen
                .folders
                .iter()
                .filter(inside)
                .map(|name| (name.clone(), None));
            let files = seen.files.iter().filter(|(name, _)| inside(name));
            let size = |id: &usize| Some(platter.contents[*id].bytes.len() as u64);
            folders
                .chain(files.map(|(name, id)| (name.clone(), size(id))))
                .collect()
        }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.with(|platter| {
            let remove = |platter: &mut Platter| {
                platter.seen.files.remove(path);
            };
            platter.operate(|_| {}, remove)
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.with(|platter| {
            path == Path::new("/")
                || platter.seen.files.contains_key(path)
                || platter.seen.folders.contains(path)
        }))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.with(|platter| {
            let folder = path.parent().unwrap();
            assert!(platter.seen.folders.contains(folder), "{folder:?} was never made");
            platter.operate(
                |platter| platter.overwrite(path, half),
                |platter| platter.overwrite(path, bytes),
            )
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|platter| {
            let rename = |platter: &mut Platter| {
                let id = platter.seen.files.remove(from).unwrap();
                platter.seen.files.insert(to.to_owned(), id);
            };
            platter.operate(|_| {}, rename)
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.with(|platter| {
            let remove = |platter: &mut Platter| {
                platter.seen.files.retain(|name, _| !name.starts_with(path));
                platter.seen.folders.retain(|name| !name.starts_with(path));
            };
            platter.operate(|_| {}, remove)
        })
    }

    fn sync(&self, _: &Path, paths: &[PathBuf]) -> io::Result<()> {
        let (some, _) = paths.split_at(paths.len() / 2);
        self.with(|platter| {
            platter.operate(
                |platter| some.iter().for_each(|path| platter.sync_path(path)),
                |platter| paths.iter().for_each(|path| platter.sync_path(path)),
            )
        })
    }

    fn open_journal(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        self.with(|platter| {
            let make = |platter: &mut Platter| {
                platter.file_or_new(path);
            };
            if platter.seen.files.contains_key(path) {
                Ok(())
            } else {
                platter.operate(|_| {}, make)
            }
        })?;
        Ok(Arc::new(SimulatedJournal {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }
}

impl JournalFile for SimulatedJournal {
    fn read(&self) -> io::Result<Vec<u8>> {
        Disk::read(&self.disk, &self.path)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        self.disk.with(|platter| {
            platter.operate(
                |platter| platter.file_or_new(&self.path).bytes.extend_from_slice(half),
                |platter| platter.file_or_new(&self.path).bytes.extend_from_slice(bytes),
            )
        })
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        self.disk.with(|platter| {
            let cut = |platter: &mut Platter| {
                let file = platter.file_or_new(&self.path);
                file.bytes.resize(length, 0);
                file.given_up = file.given_up.min(length);
            };
            platter.operate(|_| {}, cut)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.with(|platter| {
            let synced = platter.operate(|_| {}, |platter| platter.sync_path(&self.path));
            if synced.is_err() {
                platter.give_up(&self.path);
            }
            synced
        })
    }
}
