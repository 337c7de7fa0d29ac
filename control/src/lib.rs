//! Registry, policy, HTTP API and the mail outbox.
//!
//! [`office::Office`] is everything that can be asked of the control plane; [`api`] puts it on HTTP;
//! [`store`] is what it remembers. What gateways and auditors do for it, and who reads the
//! configuration, stands behind the traits [`gateways::Gateways`], [`nights::Nights`] and
//! [`configuration::Configuration`], which this crate owns and others implement: control
//! depends on neither `proxy` nor `auditor`.
//!
//! Control acts, so it reads the clock ([`clock`], and there alone), draws randomness for run ids,
//! and holds the database, the list's folder and the line to the mail server.

pub mod api;
pub mod archives;
pub mod clock;
pub mod configuration;
pub mod contacts;
pub mod gateways;
pub mod nights;
pub mod office;
pub mod outbox;
pub mod policy;
pub mod postman;
pub mod report_files;
pub mod revocations;
pub mod smtp;
pub mod store;
pub mod trust;
pub mod words;

#[cfg(test)]
mod testing;

/// An error with its causes, as one line. A cause that the text repeats is not said twice.
pub fn error_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = inner.source();
    }
    line.replace(['\n', '\r'], " ")
}
