//! Rulings: whether a connection may be made, decided by somebody else.

use base::{Decision, Mode, RefusalReason, Target};

use crate::Identity;

/// Answers whether a connection may be made.
pub trait Rulings: Send + Sync + 'static {
    /// May this run connect there? `None` is a connection that proved no identity.
    ///
    /// Asked after the request was parsed and before any lookup, with the connection already in the
    /// live table: whoever first changes what is answered here and then calls
    /// [`crate::Gateway::kill`] misses no connection. It must answer from memory.
    fn rule(&self, identity: Option<&Identity>, target: &Target) -> Ruling;
}

/// What was decided about one connection, and on what ground. All of it goes into the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Relay or refuse.
    pub decision: Decision,
    /// The mode in force for this connection.
    pub mode: Mode,
    /// Why it is refused.
    pub reason: Option<RefusalReason>,
    /// The declaration or operator's entry that decided, in canonical form.
    pub matched_entry: Option<String>,
    /// What the low tier would have done.
    pub would_deny: Option<bool>,
    /// The revocation list that was asked.
    pub crl_number: Option<u64>,
    /// The list is past its `next_update`.
    pub crl_stale: bool,
    /// The policy that was asked.
    pub policy_version: Option<u64>,
    /// One line for the refused client: what decided, and whom to ask.
    pub advice: String,
}

impl Ruling {
    /// A plain permission in `observe` mode that nothing further is known about.
    pub const fn allow() -> Self {
        Self {
            decision: Decision::Allow,
            mode: Mode::Observe,
            reason: None,
            matched_entry: None,
            would_deny: None,
            crl_number: None,
            crl_stale: false,
            policy_version: None,
            advice: String::new(),
        }
    }

    /// A refusal.
    pub fn deny(mode: Mode, reason: RefusalReason, advice: impl Into<String>) -> Self {
        Self {
            decision: Decision::Deny,
            mode,
            reason: Some(reason),
            advice: advice.into(),
            ..Self::allow()
        }
    }
}
