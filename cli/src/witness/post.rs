//! One POST, bounded in time and size: to a witness, and to whoever else is told something.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::WitnessUrl;
use crate::outgoing;

/// From the lookup to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Larger answers are no signature lines.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Posts requests.
#[derive(Clone)]
pub struct Poster {
    tls: Arc<rustls::ClientConfig>,
}

impl Poster {
    /// A poster that trusts the certificates that this machine trusts, or the authorities in a file alone.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(authorities: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            tls: outgoing::tls_client(authorities)?,
        })
    }

    /// Posts `body` to `add-checkpoint` and returns the answer's status and body.
    ///
    /// # Errors
    /// No whole answer came in time.
    pub async fn add_checkpoint(&self, url: &WitnessUrl, body: String) -> anyhow::Result<(u16, Bytes)> {
        let request = Request::post(url.add_checkpoint())
            .header(header::HOST, url.authority())
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)))?;
        self.send(url.is_tls(), url.host(), url.port(), request).await
    }

    /// Sends `request`, which names its path and `Host`, to `host` and `port`. Redirects are not followed.
    ///
    /// # Errors
    /// No whole answer came in time.
    pub async fn send(
        &self,
        is_tls: bool,
        host: &str,
        port: u16,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(u16, Bytes)> {
        tokio::time::timeout(PATIENCE, self.post(is_tls, host, port, request))
            .await
            .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
    }

    async fn post(
        &self,
        is_tls: bool,
        host: &str,
        port: u16,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(u16, Bytes)> {
        let stream = TcpStream::connect((host, port)).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        if is_tls {
            let name = ServerName::try_from(host.to_owned())?;
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            exchange(connector.connect(name, stream).await.context("TLS")?, request).await
        } else {
            exchange(stream, request).await
        }
    }
}

async fn exchange<S>(stream: S, mut request: Request<Full<Bytes>>) -> anyhow::Result<(u16, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection ends with the answer, or with this future.
    let driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let headers = request.headers_mut();
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("bailiwick/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
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
