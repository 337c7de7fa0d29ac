//! Refusals of the load gate: each failure with a reason and a code of its own.

use base::json::JsonError;
use base::{ArtifactDigest, PluginId, Reason, Sha256Digest, Tier, Timestamp};

use super::revocations::Listed;
use crate::{ApprovalError, OpenError};

/// Why an artifact may not be loaded. There is no unsigned path around any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateRefusal {
    /// There is no signed manifest.
    #[error(
        "the artifact has no signed manifest; sign it with: bailiwick sign ARTIFACT --manifest PLUGIN_MANIFEST.json --key KEY"
    )]
    ManifestMissing,
    /// The signed manifest was not accepted.
    #[error(transparent)]
    Manifest(#[from] OpenError),
    /// The readable copy of the manifest cannot be read.
    #[error("PLUGIN_MANIFEST.json beside the artifact cannot be read: {0}; remove it or copy the signed one")]
    SidecarUnreadable(JsonError),
    /// The readable copy of the manifest says something else than what was signed.
    #[error(
        "PLUGIN_MANIFEST.json beside the artifact differs from the signed manifest in {field:?}; remove it or sign it"
    )]
    SidecarDiffers {
        /// The first top-level field that differs.
        field: String,
    },
    /// The artifact's bytes are not the bytes that were signed.
    #[error(
        "the artifact is {found} and its manifest was signed for {signed}; the file was changed after signing"
    )]
    ArtifactMismatch {
        /// The digest signed.
        signed: ArtifactDigest,
        /// The digest of the bytes at hand.
        found: ArtifactDigest,
    },
    /// Policy asks for an approval and there is none.
    #[error(
        "plugin {plugin} needs an approval and there is none; ask a certifier for: bailiwick approve ARTIFACT"
    )]
    ApprovalMissing {
        /// The plugin.
        plugin: PluginId,
    },
    /// The approval does not count.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// The manifest names an SBOM that is not there.
    #[error("the manifest names the SBOM {name:?} and it is not there; put it beside the artifact")]
    SbomMissing {
        /// The SBOM's file name.
        name: String,
    },
    /// The SBOM is not the one that was signed.
    #[error("the SBOM {name:?} is {found} and the manifest names {signed}; restore the signed one")]
    SbomMismatch {
        /// The SBOM's file name.
        name: String,
        /// The digest signed.
        signed: Sha256Digest,
        /// The digest of the bytes at hand.
        found: Sha256Digest,
    },
    /// The version admitted before has a number, this one has none.
    #[error("the manifest states no version and {floor} was admitted before; add \"version\" and re-sign")]
    VersionMissing {
        /// The version admitted before.
        floor: String,
    },
    /// A lower version than the one admitted before.
    #[error("version {found} is older than {floor}, which was admitted before; ship a later version")]
    Downgrade {
        /// The version admitted before.
        floor: String,
        /// This version.
        found: String,
    },
    /// The same version, or none, and an earlier build than the one admitted before.
    #[error("this build is from {found} and one from {floor} was admitted before; ship a later build")]
    OlderBuild {
        /// `built_at` of the build admitted before.
        floor: Timestamp,
        /// `built_at` of this build.
        found: Timestamp,
    },
    /// There is no revocation list.
    #[error("there is no revocation list, so nobody can say that this artifact was not revoked; fetch one")]
    RevocationListMissing,
    /// The revocation list is older than the grace allows.
    #[error(
        "revocation list {crl_number} was due for renewal at {next_update}, beyond the grace; fetch a newer one"
    )]
    RevocationListStale {
        /// The list's number.
        crl_number: u64,
        /// When a newer one was due.
        next_update: Timestamp,
    },
    /// The kill switch is active.
    #[error("the kill switch is active for plugin {plugin}; ask the operators")]
    Killed {
        /// The plugin.
        plugin: PluginId,
    },
    /// Quarantine.
    #[error("the {listed} is in quarantine since {since}{}; ask the site's operators, or ship a new, re-signed build", because(*reason))]
    Held {
        /// What is held.
        listed: Listed,
        /// Why.
        reason: Option<Reason>,
        /// Since when.
        since: Timestamp,
    },
    /// Revoked for good.
    #[error("the {listed} is revoked since {since}{}; ship a new, re-signed build", because(*reason))]
    Revoked {
        /// What is revoked.
        listed: Listed,
        /// Why.
        reason: Option<Reason>,
        /// Since when.
        since: Timestamp,
    },
    /// Safe mode.
    #[error("safe mode is on and nothing is loaded; end it with: bailiwick safe-mode off")]
    SafeMode,
    /// A more trusted tier than the approval grants.
    #[error(
        "tier {asked} was asked for and the approval grants {granted}; choose {granted} or ask for another approval"
    )]
    TierAboveGrant {
        /// The tier asked for.
        asked: Tier,
        /// The tier granted.
        granted: Tier,
    },
}

fn because(reason: Option<Reason>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

impl GateRefusal {
    /// A stable name for programs; distinct for each way to fail.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ManifestMissing => "manifest_missing",
            Self::Manifest(error) => error.code(),
            Self::SidecarUnreadable(_) => "sidecar_unreadable",
            Self::SidecarDiffers { .. } => "sidecar_differs",
            Self::ArtifactMismatch { .. } => "artifact_mismatch",
            Self::ApprovalMissing { .. } => "approval_missing",
            Self::Approval(error) => error.code(),
            Self::SbomMissing { .. } => "sbom_missing",
            Self::SbomMismatch { .. } => "sbom_mismatch",
            Self::VersionMissing { .. } => "version_missing",
            Self::Downgrade { .. } => "downgrade",
            Self::OlderBuild { .. } => "older_build",
            Self::RevocationListMissing => "revocation_list_missing",
            Self::RevocationListStale { .. } => "revocation_list_stale",
            Self::Killed { .. } => "killed",
            Self::Held { listed, .. } => match listed {
                Listed::Artifact => "artifact_held",
                Listed::Signer => "signer_held",
                Listed::Manifest => "manifest_held",
                Listed::Plugin => "plugin_held",
            },
            Self::Revoked { listed, .. } => match listed {
                Listed::Artifact => "artifact_revoked",
                Listed::Signer => "signer_revoked",
                Listed::Manifest => "manifest_revoked",
                Listed::Plugin => "plugin_revoked",
            },
            Self::SafeMode => "safe_mode",
            Self::TierAboveGrant { .. } => "tier_above_grant",
        }
    }

    /// The word of the closed list of reasons that this is a case of, if there is one.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Manifest(OpenError::SubjectMismatch { .. }) | Self::ArtifactMismatch { .. } => {
                Some(Reason::DigestMismatch)
            }
            Self::Manifest(error) if error.is_about_signature() => Some(Reason::SignatureInvalid),
            Self::Approval(ApprovalError::Expired { .. }) => Some(Reason::PolicyExpired),
            Self::Approval(ApprovalError::OtherArtifact { .. } | ApprovalError::OtherManifest { .. }) => {
                Some(Reason::DigestMismatch)
            }
            Self::Approval(_) => Some(Reason::SignatureInvalid),
            Self::SbomMissing { .. } | Self::SbomMismatch { .. } => Some(Reason::SbomMismatch),
            Self::VersionMissing { .. } | Self::Downgrade { .. } | Self::OlderBuild { .. } => {
                Some(Reason::Downgrade)
            }
            Self::Held { reason, .. } | Self::Revoked { reason, .. } => *reason,
            _ => None,
        }
    }
}
