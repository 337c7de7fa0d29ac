//! The revocation set: a list in the form in which it is asked on every connection.

use std::collections::HashMap;

use base::{Sha256Digest, Timestamp};

use crate::standing::{self, Question, Standing};
use crate::{Action, Entry, Freshness, KillSwitch, Kind, List};

/// What a list says against anybody, for fast lookup. Releases are left out: they say nothing.
#[derive(Clone, Debug)]
pub struct RevocationSet {
    crl_number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    kill_switch: KillSwitch,
    entries: HashMap<(Kind, Sha256Digest), Entry>,
}

impl RevocationSet {
    /// The list's number.
    pub fn crl_number(&self) -> u64 {
        self.crl_number
    }

    /// The kill switch.
    pub fn kill_switch(&self) -> &KillSwitch {
        &self.kill_switch
    }

    /// What the list says; see [`Standing`] for the order of precedence.
    pub fn standing(&self, question: &Question<'_>) -> Standing {
        let lookup = |kind, digest: &Sha256Digest| self.entries.get(&(kind, *digest)).copied();
        standing::decide(self.crl_number, &self.kill_switch, question, lookup)
    }

    /// Whether a newer list is due. The answers count either way.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        Freshness::at(now, self.this_update, self.next_update)
    }
}

impl From<&List> for RevocationSet {
    fn from(list: &List) -> Self {
        let against = list
            .entries()
            .iter()
            .filter(|entry| entry.action != Action::Release);
        Self {
            crl_number: list.crl_number(),
            this_update: list.head().this_update,
            next_update: list.head().next_update,
            kill_switch: list.kill_switch().clone(),
            entries: against
                .map(|entry| ((entry.kind, entry.digest), *entry))
                .collect(),
        }
    }
}
