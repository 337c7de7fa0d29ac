//! A list: a head and the entries that it speaks of.

use base::{Sha256Digest, Timestamp};

use crate::standing::{self, Question, Standing};
use crate::{Entries, Entry, Freshness, Head, KillSwitch, Seen};

/// A revocation list that was issued here or accepted from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    head: Head,
    head_sha256: Sha256Digest,
    entries: Entries,
}

impl List {
    /// Joins a head to the entries that hash to what it names; the caller has made sure of that.
    pub(crate) fn new(head: Head, head_sha256: Sha256Digest, entries: Entries) -> Self {
        Self {
            head,
            head_sha256,
            entries,
        }
    }

    /// The signed part.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The SHA-256 of the head's signed payload: how other documents refer to this list. The
    /// envelope around it has parts that no signature covers, so the file's own hash would not do.
    pub fn head_sha256(&self) -> Sha256Digest {
        self.head_sha256
    }

    /// The list's number.
    pub fn crl_number(&self) -> u64 {
        self.head.crl_number
    }

    /// Who issued it.
    pub fn issuer(&self) -> &str {
        &self.head.issuer
    }

    /// What is stopped before any lookup.
    pub fn kill_switch(&self) -> &KillSwitch {
        &self.head.kill_switch
    }

    /// All entries, releases included.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Whether a newer list is due.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        Freshness::at(now, self.head.this_update, self.head.next_update)
    }

    /// The answer to one question. For many, make a [`crate::RevocationSet`].
    pub fn standing(&self, question: &Question<'_>) -> Standing {
        let lookup = |kind, digest: &Sha256Digest| self.entries.get(kind, digest).copied();
        standing::decide(self.crl_number(), self.kill_switch(), question, lookup)
    }

    /// What a reader remembers of this list.
    pub fn seen(&self) -> Seen {
        Seen {
            root_version: self.head.root_version,
            crl_number: self.head.crl_number,
            head_sha256: self.head_sha256,
        }
    }

    /// The inline changes that lists after `number` made, as one delta. Whether the head reaches
    /// back that far is for the body's hash to say.
    pub(crate) fn inline_after(head: &Head, number: u64) -> Entries {
        let newer = head.inline.iter().filter(|recent| recent.crl_number > number);
        newer.map(|recent| recent.entry).collect::<Entries>()
    }

    /// The entry for exactly this kind and digest.
    pub fn entry(&self, listed: &crate::Listed) -> Option<&Entry> {
        self.entries.get(listed.kind(), &listed.digest())
    }
}
