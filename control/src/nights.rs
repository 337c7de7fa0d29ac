//! The night, as control sees it: somebody who audits when asked to.
//!
//! The auditor depends on nothing here and nothing here depends on the auditor; whoever puts the
//! process together implements this trait with one and hands it to the other.

use std::future::Future;
use std::pin::Pin;

use crate::api::types::{AppealView, AuditProgress, AuditRequest, AuditSummary};
use crate::store::ReportRecord;

/// A future that can be sent anywhere, as trait objects need it.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why an audit or a letter did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NightFailure {
    /// This process has no auditor.
    #[error("there is no auditor in this process; run `bailiwick audit` where the site's folder is")]
    Absent,
    /// Another audit is under way; it will not be disturbed.
    #[error("another audit is under way; wait for it to finish and repeat")]
    Busy,
    /// The request contradicts itself or asks for what is not there.
    #[error("{what}")]
    Request {
        /// What is wrong with it.
        what: String,
    },
    /// The audit failed; nothing half-done was published.
    #[error("{what}")]
    Failed {
        /// What failed, and what to do.
        what: String,
    },
}

/// Who audits by hand, and writes to people about a report.
pub trait Nights: Send + Sync {
    /// Audits as asked.
    fn audit(&self, request: AuditRequest) -> Answer<'_, Result<AuditSummary, NightFailure>>;

    /// How far the audit under way is; `None` where none is.
    fn progress(&self) -> Option<AuditProgress> {
        None
    }

    /// Queues a report's letters again, under Message-IDs of their own, and gives those.
    fn send_report(&self, report: ReportRecord, who: String)
    -> Answer<'_, Result<Vec<String>, NightFailure>>;

    /// Writes to owner and security how an appeal stands.
    fn tell_of_appeal(&self, appeal: AppealView) -> Answer<'_, Result<(), NightFailure>> {
        // Whoever writes no letters tells nobody.
        let _ = appeal;
        Box::pin(async { Ok(()) })
    }

    /// Mails a token to an address, for its reader to send back; the letter's Message-ID.
    fn ask_contact(&self, address: String, who: String) -> Answer<'_, Result<String, NightFailure>> {
        // Whoever writes no letters asks nobody.
        let _ = (address, who);
        Box::pin(async { Err(NightFailure::Absent) })
    }
}

/// A process without an auditor.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNights;

impl Nights for NoNights {
    fn audit(&self, _: AuditRequest) -> Answer<'_, Result<AuditSummary, NightFailure>> {
        Box::pin(async { Err(NightFailure::Absent) })
    }

    fn send_report(&self, _: ReportRecord, _: String) -> Answer<'_, Result<Vec<String>, NightFailure>> {
        Box::pin(async { Err(NightFailure::Absent) })
    }
}
