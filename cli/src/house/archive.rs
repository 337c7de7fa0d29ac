//! The archive of this site's logs: where it is, and how a log is archived that nobody else writes.

use std::sync::Arc;

use evidence::Event;
use evidence::archive::{Archiver, Bound, Closing, LocalStore, Store};
use seal::note::NoteVerifier;

use crate::clock;
use crate::config::{ArchivePlace, Config};

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
