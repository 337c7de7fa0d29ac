//! The nouns everyone speaks, each parsed once into a type that cannot be wrong.
//!
//! Every other room depends on this one and on the words it fixes. Nothing here opens a file, reads
//! a clock or draws randomness: callers hand in bytes, text and `now`.

mod address;
mod attribution;
mod decision;
mod dial_attempt;
mod digest;
mod event_words;
mod host;
pub mod json;
mod plugin_id;
mod policy;
mod port;
mod reason;
mod run_id;
mod scheme;
mod state;
mod target;
mod text_enum;
mod tier;
mod time;
mod verdict;

pub use address::{AddressClass, canonical_ip, classify};
pub use attribution::Attribution;
pub use decision::{Decision, Mode};
pub use dial_attempt::{DialAttempt, InvalidDialAttempt};
pub use digest::{ArtifactDigest, InvalidDigest, Sha256Digest};
pub use event_words::{DialResult, DnsResult, Outcome, RefusalReason, SniVisibility, Transport};
pub use host::{Host, HostName, InvalidHost};
pub use plugin_id::{InvalidPluginId, PluginId};
pub use policy::{
    AutomaticAction, Backing, BreachClause, InvalidPolicy, MAX_WINDOW_CONNECTIONS, Policy, PolicyException,
    TierPolicy,
};
pub use port::{InvalidPort, Port};
pub use reason::{Reason, Severity, ShownBy};
pub use run_id::{InvalidRunId, RunId};
pub use scheme::ObservedScheme;
pub use state::ArtifactState;
pub use target::{InvalidTarget, Target, escape_untrusted};
pub use text_enum::UnknownWord;
pub use tier::Tier;
pub use time::{InvalidTimestamp, Timestamp};
pub use verdict::Verdict;
