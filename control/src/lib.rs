//! Registry, policy, HTTP API and the mail outbox.

pub mod api;
pub mod clock;
pub mod nights;
pub mod policy;
pub mod store;
pub mod words;
