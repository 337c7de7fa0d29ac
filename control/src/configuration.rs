//! The configuration, as control sees it: somebody who reads it again when asked to.
//!
//! What the file says is for whoever put the process together; control passes the wish on and says
//! what came of it.

use crate::api::types::ReloadView;
use crate::nights::Answer;

/// Why the configuration was not read again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadFailure {
    /// Nothing runs here that a reload could change.
    #[error("nothing runs in this process that could be reloaded; a command reads its files when it starts")]
    Absent,
    /// A file cannot be used. Everything is as it was; mend the file and repeat.
    #[error("nothing was changed: {what}")]
    Refused {
        /// The file, and what is wrong with it.
        what: String,
    },
    /// The files can be used, and part of what they say could not be put in force.
    #[error("{what}; bailiwick status says what is in force")]
    Failed {
        /// What failed.
        what: String,
    },
}

/// Who reads the configuration again.
pub trait Configuration: Send + Sync {
    /// Reads every file again and puts in force what can change while connections stand, because `who`
    /// asks for it.
    fn reload(&self, who: String) -> Answer<'_, Result<ReloadView, ReloadFailure>>;
}

/// A process without a configuration that could change.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoConfiguration;

impl Configuration for NoConfiguration {
    fn reload(&self, _: String) -> Answer<'_, Result<ReloadView, ReloadFailure>> {
        Box::pin(async { Err(ReloadFailure::Absent) })
    }
}
