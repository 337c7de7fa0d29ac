//! Asking a witness: one POST, bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::WitnessUrl;

/// From the lookup to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Larger answers are no signature lines.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Posts requests to witnesses.
#[derive(Clone)]
pub struct Poster {
    tls: Arc<rustls::ClientConfig>,
}

impl Poster {
    /// A poster that trusts the certificates that this machine trusts.
    ///
    /// # Errors
    /// The machine's certificates cannot be used.
    pub fn new() -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(config),
        })
    }

    /// Posts `body` to `add-checkpoint` and returns the answer's status and body.
    ///
    /// # Errors
    /// No whole answer came in time.
    pub async fn add_checkpoint(&self, url: &WitnessUrl, body: String) -> anyhow::Result<(u16, Bytes)> {
        tokio::time::timeout(PATIENCE, self.post(url, body))
            .await
            .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
    }

    async fn post(&self, url: &WitnessUrl, body: String) -> anyhow::Result<(u16, Bytes)> {
        let stream = TcpStream::connect((url.host(), url.port()))
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;
        if url.is_tls() {
            let name = ServerName::try_from(url.host().to_owned())?;
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            exchange(connector.connect(name, stream).await.context("TLS")?, url, body).await
        } else {
            exchange(stream, url, body).await
        }
    }
}

async fn exchange<S>(stream: S, url: &WitnessUrl, body: String) -> anyhow::Result<(u16, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection ends with the answer, or with this future.
    let driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::post(url.add_checkpoint())
        .header(header::HOST, url.authority())
        .header(
            header::USER_AGENT,
            concat!("bailiwick/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?
        .to_bytes();
    drop(driver);
    Ok((status, body))
}
