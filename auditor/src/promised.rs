//! What was promised: connections with nothing odd at destinations that a declaration covers.
//!
//! Nearly everything is as promised, and whether it is follows from where it went, between which turns,
//! and in which class of data. So that is asked once for all runs of a build.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use base::RunId;
use manifests::DataClass;
use reports::predicate::Observed;

use crate::departure::Fared;
use crate::observation::{Destination, Observation, Visited, Who};
use crate::terms::Rulebook;

/// A destination, by where it stands, and the number of a class of data.
type Asked = (*const Visited, usize);

/// What is known to be as promised, of the runs of one build.
#[derive(Debug, Default)]
pub(crate) struct Promised {
    /// The classes of data that its runs handled, by number.
    classes: RefCell<Vec<Option<DataClass>>>,
    /// `None` where a declaration was departed from.
    known: RefCell<HashMap<Asked, Option<Rc<Covered>>>>,
}

/// The declarations that covered connections.
#[derive(Debug)]
pub(crate) struct Covered {
    /// In canonical form, in the order in which they were in force.
    entries: Vec<String>,
    /// Whether one covered them at every moment.
    at_every_moment: bool,
}

impl Covered {
    pub(crate) fn by(fared: &Fared<'_>) -> Self {
        Self {
            entries: fared.covered_by.iter().map(ToString::to_string).collect(),
            at_every_moment: fared.is_covered,
        }
    }

    fn matched(&self) -> Option<&String> {
        self.entries.last().filter(|_| self.at_every_moment)
    }
}

impl Promised {
    /// The number of the class of data that a run handled.
    pub(crate) fn class(&self, book: &Rulebook<'_>, run_id: RunId) -> usize {
        let class = book.run(run_id).and_then(|run| run.data_class.as_ref());
        let mut classes = self.classes.borrow_mut();
        let known = classes.iter().position(|known| known.as_ref() == class);
        known.unwrap_or_else(|| {
            classes.push(class.cloned());
            classes.len() - 1
        })
    }

    /// What covered an observation, if it is as promised throughout.
    pub(crate) fn ask(
        &self,
        book: &Rulebook<'_>,
        who: &Who,
        class: usize,
        visited: &Visited,
        observation: &Observation,
    ) -> Option<Rc<Covered>> {
        if observation.odd.is_some() {
            return None;
        }
        match self
            .known
            .borrow_mut()
            .entry((std::ptr::from_ref(visited), class))
        {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => {
                let fared = Fared::of(book, who, &visited.destination, observation);
                let is_kept = fared.departures.is_empty() && fared.is_covered && !fared.drifts;
                unknown
                    .insert(is_kept.then(|| Rc::new(Covered::by(&fared))))
                    .clone()
            }
        }
    }
}

/// The destinations of a report in the making, and the declarations that were used.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    rows: BTreeMap<&'a Destination, Observed>,
    used: BTreeSet<String>,
}

impl<'a> Rows<'a> {
    /// Adds what one run did at one destination; `is_new` where that counts as a further run there.
    pub(crate) fn add(
        &mut self,
        destination: &'a Destination,
        observation: &Observation,
        covered: &Covered,
        is_new: bool,
    ) {
        for entry in &covered.entries {
            if !self.used.contains(entry) {
                self.used.insert(entry.clone());
            }
        }
        let tally = observation.tally();
        let row = self.rows.entry(destination).or_insert_with(|| Observed {
            host: destination.target.host.clone(),
            port: destination.target.port,
            scheme: destination.scheme,
            connections: 0,
            refused: 0,
            bytes_out: 0,
            bytes_in: 0,
            matched: covered.matched().cloned(),
            runs: 0,
            alive_at_end: 0,
        });
        row.runs += u64::from(is_new);
        row.alive_at_end += observation.alive_at_end;
        row.connections += tally.connections;
        row.refused += tally.denied;
        row.bytes_out = row.bytes_out.saturating_add(tally.bytes_out);
        row.bytes_in = row.bytes_in.saturating_add(tally.bytes_in);
        // Covered at one moment and, after the declaration ran out, not at another: then it is not covered.
        if covered.matched().is_none() {
            row.matched = None;
        }
    }

    /// The rows in their order, and the declarations that were used.
    pub(crate) fn finish(self) -> (Vec<Observed>, BTreeSet<String>) {
        (self.rows.into_values().collect(), self.used)
    }
}
