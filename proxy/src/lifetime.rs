//! Lifetimes: when a connection that carries something is spoken of, and when it has to end.
//!
//! A connection that stands for long must not be a secret until it ends: it is announced, and told of
//! from time to time. And whoever keeps one alive with a byte now and then still meets the end that the
//! site has set. Both hold for tunnels and for plain requests alike.

use evidence::Timeout;
use tokio::time::{Duration, Instant};

use crate::attempt::Attempt;
use crate::settings::Timeouts;

/// The moments that one connection has before it.
pub(crate) struct Lifetime {
    /// `None` once it is announced.
    announce_at: Option<Instant>,
    progress_at: Instant,
    progress: Duration,
    idle: Duration,
    ends_at: Option<Instant>,
}

impl Lifetime {
    /// That of a connection which carries something from now on. One that did so before it became what
    /// it is now goes on with the life that it had.
    pub(crate) fn of(attempt: &Attempt, timeouts: &Timeouts) -> Self {
        let (now, started) = (Instant::now(), Instant::from_std(attempt.started()));
        Self {
            announce_at: (!attempt.is_announced()).then(|| now + timeouts.announce),
            progress_at: now + timeouts.progress,
            progress: timeouts.progress,
            idle: timeouts.idle,
            ends_at: timeouts.total.map(|total| started + total),
        }
    }

    /// The next moment at which there is something to do, if nothing moves after `moved`. As long as
    /// it is not known what is spoken there is nothing to announce.
    pub(crate) fn next(&self, moved: Instant, is_known: bool) -> Instant {
        let announcement = self.announce_at.filter(|_| is_known);
        [announcement, self.ends_at]
            .into_iter()
            .flatten()
            .fold(self.progress_at.min(moved + self.idle), Instant::min)
    }

    /// Whether the connection gets a `connected` event now. Short ones never do: their `close` says
    /// the same.
    pub(crate) fn announcement_is_due(&mut self, now: Instant, is_known: bool) -> bool {
        let is_due = is_known && self.announce_at.is_some_and(|at| now >= at);
        if is_due {
            self.announce_at = None;
        }
        is_due
    }

    /// Whether it gets a `progress` event now.
    pub(crate) fn progress_is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.progress_at;
        if is_due {
            self.progress_at = now + self.progress;
        }
        is_due
    }

    /// Why it has to end now, if it has to, and something last moved at `moved`.
    pub(crate) fn end(&self, now: Instant, moved: Instant) -> Option<Timeout> {
        if now >= moved + self.idle {
            return Some(Timeout::Idle);
        }
        self.ends_at.is_some_and(|at| now >= at).then_some(Timeout::Total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(start: Instant, total: Option<u64>) -> Lifetime {
        Lifetime {
            announce_at: Some(start + Duration::from_millis(200)),
            progress_at: start + Duration::from_secs(60),
            progress: Duration::from_secs(60),
            idle: Duration::from_secs(10),
            ends_at: total.map(|seconds| start + Duration::from_secs(seconds)),
        }
    }

    #[test]
    fn it_is_announced_once_and_only_when_it_is_known_what_is_spoken() {
        let start = Instant::now();
        let mut life = lifetime(start, None);
        let later = start + Duration::from_millis(200);
        assert_eq!(life.next(start, true), later);
        assert_eq!(life.next(start, false), start + Duration::from_secs(10));
        assert!(!life.announcement_is_due(start, true));
        assert!(!life.announcement_is_due(later, false));
        assert!(life.announcement_is_due(later, true));
        assert!(!life.announcement_is_due(later, true));
        assert_eq!(life.next(start, true), start + Duration::from_secs(10));
    }

    #[test]
    fn it_is_told_of_again_and_again_while_it_moves() {
        let start = Instant::now();
        let mut life = lifetime(start, None);
        for minute in 1..4 {
            let now = start + Duration::from_secs(60 * minute);
            assert!(life.progress_is_due(now));
            assert!(!life.progress_is_due(now));
            assert_eq!(life.end(now, now), None);
        }
    }

    #[test]
    fn silence_ends_it_and_so_does_age_however_much_moves() {
        let start = Instant::now();
        let (at, seconds) = (|seconds| start + Duration::from_secs(seconds), 30);
        let life = lifetime(start, Some(seconds));
        assert_eq!(life.end(at(9), start), None);
        assert_eq!(life.end(at(10), start), Some(Timeout::Idle));
        assert_eq!(life.end(at(29), at(29)), None);
        assert_eq!(life.end(at(30), at(30)), Some(Timeout::Total));
        assert_eq!(life.next(at(29), false), at(30));
        assert_eq!(lifetime(start, None).end(at(1_000), at(1_000)), None);
    }
}
