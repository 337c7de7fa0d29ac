//! Places: how many client connections there may be at once.
//!
//! A semaphore would do if the number never changed. It changes with a reload, and then whoever has a
//! place keeps it: below a lowered limit the gateway gets as its clients leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places of one gateway.
#[derive(Debug)]
pub(crate) struct Places {
    limit: AtomicUsize,
    taken: AtomicUsize,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            taken: AtomicUsize::new(0),
        }
    }

    /// From now on there are so many.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes a place, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let limit = self.limit.load(Ordering::Relaxed);
        // Only the count matters, and no other memory hangs on it.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < limit).then(|| taken + 1)
            })
            .ok()
            .map(|_| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_limit_takes_no_place_away_and_gives_none_until_enough_are_free() {
        let places = Arc::new(Places::new(2));
        let (first, second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        places.set_limit(1);
        drop(first);
        assert!(places.take().is_none());
        drop(second);
        let only = places.take();
        assert!(only.is_some() && places.take().is_none());
        places.set_limit(2);
        assert!(places.take().is_some());
    }
}
