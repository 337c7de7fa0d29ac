//! Turnstiles: so many at once for each plugin, and the rest of that plugin waits.
//!
//! A plugin whose name servers never answer has its own lookups queue up; those of its neighbours do
//! not stand behind them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use base::PluginId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turnstiles that are remembered before those that nobody uses are cleared away.
const REMEMBERED: usize = 256;

/// Lets so many of each plugin through at once. Those without a plugin share one turnstile.
pub(crate) struct Turnstile {
    places: usize,
    by_plugin: Mutex<HashMap<Option<PluginId>, Weak<Semaphore>>>,
}

/// A place behind the turnstile, given back when dropped.
pub(crate) struct Pass {
    _permit: Option<OwnedSemaphorePermit>,
    /// Keeps the turnstile remembered for as long as somebody is behind it.
    _turnstile: Arc<Semaphore>,
}

impl Turnstile {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: places.clamp(1, Semaphore::MAX_PERMITS),
            by_plugin: Mutex::default(),
        }
    }

    /// Waits for a place.
    pub(crate) async fn pass(&self, plugin: Option<&PluginId>) -> Pass {
        let turnstile = self.of(plugin);
        Pass {
            // Nobody closes it.
            _permit: Arc::clone(&turnstile).acquire_owned().await.ok(),
            _turnstile: turnstile,
        }
    }

    fn of(&self, plugin: Option<&PluginId>) -> Arc<Semaphore> {
        let mut by_plugin = self.by_plugin.lock();
        if by_plugin.len() >= REMEMBERED {
            by_plugin.retain(|_, turnstile| turnstile.strong_count() > 0);
        }
        let known = by_plugin.entry(plugin.cloned()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let turnstile = Arc::new(Semaphore::new(self.places));
            *known = Arc::downgrade(&turnstile);
            turnstile
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_plugin_waits_behind_its_own_and_behind_nobody_elses() {
        let turnstile = Turnstile::new(2);
        let (greedy, modest) = ("greedy".parse().unwrap(), "modest".parse().unwrap());
        let first = turnstile.pass(Some(&greedy)).await;
        let _second = turnstile.pass(Some(&greedy)).await;
        let third = turnstile.pass(Some(&greedy));
        tokio::pin!(third);
        assert!(poll!(&mut third).is_pending());
        let _neighbour = turnstile.pass(Some(&modest)).await;
        let _nameless = turnstile.pass(None).await;
        drop(first);
        assert!(poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn turnstiles_that_nobody_uses_are_forgotten() {
        let turnstile = Turnstile::new(1);
        for number in 0..1000 {
            drop(turnstile.pass(Some(&format!("p{number}").parse().unwrap())).await);
        }
        assert!(turnstile.by_plugin.lock().len() <= REMEMBERED);
    }
}
