//! Signed manifests: a manifest bound to an artifact by its owner's signature.

use base::json::{self, JsonError};
use base::{ArtifactDigest, PluginId, Sha256Digest, Timestamp};
use seal::envelope::{EnvelopeError, seal};
use seal::trust::{NotAuthorised, Role, TrustRoot};
use seal::{Fingerprint, InvalidStatement, PredicateType, SigningKey, Statement, Subject};
use serde_json::Value;

use crate::{Manifest, ManifestError};

/// The largest bundle read, in bytes.
pub const MAX_BUNDLE_BYTES: usize = json::MAX_BYTES;

/// Why a manifest was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Not a manifest that could ever be admitted.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest already names another artifact.
    #[error(
        "the manifest names {named} and the artifact is {artifact}; remove artifact_digest from the manifest, or sign the build that it names"
    )]
    OtherArtifact {
        /// The digest in the manifest.
        named: ArtifactDigest,
        /// The digest of the artifact.
        artifact: ArtifactDigest,
    },
    /// The artifact's name cannot stand in a statement.
    #[error("{name:?} cannot name an artifact; use a plain file name of at most 255 characters")]
    Name {
        /// The name, cut to a printable length.
        name: String,
    },
    /// The result would be too large for any load gate.
    #[error(
        "the signed manifest has {bytes} bytes, more than the {MAX_BUNDLE_BYTES} that a load gate reads; shorten it"
    )]
    TooLarge {
        /// Size of the bundle.
        bytes: usize,
    },
    /// The envelope could not be made.
    #[error("the manifest could not be sealed: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// Signs a manifest for one artifact and returns the bundle's bytes.
///
/// The statement's subject is the artifact; its predicate is the manifest as written, with
/// `artifact_digest` filled in where it was left out.
///
/// # Errors
/// [`SignError`]; nothing is signed that [`SignedManifest::open`] would refuse.
pub fn sign(
    manifest_json: &[u8],
    artifact_name: &str,
    artifact: &ArtifactDigest,
    key: &SigningKey,
) -> Result<Vec<u8>, SignError> {
    let fits = (1..=255).contains(&artifact_name.chars().count())
        && !artifact_name.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'));
    if !fits {
        return Err(SignError::Name {
            name: artifact_name.chars().take(80).collect(),
        });
    }
    let draft = json::parse(manifest_json).map_err(ManifestError::from)?;
    let predicate = with_digest(draft, artifact);
    let manifest = Manifest::from_value(&predicate)?;
    match manifest.artifact_digest {
        Some(named) if named != *artifact => {
            return Err(SignError::OtherArtifact {
                named,
                artifact: *artifact,
            });
        }
        _ => {}
    }
    let statement = Statement {
        subjects: vec![Subject::new(artifact_name, artifact.sha256())],
        predicate_type: PredicateType::PluginManifest.uri().to_owned(),
        predicate,
    };
    let bundle = seal(&statement, key)?;
    if bundle.len() > MAX_BUNDLE_BYTES {
        return Err(SignError::TooLarge { bytes: bundle.len() });
    }
    Ok(bundle)
}

/// The document with `artifact_digest` filled in, unless it is there or this is no object.
pub(crate) fn with_digest(mut document: Value, artifact: &ArtifactDigest) -> Value {
    if let Value::Object(fields) = &mut document {
        fields
            .entry("artifact_digest")
            .or_insert_with(|| Value::from(artifact.to_string()));
    }
    document
}

/// A manifest whose signature was verified, by a key that may speak for the plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest as its owner wrote it: the predicate that was signed.
    pub document: Value,
    /// The artifact that it is about.
    pub artifact: ArtifactDigest,
    /// What the owner called the artifact.
    pub artifact_name: String,
    /// The key that verified.
    pub signer: Fingerprint,
    /// Who holds that key, as the trust root says.
    pub signer_name: String,
    /// SHA-256 of the payload bytes: how approvals, reports and revocation lists name this manifest.
    pub payload_digest: Sha256Digest,
}

/// Why a bundle was not opened as a signed manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The file ends in the middle.
    #[error("the signed manifest ends in the middle of the document; copy or sign it again")]
    Truncated,
    /// Not a bundle, not signed by a trusted key, or about something else.
    #[error("the signed manifest was not accepted: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The key may not speak for this plugin, or not at that time.
    #[error("the signature is good and does not count: {0}")]
    NotAuthorised(#[from] NotAuthorised),
    /// What was signed is no valid manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The statement's subject is not the artifact that the manifest names.
    #[error("the signed statement is about {subject} and the manifest inside names {named}; sign it again")]
    SubjectMismatch {
        /// The subject's digest, or what stands in its place.
        subject: String,
        /// The manifest's `artifact_digest`.
        named: ArtifactDigest,
    },
}

impl OpenError {
    /// A stable name for programs; distinct for each way to fail.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "bundle_truncated",
            Self::Envelope(error) => envelope_code(error),
            Self::NotAuthorised(NotAuthorised::Role { .. }) => "signer_untrusted",
            Self::NotAuthorised(NotAuthorised::Scope { .. }) => "signer_out_of_scope",
            Self::NotAuthorised(NotAuthorised::Time { .. }) => "signer_not_valid_then",
            Self::Manifest(error) => error.code(),
            Self::SubjectMismatch { .. } => "subject_mismatch",
        }
    }

    /// Whether the failure speaks against the signature, rather than against the document.
    pub(crate) const fn is_about_signature(&self) -> bool {
        matches!(
            self,
            Self::NotAuthorised(_)
                | Self::Envelope(
                    EnvelopeError::Untrusted { .. }
                        | EnvelopeError::BadSignature { .. }
                        | EnvelopeError::SignatureCount { .. }
                )
        )
    }
}

/// One code for each way in which an envelope fails.
pub(crate) const fn envelope_code(error: &EnvelopeError) -> &'static str {
    match error {
        EnvelopeError::Json(JsonError::TooLarge { .. }) => "bundle_too_large",
        EnvelopeError::Json(JsonError::ByteOrderMark) => "bundle_byte_order_mark",
        EnvelopeError::Json(JsonError::DuplicateKey { .. }) => "bundle_duplicate_key",
        EnvelopeError::Json(JsonError::TooDeep) => "bundle_too_deep",
        EnvelopeError::Json(JsonError::Integer { .. } | JsonError::Syntax { .. }) => "bundle_not_json",
        EnvelopeError::Shape { .. } => "bundle_malformed",
        EnvelopeError::SignatureCount { found: 0 } => "signature_missing",
        EnvelopeError::SignatureCount { .. } => "signature_count",
        EnvelopeError::Untrusted { .. } => "signer_untrusted",
        EnvelopeError::BadSignature { .. } => "signature_bad",
        EnvelopeError::Statement(InvalidStatement::Json(error)) => match error {
            JsonError::TooLarge { .. } => "payload_too_large",
            JsonError::ByteOrderMark => "payload_byte_order_mark",
            JsonError::DuplicateKey { .. } => "payload_duplicate_key",
            JsonError::TooDeep => "payload_too_deep",
            JsonError::Integer { .. } => "payload_number_too_large",
            JsonError::Syntax { .. } => "payload_not_json",
        },
        EnvelopeError::Statement(_) => "payload_malformed",
        EnvelopeError::PredicateType { .. } => "predicate_type_wrong",
    }
}

impl SignedManifest {
    /// Opens a bundle. `at` is the moment at which the key must have been valid: when the signature
    /// was first seen, as a witness recorded it, or else now.
    ///
    /// # Errors
    /// [`OpenError`], in the order of the load gate: size, form, signature, scope and time of the
    /// key, the manifest's own fields, subject.
    pub fn open(bundle: &[u8], trust: &TrustRoot, at: Timestamp) -> Result<Self, OpenError> {
        let verified = trust
            .open(bundle, Role::Owner, PredicateType::PluginManifest)
            .map_err(|error| {
                if is_cut_off(bundle, &error) {
                    OpenError::Truncated
                } else {
                    OpenError::Envelope(error)
                }
            })?;
        let document = &verified.statement.predicate;
        let plugin: PluginId = plugin_id(document)?;
        let signer = trust.authorises(&verified.signer, Role::Owner, Some(&plugin), at)?;
        let manifest = Manifest::from_value(document)?;
        let named = manifest
            .artifact_digest
            .expect("a manifest that is no draft names its artifact");
        let subject = verified
            .statement
            .subjects
            .first()
            .expect("a statement has at least one subject");
        if !subject.is_artifact(&named) {
            return Err(OpenError::SubjectMismatch {
                subject: subject.sha256().map_or_else(
                    || "something without a sha256".to_owned(),
                    |digest| digest.to_string(),
                ),
                named,
            });
        }
        Ok(Self {
            artifact: named,
            artifact_name: subject.name.clone(),
            signer: verified.signer,
            signer_name: signer.name.clone(),
            payload_digest: verified.payload_digest(),
            document: verified.statement.predicate.clone(),
            manifest,
        })
    }
}

/// The one field that is needed before the rest: it decides whose key must have signed.
fn plugin_id(document: &Value) -> Result<PluginId, ManifestError> {
    let value = document.get("plugin_id").ok_or_else(|| ManifestError::Missing {
        field: "plugin_id".to_owned(),
    })?;
    crate::manifest::fields::parsed("plugin_id", value)
}

/// Whether the bytes are the beginning of a JSON document.
pub(crate) fn is_cut_off(bytes: &[u8], error: &EnvelopeError) -> bool {
    matches!(error, EnvelopeError::Json(JsonError::Syntax { .. }))
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err_and(|error| error.is_eof())
}
