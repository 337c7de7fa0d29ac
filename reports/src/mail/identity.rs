//! Identity: what makes two letters the same letter, and two letters the same thread.

use base::{Sha256Digest, Verdict, json};

use super::address::Address;
use crate::predicate::{ConformanceReport, Weight};

/// The Message-ID of the letter of `kind` to `to` about `report`.
///
/// It binds the findings and the acts, and not the period: the same breach by the same build the
/// next night is the same incident, which the night's digest repeats and a letter does not. Missing
/// evidence has no such memory, so an inconclusive night is an incident of its own.
pub(super) fn message_id(
    kind: &str,
    report: &ConformanceReport,
    site: &str,
    from: &Address,
    to: &[Address],
) -> String {
    let mut findings: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.weight() > Weight::Note)
        .map(|finding| finding.key())
        .map(|key| (key.reason, key.host, key.port, key.scheme, key.origin))
        .collect();
    findings.sort();
    let actions: Vec<_> = report.actions.iter().map(|a| (a.action, &a.clause)).collect();
    let period = (report.verdict == Verdict::Inconclusive).then_some(report.period);
    angle(
        &json::canonical(&(
            "bailiwick letter v1",
            (kind, site, to),
            (&report.plugin_id, &report.artifact_digest),
            (report.verdict, findings, actions, period),
        )),
        "letter",
        from,
    )
}

/// The Message-ID of the digest of one night.
pub(super) fn digest_id(
    period: crate::predicate::Period,
    site: &str,
    from: &Address,
    to: &[Address],
) -> String {
    angle(
        &json::canonical(&("bailiwick digest v1", site, period, to)),
        "digest",
        from,
    )
}

/// The thread of one build's incidents: a Message-ID that no letter has and all of them refer to.
pub(super) fn thread(report: &ConformanceReport, site: &str, from: &Address) -> String {
    angle(
        &json::canonical(&(
            "bailiwick thread v1",
            site,
            &report.plugin_id,
            &report.artifact_digest,
        )),
        "thread",
        from,
    )
}

fn angle(key: &Result<Vec<u8>, json::JsonError>, kind: &str, from: &Address) -> String {
    let key = key
        .as_ref()
        .expect("words and small numbers have a canonical form");
    let digest = Sha256Digest::of(key).to_hex();
    format!("<bailiwick.{kind}.{}@{}>", &digest[..32], from.domain())
}
