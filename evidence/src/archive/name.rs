//! What archive files are called: where they belong, which entries they have, and what they hash to.
//!
//! `day=2026-11-21/gateway=gw-1/<first>-<last>-<first 16 digits of the SHA-256>.parquet`, numbers with
//! leading zeroes so that names sort as entries do. The hash in the name makes writing twice the same
//! as writing once, and shows a file under another's name.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use base::{Sha256Digest, Timestamp};

/// Digits of the hash in a name.
const HASH_DIGITS: usize = 16;
/// Numbers of entries stay below 2⁵³.
const NUMBER_DIGITS: usize = 16;

/// The name of one file, below the archive's root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchiveName {
    day: String,
    gateway: String,
    first: u64,
    last: u64,
    hash: String,
}

/// A name that no archive file has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not the name of an archive file: day=YYYY-MM-DD/gateway=NAME/FIRST-LAST-HASH.parquet")]
pub struct InvalidArchiveName {
    name: String,
}

impl ArchiveName {
    /// The name of a file with the entries from `first` to `last`, the first of them seen at `time`.
    ///
    /// # Panics
    /// Never for names that a configuration allows: `gateway` has no slash.
    pub fn new(time: Timestamp, gateway: &str, first: u64, last: u64, sha256: &Sha256Digest) -> Self {
        debug_assert!(!gateway.contains('/'));
        Self {
            day: time.utc_day(),
            gateway: gateway.to_owned(),
            first,
            last,
            hash: sha256.to_hex()[..HASH_DIGITS].to_owned(),
        }
    }

    /// The gateway whose entries they are.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// The day (UTC) of the first entry. Others may be of another hour, and seldom of another day: a
    /// file has entries in the order of the log, not of the clock.
    pub fn day(&self) -> &str {
        &self.day
    }

    /// The entries in it.
    pub const fn entries(&self) -> Range<u64> {
        self.first..self.last + 1
    }

    /// The beginning of the file's hash, in hex digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether it can be the name of a file with this hash.
    pub fn is_of(&self, sha256: &Sha256Digest) -> bool {
        sha256.to_hex().starts_with(&self.hash)
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            day,
            gateway,
            first,
            last,
            hash,
        } = self;
        write!(
            f,
            "day={day}/gateway={gateway}/{first:0NUMBER_DIGITS$}-{last:0NUMBER_DIGITS$}-{hash}.parquet"
        )
    }
}

impl FromStr for ArchiveName {
    type Err = InvalidArchiveName;

    fn from_str(text: &str) -> Result<Self, InvalidArchiveName> {
        read(text)
            .filter(|name| name.to_string() == text)
            .ok_or_else(|| InvalidArchiveName {
                name: text.chars().take(256).collect(),
            })
    }
}

fn read(text: &str) -> Option<ArchiveName> {
    let (day, rest) = text.strip_prefix("day=")?.split_once('/')?;
    let (gateway, rest) = rest.strip_prefix("gateway=")?.split_once('/')?;
    let mut parts = rest.strip_suffix(".parquet")?.split('-');
    let (Some(first), Some(last), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let is_hash = hash.len() == HASH_DIGITS && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let midnight: Timestamp = format!("{day}T00:00:00Z").parse().ok()?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let is_range = first <= last && last <= base::json::MAX_INTEGER;
    (is_hash && is_range && midnight.utc_day() == day).then(|| ArchiveName {
        day: day.to_owned(),
        gateway: gateway.to_owned(),
        first,
        last,
        hash: hash.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_what_and_which() {
        let time = "2026-11-21T23:59:59.5Z".parse().unwrap();
        let hash = Sha256Digest::of(b"x");
        let name = ArchiveName::new(time, "gw-1", 7, 50_006, &hash);
        let text = name.to_string();
        assert_eq!(
            text,
            "day=2026-11-21/gateway=gw-1/0000000000000007-0000000000050006-2d711642b726b044.parquet"
        );
        assert_eq!(text.parse(), Ok(name.clone()));
        assert_eq!(name.entries(), 7..50_007);
        assert!(name.is_of(&hash) && !name.is_of(&Sha256Digest::of(b"y")));
        for (from, to) in [
            ("day=", "date="),
            ("2026-11-21", "2026-02-30"),
            ("2026-11-21", ".."),
            ("gw-1/", "../"),
            ("gw-1/", "gw-1/x/"),
            ("0000000000000007", "7"),
            ("0000000000000007", "0000000000050007"),
            ("2d71", "2D71"),
            ("2d71", "2d7"),
            (".parquet", ".parquet.tmp"),
        ] {
            let other = text.replacen(from, to, 1);
            let read = other.parse::<ArchiveName>();
            assert!(read.is_err() || to == "../", "{other}");
        }
    }
}
