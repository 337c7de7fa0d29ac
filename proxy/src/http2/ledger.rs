//! The ledger of one HTTP/2 connection: which streams were taken on, and what the client did to them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::RefusalReason;
use h2::Reason;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::core::Core;
use crate::http2::frames::Sent;
use crate::http2::refuse;

/// Ended streams that are remembered, because frames about them may still be on their way out.
const REMEMBERED: usize = 1024;

/// What happens on one connection, as far as its streams have to be told apart.
pub(super) struct Ledger {
    core: Arc<Core>,
    streams: Mutex<Streams>,
    /// Requests that the client took back before they were answered, not yet counted.
    taken_back: AtomicU32,
    allowance: Mutex<Allowance>,
}

struct Streams {
    open: HashSet<u32>,
    ended: VecDeque<u32>,
    last_ended: Instant,
}

/// How much a client may still take back.
struct Allowance {
    left: f64,
    counted_at: Instant,
}

/// A stream that is being served. Dropped when nothing is done for it any more.
pub(super) struct Open {
    ledger: Arc<Ledger>,
    stream: u32,
}

impl Ledger {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        let now = Instant::now();
        Self {
            core: Arc::clone(core),
            streams: Mutex::new(Streams {
                open: HashSet::new(),
                ended: VecDeque::new(),
                last_ended: now,
            }),
            taken_back: AtomicU32::new(0),
            allowance: Mutex::new(Allowance {
                left: f64::from(core.settings().limits.http2.resets),
                counted_at: now,
            }),
        }
    }

    /// Takes on a stream.
    pub(super) fn open(self: &Arc<Self>, stream: u32) -> Open {
        self.streams.lock().open.insert(stream);
        Open {
            ledger: Arc::clone(self),
            stream,
        }
    }

    /// Whether no stream is being served.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.lock().open.is_empty()
    }

    /// Since when, if none is.
    pub(super) fn idle_since(&self) -> Instant {
        self.streams.lock().last_ended
    }

    /// Notes that the client took a request back before it was answered.
    pub(super) fn taken_back(&self) {
        self.taken_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the client has used up its allowance of requests taken back.
    pub(super) fn takes_back_too_much(&self) -> bool {
        let count = self.taken_back.swap(0, Ordering::Relaxed);
        let most = f64::from(self.core.settings().limits.http2.resets);
        let mut allowance = self.allowance.lock();
        let now = Instant::now();
        let regained = (now - allowance.counted_at).as_secs_f64() * most / 16.0;
        allowance.counted_at = now;
        allowance.left = (allowance.left + regained).min(most) - f64::from(count);
        allowance.left < 0.0
    }

    /// Puts on record what the protocol library refused by itself: what it says about a stream that it
    /// never handed out.
    pub(super) fn sent(&self, stream: u32, sent: Sent) {
        let (reason, why) = match sent {
            Sent::Head => (RefusalReason::Limit, "the request head is too large"),
            Sent::Reset(code) => match Reason::from(code) {
                Reason::REFUSED_STREAM => (RefusalReason::Limit, "there are too many streams at once"),
                // What still arrives on a stream that is over is no request.
                Reason::STREAM_CLOSED | Reason::CANCEL | Reason::NO_ERROR => return,
                _ => (
                    RefusalReason::Malformed,
                    "the HTTP/2 request is malformed (RFC 9113 section 8.1.1)",
                ),
            },
        };
        if !self.streams.lock().is_news(stream) {
            return;
        }
        let core = Arc::clone(&self.core);
        self.core.clients.spawn(async move {
            refuse(&core, reason, why, None).await;
        });
    }
}

impl Streams {
    /// Whether nothing is known of a stream; it is from now on.
    fn is_news(&mut self, stream: u32) -> bool {
        let known = self.open.contains(&stream) || self.ended.contains(&stream);
        if !known {
            self.remember(stream);
        }
        !known
    }

    fn remember(&mut self, stream: u32) {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(stream);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut streams = self.ledger.streams.lock();
        streams.open.remove(&self.stream);
        streams.remember(self.stream);
        streams.last_ended = Instant::now();
    }
}
