//! Letting archive files go that nothing asks to be kept any longer.
//!
//! A file goes as a whole, the oldest first, and only once every event in it is older than what the
//! longest-kept of its runs asks: a file holds its gateway's neighbours, and none of them is kept shorter
//! than was promised. That entries expired is an entry itself, and durable before the first file is
//! removed. Their leaf hashes stay in the log, so every proof that was ever made goes on verifying.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base::Timestamp;
use seal::note::NoteVerifier;

use super::archiver::{Archiver, is_about_the_archive, last_of, open};
use super::pruner::Pruned;
use super::store::{Store, StoreError};
use super::{ABSENT, Archive, ArchiveError, ArchiveName, Bound, InvalidArchive};
use crate::tile::TILE_WIDTH;
use crate::{Event, EventKind};

const WIDTH: u64 = TILE_WIDTH as u64;
/// The `scope` of a `pruned` entry that tells of archive files.
const SCOPE: &str = "archive";

/// What a `pruned` entry with the scope `archive` says: entries from `from` on and below `to` expired, and
/// their files are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The first entry.
    pub from: u64,
    /// The entry after the last.
    pub to: u64,
}

/// Files that may expire, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueToExpire {
    /// The entries in them.
    pub expired: Expired,
    /// Their names, the oldest first.
    pub files: Vec<ArchiveName>,
}

/// Why nothing expired. What was declared stays declared; ask again once it is mended.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// The log or the archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive has lost a file. Find it: what is missing did not expire.
    #[error("{name} is bound by the log and is not in {place}; what is missing did not expire")]
    Gone {
        /// The archive.
        place: String,
        /// The file.
        name: String,
    },
    /// A file is not the one that the log binds. It is evidence, and stays.
    #[error("{name} in {place} is not what the log binds, and does not expire: {source}")]
    Changed {
        /// The archive.
        place: String,
        /// The file.
        name: String,
        /// What is wrong with it.
        source: InvalidArchive,
    },
    /// A file could not be removed. The log says that it expired; the next round removes it.
    #[error("a file that expired could not be removed; it is removed in the next round")]
    Remove(#[source] StoreError),
}

/// One log and the archive whose oldest files may go.
#[derive(Debug)]
pub struct Expirer {
    archiver: Archiver,
    store: Arc<dyn Store>,
}

impl Expired {
    /// What `event` says, if it is an entry that declares so.
    pub fn by(event: &Event) -> Option<Self> {
        let (from, to) = (event.entries_from?, event.entries_to?);
        let is_one = event.kind == EventKind::Pruned && event.scope.as_deref() == Some(SCOPE);
        // It can only tell of what came before it.
        (is_one && from < to && to <= event.seq).then_some(Self { from, to })
    }

    /// The entry that says so. `setting` names what asked for it.
    pub fn event(&self, time: Timestamp, gateway: &str, setting: &str) -> Event {
        let mut event = Event::new(EventKind::Pruned, time, gateway);
        event.cause = Some(setting.to_owned());
        event.count = Some(self.to - self.from);
        event.entries_from = Some(self.from);
        event.entries_to = Some(self.to);
        event.scope = Some(SCOPE.to_owned());
        event
    }
}

impl Expirer {
    /// Opens the log as its checkpoint has it now.
    ///
    /// # Errors
    /// [`ExpireError`].
    pub fn open(folder: &Path, verifier: &NoteVerifier, store: &Arc<dyn Store>) -> Result<Self, ExpireError> {
        Ok(Self {
            archiver: Archiver::open(folder, verifier, store)?,
            store: Arc::clone(store),
        })
    }

    /// Entries below this expired, as the log has it. Where the archive has every entry that was pruned,
    /// nothing that was declared took effect, and it may be declared again.
    ///
    /// # Errors
    /// [`ExpireError`].
    pub fn expired_to(&self) -> Result<u64, ExpireError> {
        // Looking for a declaration that was never made would read the whole archive.
        let pruned_to = self.pruned_to()?;
        let names = self.own_files()?;
        let has = names.iter().map(ArchiveName::entries).fold(0, |has, range| {
            let follows = range.start <= has;
            if follows { range.end.max(has) } else { has }
        });
        if has >= pruned_to {
            return Ok(0);
        }
        let last = self.last(|event| Expired::by(event).is_some())?;
        Ok(last
            .as_ref()
            .and_then(Expired::by)
            .map_or(0, |expired| expired.to))
    }

    fn pruned_to(&self) -> Result<u64, ExpireError> {
        let last = self.last(|event| Pruned::by(event).is_some())?;
        Ok(last.as_ref().and_then(Pruned::by).map_or(0, |pruned| pruned.to))
    }

    /// The files of this log's gateway, the oldest first.
    fn own_files(&self) -> Result<Vec<ArchiveName>, ExpireError> {
        let gateway = self.archiver.log().checkpoint().origin().gateway();
        let listed = self.store.list("").map_err(ArchiveError::from)?;
        let names = listed.iter().filter_map(|file| file.name.parse().ok());
        let mut names: Vec<ArchiveName> = names
            .filter(|name: &ArchiveName| name.gateway() == gateway)
            .collect();
        names.sort_by_key(|name| name.entries().start);
        Ok(names)
    }

    /// What may go now: files whose entries were pruned from the log and are, every one of them, older than
    /// what `kept_s` says of its run in seconds; it is asked with `None` for events without a run. Whoever
    /// called puts [`Expired::event`] under a checkpoint, and then calls [`Self::remove`].
    ///
    /// # Errors
    /// [`ExpireError`]; also where a file that was to be looked at is not the one that the log binds.
    pub fn due(
        &self,
        now: Timestamp,
        kept_s: &dyn Fn(Option<&str>) -> i64,
    ) -> Result<Option<DueToExpire>, ExpireError> {
        let from = self.expired_to()?;
        let pruned_to = self.pruned_to()?;
        let (mut to, mut files) = (from, Vec::new());
        // As in pruning: the entry that binds a file stands after all that are in it, and files follow each
        // other; the first that has to stay ends the search.
        'search: for bundle in from / WIDTH..self.archiver.size().div_ceil(WIDTH) {
            if to >= pruned_to {
                break;
            }
            let entries = self.archiver.log().proven_entries(bundle * WIDTH);
            let (_, _, entries) = entries.map_err(ArchiveError::from)?;
            for entry in entries.iter().filter(|entry| is_about_the_archive(entry)) {
                let Some(bound) = Event::from_entry(entry).ok().as_ref().and_then(Bound::by) else {
                    continue;
                };
                let range = bound.name.entries();
                if range.end <= to {
                    continue;
                }
                if range.start > to || range.end > pruned_to || !self.is_over(&bound, now, kept_s)? {
                    break 'search;
                }
                to = range.end;
                files.push(bound.name);
            }
        }
        let expired = Expired { from, to };
        Ok((to > from).then_some(DueToExpire { expired, files }))
    }

    /// Whether nothing asks any longer for what a file has.
    fn is_over(
        &self,
        bound: &Bound,
        now: Timestamp,
        kept_s: &dyn Fn(Option<&str>) -> i64,
    ) -> Result<bool, ExpireError> {
        let name = bound.name.to_string();
        let place = self.store.place();
        let Some(bytes) = self.store.get(&name).map_err(ArchiveError::from)? else {
            return Err(ExpireError::Gone { place, name });
        };
        let changed = |source| ExpireError::Changed {
            place: place.clone(),
            name: name.clone(),
            source,
        };
        let origin = self.archiver.log().checkpoint().origin().as_str();
        let archive = bound.open(bytes, origin).map_err(changed)?;
        is_over(&archive, now, kept_s).map_err(changed)
    }

    /// Removes the files below what the log says expired, and returns their names. `declared` is what was
    /// put under a checkpoint just now, if anything was. Other logs' files and those that are not what their
    /// name says stay.
    ///
    /// # Errors
    /// [`ExpireError`]; nothing is removed that the log does not declare.
    pub fn remove(&self, declared: Option<Expired>) -> Result<Vec<ArchiveName>, ExpireError> {
        let to = match declared {
            Some(expired) => {
                let last = self.last(|event| Expired::by(event).is_some())?;
                let last = last.as_ref().and_then(Expired::by);
                last.filter(|last| *last == expired).map_or(0, |last| last.to)
            }
            None => self.expired_to()?,
        };
        let mut removed = Vec::new();
        let origin = self.archiver.log().checkpoint().origin();
        let names = self.own_files()?;
        // The oldest go first, so whatever an interrupted round left begins where the next one ends.
        let names = names.into_iter().filter(|name| name.entries().end <= to);
        for name in names {
            let text = name.to_string();
            let Some(bytes) = self.store.get(&text).map_err(ArchiveError::from)? else {
                continue;
            };
            match open(bytes, &name, origin.as_str()) {
                Ok(_) => {}
                Err(InvalidArchive::OtherLog { .. }) => continue,
                Err(source) => {
                    return Err(ExpireError::Changed {
                        place: self.store.place(),
                        name: text,
                        source,
                    });
                }
            }
            self.store.remove(&text).map_err(ExpireError::Remove)?;
            removed.push(name);
        }
        Ok(removed)
    }

    fn last(&self, is_wanted: impl Fn(&Event) -> bool) -> Result<Option<Event>, ExpireError> {
        Ok(last_of(self.archiver.log(), is_wanted).map_err(ArchiveError::from)?)
    }
}

/// Whether every event of a file is older than what the longest-kept of its runs asks.
fn is_over(
    archive: &Archive,
    now: Timestamp,
    kept_s: &dyn Fn(Option<&str>) -> i64,
) -> Result<bool, InvalidArchive> {
    let (times, runs) = (archive.numbers("time")?, archive.texts("run_id")?);
    let mut asked = BTreeMap::new();
    let (mut longest_s, mut latest) = (0, i64::MIN);
    for (row, code) in runs.codes().iter().enumerate() {
        // An entry that stands whole states no time here, and is kept.
        let Some(time) = times.row(row) else {
            return Ok(false);
        };
        latest = latest.max(time);
        let run = (*code != ABSENT).then(|| runs.text(*code)).flatten();
        longest_s = longest_s.max(*asked.entry(*code).or_insert_with(|| kept_s(run)));
    }
    Ok(latest < now.plus_seconds(longest_s.saturating_neg()).unix_us())
}

#[cfg(test)]
mod tests {
    use base::RunId;

    use super::*;
    use crate::archive::ArchiveWriter;
    use crate::faults::origin;

    const DAY_S: i64 = 86_400;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_unix_us(day * DAY_S * 1_000_000)
    }

    fn run(number: u8) -> RunId {
        RunId::from_parts(1, [number; 10])
    }

    /// A file with one event of each run, one a day.
    fn file(runs: &[Option<RunId>]) -> Archive {
        let mut writer = ArchiveWriter::new(&origin(), 0);
        for (run, seq) in runs.iter().zip(0_u64..) {
            let mut event = Event::new(EventKind::Close, at(i64::try_from(seq).unwrap()), "gw-1");
            event.seq = seq;
            event.run_id = *run;
            writer.push(&event.to_entry().unwrap()).unwrap();
        }
        Archive::read(writer.finish().unwrap().bytes).unwrap()
    }

    #[test]
    fn a_file_goes_when_its_longest_kept_run_lets_it_and_not_a_day_before() {
        let kept_s = |asked: Option<&str>| match asked {
            Some(asked) if asked == run(1).to_string() => 10 * DAY_S,
            Some(asked) if asked == run(2).to_string() => 100 * DAY_S,
            _ => 30 * DAY_S,
        };
        for (runs, last_kept) in [
            (vec![Some(run(1))], 10),
            // The youngest event counts, whoever made it.
            (vec![Some(run(1)), Some(run(1)), Some(run(1))], 12),
            (vec![Some(run(1)), Some(run(2))], 101),
            (vec![Some(run(2)), Some(run(1))], 101),
            (vec![Some(run(1)), None], 31),
            (vec![Some(run(3)), Some(run(1))], 31),
        ] {
            let file = file(&runs);
            let is_over = |day| is_over(&file, at(day), &kept_s).unwrap();
            assert!(!is_over(last_kept), "{runs:?}");
            assert!(is_over(last_kept + 1), "{runs:?}");
        }
    }

    #[test]
    fn a_declaration_is_read_as_it_was_written_and_is_no_pruning() {
        let expired = Expired { from: 256, to: 512 };
        let mut event = expired.event(at(1), "gw-1", "evidence.retention");
        assert_eq!(Expired::by(&event), None, "it tells of what comes after it");
        event.seq = 512;
        assert_eq!(Expired::by(&event), Some(expired));
        assert_eq!(Pruned::by(&event), None);
        event.scope = Some("elsewhere".to_owned());
        assert_eq!((Expired::by(&event), Pruned::by(&event)), (None, None));
        event.scope = None;
        assert_eq!(Expired::by(&event), None);
        assert_eq!(Pruned::by(&event), Some(Pruned { from: 256, to: 512 }));
    }
}
