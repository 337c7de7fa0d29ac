//! How much disk the evidence may take, and who hears of it before it is full.
//!
//! At four fifths of a limit the gateway's own log, its metrics and the summary of the night say so. At
//! the limit of the log the gateway takes no more openings into it, and `on_failure` decides whether
//! connections go on without a record; at that of the archive nothing more is archived, and entries
//! stay in the log. What is archived is not let go to make room: that is for the site to decide.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::PluginId;
use evidence::archive::{ArchiveName, Store};
use parking_lot::Mutex;
use proxy::Budgeted;
use tokio_util::sync::CancellationToken;

use super::archive::store;
use super::gateways::HouseGateways;
use crate::clock;
use crate::config::{ArchivePlace, Config};

/// How often the log's folder is measured. In between the recorder counts what it adds itself.
const ROUND: Duration = Duration::from_secs(30);
/// Listing a bucket costs money, and nobody but us adds to our part of it.
const BUCKET_ROUND: Duration = Duration::from_secs(3600);
/// A warning comes at this part of a limit, in hundredths.
const WARNING: u64 = 80;
/// A plugin that came near its limit is told of for so long: a night is over by then.
const REMEMBERED_S: i64 = 36 * 3600;

/// The limits of one gateway, and how much of them is taken.
pub struct Budgets {
    config: Config,
    store: Arc<dyn Store>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    log_bytes: u64,
    archive_bytes: u64,
    archive_listed: Option<Instant>,
    /// Whether a warning was given that still holds: for the log, for the archive.
    is_warned: [bool; 2],
    /// Plugins that came near their limit of a day, and when (Unix seconds).
    plugins: BTreeMap<PluginId, i64>,
}

impl Budgets {
    /// Of the configured gateway. Nothing is measured yet.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            store: store(config),
            taken: Mutex::default(),
        }
    }

    fn limits(&self) -> [Option<u64>; 2] {
        let evidence = &self.config.file.evidence;
        [evidence.log_mib, evidence.archive_mib].map(|mib| mib.map(|mib| u64::from(mib.get()) << 20))
    }

    /// Measures and tells until stopped.
    pub async fn keep(self: Arc<Self>, gateways: Arc<HouseGateways>, stop: CancellationToken) {
        loop {
            let own = Arc::clone(&self);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || own.measure()).await {
                tracing::warn!(error = %format!("{error:#}"), "how much disk the evidence takes cannot be told");
            }
            self.tell(&gateways);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Looks at the disk.
    fn measure(&self) -> anyhow::Result<()> {
        let log_bytes = size_of_folder(&self.config.log_dir())?;
        self.taken.lock().log_bytes = log_bytes;
        let is_bucket = matches!(self.config.archive_place(), ArchivePlace::Bucket(_));
        let listed = self.taken.lock().archive_listed;
        if !self.config.file.evidence.archive
            || (is_bucket && listed.is_some_and(|listed| listed.elapsed() < BUCKET_ROUND))
        {
            return Ok(());
        }
        let gateway = &self.config.file.gateway.name;
        let own = |file: &evidence::archive::StoredFile| {
            let name = file.name.parse::<ArchiveName>();
            name.is_ok_and(|name| name.gateway() == gateway)
        };
        let files = self.store.list("")?;
        let mut taken = self.taken.lock();
        taken.archive_bytes = files
            .iter()
            .filter(|file| own(file))
            .map(|file| file.size_bytes)
            .sum();
        taken.archive_listed = Some(Instant::now());
        Ok(())
    }

    fn tell(&self, gateways: &HouseGateways) {
        let Some(gateway) = gateways.gateway() else {
            return;
        };
        let now = clock::now().unix_s();
        let [log_limit, archive_limit] = self.limits();
        let mut taken = self.taken.lock();
        for plugin in gateway.plugins_near_their_limit() {
            tracing::warn!(
                %plugin,
                "a plugin's events of today take more than four fifths of plugin_mib_per_day"
            );
            taken.plugins.insert(plugin, now);
        }
        taken.plugins.retain(|_, seen| now - *seen < REMEMBERED_S);
        gateway.leave_room(log_limit.map(|limit| limit.saturating_sub(taken.log_bytes)));
        gateway.budgeted(Budgeted {
            log_bytes: taken.log_bytes,
            log_limit_bytes: log_limit,
            archive_bytes: taken.archive_bytes,
            archive_limit_bytes: archive_limit,
            plugins_near: taken.plugins.len() as u64,
        });
        let notices = [
            log_notice(taken.log_bytes, log_limit),
            archive_notice(taken.archive_bytes, archive_limit),
        ];
        for (notice, is_warned) in notices.into_iter().zip(&mut taken.is_warned) {
            if let Some(notice) = notice.as_ref().filter(|_| !*is_warned) {
                tracing::warn!(notice, "the evidence needs room");
            }
            *is_warned = notice.is_some();
        }
    }

    /// What the summary of a night says, measured now.
    pub fn notices(&self) -> Vec<String> {
        if let Err(error) = self.measure() {
            return vec![format!(
                "how much disk the evidence takes cannot be told: {error:#}"
            )];
        }
        let [log_limit, archive_limit] = self.limits();
        let taken = self.taken.lock();
        let plugins = taken.plugins.keys().map(|plugin| {
            format!("the events of {plugin} took more than 80 % of what one plugin may add to the log in a day (plugin_mib_per_day)")
        });
        log_notice(taken.log_bytes, log_limit)
            .into_iter()
            .chain(archive_notice(taken.archive_bytes, archive_limit))
            .chain(plugins)
            .collect()
    }

    /// Whether another file may be put.
    ///
    /// # Errors
    /// The limit is reached; the message says what to do.
    pub fn archive_has_room(&self) -> anyhow::Result<()> {
        let [_, limit] = self.limits();
        let taken = self.taken.lock();
        anyhow::ensure!(
            limit.is_none_or(|limit| taken.archive_bytes < limit),
            "the archive takes {} and archive_mib allows no more: raise it, or move files that need not stay at hand",
            mib(taken.archive_bytes)
        );
        Ok(())
    }

    /// A file was put.
    pub fn archived(&self, bytes: u64) {
        self.taken.lock().archive_bytes += bytes;
    }
}

fn log_notice(taken: u64, limit: Option<u64>) -> Option<String> {
    notice("log", taken, limit, "log_mib").map(|what| {
        format!(
            "{what}; let entries go that are archived (keep_entries), or raise it, before on_failure decides"
        )
    })
}

fn archive_notice(taken: u64, limit: Option<u64>) -> Option<String> {
    notice("archive", taken, limit, "archive_mib")
        .map(|what| format!("{what}; at the limit nothing more is archived, and entries stay in the log"))
}

fn notice(what: &str, taken: u64, limit: Option<u64>, key: &str) -> Option<String> {
    let limit = limit?;
    let part = taken.saturating_mul(100) / limit.max(1);
    (part >= WARNING).then(|| {
        format!(
            "the {what} takes {part} % of its limit: {} of {} ({key})",
            mib(taken),
            mib(limit)
        )
    })
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// What the files in a folder and below it take, as their lengths say.
fn size_of_folder(folder: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut sum = 0;
    for entry in entries {
        let entry = entry?;
        // Files come and go while the gateway writes.
        let Ok(found) = entry.metadata() else { continue };
        sum += if found.is_dir() {
            size_of_folder(&entry.path())?
        } else {
            found.len()
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_at_four_fifths_and_says_which_setting() {
        let limit = Some(100 << 20);
        assert_eq!(log_notice(79 << 20, limit), None);
        assert_eq!(log_notice(1 << 40, None), None);
        let told = log_notice(80 << 20, limit).unwrap();
        assert!(
            told.starts_with("the log takes 80 % of its limit: 80 MiB of 100 MiB (log_mib); "),
            "{told}"
        );
        let told = archive_notice(120 << 20, limit).unwrap();
        assert!(
            told.contains("120 % of its limit") && told.contains("nothing more is archived"),
            "{told}"
        );
    }

    #[test]
    fn a_folder_is_measured_with_everything_below_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(size_of_folder(&folder.path().join("none")).unwrap(), 0);
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("x"), [0; 10]).unwrap();
        std::fs::write(folder.path().join("a/b/y"), [0; 5]).unwrap();
        assert_eq!(size_of_folder(folder.path()).unwrap(), 15);
    }
}
