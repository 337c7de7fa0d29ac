//! A column's values, as codes of a dictionary or as numbers: what folding and regenerating start from.

use super::columns::{Column, ColumnType};
use super::delta::{read_numbers, read_texts};
use super::failure::InvalidArchive;
use super::footer::Chunk;
use super::hybrid::{bits_for, read_flags, read_hybrid};
use super::pages::{ColumnPages, DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY, PLAIN, RLE_DICTIONARY};

/// The code of a row that states nothing.
pub const ABSENT: u32 = u32::MAX;

/// A column of texts: for each row a code, for each code a text. Two codes may stand for one text.
#[derive(Clone, Debug, Default)]
pub struct TextColumn {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    codes: Vec<u32>,
}

/// A column of lists of texts: for each row as many codes as its list has items, none where it has no
/// list.
#[derive(Clone, Debug, Default)]
pub struct ListColumn {
    items: TextColumn,
    /// Where the items of each row end.
    row_ends: Vec<usize>,
}

/// A column of numbers: times are microseconds since 1970, flags are 0 and 1.
#[derive(Clone, Debug, Default)]
pub struct NumberColumn {
    numbers: Vec<i64>,
    /// The rows that state one; `None` where all do.
    present: Option<Vec<bool>>,
}

impl TextColumn {
    /// One code for each row; [`ABSENT`] where it states nothing.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// How many codes there are.
    pub const fn distinct(&self) -> usize {
        self.ends.len()
    }

    /// The text that `code` stands for; `None` for [`ABSENT`].
    pub fn text(&self, code: u32) -> Option<&str> {
        let text = self.bytes_of(usize::try_from(code).ok()?)?;
        std::str::from_utf8(text).ok()
    }

    /// The text of a row.
    pub fn row(&self, row: usize) -> Option<&str> {
        self.text(*self.codes.get(row)?)
    }

    /// The texts of all codes, in their order.
    pub fn texts_as_bytes(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }

    fn bytes_of(&self, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    pub(crate) fn into_codes(self) -> Vec<u32> {
        self.codes
    }

    /// A column that no row of so many states.
    fn absent(rows: usize) -> Self {
        Self {
            codes: vec![ABSENT; rows],
            ..Self::default()
        }
    }
}

impl ListColumn {
    /// The items of a row; none where it has no list.
    pub fn row(&self, row: usize) -> impl Iterator<Item = &str> {
        let codes = self.codes_of(row).iter();
        codes.filter_map(|&code| self.items.text(code))
    }

    /// The codes of a row's items.
    pub fn codes_of(&self, row: usize) -> &[u32] {
        let end = self.row_ends.get(row).copied().unwrap_or(0);
        let start = row.checked_sub(1).map_or(0, |before| self.row_ends[before]);
        self.items.codes.get(start..end).unwrap_or_default()
    }

    /// What codes of items stand for.
    pub const fn items(&self) -> &TextColumn {
        &self.items
    }
}

impl NumberColumn {
    /// The number of a row, if it states one.
    pub fn row(&self, row: usize) -> Option<i64> {
        let is_stated = self.present.as_ref().is_none_or(|present| present[row]);
        is_stated.then(|| self.numbers[row])
    }

    /// Whether any row states one.
    pub(crate) fn states_any(&self) -> bool {
        match &self.present {
            None => !self.numbers.is_empty(),
            Some(present) => present.contains(&true),
        }
    }

    /// Whether a row states none.
    pub fn states_less_than_all(&self) -> bool {
        self.present
            .as_ref()
            .is_some_and(|present| present.contains(&false))
    }

    /// One number for each row; zero where it states none.
    pub fn numbers(&self) -> &[i64] {
        &self.numbers
    }
}

/// What the pages of one column hold.
struct Reading<'a> {
    column: &'static Column,
    rows: usize,
    chunk: &'a Chunk,
    pages: ColumnPages,
}

impl<'a> Reading<'a> {
    fn begin(
        file: &[u8],
        column: &'static Column,
        rows: usize,
        chunk: &'a Chunk,
    ) -> Result<Self, InvalidArchive> {
        let pages = ColumnPages::read(file, chunk, column.name())?;
        Ok(Self {
            column,
            rows,
            chunk,
            pages,
        })
    }

    fn damaged<T>(&self, what: &'static str) -> Result<T, InvalidArchive> {
        Err(InvalidArchive::Column {
            column: self.column.name(),
            what,
        })
    }

    /// Levels off the front of `rest`.
    fn levels(&self, rest: &mut &[u8], bits: u32, most: u32) -> Result<Vec<u32>, InvalidArchive> {
        let read = || {
            let (levels, after) = framed(rest)?;
            Some((read_hybrid(levels, self.chunk.levels, bits, most)?, after))
        };
        match read() {
            Some((levels, after)) => {
                *rest = after;
                Ok(levels)
            }
            None => self.damaged("its levels cannot be read"),
        }
    }

    /// `count` codes, and the texts they stand for.
    fn texts(&self, rest: &[u8], count: usize) -> Result<TextColumn, InvalidArchive> {
        let texts = match (&self.pages.dictionary, self.pages.encoding) {
            (Some((values, distinct)), RLE_DICTIONARY) => {
                let Some((bytes, ends)) = plain_texts(values, *distinct) else {
                    return self.damaged("its dictionary cannot be read");
                };
                let codes = self.codes(rest, count, *distinct)?;
                TextColumn { bytes, ends, codes }
            }
            (None, DELTA_BYTE_ARRAY) => {
                let Some((bytes, ends)) = read_texts(rest, count, MAX_TEXT_BYTES) else {
                    return self.damaged("its texts cannot be read");
                };
                let codes = (0..u32::try_from(count).unwrap_or(ABSENT)).collect();
                TextColumn { bytes, ends, codes }
            }
            (None, PLAIN) if count == 0 && rest.is_empty() => TextColumn::default(),
            _ => return self.damaged("its texts are written in a way that is not used here"),
        };
        if texts.bytes.is_ascii() {
            return Ok(texts);
        }
        let starts = std::iter::once(0).chain(texts.ends.iter().copied());
        let all = std::str::from_utf8(&texts.bytes);
        // Cutting UTF-8 elsewhere than between characters would leave texts that are none.
        if all.is_ok_and(|all| starts.into_iter().all(|start| all.is_char_boundary(start))) {
            Ok(texts)
        } else {
            self.damaged("a text of it is not UTF-8")
        }
    }

    fn codes(&self, rest: &[u8], count: usize, distinct: usize) -> Result<Vec<u32>, InvalidArchive> {
        let most = u32::try_from(distinct)
            .ok()
            .and_then(|distinct| distinct.checked_sub(1));
        let codes = most.zip(rest.split_first()).and_then(|(most, (&bits, codes))| {
            let enough = u32::from(bits) <= bits_for(most).max(1);
            enough.then(|| read_hybrid(codes, count, bits.into(), most))?
        });
        match codes {
            Some(codes) => Ok(codes),
            None => self.damaged("its codes cannot be read"),
        }
    }

    fn numbers(&self, rest: &[u8], count: usize) -> Result<Vec<i64>, InvalidArchive> {
        let kind = self.column.kind();
        let numbers = match (&self.pages.dictionary, self.pages.encoding, kind) {
            (None, PLAIN, ColumnType::Flag) => {
                let is_whole = rest.len() == count.div_ceil(8);
                is_whole.then(|| {
                    (0..count)
                        .map(|at| i64::from(rest[at / 8] >> (at % 8) & 1))
                        .collect()
                })
            }
            (_, _, ColumnType::Flag) => None,
            (Some((values, distinct)), RLE_DICTIONARY, _) => {
                let values = plain_numbers(values, kind);
                if values.len() != *distinct {
                    return self.damaged("its dictionary cannot be read");
                }
                let codes = self.codes(rest, count, *distinct)?;
                Some(codes.into_iter().map(|code| values[code as usize]).collect())
            }
            (None, DELTA_BINARY_PACKED, _) => {
                let mut rest = rest;
                read_numbers(&mut rest, count).filter(|_| rest.is_empty())
            }
            (None, PLAIN, _) if count == 0 && rest.is_empty() => Some(Vec::new()),
            _ => None,
        };
        let most = match kind {
            ColumnType::Int32 => i64::from(i32::MAX),
            ColumnType::Time => i64::MAX,
            _ => i64::try_from(base::json::MAX_INTEGER).unwrap_or(i64::MAX),
        };
        let least = if kind == ColumnType::Time { i64::MIN } else { 0 };
        match numbers {
            None => self.damaged("its numbers are written in a way that is not used here"),
            Some(numbers) if numbers.iter().all(|number| (least..=most).contains(number)) => Ok(numbers),
            Some(_) => self.damaged("a number of it is out of range"),
        }
    }

    /// Levels of one bit off the front of `rest`.
    fn flags(&self, rest: &mut &[u8]) -> Result<Vec<bool>, InvalidArchive> {
        let read = || {
            let (levels, after) = framed(rest)?;
            Some((read_flags(levels, self.chunk.levels)?, after))
        };
        match read() {
            Some((flags, after)) => {
                *rest = after;
                Ok(flags)
            }
            None => self.damaged("its levels cannot be read"),
        }
    }

    /// Which rows state something, and how many do; `None` where all do.
    fn present(&self, rest: &mut &[u8]) -> Result<(Option<Vec<bool>>, usize), InvalidArchive> {
        if self.column.is_required() {
            return Ok((None, self.rows));
        }
        let present = self.flags(rest)?;
        let count = present.iter().map(|&is| usize::from(is)).sum();
        Ok(((count != self.rows).then_some(present), count))
    }
}

/// Levels and what follows them: their length in bytes stands before them.
fn framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, after) = bytes.split_first_chunk::<4>()?;
    after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// The texts of one column together: no more than the entries of a file, and the little that differs.
const MAX_TEXT_BYTES: usize = 96 << 20;

/// Reads a column of texts.
pub(crate) fn read_text_column(
    file: &[u8],
    column: &'static Column,
    rows: usize,
    chunk: Option<&Chunk>,
) -> Result<TextColumn, InvalidArchive> {
    let Some(chunk) = chunk else {
        return Ok(TextColumn::absent(rows));
    };
    let reading = Reading::begin(file, column, rows, chunk)?;
    let mut rest = reading.pages.data.as_slice();
    let (levels, present) = reading.present(&mut rest)?;
    let mut texts = reading.texts(rest, present)?;
    if present == 0 {
        return Ok(TextColumn::absent(rows));
    }
    if let Some(levels) = levels {
        texts.codes = spread(&levels, &texts.codes, ABSENT);
    }
    Ok(texts)
}

/// Reads a column of numbers, moments or flags.
pub(crate) fn read_number_column(
    file: &[u8],
    column: &'static Column,
    rows: usize,
    chunk: Option<&Chunk>,
) -> Result<NumberColumn, InvalidArchive> {
    let Some(chunk) = chunk else {
        return Ok(NumberColumn {
            numbers: vec![0; rows],
            present: Some(vec![false; rows]),
        });
    };
    let reading = Reading::begin(file, column, rows, chunk)?;
    let mut rest = reading.pages.data.as_slice();
    let (levels, present) = reading.present(&mut rest)?;
    let numbers = reading.numbers(rest, present)?;
    Ok(match levels {
        None => NumberColumn {
            numbers,
            present: None,
        },
        Some(levels) => NumberColumn {
            numbers: spread(&levels, &numbers, 0),
            present: Some(levels),
        },
    })
}

/// Reads a column of lists.
pub(crate) fn read_list_column(
    file: &[u8],
    column: &'static Column,
    rows: usize,
    chunk: Option<&Chunk>,
) -> Result<ListColumn, InvalidArchive> {
    let Some(chunk) = chunk else {
        return Ok(ListColumn {
            items: TextColumn::default(),
            row_ends: vec![0; rows],
        });
    };
    let reading = Reading::begin(file, column, rows, chunk)?;
    let mut rest = reading.pages.data.as_slice();
    let goes_on = reading.flags(&mut rest)?;
    let definitions = reading.levels(&mut rest, 2, 2)?;
    let mut row_ends: Vec<usize> = Vec::with_capacity(rows);
    let mut count = 0;
    for (goes_on, definition) in goes_on.into_iter().zip(definitions) {
        // No entry has an empty list, and none goes on that has not begun.
        let is_good = match (goes_on, definition) {
            (false, 0) => row_ends.len() < rows,
            (false, 2) => {
                count += 1;
                row_ends.len() < rows
            }
            (true, 2) => {
                let last = row_ends.pop();
                let begins = row_ends.last().copied().unwrap_or(0);
                count += 1;
                last.is_some_and(|last| last > begins)
            }
            _ => false,
        };
        if !is_good {
            return reading.damaged("its lists cannot be read");
        }
        row_ends.push(count);
    }
    if row_ends.len() != rows {
        return reading.damaged("it does not have a list for each row");
    }
    let items = reading.texts(rest, count)?;
    Ok(ListColumn { items, row_ends })
}

/// One value for each row: the next of `values` where a row states one.
fn spread<T: Copy>(present: &[bool], values: &[T], absent: T) -> Vec<T> {
    let Some(last) = values.len().checked_sub(1) else {
        return vec![absent; present.len()];
    };
    let mut next = 0;
    let spread = present.iter().map(|&is| {
        // Looking always and choosing then is faster than looking now and then.
        let value = values[next.min(last)];
        next += usize::from(is);
        if is { value } else { absent }
    });
    spread.collect()
}

fn plain_texts(values: &[u8], count: usize) -> Option<(Vec<u8>, Vec<usize>)> {
    let (mut bytes, mut ends) = (Vec::with_capacity(values.len()), Vec::with_capacity(count));
    let mut rest = values;
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, after) = after.split_at_checked(length)?;
        bytes.extend_from_slice(text);
        ends.push(bytes.len());
        rest = after;
    }
    rest.is_empty().then_some((bytes, ends))
}

fn plain_numbers(values: &[u8], kind: ColumnType) -> Vec<i64> {
    if kind == ColumnType::Int32 {
        let (words, _) = values.as_chunks::<4>();
        words
            .iter()
            .map(|word| i64::from(i32::from_le_bytes(*word)))
            .collect()
    } else {
        let (words, _) = values.as_chunks::<8>();
        words.iter().map(|word| i64::from_le_bytes(*word)).collect()
    }
}
