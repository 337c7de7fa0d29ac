//! Going on where an earlier verification ended: the same answer for less reading, and never a kinder one.

use evidence::{Checkpoint, Integrity, ReadError, Verification, VerifiedLog, VerifyOptions, verify_log};
use proptest::prelude::*;

use super::{Log, event, verifier};

/// What is found by whoever verified up to `known` before, and how many bundles were read for it.
fn go_on(log: &Log, known: &Checkpoint) -> (Verification, usize) {
    let options = VerifyOptions {
        verified: Some(known.clone()),
        ..VerifyOptions::default()
    };
    let mut bundles = 0;
    let found = verify_log(&log.path(), &verifier(), &options, &mut |_| bundles += 1).unwrap();
    (found, bundles)
}

/// The same answer, as if everything had been read for it.
fn of_all(mut found: Verification) -> Verification {
    found.read_from = 0;
    found
}

/// A log of 1,000 entries that was verified when it had 300.
fn grown() -> (Log, Checkpoint) {
    let log = Log::empty();
    let known = log.grow_to(300);
    log.grow_to(1000);
    (log, known)
}

/// Changes one letter of the first entry in a bundle.
fn misspell(log: &Log, name: &str) {
    let mut bytes = log.read(name);
    let at = bytes.windows(11).position(|window| window == b"api.weather");
    bytes[at.unwrap()] = b'x';
    log.write(name, &bytes);
}

#[test]
fn what_was_verified_before_is_not_read_again() {
    let (log, known) = grown();
    let (found, bundles) = go_on(&log, &known);
    assert_eq!(
        (found.integrity.clone(), found.read_from, bundles),
        (Integrity::Whole, 256, 3)
    );
    let whole = log.verify();
    assert_eq!(whole.read_from, 0);
    assert_eq!(of_all(found), whole);
}

#[test]
fn an_old_entry_that_was_changed_shows_when_it_is_read_or_proven_and_when_all_is_verified() {
    let (log, known) = grown();
    misspell(&log, "tile/entries/000");
    assert_eq!(go_on(&log, &known).0.read_from, 256);
    let options = VerifyOptions {
        verified: Some(known),
        ..VerifyOptions::default()
    };
    let opened = VerifiedLog::open_with(&log.path(), &verifier(), &options, &mut |_| {}).unwrap();
    let read = opened.events(0..1).next().unwrap();
    assert!(matches!(read, Err(ReadError::Changed { .. })), "{read:?}");
    assert!(matches!(opened.prove(7), Err(ReadError::Changed { .. })));
    assert!(opened.prove(300).is_ok());
    assert!(matches!(
        log.verify().integrity,
        Integrity::Broken { first_bad: 0, .. }
    ));
}

#[test]
fn a_hash_above_the_old_part_that_was_changed_or_taken_away_is_found_by_reading_everything() {
    let (log, known) = grown();
    let above = "tile/1/000.p/3";
    let mut bytes = log.read(above);
    bytes[5] ^= 1;
    log.write(above, &bytes);
    let (found, _) = go_on(&log, &known);
    assert_eq!((&found.integrity, found.read_from), (&log.verify().integrity, 0));
    assert!(found.is_tampered());
    log.remove(above);
    assert!(go_on(&log, &known).0.is_tampered());
}

#[test]
fn a_new_entry_that_was_changed_is_found() {
    let (log, known) = grown();
    misspell(&log, "tile/entries/003.p/232");
    assert!(matches!(
        go_on(&log, &known).0.integrity,
        Integrity::Broken { first_bad: 768, .. }
    ));
}

#[test]
fn a_log_that_does_not_continue_what_was_verified_is_read_whole() {
    let (_, known) = grown();
    let other = Log::empty();
    let mut writer = other.writer();
    let mut events: Vec<_> = (0..1000).map(|number| event(number + 7)).collect();
    writer.append(&mut events).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    assert_eq!(go_on(&other, &known).0.read_from, 0);
    // Nor is one that is shorter begun at its end.
    assert_eq!(go_on(&Log::of(299), &known).0.read_from, 0);
}

#[test]
fn beyond_the_first_tiles_of_tiles_it_goes_on_as_well() {
    let log = Log::empty();
    let known = log.grow_to(65_900);
    log.grow_to(66_100);
    let (found, bundles) = go_on(&log, &known);
    assert_eq!(
        (found.integrity, found.read_from, bundles),
        (Integrity::Whole, 65_792, 2)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_answer_is_that_of_reading_everything(known in 0_u64..800, more in 0_u64..400) {
        let log = Log::empty();
        let checkpoint = log.grow_to(known);
        log.grow_to(known + more);
        let (found, _) = go_on(&log, &checkpoint);
        prop_assert_eq!(found.read_from, known / 256 * 256);
        prop_assert_eq!(of_all(found), log.verify());
    }
}
