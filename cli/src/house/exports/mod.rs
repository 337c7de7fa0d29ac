//! Continuous exports: signed events handed on as they come, to each receiver at least once.
//!
//! An exporter reads the log as anybody would, from its files, so that recording never knows of it:
//! only entries under a signature, each led up to the root. How far a receiver has confirmed is its
//! cursor, kept on disk; whatever happens to the receiver, the way there or this process, the next
//! thing it hears is what follows the cursor. So it may hear an entry twice, and never misses one.

mod batch;
mod cursor;
mod file;
mod http;
mod sink;
mod syslog;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::Timestamp;
use evidence::archive::Store;
use evidence::export::Form;
use seal::note::NoteVerifier;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Config;
use crate::export_config::{Begin, ExportConfig, Receiver};
use batch::{Batch, Reading};
use cursor::Cursor;
use sink::Sink;

/// How often the checkpoint file is looked at.
const ROUND: Duration = Duration::from_millis(500);
/// The longest pause before a receiver that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a receiver may take to confirm what is under way when the house closes.
const LAST_WORD: Duration = Duration::from_secs(3);

/// How one export stands, for the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Signed entries that the receiver has not confirmed.
    pub behind: u64,
    /// How old the first of them is.
    pub behind_s: u64,
    /// Attempts in a row that failed.
    pub failures: u32,
}

/// One receiver, and how far it is.
pub struct Exporter {
    name: String,
    log: Arc<Log>,
    form: Form,
    cursor: Cursor,
    sink: Sink,
    /// What follows what was sent, confirmed or not.
    sent_to: u64,
    failures: u32,
    trouble: Option<String>,
}

/// The log that is handed on.
pub struct Log {
    /// Its folder.
    pub folder: PathBuf,
    /// Its key.
    pub verifier: NoteVerifier,
    /// What reaches its archive, where that is a bucket.
    pub archive: Option<Arc<dyn Store>>,
}

/// The exporters of the configuration.
///
/// # Errors
/// A cursor, token or certificate cannot be read.
pub fn open(config: &Config, log: NoteVerifier) -> anyhow::Result<Vec<Exporter>> {
    let log = Arc::new(Log {
        folder: config.log_dir(),
        verifier: log,
        archive: super::archive::elsewhere(config),
    });
    config
        .file
        .export
        .iter()
        .map(|export| {
            Exporter::open(config, export, Arc::clone(&log))
                .with_context(|| format!("export {}", export.name))
        })
        .collect()
}

impl Exporter {
    fn open(config: &Config, export: &ExportConfig, log: Arc<Log>) -> anyhow::Result<Self> {
        let path = config
            .data_dir()
            .join("exports")
            .join(format!("{}.json", export.name));
        let cursor = match Cursor::read(&path, log.verifier.name())? {
            Some(cursor) => cursor,
            None => Cursor::begin(path, &log, export.from == Begin::Now)?,
        };
        let receiver: Receiver = export.to.parse()?;
        let sink = Sink::open(config, export, &receiver)?;
        Ok(Self {
            name: export.name.clone(),
            form: export.format,
            sent_to: cursor.next(),
            log,
            cursor,
            sink,
            failures: 0,
            trouble: None,
        })
    }

    /// Goes on until stopped. `tell` hears how things stand.
    pub async fn keep(mut self, tell: impl Fn(&str, Standing), stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            // A receiver that takes its time does not hold up the house; the cursor knows how far it is.
            let round = tokio::select! {
                () = stop.cancelled() => break,
                round = self.round(&tell) => round,
            };
            pause = match round {
                Ok(true) => Duration::ZERO,
                Ok(false) => ROUND,
                Err(error) => self.failed(&format!("{error:#}"), &tell),
            };
        }
        if let Ok(true) = tokio::time::timeout(LAST_WORD, self.sink.finish()).await {
            let next = self.sent_to;
            self.confirm(next);
        }
    }

    /// Sends what there is, at most a few bundles; whether there may be more.
    async fn round(&mut self, tell: &impl Fn(&str, Standing)) -> anyhow::Result<bool> {
        let (log, form, from, held) = (
            Arc::clone(&self.log),
            self.form,
            self.sent_to,
            self.cursor.checkpoint().map(str::to_owned),
        );
        let reading =
            tokio::task::spawn_blocking(move || batch::read(&log, form, from, held.as_deref())).await??;
        let Reading {
            batches,
            checkpoint,
            size,
        } = reading;
        let mut oldest = None;
        let more = !batches.is_empty();
        for batch in batches {
            oldest = oldest.or(Some(batch.first_time));
            self.send(&batch).await?;
            self.sent_to = batch.next;
            self.cursor.read_under(&checkpoint);
            self.settle().await?;
            self.tell(tell, size, oldest);
        }
        if !more {
            self.settle().await?;
        }
        self.recovered();
        let waits_since = if self.cursor.next() < size { oldest } else { None };
        self.tell(tell, size, waits_since);
        Ok(more)
    }

    async fn send(&mut self, batch: &Batch) -> anyhow::Result<()> {
        self.sink.send(batch).await
    }

    /// Moves the cursor to what the receiver has confirmed.
    async fn settle(&mut self) -> anyhow::Result<()> {
        if let Some(next) = self.sink.confirmed().await? {
            self.confirm(next);
        }
        Ok(())
    }

    fn confirm(&mut self, next: u64) {
        if next > self.cursor.next()
            && let Err(error) = self.cursor.advance(next)
        {
            // What was confirmed is then sent again after a restart.
            tracing::error!(export = self.name, %error, "the cursor of an export cannot be kept");
        }
    }

    fn tell(&self, tell: &impl Fn(&str, Standing), size: u64, oldest: Option<Timestamp>) {
        let age_us = oldest.map_or(0, |oldest| {
            clock::now().unix_us().saturating_sub(oldest.unix_us())
        });
        let standing = Standing {
            behind: size.saturating_sub(self.cursor.next()),
            behind_s: u64::try_from(age_us / 1_000_000).unwrap_or(0),
            failures: self.failures,
        };
        tell(&self.name, standing);
    }

    /// Begins again at the cursor, after a pause that grows.
    fn failed(&mut self, trouble: &str, tell: &impl Fn(&str, Standing)) -> Duration {
        if self.trouble.as_deref() != Some(trouble) {
            tracing::warn!(
                export = self.name,
                why = trouble,
                "events are not handed on; they are kept and tried again"
            );
            self.trouble = Some(trouble.to_owned());
        }
        self.failures = self.failures.saturating_add(1);
        self.sink.reset();
        self.sent_to = self.cursor.next();
        let size = batch::claimed_size(&self.log);
        self.tell(tell, size, batch::time_of(&self.log, self.sent_to));
        ROUND.saturating_mul(1 << self.failures.min(7)).min(LONGEST_PAUSE)
    }

    fn recovered(&mut self) {
        self.failures = 0;
        if self.trouble.take().is_some() {
            tracing::info!(export = self.name, "events are handed on again");
        }
    }
}
