//! Letters: who is written to about a night, and about one report once more.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{Sha256Digest, Verdict};
use control::nights::NightFailure;
use control::office::Office;
use control::outbox::{self, Letter};
use control::store::ReportRecord;
use reports::mail::{self, Address, Attachment, Mail};
use reports::{Context, EvidenceFile, SignedFile};
use seal::trust::{Role, TrustRoot};

use super::summary::notices;
use super::{HouseNights, Judged, Order, Readers};
use crate::clock;
use crate::config::Config;
use crate::house::site::Kept;

impl HouseNights {
    /// One letter to the owner and one to security for every artifact that did not keep its word or of
    /// which nobody can tell; after a scheduled night, the digest.
    pub(super) async fn write_letters(&self, judged: &Judged, order: &Order) -> anyhow::Result<Vec<String>> {
        let Some(readers) = &self.readers else {
            return Ok(Vec::new());
        };
        let mut mails = Vec::new();
        let mut notices = notices(&judged.outcome);
        let about_artifacts: Vec<&Kept> = judged
            .published
            .iter()
            .filter(|kept| kept.record.run_id.is_none())
            .collect();
        for kept in &about_artifacts {
            let owner = self.owner_address(&kept.record).await?;
            if owner.is_none() && kept.record.verdict == Verdict::NonConforming {
                notices.push(format!(
                    "{} names no owner who can be written to",
                    kept.record.plugin_id
                ));
            }
            mails.extend(letters(kept, readers, owner.as_ref()));
        }
        if order.scheduled_for.is_some() {
            let reports = about_artifacts
                .iter()
                .map(|kept| (&kept.publication.report, &kept.publication.context));
            let night = mail::Night {
                site: &self.config.file.site,
                period: order.period,
                reports: reports.collect(),
                notices,
            };
            mails.push(mail::night_digest(
                &night,
                &readers.from,
                &readers.security,
                Vec::new(),
            ));
        }
        self.queue(mails).await
    }

    async fn queue(&self, mails: Vec<Mail>) -> anyhow::Result<Vec<String>> {
        let now = clock::now();
        let letters: Vec<Letter> = mails.iter().map(|mail| Letter::from_mail(mail, now)).collect();
        outbox::queue(self.office().store(), &letters, now).await?;
        Ok(letters.into_iter().map(|letter| letter.message_id).collect())
    }

    async fn owner_address(&self, record: &ReportRecord) -> anyhow::Result<Option<Address>> {
        let plugin = self.office().store().plugin(record.plugin_id.clone()).await?;
        Ok(plugin
            .and_then(|plugin| plugin.owner_email)
            .and_then(|email| email.parse().ok()))
    }

    /// Writes again to the readers of one report, under fresh Message-IDs.
    pub(super) async fn send_again(
        &self,
        record: ReportRecord,
    ) -> anyhow::Result<Result<Vec<String>, NightFailure>> {
        let Some(readers) = self.readers.clone() else {
            let what = "the configuration has no [mail] section, so there is nobody to write to".to_owned();
            return Ok(Err(NightFailure::Request { what }));
        };
        let folder = PathBuf::from(&record.folder);
        let bundle = std::fs::read(folder.join(auditor::BUNDLE_NAME))
            .with_context(|| format!("cannot read the report in {}", folder.display()))?;
        let trust = self.office().trust_root().await?;
        let opened = reports::open_report(&bundle, &trust)?;
        let context = context(&self.config, self.office(), &record, &bundle, &trust).await?;
        let attachments = attach(&bundle);
        let owner = self.owner_address(&record).await?;
        let from = &readers.from;
        let to_owner =
            owner.and_then(|to| mail::owner_mail(&opened.report, &context, from, &to, attachments.clone()));
        let to_security = mail::security_mail(&opened.report, &context, from, &readers.security, attachments);
        let mut mails: Vec<Mail> = to_owner.into_iter().chain(to_security).collect();
        if mails.is_empty() {
            let what = format!(
                "a {} report has no letters; send the files in {}",
                record.verdict,
                folder.display()
            );
            return Ok(Err(NightFailure::Request { what }));
        }
        let again = clock::now().unix_us();
        for mail in &mut mails {
            mail.message_id = mail.message_id.replacen('@', &format!(".again-{again}@"), 1);
        }
        let queued = self.queue(mails).await?;
        self.bell.notify_one();
        Ok(Ok(queued))
    }
}

/// What surrounds a report that was written before, for letters about it.
///
/// # Errors
/// The report does not verify, or what it names is gone.
pub(in crate::house) async fn context(
    config: &Config,
    office: &Office,
    record: &ReportRecord,
    bundle: &[u8],
    trust: &TrustRoot,
) -> anyhow::Result<Context> {
    let opened = reports::open_report(bundle, trust)?;
    let key = trust
        .keys(Role::Auditor)
        .find(|key| key.fingerprint() == opened.signer)
        .cloned()
        .context("the report's key left the trust root")?;
    let store = office.store();
    let artifact = match record.artifact_digest {
        Some(digest) => store.artifact(digest).await?,
        None => None,
    };
    let plugin = store.plugin(record.plugin_id.clone()).await?;
    let policy = office.policy()?;
    Ok(Context {
        site: config.file.site.clone(),
        artifact_name: artifact
            .as_ref()
            .map_or_else(|| record.plugin_id.to_string(), |a| a.file_name.clone()),
        version: artifact.and_then(|artifact| artifact.version),
        tier: plugin
            .as_ref()
            .and_then(|plugin| plugin.tier)
            .unwrap_or(policy.policy.default_tier),
        owner: plugin.as_ref().and_then(|plugin| plugin.owner_name.clone()),
        security_contact: super::security_contact(config),
        signed: Some(SignedFile {
            name: auditor::BUNDLE_NAME.to_owned(),
            payload_digest: opened.payload_digest,
            key,
            key_name: "auditor.pub".to_owned(),
        }),
        evidence: evidence_file(Path::new(&record.folder))?,
        changes: None,
    })
}

fn letters(kept: &Kept, readers: &Readers, owner: Option<&Address>) -> Vec<Mail> {
    let publication = &kept.publication;
    let (report, context) = (&publication.report, &publication.context);
    let attachments = attach(&publication.bundle);
    let to_owner =
        owner.and_then(|to| mail::owner_mail(report, context, &readers.from, to, attachments.clone()));
    let to_security = mail::security_mail(report, context, &readers.from, &readers.security, attachments);
    to_owner.into_iter().chain(to_security).collect()
}

fn attach(bundle: &[u8]) -> Vec<Attachment> {
    Attachment::if_small(
        auditor::BUNDLE_NAME,
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        bundle.to_vec(),
    )
    .into_iter()
    .collect()
}

fn evidence_file(folder: &Path) -> anyhow::Result<Option<EvidenceFile>> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("evidence-") && name.ends_with(".tar.zst") {
            let bytes = std::fs::read(entry.path())?;
            let size_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            return Ok(Some(EvidenceFile {
                name,
                digest: Sha256Digest::of(&bytes),
                size_bytes,
            }));
        }
    }
    Ok(None)
}
