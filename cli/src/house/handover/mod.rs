//! Handover: one process takes the gateway over from another, and no client notices.
//!
//! The running process waits at a [`Door`] in the data folder. A successor knocks, the two agree on a
//! version, and the sockets that clients come in by are handed across. Nothing has changed until then.
//! Then the running process stops what only one may do (nights, post, exports, the control plane), signs
//! its log and gives it up; the successor opens everything, and says that it serves. From then on the
//! process before it has its standing connections and nothing else: what they have to say is forwarded
//! into the successor's log, and kills reach them through the successor.
//!
//! The locks of the data folder and of the log decide who has them, here as ever; whatever is said over
//! the socket only says when to try. A process that loses the other one therefore finds out by its lock
//! what it may do. [`message`] says what the two tell each other.

mod door;
mod frame;
mod link;
pub mod message;
mod predecessor;
mod recovery;
mod retired;
mod scope;
mod sockets;

pub use door::{Door, Request};
pub use predecessor::{Follower, Predecessor};
pub use retired::Retired;
