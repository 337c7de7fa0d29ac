//! Tiles: the files that a log is kept in (c2sp.org/tlog-tiles).
//!
//! A hash tile is up to 256 neighbouring hashes of one level of the tree; an entry bundle is the up
//! to 256 entries below one tile of level 0. Only the last of each kind is ever partial, and a
//! partial one has a name of its own, so that no file changes once a checkpoint covers it.

use std::fmt;

use base::Sha256Digest;

use crate::MAX_EVENT_BYTES;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: usize = 256;
/// The binary levels of the tree that one tile spans.
pub(crate) const TILE_HEIGHT: u32 = 8;
/// The largest entry bundle that our entries can fill.
pub(crate) const MAX_BUNDLE_BYTES: usize = TILE_WIDTH * (2 + MAX_EVENT_BYTES);

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// Hashes over 256^level entries each.
    Level(u8),
    /// The entries themselves.
    Entries,
}

/// The name of one tile or entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    shelf: Shelf,
    index: u64,
    width: u16,
}

/// Bytes that are no entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBundle {
    /// The bundle ends within an entry, or before its last.
    #[error("the bundle ends within entry {position}")]
    Short {
        /// The entry's place in the bundle.
        position: usize,
    },
    /// Bytes follow the last entry.
    #[error("{bytes} bytes follow the bundle's last entry")]
    Long {
        /// How many.
        bytes: usize,
    },
}

impl Tile {
    /// The full tile `index`.
    pub const fn full(shelf: Shelf, index: u64) -> Self {
        let width = 256;
        Self { shelf, index, width }
    }

    /// Tile `index` as a tree of `size` entries has it: full, partial, or not at all.
    pub fn of_tree(shelf: Shelf, index: u64, size: u64) -> Option<Self> {
        let level = match shelf {
            Shelf::Level(level) => u32::from(level),
            Shelf::Entries => 0,
        };
        let hashes = size.checked_shr(TILE_HEIGHT * level).unwrap_or(0);
        let rest = hashes.checked_sub(index.checked_mul(256)?)?;
        let width = u16::try_from(rest.min(256)).ok().filter(|&width| width > 0)?;
        Some(Self { shelf, index, width })
    }

    /// What the tile holds.
    pub const fn shelf(self) -> Shelf {
        self.shelf
    }

    /// Its number on its level.
    pub const fn index(self) -> u64 {
        self.index
    }

    /// Hashes or entries in it: 1 to 256.
    pub fn width(self) -> usize {
        usize::from(self.width)
    }

    /// Whether it will grow no more.
    pub const fn is_full(self) -> bool {
        self.width == 256
    }

    /// The full tile that takes the place of this one.
    pub const fn filled(self) -> Self {
        Self::full(self.shelf, self.index)
    }

    /// The folder of the partial forms of this tile, below the log's own.
    pub fn partial_folder(self) -> String {
        format!("{}.p", self.filled())
    }

    /// The first entry below this tile.
    pub fn first_entry(self) -> u64 {
        let level = match self.shelf {
            Shelf::Level(level) => u32::from(level),
            Shelf::Entries => 0,
        };
        self.index
            .checked_shl(TILE_HEIGHT * (level + 1))
            .unwrap_or(u64::MAX)
    }
}

/// The path below the log's folder: `tile/<L>/<N>[.p/<W>]`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shelf {
            Shelf::Level(level) => write!(f, "tile/{level}/")?,
            Shelf::Entries => f.write_str("tile/entries/")?,
        }
        // "encoded into zero-padded 3-digit path elements. All but the last path element MUST begin
        // with an x."
        let mut groups = 1;
        while self.index.checked_div(1000_u64.pow(groups)).unwrap_or(0) > 0 && groups < 6 {
            groups += 1;
        }
        for group in (1..groups).rev() {
            write!(f, "x{:03}/", self.index / 1000_u64.pow(group) % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() {
            Ok(())
        } else {
            write!(f, ".p/{}", self.width)
        }
    }
}

/// Adds `entry` to a bundle: `u16be length ‖ entry`.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).expect("entries are at most 4 KiB");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// Splits a bundle that holds at least `count` entries and hands out the first `count`.
///
/// `exact` says that nothing may follow them.
///
/// # Errors
/// [`InvalidBundle`].
pub fn split_bundle(bundle: &[u8], count: usize, exact: bool) -> Result<Vec<&[u8]>, InvalidBundle> {
    let mut entries = Vec::with_capacity(count);
    let mut rest = bundle;
    for position in 0..count {
        let short = InvalidBundle::Short { position };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(short)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length).ok_or(short)?;
        entries.push(entry);
        rest = after;
    }
    if exact && !rest.is_empty() {
        return Err(InvalidBundle::Long { bytes: rest.len() });
    }
    Ok(entries)
}

/// The bytes of a hash tile.
pub(crate) fn tile_bytes(hashes: &[Sha256Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The first `width` hashes of a tile's bytes; `None` where there are fewer.
pub(crate) fn tile_hashes(bytes: &[u8], width: usize) -> Option<Vec<Sha256Digest>> {
    let hashes = bytes.get(..width * 32)?;
    let (chunks, _) = hashes.as_chunks::<32>();
    Some(
        chunks
            .iter()
            .map(|chunk| Sha256Digest::from_bytes(*chunk))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(shelf: Shelf, index: u64) -> String {
        Tile::full(shelf, index).to_string()
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(path(Shelf::Level(0), 0), "tile/0/000");
        assert_eq!(path(Shelf::Level(1), 999), "tile/1/999");
        assert_eq!(path(Shelf::Entries, 1000), "tile/entries/x001/000");
        assert_eq!(path(Shelf::Level(0), 1_234_067), "tile/0/x001/x234/067");
        assert_eq!(
            path(Shelf::Level(0), u64::MAX >> 8),
            "tile/0/x072/x057/x594/x037/x927/935"
        );
        let partial = Tile::of_tree(Shelf::Entries, 273, 70_000).unwrap();
        assert_eq!(partial.to_string(), "tile/entries/273.p/112");
        assert_eq!(partial.partial_folder(), "tile/entries/273.p");
    }

    #[test]
    fn a_tree_has_the_tiles_of_the_specification() {
        // "a tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0
        // tile of width 112, one full level 1 tile, one partial level 1 tile of width 17, and one
        // partial level 2 tile of width 1."
        let width = |level, index| Tile::of_tree(Shelf::Level(level), index, 70_000).map_or(0, Tile::width);
        assert_eq!((width(0, 272), width(0, 273), width(0, 274)), (256, 112, 0));
        assert_eq!((width(1, 0), width(1, 1), width(1, 2)), (256, 17, 0));
        assert_eq!((width(2, 0), width(2, 1), width(3, 0)), (1, 0, 0));
        assert_eq!((width(8, 0), width(63, 0)), (0, 0));
    }

    #[test]
    fn a_bundle_that_is_cut_or_padded_is_refused() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"one");
        push_entry(&mut bundle, b"");
        let entries: [&[u8]; 2] = [b"one", b""];
        assert_eq!(split_bundle(&bundle, 2, true).unwrap(), entries);
        assert_eq!(split_bundle(&bundle, 1, false).unwrap(), entries[..1]);
        assert_eq!(
            split_bundle(&bundle, 1, true),
            Err(InvalidBundle::Long { bytes: 2 })
        );
        assert_eq!(
            split_bundle(&bundle, 3, true),
            Err(InvalidBundle::Short { position: 2 })
        );
        assert_eq!(
            split_bundle(&bundle[..4], 1, true),
            Err(InvalidBundle::Short { position: 0 })
        );
    }

    proptest! {
        #[test]
        fn entries_come_out_of_a_bundle_as_they_went_in(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let mut bundle = Vec::new();
            entries.iter().for_each(|entry| push_entry(&mut bundle, entry));
            prop_assert_eq!(split_bundle(&bundle, entries.len(), true).unwrap(), entries);
        }

        #[test]
        fn no_bytes_make_the_splitter_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 0usize..9) {
            let _ = split_bundle(&bytes, count, true);
        }
    }
}
