//! A corpus of tampered logs: each is rejected, in the right words, and an untouched one never.

use evidence::{
    Checkpoint, Completeness, Event, Fault, Integrity, InvalidCheckpoint, LogWriter, Origin, VerifyError,
    VerifyOptions, WhyUnproven, merkle, split_bundle, verify_log,
};
use proptest::prelude::*;
use seal::SigningKey;
use seal::note::NoteVerifier;

use super::{Log, event, events, files, key, verifier};

/// 2 full bundles and one of 188.
const SIZE: u64 = 700;
const LAST: &str = "tile/entries/002.p/188";

fn log() -> Log {
    Log::of(SIZE)
}

/// What the verifier finds, as (first bad entry, fault, words).
fn broken(log: &Log) -> (u64, Fault, String) {
    match log.verify().integrity {
        Integrity::Broken { first_bad, why } => (first_bad, why.clone(), why.to_string()),
        Integrity::Whole | Integrity::Unseen { .. } => panic!("tampering went unseen"),
    }
}

fn entries(log: &Log, name: &str, count: usize) -> Vec<Vec<u8>> {
    let bytes = log.read(name);
    let entries = split_bundle(&bytes, count, true).unwrap();
    entries.into_iter().map(<[u8]>::to_vec).collect()
}

fn write_entries(log: &Log, name: &str, entries: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&u16::try_from(entry.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    log.write(name, &bytes);
}

fn write_leaves(log: &Log, name: &str, entries: &[Vec<u8>]) {
    let hashes = entries.iter().map(|entry| merkle::leaf_hash(entry));
    let bytes: Vec<u8> = hashes.flat_map(|hash| *hash.as_bytes()).collect();
    log.write(name, &bytes);
}

fn flip(log: &Log, name: &str, at: usize) {
    let mut bytes = log.read(name);
    bytes[at] ^= 1;
    log.write(name, &bytes);
}

fn swap(log: &Log, one: &str, other: &str) {
    let (first, second) = (log.read(one), log.read(other));
    log.write(one, &second);
    log.write(other, &first);
}

/// Entry 300 with another port, as somebody who wants to hide something would write it.
fn forged(entry: &[u8]) -> Vec<u8> {
    let mut event = Event::from_entry(entry).unwrap();
    event.destination_host = Some("harmless.example".parse().unwrap());
    event.to_entry().unwrap()
}

#[test]
fn an_untouched_log_is_whole() {
    let found = log().verify();
    assert_eq!(found.integrity, Integrity::Whole);
    assert!(!found.is_tampered());
    assert_eq!(
        found.completeness.to_string(),
        "unproven: no checkpoint held elsewhere says how long the log once was"
    );
}

#[test]
fn an_altered_entry_is_named() {
    let log = log();
    let mut all = entries(&log, "tile/entries/001", 256);
    all[44] = forged(&all[44]);
    write_entries(&log, "tile/entries/001", &all);
    let (first, _, words) = broken(&log);
    assert_eq!(first, 300);
    assert_eq!(
        words,
        "the entry in tile/entries/001 was altered: its bytes are not those that were signed"
    );
}

#[test]
fn an_altered_entry_that_is_no_event_any_more_is_named_the_same() {
    let log = log();
    let mut all = entries(&log, LAST, 188);
    all[3][0] ^= 1;
    write_entries(&log, LAST, &all);
    let (first, why, _) = broken(&log);
    assert_eq!(first, 515);
    assert!(matches!(why, Fault::Altered { .. }));
}

#[test]
fn of_several_bad_entries_the_first_is_named() {
    let log = log();
    for (name, at) in [(LAST, 5), ("tile/entries/001", 5), ("tile/entries/001", 9)] {
        let count = if name == LAST { 188 } else { 256 };
        let mut all = entries(&log, name, count);
        all[at] = forged(&all[at]);
        write_entries(&log, name, &all);
    }
    assert_eq!(broken(&log).0, 261);
}

#[test]
fn swapped_dropped_and_repeated_entries_are_misplaced() {
    type Tamper = fn(&mut Vec<Vec<u8>>);
    let cases: [(Tamper, u64, u64); 3] = [
        (|all| all.swap(10, 20), 10, 20),
        (|all| drop(all.remove(7)), 7, 8),
        (|all| all.insert(8, all[7].clone()), 8, 7),
    ];
    for (tamper, index, seq) in cases {
        let log = log();
        let mut all = entries(&log, "tile/entries/000", 256);
        tamper(&mut all);
        write_entries(&log, "tile/entries/000", &all);
        let (first, why, words) = broken(&log);
        assert_eq!(first, index);
        assert!(matches!(why, Fault::Misplaced { seq: found, .. } if found == seq));
        assert!(words.contains(&format!("holds entry {seq} in this place")));
    }
}

#[test]
fn swapped_bundles_are_misplaced_even_with_their_hashes() {
    let log = log();
    swap(&log, "tile/entries/000", "tile/entries/001");
    let misplaced = |first, seq| {
        let file = "tile/entries/000".to_owned();
        let why = Fault::Misplaced { file, seq };
        Integrity::Broken {
            first_bad: first,
            why,
        }
    };
    assert_eq!(log.verify().integrity, misplaced(0, 256));
    swap(&log, "tile/0/000", "tile/0/001");
    assert_eq!(log.verify().integrity, misplaced(0, 256));
}

#[test]
fn an_event_taken_from_another_gateways_log_is_seen() {
    let other = Log::empty();
    let theirs = Origin::new("acme", "gw-2").unwrap();
    let (mut writer, _) = LogWriter::open(&other.path(), &theirs, key()).unwrap();
    let mut batch = events(0..256);
    batch
        .iter_mut()
        .for_each(|event| "gw-2".clone_into(&mut event.gateway));
    writer.append(&mut batch).unwrap();
    writer.checkpoint().unwrap();
    let log = log();
    let mut all = entries(&log, "tile/entries/000", 256);
    all[9] = entries(&other, "tile/entries/000", 256)[9].clone();
    write_entries(&log, "tile/entries/000", &all);
    let (first, why, _) = broken(&log);
    assert_eq!(first, 9);
    assert!(matches!(why, Fault::OtherGateway { found, .. } if found == "gw-2"));
}

#[test]
fn an_altered_hash_is_told_from_an_altered_entry() {
    for (name, at, index) in [
        ("tile/0/001", 44 * 32, 300),
        ("tile/0/002.p/188", 0, 512),
        ("tile/1/000.p/2", 32, 256),
    ] {
        let log = log();
        flip(&log, name, at);
        let (first, why, words) = broken(&log);
        assert_eq!(first, index, "{name}");
        assert!(matches!(why, Fault::HashAltered { file } if file == name));
        assert!(words.contains("entries are as signed"));
    }
    let log = log();
    swap(&log, "tile/0/000", "tile/0/001");
    assert_eq!(
        broken(&log).2,
        "the entries are as signed, and a hash in tile/0/000 was altered"
    );
}

#[test]
fn entries_rewritten_together_with_their_hashes_are_seen_from_above() {
    let log = log();
    let mut all = entries(&log, "tile/entries/001", 256);
    all[44] = forged(&all[44]);
    write_entries(&log, "tile/entries/001", &all);
    write_leaves(&log, "tile/0/001", &all);
    let (first, why, _) = broken(&log);
    assert_eq!(first, 256);
    assert!(matches!(why, Fault::Rewritten { file } if file == "tile/1/000.p/2"));
}

#[test]
fn a_log_rewritten_up_to_its_root_is_seen_by_the_signature_alone() {
    let log = Log::of(600);
    let held = log.verify().checkpoint.unwrap();
    log.grow_to(SIZE);
    let mut all = entries(&log, LAST, 188);
    all[120] = forged(&all[120]);
    write_entries(&log, LAST, &all);
    write_leaves(&log, "tile/0/002.p/188", &all);
    let (first, why, _) = broken(&log);
    assert_eq!((first, why), (0, Fault::Root));
    // A checkpoint held elsewhere narrows it down.
    let Integrity::Broken { first_bad, why } = log.verify_held(Some(held)).integrity else {
        panic!("tampering went unseen");
    };
    assert_eq!((first_bad, why), (600, Fault::Root));
}

#[test]
fn deleted_files_are_named_with_the_first_entry_that_they_cover() {
    for (name, index) in [
        (LAST, 512),
        ("tile/entries/001", 256),
        ("tile/0/000", 0),
        ("tile/0/002.p/188", 512),
        ("tile/1/000.p/2", 0),
    ] {
        let log = log();
        log.remove(name);
        let (first, why, words) = broken(&log);
        assert_eq!(first, index, "{name}");
        assert!(matches!(why, Fault::Missing { file } if file == name));
        assert!(words.contains("is missing and the signed checkpoint covers it"));
    }
}

#[test]
fn cut_and_padded_files_are_named() {
    let log = log();
    let bundle = log.read(LAST);
    log.write(LAST, &bundle[..bundle.len() - 1]);
    let (first, why, _) = broken(&log);
    assert_eq!(first, 699);
    assert!(matches!(why, Fault::Malformed { .. }));
    log.write(LAST, &[bundle.as_slice(), &[0]].concat());
    let (first, why, words) = broken(&log);
    assert_eq!(first, 699);
    assert!(matches!(why, Fault::Malformed { .. }));
    assert!(words.ends_with("1 bytes follow the bundle's last entry"));
    log.write(LAST, &bundle);

    let tile = log.read("tile/0/001");
    log.write("tile/0/001", &tile[..tile.len() - 32]);
    let (first, why, _) = broken(&log);
    assert_eq!(first, 256);
    assert!(matches!(why, Fault::Malformed { .. }));
}

#[test]
fn an_edited_or_foreign_checkpoint_has_its_own_words() {
    let log = log();
    let signed = String::from_utf8(log.read("checkpoint")).unwrap();
    let fault = |text: &str| {
        log.write("checkpoint", text.as_bytes());
        broken(&log).1
    };
    let edited = signed.replace("\n700\n", "\n699\n");
    assert_eq!(fault(&edited), Fault::Checkpoint(InvalidCheckpoint::Edited));
    assert_eq!(fault("hello\n"), Fault::Checkpoint(InvalidCheckpoint::Malformed));
    log.write("checkpoint", signed.as_bytes());

    let check = |name: &str, key: &SigningKey| {
        let verifier = NoteVerifier::new(name, &key.public()).unwrap();
        let found = verify_log(&log.path(), &verifier, &VerifyOptions::default(), &mut |_| {});
        match found.unwrap().integrity {
            Integrity::Broken { why, .. } => why.to_string(),
            Integrity::Whole | Integrity::Unseen { .. } => panic!("tampering went unseen"),
        }
    };
    assert_eq!(
        check("acme/gw-1", &SigningKey::ed25519_from_seed(&[8; 32])),
        "the checkpoint is not signed by this key; check which public key belongs to the log"
    );
    assert_eq!(
        check("acme/gw-2", &key()),
        "the checkpoint belongs to log \"acme/gw-1\", not to \"acme/gw-2\""
    );
}

#[test]
fn a_deleted_checkpoint_is_not_an_empty_log() {
    let log = log();
    log.remove("checkpoint");
    let (first, why, _) = broken(&log);
    assert_eq!((first, why), (0, Fault::CheckpointMissing));
    let nothing = Log::empty();
    let found = verify_log(
        &nothing.path(),
        &verifier(),
        &VerifyOptions::default(),
        &mut |_| {},
    );
    assert!(matches!(found, Err(VerifyError::NoLog { .. })));
}

#[test]
fn a_cut_tail_is_seen_by_whoever_holds_a_later_checkpoint() {
    let log = Log::of(300);
    let old = log.read("checkpoint");
    log.grow_to(SIZE);
    let held = log.verify().checkpoint;
    assert_eq!(log.verify_held(held.clone()).completeness, Completeness::Proven);
    log.write("checkpoint", &old);
    log.remove("journal");
    // An honest beginning is whole; that it was longer, only others know.
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Whole);
    assert_eq!(
        found.completeness,
        Completeness::Unproven(WhyUnproven::NothingHeld)
    );
    let found = log.verify_held(held);
    assert_eq!(found.integrity, Integrity::Whole);
    assert_eq!(
        found.completeness,
        Completeness::Cut {
            held: 700,
            found: 300
        }
    );
    assert!(found.is_tampered());
}

#[test]
fn an_older_checkpoint_proves_only_the_beginning() {
    let log = Log::of(300);
    let held = log.verify().checkpoint;
    log.grow_to(SIZE);
    let found = log.verify_held(held);
    assert_eq!(
        found.completeness,
        Completeness::Unproven(WhyUnproven::HeldUpTo(300))
    );
    assert!(!found.is_tampered());
}

#[test]
fn a_second_story_under_the_same_key_contradicts_the_first() {
    let held = Log::of(300).verify().checkpoint;
    let log = Log::empty();
    let mut writer = log.writer();
    let mut batch = events(0..SIZE);
    batch[200] = event(9999);
    writer.append(&mut batch).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    assert_eq!(log.verify().integrity, Integrity::Whole);
    let found = log.verify_held(held);
    assert_eq!(found.completeness, Completeness::Contradicted { held: 300 });
    assert!(found.is_tampered());
}

#[test]
fn a_held_checkpoint_of_another_log_is_a_mistake_and_says_so() {
    let other = Log::empty();
    let theirs = Origin::new("acme", "gw-2").unwrap();
    drop(LogWriter::open(&other.path(), &theirs, key()).unwrap());
    let their_verifier = NoteVerifier::new("acme/gw-2", &key().public()).unwrap();
    let held = Checkpoint::open(&other.read("checkpoint"), &their_verifier).unwrap();
    let options = VerifyOptions {
        held: Some(held),
        ..VerifyOptions::default()
    };
    let found = verify_log(&log().path(), &verifier(), &options, &mut |_| {});
    assert!(matches!(found, Err(VerifyError::HeldOther { .. })));
}

#[test]
fn a_folder_or_a_pipe_where_a_file_should_be_is_a_missing_file() {
    let log = log();
    log.remove(LAST);
    std::fs::create_dir(log.file(LAST)).unwrap();
    assert!(matches!(broken(&log).1, Fault::Missing { .. }));
    std::fs::remove_dir(log.file(LAST)).unwrap();
    let made = std::process::Command::new("mkfifo").arg(log.file(LAST)).status();
    if made.is_ok_and(|status| status.success()) {
        assert!(matches!(broken(&log).1, Fault::Missing { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_changed_bit_under_the_checkpoint_goes_unseen(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let log = Log::of(270);
        let covered: Vec<String> = files(&log.path())
            .into_iter()
            .filter(|name| name != "journal" && name != "lock")
            .collect();
        let name = &covered[file.index(covered.len())];
        let mut bytes = log.read(name);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        log.write(name, &bytes);
        prop_assert!(log.verify().is_tampered(), "{name} byte {at} bit {bit}");
    }
}
