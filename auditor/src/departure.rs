//! Departures: where an observation and a manifest part.

use base::{Reason, Target};
use manifests::{Coverage, Manifest};

use crate::observation::{Destination, InnerName, Observation};
use crate::tally::Tally;

/// One way in which one run, at one destination, departed from what was declared.
#[derive(Clone, Debug)]
pub(crate) struct Departure {
    pub(crate) reason: Reason,
    /// The connections concerned; not always all of them.
    pub(crate) tally: Tally,
    /// The nearest declaration.
    pub(crate) nearest: Option<String>,
    /// One line: what to do.
    pub(crate) fix: String,
    /// The name found inside the connection, where that is what departs.
    pub(crate) name: Option<String>,
    /// Whether it stands against the owner, or is only worth knowing.
    pub(crate) breach: bool,
}

/// All departures of one observation.
pub(crate) fn of(
    manifest: &Manifest,
    destination: &Destination,
    observation: &Observation,
    coverage: &Coverage<'_>,
) -> Vec<Departure> {
    let inner = observation
        .inner_names
        .iter()
        .map(|(name, tally)| inner_name(manifest, destination, name, tally));
    undeclared(observation, coverage)
        .into_iter()
        .chain(inner)
        .chain(unnamed_tls(observation))
        .chain(floor(observation))
        .chain(mixed_answers(observation))
        .collect()
}

fn undeclared(observation: &Observation, coverage: &Coverage<'_>) -> Option<Departure> {
    match coverage {
        Coverage::Covered { .. } => None,
        Coverage::Uncovered {
            reason,
            nearest,
            hint,
        } => Some(Departure {
            reason: *reason,
            tally: observation.tally().clone(),
            nearest: nearest.clone(),
            fix: hint.clone(),
            name: None,
            breach: true,
        }),
    }
}

/// A name inside the connection must be declared as well, or one declared host would be a door to
/// every other host behind the same address.
fn inner_name(manifest: &Manifest, destination: &Destination, name: &InnerName, tally: &Tally) -> Departure {
    let target = match name {
        InnerName::Host(host) => Some(Target {
            host: host.clone(),
            port: destination.target.port,
        }),
        InnerName::Unreadable(_) => None,
    };
    let coverage = target
        .as_ref()
        .map(|target| manifest.coverage(target, destination.scheme, tally.last));
    let (covered, nearest) = match coverage {
        Some(Coverage::Covered { entry }) => (true, Some(entry.to_string())),
        Some(Coverage::Uncovered { nearest, .. }) => (false, nearest),
        None => (false, None),
    };
    let fix = if covered {
        "ask the gateway for the name that is used inside the connection"
    } else {
        "declare the name that is used inside the connection and re-sign, or stop using it"
    };
    Departure {
        reason: Reason::SniMismatch,
        tally: tally.clone(),
        nearest,
        fix: fix.to_owned(),
        name: Some(name.to_string()),
        breach: !covered,
    }
}

/// Without a name inside TLS nothing confirms the name that was asked for; nothing contradicts it.
fn unnamed_tls(observation: &Observation) -> Option<Departure> {
    observation.unnamed_tls.as_ref().map(|tally| Departure {
        reason: Reason::SniMismatch,
        tally: tally.clone(),
        nearest: None,
        fix: "send the server's name in TLS (SNI); without it the name asked for cannot be confirmed"
            .to_owned(),
        name: None,
        breach: false,
    })
}

fn floor(observation: &Observation) -> Option<Departure> {
    observation.floor.as_ref().map(|tally| Departure {
        reason: Reason::PrivateResolution,
        tally: tally.clone(),
        nearest: None,
        fix: "find out why the name leads to a private address; the operator can allow its range in allow_private"
            .to_owned(),
        name: None,
        breach: true,
    })
}

/// The gateway dropped the private answers and dialled a public one, so nothing private was reached.
fn mixed_answers(observation: &Observation) -> Option<Departure> {
    observation.mixed_answers.as_ref().map(|tally| Departure {
        reason: Reason::PrivateResolution,
        tally: tally.clone(),
        nearest: None,
        fix: "remove the private addresses from the name's public records; the gateway did not use them"
            .to_owned(),
        name: None,
        breach: false,
    })
}
