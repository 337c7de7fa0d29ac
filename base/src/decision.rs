//! Decisions and the mode in force when one was taken.

use crate::text_enum::text_enum;

text_enum! {
    /// What the gateway did with one connection. Independent of the verdict: a denied call can
    /// conform, an allowed one can breach.
    pub enum Decision as "decision" {
        /// The connection was relayed.
        Allow = "allow",
        /// The connection was refused.
        Deny = "deny",
    }
}

text_enum! {
    /// The mode in force for one connection.
    pub enum Mode as "mode" {
        /// Allow and record.
        Observe = "observe",
        /// Deny what the tier's list does not hold.
        Enforce = "enforce",
        /// The digest is on hold.
        Quarantined = "quarantined",
        /// The digest is revoked for good.
        Revoked = "revoked",
    }
}
