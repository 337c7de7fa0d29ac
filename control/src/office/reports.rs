//! Reports, looked up again: their signed form, and pages made of it when somebody asks.
//!
//! A night writes pages about artifacts and leaves those about single runs unmade. Every page follows from
//! the signed report, the one that it names as the report before, and what is kept of their surroundings, so
//! a page made years later is the page that the night would have written.

use std::path::Path;

use ::reports::predicate::ConformanceReport;
use ::reports::{Changes, Context, EvidenceFile, OpenedReport, SignedFile, Surroundings, open_report};
use base::Sha256Digest;
use seal::PredicateType;
use seal::envelope::Unverified;
use seal::trust::{Role, TrustRoot};

use super::queries::{LISTED, MAX_LISTED};
use super::{Office, OfficeError};
use crate::api::types::{ReportDetail, ReportList, ReportQuery, ReportView};
use crate::report_files::{REPORT_FILE, read_surroundings};
use crate::store::ReportRecord;
use crate::words::Form;

/// Reports for earlier periods among which the one is that a report names: audits by hand may lie between.
const HISTORY: u32 = 32;

impl Office {
    /// Reports, the latest first.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn reports(&self, query: ReportQuery) -> Result<ReportList, OfficeError> {
        let limit = query.limit.unwrap_or(LISTED).min(MAX_LISTED);
        let reports = self.inner.store.reports(query.plugin_id, limit).await?;
        Ok(ReportList {
            reports: reports.iter().map(ReportView::from).collect(),
        })
    }

    /// One report with its signed form.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`], or [`OfficeError::Report`] where the file is not the one that was
    /// registered.
    pub async fn report(&self, report_id: Sha256Digest) -> Result<ReportDetail, OfficeError> {
        let record = self.known_report(report_id).await?;
        let bytes = self.report_bundle(&record).await?;
        Ok(ReportDetail {
            report: ReportView::from(&record),
            bundle: base::json::parse(&bytes).map_err(|error| unusable(&record, &error))?,
        })
    }

    /// One report's record.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`].
    pub async fn known_report(&self, report_id: Sha256Digest) -> Result<ReportRecord, OfficeError> {
        let record = self.inner.store.report(report_id).await?;
        record.ok_or_else(|| OfficeError::Unknown {
            what: "report",
            name: report_id.to_string(),
            command: "report list",
        })
    }

    /// A report's signed bundle.
    ///
    /// # Errors
    /// [`OfficeError::Report`] where it is not the one that was registered.
    pub async fn report_bundle(&self, record: &ReportRecord) -> Result<Vec<u8>, OfficeError> {
        let wanted = record.clone();
        let read = tokio::task::spawn_blocking(move || wanted.read_bundle()).await;
        let read = read.map_err(|_| OfficeError::Interrupted)?;
        read.map_err(|error| unusable(record, &error))
    }

    /// A page of one report, as the night wrote it or would have.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`], or [`OfficeError::Report`] where the report does not verify.
    pub async fn report_page(&self, report_id: Sha256Digest, form: Form) -> Result<Vec<u8>, OfficeError> {
        let record = self.known_report(report_id).await?;
        let bundle = self.report_bundle(&record).await?;
        let trust = self.trust_root().await?;
        let opened = open_report(&bundle, &trust).map_err(|error| unusable(&record, &error))?;
        let context = self.report_context(&record, &opened, &trust).await?;
        let report = opened.report;
        let made = tokio::task::spawn_blocking(move || page(&report, &context, form)).await;
        made.map_err(|_| OfficeError::Interrupted)
    }

    /// What surrounds a report, as it did in the night that made it.
    ///
    /// # Errors
    /// [`OfficeError::Report`] where what it names cannot be had.
    pub async fn report_context(
        &self,
        record: &ReportRecord,
        opened: &OpenedReport,
        trust: &TrustRoot,
    ) -> Result<Context, OfficeError> {
        let key = trust
            .keys(Role::Auditor)
            .find(|key| key.fingerprint() == opened.signer)
            .cloned();
        let key = key.ok_or_else(|| unusable(record, &"its key left the trust root"))?;
        let kept = read_surroundings(Path::new(&record.folder)).map_err(|error| unusable(record, &error))?;
        let surroundings = match kept {
            Some(kept) => kept,
            None => self.surroundings_now(record).await?,
        };
        let signed = SignedFile {
            name: REPORT_FILE.to_owned(),
            payload_digest: opened.payload_digest,
            key,
            key_name: surroundings.key_name.clone(),
        };
        let before = self.report_before(record, &opened.report, trust).await?;
        let changes = before.map(|before| Changes::between(&before, &opened.report));
        Ok(surroundings.of(signed, evidence_file(record, opened), changes))
    }

    /// For reports of a version that did not keep what surrounded them: how things stand now.
    async fn surroundings_now(&self, record: &ReportRecord) -> Result<Surroundings, OfficeError> {
        let store = &self.inner.store;
        let artifact = match record.artifact_digest {
            Some(digest) => store.artifact(digest).await?,
            None => None,
        };
        let plugin = store.plugin(record.plugin_id.clone()).await?;
        let tier = plugin.as_ref().and_then(|plugin| plugin.tier);
        let settings = &self.inner.settings;
        Ok(Surroundings {
            site: settings.site.clone(),
            artifact_name: artifact.as_ref().map_or_else(
                || record.plugin_id.to_string(),
                |artifact| artifact.file_name.clone(),
            ),
            version: artifact.and_then(|artifact| artifact.version),
            tier: tier.unwrap_or(self.policy().await?.policy.default_tier),
            owner: plugin.and_then(|plugin| plugin.owner_name),
            security_contact: settings.security_contact.clone(),
            appeals: settings.appeals,
            key_name: "auditor.pub".to_owned(),
        })
    }

    /// The report that this one names as the one before, if it still is where it was.
    async fn report_before(
        &self,
        record: &ReportRecord,
        report: &ConformanceReport,
        trust: &TrustRoot,
    ) -> Result<Option<ConformanceReport>, OfficeError> {
        let (Some(named), Some(artifact)) = (report.previous_report, record.artifact_digest) else {
            return Ok(None);
        };
        let plugin = record.plugin_id.clone();
        let history = self
            .inner
            .store
            .report_history(plugin, artifact, record.run_id, record.from, HISTORY)
            .await?;
        for earlier in &history {
            let Ok(bundle) = self.report_bundle(earlier).await else {
                continue;
            };
            let opened = Unverified::parse(&bundle).and_then(|bundle| {
                bundle.verify(trust.keys(Role::Auditor), PredicateType::ConformanceReport)
            });
            let Some(opened) = opened
                .ok()
                .filter(|opened| opened.payload_digest() == named.digest.sha256)
            else {
                continue;
            };
            return Ok(ConformanceReport::from_value(opened.statement.predicate).ok());
        }
        Ok(None)
    }
}

/// The evidence bundle that a report names, where it lies beside it.
fn evidence_file(record: &ReportRecord, opened: &OpenedReport) -> Option<EvidenceFile> {
    let (name, digest) = opened.evidence_bundle.clone()?;
    let there = std::fs::metadata(Path::new(&record.folder).join(&name)).ok()?;
    Some(EvidenceFile {
        name,
        digest,
        size_bytes: there.len(),
    })
}

/// A page of `report`. There is no other way to one.
pub fn page(report: &ConformanceReport, context: &Context, form: Form) -> Vec<u8> {
    match form {
        Form::Html => ::reports::render::html(report, context).into_bytes(),
        Form::Text => ::reports::render::text(report, context).into_bytes(),
        Form::Pdf => ::reports::render::pdf(report, context),
    }
}

fn unusable(record: &ReportRecord, what: &dyn std::fmt::Display) -> OfficeError {
    OfficeError::Report {
        folder: record.folder.clone(),
        what: what.to_string(),
    }
}
