//! The archive, as control sees it: somebody who fills it, or lets go what it has, when asked to.
//!
//! Only whoever writes the log can say in it what was archived. While a gateway runs that is the
//! gateway, so a wish of this kind goes to the process that holds it.

use crate::api::types::{ArchiveRequest, ArchivedView, ExpireRequest, ExpiredView, PruneRequest, PrunedView};
use crate::nights::Answer;

/// Why nothing was archived or let go. What was bound before stays bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveFailure {
    /// No gateway runs here that could write into its log.
    #[error("no gateway runs in this process; the command does it by itself where none runs")]
    Absent,
    /// It failed; the message says what the archive or the log refused.
    #[error("{what}")]
    Failed {
        /// What failed, and what to do.
        what: String,
    },
}

/// Who archives by hand.
pub trait Archives: Send + Sync {
    /// Archives what is due, or everything that is signed.
    fn archive(&self, request: ArchiveRequest) -> Answer<'_, Result<ArchivedView, ArchiveFailure>>;

    /// Lets go entries that the archive gives back.
    fn prune(&self, request: PruneRequest) -> Answer<'_, Result<PrunedView, ArchiveFailure>>;

    /// Lets archive files expire as the site's retention says.
    fn expire(&self, request: ExpireRequest) -> Answer<'_, Result<ExpiredView, ArchiveFailure>>;
}

/// A process without a gateway.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoArchives;

impl Archives for NoArchives {
    fn archive(&self, _: ArchiveRequest) -> Answer<'_, Result<ArchivedView, ArchiveFailure>> {
        Box::pin(async { Err(ArchiveFailure::Absent) })
    }

    fn prune(&self, _: PruneRequest) -> Answer<'_, Result<PrunedView, ArchiveFailure>> {
        Box::pin(async { Err(ArchiveFailure::Absent) })
    }

    fn expire(&self, _: ExpireRequest) -> Answer<'_, Result<ExpiredView, ArchiveFailure>> {
        Box::pin(async { Err(ArchiveFailure::Absent) })
    }
}
