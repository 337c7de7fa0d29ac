//! Approvals: the platform's own signature over a manifest.
//!
//! An approval is a SLSA verification summary (predicate `https://slsa.dev/verification_summary/v1`)
//! about the artifact. It names the manifest by the SHA-256 of its payload bytes, so that it cannot
//! be carried over to another promise about the same build. What we add to the predicate stands
//! under a URI of our own, as in-toto asks of extensions.

use base::{ArtifactDigest, PluginId, Sha256Digest, Tier, Timestamp};
use seal::envelope::{EnvelopeError, seal};
use seal::trust::{NotAuthorised, Role, TrustRoot};
use seal::{Fingerprint, PredicateType, SigningKey, Statement, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::SignedManifest;
use crate::signed::{envelope_code, is_cut_off};

/// What a certifier grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who approves, as a URI: `https://acme.example/certifier`.
    pub verifier: String,
    /// The policy under which the manifest was reviewed, as a URI.
    pub policy: String,
    /// That policy's digest, where it is a document.
    pub policy_digest: Option<Sha256Digest>,
    /// The most trusted tier in which the artifact may run.
    pub tier: Tier,
    /// When the review was done.
    pub at: Timestamp,
    /// When the approval runs out, if it does.
    pub valid_until: Option<Timestamp>,
}

/// An approval whose signature was verified, of the manifest at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The key that verified.
    pub signer: Fingerprint,
    /// The most trusted tier in which the artifact may run.
    pub tier: Tier,
    /// When the review was done.
    pub at: Timestamp,
    /// When the approval runs out, if it does.
    pub valid_until: Option<Timestamp>,
    /// SHA-256 of the payload bytes: how other documents name this approval.
    pub payload_digest: Sha256Digest,
}

/// Why an approval was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApproveError {
    /// A name that must be a URI is none.
    #[error("{field} is {value:?}; write a URI such as \"https://acme.example/certifier\"")]
    NotAUri {
        /// The field of the grant.
        field: &'static str,
        /// The value, cut to a printable length.
        value: String,
    },
    /// The envelope could not be made.
    #[error("the approval could not be sealed: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// Why an approval does not count. The artifact is not loaded where one is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The file ends in the middle.
    #[error("the approval ends in the middle of the document; fetch it again")]
    Truncated,
    /// Not a bundle, not signed by a certifier, or about something else.
    #[error("the approval was not accepted: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The certifier may not approve this plugin, or not at that time.
    #[error("the approval's signature is good and does not count: {0}")]
    NotAuthorised(#[from] NotAuthorised),
    /// The predicate is not a verification summary as we write it.
    #[error("the approval is not a verification summary: {detail}")]
    Shape {
        /// What is wrong.
        detail: String,
    },
    /// It says that verification failed.
    #[error("the certifier recorded {result:?} and not \"PASSED\"; ask the certifier")]
    NotPassed {
        /// The result recorded.
        result: String,
    },
    /// It is about another artifact.
    #[error("the approval is about another artifact than {artifact}; ask for an approval of this build")]
    OtherArtifact {
        /// The artifact at hand.
        artifact: ArtifactDigest,
    },
    /// It is about another manifest of this artifact.
    #[error("the approval is about another manifest than {manifest}; ask for an approval of this manifest")]
    OtherManifest {
        /// Payload digest of the manifest at hand.
        manifest: Sha256Digest,
    },
    /// It ran out.
    #[error("the approval expired at {valid_until}; ask for a new one")]
    Expired {
        /// When it ran out.
        valid_until: Timestamp,
    },
}

impl ApprovalError {
    /// A stable name for programs; distinct for each way to fail.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "approval_truncated",
            Self::Envelope(EnvelopeError::Untrusted { .. }) => "approval_signer_untrusted",
            Self::Envelope(EnvelopeError::BadSignature { .. }) => "approval_signature_bad",
            Self::Envelope(EnvelopeError::PredicateType { .. }) => "approval_predicate_type_wrong",
            Self::Envelope(error) => match envelope_code(error).as_bytes() {
                b"bundle_too_large" => "approval_too_large",
                b"bundle_duplicate_key" => "approval_duplicate_key",
                b"signature_missing" => "approval_signature_missing",
                _ => "approval_unreadable",
            },
            Self::NotAuthorised(NotAuthorised::Role { .. }) => "approval_signer_untrusted",
            Self::NotAuthorised(NotAuthorised::Scope { .. }) => "approval_signer_out_of_scope",
            Self::NotAuthorised(NotAuthorised::Time { .. }) => "approval_signer_not_valid_then",
            Self::Shape { .. } => "approval_malformed",
            Self::NotPassed { .. } => "approval_not_passed",
            Self::OtherArtifact { .. } => "approval_other_artifact",
            Self::OtherManifest { .. } => "approval_other_manifest",
            Self::Expired { .. } => "approval_expired",
        }
    }
}

/// SLSA verification summary, v1. Fields that we do not write are skipped when read, as the
/// specification asks of consumers; the signature covers them all the same.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    verifier: Verifier,
    time_verified: Timestamp,
    resource_uri: String,
    policy: Descriptor,
    input_attestations: Vec<Descriptor>,
    verification_result: String,
    verified_levels: Vec<String>,
    #[serde(
        rename = "https://bailiwick.dev/valid_until",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    valid_until: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Verifier {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct Descriptor {
    uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digests>,
}

#[derive(Serialize, Deserialize)]
struct Digests {
    sha256: String,
}

impl Descriptor {
    fn new(uri: String, digest: Option<&Sha256Digest>) -> Self {
        Self {
            uri,
            digest: digest.map(|digest| Digests {
                sha256: digest.to_hex(),
            }),
        }
    }
}

const PASSED: &str = "PASSED";

/// The tier as a verified level. `SLSA_` is reserved for SLSA's own levels.
const fn level(tier: Tier) -> &'static str {
    match tier {
        Tier::High => "BAILIWICK_TIER_HIGH",
        Tier::Medium => "BAILIWICK_TIER_MEDIUM",
        Tier::Low => "BAILIWICK_TIER_LOW",
        Tier::Legacy => "BAILIWICK_TIER_LEGACY",
    }
}

/// How an approval names a plugin.
fn resource_uri(plugin: &PluginId) -> String {
    format!("https://bailiwick.dev/plugin/{plugin}")
}

fn check_uri(field: &'static str, value: &str) -> Result<(), ApproveError> {
    let has_scheme = value.split_once(':').is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && !rest.is_empty()
    });
    if has_scheme && value.len() <= 500 && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(ApproveError::NotAUri {
            field,
            value: value.chars().take(80).collect(),
        })
    }
}

/// Approves a manifest that was opened, hence verified, and returns the bundle's bytes.
///
/// # Errors
/// [`ApproveError`].
pub fn approve(signed: &SignedManifest, grant: &Grant, key: &SigningKey) -> Result<Vec<u8>, ApproveError> {
    check_uri("verifier", &grant.verifier)?;
    check_uri("policy", &grant.policy)?;
    let summary = Summary {
        verifier: Verifier {
            id: grant.verifier.clone(),
        },
        time_verified: grant.at,
        resource_uri: resource_uri(&signed.manifest.plugin_id),
        policy: Descriptor::new(grant.policy.clone(), grant.policy_digest.as_ref()),
        input_attestations: vec![Descriptor::new(
            PredicateType::PluginManifest.uri().to_owned(),
            Some(&signed.payload_digest),
        )],
        verification_result: PASSED.to_owned(),
        verified_levels: vec![level(grant.tier).to_owned()],
        valid_until: grant.valid_until,
    };
    let statement = Statement {
        subjects: vec![Subject::new(
            signed.artifact_name.clone(),
            signed.artifact.sha256(),
        )],
        predicate_type: PredicateType::Approval.uri().to_owned(),
        predicate: to_json(&summary),
    };
    Ok(seal(&statement, key)?)
}

fn to_json(summary: &Summary) -> Value {
    serde_json::to_value(summary).expect("a summary is texts and lists of texts")
}

impl Approval {
    /// When an approval that was checked before, against its manifest, runs out, if it does.
    ///
    /// # Errors
    /// [`ApprovalError`], where no certifier of `trust` signed it.
    pub fn end(bundle: &[u8], trust: &TrustRoot) -> Result<Option<Timestamp>, ApprovalError> {
        let verified = trust.open(bundle, Role::Certifier, PredicateType::Approval)?;
        let summary: Summary =
            serde_json::from_value(verified.statement.predicate).map_err(|error| ApprovalError::Shape {
                detail: error.to_string(),
            })?;
        Ok(summary.valid_until)
    }

    /// Opens an approval and checks that it is about exactly this manifest of exactly this artifact.
    /// `at` is the moment at which the certifier's key must have been valid.
    ///
    /// # Errors
    /// [`ApprovalError`].
    pub fn open(
        bundle: &[u8],
        signed: &SignedManifest,
        trust: &TrustRoot,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Self, ApprovalError> {
        let verified = trust
            .open(bundle, Role::Certifier, PredicateType::Approval)
            .map_err(|error| {
                if is_cut_off(bundle, &error) {
                    ApprovalError::Truncated
                } else {
                    ApprovalError::Envelope(error)
                }
            })?;
        let plugin = &signed.manifest.plugin_id;
        trust.authorises(&verified.signer, Role::Certifier, Some(plugin), at)?;
        let shape = |detail: String| ApprovalError::Shape { detail };
        let summary: Summary = serde_json::from_value(verified.statement.predicate.clone())
            .map_err(|error| shape(error.to_string()))?;
        let about_artifact = verified
            .statement
            .subjects
            .iter()
            .any(|subject| subject.is_artifact(&signed.artifact));
        if !about_artifact {
            return Err(ApprovalError::OtherArtifact {
                artifact: signed.artifact,
            });
        }
        let hex = signed.payload_digest.to_hex();
        let names_manifest = |input: &Descriptor| input.digest.as_ref().is_some_and(|d| d.sha256 == hex);
        if !summary.input_attestations.iter().any(names_manifest)
            || summary.resource_uri != resource_uri(plugin)
        {
            return Err(ApprovalError::OtherManifest {
                manifest: signed.payload_digest,
            });
        }
        if summary.verification_result != PASSED {
            return Err(ApprovalError::NotPassed {
                result: summary.verification_result.chars().take(40).collect(),
            });
        }
        // Where several tiers are granted, the least trusted one is what everybody agrees on.
        let tier = Tier::ALL
            .iter()
            .rev()
            .copied()
            .find(|tier| summary.verified_levels.iter().any(|text| text == level(*tier)))
            .ok_or_else(|| shape("it grants no tier (BAILIWICK_TIER_… in verifiedLevels)".to_owned()))?;
        match summary.valid_until {
            Some(valid_until) if now >= valid_until => Err(ApprovalError::Expired { valid_until }),
            valid_until => Ok(Self {
                signer: verified.signer,
                tier,
                at: summary.time_verified,
                valid_until,
                payload_digest: verified.payload_digest(),
            }),
        }
    }
}
