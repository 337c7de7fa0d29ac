//! The owner's way back, told: how appeals stand, which clocks ran out, and which findings are gone.

use base::{Timestamp, Verdict};
use control::api::types::AppealView;
use control::nights::NightFailure;
use control::outbox::{self, Letter};
use control::store::{Act, RemediationRecord};
use control::words::{Action, AppealOutcome};
use reports::closing::{CLOSING_FILE, ClosingReport, seal_closing};
use reports::mail::{self, Address, AppealNews};
use reports::predicate::{Auditor, Finding};
use serde_json::json;

use super::{HouseNights, Judged, Order};
use crate::house::shelf::Kept;
use crate::{clock, files};

impl HouseNights {
    /// Owner and security are written to; a webhook is told.
    pub(super) async fn tell_of(&self, appeal: AppealView) -> anyhow::Result<()> {
        let now = clock::now();
        let stands = match (appeal.outcome, appeal.responded_at, appeal.acknowledged_at) {
            (Some(AppealOutcome::Granted), _, _) => "granted",
            (Some(AppealOutcome::Denied), _, _) => "denied",
            (None, Some(_), _) => "answered",
            (None, None, Some(_)) => "acknowledged",
            (None, None, None) => "opened",
        };
        self.tell_hook(
            &format!("appeal-{}-{stands}-{}", appeal.appeal_id, now.unix_us()),
            &format!("appeal.{stands}"),
            now,
            json!(appeal),
        )
        .await?;
        let Some(readers) = self.readers() else {
            return Ok(());
        };
        let news = AppealNews {
            site: self.config.file.site.clone(),
            appeal_id: appeal.appeal_id,
            plugin_id: appeal.plugin_id.clone(),
            artifact_digest: appeal.artifact_digest,
            finding: appeal.finding.clone(),
            finding_id: appeal.finding_id.clone(),
            stands: stands.to_owned(),
            sentences: sentences(&appeal),
            contact: self.security_contact(),
        };
        let owner = self.owner_of(&appeal.plugin_id).await?;
        let to_owner = owner.map(|owner| mail::appeal_letter(&news, &readers.from, &[owner]));
        let to_security = mail::appeal_letter(&news, &readers.from, &readers.security);
        let letters: Vec<Letter> = to_owner
            .iter()
            .chain([&to_security])
            .map(|mail| Letter::from_mail(mail, now))
            .collect();
        outbox::queue(self.office().store(), &letters, now).await?;
        self.ring();
        Ok(())
    }

    /// Promises about appeals that are broken by now, one line each.
    pub(super) async fn overdue_appeals(&self) -> anyhow::Result<Vec<String>> {
        let open = self.office().appeals(true).await?;
        Ok(open
            .appeals
            .iter()
            .filter(|appeal| !appeal.overdue.is_empty())
            .map(|appeal| {
                format!(
                    "appeal {} of {} is overdue: nobody did {} it in time; bailiwick appeal list",
                    appeal.appeal_id,
                    appeal.plugin_id,
                    appeal.overdue.join(", ")
                )
            })
            .collect())
    }

    /// Closes every remediation whose build ran this night, kept its word, and left the finding behind.
    pub(super) async fn close_remediations(&self, judged: &Judged, order: &Order) -> anyhow::Result<()> {
        let store = self.office().store();
        for remediation in store.remediations(true).await? {
            let proof = judged
                .published
                .iter()
                .find(|kept| shows_it_gone(kept, &remediation));
            if let Some(proof) = proof {
                self.close(&remediation, proof, order).await?;
            }
        }
        Ok(())
    }

    async fn close(
        &self,
        remediation: &RemediationRecord,
        proof: &Kept,
        order: &Order,
    ) -> anyhow::Result<()> {
        let now = clock::now();
        let auditor = self.auditor()?;
        let closing = ClosingReport {
            plugin_id: remediation.plugin_id.clone(),
            finding_id: remediation.finding_id.parse()?,
            finding: remediation.finding.clone(),
            found_by: remediation.report_id,
            mends: remediation.mends_digest,
            mended_by: remediation.artifact_digest,
            difference: remediation.difference.clone(),
            admitted_at: remediation.admitted_at,
            admitted_by: remediation.admitted_by.clone(),
            period: order.period,
            closed_by: proof.record.report_id,
            auditor: Auditor {
                id: auditor.id.clone(),
                version: auditor.version.clone(),
            },
        };
        let bundle = seal_closing(&closing, &auditor.key)?;
        let site = &self.config.file.site;
        let folder = self
            .config
            .data_dir()
            .join("reports")
            .join(order.period.to.utc_day())
            .join(remediation.plugin_id.as_str())
            .join(format!("closing-{}", remediation.remediation_id));
        std::fs::create_dir_all(&folder)?;
        files::replace(
            &folder.join(&auditor.key_name),
            auditor.key.public().to_pem().as_bytes(),
        )?;
        files::replace(&folder.join("closing.txt"), closing.text(site).as_bytes())?;
        files::replace(&folder.join(CLOSING_FILE), &bundle)?;
        let act = Act {
            at: now,
            who: "auditor".to_owned(),
            action: Action::RemediationClosed,
            target: remediation.artifact_digest.to_string(),
            reason: None,
            note: Some(format!("finding {} is gone", remediation.finding_id)),
            clause: None,
            enabled_by: None,
            crl_number: None,
        };
        let folder = folder.display().to_string();
        let store = self.office().store();
        let closed = store
            .close_remediation(
                remediation.remediation_id,
                proof.record.report_id,
                folder,
                now,
                act,
            )
            .await?;
        if closed {
            self.tell_of_closing(&closing, now).await?;
        }
        Ok(())
    }

    async fn tell_of_closing(&self, closing: &ClosingReport, now: Timestamp) -> anyhow::Result<()> {
        self.tell_hook(
            &format!("closing-{}-{}", closing.finding_id, closing.mended_by.short()),
            "remediation.closed",
            now,
            json!(closing),
        )
        .await?;
        let Some(readers) = self.readers() else {
            return Ok(());
        };
        let (site, contact) = (&self.config.file.site, self.security_contact());
        let write =
            |to: &[Address]| Letter::from_mail(&closing.letter(site, &contact, &readers.from, to), now);
        let mut letters = vec![write(&readers.security)];
        if let Some(owner) = self.owner_of(&closing.plugin_id).await? {
            letters.push(write(&[owner]));
        }
        outbox::queue(self.office().store(), &letters, now).await?;
        self.ring();
        Ok(())
    }
}

/// Whether a report says that the mending build ran, kept its word, and has the finding no more.
fn shows_it_gone(kept: &Kept, remediation: &RemediationRecord) -> bool {
    let report = &kept.report;
    report.run_id.is_none()
        && report.artifact_digest == remediation.artifact_digest
        && report.verdict == Verdict::Conforming
        && !report
            .findings
            .iter()
            .any(|finding| key(finding) == remediation.finding_key)
}

/// What a finding is about, written as the registry keeps it.
fn key(finding: &Finding) -> String {
    json!({
        "reason": finding.reason, "host": finding.host, "port": finding.port, "scheme": finding.scheme,
        "origin": finding.origin,
    })
    .to_string()
}

fn sentences(appeal: &AppealView) -> Vec<String> {
    let plain = |text: &str| base::escape_untrusted(text.as_bytes(), 1000);
    let mut sentences = vec![format!("The reason given is: {}.", appeal.reason)];
    if let Some(statement) = &appeal.statement {
        sentences.push(format!("The owner says: {}", plain(statement)));
    }
    if let Some(response) = &appeal.response {
        sentences.push(format!("The platform answers: {}", plain(response)));
    }
    match appeal.outcome {
        None => sentences.push(format!(
            "It will be acknowledged by {}, answered by {} and decided by {}.",
            appeal.acknowledge_by, appeal.respond_by, appeal.decide_by
        )),
        Some(outcome) => {
            sentences.push(format!(
                "Decided ({outcome}): {}",
                plain(appeal.decision.as_deref().unwrap_or(""))
            ));
            if let Some(number) = appeal.crl_number {
                sentences.push(format!("Revocation list {number} lifts the hold."));
            }
            if let Some(until) = appeal.protected_until {
                sentences.push(format!(
                    "Until {until} nothing is done to this plugin without a person."
                ));
            }
        }
    }
    sentences
}

/// A failure to write is one of the night's kind.
pub(super) fn failed(error: &anyhow::Error) -> NightFailure {
    NightFailure::Failed {
        what: format!("{error:#}"),
    }
}
