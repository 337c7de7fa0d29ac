//! Findings of signed reports, as OCSF Detection Findings beside the events.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use control::report_files::{REPORT_FILE, RUNS_FILE, read_lines};
use evidence::export::Filter;
use reports::OpenedReport;
use reports::predicate::Finding;
use seal::trust::TrustRoot;

use crate::config::Config;
use crate::exit::Refused;
use crate::files;

/// Writes the wanted findings of this site's reports, each once, and says how many they were. Reports
/// about single runs repeat what those about artifacts say, so they are left out unless one run is
/// asked about.
///
/// # Errors
/// A report does not verify (a refusal), or cannot be read.
pub fn write(
    config: &Config,
    trust: &TrustRoot,
    filter: &Filter,
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    // These are about single events.
    if filter.kind.is_some() || filter.connection_id.is_some() || filter.decision.is_some() {
        return Ok(0);
    }
    let mut told = BTreeSet::new();
    for path in signed_reports(&config.data_dir().join("reports"), filter)? {
        for bytes in bundles_in(&path).with_context(|| format!("cannot read report {}", path.display()))? {
            let opened = reports::open_report(&bytes, trust).map_err(|error| Refused {
                code: "not_verified".to_owned(),
                message: format!("{}: {error}", path.display()),
            })?;
            if !is_concerned(filter, &opened) {
                continue;
            }
            for finding in &opened.report.findings {
                if is_wanted(filter, finding) && told.insert(finding.id) {
                    let object = reports::ocsf::detection_finding(&opened, finding);
                    writeln!(out, "{}", serde_json::Value::Object(object))?;
                }
            }
        }
    }
    Ok(told.len() as u64)
}

fn is_concerned(filter: &Filter, opened: &OpenedReport) -> bool {
    let report = &opened.report;
    let plugin = filter.plugin_id.as_ref();
    let digest = filter.artifact_digest.as_ref();
    report.run_id == filter.run_id
        && plugin.is_none_or(|plugin| report.plugin_id == *plugin)
        && digest.is_none_or(|digest| report.artifact_digest == *digest)
        && filter.since.is_none_or(|since| report.period.to > since)
        && filter.until.is_none_or(|until| report.period.from < until)
}

fn is_wanted(filter: &Filter, finding: &Finding) -> bool {
    let host = filter.host.as_ref();
    host.is_none_or(|host| finding.host.as_ref() == Some(host))
        && filter.reason.is_none()
        && filter.since.is_none_or(|since| finding.last >= since)
        && filter.until.is_none_or(|until| finding.first < until)
}

/// The signed reports in a file: the one, or a line for each run.
fn bundles_in(path: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    if path.ends_with(RUNS_FILE) {
        return read_lines(path);
    }
    Ok(vec![files::read_limited(path, base::json::MAX_BYTES)?])
}

/// Every file of signed reports below a folder, in order of their paths; those about runs where one is asked
/// about.
fn signed_reports(folder: &Path, filter: &Filter) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.file_name() == REPORT_FILE
                || filter.run_id.is_some() && entry.file_name() == RUNS_FILE
            {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
