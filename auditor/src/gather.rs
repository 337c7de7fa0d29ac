//! Gathering: every expected log verified, and what is believed folded.
//!
//! A log that was tampered with is not folded at all. Perhaps most of it is as it was; nobody could
//! say which part, and a report must never rest on what somebody chose to leave standing.

use std::ops::ControlFlow;
use std::path::Path;

use base::Timestamp;
use evidence::archive::{ArchivedLog, Source};
use evidence::witness::Cosigned;
use evidence::{
    Checkpoint, Completeness, EventProof, Integrity, NotVerified, ReadError, UnverifiedReader, Verification,
    VerifiedLog, VerifyOptions,
};
use reports::predicate::Period;
use seal::cosignature::CosignatureVerifier;
use seal::note::NoteVerifier;

use crate::doubt::Doubt;
use crate::fold::{Fold, LogFold};
use crate::observation::Observations;
use crate::seen::Seen;
use crate::site::{Gateway, Progress, Site};

/// What all logs of one period say.
#[derive(Debug)]
pub struct Evidence {
    /// Events, folded; what runs did where is in `seen`.
    pub observations: Observations,
    /// What runs did where.
    pub seen: Seen,
    /// The logs that were believed, in the order in which the fold counts them.
    pub logs: Vec<BelievedLog>,
    /// What stands in the way of certainty.
    pub doubts: Vec<Doubt>,
    /// Gateways that should have handed in a log.
    pub gateways_expected: u64,
}

/// A log that was verified whole.
#[derive(Clone, Debug)]
pub struct BelievedLog {
    /// The log.
    pub log: VerifiedLog,
    /// The key that it was verified with.
    pub verifier: NoteVerifier,
    /// The newest checkpoint of it that others cosigned, where one lies beside it.
    pub cosigned: Option<Cosigned>,
    /// The witnesses whose cosignatures may be on it.
    pub witnesses: Vec<CosignatureVerifier>,
}

impl BelievedLog {
    /// The entry at `index` and its proof, under a checkpoint that others cosigned where one covers it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn prove(&self, index: u64) -> Result<EventProof, ReadError> {
        let covering = self
            .cosigned
            .as_ref()
            .filter(|cosigned| index < cosigned.checkpoint().size());
        match covering {
            Some(cosigned) => self.log.prove_under(index, cosigned),
            None => self.log.prove(index),
        }
    }
}

/// Verifies and folds the logs of `gateways` for `period`.
pub fn gather(site: &dyn Site, gateways: Vec<Gateway>, period: Period, now: Timestamp) -> Evidence {
    gather_into(Fold::new(period, now).packing(Seen::default()), site, gateways)
}

/// The same, into a fold of that period, which packs what runs did.
pub(crate) fn gather_into(mut fold: Fold<'_>, site: &dyn Site, mut gateways: Vec<Gateway>) -> Evidence {
    let period = fold.period;
    gateways.sort_by(|a, b| a.verifier.name().cmp(b.verifier.name()));
    let mut logs = Vec::new();
    let mut doubts = Vec::new();
    for (at, gateway) in gateways.iter().enumerate() {
        match open(site, gateway) {
            Ok(ArchivedLog { log, sources }) => {
                let unread = read(&mut fold, &log, sources, gateway);
                if unread.is_some() && log.verification().read_from > 0 {
                    // Something that was verified before is not what it was then. What it is now, the whole
                    // log says, and nothing of a log that was tampered with is believed.
                    gateways[at].verified = None;
                    return gather_into(fold.emptied(), site, gateways);
                }
                doubts.extend(unread);
                doubts.extend(expired(&log, period));
                doubts.extend(unsigned_tail(&log, &gateway.folder, period));
                logs.push(BelievedLog {
                    cosigned: cosigned(&log, gateway),
                    log,
                    verifier: gateway.verifier.clone(),
                    witnesses: gateway.witnesses.clone(),
                });
            }
            Err(doubt) => doubts.push(*doubt),
        }
    }
    let (observations, seen) = fold.finish_packed();
    let gaps = observations.gaps.iter();
    doubts.extend(gaps.map(|gap| Doubt::gap(gap, &observations)));
    Evidence {
        observations,
        seen,
        logs,
        doubts,
        gateways_expected: gateways.len() as u64,
    }
}

/// The cosigned checkpoint beside the log, if a witness of this gateway stands behind it and the log
/// continues it. What is wrong with it is for the verification of the log to say.
fn cosigned(log: &VerifiedLog, gateway: &Gateway) -> Option<Cosigned> {
    let cosigned = Cosigned::read(&gateway.folder, &gateway.verifier)
        .ok()
        .flatten()?;
    let is_known = gateway
        .witnesses
        .iter()
        .any(|witness| cosigned.cosigned_at(witness).is_ok());
    let is_same = log.continues(cosigned.checkpoint()).unwrap_or(false);
    (is_known && is_same).then_some(cosigned)
}

fn open(site: &dyn Site, gateway: &Gateway) -> Result<ArchivedLog, Box<Doubt>> {
    let origin = gateway.verifier.name();
    let held = match &gateway.known_checkpoint {
        None => None,
        Some(signed) => match Checkpoint::open(signed.as_bytes(), &gateway.verifier) {
            Ok(held) => Some(held),
            // Ours to keep, and spoilt: the log may well be whole, and nobody can tell any more.
            Err(invalid) => {
                let cause = format!("the checkpoint kept for this log cannot be read: {invalid}");
                return Err(Box::new(Doubt::missing_log(origin, cause)));
            }
        },
    };
    let mut progress = |evidence::Progress { done, total }| {
        site.note(Progress::Verifying {
            origin,
            entries: done,
            of: total,
        });
    };
    // What is spoilt of it is nothing to begin at.
    let verified = gateway.verified.as_ref();
    let verified = verified.and_then(|signed| Checkpoint::open(signed.as_bytes(), &gateway.verifier).ok());
    let options = VerifyOptions {
        verified,
        held,
        archive: gateway.archive.clone(),
    };
    let (folder, verifier) = (&gateway.folder, &gateway.verifier);
    let opened = match &gateway.archive {
        Some(store) => ArchivedLog::open(folder, verifier, &options, store.as_ref(), &mut progress),
        None => VerifiedLog::open_with(folder, verifier, &options, &mut progress).map(ArchivedLog::from),
    };
    opened.map_err(|error| {
        Box::new(match error {
            NotVerified::Tampered(verification) => tampered(origin, &verification),
            NotVerified::Unseen(verification) => {
                Doubt::missing_log(origin, verification.integrity.to_string())
            }
            // Logs do not vanish by themselves: what was there and is not there was taken away.
            NotVerified::Verify(evidence::VerifyError::NoLog { .. }) if options.held.is_some() => {
                let cause = "the log was deleted; a checkpoint of it is held elsewhere";
                Doubt::tampered_log(origin, cause.to_owned(), None)
            }
            NotVerified::Verify(error) => Doubt::missing_log(origin, error.to_string()),
        })
    })
}

fn tampered(origin: &str, verification: &Verification) -> Doubt {
    match &verification.integrity {
        Integrity::Broken { first_bad, why } => {
            Doubt::tampered_log(origin, why.to_string(), Some(*first_bad))
        }
        Integrity::Whole | Integrity::Unseen { .. } => {
            let first_bad = match verification.completeness {
                Completeness::Cut { found, .. } | Completeness::RolledBack { found, .. } => Some(found),
                _ => None,
            };
            Doubt::tampered_log(origin, verification.completeness.to_string(), first_bad)
        }
    }
}

/// Folds one log. Every entry is proven again as it is read, and every file was, so what was folded
/// before a failure stands.
fn read(fold: &mut Fold<'_>, log: &VerifiedLog, sources: Vec<Source>, gateway: &Gateway) -> Option<Doubt> {
    let origin = gateway.verifier.name();
    let mut folding = fold.log(origin, gateway.audited_to);
    let mut failure = None;
    for source in sources {
        match read_source(&mut folding, log, source, gateway) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => {
                failure = Some(Doubt::missing_log(origin, error.to_string()));
                break;
            }
        }
    }
    folding.finish();
    failure
}

fn read_source(
    folding: &mut LogFold<'_, '_>,
    log: &VerifiedLog,
    source: Source,
    gateway: &Gateway,
) -> Result<ControlFlow<()>, ReadError> {
    let range = source.entries();
    if let (Source::File(file), Some(store)) = (source, &gateway.archive) {
        // A file whose rows this version cannot read as events is no more than a copy of entries.
        if let Ok(flow) = folding.handle_file(&file.read(store.as_ref())?) {
            return Ok(flow);
        }
    }
    for entry in log.events(range) {
        let (index, event) = entry?;
        if folding.handle_entry(index, &event).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Entries that may be of the period and that the site let expire: nobody can tell what they said.
fn expired(log: &VerifiedLog, period: Period) -> Option<Doubt> {
    const HOUR_US: i64 = 3_600_000_000;
    let expiry = log.verification().expired?;
    // Entries stand in the order of the log: within the hour that it begins with, earlier ones may be later.
    let first = log.events(expiry.end..expiry.end + 1).next();
    let whole_from = first.and_then(Result::ok).map(|(_, event)| {
        let hours = event.time.unix_us().div_euclid(HOUR_US) + 1;
        Timestamp::from_unix_us(hours.saturating_mul(HOUR_US))
    });
    (whole_from.is_none_or(|whole_from| period.from < whole_from))
        .then(|| Doubt::expired(log.checkpoint().origin().as_str(), expiry, whole_from))
}

/// Entries of the period that no checkpoint covers yet. They are not believed, so they are missing.
fn unsigned_tail(log: &VerifiedLog, folder: &Path, period: Period) -> Option<Doubt> {
    let origin = log.checkpoint().origin().as_str();
    let waiting = UnverifiedReader::new(folder, log.checkpoint().size()).read_on();
    let concerned = match waiting {
        Ok(events) => events
            .iter()
            .filter(|(_, event)| period.from <= event.time && event.time < period.to)
            .count(),
        Err(error) => return Some(Doubt::missing_log(origin, error.to_string())),
    };
    (concerned > 0).then(|| {
        let cause = format!("{concerned} entries wait for a checkpoint of their gateway");
        Doubt {
            missing: Some(concerned as u64),
            ..Doubt::missing_log(origin, cause)
        }
    })
}
