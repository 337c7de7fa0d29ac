//! `bailiwick audit`: the night, by hand.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use base::{PluginId, Reason, RunId, Tier, Timestamp, Verdict};
use control::api::types::{
    AuditProgress, AuditRequest, AuditSummary, AuditedLog, AuditedReport, ChangeLine, ProposalLine,
};
use control::report_files::{REPORT_FILE, RUNS_FILE};
use control::store::Act;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::files;
use crate::output::{self, Format, styled};

/// `bailiwick audit` arguments.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// From this moment on (RFC 3339) [default: where the last night ended]
    #[arg(long)]
    since: Option<Timestamp>,
    /// Up to this moment (RFC 3339) [default: now]
    #[arg(long)]
    until: Option<Timestamp>,
    /// One plugin only
    #[arg(long)]
    plugin: Option<PluginId>,
    /// One run only
    #[arg(long)]
    run: Option<RunId>,
    /// What if: judge by this draft manifest; nothing is written, sent or done
    #[arg(long, value_name = "DRAFT")]
    manifest: Option<PathBuf>,
    /// What if: act by this draft policy; nothing is written, sent or done
    #[arg(long, value_name = "DRAFT")]
    policy: Option<PathBuf>,
    /// What if: every plugin concerned were in this tier (high, medium, low, legacy)
    #[arg(long)]
    tier: Option<Tier>,
    /// List every destination that each artifact and run went to
    #[arg(long)]
    observed: bool,
    /// Verify every log whole, and not only from where the night before ended
    #[arg(long)]
    full: bool,
    /// Judge and say what would be done; nothing is written, sent or done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct AuditView<'a> {
    verdict: Verdict,
    from: Timestamp,
    to: Timestamp,
    dry_run: bool,
    reports: Vec<ReportRow<'a>>,
    acts: &'a [Act],
    mails: &'a [String],
    doubts: &'a [String],
    notices: &'a [String],
    proposals: &'a [ProposalLine],
    changes: &'a [ChangeLine],
    logs: &'a [AuditedLog],
}

#[derive(Serialize)]
struct ReportRow<'a> {
    #[serde(flatten)]
    audited: &'a AuditedReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<PathBuf>,
    actions: Vec<&'a Act>,
}

/// Runs `bailiwick audit`: exit status 0 where everybody kept their word, 1 where somebody did not or
/// evidence was tampered with, 3 where nobody can tell.
///
/// # Errors
/// The draft cannot be read, or the control plane cannot be reached.
pub async fn run(args: &AuditArgs, config: &Config, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let manifest = match &args.manifest {
        Some(path) => {
            let bytes = files::read_limited(path, base::json::MAX_BYTES)
                .with_context(|| format!("cannot read manifest {}", path.display()))?;
            Some(base::json::parse(&bytes).with_context(|| format!("{}", path.display()))?)
        }
        None => None,
    };
    let request = AuditRequest {
        from: args.since,
        to: args.until,
        plugin_id: args.plugin.clone(),
        run_id: args.run,
        manifest,
        policy: args.policy.as_deref().map(draft_policy).transpose()?,
        tier: args.tier,
        observed: args.observed,
        full: args.full,
        dry_run: args.dry_run,
        who: who(),
    };
    let client = Client::open(config).await?;
    let bar = progress_bar(quiet || format == Format::Json);
    let summary = tokio::select! {
        summary = client.post("/v1/audits", &request) => summary,
        never = watch(&client, &bar) => match never {},
    };
    bar.finish_and_clear();
    let summary: AuditSummary = summary?;
    let view = AuditView {
        verdict: summary.verdict(),
        from: summary.from,
        to: summary.to,
        dry_run: summary.dry_run,
        reports: summary
            .reports
            .iter()
            .map(|audited| row(audited, &summary.acts))
            .collect(),
        acts: &summary.acts,
        mails: &summary.mails,
        doubts: &summary.doubts,
        notices: &summary.notices,
        proposals: &summary.proposals,
        changes: &summary.changes,
        logs: &summary.logs,
    };
    output::print(format, &view, || text(&view))?;
    Ok(exit(&summary))
}

/// How often it is asked how far the audit is.
const GLANCE: Duration = Duration::from_millis(200);

/// Moves the bar for as long as somebody waits; whoever cannot be asked is asked again.
async fn watch(client: &Client, bar: &ProgressBar) -> Infallible {
    loop {
        tokio::time::sleep(GLANCE).await;
        let asked: anyhow::Result<AuditProgress> = client.get("/v1/audits").await;
        if let Ok(AuditProgress {
            doing: Some(doing),
            done,
            of,
        }) = asked
        {
            bar.set_length(of);
            bar.set_position(done);
            bar.set_message(doing);
        }
    }
}

fn progress_bar(quiet: bool) -> ProgressBar {
    // It hides itself where standard error is no terminal.
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {human_pos} of {human_len}");
    match style {
        Ok(style) if !quiet => ProgressBar::new(0).with_style(style),
        _ => ProgressBar::hidden(),
    }
}

fn draft_policy(path: &Path) -> anyhow::Result<String> {
    let read = || format!("cannot read policy {}", path.display());
    let bytes = files::read_limited(path, base::json::MAX_BYTES).with_context(read)?;
    String::from_utf8(bytes).with_context(read)
}

/// The exit status of an audit: a broken promise or tampering before doubt, doubt before a clean night.
pub fn exit(summary: &AuditSummary) -> Exit {
    let tampered = summary.reports.iter().any(|report| {
        report
            .findings
            .iter()
            .any(|finding| finding.reason == Reason::TamperedEvidence)
    });
    match summary.verdict() {
        Verdict::NonConforming => Exit::Finding,
        _ if tampered => Exit::Finding,
        Verdict::Inconclusive => Exit::CannotTell,
        Verdict::Conforming | Verdict::NoTraffic => Exit::Done,
    }
}

fn row<'a>(audited: &'a AuditedReport, acts: &'a [Act]) -> ReportRow<'a> {
    let file = |name: &str| audited.folder.as_ref().map(|folder| Path::new(folder).join(name));
    // Pages about single runs are made when somebody asks for them.
    let page = |name: &str| audited.run_id.is_none().then(|| file(name)).flatten();
    let signed = match audited.run_id {
        None => REPORT_FILE,
        Some(_) => RUNS_FILE,
    };
    let target = audited.artifact_digest.map(|digest| digest.to_string());
    // What was done was done about the artifact, not about one of its runs.
    let actions = match audited.run_id {
        None => acts
            .iter()
            .filter(|act| Some(&act.target) == target.as_ref())
            .collect(),
        Some(_) => Vec::new(),
    };
    ReportRow {
        audited,
        report: file(signed),
        html: page("report.html"),
        text: page("report.txt"),
        actions,
    }
}

fn text(view: &AuditView<'_>) -> String {
    let mut lines = vec![format!(
        "audited {} to {}{}",
        view.from,
        view.to,
        if view.dry_run { " (dry run)" } else { "" }
    )];
    for row in &view.reports {
        let run = row
            .audited
            .run_id
            .map(|run| format!("  run {run}"))
            .unwrap_or_default();
        let digest = row
            .audited
            .artifact_digest
            .map(|digest| digest.short())
            .unwrap_or_default();
        lines.push(format!(
            "{}  {} {digest}{run}",
            verdict(row.audited.verdict),
            row.audited.plugin_id
        ));
        if row.audited.run_id.is_some() {
            continue;
        }
        for finding in &row.audited.findings {
            let place = match (&finding.host, finding.port) {
                (Some(host), Some(port)) => format!(" {host}:{port}"),
                (Some(host), None) => format!(" {host}"),
                _ => String::new(),
            };
            lines.push(format!(
                "    {}{place}, {} connection(s); {}",
                finding.reason, finding.connections, finding.fix
            ));
        }
        if row.audited.run_id.is_none() {
            lines.extend(view.proposals.iter().filter_map(|proposal| would(proposal, row)));
        }
        for act in &row.actions {
            let list = act
                .crl_number
                .map(|number| format!(" on list {number}"))
                .unwrap_or_default();
            let clause = act.clause.as_deref().unwrap_or("by hand");
            lines.push(format!(
                "    done: {}{list} ({clause}, enabled by {})",
                act.action,
                act.enabled_by.as_deref().unwrap_or(&act.who)
            ));
        }
        if let Some(path) = &row.html {
            lines.push(format!("    report: {}", path.display()));
        }
    }
    lines.extend(view.changes.iter().map(fares));
    lines.extend(view.notices.iter().map(|notice| format!("also seen: {notice}")));
    lines.extend(view.logs.iter().filter(|log| log.verified_from > 0).map(|log| {
        format!(
            "{}: verified from entry {} on; what is before it was verified by an earlier night (--full verifies all)",
            log.origin, log.verified_from
        )
    }));
    lines.extend(view.doubts.iter().map(|doubt| format!("doubt: {doubt}")));
    if view.reports.is_empty() {
        lines.push("nothing to report on: no artifact may run and none was seen".to_owned());
    }
    lines.join("\n")
}

/// What a clause came to that was not done at once, or would have in earnest.
fn would(proposal: &ProposalLine, row: &ReportRow<'_>) -> Option<String> {
    let own = Some(proposal.artifact_digest) == row.audited.artifact_digest
        && proposal.plugin_id == row.audited.plugin_id;
    let done = proposal.result.starts_with("done");
    (own && !done).then(|| {
        let why = proposal
            .why
            .as_ref()
            .map_or(String::new(), |why| format!(": {why}"));
        format!(
            "    {}: {}{why} ({}, enabled by {})",
            proposal.result, proposal.measure, proposal.clause, proposal.enabled_by
        )
    })
}

/// How connections would have fared.
fn fares(change: &ChangeLine) -> String {
    let would = match change.would.as_str() {
        "breach" => "would break a promise",
        "no_breach" => "would break none",
        "denied" => "would have been refused",
        _ => "would have been let pass",
    };
    format!(
        "what if: {} connection(s) of {} in {} run(s) to {}:{} {would}; {}",
        change.connections, change.plugin_id, change.runs, change.host, change.port, change.by
    )
}

/// The verdict in its colour, padded to a column.
pub fn verdict(verdict: Verdict) -> String {
    let style = match verdict {
        Verdict::Conforming => "32",
        Verdict::NonConforming => "31",
        Verdict::Inconclusive => "33",
        Verdict::NoTraffic => "2",
    };
    styled(style, &format!("{verdict:<14}"))
}
