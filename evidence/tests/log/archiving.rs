//! Closed stretches of a log become files: each entry in exactly one, whatever dies in between.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use base::{Sha256Digest, Timestamp};
use evidence::archive::{
    Archive, ArchiveError, ArchiveName, Archiver, Bound, Closing, LocalStore, PruneError, Pruned, Pruner,
    Put, Store, StoreError, StoredFile,
};
use evidence::{
    Completeness, Event, EventKind, Fault, Integrity, NotVerified, ReadError, VerifiedLog, WhyUnproven,
};

use super::{GATEWAY, Log, event, verifier};

pub(super) const HOUR_S: i64 = 3600;

/// The first moment of an hour.
pub(super) fn start() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

pub(super) fn seen_at(seconds: i64) -> Event {
    let mut seen = event(u64::try_from(seconds).unwrap());
    seen.time = start().plus_seconds(seconds);
    seen
}

pub(super) fn sign(log: &Log, mut events: Vec<Event>) {
    let mut writer = log.writer();
    writer.append(&mut events).unwrap();
    writer.checkpoint().unwrap();
}

impl Log {
    pub(super) fn archive(&self) -> Arc<dyn Store> {
        Arc::new(LocalStore::new(&self.folder.path().join("archive")))
    }

    /// Archives what is due `seconds` after the start, as a gateway does it.
    pub(super) fn archive_at(&self, seconds: i64, closing: Closing) -> Vec<Range<u64>> {
        let (store, now) = (self.archive(), start().plus_seconds(seconds));
        let mut done = Vec::new();
        loop {
            let archiver = Archiver::open(&self.path(), &verifier(), &store).unwrap();
            let from = archiver.archived_to().unwrap();
            let Some(bound) = archiver.put_next(from, closing, now).unwrap() else {
                return done;
            };
            sign(self, vec![bound.event(now)]);
            done.push(bound.name.entries());
        }
    }

    fn put_next(&self, store: &Arc<dyn Store>) -> Result<Option<Bound>, ArchiveError> {
        let archiver = Archiver::open(&self.path(), &verifier(), store).unwrap();
        archiver.put_next(archiver.archived_to().unwrap(), Closing::Everything, start())
    }

    /// Every archived entry, in order, from the files that the log binds.
    fn archived_entries(&self) -> Vec<(u64, Vec<u8>)> {
        let log = VerifiedLog::open(&self.path(), &verifier()).unwrap();
        let bound = log
            .events(0..u64::MAX)
            .filter_map(|found| Bound::by(&found.unwrap().1));
        let store = self.archive();
        let mut entries = Vec::new();
        for bound in bound {
            let bytes = store.get(&bound.name.to_string()).unwrap().unwrap();
            assert_eq!(Sha256Digest::of(&bytes), bound.sha256);
            let archive = Archive::read(bytes).unwrap();
            let mut rows = archive.rows().unwrap();
            while let Some((index, entry)) = rows.next_row().unwrap() {
                entries.push((index, entry.to_vec()));
            }
        }
        entries
    }
}

#[test]
fn every_entry_gets_into_exactly_one_file_and_late_ones_into_a_later() {
    let log = Log::empty();
    // The last event of the first hour is written down after the first of the second.
    sign(
        &log,
        [0, 10, HOUR_S - 1, HOUR_S + 1, HOUR_S - 1].map(seen_at).to_vec(),
    );
    // An hour is open for a minute after its end.
    assert_eq!(log.archive_at(HOUR_S + 59, Closing::Due), []);
    assert_eq!(log.archive_at(HOUR_S + 60, Closing::Due), vec![0..3]);
    sign(&log, [HOUR_S + 2, 2 * HOUR_S].map(seen_at).to_vec());
    assert_eq!(log.archive_at(2 * HOUR_S + 60, Closing::Due), vec![3..7]);
    assert_eq!(log.archive_at(3 * HOUR_S + 60, Closing::Due), vec![7..9]);
    let entries = log.archived_entries();
    let log = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    let signed: Vec<_> = log
        .events(0..9)
        .map(|found| found.unwrap().1.to_entry().unwrap())
        .collect();
    assert_eq!(entries, (0..).zip(signed).collect::<Vec<_>>());
}

#[test]
fn entries_about_the_archive_alone_are_not_archived_for_ever() {
    let log = Log::empty();
    sign(&log, vec![seen_at(0)]);
    assert_eq!(log.archive_at(2 * HOUR_S, Closing::Due), vec![0..1]);
    for hours in 3..6 {
        assert_eq!(log.archive_at(hours * HOUR_S, Closing::Due), []);
        assert_eq!(log.archive_at(hours * HOUR_S, Closing::Everything), []);
    }
    sign(&log, vec![seen_at(7 * HOUR_S)]);
    assert_eq!(log.archive_at(9 * HOUR_S, Closing::Due), vec![1..2, 2..3]);
}

#[test]
fn a_full_file_does_not_wait_for_the_end_of_its_hour() {
    let log = Log::empty();
    sign(&log, vec![seen_at(5); 50_010]);
    assert_eq!(log.archive_at(6, Closing::Due), vec![0..50_000]);
}

#[test]
fn a_file_whose_writer_died_is_bound_and_not_put_again() {
    let log = Log::empty();
    sign(&log, [0, 1, 2].map(seen_at).to_vec());
    let store = log.archive();
    // It dies here, and more is written before the next one tries.
    let first = log.put_next(&store).unwrap().unwrap();
    sign(&log, [3, 4].map(seen_at).to_vec());
    assert_eq!(log.put_next(&store).unwrap().unwrap(), first);
    assert_eq!(log.archive_at(5, Closing::Everything), vec![0..3, 3..6]);
    assert_eq!(store.list("").unwrap().len(), 2);
}

#[test]
fn a_strange_file_in_the_place_of_the_next_is_neither_bound_nor_replaced() {
    let log = Log::empty();
    sign(&log, [0, 1].map(seen_at).to_vec());
    let other = Log::empty();
    sign(&other, [0, 2].map(seen_at).to_vec());
    let theirs = other.put_next(&other.archive()).unwrap().unwrap();
    let bytes = other.archive().get(&theirs.name.to_string()).unwrap().unwrap();
    log.archive()
        .put_if_absent(&theirs.name.to_string(), &bytes)
        .unwrap();
    let found = log.put_next(&log.archive()).unwrap_err().to_string();
    assert!(
        found.contains("is not of this log: its row for entry 1 was edited"),
        "{found}"
    );
    assert_eq!(log.archive().list("").unwrap().len(), 1);
}

/// A bucket that says yes to everything and keeps something else.
#[derive(Debug)]
struct Liar {
    gives_back: Option<Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

impl Store for Liar {
    fn put_if_absent(&self, name: &str, _: &[u8]) -> Result<Put, StoreError> {
        self.asked.lock().unwrap().push(name.to_owned());
        Ok(Put::New)
    }

    fn replace(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.gives_back.clone())
    }

    fn get_range(&self, _: &str, _: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.gives_back.clone())
    }

    fn list(&self, _: &str) -> Result<Vec<StoredFile>, StoreError> {
        Ok(Vec::new())
    }

    fn size(&self, _: &str) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    fn place(&self) -> String {
        "s3://liar".to_owned()
    }
}

#[test]
fn a_bucket_that_lies_about_success_binds_nothing() {
    let log = Log::empty();
    sign(&log, vec![seen_at(0)]);
    for (gives_back, words) in [
        (None, "nothing"),
        (Some(b"half".to_vec()), "4 bytes that hash to"),
    ] {
        let liar = Arc::new(Liar {
            gives_back,
            asked: Mutex::default(),
        });
        let store: Arc<dyn Store> = Arc::clone(&liar) as _;
        let found = log.put_next(&store).unwrap_err().to_string();
        assert!(
            found.starts_with("s3://liar said that it took day=2026-11-21/"),
            "{found}"
        );
        assert!(
            found.contains(words) && found.contains("it lies about success"),
            "{found}"
        );
        assert_eq!(liar.asked.lock().unwrap().len(), 1);
    }
}

/// The root over some leaf hashes (RFC 6962 §2.1).
fn root_of(leaves: &[Sha256Digest]) -> Sha256Digest {
    match leaves {
        [leaf] => *leaf,
        leaves => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            let node = [&[1][..], root_of(left).as_bytes(), root_of(right).as_bytes()].concat();
            Sha256Digest::of(&node)
        }
    }
}

#[test]
fn a_stranger_to_the_gateways_disk_holds_archive_files_against_what_the_store_shows() {
    let log = Log::empty();
    let store = log.archive();
    let mut shown = 0;
    for hour in 0..4 {
        sign(&log, (0..150).map(|_| seen_at(hour * HOUR_S)).collect());
        log.archive_at(hour * HOUR_S + 61, Closing::Due);
        let round = evidence::archive::show(&log.path(), &verifier(), &store).unwrap();
        assert!(round.size > shown && round.tiles > 0);
        shown = round.size;
        let again = evidence::archive::show(&log.path(), &verifier(), &store).unwrap();
        assert_eq!((again.size, again.tiles), (shown, 0));
    }
    // From here on nothing of the log's own folder is read.
    std::fs::remove_dir_all(log.path()).unwrap();
    let signed = store.get("log/gw-1/checkpoint").unwrap().unwrap();
    let checkpoint = evidence::Checkpoint::open(&signed, &verifier()).unwrap();
    let mut leaves = Vec::new();
    for tile in 0..checkpoint.size().div_ceil(256) {
        let width = (checkpoint.size() - tile * 256).min(256);
        let partial = if width < 256 {
            format!(".p/{width}")
        } else {
            String::new()
        };
        let bytes = store.get(&format!("log/gw-1/tile/0/{tile:03}{partial}")).unwrap();
        leaves.extend(
            bytes
                .unwrap()
                .chunks(32)
                .map(|hash| Sha256Digest::from_bytes(hash.try_into().unwrap())),
        );
    }
    assert_eq!(root_of(&leaves), *checkpoint.root());
    let mut rows = 0;
    for file in store.list("").unwrap() {
        if !file.name.starts_with("day=") {
            continue;
        }
        let archive = Archive::read(store.get(&file.name).unwrap().unwrap()).unwrap();
        let mut found = archive.rows().unwrap();
        while let Some((index, entry)) = found.next_row().unwrap() {
            let leaf = Sha256Digest::of(&[&[0], entry].concat());
            assert_eq!(leaf, leaves[usize::try_from(index).unwrap()]);
            rows += 1;
        }
    }
    assert!(rows >= 450, "{rows}");
}

#[test]
fn a_log_that_was_rolled_back_does_not_replace_what_the_store_shows() {
    let log = Log::of(300);
    let store = log.archive();
    evidence::archive::show(&log.path(), &verifier(), &store).unwrap();
    let other = Log::empty();
    sign(&other, (0..400).map(|number| seen_at(number + 7)).collect());
    for (log, size) in [(&Log::of(200), 200), (&other, 400)] {
        let found = evidence::archive::show(&log.path(), &verifier(), &store)
            .unwrap_err()
            .to_string();
        assert!(
            found.contains(&format!(
                "shows a checkpoint of 300 entries that this log of {size} does not continue"
            )),
            "{found}"
        );
    }
    let shown = store.get("log/gw-1/checkpoint").unwrap().unwrap();
    assert_eq!(shown, log.read("checkpoint"));
}

#[test]
fn what_a_lying_bucket_shows_is_no_checkpoint_of_ours() {
    let log = Log::of(300);
    for gives_back in [None, Some(b"half".to_vec())] {
        let liar = Arc::new(Liar {
            gives_back,
            asked: Mutex::default(),
        });
        let store: Arc<dyn Store> = Arc::clone(&liar) as _;
        let found = evidence::archive::show(&log.path(), &verifier(), &store)
            .unwrap_err()
            .to_string();
        assert!(
            found.starts_with("s3://liar gives back") && found.contains("tile/0/000; it lies about success"),
            "{found}"
        );
        // It was caught at the first tile, long before a checkpoint.
        assert_eq!(liar.asked.lock().unwrap().len(), 1);
    }
}

#[test]
fn an_entry_binds_a_file_only_if_all_its_words_agree() {
    let log = Log::empty();
    sign(&log, [0, 1].map(seen_at).to_vec());
    let bound = log.put_next(&log.archive()).unwrap().unwrap();
    let good = bound.event(start());
    assert_eq!(Bound::by(&good).map(|bound| bound.name), Some(bound.name.clone()));
    let other_name: ArchiveName = bound.name.to_string().replace(GATEWAY, "gw-2").parse().unwrap();
    let changes: [fn(&mut Event); 5] = [
        |event| event.kind = EventKind::Pruned,
        |event| event.count = Some(3),
        |event| event.entries_to = Some(3),
        |event| event.file_sha256 = None,
        |event| event.gateway = "gw-2".to_owned(),
    ];
    for change in changes {
        let mut event = good.clone();
        change(&mut event);
        assert_eq!(Bound::by(&event), None, "{event:?}");
    }
    let mut event = good;
    event.file = Some(other_name.to_string());
    assert_eq!(Bound::by(&event), None);
}

/// Of a log of three files, the first two were pruned as far as bundles go.
pub(super) const PRUNED: u64 = 512;

/// A log whose first hours were archived, and whose beginning was pruned.
pub(super) fn pruned() -> Log {
    let log = Log::empty();
    sign(&log, (0..300).map(|_| seen_at(1)).collect());
    sign(&log, (0..400).map(|_| seen_at(HOUR_S)).collect());
    sign(&log, (0..200).map(|_| seen_at(5 * HOUR_S)).collect());
    assert_eq!(
        log.archive_at(7 * HOUR_S, Closing::Due),
        vec![0..300, 300..700, 700..900]
    );
    assert_eq!(
        log.prune(3 * HOUR_S).unwrap(),
        Some(Pruned { from: 0, to: PRUNED })
    );
    log
}

impl Log {
    /// Lets go whatever is older than so many seconds after the start.
    pub(super) fn prune(&self, before_s: i64) -> Result<Option<Pruned>, PruneError> {
        let store = self.archive();
        let due = Pruner::open(&self.path(), &verifier(), &store)?.due(start().plus_seconds(before_s))?;
        if let Some(pruned) = due {
            sign(self, vec![pruned.event(start(), GATEWAY)]);
            Pruner::open(&self.path(), &verifier(), &store)?.remove("../archive")?;
        }
        Ok(due)
    }

    pub(super) fn archive_files(&self) -> Vec<std::path::PathBuf> {
        let root = self.folder.path().join("archive");
        super::files(&root)
            .into_iter()
            .map(|name| root.join(name))
            .collect()
    }
}

#[test]
fn a_pruned_log_is_verified_read_and_proven_from_its_archive() {
    let log = pruned();
    for bundle in ["000", "001"] {
        assert!(!log.file(&format!("tile/entries/{bundle}")).exists());
    }
    assert!(log.file("tile/entries/002").exists() && log.file("tile/0/000").exists());
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    assert_eq!(reader.verification().integrity, Integrity::Whole);
    let events: Vec<_> = reader.events(0..u64::MAX).map(Result::unwrap).collect();
    assert_eq!(events.len() as u64, reader.checkpoint().size());
    assert!(
        events
            .iter()
            .zip(0..)
            .all(|((at, event), index)| *at == index && event.seq == index)
    );
    let proof = reader.prove(7).unwrap();
    assert_eq!(
        evidence::verify_proof(&proof.proof, &proof.entry, &verifier())
            .unwrap()
            .event
            .seq,
        7
    );
    let some = VerifiedLog::open_range(&log.path(), &verifier(), &Default::default(), 10..20, &mut |_| {});
    assert_eq!(some.unwrap().verification().integrity, Integrity::Whole);
    // It is written on as before, and nothing goes twice.
    log.grow_to(1000);
    assert_eq!(log.prune(3 * HOUR_S).unwrap(), None);
    assert_eq!(log.verify().integrity, Integrity::Whole);
    assert_eq!(
        log.prune(6 * HOUR_S).unwrap(),
        Some(Pruned {
            from: PRUNED,
            to: 768
        })
    );
    assert_eq!(log.verify().integrity, Integrity::Whole);
}

#[test]
fn without_its_archive_nobody_can_tell_and_nobody_says_tampered() {
    let log = pruned();
    let away = log.folder.path().join("away");
    std::fs::rename(log.folder.path().join("archive"), &away).unwrap();
    let found = log.verify();
    assert!(!found.is_tampered());
    assert_eq!(found.integrity, Integrity::Unseen { entries: 0..PRUNED });
    assert_eq!(
        found.completeness,
        Completeness::Unproven(WhyUnproven::NothingHeld)
    );
    assert!(
        found
            .integrity
            .to_string()
            .starts_with("cannot tell: entries 0 to 511 were pruned"),
        "{}",
        found.integrity
    );
    assert!(matches!(
        VerifiedLog::open(&log.path(), &verifier()),
        Err(NotVerified::Unseen(_))
    ));
    let range =
        |range| VerifiedLog::open_range(&log.path(), &verifier(), &Default::default(), range, &mut |_| {});
    assert!(matches!(range(10..20), Err(NotVerified::Unseen(_))));
    let rest = range(600..610).unwrap();
    // Whoever goes on to read what is away hears why.
    let found = rest.events(7..9).next().unwrap().unwrap_err();
    assert!(matches!(found, ReadError::Pruned { index: 7 }), "{found}");
    assert!(matches!(rest.prove(7), Err(ReadError::Pruned { index: 7 })));
    assert!(
        rest.entries(7..9)
            .read_on()
            .unwrap_err()
            .to_string()
            .contains("was pruned")
    );
    std::fs::rename(&away, log.folder.path().join("archive")).unwrap();
    assert_eq!(log.verify().integrity, Integrity::Whole);
    // One file of several: what it had cannot be seen, the rest can.
    std::fs::remove_file(&log.archive_files()[0]).unwrap();
    assert_eq!(log.verify().integrity, Integrity::Unseen { entries: 0..PRUNED });
}

#[test]
fn an_archive_with_one_changed_byte_never_passes() {
    let log = pruned();
    let path = &log.archive_files()[0];
    let whole = std::fs::read(path).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(path, &changed).unwrap();
        let found = log.verify();
        assert!(found.is_tampered(), "byte {at}");
        let Integrity::Broken {
            first_bad: 0,
            why: Fault::Malformed { file, what },
        } = found.integrity
        else {
            panic!("byte {at}: {:?}", found.integrity);
        };
        assert!(
            file.ends_with(".parquet") && what.contains("it was changed, or renamed"),
            "{file}: {what}"
        );
    }
    std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
    assert!(log.verify().is_tampered());
    std::fs::write(path, &whole).unwrap();
    assert_eq!(log.verify().integrity, Integrity::Whole);
}

#[test]
fn a_file_that_was_renamed_or_written_anew_is_tampering() {
    let log = pruned();
    let path = log.archive_files()[0].clone();
    // Other entries in its name.
    let renamed = path
        .to_str()
        .unwrap()
        .replace("0000000000000299", "0000000000000298");
    std::fs::rename(&path, &renamed).unwrap();
    let found = log.verify().integrity.to_string();
    assert!(
        found.contains("its name says 0 to 298: it was renamed"),
        "{found}"
    );
    std::fs::rename(&renamed, &path).unwrap();
    // The very same entries, in a file that this log never bound.
    let mut bytes = std::fs::read(&path).unwrap();
    let word = b"bailiwick version 1.0.0";
    let at = bytes
        .windows(word.len())
        .position(|window| window == word)
        .unwrap();
    bytes[at] = b'B';
    let hash = |bytes: &[u8]| Sha256Digest::of(bytes).to_hex()[..16].to_owned();
    let old = hash(&std::fs::read(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let other = path.to_str().unwrap().replace(&old, &hash(&bytes));
    std::fs::write(&other, &bytes).unwrap();
    let found = log.verify();
    assert!(
        matches!(
            &found.integrity,
            Integrity::Broken {
                why: Fault::Unbound { .. },
                ..
            }
        ),
        "{:?}",
        found.integrity
    );
}

#[test]
fn hours_swapped_between_gateways_are_told_by_their_log() {
    let log = pruned();
    let path = &log.archive_files()[0];
    let mut writer = evidence::archive::ArchiveWriter::new(&"acme/gw-2".parse().unwrap(), 0);
    for number in 0..300 {
        let mut other = event(number);
        other.gateway = "gw-2".to_owned();
        other.seq = number;
        writer.push(&other.to_entry().unwrap()).unwrap();
    }
    let theirs = writer.finish().unwrap();
    std::fs::remove_file(path).unwrap();
    let name = theirs.name.to_string();
    let place = path.parent().unwrap().join(name.rsplit('/').next().unwrap());
    std::fs::write(place, &theirs.bytes).unwrap();
    let found = log.verify().integrity.to_string();
    assert!(
        found.contains("entries of the log \"acme/gw-2\" and lies among those of \"acme/gw-1\""),
        "{found}"
    );
}

#[test]
fn a_bundle_that_no_entry_says_was_pruned_was_taken_away() {
    let log = pruned();
    log.remove("tile/entries/002");
    let found = log.verify();
    // The archive has it, and it may be restored from there; it was not to go.
    assert_eq!(found.integrity, Integrity::Whole);
    std::fs::remove_dir_all(log.folder.path().join("archive")).unwrap();
    let found = log.verify();
    assert!(found.is_tampered());
    assert!(
        matches!(&found.integrity, Integrity::Broken { first_bad: 512, why: Fault::Missing { file } } if file == "tile/entries/002"),
        "{:?}",
        found.integrity
    );
}

#[test]
fn an_archive_that_moved_without_all_its_files_is_not_named_as_the_place() {
    let log = pruned();
    let (old, new) = (
        log.folder.path().join("archive"),
        log.folder.path().join("elsewhere"),
    );
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(&new));
    let remove = || {
        let pruner = Pruner::open(&log.path(), &verifier(), &store).unwrap();
        pruner.remove("../elsewhere")
    };
    let found = remove().unwrap_err().to_string();
    assert!(
        found.contains("has none with entry 0; copy all of them there first"),
        "{found}"
    );
    let names = super::files(&old);
    let copy = |name: &String| {
        std::fs::create_dir_all(new.join(name).parent().unwrap()).unwrap();
        std::fs::copy(old.join(name), new.join(name)).unwrap();
    };
    copy(&names[0]);
    let found = remove().unwrap_err().to_string();
    assert!(found.contains("has none with entry 300"), "{found}");
    assert_eq!(log.read("archive"), b"../archive\n");
    names.iter().for_each(copy);
    remove().unwrap();
    assert_eq!(log.read("archive"), b"../elsewhere\n");
    std::fs::remove_dir_all(&old).unwrap();
    assert_eq!(log.verify().integrity, Integrity::Whole);
}

#[test]
fn nothing_goes_that_the_archive_does_not_give_back() {
    let log = Log::empty();
    sign(&log, (0..600).map(|_| seen_at(1)).collect());
    log.archive_at(2 * HOUR_S, Closing::Due);
    let path = log.archive_files()[0].clone();
    let whole = std::fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[100] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let found = log.prune(2 * HOUR_S).unwrap_err().to_string();
    assert!(
        found.contains("is not what the log binds, and nothing is pruned"),
        "{found}"
    );
    std::fs::remove_file(&path).unwrap();
    let found = log.prune(2 * HOUR_S).unwrap_err().to_string();
    assert!(found.contains("is bound by the log and is not in"), "{found}");
    std::fs::write(&path, &whole).unwrap();
    // The clock decides last: an entry that is not old enough keeps its whole file.
    assert_eq!(log.prune(1).unwrap(), None);
    assert_eq!(log.prune(2 * HOUR_S).unwrap(), Some(Pruned { from: 0, to: 512 }));
}
