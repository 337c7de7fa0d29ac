//! The tarpit: whoever is over a quota waits for the answer that says so.
//!
//! Refusing costs the gateway half of what serving does. A plugin that asks again the moment it is refused
//! would take from its neighbours just what its quota was to leave them, so `Retry-After` is not only said: the
//! answer comes when that time is over, and a little later for some, or they would all come back at one
//! moment. Whoever waits has a client's place meanwhile, and only so many of
//! these may be used up like that; beyond them the answer comes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::places::Places;

/// How long one who is over a quota is told to stay away, and kept waiting.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// One of so many places may be taken by somebody who waits here.
const SHARE: usize = 4;

/// Where they wait.
pub(crate) struct Tarpit {
    places: Arc<Places>,
    /// How many have come.
    came: AtomicU32,
}

impl Tarpit {
    /// For a gateway that takes so many clients.
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            places: Arc::new(Places::new(clients / SHARE)),
            came: AtomicU32::new(0),
        }
    }

    /// From now on the gateway takes so many.
    pub(crate) fn set_clients(&self, clients: usize) {
        self.places.set_limit(clients / SHARE);
    }

    /// Returns after [`RETRY_AFTER`] or half of it more, or as soon as there is a reason not to wait: no
    /// room, or `over`.
    pub(crate) async fn hold(&self, over: impl Future) {
        if let Some(_place) = self.places.take() {
            // Either way the wait is over.
            let _ = timeout(self.next_wait(), over).await;
        }
    }

    fn next_wait(&self) -> Duration {
        // Multiples of the golden ratio, without their whole part, are spread evenly however many there are.
        let spread = self
            .came
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9E37_79B9);
        RETRY_AFTER + RETRY_AFTER.mul_f64(f64::from(spread) / f64::from(u32::MAX) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_quarter_of_the_clients_wait_and_the_next_are_answered_at_once() {
        let tarpit = Tarpit::new(2 * SHARE);
        let mut first = pin!(tarpit.hold(pending::<()>()));
        assert!(poll!(&mut first).is_pending());
        {
            let mut second = pin!(tarpit.hold(pending::<()>()));
            assert!(poll!(&mut second).is_pending());
            assert!(poll!(pin!(tarpit.hold(pending::<()>()))).is_ready(), "no room");
        }
        assert!(
            poll!(pin!(tarpit.hold(pending::<()>()))).is_pending(),
            "room again"
        );
        tarpit.set_clients(0);
        assert!(
            poll!(pin!(tarpit.hold(pending::<()>()))).is_ready(),
            "none after a reload"
        );
    }

    #[test]
    fn those_who_came_together_are_let_go_one_after_the_other() {
        let tarpit = Tarpit::new(SHARE);
        let mut waits: Vec<_> = (0..100).map(|_| tarpit.next_wait()).collect();
        waits.sort();
        assert!(waits[0] >= RETRY_AFTER && waits[99] <= RETRY_AFTER.mul_f64(1.5));
        let gaps = waits.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max() < Some(RETRY_AFTER / 50));
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_over() {
        let tarpit = Tarpit::new(SHARE);
        tarpit.hold(ready(())).await;
        let started = tokio::time::Instant::now();
        tarpit.hold(pending::<()>()).await;
        assert!(started.elapsed() >= RETRY_AFTER);
    }
}
