//! The fold from the archive: who went where, counted from columns instead of entries.
//!
//! [`Tuples`] is the `GROUP BY` that any engine may do over the same files (FORMATS §3), done in this
//! process on the codes of the files' own dictionaries: a text is looked at once per file and not once
//! per row. Every row of a file is counted in exactly one tuple, so the sum of all counts is the number
//! of rows that the log signed, and [`Tuples::events`] is there to be held against it.
//!
//! Only counting happens here. What a tuple means for a manifest is for [`crate::Case`] to say.

mod codes;
mod counts;
mod tuples;

pub use counts::Counts;
pub use tuples::{Tuple, Tuples};
