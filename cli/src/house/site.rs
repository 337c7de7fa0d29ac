//! The site, as the auditor asks about it.
//!
//! The auditor works on a thread of its own and waits for answers; the registry answers on the
//! runtime. Nothing here decides.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use auditor::{
    Artifact, CrlOnFile, Period, PreviousReport, Progress, Proposal, Publication, Run, Site, SiteError,
};
use base::{ArtifactDigest, Policy, Reason, RunId, Sha256Digest, Timestamp};
use control::api::types::{ChangeRequest, ListAct, ListChange, ListPublished, Target};
use control::office::Office;
use control::store::{ReportRecord, RunFilter, RunRecord};
use evidence::witness::Cosigned;
use manifests::Manifest;
use parking_lot::Mutex;
use seal::PredicateType;
use seal::envelope::Unverified;
use seal::trust::Role;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::logs;
use crate::config::Config;
use crate::{files, witness};

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
}

/// The site during one night.
pub struct HouseSite<'h> {
    pub(super) config: &'h Config,
    pub(super) office: &'h Office,
    pub(super) runtime: Handle,
    pub(super) now: Timestamp,
    /// What was published, for the letters and the summary.
    pub(super) published: Mutex<Vec<Kept>>,
    /// What an automatic act cut.
    pub(super) cut: Mutex<Vec<ListPublished>>,
    pub(super) progress: Box<dyn Fn(Progress<'_>) + Send + Sync + 'h>,
}

/// A report that was kept.
pub struct Kept {
    /// The report in every form.
    pub publication: Publication,
    /// Its record.
    pub record: ReportRecord,
}

impl HouseSite<'_> {
    fn wait<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, SiteError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        self.runtime.block_on(work).map_err(Into::into)
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

impl Site for HouseSite<'_> {
    fn artifacts(&self, _: Period) -> Result<Vec<Artifact>, SiteError> {
        let store = self.office.store();
        let default_tier = self.office.policy()?.policy.default_tier;
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
        let artifact = |record: control::store::ArtifactRecord| {
            let chosen = tiers.get(&record.plugin_id).copied().flatten();
            Ok(Artifact {
                artifact_digest: record.artifact_digest,
                file_name: record.file_name,
                tier: chosen.unwrap_or(default_tier),
                state: record.state,
                is_running: running.contains(&record.artifact_digest),
                manifest: Manifest::parse(record.admission.manifest_json.as_bytes())?,
                manifest_payload: record.admission.manifest_payload_sha256,
                manifest_bundle: record.admission.manifest_bundle,
                approval_bundle: record.admission.approval_bundle,
                plugin_id: record.plugin_id,
            })
        };
        self.wait(store.artifacts(None))?
            .into_iter()
            .map(artifact)
            .collect()
    }

    fn runs(&self, period: Period) -> Result<Vec<Run>, SiteError> {
        let run = |record: RunRecord| Run {
            run_id: record.run_id,
            plugin_id: record.plugin_id,
            artifact_digest: record.artifact_digest,
            started: record.started_at,
            ended: record.ended_at,
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
        let gateway = |place: logs::LogPlace| {
            let mark = marks.get(&place.origin);
            auditor::Gateway {
                known_checkpoint: known_checkpoint(self.config, &place, mark),
                witnesses: witnesses.clone(),
                folder: place.folder,
                verifier: place.verifier,
                // Only where this period begins where that reading ended.
                audited_to: mark
                    .filter(|mark| mark.audited_to == period.from)
                    .map(|mark| mark.to),
            }
        };
        Ok(logs::all(self.config, &trust)
            .map_err(SiteError::from)?
            .into_iter()
            .map(gateway)
            .collect())
    }

    fn policy(&self) -> Result<Policy, SiteError> {
        Ok(self.office.policy()?.policy)
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

    fn previous_report(
        &self,
        artifact: &Artifact,
        run_id: Option<RunId>,
        period: Period,
    ) -> Result<Option<PreviousReport>, SiteError> {
        let before = self.office.store().report_before(
            artifact.plugin_id.clone(),
            artifact.artifact_digest,
            run_id,
            period.from,
        );
        let Some(record) = self.wait(before)? else {
            return Ok(None);
        };
        let bundle = std::fs::read(PathBuf::from(&record.folder).join(auditor::BUNDLE_NAME))?;
        let trust = self.wait(self.office.trust_root())?;
        let opened = Unverified::parse(&bundle)?
            .verify(trust.keys(Role::Auditor), PredicateType::ConformanceReport)?;
        let report = serde_json::from_value(opened.statement.predicate.clone())?;
        Ok(Some(PreviousReport {
            payload: opened.payload_digest(),
            report,
        }))
    }

    fn quarantine(&self, proposal: &Proposal) -> Result<u64, SiteError> {
        // The gravest reason goes on the list; the report names them all.
        let reason = proposal
            .reasons
            .iter()
            .copied()
            .max_by_key(|reason| reason.severity());
        let request = ChangeRequest {
            changes: vec![ListChange {
                action: ListAct::Quarantine,
                target: Target::Artifact(proposal.artifact_digest),
                reason: reason.unwrap_or(Reason::UndeclaredHost),
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

    fn ask_approval(&self, proposal: &Proposal) -> Result<(), SiteError> {
        // The mail and the report carry the question; the answer is `bailiwick quarantine`.
        tracing::warn!(
            plugin = %proposal.plugin_id, artifact = %proposal.artifact_digest, clause = %proposal.clause,
            "more running plugins would stop than the clause allows; a second person decides"
        );
        Ok(())
    }

    fn publish(&self, publication: &Publication) -> Result<String, SiteError> {
        let report = &publication.report;
        let about = match report.run_id {
            Some(run_id) => format!("run-{run_id}"),
            None => "artifact".to_owned(),
        };
        let period = report
            .period
            .to
            .to_string()
            .replace([':', '-'], "")
            .replace(".000000", "");
        let folder = self
            .config
            .data_dir()
            .join("reports")
            .join(report.period.to.utc_day())
            .join(report.plugin_id.as_str())
            .join(format!("{}-{about}-{period}", report.artifact_digest.short()));
        std::fs::create_dir_all(&folder)?;
        if let Some(signed) = &publication.context.signed {
            files::replace(&folder.join(&signed.key_name), signed.key.to_pem().as_bytes())?;
        }
        // The signed bundle comes last: where it is, everything is.
        files::replace(&folder.join("report.html"), publication.html.as_bytes())?;
        files::replace(&folder.join("report.txt"), publication.text.as_bytes())?;
        files::replace(&folder.join(&publication.evidence_name), &publication.evidence)?;
        files::replace(&folder.join(auditor::BUNDLE_NAME), &publication.bundle)?;
        let place = folder.display().to_string();
        let record = ReportRecord {
            report_id: Sha256Digest::of(&publication.bundle),
            plugin_id: report.plugin_id.clone(),
            artifact_digest: Some(report.artifact_digest),
            run_id: report.run_id,
            from: report.period.from,
            to: report.period.to,
            verdict: report.verdict,
            folder: place.clone(),
            created_at: self.now,
        };
        self.wait(self.office.store().add_report(record.clone()))?;
        self.published.lock().push(Kept {
            publication: publication.clone(),
            record,
        });
        Ok(place)
    }

    fn note(&self, progress: Progress<'_>) {
        (self.progress)(progress);
    }
}
