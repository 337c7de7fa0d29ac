//! Freshness: whether a list is still the newest word, as far as its own dates tell.

use base::Timestamp;
use serde::Serialize;

use crate::reader::MAX_CLOCK_SKEW_S;

/// How fresh a list is. Whatever the answer, the list stays in force: age never lifts a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "freshness", rename_all = "snake_case")]
pub enum Freshness {
    /// No newer list is due.
    Fresh {
        /// When one will be.
        until: Timestamp,
    },
    /// A newer list was due and did not arrive.
    Stale {
        /// When it was due.
        since: Timestamp,
    },
    /// This machine's clock stands before the moment at which the list was issued, so it cannot say.
    /// To be treated as stale, and the clock to be looked at.
    ClockBehind {
        /// When the list was issued.
        issued: Timestamp,
    },
}

impl Freshness {
    pub(crate) fn at(now: Timestamp, this_update: Timestamp, next_update: Timestamp) -> Self {
        if is_future(this_update, now) {
            Self::ClockBehind { issued: this_update }
        } else if now >= next_update {
            Self::Stale { since: next_update }
        } else {
            Self::Fresh { until: next_update }
        }
    }

    /// Whether nothing newer is due.
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::Fresh { .. })
    }
}

/// Whether `moment` lies further ahead than two honest clocks may disagree.
pub(crate) fn is_future(moment: Timestamp, now: Timestamp) -> bool {
    moment > now.plus_seconds(MAX_CLOCK_SKEW_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::at;

    #[test]
    fn a_list_is_fresh_until_its_next_update_and_stale_from_then_on() {
        let (this, next) = (at("2026-11-21T10:00:00Z"), at("2026-11-21T11:00:00Z"));
        let freshness = |now: &str| Freshness::at(at(now), this, next);
        assert_eq!(
            freshness("2026-11-21T10:59:59.999999Z"),
            Freshness::Fresh { until: next }
        );
        assert_eq!(
            freshness("2026-11-21T11:00:00Z"),
            Freshness::Stale { since: next }
        );
        assert_eq!(
            freshness("2036-11-21T11:00:00Z"),
            Freshness::Stale { since: next }
        );
    }

    #[test]
    fn a_clock_that_jumped_back_a_year_does_not_make_an_old_list_fresh() {
        let (this, next) = (at("2026-11-21T10:00:00Z"), at("2026-11-21T11:00:00Z"));
        assert_eq!(
            Freshness::at(at("2026-11-21T09:55:00Z"), this, next),
            Freshness::Fresh { until: next }
        );
        assert_eq!(
            Freshness::at(at("2025-11-21T10:00:00Z"), this, next),
            Freshness::ClockBehind { issued: this }
        );
    }
}
