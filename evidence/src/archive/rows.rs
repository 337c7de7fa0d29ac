//! Rows written again as the entries that they were.

use base::Timestamp;

use super::Archive;
use super::columns::{COLUMNS, ColumnType, RAW};
use super::cut::Cut;
use super::failure::InvalidArchive;
use super::values::{ABSENT, ListColumn, NumberColumn, TextColumn};
use crate::encode::{push_number, push_text};

/// The entries of a file, in order.
#[derive(Debug)]
pub struct Rows<'a> {
    archive: &'a Archive,
    columns: Vec<Fields>,
    raw: TextColumn,
    next: usize,
    entry: Vec<u8>,
    cut: Cut,
}

/// One column as its values stand in entries, each with its key.
#[derive(Debug)]
struct Fields {
    /// `,"key":`
    key: Vec<u8>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// For each code the whole field.
    Words {
        fields: Vec<u8>,
        ends: Vec<usize>,
        codes: Vec<u32>,
    },
    Lists {
        /// For each code the item.
        items: Vec<u8>,
        ends: Vec<usize>,
        list: ListColumn,
    },
    Numbers(NumberColumn),
    Flags(NumberColumn),
    /// With the second that was written last, and its spelling: events of a second follow each other.
    Times(NumberColumn, Option<(i64, [u8; 27])>),
}

impl<'a> Rows<'a> {
    pub(crate) fn of(archive: &'a Archive) -> Result<Self, InvalidArchive> {
        let mut columns = Vec::new();
        for (at, column) in COLUMNS.iter().enumerate().take(RAW) {
            if !archive.has(at) {
                continue;
            }
            let key = [b",\"", column.name().as_bytes(), b"\":"].concat();
            // Most columns of a file state nothing in any row, and looking into each of them for every
            // row would cost more than those that do.
            let values = match column.kind() {
                ColumnType::Text => {
                    let texts = archive.text_column(at)?;
                    if texts.distinct() == 0 {
                        continue;
                    }
                    let (fields, ends) = spelt(&texts, |out, text| {
                        out.extend_from_slice(&key);
                        push_text(out, text);
                    });
                    let codes = texts.into_codes();
                    Values::Words { fields, ends, codes }
                }
                kind @ (ColumnType::Texts | ColumnType::Objects) => {
                    let list = archive.list_column(at)?;
                    if list.items().distinct() == 0 {
                        continue;
                    }
                    let (items, ends) = spelt(list.items(), |out, text| match kind {
                        ColumnType::Objects => out.extend_from_slice(text.as_bytes()),
                        _ => push_text(out, text),
                    });
                    Values::Lists { items, ends, list }
                }
                kind @ (ColumnType::Int32 | ColumnType::Int64 | ColumnType::Flag | ColumnType::Time) => {
                    let numbers = archive.number_column(at)?;
                    if !numbers.states_any() {
                        continue;
                    }
                    match kind {
                        ColumnType::Flag => Values::Flags(numbers),
                        ColumnType::Time => Values::Times(numbers, None),
                        _ => Values::Numbers(numbers),
                    }
                }
            };
            columns.push(Fields { key, values });
        }
        Ok(Self {
            archive,
            columns,
            raw: if archive.has(RAW) {
                archive.text_column(RAW)?
            } else {
                TextColumn::default()
            },
            next: 0,
            entry: Vec::with_capacity(1024),
            cut: Cut::default(),
        })
    }

    /// The next entry and where it stands in the log; `None` after the last.
    ///
    /// # Errors
    /// [`InvalidArchive::Row`] for a row that no entry makes.
    pub fn next_row(&mut self) -> Result<Option<(u64, &[u8])>, InvalidArchive> {
        if self.next >= self.archive.row_count() {
            return Ok(None);
        }
        let row = self.next;
        let index = self.archive.entries().start + row as u64;
        self.next += 1;
        self.entry.clear();
        for column in &mut self.columns {
            column.push(row, &mut self.entry);
        }
        if let Some(raw) = self.raw.row(row) {
            let edited = |what| Err(InvalidArchive::Row { index, what });
            let mut seq = b",\"seq\":".to_vec();
            push_number(&mut seq, index);
            if self.entry != seq {
                return edited("it stands whole and in columns");
            }
            if self.cut.take(raw.as_bytes()) {
                return edited("it stands whole and would fit columns");
            }
            self.entry.clear();
            self.entry.extend_from_slice(raw.as_bytes());
        } else {
            self.entry[0] = b'{';
            self.entry.push(b'}');
        }
        Ok(Some((index, &self.entry)))
    }
}

impl Fields {
    fn push(&mut self, row: usize, out: &mut Vec<u8>) {
        match &mut self.values {
            Values::Words { fields, ends, codes } => {
                let code = codes[row];
                if code != ABSENT {
                    out.extend_from_slice(piece(fields, ends, code));
                }
            }
            Values::Lists { items, ends, list } => {
                let codes = list.codes_of(row);
                if let Some((first, others)) = codes.split_first() {
                    out.extend_from_slice(&self.key);
                    out.push(b'[');
                    out.extend_from_slice(piece(items, ends, *first));
                    for &code in others {
                        out.push(b',');
                        out.extend_from_slice(piece(items, ends, code));
                    }
                    out.push(b']');
                }
            }
            Values::Numbers(column) => {
                if let Some(number) = column.row(row) {
                    out.extend_from_slice(&self.key);
                    push_number(out, number.unsigned_abs());
                }
            }
            Values::Flags(column) => {
                if let Some(flag) = column.row(row) {
                    out.extend_from_slice(&self.key);
                    out.extend_from_slice(if flag == 0 { b"false" } else { b"true" });
                }
            }
            Values::Times(column, last) => {
                if let Some(us) = column.row(row) {
                    out.extend_from_slice(&self.key);
                    out.push(b'"');
                    out.extend_from_slice(&spelt_moment(us, last));
                    out.push(b'"');
                }
            }
        }
    }
}

/// A moment as entries write it; `last` is the second of the one before.
fn spelt_moment(us: i64, last: &mut Option<(i64, [u8; 27])>) -> [u8; 27] {
    let (second, rest) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let mut text = match last {
        Some((of, text)) if *of == second => *text,
        _ => Timestamp::from_unix_us(us).to_ascii(),
    };
    // A moment beyond what can be written is spelt as the last that can.
    let is_within = Timestamp::from_unix_us(us).unix_us() == us;
    if is_within {
        let mut left = rest;
        for digit in text[20..26].iter_mut().rev() {
            *digit = b'0' + u8::try_from(left % 10).expect("a digit is below ten");
            left /= 10;
        }
        *last = Some((second, text));
    }
    text
}

/// Each text of a column as `push` spells it, and where each spelling ends.
fn spelt(texts: &TextColumn, push: impl Fn(&mut Vec<u8>, &str)) -> (Vec<u8>, Vec<usize>) {
    let (mut out, mut ends) = (Vec::new(), Vec::with_capacity(texts.distinct()));
    for code in 0..u32::try_from(texts.distinct()).unwrap_or(ABSENT) {
        push(&mut out, texts.text(code).unwrap_or_default());
        ends.push(out.len());
    }
    (out, ends)
}

fn piece<'a>(bytes: &'a [u8], ends: &[usize], code: u32) -> &'a [u8] {
    let at = code as usize;
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[at]]
}
