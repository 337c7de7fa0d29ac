//! Usage: what the connections of a run took, where its manifest promised that it would be no more.
//!
//! A limit is broken by the connections beyond it, each at its own moment: the sixth within a minute where
//! five are declared, the one with which more bytes were moved than declared, the one that is asked for
//! when the run has lasted too long already. So the conditions of a policy count them like any others.

use base::{Reason, RunId, Timestamp};

use crate::connection::Addition;
use crate::moment::{MAX_MOMENTS, Moment, Reasons};
use crate::observation::{Destination, Observations, Who};
use crate::site::Run;
use crate::tally::{Cited, Share};
use crate::terms::{Build, Rulebook};

/// Connections that are remembered of one run.
const MAX_USES: usize = 200_000;
pub(crate) const MINUTE_US: i64 = 60_000_000;

/// What the connections of one run took, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    uses: Vec<Use>,
}

/// What one connection took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// When it was first seen in the period.
    pub(crate) first: Timestamp,
    /// When it was last seen in the period.
    pub(crate) last: Timestamp,
    /// Whether it was asked for within the period.
    pub(crate) begun: bool,
    /// Bytes moved within the period, in both directions.
    pub(crate) bytes: u64,
    /// Whether it reached its destination.
    pub(crate) established: bool,
    /// Whether more is known of it than that a lookup failed.
    pub(crate) beyond_lookup: bool,
    /// What it broke by itself.
    pub(crate) broke: Reasons,
    /// The entries that show it.
    pub(crate) cited: [Cited; 2],
}

/// A connection beyond a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beyond<'u> {
    /// The moment from which on it was.
    pub(crate) at: Timestamp,
    /// The connection.
    pub(crate) used: &'u Use,
}

/// The minute with most connections beyond what is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BusiestMinute {
    /// Connections asked for in it.
    pub(crate) connections: u64,
    /// Connections declared.
    pub(crate) allowed: u64,
    /// The first of them.
    pub(crate) first: Timestamp,
    /// The last of them.
    pub(crate) last: Timestamp,
    /// Entries that show it: the first of them and the last.
    pub(crate) cited: [Cited; 2],
}

impl Use {
    fn of(share: &Share, begun: bool, broke: Reasons) -> Self {
        Self {
            first: share.first,
            last: share.last,
            begun,
            bytes: share.bytes_out.saturating_add(share.bytes_in),
            established: share.established,
            beyond_lookup: !share.failed_lookup,
            broke,
            cited: share.cited,
        }
    }
}

impl Usage {
    /// Of a run that took nothing.
    pub(crate) const fn none() -> Self {
        Self { uses: Vec::new() }
    }

    fn note(&mut self, used: Use) {
        if self.uses.len() < MAX_USES {
            self.uses.push(used);
        }
    }

    /// The connections asked for when `allowed` had been asked for already in the minute before, and the
    /// minute in which most of them were, the earliest of equals. A minute may begin at any moment.
    pub(crate) fn too_many(
        &self,
        allowed: impl Fn(Timestamp) -> Option<u64>,
    ) -> (Vec<Beyond<'_>>, Option<BusiestMinute>) {
        let mut begun: Vec<&Use> = self.uses.iter().filter(|used| used.begun).collect();
        begun.sort_by_key(|used| (used.first, used.cited));
        let mut begin = 0;
        let mut beyond = Vec::new();
        let mut busiest: Option<BusiestMinute> = None;
        for (end, used) in begun.iter().enumerate() {
            while used.first.unix_us() - begun[begin].first.unix_us() >= MINUTE_US {
                begin += 1;
            }
            let connections = (end - begin + 1) as u64;
            let Some(allowed) = allowed(used.first).filter(|allowed| connections > *allowed) else {
                continue;
            };
            beyond.push(Beyond { at: used.first, used });
            if busiest
                .as_ref()
                .is_none_or(|busiest| connections > busiest.connections)
            {
                busiest = Some(BusiestMinute {
                    connections,
                    allowed,
                    first: begun[begin].first,
                    last: used.first,
                    cited: [begun[begin].cited[0], used.cited[0]],
                });
            }
        }
        (beyond, busiest)
    }

    /// The connections after whose end more bytes had been moved than `allowed`, and how many more of how
    /// many when the last of them ended; so many were moved `before`. Bytes count when a connection was last
    /// seen.
    pub(crate) fn too_large(
        &self,
        before: u64,
        allowed: impl Fn(Timestamp) -> Option<u64>,
    ) -> (Vec<Beyond<'_>>, Option<(u64, u64)>) {
        let mut ended: Vec<&Use> = self.uses.iter().filter(|used| used.bytes > 0).collect();
        ended.sort_by_key(|used| (used.last, used.cited));
        let mut moved = before;
        let mut beyond = Vec::new();
        let mut most = None;
        for used in ended {
            moved = moved.saturating_add(used.bytes);
            if let Some(allowed) = allowed(used.last).filter(|allowed| moved > *allowed) {
                beyond.push(Beyond { at: used.last, used });
                most = Some((moved, allowed));
            }
        }
        (beyond, most)
    }

    /// The connections asked for when the run had lasted longer than `allowed_s` seconds already.
    pub(crate) fn too_late(
        &self,
        started: Timestamp,
        allowed_s: impl Fn(Timestamp) -> Option<i64>,
    ) -> Vec<Beyond<'_>> {
        let late = self
            .uses
            .iter()
            .filter(|used| used.begun && is_late(started, used.first, &allowed_s));
        late.map(|used| Beyond { at: used.first, used }).collect()
    }
}

/// Whether at the moment `at` a run has lasted longer than what is declared then.
pub(crate) fn is_late(
    started: Timestamp,
    at: Timestamp,
    allowed_s: impl Fn(Timestamp) -> Option<i64>,
) -> bool {
    allowed_s(at)
        .is_some_and(|allowed_s| at.unix_us() - started.unix_us() > allowed_s.saturating_mul(1_000_000))
}

/// What a run of limited means may do at one moment.
pub(crate) struct Allowance<'b> {
    book: &'b Rulebook<'b>,
    who: &'b Who,
}

impl<'b> Allowance<'b> {
    pub(crate) fn of(book: &'b Rulebook<'b>, who: &'b Who) -> Self {
        Self { book, who }
    }

    /// Connections a minute.
    pub(crate) fn connections_per_minute(&self, at: Timestamp) -> Option<u64> {
        self.limits(at)?.connections_per_minute
    }

    /// Bytes of the whole run.
    pub(crate) fn bytes_per_run(&self, at: Timestamp) -> Option<u64> {
        Some(self.limits(at)?.bytes_per_run?.bytes)
    }

    /// Bytes that the run moved before the period.
    pub(crate) fn bytes_before(&self) -> u64 {
        self.run().map_or(0, |run| run.bytes_before)
    }

    /// Seconds that the run may last.
    pub(crate) fn wall_time_s(&self, at: Timestamp) -> Option<i64> {
        i64::try_from(self.limits(at)?.wall_time.as_ref()?.whole_seconds()?).ok()
    }

    /// The run, where it is on record.
    pub(crate) fn run(&self) -> Option<&'b Run> {
        self.book.run(self.who.run_id)
    }

    fn limits(&self, at: Timestamp) -> Option<&'b manifests::Limits> {
        self.book.build(self.who)?.manifest(at).limits.as_ref()
    }
}

impl Beyond<'_> {
    /// The connection, as the conditions of clauses count it: whatever it broke by itself was counted
    /// already.
    pub(crate) fn moment(&self, run_id: RunId) -> Moment {
        let limit = |counts: bool| counts.then_some(Reason::LimitExceeded).into_iter().collect();
        Moment {
            at: self.at,
            run_id,
            established: limit(self.used.established),
            beyond_lookup: limit(self.used.beyond_lookup),
            before: self.used.broke,
        }
    }
}

impl Observations {
    /// Notes what a connection took and whether it broke a promise, where somebody counts it.
    pub(crate) fn note_times(
        &mut self,
        book: &Rulebook<'_>,
        who: &Who,
        destination: &Destination,
        addition: &Addition,
    ) {
        let Some(build) = book.build(who).filter(|build| build.is_timed || build.is_limited) else {
            return;
        };
        let moment = Moment::of(book, who, destination, addition);
        self.note_time(build, who, addition.share(), addition.begun(), moment);
    }

    /// The same, where it is known which promise it broke.
    pub(crate) fn note_time(
        &mut self,
        build: &Build<'_>,
        who: &Who,
        share: &Share,
        begun: bool,
        moment: Option<Moment>,
    ) {
        if build.is_limited {
            let broke = moment.as_ref().map_or_else(Reasons::default, Moment::reasons);
            let usage = self.usages.entry(who.clone()).or_default();
            usage.note(Use::of(share, begun, broke));
        }
        if let Some(moment) = moment.filter(|_| build.is_timed) {
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

    fn usage(uses: &[(i64, i64, u64)]) -> Usage {
        let mut usage = Usage::default();
        for (index, &(first, last, bytes)) in (0..).zip(uses) {
            let cited = Cited { log: 0, index };
            usage.note(Use {
                first: at(first),
                last: at(last),
                begun: true,
                bytes,
                established: true,
                beyond_lookup: true,
                broke: Reasons::default(),
                cited: [cited, cited],
            });
        }
        usage
    }

    fn asked(seconds: &[i64]) -> Usage {
        usage(
            &seconds
                .iter()
                .map(|&second| (second, second, 0))
                .collect::<Vec<_>>(),
        )
    }

    fn moments(beyond: &[Beyond<'_>]) -> Vec<Timestamp> {
        beyond.iter().map(|beyond| beyond.at).collect()
    }

    #[test]
    fn a_minute_may_begin_at_any_moment() {
        let asked = asked(&[0, 50, 70, 100, 109, 200]);
        let (beyond, busiest) = asked.too_many(|_| Some(3));
        assert_eq!(moments(&beyond), [at(109)]);
        let busiest = busiest.unwrap();
        assert_eq!(
            (busiest.connections, busiest.allowed, busiest.first, busiest.last),
            (4, 3, at(50), at(109))
        );
        assert_eq!(busiest.cited.map(|cited| cited.index), [1, 4]);
    }

    #[test]
    fn sixty_seconds_later_is_another_minute() {
        let beyond = |seconds: &[i64]| asked(seconds).too_many(|_| Some(1)).0.len();
        assert_eq!(beyond(&[0, 60]), 0);
        assert_eq!(beyond(&[0, 59]), 1);
        assert_eq!(beyond(&[]), 0);
    }

    #[test]
    fn the_order_of_logs_does_not_matter() {
        let (forward, backward) = (asked(&[0, 10, 20, 300]), asked(&[300, 20, 10, 0]));
        let beyond = |usage: &Usage| moments(&usage.too_many(|_| Some(1)).0);
        assert_eq!(beyond(&forward), [at(10), at(20)]);
        assert_eq!(beyond(&forward), beyond(&backward));
    }

    #[test]
    fn each_connection_is_held_against_what_is_declared_at_its_moment() {
        let wider_from_20 = |moment| Some(if moment < at(20) { 1 } else { 9 });
        assert_eq!(
            moments(&asked(&[0, 10, 20, 21]).too_many(wider_from_20).0),
            [at(10)]
        );
        let moved = usage(&[(0, 5, 60), (1, 19, 60), (2, 20, 60)]);
        let wider_from_20 = |moment| Some(if moment < at(20) { 100 } else { 1000 });
        let (beyond, most) = moved.too_large(0, wider_from_20);
        assert_eq!((moments(&beyond), most), (vec![at(19)], Some((120, 100))));
    }

    #[test]
    fn bytes_count_when_a_connection_was_last_seen() {
        let moved = usage(&[(0, 90, 60), (1, 19, 60), (2, 2, 0)]);
        let (beyond, most) = moved.too_large(0, |_| Some(100));
        assert_eq!((moments(&beyond), most), (vec![at(90)], Some((120, 100))));
        assert_eq!(moved.too_large(0, |_| Some(120)).0, []);
    }

    #[test]
    fn bytes_of_earlier_periods_count_and_break_nothing_by_themselves() {
        let moved = usage(&[(0, 5, 60), (1, 19, 60)]);
        let (beyond, most) = moved.too_large(900, |_| Some(1000));
        assert_eq!((moments(&beyond), most), (vec![at(19)], Some((1020, 1000))));
        assert_eq!(usage(&[]).too_large(2000, |_| Some(1000)).0, []);
    }

    #[test]
    fn a_connection_is_late_from_the_first_moment_after_what_is_declared() {
        let late = |second| asked(&[second]).too_late(at(0), |_| Some(60)).len();
        assert_eq!((late(60), late(61)), (0, 1));
    }
}
