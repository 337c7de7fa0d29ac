//! Drafts: findings in the making, to which several runs may add.

use std::collections::{BTreeMap, BTreeSet};

use base::{ObservedScheme, Reason, RunId};

use crate::departure::Departure;
use crate::observation::Destination;
use crate::tally::Tally;

/// How many names a one-line fix spells out.
const NAMES_IN_A_FIX: usize = 3;

/// What a finding about a destination is about. The scheme takes part only where it is what is
/// undeclared: a tunnel that has not spoken yet and one that spoke TLS go to the same undeclared host.
pub(crate) type About = (Reason, Destination);

/// All drafts of one report.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    /// What stands against the owner.
    pub(crate) breaches: BTreeMap<About, Draft>,
    /// What is only worth knowing.
    pub(crate) notes: BTreeMap<About, Draft>,
}

/// A finding in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    tally: Tally,
    pub(crate) runs: BTreeSet<RunId>,
    pub(crate) nearest: Option<String>,
    fix: String,
    names: BTreeSet<String>,
    schemes: BTreeSet<Option<ObservedScheme>>,
}

impl Drafts {
    pub(crate) fn add(&mut self, run: RunId, destination: &Destination, departure: Departure) {
        let drafts = if departure.breach {
            &mut self.breaches
        } else {
            &mut self.notes
        };
        let about = about(departure.reason, destination);
        match drafts.get_mut(&about) {
            Some(draft) => draft.merge(run, destination, departure),
            None => {
                drafts.insert(about, Draft::new(run, destination, departure));
            }
        }
    }
}

fn about(reason: Reason, destination: &Destination) -> About {
    let scheme = destination.scheme.filter(|_| reason == Reason::UndeclaredScheme);
    let target = destination.target.clone();
    (reason, Destination { target, scheme })
}

impl Draft {
    fn new(run: RunId, destination: &Destination, departure: Departure) -> Self {
        Self {
            tally: departure.tally,
            runs: [run].into(),
            nearest: departure.nearest,
            fix: departure.fix,
            names: departure.names.into_iter().collect(),
            schemes: [destination.scheme].into(),
        }
    }

    /// The first departure words the fix; runs come in order, so it is the same one every time.
    fn merge(&mut self, run: RunId, destination: &Destination, departure: Departure) {
        self.schemes.insert(destination.scheme);
        self.tally.merge(&departure.tally);
        self.runs.insert(run);
        self.names.extend(departure.names);
    }

    /// What was spoken, where it was the same on all connections.
    pub(crate) fn scheme(&self) -> Option<ObservedScheme> {
        match self.schemes.iter().collect::<Vec<_>>().as_slice() {
            [only] => **only,
            _ => None,
        }
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The one-line fix, with the first few names that it is about.
    pub(crate) fn fix(&self) -> String {
        if self.names.is_empty() {
            return self.fix.clone();
        }
        let named: Vec<String> = self
            .names
            .iter()
            .take(NAMES_IN_A_FIX)
            .map(|name| format!("\"{name}\""))
            .collect();
        let rest = self.names.len().saturating_sub(NAMES_IN_A_FIX);
        let more = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        format!("found inside: {}{more}; {}", named.join(", "), self.fix)
    }
}
