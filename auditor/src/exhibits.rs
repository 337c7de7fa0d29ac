//! Exhibits: what goes into the evidence bundle of one report.
//!
//! Only this plugin's events are in it, each with the proof that its gateway's log holds it, and
//! everything else is what a stranger needs to check the rest without asking us.

use std::collections::BTreeSet;

use base::{ArtifactState, RunId, Sha256Digest, Tier, Timestamp};
use evidence::ReadError;
use reports::bundle::{Build, CitedEvent, Contents, NamedKey, WriteBundleError, write_bundle};
use reports::predicate::{ConformanceReport, EventReference};
use seal::PredicateType;
use seal::cosignature::CosignatureVerifier;
use seal::envelope::Unverified;
use seal::trust::{Role, TrustRoot};
use serde::Serialize;

use crate::gather::Evidence;
use crate::night::Auditor;
use crate::site::{Artifact, CrlOnFile, Run};

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
    pub(crate) crl: &'a CrlOnFile,
    /// The policy in its canonical form.
    pub(crate) policy: &'a [u8],
    pub(crate) evidence: &'a Evidence,
    pub(crate) trust: Option<&'a TrustRoot>,
}

/// What the auditor had before it, beside what the bundle holds in files of its own.
#[derive(Serialize)]
struct Inputs<'a> {
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
        let contents = Contents {
            builds: vec![Build {
                artifact_digest: self.artifact.artifact_digest,
                artifact_name: self.artifact.file_name.clone(),
                manifest: self.artifact.manifest_bundle.clone(),
                approvals: self.artifact.approval_bundle.iter().cloned().collect(),
            }],
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
            crl_head: self.crl.head_bundle.clone(),
            crl_body: self.crl.body.clone(),
            trust_root: self.auditor.trust_root.clone(),
            keys: self.keys(),
            log_keys: self
                .evidence
                .logs
                .iter()
                .map(|believed| believed.verifier.clone())
                .collect(),
            policy: self.policy.to_vec(),
            report_inputs: self.inputs(),
            // Letters are written about a report, so after it.
            notifications: Vec::new(),
        };
        Ok(write_bundle(report, &contents)?)
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

    /// The auditor's own key, and from the trust root the keys that signed what is in the bundle.
    fn keys(&self) -> Vec<NamedKey> {
        let approval = self.artifact.approval_bundle.as_deref().unwrap_or_default();
        let documents = [
            (
                Role::Owner,
                PredicateType::PluginManifest,
                self.artifact.manifest_bundle.as_slice(),
            ),
            (Role::Certifier, PredicateType::Approval, approval),
            (Role::Crl, PredicateType::Crl, self.crl.head_bundle.as_slice()),
        ];
        let mut keys = vec![NamedKey {
            role: Role::Auditor,
            name: Role::Auditor.to_string(),
            key: self.auditor.key.public(),
        }];
        for (role, predicate, document) in documents {
            let Some((trust, bundle)) = self.trust.zip(Unverified::parse(document).ok()) else {
                continue;
            };
            let key = trust
                .keys(role)
                .find(|key| bundle.clone().verify([*key], predicate).is_ok());
            keys.extend(key.map(|key| NamedKey {
                role,
                name: role.to_string(),
                key: key.clone(),
            }));
        }
        keys
    }

    fn inputs(&self) -> Vec<u8> {
        let inputs = Inputs {
            file_name: &self.artifact.file_name,
            manifest: self.artifact.manifest_payload,
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
