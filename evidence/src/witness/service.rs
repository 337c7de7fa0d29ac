//! The witness: one question, asked by logs, answered at most once for each size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seal::SigningKey;
use seal::cosignature::{CosignatureVerifier, cosign};
use seal::note::{NoteError, NoteVerifier, SignedNote};

use super::memory::{FolderMemory, Memory, MemoryError};
use super::refusal::{Answer, Refusal};
use super::request::AddCheckpoint;
use crate::checkpoint::MAX_CHECKPOINT_BYTES;
use crate::merkle::{empty_root, verify_consistency};
use crate::{Checkpoint, InvalidCheckpoint};

/// Longer origins make file names that no file system takes.
const MAX_ORIGIN_BYTES: usize = 80;

/// A witness: its key, the logs that it knows, and what it remembers of them.
pub struct Witness {
    key: SigningKey,
    own: CosignatureVerifier,
    logs: BTreeMap<String, Vec<NoteVerifier>>,
    memory: Box<dyn Memory>,
}

/// Why a witness cannot begin its work.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The name or key cannot cosign.
    #[error("this name and key cannot cosign")]
    Key(#[source] NoteError),
    /// A log's origin is too long.
    #[error("the origin {origin:?} has more than {MAX_ORIGIN_BYTES} bytes")]
    Origin {
        /// The origin.
        origin: String,
    },
    /// Its memory cannot be used.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// What the witness has in memory about one log.
struct Known {
    checkpoint: Option<Checkpoint>,
    time_s: u64,
}

impl Witness {
    /// A witness called `name` that cosigns with `key` for `logs` and remembers in `folder`.
    ///
    /// # Errors
    /// [`WitnessError`]; also where the folder remembers something that this key did not cosign.
    pub fn open(
        folder: &Path,
        name: &str,
        key: SigningKey,
        logs: impl IntoIterator<Item = NoteVerifier>,
    ) -> Result<Self, WitnessError> {
        let own = CosignatureVerifier::new(name, &key.public()).map_err(WitnessError::Key)?;
        Self::with_memory(Box::new(FolderMemory::open(folder)?), own, key, logs)
    }

    fn with_memory(
        memory: Box<dyn Memory>,
        own: CosignatureVerifier,
        key: SigningKey,
        logs: impl IntoIterator<Item = NoteVerifier>,
    ) -> Result<Self, WitnessError> {
        let mut witness = Self {
            key,
            own,
            logs: BTreeMap::new(),
            memory,
        };
        for log in logs {
            let origin = log.name().to_owned();
            if origin.len() > MAX_ORIGIN_BYTES {
                return Err(WitnessError::Origin { origin });
            }
            let known = witness.logs.entry(origin).or_default();
            if !known.contains(&log) {
                known.push(log);
            }
        }
        for origin in witness.logs.keys().cloned().collect::<Vec<_>>() {
            witness.known(&origin)?;
        }
        Ok(witness)
    }

    /// The key that verifies this witness's cosignatures.
    pub const fn verifier(&self) -> &CosignatureVerifier {
        &self.own
    }

    /// The origins of the logs that it knows.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    /// The file that keeps the last checkpoint of `origin`.
    pub fn kept_file(&self, origin: &str) -> PathBuf {
        self.memory.path(origin)
    }

    /// The last checkpoint of `origin` that was cosigned, with its signatures.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn kept(&mut self, origin: &str) -> Result<Option<String>, MemoryError> {
        self.memory.recall(origin)
    }

    /// Answers `POST add-checkpoint` (c2sp.org/tlog-witness).
    pub fn answer(&mut self, body: &[u8], now_s: u64) -> Answer {
        Answer::to(self.add_checkpoint(body, now_s))
    }

    /// Cosigns a checkpoint, once it is remembered, and returns the signature line.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn add_checkpoint(&mut self, body: &[u8], now_s: u64) -> Result<String, Refusal> {
        let request = AddCheckpoint::parse(body)?;
        let (note, checkpoint) = self.believed(&request.checkpoint)?;
        let (old, size) = (request.old, checkpoint.size());
        if old > size {
            return Err(Refusal::Backwards { old, size });
        }
        // Memory is asked each time: after a failed write, what stands there is what counts.
        let origin = checkpoint.origin().as_str().to_owned();
        let last = self.known(&origin)?;
        let known = last.checkpoint.as_ref().map_or(0, Checkpoint::size);
        let root = last
            .checkpoint
            .as_ref()
            .map_or_else(empty_root, |last| *last.root());
        if old != known {
            return Err(Refusal::Stale { known });
        }
        if old == size && root != *checkpoint.root() {
            return Err(Refusal::OtherTree { known });
        }
        verify_consistency(old, &root, size, checkpoint.root(), &request.proof)
            .map_err(|_| Refusal::Proof { known, size })?;
        // A clock that was set back must not make a later tree look earlier than the one before it.
        let time_s = now_s.max(last.time_s);
        let line = cosign(&checkpoint.to_string(), self.own.name(), &self.key, time_s)
            .expect("name and key were found fit, and the text is a checkpoint");
        // "The witness MUST persist the new checkpoint before responding."
        self.memory.keep(&origin, &format!("{note}{line}"))?;
        Ok(line)
    }

    /// The checkpoint and its note with the log's signature alone, once a key of the log was found
    /// to have signed it.
    fn believed(&self, signed: &str) -> Result<(SignedNote, Checkpoint), Refusal> {
        let malformed = || Refusal::Checkpoint(InvalidCheckpoint::Malformed);
        if signed.len() > MAX_CHECKPOINT_BYTES {
            return Err(malformed());
        }
        let note = SignedNote::parse(signed.as_bytes()).map_err(|_| malformed())?;
        let origin = note.unverified_text().lines().next().unwrap_or_default();
        let keys = self.logs.get(origin).ok_or_else(|| Refusal::UnknownLog {
            origin: origin.to_owned(),
        })?;
        for key in keys {
            match Checkpoint::open(signed.as_bytes(), key) {
                Ok(checkpoint) => return Ok((note.signed_only_by(key), checkpoint)),
                Err(InvalidCheckpoint::OtherKey | InvalidCheckpoint::Edited) => {}
                Err(invalid) => return Err(Refusal::Checkpoint(invalid)),
            }
        }
        Err(Refusal::Signature)
    }

    /// What is remembered of a log. A file that this witness did not cosign is an error, never a fresh
    /// start: a witness that forgets can be led to tell two stories.
    fn known(&mut self, origin: &str) -> Result<Known, MemoryError> {
        let path = self.memory.path(origin);
        let Some(note) = self.memory.recall(origin)? else {
            return Ok(Known {
                checkpoint: None,
                time_s: 0,
            });
        };
        let foreign = |what| MemoryError::Foreign {
            path: path.clone(),
            what,
        };
        let note = SignedNote::parse(note.as_bytes()).map_err(|_| foreign("it is no signed note"))?;
        let time_s = note
            .cosigned_at(&self.own)
            .map_err(|_| foreign("it is not cosigned by this witness's key"))?;
        let checkpoint: Checkpoint = note
            .unverified_text()
            .parse()
            .map_err(|_| foreign("it is no checkpoint"))?;
        if checkpoint.origin().as_str() != origin {
            return Err(foreign("it is another log's checkpoint"));
        }
        Ok(Known {
            checkpoint: Some(checkpoint),
            time_s,
        })
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness")
            .field("own", &self.own)
            .field("logs", &self.logs)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
