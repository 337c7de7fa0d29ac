//! The TLS configuration, made in one place: one provider, two versions of the protocol, and what
//! every connection is offered.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use base::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use seal::{PublicKey, key_file};

use super::verifier::RunVerifier;
use super::{ClientAuth, TlsError, TlsSettings};

/// Larger files are no certificate chains.
const MAX_CHAIN_BYTES: u64 = 1 << 20;
/// What is spoken inside, best first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    certified: Arc<CertifiedKey>,
    pub(super) expires: Timestamp,
}

impl Pair {
    /// Reads both files and holds them against each other.
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let certificates = certificates(settings)?;
        let secret = key_file::read_secret(&settings.key)?;
        let key = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| TlsError::NoKey {
            path: settings.key.clone(),
        })?;
        let expires = seal::certificate::expiry(&certificates[0]).map_err(|_| TlsError::NoCertificate {
            path: settings.certificate.clone(),
        })?;
        let certified = CertifiedKey::from_der(certificates, key, &provider());
        let certified = certified.map_err(|source| TlsError::Pair {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            source,
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            expires,
        })
    }

    /// What a listener presents from now on: this pair, and trust in `run_keys` for clients.
    pub(super) fn configuration(
        &self,
        settings: &TlsSettings,
        run_keys: &[PublicKey],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        let builder = match settings.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional | ClientAuth::Required => {
                builder.with_client_cert_verifier(Arc::new(RunVerifier::new(settings, run_keys, &provider)?))
            }
        };
        let resolver = SingleCertAndKey::from(Arc::clone(&self.certified));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        if settings.client_auth != ClientAuth::None {
            // A resumed session would be believed without its certificate being looked at again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }
}

fn certificates(settings: &TlsSettings) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = &settings.certificate;
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_CHAIN_BYTES).read_to_end(&mut pem))
        .map_err(|source| TlsError::Read {
            path: path.clone(),
            source,
        })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::NoCertificate { path: path.clone() }),
    }
}

/// The one provider of cryptography. Never the process's default, which some library may have set.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
