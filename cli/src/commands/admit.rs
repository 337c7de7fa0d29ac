//! `bailiwick admit`: through the load gate, into the registry.

use std::path::{Path, PathBuf};

use base::{ArtifactDigest, ArtifactState, PluginId, Tier};
use control::api::types::{AdmitRequest, Admitted, Base64Bytes, MendsView};
use reports::predicate::FindingId;
use serde::Serialize;

use super::{artifact_file, who};
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// `bailiwick admit` arguments.
#[derive(Debug, clap::Args)]
pub struct AdmitArgs {
    /// The artifact; its signed manifest lies beside it
    artifact: PathBuf,
    /// The plugin's tier from now on: high, medium, low, legacy [default: as it is, or the policy's]
    #[arg(long)]
    tier: Option<Tier>,
    /// The signed manifest, if it lies elsewhere
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Take the right to run from the plugin's other artifacts
    #[arg(long)]
    supersede: bool,
    /// The finding that this build mends, by its id
    #[arg(long, value_name = "FINDING")]
    mends: Option<FindingId>,
}

#[derive(Serialize)]
struct AdmitView {
    plugin_id: PluginId,
    artifact_digest: ArtifactDigest,
    version: Option<String>,
    tier: Tier,
    state: ArtifactState,
    signer: String,
    superseded: Vec<ArtifactDigest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mends: Option<MendsView>,
}

/// Runs `bailiwick admit`.
///
/// # Errors
/// The load gate refuses, or a file or the control plane cannot be read.
pub async fn run(args: &AdmitArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let client = Client::open(config).await?;
    let admitted = admit(
        &client,
        &args.artifact,
        args.bundle.as_deref(),
        args.tier,
        args.supersede,
        args.mends,
    )
    .await?;
    let artifact = admitted.artifact;
    let view = AdmitView {
        plugin_id: artifact.plugin_id,
        artifact_digest: artifact.artifact_digest,
        version: artifact.version,
        tier: artifact.tier,
        state: artifact.state,
        signer: artifact.signer.to_string(),
        superseded: admitted.superseded,
        mends: admitted.mends,
    };
    output::print(format, &view, || {
        format!(
            "admitted  {}{}\nartifact  {}\ntier      {}\nsigned by {}",
            view.plugin_id,
            view.version
                .as_ref()
                .map(|version| format!(" {version}"))
                .unwrap_or_default(),
            view.artifact_digest,
            view.tier,
            view.signer
        ) + &mends_lines(view.mends.as_ref())
    })?;
    Ok(Exit::Done)
}

/// What the build mends and what changed for that, for people.
fn mends_lines(mends: Option<&MendsView>) -> String {
    let Some(mends) = mends else {
        return String::new();
    };
    let how = if mends.declares_it {
        "the new manifest declares it"
    } else {
        "the new manifest does not declare it, so this build must not go there"
    };
    let difference: Vec<String> = mends
        .difference
        .lines()
        .map(|line| format!("  {}", base::escape_untrusted(line.as_bytes(), 300)))
        .collect();
    format!(
        "\nmends     {} ({} lane)\n          {}; {how}\npermissions\n{}",
        mends.finding_id,
        mends.lane,
        base::escape_untrusted(mends.finding.as_bytes(), 300),
        difference.join("\n")
    )
}

/// Puts an artifact before the load gate and, if it passes, into the registry.
///
/// # Errors
/// As for [`run`].
pub async fn admit(
    client: &Client,
    artifact: &Path,
    bundle: Option<&Path>,
    tier: Option<Tier>,
    supersede: bool,
    mends: Option<FindingId>,
) -> anyhow::Result<Admitted> {
    let file = artifact_file::read(artifact, bundle)?;
    let sbom_digest = file.sbom_digest()?;
    let components = file.components(artifact)?;
    let request = AdmitRequest {
        file_name: file.name,
        size_bytes: file.size_bytes,
        artifact_digest: file.digest,
        manifest_bundle: file.bundle.map(Base64Bytes),
        manifest_json: file.sidecar.map(Base64Bytes),
        approval_bundle: file.approval.map(Base64Bytes),
        sbom_digest,
        components,
        tier,
        supersede,
        mends,
        who: who(),
    };
    client.post("/v1/admissions", &request).await
}
