//! Publications: one report, sealed, with what is kept beside it.

use std::collections::BTreeSet;

use base::Sha256Digest;
use reports::bundle::bundle_name;
use reports::predicate::{ConformanceReport, EventReference, Finding};
use reports::{Changes, Context, EvidenceFile, SealError, SignedFile};

use crate::exhibits::{ExhibitError, Exhibits};
use crate::night::Auditor;
use crate::site::{Artifact, PreviousReport};

/// What the signed bundle's file is called.
pub const BUNDLE_NAME: &str = "report.sigstore.json";

/// One sealed report, ready to be kept. Every page that somebody reads follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it says.
    pub report: ConformanceReport,
    /// What the artifact's file is called.
    pub artifact_name: String,
    /// The signed bundle, for a file called [`BUNDLE_NAME`].
    pub bundle: Vec<u8>,
    /// The SHA-256 of the bundle: how the site names the report.
    pub report_id: Sha256Digest,
    /// The digest of the payload that was signed: how the next report names this one.
    pub payload: Sha256Digest,
    /// The evidence bundle; the report names its digest. `None` where that of the artifact's report holds
    /// all that this one rests on, and is named instead.
    pub evidence: Option<Vec<u8>>,
    /// What surrounds the report, for whoever makes pages of it or writes letters about it.
    pub context: Context,
}

/// The evidence bundle of an artifact's report, for the reports about its runs to rest on.
#[derive(Clone, Debug)]
pub(crate) struct SharedEvidence {
    file: EvidenceFile,
    /// The entries in it.
    events: BTreeSet<EventReference>,
}

impl SharedEvidence {
    /// The bundle `file`, in which everything is that `findings` cite.
    pub(crate) fn new(file: EvidenceFile, findings: &[Finding]) -> Self {
        Self {
            file,
            events: cited(findings).cloned().collect(),
        }
    }

    /// Whether everything that the report cites is in it.
    fn holds(&self, report: &ConformanceReport) -> bool {
        cited(&report.findings).all(|event| self.events.contains(event))
    }
}

fn cited(findings: &[Finding]) -> impl Iterator<Item = &EventReference> {
    findings.iter().flat_map(|finding| &finding.events)
}

/// Why a report was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// It contradicts itself, or does not fit.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What it cites cannot be shown.
    #[error(transparent)]
    Exhibits(#[from] ExhibitError),
}

/// Everything that goes into one publication.
pub(crate) struct Sealing<'a> {
    pub(crate) auditor: &'a Auditor,
    pub(crate) artifact: &'a Artifact,
    pub(crate) exhibits: &'a Exhibits<'a>,
    pub(crate) previous: Option<&'a PreviousReport>,
    /// The evidence bundle of the report about its artifact, for a report about a run.
    pub(crate) shared: Option<&'a SharedEvidence>,
}

impl Sealing<'_> {
    /// Seals `report`, bound to the evidence for it.
    pub(crate) fn seal(&self, report: ConformanceReport) -> Result<Publication, PublishError> {
        let (file, evidence) = match self.shared.filter(|shared| shared.holds(&report)) {
            Some(shared) => (shared.file.clone(), None),
            None => {
                let bytes = self.exhibits.write(&report)?;
                let file = EvidenceFile {
                    name: bundle_name(&report),
                    digest: Sha256Digest::of(&bytes),
                    size_bytes: bytes.len() as u64,
                };
                (file, Some(bytes))
            }
        };
        let subject = Some((file.name.as_str(), &file.digest));
        let sealed =
            reports::seal_report_named(&report, &self.artifact.file_name, subject, &self.auditor.key)?;
        Ok(Publication {
            artifact_name: self.artifact.file_name.clone(),
            report_id: Sha256Digest::of(&sealed.bundle),
            bundle: sealed.bundle,
            payload: sealed.payload_digest,
            evidence,
            context: self.context(&report, sealed.payload_digest, file),
            report,
        })
    }

    fn context(&self, report: &ConformanceReport, payload: Sha256Digest, file: EvidenceFile) -> Context {
        let manifest = &self.artifact.manifest;
        Context {
            site: self.auditor.site.clone(),
            artifact_name: self.artifact.file_name.clone(),
            version: manifest.version.clone(),
            tier: self.artifact.tier,
            owner: manifest.owner.as_ref().map(|owner| owner.name.clone()),
            security_contact: self.auditor.security_contact.clone(),
            appeals: self.auditor.appeals,
            signed: Some(SignedFile {
                name: BUNDLE_NAME.to_owned(),
                payload_digest: payload,
                key: self.auditor.key.public(),
                key_name: self.auditor.key_name.clone(),
            }),
            evidence: Some(file),
            changes: self
                .previous
                .map(|previous| Changes::between(&previous.report, report)),
        }
    }
}
