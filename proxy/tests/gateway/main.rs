//! The gateway with real sockets on loopback and its evidence in memory.
//!
//! Nothing here sleeps: a test waits for an answer, for the end of a stream, or for an event.

#![allow(missing_docs, reason = "tests say what they claim in their names")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

// The name that other rooms know this one by.
extern crate bailiwick_proxy as proxy;

mod attribution;
mod connect;
mod evidence_failure;
mod floor;
mod forward;
mod h2;
mod identity;
mod kill;
mod malformed;
mod quota;
mod socks;
mod steering;
mod tls;
mod tls_identity;
mod tls_world;
mod world;
