//! What can be wrong with an archive file.

use std::ops::Range;

/// Why bytes are no archive file of ours. Nothing of such a file is to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArchive {
    /// No Parquet at all.
    #[error("it is not a Parquet file")]
    NotParquet,
    /// It begins as Parquet and does not end so.
    #[error("it is cut short: its end is missing")]
    Truncated,
    /// A Parquet file that this program did not write.
    #[error("it is a Parquet file that Bailiwick did not write: {what}")]
    Foreign {
        /// What tells so.
        what: String,
    },
    /// More than a file of ours ever has.
    #[error("it claims {what}, more than an archive file has")]
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
    /// What the footer says of a column, and what is there, are not the same.
    #[error("its column {column} is damaged: {what}")]
    Column {
        /// The column.
        column: &'static str,
        /// What was met.
        what: &'static str,
    },
    /// A row is no entry.
    #[error("its row for entry {index} was edited: {what}")]
    Row {
        /// The entry that it is to be.
        index: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is of another log: of another gateway, or of another site.
    #[error("it has entries of the log {found:?} and lies among those of {expected:?}")]
    OtherLog {
        /// The log it says it is of.
        found: String,
        /// The log whose file it was to be.
        expected: String,
    },
    /// It has other entries than its name says.
    #[error(
        "it has entries {} to {} and its name says {} to {}: it was renamed",
        .found.start, .found.end - 1, .expected.start, .expected.end - 1
    )]
    OtherEntries {
        /// The entries in it.
        found: Range<u64>,
        /// The entries in its name.
        expected: Range<u64>,
    },
    /// Its caller asked for a column that no file has, or for another type.
    #[error("archive files have no column {name:?} of that type")]
    NoSuchColumn {
        /// The name asked for.
        name: String,
    },
    /// The hash is not the one that the log, or the name, binds.
    #[error("it hashes to {found} and not to {expected}: it was changed, or renamed")]
    Hash {
        /// What the bytes hash to, or its beginning.
        found: String,
        /// What was to be found.
        expected: String,
    },
}
