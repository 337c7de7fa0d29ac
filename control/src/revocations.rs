//! The revocation list, as the load gate asks it.
//!
//! `manifests` and `crl` know nothing of each other; this is where their words meet.

use base::Timestamp;
use manifests::gate::{Freshness, Listed, Question, Revocations, Standing};

/// A list that answers the load gate's questions.
#[derive(Clone, Copy, Debug)]
pub struct ListAsRevocations<'l>(pub &'l crl::List);

impl Revocations for ListAsRevocations<'_> {
    fn freshness(&self, now: Timestamp) -> Freshness {
        let crl_number = self.0.crl_number();
        match self.0.freshness(now) {
            crl::Freshness::Fresh { .. } => Freshness::Fresh { crl_number },
            // A clock that stands before the list cannot say that it is fresh.
            crl::Freshness::Stale { .. } | crl::Freshness::ClockBehind { .. } => Freshness::Stale {
                crl_number,
                next_update: self.0.head().next_update,
            },
        }
    }

    fn standing(&self, question: &Question<'_>) -> Standing {
        let standing = self.0.standing(&crl::Question {
            artifact: *question.artifact,
            manifest: Some(*question.manifest),
            signer: Some(question.signer),
            plugin: question.plugin,
        });
        match standing {
            crl::Standing::Silent => Standing::Silent,
            crl::Standing::Killed { .. } => Standing::Killed,
            crl::Standing::Held(listing) => Standing::Held {
                listed: listed(listing.kind),
                reason: listing.reason.reason(),
                since: listing.since,
            },
            crl::Standing::Revoked(listing) => Standing::Revoked {
                listed: listed(listing.kind),
                reason: listing.reason.reason(),
                since: listing.since,
            },
        }
    }
}

fn listed(kind: crl::Kind) -> Listed {
    match kind {
        crl::Kind::Artifact => Listed::Artifact,
        crl::Kind::Signer => Listed::Signer,
        crl::Kind::Manifest => Listed::Manifest,
        crl::Kind::Plugin => Listed::Plugin,
    }
}
