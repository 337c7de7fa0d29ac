//! Letters: who is written to about a night, and about one report once more.

use std::path::Path;

use base::{Sha256Digest, Verdict};
use control::nights::NightFailure;
use control::outbox::{self, Letter};
use control::store::ReportRecord;
use reports::Context;
use reports::mail::{self, Address, Attachment, Mail, Reader};

use super::published::News;
use super::{HouseNights, Judged, Order, Readers};
use crate::clock;
use crate::house::shelf::Kept;

/// Letters of one night to security about single reports; the digest has the others.
const MAX_TO_SECURITY: usize = 40;

impl HouseNights {
    /// One letter to the owner and one to security for every artifact that did not keep its word or of
    /// which nobody can tell; after a scheduled night, the digest.
    pub(super) async fn write_letters(
        &self,
        judged: &Judged,
        order: &Order,
        news: &News,
    ) -> anyhow::Result<Vec<String>> {
        let Some(readers) = &self.readers else {
            return Ok(Vec::new());
        };
        let now = clock::now();
        let mut mails: Vec<Letter> = Vec::new();
        let mut notices = news.notices.clone();
        let mut about_artifacts: Vec<&Kept> = judged
            .published
            .iter()
            .filter(|kept| kept.record.run_id.is_none())
            .collect();
        // What still runs is written about before what was stopped.
        about_artifacts.sort_by_key(|kept| mail::urgency(&kept.report));
        let mut to_security = 0;
        for kept in &about_artifacts {
            let owner = self.owner_of(&kept.record.plugin_id).await?;
            for (reader, letter) in letters(kept, readers, owner.as_ref())? {
                let (topic, heavier) = mail::incident_topics(&kept.report, reader);
                if self.was_told(heavier).await? {
                    continue;
                }
                if reader == Reader::Security {
                    to_security += 1;
                    if to_security > MAX_TO_SECURITY {
                        continue;
                    }
                }
                mails.push(Letter {
                    topic: Some(topic),
                    ..Letter::from_mail(&letter, now)
                });
            }
        }
        if to_security > MAX_TO_SECURITY {
            notices.push(format!(
                "{} of this night's {to_security} reports to security came as letters of their own; the others are in this digest and in: bailiwick report list",
                MAX_TO_SECURITY
            ));
        }
        if order.scheduled_for.is_some() {
            let news = News {
                notices,
                weeks: news.weeks.clone(),
            };
            let night = self.night(judged, order, &news);
            let digest = mail::night_digest(&night, &readers.from, &readers.security, Vec::new());
            mails.push(Letter::from_mail(&digest, now));
        }
        self.queue(mails).await
    }

    /// Whether a letter about one of `topics` was ever queued.
    async fn was_told(&self, topics: Vec<String>) -> anyhow::Result<bool> {
        for topic in topics {
            if self.office().store().last_letter_about(topic).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn queue(&self, letters: Vec<Letter>) -> anyhow::Result<Vec<String>> {
        let now = clock::now();
        outbox::queue(self.office().store(), &letters, now).await?;
        Ok(letters.into_iter().map(|letter| letter.message_id).collect())
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
        let bundle = self.office().report_bundle(&record).await?;
        let trust = self.office().trust_root().await?;
        let opened = reports::open_report(&bundle, &trust)?;
        let context = self.office().report_context(&record, &opened, &trust).await?;
        let attachments = attach(&record, bundle, &context);
        let owner = self.owner_of(&record.plugin_id).await?;
        let from = &readers.from;
        let to_owner =
            owner.and_then(|to| mail::owner_mail(&opened.report, &context, from, &to, attachments.clone()));
        let to_security = mail::security_mail(&opened.report, &context, from, &readers.security, attachments);
        let mut mails: Vec<Mail> = to_owner.into_iter().chain(to_security).collect();
        if mails.is_empty() {
            let what = format!(
                "a {} report has no letters; send the files in {}",
                record.verdict, record.folder
            );
            return Ok(Err(NightFailure::Request { what }));
        }
        let again = clock::now().unix_us();
        for mail in &mut mails {
            mail.message_id = mail.message_id.replacen('@', &format!(".again-{again}@"), 1);
        }
        let now = clock::now();
        let letters = mails.iter().map(|mail| Letter::from_mail(mail, now)).collect();
        let queued = self.queue(letters).await?;
        self.bell.notify_one();
        Ok(Ok(queued))
    }
}

fn letters(kept: &Kept, readers: &Readers, owner: Option<&Address>) -> anyhow::Result<Vec<(Reader, Mail)>> {
    let (report, context) = (&kept.report, &kept.context);
    if matches!(report.verdict, Verdict::Conforming | Verdict::NoTraffic) {
        return Ok(Vec::new());
    }
    let attachments = attach(&kept.record, kept.record.read_bundle()?, context);
    let to_owner =
        owner.and_then(|to| mail::owner_mail(report, context, &readers.from, to, attachments.clone()));
    let to_security = mail::security_mail(report, context, &readers.from, &readers.security, attachments);
    let to_owner = to_owner.map(|letter| (Reader::Owner, letter));
    let to_security = to_security.map(|letter| (Reader::Security, letter));
    Ok(to_owner.into_iter().chain(to_security).collect())
}

/// The signed report and, where it is small, the evidence bundle that it names: together they can be
/// checked by whoever gets the letter, without asking anybody.
fn attach(record: &ReportRecord, bundle: Vec<u8>, context: &Context) -> Vec<Attachment> {
    let report = Attachment::if_small(
        auditor::BUNDLE_NAME,
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        bundle,
    );
    // Only the very bytes that the report names.
    let evidence = context.evidence.as_ref().and_then(|file| {
        let evidence = std::fs::read(Path::new(&record.folder).join(&file.name)).ok()?;
        (Sha256Digest::of(&evidence) == file.digest)
            .then(|| Attachment::if_small(&file.name, "application/zstd", evidence))?
    });
    report.into_iter().chain(evidence).collect()
}
