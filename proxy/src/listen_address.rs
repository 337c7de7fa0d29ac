//! Listen addresses: one way to write down where clients come in.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One place where clients connect.
///
/// Written `127.0.0.1:3128` for a TCP port (port 0 takes any free one), `tls://127.0.0.1:3129` for
/// one where clients speak TLS to the gateway, and `unix:PATH` for a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum ListenAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A TCP port where clients speak TLS.
    Tls(SocketAddr),
    /// A Unix socket in the file system.
    Unix(PathBuf),
}

/// Why a text is not a listen address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address to listen on: write address:port, tls://address:port or unix:PATH")]
pub struct InvalidListenAddress {
    /// What was written.
    text: String,
}

impl ListenAddress {
    /// The network address, where there is one.
    pub const fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidListenAddress {
            text: text.to_owned(),
        };
        if let Some(address) = text.strip_prefix("tls://") {
            return address.parse().map(Self::Tls).map_err(|_| invalid());
        }
        match text.strip_prefix("unix:") {
            Some("") => Err(invalid()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| invalid()),
        }
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = InvalidListenAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "127.0.0.1:3128",
            "[::1]:0",
            "tls://127.0.0.1:3129",
            "tls://[::1]:0",
            "unix:/run/bailiwick/gw.sock",
            "unix:gw.sock",
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        for text in [
            "",
            "3128",
            "localhost:3128",
            "127.0.0.1",
            "unix:",
            "tls://",
            "tls:127.0.0.1:1",
            "tls://localhost:1",
            "tls://127.0.0.1",
            "http://127.0.0.1:1",
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains("write address:port"), "{error}");
        }
    }
}
