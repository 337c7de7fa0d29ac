//! Credentials that prove nothing any more, or prove two things at once.
//!
//! A token that is presented after its run ended was kept by somebody. Who that was cannot be known:
//! the token is all there is, and it is named by its fingerprint, never by its value. So this is
//! written into the report of the run whose token it was, and stands against nobody.

use base::{Reason, RefusalReason, RunId, Severity};
use reports::predicate::Finding;

use crate::judge::Case;
use crate::observation::Stray;
use crate::tally::Tally;

/// Fingerprints that one finding spells out.
const MAX_FINGERPRINTS: usize = 3;

/// What presenting such credentials is called, if it is worth a finding: a client that forgot its
/// own is not.
pub fn misuse(refusal: RefusalReason) -> Option<Reason> {
    match refusal {
        RefusalReason::RunEnded | RefusalReason::CredentialsExpired | RefusalReason::CredentialsInvalid => {
            Some(Reason::CredentialsReplayed)
        }
        RefusalReason::CredentialsConflict => Some(Reason::CredentialsConflict),
        _ => None,
    }
}

/// Refusals that name the run whose credentials were presented.
#[derive(Clone, Debug)]
pub struct Misuse<'a> {
    stray: &'a Stray,
    tally: &'a Tally,
    run_id: RunId,
    reason: Reason,
}

impl<'a> Misuse<'a> {
    /// What a stray says about a run's credentials, if anything.
    pub(crate) fn of((stray, tally): (&'a Stray, &'a Tally)) -> Option<Self> {
        Some(Self {
            reason: misuse(stray.refusal?)?,
            run_id: stray.run_id?,
            stray,
            tally,
        })
    }

    /// Whose they were.
    pub(crate) fn run_id(&self) -> RunId {
        self.run_id
    }
}

impl Case<'_> {
    /// One finding for each way in which credentials of the case's runs were misused.
    pub(crate) fn misused_credentials(&self) -> Vec<Finding> {
        [Reason::CredentialsReplayed, Reason::CredentialsConflict]
            .into_iter()
            .filter_map(|reason| self.misuse_finding(reason))
            .collect()
    }

    fn misuse_finding(&self, reason: Reason) -> Option<Finding> {
        let own: Vec<&Misuse<'_>> = self
            .misuses
            .iter()
            .filter(|misuse| misuse.reason == reason)
            .collect();
        let (first, rest) = own.split_first()?;
        let mut tally = first.tally.clone();
        rest.iter().for_each(|misuse| tally.merge(misuse.tally));
        let mut fingerprints: Vec<&str> = own
            .iter()
            .filter_map(|misuse| misuse.stray.credential.as_deref())
            .collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        let more = fingerprints.len().saturating_sub(MAX_FINGERPRINTS);
        fingerprints.truncate(MAX_FINGERPRINTS);
        let mut finding = self.bare_finding(reason, None, None, Severity::Low);
        finding.runs = own.iter().map(|misuse| misuse.run_id).collect();
        finding.runs.sort_unstable();
        finding.runs.dedup();
        finding.first = tally.first;
        finding.last = tally.last;
        finding.connections = tally.connections;
        finding.refused = tally.denied;
        finding.fix = format!(
            "token {}{}: find out who keeps it and where it was written down; it was refused and opens nothing",
            fingerprints.join(", "),
            if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            },
        );
        finding.events = self.references(tally.cited());
        Some(finding)
    }
}
