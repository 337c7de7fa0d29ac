//! HTTP to a bucket: one request on one connection, bounded in time and size.
//!
//! The client that `object_store` brings along has a TLS stack of its own; this one speaks through the
//! house's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Uri, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

use crate::bucket_config::BucketConfig;
use crate::config::Config;
use crate::export_config::Peer;
use crate::outgoing::{Way, connect, tls_client};

/// From the first byte of the request to the first of the answer.
const ANSWERING: Duration = Duration::from_secs(60);
/// Between two parts of the answer.
const READING: Duration = Duration::from_secs(30);
/// Larger answers are none: a file of the archive has at most 50,000 events of 4 KiB.
const MAX_ANSWER_BYTES: usize = 512 << 20;

/// The way to a server.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    tls: Arc<rustls::ClientConfig>,
}

/// What went wrong, in words, without a cause below it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Trouble(String);

impl Wire {
    pub(super) fn new(config: &Config, settings: &BucketConfig) -> anyhow::Result<Self> {
        let authorities = settings.ca_file.as_ref().map(|file| config.resolve(file));
        Ok(Self {
            tls: tls_client(authorities.as_deref())?,
        })
    }

    async fn exchange(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let (mut parts, body) = request.into_parts();
        let peer = peer_of(&parts.uri).context("the request names no server")?;
        let stream: Box<dyn Way> = connect(&peer, peer.tls.then_some(&self.tls)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends with the answer, or with this future.
        let _driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
        if !parts.headers.contains_key(header::HOST)
            && let Some(authority) = parts.uri.authority()
        {
            let host = HeaderValue::from_str(authority.as_str())?;
            parts.headers.insert(header::HOST, host);
        }
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse()?;
        let sent = sender.send_request(http::Request::from_parts(parts, body));
        let response = tokio::time::timeout(ANSWERING, sent)
            .await
            .with_context(|| format!("{peer} did not answer within {} s", ANSWERING.as_secs()))??;
        let (parts, mut body) = response.into_parts();
        let mut answer = BytesMut::new();
        loop {
            let frame = tokio::time::timeout(READING, body.frame())
                .await
                .with_context(|| format!("{peer} said nothing for {} s", READING.as_secs()))?;
            let Some(frame) = frame else { break };
            if let Ok(data) = frame.context("the answer broke off")?.into_data() {
                answer.extend_from_slice(&data);
            }
            anyhow::ensure!(
                answer.len() <= MAX_ANSWER_BYTES,
                "the answer is larger than {} MiB",
                MAX_ANSWER_BYTES >> 20
            );
        }
        let body = HttpResponseBody::from(Bytes::from(answer));
        Ok(HttpResponse::from_parts(parts, body))
    }
}

fn peer_of(uri: &Uri) -> Option<Peer> {
    let tls = uri.scheme_str()? == "https";
    let host = uri.host()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some(Peer {
        host: bare.unwrap_or(host).to_owned(),
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        tls,
    })
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Everything asked of a bucket may be asked twice: files are put only where none is.
        self.exchange(request)
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Request, Trouble(format!("{error:#}"))))
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
