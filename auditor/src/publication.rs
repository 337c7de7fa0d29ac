//! Publications: one report in every form that somebody reads.

use base::{Sha256Digest, Verdict};
use reports::predicate::ConformanceReport;

/// One sealed report, ready to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it says.
    pub report: ConformanceReport,
    /// What the artifact's file is called.
    pub artifact_name: String,
    /// The signed bundle, `report.sigstore.json`.
    pub bundle: Vec<u8>,
    /// The digest of the payload that was signed: how the next report names this one.
    pub payload: Sha256Digest,
    /// The page, for a browser.
    pub html: String,
    /// The page, for a terminal.
    pub text: String,
    /// The evidence bundle's file name.
    pub evidence_name: String,
    /// The evidence bundle.
    pub evidence: Vec<u8>,
    /// What surrounds the report, for whoever writes letters about it.
    pub context: reports::Context,
}

impl Publication {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        self.report.verdict
    }
}
