//! `bailiwick evidence archive`: closed stretches of the log become files for good, by hand.

use anyhow::Context as _;
use control::api::types::{ArchiveRequest, ArchivedView};
use evidence::archive::{Closing, show};
use evidence::{LogWriter, OpenError};

use super::super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::house::archive_keeper::file_view;
use crate::house::logs::{self, LogPlace};
use crate::house::{archive, own_log};
use crate::output::{self, Format};
use crate::trust_file;

/// `bailiwick evidence archive` arguments.
///
/// Hours that are over, and every 50,000 events, become Parquet files that give each entry back bit for
/// bit; an `archived` entry binds each. A running gateway does this by itself with `archive = true`
/// under [evidence], and once more when it is asked to here.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ArchiveArgs {
    /// Everything that is signed, and not only hours that are over
    #[arg(long)]
    all: bool,
}

/// Runs `bailiwick evidence archive`: in this process, or by the gateway that has the log.
///
/// # Errors
/// The log cannot be read, or the archive cannot be written.
pub async fn run(args: &ArchiveArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let view = match open(config)? {
        Some(writer) => here(args, config, writer)?,
        None => {
            let request = ArchiveRequest {
                all: args.all,
                who: who(),
            };
            Client::running(config)
                .await?
                .post("/v1/archive", &request)
                .await?
        }
    };
    output::print(format, &view, || text(&view))?;
    Ok(Exit::Done)
}

fn here(args: &ArchiveArgs, config: &Config, mut writer: LogWriter) -> anyhow::Result<ArchivedView> {
    let closing = if args.all {
        Closing::Everything
    } else {
        Closing::Due
    };
    let store = archive::store(config);
    let place = own_log(config)?;
    writer.checkpoint()?;
    let files = archive::archive_all(&place.folder, &place.verifier, &store, closing, |event| {
        writer.append(&mut [event])?;
        writer.checkpoint()?;
        Ok(())
    })?;
    if config.file.evidence.publish_log {
        show(&place.folder, &place.verifier, &store)?;
    }
    Ok(ArchivedView {
        origin: place.origin,
        archive: store.place(),
        files: files.iter().map(file_view).collect(),
    })
}

/// Where the configured gateway's log is.
pub(super) fn own_log(config: &Config) -> anyhow::Result<LogPlace> {
    let places = logs::all(config, &trust_file::read(&config.trust_root_path())?)?;
    let own = places
        .into_iter()
        .find(|place| place.gateway == config.file.gateway.name);
    own.context("the configured gateway has no log")
}

/// The log, unless a gateway that runs has it.
pub(super) fn open(config: &Config) -> anyhow::Result<Option<LogWriter>> {
    let folder = config.log_dir();
    anyhow::ensure!(
        folder.join("checkpoint").exists(),
        "{} holds no log yet; start the gateway with: bailiwick serve",
        folder.display()
    );
    let (writer, gap) = match own_log::open(config) {
        Ok(opened) => opened,
        Err(error) => {
            let is_locked = |cause: &(dyn std::error::Error + 'static)| {
                matches!(cause.downcast_ref(), Some(OpenError::Locked { .. }))
            };
            return if error.chain().any(is_locked) {
                Ok(None)
            } else {
                Err(error)
            };
        }
    };
    anyhow::ensure!(
        gap.is_none(),
        "the log in {} cannot be written; see the warning above",
        folder.display()
    );
    Ok(Some(writer))
}

fn text(view: &ArchivedView) -> String {
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
