//! A client that speaks TLS to the gateway itself, and inside it whatever a test says byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::wait::DEADLINE;

/// One connection to a gateway's TLS listener, its handshake done.
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// How a client comes in by TLS.
#[derive(Clone, Copy, Debug)]
pub struct TlsManner<'a> {
    /// The certificate that it believes, in PEM.
    pub trusted: &'a Path,
    /// Its own certificate and key, in PEM.
    pub own: Option<(&'a Path, &'a Path)>,
    /// What it speaks inside, as ALPN has it.
    pub alpn: &'a [u8],
}

impl TlsClient {
    /// Connects, and shakes hands.
    ///
    /// # Errors
    /// When nobody listens, or one of the two refuses the other.
    pub fn connect(gateway: SocketAddr, manner: TlsManner<'_>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(manner.trusted)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match manner.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
            }
        };
        config.alpn_protocols = vec![manner.alpn.to_vec()];
        let name = ServerName::IpAddress(gateway.ip().into());
        let mut session = ClientConnection::new(Arc::new(config), name)?;
        let mut socket = TcpStream::connect_timeout(&gateway, DEADLINE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).context("shaking hands")?;
        }
        Ok(Self {
            stream: StreamOwned::new(session, socket),
        })
    }

    /// The certificate that the gateway presented, in DER.
    ///
    /// # Errors
    /// When it presented none.
    pub fn presented(&self) -> Result<Vec<u8>> {
        let chain = self.stream.conn.peer_certificates();
        let first = chain.and_then(|chain| chain.first()).context("no certificate")?;
        Ok(first.to_vec())
    }
}

impl Read for TlsClient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for TlsClient {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}
