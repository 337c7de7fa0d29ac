//! Events and the transparency log that keeps them.
//!
//! A gateway appends events through [`LogWriter`]. Anybody who has the folder and the public key
//! checks it with [`verify_log`], reads it through [`VerifiedLog`], which hands out nothing that was
//! not verified, and proves single events to strangers with [`VerifiedLog::prove`] and
//! [`verify_proof`]. [`UnverifiedReader`] is for watching only. [`witness`] is how others vouch for a log's
//! length.
//!
//! The files are those of c2sp.org/tlog-tiles, so that tools nobody here wrote can read them. The
//! modules `disk` and `folder` are the edge, and `memory` is that of witnesses: no other opens a file.

#[cfg(test)]
mod arbitrary;
pub mod archive;
mod checkpoint;
mod disk;
mod edge;
mod encode;
mod entries;
mod event;
pub mod export;
mod failure;
#[cfg(test)]
mod faults;
mod flush;
mod folder;
mod journal;
mod journals;
mod key;
pub mod merkle;
#[doc(hidden)]
pub mod parsers;
mod proof;
mod publisher;
mod range;
mod recovery;
mod scan;
mod tile;
mod unverified;
mod verification;
mod verified;
mod verify;
pub mod witness;
mod writer;

pub use checkpoint::{Checkpoint, InvalidCheckpoint, InvalidOrigin, Origin};
pub use encode::Draft;
pub use entries::{Entries, EntriesError, EntryBundle};
pub use event::{
    Claim, EVENT_VERSION, Event, EventKind, InvalidEvent, MAX_EVENT_BYTES, Timeout, is_of_session,
};
pub use failure::{AppendError, CheckpointError, SyncError};
pub use flush::{Flush, Flushed, Seal, Sealed};
pub use folder::Unreadable;
pub use proof::{InvalidProof, Proof, ProvenEvent, verify_proof};
pub use recovery::{OpenError, Recovery};
pub use tile::{InvalidBundle, Shelf, TILE_WIDTH, Tile, split_bundle};
pub use unverified::{UnverifiedReadError, UnverifiedReader};
pub use verification::{Completeness, Expiry, Fault, Integrity, Verification, WhyUnproven};
pub use verified::{
    EventProof, Events, ExpiredProof, NotVerified, ProveError, ReadError, VerifiedLog, prove_consistency,
    prove_entry,
};
pub use verify::{Progress, VerifyError, VerifyOptions, verify_log};
pub use writer::LogWriter;
