//! Moving a log's closed stretches into the archive, one file after the other.
//!
//! What is archived is told by the log alone: its last `archived` entry says where the next file begins,
//! so every entry gets into exactly one file, late ones into a later one. A file is put, read back and
//! hashed before the entry that binds it is written. Whoever dies in between finds the file there and
//! binds it, after holding it against the log.

use std::path::Path;
use std::sync::Arc;

use base::{Sha256Digest, Timestamp};
use seal::note::NoteVerifier;

use super::cut::moment;
use super::store::{Store, StoreError};
use super::{
    Archive, ArchiveFile, ArchiveName, ArchiveWriter, InvalidArchive, MAX_ROWS, PushError, WriteError,
};
use crate::folder::{Folder, Unreadable};
use crate::scan::scan;
use crate::tile::TILE_WIDTH;
use crate::{Checkpoint, Event, EventKind, InvalidCheckpoint, InvalidEvent, ReadError, VerifiedLog};

/// An hour is closed this long after its end: events that were on their way then are in.
const GRACE_S: i64 = 60;
const HOUR_US: i64 = 3_600_000_000;

/// What an `archived` entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The file, below the archive's root.
    pub name: ArchiveName,
    /// What it hashes to.
    pub sha256: Sha256Digest,
    /// Its size in bytes, where it was at hand.
    pub size_bytes: Option<u64>,
}

/// How much is to be archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Full files and hours that are over.
    Due,
    /// Everything under the checkpoint.
    Everything,
}

/// Why nothing more was archived. What was bound stays bound; ask again once it is mended.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is nothing that was signed.
    #[error("{folder} holds no checkpoint; name the folder that has the file \"checkpoint\" in it")]
    NoCheckpoint {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// The log is not this key's, or was edited.
    #[error("the log's checkpoint is not to be believed; run: bailiwick evidence verify")]
    Checkpoint(#[from] InvalidCheckpoint),
    /// The log cannot be read, or is not what was signed.
    #[error("the log cannot be read as it was signed; run: bailiwick evidence verify")]
    Log(#[from] ReadError),
    /// The log has an entry that belongs elsewhere.
    #[error("the log has an entry that cannot be archived; run: bailiwick evidence verify")]
    Entry(#[from] PushError),
    /// No file could be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store said that it has the file, and gives back another or none.
    #[error(
        "{place} said that it took {name} and gives back {found}; it lies about success: nothing was archived, and nothing may be pruned"
    )]
    Lies {
        /// The store.
        place: String,
        /// The file.
        name: String,
        /// What it gives back.
        found: String,
    },
    /// A file lies where the next one belongs, and it is not this log's. Move it away after finding out
    /// where it came from.
    #[error("{name} in {place} lies where the next file belongs and is not of this log: {source}")]
    Stranger {
        /// The store.
        place: String,
        /// The file.
        name: String,
        /// What is wrong with it.
        source: InvalidArchive,
    },
}

impl From<Unreadable> for ArchiveError {
    fn from(error: Unreadable) -> Self {
        Self::Log(error.into())
    }
}

/// One log and the store that its files go to.
#[derive(Debug)]
pub struct Archiver {
    log: VerifiedLog,
    store: Arc<dyn Store>,
}

impl Bound {
    fn of_file(file: &ArchiveFile) -> Self {
        Self {
            name: file.name.clone(),
            sha256: file.sha256,
            size_bytes: Some(file.bytes.len() as u64),
        }
    }

    /// What `event` binds, if it is an `archived` entry that does.
    pub fn by(event: &Event) -> Option<Self> {
        let name: ArchiveName = event.file.as_ref()?.parse().ok()?;
        let range = event.entries_from?..event.entries_to?;
        let fits = event.kind == EventKind::Archived
            && name.gateway() == event.gateway
            && name.entries() == range
            && event.count == Some(range.end - range.start);
        Some(Self {
            name,
            sha256: event.file_sha256.filter(|_| fits)?,
            size_bytes: None,
        })
    }

    /// Reads `bytes` as the file that is bound, of the log `origin`.
    pub(crate) fn open(&self, bytes: Vec<u8>, origin: &str) -> Result<Archive, InvalidArchive> {
        let sha256 = Sha256Digest::of(&bytes);
        if sha256 != self.sha256 {
            return Err(InvalidArchive::Hash {
                found: sha256.to_hex(),
                expected: self.sha256.to_hex(),
            });
        }
        placed(bytes, &self.name, origin)
    }

    /// The entry that binds the file.
    pub fn event(&self, time: Timestamp) -> Event {
        let range = self.name.entries();
        let mut event = Event::new(EventKind::Archived, time, self.name.gateway());
        event.count = Some(range.end - range.start);
        event.entries_from = Some(range.start);
        event.entries_to = Some(range.end);
        event.file = Some(self.name.to_string());
        event.file_sha256 = Some(self.sha256);
        event
    }
}

impl Archiver {
    /// Opens the log as its checkpoint has it now. Entries are proven when they are read.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(
        folder: &Path,
        verifier: &NoteVerifier,
        store: &Arc<dyn Store>,
    ) -> Result<Self, ArchiveError> {
        let files = Folder::with_archive(folder, Some(Arc::clone(store)));
        let Some(signed) = files.checkpoint()? else {
            return Err(ArchiveError::NoCheckpoint {
                folder: folder.to_owned(),
            });
        };
        let checkpoint = Checkpoint::open(&signed, verifier)?;
        Ok(Self {
            log: VerifiedLog::provisional(&files, verifier, &checkpoint),
            store: Arc::clone(store),
        })
    }

    pub(crate) const fn log(&self) -> &VerifiedLog {
        &self.log
    }

    /// Entries under the checkpoint that this was opened with.
    pub const fn size(&self) -> u64 {
        self.log.checkpoint().size()
    }

    /// Where the next file begins: after what the last `archived` entry names.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn archived_to(&self) -> Result<u64, ArchiveError> {
        let last = last_of(&self.log, |event| Bound::by(event).is_some())?;
        Ok(last.and_then(|event| event.entries_to).unwrap_or(0))
    }

    /// How many entries under the checkpoint no archive file has, and when the first of them was seen.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn behind(&self) -> Result<(u64, Option<Timestamp>), ArchiveError> {
        let from = self.archived_to()?;
        let first = self.log.events(from..from + 1).next().transpose()?;
        Ok((
            self.size().saturating_sub(from),
            first.map(|(_, event)| event.time),
        ))
    }

    /// Puts the next file that begins with entry `from`, if there is enough for one; whoever called then
    /// writes [`Bound::event`] into the log and goes on after it.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing is to be bound then.
    pub fn put_next(
        &self,
        from: u64,
        closing: Closing,
        now: Timestamp,
    ) -> Result<Option<Bound>, ArchiveError> {
        let Some(first) = self.log.events(from..from + 1).next() else {
            return Ok(None);
        };
        let time = first?.1.time;
        if let Some(bound) = self.adopt(from, time)? {
            return Ok(Some(bound));
        }
        // Most of the time nothing is due, and telling so costs next to nothing.
        let is_under_way = self.size() - from < MAX_ROWS as u64 && !is_over(hour(time), now);
        if is_under_way && closing == Closing::Due {
            return Ok(None);
        }
        let Some(file) = self.fill(from, closing, now)? else {
            return Ok(None);
        };
        let name = file.name.to_string();
        self.store.put_if_absent(&name, &file.bytes)?;
        match self.store.get(&name)? {
            Some(found) if found == file.bytes => Ok(Some(Bound::of_file(&file))),
            found => Err(ArchiveError::Lies {
                place: self.store.place(),
                name,
                found: found.map_or("nothing".to_owned(), |found| {
                    format!("{} bytes that hash to {}", found.len(), Sha256Digest::of(&found))
                }),
            }),
        }
    }

    /// The file that begins there, if one is due.
    fn fill(&self, from: u64, closing: Closing, now: Timestamp) -> Result<Option<ArchiveFile>, ArchiveError> {
        let mut writer = ArchiveWriter::new(self.log.checkpoint().origin(), from);
        let (mut latest, mut is_worth_it, mut is_closed) = (i64::MIN, false, false);
        while !is_closed && writer.next() < self.size() {
            let next = writer.next();
            let (_, first, entries) = self.log.proven_entries(next)?;
            let skip = usize::try_from(next.saturating_sub(first)).unwrap_or(0);
            for entry in &entries[skip.min(entries.len())..] {
                let (time, tells_of_the_archive) = glance(entry).map_err(|source| PushError::NotAnEvent {
                    index: writer.next(),
                    source,
                })?;
                // Clocks are set back, and events overtake each other: only an hour that was not seen yet
                // begins another file.
                if writer.is_full() || (!writer.is_empty() && hour(time) > latest) {
                    is_closed = true;
                    break;
                }
                latest = latest.max(hour(time));
                // Entries about the archive alone would be archived for ever, one hour after the other.
                is_worth_it |= !tells_of_the_archive;
                writer.push(entry)?;
            }
        }
        let is_over =
            now.plus_seconds(-GRACE_S).unix_us() >= latest.saturating_add(1).saturating_mul(HOUR_US);
        let is_due = is_closed || writer.is_full() || is_over || closing == Closing::Everything;
        if writer.is_empty() || !is_due || !(is_worth_it || is_closed) {
            return Ok(None);
        }
        Ok(Some(writer.finish()?))
    }

    /// The file that begins there and that somebody put who did not live to bind it.
    fn adopt(&self, from: u64, time: Timestamp) -> Result<Option<Bound>, ArchiveError> {
        let gateway = self.log.checkpoint().origin().gateway();
        let folder = format!("day={}/gateway={gateway}/", time.utc_day());
        for stored in self.store.list(&folder)? {
            let Ok(name) = stored.name.parse::<ArchiveName>() else {
                continue;
            };
            if name.entries().start != from || name.gateway() != gateway {
                continue;
            }
            let Some(bytes) = self.store.get(&stored.name)? else {
                continue;
            };
            let size_bytes = Some(bytes.len() as u64);
            let stranger = |source| ArchiveError::Stranger {
                place: self.store.place(),
                name: stored.name.clone(),
                source,
            };
            let archive = open(bytes, &name, self.log.checkpoint().origin().as_str()).map_err(stranger)?;
            self.hold_to(&archive)?.map_err(stranger)?;
            let sha256 = archive.sha256();
            return Ok(Some(Bound {
                name,
                sha256,
                size_bytes,
            }));
        }
        Ok(None)
    }

    /// Whether every row of a file is the log's entry.
    pub(crate) fn hold_to(&self, archive: &Archive) -> Result<Result<(), InvalidArchive>, ArchiveError> {
        let mut rows = match archive.rows() {
            Ok(rows) => rows,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let mut entries = Vec::new().into_iter();
        loop {
            let (index, row) = match rows.next_row() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Ok(())),
                Err(invalid) => return Ok(Err(invalid)),
            };
            if entries.as_slice().is_empty() {
                let (_, first, bundle) = self.log.proven_entries(index)?;
                let skip = usize::try_from(index.saturating_sub(first)).unwrap_or(0);
                entries = bundle.into_iter().skip(skip).collect::<Vec<_>>().into_iter();
            }
            if entries.next().as_deref() != Some(row) {
                let what = "it is not the entry that the log has";
                return Ok(Err(InvalidArchive::Row { index, what }));
            }
        }
    }
}

/// When an entry was written, and whether it is about the archive alone; looking costs less than
/// reading.
fn glance(entry: &[u8]) -> Result<(Timestamp, bool), InvalidEvent> {
    if let Some(scanned) = scan(entry)
        && let Some(us) = moment(scanned.time)
    {
        let tells_of_the_archive = matches!(scanned.kind, b"archived" | b"pruned");
        return Ok((Timestamp::from_unix_us(us), tells_of_the_archive));
    }
    let event = Event::from_entry(entry)?;
    let tells_of_the_archive = matches!(event.kind, EventKind::Archived | EventKind::Pruned);
    Ok((event.time, tells_of_the_archive))
}

fn hour(time: Timestamp) -> i64 {
    time.unix_us().div_euclid(HOUR_US)
}

fn is_over(hour: i64, now: Timestamp) -> bool {
    now.plus_seconds(-GRACE_S).unix_us() >= hour.saturating_add(1).saturating_mul(HOUR_US)
}

/// Reads a file that is to be what its name says, of the log `origin`.
pub(crate) fn open(bytes: Vec<u8>, name: &ArchiveName, origin: &str) -> Result<Archive, InvalidArchive> {
    let sha256 = Sha256Digest::of(&bytes);
    if !name.is_of(&sha256) {
        return Err(InvalidArchive::Hash {
            found: sha256.to_hex(),
            expected: name.hash().to_owned(),
        });
    }
    placed(bytes, name, origin)
}

/// The same, of a file whose hash is known to be right.
fn placed(bytes: Vec<u8>, name: &ArchiveName, origin: &str) -> Result<Archive, InvalidArchive> {
    let archive = Archive::read(bytes)?;
    if archive.origin() != origin {
        return Err(InvalidArchive::OtherLog {
            found: archive.origin().to_owned(),
            expected: origin.to_owned(),
        });
    }
    if archive.entries() != name.entries() {
        return Err(InvalidArchive::OtherEntries {
            found: archive.entries(),
            expected: name.entries(),
        });
    }
    Ok(archive)
}

/// The last event of the log that `is_wanted`, looked for from its end: the archive and its pruning
/// leave one at least every so many thousand entries.
pub(crate) fn last_of(
    log: &VerifiedLog,
    is_wanted: impl Fn(&Event) -> bool,
) -> Result<Option<Event>, ReadError> {
    let mut end = log.checkpoint().size();
    while let Some(last) = end.checked_sub(1) {
        let first = last - last % TILE_WIDTH as u64;
        let (_, kept, entries) = log.proven_entries(first)?;
        let within = usize::try_from(end.saturating_sub(kept))
            .unwrap_or(usize::MAX)
            .min(entries.len());
        for entry in entries[..within].iter().rev() {
            // Reading costs more than looking.
            if !is_about_the_archive(entry) {
                continue;
            }
            match Event::from_entry(entry) {
                Ok(event) if is_wanted(&event) => return Ok(Some(event)),
                _ => {}
            }
        }
        end = first;
    }
    Ok(None)
}

/// Whether an entry may be of the kinds that tell of the archive; looking costs less than reading.
pub(crate) fn is_about_the_archive(entry: &[u8]) -> bool {
    scan(entry).is_none_or(|scanned| matches!(scanned.kind, b"archived" | b"pruned"))
}
