//! What types cannot hold: a report that contradicts itself is not a report.
//!
//! A verdict must follow from the rest of the report. A breach outweighs a gap, because a plugin
//! that could buy `inconclusive` with a gap would buy one; and neither ever comes out `conforming`.

use std::collections::BTreeSet;

use base::Verdict;

use super::finding::{FindingId, Weight};
use super::{ActionKind, ConformanceReport, ManifestInForce};

/// Texts of a report end here: declarations, causes, names.
const MAX_TEXT_BYTES: usize = 2048;
/// A checkpoint with many cosignatures still fits.
const MAX_CHECKPOINT_BYTES: usize = 16 * 1024;

/// How a report contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// The verdict does not follow from findings, gaps and observations.
    #[error("the verdict is {claimed}, and by its findings, gaps and observations it is {follows}")]
    Verdict {
        /// What the report says.
        claimed: Verdict,
        /// What it should say.
        follows: Verdict,
    },
    /// A stretch of time or of log that ends before it begins.
    #[error("{what} ends before it begins")]
    Backwards {
        /// Which one.
        what: String,
    },
    /// A destination that no declaration covers, and no finding about it.
    #[error("{target} is undeclared and no finding mentions it")]
    Unmentioned {
        /// Host and port.
        target: String,
    },
    /// A number larger than the number it is part of.
    #[error("{what}: {part} of {whole}")]
    Excess {
        /// Which one.
        what: &'static str,
        /// The part.
        part: u64,
        /// The whole.
        whole: u64,
    },
    /// A finding whose id does not follow from what it says.
    #[error("finding {found} should have the id {follows}")]
    FindingId {
        /// The id found.
        found: FindingId,
        /// The id that follows.
        follows: FindingId,
    },
    /// A list out of order, or with repetitions.
    #[error("the list {list} is out of order or repeats itself; see put_in_order")]
    Order {
        /// Which list.
        list: &'static str,
    },
    /// A finding cites a log that the report does not name, or an entry outside its range.
    #[error("entry {index} of a cited log is in none of the stretches that the report names")]
    UncitedLog {
        /// The entry.
        index: u64,
    },
    /// A text that is empty where it must not be, or too long.
    #[error("{field} is empty or longer than {MAX_TEXT_BYTES} bytes")]
    Text {
        /// Which field.
        field: &'static str,
    },
    /// Manifests that do not follow one another, or of which the last is not the one named.
    #[error("the manifests {problem}")]
    Manifests {
        /// What is wrong.
        problem: &'static str,
    },
    /// What runs moved before is told of all of them together.
    #[error("bytes moved before the period are told of no single run")]
    BytesOfAll,
    /// An action on the list without a list, or the reverse.
    #[error("the action {action} {problem}")]
    Action {
        /// Which action.
        action: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl ConformanceReport {
    /// The verdict that follows from findings, gaps and observations.
    pub fn verdict_that_follows(&self) -> Verdict {
        let weight = self.findings.iter().map(|f| f.weight()).max();
        let coverage = &self.coverage;
        if weight == Some(Weight::Breach) {
            Verdict::NonConforming
        } else if weight == Some(Weight::Doubt)
            || !coverage.gaps.is_empty()
            || self.omitted.gaps > 0
            || coverage.gateways_seen < coverage.gateways_expected
        {
            Verdict::Inconclusive
        } else if self.observed.is_empty() && self.omitted.observed == 0 {
            Verdict::NoTraffic
        } else {
            Verdict::Conforming
        }
    }

    /// Whether the report agrees with itself.
    ///
    /// # Errors
    /// [`Inconsistent`]; the first contradiction met.
    pub fn check(&self) -> Result<(), Inconsistent> {
        self.check_ranges()?;
        self.check_texts()?;
        self.check_order()?;
        self.check_findings()?;
        let follows = self.verdict_that_follows();
        if follows != self.verdict {
            return Err(Inconsistent::Verdict {
                claimed: self.verdict,
                follows,
            });
        }
        self.check_manifests()?;
        if self.bytes_before > 0 && self.run_id.is_none() {
            return Err(Inconsistent::BytesOfAll);
        }
        self.check_actions()
    }

    fn check_manifests(&self) -> Result<(), Inconsistent> {
        let all = &self.manifests;
        let Some(last) = all.last() else {
            return Ok(());
        };
        let in_period = |one: &ManifestInForce| {
            self.period.from <= one.from && one.from < one.to && one.to <= self.period.to
        };
        let follows =
            |pair: &[ManifestInForce]| pair[0].to == pair[1].from && pair[0].digest != pair[1].digest;
        let problem = if all.len() == 1 {
            "are one alone"
        } else if last.digest != self.manifest.digest {
            "do not end with the one that is named"
        } else if !all.iter().all(in_period) {
            "were not in force within the period"
        } else if !all.windows(2).all(follows) {
            "do not follow one another"
        } else {
            return Ok(());
        };
        Err(Inconsistent::Manifests { problem })
    }

    fn check_ranges(&self) -> Result<(), Inconsistent> {
        let forwards = |forwards: bool, what: &dyn Fn() -> String| {
            if forwards {
                Ok(())
            } else {
                Err(Inconsistent::Backwards { what: what() })
            }
        };
        let within = |what, part, whole| {
            if part <= whole {
                Ok(())
            } else {
                Err(Inconsistent::Excess { what, part, whole })
            }
        };
        forwards(self.period.from < self.period.to, &|| "the period".to_owned())?;
        for (at, log) in self.logs.iter().enumerate() {
            forwards(log.from <= log.to, &|| format!("logs[{at}]"))?;
        }
        for finding in &self.findings {
            forwards(finding.first <= finding.last, &|| {
                format!("finding {}", finding.id)
            })?;
            within(
                "refused connections of a finding",
                finding.refused,
                finding.connections,
            )?;
        }
        for row in &self.observed {
            within(
                "refused connections of a destination",
                row.refused,
                row.connections,
            )?;
        }
        let coverage = &self.coverage;
        within(
            "gateways seen",
            coverage.gateways_seen,
            coverage.gateways_expected,
        )?;
        let rows = self.observed.len() as u64 + self.omitted.observed;
        within(
            "destinations observed, against events",
            rows.min(1),
            coverage.events,
        )
    }

    fn check_texts(&self) -> Result<(), Inconsistent> {
        let text = |field, text: &str, max: usize| {
            if text.is_empty() || text.len() > max {
                Err(Inconsistent::Text { field })
            } else {
                Ok(())
            }
        };
        text("auditor.id", &self.auditor.id, MAX_TEXT_BYTES)?;
        text("auditor.version", &self.auditor.version, MAX_TEXT_BYTES)?;
        for gap in &self.coverage.gaps {
            text("gaps.origin", &gap.origin, MAX_TEXT_BYTES)?;
            text("gaps.cause", &gap.cause, MAX_TEXT_BYTES)?;
        }
        for log in &self.logs {
            text("logs.origin", &log.origin, MAX_TEXT_BYTES)?;
            text("logs.checkpoint", &log.checkpoint, MAX_CHECKPOINT_BYTES)?;
        }
        for matched in self.observed.iter().filter_map(|row| row.matched.as_ref()) {
            text("observed.matched", matched, MAX_TEXT_BYTES)?;
        }
        for entry in &self.unused {
            text("unused", entry, MAX_TEXT_BYTES)?;
        }
        for finding in &self.findings {
            text("findings.fix", &finding.fix, MAX_TEXT_BYTES)?;
            for event in &finding.events {
                text("findings.events.origin", &event.origin, MAX_TEXT_BYTES)?;
            }
            for optional in [&finding.nearest_declared, &finding.origin].into_iter().flatten() {
                text("findings.nearest_declared and origin", optional, MAX_TEXT_BYTES)?;
            }
        }
        for action in &self.actions {
            text("actions.clause", &action.clause, MAX_TEXT_BYTES)?;
            text("actions.enabled_by", &action.enabled_by, MAX_TEXT_BYTES)?;
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), Inconsistent> {
        let order = |rises: bool, list| {
            if rises {
                Ok(())
            } else {
                Err(Inconsistent::Order { list })
            }
        };
        order(rises(&self.coverage.gaps), "coverage.gaps")?;
        order(rises(&self.logs), "logs")?;
        order(self.observed.is_sorted_by(|a, b| a.key() < b.key()), "observed")?;
        order(rises(&self.unused), "unused")?;
        order(rises(&self.actions), "actions")?;
        order(
            self.findings.is_sorted_by(|a, b| a.order() < b.order()),
            "findings",
        )?;
        for finding in &self.findings {
            order(rises(&finding.runs), "findings.runs")?;
            order(rises(&finding.events), "findings.events")?;
        }
        Ok(())
    }

    fn check_findings(&self) -> Result<(), Inconsistent> {
        for finding in &self.findings {
            let follows = FindingId::of(&self.scope(), &finding.key());
            if finding.id != follows {
                return Err(Inconsistent::FindingId {
                    found: finding.id,
                    follows,
                });
            }
            for event in &finding.events {
                let named = self
                    .logs
                    .iter()
                    .any(|log| log.origin == event.origin && (log.from..log.to).contains(&event.index));
                if !named {
                    return Err(Inconsistent::UncitedLog { index: event.index });
                }
            }
        }
        if self.omitted.findings > 0 {
            return Ok(());
        }
        let mentioned: BTreeSet<_> = self
            .findings
            .iter()
            .filter_map(|f| Some((f.host.as_ref()?, f.port?)))
            .collect();
        match self
            .observed
            .iter()
            .find(|row| row.matched.is_none() && !mentioned.contains(&(&row.host, row.port)))
        {
            Some(row) => Err(Inconsistent::Unmentioned {
                target: format!("{}:{}", row.host, row.port),
            }),
            None => Ok(()),
        }
    }

    fn check_actions(&self) -> Result<(), Inconsistent> {
        for taken in &self.actions {
            let problem = match (taken.action, taken.crl_number) {
                (ActionKind::Quarantine | ActionKind::Revoke, None) => "names no revocation list",
                (
                    ActionKind::Alert | ActionKind::Watch | ActionKind::AwaitApproval | ActionKind::Announce,
                    Some(_),
                ) => "touches no revocation list",
                (_, Some(number)) if number < self.crl.crl_number && taken.at.is_none() => {
                    "names a list older than the one in force"
                }
                (ActionKind::Alert, _) => continue,
                _ if matches!(self.verdict, Verdict::Conforming | Verdict::NoTraffic) => "has no cause",
                _ => continue,
            };
            return Err(Inconsistent::Action {
                action: taken.action.as_str(),
                problem,
            });
        }
        Ok(())
    }
}

fn rises<T: Ord>(list: &[T]) -> bool {
    list.is_sorted_by(|a, b| a < b)
}
