//! What the writer promises.

use std::fs;
use std::io::Write as _;

use evidence::{
    AppendError, Completeness, Integrity, InvalidCheckpoint, LogWriter, OpenError, Origin, VerifyOptions,
    WhyUnproven, verify_log,
};
use seal::SigningKey;

use super::{Log, event, events, files, key, origin, verifier};

#[test]
fn a_log_is_whole_at_every_size_around_the_edges_of_its_tiles() {
    let log = Log::empty();
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, 700] {
        let checkpoint = log.grow_to(size);
        assert_eq!(checkpoint.size(), size);
        let found = log.verify();
        assert_eq!(found.integrity, Integrity::Whole, "{size}");
        assert_eq!(found.checkpoint, Some(checkpoint), "{size}");
        assert_eq!(
            found.completeness,
            Completeness::Unproven(WhyUnproven::NothingHeld)
        );
    }
}

#[test]
fn a_log_with_three_levels_of_tiles_is_whole() {
    let log = Log::empty();
    let mut writer = log.writer();
    for first in (0..66_000).step_by(6_000) {
        writer.append(&mut events(first..first + 6_000)).unwrap();
    }
    let checkpoint = writer.checkpoint().unwrap();
    drop(writer);
    assert!(log.file("tile/1/000").exists());
    assert!(log.file("tile/2/000.p/1").exists());
    let mut last = 0;
    let found = verify_log(
        &log.path(),
        &verifier(),
        &VerifyOptions::default(),
        &mut |progress| {
            assert!(progress.done > last && progress.total == 66_000);
            last = progress.done;
        },
    );
    assert_eq!(found.unwrap().integrity, Integrity::Whole);
    assert_eq!(last, 66_000);
    let (writer, recovery) = log.open();
    assert_eq!(writer.last_checkpoint(), &checkpoint);
    assert_eq!(recovery.signed, 66_000);
}

#[test]
fn appending_gives_each_event_its_index() {
    let log = Log::empty();
    let mut writer = log.writer();
    let mut batch = events(0..3);
    assert_eq!(writer.append(&mut batch).unwrap(), 0..3);
    assert_eq!(writer.append(&mut []).unwrap(), 3..3);
    assert_eq!(writer.append(&mut batch[..1]).unwrap(), 3..4);
    assert_eq!(batch.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 1, 2]);
    assert_eq!((writer.size(), writer.waiting()), (4, 4));
    writer.checkpoint().unwrap();
    assert_eq!((writer.size(), writer.waiting()), (4, 0));
}

#[test]
fn a_writer_and_a_reader_can_be_given_to_another_thread() {
    fn given<T: Send>() {}
    given::<LogWriter>();
    given::<evidence::VerifiedLog>();
    given::<evidence::UnverifiedReader>();
}

#[test]
fn two_writers_on_one_folder_are_refused() {
    let log = Log::empty();
    let writer = log.writer();
    let second = LogWriter::open(&log.path(), &origin(), key());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(writer);
    assert!(LogWriter::open(&log.path(), &origin(), key()).is_ok());
}

#[test]
fn another_origin_or_another_key_cannot_continue_a_log() {
    let log = Log::of(3);
    let other = Origin::new("acme", "gw-2").unwrap();
    let found = LogWriter::open(&log.path(), &other, key()).unwrap_err();
    assert!(matches!(
        found,
        OpenError::Checkpoint { source: InvalidCheckpoint::Origin { ref found, .. }, .. } if found == "acme/gw-1"
    ));
    let other = SigningKey::ed25519_from_seed(&[8; 32]);
    let found = LogWriter::open(&log.path(), &origin(), other).unwrap_err();
    assert!(matches!(
        found,
        OpenError::Checkpoint {
            source: InvalidCheckpoint::OtherKey,
            ..
        }
    ));
    let p256 = SigningKey::p256_from_seed(&[8; 32]).unwrap();
    let found = LogWriter::open(&log.path(), &origin(), p256).unwrap_err();
    assert!(matches!(found, OpenError::Key(_)));
    assert_eq!(log.verify().integrity, Integrity::Whole);
}

#[test]
fn what_no_checkpoint_covers_is_taken_up_again_from_the_journal() {
    let log = Log::of(300);
    let mut writer = log.writer();
    writer.append(&mut events(300..305)).unwrap();
    drop(writer);
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Whole);
    assert_eq!((found.size(), found.unsigned, found.torn_bytes), (300, 5, 0));

    let (mut writer, recovery) = log.open();
    assert!(!recovery.is_new);
    assert_eq!((recovery.signed, recovery.reintegrated), (300, 5));
    assert_eq!((recovery.torn_bytes, writer.size()), (0, 305));
    writer.checkpoint().unwrap();
    drop(writer);
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Whole);
    assert_eq!((found.size(), found.unsigned), (305, 0));
}

#[test]
fn a_torn_record_is_cut_and_declared() {
    let log = Log::of(3);
    let mut writer = log.writer();
    writer.append(&mut events(3..5)).unwrap();
    drop(writer);
    let journal = log.read("journal");
    log.write("journal", &journal[..journal.len() - 1]);
    let (mut writer, recovery) = log.open();
    assert_eq!((recovery.reintegrated, writer.size()), (1, 4));
    assert!(recovery.torn_bytes > 0);
    writer.append(&mut events(4..6)).unwrap();
    writer.checkpoint().unwrap();
    drop(writer);
    let (_, recovery) = log.open();
    assert_eq!((recovery.signed, recovery.torn_bytes), (6, 0));
    assert_eq!(log.verify().integrity, Integrity::Whole);
}

#[test]
fn records_that_a_checkpoint_already_covers_are_not_appended_twice() {
    let log = Log::of(3);
    let mut writer = log.writer();
    writer.append(&mut events(3..5)).unwrap();
    let journal = log.read("journal");
    writer.checkpoint().unwrap();
    drop(writer);
    // As if the process had died between the checkpoint and the cut.
    log.write("journal", &journal);
    assert_eq!(log.verify().unsigned, 0);
    let (mut writer, recovery) = log.open();
    assert_eq!((recovery.signed, recovery.reintegrated), (5, 0));
    writer.append(&mut events(5..6)).unwrap();
    drop(writer);
    assert_eq!(log.open().1.reintegrated, 1);
}

#[test]
fn a_journal_of_another_form_or_of_another_gateway_is_refused_and_not_cut() {
    let log = Log::of(3);
    log.write("journal", b"bw-jrnl\x02 something newer");
    let found = LogWriter::open(&log.path(), &origin(), key());
    assert!(matches!(found, Err(OpenError::NotAJournal { .. })));
    assert_eq!(log.read("journal"), b"bw-jrnl\x02 something newer");

    let other = Log::empty();
    let theirs = Origin::new("acme", "gw-2").unwrap();
    let (mut writer, _) = LogWriter::open(&other.path(), &theirs, key()).unwrap();
    let mut foreign = event(0);
    foreign.gateway = "gw-2".to_owned();
    writer.append(&mut [foreign]).unwrap();
    log.write("journal", &other.read("journal"));
    let found = LogWriter::open(&log.path(), &origin(), key());
    assert!(matches!(found, Err(OpenError::NotAnEvent { source: None, .. })));
}

#[test]
fn a_batch_is_appended_whole_or_not_at_all() {
    let log = Log::empty();
    let mut writer = log.writer();
    let mut batch = events(0..3);
    batch[1].raw_target = Some("a".repeat(5000));
    let found = writer.append(&mut batch).unwrap_err();
    assert!(matches!(found, AppendError::Event { position: 1, .. }));
    let mut batch = events(0..3);
    batch[2].gateway = "gw-2".to_owned();
    let found = writer.append(&mut batch).unwrap_err();
    assert!(matches!(found, AppendError::Gateway { position: 2, .. }));
    assert_eq!(writer.size(), 0);
    writer.append(&mut events(0..1)).unwrap();
    drop(writer);
    assert_eq!(log.open().1.reintegrated, 1);
}

#[test]
fn a_log_that_lost_its_checkpoint_is_not_started_anew() {
    let log = Log::of(3);
    log.remove("checkpoint");
    let found = LogWriter::open(&log.path(), &origin(), key());
    assert!(matches!(found, Err(OpenError::CheckpointMissing { .. })));
    let log = Log::empty();
    let mut writer = log.writer();
    writer.append(&mut events(0..1)).unwrap();
    drop(writer);
    log.remove("checkpoint");
    let found = LogWriter::open(&log.path(), &origin(), key());
    assert!(matches!(found, Err(OpenError::CheckpointMissing { .. })));
}

#[test]
fn an_older_checkpoint_put_back_is_refused_while_the_journal_shows_it() {
    let log = Log::of(300);
    let old = log.read("checkpoint");
    let mut writer = log.writer();
    writer.append(&mut events(300..310)).unwrap();
    writer.checkpoint().unwrap();
    writer.append(&mut events(310..312)).unwrap();
    drop(writer);
    log.write("checkpoint", &old);
    let found = LogWriter::open(&log.path(), &origin(), key()).unwrap_err();
    assert!(matches!(
        found,
        OpenError::RolledBack {
            signed: 300,
            journal: 310,
            ..
        }
    ));
    let found = log.verify();
    assert_eq!(
        found.completeness,
        Completeness::RolledBack {
            journal: 310,
            found: 300
        }
    );
    assert!(found.is_tampered());
}

#[test]
fn a_log_whose_last_tiles_do_not_fit_its_checkpoint_is_not_continued() {
    for (name, at) in [
        ("tile/0/001.p/44", 7),
        ("tile/1/000.p/1", 7),
        ("tile/entries/001.p/44", 40),
    ] {
        let log = Log::of(300);
        let mut bytes = log.read(name);
        bytes[at] ^= 1;
        log.write(name, &bytes);
        let found = LogWriter::open(&log.path(), &origin(), key());
        assert!(matches!(found, Err(OpenError::Damaged { .. })), "{name}");
        log.remove(name);
        let found = LogWriter::open(&log.path(), &origin(), key());
        assert!(
            matches!(found, Err(OpenError::Damaged { ref what, .. }) if what.contains("missing")),
            "{name}"
        );
    }
}

#[test]
fn a_writer_whose_checkpoint_somebody_else_replaced_signs_no_more() {
    let log = Log::of(3);
    let copy = Log::empty();
    let mut writer = log.writer();
    copy.grow_to(9);
    log.write("checkpoint", &copy.read("checkpoint"));
    writer.append(&mut events(3..4)).unwrap();
    let found = writer.checkpoint().unwrap_err();
    assert!(matches!(found, evidence::CheckpointError::Changed { .. }));
    assert_eq!(writer.last_checkpoint().size(), 3);
}

#[test]
fn partial_tiles_go_once_the_full_one_is_there() {
    let log = Log::empty();
    for size in [10, 200, 256] {
        log.grow_to(size);
    }
    assert_eq!(
        files(&log.path()),
        [
            "checkpoint",
            "journal",
            "lock",
            "tile/0/000",
            "tile/1/000.p/1",
            "tile/entries/000"
        ]
    );
}

#[test]
fn a_full_tile_serves_where_a_partial_one_is_gone() {
    let log = Log::of(100);
    let old = log.read("checkpoint");
    log.grow_to(600);
    // A reader who fetched the checkpoint just before.
    log.write("checkpoint", &old);
    log.remove("journal");
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Whole);
    assert_eq!(found.size(), 100);
}

#[test]
fn a_checkpoint_without_new_entries_writes_nothing() {
    let log = Log::of(5);
    let before = log.read("checkpoint");
    let mut writer = log.writer();
    fs::remove_file(log.file("checkpoint")).unwrap();
    writer.checkpoint().unwrap();
    assert!(!log.file("checkpoint").exists());
    log.write("checkpoint", &before);
    writer.sync().unwrap();
}

#[test]
fn a_journal_that_grows_while_it_is_read_is_no_damage() {
    let log = Log::of(3);
    let mut writer = log.writer();
    writer.append(&mut events(3..4)).unwrap();
    drop(writer);
    let mut journal = fs::OpenOptions::new()
        .append(true)
        .open(log.file("journal"))
        .unwrap();
    journal.write_all(&[1, 200, 3]).unwrap();
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Whole);
    assert_eq!((found.unsigned, found.torn_bytes), (1, 3));
}

#[test]
fn a_log_is_whole_at_every_moment_of_a_seal_that_is_under_way() {
    let log = Log::of(300);
    let mut writer = log.writer();
    let looks_whole = |unsigned, moment: &str| {
        let found = log.verify();
        assert_eq!(found.integrity, Integrity::Whole, "{moment}");
        assert_eq!((found.unsigned, found.torn_bytes), (unsigned, 0), "{moment}");
        assert!(!found.is_tampered(), "{moment}: {}", found.completeness);
    };
    for _ in 0..3 {
        writer.append(&mut events(0..5)).unwrap();
        let seal = writer.start_seal().unwrap().unwrap();
        looks_whole(5, "begun");
        writer.append(&mut events(0..2)).unwrap();
        looks_whole(7, "appended to meanwhile");
        let sealed = seal.run();
        looks_whole(2, "signed");
        writer.finish_seal(sealed).unwrap();
        looks_whole(2, "finished");
        writer.checkpoint().unwrap();
        looks_whole(0, "all signed");
    }
    let mut follower = evidence::UnverifiedReader::new(&log.path(), 300);
    writer.append(&mut events(0..5)).unwrap();
    let seal = writer.start_seal().unwrap().unwrap();
    writer.append(&mut events(0..2)).unwrap();
    let mut seen = Vec::new();
    while let Some(last) = follower.read_on().unwrap().last().map(|(index, _)| *index) {
        seen.push(last);
    }
    assert_eq!(seen, [320, 327]);
    assert_eq!(follower.claimed_size().unwrap(), 328);
    drop((writer, seal));
    let (writer, recovery) = log.open();
    assert_eq!((writer.size(), recovery.reintegrated, recovery.lost), (328, 7, 0));
}
