//! Builds: admitting them, and what is known of them.

use base::{ArtifactDigest, ArtifactState, PluginId, Sha256Digest, Tier, Timestamp};
use reports::predicate::FindingId;
use seal::Fingerprint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runs::RunView;
use super::wire::Base64Bytes;
use crate::store::{ArtifactRecord, ComponentRecord};
use crate::words::Lane;

/// `POST /v1/admissions`. Size and digest are the caller's, computed from the very file it has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmitRequest {
    /// The artifact's file name, without folders.
    pub file_name: String,
    /// The artifact's size.
    pub size_bytes: u64,
    /// The artifact's digest.
    pub artifact_digest: ArtifactDigest,
    /// `PLUGIN_MANIFEST.sigstore.json`; absent where there is none, which the gate refuses by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_bundle: Option<Base64Bytes>,
    /// `PLUGIN_MANIFEST.json`, if it lies beside the bundle: it must say the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_json: Option<Base64Bytes>,
    /// `PLUGIN_APPROVAL.sigstore.json`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_bundle: Option<Base64Bytes>,
    /// The digest of the SBOM that lies beside the artifact, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom_digest: Option<Sha256Digest>,
    /// Libraries inside, as the SBOM beside the artifact or its own metadata says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentRecord>,
    /// The plugin's tier from now on; absent leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether the plugin's other artifacts stop being runnable. Without it they stay admitted: two
    /// versions side by side are ordinary, and taking one away is a decision of its own.
    #[serde(default)]
    pub supersede: bool,
    /// The finding that this build mends, if it mends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mends: Option<FindingId>,
    /// Who asks.
    pub who: String,
}

/// The answer to [`AdmitRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// The artifact as it stands now.
    pub artifact: ArtifactView,
    /// Artifacts that became `superseded`.
    pub superseded: Vec<ArtifactDigest>,
    /// What people should know although it was no reason to refuse.
    pub notices: Vec<String>,
    /// What it mends, and what changed for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mends: Option<MendsView>,
}

/// What a build mends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MendsView {
    /// The finding.
    pub finding_id: String,
    /// The finding in one line.
    pub finding: String,
    /// The build that was found.
    pub mends_digest: ArtifactDigest,
    /// How it came in.
    pub lane: Lane,
    /// Whether the new manifest declares the destination; where it does not, the build must have stopped
    /// going there.
    pub declares_it: bool,
    /// The difference of permissions, in words.
    pub difference: String,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Its digest.
    pub artifact_digest: ArtifactDigest,
    /// The plugin it is a build of.
    pub plugin_id: PluginId,
    /// Its version, if stated.
    pub version: Option<String>,
    /// Where it stands.
    pub state: ArtifactState,
    /// The tier in force for its plugin.
    pub tier: Tier,
    /// What the file was called.
    pub file_name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was first admitted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// When it last passed the gate.
    pub admitted_at: Timestamp,
    /// Who let it.
    pub admitted_by: String,
    /// Who signed its manifest.
    pub signer: Fingerprint,
    /// The name of its manifest: SHA-256 of the signed payload.
    pub manifest_digest: Sha256Digest,
}

impl ArtifactView {
    /// The view of `record` in a plugin of `tier`.
    pub fn new(record: &ArtifactRecord, tier: Tier) -> Self {
        Self {
            artifact_digest: record.artifact_digest,
            plugin_id: record.plugin_id.clone(),
            version: record.version.clone(),
            state: record.state,
            tier,
            file_name: record.file_name.clone(),
            size_bytes: record.size_bytes,
            created_at: record.created_at,
            changed_at: record.changed_at,
            admitted_at: record.admission.admitted_at,
            admitted_by: record.admission.admitted_by.clone(),
            signer: record.admission.signer,
            manifest_digest: record.admission.manifest_payload_sha256,
        }
    }
}

/// `GET /v1/artifacts/{digest}`: an artifact with its manifest and what the list says about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactDetail {
    /// The artifact.
    pub artifact: ArtifactView,
    /// The manifest in force.
    pub manifest: Value,
    /// The bundle in force, as it was handed in.
    pub manifest_bundle: Base64Bytes,
    /// The approval, if there is one.
    pub approval_bundle: Option<Base64Bytes>,
    /// Runs that are live now.
    pub live_runs: Vec<RunView>,
}
