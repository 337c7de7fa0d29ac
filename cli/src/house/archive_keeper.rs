//! The work that fills the archive while the gateway runs, by itself and by hand.
//!
//! Recording waits for none of it. What is archived is told by the log alone, so a round that fails or
//! is killed is simply done again. By hand and by itself it is the same work, one at a time.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base::Timestamp;
use control::api::types::{
    ArchiveRequest, ArchivedFile, ArchivedView, ExpireRequest, ExpiredView, PruneRequest, PrunedView,
};
use control::archives::{ArchiveFailure, Archives};
use control::nights::Answer;
use control::office::Office;
use evidence::archive::{
    ArchiveName, Archiver, Bound, Closing, DueToExpire, ExpireError, Expirer, PruneError, Pruned, Pruner,
    Store, show,
};
use parking_lot::Mutex;
use proxy::{Archived, Gateway};
use seal::note::NoteVerifier;
use tokio_util::sync::CancellationToken;

use super::archive::{Kept, expired_view, place_beside, store};
use super::budgets::Budgets;
use super::gateways::HouseGateways;
use crate::clock;
use crate::config::Config;
use crate::retention::{Retention, SETTING};

/// How often it is looked whether there is something to archive.
const ROUND: Duration = Duration::from_secs(30);

/// How often the log is shown in the store where nothing was archived meanwhile: each time costs a few
/// files that stay.
const SHOWING: Duration = Duration::from_secs(600);

/// What fills the archive while the gateway runs.
pub struct ArchiveKeeper {
    folder: PathBuf,
    verifier: NoteVerifier,
    store: Arc<dyn Store>,
    gateways: Arc<HouseGateways>,
    budgets: Arc<Budgets>,
    /// How long entries stay after they were archived.
    keep_s: Option<i64>,
    /// How long what was archived is kept.
    retention: Option<Retention>,
    /// Who knows which run had which class of data.
    office: Office,
    place: String,
    /// Whether the log is shown in the store, too.
    publishes: bool,
    shown: Mutex<Option<Instant>>,
    /// The day (UTC) whose pruning is done.
    pruned_on: Mutex<String>,
    /// The day (UTC) whose expiry is done.
    expired_on: Mutex<String>,
    /// What the metrics page says.
    standing: Mutex<Archived>,
    /// Two rounds at once would bind a file twice.
    at_work: tokio::sync::Mutex<()>,
}

/// The keeper of a house, once its gateway runs.
#[derive(Default)]
pub struct HouseArchives {
    keeper: OnceLock<Arc<ArchiveKeeper>>,
}

impl HouseArchives {
    /// From now on there is a gateway whose log can be archived.
    pub fn attach(&self, keeper: Arc<ArchiveKeeper>) {
        assert!(
            self.keeper.set(keeper).is_ok(),
            "a gateway's log is archived from one place"
        );
    }

    fn keeper(&self) -> Result<&Arc<ArchiveKeeper>, ArchiveFailure> {
        self.keeper.get().ok_or(ArchiveFailure::Absent)
    }
}

impl Archives for HouseArchives {
    fn archive(&self, request: ArchiveRequest) -> Answer<'_, Result<ArchivedView, ArchiveFailure>> {
        Box::pin(async move {
            let keeper = self.keeper()?;
            let closing = if request.all {
                Closing::Everything
            } else {
                Closing::Due
            };
            tracing::info!(who = request.who, all = request.all, "archiving by hand");
            let files = keeper.archive(closing).await.map_err(|error| failed(&error))?;
            keeper.tell(true).await;
            keeper
                .show(!files.is_empty())
                .await
                .map_err(|error| failed(&error))?;
            Ok(ArchivedView {
                origin: keeper.verifier.name().to_owned(),
                archive: keeper.store.place(),
                files: files.iter().map(file_view).collect(),
            })
        })
    }

    fn prune(&self, request: PruneRequest) -> Answer<'_, Result<PrunedView, ArchiveFailure>> {
        Box::pin(async move {
            let keeper = self.keeper()?;
            let before = clock::now().plus_seconds(-i64::from(request.keep_s));
            tracing::info!(
                who = request.who,
                keep_s = request.keep_s,
                "letting entries go by hand"
            );
            let pruned = keeper.let_go(before, request.dry_run).await;
            let (due, bundles_removed) = pruned.map_err(|error| failed(&error))?;
            Ok(PrunedView {
                origin: keeper.verifier.name().to_owned(),
                archive: keeper.store.place(),
                dry_run: request.dry_run,
                entries_from: due.map(|pruned| pruned.from),
                entries_to: due.map(|pruned| pruned.to),
                bundles_removed,
            })
        })
    }

    fn expire(&self, request: ExpireRequest) -> Answer<'_, Result<ExpiredView, ArchiveFailure>> {
        Box::pin(async move {
            let keeper = self.keeper()?;
            tracing::info!(who = request.who, "letting files expire by hand");
            let expired = keeper.let_expire(request.dry_run).await;
            let (due, removed) = expired.map_err(|error| failed(&error))?;
            Ok(expired_view(
                keeper.verifier.name().to_owned(),
                &keeper.store.place(),
                request.dry_run,
                due.as_ref(),
                &removed,
            ))
        })
    }
}

fn failed(error: &anyhow::Error) -> ArchiveFailure {
    ArchiveFailure::Failed {
        what: format!("{error:#}"),
    }
}

/// A file as commands and the interface show it.
pub fn file_view(bound: &Bound) -> ArchivedFile {
    ArchivedFile {
        file: bound.name.to_string(),
        sha256: bound.sha256.to_hex(),
        entries_from: bound.name.entries().start,
        entries_to: bound.name.entries().end,
        bytes: bound.size_bytes,
    }
}

impl ArchiveKeeper {
    /// Of the configured gateway's log.
    ///
    /// # Errors
    /// `keep_entries` is no duration, or the table of retention is wrong.
    pub fn new(
        config: &Config,
        verifier: NoteVerifier,
        office: Office,
        gateways: Arc<HouseGateways>,
        budgets: Arc<Budgets>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            folder: config.log_dir(),
            verifier,
            store: store(config),
            gateways,
            budgets,
            keep_s: config.keep_entries_s().map_err(anyhow::Error::msg)?,
            retention: config
                .retention()
                .map_err(|(_, message)| anyhow::anyhow!(message))?,
            office,
            place: place_beside(config),
            publishes: config.file.evidence.publish_log,
            shown: Mutex::default(),
            pruned_on: Mutex::default(),
            expired_on: Mutex::default(),
            standing: Mutex::default(),
            at_work: tokio::sync::Mutex::default(),
        })
    }

    /// Goes on until stopped.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        // A log that was never signed has nothing that could be archived, nor said about it.
        if let Ok(gateway) = self.gateway()
            && let Err(error) = gateway.checkpoint().await
        {
            tracing::warn!(%error, "the log was not signed; the archive waits for it");
        }
        loop {
            // A bucket that takes its time does not hold up the house; what was put and not bound is bound
            // in the next life.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    async fn round(&self) {
        let round = self.archive(Closing::Due).await;
        self.tell(round.is_ok()).await;
        let round = match round {
            Ok(files) => self.show(!files.is_empty()).await,
            Err(error) => Err(error),
        };
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
        } else if let Err(error) = self.expire().await {
            tracing::error!(
                error = %format!("{error:#}"),
                "files that are old enough did not expire; they stay until what is wrong is mended"
            );
        }
    }

    fn gateway(&self) -> anyhow::Result<&Gateway> {
        self.gateways.gateway().context("the gateway does not run")
    }

    /// Says on the metrics page how the archive stands. What cannot be read leaves what was said last.
    async fn tell(&self, went_well: bool) {
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let work = move || Archiver::open(&folder, &verifier, &store)?.behind();
        let behind = tokio::task::spawn_blocking(work).await;
        let mut standing = self.standing.lock();
        standing.failures = if went_well { 0 } else { standing.failures + 1 };
        if let Ok(Ok((entries, first))) = behind {
            let age_us = first.map_or(0, |first| clock::now().unix_us() - first.unix_us());
            standing.entries_behind = entries;
            standing.seconds_behind = u64::try_from(age_us / 1_000_000).unwrap_or(0);
        }
        if let Ok(gateway) = self.gateway() {
            gateway.archived(*standing);
        }
    }

    /// Archives what is due, file after file.
    async fn archive(&self, closing: Closing) -> anyhow::Result<Vec<Bound>> {
        let _alone = self.at_work.lock().await;
        let gateway = self.gateway()?;
        if closing == Closing::Everything {
            // Everything that happened until now, and not until the last signature.
            gateway.checkpoint().await?;
        }
        let mut done: Vec<Bound> = Vec::new();
        loop {
            self.budgets.archive_has_room()?;
            let Some(bound) = self.put_next(closing).await? else {
                return Ok(done);
            };
            let range = bound.name.entries();
            anyhow::ensure!(
                done.last()
                    .is_none_or(|last| last.name.entries().start != range.start),
                "the log did not take the entry that binds {}",
                bound.name
            );
            gateway.record(bound.event(clock::now()));
            gateway.checkpoint().await?;
            self.standing.lock().bytes += bound.size_bytes.unwrap_or(0);
            self.budgets.archived(bound.size_bytes.unwrap_or(0));
            tracing::info!(
                file = %bound.name,
                rows = range.end - range.start,
                bytes = bound.size_bytes,
                "events were archived"
            );
            done.push(bound);
        }
    }

    /// Shows the log in the store, if the site wants that and it is time, or there is `news`.
    async fn show(&self, news: bool) -> anyhow::Result<()> {
        let is_time = self.shown.lock().is_none_or(|shown| shown.elapsed() >= SHOWING);
        if !self.publishes || !(news || is_time) {
            return Ok(());
        }
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let shown = tokio::task::spawn_blocking(move || show(&folder, &verifier, &store)).await??;
        *self.shown.lock() = Some(Instant::now());
        if shown.tiles > 0 {
            tracing::info!(entries = shown.size, tiles = shown.tiles, "the log was published");
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
        self.let_go(now.plus_seconds(-keep_s), false).await?;
        *self.pruned_on.lock() = today;
        Ok(())
    }

    /// Lets go what is older than `before`, and how many bundles that were.
    async fn let_go(&self, before: Timestamp, dry_run: bool) -> anyhow::Result<(Option<Pruned>, u64)> {
        let _alone = self.at_work.lock().await;
        let gateway = self.gateway()?;
        let due = self.with_pruner(move |pruner| pruner.due(before)).await?;
        if dry_run {
            return Ok((due, 0));
        }
        if let Some(pruned) = due {
            gateway.record(pruned.event(clock::now(), gateway_of(&self.verifier)));
            gateway.checkpoint().await?;
            tracing::info!(
                from = pruned.from,
                to = pruned.to,
                "entries that the archive has were pruned"
            );
        }
        let place = self.place.clone();
        let removed = self.with_pruner(move |pruner| pruner.remove(&place)).await?;
        Ok((due, removed))
    }

    /// Once a day, lets files expire that nothing asks to be kept.
    async fn expire(&self) -> anyhow::Result<()> {
        let today = clock::now().utc_day();
        if self.retention.is_none() || *self.expired_on.lock() == today {
            return Ok(());
        }
        self.let_expire(false).await?;
        *self.expired_on.lock() = today;
        Ok(())
    }

    /// Lets files expire, and says which entries that concerns and which files were removed.
    async fn let_expire(&self, dry_run: bool) -> anyhow::Result<(Option<DueToExpire>, Vec<ArchiveName>)> {
        let _alone = self.at_work.lock().await;
        let retention = self.retention.as_ref().context(
            "nothing says how long archived events are kept; add [evidence.retention] and restart the gateway",
        )?;
        let gateway = self.gateway()?;
        let kept = Kept::of(&self.office, retention).await?;
        let now = clock::now();
        let due = self
            .with_expirer(move |expirer| expirer.due(now, &|run| kept.seconds(run)))
            .await?;
        if dry_run {
            return Ok((due, Vec::new()));
        }
        if let Some(due) = &due {
            let event = due
                .expired
                .event(clock::now(), gateway_of(&self.verifier), SETTING);
            gateway.record(event);
            gateway.checkpoint().await?;
            tracing::info!(
                from = due.expired.from,
                to = due.expired.to,
                "archived entries expired"
            );
        }
        let declared = due.as_ref().map(|due| due.expired);
        let removed = self.with_expirer(move |expirer| expirer.remove(declared)).await?;
        Ok((due, removed))
    }

    async fn with_expirer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Expirer) -> Result<T, ExpireError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let work = move || work(&Expirer::open(&folder, &verifier, &store)?);
        Ok(tokio::task::spawn_blocking(work).await??)
    }

    async fn with_pruner<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pruner) -> Result<T, PruneError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let work = move || work(&Pruner::open(&folder, &verifier, &store)?);
        Ok(tokio::task::spawn_blocking(work).await??)
    }

    /// Puts the next file, beginning after what the log says is archived.
    async fn put_next(&self, closing: Closing) -> anyhow::Result<Option<Bound>> {
        let (folder, verifier) = (self.folder.clone(), self.verifier.clone());
        let store = Arc::clone(&self.store);
        let work = move || {
            let archiver = Archiver::open(&folder, &verifier, &store)?;
            archiver.put_next(archiver.archived_to()?, closing, clock::now())
        };
        Ok(tokio::task::spawn_blocking(work).await??)
    }
}

/// The gateway whose log a key signs.
fn gateway_of(verifier: &NoteVerifier) -> &str {
    let name = verifier.name();
    name.split_once('/').map_or(name, |(_, gateway)| gateway)
}
