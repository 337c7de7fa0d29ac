//! The site, as the auditor asks about it.
//!
//! The auditor works on a thread of its own and waits for answers; the registry answers on the
//! runtime. Nothing here decides.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use auditor::{
    Artifact, Component, CrlOnFile, EarlierManifest, Measure, PastAct, Period, PreviousReport, Progress,
    Proposal, Publication, Reported, Run, Site, SiteError,
};
use base::{ArtifactDigest, AutomaticAction, Policy, Reason, RunId, Sha256Digest, Timestamp};
use control::api::types::{ChangeRequest, ListAct, ListChange, ListPublished, Target};
use control::office::Office;
use control::store::{Act, ArtifactRecord, NewWaitingAct, ReportRecord, RunFilter, RunRecord};
use control::words::Action;
use evidence::witness::Cosigned;
use manifests::Manifest;
use parking_lot::Mutex;
use seal::PredicateType;
use seal::envelope::Unverified;
use seal::trust::Role;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::nights::lease::LeaseWatch;
use super::nights::letters;
use super::{archive, logs};
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
    /// What was published about artifacts, for the letters.
    pub(super) published: Mutex<Vec<Kept>>,
    /// The record of everything that was published. There may be many thousand runs, so what is said of
    /// them is left to the disk.
    pub(super) records: Mutex<Vec<ReportRecord>>,
    /// What was published and is not yet kept, of runs without what is said.
    pub(super) unkept: Mutex<Vec<(ReportRecord, Option<Publication>)>>,
    /// What an automatic act cut.
    pub(super) cut: Mutex<Vec<ListPublished>>,
    pub(super) progress: Box<dyn Fn(Progress<'_>) + Send + Sync + 'h>,
    /// Whether this night was begun before and interrupted.
    pub(super) is_resumed: bool,
    /// Whether nothing may be done any more, where only one instance at a time may.
    pub(super) lease: Option<LeaseWatch>,
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
fn file_time(moment: Timestamp) -> String {
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
    fn earlier_manifests(&self, record: &ArtifactRecord) -> Result<Vec<EarlierManifest>, SiteError> {
        let admissions = self.wait(self.office.store().admissions(record.artifact_digest))?;
        let pairs = admissions.iter().zip(admissions.iter().skip(1));
        pairs
            .map(|(admission, next)| {
                Ok(EarlierManifest {
                    until: next.admitted_at,
                    manifest: Manifest::parse(admission.manifest_json.as_bytes())?,
                    payload: admission.manifest_payload_sha256,
                })
            })
            .collect()
    }

    /// What the night had published before it was interrupted, read back for the letters.
    fn kept_before(
        &self,
        artifact: &Artifact,
        record: ReportRecord,
        period: Period,
    ) -> Result<Kept, SiteError> {
        let folder = PathBuf::from(&record.folder);
        let bundle = std::fs::read(folder.join(auditor::BUNDLE_NAME))?;
        if Sha256Digest::of(&bundle) != record.report_id {
            return Err(format!("{} is not the report that was registered", folder.display()).into());
        }
        let trust = self.wait(self.office.trust_root())?;
        let context = self.runtime.block_on(letters::context(
            self.config,
            self.office,
            &record,
            &bundle,
            &trust,
        ))?;
        let opened = reports::open_report(&bundle, &trust)?;
        let before = self.previous_report(artifact, record.run_id, period)?;
        let changes = before.map(|before| reports::Changes::between(&before.report, &opened.report));
        let evidence_name = context
            .evidence
            .as_ref()
            .map(|file| file.name.clone())
            .unwrap_or_default();
        let publication = Publication {
            artifact_name: artifact.file_name.clone(),
            payload: opened.payload_digest,
            html: std::fs::read_to_string(folder.join("report.html"))?,
            text: std::fs::read_to_string(folder.join("report.txt"))?,
            evidence: std::fs::read(folder.join(&evidence_name))?,
            evidence_name,
            context: reports::Context { changes, ..context },
            report: opened.report,
            bundle,
        };
        Ok(Kept { publication, record })
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
        let artifact = |record: ArtifactRecord| {
            let chosen = tiers.get(&record.plugin_id).copied().flatten();
            let readmitted = begun
                .get(&record.artifact_digest)
                .is_some_and(|first| *first < record.admission.admitted_at);
            let earlier = match readmitted {
                true => self.earlier_manifests(&record)?,
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
            auditor::Gateway {
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

    fn policy(&self) -> Result<Policy, SiteError> {
        Ok(self.wait(self.office.policy())?.policy)
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
        artifact: &Artifact,
        run_id: Option<RunId>,
        period: Period,
    ) -> Result<Option<Reported>, SiteError> {
        if !self.is_resumed {
            return Ok(None);
        }
        let known = self
            .office
            .store()
            .reports_for(artifact.artifact_digest, period.from, period.to);
        let known = self.wait(known)?;
        let Some(record) = known.into_iter().find(|record| record.run_id == run_id) else {
            return Ok(None);
        };
        let kept = self.kept_before(artifact, record, period)?;
        let report = &kept.publication.report;
        let line = Reported {
            plugin_id: report.plugin_id.clone(),
            artifact_digest: report.artifact_digest,
            run_id: report.run_id,
            verdict: report.verdict,
            observed: report.observed.clone(),
            findings: report.findings.clone(),
            payload: Some(kept.publication.payload),
            place: Some(kept.record.folder.clone()),
        };
        self.records.lock().push(kept.record.clone());
        if kept.record.run_id.is_none() {
            self.published.lock().push(kept);
        }
        Ok(Some(line))
    }

    fn publish(&self, publication: &Publication) -> Result<String, SiteError> {
        self.is_ours()?;
        let report = &publication.report;
        let about = match report.run_id {
            Some(run_id) => format!("run-{run_id}"),
            None => "artifact".to_owned(),
        };
        let period = file_time(report.period.to);
        let folder = self
            .config
            .data_dir()
            .join("reports")
            .join(report.period.to.utc_day())
            .join(report.plugin_id.as_str())
            .join(format!("{}-{about}-{period}", report.artifact_digest.short()));
        std::fs::create_dir_all(&folder)?;
        if let Some(signed) = &publication.context.signed {
            files::put(&folder.join(&signed.key_name), signed.key.to_pem().as_bytes())?;
        }
        // The signed bundle comes last: where it is, everything is. What is on the disk for good, `keep` sees to.
        files::put(&folder.join("report.html"), publication.html.as_bytes())?;
        files::put(&folder.join("report.txt"), publication.text.as_bytes())?;
        let pdf = reports::render::pdf(report, &publication.context);
        files::put(&folder.join("report.pdf"), &pdf)?;
        files::put(&folder.join(&publication.evidence_name), &publication.evidence)?;
        files::put(&folder.join(auditor::BUNDLE_NAME), &publication.bundle)?;
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
        let publication = report.run_id.is_none().then(|| publication.clone());
        self.unkept.lock().push((record, publication));
        Ok(place)
    }

    fn keep(&self) -> Result<(), SiteError> {
        let kept = std::mem::take(&mut *self.unkept.lock());
        if kept.is_empty() {
            return Ok(());
        }
        self.is_ours()?;
        // One wait for the disk, and one transaction, for all of them.
        let folder = std::fs::File::open(self.config.data_dir().join("reports"))?;
        rustix::fs::syncfs(&folder)?;
        let records: Vec<ReportRecord> = kept.iter().map(|(record, _)| record.clone()).collect();
        self.wait(self.office.store().add_reports(records.clone()))?;
        self.records.lock().extend(records);
        let kept = kept.into_iter().filter_map(|(record, publication)| {
            let publication = publication?;
            Some(Kept { publication, record })
        });
        self.published.lock().extend(kept);
        Ok(())
    }

    fn note(&self, progress: Progress<'_>) {
        (self.progress)(progress);
    }
}
