//! Sums: connections of one file of which the same is known, counted together.

use std::collections::HashMap;

use super::codes::Table;
use super::parts::{Known, Parts};
use crate::connection::Life;
use crate::facts::Place;
use crate::fold::{Fold, Sum};
use crate::observation::{Destination, Visited, Who};
use crate::tally::{Share, Tally};
use crate::turns::Passage;

/// Everything that was counted and not yet added to observations.
#[derive(Default)]
pub(super) struct Sums {
    table: Table<u128>,
    /// In the order in which the first of each was settled.
    sums: Vec<(Known, Passage, Tally)>,
    passages: Vec<Passage>,
    /// Events by identity.
    events: Vec<u64>,
}

/// One connection that is over.
pub(super) struct One {
    pub(super) known: Known,
    pub(super) share: Share,
    /// Whether it was asked for within the period.
    pub(super) begun: bool,
}

impl One {
    /// What a connection adds; `None` if it has nothing to do with the period.
    pub(super) fn of(parts: &Parts, known: Known, life: &Life) -> Option<Self> {
        Some(Self {
            share: life.share(parts.courses.get(known.course))?,
            begun: !life.before,
            known,
        })
    }
}

impl Sums {
    /// Counts one event about whose connection that is.
    pub(super) fn count_event(&mut self, known: Known) {
        let at = known.identity as usize;
        if self.events.len() <= at {
            self.events.resize(at + 1, 0);
        }
        self.events[at] += 1;
    }

    /// Counts one connection that is over, which was seen between these turns. Gives the number of its sum.
    pub(super) fn settle(&mut self, one: &One, passage: Passage) -> usize {
        let One { known, share, .. } = one;
        // There are few turns in a day.
        let passages = &mut self.passages;
        let passage_at = passages
            .iter()
            .position(|known| *known == passage)
            .unwrap_or_else(|| {
                passages.push(passage);
                passages.len() - 1
            });
        let words = [known.identity, known.target, known.course].map(u128::from);
        let word = (passage_at as u128) << 96 | words[0] << 64 | words[1] << 32 | words[2];
        let at = self.table.number(word) as usize;
        match self.sums.get_mut(at) {
            Some((.., tally)) => tally.count(share),
            None => self.sums.push((*known, passage, Tally::of(share))),
        }
        at
    }

    /// Adds all sums to observations, and begins anew.
    pub(super) fn add_to(&mut self, parts: &Parts, fold: &mut Fold<'_>) {
        for (identity, events) in (0..).zip(self.events.drain(..)) {
            if let Some(who) = parts.identities.get(identity).who.as_ref().filter(|_| events > 0) {
                fold.count_events(who, events);
            }
        }
        self.table.clear();
        let mut runs = Runs::default();
        let mut by_run: Vec<Vec<(Known, Passage, Tally)>> = Vec::new();
        for (known, passage, tally) in self.sums.drain(..) {
            let has_target = parts.targets.get(known.target).is_some();
            match runs.number(parts, known.identity).filter(|_| has_target) {
                Some(run) => {
                    by_run.resize_with(by_run.len().max(run + 1), Vec::new);
                    by_run[run].push((known, passage, tally));
                }
                None => {
                    if let Place::Stray(stray) = parts.facts(known).place() {
                        fold.observations.add_stray(stray, &tally);
                    }
                }
            }
        }
        for sums in by_run {
            let who = sums
                .first()
                .and_then(|(known, ..)| parts.identities.get(known.identity).who.as_ref());
            let Some(who) = who.filter(|who| fold.concerns(who)) else {
                continue;
            };
            let seen = sums.into_iter().filter_map(|(known, passage, tally)| {
                let way = parts.way(known);
                let destination = Destination {
                    target: way.target.clone()?,
                    scheme: way.course.scheme(),
                };
                let visited = Visited { destination, passage };
                Some((visited, way, Sum { tally, alive: 0 }))
            });
            fold.add_seen(who.clone(), seen);
        }
    }
}

/// Runs by number, in the order in which they are met. Several identities may be of one run.
#[derive(Default)]
struct Runs<'p> {
    numbers: HashMap<&'p Who, usize>,
    /// By identity; `None` while nobody asked.
    of_identity: Vec<Option<Option<usize>>>,
}

impl<'p> Runs<'p> {
    /// The number of an identity's run; `None` where it is not known whose it is.
    fn number(&mut self, parts: &'p Parts, identity: u32) -> Option<usize> {
        let at = identity as usize;
        if self.of_identity.len() <= at {
            self.of_identity.resize(at + 1, None);
        }
        let numbers = &mut self.numbers;
        *self.of_identity[at].get_or_insert_with(|| {
            let who = parts.identities.get(identity).who.as_ref()?;
            let next = numbers.len();
            Some(*numbers.entry(who).or_insert(next))
        })
    }
}
