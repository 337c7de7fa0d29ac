//! What a reader needs and the report itself does not say: names for people, and where things are.
//!
//! None of it is signed, and none of it can change what the report says.

use base::{Sha256Digest, Tier};
use seal::PublicKey;

use crate::appeals::AppealClocks;
use crate::changes::Changes;

/// The surroundings of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The site's name.
    pub site: String,
    /// The artifact's file name.
    pub artifact_name: String,
    /// The artifact's version, where its manifest states one.
    pub version: Option<String>,
    /// The tier of the plugin at this site.
    pub tier: Tier,
    /// The owner's name, where the manifest states one.
    pub owner: Option<String>,
    /// Whom an owner writes to: the security team's address.
    pub security_contact: String,
    /// The signed bundle; absent for a draft that nobody signed.
    pub signed: Option<SignedFile>,
    /// The evidence bundle, where one was made.
    pub evidence: Option<EvidenceFile>,
    /// How soon appeals are answered here.
    pub appeals: AppealClocks,
    /// What changed since the report before, where there was one.
    pub changes: Option<Changes>,
}

/// The signed bundle of a report, as a file that a stranger can check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedFile {
    /// The bundle's file name.
    pub name: String,
    /// The digest of the payload that was signed.
    pub payload_digest: Sha256Digest,
    /// The auditor's key.
    pub key: PublicKey,
    /// The file name of the auditor's public key.
    pub key_name: String,
}

/// The evidence bundle of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceFile {
    /// Its file name.
    pub name: String,
    /// Its digest; the report's second subject.
    pub digest: Sha256Digest,
    /// Its size.
    pub size_bytes: u64,
}
