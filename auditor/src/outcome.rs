//! Outcomes: what a night came to, for whoever asked for it.

use std::sync::Arc;

use base::{ArtifactDigest, PluginId, Reason, RunId, Sha256Digest, Timestamp, Verdict};
use reports::predicate::{Finding, Observed, Period};

use crate::clause::Proposal;
use crate::doubt::Doubt;
use crate::observation::{Stray, Who};
use crate::tally::Tally;
use crate::what_if::Change;

/// What a night came to.
#[derive(Clone, Debug, PartialEq)]
pub struct NightOutcome {
    /// The time audited.
    pub period: Period,
    /// Whether nothing was written or done.
    pub dry_run: bool,
    /// One line per report: each artifact, followed by its runs.
    pub reports: Vec<Reported>,
    /// What the policy's clauses came to.
    pub acts: Vec<Act>,
    /// What if: connections that would have fared otherwise.
    pub changes: Vec<Change>,
    /// Traffic that nobody could be named for, and requests without a readable target.
    pub strays: Vec<(Stray, Tally)>,
    /// Runs of artifacts that are not on record. Nobody declared anything for them.
    pub unknown: Vec<Who>,
    /// What stands in the way of certainty.
    pub doubts: Vec<Doubt>,
    /// What went wrong on our side: reports not made or not kept, acts not done.
    pub troubles: Vec<String>,
    /// How far each believed log was read. The site keeps it for the next night.
    pub logs: Vec<LogRead>,
}

/// One report, in brief.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The plugin.
    pub plugin_id: PluginId,
    /// The artifact.
    pub artifact_digest: ArtifactDigest,
    /// The run, where the report is about one.
    pub run_id: Option<RunId>,
    /// The verdict.
    pub verdict: Verdict,
    /// Every destination seen. Of single runs only where the night was asked for them: there may be many.
    pub observed: Vec<Observed>,
    /// The findings, gravest first.
    pub findings: Vec<Finding>,
    /// The SHA-256 of the signed bundle; `None` in a dry run, or if it could not be kept.
    pub report_id: Option<Sha256Digest>,
    /// The digest of the signed payload; likewise.
    pub payload: Option<Sha256Digest>,
    /// The folder in which the site keeps it; likewise. The reports on an artifact and on its runs share one.
    pub place: Option<Arc<str>>,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What the clause asked for.
    pub proposal: Proposal,
    /// What became of it.
    pub result: ActResult,
}

impl Act {
    /// Whether this act, by the same clause, was as much as `proposal` asks for.
    pub(crate) fn outdoes(&self, proposal: &Proposal) -> bool {
        let measures = (self.proposal.measure.action(), proposal.measure.action());
        self.proposal.clause == proposal.clause && measures.0 >= measures.1
    }
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActResult {
    /// A dry run; nothing was done.
    Proposed,
    /// Owner and security are told; nothing else.
    Alerted,
    /// It goes on running, and somebody looks.
    Watched,
    /// The digest is on this revocation list, as the proposal's measure says.
    Stopped {
        /// The list's number.
        crl_number: u64,
    },
    /// It was done before this night: events were judged as they arrived, or the night was interrupted.
    DoneBefore {
        /// When.
        at: Timestamp,
        /// The list's number, where a list carries it.
        crl_number: Option<u64>,
    },
    /// It will be done once the clause's grace is over.
    Announced,
    /// A second person was asked.
    Asked,
    /// It could not be done.
    Failed {
        /// What the site said.
        why: String,
    },
}

/// How far one log was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// The log.
    pub origin: String,
    /// The first entry of the period.
    pub from: u64,
    /// One past its last. The next night begins here.
    pub to: u64,
    /// The first entry that was verified by reading it. Those before it were verified by an earlier night, and
    /// were shown to be the beginning of the same log; 0 where the log was verified whole.
    pub verified_from: u64,
    /// The signed checkpoint that the log was verified against. Kept elsewhere, it makes a cut visible.
    pub checkpoint: String,
}

/// What the night's exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everybody kept their word, and the evidence is whole.
    Clean,
    /// Somebody did not, or evidence was tampered with.
    Findings,
    /// Nobody can tell.
    CannotTell,
}

impl Exit {
    /// The process's exit status.
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Findings => 1,
            Self::CannotTell => 3,
        }
    }
}

impl NightOutcome {
    /// What the exit status says. A broken promise outweighs doubt, doubt outweighs a clean night.
    pub fn exit(&self) -> Exit {
        let has = |verdict| self.reports.iter().any(|report| report.verdict == verdict);
        let tampered = self
            .doubts
            .iter()
            .any(|doubt| doubt.reason == Reason::TamperedEvidence);
        if has(Verdict::NonConforming) || tampered || !self.unknown.is_empty() {
            Exit::Findings
        } else if has(Verdict::Inconclusive) || !self.doubts.is_empty() || !self.troubles.is_empty() {
            Exit::CannotTell
        } else {
            Exit::Clean
        }
    }

    /// How many reports have the verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.reports
            .iter()
            .filter(|report| report.verdict == verdict)
            .count()
    }

    /// The report about an artifact, or about one of its runs.
    pub fn report(
        &self,
        plugin_id: &PluginId,
        artifact: &ArtifactDigest,
        run: Option<RunId>,
    ) -> Option<&Reported> {
        self.reports.iter().find(|report| {
            report.plugin_id == *plugin_id && report.artifact_digest == *artifact && report.run_id == run
        })
    }
}
