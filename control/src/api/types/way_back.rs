//! Appeals and remediations: the owner's way back.

use base::{ArtifactDigest, PluginId, Sha256Digest, Timestamp};
use reports::predicate::FindingId;
use serde::{Deserialize, Serialize};

use crate::store::{AppealRecord, RemediationRecord};
use crate::words::{AppealOutcome, AppealReason, Lane};

/// `POST /v1/appeals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAppealRequest {
    /// The finding that is said to be wrong.
    pub finding_id: FindingId,
    /// Why.
    pub reason: AppealReason,
    /// The owner's own words, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Who opens it.
    pub who: String,
}

/// `POST /v1/appeals/{appeal_id}/respond`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondRequest {
    /// The answer, in one line.
    pub response: String,
    /// Who answers.
    pub who: String,
}

/// `POST /v1/appeals/{appeal_id}/decide`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideAppealRequest {
    /// How.
    pub outcome: AppealOutcome,
    /// Why, in one line.
    pub decision: String,
    /// Who decides.
    pub who: String,
}

/// One appeal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppealView {
    /// Its number.
    pub appeal_id: i64,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build that the finding is about.
    pub artifact_digest: ArtifactDigest,
    /// The finding.
    pub finding_id: String,
    /// The finding in one line.
    pub finding: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// Why it is said to be wrong.
    pub reason: AppealReason,
    /// The owner's own words.
    pub statement: Option<String>,
    /// Who opened it.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
    /// Until when somebody promised to have read it.
    pub acknowledge_by: Timestamp,
    /// Until when somebody promised to answer.
    pub respond_by: Timestamp,
    /// Until when somebody promised to decide.
    pub decide_by: Timestamp,
    /// Which promises are broken by now.
    pub overdue: Vec<String>,
    /// When somebody had read it.
    pub acknowledged_at: Option<Timestamp>,
    /// When somebody answered.
    pub responded_at: Option<Timestamp>,
    /// What was answered.
    pub response: Option<String>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// How.
    pub outcome: Option<AppealOutcome>,
    /// Why.
    pub decision: Option<String>,
    /// Until when nothing automatic is done to the plugin.
    pub protected_until: Option<Timestamp>,
    /// The list that lifted the hold, where there was one.
    pub crl_number: Option<u64>,
}

impl AppealView {
    /// The appeal as it stands at `now`.
    pub fn new(record: AppealRecord, now: Timestamp) -> Self {
        let open = record.decided_at.is_none();
        let clocks = [
            ("acknowledge", record.acknowledge_by, record.acknowledged_at),
            ("respond", record.respond_by, record.responded_at),
            ("decide", record.decide_by, record.decided_at),
        ];
        let overdue = clocks
            .into_iter()
            .filter(|(_, by, done)| open && done.is_none() && *by < now)
            .map(|(what, _, _)| what.to_owned());
        Self {
            overdue: overdue.collect(),
            appeal_id: record.appeal_id,
            plugin_id: record.plugin_id,
            artifact_digest: record.artifact_digest,
            finding_id: record.finding_id,
            finding: record.finding,
            report_id: record.report_id,
            reason: record.reason,
            statement: record.statement,
            opened_by: record.opened_by,
            opened_at: record.opened_at,
            acknowledge_by: record.acknowledge_by,
            respond_by: record.respond_by,
            decide_by: record.decide_by,
            acknowledged_at: record.acknowledged_at,
            responded_at: record.responded_at,
            response: record.response,
            decided_at: record.decided_at,
            decided_by: record.decided_by,
            outcome: record.outcome,
            decision: record.decision,
            protected_until: record.protected_until,
            crl_number: record.crl_number,
        }
    }
}

/// The answer to `GET /v1/appeals`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppealList {
    /// The latest first.
    pub appeals: Vec<AppealView>,
}

/// The query of `GET /v1/appeals` and `GET /v1/remediations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenQuery {
    /// Only those that nothing has settled yet.
    #[serde(default)]
    pub open: bool,
}

/// One remediation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemediationView {
    /// Its number.
    pub remediation_id: i64,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The finding.
    pub finding_id: String,
    /// The finding in one line.
    pub finding: String,
    /// The report that has it.
    pub report_id: Sha256Digest,
    /// The build that was found.
    pub mends_digest: ArtifactDigest,
    /// The build that mends it.
    pub artifact_digest: ArtifactDigest,
    /// How it came in.
    pub lane: Lane,
    /// The difference of permissions, in words.
    pub difference: String,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// By whom.
    pub admitted_by: String,
    /// When a night found the finding gone.
    pub closed_at: Option<Timestamp>,
    /// The report that shows it.
    pub closed_by: Option<Sha256Digest>,
    /// The folder of the closing report.
    pub folder: Option<String>,
}

impl From<RemediationRecord> for RemediationView {
    fn from(record: RemediationRecord) -> Self {
        Self {
            remediation_id: record.remediation_id,
            plugin_id: record.plugin_id,
            finding_id: record.finding_id,
            finding: record.finding,
            report_id: record.report_id,
            mends_digest: record.mends_digest,
            artifact_digest: record.artifact_digest,
            lane: record.lane,
            difference: record.difference,
            admitted_at: record.admitted_at,
            admitted_by: record.admitted_by,
            closed_at: record.closed_at,
            closed_by: record.closed_by,
            folder: record.folder,
        }
    }
}

/// The answer to `GET /v1/remediations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemediationList {
    /// The latest first.
    pub remediations: Vec<RemediationView>,
}
