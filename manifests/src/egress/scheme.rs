//! Declared schemes, and which observed ones each of them covers.

use std::fmt;
use std::str::FromStr;

use base::{ObservedScheme, Port};

use super::Problem;

/// The scheme of an egress entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// HTTP inside TLS; what an entry without a scheme means.
    Https,
    /// Plain HTTP.
    Http,
    /// WebSocket inside TLS.
    Wss,
    /// Plain WebSocket.
    Ws,
    /// Anything inside TLS.
    Tls,
    /// Anything that is neither TLS nor HTTP, SSH included.
    Tcp,
}

/// What an observer can tell apart. Entries of one family cover the same observed schemes, entries
/// of two families never share one, and so families compare by equality alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Observed `tls`.
    Tls,
    /// Observed `http`.
    Http,
    /// Observed `tcp` and `ssh`. SSH has no scheme of its own in the grammar; it is one of the
    /// protocols for which people declare `tcp`.
    Raw,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 6] = [Self::Https, Self::Http, Self::Wss, Self::Ws, Self::Tls, Self::Tcp];

    /// The scheme's one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Wss => "wss",
            Self::Ws => "ws",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    /// The port that is meant where none is written; `tls` and `tcp` have none.
    pub const fn default_port(self) -> Option<Port> {
        match self {
            Self::Https | Self::Wss => Some(Port::HTTPS),
            Self::Http | Self::Ws => Some(Port::HTTP),
            Self::Tls | Self::Tcp => None,
        }
    }

    /// What an observer sees of it.
    pub const fn family(self) -> Family {
        match self {
            Self::Https | Self::Wss | Self::Tls => Family::Tls,
            Self::Http | Self::Ws => Family::Http,
            Self::Tcp => Family::Raw,
        }
    }

    /// Whether a connection that was observed to speak `observed` keeps this declaration.
    pub const fn covers(self, observed: ObservedScheme) -> bool {
        matches!(
            (self.family(), observed),
            (Family::Tls, ObservedScheme::Tls)
                | (Family::Http, ObservedScheme::Http)
                | (Family::Raw, ObservedScheme::Tcp | ObservedScheme::Ssh)
        )
    }

    /// The scheme that people would declare for what was observed.
    pub const fn for_observed(observed: ObservedScheme) -> Self {
        match observed {
            ObservedScheme::Tls => Self::Https,
            ObservedScheme::Http => Self::Http,
            ObservedScheme::Ssh | ObservedScheme::Tcp => Self::Tcp,
        }
    }
}

impl FromStr for Scheme {
    type Err = Problem;

    /// Case does not matter, as in every URL.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let lower = text.to_ascii_lowercase();
        if let Some(scheme) = Self::ALL.into_iter().find(|scheme| scheme.as_str() == lower) {
            return Ok(scheme);
        }
        let instead = match lower.as_str() {
            "udp" | "quic" | "h3" | "http3" | "dns" | "icmp" => {
                return Err(Problem::Unobservable { scheme: lower });
            }
            "ssh" | "sftp" | "git+ssh" | "git" | "ftp" | "smtp" | "imap" | "redis" | "mysql" | "postgres"
            | "postgresql" | "mongodb" | "amqp" | "mqtt" | "ldap" | "nats" | "kafka" | "socks5" => "tcp",
            "ftps" | "smtps" | "imaps" | "rediss" | "amqps" | "mqtts" | "ldaps" | "ssl" => "tls",
            "grpc" | "h2c" => "http",
            "grpcs" | "h2" | "s3" | "gs" | "git+https" => "https",
            _ => "https",
        };
        Err(Problem::Scheme {
            scheme: text.chars().take(32).collect(),
            instead,
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observed_scheme_is_covered_by_exactly_one_family() {
        for &observed in ObservedScheme::ALL {
            let families: std::collections::BTreeSet<_> = Scheme::ALL
                .into_iter()
                .filter(|scheme| scheme.covers(observed))
                .map(Scheme::family)
                .collect();
            assert_eq!(families.len(), 1, "{observed}");
            assert!(Scheme::for_observed(observed).covers(observed));
        }
    }

    #[test]
    fn a_declared_tcp_port_covers_ssh_and_never_tls() {
        assert!(Scheme::Tcp.covers(ObservedScheme::Ssh));
        assert!(!Scheme::Tcp.covers(ObservedScheme::Tls));
        assert!(!Scheme::Tls.covers(ObservedScheme::Tcp));
        assert!(!Scheme::Https.covers(ObservedScheme::Http));
    }
}
