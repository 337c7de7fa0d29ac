//! The night: gather, verify, fold, judge, seal, publish, act.

mod crontab;
mod period;
mod schedule;

pub use crontab::InvalidLine;
pub use period::Period;
pub use schedule::{InvalidSchedule, Schedule};
