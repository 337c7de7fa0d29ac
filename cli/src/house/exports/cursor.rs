//! Cursors: how far a receiver has confirmed, kept so that a crash repeats rather than skips.
//!
//! Trusted until it is read: whoever can change a cursor can make entries be handed on again, or not
//! at all. The log itself is not touched by that, and keeps everything.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Log, batch};
use crate::files;

/// Larger files are no cursors.
const MAX_BYTES: usize = 1 << 17;

/// How far a receiver has confirmed.
pub struct Cursor {
    path: PathBuf,
    kept: Kept,
    /// What the next advance keeps.
    latest: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The log.
    origin: String,
    /// The first entry that is not confirmed.
    next: u64,
    /// The signed checkpoint under which the last confirmed entry was read: a log that does not
    /// continue it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

impl Cursor {
    /// Reads a cursor; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is of another log.
    pub fn read(path: &Path, origin: &str) -> anyhow::Result<Option<Self>> {
        let bytes = match files::read_limited(path, MAX_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read cursor {}", path.display()))?,
        };
        let kept: Kept = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no cursor; remove it to begin again", path.display()))?;
        anyhow::ensure!(
            kept.origin == origin,
            "{} is about log {:?}, not {origin:?}; remove it to begin again",
            path.display(),
            kept.origin
        );
        Ok(Some(Self {
            path: path.to_owned(),
            kept,
            latest: None,
        }))
    }

    /// A cursor that begins with the log, or behind what is signed now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(path: PathBuf, log: &Log, now: bool) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let cursor = Self {
            path,
            kept: Kept {
                origin: log.verifier.name().to_owned(),
                next: if now { batch::claimed_size(log) } else { 0 },
                checkpoint: None,
            },
            latest: None,
        };
        cursor.write()?;
        Ok(cursor)
    }

    /// The first entry that is not confirmed.
    pub const fn next(&self) -> u64 {
        self.kept.next
    }

    /// The signed checkpoint that the log must continue.
    pub fn checkpoint(&self) -> Option<&str> {
        self.kept.checkpoint.as_deref()
    }

    /// What is sent now was read under this checkpoint.
    pub fn read_under(&mut self, checkpoint: &str) {
        if self.latest.as_deref() != Some(checkpoint) {
            self.latest = Some(checkpoint.to_owned());
        }
    }

    /// Everything before `next` is confirmed.
    ///
    /// # Errors
    /// It cannot be written; it stays where it is then.
    pub fn advance(&mut self, next: u64) -> anyhow::Result<()> {
        let before = self.kept.clone();
        self.kept.next = next;
        if let Some(latest) = &self.latest {
            self.kept.checkpoint = Some(latest.clone());
        }
        self.write().inspect_err(|_| self.kept = before)
    }

    fn write(&self) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(&self.kept)?;
        files::replace(&self.path, &bytes)
            .with_context(|| format!("cannot write cursor {}", self.path.display()))
    }
}
