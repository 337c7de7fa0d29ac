//! Signed envelopes, keys, fingerprints, run tokens and the trust root.
//!
//! This is the only room that names a signature algorithm. Everything that Bailiwick signs is one of
//! four things: a Sigstore bundle around DSSE around an in-toto statement ([`envelope`]), a C2SP
//! signed note ([`note`], with the [`cosignature`]s of witnesses), a run token ([`token`]), or a run's
//! client certificate ([`certificate`]). The trust root ([`trust`]) says which key may sign which of
//! them. Stock tools verify all but the token without us.
//!
//! Nothing here opens a file except [`key_file`], which is the edge.

pub mod certificate;
pub mod cosignature;
pub mod envelope;
pub mod exception;
mod fingerprint;
pub mod key_file;
mod keys;
pub mod note;
mod run_uri;
mod statement;
pub mod token;
pub mod trust;

pub use fingerprint::Fingerprint;
pub use keys::{BadSignature, InvalidKey, PublicKey, SigningKey};
pub use run_uri::{InvalidRunUri, RunUri};
pub use statement::{InvalidStatement, PredicateType, Statement, Subject};
