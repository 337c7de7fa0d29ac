//! The conformance report: what one period's evidence says about one artifact, or about one run of it.
//!
//! This is the predicate of `conformance-report/v1`. It is typed to the last field, so that a report
//! that reads is a report that makes sense, and [`ConformanceReport::check`] holds what types cannot:
//! above all, that `conforming` is never said where anything is missing or undeclared.
//!
//! Lists have one order ([`ConformanceReport::put_in_order`]), so that the same findings are the same
//! bytes whoever gathered them.

mod check;
mod finding;
mod fit;
mod parts;

use base::json::{self, JsonError};
use base::{ArtifactDigest, PluginId, RunId, Verdict};
use serde::{Deserialize, Serialize};

pub use check::Inconsistent;
pub use finding::{EventReference, Finding, FindingId, FindingKey, InvalidFindingId, Scope, Weight};
pub use fit::{MAX_PAYLOAD_BYTES, MAX_RUNS_PER_FINDING};
pub use parts::{
    ActionKind, ActionTaken, Auditor, Coverage, CoverageScope, CrlReference, DigestSet, DocumentReference,
    Gap, LogReference, ManifestInForce, Observed, Omitted, Period, PolicyReference,
};

/// What the evidence of one period says about one artifact (`run_id` absent) or one run of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConformanceReport {
    /// The answer.
    pub verdict: Verdict,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The exact build.
    pub artifact_digest: ArtifactDigest,
    /// The run, where the report is about a single one.
    #[serde(deserialize_with = "parts::nullable")]
    pub run_id: Option<RunId>,
    /// The time that the report covers.
    pub period: Period,
    /// The program that judged.
    pub auditor: Auditor,
    /// The payload of the report before this one about the same artifact or run.
    #[serde(deserialize_with = "parts::nullable")]
    pub previous_report: Option<DocumentReference>,
    /// The payload of the manifest that was the measure; of several, the last.
    pub manifest: DocumentReference,
    /// Every manifest that was the measure, each with the time for which it was, in its order. Absent where
    /// there was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<ManifestInForce>,
    /// The policy in force.
    pub policy: PolicyReference,
    /// The revocation list in force when the report was made, before its own actions.
    pub crl: CrlReference,
    /// How much was looked at, and what was not to be had.
    pub coverage: Coverage,
    /// The logs read, each up to a checkpoint that its gateway signed; in a report about one run those that
    /// hold something of it, with [`Omitted::logs`] for the others.
    pub logs: Vec<LogReference>,
    /// Every destination seen, one row per host, port and scheme.
    pub observed: Vec<Observed>,
    /// Declarations that no connection used, in canonical form.
    pub unused: Vec<String>,
    /// What no declaration covers, and what makes the evidence doubtful; gravest first.
    pub findings: Vec<Finding>,
    /// What was done about it without a person, and in whose name.
    pub actions: Vec<ActionTaken>,
    /// Bytes that the run had moved before the period, in both directions, by the report before this one.
    /// Absent where it had moved none, and in a report about all runs.
    #[serde(default, skip_serializing_if = "parts::is_zero")]
    pub bytes_before: u64,
    /// What was left out because a report must stay readable; the counts stay true.
    #[serde(default, skip_serializing_if = "Omitted::is_nothing")]
    pub omitted: Omitted,
}

/// Why bytes or a value are not a conformance report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReport {
    /// Not strict JSON, or a value without canonical form.
    #[error("the report cannot be read: {0}")]
    Json(#[from] JsonError),
    /// JSON of another shape.
    #[error("not a conformance report: {detail}")]
    Shape {
        /// What is missing, superfluous or misspelt.
        detail: String,
    },
    /// A report that contradicts itself.
    #[error("the report contradicts itself: {0}")]
    Inconsistent(#[from] Inconsistent),
}

impl ConformanceReport {
    /// Reads a predicate that stands alone, strictly, and checks it.
    ///
    /// # Errors
    /// [`InvalidReport`]; the first problem met.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidReport> {
        Self::from_value(json::parse(bytes)?)
    }

    /// Takes a predicate out of a statement that was verified, strictly, and checks it.
    ///
    /// # Errors
    /// [`InvalidReport::Shape`] or [`InvalidReport::Inconsistent`].
    pub fn from_value(value: serde_json::Value) -> Result<Self, InvalidReport> {
        let report: Self = serde_json::from_value(value).map_err(|e| InvalidReport::Shape {
            detail: base::escape_untrusted(e.to_string().as_bytes(), 300),
        })?;
        report.check()?;
        Ok(report)
    }

    /// The predicate's canonical bytes.
    ///
    /// # Errors
    /// [`InvalidReport::Inconsistent`], or [`InvalidReport::Json`] for a counter beyond 2⁵³−1.
    pub fn to_json(&self) -> Result<Vec<u8>, InvalidReport> {
        self.check()?;
        Ok(json::canonical(self)?)
    }

    /// What the report is about: the part of it that every finding's id binds.
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            plugin_id: &self.plugin_id,
            artifact_digest: &self.artifact_digest,
            run_id: self.run_id.as_ref(),
            period: self.period,
        }
    }

    /// Brings every list into its one order and removes exact repetitions.
    pub fn put_in_order(&mut self) {
        fn tidy<T: Ord>(list: &mut Vec<T>) {
            list.sort();
            list.dedup();
        }
        tidy(&mut self.coverage.gaps);
        tidy(&mut self.logs);
        self.observed.sort_by(|a, b| a.key().cmp(&b.key()));
        tidy(&mut self.unused);
        tidy(&mut self.actions);
        for finding in &mut self.findings {
            tidy(&mut finding.runs);
            tidy(&mut finding.events);
        }
        self.findings.sort_by(|a, b| a.order().cmp(&b.order()));
        self.findings.dedup();
    }

    /// Bytes that the run moved up to the end of the period, in both directions.
    pub fn bytes_so_far(&self) -> u64 {
        let told = self.bytes_before.saturating_add(self.omitted.bytes);
        told.saturating_add(self.observed_bytes())
    }

    /// Bytes moved to the destinations that the report names.
    pub(super) fn observed_bytes(&self) -> u64 {
        self.observed.iter().fold(0, |sum: u64, row| {
            sum.saturating_add(row.bytes_out).saturating_add(row.bytes_in)
        })
    }

    /// Findings that stand against the owner.
    pub fn breaches(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.weight() == Weight::Breach)
    }

    /// Findings that make the evidence doubtful.
    pub fn doubts(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.weight() == Weight::Doubt)
    }
}

#[cfg(test)]
mod tests;
