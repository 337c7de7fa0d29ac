//! Failures: every answer that is not a success has one form, whoever refuses.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::types::{ErrorBody, ErrorDetail};
use crate::archives::ArchiveFailure;
use crate::configuration::ReloadFailure;
use crate::nights::NightFailure;
use crate::office::OfficeError;
use crate::outbox::QueueError;
use crate::store::StoreError;

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    detail: ErrorDetail,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>, hint: &str) -> Self {
        Self {
            status,
            detail: ErrorDetail {
                code: code.to_owned(),
                message: message.into(),
                hint: hint.to_owned(),
            },
        }
    }

    /// The request cannot be read.
    fn request(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(
            status,
            "bad_request",
            message,
            "see control/openapi.json for what is expected",
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Json(ErrorBody { error: self.detail });
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"bailiwick\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<OfficeError> for Failure {
    fn from(error: OfficeError) -> Self {
        let status = status(&error);
        let hint = match status {
            StatusCode::INTERNAL_SERVER_ERROR => "bailiwick doctor looks for the cause",
            _ => "",
        };
        let line = crate::error_line(&error);
        if status.is_server_error() {
            tracing::error!(code = error.code(), error = line, "request failed");
        }
        Self::new(status, error.code(), line, hint)
    }
}

/// 400 and 404: ask differently. 409 and 422: understood, and the answer is no. 5xx: the house has a
/// problem, and the request may be fine.
fn status(error: &OfficeError) -> StatusCode {
    match error {
        OfficeError::Request { .. }
        | OfficeError::Night(NightFailure::Request { .. })
        | OfficeError::Queue(QueueError::Letter(_)) => StatusCode::BAD_REQUEST,
        OfficeError::Unknown { .. } => StatusCode::NOT_FOUND,
        OfficeError::Gate(_) | OfficeError::Reload(ReloadFailure::Refused { .. }) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        OfficeError::State { .. }
        | OfficeError::OtherPlugin { .. }
        | OfficeError::Decided { .. }
        | OfficeError::SamePerson { .. }
        | OfficeError::Change(_)
        | OfficeError::Night(NightFailure::Busy) => StatusCode::CONFLICT,
        OfficeError::Store(store) | OfficeError::Queue(QueueError::Store(store)) => match store {
            StoreError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
        OfficeError::Trust(_) | OfficeError::Key(_) | OfficeError::Policy(_) | OfficeError::Randomness => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        OfficeError::Gateway(_) => StatusCode::BAD_GATEWAY,
        OfficeError::Night(NightFailure::Absent)
        | OfficeError::Reload(ReloadFailure::Absent)
        | OfficeError::Archive(ArchiveFailure::Absent) => StatusCode::NOT_IMPLEMENTED,
        OfficeError::InForceUnrecorded { .. }
        | OfficeError::Publish(_)
        | OfficeError::Save(_)
        | OfficeError::ListFolder(_)
        | OfficeError::ListLoad(_)
        | OfficeError::Mint(_)
        | OfficeError::Certificate(_)
        | OfficeError::Night(NightFailure::Failed { .. })
        | OfficeError::Reload(ReloadFailure::Failed { .. })
        | OfficeError::Archive(ArchiveFailure::Failed { .. })
        | OfficeError::Report { .. }
        | OfficeError::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) async fn no_such_route() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        "there is no such route",
        "see control/openapi.json for those there are",
    )
}

pub(super) async fn no_such_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_such_method",
        "the route is there, and it does not answer this method",
        "see control/openapi.json for those it answers",
    )
}

/// A JSON body, read strictly: no repeated keys, no unknown fields, no more than a mebibyte.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = read(request, state).await?;
        let value = base::json::parse(&bytes).map_err(unreadable)?;
        serde_json::from_value(value).map(Self).map_err(unreadable)
    }
}

/// A JSON body that carries documents, and so may be larger. Repeated keys are refused by the type.
pub(super) struct LargeBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for LargeBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = read(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(unreadable)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<axum::body::Bytes, Failure> {
    // A page in a browser can send JSON to other sites only with this type announced as something
    // else, or after asking first; so nothing else is read.
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    if media_type.as_deref() != Some("application/json") {
        return Err(Failure::request(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be sent as application/json",
        ));
    }
    axum::body::Bytes::from_request(request, state)
        .await
        .map_err(|rejection| Failure::request(rejection.status(), rejection.body_text()))
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::request(
        StatusCode::BAD_REQUEST,
        format!("the body cannot be read: {error}"),
    )
}

/// The query, read strictly.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| {
                Failure::request(
                    StatusCode::BAD_REQUEST,
                    format!("the query cannot be read: {}", rejection.body_text()),
                )
            })
    }
}
