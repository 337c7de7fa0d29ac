//! Reports, and sending them.

use base::{ArtifactDigest, PluginId, RunId, Sha256Digest, Timestamp, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Line, ReportRecord};
use crate::words::Form;

/// One report of `GET /v1/reports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportView {
    /// The SHA-256 of its bundle.
    pub report_id: Sha256Digest,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: Option<ArtifactDigest>,
    /// The run, where the report is about one.
    pub run_id: Option<RunId>,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// The folder with all its forms, or, of a report about a run, with the file that has its line.
    pub folder: String,
    /// Where in `runs.sigstore.jsonl` of the folder it stands; absent for a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
    /// When it was written.
    pub created_at: Timestamp,
}

impl From<&ReportRecord> for ReportView {
    fn from(record: &ReportRecord) -> Self {
        Self {
            report_id: record.report_id,
            plugin_id: record.plugin_id.clone(),
            artifact_digest: record.artifact_digest,
            run_id: record.run_id,
            from: record.from,
            to: record.to,
            verdict: record.verdict,
            folder: record.folder.clone(),
            line: record.line,
            created_at: record.created_at,
        }
    }
}

/// The answer to `GET /v1/reports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportList {
    /// The latest first.
    pub reports: Vec<ReportView>,
}

/// The query of `GET /v1/reports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// One plugin's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The query of `GET /v1/reports/{report_id}/page`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// What the page is made for.
    pub form: Form,
}

/// The answer to `GET /v1/reports/{report_id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportDetail {
    /// Where it lies and what it says.
    pub report: ReportView,
    /// The signed bundle, checked against the id.
    pub bundle: Value,
}

/// `POST /v1/reports/{report_id}/send` and `POST /v1/mails/{mail_id}/again`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Who asks.
    pub who: String,
}

/// The answer to `POST /v1/reports/{report_id}/send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Message-IDs of the letters in the outbox.
    pub mails: Vec<String>,
}
