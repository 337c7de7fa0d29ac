//! The site, as the auditor asks about it.
//!
//! The auditor works on a thread of its own and waits for answers; the registry answers on the
//! runtime. Nothing here decides.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use auditor::{
    Artifact, Component, CrlOnFile, EarlierManifest, Measure, PastAct, Period, PolicyOnFile, PreviousReport,
    Progress, Proposal, Publication, PublishedBefore, Run, Site, SiteError,
};
use base::{ArtifactDigest, AutomaticAction, Reason, RunId, Timestamp};
use control::api::types::{ChangeRequest, ListAct, ListChange, ListPublished, Target};
use control::office::Office;
use control::store::{Act, ArtifactRecord, NewWaitingAct, RunFilter, RunRecord};
use control::words::Action;
use evidence::witness::Cosigned;
use manifests::Manifest;
use parking_lot::Mutex;
use seal::trust::TrustRoot;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::nights::lease::LeaseWatch;
use super::shelf::Shelf;
use super::{archive, logs};
use crate::config::Config;
use crate::witness;

/// The setting in which the last night's reading of each log is kept.
pub const LOGS_READ: &str = "logs_read";
/// Who an automatic act is ascribed to.
const POLICY: &str = "policy";

/// How far one log was read by the night before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogMark {
    /// One past the last entry read.
    pub to: u64,
    /// The signed checkpoint that the log was verified against.
    pub checkpoint: String,
    /// The end of the period that was read.
    pub audited_to: Timestamp,
    /// Nights since the one that verified the log whole.
    #[serde(default)]
    pub nights_since_whole: u32,
}

/// The site during one night.
pub struct HouseSite<'h> {
    pub(super) config: &'h Config,
    pub(super) office: &'h Office,
    pub(super) runtime: Handle,
    pub(super) now: Timestamp,
    /// The one run that is audited, where not all are.
    pub(super) only_run: Option<RunId>,
    /// Reports written and looked up.
    pub(super) shelf: Shelf,
    /// What an automatic act cut.
    pub(super) cut: Mutex<Vec<ListPublished>>,
    pub(super) progress: Box<dyn Fn(Progress<'_>) + Send + Sync + 'h>,
    /// Whether this night was begun before and interrupted.
    pub(super) is_resumed: bool,
    /// Whether every log is verified whole, however lately that was done.
    pub(super) verifies_whole: bool,
    /// Whether nothing may be done any more, where only one instance at a time may.
    pub(super) lease: Option<LeaseWatch>,
}

impl HouseSite<'_> {
    pub(super) fn wait<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, SiteError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        self.runtime.block_on(work).map_err(Into::into)
    }

    fn is_ours(&self) -> Result<(), SiteError> {
        Ok(self.lease.as_ref().map_or(Ok(()), LeaseWatch::check)?)
    }

    fn run_records(&self, period: Period) -> Result<Vec<RunRecord>, SiteError> {
        let filter = RunFilter {
            live_from: Some(period.from),
            started_before: Some(period.to),
            ..RunFilter::default()
        };
        self.wait(self.office.store().runs(filter))
    }

    fn marks(&self) -> Result<HashMap<String, LogMark>, SiteError> {
        let text: Option<String> = self.wait(self.office.store().setting(LOGS_READ))?;
        Ok(text
            .map(|text| serde_json::from_str(&text))
            .transpose()?
            .unwrap_or_default())
    }
}

/// The longest checkpoint of a log that is known outside its folder's `checkpoint`: from the night
/// before, from the control plane as a witness, or from beside the log, where witnesses put it.
fn known_checkpoint(config: &Config, place: &logs::LogPlace, mark: Option<&LogMark>) -> Option<String> {
    let from_mark = mark.map(|mark| mark.checkpoint.clone());
    let marked = from_mark
        .as_ref()
        .and_then(|signed| Cosigned::open(signed.as_bytes(), &place.verifier).ok());
    if from_mark.is_some() && marked.is_none() {
        // It is for the auditor to say that the mark is spoilt.
        return from_mark;
    }
    let remembered = Cosigned::read_memory(&config.witness_dir(), &place.verifier);
    let beside = Cosigned::read(&place.folder, &place.verifier);
    marked
        .into_iter()
        .chain(remembered.ok().flatten())
        .chain(beside.ok().flatten())
        .max_by_key(|known| known.checkpoint().size())
        .map(|known| known.to_string())
}

/// A moment, as it can stand in the name of a folder.
pub(super) fn file_time(moment: Timestamp) -> String {
    moment.to_string().replace([':', '-'], "").replace(".000000", "")
}

/// The gravest reason goes on the list; the report names them all.
fn gravest(proposal: &Proposal) -> Reason {
    let reasons = proposal.reasons.iter().copied();
    reasons
        .max_by_key(|reason| reason.severity())
        .unwrap_or(Reason::UndeclaredHost)
}

/// What clauses did about one artifact by themselves, or with a second person's approval.
fn past_acts(automatic: &[Act], digest: ArtifactDigest) -> Vec<PastAct> {
    let target = digest.to_string();
    let own = automatic.iter().filter(|act| act.target == target);
    own.filter_map(|act| {
        Some(PastAct {
            at: act.at,
            action: match act.action {
                Action::Watch => AutomaticAction::Watch,
                Action::Quarantine => AutomaticAction::Quarantine,
                Action::Revoke => AutomaticAction::Revoke,
                _ => return None,
            },
            clause: act.clause.clone()?,
            enabled_by: act.enabled_by.clone()?,
            crl_number: act.crl_number,
        })
    })
    .collect()
}

/// When an approval that the gate took runs out. Where its certifier's key has left the trust root since,
/// nobody can say any more.
fn approved_until(bundle: Option<&[u8]>, trust: &TrustRoot) -> Option<Timestamp> {
    manifests::Approval::end(bundle?, trust).ok().flatten()
}

fn components(record: &ArtifactRecord) -> Vec<Component> {
    let components = record.admission.components.iter();
    components
        .map(|component| Component {
            name: component.name.clone(),
            version: component.version.clone(),
        })
        .collect()
}

impl HouseSite<'_> {
    /// The manifests that an artifact was admitted with before the one in force.
    fn earlier_manifests(
        &self,
        record: &ArtifactRecord,
        trust: &TrustRoot,
    ) -> Result<Vec<EarlierManifest>, SiteError> {
        let admissions = self.wait(self.office.store().admissions(record.artifact_digest))?;
        let pairs = admissions.iter().zip(admissions.iter().skip(1));
        pairs
            .map(|(admission, next)| {
                Ok(EarlierManifest {
                    until: next.admitted_at,
                    manifest: Manifest::parse(admission.manifest_json.as_bytes())?,
                    payload: admission.manifest_payload_sha256,
                    bundle: admission.manifest_bundle.clone(),
                    approved_until: approved_until(admission.approval_bundle.as_deref(), trust),
                    approval_bundle: admission.approval_bundle.clone(),
                })
            })
            .collect()
    }
}

impl Site for HouseSite<'_> {
    fn artifacts(&self, period: Period) -> Result<Vec<Artifact>, SiteError> {
        let store = self.office.store();
        let automatic = self.wait(store.automatic_acts(period.from))?;
        // An artifact has further manifests to be asked for only if it was admitted again lately.
        let begun = self.run_records(period)?.into_iter().fold(
            HashMap::new(),
            |mut begun: HashMap<_, Timestamp>, run| {
                let first = begun.entry(run.artifact_digest).or_insert(run.started_at);
                *first = (*first).min(run.started_at);
                begun
            },
        );
        let default_tier = self.wait(self.office.policy())?.policy.default_tier;
        let tiers: HashMap<_, _> = self
            .wait(store.plugins())?
            .into_iter()
            .map(|plugin| (plugin.plugin_id, plugin.tier))
            .collect();
        let live = RunFilter {
            live_from: Some(self.now),
            ..RunFilter::default()
        };
        let running: BTreeSet<ArtifactDigest> = self
            .wait(store.runs(live))?
            .into_iter()
            .filter(|run| run.is_live(self.now))
            .map(|run| run.artifact_digest)
            .collect();
        // An owner who was right in an appeal is left alone by clauses for a while.
        let protected: HashMap<_, _> = self.wait(store.protections(self.now))?.into_iter().collect();
        let trust = self.wait(self.office.trust_root())?;
        let artifact = |record: ArtifactRecord| {
            let chosen = tiers.get(&record.plugin_id).copied().flatten();
            let readmitted = begun
                .get(&record.artifact_digest)
                .is_some_and(|first| *first < record.admission.admitted_at);
            let earlier = match readmitted {
                true => self.earlier_manifests(&record, &trust)?,
                false => Vec::new(),
            };
            Ok(Artifact {
                earlier,
                acts: past_acts(&automatic, record.artifact_digest),
                components: components(&record),
                protected_until: protected.get(&record.plugin_id).copied(),
                artifact_digest: record.artifact_digest,
                file_name: record.file_name,
                tier: chosen.unwrap_or(default_tier),
                state: record.state,
                is_running: running.contains(&record.artifact_digest),
                manifest: Manifest::parse(record.admission.manifest_json.as_bytes())?,
                manifest_payload: record.admission.manifest_payload_sha256,
                manifest_bundle: record.admission.manifest_bundle,
                approved_until: approved_until(record.admission.approval_bundle.as_deref(), &trust),
                approval_bundle: record.admission.approval_bundle,
                plugin_id: record.plugin_id,
            })
        };
        self.wait(store.artifacts(None))?
            .into_iter()
            .map(artifact)
            .collect()
    }

    fn scratch(&self) -> Option<std::fs::File> {
        // Without it the night takes more memory, and says the same.
        tempfile::tempfile_in(self.config.data_dir()).ok()
    }

    fn runs(&self, period: Period) -> Result<Vec<Run>, SiteError> {
        let run = |record: RunRecord| Run {
            run_id: record.run_id,
            plugin_id: record.plugin_id,
            artifact_digest: record.artifact_digest,
            started: record.started_at,
            ended: record.ended_at,
            data_class: record.data_class.and_then(|class| class.parse().ok()),
            bytes_before: 0,
        };
        Ok(self.run_records(period)?.into_iter().map(run).collect())
    }

    fn gateways(&self, period: Period) -> Result<Vec<auditor::Gateway>, SiteError> {
        let trust = self.wait(self.office.trust_root())?;
        let marks = self.marks()?;
        let witnesses: Vec<_> = witness::quorum(self.config)?
            .witnesses()
            .iter()
            .cloned()
            .chain(witness::own_verifiers(self.config, &trust)?)
            .collect();
        let archive = archive::store(self.config);
        let gateway = |place: logs::LogPlace| {
            let mark = marks.get(&place.origin);
            let every = self.config.file.audit.verify_whole_every;
            let is_due = |mark: &LogMark| mark.nights_since_whole.saturating_add(1) >= every;
            auditor::Gateway {
                verified: mark
                    .filter(|mark| !self.verifies_whole && !is_due(mark))
                    .map(|mark| mark.checkpoint.clone()),
                known_checkpoint: known_checkpoint(self.config, &place, mark),
                witnesses: witnesses.clone(),
                folder: place.folder,
                verifier: place.verifier,
                // Only where this period begins where that reading ended.
                audited_to: mark
                    .filter(|mark| mark.audited_to == period.from)
                    .map(|mark| mark.to),
                archive: Some(Arc::clone(&archive)),
            }
        };
        Ok(logs::all(self.config, &trust)
            .map_err(SiteError::from)?
            .into_iter()
            .map(gateway)
            .collect())
    }

    fn policy(&self) -> Result<PolicyOnFile, SiteError> {
        let read = self.wait(self.office.policy())?;
        Ok(PolicyOnFile {
            policy: read.policy,
            signature: read.signature,
            exceptions: read.exceptions,
        })
    }

    fn crl(&self) -> Result<CrlOnFile, SiteError> {
        let accepted = self.office.list();
        Ok(CrlOnFile {
            crl_number: accepted.list().crl_number(),
            head_payload: accepted.list().head_sha256(),
            head_bundle: accepted.head().to_vec(),
            body: accepted.body().to_vec(),
        })
    }

    fn turn_to(&self, artifact: &Artifact, runs: &[RunId], period: Period) {
        self.look_up(artifact, runs, period);
    }

    fn previous_report(
        &self,
        _artifact: &Artifact,
        run_id: Option<RunId>,
        _period: Period,
    ) -> Result<Option<PreviousReport>, SiteError> {
        self.report_before(run_id)
    }

    fn stop(&self, proposal: &Proposal) -> Result<u64, SiteError> {
        self.is_ours()?;
        let request = ChangeRequest {
            changes: vec![ListChange {
                action: match proposal.measure {
                    Measure::Revoke => ListAct::Revoke,
                    _ => ListAct::Quarantine,
                },
                target: Target::Artifact(proposal.artifact_digest),
                reason: gravest(proposal),
            }],
            who: POLICY.to_owned(),
            note: None,
            clause: Some(proposal.clause.clone()),
            enabled_by: Some(proposal.enabled_by.clone()),
        };
        let published = self.wait(self.office.change_list(request))?;
        let number = published.crl_number;
        self.cut.lock().push(published);
        Ok(number)
    }

    fn watch(&self, proposal: &Proposal) -> Result<(), SiteError> {
        self.is_ours()?;
        let digest = proposal.artifact_digest;
        self.wait(self.office.watch(digest, &proposal.clause, &proposal.enabled_by))
    }

    fn put_off(&self, proposal: &Proposal) -> Result<(), SiteError> {
        self.is_ours()?;
        let (why, due_at, expires_at) = match proposal.measure {
            Measure::AwaitApproval {
                would_stop,
                allowed,
                until,
                ..
            } => {
                let why = format!("{would_stop} running plugins would stop and the clause allows {allowed}");
                (why, None, until)
            }
            Measure::Announce { due, .. } => (
                "owner and security have time to speak first".to_owned(),
                Some(due),
                due,
            ),
            _ => return Ok(()),
        };
        tracing::warn!(
            plugin = %proposal.plugin_id, artifact = %proposal.artifact_digest, clause = %proposal.clause, why,
            "an act waits; see: bailiwick approve-act --list"
        );
        let act = NewWaitingAct {
            plugin_id: proposal.plugin_id.clone(),
            artifact_digest: proposal.artifact_digest,
            action: match proposal.measure.action() {
                AutomaticAction::Revoke => Action::Revoke,
                _ => Action::Quarantine,
            },
            reason: gravest(proposal),
            clause: proposal.clause.clone(),
            enabled_by: proposal.enabled_by.clone(),
            why,
            due_at,
            expires_at,
        };
        self.wait(self.office.put_off(act))
    }

    fn published(
        &self,
        _artifact: &Artifact,
        run_id: Option<RunId>,
        _period: Period,
    ) -> Result<Option<PublishedBefore>, SiteError> {
        self.published_before(run_id)
    }

    fn publish(&self, publication: &Publication) -> Result<String, SiteError> {
        self.is_ours()?;
        self.write_report(publication)
    }

    fn keep(&self) -> Result<(), SiteError> {
        self.is_ours()?;
        self.keep_reports()
    }

    fn note(&self, progress: Progress<'_>) {
        (self.progress)(progress);
    }
}
