//! Sites whose right verdicts are known before anybody audits them.
//!
//! A site is a folder with `bailiwick.toml`, signed logs and a registry, on which the shipped binary
//! works as on any other. There are three ways to one:
//!
//! * [`corpus`]: breaches planted by hand, each beside its benign twin, with `truth.json`;
//! * [`crowd`]: as large as one likes, from a seed and sizes, with `truth.json`;
//! * [`given`]: from a file of events and a folder of manifests that somebody else wrote.
//!
//! [`Confusion`] holds what an audit printed against the truth.

mod archive;
mod confusion;
pub mod corpus;
pub mod crowd;
mod dice;
pub mod folding;
pub mod given;
pub mod matching;
mod registry;
mod site;
mod truth;
mod visit;

pub use archive::Closing;
pub use confusion::{Confusion, Fared};
pub use truth::{Doubted, Due, Expected, Stray, Truth, Weight};
