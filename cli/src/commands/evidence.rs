//! `bailiwick evidence`: is the log what was signed, is it all there, and what does it prove?

mod archive;
mod bundle;
mod expire;
pub mod export;
mod prove;
mod prune;
mod verify;
pub mod witnessing;

use clap::Subcommand;
use serde::Serialize;

use crate::config::Config;
use crate::exit::Exit;
use crate::house::logs;
use crate::output::{self, Format, FormatWord};
use crate::trust_file;

/// What to do with evidence.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Verify logs: every entry, every hash, the signature, and what witnesses say about their length
    Verify(verify::VerifyArgs),
    /// Write proofs of single events, for stock tools
    Prove(prove::ProveArgs),
    /// Hand verified events on to other tools: --format jsonl, ocsf, csv or parquet
    Export(export::ExportArgs),
    /// Write everything about a plugin in some time into one file that a stranger can verify
    Bundle(bundle::BundleArgs),
    /// Move closed hours of the log into the archive
    Archive(archive::ArchiveArgs),
    /// Let entries go that the archive has
    Prune(prune::PruneArgs),
    /// Let archive files expire as [evidence.retention] says
    Expire(expire::ExpireArgs),
    /// Print the keys that verify this site's logs, one a line
    Key {
        /// The gateway whose log's key it is [default: all of this site]
        #[arg(long)]
        gateway: Option<String>,
    },
}

#[derive(Serialize)]
struct KeysView {
    keys: Vec<KeyView>,
}

#[derive(Serialize)]
struct KeyView {
    origin: String,
    vkey: String,
}

/// Runs `bailiwick evidence`. Configuration is needed unless `--dir` and `--key` say everything.
///
/// # Errors
/// A log or a file cannot be read at all.
pub fn run(
    command: &EvidenceCommand,
    config: impl FnOnce() -> anyhow::Result<Config>,
    word: FormatWord,
    quiet: bool,
) -> anyhow::Result<Exit> {
    match command {
        EvidenceCommand::Export(args) => export::run(args, &config()?, word.exported(), quiet),
        EvidenceCommand::Verify(args) => verify::run(args, config, word.printed()?, quiet),
        EvidenceCommand::Prove(args) => prove::run(args, config, word.printed()?),
        EvidenceCommand::Bundle(args) => super::wait(bundle::run(args, &config()?, word.printed()?, quiet)),
        EvidenceCommand::Key { gateway } => keys(gateway.as_deref(), &config()?, word.printed()?),
        EvidenceCommand::Archive(args) => super::wait(archive::run(args, &config()?, word.printed()?)),
        EvidenceCommand::Prune(args) => super::wait(prune::run(args, &config()?, word.printed()?)),
        EvidenceCommand::Expire(args) => super::wait(expire::run(args, &config()?, word.printed()?)),
    }
}

fn keys(gateway: Option<&str>, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let places = logs::all(config, &trust_file::read(&config.trust_root_path())?)?;
    let wanted = places
        .into_iter()
        .filter(|place| gateway.is_none_or(|name| name == place.gateway));
    let keys: Vec<_> = wanted
        .map(|place| KeyView {
            vkey: place.verifier.to_vkey(),
            origin: place.origin,
        })
        .collect();
    anyhow::ensure!(
        !keys.is_empty(),
        "this site has no log of a gateway {:?}",
        gateway.unwrap_or_default()
    );
    let view = KeysView { keys };
    output::print(format, &view, || {
        view.keys
            .iter()
            .map(|key| key.vkey.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    Ok(Exit::Done)
}
