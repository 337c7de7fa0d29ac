//! The load gate: may this artifact be loaded?
//!
//! The steps come in a fixed order and each of them fails closed with a reason of its own: size,
//! presence, signature, form, digests, approval, SBOM, version floor, revocation, tier. The caller
//! hands in bytes and digests that it read from open files, and loads from those same files.

mod refusal;
mod revocations;
mod version;

use std::cmp::Ordering;

use base::{ArtifactDigest, Sha256Digest, Tier, Timestamp, json};
use seal::Fingerprint;
use seal::trust::TrustRoot;
use serde_json::Value;

pub use refusal::GateRefusal;
pub use revocations::{Freshness, Listed, Question, Revocations, Standing};
pub use version::compare_versions;

use crate::signed::with_digest;
use crate::{Approval, Manifest, SignedManifest};

/// Everything that is looked at before an artifact is loaded.
#[derive(Clone, Copy)]
pub struct GateRequest<'a> {
    /// The moment of the load.
    pub now: Timestamp,
    /// Who may sign what.
    pub trust: &'a TrustRoot,
    /// The revocation list.
    pub revocations: &'a dyn Revocations,
    /// Digest of the very bytes that will run.
    pub artifact: &'a ArtifactDigest,
    /// The signed manifest, if there is one.
    pub bundle: Option<&'a [u8]>,
    /// When these very documents, the signed manifest and the approval, were first seen together, if
    /// somebody trustworthy wrote that down. A key that expired since then still counts; without it
    /// both keys must be valid now. Leave it out where either document is new: else an expired
    /// certifier's key could approve a manifest that is long known.
    pub first_seen: Option<Timestamp>,
    /// `PLUGIN_MANIFEST.json` as it lies beside the artifact, if it does.
    pub sidecar: Option<&'a [u8]>,
    /// The approval, if there is one.
    pub approval: Option<&'a [u8]>,
    /// Digest of the SBOM that the manifest names, if that file is there.
    pub sbom: Option<&'a Sha256Digest>,
    /// What was admitted of this plugin before, if anything.
    pub floor: Option<&'a Floor>,
    /// What the site asks for.
    pub policy: GatePolicy,
}

/// What a site asks of every load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatePolicy {
    /// The tier in which the artifact is to run.
    pub tier: Tier,
    /// Whether an approval must be there. One that is there is always checked.
    pub approval_required: bool,
    /// Seconds past `next_update` during which a revocation list still lets new loads through.
    pub revocation_grace_s: u32,
    /// Whether nothing at all is loaded.
    pub safe_mode: bool,
}

/// The latest version of a plugin that was admitted before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Its artifact.
    pub artifact: ArtifactDigest,
    /// Its version, if it stated one.
    pub version: Option<String>,
    /// When it was built.
    pub built_at: Timestamp,
    /// The key that signed it.
    pub signer: Fingerprint,
}

/// An artifact that may be loaded, and on whose word.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// The manifest.
    pub signed: SignedManifest,
    /// The approval, if one was there.
    pub approval: Option<Approval>,
    /// The tier.
    pub tier: Tier,
    /// The revocation list that was asked.
    pub crl_number: u64,
    /// What people should know although it is no reason to refuse.
    pub notices: Vec<Notice>,
}

/// Something that people should know although it is no reason to refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Another key signs than before.
    #[error("signed by {now}, where {before} signed before; ask the owner whether the key was changed")]
    SignerChanged {
        /// The key before.
        before: Fingerprint,
        /// The key now.
        now: Fingerprint,
    },
    /// The same version was admitted with other bytes.
    #[error(
        "version {version} was admitted before as {before}, with other bytes; ask for a new version number"
    )]
    SameVersionOtherBytes {
        /// The version.
        version: String,
        /// The artifact admitted before.
        before: ArtifactDigest,
    },
    /// The revocation list is past its `next_update`, within the grace.
    #[error(
        "revocation list {crl_number} was due for renewal at {next_update}; loads go on during the grace"
    )]
    RevocationListStale {
        /// The list's number.
        crl_number: u64,
        /// When a newer one was due.
        next_update: Timestamp,
    },
}

impl GatePolicy {
    /// What a site starts with: no approval asked for, a day of grace, safe mode off.
    pub const fn initial(tier: Tier) -> Self {
        Self {
            tier,
            approval_required: false,
            revocation_grace_s: 24 * 60 * 60,
            safe_mode: false,
        }
    }
}

impl GateRequest<'_> {
    /// The moment at which keys must have been valid. Nothing was seen after now.
    fn keys_valid_at(&self) -> Timestamp {
        self.first_seen.map_or(self.now, |seen| seen.min(self.now))
    }
}

/// Decides whether an artifact may be loaded.
///
/// # Errors
/// [`GateRefusal`]: the first step that failed.
pub fn admit(request: &GateRequest<'_>) -> Result<Admission, GateRefusal> {
    let bundle = request.bundle.ok_or(GateRefusal::ManifestMissing)?;
    let signed = SignedManifest::open(bundle, request.trust, request.keys_valid_at())?;
    check_sidecar(request.sidecar, &signed)?;
    if signed.artifact != *request.artifact {
        return Err(GateRefusal::ArtifactMismatch {
            signed: signed.artifact,
            found: *request.artifact,
        });
    }
    let approval = check_approval(request, &signed)?;
    check_sbom(request.sbom, &signed.manifest)?;
    let mut notices = check_floor(request.floor, &signed)?;
    let (crl_number, stale) = check_revocations(request, &signed)?;
    notices.extend(stale);
    if request.policy.safe_mode {
        return Err(GateRefusal::SafeMode);
    }
    let tier = check_tier(request.policy.tier, approval.as_ref())?;
    Ok(Admission {
        signed,
        approval,
        tier,
        crl_number,
        notices,
    })
}

/// What lies beside the artifact for people to read must be what was signed. A draft without
/// `artifact_digest` is the document that `sign` completed, and is taken as such.
fn check_sidecar(sidecar: Option<&[u8]>, signed: &SignedManifest) -> Result<(), GateRefusal> {
    let Some(bytes) = sidecar else {
        return Ok(());
    };
    let readable = json::parse(bytes).map_err(GateRefusal::SidecarUnreadable)?;
    let readable = with_digest(readable, &signed.artifact);
    let same = |a: &Value, b: &Value| json::canonical(a).ok() == json::canonical(b).ok();
    if same(&readable, &signed.document) {
        return Ok(());
    }
    let names = |document: &Value| -> Vec<String> {
        document
            .as_object()
            .into_iter()
            .flat_map(|fields| fields.keys().cloned())
            .collect()
    };
    let field = names(&signed.document)
        .into_iter()
        .chain(names(&readable))
        .find(|name| match (signed.document.get(name), readable.get(name)) {
            (Some(a), Some(b)) => !same(a, b),
            _ => true,
        });
    Err(GateRefusal::SidecarDiffers {
        field: field.unwrap_or_default().chars().take(80).collect(),
    })
}

fn check_approval(
    request: &GateRequest<'_>,
    signed: &SignedManifest,
) -> Result<Option<Approval>, GateRefusal> {
    match request.approval {
        Some(bundle) => {
            let approval = Approval::open(
                bundle,
                signed,
                request.trust,
                request.keys_valid_at(),
                request.now,
            )?;
            Ok(Some(approval))
        }
        None if request.policy.approval_required => Err(GateRefusal::ApprovalMissing {
            plugin: signed.manifest.plugin_id.clone(),
        }),
        None => Ok(None),
    }
}

fn check_sbom(found: Option<&Sha256Digest>, manifest: &Manifest) -> Result<(), GateRefusal> {
    let Some(named) = &manifest.sbom else {
        return Ok(());
    };
    match found {
        None => Err(GateRefusal::SbomMissing {
            name: named.name.clone(),
        }),
        Some(found) if *found != named.digest => Err(GateRefusal::SbomMismatch {
            name: named.name.clone(),
            signed: named.digest,
            found: *found,
        }),
        Some(_) => Ok(()),
    }
}

/// No downgrade. The artifact that set the floor always passes. A later version passes; a lower one,
/// or none where there was one, does not. Where versions are equal, or neither build states one,
/// the date of the build decides: a rebuild under the same number is admitted and noticed, an
/// earlier build is a downgrade in disguise.
fn check_floor(floor: Option<&Floor>, signed: &SignedManifest) -> Result<Vec<Notice>, GateRefusal> {
    let Some(floor) = floor else {
        return Ok(Vec::new());
    };
    let manifest = &signed.manifest;
    let mut notices = Vec::new();
    if floor.signer != signed.signer {
        notices.push(Notice::SignerChanged {
            before: floor.signer,
            now: signed.signer,
        });
    }
    if floor.artifact == signed.artifact {
        return Ok(notices);
    }
    let order = match (&floor.version, &manifest.version) {
        (Some(floor), None) => return Err(GateRefusal::VersionMissing { floor: floor.clone() }),
        (Some(floor), Some(found)) => match compare_versions(found, floor) {
            Ordering::Less => {
                return Err(GateRefusal::Downgrade {
                    floor: floor.clone(),
                    found: found.clone(),
                });
            }
            order => order,
        },
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    if order == Ordering::Equal {
        if manifest.built_at < floor.built_at {
            return Err(GateRefusal::OlderBuild {
                floor: floor.built_at,
                found: manifest.built_at,
            });
        }
        if let Some(version) = &manifest.version {
            notices.push(Notice::SameVersionOtherBytes {
                version: version.clone(),
                before: floor.artifact,
            });
        }
    }
    Ok(notices)
}

fn check_revocations(
    request: &GateRequest<'_>,
    signed: &SignedManifest,
) -> Result<(u64, Option<Notice>), GateRefusal> {
    let (crl_number, stale) = match request.revocations.freshness(request.now) {
        Freshness::Missing => return Err(GateRefusal::RevocationListMissing),
        Freshness::Fresh { crl_number } => (crl_number, None),
        Freshness::Stale {
            crl_number,
            next_update,
        } => {
            let end_of_grace = next_update.plus_seconds(request.policy.revocation_grace_s.into());
            if request.now > end_of_grace {
                return Err(GateRefusal::RevocationListStale {
                    crl_number,
                    next_update,
                });
            }
            let notice = Notice::RevocationListStale {
                crl_number,
                next_update,
            };
            (crl_number, Some(notice))
        }
    };
    let question = Question {
        artifact: &signed.artifact,
        manifest: &signed.payload_digest,
        signer: signed.signer,
        plugin: &signed.manifest.plugin_id,
    };
    match request.revocations.standing(&question) {
        Standing::Silent => Ok((crl_number, stale)),
        Standing::Killed => Err(GateRefusal::Killed {
            plugin: signed.manifest.plugin_id.clone(),
        }),
        Standing::Held {
            listed,
            reason,
            since,
        } => Err(GateRefusal::Held {
            listed,
            reason,
            since,
        }),
        Standing::Revoked {
            listed,
            reason,
            since,
        } => Err(GateRefusal::Revoked {
            listed,
            reason,
            since,
        }),
    }
}

/// Without an approval the operators choose the tier; with one, they may choose less trust than it
/// grants and never more. Tiers are ordered from the most trusted to the least.
fn check_tier(asked: Tier, approval: Option<&Approval>) -> Result<Tier, GateRefusal> {
    match approval {
        Some(approval) if asked < approval.tier => Err(GateRefusal::TierAboveGrant {
            asked,
            granted: approval.tier,
        }),
        _ => Ok(asked),
    }
}
