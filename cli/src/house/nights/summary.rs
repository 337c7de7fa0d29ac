//! Summaries: what a night came to, in the words of the API.

use auditor::{ActResult, Doubt, LogRead, Measure, NightOutcome};
use base::{AutomaticAction, Timestamp};
use control::api::types::{
    AuditSummary, AuditedLog, AuditedReport, ChangeLine, FindingLine, ObservedLine, ProposalLine,
};
use control::store::Act;
use control::words::Action;

use super::Judged;

pub(super) fn summary(
    judged: Judged,
    mails: Vec<String>,
    notices: Vec<String>,
    now: Timestamp,
    observed: bool,
) -> AuditSummary {
    let outcome = judged.outcome;
    let reports = outcome.reports.iter().map(|report| AuditedReport {
        report_id: report.report_id,
        plugin_id: report.plugin_id.clone(),
        artifact_digest: Some(report.artifact_digest),
        run_id: report.run_id,
        verdict: report.verdict,
        folder: report.place.as_deref().map(str::to_owned),
        findings: report.findings.iter().map(finding_line).collect(),
        observed: match observed {
            true => report.observed.iter().map(observed_line).collect(),
            false => Vec::new(),
        },
    });
    let acts = outcome.acts.iter().filter_map(|act| {
        let (at, crl_number) = match act.result {
            ActResult::Stopped { crl_number } => (now, Some(crl_number)),
            ActResult::Watched => (now, None),
            ActResult::DoneBefore { at, crl_number } => (at, crl_number),
            _ => return None,
        };
        Some(Act {
            at,
            who: "policy".to_owned(),
            action: match act.proposal.measure.action() {
                AutomaticAction::Alert => return None,
                AutomaticAction::Watch => Action::Watch,
                AutomaticAction::Quarantine => Action::Quarantine,
                AutomaticAction::Revoke => Action::Revoke,
            },
            target: act.proposal.artifact_digest.to_string(),
            reason: act
                .proposal
                .reasons
                .iter()
                .copied()
                .max_by_key(|reason| reason.severity()),
            note: None,
            clause: Some(act.proposal.clause.clone()),
            enabled_by: Some(act.proposal.enabled_by.clone()),
            crl_number,
        })
    });
    AuditSummary {
        from: outcome.period.from,
        to: outcome.period.to,
        dry_run: outcome.dry_run,
        reports: reports.collect(),
        acts: acts.collect(),
        mails,
        doubts: outcome
            .doubts
            .iter()
            .map(doubt_line)
            .chain(outcome.troubles.clone())
            .collect(),
        notices,
        proposals: outcome.acts.iter().map(proposal_line).collect(),
        changes: outcome.changes.iter().map(change_line).collect(),
        logs: outcome.logs.iter().map(log_line).collect(),
    }
}

fn log_line(log: &LogRead) -> AuditedLog {
    AuditedLog {
        origin: log.origin.clone(),
        to: log.to,
        verified_from: log.verified_from,
    }
}

/// What a clause came to, with the reason why it is no more than that.
fn proposal_line(act: &auditor::Act) -> ProposalLine {
    let proposal = &act.proposal;
    let why = match proposal.measure {
        Measure::Alert(restraint) => Some(restraint.as_str().to_owned()),
        Measure::Watch | Measure::Quarantine | Measure::Revoke => None,
        Measure::Announce { action, due } => Some(format!(
            "{action} by itself at {due}, unless a person says otherwise"
        )),
        Measure::AwaitApproval {
            action,
            would_stop,
            allowed,
            until,
        } => Some(format!(
            "{action} waits for a second person until {until}: {would_stop} running plugins would stop and the clause allows {allowed}"
        )),
    };
    let result = match &act.result {
        ActResult::Proposed => "proposed".to_owned(),
        ActResult::Alerted => "alerted".to_owned(),
        ActResult::Watched | ActResult::Stopped { .. } => "done".to_owned(),
        ActResult::DoneBefore { at, .. } => format!("done at {at}"),
        ActResult::Announced => "announced".to_owned(),
        ActResult::Asked => "asked".to_owned(),
        ActResult::Failed { why } => format!("failed: {why}"),
    };
    ProposalLine {
        plugin_id: proposal.plugin_id.clone(),
        artifact_digest: proposal.artifact_digest,
        measure: proposal.measure.as_str().to_owned(),
        why,
        clause: proposal.clause.clone(),
        enabled_by: proposal.enabled_by.clone(),
        reasons: proposal.reasons.iter().copied().collect(),
        result,
    }
}

fn change_line(change: &auditor::Change) -> ChangeLine {
    ChangeLine {
        plugin_id: change.plugin_id.clone(),
        artifact_digest: change.artifact_digest,
        host: change.target.host.to_string(),
        port: change.target.port.get(),
        scheme: change.scheme,
        connections: change.connections,
        runs: change.runs.len() as u64,
        first: change.first,
        last: change.last,
        would: change.would.as_str().to_owned(),
        by: change.by.clone(),
    }
}

fn observed_line(row: &reports::predicate::Observed) -> ObservedLine {
    ObservedLine {
        host: row.host.clone(),
        port: row.port,
        scheme: row.scheme,
        connections: row.connections,
        matched: row.matched.clone(),
    }
}

/// Lines about traffic of nobody; what is beyond them is counted.
const MAX_STRAYS: usize = 100;

/// What concerns the site rather than a plugin.
pub(super) fn notices(outcome: &NightOutcome) -> Vec<String> {
    let strays = outcome.strays.iter().take(MAX_STRAYS).map(|(stray, tally)| {
        let target = stray
            .target
            .as_ref()
            .map_or("an unreadable target".to_owned(), ToString::to_string);
        let how = stray
            .refusal
            .map_or("relayed without identity".to_owned(), |reason| {
                format!("refused: {reason}")
            });
        let credential = match (stray.refusal.and_then(auditor::misuse), &stray.credential) {
            (Some(finding), Some(fingerprint)) => {
                let whose = stray.run_id.map_or(String::new(), |run| format!(" of run {run}"));
                format!("; finding {finding}: token {fingerprint}{whose}")
            }
            _ => String::new(),
        };
        format!(
            "{} connection(s) to {target} that belong to no run, {how}{credential}",
            tally.connections
        )
    });
    let more = outcome.strays.len().saturating_sub(MAX_STRAYS);
    let more = (more > 0)
        .then(|| format!("{more} more kinds of connections that belong to no run; see: bailiwick events"));
    let unknown = outcome.unknown.iter().map(|who| {
        format!(
            "run {} of {}, whose artifact is not on record, made connections",
            who.run_id, who.plugin_id
        )
    });
    strays.chain(more).chain(unknown).collect()
}

fn doubt_line(doubt: &Doubt) -> String {
    let entry = doubt
        .index
        .map(|index| format!(" at entry {index}"))
        .unwrap_or_default();
    let missing = doubt
        .missing
        .map(|count| format!(", {count} event(s) missing"))
        .unwrap_or_default();
    format!(
        "{} in {}{entry}: {}{missing}",
        doubt.reason, doubt.origin, doubt.cause
    )
}

fn finding_line(finding: &reports::predicate::Finding) -> FindingLine {
    FindingLine {
        reason: finding.reason,
        severity: finding.severity,
        host: finding.host.as_ref().map(ToString::to_string),
        port: finding.port.map(base::Port::get),
        connections: finding.connections,
        fix: finding.fix.clone(),
    }
}
