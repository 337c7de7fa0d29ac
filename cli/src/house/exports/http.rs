//! An HTTP endpoint as a receiver: one POST per batch, confirmed by any answer of the 200s.
//!
//! A batch that is sent again carries the same entries and says so, so that a receiver that wants each
//! entry once can tell. Nothing else is an answer: not a redirect, and not a refusal, after which the
//! batch is kept and tried again until somebody mends the receiver or the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use evidence::export::Form;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;

use super::batch::Batch;
use crate::export_config::Peer;
use crate::outgoing::connect;

/// From the lookup to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing in the answer is looked at but its status.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// An HTTP endpoint.
pub struct HttpSink {
    peer: Peer,
    path: String,
    media_type: &'static str,
    token: Option<String>,
    tls: Option<Arc<rustls::ClientConfig>>,
    next: Option<u64>,
}

impl HttpSink {
    /// An endpoint that nobody has spoken to.
    pub fn new(
        peer: Peer,
        path: String,
        form: Form,
        token: Option<String>,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Self {
        let media_type = match form {
            Form::Jsonl | Form::Ocsf => "application/x-ndjson",
            Form::Csv => "text/csv",
        };
        Self {
            peer,
            path,
            media_type,
            token,
            tls,
            next: None,
        }
    }

    /// Posts a batch.
    ///
    /// # Errors
    /// No answer of the 200s came in time.
    pub async fn send(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let status = tokio::time::timeout(PATIENCE, self.post(batch))
            .await
            .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))??;
        anyhow::ensure!(status.is_success(), "{} answered {status}", self.peer);
        self.next = Some(batch.next);
        Ok(())
    }

    /// What follows the last entry that was taken since this was asked.
    pub fn confirmed(&mut self) -> Option<u64> {
        self.next.take()
    }

    async fn post(&self, batch: &Batch) -> anyhow::Result<http::StatusCode> {
        let stream = connect(&self.peer, self.tls.as_ref()).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends with the answer, or with this future.
        let _driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::post(self.path.as_str())
            .header(header::HOST, self.peer.to_string())
            .header(
                header::USER_AGENT,
                concat!("bailiwick/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONTENT_TYPE, self.media_type)
            .header("x-bailiwick-log", &batch.origin)
            .header("x-bailiwick-entries", batch.range())
            .header(header::CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(batch.text())))?)
            .await?;
        let status = response.status();
        // Whoever answered has the batch; what it goes on to say does not matter.
        let _ = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok(status)
    }
}
