//! Readers: how a list that came from anywhere is let in, or not.
//!
//! The channel is trusted with nothing but its own silence: any file server, mirror or push may
//! carry a list. What a reader insists on: a CRL key signed the head, the issuer is the one it
//! follows, the number never falls, one number means one list, and the entries hash to what the
//! head says.

use base::{Sha256Digest, Timestamp};
use seal::trust::{Role, TrustRoot};
use seal::{Fingerprint, PredicateType, Subject};

use crate::freshness::is_future;
use crate::head::{body_file, delta_file};
use crate::{Accepted, Entries, Head, List, ListRefused, Seen};

/// How far ahead of the reader's clock a list may be dated.
pub const MAX_CLOCK_SKEW_S: i64 = 300;

/// Follows the lists of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    issuer: String,
    seen: Option<Seen>,
}

/// A head that was judged and found good. Its entries are still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    head: Head,
    head_sha256: Sha256Digest,
    bundle: Vec<u8>,
    signer: Fingerprint,
    known: bool,
}

/// At which moment the signing key must have been valid.
#[derive(Clone, Copy)]
enum Arrival {
    /// The list just came in.
    Now(Timestamp),
    /// The list was accepted earlier and kept. It is judged by its own date: a key that ran out
    /// since, or a clock that jumped back, must not un-revoke anybody.
    Earlier,
}

impl Reader {
    /// A reader of `issuer`'s lists that has seen `seen`, or nothing yet.
    pub fn new(issuer: impl Into<String>, seen: Option<Seen>) -> Self {
        Self {
            issuer: issuer.into(),
            seen,
        }
    }

    /// What this reader has seen.
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Remembers a list, once it is stored and about to be acted on.
    pub fn remember(&mut self, accepted: &Accepted) {
        self.seen = Some(accepted.seen());
    }

    /// Judges a head and its full body.
    ///
    /// # Errors
    /// [`ListRefused`].
    pub fn accept(
        &self,
        head: &[u8],
        body: &[u8],
        trust: &TrustRoot,
        now: Timestamp,
    ) -> Result<Accepted, ListRefused> {
        self.examine(head, trust, now)?.with_body(body)
    }

    /// Judges a head alone, so that its files need not be fetched for nothing.
    ///
    /// # Errors
    /// [`ListRefused`], by the head.
    pub fn examine(&self, head: &[u8], trust: &TrustRoot, now: Timestamp) -> Result<Examined, ListRefused> {
        self.judge(head, trust, Arrival::Now(now))
    }

    /// Judges a head that was accepted earlier and kept.
    pub(crate) fn examine_kept(&self, head: &[u8], trust: &TrustRoot) -> Result<Examined, ListRefused> {
        self.judge(head, trust, Arrival::Earlier)
    }

    fn judge(&self, bundle: &[u8], trust: &TrustRoot, arrival: Arrival) -> Result<Examined, ListRefused> {
        let opened = trust
            .open(bundle, Role::Crl, PredicateType::Crl)
            .map_err(ListRefused::Signature)?;
        let authorised = |at| {
            trust
                .authorises(&opened.signer, Role::Crl, None, at)
                .map(drop)
                .map_err(ListRefused::NotAuthorised)
        };
        if let Arrival::Now(now) = arrival {
            authorised(now)?;
        }
        let head = Head::from_statement(&opened.statement).map_err(ListRefused::Head)?;
        self.check_issuer(&head)?;
        match arrival {
            Arrival::Now(now) => check_date(&head, now)?,
            Arrival::Earlier => authorised(head.this_update)?,
        }
        let head_sha256 = opened.payload_digest();
        self.check_order(&head, head_sha256)?;
        Ok(Examined {
            head,
            head_sha256,
            bundle: bundle.to_vec(),
            signer: opened.signer,
            known: self.seen.is_some_and(|seen| seen.head_sha256 == head_sha256),
        })
    }

    fn check_issuer(&self, head: &Head) -> Result<(), ListRefused> {
        if head.issuer == self.issuer {
            return Ok(());
        }
        Err(ListRefused::Issuer {
            expected: self.issuer.clone(),
            found: head.issuer.clone(),
        })
    }

    fn check_order(&self, head: &Head, head_sha256: Sha256Digest) -> Result<(), ListRefused> {
        let Some(seen) = &self.seen else {
            return Ok(());
        };
        let crl_number = head.crl_number;
        if crl_number < seen.crl_number {
            return Err(ListRefused::Rollback {
                seen: seen.crl_number,
                found: crl_number,
            });
        }
        if crl_number == seen.crl_number && head_sha256 != seen.head_sha256 {
            return Err(ListRefused::Equivocation {
                crl_number,
                seen: seen.head_sha256,
                found: head_sha256,
            });
        }
        if head.root_version < seen.root_version {
            return Err(ListRefused::OlderRoot {
                crl_number,
                seen: seen.root_version,
                found: head.root_version,
            });
        }
        if crl_number == seen.crl_number + 1 && head.prev_head_sha256 != Some(seen.head_sha256) {
            return Err(ListRefused::BrokenChain {
                crl_number,
                seen: seen.head_sha256,
                follows: head.prev_head_sha256,
            });
        }
        Ok(())
    }
}

fn check_date(head: &Head, now: Timestamp) -> Result<(), ListRefused> {
    if is_future(head.this_update, now) {
        return Err(ListRefused::Future {
            crl_number: head.crl_number,
            this_update: head.this_update,
            now,
        });
    }
    Ok(())
}

impl Examined {
    /// The signed part.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the reader has this very list already.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The file that holds the entries.
    pub fn body_file(&self) -> String {
        body_file(self.head.crl_number)
    }

    /// The file that holds what changed since list `held`, if there is one that applies to it.
    pub fn delta_file(&self, held: u64) -> Option<String> {
        (self.head.base_crl_number == Some(held)).then(|| delta_file(self.head.crl_number))
    }

    /// Takes the entries from the full body.
    ///
    /// # Errors
    /// [`ListRefused::BodyHash`], [`ListRefused::Body`] or [`ListRefused::EntryCount`].
    pub fn with_body(&self, body: &[u8]) -> Result<Accepted, ListRefused> {
        let file = self.body_file();
        check_hash(&file, self.head.body_sha256(), body)?;
        let entries = Entries::parse(body).map_err(|source| ListRefused::Body {
            file: file.clone(),
            source,
        })?;
        let (expected, found) = (self.head.entries, entries.len() as u64);
        if expected != found {
            return Err(ListRefused::EntryCount {
                file,
                expected,
                found,
            });
        }
        Ok(Accepted {
            list: List::new(self.head.clone(), self.head_sha256, entries),
            head: self.bundle.clone(),
            body: body.to_vec(),
            delta: None,
            signer: self.signer,
            known: self.known,
        })
    }

    /// Takes the entries from the list at hand and a delta. The delta applies to its exact base
    /// alone, and the result must hash to the full body.
    ///
    /// # Errors
    /// [`ListRefused::DeltaBase`], or as [`Examined::with_body`].
    pub fn with_delta(&self, delta: &[u8], base: &List) -> Result<Accepted, ListRefused> {
        let held = base.crl_number();
        let Some(file) = self
            .delta_file(held)
            .filter(|_| base.issuer() == self.head.issuer)
        else {
            return Err(ListRefused::DeltaBase {
                crl_number: self.head.crl_number,
                base: self.head.base_crl_number,
                held,
            });
        };
        let signed = self.head.files.delta.as_ref().and_then(Subject::sha256);
        check_hash(&file, signed.expect("checked when the head was read"), delta)?;
        let changed = Entries::parse(delta).map_err(|source| ListRefused::Body { file, source })?;
        let mut accepted = self.with_body(&base.entries().with(&changed).to_bytes())?;
        accepted.delta = Some(delta.to_vec());
        Ok(accepted)
    }

    /// Takes the entries from the list at hand and the changes that the head itself repeats, so
    /// that a pushed head needs no second fetch.
    ///
    /// # Errors
    /// [`ListRefused::InlineGap`] where the head does not reach back that far.
    pub fn with_inline(&self, base: &List) -> Result<Accepted, ListRefused> {
        let changed = List::inline_after(&self.head, base.crl_number());
        let body = base.entries().with(&changed).to_bytes();
        self.with_body(&body).map_err(|refused| match refused {
            ListRefused::BodyHash { .. } => ListRefused::InlineGap {
                crl_number: self.head.crl_number,
                held: base.crl_number(),
            },
            other => other,
        })
    }
}

fn check_hash(file: &str, expected: Sha256Digest, bytes: &[u8]) -> Result<(), ListRefused> {
    let found = Sha256Digest::of(bytes);
    if expected == found {
        return Ok(());
    }
    Err(ListRefused::BodyHash {
        file: file.to_owned(),
        expected,
        found,
    })
}

#[cfg(test)]
mod tests;
