//! The night, put together: the auditor judges, the office acts and remembers, the postman is rung.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use auditor::{ActResult, Auditor, Doubt, Night, NightOutcome, Period, Progress, Schedule};
use base::{Sha256Digest, Timestamp, Verdict};
use control::api::types::{AuditRequest, AuditSummary, AuditedReport, FindingLine, ListPublished};
use control::nights::{Answer, NightFailure, Nights};
use control::office::Office;
use control::outbox::{self, Letter};
use control::store::{Act, ReportRecord};
use control::words::Action;
use manifests::Manifest;
use parking_lot::Mutex;
use reports::mail::{self, Address, Attachment, Mail};
use reports::{Context, EvidenceFile, SignedFile};
use seal::key_file;
use seal::trust::Role;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::site::{HouseSite, Kept, LOGS_READ, LogMark};
use crate::clock;
use crate::config::Config;

/// The setting that says since when there can be anything to audit.
pub const OPENED: &str = "opened";
/// The longest nap of the schedule, so that a moved clock is noticed.
const NAP: std::time::Duration = std::time::Duration::from_secs(30);

/// Who is written to.
#[derive(Clone, Debug)]
pub struct Readers {
    /// The sender.
    pub from: Address,
    /// Who reads for security.
    pub security: Vec<Address>,
}

/// The nights of this house.
pub struct HouseNights {
    config: Config,
    readers: Option<Readers>,
    bell: Arc<Notify>,
    office: OnceLock<Office>,
    /// One night at a time.
    at_work: tokio::sync::Mutex<()>,
    /// What the last automatic act cut.
    last_cut: Mutex<Option<ListPublished>>,
}

/// What a night is asked for.
struct Order {
    period: Period,
    request: AuditRequest,
    draft: Option<Manifest>,
    /// The moment it was due; by hand there is none.
    scheduled_for: Option<Timestamp>,
}

impl HouseNights {
    /// Nights that write to `readers` and ring `bell` when letters were queued.
    pub fn new(config: &Config, readers: Option<Readers>, bell: Arc<Notify>) -> Self {
        Self {
            config: config.clone(),
            readers,
            bell,
            office: OnceLock::new(),
            at_work: tokio::sync::Mutex::default(),
            last_cut: Mutex::default(),
        }
    }

    /// From now on there is an office to act through.
    pub fn attach(&self, office: Office) {
        assert!(self.office.set(office).is_ok(), "a house has one office");
    }

    /// What the last automatic act cut.
    pub fn last_cut(&self) -> Option<ListPublished> {
        self.last_cut.lock().clone()
    }

    fn office(&self) -> &Office {
        self.office
            .get()
            .expect("nights begin after the house was opened")
    }

    /// Holds every night that is due, in order, until stopped.
    pub async fn keep_schedule(self: Arc<Self>, stop: CancellationToken) {
        let audit = &self.config.file.audit;
        let schedule = match Schedule::parse(&audit.schedule, &audit.time_zone) {
            Ok(schedule) => schedule,
            Err(error) => return tracing::error!(%error, "no night will be held"),
        };
        loop {
            if let Err(error) = self.hold_due(&schedule).await {
                tracing::error!(error = %format!("{error:#}"), "the night failed and will be tried again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(NAP) => {}
            }
        }
    }

    async fn hold_due(&self, schedule: &Schedule) -> anyhow::Result<()> {
        let begin = self.begin().await?;
        let due: Vec<Period> = schedule.due(begin, clock::now()).collect();
        for period in due {
            let request = AuditRequest {
                who: "schedule".to_owned(),
                ..AuditRequest::default()
            };
            let order = Order {
                period,
                request,
                draft: None,
                scheduled_for: Some(period.to),
            };
            let summary = self.hold(order).await.map_err(anyhow::Error::from)?;
            tracing::info!(from = %summary.from, to = %summary.to, verdict = %summary.verdict(), "night held");
        }
        Ok(())
    }

    /// Where the next night begins: where the last one ended, or when the site was opened.
    async fn begin(&self) -> anyhow::Result<Timestamp> {
        let store = self.office().store();
        if let Some(audited_to) = store.last_audited_to().await? {
            return Ok(audited_to);
        }
        let opened = store
            .setting(OPENED)
            .await?
            .context("the site was never opened")?;
        Ok(opened.parse()?)
    }

    async fn order(&self, request: AuditRequest) -> anyhow::Result<Result<Order, NightFailure>> {
        let now = clock::now();
        let from = match request.from {
            Some(from) => from,
            None => self.begin().await?,
        };
        let to = request.to.unwrap_or(now).min(now);
        if from >= to {
            let what =
                format!("the period {from} to {to} is empty; name an earlier --since or a later --until");
            return Ok(Err(NightFailure::Request { what }));
        }
        let draft = match request
            .manifest
            .as_ref()
            .map(Manifest::draft_from_value)
            .transpose()
        {
            Ok(draft) => draft,
            Err(error) => {
                return Ok(Err(NightFailure::Request {
                    what: format!("the draft manifest: {error}"),
                }));
            }
        };
        Ok(Ok(Order {
            period: Period { from, to },
            request,
            draft,
            scheduled_for: None,
        }))
    }

    async fn hold(&self, order: Order) -> Result<AuditSummary, NightFailure> {
        let Ok(_one_at_a_time) = self.at_work.try_lock() else {
            return Err(NightFailure::Busy);
        };
        self.hold_now(order).await.map_err(|error| NightFailure::Failed {
            what: format!("{error:#}"),
        })
    }

    async fn hold_now(&self, order: Order) -> anyhow::Result<AuditSummary> {
        let office = self.office().clone();
        office.checkpoint().await?;
        let now = clock::now();
        let dry_run = order.request.dry_run || order.draft.is_some();
        let night_id = if dry_run {
            None
        } else {
            let Period { from, to } = order.period;
            office
                .store()
                .begin_night(order.scheduled_for, from, to, now)
                .await?
        };
        let judged = self.judge(&order, now).await?;
        let mails = if dry_run {
            Vec::new()
        } else {
            self.write_letters(&judged, &order).await?
        };
        if let Some(night_id) = night_id {
            self.remember(&judged.outcome, &order).await?;
            let outcome = format!(
                "{} conforming, {} not conforming, {} inconclusive, {} without traffic",
                judged.outcome.count(Verdict::Conforming),
                judged.outcome.count(Verdict::NonConforming),
                judged.outcome.count(Verdict::Inconclusive),
                judged.outcome.count(Verdict::NoTraffic)
            );
            let audited_to = order.scheduled_for.map(|_| order.period.to);
            office
                .store()
                .finish_night(night_id, clock::now(), outcome, audited_to)
                .await?;
        }
        if !mails.is_empty() {
            self.bell.notify_one();
        }
        Ok(summary(judged, mails, now))
    }

    /// Judges, acts and publishes on a thread that may wait.
    async fn judge(&self, order: &Order, now: Timestamp) -> anyhow::Result<Judged> {
        let auditor = self.auditor()?;
        let (config, office, runtime) = (self.config.clone(), self.office().clone(), Handle::current());
        let (period, request, draft) = (order.period, order.request.clone(), order.draft.clone());
        let judged = tokio::task::spawn_blocking(move || {
            let site = HouseSite {
                config: &config,
                office: &office,
                runtime,
                now,
                published: Mutex::default(),
                cut: Mutex::default(),
                progress: Box::new(show),
            };
            let night = Night {
                auditor: &auditor,
                period,
                now,
                plugin_id: request.plugin_id.clone(),
                run_id: request.run_id,
                draft,
                dry_run: request.dry_run,
            };
            let outcome = night.run(&site)?;
            Ok::<_, auditor::NightError>(Judged {
                outcome,
                published: site.published.into_inner(),
                cut: site.cut.into_inner(),
            })
        });
        let judged = judged.await.context("the night was interrupted")??;
        if let Some(last) = judged.cut.last() {
            *self.last_cut.lock() = Some(last.clone());
        }
        Ok(judged)
    }

    fn auditor(&self) -> anyhow::Result<Auditor> {
        let path = self.config.key_path(Role::Auditor);
        let root = self.config.trust_root_path();
        Ok(Auditor {
            site: self.config.file.site.clone(),
            id: format!("{}/auditor", self.config.file.site),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: key_file::read_private(&path)?,
            key_name: path
                .with_extension("pub")
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            security_contact: self.security_contact(),
            trust_root: std::fs::read(&root)
                .with_context(|| format!("cannot read trust root {}", root.display()))?,
        })
    }

    fn security_contact(&self) -> String {
        let first = self.readers.as_ref().and_then(|readers| readers.security.first());
        first.map_or_else(
            || format!("the security team of {}", self.config.file.site),
            ToString::to_string,
        )
    }

    /// One letter to the owner and one to security for every artifact that did not keep its word or of
    /// which nobody can tell; after a scheduled night, the digest.
    async fn write_letters(&self, judged: &Judged, order: &Order) -> anyhow::Result<Vec<String>> {
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

    /// Keeps how far each log was read, so that a log that was cut since shows. Only a scheduled night
    /// moves the mark from which the next one reads on.
    async fn remember(&self, outcome: &NightOutcome, order: &Order) -> anyhow::Result<()> {
        let store = self.office().store();
        let known = store.setting(LOGS_READ).await?;
        let mut marks: HashMap<String, LogMark> = known
            .map(|text| serde_json::from_str(&text))
            .transpose()?
            .unwrap_or_default();
        for log in &outcome.logs {
            let fresh = LogMark {
                to: log.to,
                checkpoint: log.checkpoint.clone(),
                audited_to: order.period.to,
            };
            match marks.get_mut(&log.origin) {
                Some(mark) if order.scheduled_for.is_none() => mark.checkpoint = fresh.checkpoint,
                _ => drop(marks.insert(log.origin.clone(), fresh)),
            }
        }
        store
            .set_setting(LOGS_READ, serde_json::to_string(&marks)?, None)
            .await?;
        Ok(())
    }

    /// Writes again to the readers of one report, under fresh Message-IDs.
    async fn send_again(&self, record: ReportRecord) -> anyhow::Result<Result<Vec<String>, NightFailure>> {
        let Some(readers) = self.readers.clone() else {
            let what = "the configuration has no [mail] section, so there is nobody to write to".to_owned();
            return Ok(Err(NightFailure::Request { what }));
        };
        let folder = PathBuf::from(&record.folder);
        let bundle = std::fs::read(folder.join(auditor::BUNDLE_NAME))
            .with_context(|| format!("cannot read the report in {}", folder.display()))?;
        let trust = self.office().trust_root().await?;
        let opened = reports::open_report(&bundle, &trust)?;
        let key = trust
            .keys(Role::Auditor)
            .find(|key| key.fingerprint() == opened.signer)
            .cloned()
            .context("the report's key left the trust root")?;
        let artifact = match record.artifact_digest {
            Some(digest) => self.office().store().artifact(digest).await?,
            None => None,
        };
        let plugin = self.office().store().plugin(record.plugin_id.clone()).await?;
        let policy = self.office().policy()?;
        let context = Context {
            site: self.config.file.site.clone(),
            artifact_name: artifact
                .as_ref()
                .map_or_else(|| record.plugin_id.to_string(), |a| a.file_name.clone()),
            version: artifact.and_then(|artifact| artifact.version),
            tier: plugin
                .as_ref()
                .and_then(|plugin| plugin.tier)
                .unwrap_or(policy.policy.default_tier),
            owner: plugin.as_ref().and_then(|plugin| plugin.owner_name.clone()),
            security_contact: self.security_contact(),
            signed: Some(SignedFile {
                name: auditor::BUNDLE_NAME.to_owned(),
                payload_digest: opened.payload_digest,
                key,
                key_name: "auditor.pub".to_owned(),
            }),
            evidence: evidence_file(&folder)?,
            changes: None,
        };
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

impl Nights for HouseNights {
    fn audit(&self, request: AuditRequest) -> Answer<'_, Result<AuditSummary, NightFailure>> {
        Box::pin(async move {
            let order = self.order(request).await;
            let order = order.map_err(|error| NightFailure::Failed {
                what: format!("{error:#}"),
            })??;
            self.hold(order).await
        })
    }

    fn send_report(
        &self,
        report: ReportRecord,
        _who: String,
    ) -> Answer<'_, Result<Vec<String>, NightFailure>> {
        Box::pin(async move {
            let sent = self.send_again(report).await;
            sent.map_err(|error| NightFailure::Failed {
                what: format!("{error:#}"),
            })?
        })
    }
}

struct Judged {
    outcome: NightOutcome,
    published: Vec<Kept>,
    cut: Vec<ListPublished>,
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

/// What concerns the site rather than a plugin.
fn notices(outcome: &NightOutcome) -> Vec<String> {
    let strays = outcome.strays.iter().map(|(stray, tally)| {
        let target = stray
            .target
            .as_ref()
            .map_or("an unreadable target".to_owned(), ToString::to_string);
        let how = stray
            .refusal
            .map_or("relayed without identity".to_owned(), |reason| {
                format!("refused: {reason}")
            });
        format!(
            "{} connection(s) to {target} that belong to no run, {how}",
            tally.connections
        )
    });
    let unknown = outcome.unknown.iter().map(|who| {
        format!(
            "run {} of {}, whose artifact is not on record, made connections",
            who.run_id, who.plugin_id
        )
    });
    strays.chain(unknown).collect()
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

fn summary(judged: Judged, mails: Vec<String>, now: Timestamp) -> AuditSummary {
    let outcome = judged.outcome;
    let kept = |report: &auditor::Reported| {
        judged.published.iter().find(|kept| {
            kept.record.plugin_id == report.plugin_id
                && kept.record.artifact_digest == Some(report.artifact_digest)
                && kept.record.run_id == report.run_id
        })
    };
    let reports = outcome.reports.iter().map(|report| AuditedReport {
        report_id: kept(report).map(|kept| kept.record.report_id),
        plugin_id: report.plugin_id.clone(),
        artifact_digest: Some(report.artifact_digest),
        run_id: report.run_id,
        verdict: report.verdict,
        folder: report.place.clone(),
        findings: report.findings.iter().map(finding_line).collect(),
    });
    let acts = outcome.acts.iter().filter_map(|act| match act.result {
        ActResult::Quarantined { crl_number } => Some(Act {
            at: now,
            who: "policy".to_owned(),
            action: Action::Quarantine,
            target: act.proposal.artifact_digest.to_string(),
            reason: act
                .proposal
                .reasons
                .iter()
                .copied()
                .max_by_key(|reason| reason.severity()),
            note: None,
            clause: Some(act.proposal.clause.clone()),
            enabled_by: Some(act.proposal.enabled_by.clone()),
            crl_number: Some(crl_number),
        }),
        _ => None,
    });
    AuditSummary {
        from: outcome.period.from,
        to: outcome.period.to,
        dry_run: outcome.dry_run,
        reports: reports.collect(),
        acts: acts.collect(),
        mails,
        doubts: outcome
            .doubts
            .iter()
            .map(doubt_line)
            .chain(outcome.troubles.clone())
            .collect(),
        notices: notices(&outcome),
    }
}

fn doubt_line(doubt: &Doubt) -> String {
    let entry = doubt
        .index
        .map(|index| format!(" at entry {index}"))
        .unwrap_or_default();
    let missing = doubt
        .missing
        .map(|count| format!(", {count} event(s) missing"))
        .unwrap_or_default();
    format!(
        "{} in {}{entry}: {}{missing}",
        doubt.reason, doubt.origin, doubt.cause
    )
}

fn finding_line(finding: &reports::predicate::Finding) -> FindingLine {
    FindingLine {
        reason: finding.reason,
        severity: finding.severity,
        host: finding.host.as_ref().map(ToString::to_string),
        port: finding.port.map(base::Port::get),
        connections: finding.connections,
        fix: finding.fix.clone(),
    }
}

fn show(progress: Progress<'_>) {
    match progress {
        Progress::Verifying { origin, entries, of } => tracing::debug!(origin, entries, of, "verifying"),
        Progress::Reporting { done, of } => tracing::debug!(done, of, "reporting"),
    }
}
