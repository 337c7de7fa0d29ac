//! The clock: the one place where control learns what time it is.
//!
//! Everything that decides is handed `now`. Control acts, so somebody here has to look at a clock;
//! it is a trait so that tests move time instead of waiting for it.

use std::sync::atomic::{AtomicI64, Ordering};

use base::Timestamp;

/// Something that knows the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    // The workspace's other clocks are the gateway's; control has this one.
    fn now(&self) -> Timestamp {
        Timestamp::from(std::time::SystemTime::now())
    }
}

/// A clock that stands still until somebody moves it.
#[derive(Debug)]
pub struct HandClock {
    unix_us: AtomicI64,
}

impl HandClock {
    /// A clock that shows `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            unix_us: AtomicI64::new(now.unix_us()),
        }
    }

    /// Moves the clock, back as well as forth.
    pub fn advance_seconds(&self, seconds: i64) {
        self.unix_us
            .fetch_add(seconds.saturating_mul(1_000_000), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_us(self.unix_us.load(Ordering::SeqCst))
    }
}
