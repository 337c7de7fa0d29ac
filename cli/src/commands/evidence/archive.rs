//! `bailiwick evidence archive`: closed stretches of the log become files for good, by hand.

use anyhow::Context as _;
use evidence::archive::Closing;
use evidence::{LogWriter, OpenError};
use serde::Serialize;

use crate::config::Config;
use crate::exit::Exit;
use crate::house::logs::{self, LogPlace};
use crate::house::{archive, own_log};
use crate::output::{self, Format};
use crate::trust_file;

/// `bailiwick evidence archive` arguments.
///
/// Hours that are over, and every 50,000 events, become Parquet files that give each entry back bit for
/// bit; an `archived` entry binds each. A running gateway does this by itself with `archive = true`
/// under [evidence].
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ArchiveArgs {
    /// Everything that is signed, and not only hours that are over
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct ArchiveView {
    origin: String,
    archive: String,
    files: Vec<FileView>,
}

#[derive(Serialize)]
struct FileView {
    file: String,
    sha256: String,
    entries_from: u64,
    entries_to: u64,
    bytes: Option<u64>,
}

/// Runs `bailiwick evidence archive`.
///
/// # Errors
/// The log is in use or cannot be read, or the archive cannot be written.
pub fn run(args: &ArchiveArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let closing = if args.all {
        Closing::Everything
    } else {
        Closing::Due
    };
    let store = archive::store(config);
    let place = own_log(config)?;
    let mut writer = open(config)?;
    writer.checkpoint()?;
    let files = archive::archive_all(&place.folder, &place.verifier, store.as_ref(), closing, |event| {
        writer.append(&mut [event])?;
        writer.checkpoint()?;
        Ok(())
    })?;
    let view = ArchiveView {
        origin: place.origin.clone(),
        archive: store.place(),
        files: files
            .into_iter()
            .map(|bound| FileView {
                file: bound.name.to_string(),
                sha256: bound.sha256.to_hex(),
                entries_from: bound.name.entries().start,
                entries_to: bound.name.entries().end,
                bytes: bound.size_bytes,
            })
            .collect(),
    };
    output::print(format, &view, || text(&view))?;
    Ok(Exit::Done)
}

/// Where the configured gateway's log is.
pub(super) fn own_log(config: &Config) -> anyhow::Result<LogPlace> {
    let places = logs::all(config, &trust_file::read(&config.trust_root_path())?)?;
    let own = places
        .into_iter()
        .find(|place| place.gateway == config.file.gateway.name);
    own.context("the configured gateway has no log")
}

/// The log of a gateway that does not run.
pub(super) fn open(config: &Config) -> anyhow::Result<LogWriter> {
    let folder = config.log_dir();
    anyhow::ensure!(
        folder.join("checkpoint").exists(),
        "{} holds no log yet; start the gateway with: bailiwick serve",
        folder.display()
    );
    let (writer, gap) = own_log::open(config).map_err(|error| {
        if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(OpenError::Locked { .. }))) {
            error.context(
                "the gateway runs, and does this by itself with archive and keep_entries under [evidence]; stop it to do it by hand",
            )
        } else {
            error
        }
    })?;
    anyhow::ensure!(
        gap.is_none(),
        "the log in {} cannot be written; see the warning above",
        folder.display()
    );
    Ok(writer)
}

fn text(view: &ArchiveView) -> String {
    if view.files.is_empty() {
        return format!(
            "{}: nothing is due; --all archives the hour under way too",
            view.origin
        );
    }
    let lines = view.files.iter().map(|file| {
        format!(
            "{}/{}: entries {} to {}, {} bytes",
            view.archive,
            file.file,
            file.entries_from,
            file.entries_to - 1,
            file.bytes.unwrap_or_default()
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
