//! Entries, sorted: the body of a list, and a delta between two of them.
//!
//! A set of entries has exactly one body: sorted by (digest, kind), none twice. So two parties who
//! agree on the entries agree on the body's SHA-256, whichever way the entries reached them.

use base::Sha256Digest;

use crate::{ENTRY_BYTES, Entry, InvalidEntry, Kind};

/// Entries in their one order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(Vec<Entry>);

/// Why bytes are not a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    /// Not a whole number of entries.
    #[error("{bytes} bytes are not a whole number of {ENTRY_BYTES}-byte entries")]
    Length {
        /// Bytes found.
        bytes: usize,
    },
    /// An entry says something that this version cannot enforce.
    #[error("entry {index} cannot be read: {reason}; a newer bailiwick may be needed")]
    Entry {
        /// The entry's position, from 0.
        index: usize,
        /// What is wrong with it.
        reason: InvalidEntry,
    },
    /// An entry stands before one that sorts after it.
    #[error("entry {index} is out of order; entries are sorted by digest and kind")]
    Order {
        /// The entry's position, from 0.
        index: usize,
    },
    /// Two entries name the same thing.
    #[error("entry {index} names the same thing as the entry before it")]
    Duplicate {
        /// The second entry's position, from 0.
        index: usize,
    },
}

impl Entries {
    /// Reads a body or a delta.
    ///
    /// # Errors
    /// [`InvalidBody`]; the first problem met.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidBody> {
        let (chunks, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(InvalidBody::Length { bytes: bytes.len() });
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(chunks.len());
        for (index, chunk) in chunks.iter().enumerate() {
            let entry = Entry::from_bytes(chunk).map_err(|reason| InvalidBody::Entry { index, reason })?;
            match entries.last().map(|last| last.key().cmp(&entry.key())) {
                None | Some(std::cmp::Ordering::Less) => entries.push(entry),
                Some(std::cmp::Ordering::Equal) => return Err(InvalidBody::Duplicate { index }),
                Some(std::cmp::Ordering::Greater) => return Err(InvalidBody::Order { index }),
            }
        }
        Ok(Self(entries))
    }

    /// The one body of these entries.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(Entry::to_bytes).collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    /// The entry of this kind for `digest`.
    pub fn get(&self, kind: Kind, digest: &Sha256Digest) -> Option<&Entry> {
        let key = (*digest, kind);
        let index = self.0.binary_search_by_key(&key, Entry::key).ok()?;
        self.0.get(index)
    }

    /// The entries for `digest`, whatever it names.
    pub fn naming(&self, digest: &Sha256Digest) -> &[Entry] {
        let start = self.0.partition_point(|entry| entry.digest < *digest);
        let end = self.0.partition_point(|entry| entry.digest <= *digest);
        &self.0[start..end]
    }

    /// These entries with those of `delta` added or put in place of what they had. Entries never
    /// leave a list, so this is all that a delta can say.
    pub fn with(&self, delta: &Self) -> Self {
        let mut merged = Vec::with_capacity(self.len() + delta.len());
        let mut old = self.0.iter().peekable();
        for new in &delta.0 {
            while let Some(before) = old.next_if(|entry| entry.key() < new.key()) {
                merged.push(*before);
            }
            old.next_if(|entry| entry.key() == new.key());
            merged.push(*new);
        }
        merged.extend(old);
        Self(merged)
    }
}

/// Sorts; of two entries that name the same thing, the later one stays.
impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let by_key: std::collections::BTreeMap<_, _> =
            entries.into_iter().map(|entry| (entry.key(), entry)).collect();
        Self(by_key.into_values().collect())
    }
}

impl<'e> IntoIterator for &'e Entries {
    type Item = &'e Entry;
    type IntoIter = std::slice::Iter<'e, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{any_entry, entry};

    #[test]
    fn a_body_is_read_only_whole_sorted_and_without_repetition() {
        let (a, b) = (entry(1), entry(2));
        let join = |entries: &[Entry]| entries.iter().flat_map(Entry::to_bytes).collect::<Vec<_>>();
        assert_eq!(Entries::parse(&join(&[a, b])).unwrap().len(), 2);
        assert_eq!(Entries::parse(b""), Ok(Entries::default()));
        assert_eq!(
            Entries::parse(&join(&[a])[..39]),
            Err(InvalidBody::Length { bytes: 39 })
        );
        assert_eq!(
            Entries::parse(&join(&[b, a])),
            Err(InvalidBody::Order { index: 1 })
        );
        assert_eq!(
            Entries::parse(&join(&[a, a])),
            Err(InvalidBody::Duplicate { index: 1 })
        );
        let mut unknown = join(&[a, b]);
        unknown[40 + 32] = 9;
        assert_eq!(
            Entries::parse(&unknown),
            Err(InvalidBody::Entry {
                index: 1,
                reason: InvalidEntry::Kind { found: 9 }
            })
        );
    }

    #[test]
    fn one_digest_may_be_listed_once_per_kind() {
        let artifact = entry(1);
        let plugin = Entry {
            kind: Kind::Plugin,
            ..artifact
        };
        let entries: Entries = [plugin, artifact, entry(2)].into_iter().collect();
        assert_eq!(Entries::parse(&entries.to_bytes()), Ok(entries.clone()));
        assert_eq!(entries.naming(&artifact.digest), [artifact, plugin]);
        assert_eq!(entries.get(Kind::Plugin, &artifact.digest), Some(&plugin));
        assert_eq!(entries.get(Kind::Signer, &artifact.digest), None);
        assert_eq!(entries.naming(&entry(3).digest), []);
    }

    fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::vec(any_entry(), 0..20)
    }

    proptest! {
        #[test]
        fn a_body_round_trips(entries in any_entries()) {
            let entries: Entries = entries.into_iter().collect();
            prop_assert_eq!(Entries::parse(&entries.to_bytes()), Ok(entries));
        }

        #[test]
        fn merging_is_what_a_map_would_do(old in any_entries(), new in any_entries()) {
            // Digests of one byte make collisions between the two likely.
            let small = |entries: Vec<Entry>| -> Entries {
                entries.into_iter().map(|e| Entry {
                    digest: Sha256Digest::from_bytes([e.digest.as_bytes()[0] % 4; 32]), ..e
                }).collect()
            };
            let (old, new) = (small(old), small(new));
            let map: BTreeMap<_, _> = old.iter().chain(&new).map(|e| (e.key(), *e)).collect();
            let merged = old.with(&new);
            prop_assert_eq!(merged.iter().copied().collect::<Vec<_>>(), map.into_values().collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_the_reader_panic_and_what_reads_is_canonical(bytes in prop::collection::vec(0u8..6, 0..200)) {
            if let Ok(entries) = Entries::parse(&bytes) {
                prop_assert_eq!(entries.to_bytes(), bytes);
            }
        }
    }
}
