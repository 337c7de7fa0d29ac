//! Codes: rows told apart by several columns at once.
//!
//! A file has at most 50,000 rows, so a column's codes fit into 17 bits, and all columns that a part of
//! the facts is made of fit into 128; mostly into 64. Equal rows get the same number, in the order in which
//! they are met.

use evidence::archive::ABSENT;

/// The columns of one part, side by side in one word for each row, and in a second where one is full.
pub(super) struct Packed {
    rows: usize,
    words: [Vec<u64>; 2],
    used: [u32; 2],
}

/// Rows by the number of what they say, and for each number the row that said it first.
pub(super) struct Numbered {
    pub(super) numbers: Vec<u32>,
    pub(super) firsts: Vec<usize>,
}

impl Packed {
    pub(super) const fn new(rows: usize) -> Self {
        Self {
            rows,
            words: [Vec::new(), Vec::new()],
            used: [0; 2],
        }
    }

    /// Adds a column of so many codes; [`ABSENT`] is one more. `false` where there is no room.
    #[must_use]
    pub(super) fn push(&mut self, codes: &[u32], distinct: usize) -> bool {
        if distinct == 0 {
            return true;
        }
        let Ok(most) = u32::try_from(distinct) else {
            return false;
        };
        let bits = u32::BITS - most.leading_zeros();
        let Some(half) = self.used.iter().position(|used| used + bits <= u64::BITS) else {
            return false;
        };
        let shift = self.used[half];
        self.used[half] += bits;
        const { assert!(ABSENT.wrapping_add(1) == 0) };
        let codes = codes.iter().map(|code| u64::from(code.wrapping_add(1)) << shift);
        let words = &mut self.words[half];
        if words.is_empty() {
            words.extend(codes);
            words.resize(self.rows, 0);
        } else {
            words.iter_mut().zip(codes).for_each(|(word, code)| *word |= code);
        }
        true
    }

    pub(super) fn number(&self) -> Numbered {
        match &self.words {
            [low, _] if low.is_empty() => number_all((0..self.rows).map(|_| 0_u64)),
            [low, high] if high.is_empty() => number_all(low.iter().copied()),
            [low, high] => {
                let both = low.iter().zip(high);
                number_all(both.map(|(low, high)| u128::from(*high) << 64 | u128::from(*low)))
            }
        }
    }
}

fn number_all<W: Word>(words: impl ExactSizeIterator<Item = W>) -> Numbered {
    let mut table = Table::default();
    let mut firsts = Vec::new();
    let mut numbers = Vec::with_capacity(words.len());
    let mut last = None;
    for (row, word) in words.enumerate() {
        // Words equal to the one before are common.
        let number = match last {
            Some((known, number)) if known == word => number,
            _ => table.number(word),
        };
        last = Some((word, number));
        if number as usize == firsts.len() {
            firsts.push(row);
        }
        numbers.push(number);
    }
    Numbered { numbers, firsts }
}

/// What rows are told apart by.
pub(super) trait Word: Copy + Eq + Default {
    /// The highest bits of this are those that are looked at.
    fn mixed(self) -> u64;
}

impl Word for u64 {
    fn mixed(self) -> u64 {
        let mixed = self.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Word for u128 {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    fn mixed(self) -> u64 {
        let (low, high) = (self as u64, (self >> 64) as u64);
        let mixed = (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 32) ^ high.wrapping_mul(0xff51_afd7_ed55_8ccd)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Numbers of words, in the order in which words are met. The words are made of numbers that we gave
/// ourselves, so nobody chooses where they fall.
#[derive(Debug)]
pub(super) struct Table<W> {
    /// Powers of two; [`FREE`] where there is none.
    slots: Vec<(W, u32)>,
    used: u32,
}

impl<W> Default for Table<W> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            used: 0,
        }
    }
}

const FREE: u32 = u32::MAX;
const SMALLEST: usize = 1 << 10;

impl<W: Word> Table<W> {
    /// The number of `word`: as many as were met before, if it is new.
    pub(super) fn number(&mut self, word: W) -> u32 {
        if (self.used as usize + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let at = self.place(word);
        let (known, number) = &mut self.slots[at];
        if *number == FREE {
            (*known, *number) = (word, self.used);
            self.used += 1;
        }
        *number
    }

    fn place(&self, word: W) -> usize {
        let mask = self.slots.len() - 1;
        let shift = 64 - self.slots.len().trailing_zeros();
        let mut at = usize::try_from(word.mixed() >> shift).unwrap_or(0);
        while self.slots[at].1 != FREE && self.slots[at].0 != word {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(SMALLEST);
        let old = std::mem::replace(&mut self.slots, vec![(W::default(), FREE); size]);
        for (word, number) in old.into_iter().filter(|(_, number)| *number != FREE) {
            let at = self.place(word);
            self.slots[at] = (word, number);
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.used = 0;
    }
}

/// The numbers of texts that are equal, whatever their codes; for each code its number, and for each
/// number a code.
pub(super) fn equal_texts<'t>(texts: impl Iterator<Item = &'t [u8]> + Clone) -> (Vec<u32>, Vec<u32>) {
    let all: Vec<&[u8]> = texts.collect();
    let size = (all.len() * 2).next_power_of_two().max(SMALLEST);
    let (mask, shift) = (size - 1, 64 - size.trailing_zeros());
    let mut slots = vec![FREE; size];
    let mut codes: Vec<u32> = Vec::with_capacity(all.len());
    let mut numbers = Vec::with_capacity(all.len());
    for (text, code) in all.iter().zip(0..) {
        let mut at = usize::try_from(hash(text) >> shift).unwrap_or(0);
        let number = loop {
            match slots[at] {
                FREE => {
                    slots[at] = u32::try_from(codes.len()).unwrap_or(FREE);
                    codes.push(code);
                    break slots[at];
                }
                known if all[codes[known as usize] as usize] == *text => break known,
                _ => at = (at + 1) & mask,
            }
        };
        numbers.push(number);
    }
    (numbers, codes)
}

/// Ids are the gateway's to give: nobody whom it serves chooses where they fall.
fn hash(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    words.fold(text.len() as u64, |hash, word| {
        (hash.rotate_left(25) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
