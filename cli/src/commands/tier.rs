//! `bailiwick tier`: how much trust a plugin gets here.

use base::{PluginId, Tier};
use clap::Subcommand;
use control::api::types::{PluginView, SetTierRequest};

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// What to do about a tier.
#[derive(Debug, Subcommand)]
pub enum TierCommand {
    /// Put a plugin into a tier
    Set {
        /// The plugin
        plugin: PluginId,
        /// high, medium, low or legacy
        tier: Tier,
        /// Why, for the record
        #[arg(long)]
        note: Option<String>,
    },
}

/// Runs `bailiwick tier`.
///
/// # Errors
/// The control plane cannot be reached, or does not know the plugin.
pub async fn run(command: &TierCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let TierCommand::Set { plugin, tier, note } = command;
    let request = SetTierRequest {
        plugin_id: plugin.clone(),
        tier: *tier,
        who: who(),
        note: note.clone(),
    };
    let plugin: PluginView = Client::open(config).await?.post("/v1/tiers", &request).await?;
    output::print(format, &plugin, || {
        format!("{} is in the {} tier", plugin.plugin_id, plugin.tier)
    })?;
    Ok(Exit::Done)
}
