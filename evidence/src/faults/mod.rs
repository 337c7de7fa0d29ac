//! A disk that fails on purpose, and what the writer keeps of its promises then.
//!
//! It keeps files twice, as programs see them and as they would survive a loss of power. Every single
//! operation of a small story fails once: before it lands, after, or half done. Then the story goes
//! on, or the process dies, or the power goes; and the log is opened again on a disk that works.

mod archiving;
mod disk;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::Timestamp;
use seal::SigningKey;
use seal::note::NoteVerifier;

use self::disk::{Plan, Platter, SimulatedDisk, Strike, Then};
use crate::merkle::verify_consistency;
use crate::{Checkpoint, Event, EventKind, LogWriter, Origin, VerifiedLog};

fn folder() -> PathBuf {
    PathBuf::from("/data/log")
}

pub(crate) fn key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[7; 32])
}

pub(crate) fn origin() -> Origin {
    Origin::new("acme", "gw-1").unwrap()
}

pub(crate) fn verifier() -> NoteVerifier {
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

    /// Appends while a flush is under way.
    fn flush(&mut self, writer: &mut LogWriter, meanwhile: u64) {
        let Some(flush) = writer.start_flush() else {
            return;
        };
        self.append(writer, meanwhile);
        if let Ok(durable) = writer.finish_flush(flush.run()) {
            self.durable = self.durable.max(durable);
        }
    }

    /// Appends and flushes while a seal is under way.
    fn seal(&mut self, writer: &mut LogWriter, meanwhile: u64) {
        let Ok(Some(seal)) = writer.start_seal() else {
            return;
        };
        self.append(writer, meanwhile);
        self.flush(writer, meanwhile / 2);
        let sealed = seal.run();
        self.append(writer, meanwhile);
        if let Ok(checkpoint) = writer.finish_seal(sealed) {
            self.durable = self.durable.max(checkpoint.size());
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
    let disk = std::sync::Arc::new(disk.clone());
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
    promises.seal(writer, 3);
    promises.append(writer, 1);
    promises.checkpoint_at_last(writer);
    promises.append(writer, 1);
    promises.sync(writer);
    promises.append(writer, 1);
}

/// Seals and flushes overlap with appending and with each other.
fn overlap(disk: &SimulatedDisk, promises: &mut Promises) {
    let Ok(mut writer) = open(disk) else {
        return;
    };
    let writer = &mut writer;
    promises.append(writer, 2);
    promises.flush(writer, 1);
    promises.seal(writer, 2);
    promises.append(writer, 1);
    promises.seal(writer, 1);
    promises.seal(writer, 0);
    promises.append(writer, 1);
    promises.flush(writer, 0);
    promises.seal(writer, 2);
    promises.checkpoint_at_last(writer);
    promises.append(writer, 1);
    promises.seal(writer, 1);
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

    // In memory, where there is such a folder: these files need no disk, and there are many of them.
    let target = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
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
    println!("{faults} faults, no promise broken");
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
fn no_single_fault_makes_overlapping_seals_break_a_promise() {
    let faults = strike_everywhere(&Default::default(), overlap);
    assert!(faults > 900, "{faults}");
}

#[test]
fn entries_that_follow_a_lost_journal_are_declared_lost_and_not_taken_for_a_roll_back() {
    let disk = SimulatedDisk::default();
    let mut writer = open(&disk).unwrap();
    let mut promises = Promises::default();
    promises.append(&mut writer, 3);
    promises.checkpoint(&mut writer);
    promises.append(&mut writer, 4);
    let seal = writer.start_seal().unwrap().unwrap();
    promises.append(&mut writer, 2);
    // The system writes the second journal back on its own, and then the power goes.
    disk.with(|platter| {
        platter.sync_path(&folder().join("journal.2"));
        platter.sync_path(&folder());
        platter.plan = Some(POWER_GOES_AT_LAST);
    });
    drop((writer, seal));
    disk.with(Platter::restart);
    for _ in 0..2 {
        // Found again for as long as nothing was written: the gap that declares it could be lost too.
        let (writer, recovery) =
            LogWriter::open_on(std::sync::Arc::new(disk.clone()), &folder(), &origin(), key()).unwrap();
        assert_eq!((writer.size(), recovery.lost), (3, 6));
        assert!(recovery.may_lack_events());
        drop(writer);
        disk.with(Platter::restart);
    }
    let mut writer = open(&disk).unwrap();
    let mut gap = Event::new(EventKind::Gap, Timestamp::from_unix_us(0), "gw-1");
    gap.count = Some(6);
    writer.append(&mut [gap]).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    disk.with(Platter::restart);
    let (writer, recovery) =
        LogWriter::open_on(std::sync::Arc::new(disk.clone()), &folder(), &origin(), key()).unwrap();
    assert_eq!((writer.size(), recovery.lost, recovery.torn_bytes), (4, 0, 0));
}

#[test]
fn an_older_checkpoint_put_back_shows_in_the_mark_of_the_second_journal() {
    let disk = SimulatedDisk::default();
    let mut writer = open(&disk).unwrap();
    let mut promises = Promises::default();
    promises.append(&mut writer, 3);
    promises.checkpoint(&mut writer);
    let old = disk.with(|platter| platter.clone());
    promises.append(&mut writer, 4);
    promises.seal(&mut writer, 2);
    drop(writer);
    let checkpoint = folder().join("checkpoint");
    let bytes = crate::disk::Disk::read(&SimulatedDisk::of(old), &checkpoint).unwrap();
    disk.with(|platter| platter.overwrite(&checkpoint, &bytes));
    disk.with(Platter::restart);
    let found = open(&disk).unwrap_err();
    assert!(
        matches!(
            found,
            crate::OpenError::RolledBack {
                signed: 3,
                journal: 7,
                ..
            }
        ),
        "{found:?}"
    );
}

#[test]
fn a_second_seal_waits_for_the_first() {
    let disk = SimulatedDisk::default();
    let mut writer = open(&disk).unwrap();
    let mut promises = Promises::default();
    promises.append(&mut writer, 1);
    let seal = writer.start_seal().unwrap().unwrap();
    promises.append(&mut writer, 1);
    assert!(matches!(
        writer.start_seal(),
        Err(crate::CheckpointError::UnderWay { .. })
    ));
    assert!(matches!(
        writer.checkpoint(),
        Err(crate::CheckpointError::UnderWay { .. })
    ));
    assert_eq!(writer.finish_seal(seal.run()).unwrap().size(), 1);
    assert_eq!(writer.checkpoint().unwrap().size(), 2);
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
