//! in-toto Statement v1: the sentence that an envelope signs.

use std::collections::BTreeMap;

use base::json::{self, JsonError};
use base::{ArtifactDigest, Sha256Digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// cosign refuses more.
const MAX_SUBJECTS: usize = 1024;

/// What a predicate says; the URI that every verifier asks for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PredicateType {
    /// A plugin's manifest, signed by its owner.
    PluginManifest,
    /// The platform's approval of a manifest: a SLSA verification summary.
    Approval,
    /// A conformance report, signed by the auditor.
    ConformanceReport,
    /// The head of a revocation list.
    Crl,
    /// A site's policy, signed by its certifier.
    Policy,
    /// An exception of a policy, signed by one of the two who stand behind it.
    PolicyException,
    /// The summary of a night, signed by the auditor.
    NightSummary,
    /// The end of a breach: the build that mended it, signed by the auditor.
    Remediation,
}

impl PredicateType {
    /// The URI.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::PluginManifest => "https://bailiwick.dev/plugin-manifest/v1",
            Self::Approval => "https://slsa.dev/verification_summary/v1",
            Self::ConformanceReport => "https://bailiwick.dev/conformance-report/v1",
            Self::Crl => "https://bailiwick.dev/crl/v1",
            Self::Policy => "https://bailiwick.dev/policy/v1",
            Self::PolicyException => "https://bailiwick.dev/policy-exception/v1",
            Self::NightSummary => "https://bailiwick.dev/night-summary/v1",
            Self::Remediation => "https://bailiwick.dev/remediation/v1",
        }
    }
}

/// One thing that the statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What people call it, usually a file name.
    pub name: String,
    /// Digests by algorithm, in lower-case hex without the algorithm's name.
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// A subject named by one SHA-256.
    pub fn new(name: impl Into<String>, digest: &Sha256Digest) -> Self {
        Self {
            name: name.into(),
            digest: [("sha256".to_owned(), digest.to_hex())].into(),
        }
    }

    /// The subject's SHA-256, if it has a well-formed one.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        Sha256Digest::from_hex(self.digest.get("sha256")?).ok()
    }

    /// Whether the subject is the artifact with this digest.
    pub fn is_artifact(&self, digest: &ArtifactDigest) -> bool {
        self.sha256().as_ref() == Some(digest.sha256())
    }
}

/// An in-toto Statement v1.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What the statement is about; at least one.
    pub subjects: Vec<Subject>,
    /// What is said about it.
    pub predicate_type: String,
    /// The claim itself.
    pub predicate: Value,
}

/// Why a payload is not a statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStatement {
    /// Not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Another shape than in-toto Statement v1.
    #[error("not an in-toto Statement v1: {detail}")]
    Shape {
        /// What is missing or superfluous.
        detail: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Value,
}

impl Statement {
    /// The canonical bytes that get signed.
    ///
    /// # Errors
    /// [`InvalidStatement`] where the predicate has no canonical form or the subjects are too many.
    pub fn to_payload(&self) -> Result<Vec<u8>, InvalidStatement> {
        check_subjects(&self.subjects)?;
        Ok(json::canonical(&Wire {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: self.subjects.clone(),
            predicate_type: self.predicate_type.clone(),
            predicate: self.predicate.clone(),
        })?)
    }

    /// Parses the very bytes that were verified.
    ///
    /// # Errors
    /// [`InvalidStatement`].
    pub fn from_payload(payload: &[u8]) -> Result<Self, InvalidStatement> {
        let shape = |detail: String| InvalidStatement::Shape { detail };
        let wire: Wire = serde_json::from_value(json::parse(payload)?).map_err(|e| shape(e.to_string()))?;
        if wire.statement_type != STATEMENT_TYPE {
            return Err(shape(format!("_type is {:?}", wire.statement_type)));
        }
        check_subjects(&wire.subject)?;
        Ok(Self {
            subjects: wire.subject,
            predicate_type: wire.predicate_type,
            predicate: wire.predicate,
        })
    }
}

fn check_subjects(subjects: &[Subject]) -> Result<(), InvalidStatement> {
    if subjects.is_empty() || subjects.len() > MAX_SUBJECTS {
        let detail = format!("{} subjects; there are 1 to {MAX_SUBJECTS}", subjects.len());
        return Err(InvalidStatement::Shape { detail });
    }
    Ok(())
}
