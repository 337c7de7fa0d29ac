//! Timing: what connections are judged by, and when they broke a promise, where somebody counts it.
//!
//! What a connection broke follows from what is known of it and from what was in force meanwhile; so it
//! is worked out once for all connections of which both are the same.

use super::parts::{Known, Parts};
use super::sums::One;
use crate::connection::Addition;
use crate::facts::Place;
use crate::fold::Fold;
use crate::moment::Moment;
use crate::observation::Who;
use crate::tally::Share;
use crate::terms::{Build, Rulebook};
use crate::turns::Passage;

/// What is to be noted of the runs of one file.
pub(super) struct Timing<'b> {
    book: Option<&'b Rulebook<'b>>,
    /// By identity: the build that it ran; `None` while nobody asked.
    builds: Vec<Option<Option<&'b Build<'b>>>>,
    /// By sum: what one connection that did not reach its destination broke, and one that did.
    broken: Vec<[Option<Option<Moment>>; 2]>,
}

impl<'b> Timing<'b> {
    pub(super) const fn new(book: Option<&'b Rulebook<'b>>) -> Self {
        Self {
            book,
            builds: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Sums begin anew.
    pub(super) fn forget_sums(&mut self) {
        self.broken.clear();
    }

    /// Between which turns a connection was seen.
    pub(super) fn passage(&mut self, parts: &Parts, known: Known, share: &Share) -> Passage {
        self.build(parts, known).map_or_else(Passage::default, |build| {
            build.turns().passage(share.first, share.last)
        })
    }

    /// Notes one connection, which was counted in that sum.
    pub(super) fn note(&mut self, fold: &mut Fold<'_>, parts: &Parts, sum: usize, one: &One) {
        let is_noted = |build: &&Build<'_>| build.is_timed || build.is_limited;
        let Some(build) = self.build(parts, one.known).filter(is_noted) else {
            return;
        };
        let Some((book, who)) = self
            .book
            .zip(parts.identities.get(one.known.identity).who.as_ref())
        else {
            return;
        };
        if !fold.concerns(who) || parts.targets.get(one.known.target).is_none() {
            return;
        }
        if self.broken.len() <= sum {
            self.broken.resize(sum + 1, [None, None]);
        }
        let broken = &mut self.broken[sum][usize::from(one.share.established)];
        let moment = broken.get_or_insert_with(|| moment(book, parts, one)).clone();
        let moment = moment.map(|moment| Moment {
            at: one.share.first,
            ..moment
        });
        fold.observations
            .note_time(build, who, &one.share, one.begun, moment);
    }

    fn build(&mut self, parts: &Parts, known: Known) -> Option<&'b Build<'b>> {
        let (book, at) = (self.book?, known.identity as usize);
        if self.builds.len() <= at {
            self.builds.resize(at + 1, None);
        }
        let of = |who: &Who| book.build(who);
        *self.builds[at].get_or_insert_with(|| parts.identities.get(known.identity).who.as_ref().and_then(of))
    }
}

fn moment(book: &Rulebook<'_>, parts: &Parts, one: &One) -> Option<Moment> {
    let facts = parts.facts(one.known);
    let Place::Seen(who, destination) = facts.place() else {
        return None;
    };
    let addition = Addition {
        facts,
        share: one.share.clone(),
        alive: false,
        begun: one.begun,
    };
    Moment::of(book, &who, &destination, &addition)
}
