//! `bailiwick evidence prune`: entries that the archive has need not stay beside their hashes.

use evidence::archive::{Pruned, Pruner};
use serde::Serialize;

use super::archive::{open, own_log};
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

#[derive(Serialize)]
struct PruneView {
    origin: String,
    archive: String,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries_to: Option<u64>,
    /// Files of entries that were removed, also those that an interrupted round had left.
    bundles_removed: u64,
}

/// Runs `bailiwick evidence prune`.
///
/// # Errors
/// The log is in use or cannot be read, or the archive does not give back what it is to hold.
pub fn run(args: &PruneArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let configured = config.keep_entries_s().map_err(anyhow::Error::msg)?;
    let Some(keep_s) = args.keep.or(configured) else {
        anyhow::bail!("nothing says how long entries stay; use --keep 30d, or keep_entries under [evidence]");
    };
    let store = archive::store(config);
    let place = own_log(config)?;
    let mut writer = open(config)?;
    writer.checkpoint()?;
    let due = Pruner::open(&place.folder, &place.verifier, store.as_ref())?
        .due(clock::now().plus_seconds(-keep_s))?;
    let mut bundles_removed = 0;
    if !args.dry_run {
        if let Some(pruned) = due {
            writer.append(&mut [pruned.event(clock::now(), &place.gateway)])?;
            writer.checkpoint()?;
        }
        let pruner = Pruner::open(&place.folder, &place.verifier, store.as_ref())?;
        bundles_removed = pruner.remove(&archive::place_beside(config))?;
    }
    let view = PruneView {
        origin: place.origin,
        archive: store.place(),
        dry_run: args.dry_run,
        entries_from: due.map(|pruned| pruned.from),
        entries_to: due.map(|pruned| pruned.to),
        bundles_removed,
    };
    output::print(format, &view, || text(&view, due))?;
    Ok(Exit::Done)
}

fn text(view: &PruneView, due: Option<Pruned>) -> String {
    let Some(Pruned { from, to }) = due else {
        return format!("{}: nothing may go yet", view.origin);
    };
    let (went, last) = (if view.dry_run { "would go" } else { "went" }, to - 1);
    format!(
        "{}: entries {from} to {last} {went}; {} has them, and gave them back",
        view.origin, view.archive
    )
}
