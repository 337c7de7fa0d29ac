//! Exports: what other people's tools read of a log.
//!
//! An export is a copy and proves nothing: whoever doubts a line asks for its proof. But nothing gets
//! into it that was not signed, and nothing is lost or embellished on the way: JSON Lines are the
//! entries' own bytes, and the other forms carry what they have no field for beside the rest.
//! `evidence/EXPORTS.md` has the fields, side by side.

pub mod csv;
mod filter;
pub mod ocsf;
#[cfg(test)]
mod schema;

use base::text_enum;

use crate::InvalidEvent;

pub use filter::{Filter, Sieve};

text_enum! {
    /// In which form events are handed on.
    pub enum Form as "form of an export" {
        /// JSON Lines: each entry as its own bytes.
        Jsonl = "jsonl",
        /// OCSF objects, one a line.
        Ocsf = "ocsf",
        /// CSV.
        Csv = "csv",
    }
}

impl Form {
    /// What stands before the first event.
    pub fn head(self) -> String {
        match self {
            Self::Jsonl | Self::Ocsf => String::new(),
            Self::Csv => csv::header(),
        }
    }

    /// Adds the lines of one entry of log `origin` to `out`.
    ///
    /// # Errors
    /// [`InvalidEvent`] for bytes that are no event.
    pub fn push(self, origin: &str, entry: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidEvent> {
        match self {
            Self::Jsonl => {
                out.extend_from_slice(entry);
                out.push(b'\n');
            }
            Self::Csv => csv::push_line(entry, out)?,
            Self::Ocsf => {
                for object in ocsf::objects(origin, entry)? {
                    out.extend_from_slice(serde_json::Value::Object(object).to_string().as_bytes());
                    out.push(b'\n');
                }
            }
        }
        Ok(())
    }
}
