//! The HTTP interface under `/v1`.
//!
//! One table of routes makes the router, and a test holds the checked-in OpenAPI document
//! (`control/openapi.json`) to the same table. The router works without a socket too: where no
//! server runs, the command line calls it in its own process, and both ways cannot differ.

mod failure;
mod guard;
mod handlers;
mod routes;
mod serve;
mod token;
pub mod types;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;

use crate::archives::Archives;
use crate::configuration::Configuration;
use crate::nights::Nights;
use crate::office::Office;

pub use serve::{End, serve};
pub use token::{OperatorToken, TokenFileError};

/// Largest body of an ordinary request.
const MAX_BODY: usize = base::json::MAX_BYTES;
/// Largest body of an admission: three documents of a mebibyte each, in base64.
const MAX_ADMISSION: usize = 6 << 20;

/// Who may call, and under which names this server answers.
#[derive(Clone, Debug)]
pub struct Access {
    token: OperatorToken,
    hosts: Vec<String>,
}

impl Access {
    /// Callers need `token`; the server answers to `localhost`, to loopback addresses and to the
    /// address that it listens on.
    pub fn new(token: OperatorToken, listen: SocketAddr) -> Self {
        Self {
            token,
            hosts: vec!["localhost".to_owned(), listen.ip().to_string()],
        }
    }

    /// The server also answers to `host` (a name or an address, without port).
    pub fn also_known_as(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into().to_ascii_lowercase());
        self
    }
}

/// What every handler has at hand.
#[derive(Clone)]
struct Desk {
    office: Office,
    nights: Arc<dyn Nights>,
    configuration: Arc<dyn Configuration>,
    archives: Arc<dyn Archives>,
}

/// The router of the whole interface, for a server or for a call in process.
pub fn router(
    office: Office,
    nights: Arc<dyn Nights>,
    configuration: Arc<dyn Configuration>,
    archives: Arc<dyn Archives>,
    access: Access,
) -> Router {
    let access = Arc::new(access);
    let desk = Desk {
        office,
        nights,
        configuration,
        archives,
    };
    let mut open = Router::new();
    let mut guarded = Router::new();
    for route in routes::table() {
        if route.open {
            open = open.route(route.path, route.handler);
        } else {
            guarded = guarded.route(route.path, route.handler);
        }
    }
    let guarded = guarded.route_layer(middleware::from_fn_with_state(
        Arc::clone(&access),
        guard::require_token,
    ));
    open.merge(guarded)
        .fallback(failure::no_such_route)
        .method_not_allowed_fallback(failure::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(access, guard::refuse_browsers))
        .with_state(desk)
}
