//! Codes: rows of one file counted by what their columns' dictionaries call their values.
//!
//! A file has at most 50,000 rows, so a code of it has at most 16 bits, and all that rows are counted
//! by fits into two words. They are counted in a table that is found by a product and a shift: half of
//! the time of a fold is spent here.

use evidence::archive::{ABSENT, MAX_ROWS, NumberColumn, TextColumn};

/// The code of what is absent. No column of a file has as many.
pub(super) const NONE: u16 = u16::MAX;
const _: () = assert!(MAX_ROWS < NONE as usize, "codes of a file have 16 bits");

/// What rows are counted by, as this file calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalKey {
    /// From the lowest bits: run, artifact, plugin, host.
    names: u64,
    /// From the lowest bits: port, scheme, kind.
    rest: u64,
}

impl LocalKey {
    pub(super) const fn run(self) -> u16 {
        low(self.names)
    }

    pub(super) const fn artifact(self) -> u16 {
        low(self.names >> 16)
    }

    pub(super) const fn plugin(self) -> u16 {
        low(self.names >> 32)
    }

    pub(super) const fn host(self) -> u16 {
        low(self.names >> 48)
    }

    /// The port itself; 0 where there is none, which is no port.
    pub(super) const fn port(self) -> u16 {
        low(self.rest)
    }

    pub(super) const fn scheme(self) -> u16 {
        low(self.rest >> 16)
    }

    pub(super) const fn kind(self) -> u16 {
        low(self.rest >> 32)
    }

    const fn slot(self, shift: u32) -> u64 {
        let mixed = (self.names ^ self.rest.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ self.rest.wrapping_mul(0xff51_afd7_ed55_8ccd)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest 16 bits are what is asked for"
)]
const fn low(word: u64) -> u16 {
    word as u16
}

/// The columns that rows are counted by.
pub(super) struct Columns<'a> {
    /// `None` where runs are not told apart.
    pub(super) run: Option<&'a TextColumn>,
    pub(super) artifact: &'a TextColumn,
    pub(super) plugin: &'a TextColumn,
    pub(super) host: &'a TextColumn,
    pub(super) port: &'a NumberColumn,
    pub(super) scheme: &'a TextColumn,
    pub(super) kind: &'a TextColumn,
}

/// A table of counts, used for one file after the other.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Powers of two; a count of zero is a free place.
    slots: Vec<(LocalKey, u32)>,
    used: Vec<usize>,
}

const SMALLEST: usize = 1 << 12;
const FREE: (LocalKey, u32) = (LocalKey { names: 0, rest: 0 }, 0);

impl Table {
    /// Counts all rows but those that `is_elsewhere` says stand elsewhere.
    pub(super) fn count(&mut self, columns: &Columns<'_>, is_elsewhere: impl Fn(usize) -> bool) {
        let names = columns
            .artifact
            .codes()
            .iter()
            .zip(columns.plugin.codes())
            .zip(columns.host.codes());
        let rest = columns
            .port
            .numbers()
            .iter()
            .zip(columns.scheme.codes())
            .zip(columns.kind.codes());
        let runs = columns.run.map(TextColumn::codes);
        for (row, (((artifact, plugin), host), ((port, scheme), kind))) in names.zip(rest).enumerate() {
            if is_elsewhere(row) {
                continue;
            }
            let run = runs.map_or(ABSENT, |runs| runs[row]);
            self.add(LocalKey {
                names: word(run) | word(*artifact) << 16 | word(*plugin) << 32 | word(*host) << 48,
                // What is no port was no event's, and counts as none.
                rest: u64::from(u16::try_from(*port).unwrap_or(0)) | word(*scheme) << 16 | word(*kind) << 32,
            });
        }
    }

    fn add(&mut self, key: LocalKey) {
        if self.used.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let at = self.place(key);
        let (known, count) = &mut self.slots[at];
        if *count == 0 {
            *known = key;
            self.used.push(at);
        }
        *count += 1;
    }

    /// Where `key` is, or where it goes.
    fn place(&self, key: LocalKey) -> usize {
        let mask = self.slots.len() - 1;
        let shift = 64 - self.slots.len().trailing_zeros();
        let mut at = usize::try_from(key.slot(shift)).unwrap_or(0);
        while self.slots[at].1 != 0 && self.slots[at].0 != key {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(SMALLEST);
        let old = std::mem::replace(&mut self.slots, vec![FREE; size]);
        self.used.clear();
        for (key, count) in old.into_iter().filter(|(_, count)| *count > 0) {
            let at = self.place(key);
            self.slots[at] = (key, count);
            self.used.push(at);
        }
    }

    /// Empties the table; each key with how many rows it has, in the order in which they were first met.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (LocalKey, u32)> {
        let slots = &mut self.slots;
        self.used
            .drain(..)
            .map(|at| std::mem::replace(&mut slots[at], FREE))
    }
}

/// A code as 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "ABSENT becomes NONE, and every code is smaller"
)]
const fn word(code: u32) -> u64 {
    const { assert!(ABSENT as u16 == NONE) };
    code as u16 as u64
}
