//! Serving a witness: `POST /add-checkpoint`, and the checkpoints it keeps for whoever wants to hold
//! them against a log.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use evidence::witness::{Answer, MAX_REQUEST_BYTES, Witness};
use parking_lot::Mutex;

use crate::clock;

/// How long a request may take from its head to the answer.
const PATIENCE: Duration = Duration::from_secs(30);
const TEXT: &str = "text/plain; charset=utf-8";

/// The routes of a witness.
pub fn router(witness: Arc<Mutex<Witness>>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/checkpoint/{*origin}", get(kept))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .layer(middleware::from_fn(in_time))
        .with_state(witness)
}

async fn add_checkpoint(State(witness): State<Arc<Mutex<Witness>>>, body: Bytes) -> Response {
    let now_s = u64::try_from(clock::now().unix_s()).unwrap_or(0);
    // Memory is on a disk, and one request at a time may change it.
    let answered = tokio::task::spawn_blocking(move || witness.lock().answer(&body, now_s)).await;
    match answered {
        Ok(answer) => {
            if answer.status != 200 {
                tracing::info!(status = answer.status, why = %answer.body.trim_end(), "not cosigned");
            }
            respond(answer)
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The last checkpoint cosigned for a log: what shows that the log was once this long.
async fn kept(State(witness): State<Arc<Mutex<Witness>>>, Path(origin): Path<String>) -> Response {
    let recalled = tokio::task::spawn_blocking(move || {
        let mut witness = witness.lock();
        if witness.origins().any(|known| known == origin) {
            witness.kept(&origin)
        } else {
            Ok(None)
        }
    });
    match recalled.await {
        Ok(Ok(Some(note))) => ([(header::CONTENT_TYPE, TEXT)], note).into_response(),
        Ok(Ok(None)) => (StatusCode::NOT_FOUND, "no checkpoint of this log was cosigned\n").into_response(),
        Ok(Err(_)) | Err(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "the witness cannot remember\n").into_response()
        }
    }
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response()
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}
