//! The guard: who may call.
//!
//! The interface listens on loopback, where two kinds of callers must not pass for an operator. A
//! plugin on the same machine could reinstate itself: everything that says or changes anything asks
//! for the operator's token, which lies in a file that plugins cannot read. And a page in an
//! operator's browser could reach loopback by a name that its owner points there (DNS rebinding):
//! browsers say where a page comes from and which host they think they talk to, and both are held
//! against what this server is.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Access;
use super::failure::Failure;

/// Lets through who presents the operator's token.
pub(super) async fn require_token(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    match bearer(request.headers()) {
        Some(presented) if access.token.is(presented) => next.run(request).await,
        presented => {
            let message = match presented {
                None => "this needs the operator's token",
                Some(_) => "this is not the operator's token",
            };
            Failure::new(
                StatusCode::UNAUTHORIZED,
                "not_an_operator",
                message,
                "send the content of data/operator.token as: Authorization: Bearer TOKEN",
            )
            .into_response()
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, another) = (values.next()?, values.next());
    let value = value.as_bytes();
    // RFC 9110 §11.1: the scheme's name knows no case.
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    (another.is_none() && scheme.eq_ignore_ascii_case(b"Bearer ")).then_some(token)
}

/// Refuses pages of other sites, and names that this server does not have.
pub(super) async fn refuse_browsers(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let cross_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"));
    if headers.contains_key(header::ORIGIN) || cross_site {
        return Failure::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "pages in a browser may not call this interface",
            "",
        )
        .into_response();
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = hosts.next().map(|host| host.to_str().unwrap_or(""));
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let known = |host: Option<&str>| host.is_none_or(|host| is_known(&access, host));
    if hosts.next().is_some() || !known(named) || !known(authority) {
        return Failure::new(
            StatusCode::FORBIDDEN,
            "foreign_host",
            "this server does not answer to that name",
            "call it by the address in [control] listen",
        )
        .into_response();
    }
    next.run(request).await
}

fn is_known(access: &Access, host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(literal) => literal.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) || access.hosts.contains(&name)
}
