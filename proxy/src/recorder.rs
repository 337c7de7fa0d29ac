//! The recorder: the one thread through which everything seen gets into the evidence log.
//!
//! Connections push events onto a queue; the thread takes whatever is there, appends it as one
//! batch, and signs a checkpoint soon afterwards. An event that must be on record before something
//! happens is pushed with an acknowledgement and waited for, which is also what keeps the queue
//! short: no connection has more than one such event under way.
//!
//! When the sink fails, events are held in memory and offered again; what does not fit is counted,
//! and the log says so in a `gap` event as soon as it can be written again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use evidence::{Event, Recovery};
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use crate::clerk::Clerk;
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

pub(crate) struct Shared {
    pub(crate) queue: Mutex<Queue>,
    pub(crate) arrived: Condvar,
    pub(crate) settings: EvidenceSettings,
    pub(crate) writable: AtomicBool,
    pub(crate) counters: RecorderCounters,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) events: Vec<Pending>,
    pub(crate) checkpoints: Vec<CheckpointAsked>,
    pub(crate) closed: bool,
}

/// Where somebody waits for a checkpoint.
pub(crate) type CheckpointAsked = oneshot::Sender<Result<u64, String>>;

pub(crate) struct Pending {
    pub(crate) event: Event,
    pub(crate) acknowledge: Option<oneshot::Sender<Result<(), EvidenceUnavailable>>>,
}

impl Pending {
    pub(crate) const fn unacknowledged(event: Event) -> Self {
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
            clerk.begin_with(gap);
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
    use crate::clerk::HELD;
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
