//! Tallies: how much of something was seen, when, and which entries show it.

use base::Timestamp;

use crate::parcel::{Reader, Writer};

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
    cited: Citations,
}

/// The first few connections of a tally, and its last: of each its first entry and its last. There are
/// as many of these as tallies, so they are kept small and in place.
#[derive(Clone, Debug, Eq)]
struct Citations {
    first: [[Place; 2]; CITED_FIRST],
    count: u8,
    last: [Place; 2],
}

/// A [`Cited`] in twelve bytes, in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    log: u32,
    index: [u32; 2],
}

impl From<Cited> for Place {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    fn from(cited: Cited) -> Self {
        Self {
            log: u32::try_from(cited.log).expect("there are fewer logs than that"),
            index: [(cited.index >> 32) as u32, cited.index as u32],
        }
    }
}

impl From<Place> for Cited {
    fn from(place: Place) -> Self {
        Self {
            log: place.log as usize,
            index: u64::from(place.index[0]) << 32 | u64::from(place.index[1]),
        }
    }
}

impl PartialEq for Citations {
    fn eq(&self, other: &Self) -> bool {
        (self.first(), self.last) == (other.first(), other.last)
    }
}

impl Citations {
    fn of(cited: [Cited; 2]) -> Self {
        let places = cited.map(Place::from);
        Self {
            first: [places; CITED_FIRST],
            count: 1,
            last: places,
        }
    }

    fn first(&self) -> &[[Place; 2]] {
        &self.first[..usize::from(self.count)]
    }

    fn add(&mut self, places: [Place; 2]) {
        self.last = self.last.max(places);
        let Err(at) = self.first().binary_search(&places) else {
            return;
        };
        if at < CITED_FIRST {
            self.first[at..].rotate_right(1);
            self.first[at] = places;
            self.count += u8::from(usize::from(self.count) < CITED_FIRST);
        }
    }

    fn merge(&mut self, other: &Self) {
        other.first().iter().for_each(|places| self.add(*places));
        self.last = self.last.max(other.last);
    }
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
            cited: Citations::of(share.cited),
        }
    }

    /// Adds one connection.
    pub(crate) fn count(&mut self, share: &Share) {
        self.connections += 1;
        self.established += u64::from(share.established);
        self.denied += u64::from(share.denied);
        self.failed_lookups += u64::from(share.failed_lookup);
        self.bytes_out = self.bytes_out.saturating_add(share.bytes_out);
        self.bytes_in = self.bytes_in.saturating_add(share.bytes_in);
        self.first = self.first.min(share.first);
        self.last = self.last.max(share.last);
        self.cited.add(share.cited.map(Place::from));
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
        self.cited.merge(&other.cited);
    }

    /// Adds what `other` saw to a tally that may not have begun.
    pub(crate) fn merge_into(tally: &mut Option<Self>, other: &Self) {
        match tally {
            Some(tally) => tally.merge(other),
            None => *tally = Some(other.clone()),
        }
    }

    /// The same, where few have one.
    pub(crate) fn merge_beside(tally: &mut Option<Box<Self>>, other: &Self) {
        match tally {
            Some(tally) => tally.merge(other),
            None => *tally = Some(Box::new(other.clone())),
        }
    }

    /// Attempts of which more is known than that a lookup failed. A mistyped name in one
    /// configuration file must never be what takes a plugin down.
    pub fn beyond_lookup(&self) -> u64 {
        self.connections - self.failed_lookups
    }

    /// Writes the tally in as few bytes as it takes. The four highest bits of `more` are written with it.
    pub(crate) fn pack(&self, out: &mut Writer<'_>, more: u8) {
        let first = self.cited.first();
        let all_well = self.established == self.connections && self.denied == 0 && self.failed_lookups == 0;
        let ends_with_first = first.last() == Some(&self.cited.last);
        let flags = u8::from(all_well) | u8::from(ends_with_first) << 1 | self.cited.count << 2;
        out.byte(flags | more & 0xf0);
        out.number(self.connections);
        if !all_well {
            out.number(self.established);
            out.number(self.denied);
            out.number(self.failed_lookups);
        }
        out.number(self.bytes_out);
        out.number(self.bytes_in);
        out.time(self.first);
        out.time(self.last);
        let last = (!ends_with_first).then_some(&self.cited.last);
        for place in first.iter().chain(last).flatten() {
            out.cited(Cited::from(*place));
        }
    }

    /// Reads what [`Self::pack`] wrote, and the bits written with it. `None` for anything else.
    pub(crate) fn unpack(input: &mut Reader<'_>) -> Option<(Self, u8)> {
        let flags = input.byte()?;
        let connections = input.number()?;
        let [established, denied, failed_lookups] = match flags & 1 {
            1 => [connections, 0, 0],
            _ => [input.number()?, input.number()?, input.number()?],
        };
        let (bytes_out, bytes_in) = (input.number()?, input.number()?);
        let (first, last) = (input.time()?, input.time()?);
        let count = flags >> 2 & 3;
        let mut places = || Some([input.cited()?.into(), input.cited()?.into()]);
        let mut cited = [[Place::default(); 2]; CITED_FIRST];
        for place in cited.get_mut(..usize::from(count))? {
            *place = places()?;
        }
        let at = usize::from(count).checked_sub(1)?;
        let cited_last = match flags >> 1 & 1 {
            1 => cited[at],
            _ => places()?,
        };
        let tally = Self {
            connections,
            established,
            denied,
            failed_lookups,
            bytes_out,
            bytes_in,
            first,
            last,
            cited: Citations {
                first: cited,
                count,
                last: cited_last,
            },
        };
        Some((tally, flags & 0xf0))
    }

    /// The entries that show it: the first few connections and the last.
    pub fn cited(&self) -> Vec<Cited> {
        let places = self.cited.first().iter().chain([&self.cited.last]);
        let mut cited: Vec<Cited> = places.flatten().map(|place| Cited::from(*place)).collect();
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
                Tally::merge_into(&mut tally, &Tally::of(&share(index)));
            }
            tally.unwrap()
        };
        let forward = sum(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(forward, sum(&[9, 3, 0, 5, 1, 8, 2, 7, 6, 4]));
        assert_eq!(
            (forward.connections, forward.beyond_lookup(), forward.bytes_in),
            (10, 5, 20)
        );
        let counted = |order: &[u64]| {
            let mut tally = Tally::of(&share(order[0]));
            order[1..].iter().for_each(|&index| tally.count(&share(index)));
            tally
        };
        assert_eq!(forward.cited(), counted(&[9, 3, 0, 5, 1, 8, 2, 7, 6, 4]).cited());
        assert_eq!(
            forward.connections,
            counted(&[4, 6, 7, 2, 8, 1, 5, 0, 3, 9]).connections
        );
        let indexes: Vec<u64> = forward.cited().iter().map(|cited| cited.index).collect();
        assert_eq!(indexes, [0, 1, 2, 9]);
    }
}
