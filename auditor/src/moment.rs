//! Moments: when breaches happened, one per connection.
//!
//! The night and the live watch corroborate by the same count of the same moments, so that what was
//! done during the day is what the night would have done.

use std::collections::{BTreeSet, HashMap, VecDeque};

use base::{BreachClause, Reason, RunId, Timestamp};

use crate::charge::Charge;
use crate::connection::Addition;
use crate::departure::Fared;
use crate::observation::{Destination, Observation, Who};
use crate::terms::Rulebook;

/// Moments that are remembered of one build in one period. What comes later is in the findings, and
/// counts for no window.
pub(crate) const MAX_MOMENTS: usize = 1_000_000;

/// One connection that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// When it was first seen in the period.
    pub at: Timestamp,
    /// Whose it was.
    pub run_id: RunId,
    /// What it broke, having reached its destination.
    pub established: Reasons,
    /// What it broke with more known than that a lookup failed.
    pub beyond_lookup: Reasons,
    /// What the same connection was counted for already, where more was learnt of it later.
    pub before: Reasons,
}

/// A set of reasons, small because there may be many moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reasons(u64);

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        Self(
            reasons
                .into_iter()
                .fold(0, |set, reason| set | 1 << reason as u32),
        )
    }
}

impl Reasons {
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The reasons that are not in the other set.
    pub(crate) const fn but(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn each(self) -> impl Iterator<Item = Reason> {
        Reason::ALL
            .iter()
            .copied()
            .filter(move |reason| self.0 & (1 << *reason as u32) != 0)
    }
}

impl Moment {
    /// What one connection broke by itself; `None` where it kept the promise.
    pub(crate) fn of(
        book: &Rulebook<'_>,
        who: &Who,
        destination: &Destination,
        addition: &Addition,
    ) -> Option<Self> {
        let mut alone = Observation::default();
        addition.add_to(&mut alone);
        let fared = Fared::of(book, who, destination, &alone);
        let charge = Charge::of(who.run_id, &alone, &fared)?;
        let established = charge.established.iter().filter(|(_, count)| **count > 0);
        Some(Self {
            at: addition.share().first,
            run_id: who.run_id,
            established: established.map(|(reason, _)| *reason).collect(),
            beyond_lookup: charge.beyond_lookup.iter().copied().collect(),
            before: Reasons::default(),
        })
    }

    /// Everything that the connection broke here, for what it counts.
    pub(crate) fn reasons(&self) -> Reasons {
        self.established.and(self.beyond_lookup)
    }
}

/// Counts moments for one clause, in the order in which they come.
#[derive(Clone, Debug)]
pub(crate) struct Corroborator {
    reasons: Reasons,
    min_connections: u64,
    min_runs: u64,
    within_us: Option<i64>,
    newest: Timestamp,
    connections: VecDeque<Timestamp>,
    attempts: VecDeque<(Timestamp, RunId)>,
    runs: HashMap<RunId, u64>,
    found: Reasons,
    reached: Option<Timestamp>,
}

impl Corroborator {
    pub(crate) fn new(clause: &BreachClause) -> Self {
        Self {
            reasons: clause.reasons.iter().copied().collect(),
            min_connections: clause.min_connections,
            min_runs: clause.min_runs,
            within_us: clause
                .within_s
                .map(|s| i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(1_000_000)),
            newest: Timestamp::from_unix_us(i64::MIN),
            connections: VecDeque::new(),
            attempts: VecDeque::new(),
            runs: HashMap::new(),
            found: Reasons::default(),
            reached: None,
        }
    }

    /// Counts one moment more.
    pub(crate) fn handle(&mut self, moment: &Moment) {
        self.newest = self.newest.max(moment.at);
        self.found.0 |= (moment.established.0 | moment.beyond_lookup.0) & self.reasons.0;
        // One connection is one connection, however much is learnt of it.
        if self.reached.is_some() || moment.before.meets(self.reasons) {
            return;
        }
        // What is known late of a connection that began long ago is left to the night, which sees all of it.
        if moment.at >= self.oldest() {
            if moment.established.meets(self.reasons) {
                let later = self
                    .connections
                    .iter()
                    .rev()
                    .take_while(|at| **at > moment.at)
                    .count();
                let place = self.connections.len() - later;
                self.connections.insert(place, moment.at);
            }
            if moment.beyond_lookup.meets(self.reasons) {
                let later = self
                    .attempts
                    .iter()
                    .rev()
                    .take_while(|(at, _)| *at > moment.at)
                    .count();
                let place = self.attempts.len() - later;
                self.attempts.insert(place, (moment.at, moment.run_id));
                *self.runs.entry(moment.run_id).or_default() += 1;
            }
        }
        self.forget();
        let connections = self.connections.len() as u64 >= self.min_connections;
        if connections || self.runs.len() as u64 >= self.min_runs {
            self.reached = Some(moment.at);
        }
    }

    /// Where the window that ends with the newest moment begins.
    fn oldest(&self) -> Timestamp {
        let before = |within_us| self.newest.unix_us().saturating_sub(within_us);
        Timestamp::from_unix_us(self.within_us.map_or(i64::MIN, before))
    }

    /// Drops what is out of the window.
    fn forget(&mut self) {
        let oldest = self.oldest();
        while self.connections.front().is_some_and(|at| *at < oldest) {
            self.connections.pop_front();
        }
        while let Some((_, run_id)) = self.attempts.front().copied().filter(|(at, _)| *at < oldest) {
            self.attempts.pop_front();
            if let Some(count) = self.runs.get_mut(&run_id) {
                *count -= 1;
                if *count == 0 {
                    self.runs.remove(&run_id);
                }
            }
        }
    }

    /// When the clause's condition was first met.
    pub(crate) fn reached(&self) -> Option<Timestamp> {
        self.reached
    }

    /// The reasons of the clause that were found.
    pub(crate) fn found(&self) -> BTreeSet<Reason> {
        self.found.each().collect()
    }

    /// The same, told everything at once, in whatever order.
    pub(crate) fn of(clause: &BreachClause, moments: &[Moment]) -> Self {
        let mut corroborator = Self::new(clause);
        let mut moments: Vec<&Moment> = moments.iter().collect();
        moments.sort();
        moments.into_iter().for_each(|moment| corroborator.handle(moment));
        corroborator
    }
}

#[cfg(test)]
mod tests {
    use base::AutomaticAction;
    use proptest::prelude::*;

    use super::*;
    use crate::script::{at, run};

    fn clause(connections: u64, runs: u64, within_s: Option<u64>) -> BreachClause {
        BreachClause {
            min_connections: connections,
            min_runs: runs,
            within_s,
            ..BreachClause::initial(AutomaticAction::Quarantine, "ops")
        }
    }

    fn moment(second: i64, number: u8) -> Moment {
        let host: Reasons = [Reason::UndeclaredHost].into_iter().collect();
        Moment {
            at: at(second),
            run_id: run("ocr", number),
            established: host,
            beyond_lookup: host,
            before: Reasons::default(),
        }
    }

    fn reached(clause: &BreachClause, moments: &[Moment]) -> Option<Timestamp> {
        Corroborator::of(clause, moments).reached()
    }

    #[test]
    fn connections_count_only_together_within_the_window() {
        let three = clause(3, 99, Some(60));
        let apart = [moment(0, 1), moment(61, 1), moment(122, 1)];
        assert_eq!(reached(&three, &apart), None);
        let together = [moment(0, 1), moment(61, 1), moment(62, 1), moment(121, 1)];
        assert_eq!(reached(&three, &together), Some(at(121)));
        assert_eq!(reached(&clause(3, 99, None), &apart), Some(at(122)));
    }

    #[test]
    fn runs_count_only_together_within_the_window() {
        let two = clause(99, 2, Some(60));
        assert_eq!(reached(&two, &[moment(0, 1), moment(61, 2)]), None);
        assert_eq!(reached(&two, &[moment(0, 1), moment(60, 2)]), Some(at(60)));
        assert_eq!(reached(&two, &[moment(0, 1), moment(1, 1), moment(2, 1)]), None);
    }

    #[test]
    fn what_is_learnt_late_counts_only_where_it_belongs() {
        let told = |seconds: &[i64]| {
            let mut count = Corroborator::new(&clause(3, 99, Some(60)));
            seconds
                .iter()
                .for_each(|&second| count.handle(&moment(second, 1)));
            count.reached()
        };
        assert_eq!(told(&[250, 0, 251]), None);
        assert_eq!(told(&[250, 200, 265]), None);
        assert_eq!(told(&[250, 210, 265]), Some(at(265)));
    }

    #[test]
    fn failed_lookups_and_other_reasons_count_for_nothing() {
        let mut lookup = moment(0, 1);
        (lookup.established, lookup.beyond_lookup) = (Reasons::default(), Reasons::default());
        let drift: Reasons = [Reason::SdkDrift].into_iter().collect();
        let other = Moment {
            established: drift,
            beyond_lookup: drift,
            ..moment(1, 2)
        };
        let one = clause(1, 1, Some(60));
        assert_eq!(reached(&one, &[lookup, other]), None);
    }

    proptest! {
        /// Told moment by moment, or all of them anew each time: the same answer.
        #[test]
        fn the_sliding_count_is_the_count_of_every_window(
            times in proptest::collection::vec((0_i64..200, 0_u8..4), 0..40),
            connections in 1_u64..6,
            runs in 1_u64..4,
            within in 1_u64..80,
        ) {
            let mut moments: Vec<Moment> = times.iter().map(|&(second, number)| moment(second, number)).collect();
            moments.sort();
            let asked = clause(connections, runs, Some(within));
            let by_hand = moments.iter().enumerate().find(|(upto, last)| {
                let window = moments[..=*upto].iter().filter(|m| {
                    last.at.unix_us() - m.at.unix_us() <= i64::try_from(within).unwrap() * 1_000_000
                });
                let window: Vec<_> = window.collect();
                let distinct: BTreeSet<RunId> = window.iter().map(|m| m.run_id).collect();
                window.len() as u64 >= connections || distinct.len() as u64 >= runs
            });
            prop_assert_eq!(reached(&asked, &moments), by_hand.map(|(_, last)| last.at));
        }
    }
}
