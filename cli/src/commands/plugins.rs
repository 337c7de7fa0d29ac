//! `bailiwick plugins`: who is registered, and how each build stands.

use base::{ArtifactDigest, ArtifactState, PluginId, Tier};
use control::api::types::PluginList;
use serde::Serialize;

use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

#[derive(Serialize)]
struct PluginsView {
    plugins: Vec<PluginRow>,
}

#[derive(Serialize)]
struct PluginRow {
    plugin_id: PluginId,
    artifact_digest: ArtifactDigest,
    version: Option<String>,
    file_name: String,
    tier: Tier,
    state: ArtifactState,
    signer: String,
    owner: Option<String>,
}

/// Runs `bailiwick plugins`.
///
/// # Errors
/// The control plane cannot be reached.
pub async fn run(config: &Config, format: Format) -> anyhow::Result<Exit> {
    let list: PluginList = Client::open(config).await?.get("/v1/plugins").await?;
    let rows = list.plugins.into_iter().flat_map(|plugin| {
        let owner = plugin.owner_name.or(plugin.owner_email);
        plugin.artifacts.into_iter().map(move |artifact| PluginRow {
            plugin_id: artifact.plugin_id,
            artifact_digest: artifact.artifact_digest,
            version: artifact.version,
            file_name: artifact.file_name,
            tier: artifact.tier,
            state: artifact.state,
            signer: artifact.signer.to_string(),
            owner: owner.clone(),
        })
    });
    let view = PluginsView {
        plugins: rows.collect(),
    };
    output::print(format, &view, || {
        if view.plugins.is_empty() {
            return "no plugins yet; admit one with: bailiwick admit ARTIFACT --tier medium".to_owned();
        }
        let row = |p: &PluginRow| {
            vec![
                p.plugin_id.to_string(),
                p.version.clone().unwrap_or_else(|| "-".to_owned()),
                p.tier.to_string(),
                p.state.to_string(),
                p.artifact_digest.to_string(),
            ]
        };
        let rows: Vec<_> = view.plugins.iter().map(row).collect();
        output::table(&["PLUGIN", "VERSION", "TIER", "STATE", "ARTIFACT"], &rows)
    })?;
    Ok(Exit::Done)
}
