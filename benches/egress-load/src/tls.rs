//! TLS: towards the proxy as a client, and as the floor for proxies that speak it.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// TLS to the proxy, whose certificate is checked as any client does.
pub struct ProxyTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for ProxyTls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "TLS to {:?}", self.name)
    }
}

impl ProxyTls {
    /// Trusts the authority in the file `ca` and nobody else; `alpn` is what will be spoken.
    pub fn new(ca: &Path, name: &str, alpn: &[u8]) -> Result<Self, String> {
        let explain = |error: &dyn std::fmt::Display| format!("{}: {error}", ca.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| explain(&error))? {
            let certificate = certificate.map_err(|error| explain(&error))?;
            roots.add(certificate).map_err(|error| explain(&error))?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| explain(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from(name.to_owned()).map_err(|error| explain(&error))?;
        Ok(Self {
            connector: Arc::new(config).into(),
            name,
        })
    }

    pub async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// The server's side, with the certificate chain and key in these files.
pub fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let explain = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|error| explain(certificates, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| explain(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| explain(key, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| explain(certificates, &error))?;
    Ok(Arc::new(config).into())
}
