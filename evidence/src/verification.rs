//! The answer of a verification: integrity and completeness, apart.

use std::fmt;
use std::ops::Range;

use crate::{Checkpoint, InvalidCheckpoint, InvalidEvent};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The log's own checkpoint, where its signature verifies.
    pub checkpoint: Option<Checkpoint>,
    /// Whether every entry under the checkpoint is as it was signed.
    pub integrity: Integrity,
    /// Whether the log is as long as it once was.
    pub completeness: Completeness,
    /// Entries in the journal that are not yet under a signature.
    pub unsigned: u64,
    /// Bytes at the journal's end that are no whole record: a write under way, or a crash.
    pub torn_bytes: u64,
    /// What the site let expire, where entries were met that are gone for that reason. Their hashes are as
    /// signed, and so they are not missing.
    pub expired: Option<Expiry>,
    /// The first entry that was read. Those before it were verified earlier, and the hashes above them lead to
    /// the root that was signed then.
    pub read_from: u64,
    pub(crate) signed: String,
}

/// What a site let expire: every entry below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The first entry that did not expire.
    pub end: u64,
    /// The entry that declares it.
    pub declared_by: u64,
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expired by policy: entries 0 to {}, declared by entry {}; their hashes are as they were signed",
            self.end.saturating_sub(1),
            self.declared_by
        )
    }
}

/// Whether every entry under the checkpoint is as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Yes.
    Whole,
    /// As far as can be seen: entries were pruned, and the archive that has them is not at hand. Their
    /// hashes are as signed. Bring the archive, and verify again.
    Unseen {
        /// The entries, from the first to the last that nobody could read.
        entries: Range<u64>,
    },
    /// No.
    Broken {
        /// The first entry that is bad, or that cannot be vouched for.
        first_bad: u64,
        /// What is wrong.
        why: Fault,
    },
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There are entries and no checkpoint.
    #[error("the log has no checkpoint: the file was deleted")]
    CheckpointMissing,
    /// The checkpoint is another log's, another key's, or was edited.
    #[error(transparent)]
    Checkpoint(#[from] InvalidCheckpoint),
    /// A file that the checkpoint covers is gone.
    #[error("{file} is missing and the signed checkpoint covers it: it was deleted or not copied")]
    Missing {
        /// The file.
        file: String,
    },
    /// A file was cut, padded or overwritten.
    #[error("{file} is damaged: {what}")]
    Malformed {
        /// The file.
        file: String,
        /// What was met.
        what: String,
    },
    /// An entry's bytes were changed after it was signed.
    #[error("the entry in {file} was altered: its bytes are not those that were signed")]
    Altered {
        /// The bundle that holds it.
        file: String,
    },
    /// The entries are as signed; a hash kept beside them is not.
    #[error("the entries are as signed, and a hash in {file} was altered")]
    HashAltered {
        /// The hash tile.
        file: String,
    },
    /// Entries and their leaf hashes were changed together; a tile above shows it.
    #[error("entries below {file} were rewritten together with their hashes")]
    Rewritten {
        /// The tile that does not agree.
        file: String,
    },
    /// Another entry stands here: swapped, repeated, dropped or taken from elsewhere.
    #[error("{file} holds entry {seq} in this place: entries were moved, repeated or dropped")]
    Misplaced {
        /// The bundle that holds it.
        file: String,
        /// The sequence number of what stands here.
        seq: u64,
    },
    /// An event of another gateway stands here.
    #[error("{file} holds an event of gateway {found:?} in this place: it was taken from another log")]
    OtherGateway {
        /// The bundle that holds it.
        file: String,
        /// The gateway in the event.
        found: String,
    },
    /// The entry is as signed, and is no event.
    #[error("the entry in {file} is as signed, and no event that this version reads: {source}")]
    NotAnEvent {
        /// The bundle that holds it.
        file: String,
        /// What is wrong with it.
        source: InvalidEvent,
    },
    /// Entries are as signed, and the archive file they come from is not the one that the log binds.
    #[error(
        "{file} has the entries and is not the file that the log binds: it was written anew or never bound"
    )]
    Unbound {
        /// The archive file.
        file: String,
    },
    /// All files agree with each other and not with the checkpoint.
    #[error(
        "all tiles agree with each other and not with the signed root: the log was rewritten somewhere from this entry on, or the checkpoint is not this log's"
    )]
    Root,
}

impl Fault {
    /// The file in which it shows, below the log's folder; `None` where no single file is to blame.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::CheckpointMissing | Self::Checkpoint(_) => Some("checkpoint"),
            Self::Missing { file }
            | Self::Malformed { file, .. }
            | Self::Altered { file }
            | Self::HashAltered { file }
            | Self::Rewritten { file }
            | Self::Misplaced { file, .. }
            | Self::OtherGateway { file, .. }
            | Self::NotAnEvent { file, .. }
            | Self::Unbound { file } => Some(file),
            Self::Root => None,
        }
    }
}

/// Whether the log is as long as it once was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// A checkpoint held elsewhere covers every entry.
    Proven,
    /// Nobody can tell.
    Unproven(WhyUnproven),
    /// A checkpoint held elsewhere covers more entries than there are: the tail was cut off, or an
    /// older checkpoint was put back.
    Cut {
        /// Entries under the checkpoint held elsewhere.
        held: u64,
        /// Entries under the log's own.
        found: u64,
    },
    /// The journal goes on beyond the checkpoint: an older checkpoint was put back.
    RolledBack {
        /// Where the journal goes on.
        journal: u64,
        /// Entries under the log's own checkpoint.
        found: u64,
    },
    /// The log is another one than the checkpoint held elsewhere was made of: the log's key signed two
    /// stories.
    Contradicted {
        /// Entries under the checkpoint held elsewhere.
        held: u64,
    },
}

/// Why nobody can tell whether a log is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyUnproven {
    /// No witness's or later checkpoint was at hand.
    NothingHeld,
    /// The checkpoint held elsewhere covers only the beginning.
    HeldUpTo(u64),
    /// The log is not whole.
    NotWhole,
}

impl Verification {
    /// Whether somebody changed, cut or rewrote the log.
    pub const fn is_tampered(&self) -> bool {
        matches!(self.integrity, Integrity::Broken { .. })
            || matches!(
                self.completeness,
                Completeness::Cut { .. }
                    | Completeness::RolledBack { .. }
                    | Completeness::Contradicted { .. }
            )
    }

    /// Entries under the log's own signature.
    pub fn size(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, Checkpoint::size)
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole: every entry is as it was signed"),
            Self::Unseen { entries } => write!(
                f,
                "cannot tell: entries {} to {} were pruned and the archive that has them is not there; all hashes are as they were signed",
                entries.start,
                entries.end - 1
            ),
            Self::Broken { first_bad, why } => write!(f, "broken at entry {first_bad}: {why}"),
        }
    }
}

impl fmt::Display for Completeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven => f.write_str("proven: a checkpoint held elsewhere covers every entry"),
            Self::Unproven(WhyUnproven::NothingHeld) => {
                f.write_str("unproven: no checkpoint held elsewhere says how long the log once was")
            }
            Self::Unproven(WhyUnproven::HeldUpTo(size)) => write!(
                f,
                "proven for the first {size} entries, unproven beyond: the checkpoint held elsewhere is older"
            ),
            Self::Unproven(WhyUnproven::NotWhole) => f.write_str("unproven: the log is not whole"),
            Self::Cut { held, found } => write!(
                f,
                "cut: a checkpoint held elsewhere covers {held} entries and the log's own covers {found}; its tail was cut off or an older checkpoint put back"
            ),
            Self::RolledBack { journal, found } => write!(
                f,
                "rolled back: the journal goes on at entry {journal} and the checkpoint covers {found} entries; an older checkpoint was put back"
            ),
            Self::Contradicted { held } => write!(
                f,
                "contradicted: the first {held} entries are not those of the checkpoint held elsewhere; the log was rewritten"
            ),
        }
    }
}
