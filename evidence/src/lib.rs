//! Events and the transparency log that keeps them.

mod checkpoint;
mod disk;
mod edge;
mod event;
#[cfg(test)]
mod faults;
mod folder;
mod journal;
pub mod merkle;
mod proof;
mod recovery;
mod tile;
mod unverified;
mod verified;
mod verify;
mod writer;

pub use checkpoint::{Checkpoint, InvalidCheckpoint, InvalidOrigin, Origin};
pub use event::{EVENT_VERSION, Event, EventKind, InvalidEvent, MAX_EVENT_BYTES, Timeout};
pub use folder::Unreadable;
pub use proof::{InvalidProof, Proof, ProvenEvent, verify_proof};
pub use recovery::{OpenError, Recovery};
pub use tile::{InvalidBundle, Shelf, TILE_WIDTH, Tile, split_bundle};
pub use unverified::{UnverifiedReadError, UnverifiedReader};
pub use verified::{EventProof, Events, NotVerified, ReadError, VerifiedLog};
pub use verify::{
    Completeness, Fault, Integrity, Progress, Verification, VerifyError, VerifyOptions, WhyUnproven,
    verify_log,
};
pub use writer::{AppendError, CheckpointError, LogWriter, SyncError};
