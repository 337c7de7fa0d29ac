//! Registry, policy, HTTP API and the mail outbox.
