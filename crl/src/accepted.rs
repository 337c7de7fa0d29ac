//! Accepted lists, and what a reader remembers of them.

use base::Sha256Digest;
use seal::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::{List, RevocationSet};

/// What a reader has seen: the line behind which it never falls back. Kept on disk before the list
/// is acted on, because a reader that forgets it can be shown an older list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The trust root by which the list was signed.
    pub root_version: u64,
    /// The list's number.
    pub crl_number: u64,
    /// The SHA-256 of its head's payload.
    #[serde(with = "crate::head::bare_hex")]
    pub head_sha256: Sha256Digest,
}

/// A list that passed every test, with the documents that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub(crate) list: List,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) delta: Option<Vec<u8>>,
    pub(crate) signer: Fingerprint,
    pub(crate) known: bool,
}

impl Accepted {
    /// The list.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// The list, without its documents.
    pub fn into_list(self) -> List {
        self.list
    }

    /// The list in the form in which questions are put to it.
    pub fn set(&self) -> RevocationSet {
        RevocationSet::from(&self.list)
    }

    /// The head's bundle.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The delta from the list before, where it is at hand.
    pub fn delta(&self) -> Option<&[u8]> {
        self.delta.as_deref()
    }

    /// The key that signed.
    pub fn signer(&self) -> Fingerprint {
        self.signer
    }

    /// Whether this is the list that the reader had seen last.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// What to remember.
    pub fn seen(&self) -> Seen {
        self.list.seen()
    }
}
