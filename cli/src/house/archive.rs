//! The archive of this site's logs: where it is, and the work that fills it while the gateway runs.
//!
//! Recording waits for none of it. What is archived is told by the log alone, so a round that fails or
//! is killed is simply done again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use evidence::Event;
use evidence::archive::{Archiver, Bound, Closing, LocalStore, Store};
use seal::note::NoteVerifier;
use tokio_util::sync::CancellationToken;

use super::gateways::HouseGateways;
use crate::clock;
use crate::config::{ArchivePlace, Config};

/// How often it is looked whether there is something to archive.
const ROUND: Duration = Duration::from_secs(30);

/// The store that archive files go to and come from.
///
/// # Errors
/// This build cannot reach such a store.
pub fn store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    match config.archive_place() {
        ArchivePlace::Folder(folder) => Ok(Arc::new(LocalStore::new(&folder))),
        ArchivePlace::Bucket(bucket) => {
            anyhow::bail!("s3://{bucket}: this version archives to folders only (evidence.archive_to)")
        }
    }
}

/// What fills the archive while the gateway runs.
pub struct ArchiveKeeper {
    folder: PathBuf,
    verifier: NoteVerifier,
    store: Arc<dyn Store>,
    gateways: Arc<HouseGateways>,
}

impl ArchiveKeeper {
    /// Of the configured gateway's log.
    ///
    /// # Errors
    /// As [`store`].
    pub fn new(
        config: &Config,
        verifier: NoteVerifier,
        gateways: Arc<HouseGateways>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            folder: config.log_dir(),
            verifier,
            store: store(config)?,
            gateways,
        })
    }

    /// Goes on until stopped.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            if let Err(error) = self.round().await {
                tracing::error!(
                    error = %format!("{error:#}"),
                    "the archive was not written; nothing is lost, and it is tried again"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Archives what is due, file after file.
    async fn round(&self) -> anyhow::Result<()> {
        let gateway = self.gateways.gateway().context("the gateway does not run")?;
        let mut next = None;
        while let Some(bound) = self.put_next().await? {
            let range = bound.name.entries();
            anyhow::ensure!(
                next.replace(range.start) != Some(range.start),
                "the log did not take the entry that binds {}",
                bound.name
            );
            gateway.record(bound.event(clock::now()));
            gateway.checkpoint().await?;
            tracing::info!(
                file = %bound.name,
                rows = range.end - range.start,
                bytes = bound.size_bytes,
                "events were archived"
            );
        }
        Ok(())
    }

    /// Puts the next file, beginning after what the log says is archived.
    async fn put_next(&self) -> anyhow::Result<Option<Bound>> {
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let work = move || {
            let archiver = Archiver::open(&folder, &verifier, store.as_ref())?;
            archiver.put_next(archiver.archived_to()?, Closing::Due, clock::now())
        };
        Ok(tokio::task::spawn_blocking(work).await??)
    }
}

/// Archives a log that nobody else writes: `append` puts an entry into it and under a checkpoint.
///
/// # Errors
/// Something cannot be read or written; what was archived before stays so.
pub fn archive_all(
    folder: &std::path::Path,
    verifier: &NoteVerifier,
    store: &dyn Store,
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
