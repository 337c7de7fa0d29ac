//! The body of `POST add-checkpoint`: an old size, the proof from there, and the checkpoint.

use std::fmt;

use base::Sha256Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{MAX_CHECKPOINT_BYTES, parse_decimal, parse_hash};

/// "The client MUST NOT send more than 63 consistency proof lines."
const MAX_HASHES: usize = 63;
/// Larger bodies are no requests: the old size, 63 lines of 45 bytes, and a checkpoint.
pub const MAX_REQUEST_BYTES: usize = MAX_CHECKPOINT_BYTES + 4096;

/// A request for a cosignature, read and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the tree that the proof starts from.
    pub old: u64,
    /// The consistency proof from there to the checkpoint (RFC 6962 §2.1.2).
    pub proof: Vec<Sha256Digest>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Far too long.
    #[error("a request has at most {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    /// No text.
    #[error("a request is UTF-8 text")]
    NotText,
    /// The first line.
    #[error("line 1 is \"old\", one space and a size in decimal")]
    OldSize,
    /// A line of the proof.
    #[error("line {line} is neither a hash in base64 nor the empty line before the checkpoint")]
    Hash {
        /// The line, from 1.
        line: usize,
    },
    /// More lines than any proof has.
    #[error("a proof has at most {MAX_HASHES} lines")]
    TooManyHashes,
}

impl AddCheckpoint {
    /// Reads a request's body. What follows the empty line is left to whoever verifies checkpoints.
    ///
    /// # Errors
    /// [`InvalidRequest`].
    pub fn parse(body: &[u8]) -> Result<Self, InvalidRequest> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(InvalidRequest::TooLong);
        }
        let text = std::str::from_utf8(body).map_err(|_| InvalidRequest::NotText)?;
        let (first, mut rest) = text.split_once('\n').ok_or(InvalidRequest::OldSize)?;
        let old = first
            .strip_prefix("old ")
            .and_then(parse_decimal)
            .ok_or(InvalidRequest::OldSize)?;
        let mut proof = Vec::new();
        loop {
            let line = proof.len() + 2;
            let (hash, after) = rest.split_once('\n').ok_or(InvalidRequest::Hash { line })?;
            rest = after;
            if hash.is_empty() {
                break;
            }
            if proof.len() == MAX_HASHES {
                return Err(InvalidRequest::TooManyHashes);
            }
            proof.push(parse_hash(hash).ok_or(InvalidRequest::Hash { line })?);
        }
        Ok(Self {
            old,
            proof,
            checkpoint: rest.to_owned(),
        })
    }
}

/// The body as it is sent.
impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{}", STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// c2sp.org/tlog-witness, "Example request body".
    const PUBLISHED: &str = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn the_published_example_reads_and_is_written_back() {
        let request = AddCheckpoint::parse(PUBLISHED.as_bytes()).unwrap();
        assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
        assert!(
            request
                .checkpoint
                .starts_with("example.com/behind-the-sofa\n20852163\n")
        );
        assert_eq!(request.to_string(), PUBLISHED);
    }

    #[test]
    fn a_request_has_exactly_one_spelling() {
        for (from, to, wrong) in [
            ("old 20852014", "old 020852014", InvalidRequest::OldSize),
            ("old 20852014", "old +20852014", InvalidRequest::OldSize),
            ("old 20852014", "old  20852014", InvalidRequest::OldSize),
            ("old 20852014", "old 20852014\r", InvalidRequest::OldSize),
            ("old 20852014", "20852014", InvalidRequest::OldSize),
            (
                "old 20852014",
                "old 99999999999999999999",
                InvalidRequest::OldSize,
            ),
            ("3swk=\n", "3swk=\r\n", InvalidRequest::Hash { line: 3 }),
            ("3swk=\n", "3swk\n", InvalidRequest::Hash { line: 3 }),
            ("3swk=\n", "AAAA\n", InvalidRequest::Hash { line: 3 }),
            ("Kj/0=\n\n", "Kj/0=\n", InvalidRequest::Hash { line: 6 }),
        ] {
            let changed = PUBLISHED.replacen(from, to, 1);
            assert_ne!(changed, PUBLISHED);
            assert_eq!(AddCheckpoint::parse(changed.as_bytes()), Err(wrong), "{to:?}");
        }
        assert_eq!(AddCheckpoint::parse(b""), Err(InvalidRequest::OldSize));
        assert_eq!(
            AddCheckpoint::parse(b"old 1\n"),
            Err(InvalidRequest::Hash { line: 2 })
        );
        assert_eq!(AddCheckpoint::parse(b"old 1\n\xff"), Err(InvalidRequest::NotText));
    }

    #[test]
    fn more_lines_than_a_proof_has_and_more_bytes_than_a_request_has_are_refused() {
        let hash = STANDARD.encode([7; 32]);
        let body = |lines: usize| format!("old 1\n{}\nx\n", format!("{hash}\n").repeat(lines));
        assert_eq!(AddCheckpoint::parse(body(63).as_bytes()).unwrap().proof.len(), 63);
        assert_eq!(
            AddCheckpoint::parse(body(64).as_bytes()),
            Err(InvalidRequest::TooManyHashes)
        );
        let long = format!("old 1\n\n{}", "x".repeat(MAX_REQUEST_BYTES));
        assert_eq!(
            AddCheckpoint::parse(long.as_bytes()),
            Err(InvalidRequest::TooLong)
        );
    }

    proptest! {
        #[test]
        fn every_request_reads_back(
            old in any::<u64>(),
            proof in prop::collection::vec(any::<[u8; 32]>(), 0..=63),
            checkpoint in "\\PC{0,80}\n?",
        ) {
            let proof = proof.into_iter().map(Sha256Digest::from_bytes).collect();
            let request = AddCheckpoint { old, proof, checkpoint };
            prop_assert_eq!(AddCheckpoint::parse(request.to_string().as_bytes()), Ok(request));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(body in "(old [0-9]{0,3})?\n?([A-Za-z0-9+/=]{0,48}\n){0,3}\n?\\PC{0,20}") {
            if let Ok(request) = AddCheckpoint::parse(body.as_bytes()) {
                prop_assert_eq!(request.to_string(), body);
            }
        }
    }
}
