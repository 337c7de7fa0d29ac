//! `[[export]]`: to whom signed events are handed on as they come.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base::PluginId;
use evidence::export::Form;
use serde::{Deserialize, Serialize};

/// One receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportConfig {
    /// Its name: how its cursor is called, and what metrics and messages say.
    pub name: String,
    /// `file:PATH`, `syslog://host:port`, `syslog+tls://host:port`, `http://…` or `https://…`.
    pub to: String,
    /// `jsonl` or `ocsf`.
    #[serde(default = "default_form")]
    pub format: Form,
    /// What it gets first.
    #[serde(default)]
    pub from: Begin,
    /// The file with the token that an HTTP receiver asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The file with the authorities that may have signed the receiver's certificate, instead of those
    /// that this machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// What a receiver gets first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// The log from its first entry.
    #[default]
    Beginning,
    /// What is signed from now on.
    Now,
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A file, added to.
    File(PathBuf),
    /// A syslog server (RFC 6587), over TLS or not (RFC 5425).
    Syslog(Peer),
    /// An HTTP endpoint, below `path`.
    Http {
        /// The server.
        peer: Peer,
        /// Path and query.
        path: String,
    },
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its host, as it is resolved and as its certificate must say.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the way there is encrypted.
    pub tls: bool,
}

/// A text that names no receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a receiver is written file:PATH, syslog://host:port, syslog+tls://host:port, http://host:port/path or https://host/path, without user or fragment"
)]
pub struct InvalidReceiver;

const fn default_form() -> Form {
    Form::Jsonl
}

impl Receiver {
    const fn peer(&self) -> Option<&Peer> {
        match self {
            Self::File(_) => None,
            Self::Syslog(peer) | Self::Http { peer, .. } => Some(peer),
        }
    }
}

impl Peer {
    /// Whether it is this machine.
    pub fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Receiver {
    type Err = InvalidReceiver;

    fn from_str(text: &str) -> Result<Self, InvalidReceiver> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path);
            return path
                .file_name()
                .map(|_| Self::File(path.clone()))
                .ok_or(InvalidReceiver);
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidReceiver)?;
        let (tls, port) = match scheme {
            "syslog" => (false, 601),
            "syslog+tls" => (true, 6514),
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(InvalidReceiver),
        };
        // Whatever the scheme, the rest is an authority and a path.
        let uri: http::Uri = format!("http://{rest}").parse().map_err(|_| InvalidReceiver)?;
        let authority = uri.authority().ok_or(InvalidReceiver)?;
        if authority.as_str().contains('@') || text.contains('#') {
            return Err(InvalidReceiver);
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host).to_owned();
        if host.is_empty() {
            return Err(InvalidReceiver);
        }
        let peer = Peer {
            host,
            port: authority.port_u16().unwrap_or(port),
            tls,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if scheme.starts_with("http") {
            Ok(Self::Http { peer, path })
        } else if path == "/" && !rest.contains('/') {
            Ok(Self::Syslog(peer))
        } else {
            Err(InvalidReceiver)
        }
    }
}

/// Checks all receivers together: what is wrong, and with which key.
///
/// # Errors
/// The key and what is wrong with it.
pub fn check(exports: &[ExportConfig]) -> Result<(), (&'static str, String)> {
    let mut names = BTreeSet::new();
    for export in exports {
        if export.name.parse::<PluginId>().is_err() {
            let message = format!(
                "{:?} is not a name of a-z 0-9 . _ - of at most 128 characters",
                export.name
            );
            return Err(("export.name", message));
        }
        if !names.insert(&export.name) {
            return Err((
                "export.name",
                format!("{:?} is there twice; each has its own", export.name),
            ));
        }
        let receiver: Receiver = match export.to.parse() {
            Ok(receiver) => receiver,
            Err(error) => return Err(("export.to", format!("{:?}: {error}", export.to))),
        };
        if export.format == Form::Csv {
            return Err((
                "export.format",
                "a stream is jsonl or ocsf; csv has a first line".to_owned(),
            ));
        }
        let is_http = matches!(receiver, Receiver::Http { .. });
        let tls = receiver.peer().is_some_and(|peer| peer.tls);
        let is_here = receiver.peer().is_some_and(Peer::is_here);
        if export.token_file.is_some() && !(is_http && (tls || is_here)) {
            let message = "a token goes to an https:// receiver, or to one on this machine".to_owned();
            return Err(("export.token_file", message));
        }
        if export.ca_file.is_some() && !tls {
            let message = "authorities are for syslog+tls:// and https:// receivers".to_owned();
            return Err(("export.ca_file", message));
        }
    }
    Ok(())
}

fn is_loopback(ip: std::net::IpAddr) -> bool {
    ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: &str, port: u16, tls: bool) -> Peer {
        Peer {
            host: host.to_owned(),
            port,
            tls,
        }
    }

    #[test]
    fn a_receiver_is_written_as_people_write_it() {
        for (text, receiver) in [
            (
                "file:exports/siem.jsonl",
                Receiver::File("exports/siem.jsonl".into()),
            ),
            (
                "syslog://logs.example",
                Receiver::Syslog(peer("logs.example", 601, false)),
            ),
            (
                "syslog+tls://[::1]:6515",
                Receiver::Syslog(peer("::1", 6515, true)),
            ),
            (
                "https://siem.example/in?source=a",
                Receiver::Http {
                    peer: peer("siem.example", 443, true),
                    path: "/in?source=a".to_owned(),
                },
            ),
        ] {
            assert_eq!(text.parse(), Ok(receiver), "{text}");
        }
        for bad in [
            "",
            "file:",
            "file:..",
            "siem.example:514",
            "udp://siem.example",
            "syslog://siem.example/path",
            "https://user@siem.example",
            "https://siem.example/#a",
            "http://",
        ] {
            assert_eq!(bad.parse::<Receiver>(), Err(InvalidReceiver), "{bad:?}");
        }
    }

    #[test]
    fn a_token_never_leaves_the_machine_in_the_clear() {
        let export = |to: &str| ExportConfig {
            name: "siem".to_owned(),
            to: to.to_owned(),
            format: Form::Jsonl,
            from: Begin::Now,
            token_file: Some("token".into()),
            ca_file: None,
        };
        for good in [
            "https://siem.example/",
            "http://127.0.0.1:8088/",
            "http://localhost/",
        ] {
            assert_eq!(check(&[export(good)]), Ok(()), "{good}");
        }
        for bad in ["http://siem.example/", "syslog+tls://siem.example", "file:a"] {
            assert!(check(&[export(bad)]).is_err(), "{bad}");
        }
        let twice = [export("https://a.example"), export("https://b.example")];
        assert_eq!(check(&twice).unwrap_err().0, "export.name");
    }
}
