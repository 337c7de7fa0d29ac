//! Ways to servers that the configuration names: TCP, or TLS on top of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::export_config::Peer;

/// From the lookup to the established connection.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long bytes may stay unacknowledged (tcp(7), `TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED: Duration = Duration::from_secs(4);

/// A way to a peer, encrypted or not.
pub trait Way: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Way for T {}

/// Connects to a peer, encrypted where it says so.
///
/// # Errors
/// Nobody answered in time, or not with a certificate that is believed.
pub async fn connect(peer: &Peer, tls: Option<&Arc<rustls::ClientConfig>>) -> anyhow::Result<Box<dyn Way>> {
    let connecting = async {
        let stream = TcpStream::connect((peer.host.as_str(), peer.port)).await?;
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(&stream);
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        let Some(tls) = tls else {
            return anyhow::Ok(Box::new(stream) as Box<dyn Way>);
        };
        let name = ServerName::try_from(peer.host.clone())?;
        let connector = TlsConnector::from(Arc::clone(tls));
        Ok(Box::new(connector.connect(name, stream).await?) as Box<dyn Way>)
    };
    tokio::time::timeout(CONNECTING, connecting)
        .await
        .with_context(|| format!("cannot connect to {peer} within {} s", CONNECTING.as_secs()))?
        .with_context(|| format!("cannot connect to {peer}"))
}

/// What is believed of a server's certificate: what this machine trusts, or the authorities in a file
/// alone.
///
/// # Errors
/// The file holds none.
pub fn tls_client(authorities: Option<&Path>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let Some(file) = authorities else {
        return Ok(Arc::new(builder.with_platform_verifier()?.with_no_client_auth()));
    };
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read {} (ca_file)", file.display()))?;
    for certificate in certificates {
        roots
            .add(certificate)
            .with_context(|| format!("{} (ca_file)", file.display()))?;
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "{} holds no certificate (ca_file)",
        file.display()
    );
    Ok(Arc::new(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}
