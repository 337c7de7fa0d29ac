//! Keeping a report readable: what a plugin can make long, a plugin would make long.
//!
//! A plugin that tries ten thousand hosts must not make a report that no tool opens. The lists are
//! shortened from their unimportant end, and [`Omitted`](super::Omitted) says by how much.

use super::ConformanceReport;

/// The largest predicate that still fits an envelope of 1 MiB after base64, with room for subjects.
pub const MAX_PAYLOAD_BYTES: usize = 700_000;
/// Runs named per finding; `connections` counts all of them.
pub const MAX_RUNS_PER_FINDING: usize = 100;

/// Log entries cited per finding: enough to prove it, few enough to read.
const MAX_EVENTS_PER_FINDING: usize = 20;
const MAX_FINDINGS: usize = 500;
const MAX_OBSERVED: usize = 1000;
const MAX_UNUSED: usize = 500;
const MAX_GAPS: usize = 200;

/// More than a report with no item in any list takes.
const MAX_BARE_BYTES: usize = 8_000;

impl ConformanceReport {
    /// Shortens every list to what a reader can use, gravest first, and counts what was left out.
    /// Puts the lists in order; leaves the verdict alone.
    pub fn fit(&mut self) {
        let moved = self.observed_bytes();
        self.fit_counts();
        // Long texts can still add up. Halving ends: an empty list fits.
        let mut budget = MAX_OBSERVED;
        while budget > 0 && self.size() > MAX_PAYLOAD_BYTES {
            budget /= 2;
            for finding in &mut self.findings {
                finding.runs.truncate(budget.max(1));
                finding.events.truncate(budget.max(1));
            }
            self.shorten(budget.clamp(1, MAX_FINDINGS), budget, budget.min(MAX_UNUSED));
        }
        let left_out = moved.saturating_sub(self.observed_bytes());
        self.omitted.bytes = self.omitted.bytes.saturating_add(left_out);
    }

    /// The same for a report that is still to be given lists of so many bytes in all. `false` where it cannot
    /// be told before it has them how much must be left out; then only what is always left out was.
    pub fn fit_beside(&mut self, bytes: usize) -> bool {
        self.fit_counts();
        let is_short = self.findings.is_empty() && self.coverage.gaps.is_empty() && self.actions.is_empty();
        let is_short = is_short && self.observed.is_empty() && self.unused.is_empty() && self.logs.is_empty();
        // What is left then are names and numbers, and writing them takes longer than knowing so.
        let own = if is_short { MAX_BARE_BYTES } else { self.size() };
        own.saturating_add(bytes) <= MAX_PAYLOAD_BYTES
    }

    /// Puts the lists in order and cuts those with too many items, whatever their size.
    fn fit_counts(&mut self) {
        self.put_in_order();
        for finding in &mut self.findings {
            finding.runs.truncate(MAX_RUNS_PER_FINDING);
            finding.events.truncate(MAX_EVENTS_PER_FINDING);
        }
        self.shorten(MAX_FINDINGS, MAX_OBSERVED, MAX_UNUSED);
        self.omitted.gaps += cut(&mut self.coverage.gaps, MAX_GAPS);
    }

    fn shorten(&mut self, findings: usize, observed: usize, unused: usize) {
        self.shorten_findings(findings);
        if self.observed.len() > observed {
            // The rows that explain the findings outlive the rows that are as promised.
            self.observed
                .sort_by(|a, b| (a.matched.is_some(), a.key()).cmp(&(b.matched.is_some(), b.key())));
            self.omitted.observed += cut(&mut self.observed, observed);
            self.observed.sort_by(|a, b| a.key().cmp(&b.key()));
        }
        self.omitted.unused += cut(&mut self.unused, unused);
    }

    /// The gravest always stays. A finding about all of a run outlives one about a single destination:
    /// that there were too many to read must not be what is left out.
    fn shorten_findings(&mut self, max: usize) {
        let all = self.findings.len();
        if all <= max {
            return;
        }
        let general = self
            .findings
            .iter()
            .filter(|finding| finding.host.is_none())
            .count();
        let mut single = (all - general).min(max - general.min(max / 2));
        let mut general = max - single;
        let mut at = 0;
        self.findings.retain(|finding| {
            let left = if finding.host.is_none() {
                &mut general
            } else {
                &mut single
            };
            let stays = *left > 0 || at == 0;
            *left = left.saturating_sub(1);
            at += 1;
            stays
        });
        self.omitted.findings += (all - self.findings.len()) as u64;
    }

    fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
    }
}

fn cut<T>(list: &mut Vec<T>, max: usize) -> u64 {
    let excess = list.len().saturating_sub(max);
    list.truncate(max);
    excess as u64
}
