//! The way from a command to the control plane: over `/v1` where one is running, else in this
//! process over the very same routes.
//!
//! A kill switch that needs a running server would fail when it matters, so every operator's act
//! also works on the data folder directly. The folder's lock sees to it that only one of the two
//! happens at a time.

use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use bytes::Bytes;
use control::api::types::ErrorBody;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::config::Config;
use crate::exit::{NotThere, Refused};
use crate::house::House;

/// Larger answers are not ours.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// A control plane to talk to.
pub struct Client {
    token: String,
    host: String,
    way: Way,
}

enum Way {
    Remote(std::net::SocketAddr),
    /// The house is kept, because it holds the folder's lock.
    InProcess {
        router: Router,
        _house: Arc<House>,
    },
}

impl Client {
    /// Reaches the running control plane, or opens the data folder in this process.
    ///
    /// # Errors
    /// The operator token cannot be read, or the data folder cannot be opened.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let way = match Self::probe(config).await? {
            Some(address) => Way::Remote(address),
            None => {
                let house = House::open(config).await?;
                Way::InProcess {
                    router: house.router(),
                    _house: house,
                }
            }
        };
        Ok(Self {
            token: read_token(config)?,
            host: config.file.control.listen.to_string(),
            way,
        })
    }

    /// Reaches the running control plane, and nothing else: for commands that need its gateway.
    ///
    /// # Errors
    /// It does not answer, or the operator token cannot be read.
    pub async fn running(config: &Config) -> anyhow::Result<Self> {
        let address = Self::probe(config).await?.with_context(|| {
            format!(
                "the control plane at {} does not answer; start it with: bailiwick --config {} serve",
                config.file.control.listen,
                config.path.display()
            )
        })?;
        Ok(Self {
            token: read_token(config)?,
            host: address.to_string(),
            way: Way::Remote(address),
        })
    }

    async fn probe(config: &Config) -> anyhow::Result<Option<std::net::SocketAddr>> {
        let address = config.file.control.listen;
        match TcpStream::connect(address).await {
            Ok(_) => Ok(Some(address)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot reach the control plane at {address}")),
        }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// A refusal ([`Refused`]), or no answer that can be read.
    pub async fn get<R: DeserializeOwned>(&self, path: &str) -> anyhow::Result<R> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// `GET path`, where the answer is no JSON.
    ///
    /// # Errors
    /// A refusal ([`Refused`]), or no answer.
    pub async fn get_bytes(&self, path: &str) -> anyhow::Result<Bytes> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// A refusal ([`Refused`]), or no answer that can be read.
    pub async fn post<Q: Serialize, R: DeserializeOwned>(&self, path: &str, body: &Q) -> anyhow::Result<R> {
        self.send(Method::POST, path, serde_json::to_vec(body)?.into())
            .await
    }

    async fn send<R: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<R> {
        let answer = self.exchange(method, path, body).await?;
        serde_json::from_slice(&answer)
            .context("the control plane's answer cannot be read; is it the same version?")
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json");
        let (status, bytes) = match &self.way {
            Way::Remote(address) => {
                let stream = TcpStream::connect(address)
                    .await
                    .context("the control plane went away")?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                let driver = tokio::spawn(connection);
                let response = sender.send_request(request.body(Full::new(body))?).await?;
                let status = response.status();
                let bytes = read_all(response.into_body()).await?;
                driver.abort();
                (status, bytes)
            }
            Way::InProcess { router, .. } => {
                let response = router
                    .clone()
                    .oneshot(request.body(axum::body::Body::from(body))?)
                    .await?;
                let status = response.status();
                (status, read_all(response.into_body()).await?)
            }
        };
        if status.is_success() {
            Ok(bytes)
        } else {
            Err(failure(status, &bytes))
        }
    }
}

async fn read_all<B>(body: B) -> anyhow::Result<Bytes>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    Ok(collected
        .map_err(|error| anyhow::anyhow!("the control plane's answer broke off: {error}"))?
        .to_bytes())
}

/// What an answer other than success means to a command.
fn failure(status: StatusCode, bytes: &[u8]) -> anyhow::Error {
    let Ok(body) = serde_json::from_slice::<ErrorBody>(bytes) else {
        return anyhow::anyhow!("the control plane answered {status}");
    };
    let detail = body.error;
    let message = if detail.hint.is_empty() {
        detail.message
    } else {
        format!("{}; {}", detail.message, detail.hint)
    };
    match status {
        // Understood, and the answer is no.
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Refused {
            code: detail.code,
            message,
        }
        .into(),
        StatusCode::NOT_FOUND => NotThere(message).into(),
        _ => anyhow::anyhow!(message),
    }
}

fn read_token(config: &Config) -> anyhow::Result<String> {
    let path = config.data_dir().join("operator.token");
    let token = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read operator token {}", path.display()))?;
    Ok(token.trim().to_owned())
}
