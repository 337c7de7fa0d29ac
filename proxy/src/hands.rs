//! Hands: two threads that wait for the disk, one for flushes and one for seals, so that the
//! recorder's own thread need not.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use crate::recorder::Shared;
use crate::sink::Work;

/// What a hand does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Flush,
    Seal,
}

pub(crate) struct Hands<W: Work> {
    flush: Hand<W>,
    seal: Hand<W>,
    done: Receiver<(Task, W::Done)>,
}

struct Hand<W> {
    /// Closed to let the thread end.
    work: Option<Sender<W>>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
}

impl<W: Work> Hands<W> {
    pub(crate) fn new(shared: &Arc<Shared>) -> io::Result<Self> {
        let (tell, done) = channel();
        Ok(Self {
            flush: Hand::new(Task::Flush, "evidence-flush", tell.clone(), Arc::clone(shared))?,
            seal: Hand::new(Task::Seal, "evidence-seal", tell, Arc::clone(shared))?,
            done,
        })
    }

    /// Whether this hand may be given work: it has none.
    pub(crate) const fn is_free(&self, task: Task) -> bool {
        !self.hand(task).is_busy
    }

    pub(crate) fn give(&mut self, task: Task, work: W) {
        let hand = match task {
            Task::Flush => &mut self.flush,
            Task::Seal => &mut self.seal,
        };
        // Where the thread is gone the hand stays busy for good: its work is lost, and whoever waits
        // for it finds out by asking whether it is alive.
        hand.is_busy = true;
        if let Some(sender) = &hand.work {
            let _ = sender.send(work);
        }
    }

    /// Work that was done, as it comes back.
    pub(crate) fn take_back(&mut self) -> Option<(Task, W::Done)> {
        let (task, done) = self.done.try_recv().ok()?;
        match task {
            Task::Flush => self.flush.is_busy = false,
            Task::Seal => self.seal.is_busy = false,
        }
        Some((task, done))
    }

    /// Whether work is out that will come back.
    pub(crate) fn is_waiting(&self) -> bool {
        [&self.flush, &self.seal].iter().any(|hand| {
            let is_alive = hand.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            hand.is_busy && is_alive
        })
    }

    const fn hand(&self, task: Task) -> &Hand<W> {
        match task {
            Task::Flush => &self.flush,
            Task::Seal => &self.seal,
        }
    }
}

impl<W: Work> Hand<W> {
    fn new(task: Task, name: &str, tell: Sender<(Task, W::Done)>, shared: Arc<Shared>) -> io::Result<Self> {
        let (give, work) = channel::<W>();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            for work in work {
                if tell.send((task, work.run())).is_err() {
                    return;
                }
                shared.work_is_done();
            }
        })?;
        Ok(Self {
            work: Some(give),
            thread: Some(thread),
            is_busy: false,
        })
    }
}

impl<W> Drop for Hand<W> {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was reported where it happened.
            let _ = thread.join();
        }
    }
}
