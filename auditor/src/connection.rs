//! Connections: what the events of one connection say together.

use base::Timestamp;
use evidence::Event;

use crate::facts::{Course, Facts, Place};
use crate::observation::{Destination, Observation, Stray, Who};
use crate::tally::{Cited, Share, Tally};

/// One connection, as far as its events were read.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) facts: Facts,
    pub(crate) life: Life,
}

/// What is counted of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) bytes_before: (u64, u64),
    pub(crate) bytes: (u64, u64),
    pub(crate) first_entry: Cited,
    pub(crate) last_entry: Cited,
    pub(crate) seen: Option<(Timestamp, Timestamp)>,
    /// Something of it was seen before the period.
    pub(crate) before: bool,
}

impl Life {
    pub(crate) const fn new(entry: Cited) -> Self {
        Self {
            bytes_before: (0, 0),
            bytes: (0, 0),
            first_entry: entry,
            last_entry: entry,
            seen: None,
            before: false,
        }
    }

    /// Goes on with an entry that came before the period.
    pub(crate) fn go_on_before(&mut self, entry: Cited, bytes: (u64, u64)) {
        self.go_on(entry, bytes);
        self.bytes_before = self.bytes;
        self.before = true;
    }

    /// Goes on with an entry of the period.
    pub(crate) fn go_on_within(&mut self, entry: Cited, bytes: (u64, u64), time: Timestamp) {
        self.go_on(entry, bytes);
        let first = self.seen.map_or(time, |(first, _)| first.min(time));
        let last = self.seen.map_or(time, |(_, last)| last.max(time));
        self.seen = Some((first, last));
    }

    fn go_on(&mut self, entry: Cited, bytes: (u64, u64)) {
        self.last_entry = entry;
        // Counters rise over the life of a connection; one that fell is not believed.
        self.bytes.0 = self.bytes.0.max(bytes.0);
        self.bytes.1 = self.bytes.1.max(bytes.1);
    }
}

impl Life {
    /// What the connection adds to a tally. `None` if it has nothing to do with the period.
    pub(crate) fn share(&self, course: &Course) -> Option<Share> {
        let (first, last) = self.seen?;
        Some(Share {
            established: course.established(self.bytes),
            denied: course.denied(),
            failed_lookup: course.failed_lookup(),
            bytes_out: self.bytes.0.saturating_sub(self.bytes_before.0),
            bytes_in: self.bytes.1.saturating_sub(self.bytes_before.1),
            first,
            last,
            cited: [self.first_entry, self.last_entry],
        })
    }
}

impl Connection {
    pub(crate) fn new(entry: Cited) -> Self {
        Self {
            facts: Facts::default(),
            life: Life::new(entry),
        }
    }

    /// Learns from an event that came before the period.
    pub(crate) fn handle_before(&mut self, entry: Cited, event: &Event) {
        self.facts.learn(event);
        self.life.go_on_before(entry, bytes(event));
    }

    /// Learns from an event of the period.
    pub(crate) fn handle_within(&mut self, entry: Cited, event: &Event) {
        self.facts.learn(event);
        self.life.go_on_within(entry, bytes(event), event.time);
    }

    /// Notes that the connection was open throughout the period without a word.
    pub(crate) fn outlives(&mut self, from: Timestamp, to: Timestamp) {
        self.life.seen.get_or_insert((from, to));
    }

    pub(crate) const fn first_entry(&self) -> Cited {
        self.life.first_entry
    }

    pub(crate) const fn who(&self) -> Option<&Who> {
        self.facts.identity.who.as_ref()
    }

    /// Where the connection belongs: an observation, or the strays.
    pub(crate) fn settle(self, alive: bool) -> Option<Settled> {
        let share = self.life.share(&self.facts.course)?;
        Some(match self.facts.place() {
            Place::Seen(who, destination) => Settled::Seen {
                who,
                destination,
                addition: Addition {
                    facts: self.facts,
                    share,
                    alive,
                    begun: !self.life.before,
                },
            },
            Place::Stray(stray) => Settled::Stray(stray, share),
        })
    }
}

/// Bytes relayed so far: from the plugin, and to it.
fn bytes(event: &Event) -> (u64, u64) {
    (event.bytes_out.unwrap_or(0), event.bytes_in.unwrap_or(0))
}

/// A connection, ready to be counted.
#[expect(
    clippy::large_enum_variant,
    reason = "a value of this is taken apart where it arrives"
)]
pub(crate) enum Settled {
    /// Somebody went somewhere.
    Seen {
        who: Who,
        destination: Destination,
        addition: Addition,
    },
    /// Who, or where to, is not known.
    Stray(Stray, Share),
}

/// What one connection adds to an observation.
#[derive(Clone)]
pub(crate) struct Addition {
    pub(crate) facts: Facts,
    pub(crate) share: Share,
    pub(crate) alive: bool,
    pub(crate) begun: bool,
}

impl Addition {
    pub(crate) const fn share(&self) -> &Share {
        &self.share
    }

    /// Whether the connection was asked for within the period.
    pub(crate) const fn begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn add_to(&self, observation: &mut Observation) {
        let tally = Tally::of(&self.share);
        self.facts
            .way()
            .add_to(&tally, u64::from(self.alive), observation);
    }
}
