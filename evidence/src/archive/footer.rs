//! The footer of an archive file, read strictly: it has our columns, in our order, and nothing else.
//!
//! Columns that this version does not know, or knows as another type, make a file foreign. Columns that a
//! file lacks were not known when it was written; its rows do not state them.

use std::ops::Range;

use super::columns::{COLUMNS, Column, ColumnType, SEQ};
use super::failure::InvalidArchive;
use super::frame::ORIGIN_KEY;
use super::thrift::{BINARY, Compact, Known, STRUCT};
use super::writer::MAX_ROWS;

const MAGIC: &[u8; 4] = b"PAR1";
/// All columns without compression: the most bytes of entries, and what columns add to these.
const MAX_PLAIN_BYTES: u64 = 128 << 20;
/// Larger files are none of ours, whatever they claim.
pub(crate) const MAX_FILE_BYTES: usize = 128 << 20;

/// The entries of a full file have about 48 MiB, and an item of a list takes three bytes at least.
const MAX_ITEMS: usize = (48 << 20) / 3;

/// Types of Parquet (parquet.thrift, `Type`).
const BOOLEAN: i64 = 0;
const INT32: i64 = 1;
const INT64: i64 = 2;
const BYTE_ARRAY: i64 = 6;
/// `FieldRepetitionType`.
const REQUIRED: i64 = 0;
const OPTIONAL: i64 = 1;
const REPEATED: i64 = 2;
/// `ConvertedType`.
const UTF8: i64 = 0;
const LIST: i64 = 3;
const TIMESTAMP_MICROS: i64 = 10;
/// `CompressionCodec`.
const UNCOMPRESSED: i64 = 0;
const ZSTD: i64 = 6;

/// What a footer says.
#[derive(Debug)]
pub(crate) struct Footer {
    /// The log that the entries are of.
    pub(crate) origin: String,
    pub(crate) rows: usize,
    /// By column; `None` where the file lacks it.
    pub(crate) chunks: Vec<Option<Chunk>>,
}

/// Where a column's pages are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) place: Range<usize>,
    pub(crate) plain_bytes: usize,
    pub(crate) levels: usize,
    pub(crate) is_compressed: bool,
}

/// One element of a schema.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element<'a> {
    name: &'a [u8],
    kind: Option<i64>,
    repetition: Option<i64>,
    children: Option<i64>,
    converted: Option<i64>,
}

/// A column chunk as the footer has it.
#[derive(Debug, Default)]
struct Claim {
    codec: Option<i64>,
    values: i64,
    plain: i64,
    compressed: i64,
    data: i64,
    dictionary: Option<i64>,
    kind: Option<i64>,
}

#[derive(Debug, Default)]
struct Claims<'a> {
    elements: Vec<Element<'a>>,
    rows: i64,
    groups: Vec<(i64, Vec<Claim>)>,
    origin: Option<&'a [u8]>,
}

impl Footer {
    pub(crate) fn read(file: &[u8]) -> Result<Self, InvalidArchive> {
        if file.len() > MAX_FILE_BYTES {
            return Err(InvalidArchive::TooLarge {
                what: "more than 128 MiB",
            });
        }
        if !file.starts_with(MAGIC) {
            return Err(InvalidArchive::NotParquet);
        }
        let before = file.strip_suffix(MAGIC).ok_or(InvalidArchive::Truncated)?;
        let (before, length) = before.split_last_chunk::<4>().ok_or(InvalidArchive::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let body = before
            .len()
            .checked_sub(length)
            .filter(|&body| body >= MAGIC.len());
        let footer = &before[body.ok_or(InvalidArchive::Truncated)?..];
        let unreadable = || InvalidArchive::Foreign {
            what: "its footer cannot be read".to_owned(),
        };
        let claims = Claims::read(footer).ok_or_else(unreadable)?;
        claims.check(before.len() - length)
    }
}

impl<'a> Claims<'a> {
    fn read(footer: &'a [u8]) -> Option<Self> {
        let mut claims = Self::default();
        let mut input = Compact { rest: footer };
        input.structure(|input, id, kind| {
            match (id, kind) {
                (2, 9) => claims.elements = list(input, element)?,
                (3, _) => claims.rows = input.integer()?,
                (4, 9) => claims.groups = list(input, group)?,
                (5, 9) => {
                    let pairs = list(input, pair)?;
                    let own = pairs.into_iter().find(|(key, _)| *key == ORIGIN_KEY.as_bytes());
                    claims.origin = own.map(|(_, value)| value);
                }
                _ => return Some(Known::No),
            }
            Some(Known::Yes)
        })?;
        input.rest.is_empty().then_some(claims)
    }

    fn check(self, body: usize) -> Result<Footer, InvalidArchive> {
        let foreign = |what: &str| InvalidArchive::Foreign {
            what: what.to_owned(),
        };
        let origin = self.origin.and_then(|origin| std::str::from_utf8(origin).ok());
        let origin = origin
            .ok_or_else(|| foreign("it does not name its log"))?
            .to_owned();
        let columns = columns(&self.elements)?;
        let [(rows, chunks)] = &self.groups[..] else {
            return Err(foreign("it does not have one group of rows"));
        };
        let rows = usize::try_from(*rows).ok().filter(|&rows| rows > 0);
        let rows = rows.ok_or_else(|| foreign("it has no rows"))?;
        if rows > MAX_ROWS {
            return Err(InvalidArchive::TooLarge {
                what: "more than 50,000 rows",
            });
        }
        if self.rows != i64::try_from(rows).unwrap_or(-1) || chunks.len() != columns.len() {
            return Err(foreign("its footer contradicts itself"));
        }
        let mut found = vec![None; COLUMNS.len()];
        let mut plain = 0_u64;
        for (claim, at) in chunks.iter().zip(columns) {
            let chunk = claim.check(&COLUMNS[at], rows, body)?;
            plain = plain.saturating_add(chunk.plain_bytes as u64);
            found[at] = Some(chunk);
        }
        if plain > MAX_PLAIN_BYTES {
            return Err(InvalidArchive::TooLarge {
                what: "more than 128 MiB once it is unpacked",
            });
        }
        Ok(Footer {
            origin,
            rows,
            chunks: found,
        })
    }
}

impl Claim {
    fn check(&self, column: &'static Column, rows: usize, body: usize) -> Result<Chunk, InvalidArchive> {
        let damaged = |what| InvalidArchive::Column {
            column: column.name(),
            what,
        };
        let size = |number: i64| usize::try_from(number).ok();
        let is_compressed = match self.codec {
            Some(UNCOMPRESSED) => false,
            Some(ZSTD) => true,
            _ => return Err(damaged("it is compressed in a way that is not used here")),
        };
        let start = size(self.dictionary.unwrap_or(self.data));
        let place = start.zip(size(self.compressed)).and_then(|(start, length)| {
            let end = start.checked_add(length)?;
            (start >= MAGIC.len() && end <= body).then_some(start..end)
        });
        let place = place.ok_or_else(|| damaged("it lies outside of the file"))?;
        let plain_bytes = size(self.plain).ok_or_else(|| damaged("its size is negative"))?;
        let levels = size(self.values).filter(|&levels| match column.kind() {
            ColumnType::Texts | ColumnType::Objects => (rows..=rows + MAX_ITEMS).contains(&levels),
            _ => levels == rows,
        });
        let levels = levels.ok_or_else(|| damaged("it does not have a value for each row"))?;
        if self.kind != Some(physical(column.kind())) {
            return Err(damaged("it is of another type than its schema says"));
        }
        Ok(Chunk {
            place,
            plain_bytes,
            levels,
            is_compressed,
        })
    }
}

const fn physical(kind: ColumnType) -> i64 {
    match kind {
        ColumnType::Text | ColumnType::Texts | ColumnType::Objects => BYTE_ARRAY,
        ColumnType::Int32 => INT32,
        ColumnType::Int64 | ColumnType::Time => INT64,
        ColumnType::Flag => BOOLEAN,
    }
}

/// Which of our columns the schema has.
fn columns(elements: &[Element<'_>]) -> Result<Vec<usize>, InvalidArchive> {
    let foreign = |what: String| InvalidArchive::Foreign { what };
    let Some((root, mut rest)) = elements.split_first() else {
        return Err(foreign("it has no columns".to_owned()));
    };
    let mut found: Vec<usize> = Vec::new();
    while let Some(first) = rest.first() {
        let from = found.last().map_or(0, |last| last + 1);
        let at = COLUMNS[from.min(COLUMNS.len())..]
            .iter()
            .position(|column| column.name().as_bytes() == first.name)
            .map(|at| from + at);
        let own = at.map(|at| schema(&COLUMNS[at]));
        let (Some(at), Some(own)) = (at, own.filter(|own| rest.starts_with(own))) else {
            let name: String = String::from_utf8_lossy(first.name).chars().take(64).collect();
            return Err(foreign(format!("it has a column {name:?} that is none of ours")));
        };
        rest = &rest[own.len()..];
        found.push(at);
    }
    if root.children != i64::try_from(found.len()).ok() {
        return Err(foreign("its schema contradicts itself".to_owned()));
    }
    if !found.contains(&SEQ) {
        return Err(foreign("it has no column \"seq\"".to_owned()));
    }
    Ok(found)
}

/// The elements that a column's schema has.
fn schema(column: &'static Column) -> Vec<Element<'static>> {
    let leaf = |name: &'static str, repetition, converted| Element {
        name: name.as_bytes(),
        kind: Some(physical(column.kind())),
        repetition: Some(repetition),
        children: None,
        converted,
    };
    let group = |name: &'static str, repetition, converted| Element {
        name: name.as_bytes(),
        kind: None,
        repetition: Some(repetition),
        children: Some(1),
        converted,
    };
    let repetition = if column.is_required() { REQUIRED } else { OPTIONAL };
    match column.kind() {
        ColumnType::Texts | ColumnType::Objects => vec![
            group(column.name(), OPTIONAL, Some(LIST)),
            group("list", REPEATED, None),
            leaf("element", REQUIRED, Some(UTF8)),
        ],
        ColumnType::Text => vec![leaf(column.name(), repetition, Some(UTF8))],
        ColumnType::Time => vec![leaf(column.name(), repetition, Some(TIMESTAMP_MICROS))],
        ColumnType::Int32 | ColumnType::Int64 | ColumnType::Flag => {
            vec![leaf(column.name(), repetition, None)]
        }
    }
}

/// A list of structures. How many there are is for the bytes to say, not for the length.
fn list<'a, T>(input: &mut Compact<'a>, read: impl Fn(&mut Compact<'a>) -> Option<T>) -> Option<Vec<T>> {
    let (count, kind) = input.list()?;
    if kind != STRUCT {
        return None;
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(input)?);
    }
    Some(items)
}

fn element<'a>(input: &mut Compact<'a>) -> Option<Element<'a>> {
    let mut element = Element::default();
    input.structure(|input, id, kind| {
        match (id, kind) {
            (1, _) => element.kind = Some(input.integer()?),
            (3, _) => element.repetition = Some(input.integer()?),
            (4, BINARY) => element.name = input.binary()?,
            (5, _) => element.children = Some(input.integer()?),
            (6, _) => element.converted = Some(input.integer()?),
            _ => return Some(Known::No),
        }
        Some(Known::Yes)
    })?;
    Some(element)
}

fn group(input: &mut Compact<'_>) -> Option<(i64, Vec<Claim>)> {
    let (mut rows, mut chunks) = (0, Vec::new());
    input.structure(|input, id, kind| {
        match (id, kind) {
            (1, 9) => chunks = list(input, chunk)?,
            (3, _) => rows = input.integer()?,
            _ => return Some(Known::No),
        }
        Some(Known::Yes)
    })?;
    Some((rows, chunks))
}

fn chunk(input: &mut Compact<'_>) -> Option<Claim> {
    let mut claim = Claim::default();
    input.structure(|input, id, kind| {
        if (id, kind) != (3, STRUCT) {
            return Some(Known::No);
        }
        input.structure(|input, id, kind| {
            match (id, kind) {
                (1, _) => claim.kind = Some(input.integer()?),
                (4, _) => claim.codec = Some(input.integer()?),
                (5, _) => claim.values = input.integer()?,
                (6, _) => claim.plain = input.integer()?,
                (7, _) => claim.compressed = input.integer()?,
                (9, _) => claim.data = input.integer()?,
                (11, _) => claim.dictionary = Some(input.integer()?),
                _ => return Some(Known::No),
            }
            Some(Known::Yes)
        })?;
        Some(Known::Yes)
    })?;
    Some(claim)
}

fn pair<'a>(input: &mut Compact<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let (mut key, mut value): (&[u8], &[u8]) = (b"", b"");
    input.structure(|input, id, kind| {
        match (id, kind) {
            (1, BINARY) => key = input.binary()?,
            (2, BINARY) => value = input.binary()?,
            _ => return Some(Known::No),
        }
        Some(Known::Yes)
    })?;
    Some((key, value))
}
