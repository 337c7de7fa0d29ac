//! An index of host patterns: which of many may cover a host.
//!
//! A name is covered by itself, by `*.` before what follows its first dot, and by `**.` before what
//! follows any of its dots; an address by itself, and by one network of each length. So a name is read
//! once from its end, and all that could cover it is looked up on the way. Patterns are found by hash
//! alone: whoever finds one asks it whether it covers.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use base::{Host, canonical_ip};

use crate::egress::HostPattern;

/// What a pattern is found by beside its name.
const NAME: u64 = 1;
const ONE_LABEL: u64 = 2;
const LABELS: u64 = 3;

/// Host patterns by what they cover.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Hashes are ours to choose, so that nobody writes patterns which all have one.
    seed: u64,
    /// Powers of two; where the places of a hash are. An empty range is a free slot.
    slots: Vec<(u64, u32, u32)>,
    /// Places of patterns with one hash, side by side and in order.
    places: Vec<u32>,
    /// Lengths of networks, by family.
    lengths: [Vec<u8>; 2],
}

impl Index {
    /// The index of these patterns; each is known by its place among them.
    pub(crate) fn of<'p>(patterns: impl Iterator<Item = &'p HostPattern>) -> Self {
        let seed = RandomState::new().hash_one(0_u8);
        let mut by_hash: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (pattern, place) in patterns.zip(0..) {
            let hash = match pattern {
                HostPattern::Name(name) => with_kind(hash_name(seed, name.as_str()), NAME),
                HostPattern::OneLabelUnder(parent) => with_kind(hash_name(seed, parent.as_str()), ONE_LABEL),
                HostPattern::LabelsUnder(parent) => with_kind(hash_name(seed, parent.as_str()), LABELS),
                HostPattern::Address(address) => {
                    let (family, bits) = bits(*address);
                    lengths[family].insert(128);
                    hash_network(seed, family, bits, 128)
                }
                HostPattern::Network(network) => {
                    let (family, bits) = bits(network.network());
                    lengths[family].insert(network.prefix_len());
                    hash_network(seed, family, bits, network.prefix_len())
                }
            };
            by_hash.entry(hash).or_default().push(place);
        }
        let size = (by_hash.len() * 2).next_power_of_two().max(16);
        let mut index = Self {
            seed,
            slots: vec![(0, 0, 0); size],
            places: Vec::new(),
            lengths: lengths.map(|lengths| lengths.into_iter().collect()),
        };
        for (hash, places) in by_hash {
            let from = index.places.len();
            index.places.extend(places);
            let narrow = |at: usize| u32::try_from(at).expect("a manifest has fewer declarations");
            let slot = index.slot(hash);
            index.slots[slot] = (hash, narrow(from), narrow(index.places.len()));
        }
        index
    }

    /// Hands the places of all patterns that may cover `host` to `ask`.
    pub(crate) fn each_about(&self, host: &Host, mut ask: impl FnMut(usize)) {
        match host {
            Host::Name(name) => self.each_about_name(name.as_str(), &mut ask),
            Host::Ip(address) => {
                let (family, bits) = bits(canonical_ip(*address));
                for &length in &self.lengths[family] {
                    self.each_of(hash_network(self.seed, family, bits, length), &mut ask);
                }
            }
        }
    }

    fn each_about_name(&self, name: &str, ask: &mut impl FnMut(usize)) {
        let mut hash = self.seed;
        let mut parent = None;
        for byte in name.bytes().rev() {
            if byte == b'.' {
                parent = Some(hash);
                self.each_of(with_kind(hash, LABELS), ask);
            }
            hash = add(hash, byte);
        }
        // What follows the first dot was met last.
        if let Some(parent) = parent {
            self.each_of(with_kind(parent, ONE_LABEL), ask);
        }
        self.each_of(with_kind(hash, NAME), ask);
    }

    fn each_of(&self, hash: u64, ask: &mut impl FnMut(usize)) {
        let (_, from, to) = self.slots[self.slot(hash)];
        for place in &self.places[from as usize..to as usize] {
            ask(*place as usize);
        }
    }

    /// Where the hash is, or a free slot.
    fn slot(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let shift = 64 - self.slots.len().trailing_zeros();
        let mut at = usize::try_from(hash >> shift).unwrap_or(0);
        while self.slots[at].1 != self.slots[at].2 && self.slots[at].0 != hash {
            at = (at + 1) & mask;
        }
        at
    }
}

/// From the last byte to the first, so that every parent's hash is met on the way.
fn hash_name(seed: u64, name: &str) -> u64 {
    name.bytes().rev().fold(seed, add)
}

const fn add(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(23)
}

/// The highest bits of this are those that a slot is found by.
const fn with_kind(hash: u64, kind: u64) -> u64 {
    let mixed =
        (hash ^ (hash >> 31) ^ kind.wrapping_mul(0xff51_afd7_ed55_8ccd)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Family and bits of an address, IPv4 left-aligned, so that networks of both are cut alike.
fn bits(address: IpAddr) -> (usize, u128) {
    match address {
        IpAddr::V4(v4) => (0, u128::from(v4.to_bits()) << 96),
        IpAddr::V6(v6) => (1, v6.to_bits()),
    }
}

/// The hash of the network of that length which `bits` lie in. An address is a network of all its bits.
fn hash_network(seed: u64, family: usize, bits: u128, length: u8) -> u64 {
    let kept = bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    let words = [
        (kept >> 64) as u64,
        kept as u64,
        u64::from(length) << 1 | family as u64,
    ];
    let hash = words.into_iter().fold(seed, |hash, word| {
        (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
    });
    with_kind(hash, 0)
}
