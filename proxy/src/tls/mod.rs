//! TLS to the gateway itself: clients that come in encrypted, and may prove their run by it.
//!
//! | what | module |
//! |---|---|
//! | the handshake, and what becomes of those that fail | `handshake` |
//! | the certificate in force, and how it is replaced while connections stand | `keeper` |
//! | whom a client certificate is believed | `verifier` |
//! | the one place where a TLS configuration is made | `server` |
//! | what closing and resetting mean on such a connection | `stream` |
//!
//! This is about the way to the gateway. TLS inside a tunnel is the plugin's and its server's, and is
//! relayed byte for byte whether or not the way here is encrypted too.

mod handshake;
mod keeper;
mod server;
mod stream;
mod verifier;

pub(crate) use handshake::greet;
pub(crate) use keeper::{TlsKeeper, watch};
pub(crate) use stream::TlsStream;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base::{PluginId, Timestamp};
use seal::PublicKey;
use seal::key_file::KeyFileError;
use serde::{Deserialize, Serialize};

/// How the gateway's TLS listeners present themselves, and whom they believe.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The gateway's certificate and what chains it to an authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key in PEM; for its owner alone.
    pub key: PathBuf,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// The site whose runs are known.
    pub site: PluginId,
    /// The keys that may vouch for a run. [`crate::Gateway::set_run_keys`] replaces them.
    pub run_keys: Vec<PublicKey>,
    /// How often the files are looked at for a change.
    pub look_every: Duration,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// No; runs prove themselves by other means.
    None,
    /// Asked, and whoever has none may prove itself by other means.
    #[default]
    Optional,
    /// Nobody comes in without one.
    Required,
}

/// What a gateway's TLS listeners stand on at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsStatus {
    /// The first moment at which clients refuse the certificate in force.
    pub expires: Timestamp,
    /// Why the files on disk are not in force, if they are not.
    pub failure: Option<String>,
}

/// Why a certificate was not put in force. Whatever was in force stays.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate cannot be read.
    #[error("cannot read the certificate {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key cannot be read, or others can read it too.
    #[error("cannot use the key of the certificate")]
    Key(#[from] KeyFileError),
    /// The file holds no certificate.
    #[error("{path} holds no certificate in PEM")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no private key.
    #[error("{path} holds no private key in PEM")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or are of a kind that TLS does not use.
    #[error("certificate {certificate} and key {key} cannot be used together: {source}")]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// Its time is over.
    #[error("the certificate {path} expired at {expired}")]
    Expired {
        /// The file.
        path: PathBuf,
        /// The first moment at which it was refused.
        expired: Timestamp,
    },
    /// A TLS listener, and no certificate to present.
    #[error("a tls:// listener needs a certificate; set gateway.tls")]
    Missing,
}

impl TlsSettings {
    /// Settings for `certificate` and `key`, with what a site begins with.
    pub fn new(certificate: PathBuf, key: PathBuf, site: PluginId) -> Self {
        Self {
            certificate,
            key,
            client_auth: ClientAuth::default(),
            site,
            run_keys: Vec::new(),
            look_every: Duration::from_secs(2),
        }
    }

    /// Reads the files as a gateway would, and tells until when the certificate is good.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn check(&self) -> Result<Timestamp, TlsError> {
        Ok(server::Pair::read(self)?.expires)
    }
}
