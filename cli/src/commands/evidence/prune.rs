//! `bailiwick evidence prune`: entries that the archive has need not stay beside their hashes.

use control::api::types::{PruneRequest, PrunedView};
use evidence::LogWriter;
use evidence::archive::Pruner;

use super::super::who;
use super::archive::{open, own_log};
use crate::client::Client;
use crate::clock;
use crate::config::{Config, keep_s};
use crate::exit::Exit;
use crate::house::archive;
use crate::output::{self, Format};

/// `bailiwick evidence prune` arguments.
///
/// An entry goes only where the log binds an archive file that has it, and after that file was read back
/// and gave back, byte for byte, what the log has. Hashes stay, so verify, events and prove go on
/// answering, from the archive. A running gateway does this nightly with keep_entries under [evidence].
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct PruneArgs {
    /// How long entries stay, for example 30d or 12h [default: evidence.keep_entries]
    #[arg(long, value_name = "DURATION", value_parser = keep_s)]
    keep: Option<i64>,
    /// Say what would go, and let nothing go
    #[arg(long)]
    dry_run: bool,
}

/// Runs `bailiwick evidence prune`: in this process, or by the gateway that has the log.
///
/// # Errors
/// The log cannot be read, or the archive does not give back what it is to hold.
pub async fn run(args: &PruneArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let configured = config.keep_entries_s().map_err(anyhow::Error::msg)?;
    let Some(keep_s) = args.keep.or(configured) else {
        anyhow::bail!("nothing says how long entries stay; use --keep 30d, or keep_entries under [evidence]");
    };
    let view = match open(config)? {
        Some(writer) => here(keep_s, args.dry_run, config, writer)?,
        None => {
            let request = PruneRequest {
                keep_s: u32::try_from(keep_s).unwrap_or(u32::MAX),
                dry_run: args.dry_run,
                who: who(),
            };
            Client::running(config)
                .await?
                .post("/v1/archive/prune", &request)
                .await?
        }
    };
    output::print(format, &view, || text(&view))?;
    Ok(Exit::Done)
}

fn here(keep_s: i64, dry_run: bool, config: &Config, mut writer: LogWriter) -> anyhow::Result<PrunedView> {
    let store = archive::store(config);
    let place = own_log(config)?;
    writer.checkpoint()?;
    let due =
        Pruner::open(&place.folder, &place.verifier, &store)?.due(clock::now().plus_seconds(-keep_s))?;
    let mut bundles_removed = 0;
    if !dry_run {
        if let Some(pruned) = due {
            writer.append(&mut [pruned.event(clock::now(), &place.gateway)])?;
            writer.checkpoint()?;
        }
        let pruner = Pruner::open(&place.folder, &place.verifier, &store)?;
        bundles_removed = pruner.remove(&archive::place_beside(config))?;
    }
    Ok(PrunedView {
        origin: place.origin,
        archive: store.place(),
        dry_run,
        entries_from: due.map(|pruned| pruned.from),
        entries_to: due.map(|pruned| pruned.to),
        bundles_removed,
    })
}

fn text(view: &PrunedView) -> String {
    let (Some(from), Some(to)) = (view.entries_from, view.entries_to) else {
        return format!("{}: nothing may go yet", view.origin);
    };
    let (went, last) = (if view.dry_run { "would go" } else { "went" }, to - 1);
    format!(
        "{}: entries {from} to {last} {went}; {} has them, and gave them back",
        view.origin, view.archive
    )
}
