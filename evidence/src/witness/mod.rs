//! Witnessing: the promise, kept by somebody else, that a log has one story and no shorter one.
//!
//! A gateway can sign two trees of one size, or put yesterday's tree back; nothing in its own folder
//! would show it. A witness remembers the last checkpoint of each log that it knows, demands a proof
//! that the next one continues it, remembers that one durably, and only then cosigns it
//! (c2sp.org/tlog-witness, c2sp.org/tlog-cosignature).
//!
//! Everything that is decided is decided here: what a request says ([`AddCheckpoint`]), what a witness
//! answers ([`Witness`]), what a gateway makes of answers ([`Submission`]), and what cosignatures are
//! worth ([`Quorum`]). Sockets are elsewhere. `memory` is the edge: the only module that has files.

mod cosigned;
mod memory;
mod quorum;
mod refusal;
mod request;
mod service;
mod submission;

pub use cosigned::{COSIGNED_FILE, Cosigned, InvalidCosigned};
pub use memory::MemoryError;
pub use quorum::{Cosignature, InvalidQuorum, Quorum, Standing};
pub use refusal::{Answer, Refusal};
pub use request::{AddCheckpoint, InvalidRequest, MAX_REQUEST_BYTES};
pub use service::{Witness, WitnessError};
pub use submission::{Heard, Rejected, Submission};
