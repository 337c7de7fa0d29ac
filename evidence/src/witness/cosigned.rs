//! A checkpoint together with what witnesses said about it.

use std::fmt;
use std::path::Path;

use seal::cosignature::CosignatureVerifier;
use seal::note::{NoteError, NoteVerifier, SignedNote};

use super::memory::{self, MemoryError};
use crate::{Checkpoint, InvalidCheckpoint};

/// The file beside a log's `checkpoint` that holds the newest one which witnesses cosigned. It is the
/// one to serve to others: stock tools read the same note.
pub const COSIGNED_FILE: &str = "checkpoint.cosigned";

/// A checkpoint that the log's key signed, with the cosignatures that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    checkpoint: Checkpoint,
    note: SignedNote,
}

/// Why a cosigned checkpoint is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCosigned {
    /// The disk refused to say.
    #[error(transparent)]
    Unreadable(#[from] MemoryError),
    /// The note is not a checkpoint by the log's key.
    #[error("the cosigned checkpoint is not to be believed")]
    Checkpoint(#[from] InvalidCheckpoint),
}

impl Cosigned {
    /// Opens a signed checkpoint of the log whose key `log` is, with whatever else signed it.
    ///
    /// # Errors
    /// [`InvalidCheckpoint`].
    pub fn open(signed: &[u8], log: &NoteVerifier) -> Result<Self, InvalidCheckpoint> {
        let checkpoint = Checkpoint::open(signed, log)?;
        let note = SignedNote::parse(signed).map_err(|_| InvalidCheckpoint::Malformed)?;
        Ok(Self { checkpoint, note })
    }

    /// The cosigned checkpoint beside the log in `folder`; `None` where there is none.
    ///
    /// # Errors
    /// [`InvalidCosigned`].
    pub fn read(folder: &Path, log: &NoteVerifier) -> Result<Option<Self>, InvalidCosigned> {
        Self::read_file(&folder.join(COSIGNED_FILE), log)
    }

    /// The checkpoint of `log` that a witness with its memory in `folder` keeps; `None` where it knows
    /// none.
    ///
    /// # Errors
    /// [`InvalidCosigned`].
    pub fn read_memory(folder: &Path, log: &NoteVerifier) -> Result<Option<Self>, InvalidCosigned> {
        Self::read_file(&memory::kept_path(folder, log.name()), log)
    }

    fn read_file(path: &Path, log: &NoteVerifier) -> Result<Option<Self>, InvalidCosigned> {
        match memory::recall(path)? {
            Some(note) => Ok(Some(Self::open(note.as_bytes(), log)?)),
            None => Ok(None),
        }
    }

    /// Puts it beside the log in `folder`, durably, in the place of an earlier one.
    ///
    /// # Errors
    /// [`MemoryError`]; the earlier one is still there then.
    pub fn write(&self, folder: &Path) -> Result<(), MemoryError> {
        memory::replace(&folder.join(COSIGNED_FILE), &self.to_string())
    }

    /// What was cosigned.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// When `witness` cosigned it, in seconds since 1970.
    ///
    /// # Errors
    /// As [`SignedNote::cosigned_at`].
    pub fn cosigned_at(&self, witness: &CosignatureVerifier) -> Result<u64, NoteError> {
        self.note.cosigned_at(witness)
    }

    /// Takes over a cosignature by `witness` from signature lines, if one verifies for this
    /// checkpoint, and says when it was made. Nothing else in the lines is kept.
    ///
    /// # Errors
    /// [`NoteError`]; nothing was added then.
    pub fn adopt(&mut self, lines: &str, witness: &CosignatureVerifier) -> Result<u64, NoteError> {
        let mut claimed = self.note.unsigned();
        claimed.add_lines(lines)?;
        let line = claimed.cosignature_line(witness)?;
        let time_s = claimed.cosigned_at(witness)?;
        if self.cosigned_at(witness) != Ok(time_s) {
            self.note.add_lines(&line)?;
        }
        Ok(time_s)
    }

    /// The verified line by `witness`, with its newline.
    ///
    /// # Errors
    /// As [`SignedNote::cosigned_at`].
    pub(crate) fn line_by(&self, witness: &CosignatureVerifier) -> Result<String, NoteError> {
        self.note.cosignature_line(witness)
    }
}

/// The signed note.
impl fmt::Display for Cosigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}
