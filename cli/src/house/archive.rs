//! The archive of this site's logs: where it is, and the work that fills it while the gateway runs.
//!
//! Recording waits for none of it. What is archived is told by the log alone, so a round that fails or
//! is killed is simply done again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use evidence::Event;
use evidence::archive::{Archiver, Bound, Closing, LocalStore, PruneError, Pruner, Store};
use parking_lot::Mutex;
use proxy::Archived;
use seal::note::NoteVerifier;
use tokio_util::sync::CancellationToken;

use super::gateways::HouseGateways;
use crate::clock;
use crate::config::Config;

/// How often it is looked whether there is something to archive.
const ROUND: Duration = Duration::from_secs(30);

/// The store that archive files go to and come from.
pub fn store(config: &Config) -> Arc<dyn Store> {
    Arc::new(LocalStore::new(&config.archive_dir()))
}

/// Where the archive is, as the configured gateway's log says it: relative where both are in the data
/// folder, so that a site can be moved.
pub fn place_beside(config: &Config) -> String {
    let folder = config.archive_dir();
    match folder.strip_prefix(config.data_dir()) {
        Ok(below) => format!("../../{}", below.display()),
        Err(_) => folder.display().to_string(),
    }
}

/// What fills the archive while the gateway runs.
pub struct ArchiveKeeper {
    folder: PathBuf,
    verifier: NoteVerifier,
    store: Arc<dyn Store>,
    gateways: Arc<HouseGateways>,
    /// How long entries stay after they were archived.
    keep_s: Option<i64>,
    place: String,
    /// The day (UTC) whose pruning is done.
    pruned_on: Mutex<String>,
    /// What the metrics page says.
    standing: Mutex<Archived>,
}

impl ArchiveKeeper {
    /// Of the configured gateway's log.
    ///
    /// # Errors
    /// `keep_entries` is no duration.
    pub fn new(
        config: &Config,
        verifier: NoteVerifier,
        gateways: Arc<HouseGateways>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            folder: config.log_dir(),
            verifier,
            store: store(config),
            gateways,
            keep_s: config.keep_entries_s().map_err(anyhow::Error::msg)?,
            place: place_beside(config),
            pruned_on: Mutex::default(),
            standing: Mutex::default(),
        })
    }

    /// Goes on until stopped.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let round = self.round().await;
            self.tell(round.is_ok()).await;
            if let Err(error) = round {
                tracing::error!(
                    error = %format!("{error:#}"),
                    "the archive was not written; nothing is lost, and it is tried again"
                );
            } else if let Err(error) = self.prune().await {
                tracing::error!(
                    error = %format!("{error:#}"),
                    "entries that are old enough were not pruned; they stay until the archive gives them back"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Says on the metrics page how the archive stands. What cannot be read leaves what was said last.
    async fn tell(&self, went_well: bool) {
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let work = move || Archiver::open(&folder, &verifier, store.as_ref())?.behind();
        let behind = tokio::task::spawn_blocking(work).await;
        let mut standing = self.standing.lock();
        standing.failures = if went_well { 0 } else { standing.failures + 1 };
        if let Ok(Ok((entries, first))) = behind {
            let age_us = first.map_or(0, |first| clock::now().unix_us() - first.unix_us());
            standing.entries_behind = entries;
            standing.seconds_behind = u64::try_from(age_us / 1_000_000).unwrap_or(0);
        }
        if let Some(gateway) = self.gateways.gateway() {
            gateway.archived(*standing);
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
            self.standing.lock().bytes += bound.size_bytes.unwrap_or(0);
            tracing::info!(
                file = %bound.name,
                rows = range.end - range.start,
                bytes = bound.size_bytes,
                "events were archived"
            );
        }
        Ok(())
    }

    /// Once a day, lets go what is old enough and what the archive gives back.
    async fn prune(&self) -> anyhow::Result<()> {
        let Some(keep_s) = self.keep_s else {
            return Ok(());
        };
        let now = clock::now();
        let today = now.utc_day();
        if *self.pruned_on.lock() == today {
            return Ok(());
        }
        let gateway = self.gateways.gateway().context("the gateway does not run")?;
        let before = now.plus_seconds(-keep_s);
        if let Some(pruned) = self.with_pruner(move |pruner| pruner.due(before)).await? {
            let name = self.verifier.name();
            let own = name.split_once('/').map_or(name, |(_, gateway)| gateway);
            gateway.record(pruned.event(now, own));
            gateway.checkpoint().await?;
            tracing::info!(
                from = pruned.from,
                to = pruned.to,
                "entries that the archive has were pruned"
            );
        }
        let place = self.place.clone();
        self.with_pruner(move |pruner| pruner.remove(&place)).await?;
        *self.pruned_on.lock() = today;
        Ok(())
    }

    async fn with_pruner<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pruner<'_>) -> Result<T, PruneError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let work = move || work(&Pruner::open(&folder, &verifier, store.as_ref())?);
        Ok(tokio::task::spawn_blocking(work).await??)
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
