//! `bailiwick manifest suggest`: the smallest manifest that covers what runs were seen to do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use base::{PluginId, Target, Timestamp};
use control::api::types::{ArtifactDetail, AuditRequest, AuditSummary, AuditedReport, PluginView};
use manifests::Manifest;
use manifests::diff::{Difference, EgressChange, diff};
use manifests::lint::{Lint, lint};
use manifests::suggest::{Suggestion, Visited, suggest};
use serde::Serialize;
use serde_json::Value;

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::{clock, files};

/// How far back runs are looked for unless told otherwise.
const LOOK_BACK_S: i64 = 30 * 24 * 3600;

/// `bailiwick manifest suggest` arguments.
#[derive(Debug, clap::Args)]
pub struct SuggestArgs {
    /// The plugin
    plugin: PluginId,
    /// From so many of its latest runs
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Look at runs from this moment on (RFC 3339) [default: 30 days back]
    #[arg(long)]
    since: Option<Timestamp>,
    /// Suggest everything anew, whatever is declared today
    #[arg(long)]
    fresh: bool,
    /// Write the suggested manifest to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct SuggestView {
    plugin_id: PluginId,
    runs: usize,
    manifest: Value,
    egress: Vec<EntryRow>,
    added: Vec<String>,
    widened: Vec<String>,
    removed: Vec<String>,
    lints: Vec<LintRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct EntryRow {
    entry: String,
    kept: bool,
    runs: usize,
    hosts: Vec<String>,
}

#[derive(Serialize)]
struct LintRow {
    rule: &'static str,
    severity: &'static str,
    entry: String,
    message: String,
}

/// Runs `bailiwick manifest suggest`. Nothing is signed: the owner reads the difference and signs.
///
/// # Errors
/// The plugin is not registered, no run of it was seen, or the control plane cannot be reached.
pub async fn run(args: &SuggestArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let now = clock::now();
    let client = Client::open(config).await?;
    let before = manifest_in_force(&client, &args.plugin).await?;
    let request = AuditRequest {
        from: Some(args.since.unwrap_or(now.plus_seconds(-LOOK_BACK_S))),
        plugin_id: Some(args.plugin.clone()),
        observed: true,
        dry_run: true,
        who: who(),
        ..AuditRequest::default()
    };
    let summary: AuditSummary = client.post("/v1/audits", &request).await?;
    let (runs, visited) = visited(&summary.reports, args.runs as usize);
    anyhow::ensure!(
        !visited.is_empty(),
        "no run of {} went anywhere in that time; name an earlier moment with --since",
        args.plugin
    );
    let declared = match args.fresh {
        true => &[][..],
        false => &before.allowed_egress[..],
    };
    let suggested = suggest(declared, &visited, now);
    let after = Manifest {
        allowed_egress: suggested.iter().map(|one| one.declaration.clone()).collect(),
        ..before.clone()
    };
    // It is about another build, which `sign` names.
    let mut manifest = after.to_value();
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("artifact_digest");
    }
    if let Some(out) = &args.out {
        files::replace(out, format!("{manifest:#}\n").as_bytes())
            .with_context(|| format!("cannot write {}", out.display()))?;
    }
    let difference = diff(&before, &after);
    let view = SuggestView::new(args, runs, manifest, suggested, &difference, lint(&after));
    output::print(format, &view, || text(&view, &difference))?;
    Ok(Exit::Done)
}

async fn manifest_in_force(client: &Client, plugin: &PluginId) -> anyhow::Result<Manifest> {
    let view: PluginView = client.get(&format!("/v1/plugins/{plugin}")).await?;
    let latest = view.artifacts.first().context("the plugin has no artifact")?;
    let path = format!("/v1/artifacts/{}", latest.artifact_digest);
    let detail: ArtifactDetail = client.get(&path).await?;
    Ok(Manifest::from_value(&detail.manifest)?)
}

/// What the latest runs visited, and how many runs that are. Run ids begin with the time.
fn visited(reports: &[AuditedReport], wanted: usize) -> (usize, Vec<Visited>) {
    let mut runs: Vec<&AuditedReport> = reports
        .iter()
        .filter(|report| report.run_id.is_some() && !report.observed.is_empty())
        .collect();
    runs.sort_by_key(|report| std::cmp::Reverse(report.run_id));
    runs.truncate(wanted);
    let visits = runs.iter().flat_map(|report| {
        let run = report.run_id.map(|run| run.to_string()).unwrap_or_default();
        report.observed.iter().map(move |row| Visited {
            target: Target {
                host: row.host.clone(),
                port: row.port,
            },
            scheme: row.scheme,
            run: run.clone(),
        })
    });
    (runs.len(), visits.collect::<BTreeSet<_>>().into_iter().collect())
}

impl SuggestView {
    fn new(
        args: &SuggestArgs,
        runs: usize,
        manifest: Value,
        suggested: Vec<Suggestion>,
        difference: &Difference,
        lints: Vec<Lint>,
    ) -> Self {
        let entries = |changes: &[EgressChange]| changes.iter().map(|c| c.entry.to_string()).collect();
        let row = |one: Suggestion| EntryRow {
            entry: one.declaration.to_string(),
            kept: one.is_kept,
            runs: one.runs.len(),
            hosts: one.hosts.into_iter().collect(),
        };
        Self {
            plugin_id: args.plugin.clone(),
            runs,
            manifest,
            egress: suggested.into_iter().map(row).collect(),
            added: entries(&difference.added),
            widened: entries(&difference.widened),
            removed: entries(&difference.removed),
            lints: lints
                .into_iter()
                .map(|lint| LintRow {
                    rule: lint.rule.id(),
                    severity: lint.severity.as_str(),
                    entry: lint.entry,
                    message: lint.why,
                })
                .collect(),
            out: args.out.clone(),
        }
    }
}

fn text(view: &SuggestView, difference: &Difference) -> String {
    let mut lines = vec![format!("from {} run(s) of {}", view.runs, view.plugin_id)];
    for row in &view.egress {
        let kept = if row.kept { "declared " } else { "suggested" };
        let stands = match row.hosts.as_slice() {
            [one] if *one == row.entry => String::new(),
            hosts => format!(" for {}", hosts.join(", ")),
        };
        lines.push(format!(
            "{kept}  {}  in {} of {} runs{stands}",
            row.entry, row.runs, view.runs
        ));
    }
    lines.push(String::new());
    lines.push(match difference.is_empty() {
        true => "no difference to the manifest in force".to_owned(),
        false => difference.to_string(),
    });
    lines.extend(view.lints.iter().map(|lint| {
        format!(
            "{}  {}  {}\n    {}",
            lint.severity, lint.rule, lint.entry, lint.message
        )
    }));
    lines.push(match &view.out {
        Some(out) => format!(
            "\nwritten to {}; read it, then: bailiwick sign ARTIFACT --manifest {} --key owner.pem",
            out.display(),
            out.display()
        ),
        None => "\nwrite it down with --out FILE; the owner reads the difference and signs".to_owned(),
    });
    lines.join("\n")
}
