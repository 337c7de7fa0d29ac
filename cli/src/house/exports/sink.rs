//! Receivers, whatever they are: something that takes batches and says how far it has them.

use std::path::PathBuf;

use anyhow::Context as _;

use super::batch::Batch;
use super::file;
use super::http::HttpSink;
use super::syslog::SyslogSink;
use crate::config::Config;
use crate::export_config::{ExportConfig, Receiver};
use crate::files;
use crate::outgoing::tls_client;

/// Larger files hold no tokens.
const MAX_TOKEN_BYTES: usize = 1 << 16;

/// A receiver.
pub enum Sink {
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// What follows the last line in it.
        next: Option<u64>,
    },
    /// A syslog server.
    Syslog(SyslogSink),
    /// An HTTP endpoint.
    Http(HttpSink),
}

impl Sink {
    /// Prepares to send; nobody is spoken to yet.
    ///
    /// # Errors
    /// The token or the authorities cannot be read.
    pub fn open(config: &Config, export: &ExportConfig, receiver: &Receiver) -> anyhow::Result<Self> {
        let authorities = export.ca_file.as_ref().map(|file| config.resolve(file));
        let tls = |wanted: bool| wanted.then(|| tls_client(authorities.as_deref())).transpose();
        Ok(match receiver {
            Receiver::File(path) => Self::File {
                path: config.resolve(path),
                next: None,
            },
            Receiver::Syslog(peer) => Self::Syslog(SyslogSink::new(peer.clone(), tls(peer.tls)?)),
            Receiver::Http { peer, path } => {
                let token = export
                    .token_file
                    .as_ref()
                    .map(|file| token(&config.resolve(file)))
                    .transpose()?;
                Self::Http(HttpSink::new(
                    peer.clone(),
                    path.clone(),
                    export.format,
                    token,
                    tls(peer.tls)?,
                ))
            }
        })
    }

    /// Sends a batch.
    ///
    /// # Errors
    /// The receiver did not take it; it is to be sent again, with all that is not confirmed.
    pub async fn send(&mut self, batch: &Batch) -> anyhow::Result<()> {
        match self {
            Self::File { path, next } => {
                let (file, lines) = (path.clone(), batch.text());
                tokio::task::spawn_blocking(move || file::add(&file, &lines))
                    .await?
                    .with_context(|| format!("cannot write {}", path.display()))?;
                *next = Some(batch.next);
                Ok(())
            }
            Self::Syslog(syslog) => syslog.send(batch).await,
            Self::Http(http) => http.send(batch).await,
        }
    }

    /// What follows the last entry that the receiver has for good.
    ///
    /// # Errors
    /// The receiver went away before it had everything.
    pub async fn confirmed(&mut self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::File { next, .. } => Ok(next.take()),
            Self::Syslog(syslog) => syslog.confirmed().await,
            Self::Http(http) => Ok(http.confirmed()),
        }
    }

    /// Forgets what was sent and not confirmed.
    pub fn reset(&mut self) {
        if let Self::Syslog(syslog) = self {
            syslog.reset();
        }
    }

    /// Ends in good order; whether everything that was sent is confirmed by that.
    pub async fn finish(&mut self) -> bool {
        match self {
            Self::Syslog(syslog) => syslog.finish().await,
            // They confirm at once.
            Self::File { .. } | Self::Http(_) => false,
        }
    }
}

fn token(path: &std::path::Path) -> anyhow::Result<String> {
    let bytes = files::read_limited(path, MAX_TOKEN_BYTES)
        .with_context(|| format!("cannot read {} (token_file)", path.display()))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{} is no text", path.display()))?;
    Ok(text.trim().to_owned())
}
