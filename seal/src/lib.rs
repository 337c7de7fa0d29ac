//! Signed envelopes, keys, fingerprints, run tokens and the trust root.
//!
//! This is the only room that names a signature algorithm. Everything that Bailiwick signs is one of
//! three things: a Sigstore bundle around DSSE around an in-toto statement ([`envelope`]), a C2SP
//! signed note ([`note`], with the [`cosignature`]s of witnesses), or a run token ([`token`]). The trust root ([`trust`]) says which key may
//! sign which of them. Stock tools verify the first two without us.
//!
//! Nothing here opens a file except [`key_file`], which is the edge.

pub mod cosignature;
pub mod envelope;
mod fingerprint;
pub mod key_file;
mod keys;
pub mod note;
mod statement;
pub mod token;
pub mod trust;

pub use fingerprint::Fingerprint;
pub use keys::{BadSignature, InvalidKey, PublicKey, SigningKey};
pub use statement::{InvalidStatement, PredicateType, Statement, Subject};
