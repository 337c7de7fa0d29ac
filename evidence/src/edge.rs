//! The right edge of a growing tree: all that a writer has to remember.
//!
//! Per tile level, the hashes that no full tile covers yet, and the entries of the last bundle. It
//! is at most 256 hashes for each level and one bundle, however large the log is.

use base::Sha256Digest;

use crate::merkle::{edge_root, perfect_root};
use crate::tile::{Shelf, TILE_WIDTH, Tile, push_entry, tile_bytes};

/// A tile and its bytes, ready to be written.
pub(crate) type TileBytes = (Tile, Vec<u8>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RightEdge {
    size: u64,
    levels: Vec<Vec<Sha256Digest>>,
    bundle: Vec<u8>,
}

impl RightEdge {
    /// The edge of a tree of `size` entries, from its partial tiles, lowest level first, and the
    /// last bundle.
    pub(crate) const fn resume(size: u64, levels: Vec<Vec<Sha256Digest>>, bundle: Vec<u8>) -> Self {
        Self { size, levels, bundle }
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn root(&self) -> Sha256Digest {
        edge_root(self.levels.iter().map(Vec::as_slice))
    }

    /// Adds an entry and puts the tiles that it fills into `full`.
    pub(crate) fn push(&mut self, entry: &[u8], leaf: Sha256Digest, full: &mut Vec<TileBytes>) {
        push_entry(&mut self.bundle, entry);
        self.size += 1;
        let width = TILE_WIDTH as u64;
        if self.size.is_multiple_of(width) {
            let bundle = std::mem::take(&mut self.bundle);
            full.push((Tile::full(Shelf::Entries, self.size / width - 1), bundle));
        }
        let mut hash = leaf;
        let mut hashes = self.size;
        for level in 0..=u8::MAX {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::with_capacity(TILE_WIDTH));
            }
            let tile = &mut self.levels[at];
            tile.push(hash);
            if tile.len() < TILE_WIDTH {
                break;
            }
            hashes /= width;
            full.push((Tile::full(Shelf::Level(level), hashes - 1), tile_bytes(tile)));
            hash = perfect_root(tile);
            tile.clear();
        }
    }

    /// The partial tiles and the partial bundle of this tree.
    pub(crate) fn partials(&self) -> Vec<TileBytes> {
        let hashes = (0..=u8::MAX).zip(&self.levels).filter_map(|(level, hashes)| {
            let tile = self.last_tile(Shelf::Level(level))?;
            Some((tile, tile_bytes(hashes)))
        });
        let bundle = self
            .last_tile(Shelf::Entries)
            .map(|tile| (tile, self.bundle.clone()));
        bundle.into_iter().chain(hashes).collect()
    }

    fn last_tile(&self, shelf: Shelf) -> Option<Tile> {
        last_partial(shelf, self.size)
    }
}

/// The partial tile that a tree of `size` entries ends with, if it has one on that shelf.
pub(crate) fn last_partial(shelf: Shelf, size: u64) -> Option<Tile> {
    let shift = match shelf {
        Shelf::Level(level) => 8 * (u32::from(level) + 1),
        Shelf::Entries => 8,
    };
    let index = size.checked_shr(shift).unwrap_or(0);
    Tile::of_tree(shelf, index, size).filter(|tile| !tile.is_full())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::merkle::tests::Leaves;

    #[test]
    fn the_edge_and_the_full_tiles_together_are_the_whole_tree() {
        let size = 70_000;
        let leaves = Leaves::numbered(size);
        let mut edge = RightEdge::default();
        let mut full = Vec::new();
        for (i, leaf) in (0_u64..).zip(&leaves.0) {
            edge.push(&i.to_be_bytes(), *leaf, &mut full);
            if i % 7919 == 0 {
                assert_eq!(edge.root(), leaves.root(i + 1));
            }
        }
        assert_eq!(edge.root(), leaves.root(size));
        let tiles: BTreeMap<Tile, Vec<u8>> = full.into_iter().chain(edge.partials()).collect();
        let count = |shelf| tiles.keys().filter(|tile| tile.shelf() == shelf).count();
        assert_eq!(count(Shelf::Entries), 274);
        assert_eq!(count(Shelf::Level(0)), 274);
        assert_eq!(count(Shelf::Level(1)), 2);
        assert_eq!(count(Shelf::Level(2)), 1);
        for (tile, bytes) in &tiles {
            assert_eq!(Tile::of_tree(tile.shelf(), tile.index(), size), Some(*tile));
            if tile.shelf() == Shelf::Level(0) {
                let first = usize::try_from(tile.first_entry()).unwrap();
                assert_eq!(*bytes, tile_bytes(&leaves.0[first..first + tile.width()]));
            }
        }
    }

    #[test]
    fn a_tree_of_256_has_a_full_tile_and_one_hash_above_it() {
        let mut edge = RightEdge::default();
        let mut full = Vec::new();
        for leaf in Leaves::numbered(256).0 {
            edge.push(b"", leaf, &mut full);
        }
        let names =
            |tiles: Vec<TileBytes>| tiles.iter().map(|(tile, _)| tile.to_string()).collect::<Vec<_>>();
        assert_eq!(names(full), ["tile/entries/000", "tile/0/000"]);
        assert_eq!(names(edge.partials()), ["tile/1/000.p/1"]);
    }
}
