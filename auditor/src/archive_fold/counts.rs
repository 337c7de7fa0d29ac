//! Counts: how often, of what kind.

use evidence::EventKind;

/// How many events there are about one tuple.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub events: u64,
    /// Those that say that a connection ended.
    pub closed: u64,
    /// Those that say that one was refused.
    pub refused: u64,
}

impl Counts {
    /// One event.
    pub fn of(kind: EventKind) -> Self {
        Self {
            events: 1,
            closed: u64::from(kind == EventKind::Close),
            refused: u64::from(kind == EventKind::Refused),
        }
    }

    /// Adds what others counted.
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.closed += other.closed;
        self.refused += other.refused;
    }
}
