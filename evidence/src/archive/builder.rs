//! One column while a file is filled, and the pages that it becomes.

use parquet::basic::Encoding;

use super::columns::{Column, ColumnType};
use super::cut::{Written, items, number, text, time};
use super::delta::{push_numbers, push_texts};
use super::dictionary::Dictionary;
use super::hybrid::{bits_for, push_hybrid, push_run};

/// Numbers with more different values than this are no words; their differences are written.
const MAX_DISTINCT_NUMBERS: usize = 1024;
/// Texts that repeat less often than every second time are written by what they share.
const LEAST_REPEATS: usize = 2;
/// Fewer different texts than this are a dictionary, whether they repeat or not.
const SMALL_DICTIONARY: usize = 256;

/// A column's values.
#[derive(Debug)]
pub(crate) struct Builder {
    kind: ColumnType,
    is_required: bool,
    is_rising: bool,
    /// Rows that have a value.
    rows: Vec<u32>,
    /// Of a list: how many items each of these rows has.
    counts: Vec<u32>,
    numbers: Vec<i64>,
    codes: Vec<u32>,
    texts: Dictionary,
}

/// A column's pages before compression.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The dictionary page's values, and how many.
    pub(crate) dictionary: Option<(Vec<u8>, usize)>,
    pub(crate) data: Vec<u8>,
    pub(crate) encoding: Encoding,
    /// Values and absences, as levels count them.
    pub(crate) levels: usize,
    /// The least and the largest number, of columns that rise.
    pub(crate) bounds: Option<(i64, i64)>,
}

impl Builder {
    pub(crate) fn new(column: &Column) -> Self {
        Self {
            kind: column.kind(),
            is_required: column.is_required(),
            is_rising: column.is_required() || column.kind() == ColumnType::Time,
            rows: Vec::new(),
            counts: Vec::new(),
            numbers: Vec::new(),
            codes: Vec::new(),
            texts: Dictionary::default(),
        }
    }

    /// Forgets every value, and keeps the room that they took.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.counts.clear();
        self.numbers.clear();
        self.codes.clear();
        self.texts.clear();
    }

    /// Adds the value of `row` as an entry writes it; [`super::cut::Cut`] found it to be one.
    pub(crate) fn push(&mut self, row: u32, value: Written<'_>) {
        self.rows.push(row);
        let written = value.bytes;
        match self.kind {
            ColumnType::Text => self.codes.push(self.texts.code(&value.text())),
            ColumnType::Texts | ColumnType::Objects => {
                let items = items(written, self.kind);
                self.counts
                    .push(u32::try_from(items.len()).expect("an entry has at most 4 KiB"));
                for item in items {
                    let code = match self.kind {
                        ColumnType::Objects => self.texts.code(item),
                        _ => {
                            let text = text(item).expect("a cut is made of readable values");
                            self.texts.code(text.as_bytes())
                        }
                    };
                    self.codes.push(code);
                }
            }
            ColumnType::Int32 | ColumnType::Int64 => {
                let number = number(written).expect("a cut is made of readable values");
                self.push_number(number);
            }
            ColumnType::Flag => self.numbers.push(i64::from(written == b"true")),
            ColumnType::Time => self
                .numbers
                .push(time(written).expect("a cut is made of readable values")),
        }
    }

    /// Adds a text as it is, for an entry that has no columns.
    pub(crate) fn push_raw(&mut self, row: u32, entry: &str) {
        self.rows.push(row);
        self.codes.push(self.texts.code(entry.as_bytes()));
    }

    /// Adds a number to the column that no row lacks.
    pub(crate) fn push_required(&mut self, row: u32, number: u64) {
        self.rows.push(row);
        self.push_number(number);
    }

    fn push_number(&mut self, number: u64) {
        self.numbers
            .push(i64::try_from(number).expect("numbers of entries are below 2^53"));
    }

    /// The pages of a file of so many rows.
    pub(crate) fn pages(&self, rows: usize) -> Pages {
        let mut data = Vec::new();
        let levels = self.push_levels(&mut data, rows);
        let mut dictionary = None;
        let encoding = match self.kind {
            _ if self.rows.is_empty() => Encoding::PLAIN,
            ColumnType::Text | ColumnType::Texts | ColumnType::Objects => {
                if self.is_worth_a_dictionary() {
                    let mut values = Vec::new();
                    for code in 0..u32::try_from(self.texts.len()).unwrap_or(u32::MAX) {
                        push_plain(&mut values, self.texts.get(code));
                    }
                    dictionary = Some((values, self.texts.len()));
                    push_codes(&mut data, &self.codes, self.texts.len());
                    Encoding::RLE_DICTIONARY
                } else {
                    push_texts(&mut data, self.codes.iter().map(|&code| self.texts.get(code)));
                    Encoding::DELTA_BYTE_ARRAY
                }
            }
            ColumnType::Int32 | ColumnType::Int64 | ColumnType::Time => match self.words() {
                Some((values, codes)) => {
                    let count = values.len();
                    let bytes = values.into_iter().flat_map(|value| {
                        let bytes = value.to_le_bytes();
                        let width = if self.kind == ColumnType::Int32 { 4 } else { 8 };
                        bytes.into_iter().take(width)
                    });
                    dictionary = Some((bytes.collect(), count));
                    push_codes(&mut data, &codes, count);
                    Encoding::RLE_DICTIONARY
                }
                None => {
                    push_numbers(&mut data, &self.numbers);
                    Encoding::DELTA_BINARY_PACKED
                }
            },
            ColumnType::Flag => {
                for eight in self.numbers.chunks(8) {
                    let bits = eight
                        .iter()
                        .enumerate()
                        .map(|(at, &flag)| u8::from(flag == 1) << at);
                    data.push(bits.sum());
                }
                Encoding::PLAIN
            }
        };
        let bounds = self.numbers.iter().min().zip(self.numbers.iter().max());
        Pages {
            dictionary,
            data,
            encoding,
            levels,
            bounds: bounds
                .filter(|_| self.is_rising)
                .map(|(least, most)| (*least, *most)),
        }
    }

    fn is_worth_a_dictionary(&self) -> bool {
        let distinct = self.texts.len();
        distinct <= SMALL_DICTIONARY || distinct * LEAST_REPEATS <= self.codes.len()
    }

    /// Distinct numbers and the codes that name them, where there are few.
    fn words(&self) -> Option<(Vec<i64>, Vec<u32>)> {
        if self.is_rising {
            return None;
        }
        let mut known = Dictionary::default();
        let mut values = Vec::new();
        let mut codes = Vec::with_capacity(self.numbers.len());
        for &number in &self.numbers {
            let code = known.code(&number.to_le_bytes());
            if known.len() > values.len() {
                values.push(number);
            }
            if values.len() > MAX_DISTINCT_NUMBERS {
                return None;
            }
            codes.push(code);
        }
        Some((values, codes))
    }

    /// Adds the levels of a file of so many rows and returns how many those are.
    fn push_levels(&self, out: &mut Vec<u8>, rows: usize) -> usize {
        match self.kind {
            _ if self.is_required => rows,
            ColumnType::Texts | ColumnType::Objects => self.push_list_levels(out, rows),
            _ => {
                let present = u32::from(!self.rows.is_empty());
                push_sized(out, |out| {
                    if self.rows.is_empty() || self.rows.len() == rows {
                        push_run(out, present, rows, 1);
                    } else {
                        let mut levels = vec![0; rows];
                        self.rows.iter().for_each(|&row| levels[row as usize] = 1);
                        push_hybrid(out, &levels, 1);
                    }
                });
                rows
            }
        }
    }

    /// Repetition levels: 1 where an item goes on with the list before it. Definition levels: 2 where
    /// there is an item, 0 where there is no list.
    fn push_list_levels(&self, out: &mut Vec<u8>, rows: usize) -> usize {
        let (mut repetitions, mut definitions) = (Vec::new(), Vec::new());
        let mut lists = self.rows.iter().zip(&self.counts).peekable();
        for row in 0..rows {
            let items = lists
                .next_if(|(at, _)| **at as usize == row)
                .map_or(0, |(_, count)| *count as usize);
            repetitions.push(0);
            repetitions.resize(repetitions.len() + items.saturating_sub(1), 1);
            definitions.resize(repetitions.len(), if items == 0 { 0 } else { 2 });
        }
        push_sized(out, |out| push_hybrid(out, &repetitions, 1));
        push_sized(out, |out| push_hybrid(out, &definitions, 2));
        repetitions.len()
    }
}

/// Adds what `push` adds, with its length before it.
fn push_sized(out: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    push(out);
    let length = out.len() - start - 4;
    out[start..start + 4].copy_from_slice(&narrow(length).to_le_bytes());
}

fn push_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&narrow(text.len()).to_le_bytes());
    out.extend_from_slice(text);
}

fn push_codes(out: &mut Vec<u8>, codes: &[u32], distinct: usize) {
    // Not every reader takes codes of no bits.
    let bits = bits_for(narrow(distinct.saturating_sub(1))).max(1);
    out.push(u8::try_from(bits).expect("at most 32"));
    push_hybrid(out, codes, bits);
}

fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("a file's columns have far fewer bytes")
}
