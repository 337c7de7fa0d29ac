//! Verifying a whole log, with nothing but its folder and the public key.
//!
//! Every leaf is hashed anew from its entry, every tile is held against what is below it, and the
//! root against the signed checkpoint; each entry must be an event that says it stands where it
//! stands. Memory does not grow with the log. Whoever verified the beginning of the log before, and kept
//! its checkpoint, may begin there: the hashes above the beginning have to lead to that checkpoint's root
//! and, with everything since, to the root that is signed now. Where they do not, everything is read.
//!
//! Integrity and completeness are two answers: an honest beginning whose tail was cut off is whole,
//! and only a checkpoint held elsewhere can tell that it was once longer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Sha256Digest;
use seal::note::NoteVerifier;

use crate::archive::shelf::Shelf as ArchiveShelf;
use crate::archive::{ArchiveName, Bound, Pruned, Store};
use crate::folder::{Folder, Found, Unreadable};
use crate::journal::Records;
use crate::merkle::{edge_root, leaf_hash, perfect_root};
use crate::scan::scan;
use crate::tile::{Shelf, TILE_WIDTH, Tile};
use crate::verification::{Completeness, Fault, Integrity, Verification, WhyUnproven};
use crate::{Checkpoint, Event, VerifiedLog};

/// What a verification is held against beside the log itself.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// A checkpoint of this log that somebody else kept, already opened with the log's key. It makes
    /// cut tails, roll-backs and rewriting visible.
    pub held: Option<Checkpoint>,
    /// What reaches the archive of pruned entries where that is a bucket. It is asked only if the log
    /// names the very same.
    pub archive: Option<Arc<dyn Store>>,
    /// A checkpoint of this log, already opened with the log's key, up to which the one who verifies now
    /// verified every entry before. Those entries are then not read again, and a change of one of them shows
    /// when it is read or proven. `None` reads everything.
    pub verified: Option<Checkpoint>,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Entries verified.
    pub done: u64,
    /// Entries that the checkpoint covers.
    pub total: u64,
}

/// Why a log could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing to verify.
    #[error("{folder} holds no log; name the folder that has the file \"checkpoint\" in it")]
    NoLog {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk refused to say.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The checkpoint held elsewhere is of another log.
    #[error("the checkpoint held elsewhere belongs to log {found:?}, not to {expected:?}")]
    HeldOther {
        /// The origin it names.
        found: String,
        /// The log's origin.
        expected: String,
    },
}

/// Verifies the log in `folder` against the key that signs it.
///
/// `verifier` carries the log's origin as its name. `progress` is called once for each bundle.
///
/// # Errors
/// [`VerifyError`] where no answer can be had. A log that is not whole is an answer.
pub fn verify_log(
    folder: &Path,
    verifier: &NoteVerifier,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, VerifyError> {
    let folder = Folder::with_archive(folder, options.archive.clone());
    let held = options.held.as_ref();
    let (signed, checkpoint) = match open_checkpoint(&folder, verifier, options)? {
        Ok(found) => found,
        Err(unbelievable) => return Ok(unbelievable),
    };
    let log = VerifiedLog::provisional(&folder, verifier, &checkpoint);
    if let Some((read_from, held_root)) = go_on(&folder, &log, options, progress)? {
        let concluded = conclude(&folder, signed, checkpoint, Integrity::Whole, held, held_root)?;
        return Ok(Verification {
            read_from,
            ..concluded
        });
    }
    let mut walk = Walk::new(&folder, &log, held.map(Checkpoint::size), None);
    let root = walk.run(0, progress)?;
    let held_root = walk.held_root;
    let integrity = walk.integrity(root.map(|root| root == *checkpoint.root()), held)?;
    Ok(conclude(&folder, signed, checkpoint, integrity, held, held_root)?)
}

/// Verifies what came after a checkpoint that was verified before. Gives the first entry that was read and
/// the root at what is held elsewhere; `None` where anything does not fit, for the whole log to say what.
fn go_on(
    folder: &Folder,
    log: &VerifiedLog,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<(u64, Option<Sha256Digest>)>, Unreadable> {
    let checkpoint = log.checkpoint();
    let held = options.held.as_ref();
    let Some(known) = options
        .verified
        .as_ref()
        .filter(|known| known.origin() == checkpoint.origin() && known.size() <= checkpoint.size())
    else {
        return Ok(None);
    };
    let first_bundle = known.size() / TILE_WIDTH as u64;
    let read_from = first_bundle * TILE_WIDTH as u64;
    if first_bundle == 0 || held.is_some_and(|held| held.size() < read_from) {
        return Ok(None);
    }
    let mut walk = Walk::new(folder, log, held.map(Checkpoint::size), Some(known.size()));
    if !walk.take_up(first_bundle)? {
        return Ok(None);
    }
    let root = walk.run(first_bundle, progress)?;
    let (held_root, known_root) = (walk.held_root, walk.known_root);
    let fits = root == Some(*checkpoint.root()) && known_root == Some(*known.root());
    let integrity = walk.integrity(Some(fits), held)?;
    Ok((fits && integrity == Integrity::Whole).then_some((read_from, held_root)))
}

/// The log's checkpoint, verbatim and opened; or the answer where there is none to believe.
pub(crate) fn open_checkpoint(
    folder: &Folder,
    verifier: &NoteVerifier,
    options: &VerifyOptions,
) -> Result<Result<(Vec<u8>, Checkpoint), Verification>, VerifyError> {
    let held = options.held.as_ref();
    if let Some(held) = held.filter(|held| held.origin().as_str() != verifier.name()) {
        return Err(VerifyError::HeldOther {
            found: held.origin().to_string(),
            expected: verifier.name().to_owned(),
        });
    }
    let Some(signed) = folder.checkpoint()? else {
        if folder.holds_anything() {
            return Ok(Err(unbelievable_from(0, Fault::CheckpointMissing)));
        }
        return Err(VerifyError::NoLog {
            folder: folder.root().to_owned(),
        });
    };
    Ok(match Checkpoint::open(&signed, verifier) {
        Ok(checkpoint) => Ok((signed, checkpoint)),
        Err(invalid) => Err(unbelievable_from(0, invalid.into())),
    })
}

/// The answer, once entries were looked at: with the journal, and with what is held elsewhere.
pub(crate) fn conclude(
    folder: &Folder,
    signed: Vec<u8>,
    checkpoint: Checkpoint,
    integrity: Integrity,
    held: Option<&Checkpoint>,
    held_root: Option<Sha256Digest>,
) -> Result<Verification, Unreadable> {
    let journal = JournalTail::read(folder, &checkpoint, &signed)?;
    let completeness = completeness(&checkpoint, &integrity, held, held_root, &journal);
    Ok(Verification {
        checkpoint: Some(checkpoint),
        integrity,
        completeness,
        unsigned: journal.unsigned,
        torn_bytes: journal.torn_bytes,
        expired: folder.expiry(),
        read_from: 0,
        signed: String::from_utf8(signed).unwrap_or_default(),
    })
}

/// The answer where there is no checkpoint to believe.
pub(crate) fn unbelievable_from(first_bad: u64, why: Fault) -> Verification {
    Verification {
        checkpoint: None,
        integrity: Integrity::Broken { first_bad, why },
        completeness: Completeness::Unproven(WhyUnproven::NotWhole),
        unsigned: 0,
        torn_bytes: 0,
        expired: None,
        read_from: 0,
        signed: String::new(),
    }
}

fn completeness(
    checkpoint: &Checkpoint,
    integrity: &Integrity,
    held: Option<&Checkpoint>,
    held_root: Option<Sha256Digest>,
    journal: &JournalTail,
) -> Completeness {
    let found = checkpoint.size();
    if let Some(held) = held.map(Checkpoint::size).filter(|&held| held > found) {
        return Completeness::Cut { held, found };
    }
    if let Some(journal) = journal.continues_at {
        return Completeness::RolledBack { journal, found };
    }
    if matches!(integrity, Integrity::Broken { .. }) {
        return Completeness::Unproven(WhyUnproven::NotWhole);
    }
    match held {
        None => Completeness::Unproven(WhyUnproven::NothingHeld),
        Some(held) if held_root.is_some_and(|root| root != *held.root()) => {
            Completeness::Contradicted { held: held.size() }
        }
        Some(held) if held.size() == found => Completeness::Proven,
        Some(held) => Completeness::Unproven(WhyUnproven::HeldUpTo(held.size())),
    }
}

/// Something that does not fit. Whether the entry or the hash is to blame, the root decides.
enum Suspicion {
    /// Certain, whatever the root says.
    Certain(Fault),
    /// An entry does not hash to its leaf.
    Leaf { bundle: String, tile: String },
    /// A tile above does not agree with what is below it.
    Above { tile: String },
}

/// One level of the tree while it is computed anew.
#[derive(Default)]
struct Level {
    hashes: Vec<Sha256Digest>,
    /// The same tile as it stands on disk, while nothing is known against it.
    stored: Option<(String, Vec<Sha256Digest>)>,
}

struct Walk<'a> {
    folder: &'a Folder,
    /// The same log, to look up in it what expired.
    log: &'a VerifiedLog,
    size: u64,
    gateway: &'a str,
    held_size: Option<u64>,
    held_root: Option<Sha256Digest>,
    /// Entries up to which the log was verified before, and the root that they come to now.
    known_size: Option<u64>,
    known_root: Option<Sha256Digest>,
    levels: Vec<Level>,
    /// The first thing that does not fit.
    suspicion: Option<(u64, Suspicion)>,
    /// Entries below this are said to be in the archive, by the log itself.
    pruned_to: u64,
    /// Entries that neither the log nor the archive could show, from the first to the last.
    unseen: Option<Range<u64>>,
    /// Archive files that the log binds.
    bound: BTreeMap<String, Sha256Digest>,
}

impl<'a> Walk<'a> {
    fn new(
        folder: &'a Folder,
        log: &'a VerifiedLog,
        held_size: Option<u64>,
        known_size: Option<u64>,
    ) -> Self {
        Self {
            folder,
            log,
            pruned_to: 0,
            unseen: None,
            bound: BTreeMap::new(),
            size: log.checkpoint().size(),
            gateway: log.checkpoint().origin().gateway(),
            held_size,
            held_root: None,
            known_size,
            known_root: None,
            levels: Vec::new(),
            suspicion: None,
        }
    }

    /// Takes the hashes above everything before bundle `number` from their tiles, as they stand there: the
    /// roots that they lead to say whether they are right. `false` where one is missing.
    fn take_up(&mut self, number: u64) -> Result<bool, Unreadable> {
        let width = TILE_WIDTH as u64;
        let mut index = number;
        for level in 1_u8..8 {
            if index == 0 {
                break;
            }
            let complete = usize::try_from(index % width).unwrap_or(0);
            let at = usize::from(level);
            while self.levels.len() <= at {
                self.levels.push(Level::default());
            }
            if complete > 0 {
                let Some(tile) = Tile::of_tree(Shelf::Level(level), index / width, self.size) else {
                    return Ok(false);
                };
                let Found::Whole(hashes) = self.folder.hashes(tile)? else {
                    return Ok(false);
                };
                let Some(above) = hashes.get(..complete) else {
                    return Ok(false);
                };
                self.levels[at].hashes = above.to_vec();
                self.levels[at].stored = Some((tile.to_string(), hashes));
            }
            index /= width;
        }
        Ok(true)
    }

    /// Keeps the root at a size that somebody asks about.
    fn mark(&mut self, size: u64) {
        if self.held_size == Some(size) {
            self.held_root = Some(self.root());
        }
        if self.known_size == Some(size) {
            self.known_root = Some(self.root());
        }
    }

    /// Computes the tree anew from its entries, from the bundle `from` on; `None` where entries are missing.
    fn run(
        &mut self,
        from: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Sha256Digest>, Unreadable> {
        let total = self.size;
        self.mark(from * TILE_WIDTH as u64);
        for number in from..total.div_ceil(TILE_WIDTH as u64) {
            let Some(tile) = Tile::of_tree(Shelf::Entries, number, total) else {
                break;
            };
            if !self.bundle(tile)? {
                return Ok(None);
            }
            let done = (tile.first_entry() + tile.width() as u64).min(total);
            progress(Progress { done, total });
        }
        Ok(Some(self.root()))
    }

    /// Goes through one bundle; `false` where the rest cannot be computed.
    fn bundle(&mut self, tile: Tile) -> Result<bool, Unreadable> {
        let first = tile.first_entry();
        let bundle = match self.log.bundle(tile)? {
            Found::Whole(bundle) => bundle,
            Found::Missing { file } => return self.pass_over(tile, file),
            Found::Malformed { file, what } => {
                self.suspect(first, Suspicion::Certain(Fault::Malformed { file, what }));
                return Ok(false);
            }
        };
        self.add_stored(bundle.expired(), first)?;
        let first = bundle.first();
        let (entries, trouble) = bundle.entries();
        for (entry, index) in entries.iter().zip(first..) {
            let leaf = leaf_hash(entry);
            let agrees = self.load(0, index)?.is_none_or(|stored| stored == leaf);
            if self.suspicion.is_none()
                && let Some(suspicion) = self.judge(index, entry, agrees, &bundle.file)
            {
                self.suspect(index, suspicion);
            }
            self.add(leaf, index)?;
            self.mark(index + 1);
        }
        let Some(what) = trouble else {
            return Ok(true);
        };
        let cut = bundle.expired().len() + entries.len() < tile.width();
        let file = bundle.file.clone();
        let next = first + entries.len() as u64;
        let at = if cut { next } else { next - 1 };
        self.suspect(at, Suspicion::Certain(Fault::Malformed { file, what }));
        Ok(!cut)
    }

    /// Goes on by the leaf hashes where a bundle is gone. Whether that may be, the log says further on.
    fn pass_over(&mut self, tile: Tile, file: String) -> Result<bool, Unreadable> {
        let first = tile.first_entry();
        let end = first + tile.width() as u64;
        let leaves = if tile.is_full() {
            self.folder.hashes(Tile::full(Shelf::Level(0), tile.index()))?
        } else {
            Found::Missing { file: String::new() }
        };
        let Found::Whole(leaves) = leaves else {
            self.suspect(first, Suspicion::Certain(Fault::Missing { file }));
            return Ok(false);
        };
        let start = self.unseen.as_ref().map_or(first, |unseen| unseen.start);
        self.unseen = Some(start..end);
        self.add_stored(&leaves, first)?;
        Ok(true)
    }

    /// Adds leaves whose entries are not there, from entry `first` on.
    fn add_stored(&mut self, leaves: &[Sha256Digest], first: u64) -> Result<(), Unreadable> {
        for (leaf, index) in leaves.iter().zip(first..) {
            self.load(0, index)?;
            self.add(*leaf, index)?;
            self.mark(index + 1);
        }
        Ok(())
    }

    /// What an entry about the archive says.
    fn note(&mut self, event: &Event) {
        if let Some(bound) = Bound::by(event) {
            self.bound.insert(bound.name.to_string(), bound.sha256);
        }
        if let Some(pruned) = Pruned::by(event) {
            self.pruned_to = self.pruned_to.max(pruned.to);
        }
    }

    /// What is wrong with the entry at `index`, the most telling first.
    fn judge(&mut self, index: u64, entry: &[u8], agrees: bool, file: &str) -> Option<Suspicion> {
        // The reader decides, and costs more than all the rest; the scanner's yes is as good as its.
        let scanned =
            scan(entry).filter(|scanned| scanned.seq == index && scanned.gateway == self.gateway.as_bytes());
        if let Some(scanned) = scanned.filter(|_| agrees) {
            if matches!(scanned.kind, b"archived" | b"pruned") {
                let event = Event::from_entry(entry).expect("the scanner's yes is the reader's");
                self.note(&event);
            }
            return None;
        }
        let file = file.to_owned();
        let event = Event::from_entry(entry);
        match event {
            Ok(event) if event.seq != index => {
                Some(Suspicion::Certain(Fault::Misplaced { file, seq: event.seq }))
            }
            Ok(event) if event.gateway != self.gateway => Some(Suspicion::Certain(Fault::OtherGateway {
                file,
                found: event.gateway,
            })),
            _ if !agrees => Some(Suspicion::Leaf {
                bundle: file,
                tile: self.stored_file(0),
            }),
            Err(source) => Some(Suspicion::Certain(Fault::NotAnEvent { file, source })),
            Ok(event) => {
                self.note(&event);
                None
            }
        }
    }

    /// Adds a leaf and whatever it completes above.
    fn add(&mut self, leaf: Sha256Digest, index: u64) -> Result<(), Unreadable> {
        let (mut hash, mut index) = (leaf, index);
        for level in 0_u8..8 {
            let at = usize::from(level);
            if level > 0
                && let Some(stored) = self.load(level, index)?
                && stored != hash
            {
                let first = index << (8 * u32::from(level));
                let tile = self.stored_file(level);
                self.suspect(first, Suspicion::Above { tile });
            }
            let hashes = &mut self.levels[at].hashes;
            hashes.push(hash);
            if hashes.len() < TILE_WIDTH {
                break;
            }
            hash = perfect_root(hashes);
            hashes.clear();
            index /= TILE_WIDTH as u64;
        }
        Ok(())
    }

    /// The stored hash `index` of `level`, reading its tile where it begins.
    fn load(&mut self, level: u8, index: u64) -> Result<Option<Sha256Digest>, Unreadable> {
        let at = usize::from(level);
        while self.levels.len() <= at {
            self.levels.push(Level::default());
        }
        let width = TILE_WIDTH as u64;
        let position = usize::try_from(index % width).unwrap_or(0);
        if position == 0 {
            self.levels[at].stored = None;
            if let Some(tile) = Tile::of_tree(Shelf::Level(level), index / width, self.size) {
                let first = tile.first_entry();
                match self.folder.hashes(tile)? {
                    Found::Whole(hashes) => self.levels[at].stored = Some((tile.to_string(), hashes)),
                    Found::Missing { file } => {
                        self.suspect(first, Suspicion::Certain(Fault::Missing { file }));
                    }
                    Found::Malformed { file, what } => {
                        self.suspect(first, Suspicion::Certain(Fault::Malformed { file, what }));
                    }
                }
            }
        }
        let stored = self.levels[at].stored.as_ref();
        Ok(stored.and_then(|(_, hashes)| hashes.get(position).copied()))
    }

    fn stored_file(&self, level: u8) -> String {
        let stored = self.levels[usize::from(level)].stored.as_ref();
        stored.map(|(file, _)| file.clone()).unwrap_or_default()
    }

    /// Keeps the first suspicion: entries come in order, and what is above them after them.
    fn suspect(&mut self, first_bad: u64, suspicion: Suspicion) {
        self.suspicion.get_or_insert((first_bad, suspicion));
    }

    fn root(&self) -> Sha256Digest {
        edge_root(self.levels.iter().map(|level| level.hashes.as_slice()))
    }

    fn integrity(
        mut self,
        root_agrees: Option<bool>,
        held: Option<&Checkpoint>,
    ) -> Result<Integrity, Unreadable> {
        let as_signed = root_agrees == Some(true);
        // A bundle that is gone and that no entry says was pruned was taken away.
        let pruned_to = self.pruned_to;
        if let Some(unseen) = self.unseen.take_if(|unseen| unseen.end > pruned_to) {
            let first = unseen.start.max(pruned_to);
            let file = Tile::full(Shelf::Entries, first / TILE_WIDTH as u64).to_string();
            if self.suspicion.as_ref().is_none_or(|(at, _)| *at > first) {
                self.suspicion = Some((first, Suspicion::Certain(Fault::Missing { file })));
            }
        }
        if self.suspicion.is_none()
            && self.unseen.is_none()
            && as_signed
            && let Some((first_bad, why)) = self.unbound()?
        {
            return Ok(Integrity::Broken { first_bad, why });
        }
        Ok(self.verdict(as_signed, held))
    }

    /// The first archive file that was read and that the log does not bind.
    fn unbound(&self) -> Result<Option<(u64, Fault)>, Unreadable> {
        let read = self.folder.shelf()?.map(ArchiveShelf::read).unwrap_or_default();
        let mut strangers = read
            .into_iter()
            .filter(|(name, sha256)| self.bound.get(name) != Some(sha256))
            .filter_map(|(name, _)| Some((name.parse::<ArchiveName>().ok()?.entries().start, name)))
            .collect::<Vec<_>>();
        strangers.sort();
        let first = strangers.into_iter().next();
        Ok(first.map(|(first, file)| (first, Fault::Unbound { file })))
    }

    fn verdict(self, as_signed: bool, held: Option<&Checkpoint>) -> Integrity {
        let (first_bad, why) = match self.suspicion {
            None if as_signed => {
                return match self.unseen {
                    None => Integrity::Whole,
                    Some(entries) => Integrity::Unseen { entries },
                };
            }
            None => {
                // What a checkpoint held elsewhere still agrees with is not where it was rewritten.
                let good = held.filter(|held| self.held_root == Some(*held.root()));
                (good.map_or(0, Checkpoint::size), Fault::Root)
            }
            Some((first_bad, Suspicion::Certain(fault))) => (first_bad, fault),
            Some((first_bad, Suspicion::Leaf { tile, .. } | Suspicion::Above { tile })) if as_signed => {
                (first_bad, Fault::HashAltered { file: tile })
            }
            Some((first_bad, Suspicion::Leaf { bundle, .. })) => (first_bad, Fault::Altered { file: bundle }),
            Some((first_bad, Suspicion::Above { tile })) => (first_bad, Fault::Rewritten { file: tile }),
        };
        Integrity::Broken { first_bad, why }
    }
}

/// What the journal holds beyond the checkpoint.
#[derive(Default)]
struct JournalTail {
    unsigned: u64,
    torn_bytes: u64,
    /// The journal begins further on than the checkpoint ends.
    continues_at: Option<u64>,
    hole: Option<Hole>,
}

impl JournalTail {
    fn read(folder: &Folder, checkpoint: &Checkpoint, signed: &[u8]) -> Result<Self, Unreadable> {
        let tail = Self::read_once(folder, checkpoint)?;
        if tail.hole.is_none() {
            return Ok(tail);
        }
        // A writer at work may have gone on between the reading of one file and the next.
        let again = Self::read_once(folder, checkpoint)?;
        if folder.checkpoint()?.as_deref() != Some(signed) {
            return Ok(Self {
                torn_bytes: 0,
                hole: None,
                ..again
            });
        }
        Ok(Self {
            // The other journal may not have survived a loss of power, which the next writer declares;
            // otherwise an older checkpoint was put back.
            continues_at: again
                .hole
                .filter(|hole| hole.is_after_later_checkpoint)
                .map(|hole| hole.seq),
            ..again
        })
    }

    fn read_once(folder: &Folder, checkpoint: &Checkpoint) -> Result<Self, Unreadable> {
        let mut tail = Self::default();
        let mut next = checkpoint.size();
        for bytes in folder.journals()? {
            let Ok(mut records) = Records::of(&bytes) else {
                tail.torn_bytes += bytes.len() as u64;
                continue;
            };
            let marked = records.marked();
            let mut whole = records.read_bytes();
            loop {
                let Some(record) = records.next() else {
                    // Marks may have followed.
                    whole = records.read_bytes();
                    break;
                };
                match record.seq() {
                    Some(seq) if seq <= next => next += u64::from(seq == next),
                    Some(seq) => {
                        tail.hole = Some(Hole {
                            seq,
                            is_after_later_checkpoint: marked.is_none_or(|marked| marked > checkpoint.size()),
                        });
                        break;
                    }
                    None => break,
                }
                whole = records.read_bytes();
            }
            tail.torn_bytes += (bytes.len() - whole) as u64;
        }
        tail.unsigned = next - checkpoint.size();
        Ok(tail)
    }
}

/// A journal goes on where nothing leads.
#[derive(Clone, Copy)]
struct Hole {
    seq: u64,
    /// It was written when more was signed than the checkpoint says.
    is_after_later_checkpoint: bool,
}
