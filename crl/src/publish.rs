//! Publishing: from a list and some changes to the next list.

use std::time::Duration;

use base::{Sha256Digest, Timestamp, json};
use seal::envelope::{self, EnvelopeError, Unverified};
use seal::{PredicateType, SigningKey, Subject};

use crate::change::Draft;
use crate::head::{Files, MAX_INLINE, Recent, body_file, delta_file};
use crate::{
    Accepted, Change, ChangeRefused, Effect, Entry, Head, InvalidHead, InvalidRevokedAt, List, RevokedAt,
};

/// Under what terms a list is issued.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'t> {
    /// The site's name; the same in every list of a chain.
    pub issuer: &'t str,
    /// The version of the trust root in force.
    pub root_version: u64,
    /// The moment of issue, which is also the moment of every change.
    pub now: Timestamp,
    /// After how long the next list is due.
    pub validity: Duration,
}

/// A list that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    accepted: Accepted,
    effects: Vec<Effect>,
}

/// Why no list was issued. The previous one stays the newest.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A change may not be made.
    #[error(transparent)]
    Change(#[from] ChangeRefused),
    /// The clock is out of the range that entries can carry.
    #[error(transparent)]
    Moment(#[from] InvalidRevokedAt),
    /// The chain belongs to somebody else.
    #[error(
        "cannot continue the list of {previous:?} as {issuer:?}: a chain has one issuer; check `site` in the configuration"
    )]
    Issuer {
        /// Who issued the previous list.
        previous: String,
        /// Who wanted to issue the next.
        issuer: String,
    },
    /// The trust root was rolled back.
    #[error(
        "cannot issue a list under trust root version {found}: the list before names version {previous}; restore the newest root.json"
    )]
    OlderRoot {
        /// The version that the previous list names.
        previous: u64,
        /// The version at hand.
        found: u64,
    },
    /// The list would be stale at birth.
    #[error("cannot issue a list that is valid for {validity:?}; the shortest is a second")]
    Validity {
        /// What was asked for.
        validity: Duration,
    },
    /// The last number was used.
    #[error(
        "cannot issue a list after number {number}: JSON readers keep no larger number; start a chain under another issuer name"
    )]
    Numbers {
        /// The last number.
        number: u64,
    },
    /// Readers would refuse the head for its size.
    #[error(
        "the head of the list would have {bytes} bytes, more than the {} that readers take; name fewer plugins in the kill switch",
        json::MAX_BYTES
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The head would contradict itself, for example for want of an issuer.
    #[error("cannot issue a list that readers would refuse")]
    Head(#[source] InvalidHead),
    /// The head cannot be signed.
    #[error("cannot sign the head of the list")]
    Seal(#[source] EnvelopeError),
}

/// What `changes` would do to a list, without issuing anything: every effect, or the refusal.
///
/// # Errors
/// [`ChangeRefused`].
pub fn preview(previous: Option<&List>, changes: &[Change]) -> Result<Vec<Effect>, ChangeRefused> {
    let epoch = RevokedAt::try_from(Timestamp::from_unix_us(0)).expect("1970 is where entries count from");
    Ok(draft(previous, changes, epoch)?.effects)
}

/// Issues the list after `previous` (the first, if there is none) with `changes`, all or none.
/// Without changes this is a refresh: the same entries under a new number, due later.
///
/// The clock may stand before the previous list's: the number is what orders lists, and a kill
/// switch that waits for a clock would be none.
///
/// # Errors
/// [`PublishError`].
pub fn publish(
    previous: Option<&List>,
    changes: &[Change],
    terms: &Terms<'_>,
    key: &SigningKey,
) -> Result<Published, PublishError> {
    let number = next_number(previous, terms)?;
    let draft = draft(previous, changes, RevokedAt::try_from(terms.now)?)?;
    let changed = draft.delta();
    let entries = previous.map_or_else(|| changed.clone(), |list| list.entries().with(&changed));
    let body = entries.to_bytes();
    let delta = previous.map(|_| changed.to_bytes());
    let head = Head {
        issuer: terms.issuer.to_owned(),
        crl_number: number,
        base_crl_number: previous.map(List::crl_number),
        prev_head_sha256: previous.map(List::head_sha256),
        root_version: terms.root_version,
        this_update: terms.now,
        next_update: next_update(terms)?,
        entries: entries.len() as u64,
        kill_switch: draft.kill_switch.clone(),
        inline: recent(previous, number, &draft.made),
        files: Files {
            full: Subject::new(body_file(number), &Sha256Digest::of(&body)),
            delta: delta
                .as_ref()
                .map(|delta| Subject::new(delta_file(number), &Sha256Digest::of(delta))),
            filter: None,
            shard_index: None,
        },
    };
    let (bundle, head_sha256) = sign(&head, key)?;
    Ok(Published {
        effects: draft.effects,
        accepted: Accepted {
            list: List::new(head, head_sha256, entries),
            head: bundle,
            body,
            delta,
            signer: key.public().fingerprint(),
            known: false,
        },
    })
}

impl Published {
    /// The list, as the one who issued it accepts it.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// The same, by value.
    pub fn into_accepted(self) -> Accepted {
        self.accepted
    }

    /// The list.
    pub fn list(&self) -> &List {
        self.accepted.list()
    }

    /// The head's bundle: the file [`crate::HEAD_FILE`].
    pub fn head(&self) -> &[u8] {
        self.accepted.head()
    }

    /// The file [`body_file`].
    pub fn body(&self) -> &[u8] {
        self.accepted.body()
    }

    /// The file [`delta_file`]; the first list has none.
    pub fn delta(&self) -> Option<&[u8]> {
        self.accepted.delta()
    }

    /// What became of each change, in the order in which they were handed in.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }
}

fn draft<'l>(
    previous: Option<&'l List>,
    changes: &[Change],
    moment: RevokedAt,
) -> Result<Draft<'l>, ChangeRefused> {
    let mut draft = Draft::new(previous);
    changes
        .iter()
        .try_for_each(|change| draft.apply(change, moment))?;
    Ok(draft)
}

fn next_number(previous: Option<&List>, terms: &Terms<'_>) -> Result<u64, PublishError> {
    let Some(list) = previous else {
        return Ok(1);
    };
    if list.issuer() != terms.issuer {
        return Err(PublishError::Issuer {
            previous: list.issuer().to_owned(),
            issuer: terms.issuer.to_owned(),
        });
    }
    if terms.root_version < list.head().root_version {
        return Err(PublishError::OlderRoot {
            previous: list.head().root_version,
            found: terms.root_version,
        });
    }
    let number = list.crl_number();
    if number >= json::MAX_INTEGER {
        return Err(PublishError::Numbers { number });
    }
    Ok(number + 1)
}

fn next_update(terms: &Terms<'_>) -> Result<Timestamp, PublishError> {
    let seconds = i64::try_from(terms.validity.as_secs()).unwrap_or(i64::MAX);
    let next = terms.now.plus_seconds(seconds);
    if next > terms.now {
        Ok(next)
    } else {
        Err(PublishError::Validity {
            validity: terms.validity,
        })
    }
}

/// The last changes: what the previous head repeats, and what is made now.
fn recent(previous: Option<&List>, number: u64, made: &[Entry]) -> Vec<Recent> {
    let mut inline: Vec<Recent> = previous
        .map(|list| list.head().inline.clone())
        .unwrap_or_default();
    inline.extend(made.iter().map(|&entry| Recent {
        crl_number: number,
        entry,
    }));
    inline.split_off(inline.len().saturating_sub(MAX_INLINE))
}

fn sign(head: &Head, key: &SigningKey) -> Result<(Vec<u8>, Sha256Digest), PublishError> {
    let bundle = envelope::seal(&head.to_statement(), key).map_err(PublishError::Seal)?;
    if bundle.len() > json::MAX_BYTES {
        return Err(PublishError::TooLarge { bytes: bundle.len() });
    }
    // Opened again, so that nothing is ever issued that a reader of the same version would refuse.
    let opened = Unverified::parse(&bundle)
        .and_then(|bundle| bundle.verify([&key.public()], PredicateType::Crl))
        .map_err(PublishError::Seal)?;
    Head::from_statement(&opened.statement).map_err(PublishError::Head)?;
    Ok((bundle, opened.payload_digest()))
}

#[cfg(test)]
mod tests {
    use base::Reason;

    use super::*;
    use crate::Listed;
    use crate::fixture::{Desk, artifact, at, key, listed};

    #[test]
    fn the_first_list_has_number_one_and_nothing_before_it() {
        let mut desk = Desk::new();
        desk.publish(&[]);
        let head = desk.list().head();
        assert_eq!((head.crl_number, head.entries), (1, 0));
        assert_eq!((head.base_crl_number, head.prev_head_sha256), (None, None));
        assert_eq!((desk.newest().body(), desk.newest().delta()), (&b""[..], None));
    }

    #[test]
    fn a_refresh_says_the_same_under_a_new_number_and_is_due_later() {
        let mut desk = Desk::new();
        desk.hold(1);
        let before = desk.list().clone();
        desk.publish(&[]);
        let after = desk.list();
        assert_eq!(after.entries(), before.entries());
        assert_eq!(after.crl_number(), 2);
        assert_eq!(after.head().prev_head_sha256, Some(before.head_sha256()));
        assert!(after.head().next_update > before.head().next_update);
        assert_eq!(after.head().inline, before.head().inline);
    }

    #[test]
    fn the_head_repeats_the_last_256_changes() {
        let mut desk = Desk::new();
        let change = |byte: u16| {
            let digest = Sha256Digest::of(&byte.to_be_bytes());
            Change::hold(Listed::Manifest(digest), Reason::SdkDrift)
        };
        desk.publish(&(0..255).map(change).collect::<Vec<_>>());
        desk.publish(&[change(255), change(256)]);
        let inline = &desk.list().head().inline;
        assert_eq!(inline.len(), MAX_INLINE);
        assert_eq!(inline[0].entry.digest, Sha256Digest::of(&1u16.to_be_bytes()));
        assert_eq!(inline[255].entry.digest, Sha256Digest::of(&256u16.to_be_bytes()));
        assert_eq!((inline[253].crl_number, inline[254].crl_number), (1, 2));
    }

    #[test]
    fn terms_that_cannot_be_kept_are_refused() {
        let mut desk = Desk::new();
        desk.hold(1);
        let publish = |change: &dyn Fn(&mut Terms<'static>)| {
            let mut terms = desk.terms();
            change(&mut terms);
            publish(Some(desk.list()), &[], &terms, &key(1)).map(|published| published.list().clone())
        };
        assert!(matches!(
            publish(&|t| t.issuer = "evil"),
            Err(PublishError::Issuer { .. })
        ));
        assert!(matches!(
            publish(&|t| t.root_version = 2),
            Err(PublishError::OlderRoot {
                previous: 3,
                found: 2
            })
        ));
        assert!(publish(&|t| t.root_version = 4).is_ok());
        for validity in [Duration::ZERO, Duration::from_millis(999)] {
            assert!(matches!(
                publish(&|t| t.validity = validity),
                Err(PublishError::Validity { .. })
            ));
        }
        assert!(publish(&|t| t.validity = Duration::MAX).is_ok());
        for moment in ["1969-12-31T23:59:59Z", "2106-02-07T06:28:16Z"] {
            assert!(matches!(
                publish(&|t| t.now = at(moment)),
                Err(PublishError::Moment(_))
            ));
        }
        assert!(matches!(
            publish(&|t| t.root_version = u64::MAX),
            Err(PublishError::Seal(_))
        ));
        let nobody = Terms {
            issuer: "",
            ..desk.terms()
        };
        assert!(matches!(
            super::publish(None, &[], &nobody, &key(1)),
            Err(PublishError::Head(_))
        ));
    }

    #[test]
    fn a_clock_that_jumped_back_stops_no_revocation() {
        let mut desk = Desk::new();
        desk.hold(1);
        desk.now = at("2025-01-01T00:00:00Z");
        assert_eq!(desk.revoke(1), Effect::Changed);
        assert_eq!(desk.list().crl_number(), 2);
    }

    #[test]
    fn either_kind_of_key_signs() {
        let desk = Desk::new();
        let p256 = SigningKey::p256_from_seed(&[1; 32]).unwrap();
        let published = publish(
            None,
            &[Change::hold(listed(1), Reason::Malware)],
            &desk.terms(),
            &p256,
        )
        .unwrap();
        assert_eq!(published.accepted().signer(), p256.public().fingerprint());
        assert_eq!(published.list().entries().naming(artifact(1).sha256()).len(), 1);
    }
}
