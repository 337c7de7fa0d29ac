//! Departures: where an observation and a manifest part.

use base::{Reason, Target};
use manifests::{Coverage, DataClass, Declaration};

use crate::observation::{Destination, InnerName, Named, Observation, Oddities, Who};
use crate::relied::Use;
use crate::tally::Tally;
use crate::terms::{Rulebook, Terms, Waiver};

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
    /// The names found inside the connections, where they are what departs.
    pub(crate) names: Vec<String>,
    /// Whether it stands against the owner, or is only worth knowing.
    pub(crate) breach: bool,
    /// By which exceptions it is let pass; none where it is not, or where nobody needs one.
    pub(crate) excused: Vec<Use>,
}

/// How one observation fared under everything that was in force while it lasted.
pub(crate) struct Fared<'a> {
    /// The declarations that covered it, at whatever moment.
    pub(crate) covered_by: Vec<&'a Declaration>,
    /// Whether one covered it at every moment.
    pub(crate) is_covered: bool,
    /// Its departures, each once.
    pub(crate) departures: Vec<Departure>,
    /// Whether a library of the build was outside its declared range meanwhile, and nobody let that pass.
    pub(crate) drifts: bool,
}

impl<'a> Fared<'a> {
    /// Holds the observation against everything that was in force between its first moment and its last.
    /// A tunnel that stood when its declaration ran out is held against both what was and what is.
    pub(crate) fn of(
        book: &'a Rulebook<'_>,
        who: &Who,
        destination: &Destination,
        observation: &Observation,
    ) -> Self {
        let tally = observation.tally();
        let all_terms = book.all_terms(who, tally.first, tally.last);
        Self::under(all_terms, destination, observation)
    }

    /// Holds the observation against each of `all_terms`.
    pub(crate) fn under(
        all_terms: impl Iterator<Item = Terms<'a>>,
        destination: &Destination,
        observation: &Observation,
    ) -> Self {
        let mut fared = Self {
            covered_by: Vec::new(),
            is_covered: true,
            departures: Vec::new(),
            drifts: false,
        };
        for terms in all_terms {
            fared.drifts |= !terms.drift.is_empty() && terms.excuse(Reason::SdkDrift).is_none();
            let coverage = terms
                .manifest
                .coverage(&destination.target, destination.scheme, terms.at);
            for departure in of(&terms, destination, observation, &coverage) {
                fared.add(departure);
            }
            match coverage {
                Coverage::Covered { entry } => fared.covered_by.push(entry),
                Coverage::Uncovered { .. } => fared.is_covered = false,
            }
        }
        fared
    }

    /// The same connections depart once for each reason and name; a breach says more than a note.
    fn add(&mut self, departure: Departure) {
        let is_same =
            |known: &&mut Departure| known.reason == departure.reason && known.names == departure.names;
        match self.departures.iter_mut().find(is_same) {
            Some(known) if departure.breach && !known.breach => *known = departure,
            Some(known) => known.excused.extend(departure.excused),
            None => self.departures.push(departure),
        }
    }
}

/// All departures of one observation under one measure.
fn of(
    terms: &Terms<'_>,
    destination: &Destination,
    observation: &Observation,
    coverage: &Coverage<'_>,
) -> Vec<Departure> {
    let odd = observation.odd.as_deref();
    let departures = undeclared(observation, coverage)
        .into_iter()
        .chain(data_class(terms, observation, coverage))
        .chain(unapproved(terms, observation, coverage))
        .chain(
            odd.into_iter()
                .flat_map(|odd| of_oddities(terms, destination, odd)),
        );
    departures
        .map(|departure| let_pass(terms, destination, departure))
        .collect()
}

/// What is told apart from what was declared.
fn of_oddities(
    terms: &Terms<'_>,
    destination: &Destination,
    odd: &Oddities,
) -> impl Iterator<Item = Departure> {
    let inner = odd
        .inner_names
        .iter()
        .map(|(name, tally)| inner_name(terms, destination, name, tally));
    inner
        .chain(unnamed_tls(odd))
        .chain(hidden_names(odd))
        .chain(proxied(odd))
        .chain(forged_headers(odd))
        .chain(floor(odd))
        .chain(mixed_answers(odd))
        .chain(after_revocation(odd))
}

/// What the policy lets pass for a time is written down all the same, and stands against nobody.
fn let_pass(terms: &Terms<'_>, destination: &Destination, departure: Departure) -> Departure {
    let passes =
        |waiver: &&Waiver| departure.breach && waiver.passes(departure.reason, destination, terms.at);
    let Some(waiver) = terms.waivers.iter().find(passes) else {
        return departure;
    };
    Departure {
        breach: false,
        fix: format!("{}; then: {}", waiver.words(), departure.fix),
        excused: vec![Use::of(waiver, terms.at, departure.tally.last)],
        ..departure
    }
}

/// Connections that were asked for after the approval of their build ran out. The load gate asks for it
/// once; a build that was loaded before goes on, and that shows here. A tunnel that stood already was
/// approved when it was asked for.
fn unapproved(terms: &Terms<'_>, observation: &Observation, coverage: &Coverage<'_>) -> Option<Departure> {
    let tally = observation.tally();
    let lapsed = terms.lapsed.filter(|lapsed| lapsed.at <= tally.first)?;
    let nearest = match coverage {
        Coverage::Covered { entry } => Some(entry.to_string()),
        Coverage::Uncovered { nearest, .. } => nearest.clone(),
    };
    Some(Departure {
        reason: Reason::PolicyExpired,
        tally: tally.clone(),
        nearest,
        fix: format!(
            "the approval of this build ran out at {}; have the certifier approve it anew and admit it again, or end \
             its runs",
            lapsed.at
        ),
        names: Vec::new(),
        breach: lapsed.required,
        excused: Vec::new(),
    })
}

/// A declaration names the classes of data that go there, or leaves it to the manifest as a whole.
/// Where neither names any, nothing was promised about classes; nor is the class of a run ever guessed.
fn data_class(terms: &Terms<'_>, observation: &Observation, coverage: &Coverage<'_>) -> Option<Departure> {
    let (Some(class), Coverage::Covered { entry }) = (terms.data_class, coverage) else {
        return None;
    };
    let declared = classes_of(terms, entry);
    if declared.is_empty() || declared.contains(class) {
        return None;
    }
    let known: Vec<&str> = declared.iter().map(DataClass::as_str).collect();
    Some(Departure {
        reason: Reason::DataClassBreach,
        tally: observation.tally().clone(),
        nearest: Some(entry.to_string()),
        fix: format!(
            "\"{entry}\" is declared for {} and the run handled {class}; add the class and re-sign, or do not send it there",
            known.join(", ")
        ),
        names: Vec::new(),
        breach: true,
        excused: Vec::new(),
    })
}

fn classes_of<'a>(terms: &Terms<'a>, entry: &'a Declaration) -> &'a [DataClass] {
    entry
        .data_classes
        .as_deref()
        .unwrap_or(&terms.manifest.data_classes)
}

/// They were refused, as they should be. That the plugin goes on asking is worth knowing.
fn after_revocation(odd: &Oddities) -> Option<Departure> {
    odd.after_revocation.as_deref().map(|tally| Departure {
        reason: Reason::AfterRevocation,
        tally: tally.clone(),
        nearest: None,
        fix: "end the runs of this build, and ship a new, re-signed one; what is stopped stays stopped"
            .to_owned(),
        names: Vec::new(),
        breach: false,
        excused: Vec::new(),
    })
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
            names: Vec::new(),
            breach: true,
            excused: Vec::new(),
        }),
    }
}

/// A name inside the connection must be declared as well, or one declared host would be a door to
/// every other host behind the same address.
fn inner_name(terms: &Terms<'_>, destination: &Destination, name: &InnerName, tally: &Tally) -> Departure {
    let target = match name {
        InnerName::Host(host) => Some(Target {
            host: host.clone(),
            port: destination.target.port,
        }),
        InnerName::Unreadable(_) | InnerName::Other => None,
    };
    let coverage = target
        .as_ref()
        .map(|target| terms.manifest.coverage(target, destination.scheme, terms.at));
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
        names: vec![name.to_string()],
        breach: !covered,
        excused: Vec::new(),
    }
}

/// Without a name inside TLS nothing confirms the name that was asked for; nothing contradicts it.
fn unnamed_tls(odd: &Oddities) -> Option<Departure> {
    odd.unnamed_tls.as_deref().map(|tally| Departure {
        reason: Reason::SniMismatch,
        tally: tally.clone(),
        nearest: None,
        fix: "send the server's name in TLS (SNI); without it the name asked for cannot be confirmed"
            .to_owned(),
        names: Vec::new(),
        breach: false,
        excused: Vec::new(),
    })
}

/// Only the name asked of the gateway was judged; the name inside may be that one or another.
fn hidden_names(odd: &Oddities) -> Option<Departure> {
    let fix = "the name inside TLS is encrypted (ECH) or looks it, so it cannot be held against the manifest; \
               turn ECH off in the client where that has to be known";
    note(Reason::NoCoverage, odd.hidden_names.as_deref(), fix)
}

/// Whoever is asked to take a connection on may take it anywhere.
fn proxied(odd: &Oddities) -> Option<Departure> {
    let fix = "the destination is a proxy: where connections went from there is not seen; let the plugin ask this \
               gateway instead";
    note(Reason::NoCoverage, odd.proxied.as_deref(), fix)
}

fn forged_headers(odd: &Oddities) -> Option<Departure> {
    let fix =
        "do not send these headers; who a connection belongs to is never taken from what it says of itself";
    note(Reason::IdentityHeaderForged, odd.forged_headers.as_deref(), fix)
}

fn note(reason: Reason, named: Option<&Named>, fix: &str) -> Option<Departure> {
    named.map(|named| Departure {
        reason,
        tally: named.tally.clone(),
        nearest: None,
        fix: fix.to_owned(),
        names: named.names.iter().cloned().collect(),
        breach: false,
        excused: Vec::new(),
    })
}

fn floor(odd: &Oddities) -> Option<Departure> {
    odd.floor.as_deref().map(|tally| Departure {
        reason: Reason::PrivateResolution,
        tally: tally.clone(),
        nearest: None,
        fix: "find out why the name leads to a private address; the operator can allow its range in allow_private"
            .to_owned(),
        names: Vec::new(),
        breach: true,
        excused: Vec::new(),
    })
}

/// The gateway dropped the private answers and dialled a public one, so nothing private was reached.
fn mixed_answers(odd: &Oddities) -> Option<Departure> {
    odd.mixed_answers.as_deref().map(|tally| Departure {
        reason: Reason::PrivateResolution,
        tally: tally.clone(),
        nearest: None,
        fix: "remove the private addresses from the name's public records; the gateway did not use them"
            .to_owned(),
        names: Vec::new(),
        breach: false,
        excused: Vec::new(),
    })
}
