//! What a reader needs and the report itself does not say: names for people, and where things are.
//!
//! None of it is signed, and none of it can change what the report says.

use base::{Sha256Digest, Tier};
use seal::PublicKey;
use serde::{Deserialize, Serialize};

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

/// What the reports of one artifact's night have around them in common. It is kept beside them, so that a
/// page made years later says what it would have said that night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surroundings {
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
    /// Whom an owner writes to.
    pub security_contact: String,
    /// How soon appeals are answered here.
    pub appeals: AppealClocks,
    /// The file name of the auditor's public key.
    pub key_name: String,
}

impl Surroundings {
    /// What surrounds one of these reports.
    pub fn of(self, signed: SignedFile, evidence: Option<EvidenceFile>, changes: Option<Changes>) -> Context {
        Context {
            site: self.site,
            artifact_name: self.artifact_name,
            version: self.version,
            tier: self.tier,
            owner: self.owner,
            security_contact: self.security_contact,
            signed: Some(signed),
            evidence,
            appeals: self.appeals,
            changes,
        }
    }
}

impl Context {
    /// The part of this that all reports of one artifact's night share; `None` for a draft.
    pub fn surroundings(&self) -> Option<Surroundings> {
        Some(Surroundings {
            site: self.site.clone(),
            artifact_name: self.artifact_name.clone(),
            version: self.version.clone(),
            tier: self.tier,
            owner: self.owner.clone(),
            security_contact: self.security_contact.clone(),
            appeals: self.appeals,
            key_name: self.signed.as_ref()?.key_name.clone(),
        })
    }
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
