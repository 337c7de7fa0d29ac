//! `bailiwick evidence expire`: archive files go that nothing asks to be kept any longer.

use control::api::types::{ExpireRequest, ExpiredView};
use evidence::LogWriter;
use evidence::archive::Expirer;

use super::super::who;
use super::archive::{open, own_log};
use crate::client::Client;
use crate::clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::house::{House, archive};
use crate::output::{self, Format};
use crate::retention::{Retention, SETTING};

/// `bailiwick evidence expire` arguments.
///
/// A file goes once every event in it is older than what [evidence.retention] asks for the longest-kept
/// class among its runs, the oldest file first, and only after a signed entry of the log says so. Hashes
/// stay, so verify goes on answering and proofs made before go on verifying. A running gateway does this
/// nightly where [evidence.retention] is there.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ExpireArgs {
    /// Say what would go, and let nothing go
    #[arg(long)]
    dry_run: bool,
}

/// Runs `bailiwick evidence expire`: in this process, or by the gateway that has the log.
///
/// # Errors
/// No retention is set, the log cannot be read, or the archive does not hold what it is to hold.
pub async fn run(args: &ExpireArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let retention = config
        .retention()
        .map_err(|(_, message)| anyhow::anyhow!(message))?;
    let Some(retention) = retention else {
        anyhow::bail!(
            "nothing says how long archived events are kept; add [evidence.retention] with default = \"7y\", for example"
        );
    };
    let view = match open(config)? {
        Some(writer) => here(args.dry_run, &retention, config, writer).await?,
        None => {
            let request = ExpireRequest {
                dry_run: args.dry_run,
                who: who(),
            };
            Client::running(config)
                .await?
                .post("/v1/archive/expire", &request)
                .await?
        }
    };
    output::print(format, &view, || text(&view))?;
    Ok(Exit::Done)
}

async fn here(
    dry_run: bool,
    retention: &Retention,
    config: &Config,
    mut writer: LogWriter,
) -> anyhow::Result<ExpiredView> {
    let kept = archive::Kept::of(House::open(config).await?.office(), retention).await?;
    let store = archive::store(config);
    let place = own_log(config)?;
    writer.checkpoint()?;
    let expirer = || Expirer::open(&place.folder, &place.verifier, &store);
    let due = expirer()?.due(clock::now(), &|run| kept.seconds(run))?;
    let mut removed = Vec::new();
    if !dry_run {
        if let Some(due) = &due {
            let event = due.expired.event(clock::now(), &place.gateway, SETTING);
            writer.append(&mut [event])?;
            writer.checkpoint()?;
        }
        removed = expirer()?.remove(due.as_ref().map(|due| due.expired))?;
    }
    Ok(archive::expired_view(
        place.origin,
        &store.place(),
        dry_run,
        due.as_ref(),
        &removed,
    ))
}

fn text(view: &ExpiredView) -> String {
    let (went, word) = if view.dry_run {
        ("would go", "would expire")
    } else {
        ("went", "expired")
    };
    let mut lines: Vec<String> = view.files.iter().map(|file| format!("{file} {went}")).collect();
    lines.push(match (view.entries_from, view.entries_to) {
        (Some(from), Some(to)) => format!(
            "{}: entries {from} to {} {word} in {}; their hashes stay",
            view.origin,
            to - 1,
            view.archive
        ),
        _ => format!("{}: nothing more may expire yet", view.origin),
    });
    lines.join("\n")
}
