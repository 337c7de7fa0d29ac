//! The night: gather, verify, fold, judge, seal, publish, act.

mod connection;
mod crontab;
mod fold;
#[cfg(test)]
mod fold_tests;
mod observation;
mod period;
mod schedule;
#[cfg(test)]
mod script;
mod tally;

pub use crontab::InvalidLine;
pub use fold::{Fold, LogFold};
pub use observation::{Destination, Gap, InnerName, Observation, Observations, Stray, Stretch, Who};
pub use period::Period;
pub use schedule::{InvalidSchedule, Schedule};
pub use tally::{Cited, Share, Tally};
