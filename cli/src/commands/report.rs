//! `bailiwick report`: what the nights found.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{PluginId, Sha256Digest, Verdict};
use clap::Subcommand;
use control::api::types::{MailList, MailView, Queued, ReportList, ReportView, SendRequest, SentAgain};
use control::words::MailState;
use reports::OpenedReport;
use serde::Serialize;

use super::{audit, who};
use crate::client::Client;
use crate::config::Config;
use crate::exit::{Exit, Refused};
use crate::output::{self, Format};
use crate::{files, trust_file};

/// What to do with reports.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// List reports, the latest first
    List {
        /// One plugin's only
        #[arg(long)]
        plugin: Option<PluginId>,
    },
    /// Show one report; its signature is verified first
    Show {
        /// A report id (sha256:…), its folder, or its report.sigstore.json
        report: String,
    },
    /// Verify one report: signature, key, inner consistency, evidence bundle
    Verify {
        /// A report id (sha256:…), its folder, or its report.sigstore.json
        report: String,
    },
    /// Write again to the readers of one report, or send again what was given up
    Send {
        /// A report id (sha256:…)
        #[arg(required_unless_present = "again")]
        report: Option<Sha256Digest>,
        /// Put every letter and webhook that was given up back into the outbox
        #[arg(long, conflicts_with = "report")]
        again: bool,
    },
    /// List letters: waiting, sent, given up
    Outbox {
        /// queued, sent or dead
        #[arg(long)]
        state: Option<MailState>,
    },
}

#[derive(Serialize)]
struct ListView {
    reports: Vec<ListRow>,
}

#[derive(Serialize)]
struct ListRow {
    #[serde(flatten)]
    view: ReportView,
    report: PathBuf,
    html: PathBuf,
    text: PathBuf,
    created: base::Timestamp,
}

#[derive(Serialize)]
struct VerifyView {
    verified: bool,
    report: PathBuf,
    report_id: Sha256Digest,
    signer: String,
    plugin_id: PluginId,
    verdict: Verdict,
    evidence: &'static str,
}

/// Runs `bailiwick report`.
///
/// # Errors
/// A report cannot be read, or does not verify.
pub async fn run(command: &ReportCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    match command {
        ReportCommand::List { plugin } => list(plugin.as_ref(), config, format).await,
        ReportCommand::Show { report } => {
            let path = find(report, config).await?;
            let opened = open(&path, config)?;
            let text = std::fs::read_to_string(path.with_file_name("report.txt"));
            output::print(format, &opened.report, || {
                text.unwrap_or_else(|_| format!("{:#?}", opened.report))
            })?;
            Ok(Exit::Done)
        }
        ReportCommand::Verify { report } => verify(report, config, format).await,
        ReportCommand::Outbox { state } => outbox(*state, config, format).await,
        ReportCommand::Send { report: None, .. } => {
            let client = Client::open(config).await?;
            let again: SentAgain = client
                .post("/v1/mails/again", &SendRequest { who: who() })
                .await?;
            output::print(format, &again, || {
                format!(
                    "{} letter(s) and {} webhook(s) go out again",
                    again.mails, again.webhooks
                )
            })?;
            Ok(Exit::Done)
        }
        ReportCommand::Send {
            report: Some(report), ..
        } => {
            let path = format!("/v1/reports/{report}/send");
            let queued: Queued = Client::open(config)
                .await?
                .post(&path, &SendRequest { who: who() })
                .await?;
            output::print(format, &queued, || format!("queued\n{}", queued.mails.join("\n")))?;
            Ok(Exit::Done)
        }
    }
}

async fn outbox(state: Option<MailState>, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let query = state.map(|state| format!("?state={state}")).unwrap_or_default();
    let list: MailList = Client::open(config)
        .await?
        .get(&format!("/v1/mails{query}"))
        .await?;
    output::print(format, &list, || {
        if list.mails.is_empty() {
            return "no letters".to_owned();
        }
        let line = |mail: &MailView| {
            let when = match (mail.sent_at, mail.next_attempt_at) {
                (Some(at), _) => format!("taken at {at}"),
                (None, Some(at)) => format!("next at {at}, {} attempt(s)", mail.attempts),
                (None, None) => format!("{} attempt(s)", mail.attempts),
            };
            let error = mail.last_error.as_deref().map_or_else(String::new, |error| {
                format!("\n    {}", base::escape_untrusted(error.as_bytes(), 400))
            });
            format!(
                "{}  {}  {when}\n    {}{error}",
                mail.state,
                mail.to,
                base::escape_untrusted(mail.subject.as_bytes(), 200)
            )
        };
        list.mails.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

async fn list(plugin: Option<&PluginId>, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let query = plugin
        .map(|plugin| format!("?plugin_id={plugin}"))
        .unwrap_or_default();
    let list: ReportList = Client::open(config)
        .await?
        .get(&format!("/v1/reports{query}"))
        .await?;
    let row = |view: ReportView| {
        let folder = PathBuf::from(&view.folder);
        ListRow {
            report: folder.join(auditor::BUNDLE_NAME),
            html: folder.join("report.html"),
            text: folder.join("report.txt"),
            created: view.created_at,
            view,
        }
    };
    let view = ListView {
        reports: list.reports.into_iter().map(row).collect(),
    };
    output::print(format, &view, || {
        if view.reports.is_empty() {
            return "no reports yet; hold a night with: bailiwick audit".to_owned();
        }
        let line = |row: &ListRow| {
            let about = row
                .view
                .run_id
                .map_or("artifact".to_owned(), |run| format!("run {run}"));
            format!(
                "{}  {}  {}  {about}\n    {}",
                audit::verdict(row.view.verdict),
                row.view.to,
                row.view.plugin_id,
                row.report.display()
            )
        };
        view.reports.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

async fn verify(named: &str, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let path = find(named, config).await?;
    let bundle = read(&path)?;
    let opened = open(&path, config)?;
    let evidence = match &opened.evidence_bundle {
        None => "none",
        Some((name, digest)) => match std::fs::read(path.with_file_name(name)) {
            Ok(bytes) if Sha256Digest::of(&bytes) == *digest => "matches",
            Ok(_) => {
                let message =
                    format!("{name} is not the evidence bundle that the report names: it was changed");
                return Err(Refused {
                    code: "evidence_differs".to_owned(),
                    message,
                }
                .into());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "not here",
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        },
    };
    let view = VerifyView {
        verified: true,
        report_id: Sha256Digest::of(&bundle),
        report: path,
        signer: opened.signer.to_string(),
        plugin_id: opened.report.plugin_id,
        verdict: opened.report.verdict,
        evidence,
    };
    output::print(format, &view, || {
        format!(
            "verifies: {} for {}\nsigned by {}\nevidence bundle {}",
            view.verdict, view.plugin_id, view.signer, view.evidence
        )
    })?;
    Ok(Exit::Done)
}

fn open(path: &Path, config: &Config) -> anyhow::Result<OpenedReport> {
    let trust = trust_file::read(&config.trust_root_path())?;
    reports::open_report(&read(path)?, &trust).map_err(|error| {
        Refused {
            code: "not_verified".to_owned(),
            message: format!("{}: {error}", path.display()),
        }
        .into()
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::read_limited(path, base::json::MAX_BYTES)
        .with_context(|| format!("cannot read report {}", path.display()))
}

/// The bundle's path, from an id, a folder or a file.
async fn find(named: &str, config: &Config) -> anyhow::Result<PathBuf> {
    if let Ok(id) = named.parse::<Sha256Digest>() {
        let detail: control::api::types::ReportDetail = Client::open(config)
            .await?
            .get(&format!("/v1/reports/{id}"))
            .await?;
        return Ok(PathBuf::from(detail.report.folder).join(auditor::BUNDLE_NAME));
    }
    let path = PathBuf::from(named);
    Ok(if path.is_dir() {
        path.join(auditor::BUNDLE_NAME)
    } else {
        path
    })
}
