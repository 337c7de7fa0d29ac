//! The clerk, who alone touches the sink, and waits for no disk.
//!
//! The clerk works where there is a hand to spare: mostly on the thread of a connection that waits for its
//! own event, which then writes everybody's; on a thread of the recorder's own for what nobody waits
//! for, for what is due, and whenever a disk is at work that could hold a write up. Connections of
//! other threads do not notice which it was.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use base::PluginId;
use evidence::{Draft, Event, EventKind};
use parking_lot::Mutex;

use crate::hands::{Hands, Task};
use crate::lent::{LendAsked, Lent};
use crate::queue::{Acknowledge, CheckpointAsked, EvidenceBudget, Missing, Overflow, Parked, Pending};
use crate::recorder::{Durability, EvidenceUnavailable, Gap, Shared};
use crate::sink::{EventSink, SinkError};

/// Events appended at once.
const BATCH: usize = 1024;
/// Between two attempts while the sink fails and nothing else asks.
const RETRY: Duration = Duration::from_millis(250);
/// How long the clerk waits for more before it goes to sleep. Waking it costs more than writing.
const LINGER: Duration = Duration::from_millis(2);
/// Between two gaps that say what did not fit.
const BETWEEN_GAPS: Duration = Duration::from_secs(1);
/// While the recorder closes, how often hands are looked after that may have died.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How often a connection that appended everybody's events looks for more before it leaves the rest to
/// the clerk's own thread.
const ROUNDS_FOR_OTHERS: usize = 4;
/// Bytes of tiles that wait in memory before a seal begins earlier than it is due.
const MAX_UNSEALED_BYTES: usize = 32 << 20;

pub(crate) struct Clerk<S: EventSink> {
    /// Absent while the log is lent.
    sink: Option<S>,
    /// Present while the log is lent.
    lent: Option<Lent>,
    /// Somebody waits for the log. Nothing more is appended until it is sealed and given up.
    lending: Option<LendAsked>,
    shared: Arc<Shared>,
    hands: Hands<S::Work>,
    /// Taken from the queue and not yet appended.
    held: VecDeque<Pending>,
    /// Appended and not known to survive a power cut, in `strict`: how many entries must be durable
    /// before this one is.
    undurable: VecDeque<(u64, Acknowledge)>,
    /// Who waits for a checkpoint, and over how many entries.
    asked: Vec<(u64, CheckpointAsked)>,
    flush_due: Option<Instant>,
    seal_due: Option<Instant>,
    /// No seal before this, after one failed and unless somebody asks.
    seal_not_before: Option<Instant>,
    /// A failure to write that is not over yet.
    failure: Option<Failure>,
    /// What the last failure was, until the log says what it cost.
    was: Option<String>,
    /// The last checkpoint could not be signed. Events are appended all the same.
    checkpoint_failed: bool,
    gaps_not_before: Instant,
    closing: bool,
    last_seal_tried: bool,
}

/// Where the clerk works.
pub(crate) struct Desk<S: EventSink> {
    shared: Arc<Shared>,
    clerk: Mutex<Clerk<S>>,
}

/// A desk, whatever the sink.
pub(crate) trait AnyDesk: Send + Sync {
    /// Has everything in the queue appended on this thread if that waits for nobody; leaves it to
    /// whoever is at the desk, or to the clerk's own thread, where it does not.
    fn append_here(&self);

    /// The process that has the log says that everything forwarded up to `number` is on record, or why
    /// not.
    fn confirmed(&self, number: u64, answer: Result<(), EvidenceUnavailable>);

    /// Events that were forwarded and not confirmed, in order.
    fn unconfirmed(&self) -> Vec<Draft>;

    /// The log is ours again: `sink`, which holds the first `written` of the unconfirmed events already
    /// and gets `first` before everything else. `false` where the log is not lent, or this is a sink of
    /// another kind.
    fn take_back(&self, sink: Box<dyn Any>, written: usize, first: &[Event]) -> bool;

    /// Nobody has the log whom events could be forwarded to, and it does not come back.
    fn forsake(&self);
}

impl<S: EventSink> Desk<S> {
    pub(crate) fn new(clerk: Clerk<S>) -> Self {
        Self {
            shared: Arc::clone(&clerk.shared),
            clerk: Mutex::new(clerk),
        }
    }

    /// The life of the clerk's own thread.
    pub(crate) fn work(&self) {
        loop {
            let rest = self.clerk.lock().rest(Instant::now());
            let taken = self.shared.wait(&rest);
            if self.clerk.lock().round(taken) {
                return;
            }
        }
    }
}

impl<S: EventSink> AnyDesk for Desk<S> {
    fn append_here(&self) {
        for _ in 0..ROUNDS_FOR_OTHERS {
            if let Some(mut clerk) = self.clerk.try_lock() {
                if !clerk.append_queued() {
                    break;
                }
            } else {
                self.shared.queue.lock().urgent = true;
                // Whoever is at the desk looks for this once more after leaving it; unless it was left
                // just now.
                if self.clerk.is_locked() {
                    return;
                }
            }
            let queue = self.shared.queue.lock();
            if !queue.urgent {
                return self.shared.wake(queue);
            }
        }
        let mut queue = self.shared.queue.lock();
        queue.urgent = true;
        self.shared.wake(queue);
    }

    fn confirmed(&self, number: u64, answer: Result<(), EvidenceUnavailable>) {
        self.clerk.lock().confirmed(number, answer);
        self.shared.work_is_done();
    }

    fn unconfirmed(&self) -> Vec<Draft> {
        let clerk = self.clerk.lock();
        let lent = clerk.lent.iter();
        lent.flat_map(Lent::unconfirmed).cloned().collect()
    }

    fn take_back(&self, sink: Box<dyn Any>, written: usize, first: &[Event]) -> bool {
        let Ok(sink) = sink.downcast::<S>() else {
            return false;
        };
        let taken = self.clerk.lock().take_log_back(*sink, written, first);
        self.shared.work_is_done();
        taken
    }

    fn forsake(&self) {
        self.clerk.lock().forsake();
        self.shared.work_is_done();
    }
}

/// What the clerk's own thread may do until there is more.
pub(crate) struct Rest {
    may_wait: bool,
    due: Option<Instant>,
    closing: bool,
}

/// What was in the queue besides events.
pub(crate) struct Taken {
    checkpoints: Vec<CheckpointAsked>,
    lend: Option<LendAsked>,
    closed: bool,
}

impl Shared {
    /// Waits for something to do: an event, a checkpoint that is asked for, work that comes back,
    /// something that is due, the end.
    fn wait(&self, rest: &Rest) -> Taken {
        let mut queue = self.queue.lock();
        let linger = std::mem::take(&mut queue.lively).then(|| Instant::now() + LINGER);
        loop {
            let is_news = queue.closed && !rest.closing;
            let is_asked = !queue.checkpoints.is_empty() || queue.lend.is_some();
            if !rest.may_wait || queue.urgent || is_asked || queue.work_done || is_news {
                break;
            }
            let now = Instant::now();
            let brief = linger.filter(|until| now < *until);
            let has_come = queue.lively || !queue.events.is_empty();
            if brief.is_none() && has_come || rest.due.is_some_and(|due| due <= now) {
                break;
            }
            queue.parked = if brief.is_some() {
                Parked::Briefly
            } else {
                Parked::Long
            };
            match brief.into_iter().chain(rest.due).min() {
                Some(until) => {
                    let _ = self.arrived.wait_until(&mut queue, until);
                }
                None => self.arrived.wait(&mut queue),
            }
        }
        queue.parked = Parked::No;
        queue.work_done = false;
        Taken {
            checkpoints: std::mem::take(&mut queue.checkpoints),
            lend: queue.lend.take(),
            closed: queue.closed,
        }
    }
}

struct Failure {
    since: Instant,
    cause: String,
}

impl<S: EventSink> Clerk<S> {
    pub(crate) fn new(sink: S, shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            sink: Some(sink),
            lent: None,
            lending: None,
            hands: Hands::new(&shared)?,
            shared,
            held: VecDeque::new(),
            undurable: VecDeque::new(),
            asked: Vec::new(),
            flush_due: None,
            seal_due: None,
            seal_not_before: None,
            failure: None,
            was: None,
            checkpoint_failed: false,
            gaps_not_before: Instant::now(),
            closing: false,
            last_seal_tried: false,
        })
    }

    /// Writes `gap` before everything else.
    pub(crate) fn begin_with(&mut self, gap: Gap) {
        let event = gap.event(&self.shared.settings.gateway, None);
        self.hold(&event);
    }

    /// One round of everything there is to do. Whether the recorder is closed and all is done.
    fn round(&mut self, taken: Taken) -> bool {
        self.closing = taken.closed;
        self.take();
        self.take_back();
        self.append_held();
        self.declare_missing();
        self.note_asked(taken.checkpoints);
        if let Some(asked) = taken.lend {
            self.begin_to_lend(asked);
        }
        self.hand_out();
        self.lend();
        let is_over = match &self.lent {
            Some(lent) => lent.is_settled(),
            None => self.last_seal_tried || !self.hands.is_free(Task::Seal),
        };
        self.closing && !self.hands.is_waiting() && is_over
    }

    /// From here on nothing is appended until the log is sealed to its end and given up.
    fn begin_to_lend(&mut self, asked: LendAsked) {
        let hindrance = if self.lent.is_some() || self.lending.is_some() {
            Some("another process has the log, or is about to".to_owned())
        } else if self.closing {
            Some("the log is being closed".to_owned())
        } else {
            self.failure.as_ref().map(|failure| failure.cause.clone())
        };
        match hindrance {
            // Whoever asked may have left.
            Some(hindrance) => drop(asked.answer.send(Err(hindrance))),
            None => self.lending = Some(asked),
        }
    }

    /// Gives the log up once everything in it is signed for.
    fn lend(&mut self) {
        if self.lending.is_none() || !self.hands.is_free(Task::Seal) || !self.hands.is_free(Task::Flush) {
            return;
        }
        let Some(sink) = self.sink.take_if(|sink| sink.signed() == sink.size()) else {
            return;
        };
        if let Some(LendAsked { forwarding, answer }) = self.lending.take() {
            let size = sink.size();
            // Its lock goes with it.
            drop(sink);
            self.lent = Some(Lent::new(forwarding));
            (self.flush_due, self.seal_due, self.seal_not_before) = (None, None, None);
            (self.failure, self.checkpoint_failed) = (None, false);
            self.publish_state();
            let _ = answer.send(Ok(size));
            self.append_held();
        }
    }

    fn confirmed(&mut self, number: u64, answer: Result<(), EvidenceUnavailable>) {
        let Some(lent) = &mut self.lent else {
            return;
        };
        let mut queue = self.shared.queue.lock();
        while let Some(pending) = lent.confirmed(number) {
            queue.release(pending.account, pending.charged);
            if answer.is_ok() {
                self.shared.counters.written.inc();
            }
            if let Some(acknowledge) = pending.acknowledge {
                // A connection that no longer waits has its own reasons.
                let _ = acknowledge.send(answer);
            }
        }
    }

    /// Goes on with the log, where another process left it.
    fn take_log_back(&mut self, sink: S, written: usize, first: &[Event]) -> bool {
        let Some(lent) = &self.lent else {
            return false;
        };
        let numbers = lent.numbers();
        if written > 0 {
            let number = numbers.start + u64::try_from(written).expect("a length fits 64 bits") - 1;
            self.confirmed(number.min(numbers.end - 1), Ok(()));
        }
        let Some(mut lent) = self.lent.take() else {
            return false;
        };
        let since = std::mem::take(&mut self.held);
        first.iter().for_each(|event| self.hold(event));
        let rest = lent.forsake().into_iter().map(|(_, pending)| pending);
        self.held.extend(rest.chain(since));
        self.sink = Some(sink);
        self.append_held();
        true
    }

    /// Every event is lost from here on, and those who wait are told so.
    fn forsake(&mut self) {
        let Some(lent) = &mut self.lent else {
            return;
        };
        let lost = lent.forsake();
        for (_, pending) in lost {
            self.held.push_back(pending);
        }
        self.forward_held();
    }

    /// Sends what is held to the process that has the log.
    fn forward_held(&mut self) {
        let answer = self.shared.unavailable();
        let Some(lent) = &mut self.lent else {
            return;
        };
        for pending in self.held.drain(..) {
            let Err(pending) = lent.forward(pending) else {
                continue;
            };
            self.shared.writable.store(false, Ordering::Relaxed);
            self.shared.counters.lost.inc();
            self.shared.queue.lock().release(pending.account, pending.charged);
            if let Some(acknowledge) = pending.acknowledge {
                let _ = acknowledge.send(answer);
            }
        }
    }

    /// Appends what is in the queue, and nothing else. `false`, with nothing done, where that might
    /// wait for a disk, or is not all that would have to be done.
    fn append_queued(&mut self) -> bool {
        let is_strict = self.shared.settings.durability == Durability::Strict;
        let is_disk_at_rest = self.hands.is_free(Task::Flush) && self.hands.is_free(Task::Seal);
        let may_wait = is_strict || !is_disk_at_rest || self.failure.is_some() || self.lending.is_some();
        if self.lent.is_none() && may_wait {
            return false;
        }
        self.take();
        self.append_held();
        true
    }

    /// Takes all there is in the queue.
    fn take(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.urgent = false;
        self.held.extend(queue.events.drain(..));
    }

    /// What the next round is to wait for.
    fn rest(&self, now: Instant) -> Rest {
        Rest {
            may_wait: self.held.is_empty() || self.failure.is_some() || self.lending.is_some(),
            due: self.next_due(now),
            closing: self.closing,
        }
    }

    /// When something is to be done though nothing comes.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let retry = (self.failure.is_some() || self.checkpoint_failed).then(|| now + RETRY);
        let seal = self.seal_due.filter(|_| self.hands.is_free(Task::Seal));
        let seal = seal.map(|due| self.seal_not_before.map_or(due, |not_before| due.max(not_before)));
        let flush = self.flush_due.filter(|_| self.hands.is_free(Task::Flush));
        let gaps = (self.failure.is_none() && self.shared.queue.lock().is_missing_any())
            .then_some(self.gaps_not_before);
        let end = self.closing.then(|| now + LOOK_AFTER);
        [retry, seal, flush, gaps, end].into_iter().flatten().min()
    }

    fn append_held(&mut self) {
        if self.lending.is_some() {
            return;
        }
        while !self.held.is_empty() {
            let Some(sink) = &mut self.sink else {
                return self.forward_held();
            };
            let count = self.held.len().min(BATCH);
            let mut drafts = Vec::with_capacity(count);
            let mut rest = Vec::with_capacity(count);
            for pending in self.held.drain(..count) {
                drafts.push(pending.draft);
                rest.push((pending.account, pending.charged, pending.acknowledge));
            }
            if let Err(error) = sink.append(&drafts) {
                let batch = drafts.into_iter().zip(rest);
                for (draft, (account, charged, acknowledge)) in batch.rev() {
                    self.held.push_front(Pending {
                        draft,
                        account,
                        charged,
                        acknowledge,
                    });
                }
                match error {
                    SinkError::Misfit { position, .. } => self.drop_misfit(position, &error),
                    SinkError::Failed(_) => return self.fail(&error),
                }
                continue;
            }
            self.appended(rest);
        }
    }

    fn appended(&mut self, batch: Vec<(usize, usize, Option<Acknowledge>)>) {
        let written = u64::try_from(batch.len()).expect("a batch is small");
        self.shared.counters.written.inc_by(written);
        let now = Instant::now();
        let interval = self.shared.settings.checkpoint_interval;
        self.seal_due.get_or_insert(now + interval);
        self.flush_due.get_or_insert(now + interval / 2);
        let is_strict = self.shared.settings.durability == Durability::Strict;
        let first = self.size() - written;
        let mut queue = self.shared.queue.lock();
        for (account, charged, _) in &batch {
            queue.release(*account, *charged);
        }
        drop(queue);
        for ((_, _, acknowledge), entry) in batch.into_iter().zip(first..) {
            match acknowledge {
                Some(acknowledge) if is_strict => self.undurable.push_back((entry + 1, acknowledge)),
                Some(acknowledge) => {
                    // A connection that no longer waits has its own reasons.
                    let _ = acknowledge.send(Ok(()));
                }
                None => {}
            }
        }
        if !is_strict {
            self.recover();
        }
    }

    /// Takes back what the hands did.
    fn take_back(&mut self) {
        while let Some((task, done)) = self.hands.take_back() {
            let Some(sink) = &mut self.sink else {
                return;
            };
            let result = sink.finish(done);
            let needs_seal = sink.needs_seal();
            if task == Task::Seal {
                self.sealed(&result);
            }
            let is_strict = self.shared.settings.durability == Durability::Strict;
            match result {
                Ok(()) => self.acknowledge_durable(),
                // Only a seal makes up for it; the events stand until then.
                Err(error) if is_strict && (task == Task::Flush || needs_seal) => {
                    let answer = self.unavailable();
                    for (_, acknowledge) in self.undurable.drain(..) {
                        let _ = acknowledge.send(answer);
                    }
                    self.fail(&error);
                }
                Err(error) if task == Task::Flush => {
                    self.shared.counters.failures.inc();
                    tracing::error!(
                        error = error.in_full(),
                        "evidence could not be flushed; a checkpoint makes up for it"
                    );
                }
                Err(_) => {}
            }
        }
    }

    fn acknowledge_durable(&mut self) {
        let durable = self.sink.as_ref().map_or(0, EventSink::durable);
        while let Some((_, acknowledge)) = self.undurable.pop_front_if(|(entries, _)| *entries <= durable) {
            let _ = acknowledge.send(Ok(()));
        }
        let is_strict = self.shared.settings.durability == Durability::Strict;
        if is_strict && self.held.is_empty() && !self.needs_seal() {
            self.recover();
        }
    }

    fn sealed(&mut self, result: &Result<(), SinkError>) {
        let signed = self.signed();
        if let Err(error) = result {
            let error = error.in_full();
            self.shared.counters.failures.inc();
            if !self.checkpoint_failed {
                tracing::error!(%error, "evidence checkpoint could not be signed; look at the log folder's disk");
            }
            self.checkpoint_failed = true;
            let now = Instant::now();
            self.seal_due.get_or_insert(now);
            self.seal_not_before = Some(now + RETRY);
            for (_, answer) in self.asked.drain(..) {
                // Whoever asked may have left.
                let _ = answer.send(Err(error.clone()));
            }
            if let Some(LendAsked { answer, .. }) = self.lending.take() {
                let _ = answer.send(Err(error));
            }
        } else {
            self.checkpoint_failed = false;
            self.seal_not_before = None;
            self.shared.counters.checkpoints.inc();
            self.answer_asked(signed);
        }
        self.publish_state();
    }

    fn note_asked(&mut self, asked: Vec<CheckpointAsked>) {
        let size = self.size();
        for answer in asked {
            if self.lent.is_some() {
                let _ = answer.send(Err("another process has the log".to_owned()));
            } else if let Some(failure) = &self.failure
                && !self.held.is_empty()
            {
                let _ = answer.send(Err(format!(
                    "events are waiting to be written: {}",
                    failure.cause
                )));
            } else {
                self.asked.push((size, answer));
                self.seal_not_before = None;
            }
        }
        self.answer_asked(self.signed());
    }

    fn answer_asked(&mut self, signed: u64) {
        for (_, answer) in self.asked.extract_if(.., |(size, _)| *size <= signed) {
            let _ = answer.send(Ok(signed));
        }
    }

    /// Gives the hands what is due.
    fn hand_out(&mut self) {
        let now = Instant::now();
        if self.hands.is_free(Task::Seal) && self.wants_seal(now) {
            self.last_seal_tried = self.closing;
            self.seal_due = None;
            if let Some(work) = self.sink.as_mut().and_then(EventSink::start_seal) {
                self.hands.give(Task::Seal, work);
            } else {
                self.answer_asked(self.signed());
            }
        }
        let is_due = match self.shared.settings.durability {
            Durability::Strict => !self.undurable.is_empty(),
            Durability::Group => self.flush_due.is_some_and(|due| due <= now) && !self.closing,
        };
        if is_due && self.hands.is_free(Task::Flush) {
            self.flush_due = None;
            if let Some(work) = self.sink.as_mut().and_then(EventSink::start_flush) {
                self.hands.give(Task::Flush, work);
            } else if !self.needs_seal() {
                self.acknowledge_durable();
            }
        }
    }

    fn wants_seal(&self, now: Instant) -> bool {
        let Some(sink) = &self.sink else {
            return false;
        };
        if self.lending.is_some() {
            return sink.signed() < sink.size();
        }
        if self.closing {
            return !self.last_seal_tried;
        }
        if !self.asked.is_empty() {
            return true;
        }
        let may = self.seal_not_before.is_none_or(|not_before| not_before <= now);
        let must = sink.needs_seal()
            || sink.waiting_bytes() > MAX_UNSEALED_BYTES
            || self.seal_due.is_some_and(|due| due <= now);
        may && must
    }

    /// Lets go of an event that this log will never take, and says so.
    fn drop_misfit(&mut self, position: usize, error: &SinkError) {
        let Some(misfit) = self.held.remove(position) else {
            return;
        };
        tracing::error!(kind = ?misfit.draft.kind(), error = error.in_full(), "event cannot be an entry of the log");
        self.shared.counters.lost.inc();
        let mut queue = self.shared.queue.lock();
        queue.release(misfit.account, misfit.charged);
        queue.missing(misfit.account).lost += 1;
        drop(queue);
        if let Some(acknowledge) = misfit.acknowledge {
            let _ = acknowledge.send(self.shared.unavailable());
        }
    }

    /// Answers everybody who waits, keeps what may still be written, and remembers what is lost.
    fn fail(&mut self, error: &SinkError) {
        self.shared.counters.failures.inc();
        if self.failure.is_none() {
            tracing::error!(
                error = error.in_full(),
                "evidence cannot be written; look at the log folder's disk"
            );
        }
        let answer = self.unavailable();
        self.failure.get_or_insert_with(|| Failure {
            since: Instant::now(),
            cause: error.in_full(),
        });
        let mut queue = self.shared.queue.lock();
        self.held.retain_mut(|pending| {
            let Some(acknowledge) = pending.acknowledge.take() else {
                return true;
            };
            let _ = acknowledge.send(answer);
            let is_open = pending.draft.kind() == EventKind::Open;
            if is_open && answer.is_ok() {
                queue.missing(pending.account).unrecorded += 1;
            }
            // A connection that is refused now says so itself, in a `refused` event of its own.
            let stays = !is_open || answer.is_ok();
            if !stays {
                queue.release(pending.account, pending.charged);
            }
            stays
        });
        drop(queue);
        self.publish_state();
    }

    fn size(&self) -> u64 {
        self.sink.as_ref().map_or(0, EventSink::size)
    }

    fn signed(&self) -> u64 {
        self.sink.as_ref().map_or(0, EventSink::signed)
    }

    fn needs_seal(&self) -> bool {
        self.sink.as_ref().is_some_and(EventSink::needs_seal)
    }

    /// What whoever waits is told once writing has failed. Readiness says so first: who was refused must
    /// not find the gateway ready.
    fn unavailable(&self) -> Result<(), EvidenceUnavailable> {
        self.shared.writable.store(false, Ordering::Relaxed);
        self.shared.unavailable()
    }

    fn publish_state(&self) {
        let writable = self.failure.is_none() && !self.checkpoint_failed;
        self.shared.writable.store(writable, Ordering::Relaxed);
    }

    /// The sink works again.
    fn recover(&mut self) {
        let Some(failure) = self.failure.take() else {
            return;
        };
        self.publish_state();
        tracing::info!("evidence can be written again");
        self.was = Some(format!(
            "evidence could not be written for {} ms ({})",
            failure.since.elapsed().as_millis(),
            base::escape_untrusted(failure.cause.as_bytes(), 512),
        ));
        self.gaps_not_before = Instant::now();
    }

    /// Lets the log say what is missing from it, plugin by plugin.
    fn declare_missing(&mut self) {
        let now = Instant::now();
        let mut queue = self.shared.queue.lock();
        let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        queue.begin_day(today.map_or(0, |since| since.as_secs() / 86_400));
        let is_time = self.closing || self.gaps_not_before <= now;
        if self.failure.is_some() || !is_time || !queue.is_missing_any() {
            return;
        }
        let missing = queue.take_missing();
        drop(queue);
        self.gaps_not_before = now + BETWEEN_GAPS;
        let was = self.was.take();
        for (plugin, missing) in missing {
            let event = self.gap(plugin, &missing, was.as_deref());
            self.hold(&event);
        }
        self.append_held();
    }

    fn gap(&self, plugin: Option<PluginId>, missing: &Missing, was: Option<&str>) -> Event {
        let EvidenceBudget {
            plugin_queue_bytes,
            plugin_bytes_per_day,
            ..
        } = self.shared.settings.budget;
        let why = match (was, missing.overflow) {
            (Some(was), _) => was.to_owned(),
            (None, Some(Overflow::Day)) => format!(
                "the day's events reached the {} bytes that one plugin may add to the log",
                plugin_bytes_per_day.unwrap_or(0)
            ),
            (None, Some(Overflow::Disk)) => {
                "the log has reached the limit of what it may take on disk (log_mib)".to_owned()
            }
            (None, Some(Overflow::Queue)) => format!(
                "events came faster than they were written, and no more of them may wait in memory (at most {plugin_queue_bytes} bytes for one plugin)"
            ),
            (None, None) => "an event could not be written as an entry".to_owned(),
        };
        let cause = format!(
            "{why}; {} connections went on without a record at the time",
            missing.unrecorded
        );
        let count = Some(missing.lost.max(missing.unrecorded));
        Gap { cause, count }.event(&self.shared.settings.gateway, plugin)
    }

    /// Holds an event of the recorder's own.
    fn hold(&mut self, event: &Event) {
        match Draft::new(event) {
            Ok(draft) => self.held.push_back(Pending {
                draft,
                account: 0,
                charged: 0,
                acknowledge: None,
            }),
            Err(error) => tracing::error!(%error, "a gap cannot be an entry of the log"),
        }
    }
}
