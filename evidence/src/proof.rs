//! Proofs of one event (c2sp.org/tlog-proof@v1): what a stranger needs beside the entry itself.
//!
//! The entry is not part of the proof; it is a file of its own beside it, as `spicy` expects, and
//! keeps the proof of one event out of 10⁸ below two kilobytes.

use std::fmt;
use std::str::FromStr;

use base::Sha256Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seal::note::NoteVerifier;

use crate::checkpoint::{Checkpoint, InvalidCheckpoint, parse_decimal, parse_hash};
use crate::merkle::{leaf_hash, verify_inclusion};
use crate::{Event, InvalidEvent};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Larger texts are no proofs.
const MAX_PROOF_BYTES: usize = 128 * 1024;
/// A path in a tree of 2⁶⁴ entries.
const MAX_HASHES: usize = 64;

/// A proof, read and not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The entry's index in the log.
    pub index: u64,
    /// The path from the leaf to the root, sibling first.
    pub hashes: Vec<Sha256Digest>,
    /// Unauthenticated bytes that other programs may have added; never used.
    pub extra: Option<Vec<u8>>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

/// An event that a log's key vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenEvent {
    /// The entry's index in the log.
    pub index: u64,
    /// What the entry says.
    pub event: Event,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// Not a proof.
    #[error("line {line} is not what a {HEADER} text has there")]
    Malformed {
        /// The line, from 1.
        line: usize,
    },
    /// The checkpoint in it is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] InvalidCheckpoint),
    /// The checkpoint covers fewer entries.
    #[error("the proof is for entry {index} and its checkpoint covers only {size} entries")]
    Beyond {
        /// The index claimed.
        index: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// This entry does not stand at this index of that log.
    #[error("the entry is not what the log has at index {index}; the entry or the proof was changed")]
    NotIncluded {
        /// The index claimed.
        index: u64,
    },
    /// The log holds these bytes and they are no event.
    #[error("the log holds these bytes at index {index}, and they are no event")]
    Event {
        /// The index.
        index: u64,
        /// What is wrong with them.
        source: InvalidEvent,
    },
    /// The log holds an event that says it belongs elsewhere.
    #[error("the entry at index {index} says that it is entry {seq} of gateway {gateway:?}")]
    Misplaced {
        /// The index.
        index: u64,
        /// The sequence number in the event.
        seq: u64,
        /// The gateway in the event.
        gateway: String,
    },
}

/// Verifies that `entry` stands in the log whose key `verifier` is, as `text` proves.
///
/// # Errors
/// [`InvalidProof`].
pub fn verify_proof(text: &str, entry: &[u8], verifier: &NoteVerifier) -> Result<ProvenEvent, InvalidProof> {
    text.parse::<Proof>()?.verify(entry, verifier)
}

impl Proof {
    /// Verifies that `entry` stands in the log whose key `verifier` is.
    ///
    /// # Errors
    /// [`InvalidProof`].
    pub fn verify(&self, entry: &[u8], verifier: &NoteVerifier) -> Result<ProvenEvent, InvalidProof> {
        let checkpoint = self.verify_leaf(&leaf_hash(entry), verifier)?;
        let index = self.index;
        let event = Event::from_entry(entry).map_err(|source| InvalidProof::Event { index, source })?;
        if event.seq != index || event.gateway != checkpoint.origin().gateway() {
            return Err(InvalidProof::Misplaced {
                index,
                seq: event.seq,
                gateway: event.gateway,
            });
        }
        Ok(ProvenEvent {
            index,
            event,
            checkpoint,
        })
    }

    /// Verifies that an entry which hashes to `leaf` stands in the log whose key `verifier` is. What it
    /// says, nobody knows from this: for entries that expired.
    ///
    /// # Errors
    /// [`InvalidProof`].
    pub fn verify_leaf(
        &self,
        leaf: &Sha256Digest,
        verifier: &NoteVerifier,
    ) -> Result<Checkpoint, InvalidProof> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), verifier)?;
        let (index, size) = (self.index, checkpoint.size());
        if index >= size {
            return Err(InvalidProof::Beyond { index, size });
        }
        verify_inclusion(leaf, index, size, checkpoint.root(), &self.hashes)
            .map_err(|_| InvalidProof::NotIncluded { index })?;
        Ok(checkpoint)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for Proof {
    type Err = InvalidProof;

    fn from_str(text: &str) -> Result<Self, InvalidProof> {
        let malformed = |line| InvalidProof::Malformed { line };
        if text.len() > MAX_PROOF_BYTES {
            return Err(malformed(1));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed(1))?;
        let mut lines = head.split('\n').zip(1..).peekable();
        if lines.next().is_none_or(|(line, _)| line != HEADER) {
            return Err(malformed(1));
        }
        let extra = match lines.peek().and_then(|(line, _)| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                Some(STANDARD.decode(extra).map_err(|_| malformed(2))?)
            }
            None => None,
        };
        let (line, at) = lines.next().ok_or(malformed(2))?;
        let index = line
            .strip_prefix("index ")
            .and_then(parse_decimal)
            .ok_or(malformed(at))?;
        let hashes = lines
            .map(|(line, at)| {
                parse_hash(line)
                    .filter(|_| at < MAX_HASHES + 4)
                    .ok_or(malformed(at))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            index,
            hashes,
            extra,
            checkpoint: checkpoint.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use proptest::prelude::*;
    use seal::SigningKey;

    use super::*;
    use crate::merkle::inclusion_proof;
    use crate::merkle::tests::Leaves;
    use crate::{EventKind, Origin};

    fn key() -> SigningKey {
        SigningKey::ed25519_from_seed(&[7; 32])
    }

    fn verifier() -> NoteVerifier {
        NoteVerifier::new("acme/gw-1", &key().public()).unwrap()
    }

    fn entry(seq: u64, gateway: &str) -> Vec<u8> {
        let mut event = Event::new(EventKind::Start, Timestamp::from_unix_us(0), gateway);
        event.seq = seq;
        event.to_entry().unwrap()
    }

    /// A log of `entries` and the proof of entry `index`.
    fn proof(entries: &[Vec<u8>], index: u64) -> Proof {
        let mut leaves = Leaves(entries.iter().map(|entry| leaf_hash(entry)).collect());
        let size = entries.len() as u64;
        let origin = Origin::new("acme", "gw-1").unwrap();
        let checkpoint = Checkpoint::new(origin, size, leaves.root(size));
        let Ok(hashes) = inclusion_proof(&mut leaves, index, size);
        Proof {
            index,
            hashes,
            extra: None,
            checkpoint: checkpoint.sign(&key()).unwrap(),
        }
    }

    fn log(size: u64) -> Vec<Vec<u8>> {
        (0..size).map(|seq| entry(seq, "gw-1")).collect()
    }

    #[test]
    fn a_proof_proves_its_own_entry_alone() {
        let entries = log(9);
        let text = proof(&entries, 4).to_string();
        let proven = verify_proof(&text, &entries[4], &verifier()).unwrap();
        assert_eq!((proven.index, proven.event.seq), (4, 4));
        let other = verify_proof(&text, &entries[5], &verifier());
        assert_eq!(other, Err(InvalidProof::NotIncluded { index: 4 }));
        let moved = text.replace("index 4", "index 5");
        let moved = verify_proof(&moved, &entries[4], &verifier());
        assert_eq!(moved, Err(InvalidProof::NotIncluded { index: 5 }));
        let beyond = text.replace("index 4", "index 9");
        let beyond = verify_proof(&beyond, &entries[4], &verifier());
        assert_eq!(beyond, Err(InvalidProof::Beyond { index: 9, size: 9 }));
    }

    #[test]
    fn an_entry_that_belongs_elsewhere_proves_nothing_though_it_is_included() {
        for (seq, gateway) in [(7, "gw-1"), (1, "gw-2")] {
            let entries = [entry(0, "gw-1"), entry(seq, gateway)];
            let found = proof(&entries, 1).verify(&entries[1], &verifier());
            assert!(matches!(found, Err(InvalidProof::Misplaced { index: 1, .. })));
        }
        let entries = [b"hello".to_vec()];
        let found = proof(&entries, 0).verify(&entries[0], &verifier());
        assert!(matches!(found, Err(InvalidProof::Event { index: 0, .. })));
    }

    #[test]
    fn extra_bytes_are_read_over_and_not_believed() {
        let entries = log(3);
        let mut with_extra = proof(&entries, 1);
        with_extra.extra = Some(b"anything".to_vec());
        let text = with_extra.to_string();
        assert!(text.contains("\nextra YW55dGhpbmc=\nindex 1\n"));
        assert_eq!(text.parse::<Proof>().unwrap(), with_extra);
        assert!(verify_proof(&text, &entries[1], &verifier()).is_ok());
    }

    #[test]
    fn a_malformed_line_is_named() {
        let text = proof(&log(9), 4).to_string();
        let line = |text: &str| match text.parse::<Proof>() {
            Err(InvalidProof::Malformed { line }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line(&text.replace("@v1", "@v2")), 1);
        assert_eq!(line(&text.replace("index 4", "index 04")), 2);
        assert_eq!(line(&text.replacen('=', "", 1)), 3);
        assert_eq!(line(""), 1);
    }

    proptest! {
        #[test]
        fn one_changed_byte_never_proves_another_entry(
            size in 1u64..40,
            index in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            bit in 0u8..7,
        ) {
            let entries = log(size);
            let index = index.index(entries.len());
            let text = proof(&entries, index as u64).to_string();
            let proven = verify_proof(&text, &entries[index], &verifier()).unwrap();
            let mut changed = text.into_bytes();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(changed) {
                // Lines of signers that nobody asked for are ignored, so a change may be harmless;
                // what it must never do is prove anything else.
                if let Ok(found) = verify_proof(&changed, &entries[index], &verifier()) {
                    prop_assert_eq!(found, proven);
                }
            }
            let mut entry = entries[index].clone();
            let at = at % entry.len();
            entry[at] ^= 1 << bit;
            let intact = proof(&entries, index as u64);
            prop_assert!(intact.verify(&entry, &verifier()).is_err());
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(c2sp.org/tlog-proof@v1\n)?(extra [A-Z=]{0,4}\n)?(index [0-9]{0,3}\n)?\\PC{0,50}(\n\n\\PC{0,20})?") {
            let _ = text.parse::<Proof>();
        }
    }
}
