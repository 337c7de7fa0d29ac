//! Truth: what an audit of a synthetic site must say, written down before anybody audited it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use base::{ArtifactDigest, PluginId, Reason, RunId, Timestamp, Verdict};
use serde::{Deserialize, Serialize};

/// What an audit must say. The file is `truth.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// The first moment of the period.
    pub since: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
    /// The exit status of `bailiwick audit`.
    pub exit: u8,
    /// One for every artifact, and one for every run.
    pub reports: Vec<Expected>,
    /// What the audit must say about the evidence of the whole site.
    pub doubts: Vec<Doubted>,
    /// Traffic that belongs to nobody.
    pub strays: Vec<Stray>,
}

/// What one report must say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// What was planted here.
    pub kind: String,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// The run, where the report is about one.
    pub run_id: Option<RunId>,
    /// The verdict.
    pub verdict: Verdict,
    /// Its findings, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Due>,
}

/// What a finding means for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// The owner did not keep their word.
    Breach,
    /// The evidence is not whole.
    Doubt,
    /// Worth knowing; changes no verdict.
    Note,
}

/// One finding that is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Due {
    /// Why.
    pub reason: Reason,
    /// What it means.
    pub weight: Weight,
    /// The host, where one is concerned.
    pub host: Option<String>,
    /// The port, where one is concerned.
    pub port: Option<u16>,
    /// Connections concerned.
    pub connections: u64,
}

/// Evidence that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doubted {
    /// What was planted here.
    pub kind: String,
    /// `evidence_gap` or `tampered_evidence`.
    pub reason: Reason,
    /// The log.
    pub origin: String,
}

/// Traffic that nobody could be named for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stray {
    /// What was planted here.
    pub kind: String,
    /// Host and port.
    pub target: String,
    /// Why it was refused; absent if it was relayed.
    pub refusal: Option<String>,
    /// How many connections.
    pub connections: u64,
}

impl Truth {
    /// Reads `truth.json`.
    ///
    /// # Errors
    /// It cannot be read, or says something else.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no truth file", path.display()))
    }

    /// Writes `truth.json`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Adds `due` to what a report must say; one destination is one finding per reason.
pub(crate) fn add(findings: &mut Vec<Due>, due: &Due) {
    let same = findings.iter_mut().find(|known| {
        (known.reason, known.weight, &known.host, known.port) == (due.reason, due.weight, &due.host, due.port)
    });
    match same {
        Some(known) => known.connections += due.connections,
        None => findings.push(due.clone()),
    }
}

/// The verdict that DESIGN §1 gives: a broken promise before doubt, and without traffic neither.
pub(crate) fn verdict(findings: &[Due], has_traffic: bool) -> Verdict {
    let has = |weight| findings.iter().any(|due| due.weight == weight);
    if has(Weight::Breach) {
        Verdict::NonConforming
    } else if has(Weight::Doubt) {
        Verdict::Inconclusive
    } else if has_traffic {
        Verdict::Conforming
    } else {
        Verdict::NoTraffic
    }
}

/// The exit status of an audit that must say all this.
pub(crate) fn exit(reports: &[Expected], doubts: &[Doubted]) -> u8 {
    let has = |verdict| reports.iter().any(|report| report.verdict == verdict);
    let tampered = doubts
        .iter()
        .any(|doubt| doubt.reason == Reason::TamperedEvidence);
    if has(Verdict::NonConforming) || tampered {
        1
    } else if has(Verdict::Inconclusive) || !doubts.is_empty() {
        3
    } else {
        0
    }
}

/// Every kind that a truth speaks of, with how many artifacts it was planted in.
pub(crate) fn cases(truth: &Truth) -> BTreeMap<&str, u64> {
    let mut cases = BTreeMap::new();
    for report in truth.reports.iter().filter(|report| report.run_id.is_none()) {
        *cases.entry(report.kind.as_str()).or_default() += 1;
    }
    cases
}
