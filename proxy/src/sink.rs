//! Sinks: where events are written. The recorder owns one and nobody else does.
//!
//! Appending is quick and is done by one thread at a time. Waiting for a disk is not quick: a sink hands it out
//! as [`Work`], which another thread does while appending goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evidence::{AppendError, CheckpointError, Draft, Event, Flush, Flushed, LogWriter, Seal, Sealed};
use parking_lot::{Condvar, Mutex};

/// Why a sink did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// One event can never be an entry of this log. Drop it and offer the others again.
    #[error("event {position} of the batch cannot be written")]
    Misfit {
        /// Its place in the batch.
        position: usize,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The sink failed as a whole, for now.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl SinkError {
    /// The error with all its causes on one line.
    pub(crate) fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Something that waits for a disk.
pub trait Work: Send + 'static {
    /// What became of it.
    type Done: Send + 'static;

    /// Waits.
    fn run(self) -> Self::Done;
}

/// A place for events with a single writer. Called from one thread at a time, which acknowledges or relays
/// connections and therefore waits for nothing.
pub trait EventSink: Send + 'static {
    /// Waiting that is handed out.
    type Work: Work;

    /// Appends all events or none. On return the death of this process loses none of them.
    ///
    /// # Errors
    /// [`SinkError`]; nothing was appended, and the same events may be offered again.
    fn append(&mut self, events: &[Draft]) -> Result<(), SinkError>;

    /// How many entries there are.
    fn size(&self) -> u64;

    /// How many of them survive a power cut.
    fn durable(&self) -> u64;

    /// How many of them are signed for.
    fn signed(&self) -> u64;

    /// Begins to make everything appended survive a power cut; `None` where it does already, where
    /// another flush is out, or where only a seal can.
    fn start_flush(&mut self) -> Option<Self::Work>;

    /// Begins to sign for everything appended; `None` where that is signed for already, or where
    /// another seal is out.
    fn start_seal(&mut self) -> Option<Self::Work>;

    /// Whether a failed flush must be made up for by a seal.
    fn needs_seal(&self) -> bool;

    /// How many bytes wait in memory for a seal.
    fn waiting_bytes(&self) -> usize;

    /// Takes back what was handed out.
    ///
    /// # Errors
    /// [`SinkError`]; the events stand, and may not survive a power cut or are not signed for.
    fn finish(&mut self, done: <Self::Work as Work>::Done) -> Result<(), SinkError>;
}

/// What the evidence log hands out.
#[derive(Debug)]
pub enum LogWork {
    /// The journal is flushed.
    Flush(Flush),
    /// A checkpoint is made.
    Seal(Box<Seal>),
}

/// What became of it.
#[derive(Debug)]
pub enum LogWorkDone {
    /// The journal was flushed, or was not.
    Flush(Flushed),
    /// A checkpoint was made, or was not.
    Seal(Box<Sealed>),
}

impl Work for LogWork {
    type Done = LogWorkDone;

    fn run(self) -> LogWorkDone {
        match self {
            Self::Flush(flush) => LogWorkDone::Flush(flush.run()),
            Self::Seal(seal) => LogWorkDone::Seal(Box::new(seal.run())),
        }
    }
}

/// The evidence log itself.
impl EventSink for LogWriter {
    type Work = LogWork;

    fn append(&mut self, events: &[Draft]) -> Result<(), SinkError> {
        match self.append_drafts(events) {
            Ok(_) => Ok(()),
            Err(error) => Err(match &error {
                AppendError::Event { position, .. } | AppendError::Gateway { position, .. } => {
                    SinkError::Misfit {
                        position: *position,
                        source: error.into(),
                    }
                }
                AppendError::Journal { .. } | AppendError::Backlog { .. } => SinkError::Failed(error.into()),
            }),
        }
    }

    fn size(&self) -> u64 {
        Self::size(self)
    }

    fn durable(&self) -> u64 {
        Self::durable(self)
    }

    fn signed(&self) -> u64 {
        self.last_checkpoint().size()
    }

    fn start_flush(&mut self) -> Option<LogWork> {
        Self::start_flush(self).map(LogWork::Flush)
    }

    fn start_seal(&mut self) -> Option<LogWork> {
        match Self::start_seal(self) {
            Ok(seal) => seal.map(|seal| LogWork::Seal(Box::new(seal))),
            Err(
                CheckpointError::UnderWay { .. }
                | CheckpointError::Write { .. }
                | CheckpointError::Changed { .. },
            ) => None,
        }
    }

    fn needs_seal(&self) -> bool {
        Self::needs_seal(self)
    }

    fn waiting_bytes(&self) -> usize {
        Self::waiting_bytes(self)
    }

    fn finish(&mut self, done: LogWorkDone) -> Result<(), SinkError> {
        match done {
            LogWorkDone::Flush(flushed) => self
                .finish_flush(flushed)
                .map(drop)
                .map_err(|error| SinkError::Failed(error.into())),
            LogWorkDone::Seal(sealed) => self
                .finish_seal(*sealed)
                .map(drop)
                .map_err(|error| SinkError::Failed(error.into())),
        }
    }
}

/// A sink in memory, for tests: it can be read, waited on, and told to fail or to wait.
#[derive(Clone, Default)]
pub struct MemorySink {
    shared: Arc<(Mutex<Memory>, Condvar)>,
}

#[derive(Default)]
struct Memory {
    events: Vec<Event>,
    durable: usize,
    checkpointed: u64,
    syncs: u64,
    broken: Option<String>,
    /// Work that was handed out does not come to an end.
    stalled: bool,
    out: Out,
}

/// What was handed out and not taken back.
#[derive(Default)]
struct Out {
    flush: bool,
    seal: bool,
}

impl MemorySink {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything written so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.0.lock().events.clone()
    }

    /// How many entries the last checkpoint covers.
    pub fn checkpointed(&self) -> u64 {
        self.shared.0.lock().checkpointed
    }

    /// How often the sink was asked to survive a power cut, by a flush and not by a checkpoint.
    pub fn syncs(&self) -> u64 {
        self.shared.0.lock().syncs
    }

    /// From now on every operation fails with `message`, those that were stalled included.
    pub fn break_with(&self, message: &str) {
        let mut memory = self.shared.0.lock();
        memory.broken = Some(message.to_owned());
        memory.stalled = false;
        self.shared.1.notify_all();
    }

    /// From now on the disk takes its time: flushes and seals that were begun do not end.
    pub fn stall(&self) {
        self.shared.0.lock().stalled = true;
    }

    /// Operations work again.
    pub fn mend(&self) {
        let mut memory = self.shared.0.lock();
        memory.broken = None;
        memory.stalled = false;
        self.shared.1.notify_all();
    }

    /// Blocks until `wanted` finds what it looks for in the events, asking again after each append;
    /// `None` when `patience` ran out first.
    pub fn wait_for<T>(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&[Event]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let (memory, changed) = &*self.shared;
        let mut memory = memory.lock();
        loop {
            if let Some(found) = wanted(&memory.events) {
                return Some(found);
            }
            if changed.wait_until(&mut memory, deadline).timed_out() {
                return None;
            }
        }
    }
}

impl Memory {
    fn check(&self) -> Result<(), SinkError> {
        match &self.broken {
            Some(message) => Err(SinkError::Failed(message.clone().into())),
            None => Ok(()),
        }
    }
}

/// What a memory sink hands out.
pub struct MemoryWork {
    sink: MemorySink,
    is_seal: bool,
    entries: usize,
}

impl Work for MemoryWork {
    type Done = (Self, Result<(), SinkError>);

    fn run(self) -> Self::Done {
        let result = {
            let (memory, changed) = &*self.sink.shared;
            let mut memory = memory.lock();
            while memory.stalled {
                changed.wait(&mut memory);
            }
            memory.check()
        };
        (self, result)
    }
}

impl EventSink for MemorySink {
    type Work = MemoryWork;

    fn append(&mut self, drafts: &[Draft]) -> Result<(), SinkError> {
        let (memory, changed) = &*self.shared;
        let mut memory = memory.lock();
        memory.check()?;
        let first = memory.events.len();
        for (position, draft) in drafts.iter().enumerate() {
            let seq = u64::try_from(first + position).expect("a length fits 64 bits");
            let event = draft.event(seq).map_err(|error| SinkError::Misfit {
                position,
                source: error.into(),
            });
            match event {
                Ok(event) => memory.events.push(event),
                Err(misfit) => {
                    memory.events.truncate(first);
                    return Err(misfit);
                }
            }
        }
        changed.notify_all();
        Ok(())
    }

    fn size(&self) -> u64 {
        u64::try_from(self.shared.0.lock().events.len()).expect("a length fits 64 bits")
    }

    fn durable(&self) -> u64 {
        u64::try_from(self.shared.0.lock().durable).expect("a length fits 64 bits")
    }

    fn signed(&self) -> u64 {
        self.checkpointed()
    }

    fn start_flush(&mut self) -> Option<MemoryWork> {
        let mut memory = self.shared.0.lock();
        let entries = memory.events.len();
        if memory.out.flush || memory.durable == entries {
            return None;
        }
        memory.out.flush = true;
        Some(MemoryWork {
            sink: self.clone(),
            is_seal: false,
            entries,
        })
    }

    fn start_seal(&mut self) -> Option<MemoryWork> {
        let mut memory = self.shared.0.lock();
        let entries = memory.events.len();
        if memory.out.seal || memory.checkpointed == u64::try_from(entries).expect("a length fits 64 bits") {
            return None;
        }
        memory.out.seal = true;
        Some(MemoryWork {
            sink: self.clone(),
            is_seal: true,
            entries,
        })
    }

    fn needs_seal(&self) -> bool {
        false
    }

    fn waiting_bytes(&self) -> usize {
        0
    }

    fn finish(&mut self, (work, result): (MemoryWork, Result<(), SinkError>)) -> Result<(), SinkError> {
        let mut memory = self.shared.0.lock();
        if work.is_seal {
            memory.out.seal = false;
        } else {
            memory.out.flush = false;
        }
        result?;
        memory.durable = memory.durable.max(work.entries);
        if work.is_seal {
            memory.checkpointed = u64::try_from(work.entries).expect("a length fits 64 bits");
        } else {
            memory.syncs += 1;
        }
        Ok(())
    }
}
