//! Charges: what automation may rely on.
//!
//! A report tells people everything. A machine that takes plugins down may rely on less: only on
//! breaches, counted so that one connection is one connection under however many reasons it stands.

use std::collections::{BTreeMap, BTreeSet};

use base::{Reason, RunId, ShownBy};

use crate::departure::Fared;
use crate::moment::Reasons;
use crate::observation::Observation;

/// The breaches of one run at one destination, or its connections beyond a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The run.
    pub run_id: RunId,
    /// Per reason, the connections that reached the destination.
    pub established: BTreeMap<Reason, u64>,
    /// Reasons for which more is known than that lookups failed.
    pub beyond_lookup: BTreeSet<Reason>,
    /// What these very connections are charged with elsewhere.
    pub before: Reasons,
}

/// What a set of charges amounts to, for a set of reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corroboration {
    /// The reasons found.
    pub reasons: BTreeSet<Reason>,
    /// Connections that reached an undeclared destination.
    pub connections: u64,
    /// Runs with more than failed lookups.
    pub runs: BTreeSet<RunId>,
}

impl Charge {
    /// The charge that follows from how an observation fared; `None` without a breach.
    pub(crate) fn of(run_id: RunId, observation: &Observation, fared: &Fared<'_>) -> Option<Self> {
        let mut charge = Self {
            run_id,
            established: BTreeMap::new(),
            beyond_lookup: BTreeSet::new(),
            before: Reasons::default(),
        };
        // Whatever a build with other libraries than declared does, it does with them.
        if fared.drifts {
            let tally = observation.tally();
            charge.established.insert(Reason::SdkDrift, tally.established);
            if tally.beyond_lookup() > 0 {
                charge.beyond_lookup.insert(Reason::SdkDrift);
            }
        }
        for departure in fared.departures.iter().filter(|departure| departure.breach) {
            debug_assert_eq!(
                departure.reason.shown_by(),
                ShownBy::Connection,
                "{}",
                departure.reason
            );
            let established = charge.established.entry(departure.reason).or_default();
            // Two names inside one connection are still one connection.
            *established = (*established + departure.tally.established).min(observation.tally().established);
            if departure.tally.beyond_lookup() > 0 {
                charge.beyond_lookup.insert(departure.reason);
            }
        }
        (!charge.established.is_empty()).then_some(charge)
    }
}

impl Charge {
    /// A breach that no single connection shows; it is a reason to tell people.
    pub(crate) fn beside_connections(run_id: RunId, reason: Reason) -> Self {
        Self {
            run_id,
            established: [(reason, 0)].into(),
            beyond_lookup: BTreeSet::new(),
            before: Reasons::default(),
        }
    }
}

impl Corroboration {
    /// What `charges` amount to where only `reasons` count.
    pub fn of(charges: &[Charge], reasons: &BTreeSet<Reason>) -> Self {
        let mut sum = Self::default();
        let asked: Reasons = reasons.iter().copied().collect();
        for charge in charges {
            let counting = || {
                charge
                    .established
                    .iter()
                    .filter(|(reason, _)| reasons.contains(reason))
            };
            sum.reasons.extend(counting().map(|(reason, _)| *reason));
            if charge.before.meets(asked) {
                continue;
            }
            sum.connections += counting().map(|(_, &connections)| connections).max().unwrap_or(0);
            if charge.beyond_lookup.iter().any(|reason| reasons.contains(reason)) {
                sum.runs.insert(charge.run_id);
            }
        }
        sum
    }
}
