//! Confusion: what an audit said against what it had to say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use base::Reason;
use serde_json::Value;

use crate::truth::{Due, Truth, Weight, cases};

/// How one kind fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fared {
    /// Artifacts that it was planted in.
    pub cases: u64,
    /// Findings that were due: of artifacts and of their runs, and of the site.
    pub due: u64,
    /// Those of them that the audit made.
    pub found: u64,
    /// Findings that the audit made and nobody planted.
    pub false_alarms: u64,
    /// Reports with another verdict than the right one, or none.
    pub wrong_verdicts: u64,
}

/// All kinds, and every single thing that is off the diagonal.
#[derive(Clone, Debug, Default)]
pub struct Confusion {
    /// By kind.
    pub kinds: BTreeMap<String, Fared>,
    /// One line each.
    pub off_diagonal: Vec<String>,
}

impl Fared {
    /// Findings that were due and not made.
    pub const fn missed(&self) -> u64 {
        self.due - self.found
    }
}

impl Confusion {
    /// Holds the JSON that `bailiwick audit --format json` printed, and its exit status, against the
    /// truth.
    ///
    /// # Errors
    /// The JSON is no audit.
    pub fn add(&mut self, truth: &Truth, audit: &Value, exit: i32) -> Result<()> {
        for (kind, cases) in cases(truth) {
            self.kind(kind).cases += cases;
        }
        if exit != i32::from(truth.exit) {
            self.note(format!("exit status {exit}, and {} is right", truth.exit));
        }
        self.add_reports(truth, audit)?;
        let lines = |name: &str| -> Vec<String> {
            let texts = audit[name].as_array().into_iter().flatten();
            texts.filter_map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        let doubts = truth.doubts.iter().map(|doubt| {
            let says = format!("{} in {}", doubt.reason, doubt.origin);
            (doubt.kind.clone(), move |line: &str| line.starts_with(&says))
        });
        self.add_lines("doubt", lines("doubts"), doubts.collect());
        let strays = truth.strays.iter().map(|stray| {
            let how = match &stray.refusal {
                Some(reason) => format!("refused: {reason}"),
                None => "relayed without identity".to_owned(),
            };
            let count = format!("{} connection(s) to {} ", stray.connections, stray.target);
            let says = move |line: &str| line.starts_with(&count) && line.contains(&how);
            (stray.kind.clone(), says)
        });
        self.add_lines("notice", lines("notices"), strays.collect());
        Ok(())
    }

    fn add_reports(&mut self, truth: &Truth, audit: &Value) -> Result<()> {
        let printed = audit["reports"]
            .as_array()
            .context("an audit prints {\"reports\": […]}")?;
        let mut reports: BTreeMap<(String, String, String), &Value> = BTreeMap::new();
        for report in printed {
            let text = |field: &str| report[field].as_str().unwrap_or_default().to_owned();
            reports.insert(
                (text("plugin_id"), text("artifact_digest"), text("run_id")),
                report,
            );
        }
        for expected in &truth.reports {
            let run = expected.run_id.map(|run| run.to_string()).unwrap_or_default();
            let about = (
                expected.plugin_id.to_string(),
                expected.artifact_digest.to_string(),
                run,
            );
            let place = format!("{}: {} {}", expected.kind, about.0, about.2);
            let report = reports.remove(&about);
            let verdict = report
                .and_then(|report| report["verdict"].as_str())
                .unwrap_or("no report");
            if verdict != expected.verdict.as_str() {
                self.kind(&expected.kind).wrong_verdicts += 1;
                self.note(format!("{place}: {verdict}, and {} is right", expected.verdict));
            }
            let mut made: Vec<Due> = report.map(findings).transpose()?.unwrap_or_default();
            self.kind(&expected.kind).due += expected.findings.len() as u64;
            for due in &expected.findings {
                match made.iter().position(|finding| finding == due) {
                    Some(at) => {
                        made.swap_remove(at);
                        self.kind(&expected.kind).found += 1;
                    }
                    None => self.note(format!("{place}: missed {}", spelled(due))),
                }
            }
            self.kind(&expected.kind).false_alarms += made.len() as u64;
            for finding in made {
                self.note(format!("{place}: false alarm {}", spelled(&finding)));
            }
        }
        for (plugin, _, run) in reports.into_keys() {
            self.kind("nobody").false_alarms += 1;
            self.note(format!("a report on {plugin} {run}, which nobody planted"));
        }
        Ok(())
    }

    /// Lines about the site: each that is due once, and no other.
    fn add_lines<F: Fn(&str) -> bool>(&mut self, what: &str, mut lines: Vec<String>, due: Vec<(String, F)>) {
        for (kind, is_it) in due {
            self.kind(&kind).due += 1;
            match lines.iter().position(|line| is_it(line)) {
                Some(at) => {
                    lines.remove(at);
                    self.kind(&kind).found += 1;
                }
                None => self.note(format!("{kind}: missed a {what}")),
            }
        }
        for line in lines {
            self.kind("nobody").false_alarms += 1;
            self.note(format!("false alarm, {what}: {line}"));
        }
    }

    fn kind(&mut self, kind: &str) -> &mut Fared {
        self.kinds.entry(kind.to_owned()).or_default()
    }

    fn note(&mut self, line: String) {
        self.off_diagonal.push(line);
    }

    /// The table in Markdown, kinds in the order of `order`, then whatever else there is.
    pub fn table(&self, order: &[(&str, &str)]) -> String {
        let mut lines = vec![
            "| planted | what it is | cases | findings due | found | missed | false alarms | wrong verdicts |"
                .to_owned(),
            "|---|---|---:|---:|---:|---:|---:|---:|".to_owned(),
        ];
        let known: BTreeSet<&str> = order.iter().map(|(kind, _)| *kind).collect();
        let others = self
            .kinds
            .keys()
            .map(|kind| (kind.as_str(), ""))
            .filter(|(kind, _)| !known.contains(kind));
        let mut sum = Fared::default();
        for (kind, what) in order.iter().copied().chain(others) {
            let fared = self.kinds.get(kind).cloned().unwrap_or_default();
            lines.push(row(&format!("`{kind}`"), what, &fared));
            sum.cases += fared.cases;
            sum.due += fared.due;
            sum.found += fared.found;
            sum.false_alarms += fared.false_alarms;
            sum.wrong_verdicts += fared.wrong_verdicts;
        }
        lines.push(row("**all**", "", &sum));
        lines.join("\n")
    }
}

fn row(kind: &str, what: &str, fared: &Fared) -> String {
    format!(
        "| {kind} | {what} | {} | {} | {} | {} | {} | {} |",
        fared.cases,
        fared.due,
        fared.found,
        fared.missed(),
        fared.false_alarms,
        fared.wrong_verdicts
    )
}

/// The findings of one printed report.
fn findings(report: &Value) -> Result<Vec<Due>> {
    let printed = report["findings"].as_array().context("a report has findings")?;
    printed
        .iter()
        .map(|finding| {
            let word = finding["reason"].as_str().context("a finding has a reason")?;
            let reason: Reason = word.parse().ok().with_context(|| format!("no reason: {word}"))?;
            Ok(Due {
                reason,
                weight: weight(reason, finding["severity"].as_str().unwrap_or_default()),
                host: finding["host"].as_str().map(str::to_owned),
                port: finding["port"].as_u64().and_then(|port| port.try_into().ok()),
                connections: finding["connections"].as_u64().unwrap_or(0),
            })
        })
        .collect()
}

/// What a printed finding means: information changes no verdict, nor does what somebody else may have
/// done with a plugin's name.
fn weight(reason: Reason, severity: &str) -> Weight {
    match reason {
        _ if severity == "info" => Weight::Note,
        Reason::IdentityHeaderForged | Reason::CredentialsReplayed | Reason::CredentialsConflict => {
            Weight::Note
        }
        Reason::PolicyExpired if severity == "low" => Weight::Note,
        Reason::NoCoverage | Reason::EvidenceGap | Reason::TamperedEvidence => Weight::Doubt,
        _ => Weight::Breach,
    }
}

fn spelled(due: &Due) -> String {
    let host = due.host.as_deref().unwrap_or("-");
    let port = due.port.map_or("-".to_owned(), |port| port.to_string());
    format!(
        "{} ({:?}) {host}:{port}, {} connection(s)",
        due.reason, due.weight, due.connections
    )
}
