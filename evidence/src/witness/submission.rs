//! A submission: what a gateway asks one witness about one checkpoint, and makes of the answers.
//!
//! The caller owns the socket, the clock and the retry. A witness may be down, slow, behind, ahead or
//! lying; whatever it says is taken only as far as its signature goes.

use base::Sha256Digest;
use seal::cosignature::CosignatureVerifier;
use seal::note::NoteError;

use super::cosigned::Cosigned;
use super::request::AddCheckpoint;
use crate::checkpoint::parse_decimal;

/// How often a witness may name another size before it is left alone. Another submitter of the same
/// log may get in between once or twice.
const MAX_CONFLICTS: u32 = 3;

/// One checkpoint on its way to one witness.
#[derive(Clone, Debug)]
pub struct Submission {
    checkpoint: Cosigned,
    signed: String,
    witness: CosignatureVerifier,
    old: u64,
    conflicts: u32,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The witness cosigned, and its cosignature verifies.
    Cosigned {
        /// Its signature line, with the newline.
        line: String,
        /// When, in seconds since 1970.
        time_s: u64,
    },
    /// The witness stands elsewhere: ask again, with the proof from [`Submission::old`].
    AskAgain,
}

/// Why a witness did not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The witness has cosigned more entries than the log has. Either the log was cut or restored from
    /// an old copy, or the witness lies: an alarm either way.
    #[error("it has cosigned {known} entries and the log has {size}: the log was cut, or the witness lies")]
    Ahead {
        /// Entries that it says it cosigned.
        known: u64,
        /// Entries under the checkpoint.
        size: u64,
    },
    /// The witness has cosigned another tree of this size. An alarm.
    #[error("it has cosigned another tree of {size} entries: the log has two stories, or the witness lies")]
    OtherTree {
        /// Entries under the checkpoint.
        size: u64,
    },
    /// The witness does not accept the proof. An alarm, unless tiles are damaged.
    #[error("it does not accept that {size} entries continue the {old} it cosigned")]
    Proof {
        /// Entries that it cosigned.
        old: u64,
        /// Entries under the checkpoint.
        size: u64,
    },
    /// Nobody told the witness about this log.
    #[error("it does not know this log; give it the log's key (`bailiwick evidence verify` prints it)")]
    UnknownLog,
    /// The witness knows the log under another key.
    #[error("it knows this log under another key; give it the log's present key")]
    Signature,
    /// The witness keeps naming other sizes.
    #[error("it named {MAX_CONFLICTS} different sizes in a row")]
    Restless,
    /// What it says is no cosignature of this checkpoint by the key in the configuration.
    #[error("its answer carries no good cosignature by {witness:?}: {source}")]
    BadCosignature {
        /// The witness's name in the configuration.
        witness: String,
        /// What is wrong.
        source: NoteError,
    },
    /// An answer that the protocol does not have.
    #[error("it answered with status {status}, which says nothing")]
    Status {
        /// The status code.
        status: u16,
    },
}

impl Rejected {
    /// Whether somebody should look now: the witness says that the log was cut or has two stories.
    pub const fn is_alarming(&self) -> bool {
        matches!(
            self,
            Self::Ahead { .. } | Self::OtherTree { .. } | Self::Proof { .. }
        )
    }
}

impl Submission {
    /// A submission of `checkpoint` to `witness`, which is thought to have cosigned `old` entries.
    /// Where that is unknown, 0 will do: the witness names its size.
    pub fn new(checkpoint: &Cosigned, witness: &CosignatureVerifier, old: u64) -> Self {
        Self {
            checkpoint: checkpoint.clone(),
            signed: checkpoint.to_string(),
            witness: witness.clone(),
            old: old.min(checkpoint.checkpoint().size()),
            conflicts: 0,
        }
    }

    /// The size from which the next request's proof starts.
    pub const fn old(&self) -> u64 {
        self.old
    }

    /// The next request, with the proof from [`Self::old`].
    pub fn request(&self, proof: Vec<Sha256Digest>) -> AddCheckpoint {
        AddCheckpoint {
            old: self.old,
            proof,
            checkpoint: self.signed.clone(),
        }
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// [`Rejected`]: this checkpoint goes to this witness no more.
    pub fn handle_answer(&mut self, status: u16, body: &[u8]) -> Result<Heard, Rejected> {
        let size = self.checkpoint.checkpoint().size();
        match status {
            200 => self.cosigned(body),
            409 => self.conflict(body, size),
            403 => Err(Rejected::Signature),
            404 => Err(Rejected::UnknownLog),
            422 => Err(Rejected::Proof { old: self.old, size }),
            status => Err(Rejected::Status { status }),
        }
    }

    fn cosigned(&self, body: &[u8]) -> Result<Heard, Rejected> {
        let bad = |source| Rejected::BadCosignature {
            witness: self.witness.name().to_owned(),
            source,
        };
        let lines = std::str::from_utf8(body).map_err(|_| bad(NoteError::Malformed))?;
        let mut cosigned = self.checkpoint.clone();
        let time_s = cosigned.adopt(lines, &self.witness).map_err(bad)?;
        let line = cosigned.line_by(&self.witness).map_err(bad)?;
        Ok(Heard::Cosigned { line, time_s })
    }

    /// "The response body MUST consist of the tree size of the latest cosigned checkpoint in decimal,
    /// followed by a newline".
    fn conflict(&mut self, body: &[u8], size: u64) -> Result<Heard, Rejected> {
        let known = std::str::from_utf8(body)
            .ok()
            .and_then(|text| text.strip_suffix('\n'))
            .and_then(parse_decimal)
            .ok_or(Rejected::Status { status: 409 })?;
        self.conflicts += 1;
        if known > size {
            Err(Rejected::Ahead { known, size })
        } else if known == self.old && known == size {
            Err(Rejected::OtherTree { size })
        } else if self.conflicts == MAX_CONFLICTS || known == self.old {
            Err(Rejected::Restless)
        } else {
            self.old = known;
            Ok(Heard::AskAgain)
        }
    }
}
