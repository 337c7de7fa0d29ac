//! A witness's submission prefix.

use std::fmt;
use std::str::FromStr;

/// `http://host[:port][/prefix]` or `https://…`, below which `add-checkpoint` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessUrl {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

/// A text that is no submission prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a witness is written http://host:port, or https://host/prefix, without user, query or fragment")]
pub struct InvalidUrl;

impl WitnessUrl {
    /// Whether the way there is encrypted.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, as it is resolved and as its certificate must say.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The path of `add-checkpoint`.
    pub fn add_checkpoint(&self) -> String {
        format!("{}/add-checkpoint", self.prefix)
    }
}

impl FromStr for WitnessUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: http::Uri = text.parse().map_err(|_| InvalidUrl)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(InvalidUrl),
        };
        let authority = uri.authority().ok_or(InvalidUrl)?;
        if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
            return Err(InvalidUrl);
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(InvalidUrl);
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for WitnessUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_kept_and_the_default_port_is_the_schemes() {
        let url: WitnessUrl = "https://witness.example/a/b/".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.is_tls()),
            ("witness.example", 443, true)
        );
        assert_eq!(url.add_checkpoint(), "/a/b/add-checkpoint");
        assert_eq!(url.authority(), "witness.example");
        let url: WitnessUrl = "http://[::1]:7380".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.is_tls()), ("::1", 7380, false));
        assert_eq!(url.add_checkpoint(), "/add-checkpoint");
        assert_eq!(url.to_string(), "http://[::1]:7380");
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for bad in [
            "",
            "witness.example",
            "ftp://witness.example",
            "http://user@witness.example",
            "http://witness.example/?a=b",
            "http://witness.example/#a",
            "http:///x",
            "http://",
        ] {
            assert_eq!(bad.parse::<WitnessUrl>(), Err(InvalidUrl), "{bad:?}");
        }
    }
}
