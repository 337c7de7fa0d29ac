//! The night, put together: the auditor judges, the office acts and remembers, the postman is rung.

mod contacts;
pub(super) mod lease;
pub(super) mod letters;
mod live;
mod published;
mod summary;
mod told;
mod way_back;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use auditor::{Auditor, Hypothesis, Night, NightOutcome, Period, Progress, Schedule};
use base::{Backing, Policy, Timestamp, Verdict};
use control::api::types::{AppealView, AuditProgress, AuditRequest, AuditSummary, ListPublished};
use control::nights::{Answer, NightFailure, Nights};
use control::office::Office;
use control::policy::PolicyInForce;
use control::store::ReportRecord;
use manifests::Manifest;
use parking_lot::Mutex;
use reports::mail::Address;
use seal::key_file;
use seal::trust::Role;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use lease::{Lease, LeaseWatch};
use summary::summary;

use super::budgets::Budgets;
use super::shelf::{Kept, Shelf};
use super::site::{HouseSite, LOGS_READ, LogMark};
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
    hook_bell: Arc<Notify>,
    office: OnceLock<Office>,
    /// One night at a time.
    at_work: Arc<tokio::sync::Mutex<()>>,
    /// What the last automatic act cut.
    last_cut: Mutex<Option<ListPublished>>,
    /// How far the audit under way is.
    progress: Arc<Mutex<Option<AuditProgress>>>,
    /// How much disk the evidence takes.
    budgets: Arc<Budgets>,
}

/// What a night is asked for.
struct Order {
    period: Period,
    request: AuditRequest,
    what_if: Hypothesis,
    /// The moment it was due; by hand there is none.
    scheduled_for: Option<Timestamp>,
}

impl Order {
    /// Whether nothing is written, sent or done.
    fn is_dry(&self) -> bool {
        self.request.dry_run || self.what_if.is_any()
    }
}

impl HouseNights {
    /// Nights that write to `readers` and ring `bell` when letters were queued.
    pub fn new(config: &Config, readers: Option<Readers>, bell: Arc<Notify>, budgets: Arc<Budgets>) -> Self {
        Self {
            config: config.clone(),
            readers,
            bell,
            hook_bell: Arc::default(),
            office: OnceLock::new(),
            at_work: Arc::default(),
            last_cut: Mutex::default(),
            progress: Arc::default(),
            budgets,
        }
    }

    /// From now on there is an office to act through.
    pub fn attach(&self, office: Office) {
        assert!(self.office.set(office).is_ok(), "a house has one office");
    }

    /// Rings when a webhook has something to tell.
    pub fn hook_bell(&self) -> Arc<Notify> {
        Arc::clone(&self.hook_bell)
    }

    /// What the last automatic act cut.
    pub fn last_cut(&self) -> Option<ListPublished> {
        self.last_cut.lock().clone()
    }

    /// Keeps every night from beginning for as long as this is held; `None` while one is under way.
    pub fn rest(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.at_work).try_lock_owned().ok()
    }

    pub(super) fn office(&self) -> &Office {
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
                what_if: Hypothesis::default(),
                scheduled_for: Some(period.to),
            };
            let summary = match self.hold(order).await {
                // Another instance holds it, or somebody audits by hand; it is looked at again soon.
                Err(NightFailure::Busy) => return Ok(()),
                held => held.map_err(anyhow::Error::from)?,
            };
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
        let what_if = match hypothesis(&request) {
            Ok(what_if) => what_if,
            Err(what) => return Ok(Err(NightFailure::Request { what })),
        };
        Ok(Ok(Order {
            period: Period { from, to },
            request,
            what_if,
            scheduled_for: None,
        }))
    }

    async fn hold(&self, order: Order) -> Result<AuditSummary, NightFailure> {
        let Ok(_one_at_a_time) = self.at_work.try_lock() else {
            return Err(NightFailure::Busy);
        };
        self.hold_now(order).await.map_err(|error| NightFailure::Failed {
            what: format!("{error:#}"),
        })?
    }

    async fn hold_now(&self, order: Order) -> anyhow::Result<Result<AuditSummary, NightFailure>> {
        let office = self.office().clone();
        office.checkpoint().await?;
        if order.is_dry() {
            let now = clock::now();
            let judged = self.judge(&order, now, false, None).await?;
            let news = self.news(&judged).await?;
            return Ok(Ok(summary(
                judged,
                Vec::new(),
                news.notices,
                now,
                order.request.observed,
            )));
        }
        let Some(lease) = Lease::take(office.store()).await? else {
            return Ok(Err(NightFailure::Busy));
        };
        let held = self.hold_under(&lease, &order).await;
        lease.give_back().await?;
        held.map(Ok)
    }

    /// Holds a night that writes and acts; nobody else does so meanwhile.
    async fn hold_under(&self, lease: &Lease, order: &Order) -> anyhow::Result<AuditSummary> {
        let (store, now) = (self.office().store().clone(), clock::now());
        let is_resumed = self.was_interrupted(order).await?;
        let Period { from, to } = order.period;
        let night_id = store
            .begin_night(order.scheduled_for, from, to, now)
            .await?
            .with_context(|| format!("the night that was due at {to} was held already"))?;
        let judged = self.judge(order, now, is_resumed, Some(lease.watch())).await?;
        let news = self.news(&judged).await?;
        self.publish_night(&judged, order, &news).await?;
        self.close_remediations(&judged, order).await?;
        let mails = self.write_letters(&judged, order, &news).await?;
        self.tell_hooks(&judged, order).await?;
        self.remember(&judged.outcome, order).await?;
        let outcome = format!(
            "{} conforming, {} not conforming, {} inconclusive, {} without traffic",
            judged.outcome.count(Verdict::Conforming),
            judged.outcome.count(Verdict::NonConforming),
            judged.outcome.count(Verdict::Inconclusive),
            judged.outcome.count(Verdict::NoTraffic)
        );
        let audited_to = order.scheduled_for.map(|_| to);
        store
            .finish_night(night_id, clock::now(), outcome, audited_to)
            .await?;
        if !mails.is_empty() {
            self.bell.notify_one();
        }
        Ok(summary(judged, mails, news.notices, now, order.request.observed))
    }

    /// Whether the night that is due was begun before and interrupted.
    async fn was_interrupted(&self, order: &Order) -> anyhow::Result<bool> {
        let Some(due) = order.scheduled_for else {
            return Ok(false);
        };
        let begun = self.office().store().night_for(due).await?;
        Ok(begun.is_some_and(|night| night.finished_at.is_none()))
    }

    /// Judges, acts and publishes on a thread that may wait.
    async fn judge(
        &self,
        order: &Order,
        now: Timestamp,
        is_resumed: bool,
        lease: Option<LeaseWatch>,
    ) -> anyhow::Result<Judged> {
        let auditor = self.auditor()?;
        let (config, office, runtime) = (self.config.clone(), self.office().clone(), Handle::current());
        let (period, request, what_if) = (order.period, order.request.clone(), order.what_if.clone());
        let shown = Arc::clone(&self.progress);
        let judged = tokio::task::spawn_blocking(move || {
            let site = HouseSite {
                config: &config,
                office: &office,
                runtime,
                now,
                only_run: request.run_id,
                shelf: Shelf::default(),
                cut: Mutex::default(),
                progress: Box::new(move |progress| *shown.lock() = Some(view(progress))),
                is_resumed,
                verifies_whole: request.full,
                lease,
            };
            let night = Night {
                auditor: &auditor,
                period,
                now,
                plugin_id: request.plugin_id.clone(),
                run_id: request.run_id,
                what_if,
                dry_run: request.dry_run,
                lists_observed: request.observed,
            };
            let outcome = night.run(&site)?;
            let (published, of_runs) = site.shelf.into_inner();
            Ok::<_, auditor::NightError>(Judged {
                outcome,
                published,
                of_runs,
                cut: site.cut.into_inner(),
            })
        });
        let judged = judged.await;
        *self.progress.lock() = None;
        let judged = judged.context("the night was interrupted")??;
        if let Some(last) = judged.cut.last() {
            *self.last_cut.lock() = Some(last.clone());
        }
        Ok(judged)
    }

    /// Whom an owner writes to.
    pub(super) fn security_contact(&self) -> String {
        security_contact(&self.config)
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
            security_contact: security_contact(&self.config),
            appeals: self.office().settings().appeals,
            trust_root: std::fs::read(&root)
                .with_context(|| format!("cannot read trust root {}", root.display()))?,
        })
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
                nights_since_whole: match (log.verified_from, marks.get(&log.origin)) {
                    (0, _) | (_, None) => 0,
                    // By hand is no night of its own.
                    (_, Some(mark)) => mark
                        .nights_since_whole
                        .saturating_add(u32::from(order.scheduled_for.is_some())),
                },
            };
            match marks.get_mut(&log.origin) {
                Some(mark) if order.scheduled_for.is_none() => {
                    mark.checkpoint = fresh.checkpoint;
                    mark.nights_since_whole = fresh.nights_since_whole;
                }
                _ => drop(marks.insert(log.origin.clone(), fresh)),
            }
        }
        store
            .set_setting(LOGS_READ, serde_json::to_string(&marks)?, None)
            .await?;
        Ok(())
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

    fn progress(&self) -> Option<AuditProgress> {
        self.progress.lock().clone()
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

    fn tell_of_appeal(&self, appeal: AppealView) -> Answer<'_, Result<(), NightFailure>> {
        Box::pin(async move {
            self.tell_of(appeal)
                .await
                .map_err(|error| way_back::failed(&error))
        })
    }

    fn ask_contact(&self, address: String, who: String) -> Answer<'_, Result<String, NightFailure>> {
        Box::pin(async move {
            let asked = self.ask(&address, &who).await;
            asked.map_err(|error| NightFailure::Failed {
                what: format!("{error:#}"),
            })?
        })
    }
}

/// Whom an owner writes to.
pub(super) fn security_contact(config: &Config) -> String {
    let mail = config.file.mail.as_ref();
    let first = mail.and_then(|mail| mail.security.first());
    first.map_or_else(
        || format!("the security team of {}", config.file.site),
        ToString::to_string,
    )
}

/// What a request imagines, or why that cannot be imagined.
fn hypothesis(request: &AuditRequest) -> Result<Hypothesis, String> {
    let manifest = request
        .manifest
        .as_ref()
        .map(Manifest::draft_from_value)
        .transpose();
    let policy = request.policy.as_ref().map(|text| {
        let read = PolicyInForce::parse(Path::new("DRAFT"), text.as_bytes());
        read.map(|read| as_if_signed(read.policy))
    });
    Ok(Hypothesis {
        manifest: manifest.map_err(|error| format!("the draft manifest: {error}"))?,
        policy: policy.transpose().map_err(|error| control::error_line(&error))?,
        tier: request.tier,
    })
}

/// What a draft asks to be let pass is imagined as signed: the question is what it would do if it were.
fn as_if_signed(mut policy: Policy) -> Policy {
    for exception in &mut policy.exceptions {
        exception.backing = Backing::Signed;
    }
    policy
}

struct Judged {
    outcome: NightOutcome,
    /// Reports on artifacts.
    published: Vec<Kept>,
    /// How many reports there are on runs, by the folder that they are kept in.
    of_runs: BTreeMap<String, u64>,
    cut: Vec<ListPublished>,
}

/// How far the night is, for whoever waits for it.
fn view(progress: Progress<'_>) -> AuditProgress {
    match progress {
        Progress::Verifying { origin, entries, of } => AuditProgress {
            doing: Some(format!("verifying {origin}")),
            done: entries,
            of,
        },
        Progress::Reporting { done, of } => AuditProgress {
            doing: Some("reporting".to_owned()),
            done: done as u64,
            of: of as u64,
        },
    }
}
