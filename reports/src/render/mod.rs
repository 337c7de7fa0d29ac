//! Rendering: the signed report as a page, as text, and (in [`mail`](crate::mail)) as a letter.
//!
//! Three readers decide what comes first: the owner, who gets bad news and must know what happened
//! and what to do; the security lead, who must know what needs a person; and an auditor next year,
//! who must know whether this is complete and how to check it.

mod html;
mod pdf;
pub(crate) mod story;
pub(crate) mod text;

pub use html::html;
pub use pdf::pdf;
pub use text::text;
