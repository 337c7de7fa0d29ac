//! Findings as OCSF Detection Findings (2004), for tools that gather alerts.
//!
//! A copy, like every export: the signed report is what counts, and its payload's digest is in every
//! object. Whether a finding is an alert follows from its weight and from nothing else.

use base::Severity;
use evidence::export::ocsf::{Object, classified, endpoint, metadata, put};
use serde_json::json;

use crate::predicate::{Finding, Weight};
use crate::{OpenedReport, words};

/// "Rule": a declaration covers a connection, or none does.
const RULE: u8 = 1;

/// The object that says what `finding` says.
pub fn detection_finding(opened: &OpenedReport, finding: &Finding) -> Object {
    let report = &opened.report;
    let severity = match finding.severity {
        Severity::Info => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    let uid = finding.id.to_string();
    let mut object = classified(2004, 2, 1, severity, report.period.to.unix_us());
    let log = finding.origin.as_deref().unwrap_or("conformance-report");
    let mut metadata = metadata(log, uid.clone(), &[]);
    metadata.insert("original_time".to_owned(), json!(report.period.to));
    metadata.insert("event_code".to_owned(), json!(finding.reason));
    metadata.insert("correlation_uid".to_owned(), json!(opened.payload_digest));
    object.insert("metadata".to_owned(), metadata.into());
    let is_alert = finding.weight() == Weight::Breach;
    object.insert("is_alert".to_owned(), json!(is_alert));
    object.insert("status_id".to_owned(), json!(1));
    put(
        &mut object,
        "count",
        Some(finding.connections).filter(|count| *count > 0),
    );
    let title = match (&finding.host, finding.port) {
        (Some(host), Some(port)) => format!(
            "{}: {}",
            words::reason(finding.reason),
            words::destination(host, port)
        ),
        _ => words::reason(finding.reason).to_owned(),
    };
    object.insert("message".to_owned(), json!(words::meaning(finding)));
    let events: Vec<_> = finding
        .events
        .iter()
        .map(|event| json!({"uid": format!("{}/{}", event.origin, event.index)}))
        .collect();
    let mut info = Object::new();
    put(&mut info, "uid", Some(uid));
    put(&mut info, "title", Some(title));
    put(&mut info, "desc", Some(words::meaning(finding)));
    info.insert("types".to_owned(), json!([finding.reason]));
    info.insert(
        "first_seen_time".to_owned(),
        json!(finding.first.unix_us().div_euclid(1000)),
    );
    info.insert(
        "last_seen_time".to_owned(),
        json!(finding.last.unix_us().div_euclid(1000)),
    );
    info.insert(
        "analytic".to_owned(),
        json!({"name": "conformance audit", "uid": finding.reason, "type_id": RULE, "version": report.auditor.version}),
    );
    if !events.is_empty() {
        info.insert("related_events".to_owned(), events.into());
    }
    object.insert("finding_info".to_owned(), info.into());
    let destination = endpoint(finding.host.as_ref(), finding.port);
    if finding.host.is_some() {
        object.insert("evidences".to_owned(), json!([{"dst_endpoint": destination}]));
    }
    object.insert(
        "resources".to_owned(),
        json!([{"name": report.plugin_id, "uid": report.artifact_digest, "type": "plugin"}]),
    );
    object.insert("remediation".to_owned(), json!({"desc": finding.fix}));
    object.insert("unmapped".to_owned(), unmapped(opened, finding).into());
    object
}

/// What the schema has no field for.
fn unmapped(opened: &OpenedReport, finding: &Finding) -> Object {
    let report = &opened.report;
    let mut rest = Object::new();
    rest.insert("report_payload".to_owned(), json!(opened.payload_digest));
    rest.insert("report_verdict".to_owned(), json!(report.verdict));
    rest.insert("period".to_owned(), json!(report.period));
    rest.insert("runs".to_owned(), json!(finding.runs));
    put(&mut rest, "run_id", report.run_id.map(|run| run.to_string()));
    put(&mut rest, "nearest_declared", finding.nearest_declared.clone());
    put(
        &mut rest,
        "refused",
        Some(finding.refused).filter(|refused| *refused > 0),
    );
    if let Some(scheme) = finding.scheme {
        rest.insert("scheme".to_owned(), json!(scheme));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{auditor_key, breach};

    fn opened() -> OpenedReport {
        OpenedReport {
            report: breach(),
            artifact_name: "p.whl".to_owned(),
            evidence_bundle: None,
            signer: auditor_key().public().fingerprint(),
            payload_digest: base::Sha256Digest::of(b"payload"),
        }
    }

    #[test]
    fn every_finding_is_what_the_published_schema_wants() {
        let schema = crate::ocsf_schema::Schema::read();
        let opened = opened();
        for finding in &opened.report.findings {
            for (host, origin) in [(true, false), (false, true)] {
                let mut finding = finding.clone();
                if !host {
                    (finding.host, finding.port) = (None, None);
                }
                finding.origin = origin.then(|| "acme/gw-1".to_owned());
                let object = detection_finding(&opened, &finding);
                let faults = schema.faults(&object);
                assert!(faults.is_empty(), "{faults:#?}\n{object:#?}");
            }
        }
    }

    #[test]
    fn a_breach_is_an_alert_and_names_its_entries() {
        let opened = opened();
        let finding = &opened.report.findings[0];
        let object = detection_finding(&opened, finding);
        assert_eq!(object["is_alert"], true);
        assert_eq!(object["type_uid"], 200_401);
        let cited = format!("{}/{}", finding.events[0].origin, finding.events[0].index);
        assert_eq!(object["finding_info"]["related_events"][0]["uid"], cited.as_str());
        let mut note = finding.clone();
        note.severity = Severity::Info;
        assert_eq!(detection_finding(&opened, &note)["is_alert"], false);
    }
}
