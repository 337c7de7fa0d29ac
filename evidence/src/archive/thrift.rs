//! Reading Thrift's compact protocol, as far as Parquet uses it, from bytes that anybody may have made.
//!
//! Nothing is allocated on the word of a length: a length that the bytes at hand cannot hold is an end.
//! The stock reader is made for files of one's own: it asks for memory by what a page's header claims.

use super::delta::unzigzag;
use super::hybrid::read_varint;

/// Structures within structures.
const MAX_DEPTH: u32 = 8;

/// The types of the wire that occur.
pub(crate) const BYTE: u8 = 3;
pub(crate) const BINARY: u8 = 8;
pub(crate) const STRUCT: u8 = 12;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compact<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Compact<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// An integer of any width.
    pub(crate) fn integer(&mut self) -> Option<i64> {
        read_varint(&mut self.rest).map(unzigzag)
    }

    pub(crate) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(read_varint(&mut self.rest)?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// How many elements a list has, and of what type. Each takes a byte at least.
    pub(crate) fn list(&mut self) -> Option<(usize, u8)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => usize::try_from(read_varint(&mut self.rest)?).ok()?,
            short => usize::from(short),
        };
        (count <= self.rest.len()).then_some((count, header & 15))
    }

    /// Reads one structure: `field` gets each field's number and type and reads it, or answers that it
    /// does not know it.
    pub(crate) fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, u8) -> Option<Known>,
    ) -> Option<()> {
        let mut id = 0_i64;
        loop {
            let header = self.byte()?;
            let kind = header & 15;
            if kind == 0 {
                return (header == 0).then_some(());
            }
            id = match header >> 4 {
                0 => self.integer()?,
                step => id.checked_add(i64::from(step))?,
            };
            if field(self, id, kind)? == Known::No {
                self.skip(kind, MAX_DEPTH)?;
            }
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // A truth is in the field's type; in a list it takes a byte.
            1 | 2 => {}
            BYTE => drop(self.byte()?),
            4..=6 => drop(read_varint(&mut self.rest)?),
            7 => self.rest = self.rest.get(8..)?,
            BINARY => drop(self.binary()?),
            9 | 10 => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    match kind {
                        1 | 2 => drop(self.byte()?),
                        kind => self.skip(kind, depth)?,
                    }
                }
            }
            STRUCT => loop {
                let header = self.byte()?;
                if header & 15 == 0 {
                    break;
                }
                if header >> 4 == 0 {
                    self.integer()?;
                }
                self.skip(header & 15, depth)?;
            },
            // Maps do not occur.
            _ => return None,
        }
        Some(())
    }
}

/// Whether a field was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Yes,
    No,
}
