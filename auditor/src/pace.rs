//! Pace: how many connections a run asks for in any minute.

use base::Timestamp;

use crate::connection::Addition;
use crate::moment::{MAX_MOMENTS, Moment};
use crate::observation::{Destination, Observations, Who};
use crate::tally::Cited;
use crate::terms::Rulebook;

/// Connections whose times are remembered of one run.
const MAX_TIMES: usize = 200_000;
const MINUTE_US: i64 = 60_000_000;

/// When one run asked for connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    times: Vec<(Timestamp, Cited)>,
}

/// The busiest minute of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BusiestMinute {
    /// Connections asked for in it.
    pub(crate) connections: u64,
    /// The first of them.
    pub(crate) first: Timestamp,
    /// The last of them.
    pub(crate) last: Timestamp,
    /// Entries that show it: the first of them and the last.
    pub(crate) cited: [Cited; 2],
}

impl Pace {
    /// One connection more.
    fn note(&mut self, at: Timestamp, cited: Cited) {
        if self.times.len() < MAX_TIMES {
            self.times.push((at, cited));
        }
    }

    /// The minute in which most connections were asked for, the earliest of equals. A minute may begin
    /// at any moment.
    pub(crate) fn busiest_minute(&self) -> Option<BusiestMinute> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let mut begin = 0;
        let mut best: Option<(usize, usize)> = None;
        for (end, (at, _)) in times.iter().enumerate() {
            while at.unix_us() - times[begin].0.unix_us() >= MINUTE_US {
                begin += 1;
            }
            if best.is_none_or(|(from, to)| end - begin > to - from) {
                best = Some((begin, end));
            }
        }
        let (begin, end) = best?;
        Some(BusiestMinute {
            connections: (end - begin + 1) as u64,
            first: times[begin].0,
            last: times[end].0,
            cited: [times[begin].1, times[end].1],
        })
    }
}

impl Observations {
    /// Notes when a connection was asked for and whether it broke a promise, where somebody counts it.
    pub(crate) fn note_times(
        &mut self,
        book: &Rulebook<'_>,
        who: &Who,
        destination: &Destination,
        addition: &Addition,
    ) {
        let (Some(build), Some(terms)) = (book.build(who), book.terms(who)) else {
            return;
        };
        let limits = terms.manifest.limits.as_ref();
        if addition.begun() && limits.is_some_and(|limits| limits.connections_per_minute.is_some()) {
            let share = addition.share();
            let pace = self.paces.entry(who.clone()).or_default();
            pace.note(share.first, share.cited[0]);
        }
        if build.is_timed
            && let Some(moment) = Moment::of(&terms, who.run_id, destination, addition)
        {
            let moments = self.moments.entry(who.artifact_digest).or_default();
            if moments.len() < MAX_MOMENTS {
                moments.push(moment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::at;

    fn pace(seconds: &[i64]) -> Pace {
        let mut pace = Pace::default();
        for (index, second) in (0..).zip(seconds) {
            pace.note(at(*second), Cited { log: 0, index });
        }
        pace
    }

    #[test]
    fn a_minute_may_begin_at_any_moment() {
        let busiest = pace(&[0, 50, 70, 100, 109, 200]).busiest_minute().unwrap();
        assert_eq!(
            (busiest.connections, busiest.first, busiest.last),
            (4, at(50), at(109))
        );
        assert_eq!(busiest.cited.map(|cited| cited.index), [1, 4]);
        // Sixty seconds later is another minute.
        assert_eq!(pace(&[0, 60]).busiest_minute().unwrap().connections, 1);
        assert_eq!(pace(&[]).busiest_minute(), None);
    }

    #[test]
    fn the_order_of_logs_does_not_matter() {
        let forward = pace(&[0, 10, 20, 300]).busiest_minute().unwrap();
        let backward = pace(&[300, 20, 10, 0]).busiest_minute().unwrap();
        assert_eq!(forward.connections, backward.connections);
        assert_eq!(forward.first, backward.first);
    }
}
