//! A log that is lent: another process writes it, and our events go there.
//!
//! A log has one writer. A process that leaves its port to a successor gives up the log, and its last
//! connections still have something to say. Their events are numbered and handed to whoever carries them
//! over; each is kept here until the successor confirms that it is on record. Nobody is told earlier that
//! an event counts as written, and where the successor dies, what it had not confirmed goes into the log
//! once that is ours again.

use std::collections::VecDeque;
use std::ops::Range;

use evidence::Draft;
use tokio::sync::{mpsc, oneshot};

use crate::queue::Pending;

/// An event on its way to the process that has the log.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// Counts up by one, from 1.
    pub number: u64,
    /// The event; its `seq` is for the log's writer to give.
    pub event: Draft,
}

/// Where forwarded events come out, in order.
pub type Forwarding = mpsc::UnboundedReceiver<Forwarded>;

/// The question whether the log may be lent; the answer is how many entries it has.
pub(crate) struct LendAsked {
    pub(crate) forwarding: mpsc::UnboundedSender<Forwarded>,
    pub(crate) answer: oneshot::Sender<Result<u64, String>>,
}

/// What there is to know while another process has the log.
pub(crate) struct Lent {
    /// Bounded by the budgets of the queue, which are charged until an event is confirmed.
    forwarding: mpsc::UnboundedSender<Forwarded>,
    last_number: u64,
    unconfirmed: VecDeque<(u64, Pending)>,
    /// Nobody has the log any more whom we could tell.
    is_forlorn: bool,
}

impl Lent {
    pub(crate) const fn new(forwarding: mpsc::UnboundedSender<Forwarded>) -> Self {
        Self {
            forwarding,
            last_number: 0,
            unconfirmed: VecDeque::new(),
            is_forlorn: false,
        }
    }

    /// Sends an event on its way; hands it back where there is nobody to send it to.
    pub(crate) fn forward(&mut self, pending: Pending) -> Result<(), Pending> {
        if self.is_forlorn {
            return Err(pending);
        }
        self.last_number += 1;
        // Whoever carried them may be gone for the moment; then the log comes back, or nobody does.
        let _ = self.forwarding.send(Forwarded {
            number: self.last_number,
            event: pending.draft.clone(),
        });
        self.unconfirmed.push_back((self.last_number, pending));
        Ok(())
    }

    /// The next event that is confirmed when all up to `number` are.
    pub(crate) fn confirmed(&mut self, number: u64) -> Option<Pending> {
        let (_, pending) = self.unconfirmed.pop_front_if(|(own, _)| *own <= number)?;
        Some(pending)
    }

    /// From now on there is nobody to tell. Gives what was never confirmed.
    pub(crate) fn forsake(&mut self) -> VecDeque<(u64, Pending)> {
        self.is_forlorn = true;
        std::mem::take(&mut self.unconfirmed)
    }

    /// What was not confirmed, in order.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = &Draft> {
        self.unconfirmed.iter().map(|(_, pending)| &pending.draft)
    }

    /// The numbers of what was not confirmed.
    pub(crate) fn numbers(&self) -> Range<u64> {
        let first = self
            .unconfirmed
            .front()
            .map_or(self.last_number + 1, |(number, _)| *number);
        first..self.last_number + 1
    }

    /// Whether all that was forwarded is on record.
    pub(crate) fn is_settled(&self) -> bool {
        self.unconfirmed.is_empty()
    }
}
