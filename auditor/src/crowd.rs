//! Crowds: more names than anybody reads one by one.
//!
//! A name need not lead anywhere to carry something: whoever answers for a domain sees every name
//! under it that is looked up. So each name that a run attempts counts, a run that names many is
//! worth knowing about, and what is remembered of one run has an end. What comes after that end is
//! counted and not held against the manifest, and then nobody says that all was well.

use base::{Host, Reason, Severity};
use reports::predicate::Finding;

use crate::judge::Case;
use crate::observation::{Observation, Visited, Who};
use crate::tally::Tally;

/// Distinct hosts of one run in one period from which on it is worth knowing.
pub const NOTED_HOSTS: usize = 500;
/// Distinct destinations that are remembered of one run.
pub(crate) const MAX_DESTINATIONS: usize = 10_000;
/// Names inside connections that are remembered of one destination.
pub(crate) const MAX_INNER_NAMES: usize = 256;
/// Kinds of stray traffic that are remembered; beyond them, targets and credentials are not told apart.
pub(crate) const MAX_STRAYS: usize = 10_000;

impl Case<'_> {
    /// The runs of the case that named too many hosts.
    pub(crate) fn crowds(&self) -> Vec<Finding> {
        let runs = self.seen.of(self.run_id).iter();
        let named = runs.filter_map(|run| Some((&run.who, Crowd::of(&run.sights)?)));
        let mut crowds: Option<(Crowd, Vec<&Who>)> = None;
        for (who, crowd) in named {
            match &mut crowds {
                Some((all, runs)) => {
                    all.merge(&crowd);
                    runs.push(who);
                }
                None => crowds = Some((crowd, vec![who])),
            }
        }
        let beyond = self.beyond();
        let noted = crowds.map(|(crowd, runs)| {
            let fix = format!(
                "{} hosts were named by one run; if that is not its work, look at what the names spell: a name that \
                 is looked up tells its domain's owner what it says",
                crowd.hosts
            );
            self.crowd_finding(Reason::LimitExceeded, Severity::Info, &crowd.tally, &runs, fix)
        });
        let unjudged = beyond.map(|(tally, runs)| {
            let fix = format!(
                "after {MAX_DESTINATIONS} destinations of one run the others were counted and not held against the \
                 manifest; ask the owner why one run goes to so many"
            );
            self.crowd_finding(Reason::NoCoverage, Severity::Low, &tally, &runs, fix)
        });
        noted.into_iter().chain(unjudged).collect()
    }

    /// What was seen of the case's runs and is not remembered by destination.
    fn beyond(&self) -> Option<(Tally, Vec<&Who>)> {
        let own = self.observations.beyond.iter().filter(|(who, _)| {
            who.is_of(self.plugin_id, self.artifact_digest)
                && self.run_id.is_none_or(|only| only == who.run_id)
        });
        own.fold(None, |sum, (who, tally)| match sum {
            None => Some((tally.clone(), vec![who])),
            Some((mut all, mut runs)) => {
                all.merge(tally);
                runs.push(who);
                Some((all, runs))
            }
        })
    }

    fn crowd_finding(
        &self,
        reason: Reason,
        severity: Severity,
        tally: &Tally,
        runs: &[&Who],
        fix: String,
    ) -> Finding {
        let mut finding = self.bare_finding(reason, None, None, severity);
        finding.runs = runs.iter().map(|who| who.run_id).collect();
        finding.first = tally.first;
        finding.last = tally.last;
        finding.connections = tally.connections;
        finding.refused = tally.denied;
        finding.fix = fix;
        finding.events = self.references(tally.cited());
        finding
    }
}

/// One run's names, where they are many.
struct Crowd {
    hosts: usize,
    tally: Tally,
}

impl Crowd {
    fn of(seen: &[(&Visited, Observation)]) -> Option<Self> {
        if seen.len() < NOTED_HOSTS {
            return None;
        }
        // Destinations are in order of their hosts.
        let mut hosts: Vec<&Host> = seen.iter().map(|(to, _)| &to.destination.target.host).collect();
        hosts.dedup();
        if hosts.len() < NOTED_HOSTS {
            return None;
        }
        let mut tallies = seen.iter().map(|(_, observation)| observation.tally());
        let mut tally = tallies.next()?.clone();
        tallies.for_each(|other| tally.merge(other));
        Some(Self {
            hosts: hosts.len(),
            tally,
        })
    }

    /// The larger crowd is the one spoken of.
    fn merge(&mut self, other: &Self) {
        self.hosts = self.hosts.max(other.hosts);
        self.tally.merge(&other.tally);
    }
}
