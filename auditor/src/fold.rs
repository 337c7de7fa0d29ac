//! The fold: verified events in, observations out, one pass, log by log.
//!
//! Memory grows with distinct tuples and with connections open at one time, never with events.
//!
//! Which period an entry belongs to follows from its time and its place: an entry never counts as
//! earlier than the one before it. So every entry falls into exactly one of two adjoining periods,
//! also where a clock was set back, and no entry hides from every night by its date.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use base::{PluginId, Timestamp};
use evidence::{Event, EventKind};
use reports::predicate::Period;

use crate::connection::{Connection, Settled};
use crate::crowd::{MAX_DESTINATIONS, MAX_STRAYS};
use crate::facts::Way;
use crate::observation::{Gap, Observations, Stray, Stretch, Visited, Who};
use crate::seen::Seen;
use crate::tally::{Cited, Tally};
use crate::terms::Rulebook;
use crate::turns::Passage;

/// How far ahead of the auditor a gateway's clock may be before its time is not believed.
const CLOCK_TOLERANCE_S: i64 = 300;
/// Why the ends of connections are missing, counted by [`Gap::count`].
const CUT_SHORT: &str =
    "the gateway ended without stopping, and the ends of connections that stood then are not on record";

/// Folds the logs of one period.
pub struct Fold<'b> {
    pub(crate) period: Period,
    /// What runs are judged by, where more is needed of a breach than that it happened.
    pub(crate) book: Option<&'b Rulebook<'b>>,
    /// The one plugin whose runs are remembered, where only one is asked for.
    pub(crate) only: Option<PluginId>,
    pub(crate) believable_until: Timestamp,
    pub(crate) observations: Observations,
    /// Where what runs did is put once a log was read, if it is not to stay where it is.
    put_by: Option<Seen>,
}

/// Folds one log; entries come in order, from the first.
pub struct LogFold<'f, 'b> {
    pub(crate) fold: &'f mut Fold<'b>,
    pub(crate) log: usize,
    pub(crate) audited_to: u64,
    pub(crate) stretch: Stretch,
    pub(crate) open: HashMap<String, Connection>,
    pub(crate) clock: Timestamp,
    /// The time of the last entry that shows the gateway at work.
    pub(crate) whole_until: Timestamp,
}

impl<'b> Fold<'b> {
    /// A fold of `period`. An entry dated later than `now` cannot push the entries after it out of
    /// the period.
    pub fn new(period: Period, now: Timestamp) -> Self {
        Self {
            period,
            book: None,
            only: None,
            believable_until: now.plus_seconds(CLOCK_TOLERANCE_S),
            observations: Observations::default(),
            put_by: None,
        }
    }

    /// The same, noting the moments and the pace that the rulebook asks for.
    pub(crate) fn by(mut self, book: &'b Rulebook<'b>) -> Self {
        self.book = Some(book);
        self
    }

    /// The same, remembering only what runs of one plugin did. Strays and gaps are everybody's.
    pub(crate) fn only(mut self, plugin: Option<PluginId>) -> Self {
        self.only = plugin;
        self
    }

    /// The same, packing what runs did at the end of each log.
    pub(crate) fn packing(mut self, seen: Seen) -> Self {
        self.put_by = Some(seen);
        self
    }

    /// The same fold before it read anything.
    pub(crate) fn emptied(self) -> Self {
        Self {
            observations: Observations::default(),
            put_by: self.put_by.map(Seen::emptied),
            ..self
        }
    }

    /// Whether what a run did is to be remembered.
    pub(crate) fn concerns(&self, who: &Who) -> bool {
        self.only.as_ref().is_none_or(|only| *only == who.plugin_id)
    }

    /// Counts so many events about a run.
    pub(crate) fn count_events(&mut self, who: &Who, events: u64) {
        if self.concerns(who) {
            self.observations.count_events(who, events);
        }
    }

    /// Begins the next log. An entry at `audited_to` or beyond belongs to this period or a later one
    /// whatever its time, because the night before had not yet read it.
    pub fn log(&mut self, origin: &str, audited_to: Option<u64>) -> LogFold<'_, 'b> {
        LogFold {
            log: self.observations.logs.len(),
            audited_to: audited_to.unwrap_or(u64::MAX),
            stretch: Stretch {
                origin: origin.to_owned(),
                from: 0,
                to: 0,
            },
            open: HashMap::new(),
            clock: Timestamp::from_unix_us(i64::MIN),
            whole_until: self.period.from,
            fold: self,
        }
    }

    /// What all logs said.
    pub fn finish(self) -> Observations {
        self.observations
    }

    /// The same, and what was packed.
    pub(crate) fn finish_packed(mut self) -> (Observations, Seen) {
        (self.observations, self.put_by.take().unwrap_or_default())
    }

    /// Adds what one run did, in the order in which it is to be remembered where there is not room for all.
    pub(crate) fn add_seen<'w>(&mut self, who: Who, sums: impl IntoIterator<Item = (Visited, Way<'w>, Sum)>) {
        if let Some(put_by) = &mut self.put_by
            && !self.observations.seen.contains_key(&who)
            && let Some(known) = put_by.take_out(&who)
        {
            self.observations.seen.insert(who.clone(), known);
        }
        self.observations.add_seen(who, sums);
    }
}

impl LogFold<'_, '_> {
    /// Takes the next entry. `Break` once no later entry can concern the period.
    pub fn handle_entry(&mut self, index: u64, event: &Event) -> ControlFlow<()> {
        if event.time <= self.fold.believable_until {
            self.clock = self.clock.max(event.time);
        }
        let entry = Cited { log: self.log, index };
        if self.clock >= self.fold.period.to {
            return self.handle_after(entry, event);
        }
        if self.clock < self.fold.period.from && index < self.audited_to {
            self.stretch.from = index + 1;
            self.stretch.to = index + 1;
            self.handle_before(entry, event);
        } else {
            self.stretch.to = index + 1;
            self.handle_within(entry, event);
        }
        // A gateway that comes back starts, and only then says what it lost.
        if !matches!(event.kind, EventKind::Start | EventKind::Gap) {
            self.whole_until = self.clock;
        }
        ControlFlow::Continue(())
    }

    /// No more entries concern the period: what is open now was open when it ended.
    pub fn finish(mut self) {
        let open = self.open.drain().collect();
        self.count_open(open, true);
        self.fold.observations.logs.push(self.stretch);
        if let Some(put_by) = &mut self.fold.put_by {
            put_by.pack(std::mem::take(&mut self.fold.observations.seen));
        }
    }

    /// Counts what was open when the period ended, as far as anybody knows.
    fn count_open(&mut self, open: Vec<(String, Connection)>, alive: bool) {
        let Period { from, to } = self.fold.period;
        for mut connection in in_order(open) {
            connection.outlives(from, to);
            if let Some(who) = connection.who() {
                // Nothing was said since; the entry that opened it was read for this period too.
                self.fold.count_events(who, 1);
            }
            self.count(connection, alive);
        }
    }

    fn handle_before(&mut self, entry: Cited, event: &Event) {
        match event.kind {
            EventKind::Open | EventKind::Connected | EventKind::Progress => {
                if let Some(id) = &event.connection_id {
                    let connection = self.open.entry(id.clone());
                    connection
                        .or_insert_with(|| Connection::new(entry))
                        .handle_before(entry, event);
                }
            }
            EventKind::Close | EventKind::Refused => {
                if let Some(id) = &event.connection_id {
                    self.open.remove(id);
                }
            }
            EventKind::Start | EventKind::Stop | EventKind::Gap => drop(self.take_ended(event)),
            EventKind::Kill | EventKind::Archived | EventKind::Pruned => {}
        }
    }

    fn handle_within(&mut self, entry: Cited, event: &Event) {
        match event.kind {
            EventKind::Open | EventKind::Connected | EventKind::Progress => {
                let connection = self.connection(entry, event);
                match &event.connection_id {
                    Some(id) => {
                        self.open.insert(id.clone(), connection);
                    }
                    // Nothing can ever close it; it still happened.
                    None => self.count(connection, false),
                }
            }
            EventKind::Close | EventKind::Refused => {
                let connection = self.connection(entry, event);
                self.count(connection, false);
            }
            // One process writes a log. When it starts or stops, no connection of an earlier one lives,
            // unless that goes on beside it and says so.
            EventKind::Start | EventKind::Stop | EventKind::Gap => {
                for connection in in_order(self.end(entry, event)) {
                    self.count(connection, false);
                }
            }
            EventKind::Kill | EventKind::Archived | EventKind::Pruned => {}
        }
    }

    /// The period is over. What remains to be known is whether the log was whole to its end, which
    /// a gateway that died within the period says when it comes back.
    fn handle_after(&mut self, entry: Cited, event: &Event) -> ControlFlow<()> {
        match event.kind {
            EventKind::Start | EventKind::Gap => {
                let ended = self.end(entry, event);
                self.count_open(ended, false);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }

    fn connection(&mut self, entry: Cited, event: &Event) -> Connection {
        let known = event.connection_id.as_ref().and_then(|id| self.open.remove(id));
        let mut connection = known.unwrap_or_else(|| Connection::new(entry));
        connection.handle_within(entry, event);
        if let Some(who) = connection.who() {
            self.fold.count_events(who, 1);
        }
        connection
    }

    fn note_gap(&mut self, entry: Cited, event: &Event) {
        self.fold.observations.gaps.push(Gap {
            cited: entry,
            from: self.whole_until,
            to: self.clock,
            cause: event.cause.clone().unwrap_or_default(),
            count: event.count,
            plugin_id: event.plugin_id.clone(),
        });
    }

    /// Takes the connections that an event of the whole gateway says are over, and notes what is missing
    /// on its account.
    fn end(&mut self, entry: Cited, event: &Event) -> Vec<(String, Connection)> {
        let ended = self.take_ended(event);
        match (event.kind, &event.scope) {
            (EventKind::Gap, None) => self.note_gap(entry, event),
            (EventKind::Start | EventKind::Gap, _) => self.note_cut_short(entry, &ended),
            _ => {}
        }
        ended
    }

    fn take_ended(&mut self, event: &Event) -> Vec<(String, Connection)> {
        self.open.extract_if(|id, _| event.ends(id)).collect()
    }

    /// A process ended without having stopped. Whatever it had open died with it, nobody can tell when;
    /// how much went over it since it last spoke, and what was spoken in it, is missing.
    fn note_cut_short(&mut self, told_by: Cited, ended: &[(String, Connection)]) {
        let mut cut_short: BTreeMap<PluginId, u64> = BTreeMap::new();
        let whose = ended.iter().filter_map(|(_, connection)| connection.who());
        for who in whose.filter(|who| self.fold.concerns(who)) {
            *cut_short.entry(who.plugin_id.clone()).or_default() += 1;
        }
        for (plugin_id, connections) in cut_short {
            self.fold.observations.gaps.push(Gap {
                cited: told_by,
                from: self.whole_until,
                to: self.clock,
                cause: CUT_SHORT.to_owned(),
                count: Some(connections),
                plugin_id: Some(plugin_id),
            });
        }
    }

    fn count(&mut self, connection: Connection, alive: bool) {
        match connection.settle(alive) {
            Some(Settled::Seen {
                who,
                destination,
                addition,
            }) => {
                if !self.fold.concerns(&who) {
                    return;
                }
                let share = addition.share();
                let mut passage = Passage::default();
                if let Some(book) = self.fold.book {
                    passage = book.passage(&who, share.first, share.last);
                    self.fold
                        .observations
                        .note_times(book, &who, &destination, &addition);
                }
                let visited = Visited { destination, passage };
                let sum = Sum {
                    tally: Tally::of(share),
                    alive: alive.into(),
                };
                self.fold.add_seen(who, [(visited, addition.facts.way(), sum)]);
            }
            Some(Settled::Stray(stray, share)) => {
                self.fold.observations.add_stray(stray, &Tally::of(&share));
            }
            None => {}
        }
    }
}

/// Connections of which the same is known.
pub(crate) struct Sum {
    pub(crate) tally: Tally,
    /// How many of them were open when the period ended.
    pub(crate) alive: u64,
}

impl Observations {
    fn add_seen<'w>(&mut self, who: Who, sums: impl IntoIterator<Item = (Visited, Way<'w>, Sum)>) {
        let known = match self.seen.get_mut(&who) {
            Some(known) => known,
            None => self.seen.entry(who.clone()).or_default(),
        };
        for (visited, way, sum) in sums {
            if known.len() < MAX_DESTINATIONS || known.contains_key(&visited) {
                way.add_to(&sum.tally, sum.alive, known.entry(visited).or_default());
            } else {
                let beyond = self.beyond.entry(who.clone());
                beyond
                    .and_modify(|known| known.merge(&sum.tally))
                    .or_insert(sum.tally);
            }
        }
    }

    /// Adds what nobody could be named for, or what went nowhere.
    pub(crate) fn add_stray(&mut self, mut stray: Stray, tally: &Tally) {
        if self.strays.len() >= MAX_STRAYS && !self.strays.contains_key(&stray) {
            stray = Stray {
                target: None,
                credential: None,
                ..stray
            };
        }
        self.strays
            .entry(stray)
            .and_modify(|known| known.merge(tally))
            .or_insert_with(|| tally.clone());
    }
}

/// In the order of the log, so that nothing depends on how a table hashes.
fn in_order(connections: Vec<(String, Connection)>) -> Vec<Connection> {
    let mut connections: Vec<Connection> = connections
        .into_iter()
        .map(|(_, connection)| connection)
        .collect();
    connections.sort_by_key(Connection::first_entry);
    connections
}
