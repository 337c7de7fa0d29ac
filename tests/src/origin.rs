//! Origins: the servers that plugins believe they reach on the internet.
//!
//! They answer on loopback for names they do not own, record what reached them, and behave as their
//! counterparts do as far as the clients look.

mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::Authority;

/// One request that reached an origin.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The server name of the TLS handshake, if there was one.
    pub sni: Option<String>,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The first header called `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A running origin; dropping it ends it and its connections.
pub struct Origin {
    names: Vec<String>,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// What an origin serves beside its fixed answers.
#[derive(Clone, Default)]
struct Content {
    files: Option<PathBuf>,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Origin {
    /// An HTTPS origin for `names`.
    ///
    /// # Errors
    /// When no port is free or a name cannot stand in a certificate.
    pub fn tls(authority: &Authority, names: &[&str]) -> Result<Self> {
        Self::start(names, Some(authority.server(names)?), Content::default())
    }

    /// An HTTPS origin for `names` that also serves the files under `folder`.
    ///
    /// # Errors
    /// As for [`Origin::tls`].
    pub fn files(authority: &Authority, names: &[&str], folder: &Path) -> Result<Self> {
        let files = Some(folder.to_owned());
        Self::start(names, Some(authority.server(names)?), Content { files })
    }

    /// A plain HTTP origin for `names`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn plain(names: &[&str]) -> Result<Self> {
        Self::start(names, None, Content::default())
    }

    /// A plain HTTP origin for `names` that also serves the files under `folder`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn plain_files(names: &[&str], folder: &Path) -> Result<Self> {
        let files = Some(folder.to_owned());
        Self::start(names, None, Content { files })
    }

    fn start(names: &[&str], tls: Option<Arc<rustls::ServerConfig>>, content: Content) -> Result<Self> {
        let listener = runtime().block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let acceptor = tls.map(TlsAcceptor::from);
        let task = runtime().spawn(async move {
            // Connections end with their origin.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, record, content) = (acceptor.clone(), record.clone(), content.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, None, record, content).await,
                        Some(acceptor) => {
                            // A client that does not finish its handshake is the client's affair.
                            let Ok(stream) = acceptor.accept(stream).await else {
                                return;
                            };
                            let sni = stream.get_ref().1.server_name().map(str::to_owned);
                            serve(stream, sni, record, content).await;
                        }
                    }
                });
            }
        });
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Ok(Self {
            names,
            address,
            seen,
            task,
        })
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names it answers for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Every request so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One runtime for all origins of this process; the tests themselves are plain threads.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime needs threads and epoll only"))
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    sni: Option<String>,
    record: Arc<Mutex<Vec<Seen>>>,
    content: Content,
) {
    let service = service_fn(move |request| answer(request, sni.clone(), record.clone(), content.clone()));
    // How a client hangs up is the client's affair.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(
    mut request: Request<Incoming>,
    sni: Option<String>,
    record: Arc<Mutex<Vec<Seen>>>,
    content: Content,
) -> Result<Answer, hyper::Error> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let seen = Seen {
        sni,
        method: head.method.to_string(),
        path: head
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body,
    };
    let answer = match seen.header("sec-websocket-key") {
        None => respond(&seen, &content),
        Some(key) => {
            tokio::spawn(async move {
                // How a client hangs up is the client's affair.
                if let Ok(stream) = upgrade.await {
                    let _ = websocket::echo(TokioIo::new(stream)).await;
                }
            });
            switch_to_websocket(key)
        }
    };
    record.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    Ok(answer)
}

fn respond(seen: &Seen, content: &Content) -> Answer {
    let path = seen.path.split('?').next().unwrap_or("/");
    if path.starts_with("/openai/deployments/") && path.ends_with("/embeddings") {
        return reply(
            StatusCode::OK,
            "application/json",
            embeddings(&seen.body).to_string(),
        );
    }
    match (path, &content.files) {
        ("/echo", _) => reply(StatusCode::OK, "application/octet-stream", seen.body.clone()),
        ("/hold", _) => {
            let mut response = Response::new(Held { said: false }.boxed());
            response.headers_mut().insert(
                "content-type",
                hyper::header::HeaderValue::from_static("text/event-stream"),
            );
            response
        }
        (_, Some(folder)) => file(folder, path),
        _ => reply(
            StatusCode::OK,
            "application/json",
            json!({"ok": true, "path": path}).to_string(),
        ),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static(content_type),
    );
    response
}

fn switch_to_websocket(key: &str) -> Answer {
    let mut response = reply(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
    let accept = hyper::header::HeaderValue::from_str(&websocket::accept(key));
    let headers = response.headers_mut();
    headers.clear();
    headers.insert("connection", hyper::header::HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", hyper::header::HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept.expect("base64 is plain ASCII"));
    response
}

/// A file, or a folder's `index.html`.
fn file(folder: &Path, path: &str) -> Answer {
    let relative = Path::new(path.trim_start_matches('/'));
    let inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let mut found = folder.join(relative);
    if path.ends_with('/') {
        found.push("index.html");
    }
    let kind = match found.extension() {
        Some(extension) if extension == "html" => "text/html",
        _ => "application/octet-stream",
    };
    match std::fs::read(found) {
        Ok(bytes) if inside => reply(StatusCode::OK, kind, bytes),
        _ => reply(StatusCode::NOT_FOUND, "text/plain", "no such file\n"),
    }
}

/// What Azure OpenAI answers to `POST …/embeddings`: one vector for each input, as floats or as the
/// base64 of little-endian floats, whichever the client asked for.
fn embeddings(body: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let inputs = request["input"].as_array().map_or(1, Vec::len);
    let vector = [0.25_f32, -0.5, 0.125];
    let embedding = if request["encoding_format"] == "base64" {
        json!(STANDARD.encode(vector.map(f32::to_le_bytes).concat()))
    } else {
        json!(vector)
    };
    let data: Vec<_> = (0..inputs)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": embedding}))
        .collect();
    json!({"object": "list", "data": data, "model": "text-embedding-3-small",
           "usage": {"prompt_tokens": inputs, "total_tokens": inputs}})
}

/// Says one word and then holds the line.
struct Held {
    said: bool,
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.said {
            return Poll::Pending;
        }
        self.said = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: listening\n\n")))))
    }
}
