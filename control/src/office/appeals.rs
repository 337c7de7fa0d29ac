//! Appeals: an owner says that a finding is wrong, and the site answers within times that it promised.
//!
//! Reasons come from a closed list, so that next year's reader can count them. The clocks are settled
//! when the appeal is opened and told to the owner; changing a setting later changes no promise. An
//! owner who was right is protected from automatic acts for a while: whatever made the site wrong once
//! may do so again before it is mended.

use base::{ArtifactDigest, Reason, Timestamp};
use reports::predicate::FindingId;

use super::names::{check_note, check_who};
use super::{Office, OfficeError, act};
use crate::api::types::{
    AppealList, AppealView, ChangeRequest, DecideAppealRequest, ListAct, ListChange, OpenAppealRequest,
    RespondRequest, SendRequest, Target,
};
use crate::store::{AppealStep, NewAppeal};
use crate::words::{Action, AppealOutcome};

impl Office {
    /// All appeals, or the open ones, the latest first.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn appeals(&self, open_only: bool) -> Result<AppealList, OfficeError> {
        let now = self.now();
        let appeals = self.inner.store.appeals(open_only).await?;
        Ok(AppealList {
            appeals: appeals
                .into_iter()
                .map(|record| AppealView::new(record, now))
                .collect(),
        })
    }

    /// One appeal.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`].
    pub async fn appeal(&self, appeal_id: i64) -> Result<AppealView, OfficeError> {
        let record = self.inner.store.appeal(appeal_id).await?;
        let record = record.ok_or_else(|| OfficeError::Unknown {
            what: "appeal",
            name: appeal_id.to_string(),
            command: "appeal list",
        })?;
        Ok(AppealView::new(record, self.now()))
    }

    /// Opens an appeal against a finding of a report that this site signed.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where no report has the finding, [`OfficeError::Request`] where an
    /// appeal about it is open.
    pub async fn open_appeal(&self, request: OpenAppealRequest) -> Result<AppealView, OfficeError> {
        check_who(&request.who)?;
        check_note(request.statement.as_deref())?;
        let found = self.finding(&request.finding_id, None).await?;
        let clocks = &self.inner.settings.appeals;
        let now = self.now();
        let after = |seconds: u32| now.plus_seconds(i64::from(seconds));
        let new = NewAppeal {
            plugin_id: found.report.plugin_id.clone(),
            artifact_digest: found.report.artifact_digest,
            finding_id: request.finding_id.to_string(),
            report_id: found.record.report_id,
            finding: found.title(&request.finding_id),
            reason: request.reason,
            statement: request.statement,
            opened_by: request.who.clone(),
            acknowledge_by: after(clocks.acknowledge_s),
            respond_by: after(clocks.respond_s),
            decide_by: after(clocks.decide_s),
        };
        let note = Some(format!("{}: {}", request.reason, new.finding));
        let act = act(now, &request.who, Action::AppealOpened, request.finding_id, note);
        let opened = self.inner.store.open_appeal(new, now, act).await?;
        let appeal_id = opened.ok_or_else(|| OfficeError::Request {
            what: format!(
                "an appeal against finding {} is open already; see: bailiwick appeal list",
                request.finding_id
            ),
        })?;
        self.appeal(appeal_id).await
    }

    /// Somebody has read the appeal.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`], or [`OfficeError::Request`] where it was decided.
    pub async fn acknowledge_appeal(
        &self,
        appeal_id: i64,
        request: SendRequest,
    ) -> Result<AppealView, OfficeError> {
        self.step(
            appeal_id,
            AppealStep::Acknowledged,
            Action::AppealAcknowledged,
            request.who,
            None,
        )
        .await
    }

    /// Somebody answers the appeal, before it is decided.
    ///
    /// # Errors
    /// As [`Office::acknowledge_appeal`].
    pub async fn respond_to_appeal(
        &self,
        appeal_id: i64,
        request: RespondRequest,
    ) -> Result<AppealView, OfficeError> {
        check_note(Some(&request.response))?;
        let response = request.response.clone();
        self.step(
            appeal_id,
            AppealStep::Responded { response },
            Action::AppealResponded,
            request.who,
            Some(request.response),
        )
        .await
    }

    /// Decides. Where the owner was right, one signed act lifts the hold of the build and whatever else
    /// holds it, and the plugin is protected from automatic acts for the time that the site promises.
    ///
    /// # Errors
    /// As [`Office::acknowledge_appeal`], or whatever keeps the list from being issued; then nothing was
    /// decided.
    pub async fn decide_appeal(
        &self,
        appeal_id: i64,
        request: DecideAppealRequest,
    ) -> Result<AppealView, OfficeError> {
        check_who(&request.who)?;
        check_note(Some(&request.decision))?;
        let appeal = self.appeal(appeal_id).await?;
        if appeal.decided_at.is_some() {
            return Err(decided(appeal_id));
        }
        let now = self.now();
        let (crl_number, protected_until) = match request.outcome {
            AppealOutcome::Denied => (None, None),
            AppealOutcome::Granted => {
                let note = format!("appeal {appeal_id} granted: {}", request.decision);
                let lifted = self
                    .lift(appeal.artifact_digest, Reason::FalsePositive, &request.who, note)
                    .await?;
                (lifted, Some(self.protect_until(now)))
            }
        };
        let step = AppealStep::Decided {
            outcome: request.outcome,
            decision: request.decision.clone(),
            decided_by: request.who.clone(),
            protected_until,
            crl_number,
        };
        self.step(
            appeal_id,
            step,
            Action::AppealDecided,
            request.who,
            Some(format!("{}: {}", request.outcome, request.decision)),
        )
        .await
    }

    fn protect_until(&self, now: Timestamp) -> Timestamp {
        now.plus_seconds(i64::from(self.inner.settings.appeals.protect_s))
    }

    /// Lifts, in one signed list, whatever holds `digest`: the hold of the artifact, and holds of its
    /// manifest. The list that carries it, or `None` where nothing held it. A revocation stays.
    ///
    /// # Errors
    /// Whatever keeps the list from being issued.
    pub async fn lift(
        &self,
        digest: ArtifactDigest,
        reason: Reason,
        who: &str,
        note: String,
    ) -> Result<Option<u64>, OfficeError> {
        let record = self.known_artifact(digest).await?;
        let list = self.list();
        let targets = [
            Target::Artifact(digest),
            Target::Manifest(record.admission.manifest_payload_sha256),
        ];
        let held = |target: &Target| {
            let (digest, kind) = match target {
                Target::Artifact(digest) => (*digest.sha256(), crl::Kind::Artifact),
                Target::Manifest(digest) => (*digest, crl::Kind::Manifest),
                Target::Plugin(_) | Target::Signer(_) => return false,
            };
            let entries = list.list().entries().naming(&digest);
            entries
                .iter()
                .any(|entry| entry.kind == kind && entry.action == crl::Action::Hold)
        };
        let changes: Vec<ListChange> = targets
            .into_iter()
            .filter(held)
            .map(|target| ListChange {
                action: ListAct::Reinstate,
                target,
                reason,
            })
            .collect();
        if changes.is_empty() {
            return Ok(None);
        }
        let published = self
            .change_list(ChangeRequest {
                changes,
                who: who.to_owned(),
                note: Some(note),
                clause: None,
                enabled_by: None,
            })
            .await?;
        Ok(Some(published.crl_number))
    }

    async fn step(
        &self,
        appeal_id: i64,
        step: AppealStep,
        action: Action,
        who: String,
        note: Option<String>,
    ) -> Result<AppealView, OfficeError> {
        check_who(&who)?;
        self.appeal(appeal_id).await?;
        let now = self.now();
        let act = act(now, &who, action, appeal_id, note);
        if !self.inner.store.step_appeal(appeal_id, step, now, act).await? {
            return Err(decided(appeal_id));
        }
        self.appeal(appeal_id).await
    }
}

fn decided(appeal_id: i64) -> OfficeError {
    OfficeError::Request {
        what: format!("appeal {appeal_id} was decided, and a decision stays as it is"),
    }
}

impl Office {
    /// Finds the report that has a finding, of one plugin if given, the latest first, and verifies it.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where none has it.
    pub(super) async fn finding(
        &self,
        finding_id: &FindingId,
        plugin_id: Option<&base::PluginId>,
    ) -> Result<FoundFinding, OfficeError> {
        /// Reports looked at; older findings are for people.
        const LOOKED_AT: u32 = 2000;
        let trust = self.trust_root().await?;
        let reports = self.inner.store.reports(plugin_id.cloned(), LOOKED_AT).await?;
        let wanted = *finding_id;
        let found = tokio::task::spawn_blocking(move || {
            reports
                .into_iter()
                .filter(|record| {
                    matches!(
                        record.verdict,
                        base::Verdict::NonConforming | base::Verdict::Inconclusive
                    )
                })
                .find_map(|record| {
                    let bytes = record.read_bundle().ok()?;
                    let opened = reports::open_report(&bytes, &trust).ok()?;
                    let has = opened.report.findings.iter().any(|finding| finding.id == wanted);
                    has.then_some(FoundFinding {
                        record,
                        report: opened.report,
                    })
                })
        })
        .await
        .map_err(|_| OfficeError::Interrupted)?;
        found.ok_or_else(|| OfficeError::Unknown {
            what: "finding",
            name: finding_id.to_string(),
            command: "report list",
        })
    }
}

/// A finding in its report, whose signature was verified.
pub(super) struct FoundFinding {
    pub(super) record: crate::store::ReportRecord,
    pub(super) report: reports::predicate::ConformanceReport,
}

impl FoundFinding {
    pub(super) fn finding(&self, id: &FindingId) -> &reports::predicate::Finding {
        let found = self.report.findings.iter().find(|finding| finding.id == *id);
        found.expect("it was found by this id")
    }

    pub(super) fn title(&self, id: &FindingId) -> String {
        reports::finding_title(self.finding(id))
    }
}
