//! The night: gather, verify, fold, judge, act, seal, publish.
//!
//! [`schedule`] says when a night is due and which were missed. [`Night::run`] asks a [`Site`] what it
//! must know, verifies every gateway's log and believes nothing else ([`gather`]), folds events into
//! observations ([`Fold`]), holds them against what each owner declared ([`Case::judge`]), lets the
//! policy's clauses act on what is proven ([`propose`]), and has one signed report published per
//! artifact and per run.
//!
//! No clock, no socket and no randomness: `now` is handed in, and the same answers of the site with
//! the same logs give the same bytes. Files are read through the edge of `evidence` alone.

#[cfg(test)]
mod approval_tests;
pub mod archive_fold;
#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod boundary_tests;
mod carry;
#[cfg(test)]
mod carry_tests;
mod charge;
mod clause;
mod connection;
mod credentials;
mod crontab;
mod crowd;
mod departure;
mod desk;
mod docket;
mod doubt;
mod draft;
mod exhibits;
#[cfg(test)]
mod exhibits_tests;
mod facts;
mod file_fold;
#[cfg(test)]
mod findings_tests;
mod fold;
#[cfg(test)]
mod fold_tests;
mod gather;
#[cfg(test)]
mod going_on_tests;
mod inside;
mod judge;
mod lapsed;
mod limits;
mod live;
#[cfg(test)]
mod live_tests;
mod moment;
mod night;
#[cfg(test)]
mod night_tests;
mod observation;
mod outcome;
mod parcel;
mod promised;
mod publication;
mod records;
mod relied;
mod report;
#[cfg(test)]
mod run_report_tests;
pub mod schedule;
#[cfg(test)]
mod script;
mod seen;
mod site;
#[cfg(test)]
mod stage;
mod tally;
mod terms;
mod turns;
mod usage;
mod what_if;

pub use carry::carry;
pub use charge::{Charge, Corroboration};
pub use clause::{Accused, Measure, Proposal, Restraint, hold_back, propose};
pub use credentials::{Misuse, misuse};
pub use crontab::InvalidLine;
pub use crowd::NOTED_HOSTS;
pub use doubt::Doubt;
pub use fold::{Fold, LogFold};
pub use gather::{BelievedLog, Evidence, gather};
pub use judge::{Case, Judgement};
pub use live::{Live, LiveGround, is_live};
pub use moment::{Moment, Reasons};
pub use night::{Auditor, Night, NightError};
pub use observation::{
    Destination, Gap, Heard, InnerName, Named, Observation, Observations, Oddities, Stray, Stretch, Visited,
    Who,
};
pub use outcome::{Act, ActResult, Exit, LogRead, NightOutcome, Reported};
pub use publication::{BUNDLE_NAME, Publication};
pub use relied::Relied;
pub use reports::predicate::Period;
pub use schedule::{InvalidSchedule, Schedule};
pub use seen::Seen;
pub use site::{
    Artifact, Component, CrlOnFile, EarlierManifest, Gateway, PastAct, PolicyOnFile, PreviousReport,
    Progress, PublishedBefore, Run, Site, SiteError,
};
pub use tally::{Cited, Share, Tally};
pub use terms::InvalidException;
pub use turns::Passage;
pub use usage::Usage;
pub use what_if::{Change, Hypothesis, Would};
