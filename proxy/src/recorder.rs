//! The recorder: the one way through which everything seen gets into the evidence log.
//!
//! Connections encode their events and push them onto a queue; whoever is the clerk at that moment takes
//! all that is there and appends it as one batch. An event that must be on record before something
//! happens is pushed with an acknowledgement and waited for. Flushing and signing are done by threads of
//! their own, so that under `group` no acknowledgement ever waits for a disk.
//!
//! When the sink fails, events are held in memory and offered again; what does not fit is counted
//! for the plugin it concerns, and the log says so in `gap` events as soon as it can be written
//! again.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use base::PluginId;
use evidence::{Draft, Event, EventKind, InvalidEvent, Recovery};
use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};

use crate::clerk::{AnyDesk, Clerk, Desk};
use crate::lent::{Forwarding, LendAsked};
use crate::queue::{Acknowledge, CheckpointAsked, EvidenceBudget, Parked, Pending, Queue};
use crate::sink::EventSink;

/// When an event counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the operating system has it: it survives our death, and within a checkpoint interval a
    /// power cut.
    Group,
    /// Once it is on the disk.
    Strict,
}

/// What happens to connections while evidence cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused: no connection without a record.
    Refuse,
    /// They go on, and a `gap` event follows.
    Continue,
}

/// How evidence is written.
#[derive(Clone, Debug)]
pub struct EvidenceSettings {
    /// The gateway's name, for events that the recorder itself writes.
    pub gateway: String,
    /// When an event counts as written.
    pub durability: Durability,
    /// What happens to connections while evidence cannot be written.
    pub on_failure: OnFailure,
    /// The signing of a checkpoint begins at the latest this long after an event was appended.
    /// Flushing begins after half of it.
    pub checkpoint_interval: Duration,
    /// How much of memory and disk events may take.
    pub budget: EvidenceBudget,
}

impl EvidenceSettings {
    /// The settings as shipped.
    pub fn new(gateway: impl Into<String>) -> Self {
        Self {
            gateway: gateway.into(),
            durability: Durability::Group,
            on_failure: OnFailure::Refuse,
            checkpoint_interval: Duration::from_millis(200),
            budget: EvidenceBudget::default(),
        }
    }
}

/// Something that is known to be missing from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What happened, in words of our own.
    pub cause: String,
    /// How many events, where that is known.
    pub count: Option<u64>,
}

/// Evidence cannot be written, and the site does not let connections go on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("evidence cannot be written")]
pub struct EvidenceUnavailable;

/// Why the recorder did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The thread could not be started.
    #[error("could not start the recorder's thread")]
    Thread(#[source] std::io::Error),
    /// The sink failed.
    #[error("could not sign a checkpoint of the evidence log: {cause}")]
    Checkpoint {
        /// The sink's words.
        cause: String,
    },
    /// The recorder was closed.
    #[error("the recorder is closed")]
    Closed,
    /// The log was not given up, and events are written into it as before.
    #[error("could not give the evidence log up to another process: {cause}")]
    NotLent {
        /// What stood in the way.
        cause: String,
    },
}

/// The way into the evidence log.
pub struct Recorder {
    shared: Arc<Shared>,
    desk: Arc<dyn AnyDesk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct Shared {
    pub(crate) queue: Mutex<Queue>,
    pub(crate) arrived: Condvar,
    pub(crate) settings: EvidenceSettings,
    pub(crate) writable: AtomicBool,
    pub(crate) counters: RecorderCounters,
}

/// What the recorder counts; shared with the metrics page.
#[derive(Clone, Default)]
pub(crate) struct RecorderCounters {
    pub(crate) written: Counter,
    pub(crate) lost: Counter,
    pub(crate) failures: Counter,
    pub(crate) checkpoints: Counter,
}

impl Gap {
    /// What may be missing from a log that was found as `recovery` says.
    pub fn found_by(recovery: &Recovery) -> Option<Self> {
        if !recovery.may_lack_events() {
            return None;
        }
        let mut causes = Vec::new();
        if recovery.torn_bytes > 0 {
            causes.push(format!(
                "the journal ended in {} bytes of an unfinished record after a crash",
                recovery.torn_bytes
            ));
        }
        if recovery.lost > 0 {
            causes.push(format!(
                "{} events did not survive a loss of power, or came after such",
                recovery.lost
            ));
        }
        Some(Self {
            cause: causes.join("; "),
            count: (recovery.lost > 0).then_some(recovery.lost),
        })
    }

    /// The event that says so, of one plugin or of all.
    pub(crate) fn event(self, gateway: &str, plugin: Option<PluginId>) -> Event {
        let mut event = Event::new(EventKind::Gap, SystemTime::now().into(), gateway);
        event.cause = Some(base::escape_untrusted(self.cause.as_bytes(), 1024));
        event.count = self.count;
        event.plugin_id = plugin;
        event
    }
}

impl Recorder {
    /// Starts the thread that owns `sink`. `gap` is what the sink's owner found missing when it was
    /// opened; it becomes the first event.
    ///
    /// # Errors
    /// [`RecorderError::Thread`].
    pub fn start(
        sink: impl EventSink,
        settings: EvidenceSettings,
        gap: Option<Gap>,
    ) -> Result<Self, RecorderError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(settings.budget)),
            arrived: Condvar::new(),
            settings,
            writable: AtomicBool::new(true),
            counters: RecorderCounters::default(),
        });
        let mut clerk = Clerk::new(sink, Arc::clone(&shared)).map_err(RecorderError::Thread)?;
        if let Some(gap) = gap {
            clerk.begin_with(gap);
        }
        let desk = Arc::new(Desk::new(clerk));
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || own.work())
            .map_err(RecorderError::Thread)?;
        Ok(Self {
            shared,
            desk,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands an event over and does not wait. It is written in the order in which it came, within
    /// two milliseconds unless the disk keeps the recorder from it.
    pub fn record(&self, event: impl Borrow<Event>) {
        self.hand_over(event.borrow(), None);
    }

    /// Hands an event over; what comes back waits until it counts as written, and has no part of the
    /// event.
    ///
    /// # Errors
    /// [`EvidenceUnavailable`] where it could not be written and the site refuses to go on without.
    pub fn record_and_wait<'r>(
        &'r self,
        event: &Event,
    ) -> impl Future<Output = Result<(), EvidenceUnavailable>> + Send + use<'r> {
        let (acknowledge, mut written) = oneshot::channel();
        self.hand_over(event, Some(acknowledge));
        let turn = Turn(Some(&*self.desk));
        async move {
            // Whoever else has an event in this round of the runtime hands it over first: then one of
            // them writes for all.
            tokio::task::yield_now().await;
            if let Ok(answer) = written.try_recv() {
                turn.release();
                return answer;
            }
            drop(turn);
            written.await.unwrap_or_else(|_| self.shared.unavailable())
        }
    }

    /// Signs for everything recorded before this call and returns how many entries the log has.
    ///
    /// # Errors
    /// [`RecorderError::Checkpoint`], [`RecorderError::Closed`].
    pub async fn checkpoint(&self) -> Result<u64, RecorderError> {
        let (answer, size) = oneshot::channel();
        self.ask(answer);
        size.await
            .map_err(|_| RecorderError::Closed)?
            .map_err(|cause| RecorderError::Checkpoint { cause })
    }

    /// Hands an event over, and says later whether it counts as written. Events handed over one after
    /// the other are written in this order, also where nobody has asked about the first ones yet.
    pub fn record_noting(
        &self,
        event: &Event,
    ) -> impl Future<Output = Result<(), EvidenceUnavailable>> + Send + use<> + 'static {
        let (acknowledge, written) = oneshot::channel();
        self.hand_over(event, Some(acknowledge));
        self.desk.append_here();
        let unavailable = self.shared.unavailable();
        async move { written.await.unwrap_or(unavailable) }
    }

    /// Signs for everything in the log and gives it up, its lock with it, so that another process can
    /// write it. Says how many entries it has. Whatever is recorded from then on comes out of the
    /// [`Forwarding`] and counts as written once it is [confirmed](Self::confirm_forwarded).
    ///
    /// # Errors
    /// [`RecorderError::NotLent`], [`RecorderError::Closed`]; the log is ours as before.
    pub async fn lend_log(&self) -> Result<(u64, Forwarding), RecorderError> {
        let (answer, size) = oneshot::channel();
        let (forwarding, events) = mpsc::unbounded_channel();
        if !self.ask_to_lend(LendAsked { forwarding, answer }) {
            return Err(RecorderError::Closed);
        }
        let size = size.await.map_err(|_| RecorderError::Closed)?;
        let size = size.map_err(|cause| RecorderError::NotLent { cause })?;
        Ok((size, events))
    }

    /// The process that has the log says that everything forwarded up to `number` is on record, or that
    /// it could not be written.
    pub fn confirm_forwarded(&self, number: u64, answer: Result<(), EvidenceUnavailable>) {
        self.desk.confirmed(number, answer);
    }

    /// Events that were forwarded and not confirmed, in order.
    pub fn unconfirmed(&self) -> Vec<Draft> {
        self.desk.unconfirmed()
    }

    /// Goes on with a log that was lent: `sink`, opened anew, which holds the first `written` of the
    /// unconfirmed events already. Now it gets the events `first`, also where the recorder is about to
    /// close, then the other unconfirmed ones. `false`, and nothing happens, where the log is not lent,
    /// or where the sink is of another kind than the first one.
    pub fn take_log_back(&self, sink: impl EventSink, written: usize, first: &[Event]) -> bool {
        self.desk.take_back(Box::new(sink), written, first)
    }

    /// Gives up on a log that was lent and does not come back: nothing can be recorded any more.
    pub fn forsake_log(&self) {
        self.desk.forsake();
    }

    /// What is done about connections while evidence cannot be written.
    pub fn on_failure(&self) -> OnFailure {
        self.shared.settings.on_failure
    }

    /// How an event counts as written.
    pub(crate) fn durability(&self) -> Durability {
        self.shared.settings.durability
    }

    /// The gateway whose events these are.
    pub fn gateway(&self) -> &str {
        &self.shared.settings.gateway
    }

    /// Whether connections may be made as far as evidence is concerned.
    pub fn is_ready(&self) -> bool {
        self.is_writable() || self.shared.settings.on_failure == OnFailure::Continue
    }

    /// Whether the last attempt to write evidence succeeded, and there is room for more.
    pub fn is_writable(&self) -> bool {
        self.shared.writable.load(Ordering::Relaxed) && !self.shared.queue.lock().is_full()
    }

    /// So many bytes may be added to the log until this is said anew; `None` for any number. Without room
    /// nothing more may begin, as if the log could not be written.
    pub fn leave_room(&self, bytes: Option<u64>) {
        self.shared.queue.lock().leave_room(bytes);
    }

    /// The plugins whose events of today came near what one plugin may add in a day, each once.
    pub fn plugins_near_their_limit(&self) -> Vec<PluginId> {
        self.shared.queue.lock().take_near()
    }

    /// Writes what was handed over, signs a last checkpoint and ends the thread. Later events are
    /// not written.
    pub async fn close(&self) {
        self.shared.close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // The thread's panic was reported where it happened; there is nobody left to tell.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    pub(crate) fn counters(&self) -> &RecorderCounters {
        &self.shared.counters
    }

    /// Hands the question over, unless nobody is left to answer or another one waits.
    fn ask_to_lend(&self, question: LendAsked) -> bool {
        let mut queue = self.shared.queue.lock();
        if queue.closed || queue.lend.is_some() {
            return false;
        }
        queue.lend = Some(question);
        drop(queue);
        self.shared.arrived.notify_one();
        true
    }

    /// Hands the question over; where nobody is left to answer, it is dropped and that is the answer.
    fn ask(&self, question: CheckpointAsked) {
        let mut queue = self.shared.queue.lock();
        if !queue.closed {
            queue.checkpoints.push(question);
            drop(queue);
            self.shared.arrived.notify_one();
        }
    }

    /// Puts an event into the queue. Whoever waits for it sees to its being appended.
    fn hand_over(&self, event: &Event, acknowledge: Option<Acknowledge>) {
        let shared = &self.shared;
        let draft = match Draft::new(event) {
            Ok(draft) => draft,
            Err(error) => return self.replace_misfit(event, &error, acknowledge),
        };
        let mut queue = shared.queue.lock();
        if queue.closed {
            shared.counters.lost.inc();
            return;
        }
        let is_awaited = acknowledge.is_some();
        let pending = Pending {
            account: queue.account(event.plugin_id.as_ref()),
            charged: 0,
            draft,
            acknowledge,
        };
        if let Err((pending, overflow)) = queue.push(pending) {
            let answer = shared.unavailable();
            let is_open = pending.draft.kind() == EventKind::Open;
            // An opening that is refused leaves nothing unrecorded: the refusal is told of itself.
            if !is_open || answer.is_ok() {
                shared.counters.lost.inc();
                let missing = queue.missing(pending.account);
                missing.lost += 1;
                missing.unrecorded += u64::from(is_open);
                missing.overflow.get_or_insert(overflow);
            }
            if let Some(acknowledge) = pending.acknowledge {
                let _ = acknowledge.send(answer);
            }
        } else if is_awaited {
            return;
        }
        shared.wake(queue);
    }

    /// Lets go of an event that no log could ever take, and says so: it must not keep others out.
    fn replace_misfit(&self, misfit: &Event, error: &InvalidEvent, acknowledge: Option<Acknowledge>) {
        tracing::error!(kind = ?misfit.kind, %error, "event cannot be an entry of the log");
        self.shared.counters.lost.inc();
        if let Some(acknowledge) = acknowledge {
            let _ = acknowledge.send(self.shared.unavailable());
        }
        if misfit.kind != EventKind::Gap {
            let gap = Gap {
                cause: "an event could not be written as an entry".to_owned(),
                count: Some(1),
            };
            self.record(gap.event(self.gateway(), misfit.plugin_id.clone()));
        }
    }
}

/// The duty to see that what was handed over is appended, also if nobody waits for it any more.
struct Turn<'a>(Option<&'a dyn AnyDesk>);

impl Turn<'_> {
    /// Somebody else has appended it.
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(desk) = self.0.take() {
            desk.append_here();
        }
    }
}

impl Drop for Recorder {
    /// Whoever forgets to close the recorder still gets everything written.
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Wakes the clerk's own thread, unless it will look into the queue soon of its own accord.
    pub(crate) fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let must_wake = match queue.parked {
            Parked::No => false,
            Parked::Briefly => queue.urgent,
            Parked::Long => true,
        };
        if must_wake {
            // Once is enough.
            queue.parked = Parked::No;
            drop(queue);
            self.arrived.notify_one();
        }
    }

    /// A hand has done its work.
    pub(crate) fn work_is_done(&self) {
        let mut queue = self.queue.lock();
        queue.work_done = true;
        queue.parked = Parked::No;
        drop(queue);
        self.arrived.notify_one();
    }

    fn close(&self) {
        self.queue.lock().closed = true;
        self.arrived.notify_one();
    }

    /// What a connection is told when its event was not written.
    pub(crate) fn unavailable(&self) -> Result<(), EvidenceUnavailable> {
        match self.settings.on_failure {
            OnFailure::Refuse => Err(EvidenceUnavailable),
            OnFailure::Continue => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use evidence::EventKind;

    use super::*;
    use crate::sink::MemorySink;

    fn event(kind: EventKind) -> Event {
        Event::new(kind, base::Timestamp::from_unix_us(0), "gw")
    }

    fn settings() -> EvidenceSettings {
        EvidenceSettings::new("gw")
    }

    #[tokio::test]
    async fn events_are_written_in_the_order_in_which_they_came() {
        let sink = MemorySink::new();
        let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
        for count in 0..1000 {
            let mut event = event(EventKind::Progress);
            event.count = Some(count);
            recorder.record(event);
        }
        recorder.close().await;
        let counts: Vec<_> = sink.events().iter().filter_map(|event| event.count).collect();
        assert_eq!(counts, (0..1000).collect::<Vec<_>>());
        assert_eq!(sink.checkpointed(), 1000);
    }

    /// Waits until the recorder forwards its next event.
    async fn forwarded(events: &mut Forwarding) -> (u64, Option<u64>) {
        let forwarded = events.recv().await.unwrap();
        (forwarded.number, forwarded.event.event(0).unwrap().count)
    }

    fn counted(count: u64) -> Event {
        let mut event = event(EventKind::Progress);
        event.count = Some(count);
        event
    }

    #[tokio::test]
    async fn a_log_that_is_lent_is_signed_to_its_end_and_gets_nothing_more() {
        for durability in [Durability::Group, Durability::Strict] {
            let sink = MemorySink::new();
            let settings = EvidenceSettings {
                durability,
                ..settings()
            };
            let recorder = Recorder::start(sink.clone(), settings, None).unwrap();
            (0..5).for_each(|count| recorder.record(counted(count)));
            let (size, mut events) = recorder.lend_log().await.unwrap();
            assert_eq!((size, sink.checkpointed(), sink.events().len()), (5, 5, 5));
            assert!(recorder.is_writable());
            // Nobody is told that an event is written before whoever has the log says so.
            let waiting = recorder.record_noting(&counted(5));
            tokio::pin!(waiting);
            assert_eq!(forwarded(&mut events).await, (1, Some(5)));
            assert!(futures_util::poll!(&mut waiting).is_pending());
            recorder.confirm_forwarded(1, Ok(()));
            assert_eq!(waiting.await, Ok(()));
            assert!(matches!(
                recorder.lend_log().await,
                Err(RecorderError::NotLent { .. })
            ));
            recorder.record(counted(6));
            let closing = recorder.close();
            tokio::pin!(closing);
            assert_eq!(forwarded(&mut events).await, (2, Some(6)));
            assert!(futures_util::poll!(&mut closing).is_pending());
            recorder.confirm_forwarded(2, Ok(()));
            closing.await;
            assert_eq!(sink.events().len(), 5);
        }
    }

    #[tokio::test]
    async fn a_log_that_comes_back_gets_what_was_not_confirmed_and_nothing_twice() {
        let sink = MemorySink::new();
        let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
        let (_, mut events) = recorder.lend_log().await.unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|count| recorder.record_noting(&counted(count)))
            .collect();
        for number in 1..=4 {
            assert_eq!(forwarded(&mut events).await, (number, Some(number - 1)));
        }
        recorder.confirm_forwarded(1, Ok(()));
        assert_eq!(recorder.unconfirmed().len(), 3);
        // The successor wrote one more before it died.
        assert!(recorder.take_log_back(sink.clone(), 1, &[counted(100)]));
        for written in waiting {
            assert_eq!(written.await, Ok(()));
        }
        recorder.record(counted(4));
        recorder.close().await;
        let counts: Vec<_> = sink.events().iter().filter_map(|event| event.count).collect();
        assert_eq!(counts, [100, 2, 3, 4]);
        assert_eq!(sink.checkpointed(), 4);
        assert!(!recorder.take_log_back(sink, 0, &[]));
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_signed_is_not_lent() {
        let sink = MemorySink::new();
        let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
        sink.stall();
        recorder.record_and_wait(&counted(0)).await.unwrap();
        let lending = recorder.lend_log();
        tokio::pin!(lending);
        assert!(futures_util::poll!(&mut lending).is_pending());
        sink.break_with("no space left");
        let refused = lending.await.unwrap_err().to_string();
        assert!(refused.contains("no space left"), "{refused}");
        sink.mend();
        recorder.record_and_wait(&counted(1)).await.unwrap();
        assert_eq!(recorder.lend_log().await.unwrap().0, sink.checkpointed());
        recorder.forsake_log();
    }

    #[tokio::test]
    async fn without_anybody_who_has_the_log_those_who_wait_are_told() {
        for (on_failure, answer) in [
            (OnFailure::Refuse, Err(EvidenceUnavailable)),
            (OnFailure::Continue, Ok(())),
        ] {
            let settings = EvidenceSettings {
                on_failure,
                ..settings()
            };
            let recorder = Recorder::start(MemorySink::new(), settings, None).unwrap();
            let (_, _events) = recorder.lend_log().await.unwrap();
            let before = recorder.record_noting(&counted(0));
            recorder.forsake_log();
            assert_eq!(before.await, answer);
            assert_eq!(recorder.record_and_wait(&counted(1)).await, answer);
            assert!(!recorder.is_writable());
            recorder.close().await;
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_written_though_nothing_follows() {
        for _ in 0..20 {
            let sink = MemorySink::new();
            let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
            recorder.record(event(EventKind::Start));
            let first = sink.wait_for(Duration::from_secs(60), |events| events.first().cloned());
            assert_eq!(first.unwrap().kind, EventKind::Start);
            recorder.close().await;
        }
    }

    #[tokio::test]
    async fn an_opening_that_nobody_waits_for_any_more_is_written_all_the_same() {
        let sink = MemorySink::new();
        let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
        {
            let open = recorder.record_and_wait(&event(EventKind::Open));
            tokio::pin!(open);
            assert!(futures_util::poll!(&mut open).is_pending());
        }
        let first = sink.wait_for(Duration::from_secs(60), |events| events.first().cloned());
        assert_eq!(first.unwrap().kind, EventKind::Open);
        recorder.close().await;
    }

    fn of_plugin(kind: EventKind, plugin: &str) -> Event {
        let mut event = event(kind);
        event.plugin_id = Some(plugin.parse().unwrap());
        event
    }

    #[tokio::test]
    async fn a_noisy_plugin_loses_its_own_events_and_the_log_says_whose_and_how_many() {
        let sink = MemorySink::new();
        sink.break_with("disk full");
        let mut settings = settings();
        let bytes = Draft::new(&of_plugin(EventKind::Close, "noisy"))
            .unwrap()
            .len_bytes();
        settings.budget.plugin_queue_bytes = 10 * bytes;
        let recorder = Recorder::start(sink.clone(), settings, None).unwrap();
        for _ in 0..25 {
            recorder.record(of_plugin(EventKind::Close, "noisy"));
        }
        for _ in 0..5 {
            recorder.record(of_plugin(EventKind::Close, "quiet"));
        }
        let open = of_plugin(EventKind::Open, "quiet");
        assert_eq!(recorder.record_and_wait(&open).await, Err(EvidenceUnavailable));
        assert!(!recorder.is_writable());
        assert_eq!(recorder.counters().lost.get(), 15);
        sink.mend();
        recorder.close().await;
        let events = sink.events();
        let of = |plugin: &str, kind| {
            let is_of = |event: &&Event| event.plugin_id.as_ref().is_some_and(|id| id.as_str() == plugin);
            events
                .iter()
                .filter(is_of)
                .filter(|event| event.kind == kind)
                .count()
        };
        assert_eq!(
            (of("noisy", EventKind::Close), of("quiet", EventKind::Close)),
            (10, 5)
        );
        assert_eq!((of("noisy", EventKind::Gap), of("quiet", EventKind::Gap)), (1, 0));
        let gap = events.iter().find(|event| event.kind == EventKind::Gap).unwrap();
        assert_eq!(gap.count, Some(15));
        assert!(gap.cause.as_deref().unwrap().contains("disk full"));
    }

    #[tokio::test]
    async fn over_its_budget_a_plugin_is_refused_or_goes_on_unrecorded_as_the_site_says() {
        for on_failure in [OnFailure::Refuse, OnFailure::Continue] {
            let sink = MemorySink::new();
            let mut settings = settings();
            settings.on_failure = on_failure;
            settings.budget.plugin_bytes_per_day = Some(10);
            let recorder = Recorder::start(sink.clone(), settings, None).unwrap();
            let answer = recorder
                .record_and_wait(&of_plugin(EventKind::Open, "noisy"))
                .await;
            assert_eq!(answer.is_ok(), on_failure == OnFailure::Continue);
            recorder.record_and_wait(&event(EventKind::Start)).await.unwrap();
            recorder.close().await;
            let events = sink.events();
            let gaps: Vec<_> = events
                .iter()
                .filter(|event| event.kind == EventKind::Gap)
                .collect();
            assert_eq!(gaps.len(), usize::from(on_failure == OnFailure::Continue));
            for gap in gaps {
                assert_eq!(gap.count, Some(1));
                assert_eq!(gap.plugin_id, Some("noisy".parse().unwrap()));
                assert!(
                    gap.cause.as_deref().unwrap().contains("1 connections went on"),
                    "{gap:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn under_group_a_stalled_disk_holds_nobody_up_and_under_strict_it_holds_everybody() {
        for durability in [Durability::Group, Durability::Strict] {
            let sink = MemorySink::new();
            let settings = EvidenceSettings {
                durability,
                checkpoint_interval: Duration::ZERO,
                ..settings()
            };
            let recorder = Recorder::start(sink.clone(), settings, None).unwrap();
            sink.stall();
            recorder.record(event(EventKind::Start));
            let open = recorder.record_and_wait(&event(EventKind::Open));
            tokio::pin!(open);
            if durability == Durability::Group {
                open.await.unwrap();
                // A seal is out by now and does not come back; and still.
                recorder.record_and_wait(&event(EventKind::Open)).await.unwrap();
                assert_eq!(sink.checkpointed(), 0);
            } else {
                let written = sink.clone();
                let both = move || {
                    written.wait_for(Duration::from_secs(60), |events| {
                        (events.len() == 2).then_some(())
                    })
                };
                tokio::select! {
                    biased;
                    _ = &mut open => unreachable!("acknowledged before it was durable"),
                    both = tokio::task::spawn_blocking(both) => both.unwrap().unwrap(),
                }
                sink.mend();
                open.await.unwrap();
            }
            sink.mend();
            recorder.close().await;
            assert_eq!(sink.checkpointed(), sink.events().len() as u64);
        }
    }

    #[tokio::test]
    async fn under_strict_a_flush_that_fails_refuses_whoever_waits_for_it_and_a_later_one_mends_it() {
        let sink = MemorySink::new();
        let settings = EvidenceSettings {
            durability: Durability::Strict,
            ..settings()
        };
        let recorder = Recorder::start(sink.clone(), settings, None).unwrap();
        sink.stall();
        let open = recorder.record_and_wait(&event(EventKind::Open));
        let fail = async {
            let written = sink.clone();
            let is_there =
                move || written.wait_for(Duration::from_secs(60), |events| events.first().map(drop));
            tokio::task::spawn_blocking(is_there).await.unwrap().unwrap();
            sink.break_with("I/O error");
        };
        let (answer, ()) = tokio::join!(open, fail);
        assert_eq!(answer, Err(EvidenceUnavailable));
        assert!(!recorder.is_ready());
        sink.mend();
        recorder.record_and_wait(&event(EventKind::Open)).await.unwrap();
        recorder.checkpoint().await.unwrap();
        assert!(recorder.is_ready());
        recorder.close().await;
        assert_eq!(sink.checkpointed(), sink.events().len() as u64);
    }

    #[tokio::test]
    async fn an_event_that_no_log_could_take_keeps_no_other_out() {
        let sink = MemorySink::new();
        let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
        let mut misfit = event(EventKind::Close);
        misfit.cause = Some("x".repeat(evidence::MAX_EVENT_BYTES));
        recorder.record(event(EventKind::Open));
        recorder.record(misfit);
        recorder.record(event(EventKind::Close));
        recorder.close().await;
        let kinds: Vec<_> = sink.events().iter().map(|event| event.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Gap).count(), 1);
        assert_eq!(kinds.len(), 3);
    }

    #[tokio::test]
    async fn a_closed_recorder_writes_nothing_and_says_so() {
        let sink = MemorySink::new();
        let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
        recorder.close().await;
        recorder.record(event(EventKind::Close));
        assert!(matches!(recorder.checkpoint().await, Err(RecorderError::Closed)));
        assert_eq!(recorder.counters().lost.get(), 1);
        assert!(sink.events().is_empty());
    }
}
