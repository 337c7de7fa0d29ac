//! Exhibits: what goes into the evidence bundle of one report.
//!
//! Only this plugin's events are in it, each with the proof that its gateway's log holds it, and
//! everything else is what a stranger needs to check the rest without asking us.

use std::collections::BTreeSet;

use base::{ArtifactState, RunId, Sha256Digest, Tier, Timestamp};
use evidence::ReadError;
use reports::bundle::{
    Build, CitedEvent, Contents, ExceptionUse, NamedKey, WriteBundleError, signers, write_bundle,
};
use reports::predicate::{ConformanceReport, EventReference};
use seal::cosignature::CosignatureVerifier;
use seal::exception::SignedException;
use seal::trust::{Role, TrustRoot};
use serde::Serialize;

use crate::gather::Evidence;
use crate::night::Auditor;
use crate::records::Records;
use crate::relied::Relied;
use crate::site::{Artifact, Run};

/// Why there is no evidence bundle, and so no report: what cannot be proven is not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExhibitError {
    /// A cited entry can no longer be proven.
    #[error("entry {index} of log {origin} cannot be proven: {source}")]
    Prove {
        /// The log.
        origin: String,
        /// The entry.
        index: u64,
        /// What reading it said.
        source: ReadError,
    },
    /// A finding cites a log that was not believed.
    #[error("log {origin} is cited and was not read")]
    NoSuchLog {
        /// The log.
        origin: String,
    },
    /// The bundle could not be written.
    #[error(transparent)]
    Write(#[from] WriteBundleError),
}

/// What the bundle of one report is made from.
pub(crate) struct Exhibits<'a> {
    pub(crate) auditor: &'a Auditor,
    pub(crate) artifact: &'a Artifact,
    /// The runs of the report that are on record.
    pub(crate) runs: Vec<&'a Run>,
    /// Policy and revocation list.
    pub(crate) records: &'a Records,
    /// The exceptions that the report relies on.
    pub(crate) relied: &'a Relied,
    pub(crate) evidence: &'a Evidence,
    pub(crate) trust: Option<&'a TrustRoot>,
}

/// What the auditor had before it, beside what the bundle holds in files of its own.
#[derive(Serialize)]
struct Inputs<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<ExceptionUse>,
    file_name: &'a str,
    manifest: Sha256Digest,
    runs: Vec<RunInput>,
    state: ArtifactState,
    tier: Tier,
}

#[derive(Serialize)]
struct RunInput {
    ended: Option<Timestamp>,
    run_id: RunId,
    started: Timestamp,
}

impl Exhibits<'_> {
    /// The bundle's bytes.
    pub(crate) fn write(&self, report: &ConformanceReport) -> Result<Vec<u8>, ExhibitError> {
        let mut contents = Contents {
            builds: vec![self.build(report)],
            events: self.events(report)?,
            checkpoints: self
                .evidence
                .logs
                .iter()
                .map(|believed| {
                    let origin = believed.verifier.name().to_owned();
                    (origin, believed.log.signed_checkpoint().to_owned())
                })
                .collect(),
            cosigned: self
                .evidence
                .logs
                .iter()
                .filter_map(|believed| {
                    let cosigned = believed.cosigned.as_ref()?;
                    Some((believed.verifier.name().to_owned(), cosigned.to_string()))
                })
                .collect(),
            witnesses: self.witnesses(),
            reports: Vec::new(),
            crl_head: self.records.crl.head_bundle.clone(),
            crl_body: self.records.crl.body.clone(),
            trust_root: self.auditor.trust_root.clone(),
            keys: Vec::new(),
            log_keys: self
                .evidence
                .logs
                .iter()
                .map(|believed| believed.verifier.clone())
                .collect(),
            policy: self.records.policy_text.clone(),
            policy_signature: self.records.policy_signature.clone().unwrap_or_default(),
            exceptions: self.exceptions(),
            report_inputs: self.inputs(report),
            // Letters are written about a report, so after it.
            notifications: Vec::new(),
        };
        contents.keys = self.keys(&contents);
        Ok(write_bundle(report, &contents)?)
    }

    /// The manifests that the report names, with what the platform signed about each.
    fn build(&self, report: &ConformanceReport) -> Build {
        let artifact = self.artifact;
        let earlier = artifact
            .earlier
            .iter()
            .map(|earlier| (earlier.payload, &earlier.bundle, &earlier.approval_bundle));
        let now = (
            artifact.manifest_payload,
            &artifact.manifest_bundle,
            &artifact.approval_bundle,
        );
        let mut build = Build {
            artifact_digest: artifact.artifact_digest,
            artifact_name: artifact.file_name.clone(),
            manifest: Vec::new(),
            earlier: Vec::new(),
            approvals: Vec::new(),
        };
        for (payload, bundle, approval) in earlier.chain(std::iter::once(now)) {
            let is_last = payload == report.manifest.digest.sha256;
            let is_named = report.manifests.iter().any(|one| one.digest.sha256 == payload);
            if is_last {
                build.manifest.clone_from(bundle);
            } else if is_named && !build.earlier.contains(bundle) {
                build.earlier.push(bundle.clone());
            }
            let approval = approval
                .iter()
                .filter(|approval| !build.approvals.contains(approval));
            if is_last || is_named {
                let approval: Vec<Vec<u8>> = approval.cloned().collect();
                build.approvals.extend(approval);
            }
        }
        build
    }

    fn events(&self, report: &ConformanceReport) -> Result<Vec<CitedEvent>, ExhibitError> {
        let cited: BTreeSet<&EventReference> = report
            .findings
            .iter()
            .flat_map(|finding| &finding.events)
            .collect();
        cited.into_iter().map(|reference| self.prove(reference)).collect()
    }

    fn prove(&self, reference: &EventReference) -> Result<CitedEvent, ExhibitError> {
        let believed = self
            .evidence
            .logs
            .iter()
            .find(|believed| believed.verifier.name() == reference.origin)
            .ok_or_else(|| ExhibitError::NoSuchLog {
                origin: reference.origin.clone(),
            })?;
        let proven = believed
            .prove(reference.index)
            .map_err(|source| ExhibitError::Prove {
                origin: reference.origin.clone(),
                index: reference.index,
                source,
            })?;
        Ok(CitedEvent {
            reference: reference.clone(),
            entry: proven.entry,
            proof: Some(proven.proof),
        })
    }

    /// Those who cosigned what is in the bundle.
    fn witnesses(&self) -> Vec<CosignatureVerifier> {
        let mut witnesses: Vec<CosignatureVerifier> = Vec::new();
        for believed in &self.evidence.logs {
            let Some(cosigned) = &believed.cosigned else {
                continue;
            };
            for witness in &believed.witnesses {
                if cosigned.cosigned_at(witness).is_ok() && !witnesses.contains(witness) {
                    witnesses.push(witness.clone());
                }
            }
        }
        witnesses
    }

    /// What two people signed of the exceptions that the report relies on.
    fn exceptions(&self) -> Vec<SignedException> {
        let signed = self.records.exceptions.iter();
        signed
            .filter(|exception| self.relied.has(&exception.digest()))
            .cloned()
            .collect()
    }

    /// The auditor's own key, and from the trust root the keys that signed what is in the bundle.
    fn keys(&self, contents: &Contents) -> Vec<NamedKey> {
        let own = NamedKey {
            role: Role::Auditor,
            name: Role::Auditor.to_string(),
            key: self.auditor.key.public(),
        };
        match self.trust {
            Some(trust) => signers(vec![own], contents.papers(), trust),
            None => vec![own],
        }
    }

    fn inputs(&self, report: &ConformanceReport) -> Vec<u8> {
        // An exception without signatures at hand cannot be shown, and so is not claimed either.
        let shown: BTreeSet<Sha256Digest> = self.exceptions().iter().map(SignedException::digest).collect();
        let mut exceptions = self.relied.uses();
        exceptions.retain(|used| shown.contains(&used.sha256));
        let inputs = Inputs {
            exceptions,
            file_name: &self.artifact.file_name,
            manifest: report.manifest.digest.sha256,
            runs: self
                .runs
                .iter()
                .map(|run| RunInput {
                    ended: run.ended,
                    run_id: run.run_id,
                    started: run.started,
                })
                .collect(),
            state: self.artifact.state,
            tier: self.artifact.tier,
        };
        base::json::canonical(&inputs).expect("words and times have a canonical form")
    }
}
