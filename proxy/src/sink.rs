//! Sinks: where events are written. The recorder owns one and nobody else does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evidence::{AppendError, Event, LogWriter};
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

/// A place for events with a single writer. Called from one thread, which may block.
pub trait EventSink: Send + 'static {
    /// Appends all events or none, giving each its `seq`. On return the death of this process loses
    /// none of them.
    ///
    /// # Errors
    /// [`SinkError`]; nothing was appended, and the same events may be offered again.
    fn append(&mut self, events: &mut [Event]) -> Result<(), SinkError>;

    /// Makes everything appended survive a power cut.
    ///
    /// # Errors
    /// [`SinkError`]; the events stand and may not survive a power cut. Asked again later.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// Signs for everything appended so far and returns how many entries that is.
    ///
    /// # Errors
    /// [`SinkError`]; the last checkpoint stands. Asked again later.
    fn checkpoint(&mut self) -> Result<u64, SinkError>;
}

/// The evidence log itself.
impl EventSink for LogWriter {
    fn append(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        match Self::append(self, events) {
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

    fn sync(&mut self) -> Result<(), SinkError> {
        Self::sync(self).map_err(|error| SinkError::Failed(error.into()))
    }

    fn checkpoint(&mut self) -> Result<u64, SinkError> {
        let checkpoint = Self::checkpoint(self).map_err(|error| SinkError::Failed(error.into()))?;
        Ok(checkpoint.size())
    }
}

/// A sink in memory, for tests: it can be read, waited on, and told to fail.
#[derive(Clone, Default)]
pub struct MemorySink {
    shared: Arc<(Mutex<Memory>, Condvar)>,
}

#[derive(Default)]
struct Memory {
    events: Vec<Event>,
    checkpointed: u64,
    syncs: u64,
    broken: Option<String>,
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

    /// How often the sink was asked to survive a power cut.
    pub fn syncs(&self) -> u64 {
        self.shared.0.lock().syncs
    }

    /// From now on every operation fails with `message`.
    pub fn break_with(&self, message: &str) {
        self.shared.0.lock().broken = Some(message.to_owned());
    }

    /// Operations work again.
    pub fn mend(&self) {
        self.shared.0.lock().broken = None;
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

impl EventSink for MemorySink {
    fn append(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let (memory, changed) = &*self.shared;
        let mut memory = memory.lock();
        memory.check()?;
        for (position, event) in events.iter().enumerate() {
            event.to_entry().map_err(|error| SinkError::Misfit {
                position,
                source: error.into(),
            })?;
        }
        for (event, seq) in events.iter_mut().zip(memory.events.len()..) {
            event.seq = u64::try_from(seq).expect("a length fits 64 bits");
            memory.events.push(event.clone());
        }
        changed.notify_all();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        let mut memory = self.shared.0.lock();
        memory.check()?;
        memory.syncs += 1;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<u64, SinkError> {
        let mut memory = self.shared.0.lock();
        memory.check()?;
        memory.checkpointed = u64::try_from(memory.events.len()).expect("a length fits 64 bits");
        Ok(memory.checkpointed)
    }
}
