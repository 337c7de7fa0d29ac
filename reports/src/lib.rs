//! Conformance reports, evidence bundles, their rendering, and the words of the mails.
//!
//! The signed truth is [`predicate::ConformanceReport`], sealed by [`sealed`]; everything else here is
//! a way of reading it. All of it is a function of its arguments: no clock, no randomness, no files,
//! so that two auditors with the same evidence write the same bytes.

pub mod escape;
pub mod predicate;
mod sealed;

pub use sealed::{OpenError, OpenedReport, SealError, open_report, seal_report};

#[cfg(test)]
mod testing;
