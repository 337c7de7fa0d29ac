//! The recorder: the one thread through which everything seen gets into the evidence log.
//!
//! Connections push events onto a queue; the thread takes whatever is there, appends it as one
//! batch, and signs a checkpoint soon afterwards. An event that must be on record before something
//! happens is pushed with an acknowledgement and waited for, which is also what keeps the queue
//! short: no connection has more than one such event under way.
//!
//! When the sink fails, events are held in memory and offered again; what does not fit is counted,
//! and the log says so in a `gap` event as soon as it can be written again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use evidence::{Event, EventKind, Recovery};
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use crate::sink::{EventSink, SinkError};

/// Events appended at once.
const BATCH: usize = 256;
/// Events held in memory while the sink fails.
const HELD: usize = 16_384;
/// Between two attempts while the sink fails and nothing else asks.
const RETRY: Duration = Duration::from_millis(250);

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
    /// A checkpoint is signed at the latest this long after an event was appended.
    pub checkpoint_interval: Duration,
}

impl EvidenceSettings {
    /// The settings as shipped.
    pub fn new(gateway: impl Into<String>) -> Self {
        Self {
            gateway: gateway.into(),
            durability: Durability::Group,
            on_failure: OnFailure::Refuse,
            checkpoint_interval: Duration::from_millis(200),
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
}

/// The way into the evidence log.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    settings: EvidenceSettings,
    writable: AtomicBool,
    counters: RecorderCounters,
}

#[derive(Default)]
struct Queue {
    events: Vec<Pending>,
    checkpoints: Vec<CheckpointAsked>,
    closed: bool,
}

/// Where somebody waits for a checkpoint.
type CheckpointAsked = oneshot::Sender<Result<u64, String>>;

struct Pending {
    event: Event,
    acknowledge: Option<oneshot::Sender<Result<(), EvidenceUnavailable>>>,
}

impl Pending {
    const fn unacknowledged(event: Event) -> Self {
        Self {
            event,
            acknowledge: None,
        }
    }
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
        (recovery.torn_bytes > 0).then(|| Self {
            cause: format!(
                "the journal ended in {} bytes of an unfinished record after a crash",
                recovery.torn_bytes
            ),
            count: None,
        })
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
            queue: Mutex::default(),
            arrived: Condvar::new(),
            settings,
            writable: AtomicBool::new(true),
            counters: RecorderCounters::default(),
        });
        let mut clerk = Clerk::new(Box::new(sink), Arc::clone(&shared));
        if let Some(gap) = gap {
            clerk
                .held
                .push_back(Pending::unacknowledged(gap_event(&shared.settings.gateway, gap)));
        }
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || clerk.work())
            .map_err(RecorderError::Thread)?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands an event over and does not wait. It is written in the order in which it came.
    pub fn record(&self, event: Event) {
        self.push(Pending::unacknowledged(event));
    }

    /// Hands an event over and waits until it counts as written.
    ///
    /// # Errors
    /// [`EvidenceUnavailable`] where it could not be written and the site refuses to go on without.
    pub async fn record_and_wait(&self, event: Event) -> Result<(), EvidenceUnavailable> {
        let (acknowledge, written) = oneshot::channel();
        self.push(Pending {
            event,
            acknowledge: Some(acknowledge),
        });
        written.await.unwrap_or_else(|_| self.shared.unavailable())
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

    /// The gateway whose events these are.
    pub fn gateway(&self) -> &str {
        &self.shared.settings.gateway
    }

    /// Whether connections may be made as far as evidence is concerned.
    pub fn is_ready(&self) -> bool {
        self.is_writable() || self.shared.settings.on_failure == OnFailure::Continue
    }

    /// Whether the last attempt to write evidence succeeded.
    pub fn is_writable(&self) -> bool {
        self.shared.writable.load(Ordering::Relaxed)
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

    /// Hands the question over; where nobody is left to answer, it is dropped and that is the answer.
    fn ask(&self, question: CheckpointAsked) {
        let mut queue = self.shared.queue.lock();
        if !queue.closed {
            queue.checkpoints.push(question);
            drop(queue);
            self.shared.arrived.notify_one();
        }
    }

    fn push(&self, pending: Pending) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            self.shared.counters.lost.inc();
            return;
        }
        queue.events.push(pending);
        // Whoever waits was woken by the first; the thread takes all of them at once.
        let first = queue.events.len() == 1;
        drop(queue);
        if first {
            self.shared.arrived.notify_one();
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
    fn close(&self) {
        self.queue.lock().closed = true;
        self.arrived.notify_one();
    }

    /// What a connection is told when its event was not written.
    fn unavailable(&self) -> Result<(), EvidenceUnavailable> {
        match self.settings.on_failure {
            OnFailure::Refuse => Err(EvidenceUnavailable),
            OnFailure::Continue => Ok(()),
        }
    }
}

/// The thread's own side: it alone touches the sink.
struct Clerk {
    sink: Box<dyn EventSink>,
    shared: Arc<Shared>,
    /// Taken from the queue and not yet appended.
    held: VecDeque<Pending>,
    /// Appended since the last checkpoint, and when the first of these was.
    dirty_since: Option<Instant>,
    /// Appended and not known to survive a power cut, in `strict`.
    unsynced: bool,
    /// A failure to append that is not over yet.
    failure: Option<Failure>,
    /// The last checkpoint could not be signed. Events are appended all the same.
    checkpoint_failed: bool,
}

struct Failure {
    since: Instant,
    cause: String,
    lost: u64,
    /// Connections went on without a record.
    unrecorded: u64,
}

impl Clerk {
    fn new(sink: Box<dyn EventSink>, shared: Arc<Shared>) -> Self {
        Self {
            sink,
            shared,
            held: VecDeque::new(),
            dirty_since: None,
            unsynced: false,
            failure: None,
            checkpoint_failed: false,
        }
    }

    fn work(mut self) {
        loop {
            let queue = self.take();
            self.held.extend(queue.events);
            self.append_held();
            let due = queue.closed
                || self
                    .dirty_since
                    .is_some_and(|since| since.elapsed() >= self.shared.settings.checkpoint_interval);
            if due || !queue.checkpoints.is_empty() {
                self.checkpoint(queue.checkpoints);
            }
            if queue.closed {
                return;
            }
        }
    }

    /// Waits for something to do (an event, a checkpoint that is asked for or due, a retry, the end)
    /// and takes all there is.
    fn take(&mut self) -> Queue {
        let wake = if self.failure.is_some() || self.checkpoint_failed {
            Some(Instant::now() + RETRY)
        } else {
            let interval = self.shared.settings.checkpoint_interval;
            self.dirty_since.map(|since| since + interval)
        };
        let mut queue = self.shared.queue.lock();
        let may_wait = self.held.is_empty() || self.failure.is_some();
        while may_wait && queue.events.is_empty() && queue.checkpoints.is_empty() && !queue.closed {
            match wake {
                None => self.shared.arrived.wait(&mut queue),
                Some(at) => {
                    if self.shared.arrived.wait_until(&mut queue, at).timed_out() {
                        break;
                    }
                }
            }
        }
        Queue {
            events: std::mem::take(&mut queue.events),
            checkpoints: std::mem::take(&mut queue.checkpoints),
            closed: queue.closed,
        }
    }

    fn append_held(&mut self) {
        if self.unsynced
            && let Err(error) = self.sync_if_strict()
        {
            return self.fail(&error);
        }
        while !self.held.is_empty() {
            let count = self.held.len().min(BATCH);
            let (mut events, acknowledgements): (Vec<_>, Vec<_>) = self
                .held
                .drain(..count)
                .map(|pending| (pending.event, pending.acknowledge))
                .unzip();
            if let Err(error) = self.sink.append(&mut events) {
                let batch = events.into_iter().zip(acknowledgements);
                for (event, acknowledge) in batch.rev() {
                    self.held.push_front(Pending { event, acknowledge });
                }
                match error {
                    SinkError::Misfit { position, .. } => self.drop_misfit(position, &error),
                    SinkError::Failed(_) => return self.fail(&error),
                }
                continue;
            }
            self.dirty_since.get_or_insert_with(Instant::now);
            let written = u64::try_from(count).expect("a batch is small");
            self.shared.counters.written.inc_by(written);
            self.unsynced = true;
            let synced = self.sync_if_strict();
            let answer = match &synced {
                Ok(()) => Ok(()),
                Err(_) => self.shared.unavailable(),
            };
            for acknowledge in acknowledgements.into_iter().flatten() {
                // A connection that no longer waits has its own reasons.
                let _ = acknowledge.send(answer);
            }
            if let Err(error) = synced {
                return self.fail(&error);
            }
            self.recover();
        }
    }

    fn sync_if_strict(&mut self) -> Result<(), SinkError> {
        if self.shared.settings.durability == Durability::Strict {
            self.sink.sync()?;
        }
        self.unsynced = false;
        Ok(())
    }

    /// Lets go of an event that no log could ever take, and says so: it must not keep all others out.
    fn drop_misfit(&mut self, position: usize, error: &SinkError) {
        let Some(misfit) = self.held.remove(position) else {
            return;
        };
        tracing::error!(kind = ?misfit.event.kind, error = error.in_full(), "event cannot be an entry of the log");
        self.shared.counters.lost.inc();
        if let Some(acknowledge) = misfit.acknowledge {
            let _ = acknowledge.send(self.shared.unavailable());
        }
        let gap = Gap {
            cause: "an event could not be written as an entry".to_owned(),
            count: Some(1),
        };
        if misfit.event.kind != EventKind::Gap {
            self.held.push_back(Pending::unacknowledged(gap_event(
                &self.shared.settings.gateway,
                gap,
            )));
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
        let failure = self.failure.get_or_insert_with(|| Failure {
            since: Instant::now(),
            cause: error.in_full(),
            lost: 0,
            unrecorded: 0,
        });
        let answer = self.shared.unavailable();
        self.held.retain_mut(|pending| {
            let Some(acknowledge) = pending.acknowledge.take() else {
                return true;
            };
            let _ = acknowledge.send(answer);
            let is_open = pending.event.kind == EventKind::Open;
            failure.unrecorded += u64::from(is_open && answer.is_ok());
            // A connection that is refused now says so itself, in a `refused` event of its own.
            !is_open || answer.is_ok()
        });
        while self.held.len() > HELD {
            self.held.pop_back();
            failure.lost += 1;
            self.shared.counters.lost.inc();
        }
        self.publish_state();
    }

    fn publish_state(&self) {
        let writable = self.failure.is_none() && !self.checkpoint_failed;
        self.shared.writable.store(writable, Ordering::Relaxed);
    }

    /// The sink works again: the log says what happened, where something did.
    fn recover(&mut self) {
        let Some(failure) = self.failure.take() else {
            return;
        };
        self.publish_state();
        tracing::info!(lost = failure.lost, "evidence can be written again");
        if failure.lost == 0 && failure.unrecorded == 0 {
            return;
        }
        let cause = format!(
            "evidence could not be written for {} ms ({}); {} connections went on without a record at the time",
            failure.since.elapsed().as_millis(),
            base::escape_untrusted(failure.cause.as_bytes(), 512),
            failure.unrecorded,
        );
        let gap = Gap {
            cause,
            count: Some(failure.lost.max(failure.unrecorded)),
        };
        self.held.push_front(Pending::unacknowledged(gap_event(
            &self.shared.settings.gateway,
            gap,
        )));
    }

    fn checkpoint(&mut self, answers: Vec<CheckpointAsked>) {
        let signed = match &self.failure {
            Some(failure) => Err(format!("events are waiting to be written: {}", failure.cause)),
            None => self.sign(),
        };
        for answer in answers {
            // Whoever asked may have left.
            let _ = answer.send(signed.clone());
        }
    }

    fn sign(&mut self) -> Result<u64, String> {
        let signed = self.sink.checkpoint().map_err(|error| error.in_full());
        match &signed {
            Ok(_) => {
                self.dirty_since = None;
                self.checkpoint_failed = false;
                self.shared.counters.checkpoints.inc();
            }
            Err(error) => {
                self.shared.counters.failures.inc();
                if !self.checkpoint_failed {
                    tracing::error!(%error, "evidence checkpoint could not be signed; look at the log folder's disk");
                }
                self.checkpoint_failed = true;
            }
        }
        self.publish_state();
        signed
    }
}

fn gap_event(gateway: &str, gap: Gap) -> Event {
    let mut event = Event::new(EventKind::Gap, SystemTime::now().into(), gateway);
    event.cause = Some(base::escape_untrusted(gap.cause.as_bytes(), 1024));
    event.count = gap.count;
    event
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn what_does_not_fit_into_memory_is_counted_and_the_log_says_so() {
        let sink = MemorySink::new();
        sink.break_with("disk full");
        let recorder = Recorder::start(sink.clone(), settings(), None).unwrap();
        let many = HELD + 100;
        for _ in 0..many {
            recorder.record(event(EventKind::Close));
        }
        assert_eq!(
            recorder.record_and_wait(event(EventKind::Open)).await,
            Err(EvidenceUnavailable)
        );
        assert!(!recorder.is_writable());
        sink.mend();
        recorder.close().await;
        let events = sink.events();
        let (closes, gaps): (Vec<_>, Vec<_>) = events.iter().partition(|e| e.kind == EventKind::Close);
        assert_eq!((closes.len(), gaps.len()), (HELD, 1));
        assert_eq!(gaps[0].count, Some(100));
        assert!(gaps[0].cause.as_deref().unwrap().contains("disk full"));
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
