//! Exit statuses, the same everywhere, so that scripts can tell a finding from a mistake.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or clean.
    Done,
    /// A finding, a refusal or tampering.
    Finding,
    /// Wrong use or unreadable input.
    WrongUse,
    /// Cannot tell: the evidence is incomplete.
    CannotTell,
    /// Whatever the command that was run said.
    Child(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Finding => Self::from(1),
            Exit::WrongUse => Self::from(2),
            Exit::CannotTell => Self::from(3),
            Exit::Child(status) => Self::from(status),
        }
    }
}

/// A refusal: the input was understood and the answer is no. Exit status 1.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The word for scripts.
    pub code: String,
    /// One line for people: what, why, and what to do.
    pub message: String,
}

/// What was named is not there. Exit status 2, unless a command knows better.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotThere(pub String);

/// The answer cannot be known. Exit status 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unknowable(pub String);

/// The exit status that an error stands for; whatever is not a refusal or doubt is wrong use or
/// unreadable input.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<Refused>()) {
        Exit::Finding
    } else if error.chain().any(|cause| cause.is::<Unknowable>()) {
        Exit::CannotTell
    } else {
        Exit::WrongUse
    }
}
