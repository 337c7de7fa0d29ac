//! What is inside: libraries of an artifact, held against the ranges that its manifest declares.
//!
//! The bill of materials, or a wheel's own metadata, was read when the artifact was admitted. Only
//! libraries that the manifest names are judged: what it does not name it says nothing about.

use base::{Reason, Severity};
use manifests::Requirement;
use reports::predicate::Finding;

use crate::judge::Case;
use crate::site::Component;

/// Libraries that one finding spells out.
const MAX_NAMED: usize = 3;

impl Case<'_> {
    /// The libraries outside their declared ranges.
    pub(crate) fn drift(&self) -> Option<Finding> {
        let outside: Vec<String> = self
            .components
            .iter()
            .filter_map(|component| {
                let range = self
                    .manifest
                    .sdk_allowlist
                    .iter()
                    .find(|r| r.is_for(&component.name))?;
                drifted(range, component)
            })
            .collect();
        let (first, rest) = outside.split_at(outside.len().min(MAX_NAMED));
        if first.is_empty() {
            return None;
        }
        let more = match rest.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let mut finding = self.bare_finding(Reason::SdkDrift, None, None, Severity::Medium);
        finding.fix = format!(
            "{}{more}; build with a version in the range, or widen the range and re-sign",
            first.join(", ")
        );
        Some(finding)
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
