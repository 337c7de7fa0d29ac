//! The clerk: the recorder's own thread, which alone touches the sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use evidence::{Event, EventKind};

use crate::recorder::{CheckpointAsked, Durability, EvidenceUnavailable, Gap, Pending, Queue, Shared};
use crate::sink::{EventSink, SinkError};

/// Events appended at once.
const BATCH: usize = 256;
/// Events held in memory while the sink fails.
pub(crate) const HELD: usize = 16_384;
/// Between two attempts while the sink fails and nothing else asks.
const RETRY: Duration = Duration::from_millis(250);

/// The thread's own side: it alone touches the sink.
pub(crate) struct Clerk {
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
    pub(crate) fn new(sink: Box<dyn EventSink>, shared: Arc<Shared>) -> Self {
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

    /// Writes `gap` before everything else.
    pub(crate) fn begin_with(&mut self, gap: Gap) {
        let event = gap_event(&self.shared.settings.gateway, gap);
        self.held.push_back(Pending::unacknowledged(event));
    }

    pub(crate) fn work(mut self) {
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
                Err(_) => self.unavailable(),
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
        let answer = self.unavailable();
        let failure = self.failure.get_or_insert_with(|| Failure {
            since: Instant::now(),
            cause: error.in_full(),
            lost: 0,
            unrecorded: 0,
        });
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
