//! The revocation list: who may no longer load or connect, and since when.
//!
//! A list has two parts. The *body* is a plain file of 40-byte entries ([`Entry`], [`Entries`]),
//! sorted, so that a hundred thousand of them are four megabytes and can be compared byte for byte.
//! The *head* ([`Head`]) is a small signed document that names the body by its SHA-256, numbers it,
//! dates it and carries the kill switch. Whoever holds a CRL key issues lists with [`publish`];
//! everybody else takes them in through a [`Reader`], which refuses an older list, a second list
//! with the same number and anything that a CRL key did not sign.
//!
//! Questions are put to a [`RevocationSet`]: what is the [`Standing`] of this build, and how fresh is
//! the answer. A list past its `next_update` still counts: it says of itself that it is stale, and
//! never turns silent.
//!
//! Nothing here opens a file except [`store`], which is the edge.
//!
//! # Files, as any static file server can carry them
//!
//! | file | what it is |
//! |---|---|
//! | `crl.sigstore.json` | the newest head; the only file that is ever replaced |
//! | `crl-<number>.body` | all entries of list `<number>` |
//! | `crl-<number>.delta` | the entries that list `<number>` changed in its base, if it has one |
//! | `seen.json` | what a reader last accepted; not for serving, and not signed |
//!
//! A reader fetches the head, lets [`Reader::examine`] judge it, and only then fetches the file that
//! the judged head names.

mod accepted;
mod change;
mod entries;
mod entry;
mod freshness;
mod head;
mod kill_switch;
mod list;
mod publish;
mod reader;
mod reason_code;
mod refused;
mod set;
mod standing;
pub mod store;
mod view;
mod why;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod golden;

pub use accepted::{Accepted, Seen};
pub use change::{Change, ChangeRefused, Effect, Listed};
pub use entries::{Entries, InvalidBody};
pub use entry::{Action, ENTRY_BYTES, Entry, InvalidEntry, InvalidRevokedAt, Kind, RevokedAt};
pub use freshness::Freshness;
pub use head::{Files, HEAD_FILE, Head, InvalidHead, MAX_INLINE, Recent, body_file, delta_file};
pub use kill_switch::{InvalidKillSwitch, KillScope, KillSwitch, MAX_KILLED_PLUGINS};
pub use list::List;
pub use publish::{PublishError, Published, Terms, preview, publish};
pub use reader::{Examined, MAX_CLOCK_SKEW_S, Reader};
pub use reason_code::{InvalidReasonCode, ReasonCode};
pub use refused::ListRefused;
pub use set::RevocationSet;
pub use standing::{Listing, Question, Standing};
pub use view::{Counts, EntryView, ListView};
pub use why::{Deciding, Why};
