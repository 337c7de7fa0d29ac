//! Identity: what makes two letters the same letter, and two letters the same thread.

use base::{ArtifactDigest, PluginId, RunId, Sha256Digest, Target, Verdict, json};

use super::address::Address;
use super::alarm::Reader;
use crate::predicate::{ActionKind, ConformanceReport, Weight};

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
    let findings = findings(report);
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

/// What makes an incident, in one order.
fn findings(report: &ConformanceReport) -> Vec<impl Ord + serde::Serialize + '_> {
    let mut findings: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.weight() > Weight::Note)
        .map(|finding| finding.key())
        .map(|key| (key.reason, key.host, key.port, key.scheme, key.origin))
        .collect();
    findings.sort();
    findings
}

/// What a letter to `reader` about the report is about: the findings of one build, and the gravest act
/// on account of them. First the letter's own topic, then those of graver letters: whoever was told
/// that a build is on hold is not told later that it was found, because an audit was repeated.
pub fn incident_topics(report: &ConformanceReport, reader: Reader) -> (String, Vec<String>) {
    const KINDS: [Option<ActionKind>; 7] = [
        None,
        Some(ActionKind::Alert),
        Some(ActionKind::Watch),
        Some(ActionKind::Announce),
        Some(ActionKind::AwaitApproval),
        Some(ActionKind::Quarantine),
        Some(ActionKind::Revoke),
    ];
    let gravity = |kind: Option<ActionKind>| KINDS.iter().position(|known| *known == kind).unwrap_or(0);
    let own = report
        .actions
        .iter()
        .map(|taken| gravity(Some(taken.action)))
        .max()
        .unwrap_or(0);
    let words = json::canonical(&(
        "bailiwick incident v1",
        matches!(reader, Reader::Owner),
        (&report.plugin_id, &report.artifact_digest, report.verdict),
        findings(report),
    ));
    let words = words.expect("words and small numbers have a canonical form");
    let incident = Sha256Digest::of(&words).to_hex();
    let topic = |gravity: usize| format!("incident {} {gravity}", &incident[..32]);
    (topic(own), (own + 1..KINDS.len()).map(topic).collect())
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
pub(super) fn thread(
    plugin_id: &PluginId,
    artifact_digest: &ArtifactDigest,
    site: &str,
    from: &Address,
) -> String {
    angle(
        &json::canonical(&("bailiwick thread v1", site, plugin_id, artifact_digest)),
        "thread",
        from,
    )
}

/// The Message-ID of the letter to `to` about the first sight of `target` in one run.
pub(super) fn alarm_id(
    (plugin_id, artifact_digest, run_id): (&PluginId, &ArtifactDigest, &RunId),
    target: &Target,
    site: &str,
    from: &Address,
    to: &[Address],
) -> String {
    angle(
        &json::canonical(&(
            "bailiwick alarm v1",
            (site, to),
            (plugin_id, artifact_digest, run_id),
            target.to_string(),
        )),
        "alarm",
        from,
    )
}

/// The Message-ID of the letter that brings `token` to `to`.
pub(super) fn contact_id(token: &str, site: &str, from: &Address, to: &Address) -> String {
    angle(
        &json::canonical(&("bailiwick contact v1", site, to, token)),
        "contact",
        from,
    )
}

/// The Message-ID of a letter on the owner's way back, by what it is about.
pub(super) fn way_back_id(
    key: &str,
    (plugin_id, artifact_digest): (&PluginId, &ArtifactDigest),
    site: &str,
    from: &Address,
    to: &[Address],
) -> String {
    angle(
        &json::canonical(&(
            "bailiwick way back v1",
            (site, to),
            (plugin_id, artifact_digest),
            key,
        )),
        "way-back",
        from,
    )
}

/// The content id of the picture called `name` in the letter `message_id`.
pub(super) fn content_id(message_id: &str, name: &str) -> String {
    format!(
        "{name}.{}",
        message_id.trim_start_matches('<').trim_end_matches('>')
    )
}

fn angle(key: &Result<Vec<u8>, json::JsonError>, kind: &str, from: &Address) -> String {
    let key = key
        .as_ref()
        .expect("words and small numbers have a canonical form");
    let digest = Sha256Digest::of(key).to_hex();
    format!("<bailiwick.{kind}.{}@{}>", &digest[..32], from.domain())
}
