//! Killing whoever archives: a child that writes, archives and prunes dies at any moment, and afterwards
//! every entry is in exactly one file, whole, late ones among them.
//!
//! Rounds and dice are those of the writer's campaign. By hand, with its counts:
//!
//! ```sh
//! BAILIWICK_CRASH_ROUNDS=2000 cargo test -p bailiwick-evidence --test log killed_archiver -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use base::{Sha256Digest, Timestamp};
use evidence::archive::{Archive, ArchiveName, Archiver, Bound, Closing, LocalStore, Pruner, Store};
use evidence::{Event, Integrity, LogWriter, VerifiedLog};

use super::crash::{CHILD_FOLDER, Dice, ROUNDS, number, run_and_kill};
use super::{GATEWAY, Log, event, key, origin, verifier};

const HOUR_S: i64 = 3600;
/// Events of one hour; so many bundles of the log hold an hour's end.
const PER_HOUR: u64 = 60;
/// Each so many'th event is told of a whole hour after it happened.
const LATE: u64 = 17;
/// A log is begun anew after so many rounds, so that late rounds do not read ever longer logs.
const ROUNDS_OF_ONE_LOG: u64 = 15;

fn start() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

fn hour_of(number: u64) -> i64 {
    i64::try_from(number / PER_HOUR).unwrap()
}

/// The event that becomes entry `number`, among others; some are late.
fn seen(number: u64) -> Event {
    let mut seen = event(number);
    let late = if number.is_multiple_of(LATE) { HOUR_S } else { 0 };
    let within = i64::try_from(number % PER_HOUR).unwrap();
    seen.time = start().plus_seconds(hour_of(number) * HOUR_S + within - late);
    seen
}

fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(LocalStore::new(&folder.with_file_name("archive")))
}

/// Archives what is due at `now`, as a gateway does; how many files that were.
fn archive(
    folder: &Path,
    writer: &mut LogWriter,
    store: &Arc<dyn Store>,
    closing: Closing,
    now: Timestamp,
) -> u64 {
    let mut files = 0;
    loop {
        let archiver = Archiver::open(folder, &verifier(), store).unwrap();
        let from = archiver.archived_to().unwrap();
        let Some(bound) = archiver.put_next(from, closing, now).unwrap() else {
            return files;
        };
        writer.append(&mut [bound.event(now)]).unwrap();
        writer.checkpoint().unwrap();
        files += 1;
    }
}

fn prune(folder: &Path, writer: &mut LogWriter, store: &Arc<dyn Store>, now: Timestamp) {
    let before = now.plus_seconds(-2 * HOUR_S);
    let due = Pruner::open(folder, &verifier(), store)
        .unwrap()
        .due(before)
        .unwrap();
    if let Some(pruned) = due {
        writer.append(&mut [pruned.event(now, GATEWAY)]).unwrap();
        writer.checkpoint().unwrap();
    }
    let pruner = Pruner::open(folder, &verifier(), store).unwrap();
    pruner.remove("../archive").unwrap();
}

/// Not a test of its own: a process that writes hours in seconds, archives and prunes, and is killed.
#[test]
#[ignore = "runs as the child of the crash test"]
fn archiving_child() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let store = store(folder);
    let (mut writer, _) = LogWriter::open(folder, &origin(), key()).unwrap();
    let mut dice = Dice(writer.size() + 1);
    let mut out = std::io::stdout().lock();
    loop {
        let size = writer.size();
        let batch = dice.roll(50) + 1;
        let mut batch: Vec<Event> = (size..size + batch).map(seen).collect();
        writer.append(&mut batch).unwrap();
        writeln!(out, "\nappended {}", writer.size()).unwrap();
        writer.checkpoint().unwrap();
        writeln!(out, "\nsigned {}", writer.size()).unwrap();
        let now = start().plus_seconds(hour_of(writer.size()) * HOUR_S + 61);
        archive(folder, &mut writer, &store, Closing::Due, now);
        if dice.roll(4) == 0 {
            prune(folder, &mut writer, &store, now);
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    files: u64,
    adopted: u64,
    half_put: u64,
    pruned_logs: u64,
}

#[test]
fn a_killed_archiver_shows_no_half_file_archives_nothing_twice_and_loses_nothing() {
    let rounds = number("BAILIWICK_CRASH_ROUNDS", ROUNDS);
    let mut dice = Dice(number("BAILIWICK_CRASH_SEED", 0x5eed));
    let mut counts = Counts::default();
    while counts.kills < rounds {
        let log = Log::empty();
        for _ in 0..ROUNDS_OF_ONE_LOG.min(rounds - counts.kills) {
            let (appended, _) = run_and_kill(&log, "archive_crash::archiving_child", &mut dice);
            look(&log, appended, &mut counts);
            counts.kills += 1;
        }
        finish(&log, &mut counts);
    }
    println!("{counts:?}: each entry in exactly one file");
    assert!(
        counts.files > 0 && counts.pruned_logs > 0,
        "nothing was archived or pruned: {counts:?}"
    );
}

/// What lies there after a kill, before anybody mends it.
fn look(log: &Log, appended: u64, counts: &mut Counts) {
    if !log.file("checkpoint").exists() {
        assert_eq!(appended, 0);
        return;
    }
    let found = log.verify();
    assert_eq!(found.integrity, Integrity::Whole);
    let store = store(&log.path());
    let mut firsts = BTreeMap::new();
    for file in store.list("").unwrap() {
        let name: ArchiveName = file.name.parse().expect("nothing but whole files is seen");
        let bytes = store.get(&file.name).unwrap().unwrap();
        assert!(
            name.is_of(&Sha256Digest::of(&bytes)),
            "{name} is not what its name says"
        );
        let archive = Archive::read(bytes).expect("a file that is seen is whole");
        assert_eq!(archive.entries(), name.entries());
        let range = name.entries();
        assert!(
            firsts.insert(range.start, range.end).is_none(),
            "two files begin with entry {}",
            name.entries().start
        );
    }
    let mut next = 0;
    for (first, end) in &firsts {
        assert_eq!(*first, next, "files follow each other");
        next = *end;
    }
    // What a writer left behind that died in the middle of a put.
    let asides = super::files(log.folder.path());
    counts.half_put += u64::from(
        asides
            .iter()
            .any(|name| name.starts_with("archive/") && name.ends_with(".tmp")),
    );
    // A file that is there and not bound is bound in the next life.
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    let bound = reader
        .events(0..u64::MAX)
        .filter(|found| Bound::by(&found.as_ref().unwrap().1).is_some());
    counts.adopted += u64::from((bound.count()) < firsts.len());
}

/// Everything that was written is archived, and comes back from there.
fn finish(log: &Log, counts: &mut Counts) {
    let (mut writer, _) = log.open();
    writer.checkpoint().unwrap();
    let store = store(&log.path());
    let now = start().plus_seconds(hour_of(writer.size()) * HOUR_S + 61);
    archive(&log.path(), &mut writer, &store, Closing::Everything, now);
    let reader = VerifiedLog::open(&log.path(), &verifier()).unwrap();
    counts.pruned_logs += u64::from(!log.file("tile/entries/000").exists());
    let signed: Vec<Event> = reader.events(0..u64::MAX).map(|found| found.unwrap().1).collect();
    let mut next = 0;
    let mut late = 0;
    for bound in signed.iter().filter_map(Bound::by) {
        assert_eq!(
            bound.name.entries().start,
            next,
            "an entry is in no file, or in two"
        );
        let bytes = store.get(&bound.name.to_string()).unwrap().unwrap();
        assert_eq!(Sha256Digest::of(&bytes), bound.sha256);
        let archive = Archive::read(bytes).unwrap();
        let mut rows = archive.rows().unwrap();
        while let Some((index, entry)) = rows.next_row().unwrap() {
            assert_eq!(index, next);
            let event = &signed[usize::try_from(index).unwrap()];
            assert_eq!(event.to_entry().unwrap(), entry, "entry {index}");
            late += u64::from(event.connection_id.is_some() && index.is_multiple_of(LATE));
            next += 1;
        }
        counts.files += 1;
    }
    // What remains tells of the archive alone.
    let about_itself = |event: &Event| {
        matches!(
            event.kind,
            evidence::EventKind::Archived | evidence::EventKind::Pruned
        )
    };
    assert!(
        signed[usize::try_from(next).unwrap()..].iter().all(about_itself),
        "entry {next} and later are in no file"
    );
    assert!(late > 0 || next < LATE, "no late entry was archived");
}
