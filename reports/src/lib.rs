//! Conformance reports, evidence bundles, their rendering, and the words of the mails.
//!
//! The signed truth is [`predicate::ConformanceReport`], sealed by [`sealed`]; everything else here is
//! a way of reading it. All of it is a function of its arguments: no clock, no randomness, no files,
//! so that two auditors with the same evidence write the same bytes.

mod appeals;
pub mod bundle;
mod changes;
pub mod closing;
mod context;
pub mod escape;
pub mod mail;
pub mod night;
pub mod ocsf;
mod picture;
pub mod predicate;
pub mod render;
mod sealed;
mod verify;
mod words;

pub use appeals::AppealClocks;
pub use changes::Changes;
pub use context::{Context, EvidenceFile, SignedFile, Surroundings};
pub use sealed::{OpenError, OpenedReport, SealError, open_report, seal_report, seal_report_named};
pub use words::finding_title;

#[cfg(test)]
mod golden;
#[cfg(test)]
#[path = "../../evidence/src/export/schema.rs"]
mod ocsf_schema;
#[cfg(test)]
mod testing;
