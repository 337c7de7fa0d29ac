//! Entries: what a listener knows about a client before it says a word.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::identity::Identity;

/// How a client came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// Where it came from; a Unix socket's client comes from nowhere.
    pub(crate) source: Option<SocketAddr>,
    /// Whose run's own listener it used, if it is one.
    pub(crate) listener: Option<Arc<Identity>>,
    /// Whose run its client certificate names. The certificate was verified.
    pub(crate) certificate: Option<Arc<Identity>>,
}

impl Entry {
    /// A client of a listener that is everybody's.
    pub(crate) fn from_source(source: SocketAddr) -> Self {
        Self {
            source: Some(source),
            ..Self::default()
        }
    }
}
