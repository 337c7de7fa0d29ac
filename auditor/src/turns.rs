//! Turns: the instants at which what a build is judged by changes.
//!
//! A declaration runs out, another manifest is admitted, an exception ends: what came before such an
//! instant is judged by what was in force before it, and what came after by what was in force then.
//! Connections are kept apart by the turns between which they were seen, so that an observation never
//! mixes two measures, however many connections it counts.

use base::Timestamp;

/// The instants at which what a build is judged by changes, in order.
///
/// At its very instant a turn has happened: a declaration that expires at noon covers nothing at noon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns(Vec<Timestamp>);

/// Between which turns connections were seen: how many turns had happened when a connection was first
/// seen, and how many when it was last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Passage {
    /// Turns before the first sight of it.
    pub first: u32,
    /// Turns before the last sight of it.
    pub last: u32,
}

impl FromIterator<Timestamp> for Turns {
    fn from_iter<I: IntoIterator<Item = Timestamp>>(instants: I) -> Self {
        let mut turns: Vec<Timestamp> = instants.into_iter().collect();
        turns.sort_unstable();
        turns.dedup();
        Self(turns)
    }
}

impl Turns {
    /// Adds further instants.
    pub(crate) fn extend(&mut self, instants: impl Iterator<Item = Timestamp>) {
        *self = self.0.drain(..).chain(instants).collect();
    }

    /// Where a connection lies that was seen from `first` to `last`.
    pub(crate) fn passage(&self, first: Timestamp, last: Timestamp) -> Passage {
        let before = |moment| u32::try_from(self.before(moment)).unwrap_or(u32::MAX);
        Passage {
            first: before(first),
            last: before(last),
        }
    }

    /// One moment for each measure that was in force from `first` to `last`: `first` itself, and every
    /// turn after it.
    pub(crate) fn moments(&self, first: Timestamp, last: Timestamp) -> impl Iterator<Item = Timestamp> {
        let later = &self.0[self.before(first)..self.before(last).max(self.before(first))];
        std::iter::once(first).chain(later.iter().copied())
    }

    fn before(&self, moment: Timestamp) -> usize {
        self.0.partition_point(|turn| *turn <= moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::at;

    #[test]
    fn a_turn_has_happened_at_its_very_instant_and_not_a_microsecond_before() {
        let turns: Turns = [at(10), at(5), at(10)].into_iter().collect();
        let just_before = Timestamp::from_unix_us(at(10).unix_us() - 1);
        let passage = |first, last| {
            let Passage { first, last } = turns.passage(first, last);
            (first, last)
        };
        assert_eq!(passage(at(4), at(4)), (0, 0));
        assert_eq!(passage(at(5), just_before), (1, 1));
        assert_eq!(passage(just_before, at(10)), (1, 2));
        assert_eq!(passage(at(10), at(99)), (2, 2));
    }

    #[test]
    fn each_measure_in_force_is_asked_once() {
        let turns: Turns = [at(5), at(10)].into_iter().collect();
        let moments = |first, last| turns.moments(at(first), at(last)).collect::<Vec<_>>();
        assert_eq!(moments(1, 4), [at(1)]);
        assert_eq!(moments(1, 5), [at(1), at(5)]);
        assert_eq!(moments(5, 9), [at(5)]);
        assert_eq!(moments(1, 20), [at(1), at(5), at(10)]);
        assert_eq!(Turns::default().moments(at(1), at(2)).count(), 1);
    }
}
