//! A column's pages: their headers read strictly, their bytes unpacked within what the footer claims.

use std::cell::RefCell;

use zstd::bulk::Decompressor;

use super::failure::InvalidArchive;
use super::footer::Chunk;
use super::thrift::{Compact, Known, STRUCT};

/// `PageType` and `Encoding` (parquet.thrift).
const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
pub(crate) const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
pub(crate) const DELTA_BINARY_PACKED: i64 = 5;
pub(crate) const DELTA_BYTE_ARRAY: i64 = 7;
pub(crate) const RLE_DICTIONARY: i64 = 8;

thread_local! {
    /// A file has more than fifty columns, and making one of these takes longer than unpacking a small page.
    static UNPACKER: RefCell<Decompressor<'static>> =
        RefCell::new(Decompressor::new().expect("there is memory for one"));
}

/// The one data page of a column, and the dictionary before it.
#[derive(Debug)]
pub(crate) struct ColumnPages {
    pub(crate) dictionary: Option<(Vec<u8>, usize)>,
    pub(crate) data: Vec<u8>,
    pub(crate) encoding: i64,
}

#[derive(Debug, Default)]
struct Header {
    kind: Option<i64>,
    plain: i64,
    compressed: i64,
    values: i64,
    encoding: i64,
    levels: [i64; 2],
}

impl ColumnPages {
    pub(crate) fn read(file: &[u8], chunk: &Chunk, column: &'static str) -> Result<Self, InvalidArchive> {
        let damaged = |what| InvalidArchive::Column { column, what };
        let mut input = Compact {
            rest: &file[chunk.place.clone()],
        };
        let mut left = chunk.plain_bytes;
        let mut dictionary = None;
        let mut header = Header::read(&mut input).ok_or_else(|| damaged("its first page has no header"))?;
        if header.kind == Some(DICTIONARY_PAGE) {
            if !matches!(header.encoding, PLAIN | PLAIN_DICTIONARY) {
                return Err(damaged(
                    "its dictionary is written in a way that is not used here",
                ));
            }
            let values = usize::try_from(header.values)
                .ok()
                .filter(|&values| values <= chunk.levels);
            let values =
                values.ok_or_else(|| damaged("its dictionary has more values than there are rows"))?;
            let bytes = header.unpack(&mut input, chunk, &mut left).map_err(damaged)?;
            dictionary = Some((bytes, values));
            header = Header::read(&mut input).ok_or_else(|| damaged("its second page has no header"))?;
        }
        if header.kind != Some(DATA_PAGE) || header.levels != [RLE, RLE] {
            return Err(damaged("its page is of a kind that is not used here"));
        }
        if usize::try_from(header.values).ok() != Some(chunk.levels) {
            return Err(damaged("its page does not have a value for each row"));
        }
        let data = header.unpack(&mut input, chunk, &mut left).map_err(damaged)?;
        if !input.rest.is_empty() {
            return Err(damaged("bytes follow its last page"));
        }
        Ok(Self {
            dictionary,
            data,
            encoding: header.encoding,
        })
    }
}

impl Header {
    fn read(input: &mut Compact<'_>) -> Option<Self> {
        let mut header = Self::default();
        input.structure(|input, id, kind| {
            match (id, kind) {
                (1, _) => header.kind = Some(input.integer()?),
                (2, _) => header.plain = input.integer()?,
                (3, _) => header.compressed = input.integer()?,
                (5 | 7, STRUCT) => {
                    input.structure(|input, id, _| {
                        match id {
                            1 => header.values = input.integer()?,
                            2 => header.encoding = input.integer()?,
                            // In a dictionary's header the third says whether it is sorted.
                            3 | 4 if header.kind == Some(DATA_PAGE) => {
                                header.levels[usize::from(id == 4)] = input.integer()?;
                            }
                            _ => return Some(Known::No),
                        }
                        Some(Known::Yes)
                    })?;
                }
                _ => return Some(Known::No),
            }
            Some(Known::Yes)
        })?;
        Some(header)
    }

    /// The page's bytes; `left` is what the footer lets the column's pages have.
    fn unpack(
        &self,
        input: &mut Compact<'_>,
        chunk: &Chunk,
        left: &mut usize,
    ) -> Result<Vec<u8>, &'static str> {
        let plain = usize::try_from(self.plain).ok().filter(|plain| plain <= left);
        let plain = plain.ok_or("a page claims to be larger than its column")?;
        *left -= plain;
        let length = usize::try_from(self.compressed).ok();
        let split = length.and_then(|length| input.rest.split_at_checked(length));
        let (bytes, rest) = split.ok_or("a page ends beyond its column")?;
        input.rest = rest;
        let unpacked = if chunk.is_compressed {
            UNPACKER
                .with_borrow_mut(|unpacker| unpacker.decompress(bytes, plain))
                .map_err(|_| "a page cannot be unpacked")?
        } else {
            bytes.to_vec()
        };
        if unpacked.len() == plain {
            Ok(unpacked)
        } else {
            Err("a page is not as large as it claims")
        }
    }
}
