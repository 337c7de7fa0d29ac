//! Refusals, and the numbers that c2sp.org/tlog-witness gives them.

use super::memory::MemoryError;
use super::request::InvalidRequest;
use crate::InvalidCheckpoint;

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 400: not a request.
    #[error("malformed request: {0}")]
    Request(#[from] InvalidRequest),
    /// 400: what follows the empty line is no checkpoint of a kind that this witness reads.
    #[error("malformed checkpoint: {0}")]
    Checkpoint(InvalidCheckpoint),
    /// 400: the proof starts beyond its end.
    #[error("the old size {old} is larger than the checkpoint's {size}")]
    Backwards {
        /// The old size.
        old: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// 404: nobody asked this witness to watch that log.
    #[error("this witness does not know the log {origin:?}")]
    UnknownLog {
        /// The origin claimed.
        origin: String,
    },
    /// 403: none of the log's keys signed it.
    #[error("the checkpoint is not signed by a key of its log")]
    Signature,
    /// 409: the proof does not start where the witness stands.
    #[error("the last checkpoint cosigned has size {known}")]
    Stale {
        /// The size it starts from.
        known: u64,
    },
    /// 409: another tree of the size that was cosigned. The log's key signed two stories.
    #[error("another tree of size {known} was cosigned")]
    OtherTree {
        /// The size.
        known: u64,
    },
    /// 422: the new tree does not continue the old one, or the proof does not show it.
    #[error("the proof does not show that {size} entries continue the {known} that were cosigned")]
    Proof {
        /// Entries cosigned.
        known: u64,
        /// Entries under the new checkpoint.
        size: u64,
    },
    /// 500: the witness cannot remember, so it does not sign.
    #[error("the witness cannot remember: {0}")]
    Memory(#[from] MemoryError),
}

/// An HTTP answer, in values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Refusal {
    /// The status code that c2sp.org/tlog-witness prescribes.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Request(InvalidRequest::TooLong) => 413,
            Self::Request(_) | Self::Checkpoint(_) | Self::Backwards { .. } => 400,
            Self::UnknownLog { .. } => 404,
            Self::Signature => 403,
            Self::Stale { .. } | Self::OtherTree { .. } => 409,
            Self::Proof { .. } => 422,
            Self::Memory(_) => 500,
        }
    }
}

impl Answer {
    pub(crate) fn to(asked: Result<String, Refusal>) -> Self {
        let text = "text/plain; charset=utf-8";
        match asked {
            Ok(body) => Self {
                status: 200,
                content_type: text,
                body,
            },
            Err(Refusal::Stale { known } | Refusal::OtherTree { known }) => Self {
                status: 409,
                content_type: "text/x.tlog.size",
                body: format!("{known}\n"),
            },
            // What the disk said is the operator's business, not the caller's.
            Err(Refusal::Memory(_)) => Self {
                status: 500,
                content_type: text,
                body: "the witness cannot remember, so it does not sign\n".to_owned(),
            },
            Err(refusal) => Self {
                status: refusal.status(),
                content_type: text,
                body: format!("{refusal}\n"),
            },
        }
    }
}
