//! Dice: numbers that look random and are the same for the same seed, on every machine.

use std::net::{IpAddr, Ipv4Addr};

use base::{RunId, Sha256Digest, Timestamp};
use seal::SigningKey;

/// A stream of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The stream of `seed` that is called `name`. Streams of other names are independent of it, so
    /// that adding one kind of thing does not change all others.
    pub fn new(seed: u64, name: &str) -> Self {
        let digest = Sha256Digest::of(format!("{seed} {name}").as_bytes());
        Self {
            state: first_eight(&digest),
        }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of a product is uniform enough for a test, and has no division.
        u64::try_from((u128::from(self.next()) * u128::from(end.max(1))) >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A number of between `low` and `high` bits: small ones are as common as large ones.
    pub fn sized(&mut self, low: u64, high: u64) -> u64 {
        let bits = self.between(low, high);
        self.below(1 << bits.min(63))
    }

    /// One of `choices`.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        let at = self.below(choices.len() as u64);
        &choices[usize::try_from(at).unwrap_or(0)]
    }

    /// True `share` of the time.
    pub fn chance(&mut self, share: f64) -> bool {
        // 53 bits are what a double holds.
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < share
    }

    /// A short word of letters and digits that can stand in a host name.
    pub fn word(&mut self) -> String {
        let consonants = b"bdfgklmnprstvz";
        let vowels = b"aeiou";
        let mut word = String::new();
        for _ in 0..3 {
            word.push(char::from(*self.pick(consonants)));
            word.push(char::from(*self.pick(vowels)));
        }
        word.push_str(&self.below(1000).to_string());
        word
    }

    /// A public IPv4 address.
    pub fn public_ip(&mut self) -> IpAddr {
        // 8.0.0.0/9 is a carrier's, all of it public.
        let host = u32::try_from(self.below(1 << 23)).unwrap_or(0);
        Ipv4Addr::from_bits(0x0800_0000 | host).into()
    }

    /// A run that was registered at `started`.
    pub fn run_id(&mut self, started: Timestamp) -> RunId {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_be_bytes());
        random[8..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        RunId::from_parts(u64::try_from(started.unix_us() / 1000).unwrap_or(0), random)
    }
}

/// The key of `seed` that is called `name`: worth nothing, because anybody can make it again.
pub fn key(seed: u64, name: &str) -> SigningKey {
    let digest = Sha256Digest::of(format!("{seed} key {name}").as_bytes());
    SigningKey::ed25519_from_seed(digest.as_bytes())
}

fn first_eight(digest: &Sha256Digest) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_names_keep_streams_apart() {
        let draw = |seed, name| {
            let mut dice = Dice::new(seed, name);
            (0..4).map(|_| dice.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        let mut dice = Dice::new(7, "range");
        assert!((0..1000).all(|_| (3..=5).contains(&dice.between(3, 5))));
        assert!(dice.word().parse::<base::Host>().is_ok() || dice.word().contains(char::is_numeric));
    }
}
