//! Egress entries, `bw-egress/1`: one destination promised.
//!
//! ```text
//! entry  = [ scheme "://" ] host [ ":" ports ]
//! scheme = "https" | "http" | "wss" | "ws" | "tls" | "tcp"        omitted = https
//! host   = name | "*." name | "**." name | ipv4 | "[" ipv6 "]" | ipv4 "/" n | "[" ipv6 "]/" n
//! ports  = "*" | range *( "," range ) ; range = n [ "-" n ], inclusive; omitted = the scheme's default
//! ```
//!
//! An entry is a product of three sets: hosts, ports, and what can be observed of the scheme. Hosts
//! are nested or disjoint, ports are ranges, scheme families are equal or disjoint. So whether one
//! entry includes another, and what is left of one after others are taken away ([`Entry::beyond`]),
//! can always be answered, and an owner can be told exactly what a new version adds.

mod host;
mod ports;
mod problem;
mod reach;
mod scheme;
mod suffix;

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use base::{Host, ObservedScheme, Port, Target};

pub use host::HostPattern;
pub use ports::Ports;
pub use problem::{InvalidEntry, Problem};
pub use scheme::{Family, Scheme};
pub use suffix::{SuffixKind, registrable, suffix_kind};

/// The name of this grammar, as manifests state it.
pub const GRAMMAR: &str = "bw-egress/1";
/// The longest entry read, in bytes.
pub const MAX_ENTRY_BYTES: usize = 1024;

/// One destination promised. The text form is canonical: parsing it gives the same entry back, and
/// equal entries have equal text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    scheme: Scheme,
    host: HostPattern,
    ports: Ports,
}

impl Entry {
    /// The scheme declared.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The hosts declared.
    pub const fn host(&self) -> &HostPattern {
        &self.host
    }

    /// The ports declared.
    pub const fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Whether a connection to `target` keeps this promise. Where nobody spoke yet (`None`), host
    /// and port decide; the scheme is not guessed from the port.
    pub fn covers(&self, target: &Target, observed: Option<ObservedScheme>) -> bool {
        self.ports.contains(target.port)
            && observed.is_none_or(|observed| self.scheme.covers(observed))
            && self.host.covers(&target.host)
    }

    /// The narrowest entry that covers what was observed; what an owner would add.
    pub fn for_observation(target: &Target, observed: Option<ObservedScheme>) -> Self {
        let scheme = match observed {
            Some(observed) => Scheme::for_observed(observed),
            None if target.port == Port::HTTP => Scheme::Http,
            None => Scheme::Https,
        };
        let host = match &target.host {
            Host::Name(name) => HostPattern::Name(name.clone()),
            Host::Ip(address) => HostPattern::Address(base::canonical_ip(*address)),
        };
        Self {
            scheme,
            host,
            ports: target.port.into(),
        }
    }

    /// The same entry with one port more.
    pub fn with_port(&self, port: Port) -> Self {
        Self {
            ports: self.ports.union(&port.into()),
            ..self.clone()
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_ENTRY_BYTES {
            return Err(Problem::TooLong { max: MAX_ENTRY_BYTES });
        }
        let blank = |character: &char| character.is_whitespace() || character.is_control();
        if let Some(character) = text.chars().find(blank) {
            return Err(Problem::Character { character });
        }
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme, authority)) => (scheme.parse()?, authority),
            None => (Scheme::Https, text),
        };
        if authority.contains('@') {
            return Err(Problem::UserInfo);
        }
        let (host, ports) = split_ports(authority)?;
        let host: HostPattern = host.parse()?;
        let ports = match (ports, scheme.default_port()) {
            (Some(ports), _) => ports.parse()?,
            (None, Some(port)) => port.into(),
            (None, None) => {
                return Err(Problem::PortsMissing {
                    scheme: scheme.as_str(),
                });
            }
        };
        Ok(Self { scheme, host, ports })
    }
}

/// Splits at the colon that is not inside brackets. A path is reported as such, before its
/// characters spoil the ports.
fn split_ports(authority: &str) -> Result<(&str, Option<&str>), Problem> {
    let host_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(authority.len(), |at| at + 2),
        None => 0,
    };
    if host_end == 0 && authority.matches(':').count() > 1 {
        let (address, rest) = authority.split_once('/').unwrap_or((authority, ""));
        if address.parse::<Ipv6Addr>().is_ok() {
            let slash = if rest.is_empty() { "" } else { "/" };
            return Err(Problem::Ipv6Brackets {
                instead: format!("[{address}]{slash}{rest}"),
            });
        }
    }
    let Some(colon) = authority[host_end..].find(':').map(|at| host_end + at) else {
        return Ok((authority, None));
    };
    let ports = &authority[colon + 1..];
    if ports.contains(['/', '?', '#']) {
        return Err(Problem::Path);
    }
    Ok((&authority[..colon], Some(ports)))
}

impl FromStr for Entry {
    type Err = InvalidEntry;

    fn from_str(text: &str) -> Result<Self, InvalidEntry> {
        Self::parse(text).map_err(|problem| InvalidEntry {
            entry: text.chars().take(120).collect(),
            problem,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme != Scheme::Https {
            write!(f, "{}://", self.scheme)?;
        }
        write!(f, "{}", self.host)?;
        match self.scheme.default_port() {
            Some(port) if self.ports == port.into() => Ok(()),
            _ => write!(f, ":{}", self.ports),
        }
    }
}

impl serde::Serialize for Entry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
