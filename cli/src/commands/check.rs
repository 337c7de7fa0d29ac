//! `bailiwick check`: which entry decides about a destination, and what came near.

use base::{ObservedScheme, PluginId, Port, Target};
use control::api::types::{ArtifactDetail, PluginList};
use manifests::{Coverage, Manifest};
use serde::Serialize;

use crate::client::Client;
use crate::clock;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// `bailiwick check` arguments.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The plugin; its latest artifact's manifest is asked
    plugin: PluginId,
    /// The destination; port 443 unless given
    #[arg(value_name = "HOST[:PORT]")]
    target: String,
    /// What would be spoken: tls, http, ssh, tcp [default: whatever the port allows]
    #[arg(long)]
    scheme: Option<ObservedScheme>,
}

#[derive(Serialize)]
struct CheckView {
    plugin_id: PluginId,
    artifact_digest: base::ArtifactDigest,
    target: String,
    covered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<base::Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Runs `bailiwick check`: exit status 0 where an entry covers the destination, 1 where none does.
///
/// # Errors
/// The destination is none, the plugin is not registered, or the control plane cannot be reached.
pub async fn run(args: &CheckArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let target = Target::from_authority_or(args.target.as_bytes(), Port::HTTPS)
        .map_err(|error| anyhow::anyhow!("{:?}: {error}", args.target))?;
    let client = Client::open(config).await?;
    let plugins: PluginList = client.get("/v1/plugins").await?;
    let plugin = plugins
        .plugins
        .into_iter()
        .find(|plugin| plugin.plugin_id == args.plugin);
    let latest = plugin.and_then(|plugin| plugin.artifacts.into_iter().next());
    let Some(latest) = latest else {
        anyhow::bail!("no plugin {} is registered; see: bailiwick plugins", args.plugin);
    };
    let detail: ArtifactDetail = client
        .get(&format!("/v1/artifacts/{}", latest.artifact_digest))
        .await?;
    let manifest = Manifest::from_value(&detail.manifest)?;
    let mut view = CheckView {
        plugin_id: args.plugin.clone(),
        artifact_digest: latest.artifact_digest,
        target: target.to_string(),
        covered: false,
        entry: None,
        reason: None,
        nearest: None,
        hint: None,
    };
    match manifest.coverage(&target, args.scheme, clock::now()) {
        Coverage::Covered { entry } => {
            view.covered = true;
            view.entry = Some(entry.entry.to_string());
        }
        Coverage::Uncovered {
            reason,
            nearest,
            hint,
        } => {
            view.reason = Some(reason);
            view.nearest = nearest;
            view.hint = Some(hint);
        }
    }
    output::print(format, &view, || match (&view.entry, &view.reason) {
        (Some(entry), _) => format!("{} is covered by {entry}", view.target),
        (None, reason) => {
            let reason = reason.map_or("not covered".to_owned(), |reason| reason.to_string());
            let nearest = view
                .nearest
                .as_ref()
                .map(|nearest| format!("\nnearest  {nearest}"))
                .unwrap_or_default();
            let fix = view
                .hint
                .as_ref()
                .map(|hint| format!("\nfix      {hint}"))
                .unwrap_or_default();
            format!("{} is not covered: {reason}{nearest}{fix}", view.target)
        }
    })?;
    Ok(if view.covered { Exit::Done } else { Exit::Finding })
}
