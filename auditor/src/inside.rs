//! What is inside: libraries of an artifact, held against the ranges that its manifest declares.
//!
//! The bill of materials, or a wheel's own metadata, was read when the artifact was admitted. Only
//! libraries that the manifest names are judged: what it does not name it says nothing about.

use base::{Reason, RunId, Severity};
use manifests::{Manifest, Requirement};
use reports::predicate::Finding;

use crate::judge::Case;
use crate::relied::Use;
use crate::site::Component;
use crate::terms::Terms;

/// Libraries that one finding spells out.
const MAX_NAMED: usize = 3;

/// The libraries of a build that are outside the ranges that a manifest declares, a sentence for each.
pub(crate) fn drift(manifest: &Manifest, components: &[Component]) -> Vec<String> {
    let outside = components.iter().filter_map(|component| {
        let ranges = &manifest.sdk_allowlist;
        drifted(
            ranges.iter().find(|range| range.is_for(&component.name))?,
            component,
        )
    });
    outside.collect()
}

impl Case<'_> {
    /// The libraries outside the ranges that were declared while the case's runs went on; of a build without
    /// runs, at the period's end. It is let pass where the policy lets it pass all the time.
    pub(crate) fn drift(&self) -> Option<(Finding, Option<Use>)> {
        let period = self.period;
        let mut in_force: Vec<(Option<RunId>, Terms<'_>)> = Vec::new();
        for who in self.runs() {
            let run = self.book.run(who.run_id);
            let first = run.map_or(period.from, |run| run.started.max(period.from));
            let last = run
                .and_then(|run| run.ended)
                .map_or(period.to, |ended| ended.min(period.to));
            let all = self.book.all_terms(&who, first, last.max(first));
            in_force.extend(all.map(|terms| (Some(who.run_id), terms)));
        }
        if in_force.is_empty() {
            in_force.extend(
                self.book
                    .terms_of(self.artifact_digest, period.to)
                    .map(|terms| (None, terms)),
            );
        }
        in_force.retain(|(_, terms)| !terms.drift.is_empty());
        let stands = in_force
            .iter()
            .position(|(_, terms)| terms.excuse(Reason::SdkDrift).is_none());
        let (_, terms) = in_force.get(stands.unwrap_or(0))?;
        let (first, rest) = terms.drift.split_at(terms.drift.len().min(MAX_NAMED));
        let more = match rest.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let mend = format!(
            "{}{more}; build with a version in the range, or widen the range and re-sign",
            first.join(", ")
        );
        let excuse = terms.excuse(Reason::SdkDrift);
        let excused = excuse.map(|waiver| Use::of(waiver, terms.at, terms.at));
        let (severity, fix) = match excuse {
            None => (Severity::Medium, mend),
            Some(waiver) => (Severity::Info, format!("{}; then: {mend}", waiver.words())),
        };
        let mut finding = self.bare_finding(Reason::SdkDrift, None, None, severity);
        finding.runs = in_force.iter().filter_map(|(run, _)| *run).collect();
        finding.runs.sort_unstable();
        finding.runs.dedup();
        finding.fix = fix;
        Some((finding, excused))
    }
}

/// A version that is none by PEP 440 is in no range.
fn drifted(range: &Requirement, component: &Component) -> Option<String> {
    match range.range().contains(&component.version) {
        Some(true) => None,
        _ if range.range().is_any() => None,
        _ => {
            let version = base::escape_untrusted(component.version.as_bytes(), 60);
            Some(format!("{} {version} is not within \"{range}\"", range.name()))
        }
    }
}
