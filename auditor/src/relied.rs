//! Reliance: the exceptions by which a judgement let something pass, and when.
//!
//! A report that says "let pass" is worth what two people signed, so what it relied on goes into its
//! evidence, with the moments that have to lie before the exception's end.

use std::collections::BTreeMap;

use base::{Sha256Digest, Timestamp};
use reports::bundle::ExceptionUse;

use crate::terms::Waiver;

/// That an exception let something pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    exception: Sha256Digest,
    first: Timestamp,
    last: Timestamp,
}

impl Use {
    /// What happened from `first` to `last` was let pass for as long as the exception stood.
    pub(crate) fn of(waiver: &Waiver, first: Timestamp, last: Timestamp) -> Self {
        let until = waiver.exception.until.unix_us();
        let stood = Timestamp::from_unix_us(until.saturating_sub(1));
        Self {
            exception: waiver.digest,
            first,
            last: last.min(stood).max(first),
        }
    }
}

/// The exceptions that a judgement relied on, by the digests of their words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relied(BTreeMap<Sha256Digest, Option<(Timestamp, Timestamp)>>);

impl Relied {
    /// Notes that it let something pass.
    pub(crate) fn note(&mut self, used: &Use) {
        let known = self.0.entry(used.exception).or_default();
        *known = Some(known.map_or((used.first, used.last), |(first, last)| {
            (first.min(used.first), last.max(used.last))
        }));
    }

    /// Notes that it is named, whether or not it let anything pass.
    pub(crate) fn name(&mut self, waiver: &Waiver) {
        self.0.entry(waiver.digest).or_default();
    }

    /// Whether the exception whose words have this digest is among them.
    pub(crate) fn has(&self, exception: &Sha256Digest) -> bool {
        self.0.contains_key(exception)
    }

    /// Each of them, as the evidence tells it.
    pub(crate) fn uses(&self) -> Vec<ExceptionUse> {
        let used = self.0.iter().map(|(sha256, times)| ExceptionUse {
            first: times.map(|(first, _)| first),
            last: times.map(|(_, last)| last),
            sha256: *sha256,
        });
        used.collect()
    }
}
