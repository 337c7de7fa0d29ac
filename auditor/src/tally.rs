//! Tallies: how much of something was seen, when, and which entries show it.

use base::Timestamp;

/// How many connections at each end of a tally are cited. Enough to show what happened, few enough
/// that a report about a million connections is still read.
const CITED_FIRST: usize = 3;

/// One entry of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cited {
    /// Which log, in the order in which logs were folded.
    pub log: usize,
    /// The entry's index in it.
    pub index: u64,
}

/// What one connection adds to a tally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// It reached its destination.
    pub established: bool,
    /// The gateway refused it.
    pub denied: bool,
    /// Its name could not be resolved, so nothing left the gateway.
    pub failed_lookup: bool,
    /// Bytes from plugin to destination, within the period.
    pub bytes_out: u64,
    /// Bytes from destination to plugin, within the period.
    pub bytes_in: u64,
    /// When it was first seen in the period.
    pub first: Timestamp,
    /// When it was last seen in the period.
    pub last: Timestamp,
    /// The entries that show it: its first and its last.
    pub cited: [Cited; 2],
}

/// How much was seen. Never empty: a tally starts with its first connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Connections attempted, whatever became of them.
    pub connections: u64,
    /// Those that reached their destination.
    pub established: u64,
    /// Those that the gateway refused.
    pub denied: u64,
    /// Those whose name could not be resolved.
    pub failed_lookups: u64,
    /// Bytes from plugin to destination.
    pub bytes_out: u64,
    /// Bytes from destination to plugin.
    pub bytes_in: u64,
    /// When the first was first seen.
    pub first: Timestamp,
    /// When the last was last seen.
    pub last: Timestamp,
    cited_first: Vec<[Cited; 2]>,
    cited_last: [Cited; 2],
}

impl Tally {
    /// The tally of one connection.
    pub fn of(share: &Share) -> Self {
        Self {
            connections: 1,
            established: share.established.into(),
            denied: share.denied.into(),
            failed_lookups: share.failed_lookup.into(),
            bytes_out: share.bytes_out,
            bytes_in: share.bytes_in,
            first: share.first,
            last: share.last,
            cited_first: vec![share.cited],
            cited_last: share.cited,
        }
    }

    /// Adds what another tally saw. The order of adding does not matter.
    pub fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.established += other.established;
        self.denied += other.denied;
        self.failed_lookups += other.failed_lookups;
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.cited_first.extend_from_slice(&other.cited_first);
        self.cited_first.sort_unstable();
        self.cited_first.dedup();
        self.cited_first.truncate(CITED_FIRST);
        self.cited_last = self.cited_last.max(other.cited_last);
    }

    /// Adds one connection to a tally that may not have begun.
    pub(crate) fn add(tally: &mut Option<Self>, share: &Share) {
        match tally {
            Some(tally) => tally.merge(&Self::of(share)),
            None => *tally = Some(Self::of(share)),
        }
    }

    /// Attempts of which more is known than that a lookup failed. A mistyped name in one
    /// configuration file must never be what takes a plugin down.
    pub fn beyond_lookup(&self) -> u64 {
        self.connections - self.failed_lookups
    }

    /// The entries that show it: the first few connections and the last.
    pub fn cited(&self) -> Vec<Cited> {
        let mut cited: Vec<Cited> = self
            .cited_first
            .iter()
            .chain(std::iter::once(&self.cited_last))
            .flatten()
            .copied()
            .collect();
        cited.sort_unstable();
        cited.dedup();
        cited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(index: u64) -> Share {
        let cited = Cited { log: 0, index };
        Share {
            established: true,
            denied: false,
            failed_lookup: index % 2 == 1,
            bytes_out: 1,
            bytes_in: 2,
            first: Timestamp::from_unix_us(index.cast_signed()),
            last: Timestamp::from_unix_us(index.cast_signed() + 1),
            cited: [cited, cited],
        }
    }

    #[test]
    fn merging_keeps_sums_and_cites_the_first_few_and_the_last_in_any_order() {
        let sum = |order: &[u64]| {
            let mut tally = None;
            for &index in order {
                Tally::add(&mut tally, &share(index));
            }
            tally.unwrap()
        };
        let forward = sum(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(forward, sum(&[9, 3, 0, 5, 1, 8, 2, 7, 6, 4]));
        assert_eq!(
            (forward.connections, forward.beyond_lookup(), forward.bytes_in),
            (10, 5, 20)
        );
        let indexes: Vec<u64> = forward.cited().iter().map(|cited| cited.index).collect();
        assert_eq!(indexes, [0, 1, 2, 9]);
    }
}
