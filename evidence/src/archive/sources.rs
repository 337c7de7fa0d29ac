//! Reading a log whose closed stretches the archive has: by file where a file is bound, by entry elsewhere.
//!
//! A checkpoint signs the last entries of a log; the last `archived` entry among them binds a file by its
//! hash; that file has the entry that binds the file before it, and so on to the first entry. So a file
//! whose hash agrees holds what the gateway's key vouches for, and no row of it has to be written back
//! into an entry and hashed to a leaf to know so.
//!
//! What this does not find: a gateway that bound a file with other rows than its log has, and bundles
//! that were changed where a file was read in their place. Verifying the whole log finds both.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use base::Sha256Digest;
use seal::note::NoteVerifier;

use super::archiver::{is_about_the_archive, last_of};
use super::{ABSENT, Archive, Bound, Store};
use crate::entries::EntriesError;
use crate::folder::Folder;
use crate::verification::Integrity;
use crate::verify::{Progress, VerifyError, VerifyOptions, open_checkpoint};
use crate::{Event, EventKind, NotVerified, ReadError, VerifiedLog};

/// Bytes of files that one log keeps between verifying and reading; what is more is read and hashed twice.
const KEPT_BYTES: usize = 64 << 20;

/// Where the entries of one stretch of a log are to be read from.
#[derive(Debug)]
pub enum Source {
    /// An archive file, which hashes to what the log binds.
    File(Box<BoundFile>),
    /// The log itself; every entry is proven as it is read.
    Entries(Range<u64>),
}

/// An archive file that was found to be what its log binds.
#[derive(Debug)]
pub struct BoundFile {
    bound: Bound,
    origin: String,
    /// The file, while there is room to keep it.
    kept: Option<Archive>,
}

/// A log, verified as far as its archive does not vouch for it, and where its entries are.
#[derive(Debug)]
pub struct ArchivedLog {
    /// The log.
    pub log: VerifiedLog,
    /// What follows what, from the first entry to the last under the checkpoint.
    pub sources: Vec<Source>,
}

impl Source {
    /// The entries that it has.
    pub const fn entries(&self) -> Range<u64> {
        match self {
            Self::File(file) => file.bound.name.entries(),
            Self::Entries(range) => range.start..range.end,
        }
    }
}

impl From<VerifiedLog> for ArchivedLog {
    /// A log whose every entry was verified, to be read as it is.
    fn from(log: VerifiedLog) -> Self {
        Self {
            sources: vec![Source::Entries(0..log.checkpoint().size())],
            log,
        }
    }
}

impl BoundFile {
    /// The file. It is read and hashed again if it was not kept.
    ///
    /// # Errors
    /// [`ReadError::Changed`] where the archive no longer has what it had a moment ago.
    pub fn read(self, store: &dyn Store) -> Result<Archive, ReadError> {
        let kept = match self.kept {
            Some(kept) => Some(kept),
            None => fetch(&self.bound, &self.origin, store),
        };
        kept.ok_or_else(|| ReadError::Changed {
            file: format!("{}/{}", store.place(), self.bound.name),
        })
    }
}

impl ArchivedLog {
    /// Opens the log in `folder`. Entries that a bound file of `store` has are vouched for by its hash,
    /// all others are verified against the checkpoint. Where a file is missing, or is not the one that
    /// is bound, the log's own entries take its place.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub fn open(
        folder: &Path,
        verifier: &NoteVerifier,
        options: &VerifyOptions,
        store: &dyn Store,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, NotVerified> {
        let files = Folder::with_archive(folder, options.archive.clone());
        let (signed, checkpoint) = match open_checkpoint(&files, verifier, options)? {
            Ok(found) => found,
            Err(unbelievable) => return Err(NotVerified::Tampered(Box::new(unbelievable))),
        };
        let log = VerifiedLog::provisional(&files, verifier, &checkpoint);
        let size = checkpoint.size();
        // What cannot be read here is met again below, and said there.
        let last = last_of(&log, |event| Bound::by(event).is_some()).ok().flatten();
        let Some(archived_to) = last
            .as_ref()
            .and_then(Bound::by)
            .map(|bound| bound.name.entries().end)
        else {
            return VerifiedLog::open_with(folder, verifier, options, progress).map(Self::from);
        };
        let mut backwards = Backwards {
            log: &log,
            store,
            size,
            bounds: BTreeMap::new(),
            sources: Vec::new(),
            room: KEPT_BYTES,
            broken: None,
            unseen: None,
            progress,
        };
        backwards.walk(archived_to)?;
        let Backwards {
            mut sources,
            broken,
            unseen,
            ..
        } = backwards;
        sources.reverse();
        let integrity = match (broken, unseen) {
            (Some(broken), _) => broken,
            (None, Some(entries)) => Integrity::Unseen { entries },
            (None, None) => Integrity::Whole,
        };
        let log = log.concluded(signed, integrity, options)?;
        Ok(Self { log, sources })
    }
}

/// The way from the log's end to its beginning: each file is bound by what comes after it.
struct Backwards<'a> {
    log: &'a VerifiedLog,
    store: &'a dyn Store,
    size: u64,
    /// Files that were found to be bound, by the entry after their last.
    bounds: BTreeMap<u64, Bound>,
    /// The last first.
    sources: Vec<Source>,
    room: usize,
    /// The fault that is nearest to the log's beginning.
    broken: Option<Integrity>,
    unseen: Option<Range<u64>>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Backwards<'_> {
    fn walk(&mut self, archived_to: u64) -> Result<(), VerifyError> {
        self.entries(archived_to..self.size)?;
        let mut end = archived_to;
        while end > 0 {
            let bound = self.bounds.remove(&end);
            let file = bound.as_ref().and_then(|bound| self.file(bound));
            let start = bound.map_or(0, |bound| bound.name.entries().start);
            match file {
                Some(file) => self.sources.push(Source::File(Box::new(file))),
                None => self.entries(start..end)?,
            }
            end = start;
            self.tell(end);
        }
        Ok(())
    }

    fn tell(&mut self, start: u64) {
        (self.progress)(Progress {
            done: self.size - start,
            total: self.size,
        });
    }

    /// The file that is bound, if it is there and is the one.
    fn file(&mut self, bound: &Bound) -> Option<BoundFile> {
        let origin = self.log.checkpoint().origin().as_str();
        let archive = fetch(bound, origin, self.store)?;
        for bound in bound_in(&archive)? {
            self.bounds.insert(bound.name.entries().end, bound);
        }
        let kept = (archive.file_bytes() <= self.room).then_some(archive);
        self.room -= kept.as_ref().map_or(0, Archive::file_bytes);
        Some(BoundFile {
            bound: bound.clone(),
            origin: origin.to_owned(),
            kept,
        })
    }

    /// A stretch that the log itself has to show.
    fn entries(&mut self, range: Range<u64>) -> Result<(), VerifyError> {
        if range.is_empty() {
            return Ok(());
        }
        match self.log.verify_range(range.clone(), &mut |_| {})? {
            Integrity::Whole => self.note_bounds(range.clone())?,
            Integrity::Unseen { entries } => {
                let end = self.unseen.take().map_or(entries.end, |later| later.end);
                self.unseen = Some(entries.start..end);
            }
            // Stretches come from the end, so this one's fault is the earlier one.
            broken @ Integrity::Broken { .. } => self.broken = Some(broken),
        }
        match self.sources.last_mut() {
            Some(Source::Entries(after)) if after.start == range.end => after.start = range.start,
            _ => self.sources.push(Source::Entries(range)),
        }
        Ok(())
    }

    fn note_bounds(&mut self, range: Range<u64>) -> Result<(), VerifyError> {
        let mut entries = self.log.entries(range);
        loop {
            let bundle = match entries.read_on() {
                Ok(Some(bundle)) => bundle,
                Err(EntriesError::Read(ReadError::Unreadable(error))) => return Err(error.into()),
                // It was whole a moment ago. Whoever reads it will say so.
                Ok(None) | Err(_) => return Ok(()),
            };
            let about = bundle.entries().filter(|(_, entry)| is_about_the_archive(entry));
            for bound in about.filter_map(|(_, entry)| Bound::by(&Event::from_entry(entry).ok()?)) {
                self.bounds.insert(bound.name.entries().end, bound);
            }
        }
    }
}

/// The file, if the archive has the one that is bound.
fn fetch(bound: &Bound, origin: &str, store: &dyn Store) -> Option<Archive> {
    let bytes = store.get(&bound.name.to_string()).ok()??;
    bound.open(bytes, origin).ok()
}

/// The files that entries in `archive` bind.
fn bound_in(archive: &Archive) -> Option<Vec<Bound>> {
    let hashes = archive.texts("file_sha256").ok()?;
    let rows = hashes.codes().iter().enumerate();
    let rows: Vec<usize> = rows
        .filter(|(_, code)| **code != ABSENT)
        .map(|(row, _)| row)
        .collect();
    if rows.is_empty() {
        return Some(Vec::new());
    }
    let (kinds, gateways, files) = (
        archive.texts("kind").ok()?,
        archive.texts("gateway").ok()?,
        archive.texts("file").ok()?,
    );
    let numbers = |name| archive.numbers(name).ok();
    let (counts, from, to) = (
        numbers("count")?,
        numbers("entries_from")?,
        numbers("entries_to")?,
    );
    let bound = |row: usize| {
        if kinds.row(row)? != "archived" {
            return None;
        }
        let number = |column: &super::NumberColumn| column.row(row).map(i64::unsigned_abs);
        let moment = base::Timestamp::from_unix_us(0);
        let mut event = Event::new(EventKind::Archived, moment, gateways.row(row)?);
        event.count = number(&counts);
        event.entries_from = number(&from);
        event.entries_to = number(&to);
        event.file = files.row(row).map(str::to_owned);
        event.file_sha256 = hashes.row(row)?.parse::<Sha256Digest>().ok();
        // It can only bind what came before it.
        let index = archive.entries().start + row as u64;
        Bound::by(&event).filter(|bound| bound.name.entries().end <= index)
    };
    Some(rows.into_iter().filter_map(bound).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::Timestamp;

    use super::*;
    use crate::archive::{Archiver, Closing, LocalStore};
    use crate::faults::{key, origin, verifier};
    use crate::verification::Completeness;
    use crate::{Checkpoint, LogWriter};

    const HOUR_US: i64 = 3_600_000_000;

    struct Site {
        folder: tempfile::TempDir,
    }

    impl Site {
        /// A log of ten hours, of which the archive has what is over five hours after the first.
        fn new() -> Self {
            let site = Self {
                folder: tempfile::tempdir().unwrap(),
            };
            let event =
                |n: i64| Event::new(EventKind::Stop, Timestamp::from_unix_us(n * HOUR_US / 90), "gw-1");
            site.append((0..900).map(event).collect());
            loop {
                let store: Arc<dyn Store> = Arc::new(site.store());
                let archiver = Archiver::open(&site.log(), &verifier(), &store).unwrap();
                let now = Timestamp::from_unix_us(5 * HOUR_US + 120_000_000);
                let from = archiver.archived_to().unwrap();
                let Some(bound) = archiver.put_next(from, Closing::Due, now).unwrap() else {
                    return site;
                };
                site.append(vec![bound.event(now)]);
            }
        }

        fn log(&self) -> std::path::PathBuf {
            self.folder.path().join("log")
        }

        fn store(&self) -> LocalStore {
            LocalStore::new(&self.folder.path().join("archive"))
        }

        fn append(&self, mut events: Vec<Event>) {
            std::fs::create_dir_all(self.log()).unwrap();
            let (mut writer, _) = LogWriter::open(&self.log(), &origin(), key()).unwrap();
            writer.append(&mut events).unwrap();
            writer.checkpoint().unwrap();
        }

        fn open(&self, held: Option<Checkpoint>) -> Result<ArchivedLog, NotVerified> {
            let options = VerifyOptions {
                held,
                ..VerifyOptions::default()
            };
            ArchivedLog::open(&self.log(), &verifier(), &options, &self.store(), &mut |_| {})
        }

        /// Every file of the archive, by name.
        fn files(&self) -> Vec<std::path::PathBuf> {
            let names = self.store().list("").unwrap();
            let path = |name: &str| self.folder.path().join("archive").join(name);
            names.iter().map(|file| path(&file.name)).collect()
        }
    }

    /// For each source whether it is a file, and its entries.
    fn sources(log: &ArchivedLog) -> Vec<(bool, Range<u64>)> {
        let is_file = |source: &Source| matches!(source, Source::File(_));
        log.sources
            .iter()
            .map(|source| (is_file(source), source.entries()))
            .collect()
    }

    #[test]
    fn hours_that_a_file_has_are_read_from_it_and_all_others_from_the_log() {
        let site = Site::new();
        let log = site.open(None).unwrap();
        let found = sources(&log);
        let hours: Vec<_> = (0..5).map(|hour| (true, hour * 90..(hour + 1) * 90)).collect();
        assert_eq!(found[..5], hours);
        assert_eq!(found[5..], [(false, 450..log.log.checkpoint().size())]);
        for (source, hour) in log.sources.into_iter().zip(0_u64..5) {
            let Source::File(file) = source else {
                panic!("hour {hour} is archived");
            };
            assert_eq!(
                file.read(&site.store()).unwrap().entries(),
                hour * 90..(hour + 1) * 90
            );
        }
    }

    #[test]
    fn a_file_that_is_lost_or_changed_is_replaced_by_the_logs_own_entries() {
        let site = Site::new();
        let files = site.files();
        std::fs::remove_file(&files[1]).unwrap();
        let mut bytes = std::fs::read(&files[2]).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&files[2], bytes).unwrap();
        let found = sources(&site.open(None).unwrap());
        assert_eq!(found[..3], [(true, 0..90), (false, 90..270), (true, 270..360)]);
    }

    #[test]
    fn a_file_that_no_signed_entry_binds_is_not_read() {
        let site = Site::new();
        let found = sources(&site.open(None).unwrap());
        // The same entries under another hash: nobody bound this one.
        let files = site.files();
        let other = std::fs::read(&files[4]).unwrap();
        std::fs::write(&files[3], other).unwrap();
        let again = sources(&site.open(None).unwrap());
        assert_eq!(again[3], (false, 270..360));
        assert_eq!((&again[..3], &again[4..]), (&found[..3], &found[4..]));
    }

    #[test]
    fn a_roll_back_shows_against_what_is_held_elsewhere() {
        let site = Site::new();
        let earlier = site.open(None).unwrap().log.checkpoint().clone();
        let continued = site.open(Some(earlier)).unwrap();
        assert_eq!(continued.log.verification().completeness, Completeness::Proven);
        let longer = Site::new();
        longer.append(vec![Event::new(
            EventKind::Stop,
            Timestamp::from_unix_us(11 * HOUR_US),
            "gw-1",
        )]);
        let held = longer.open(None).unwrap().log.checkpoint().clone();
        assert!(matches!(site.open(Some(held)), Err(NotVerified::Tampered(_))));
    }
}
