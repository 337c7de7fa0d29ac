//! `bailiwick safe-mode`: make the load gate refuse everything.

use clap::Subcommand;
use control::api::types::{SafeModeRequest, StatusView};

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// What to do about safe mode.
#[derive(Debug, Subcommand)]
pub enum SafeModeCommand {
    /// Refuse every load and every new run; what runs goes on
    On {
        /// Why, for the record
        #[arg(long)]
        note: Option<String>,
    },
    /// Work as usual again
    Off {
        /// Why, for the record
        #[arg(long)]
        note: Option<String>,
    },
}

/// Runs `bailiwick safe-mode`.
///
/// # Errors
/// The control plane cannot be reached.
pub async fn run(command: &SafeModeCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let (on, note) = match command {
        SafeModeCommand::On { note } => (true, note),
        SafeModeCommand::Off { note } => (false, note),
    };
    let request = SafeModeRequest {
        on,
        who: who(),
        note: note.clone(),
    };
    let status: StatusView = Client::open(config)
        .await?
        .post("/v1/safe-mode", &request)
        .await?;
    output::print(format, &status, || match status.safe_mode {
        true => "safe mode is on: the load gate refuses everything".to_owned(),
        false => "safe mode is off".to_owned(),
    })?;
    Ok(Exit::Done)
}
