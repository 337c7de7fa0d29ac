//! Reading a log after it was verified, and proving single events to strangers.
//!
//! A folder can change between verifying and reading. So every bundle is proven against the
//! checkpoint again when it is read, and an event that comes out of here is one that was signed.

use std::ops::Range;
use std::path::{Path, PathBuf};

use base::Sha256Digest;
use seal::note::NoteVerifier;

use crate::folder::{Bundle, Folder, Found, Unreadable};
use crate::merkle::{
    SubtreeHashes, consistency_proof, inclusion_proof, path_ranges, perfect_root, range_root, root_of,
    verify_consistency, verify_inclusion,
};
use crate::tile::{Shelf, TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::verification::{Completeness, Integrity, Verification, WhyUnproven};
use crate::verify::{Progress, VerifyError, VerifyOptions, verify_log};
use crate::witness::Cosigned;
use crate::{Checkpoint, Event, InvalidCheckpoint, Proof};

/// Hash tiles kept in memory by one reader.
const CACHED_TILES: usize = 16;

/// A log whose every entry was verified.
#[derive(Clone, Debug)]
pub struct VerifiedLog {
    folder: Folder,
    verifier: NoteVerifier,
    checkpoint: Checkpoint,
    verification: Verification,
}

/// Why a log is not to be read.
#[derive(Debug, thiserror::Error)]
pub enum NotVerified {
    /// It could not be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It was tampered with.
    #[error("the log is not to be believed; {}, {}", .0.integrity, .0.completeness)]
    Tampered(Box<Verification>),
    /// Entries were pruned, and the archive that has them is not at hand. Nobody can tell; bring it.
    #[error("the log cannot be read whole; {}", .0.integrity)]
    Unseen(Box<Verification>),
}

/// Why an entry of a verified log was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk refused to say.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A file is not what it was when the log was verified. Verify again.
    #[error("{file} changed after the log was verified; verify it again")]
    Changed {
        /// The file.
        file: String,
    },
    /// The entry was pruned, and the archive that has it is not there. Nobody can tell; bring the archive.
    #[error(
        "entry {index} was pruned and the archive that has it is not there; put the archive back where the file \"archive\" in the log's folder says"
    )]
    Pruned {
        /// The entry.
        index: u64,
    },
    /// The entry expired. Its hash is in the log, and [`VerifiedLog::prove_expired`] proves that.
    #[error(
        "entry {index} expired by the site's retention, as entry {declared_by} declares, and nobody can read it any more; its hash stands, and a proof made earlier still verifies"
    )]
    Expired {
        /// The entry.
        index: u64,
        /// The entry that declares it.
        declared_by: u64,
    },
    /// The log has no such entry.
    #[error("the log has {size} entries under its checkpoint and no entry {index}")]
    NoSuchEntry {
        /// The index asked for.
        index: u64,
        /// The checkpoint's size.
        size: u64,
    },
}

/// Why one entry was not proven.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// There is nothing that was signed.
    #[error("{folder} holds no checkpoint; name the folder that has the file \"checkpoint\" in it")]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
    },
    /// The checkpoint is another log's, another key's, or was edited.
    #[error(transparent)]
    Checkpoint(#[from] InvalidCheckpoint),
    /// The entry, or what leads from it to the root, is not as it was signed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// One event for a stranger: the entry as it stands in the log, and the proof that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventProof {
    /// The entry's bytes, to be kept in a file of their own.
    pub entry: Vec<u8>,
    /// The `c2sp.org/tlog-proof@v1` text, for a file ending in `.tlog-proof`.
    pub proof: String,
}

/// What can still be proven of an entry that expired: that it stood there, and what it hashed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredProof {
    /// The leaf's hash (RFC 6962: SHA-256 of a zero byte and the entry).
    pub leaf: Sha256Digest,
    /// The `c2sp.org/tlog-proof@v1` text.
    pub proof: String,
}

impl VerifiedLog {
    /// Verifies the log in `folder` and opens it for reading.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub fn open(folder: &Path, verifier: &NoteVerifier) -> Result<Self, NotVerified> {
        Self::open_with(folder, verifier, &VerifyOptions::default(), &mut |_| {})
    }

    /// Like [`Self::open`], held against what others keep, and saying how far it is.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub fn open_with(
        folder: &Path,
        verifier: &NoteVerifier,
        options: &VerifyOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, NotVerified> {
        let verification = verify_log(folder, verifier, options, progress)?;
        let files = Folder::with_archive(folder, options.archive.clone());
        Self::of(files, verifier, verification)
    }

    /// The log in `folder`, if that is what was found.
    pub(crate) fn of(
        folder: Folder,
        verifier: &NoteVerifier,
        verification: Verification,
    ) -> Result<Self, NotVerified> {
        // What was found out on the way is not looked for again.
        let folder = match verification.expired {
            Some(expiry) => folder.knowing(Some(expiry)),
            None => folder,
        };
        match (&verification.checkpoint, &verification.integrity) {
            (Some(checkpoint), Integrity::Whole) if !verification.is_tampered() => Ok(Self {
                folder,
                verifier: verifier.clone(),
                checkpoint: checkpoint.clone(),
                verification,
            }),
            (Some(_), Integrity::Unseen { .. }) if !verification.is_tampered() => {
                Err(NotVerified::Unseen(Box::new(verification)))
            }
            _ => Err(NotVerified::Tampered(Box::new(verification))),
        }
    }

    /// The log in `folder` before anything was verified, to verify parts of it with.
    pub(crate) fn provisional(folder: &Folder, verifier: &NoteVerifier, checkpoint: &Checkpoint) -> Self {
        Self {
            folder: folder.clone(),
            verifier: verifier.clone(),
            checkpoint: checkpoint.clone(),
            verification: Verification {
                checkpoint: Some(checkpoint.clone()),
                integrity: Integrity::Whole,
                completeness: Completeness::Unproven(WhyUnproven::NothingHeld),
                unsigned: 0,
                torn_bytes: 0,
                expired: None,
                read_from: 0,
                signed: String::new(),
            },
        }
    }

    /// The same log, if that is what was found.
    pub(crate) fn verified(self, verification: Verification) -> Result<Self, NotVerified> {
        Self::of(self.folder, &self.verifier, verification)
    }

    pub(crate) const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    pub(crate) const fn files(&self) -> &Folder {
        &self.folder
    }

    /// The bundle with entry `index`, proven: its file, its entries as far as they did not expire, and the
    /// index of the first of these.
    pub(crate) fn proven_entries(&self, index: u64) -> Result<(String, u64, Vec<Vec<u8>>), ReadError> {
        let bundle = self.proven_bundle(&mut self.tiles(), index)?;
        let (entries, _) = bundle.entries();
        let entries = entries.into_iter().map(<[u8]>::to_vec).collect();
        Ok((bundle.file.clone(), bundle.first(), entries))
    }

    /// The bundle of a tile. Where it is missing, the log itself is asked whether it expired.
    pub(crate) fn bundle(&self, tile: Tile) -> Result<Found<Bundle>, Unreadable> {
        match self.folder.bundle(tile)? {
            Found::Missing { .. } if !self.folder.knows_expiry() => {
                self.folder.learn(self.declared_expiry()?);
                self.folder.bundle(tile)
            }
            found => Ok(found),
        }
    }

    /// The checkpoint that everything read here is proven against.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// That checkpoint as a signed note.
    pub fn signed_checkpoint(&self) -> &str {
        &self.verification.signed
    }

    /// What was found when the log was verified.
    pub const fn verification(&self) -> &Verification {
        &self.verification
    }

    /// The events at the indices in `range`, as far as the checkpoint covers them, in order.
    pub fn events(&self, range: Range<u64>) -> Events<'_> {
        Events {
            log: self,
            tiles: self.tiles(),
            next: range.start,
            end: range.end.min(self.checkpoint.size()),
            ready: Vec::new().into_iter(),
        }
    }

    /// The entry at `index` and the proof that it stands there.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn prove(&self, index: u64) -> Result<EventProof, ReadError> {
        // Here the whole bundle was verified, and is to be what it was then.
        self.proven_bundle(&mut self.tiles(), index)
            .map_err(|error| self.or_pruned(error, index))?;
        prove_in(
            &self.folder,
            &self.verifier,
            self.checkpoint.size(),
            self.signed_checkpoint(),
            index,
        )
    }

    /// What can still be proven of the entry at `index`, which expired.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NoSuchEntry`] also where the entry is there: prove that.
    pub fn prove_expired(&self, index: u64) -> Result<ExpiredProof, ReadError> {
        let size = self.checkpoint.size();
        let bundle = self.proven_bundle(&mut self.tiles(), index)?;
        let position = usize::try_from(index % TILE_WIDTH as u64).unwrap_or(usize::MAX);
        let leaf = *bundle
            .expired()
            .get(position)
            .ok_or(ReadError::NoSuchEntry { index, size })?;
        let proof = Proof {
            index,
            hashes: inclusion_proof(&mut self.tiles(), index, size)?,
            extra: None,
            checkpoint: self.signed_checkpoint().to_owned(),
        };
        match proof.verify_leaf(&leaf, &self.verifier) {
            Ok(_) => Ok(ExpiredProof {
                leaf,
                proof: proof.to_string(),
            }),
            Err(_) => Err(ReadError::Changed {
                file: bundle.file.clone(),
            }),
        }
    }

    /// The hashes that show an earlier checkpoint of this log, of `old` entries, to be its beginning.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn prove_consistency(&self, old: u64) -> Result<Vec<Sha256Digest>, ReadError> {
        prove_consistency(self.folder.root(), &self.checkpoint, old)
    }

    /// Whether `earlier` is a checkpoint of the beginning of this log.
    ///
    /// # Errors
    /// [`ReadError`]; also where it covers more entries than this log has.
    pub fn continues(&self, earlier: &Checkpoint) -> Result<bool, ReadError> {
        let proof = self.prove_consistency(earlier.size())?;
        let (size, root) = (self.checkpoint.size(), self.checkpoint.root());
        Ok(verify_consistency(earlier.size(), earlier.root(), size, root, &proof).is_ok())
    }

    /// The entry at `index` and the proof that it stands there under a checkpoint that others
    /// cosigned, so that a stranger needs to trust the log's key alone no more.
    ///
    /// # Errors
    /// [`ReadError`]; also where `cosigned` does not cover the entry, or is no checkpoint of this log.
    pub fn prove_under(&self, index: u64, cosigned: &Cosigned) -> Result<EventProof, ReadError> {
        let at_that_time = Self {
            checkpoint: cosigned.checkpoint().clone(),
            verification: Verification {
                signed: cosigned.to_string(),
                ..self.verification.clone()
            },
            ..self.clone()
        };
        at_that_time.prove(index)
    }

    pub(crate) fn tiles(&self) -> Tiles<'_> {
        Tiles {
            folder: &self.folder,
            size: self.checkpoint.size(),
            cache: Vec::new(),
        }
    }

    /// The bundle with entry `index`, its hash led up to the checkpoint's root.
    pub(crate) fn proven_bundle(&self, tiles: &mut Tiles<'_>, index: u64) -> Result<Bundle, ReadError> {
        let size = self.checkpoint.size();
        let width = TILE_WIDTH as u64;
        let tile = Tile::of_tree(Shelf::Entries, index / width, size)
            .filter(|_| index < size)
            .ok_or(ReadError::NoSuchEntry { index, size })?;
        let bundle = match self.bundle(tile)? {
            Found::Whole(bundle) => bundle,
            Found::Missing { file } | Found::Malformed { file, .. } => {
                return Err(ReadError::Changed { file });
            }
        };
        let (entries, trouble) = bundle.entries();
        let leaves = bundle.leaves(&entries);
        // A tree of more entries than one bundle has is, hash for hash, a tree whose leaves are the
        // bundles: RFC 6962 splits at powers of two, and 256 is one.
        let bundles = size.div_ceil(width);
        let path = path_ranges(tile.index(), bundles)
            .into_iter()
            .map(|range| range_root(tiles, range.start * width..(range.end * width).min(size)))
            .collect::<Result<Vec<_>, _>>()?;
        let root = self.checkpoint.root();
        let included = verify_inclusion(&root_of(&leaves), tile.index(), bundles, root, &path);
        if trouble.is_some() || included.is_err() {
            return Err(ReadError::Changed {
                file: bundle.file.clone(),
            });
        }
        Ok(bundle)
    }
}

/// The hashes that show the first `old` entries of the log in `folder` to be the beginning of what
/// `checkpoint` covers. Whoever holds both roots checks them; nothing here was verified.
///
/// # Errors
/// [`ReadError`].
pub fn prove_consistency(
    folder: &Path,
    checkpoint: &Checkpoint,
    old: u64,
) -> Result<Vec<Sha256Digest>, ReadError> {
    let size = checkpoint.size();
    if old > size {
        return Err(ReadError::NoSuchEntry { index: old, size });
    }
    let folder = Folder::new(folder);
    let mut tiles = Tiles {
        folder: &folder,
        size,
        cache: Vec::new(),
    };
    consistency_proof(&mut tiles, old, size)
}

/// Proves the entry at `index` of the log in `folder`, whose other entries are not looked at.
///
/// A proof carries all that it claims: it is held against the signed checkpoint before it is handed
/// out. So nothing but the files on the entry's way to the root is read, however long the log is.
///
/// # Errors
/// [`ProveError`].
pub fn prove_entry(folder: &Path, verifier: &NoteVerifier, index: u64) -> Result<EventProof, ProveError> {
    let folder = Folder::new(folder);
    let Some(signed) = folder.checkpoint().map_err(ReadError::from)? else {
        return Err(ProveError::NoCheckpoint {
            folder: folder.root().to_owned(),
        });
    };
    let checkpoint = Checkpoint::open(&signed, verifier)?;
    let signed = String::from_utf8(signed).map_err(|_| InvalidCheckpoint::Malformed)?;
    Ok(prove_in(&folder, verifier, checkpoint.size(), &signed, index)?)
}

fn prove_in(
    folder: &Folder,
    verifier: &NoteVerifier,
    size: u64,
    signed: &str,
    index: u64,
) -> Result<EventProof, ReadError> {
    let tile = Tile::of_tree(Shelf::Entries, index / TILE_WIDTH as u64, size)
        .filter(|_| index < size)
        .ok_or(ReadError::NoSuchEntry { index, size })?;
    let bundle = match folder.bundle(tile)? {
        Found::Whole(bundle) => bundle,
        Found::Missing { file } | Found::Malformed { file, .. } => {
            return Err(ReadError::Changed { file });
        }
    };
    let changed = || ReadError::Changed {
        file: bundle.file.clone(),
    };
    if let Some(expiry) = folder.expiry().filter(|_| index < bundle.first()) {
        let declared_by = expiry.declared_by;
        return Err(ReadError::Expired { index, declared_by });
    }
    let position = usize::try_from(index - bundle.first()).unwrap_or(usize::MAX);
    let (entries, _) = bundle.entries();
    let entry = entries.get(position).ok_or_else(changed)?;
    let mut tiles = Tiles {
        folder,
        size,
        cache: Vec::new(),
    };
    let proof = Proof {
        index,
        hashes: inclusion_proof(&mut tiles, index, size)?,
        extra: None,
        checkpoint: signed.to_owned(),
    };
    match proof.verify(entry, verifier) {
        Ok(_) => Ok(EventProof {
            entry: entry.to_vec(),
            proof: proof.to_string(),
        }),
        Err(_) => Err(changed()),
    }
}

/// Events of a verified log, in order. After an error it ends.
#[derive(Debug)]
pub struct Events<'a> {
    log: &'a VerifiedLog,
    tiles: Tiles<'a>,
    next: u64,
    end: u64,
    ready: std::vec::IntoIter<Event>,
}

impl Events<'_> {
    fn refill(&mut self) -> Result<(), ReadError> {
        let bundle = self.log.proven_bundle(&mut self.tiles, self.next);
        let bundle = bundle.map_err(|error| self.log.or_pruned(error, self.next))?;
        let (entries, _) = bundle.entries();
        // What expired is passed over.
        self.next = self.next.max(bundle.first());
        let skip = usize::try_from(self.next - bundle.first()).unwrap_or(0);
        let events = entries[skip.min(entries.len())..]
            .iter()
            .map(|entry| Event::from_entry(entry))
            .collect::<Result<Vec<_>, _>>();
        let events = events.map_err(|_| ReadError::Changed {
            file: bundle.file.clone(),
        })?;
        self.ready = events.into_iter();
        Ok(())
    }
}

impl Iterator for Events<'_> {
    type Item = Result<(u64, Event), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.end && self.ready.as_slice().is_empty() {
            if let Err(error) = self.refill() {
                self.end = self.next;
                return Some(Err(error));
            }
        }
        if self.next >= self.end {
            return None;
        }
        let event = self.ready.next()?;
        self.next += 1;
        Some(Ok((self.next - 1, event)))
    }
}

/// Hashes of the tree, from its tiles.
#[derive(Debug)]
pub(crate) struct Tiles<'a> {
    folder: &'a Folder,
    size: u64,
    /// The tiles read last, oldest first.
    cache: Vec<(Tile, Vec<Sha256Digest>)>,
}

impl Tiles<'_> {
    pub(crate) fn hashes(&mut self, tile: Tile) -> Result<&[Sha256Digest], ReadError> {
        if let Some(at) = self.cache.iter().position(|(cached, _)| *cached == tile) {
            return Ok(&self.cache[at].1);
        }
        let hashes = match self.folder.hashes(tile)? {
            Found::Whole(hashes) => hashes,
            Found::Missing { file } | Found::Malformed { file, .. } => {
                return Err(ReadError::Changed { file });
            }
        };
        if self.cache.len() == CACHED_TILES {
            self.cache.remove(0);
        }
        self.cache.push((tile, hashes));
        Ok(self.cache.last().map_or(&[], |(_, hashes)| hashes.as_slice()))
    }
}

impl SubtreeHashes for Tiles<'_> {
    type Error = ReadError;

    fn subtree(&mut self, level: u32, index: u64) -> Result<Sha256Digest, ReadError> {
        let shelf = Shelf::Level(u8::try_from(level / TILE_HEIGHT).unwrap_or(u8::MAX));
        // The subtree is 2^(level mod 8) neighbouring hashes of one tile.
        let count = 1_u64 << (level % TILE_HEIGHT);
        let first = index * count;
        let width = TILE_WIDTH as u64;
        let missing = || ReadError::Changed {
            file: Tile::full(shelf, first / width).to_string(),
        };
        let tile = Tile::of_tree(shelf, first / width, self.size).ok_or_else(missing)?;
        let start = usize::try_from(first % width).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        let hashes = self.hashes(tile)?.get(start..end).ok_or_else(missing)?;
        Ok(perfect_root(hashes))
    }
}
