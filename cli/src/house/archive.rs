//! The archive of this site's logs: where it is, and how a log is archived that nobody else writes.

use std::collections::HashMap;
use std::sync::Arc;

use control::api::types::ExpiredView;
use control::office::Office;
use control::store::RunFilter;
use evidence::Event;
use evidence::archive::{ArchiveName, Archiver, Bound, Closing, DueToExpire, LocalStore, Store};
use seal::note::NoteVerifier;

use crate::clock;
use crate::config::{ArchivePlace, Config};
use crate::retention::Retention;

/// How long the events of each run are kept, in seconds.
pub struct Kept {
    /// Runs that were stamped with a class.
    runs: HashMap<String, i64>,
    default_s: i64,
}

impl Kept {
    /// As the registry and the configuration say it.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub async fn of(office: &Office, retention: &Retention) -> anyhow::Result<Self> {
        let records = office.store().runs(RunFilter::default()).await?;
        let stamped = records.into_iter().filter_map(|run| {
            let class = run.data_class?;
            Some((run.run_id.to_string(), retention.kept_s(Some(&class))))
        });
        Ok(Self {
            runs: stamped.collect(),
            default_s: retention.kept_s(None),
        })
    }

    /// For how many seconds events of `run` are kept, or those without one.
    pub fn seconds(&self, run: Option<&str>) -> i64 {
        let stamped = run.and_then(|run| self.runs.get(run));
        stamped.copied().unwrap_or(self.default_s)
    }
}

/// What expired, as commands and the interface show it.
pub fn expired_view(
    origin: String,
    archive: &str,
    dry_run: bool,
    due: Option<&DueToExpire>,
    removed: &[ArchiveName],
) -> ExpiredView {
    let files = match due {
        Some(due) if dry_run => due.files.as_slice(),
        _ => removed,
    };
    ExpiredView {
        origin,
        archive: archive.to_owned(),
        dry_run,
        entries_from: due.map(|due| due.expired.from),
        entries_to: due.map(|due| due.expired.to),
        files: files.iter().map(ToString::to_string).collect(),
    }
}

/// The store that archive files go to and come from.
pub fn store(config: &Config) -> Arc<dyn Store> {
    match config.archive_place() {
        ArchivePlace::Folder(folder) => Arc::new(LocalStore::new(&folder)),
        #[cfg(feature = "s3")]
        ArchivePlace::Bucket(address) => Arc::new(crate::bucket::Bucket::new(address, config)),
        #[cfg(not(feature = "s3"))]
        ArchivePlace::Bucket(_) => unreachable!("refused when the configuration was read"),
    }
}

/// What reaches pruned entries where a log names no folder.
pub fn elsewhere(config: &Config) -> Option<Arc<dyn Store>> {
    matches!(config.archive_place(), ArchivePlace::Bucket(_)).then(|| store(config))
}

/// Where the archive is, as the configured gateway's log says it: relative where both are in the data
/// folder, so that a site can be moved.
pub fn place_beside(config: &Config) -> String {
    let folder = match config.archive_place() {
        ArchivePlace::Bucket(address) => return address.to_string(),
        ArchivePlace::Folder(folder) => folder,
    };
    match folder.strip_prefix(config.data_dir()) {
        Ok(below) => format!("../../{}", below.display()),
        Err(_) => folder.display().to_string(),
    }
}

/// Archives a log that nobody else writes: `append` puts an entry into it and under a checkpoint.
///
/// # Errors
/// Something cannot be read or written; what was archived before stays so.
pub fn archive_all(
    folder: &std::path::Path,
    verifier: &NoteVerifier,
    store: &Arc<dyn Store>,
    closing: Closing,
    mut append: impl FnMut(Event) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Bound>> {
    let mut done = Vec::new();
    loop {
        let archiver = Archiver::open(folder, verifier, store)?;
        let from = archiver.archived_to()?;
        let Some(bound) = archiver.put_next(from, closing, clock::now())? else {
            return Ok(done);
        };
        append(bound.event(clock::now()))?;
        done.push(bound);
    }
}
