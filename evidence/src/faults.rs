//! A disk that fails on purpose, and what the writer keeps of its promises then.
//!
//! It keeps files twice, as programs see them and as they would survive a loss of power. Every single
//! operation of a small story fails once: before it lands, after, or half done. Then the story goes
//! on, or the process dies, or the power goes; and the log is opened again on a disk that works.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base::Timestamp;
use seal::SigningKey;
use seal::note::NoteVerifier;

use crate::disk::Disk;
use crate::merkle::verify_consistency;
use crate::{Checkpoint, Event, EventKind, LogWriter, Origin, VerifiedLog};

/// When within its operation a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strike {
    /// Nothing was done.
    Before,
    /// All was done, and an error is reported.
    After,
    /// Half the bytes were written.
    Half,
}

/// What comes after the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
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
struct Plan {
    operation: usize,
    strike: Strike,
    then: Then,
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
struct Platter {
    contents: Vec<File>,
    seen: Names,
    durable: Names,
    locked: bool,
    operations: usize,
    plan: Option<Plan>,
    struck: bool,
    dead: bool,
}

/// A disk in memory; clones share it, forks do not.
#[derive(Clone, Debug, Default)]
struct SimulatedDisk(Arc<Mutex<Platter>>);

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

    fn overwrite(&mut self, path: &Path, bytes: &[u8]) {
        let file = self.file_or_new(path);
        file.bytes = bytes.to_vec();
        file.given_up = 0;
    }

    fn sync_path(&mut self, path: &Path) {
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
    fn restart(&mut self) {
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

fn journal() -> PathBuf {
    folder().join("journal")
}

impl SimulatedDisk {
    fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(|platter| platter.clone()))))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Platter) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// Copies what is there to a real folder, for the verifier.
    fn copy_to(&self, target: &Path) {
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
    fn lock(&mut self, _: &Path) -> io::Result<bool> {
        Ok(self.with(|platter| !std::mem::replace(&mut platter.locked, true)))
    }

    fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        self.with(|platter| {
            let make = |platter: &mut Platter| {
                platter.seen.folders.insert(path.to_owned());
            };
            platter.operate(|_| {}, make)
        })
    }

    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.with(|platter| platter.file(path).map(|file| file.bytes.clone()))
    }

    fn exists(&mut self, path: &Path) -> io::Result<bool> {
        Ok(self.with(|platter| {
            path == Path::new("/")
                || platter.seen.files.contains_key(path)
                || platter.seen.folders.contains(path)
        }))
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
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

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|platter| {
            let rename = |platter: &mut Platter| {
                let id = platter.seen.files.remove(from).unwrap();
                platter.seen.files.insert(to.to_owned(), id);
            };
            platter.operate(|_| {}, rename)
        })
    }

    fn remove_folder(&mut self, path: &Path) -> io::Result<()> {
        self.with(|platter| {
            let remove = |platter: &mut Platter| {
                platter.seen.files.retain(|name, _| !name.starts_with(path));
                platter.seen.folders.retain(|name| !name.starts_with(path));
            };
            platter.operate(|_| {}, remove)
        })
    }

    fn sync(&mut self, _: &Path, paths: &[PathBuf]) -> io::Result<()> {
        let (some, _) = paths.split_at(paths.len() / 2);
        self.with(|platter| {
            platter.operate(
                |platter| some.iter().for_each(|path| platter.sync_path(path)),
                |platter| paths.iter().for_each(|path| platter.sync_path(path)),
            )
        })
    }

    fn open_journal(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.with(|platter| platter.file_or_new(path).bytes.clone()))
    }

    fn append_journal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        let path = journal();
        self.with(|platter| {
            platter.operate(
                |platter| platter.file_or_new(&path).bytes.extend_from_slice(half),
                |platter| platter.file_or_new(&path).bytes.extend_from_slice(bytes),
            )
        })
    }

    fn cut_journal(&mut self, length: u64) -> io::Result<()> {
        let path = journal();
        let length = usize::try_from(length).unwrap();
        self.with(|platter| {
            let cut = |platter: &mut Platter| {
                let file = platter.file_or_new(&path);
                file.bytes.resize(length, 0);
                file.given_up = file.given_up.min(length);
            };
            platter.operate(|_| {}, cut)
        })
    }

    fn sync_journal(&mut self) -> io::Result<()> {
        let path = journal();
        self.with(|platter| {
            let synced = platter.operate(|_| {}, |platter| platter.sync_path(&path));
            if synced.is_err() {
                platter.give_up(&path);
            }
            synced
        })
    }
}

fn folder() -> PathBuf {
    PathBuf::from("/data/log")
}

fn key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[7; 32])
}

fn origin() -> Origin {
    Origin::new("acme", "gw-1").unwrap()
}

fn verifier() -> NoteVerifier {
    NoteVerifier::new("acme/gw-1", &key().public()).unwrap()
}

/// What the story was told, and may therefore rely on.
#[derive(Clone, Debug, Default)]
struct Promises {
    /// Names of the events whose append was acknowledged, by index.
    appended: BTreeMap<u64, String>,
    /// Indices below this were acknowledged by `sync` or `checkpoint`.
    durable: u64,
    checkpoints: Vec<Checkpoint>,
    told: u64,
    /// A checkpoint failed twice in a row.
    stuck: bool,
}

impl Promises {
    fn append(&mut self, writer: &mut LogWriter, count: u64) {
        let mut events: Vec<Event> = (0..count)
            .map(|i| {
                let mut event = Event::new(EventKind::Open, Timestamp::from_unix_us(0), "gw-1");
                event.connection_id = Some(format!("c{}", self.told + i));
                event
            })
            .collect();
        self.told += count;
        if let Ok(range) = writer.append(&mut events) {
            for (index, event) in range.zip(events) {
                self.appended.insert(index, event.connection_id.unwrap());
            }
        }
    }

    fn sync(&mut self, writer: &mut LogWriter) {
        if writer.sync().is_ok() {
            self.durable = writer.size();
        }
    }

    fn checkpoint(&mut self, writer: &mut LogWriter) {
        if let Ok(checkpoint) = writer.checkpoint() {
            self.durable = writer.size();
            self.checkpoints.push(checkpoint);
        }
    }

    /// One fault may spoil one checkpoint, never the next.
    fn checkpoint_at_last(&mut self, writer: &mut LogWriter) {
        self.checkpoint(writer);
        self.stuck = writer.checkpoint().is_err();
    }
}

fn open(disk: &SimulatedDisk) -> Result<LogWriter, crate::OpenError> {
    let disk = Box::new(disk.clone());
    LogWriter::open_on(disk, &folder(), &origin(), key()).map(|(writer, _)| writer)
}

/// A log begins and does all that a writer does.
fn beginning(disk: &SimulatedDisk, promises: &mut Promises) {
    let Ok(mut writer) = open(disk) else {
        return;
    };
    let writer = &mut writer;
    promises.append(writer, 3);
    promises.sync(writer);
    promises.checkpoint(writer);
    promises.append(writer, 2);
    promises.append(writer, 1);
    promises.sync(writer);
    promises.append(writer, 1);
    promises.checkpoint(writer);
    promises.append(writer, 1);
    promises.checkpoint_at_last(writer);
    promises.append(writer, 1);
}

/// A log grows across the end of a tile, from entries that a crash left in the journal.
fn growth(disk: &SimulatedDisk, promises: &mut Promises) {
    let Ok(mut writer) = open(disk) else {
        return;
    };
    let writer = &mut writer;
    promises.append(writer, 2);
    promises.sync(writer);
    promises.append(writer, 5);
    promises.checkpoint(writer);
    promises.append(writer, 1);
    promises.checkpoint_at_last(writer);
    promises.append(writer, 1);
    promises.sync(writer);
    promises.append(writer, 1);
}

/// What `growth` begins with.
fn grown() -> (SimulatedDisk, Promises) {
    let (disk, mut promises) = <(SimulatedDisk, Promises)>::default();
    let mut writer = open(&disk).unwrap();
    promises.append(&mut writer, 250);
    promises.checkpoint(&mut writer);
    promises.append(&mut writer, 3);
    promises.sync(&mut writer);
    drop(writer);
    disk.with(Platter::restart);
    (disk, promises)
}

/// Opens the log again, signs what is there, and holds it against what was promised.
fn hold_to(promises: &Promises, disk: &SimulatedDisk, plan: Plan) {
    let power_went = matches!(plan.then, Then::PowerGoes | Then::PowerGoesLeavingZeroes);
    disk.with(Platter::restart);
    let mut writer = open(disk).unwrap_or_else(|error| panic!("{plan:?}: {error:?}"));
    let now = writer.checkpoint().unwrap();
    drop(writer);

    let target = tempfile::tempdir().unwrap();
    disk.copy_to(target.path());
    let reader = VerifiedLog::open(&target.path().join("data/log"), &verifier())
        .unwrap_or_else(|error| panic!("{plan:?}: {error}"));
    for held in &promises.checkpoints {
        let proof = reader.prove_consistency(held.size()).unwrap();
        let continued = verify_consistency(held.size(), held.root(), now.size(), now.root(), &proof);
        assert_eq!(continued, Ok(()), "{plan:?} forked from {held:?}");
    }
    let kept = if power_went { promises.durable } else { u64::MAX };
    let events: Vec<Event> = reader.events(0..u64::MAX).map(|found| found.unwrap().1).collect();
    for (index, name) in promises.appended.range(..kept) {
        let event = events.get(usize::try_from(*index).unwrap());
        let found = event.and_then(|event| event.connection_id.as_ref());
        assert_eq!(found, Some(name), "{plan:?}, entry {index}");
    }
}

/// Not a fault: what survives where none struck and the power goes at the end.
const POWER_GOES_AT_LAST: Plan = Plan {
    operation: usize::MAX,
    strike: Strike::Before,
    then: Then::PowerGoes,
};

/// Lets every operation of `story` fail in every way; returns how many faults that were.
fn strike_everywhere(
    beginning: &(SimulatedDisk, Promises),
    story: impl Fn(&SimulatedDisk, &mut Promises),
) -> usize {
    let begin = || (beginning.0.fork(), beginning.1.clone());
    let (disk, mut promises) = begin();
    let before = disk.with(|platter| platter.operations);
    story(&disk, &mut promises);
    assert_eq!(promises.appended.len() as u64, promises.told);
    let after = disk.with(|platter| platter.operations);
    disk.with(|platter| platter.plan = Some(POWER_GOES_AT_LAST));
    hold_to(&promises, &disk, POWER_GOES_AT_LAST);

    let mut faults = 0;
    for operation in before..after {
        for strike in [Strike::Before, Strike::After, Strike::Half] {
            for then in [
                Then::GoesOn,
                Then::StaysBroken,
                Then::ProcessDies,
                Then::PowerGoes,
                Then::PowerGoesLeavingZeroes,
            ] {
                let plan = Plan {
                    operation,
                    strike,
                    then,
                };
                let (disk, mut promises) = begin();
                disk.with(|platter| platter.plan = Some(plan));
                story(&disk, &mut promises);
                assert!(disk.with(|platter| platter.struck), "{plan:?}");
                assert!(then != Then::GoesOn || !promises.stuck, "{plan:?}");
                hold_to(&promises, &disk, plan);
                faults += 1;
            }
        }
    }
    faults
}

#[test]
fn no_single_fault_makes_a_new_log_break_a_promise() {
    let faults = strike_everywhere(&Default::default(), beginning);
    assert!(faults > 600, "{faults}");
}

#[test]
fn no_single_fault_makes_a_growing_log_break_a_promise() {
    let faults = strike_everywhere(&grown(), growth);
    assert!(faults > 400, "{faults}");
}

#[test]
fn a_full_disk_refuses_the_batch_and_takes_it_once_there_is_room() {
    let disk = SimulatedDisk::default();
    let mut writer = open(&disk).unwrap();
    let mut promises = Promises::default();
    promises.append(&mut writer, 2);
    for strike in [Strike::Before, Strike::Half, Strike::After] {
        disk.with(|platter| {
            platter.operations = 0;
            platter.plan = Some(Plan {
                operation: 0,
                strike,
                then: Then::StaysBroken,
            });
        });
        let mut events = [Event::new(EventKind::Stop, Timestamp::from_unix_us(0), "gw-1")];
        let found = writer.append(&mut events).unwrap_err();
        assert!(found.to_string().contains("append again"), "{found}");
        assert!(writer.checkpoint().is_err());
        assert!(writer.sync().is_err());
        assert_eq!(
            (writer.size(), writer.last_checkpoint().size()),
            (promises.told, 0)
        );
        disk.with(|platter| platter.plan = None);
        promises.append(&mut writer, 1);
    }
    assert_eq!(promises.appended.len(), 5);
    promises.sync(&mut writer);
    promises.checkpoint(&mut writer);
    assert_eq!(promises.durable, 5);
    drop(writer);
    disk.with(|platter| platter.plan = Some(POWER_GOES_AT_LAST));
    hold_to(&promises, &disk, POWER_GOES_AT_LAST);
}

#[test]
fn after_a_failed_sync_only_a_checkpoint_makes_entries_durable() {
    let disk = SimulatedDisk::default();
    let mut writer = open(&disk).unwrap();
    let mut promises = Promises::default();
    promises.append(&mut writer, 3);
    let plan = Plan {
        operation: 0,
        strike: Strike::Before,
        then: Then::GoesOn,
    };
    disk.with(|platter| {
        platter.operations = 0;
        platter.plan = Some(plan);
    });
    assert!(writer.sync().is_err());
    assert_eq!(writer.last_checkpoint().size(), 0);
    promises.sync(&mut writer);
    assert_eq!((promises.durable, writer.last_checkpoint().size()), (3, 3));
    drop(writer);
    disk.with(|platter| platter.plan = Some(POWER_GOES_AT_LAST));
    hold_to(&promises, &disk, POWER_GOES_AT_LAST);
}
