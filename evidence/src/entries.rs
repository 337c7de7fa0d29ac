//! Reading a log's entries as the bytes that were signed, bundle by bundle, each proven as it is read.
//!
//! Whoever hands evidence on (exports, copies to other systems) wants the very bytes and wants them
//! fast. A bundle costs the hashes of its entries and little more: 256 bundles hang below one tile,
//! and it is that tile which is led up to the signed root, once.

use std::ops::Range;

use base::Sha256Digest;

use crate::folder::{Bundle, Found};
use crate::merkle::{path_ranges, range_root, root_of, verify_inclusion};
use crate::scan::scan;
use crate::tile::{Shelf, TILE_WIDTH, Tile};
use crate::verified::Tiles;
use crate::{Event, ReadError, VerifiedLog};

/// Why entries were not read on.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// A file cannot be read, or is not what the log's key signed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The entry is as signed, and is no event of this log that says it stands there.
    #[error("entry {index} in {file} is as signed, and is no event that belongs there")]
    Misfit {
        /// The entry.
        index: u64,
        /// The bundle that holds it.
        file: String,
    },
}

/// Entries of a log, proven as they are read. After an error it ends.
#[derive(Debug)]
pub struct Entries<'a> {
    log: &'a VerifiedLog,
    tiles: Tiles<'a>,
    range: Range<u64>,
    /// The tile over full bundles that was led up to the root last: its number and its hashes.
    proven: Option<(u64, Vec<Sha256Digest>)>,
}

/// Neighbouring entries that were proven.
#[derive(Debug)]
pub struct EntryBundle {
    bundle: Bundle,
    /// The indices that were asked for.
    range: Range<u64>,
}

impl VerifiedLog {
    /// The entries at the indices in `range`, as far as the checkpoint covers them, in order.
    pub fn entries(&self, range: Range<u64>) -> Entries<'_> {
        Entries {
            log: self,
            tiles: self.tiles(),
            range: range.start..range.end.min(self.checkpoint().size()),
            proven: None,
        }
    }
}

impl Entries<'_> {
    /// The next entries, at most one bundle; `None` at the end.
    ///
    /// # Errors
    /// [`EntriesError`].
    pub fn read_on(&mut self) -> Result<Option<EntryBundle>, EntriesError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let read = self.next_bundle();
        self.range.start = match &read {
            Ok(bundle) => bundle.range.end,
            Err(_) => self.range.end,
        };
        read.map(Some)
    }

    fn next_bundle(&mut self) -> Result<EntryBundle, EntriesError> {
        let width = TILE_WIDTH as u64;
        let number = self.range.start / width;
        let read = EntryBundle {
            bundle: self
                .proven_bundle(number)
                .map_err(|error| self.log.or_pruned(error, self.range.start))?,
            range: self.range.start..self.range.end.min((number + 1) * width),
        };
        let gateway = self.log.checkpoint().origin().gateway();
        for (index, entry) in read.entries() {
            if !belongs(entry, index, gateway) {
                let file = read.bundle.file.clone();
                return Err(EntriesError::Misfit { index, file });
            }
        }
        Ok(read)
    }

    fn proven_bundle(&mut self, number: u64) -> Result<Bundle, ReadError> {
        let width = TILE_WIDTH as u64;
        let group = number / width;
        if (group + 1) * width * width > self.log.checkpoint().size() {
            // Below the right edge, each bundle is led up by itself.
            return self.log.proven_bundle(&mut self.tiles, number * width);
        }
        let bundle = match self.log.bundle(Tile::full(Shelf::Entries, number))? {
            Found::Whole(bundle) => bundle,
            Found::Missing { file } | Found::Malformed { file, .. } => {
                return Err(ReadError::Changed { file });
            }
        };
        let (entries, trouble) = bundle.entries();
        let leaves = bundle.leaves(&entries);
        let place = usize::try_from(number % width).unwrap_or(usize::MAX);
        let signed = self.proven_tile(group)?.get(place).copied();
        if trouble.is_some() || leaves.len() != TILE_WIDTH || signed != Some(root_of(&leaves)) {
            return Err(ReadError::Changed {
                file: bundle.file.clone(),
            });
        }
        Ok(bundle)
    }

    /// The hashes of the 256 full bundles of `group`, led up to the checkpoint's root.
    fn proven_tile(&mut self, group: u64) -> Result<&[Sha256Digest], ReadError> {
        if self.proven.as_ref().is_none_or(|(proven, _)| *proven != group) {
            let tile = Tile::full(Shelf::Level(1), group);
            let hashes = self.tiles.hashes(tile)?.to_vec();
            let size = self.log.checkpoint().size();
            // The tree over groups, whose last may not be full, is the tree over entries.
            let entries = (TILE_WIDTH * TILE_WIDTH) as u64;
            let groups = size.div_ceil(entries);
            let path = path_ranges(group, groups)
                .into_iter()
                .map(|range| {
                    range_root(
                        &mut self.tiles,
                        range.start * entries..(range.end * entries).min(size),
                    )
                })
                .collect::<Result<Vec<_>, _>>()?;
            let root = self.log.checkpoint().root();
            if verify_inclusion(&root_of(&hashes), group, groups, root, &path).is_err() {
                return Err(ReadError::Changed {
                    file: tile.to_string(),
                });
            }
            self.proven = Some((group, hashes));
        }
        Ok(self.proven.as_ref().map_or(&[], |(_, hashes)| hashes.as_slice()))
    }
}

impl EntryBundle {
    /// The entries and their indices, in order; those that expired are passed over.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let (entries, _) = self.bundle.entries();
        let first = self.bundle.first();
        entries
            .into_iter()
            .zip(first..)
            .map(|(entry, index)| (index, entry))
            .filter(|(index, _)| self.range.contains(index))
    }
}

/// Whether an entry is an event that says it stands at `index` of this gateway's log.
fn belongs(entry: &[u8], index: u64, gateway: &str) -> bool {
    // The scanner's yes is as good as the reader's, and the reader costs more than all the rest.
    if scan(entry).is_some_and(|scanned| scanned.seq == index && scanned.gateway == gateway.as_bytes()) {
        return true;
    }
    Event::from_entry(entry).is_ok_and(|event| event.seq == index && event.gateway == gateway)
}
