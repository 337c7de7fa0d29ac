//! The keeper: which certificate is in force, and how it is replaced.
//!
//! A connection takes the configuration of the moment in which it comes in and keeps it; replacing
//! it touches nobody. What cannot be used does not replace anything.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::{PluginId, Timestamp};
use parking_lot::Mutex;
use rustls::ServerConfig;
use seal::PublicKey;

use super::server::Pair;
use super::{TlsError, TlsSettings, TlsStatus};
use crate::core::Core;

/// What new connections are served with.
pub(crate) struct TlsKeeper {
    /// Stays, as every certificate that was issued names it.
    site: PluginId,
    look_every: Duration,
    config: ArcSwap<ServerConfig>,
    state: Mutex<State>,
}

struct State {
    settings: TlsSettings,
    pair: Pair,
    run_keys: Vec<PublicKey>,
    /// What the files looked like when they were last read.
    seen: Stamp,
    failure: Option<String>,
}

/// What tells one state of both files from another.
type Stamp = [Option<FileStamp>; 2];

/// Device, inode, size, and when content and inode changed.
type FileStamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl TlsKeeper {
    /// Reads the files and puts them in force. An expired certificate is put in force too: its
    /// clients will refuse it and say why, and the other listeners are not its business.
    pub(crate) fn open(settings: TlsSettings) -> Result<Self, TlsError> {
        let seen = stamp(&settings);
        let pair = Pair::read(&settings)?;
        let run_keys = settings.run_keys.clone();
        let config = configuration(&settings, &pair, &run_keys)?;
        Ok(Self {
            config: ArcSwap::new(config),
            site: settings.site.clone(),
            look_every: settings.look_every,
            state: Mutex::new(State {
                settings,
                pair,
                run_keys,
                seen,
                failure: None,
            }),
        })
    }

    /// The site whose runs are known.
    pub(super) const fn site(&self) -> &PluginId {
        &self.site
    }

    /// What a connection that comes in now is served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    pub(crate) fn status(&self) -> TlsStatus {
        let state = self.state.lock();
        TlsStatus {
            expires: state.pair.expires,
            failure: state.failure.clone(),
        }
    }

    /// Reads the files again.
    pub(crate) fn reload(&self, now: Timestamp) -> Result<(), TlsError> {
        let mut state = self.state.lock();
        // Looked at before they are read: a change in between is seen the next time.
        state.seen = stamp(&state.settings);
        let read = read_good(&state.settings, now, &state.run_keys);
        state.failure = read.as_ref().err().map(error_line);
        let (pair, config) = read?;
        state.pair = pair;
        self.config.store(config);
        Ok(())
    }

    /// Whether the files of `settings` could be put in force.
    pub(crate) fn check(&self, settings: &TlsSettings, now: Timestamp) -> Result<(), TlsError> {
        read_good(settings, now, &self.state.lock().run_keys).map(drop)
    }

    /// Puts the files of `settings` in force, and asks clients for certificates as they say. The keys
    /// that are believed stay.
    pub(crate) fn replace(&self, settings: TlsSettings, now: Timestamp) -> Result<(), TlsError> {
        let mut state = self.state.lock();
        let seen = stamp(&settings);
        let (pair, config) = read_good(&settings, now, &state.run_keys)?;
        *state = State {
            settings,
            pair,
            seen,
            failure: None,
            run_keys: std::mem::take(&mut state.run_keys),
        };
        self.config.store(config);
        Ok(())
    }

    fn have_files_changed(&self) -> bool {
        let state = self.state.lock();
        state.seen != stamp(&state.settings)
    }

    /// Believes `run_keys` from now on, and no others.
    pub(crate) fn set_run_keys(&self, run_keys: Vec<PublicKey>) -> Result<(), TlsError> {
        let mut state = self.state.lock();
        if state.run_keys != run_keys {
            let config = configuration(&state.settings, &state.pair, &run_keys)?;
            state.run_keys = run_keys;
            self.config.store(config);
        }
        Ok(())
    }
}

/// Looks after the files until the gateway drains.
pub(crate) async fn watch(core: Arc<Core>) {
    let Some(keeper) = &core.tls else { return };
    loop {
        tokio::select! {
            biased;
            () = core.draining.cancelled() => return,
            () = tokio::time::sleep(keeper.look_every) => {}
        }
        if keeper.have_files_changed() {
            match keeper.reload(Core::now()) {
                Ok(()) => tracing::info!("the gateway's certificate was replaced"),
                // Said once: what was read is not read again until it changes.
                Err(error) => tracing::warn!(
                    error = error_line(&error),
                    "the gateway's new certificate cannot be used; the old one stays"
                ),
            }
        }
    }
}

fn read_good(
    settings: &TlsSettings,
    now: Timestamp,
    run_keys: &[PublicKey],
) -> Result<(Pair, Arc<ServerConfig>), TlsError> {
    let pair = Pair::read(settings)?;
    if pair.expires <= now {
        return Err(TlsError::Expired {
            path: settings.certificate.clone(),
            expired: pair.expires,
        });
    }
    let config = configuration(settings, &pair, run_keys)?;
    Ok((pair, config))
}

fn configuration(
    settings: &TlsSettings,
    pair: &Pair,
    run_keys: &[PublicKey],
) -> Result<Arc<ServerConfig>, TlsError> {
    pair.configuration(settings, run_keys)
        .map_err(|source| TlsError::Pair {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            source,
        })
}

fn stamp(settings: &TlsSettings) -> Stamp {
    let file = |path: &Path| -> io::Result<FileStamp> {
        let found = fs::metadata(path)?;
        Ok((
            found.dev(),
            found.ino(),
            found.size(),
            (found.mtime(), found.mtime_nsec()),
            (found.ctime(), found.ctime_nsec()),
        ))
    };
    [&settings.certificate, &settings.key].map(|path| file(path).ok())
}

/// An error with its causes, in one line.
fn error_line(error: &TlsError) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
