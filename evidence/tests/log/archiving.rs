//! Closed stretches of a log become files: each entry in exactly one, whatever dies in between.

use std::ops::Range;
use std::sync::Mutex;

use base::{Sha256Digest, Timestamp};
use evidence::archive::{
    Archive, ArchiveError, ArchiveName, Archiver, Bound, Closing, LocalStore, Put, Store, StoreError,
    StoredFile,
};
use evidence::{Event, EventKind, VerifiedLog};

use super::{GATEWAY, Log, event, verifier};

const HOUR_S: i64 = 3600;

/// The first moment of an hour.
fn start() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn seen_at(seconds: i64) -> Event {
    let mut seen = event(u64::try_from(seconds).unwrap());
    seen.time = start().plus_seconds(seconds);
    seen
}

fn sign(log: &Log, mut events: Vec<Event>) {
    let mut writer = log.writer();
    writer.append(&mut events).unwrap();
    writer.checkpoint().unwrap();
}

impl Log {
    fn archive(&self) -> LocalStore {
        LocalStore::new(&self.folder.path().join("archive"))
    }

    /// Archives what is due `seconds` after the start, as a gateway does it.
    fn archive_at(&self, seconds: i64, closing: Closing) -> Vec<Range<u64>> {
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

    fn put_next(&self, store: &dyn Store) -> Result<Option<Bound>, ArchiveError> {
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
        let liar = Liar {
            gives_back,
            asked: Mutex::default(),
        };
        let found = log.put_next(&liar).unwrap_err().to_string();
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
