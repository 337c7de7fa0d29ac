//! The archive's folder fails on purpose: no half file is ever seen, none is bound twice, and what was
//! bound survives.

use std::path::Path;
use std::sync::Arc;

use base::{Sha256Digest, Timestamp};

use super::disk::{Plan, Platter, SimulatedDisk, Strike, Then};
use super::{key, origin, verifier};
use crate::archive::{
    Archive, Archiver, Bound, Closing, Expired, Expirer, LocalStore, Pruned, Pruner, Store,
};
use crate::disk::Disk;
use crate::{Event, EventKind, LogWriter, VerifiedLog, VerifyOptions};

const STRIKES: [Strike; 3] = [Strike::Before, Strike::After, Strike::Half];
const THENS: [Then; 5] = [
    Then::GoesOn,
    Then::StaysBroken,
    Then::ProcessDies,
    Then::PowerGoes,
    Then::PowerGoesLeavingZeroes,
];

fn now() -> Timestamp {
    Timestamp::from_unix_us(100 * 3_600_000_000)
}

/// A log of so many entries, so many to an hour.
fn log(folder: &Path, entries: i64, per_hour: i64) {
    let (mut writer, _) = LogWriter::open(folder, &origin(), key()).unwrap();
    let mut events: Vec<Event> = (0..entries)
        .map(|number| {
            let time = Timestamp::from_unix_us(number / per_hour * 3_600_000_000);
            Event::new(EventKind::Stop, time, "gw-1")
        })
        .collect();
    writer.append(&mut events).unwrap();
    writer.checkpoint().unwrap();
}

fn store(disk: &SimulatedDisk) -> Arc<dyn Store> {
    Arc::new(LocalStore::on(Arc::new(disk.clone()), Path::new("/data/archive")))
}

/// Archives until there is no more or something fails.
fn archive(folder: &Path, disk: &SimulatedDisk) -> Vec<Bound> {
    let (store, mut bound) = (store(disk), Vec::new());
    loop {
        let archiver = Archiver::open(folder, &verifier(), &store).unwrap();
        let from = archiver.archived_to().unwrap();
        let Ok(Some(next)) = archiver.put_next(from, Closing::Due, now()) else {
            return bound;
        };
        let (mut writer, _) = LogWriter::open(folder, &origin(), key()).unwrap();
        writer.append(&mut [next.event(now())]).unwrap();
        writer.checkpoint().unwrap();
        bound.push(next);
    }
}

fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

#[test]
fn no_single_fault_of_the_archives_folder_shows_half_a_file_or_loses_one() {
    let disk = SimulatedDisk::default();
    let folder = in_memory();
    log(folder.path(), 5, 3);
    archive(folder.path(), &disk);
    let operations = disk.with(|platter| platter.operations);
    let mut faults = 0;
    for operation in 0..operations {
        for strike in STRIKES {
            for then in THENS {
                let plan = Plan {
                    operation,
                    strike,
                    then,
                };
                let (disk, folder) = (SimulatedDisk::default(), in_memory());
                log(folder.path(), 5, 3);
                disk.with(|platter| platter.plan = Some(plan));
                let mut bound = archive(folder.path(), &disk);
                disk.with(Platter::restart);
                let store = store(&disk);
                // What was bound is there, and nothing is there that is not whole.
                for bound in &bound {
                    let bytes = store.get(&bound.name.to_string()).unwrap();
                    let bytes = bytes.unwrap_or_else(|| panic!("{plan:?} lost {}", bound.name));
                    assert_eq!(Sha256Digest::of(&bytes), bound.sha256, "{plan:?}");
                }
                for file in store.list("").unwrap() {
                    let bytes = store.get(&file.name).unwrap().unwrap();
                    assert!(Archive::read(bytes).is_ok(), "{plan:?}: half of {}", file.name);
                }
                bound.extend(archive(folder.path(), &disk));
                let ranges: Vec<_> = bound.iter().map(|bound| bound.name.entries()).collect();
                assert_eq!(ranges, vec![0..3, 3..5], "{plan:?}");
                assert_eq!(store.list("").unwrap().len(), 2, "{plan:?}");
                faults += 1;
            }
        }
    }
    println!("{faults} faults, each entry in exactly one file");
    assert!(faults > 200, "{faults}");
}

#[test]
fn no_single_fault_keeps_pruning_from_ending_whole() {
    let folder = in_memory();
    let path = folder.path().join("log");
    log(&path, 600, 280);
    let archive_folder = folder.path().join("archive");
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(&archive_folder));
    let sign = |event: Event| {
        let (mut writer, _) = LogWriter::open(&path, &origin(), key()).unwrap();
        writer.append(&mut [event]).unwrap();
        writer.checkpoint().unwrap();
    };
    loop {
        let archiver = Archiver::open(&path, &verifier(), &store).unwrap();
        let from = archiver.archived_to().unwrap();
        match archiver.put_next(from, Closing::Due, now()).unwrap() {
            Some(bound) => sign(bound.event(now())),
            None => break,
        }
    }
    let open = || Pruner::open(&path, &verifier(), &store).unwrap();
    let due = open().due(now()).unwrap();
    assert_eq!(due, Some(Pruned { from: 0, to: 512 }));
    sign(due.unwrap().event(now(), "gw-1"));

    let bundles = ["000", "001"].map(|name| path.join("tile/entries").join(name));
    let beginning = SimulatedDisk::default();
    beginning.with(|platter| {
        for above in bundles[0].ancestors().skip(1) {
            platter.make_folder(above);
        }
        bundles
            .iter()
            .for_each(|bundle| platter.overwrite(bundle, b"entries"));
        platter.sync_all();
    });
    let mut faults = 0;
    for operation in 0..20 {
        for strike in STRIKES {
            for then in THENS {
                let plan = Plan {
                    operation,
                    strike,
                    then,
                };
                let disk = beginning.fork();
                disk.with(|platter| platter.plan = Some(plan));
                let _ = open().on(Box::new(disk.clone())).remove("../archive");
                if !disk.with(|platter| platter.struck) {
                    continue;
                }
                disk.with(Platter::restart);
                let has = |path: &Path| disk.exists(path).unwrap();
                let place = path.join("archive");
                let gone = bundles.iter().filter(|bundle| !has(bundle)).count();
                assert!(
                    gone == 0 || disk.read(&place).unwrap() == b"../archive\n",
                    "{plan:?}"
                );
                open().on(Box::new(disk.clone())).remove("../archive").unwrap();
                assert!(bundles.iter().all(|bundle| !has(bundle)), "{plan:?}");
                assert_eq!(disk.read(&place).unwrap(), b"../archive\n");
                faults += 1;
            }
        }
    }
    println!("{faults} faults, pruned whole each time");
    assert!(faults > 60, "{faults}");
    // And on the real disk the log is whole without them.
    open().remove("../archive").unwrap();
    assert!(!bundles[0].exists());
    let log = VerifiedLog::open(&path, &verifier()).unwrap();
    assert_eq!(
        log.events(0..u64::MAX).filter(|found| found.is_ok()).count() as u64,
        log.checkpoint().size()
    );
}

/// A log that was pruned, whose archive is on a disk that can fail; the signed entries say that files of
/// the entries below 420 expired, and none was removed yet.
fn declared(path: &Path, disk: &SimulatedDisk) -> Expired {
    log(path, 600, 140);
    archive(path, disk);
    let store = store(disk);
    let sign = |event: Event| {
        let (mut writer, _) = LogWriter::open(path, &origin(), key()).unwrap();
        writer.append(&mut [event]).unwrap();
        writer.checkpoint().unwrap();
    };
    let pruner = || Pruner::open(path, &verifier(), &store).unwrap();
    sign(pruner().due(now()).unwrap().unwrap().event(now(), "gw-1"));
    assert_eq!(pruner().remove(&store.place()).unwrap(), 2);
    let expirer = Expirer::open(path, &verifier(), &store).unwrap();
    let due = expirer.due(now(), &|_| 3600).unwrap().unwrap();
    assert_eq!(due.expired, Expired { from: 0, to: 420 });
    assert_eq!(due.files.len(), 3);
    // Nothing is declared yet, and so nothing goes.
    assert_eq!(expirer.remove(Some(due.expired)).unwrap(), []);
    assert_eq!(expirer.remove(None).unwrap(), []);
    sign(due.expired.event(now(), "gw-1", "evidence.retention"));
    due.expired
}

#[test]
fn no_single_fault_keeps_files_from_expiring_whole_and_in_order() {
    let folder = in_memory();
    let path = folder.path().join("log");
    let beginning = SimulatedDisk::default();
    let expired = declared(&path, &beginning);
    let names = |disk: &SimulatedDisk| {
        let files = store(disk).list("").unwrap();
        files.into_iter().map(|file| file.name).collect::<Vec<_>>()
    };
    let all = names(&beginning);
    let mut faults = 0;
    for operation in 0..40 {
        for strike in STRIKES {
            for then in THENS {
                let plan = Plan {
                    operation,
                    strike,
                    then,
                };
                let disk = beginning.fork();
                disk.with(|platter| {
                    platter.operations = 0;
                    platter.plan = Some(plan);
                });
                let expirer = || Expirer::open(&path, &verifier(), &store(&disk));
                if let Ok(expirer) = expirer() {
                    let _ = expirer.remove(Some(expired));
                }
                if !disk.with(|platter| platter.struck) {
                    continue;
                }
                disk.with(Platter::restart);
                // The oldest are gone or none is, and what is left is whole.
                let left = names(&disk);
                assert!(
                    all.ends_with(&left) && left.len() + 3 >= all.len(),
                    "{plan:?}: {left:?}"
                );
                let options = VerifyOptions {
                    archive: Some(store(&disk)),
                    ..VerifyOptions::default()
                };
                let verify = || VerifiedLog::open_with(&path, &verifier(), &options, &mut |_| {});
                let log = verify().unwrap_or_else(|error| panic!("{plan:?}: {error}"));
                let is_all_there = left.len() == all.len();
                assert_eq!(log.verification().expired.is_none(), is_all_there, "{plan:?}");
                // And the next round ends what this one began: where nothing went yet, it is due as before.
                let round = expirer().unwrap();
                let due = round.due(now(), &|_| 3600).unwrap().map(|due| due.expired);
                assert_eq!(due, is_all_there.then_some(expired), "{plan:?}");
                round.remove(due).unwrap();
                assert_eq!(names(&disk), all[3..], "{plan:?}");
                assert_eq!(
                    verify().unwrap().events(0..u64::MAX).next().unwrap().unwrap().0,
                    420
                );
                faults += 1;
            }
        }
    }
    println!("{faults} faults, expired whole each time");
    assert!(faults > 60, "{faults}");
}
