//! Audits: asking for one, how far it is, what it found.

use base::{
    ArtifactDigest, Host, ObservedScheme, PluginId, Port, Reason, RunId, Severity, Sha256Digest, Tier,
    Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Act, NightRecord};

/// `POST /v1/audits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest {
    /// The first moment; absent takes up where the last audit ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The first moment after; absent is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// One plugin's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// One run's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// A draft manifest to judge by instead: "what if". Implies a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
    /// A draft policy, as TOML, to act by instead: "what if". Implies a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// A tier to put every plugin concerned into: "what if". Implies a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether the answer lists every destination that each run went to.
    #[serde(default)]
    pub observed: bool,
    /// Verify every log whole, and not only from where the night before ended.
    #[serde(default)]
    pub full: bool,
    /// Judge and answer, but write, send and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    #[serde(default)]
    pub who: String,
}

/// How far an audit is: the answer to `GET /v1/audits`, with everything absent where none is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditProgress {
    /// What is being done, for people.
    pub doing: Option<String>,
    /// How much of that is done.
    pub done: u64,
    /// How much there is in all.
    pub of: u64,
}

/// The answer to [`AuditRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditSummary {
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// Whether nothing was written, sent or done.
    pub dry_run: bool,
    /// One line per report.
    pub reports: Vec<AuditedReport>,
    /// What the tiers did about it.
    pub acts: Vec<Act>,
    /// Message-IDs of the letters that were queued.
    pub mails: Vec<String>,
    /// What keeps somebody from being sure; empty where the evidence is whole.
    pub doubts: Vec<String>,
    /// What concerns the site rather than a plugin, such as connections without identity.
    #[serde(default)]
    pub notices: Vec<String>,
    /// What clauses of the policy came to, acts that were not done at once and dry runs included.
    #[serde(default)]
    pub proposals: Vec<ProposalLine>,
    /// "What if": connections that would have fared otherwise.
    #[serde(default)]
    pub changes: Vec<ChangeLine>,
    /// The logs that were believed, and how much of each was verified anew.
    #[serde(default)]
    pub logs: Vec<AuditedLog>,
}

/// One log that an audit believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedLog {
    /// The log.
    pub origin: String,
    /// One past the last entry read.
    pub to: u64,
    /// The first entry that was verified by reading it; 0 where the log was verified whole. Those before it
    /// were verified by an earlier night.
    pub verified_from: u64,
}

/// What one clause of the policy came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalLine {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// What the clause comes to: `alert`, `watch`, `quarantine`, `revoke`, `announce` or
    /// `await_approval`.
    pub measure: String,
    /// Why it is no more than that, or what it waits for; absent where it is done at once.
    pub why: Option<String>,
    /// The clause, by its full name.
    pub clause: String,
    /// Who switched it on.
    pub enabled_by: String,
    /// The reasons found.
    pub reasons: Vec<Reason>,
    /// What became of it.
    pub result: String,
}

/// Connections of one artifact to one destination that would have fared otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLine {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// Where to, escaped for print.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was spoken.
    pub scheme: Option<ObservedScheme>,
    /// How many connections.
    pub connections: u64,
    /// In how many runs.
    pub runs: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How they would have fared: `breach`, `no_breach`, `denied` or `allowed`.
    pub would: String,
    /// By which entry, or which clause, and why.
    pub by: String,
}

impl AuditSummary {
    /// The gravest of all verdicts: a broken promise before doubt, doubt before a clean night.
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.reports.iter().any(|report| report.verdict == verdict);
        if has(Verdict::NonConforming) {
            Verdict::NonConforming
        } else if has(Verdict::Inconclusive) || !self.doubts.is_empty() {
            Verdict::Inconclusive
        } else if has(Verdict::Conforming) {
            Verdict::Conforming
        } else {
            Verdict::NoTraffic
        }
    }
}

/// One report of an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditedReport {
    /// The SHA-256 of its bundle; absent in a dry run.
    pub report_id: Option<Sha256Digest>,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: Option<ArtifactDigest>,
    /// The run, where the report is about one.
    pub run_id: Option<RunId>,
    /// The verdict.
    pub verdict: Verdict,
    /// The folder it was written to; absent in a dry run.
    pub folder: Option<String>,
    /// Its findings.
    pub findings: Vec<FindingLine>,
    /// Every destination, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<ObservedLine>,
}

/// One destination and what went there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedLine {
    /// The host asked for.
    pub host: Host,
    /// The port asked for.
    pub port: Port,
    /// What was spoken; absent where nobody spoke.
    pub scheme: Option<ObservedScheme>,
    /// Connections asked for.
    pub connections: u64,
    /// The declaration that covers it.
    pub matched: Option<String>,
}

/// A finding in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingLine {
    /// Why it is one.
    pub reason: Reason,
    /// How grave it is.
    pub severity: Severity,
    /// Where to, escaped for print; absent where the finding is about the evidence itself.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// How many connections.
    pub connections: u64,
    /// How to mend it.
    pub fix: String,
}

/// One audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NightView {
    /// The moment it was due; absent by hand.
    pub scheduled_for: Option<Timestamp>,
    /// The period's first moment.
    pub from: Timestamp,
    /// The first moment after the period.
    pub to: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
    /// What came of it.
    pub outcome: Option<String>,
}

impl From<NightRecord> for NightView {
    fn from(record: NightRecord) -> Self {
        Self {
            scheduled_for: record.scheduled_for,
            from: record.from,
            to: record.to,
            started_at: record.started_at,
            finished_at: record.finished_at,
            outcome: record.outcome,
        }
    }
}
