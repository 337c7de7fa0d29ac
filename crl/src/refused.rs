//! Refusals: why a list is not accepted. Whatever the reason, the last good list stays in force.

use base::{Sha256Digest, Timestamp};
use seal::envelope::EnvelopeError;
use seal::trust::NotAuthorised;

use crate::{InvalidBody, InvalidHead};

/// Why a list is refused. Each is worth an alarm; [`ListRefused::code`] tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListRefused {
    /// Unsigned, cut short, changed, or signed by a key without the role `crl`.
    #[error(
        "refused a revocation list head that no CRL key of the trust root signed; fetch it again, and if that fails ask the issuer whether the key changed"
    )]
    Signature(#[source] EnvelopeError),
    /// Signed by a CRL key outside its time.
    #[error("refused a revocation list head whose key may not sign now; issue a list with a valid CRL key")]
    NotAuthorised(#[source] NotAuthorised),
    /// Signed, and yet no head of a list.
    #[error(
        "refused a signed revocation list head that this version cannot read; compare the versions of issuer and reader"
    )]
    Head(#[source] InvalidHead),
    /// Another site's list.
    #[error(
        "refused the revocation list of {found:?}: this reader follows {expected:?}; check where the list is fetched from"
    )]
    Issuer {
        /// Whom this reader follows.
        expected: String,
        /// Who issued the list.
        found: String,
    },
    /// Dated further ahead than clocks may differ.
    #[error(
        "refused revocation list {crl_number}: it is dated {this_update}, and here it is {now}; compare the clocks of issuer and reader"
    )]
    Future {
        /// The list's number.
        crl_number: u64,
        /// When it claims to be issued.
        this_update: Timestamp,
        /// The reader's clock.
        now: Timestamp,
    },
    /// Issued under an older trust root than the list before.
    #[error(
        "refused revocation list {crl_number}: it was issued under trust root version {found} after version {seen} was seen; restore the issuer's newest root.json"
    )]
    OlderRoot {
        /// The list's number.
        crl_number: u64,
        /// The root version seen before.
        seen: u64,
        /// The root version of this list.
        found: u64,
    },
    /// An older list than the one seen last.
    #[error(
        "refused revocation list {found}: list {seen} was seen before, so somebody is serving an old one; fetch the newest from the issuer"
    )]
    Rollback {
        /// The number seen before.
        seen: u64,
        /// The number of this list.
        found: u64,
    },
    /// Two lists with one number: the issuer, or whoever has its key, speaks with two tongues.
    #[error(
        "refused revocation list {crl_number}: another list with this number was seen before (head {seen}, now {found}); keep both heads and treat the CRL key as compromised"
    )]
    Equivocation {
        /// The number of both.
        crl_number: u64,
        /// The head seen before.
        seen: Sha256Digest,
        /// The head of this list.
        found: Sha256Digest,
    },
    /// The next number, after another list than the one seen: equivocation a step earlier.
    #[error(
        "refused revocation list {crl_number}: it does not follow the list seen before it (head {seen}); keep both heads and treat the CRL key as compromised"
    )]
    BrokenChain {
        /// The list's number.
        crl_number: u64,
        /// The head seen before.
        seen: Sha256Digest,
        /// The head that the list claims to follow.
        follows: Option<Sha256Digest>,
    },
    /// The body, or what a delta made of the base, is not what the head names.
    #[error(
        "refused {file}: its sha256 is {found}, and the signed head says {expected}; fetch the full body again"
    )]
    BodyHash {
        /// The file named.
        file: String,
        /// The hash in the head.
        expected: Sha256Digest,
        /// The hash found.
        found: Sha256Digest,
    },
    /// The body is what the head names, and is no body.
    #[error("refused {file}: the issuer signed a body that cannot be read")]
    Body {
        /// The file named.
        file: String,
        /// What is wrong with it.
        source: InvalidBody,
    },
    /// The body has another number of entries than the head says.
    #[error(
        "refused {file}: it has {found} entries, and the signed head says {expected}; ask the issuer to publish again"
    )]
    EntryCount {
        /// The file named.
        file: String,
        /// The number in the head.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// A delta for another base than the list at hand.
    #[error("cannot apply the delta of revocation list {crl_number} to list {held}: it is made for {}; fetch the full body", base.map_or("no list".to_owned(), |number| format!("list {number}")))]
    DeltaBase {
        /// The number of the new list.
        crl_number: u64,
        /// The base that the delta is made for.
        base: Option<u64>,
        /// The list at hand.
        held: u64,
    },
    /// The inline changes do not lead from the list at hand to the new one.
    #[error(
        "the inline changes of revocation list {crl_number} do not reach back to list {held}; fetch the full body"
    )]
    InlineGap {
        /// The number of the new list.
        crl_number: u64,
        /// The list at hand.
        held: u64,
    },
}

impl ListRefused {
    /// A word for metrics, events and JSON, distinct for each case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Signature(_) => "signature",
            Self::NotAuthorised(_) => "not_authorised",
            Self::Head(_) => "head",
            Self::Issuer { .. } => "issuer",
            Self::Future { .. } => "future",
            Self::OlderRoot { .. } => "older_root",
            Self::Rollback { .. } => "rollback",
            Self::Equivocation { .. } => "equivocation",
            Self::BrokenChain { .. } => "broken_chain",
            Self::BodyHash { .. } => "body_hash",
            Self::Body { .. } => "body",
            Self::EntryCount { .. } => "entry_count",
            Self::DeltaBase { .. } => "delta_base",
            Self::InlineGap { .. } => "inline_gap",
        }
    }

    /// Whether the full body would settle it: the head itself is good, and this way to the entries
    /// is not.
    pub const fn wants_full_body(&self) -> bool {
        matches!(
            self,
            Self::BodyHash { .. } | Self::DeltaBase { .. } | Self::InlineGap { .. }
        )
    }
}
