//! Changes: what is new since the report before, what is still there and what is gone.

use std::collections::BTreeSet;

use base::Verdict;

use crate::predicate::{ConformanceReport, Finding};
use crate::words;

/// The difference between two reports about the same artifact or run, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The verdict before.
    pub verdict_before: Verdict,
    /// Findings that were not there before.
    pub new: Vec<String>,
    /// Findings that were there before.
    pub remaining: Vec<String>,
    /// Findings that are no longer there.
    pub gone: Vec<String>,
    /// Destinations that were not seen before, declared or not.
    pub new_destinations: Vec<String>,
}

impl Changes {
    /// What happened from `before` to `after`. Findings are compared by what they are about, because
    /// their ids bind the period too.
    pub fn between(before: &ConformanceReport, after: &ConformanceReport) -> Self {
        let has = |report: &ConformanceReport, finding: &Finding| {
            report.findings.iter().any(|other| other.key() == finding.key())
        };
        let titles = |of: &ConformanceReport, against: &ConformanceReport, common: bool| {
            of.findings
                .iter()
                .filter(|finding| has(against, finding) == common)
                .map(words::finding_title)
                .collect()
        };
        let known: BTreeSet<_> = before.observed.iter().map(|row| (&row.host, row.port)).collect();
        let seen: BTreeSet<_> = after.observed.iter().map(|row| (&row.host, row.port)).collect();
        Self {
            verdict_before: before.verdict,
            new: titles(after, before, false),
            remaining: titles(after, before, true),
            gone: titles(before, after, false),
            new_destinations: seen
                .difference(&known)
                .map(|&(host, port)| words::destination(host, port))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Reason;

    use super::*;
    use crate::testing::{breach, clean, finding};

    #[test]
    fn a_finding_is_the_same_finding_the_next_night() {
        let before = breach();
        let mut after = breach();
        after.period.from = before.period.to;
        after.period.to = before.period.to.plus_seconds(86_400);
        let another = finding(&after, Reason::UndeclaredHost, Some("paste.example"));
        after.findings.push(another);
        let changes = Changes::between(&before, &after);
        assert_eq!(changes.remaining, ["Undeclared host: api.randomsite.com:443"]);
        assert_eq!(changes.new, ["Undeclared host: paste.example:443"]);
        assert!(changes.gone.is_empty() && changes.new_destinations.is_empty());
    }

    #[test]
    fn what_was_mended_is_gone() {
        let changes = Changes::between(&breach(), &clean());
        assert_eq!(changes.gone, ["Undeclared host: api.randomsite.com:443"]);
        assert_eq!(changes.verdict_before, Verdict::NonConforming);
    }
}
