//! Reading events back, and proving them.

use std::fs;

use base::Sha256Digest;
use evidence::merkle::verify_consistency;
use evidence::{
    Event, InvalidCheckpoint, NotVerified, ProveError, ReadError, UnverifiedReader, VerifiedLog, prove_entry,
    verify_proof,
};
use proptest::prelude::*;
use seal::SigningKey;
use seal::note::NoteVerifier;

use super::{Log, event, events, verifier};

fn verified(log: &Log) -> VerifiedLog {
    VerifiedLog::open(&log.path(), &verifier()).unwrap()
}

#[test]
fn events_come_back_as_they_were_appended() {
    let log = Log::of(700);
    let reader = verified(&log);
    let all: Vec<(u64, Event)> = reader.events(0..u64::MAX).map(Result::unwrap).collect();
    assert_eq!(all.len(), 700);
    for (index, found) in &all {
        let mut wanted = event(*index);
        wanted.seq = *index;
        assert_eq!(*found, wanted);
    }
    for range in [0..1, 255..257, 250..600, 699..700, 700..900] {
        let part: Vec<_> = reader.events(range.clone()).map(Result::unwrap).collect();
        let wanted: Vec<_> = all
            .iter()
            .filter(|(index, _)| range.contains(index))
            .cloned()
            .collect();
        assert_eq!(part, wanted, "{range:?}");
    }
}

#[test]
fn a_tampered_log_is_not_read() {
    let log = Log::of(300);
    let mut bundle = log.read("tile/entries/000");
    bundle[40] ^= 1;
    log.write("tile/entries/000", &bundle);
    let found = VerifiedLog::open(&log.path(), &verifier());
    assert!(matches!(found, Err(NotVerified::Tampered(_))));
}

#[test]
fn a_log_that_changes_after_it_was_verified_is_not_read_on() {
    let bad = |found: &Result<(u64, Event), ReadError>| matches!(found, Err(ReadError::Changed { .. }));
    for (name, index) in [
        ("tile/entries/001", 300),
        ("tile/0/001", 300),
        ("tile/0/002.p/188", 300),
        ("tile/1/000.p/2", 600),
    ] {
        let log = Log::of(700);
        let reader = verified(&log);
        let bytes = log.read(name);
        let mut changed = bytes.clone();
        changed[40] ^= 1;
        log.write(name, &changed);
        let proof = reader.prove(index);
        assert!(matches!(proof, Err(ReadError::Changed { .. })), "{name}");
        let read: Vec<_> = reader.events(index..700).collect();
        // A bundle stands and falls with its own bytes and the hashes beside its path.
        let (last, before) = read.split_last().unwrap();
        assert!(before.iter().all(Result::is_ok), "{name}");
        assert!(bad(last) || name == "tile/0/001", "{name}");

        fs::remove_file(log.file(name)).unwrap();
        assert!(reader.prove(index).is_err(), "{name}");
        log.write(name, &bytes);
        assert!(reader.prove(index).is_ok(), "{name}");
    }
}

#[test]
fn one_entry_is_proven_without_looking_at_the_others() {
    let log = Log::of(700);
    let reader = verified(&log);
    for index in [0, 255, 256, 511, 512, 699] {
        assert_eq!(
            prove_entry(&log.path(), &verifier(), index).unwrap(),
            reader.prove(index).unwrap()
        );
    }
    let prove = |index| prove_entry(&log.path(), &verifier(), index);
    assert!(matches!(
        prove(700),
        Err(ProveError::Read(ReadError::NoSuchEntry { .. }))
    ));
    fs::remove_file(log.file("tile/entries/000")).unwrap();
    assert!(prove(300).is_ok());
    assert!(matches!(
        prove(3),
        Err(ProveError::Read(ReadError::Changed { .. }))
    ));

    let mut bundle = log.read("tile/entries/001");
    let at = bundle.len() - 9;
    bundle[at] ^= 1;
    log.write("tile/entries/001", &bundle);
    assert!(prove(300).is_ok());
    assert!(matches!(
        prove(511),
        Err(ProveError::Read(ReadError::Changed { .. }))
    ));

    let other = SigningKey::ed25519_from_seed(&[8; 32]).public();
    let other = NoteVerifier::new("acme/gw-1", &other).unwrap();
    assert!(matches!(
        prove_entry(&log.path(), &other, 300),
        Err(ProveError::Checkpoint(InvalidCheckpoint::OtherKey))
    ));
    fs::remove_file(log.file("checkpoint")).unwrap();
    assert!(matches!(prove(300), Err(ProveError::NoCheckpoint { .. })));
}

#[test]
fn every_event_has_a_proof_that_needs_nothing_but_the_key() {
    let log = Log::of(700);
    let reader = verified(&log);
    for index in [0, 1, 255, 256, 511, 512, 698, 699] {
        let proof = reader.prove(index).unwrap();
        let proven = verify_proof(&proof.proof, &proof.entry, &verifier()).unwrap();
        assert_eq!((proven.index, proven.event.seq), (index, index));
        assert_eq!(proven.checkpoint, *reader.checkpoint());
        assert!(proof.proof.len() < 2000);
    }
    let found = reader.prove(700);
    assert!(matches!(
        found,
        Err(ReadError::NoSuchEntry {
            index: 700,
            size: 700
        })
    ));
}

#[test]
fn an_earlier_checkpoint_is_proven_to_be_the_beginning() {
    let log = Log::empty();
    let earlier: Vec<_> = [1, 256, 300, 511, 700].map(|size| log.grow_to(size)).into();
    let reader = verified(&log);
    let now = reader.checkpoint();
    for old in earlier {
        let proof = reader.prove_consistency(old.size()).unwrap();
        let verify =
            |root: &Sha256Digest| verify_consistency(old.size(), root, now.size(), now.root(), &proof);
        assert_eq!(verify(old.root()), Ok(()));
        assert!(verify(&Sha256Digest::of(b"another")).is_err());
    }
}

#[test]
fn a_log_is_followed_from_its_journal_into_its_tiles() {
    let log = Log::empty();
    let mut reader = UnverifiedReader::new(&log.path(), 0);
    assert!(reader.read_on().unwrap().is_empty());
    let mut writer = log.writer();
    let mut seen = Vec::new();
    let mut follow = |reader: &mut UnverifiedReader| {
        loop {
            let more = reader.read_on().unwrap();
            if more.is_empty() {
                break seen.len() as u64;
            }
            for (index, event) in more {
                assert_eq!((index, event.seq), (seen.len() as u64, seen.len() as u64));
                seen.push(event);
            }
        }
    };
    writer.append(&mut events(0..3)).unwrap();
    assert_eq!(reader.claimed_size().unwrap(), 3);
    assert_eq!(follow(&mut reader), 3);
    writer.checkpoint().unwrap();
    assert_eq!(follow(&mut reader), 3);
    writer.append(&mut events(3..600)).unwrap();
    assert_eq!(follow(&mut reader), 600);
    writer.append(&mut events(600..610)).unwrap();
    writer.checkpoint().unwrap();
    writer.append(&mut events(610..611)).unwrap();
    assert_eq!(reader.claimed_size().unwrap(), 611);
    assert_eq!(follow(&mut reader), 611);
    let mut late = UnverifiedReader::new(&log.path(), 300);
    assert_eq!(late.read_on().unwrap().first().unwrap().0, 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_cadence_of_batches_and_checkpoints_makes_the_same_tree(
        steps in prop::collection::vec((0u64..200, any::<bool>(), any::<bool>()), 1..12),
    ) {
        let log = Log::empty();
        let mut writer = log.writer();
        for (count, checkpoint, reopen) in steps {
            let size = writer.size();
            writer.append(&mut events(size..size + count)).unwrap();
            if checkpoint {
                writer.checkpoint().unwrap();
            }
            if reopen {
                drop(writer);
                writer = log.writer();
            }
        }
        let found = writer.checkpoint().unwrap();
        drop(writer);
        let plain = Log::of(found.size());
        prop_assert_eq!(plain.verify().checkpoint, Some(found));
        prop_assert!(!log.verify().is_tampered());
        let count = verified(&log).events(0..u64::MAX).map(Result::unwrap).count();
        prop_assert_eq!(count as u64, log.verify().size());
    }
}
