//! Publications: one report in every form that somebody reads.

use base::Sha256Digest;
use reports::bundle::bundle_name;
use reports::predicate::ConformanceReport;
use reports::{Changes, Context, EvidenceFile, SealError, SignedFile};
use seal::PredicateType;
use seal::envelope::{EnvelopeError, Unverified};

use crate::exhibits::{ExhibitError, Exhibits};
use crate::night::Auditor;
use crate::site::{Artifact, PreviousReport};

/// What the signed bundle's file is called.
pub const BUNDLE_NAME: &str = "report.sigstore.json";

/// One sealed report, ready to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it says.
    pub report: ConformanceReport,
    /// What the artifact's file is called.
    pub artifact_name: String,
    /// The signed bundle, for a file called [`BUNDLE_NAME`].
    pub bundle: Vec<u8>,
    /// The digest of the payload that was signed: how the next report names this one.
    pub payload: Sha256Digest,
    /// The page, for a browser.
    pub html: String,
    /// The page, for a terminal.
    pub text: String,
    /// The evidence bundle's file name.
    pub evidence_name: String,
    /// The evidence bundle; the report names its digest.
    pub evidence: Vec<u8>,
    /// What surrounds the report, for whoever writes letters about it.
    pub context: Context,
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
    /// What was just sealed does not open.
    #[error("the sealed report does not open again: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// Everything that goes into one publication.
pub(crate) struct Sealing<'a> {
    pub(crate) auditor: &'a Auditor,
    pub(crate) artifact: &'a Artifact,
    pub(crate) exhibits: &'a Exhibits<'a>,
    pub(crate) previous: Option<&'a PreviousReport>,
}

impl Sealing<'_> {
    /// Seals `report`, bound to the evidence for it.
    pub(crate) fn seal(&self, report: ConformanceReport) -> Result<Publication, PublishError> {
        let evidence = self.exhibits.write(&report)?;
        let file = EvidenceFile {
            name: bundle_name(&report),
            digest: Sha256Digest::of(&evidence),
            size_bytes: evidence.len() as u64,
        };
        let subject = Some((file.name.as_str(), &file.digest));
        let bundle = reports::seal_report(&report, &self.artifact.file_name, subject, &self.auditor.key)?;
        let payload = Unverified::parse(&bundle)?
            .verify([&self.auditor.key.public()], PredicateType::ConformanceReport)?
            .payload_digest();
        let context = self.context(&report, payload, file.clone());
        Ok(Publication {
            html: reports::render::html(&report, &context),
            text: reports::render::text(&report, &context),
            artifact_name: self.artifact.file_name.clone(),
            bundle,
            payload,
            evidence_name: file.name,
            evidence,
            context,
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
