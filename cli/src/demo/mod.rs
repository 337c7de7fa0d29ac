//! `bailiwick demo`: the whole story on this machine, in a temporary folder, with real sockets, real
//! processes and real signatures.

mod folder;
mod origin;
mod outcome;
pub mod plugin;
mod process;
mod script;
mod sink;
mod stage;
mod story;

use std::path::PathBuf;

use anyhow::Context as _;
use base::Tier;
use control::api::types::{AuditRequest, AuditSummary, PluginList};

use crate::client::Client;
use crate::commands::admit;
use crate::exit::Exit;
use crate::output::{self, Format};
use folder::Folder;
use outcome::Outcome;
use stage::Stage;
use story::Story;

/// The host that both plugins declare.
const DECLARED: &str = "acme.openai.azure.com";
/// The host that nobody declared.
const UNDECLARED: &str = "api.randomsite.com";

/// `bailiwick demo` arguments.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Keep everything in this folder, which must be new or empty [default: a temporary folder, removed]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs `bailiwick demo`.
///
/// # Errors
/// Something that should have happened did not.
pub async fn run(args: &DemoArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let folder = Folder::new(args.keep.as_deref())?;
    let mut story = Story::new(format == Format::Text && !quiet);
    let stage = Stage::set(folder.path(), &mut story).await?;
    let told = tell(&stage, &mut story).await;
    stage.house.close().await;
    let outcome = told?;
    if format == Format::Json {
        output::print(format, &outcome, String::new)?;
    }
    match folder {
        Folder::Kept(path) => story.line(&format!("Everything is in {}.", path.display())),
        Folder::Temporary(_) => {
            story.line(
                "The folder is removed now. Keep it, and try the commands, with: bailiwick demo --keep DIR",
            );
        }
    }
    Ok(Exit::Done)
}

async fn tell(stage: &Stage, story: &mut Story) -> anyhow::Result<Outcome> {
    story.chapter("Two plugins are signed by their owner and admitted through the load gate");
    let client = Client::running(&stage.config).await?;
    let embeddings = stage.build(
        "azure_openai_embeddings",
        "1.4.2",
        &[("call", DECLARED, "/openai/deployments/embed/embeddings")],
    )?;
    let invoices = stage.build(
        "invoice_ocr",
        "2.0.0",
        &[
            ("call", DECLARED, "/openai/deployments/ocr/chat/completions"),
            ("call", UNDECLARED, "/collect"),
            ("call", UNDECLARED, "/collect"),
            ("call-namelessly", UNDECLARED, "/collect"),
            ("hold", UNDECLARED, "/stream"),
        ],
    )?;
    for build in [&embeddings, &invoices] {
        let admitted = admit::admit(&client, &build.artifact, None, Some(Tier::Medium), false, None).await?;
        story.line(&format!(
            "{}  {}  tier {}, {}",
            build.plugin_id, build.digest, admitted.artifact.tier, admitted.artifact.state
        ));
    }
    story.line("Both promised hosts under openai.azure.com and nothing else.");

    story.chapter("Each runs as a process of its own, with its proxy in its environment");
    let mut run = stage.start(&embeddings)?;
    run.print_to_end(story).await?;
    let mut held = stage.start(&invoices)?;
    held.print_until(story, "holding the stream open").await?;
    story.line("invoice_ocr keeps that tunnel open. Nothing was blocked: the gateway observes.");
    stage.wait_for_ends().await?;

    story.chapter("The night: the log is verified, folded and compared with the manifests");
    let request = AuditRequest {
        who: "demo".to_owned(),
        ..AuditRequest::default()
    };
    let summary: AuditSummary = client.post("/v1/audits", &request).await?;
    story.verdicts(&summary);

    story.chapter("The tier acts: invoice_ocr is in medium, so its digest goes on the revocation list");
    let cut = stage
        .house
        .last_cut()
        .context("nothing was put on the revocation list")?;
    held.print_to_end(story).await?;
    story.line(&format!(
        "list {} signed; {} live tunnel(s) cut {:.1} ms later",
        cut.crl_number, cut.tunnels, cut.ms
    ));
    for act in &summary.acts {
        let clause = act.clause.as_deref().unwrap_or("by hand");
        story.line(&format!(
            "{} {} by {clause}, enabled by {}",
            act.action,
            act.target,
            act.enabled_by.as_deref().unwrap_or("-")
        ));
    }
    story.line("Starting it again:");
    let mut refused = stage.start(&invoices)?;
    let status = refused.print_to_end(story).await?;
    anyhow::ensure!(
        status == Some(1),
        "a held artifact was started, exit status {status:?}"
    );

    story.chapter("Mail went out to the owner and to security");
    stage.sink.wait_for(expected_letters(&summary)).await;
    let mails = stage.sink.received();
    for mail in &mails {
        story.line(&format!("to {}: {}", mail.to.join(", "), mail.subject));
    }

    story.chapter("The owner mends it: a new build, signed again, is admitted at once");
    let mended = stage.build(
        "invoice_ocr",
        "2.0.1",
        &[("call", DECLARED, "/openai/deployments/ocr/chat/completions")],
    )?;
    let admitted = admit::admit(&client, &mended.artifact, None, None, false, None).await?;
    story.line(&format!(
        "{} {}  {}",
        mended.plugin_id, mended.digest, admitted.artifact.state
    ));
    let status = stage.start(&mended)?.print_to_end(story).await?;
    anyhow::ensure!(
        status == Some(0),
        "the mended build did not run, exit status {status:?}"
    );

    let plugins: PluginList = client.get("/v1/plugins").await?;
    let outcome = stage.outcome(&plugins, &summary, &cut, mails);
    story.chapter("Check it without us");
    story.verification(&stage.commands(&outcome, &invoices));
    Ok(outcome)
}

/// How many letters the night queued: each Message-ID to each of its readers, here one apiece.
fn expected_letters(summary: &AuditSummary) -> usize {
    summary.mails.len()
}
