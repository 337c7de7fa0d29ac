//! The admin port: health, readiness and metrics, on a listener that relays nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::core::Core;

const HEAD: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 64;
/// Pause after a failed accept.
const BACK_OFF: Duration = Duration::from_millis(100);
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the admin port until the gateway is closed; while it drains, it says so here. Where another
/// process took the port over, only those who are connected already hear it from this one.
pub(crate) async fn serve(core: Arc<Core>, listener: Arc<TcpListener>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = core.closing.cancelled() => return,
            () = core.handed_over.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Without descriptors it would fail again at once.
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let core = Arc::clone(&core);
        tokio::spawn(async move {
            let closing = core.closing.clone();
            let service = service_fn(move |request| {
                let answer = answer(&core, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                // Without a timer there is no timeout at all.
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // A client that speaks badly has been answered or is gone.
                _ = connection => {}
                () = closing.cancelled() => {}
            }
            drop(place);
        });
    }
}

fn answer(core: &Core, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match unready(core) {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        "/metrics" => match page(core) {
            Ok(page) => {
                let mut response = Response::new(Full::new(Bytes::from(page)));
                response.headers_mut().insert(
                    http::header::CONTENT_TYPE,
                    http::HeaderValue::from_static(METRICS_TYPE),
                );
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "/healthz, /readyz and /metrics are here\n"),
    }
}

/// The metrics of this moment.
fn page(core: &Core) -> Result<String, std::fmt::Error> {
    if let Some(tls) = &core.tls {
        core.metrics.tls(&tls.status());
    }
    core.metrics.page(core.live.len(), core.recorder.is_writable())
}

/// Why no connection should be sent here now.
fn unready(core: &Core) -> Option<&'static str> {
    if core.draining.is_cancelled() {
        Some("draining\n")
    } else if core.recorder.is_ready() {
        None
    } else {
        Some("evidence cannot be written\n")
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}
