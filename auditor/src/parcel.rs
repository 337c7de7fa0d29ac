//! Parcels: numbers in as few bytes as they take, each as the difference from the last of its kind.
//!
//! What one run did is a few dozen tallies about the same hour of the same log, so most numbers are
//! near the one before.

use base::Timestamp;

use crate::tally::Cited;

/// The numbers that the next ones are told from.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    time: i64,
    log: i64,
    index: i64,
}

/// Writes a parcel.
#[derive(Debug)]
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    last: Last,
}

/// Reads a parcel; every step is `None` where it was not written so.
#[derive(Debug)]
pub(crate) struct Reader<'i> {
    rest: &'i [u8],
    last: Last,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            last: Last::default(),
        }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8 & 0x7f);
    }

    pub(crate) fn time(&mut self, time: Timestamp) {
        let last = std::mem::replace(&mut self.last.time, time.unix_us());
        self.difference(time.unix_us(), last);
    }

    pub(crate) fn cited(&mut self, cited: Cited) {
        let (log, index) = (cited.log as i64, cited.index.cast_signed());
        let last = self.last;
        (self.last.log, self.last.index) = (log, index);
        self.difference(log, last.log);
        self.difference(index, last.index);
    }

    fn difference(&mut self, number: i64, last: i64) {
        let difference = number.wrapping_sub(last);
        self.number((difference << 1 ^ difference >> 63).cast_unsigned());
    }
}

impl<'i> Reader<'i> {
    pub(crate) fn new(rest: &'i [u8]) -> Self {
        Self {
            rest,
            last: Last::default(),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn time(&mut self) -> Option<Timestamp> {
        self.last.time = self.next_to(self.last.time)?;
        Some(Timestamp::from_unix_us(self.last.time))
    }

    pub(crate) fn cited(&mut self) -> Option<Cited> {
        self.last.log = self.next_to(self.last.log)?;
        self.last.index = self.next_to(self.last.index)?;
        Some(Cited {
            log: u32::try_from(self.last.log).ok()? as usize,
            index: self.last.index.cast_unsigned(),
        })
    }

    fn next_to(&mut self, last: i64) -> Option<i64> {
        let number = self.number()?;
        let difference = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        Some(last.wrapping_add(difference))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tally::{Share, Tally};

    fn any_share() -> impl Strategy<Value = Share> {
        let cited = (0_usize..3, any::<u64>()).prop_map(|(log, index)| Cited { log, index });
        let said = (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<u64>(),
            any::<u64>(),
        );
        (said, any::<i64>(), any::<i64>(), cited.clone(), cited).prop_map(|(said, first, last, from, to)| {
            Share {
                established: said.0,
                denied: said.1,
                failed_lookup: said.2,
                bytes_out: said.3,
                bytes_in: said.4,
                first: Timestamp::from_unix_us(first),
                last: Timestamp::from_unix_us(last),
                cited: [from, to],
            }
        })
    }

    fn tally(shares: &[Share]) -> Tally {
        let mut tally = Tally::of(&shares[0]);
        shares[1..].iter().for_each(|share| tally.count(share));
        tally
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked_as_it_was(
            shares in prop::collection::vec(prop::collection::vec(any_share(), 1..7), 1..5),
            more in any::<u8>(),
        ) {
            let tallies: Vec<Tally> = shares.iter().map(|shares| tally(shares)).collect();
            let mut bytes = Vec::new();
            let mut out = Writer::new(&mut bytes);
            tallies.iter().for_each(|tally| tally.pack(&mut out, more));
            let mut input = Reader::new(&bytes);
            for tally in &tallies {
                prop_assert_eq!(Tally::unpack(&mut input), Some((tally.clone(), more & 0xf0)));
            }
            prop_assert!(input.is_empty());
            // More that is counted later is counted as if nothing had been packed.
            let (mut again, _) = Tally::unpack(&mut Reader::new(&bytes)).unwrap();
            let mut all = shares[0].clone();
            all.extend(shares[shares.len() - 1].clone());
            shares[shares.len() - 1].iter().for_each(|share| again.count(share));
            prop_assert_eq!(again, tally(&all));
        }

        #[test]
        fn anything_else_is_no_tally_and_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut input = Reader::new(&bytes);
            while Tally::unpack(&mut input).is_some() {}
        }
    }
}
