//! The live watch of this house: signed entries are read as they appear, and what a clause asks for is
//! done at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use auditor::{Live, LiveGround, Measure, Period, Proposal, Site, is_live};
use base::{PluginId, Timestamp};
use control::api::types::AuditRequest;
use evidence::{Checkpoint, VerifiedLog, VerifyOptions};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{HouseNights, Hypothesis, Order};
use crate::clock;
use crate::house::logs;
use crate::house::shelf::Shelf;
use crate::house::site::{HouseSite, LOGS_READ, LogMark};

/// How often checkpoints are looked at while a clause asks for it.
const GLANCE: Duration = Duration::from_millis(20);
/// How often it is looked at whether a clause asks for it.
const NAP: Duration = Duration::from_secs(1);
/// How long registry and policy are believed without looking again.
const GROUND_FOR: Duration = Duration::from_secs(5);

/// One log, and how far it was read.
struct Tail {
    place: logs::LogPlace,
    next: u64,
    /// The checkpoint that was verified last: the next one must continue it.
    held: Option<Checkpoint>,
    /// The checkpoint's file as it was last seen.
    seen: Vec<u8>,
    is_tampered: bool,
    /// The entry about whose run the registry was asked.
    asked: Option<u64>,
}

impl HouseNights {
    /// Watches until stopped, whenever the policy has a clause that is judged as events arrive.
    pub async fn keep_watch(self: Arc<Self>, stop: CancellationToken) {
        let runtime = Handle::current();
        let watching = tokio::task::spawn_blocking(move || {
            while !stop.is_cancelled() {
                if let Err(error) = self.watch_on(&runtime, &stop) {
                    tracing::error!(error = %format!("{error:#}"), "the live watch failed and begins again");
                }
                std::thread::sleep(NAP);
            }
        });
        // It ends with the house.
        let _ = watching.await;
    }

    /// Watches one period after the other, as long as some clause is live.
    fn watch_on(self: &Arc<Self>, runtime: &Handle, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut watch: Option<(Live, Vec<Tail>)> = None;
        while !stop.is_cancelled() {
            let policy = self.office().facts().policy.policy.clone();
            if !is_live(&policy) {
                return Ok(());
            }
            let begin = runtime.block_on(self.begin())?;
            if watch.as_ref().is_none_or(|(live, _)| live.from() != begin) {
                watch = Some((Live::new(begin), runtime.block_on(self.tails(begin))?));
            }
            let Some((live, tails)) = &mut watch else { continue };
            let site = self.live_site(runtime);
            let period = Period {
                from: begin,
                to: clock::now().plus_seconds(1),
            };
            let failed = |error: auditor::SiteError| anyhow::anyhow!("{error}");
            let artifacts = site.artifacts(period).map_err(failed)?;
            let mut runs = site.runs(period).map_err(failed)?;
            for trouble in auditor::carry(&site, &artifacts, &mut runs, period, None) {
                tracing::warn!(trouble, "a limit on bytes is held against this day alone");
            }
            let ground = LiveGround::new(&policy, &artifacts, &runs)?;
            let until = std::time::Instant::now() + GROUND_FOR;
            while std::time::Instant::now() < until && !stop.is_cancelled() {
                if self.glance(&site, runtime, &ground, live, tails)? {
                    // What was done, or who just came, is on record by now.
                    break;
                }
                std::thread::sleep(GLANCE);
            }
        }
        Ok(())
    }

    fn live_site<'h>(&'h self, runtime: &Handle) -> HouseSite<'h> {
        HouseSite {
            config: &self.config,
            office: self.office(),
            runtime: runtime.clone(),
            now: clock::now(),
            only_run: None,
            shelf: Shelf::default(),
            cut: Mutex::default(),
            progress: Box::new(|_| {}),
            is_resumed: false,
            verifies_whole: true,
            lease: None,
        }
    }

    /// The logs of this site, each from where the night before ended.
    async fn tails(&self, begin: Timestamp) -> anyhow::Result<Vec<Tail>> {
        let office = self.office();
        let marks: Option<String> = office.store().setting(LOGS_READ).await?;
        let marks: HashMap<String, LogMark> = marks
            .map(|text| serde_json::from_str(&text))
            .transpose()?
            .unwrap_or_default();
        let trust = office.trust_root().await?;
        let tail = |place: logs::LogPlace| {
            let mark = marks.get(&place.origin).filter(|mark| mark.audited_to == begin);
            Tail {
                next: mark.map_or(0, |mark| mark.to),
                place,
                held: None,
                seen: Vec::new(),
                is_tampered: false,
                asked: None,
            }
        };
        Ok(logs::all(&self.config, &trust)?.into_iter().map(tail).collect())
    }

    /// Reads what was signed since, and does what clauses ask for. `true` where the registry is worth
    /// asking again.
    fn glance(
        self: &Arc<Self>,
        site: &HouseSite<'_>,
        runtime: &Handle,
        ground: &LiveGround<'_>,
        live: &mut Live,
        tails: &mut [Tail],
    ) -> anyhow::Result<bool> {
        let mut asks_again = false;
        for (number, tail) in tails.iter_mut().enumerate() {
            let Some(log) = tail.grown(live)? else { continue };
            for entry in log.events(tail.next..log.checkpoint().size()) {
                let (index, event) = entry.context("an entry that was verified cannot be read")?;
                if event.time >= live.from() {
                    if !ground.knows(&event) && !tail.asked_about(index) {
                        return Ok(true);
                    }
                    let now = clock::now();
                    if let Some(proposal) = live.handle_entry(ground, number, index, &event, now) {
                        self.carry_out(site, runtime, live, &proposal);
                        asks_again = true;
                    }
                }
                tail.next = index + 1;
            }
            tail.held = Some(log.checkpoint().clone());
        }
        Ok(asks_again)
    }

    /// Does it, and has a report written that says so, which owner and security are sent at once.
    fn carry_out(
        self: &Arc<Self>,
        site: &HouseSite<'_>,
        runtime: &Handle,
        live: &mut Live,
        proposal: &Proposal,
    ) {
        let done = match proposal.measure {
            Measure::Alert(_) => return,
            Measure::Watch => site.watch(proposal),
            Measure::Quarantine | Measure::Revoke => site.stop(proposal).map(drop),
            Measure::Announce { .. } | Measure::AwaitApproval { .. } => site.put_off(proposal),
        };
        let what = proposal.measure.as_str();
        if let Err(error) = done {
            tracing::error!(%error, what, plugin = %proposal.plugin_id, clause = %proposal.clause, "an act failed");
            return live.take_back(proposal);
        }
        if let Some(published) = site.cut.lock().pop() {
            *self.last_cut.lock() = Some(published);
        }
        tracing::warn!(
            what, plugin = %proposal.plugin_id, artifact = %proposal.artifact_digest, clause = %proposal.clause,
            enabled_by = %proposal.enabled_by, "acted on events as they arrived"
        );
        let (nights, plugin_id, from) = (Arc::clone(self), proposal.plugin_id.clone(), live.from());
        runtime.spawn(async move {
            if let Err(error) = nights.report_at_once(plugin_id, from).await {
                tracing::warn!(error = %format!("{error:#}"), "the report waits for the night");
            }
        });
    }

    async fn report_at_once(&self, plugin_id: PluginId, from: Timestamp) -> anyhow::Result<()> {
        let request = AuditRequest {
            plugin_id: Some(plugin_id),
            who: "live".to_owned(),
            ..AuditRequest::default()
        };
        let order = Order {
            period: Period {
                from,
                to: clock::now(),
            },
            request,
            what_if: Hypothesis::default(),
            scheduled_for: None,
        };
        self.hold(order).await?;
        Ok(())
    }
}

impl Tail {
    /// The log, if it was signed anew since it was last looked at, with its new entries verified.
    fn grown(&mut self, live: &mut Live) -> anyhow::Result<Option<VerifiedLog>> {
        let signed = read(&self.place.folder.join("checkpoint"))?;
        if self.is_tampered || signed.is_empty() || signed == self.seen {
            return Ok(None);
        }
        let options = VerifyOptions {
            verified: None,
            held: self.held.clone(),
            archive: self.place.archive.clone(),
        };
        let range = self.next..u64::MAX;
        let opened = VerifiedLog::open_range(
            &self.place.folder,
            &self.place.verifier,
            &options,
            range,
            &mut |_| {},
        );
        match opened {
            Ok(log) => {
                self.seen = signed;
                Ok(Some(log))
            }
            Err(evidence::NotVerified::Tampered(verification)) => {
                tracing::error!(origin = %self.place.origin, integrity = %verification.integrity,
                    "the log is not to be believed; nothing is done live before the next night");
                self.is_tampered = true;
                live.doubt_everything();
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the registry was asked about this entry before: then it is judged as it is.
    fn asked_about(&mut self, index: u64) -> bool {
        if self.asked == Some(index) {
            return true;
        }
        self.asked = Some(index);
        // Read from here once more, although nothing was signed since.
        self.seen.clear();
        false
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
