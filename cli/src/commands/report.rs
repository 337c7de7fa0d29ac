//! `bailiwick report`: what the nights found.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use base::{PluginId, RunId, Sha256Digest, Verdict};
use clap::Subcommand;
use control::api::types::{
    MailList, MailView, Queued, ReportDetail, ReportList, ReportView, SendRequest, SentAgain,
};
use control::report_files::{REPORT_FILE, RUNS_FILE, bundle_file, read_bundle, read_lines};
use control::words::{Form, MailState};
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
        #[command(flatten)]
        named: Named,
        /// As a page (html, text, pdf), or as the signed bundle that cosign verifies
        #[arg(long = "as", value_name = "FORM")]
        form: Option<Wanted>,
        /// Where to; - is standard output [default: standard output]
        #[arg(long, short, value_name = "FILE", requires = "form")]
        output: Option<PathBuf>,
    },
    /// Verify one report: signature, key, inner consistency, evidence bundle
    Verify {
        #[command(flatten)]
        named: Named,
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

/// Which report.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// A report id (sha256:…), its folder, its report.sigstore.json, or with --run the runs.sigstore.jsonl
    report: String,
    /// The report about this run, of those that stand in runs.sigstore.jsonl
    #[arg(long)]
    run: Option<RunId>,
}

/// What to show a report as.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// A page.
    Page(Form),
    /// The signed bundle.
    Bundle,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bundle" => Ok(Self::Bundle),
            page => page
                .parse()
                .map(Self::Page)
                .map_err(|_| "say html, text, pdf or bundle".to_owned()),
        }
    }
}

/// A report that was found.
struct Found {
    bundle: Vec<u8>,
    /// The file that it stands in.
    path: PathBuf,
    report_id: Sha256Digest,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<PathBuf>,
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
        ReportCommand::Show { named, form, output } => {
            show(named, *form, output.as_deref(), config, format).await
        }
        ReportCommand::Verify { named } => verify(named, config, format).await,
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
        // Pages about single runs are made when somebody asks for them.
        let page = |name: &str| view.line.is_none().then(|| folder.join(name));
        ListRow {
            report: bundle_file(&folder, view.line),
            html: page("report.html"),
            text: page("report.txt"),
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
                match row.view.line {
                    None => row.report.display().to_string(),
                    Some(_) => row.view.report_id.to_string(),
                }
            )
        };
        view.reports.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

async fn show(
    named: &Named,
    form: Option<Wanted>,
    output: Option<&Path>,
    config: &Config,
    format: Format,
) -> anyhow::Result<Exit> {
    let found = find(named, config).await?;
    let opened = open(&found, config)?;
    let written = match form {
        Some(Wanted::Bundle) => found.bundle,
        Some(Wanted::Page(form)) => page(&found.report_id, form, config).await?,
        None => {
            let text = match text_beside(&found) {
                Some(text) => text,
                None if format == Format::Text => {
                    String::from_utf8(page(&found.report_id, Form::Text, config).await?)?
                }
                None => String::new(),
            };
            output::print(format, &opened.report, || text)?;
            return Ok(Exit::Done);
        }
    };
    match output.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            files::replace(path, &written).with_context(|| format!("cannot write {}", path.display()))?
        }
        None => {
            use std::io::Write as _;
            std::io::stdout().lock().write_all(&written)?;
        }
    }
    Ok(Exit::Done)
}

/// The text that the night wrote beside a report that is a file of its own.
fn text_beside(found: &Found) -> Option<String> {
    if found.path.ends_with(RUNS_FILE) {
        return None;
    }
    std::fs::read_to_string(found.path.with_file_name("report.txt")).ok()
}

/// A page of a report, as the night wrote it or would have.
async fn page(report_id: &Sha256Digest, form: Form, config: &Config) -> anyhow::Result<Vec<u8>> {
    let path = format!("/v1/reports/{report_id}/page?form={form}");
    Ok(Client::open(config).await?.get_bytes(&path).await?.to_vec())
}

async fn verify(named: &Named, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let found = find(named, config).await?;
    let opened = open(&found, config)?;
    let evidence = match &opened.evidence_bundle {
        None => "none",
        Some((name, digest)) => match std::fs::read(found.path.with_file_name(name)) {
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
        report_id: found.report_id,
        report: found.path,
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

fn open(found: &Found, config: &Config) -> anyhow::Result<OpenedReport> {
    let trust = trust_file::read(&config.trust_root_path())?;
    reports::open_report(&found.bundle, &trust).map_err(|error| {
        Refused {
            code: "not_verified".to_owned(),
            message: format!("{}: {error}", found.path.display()),
        }
        .into()
    })
}

/// The report that was named: by an id, a folder or a file.
async fn find(named: &Named, config: &Config) -> anyhow::Result<Found> {
    if let Ok(report_id) = named.report.parse::<Sha256Digest>() {
        let detail: ReportDetail = Client::open(config)
            .await?
            .get(&format!("/v1/reports/{report_id}"))
            .await?;
        let (folder, line) = (PathBuf::from(detail.report.folder), detail.report.line);
        return Ok(Found {
            path: bundle_file(&folder, line),
            bundle: read_bundle(&folder, line, &report_id)?,
            report_id,
        });
    }
    let path = PathBuf::from(&named.report);
    let name = match named.run {
        None => REPORT_FILE,
        Some(_) => RUNS_FILE,
    };
    let path = if path.is_dir() { path.join(name) } else { path };
    if named.run.is_none() && path.ends_with(RUNS_FILE) {
        anyhow::bail!(
            "{} has a report about each run; name one with --run",
            path.display()
        );
    }
    let unread = || format!("cannot read report {}", path.display());
    let bundle = match named.run {
        None => files::read_limited(&path, base::json::MAX_BYTES).with_context(unread)?,
        Some(run_id) => {
            let trust = trust_file::read(&config.trust_root_path())?;
            let is_about = |line: &Vec<u8>| {
                reports::open_report(line, &trust).is_ok_and(|opened| opened.report.run_id == Some(run_id))
            };
            let lines = read_lines(&path).with_context(unread)?;
            // The latest stands last.
            lines
                .into_iter()
                .rfind(is_about)
                .with_context(|| format!("{} has no report about that run that verifies", path.display()))?
        }
    };
    Ok(Found {
        report_id: Sha256Digest::of(&bundle),
        path,
        bundle,
    })
}
