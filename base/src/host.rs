//! Hosts: a DNS name or an IP address, in the one form that is logged, matched and dialled.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address::canonical_ip;
use crate::text_enum::serde_as_text;

/// A DNS name: lower-case ASCII, no trailing dot, labels of 1 to 63 bytes, 253 bytes at most.
///
/// Letters, digits, `-` and `_` only. The last label is never a number, so that a name can never be
/// mistaken for an address (WHATWG URL, "ends in a number").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

/// A DNS name or an IP address. IPv4-mapped IPv6 is folded to IPv4.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name.
    Name(HostName),
    /// An address, as the client wrote it; nothing was looked up.
    Ip(IpAddr),
}

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// A byte that no host contains.
    #[error("the host has a character that no host name contains (byte {at})")]
    Character {
        /// Offset of the first offending byte.
        at: usize,
    },
    /// An empty label, a label above 63 bytes, or one that starts or ends with `-`.
    #[error("a label of the host is empty, longer than 63 characters, or starts or ends with \"-\"")]
    Label,
    /// A name above 253 bytes.
    #[error("the host is longer than 253 characters")]
    Length,
    /// The last label is a number, and the whole is not a dotted quad.
    #[error("the host looks like an IPv4 address and is not written as four plain decimal numbers")]
    NotDottedQuad,
    /// Not an IPv6 address, or one with a zone.
    #[error("the host is not an IPv6 address, or carries a zone")]
    Ipv6,
}

impl HostName {
    /// The name, lower case and without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }
}

impl FromStr for HostName {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if let Some(at) = name
            .bytes()
            .position(|b| !matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        {
            return Err(InvalidHost::Character { at });
        }
        if name.len() > 253 {
            return Err(InvalidHost::Length);
        }
        let misfit = |label: &str| {
            label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-')
        };
        if name.split('.').any(misfit) {
            return Err(InvalidHost::Label);
        }
        if ends_in_number(name) {
            return Err(InvalidHost::NotDottedQuad);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

/// Whether the last label would make a careless parser read an IPv4 address.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let all_digits = last.bytes().all(|b| b.is_ascii_digit());
    let hex = last
        .strip_prefix("0x")
        .or_else(|| last.strip_prefix("0X"))
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    all_digits || hex
}

impl Host {
    /// Parses the inside of a bracketed IPv6 literal.
    ///
    /// # Errors
    /// [`InvalidHost::Ipv6`] for anything else, zones (`%eth0`) included.
    pub fn from_ipv6_literal(text: &str) -> Result<Self, InvalidHost> {
        let address: Ipv6Addr = text.parse().map_err(|_| InvalidHost::Ipv6)?;
        Ok(Self::Ip(canonical_ip(IpAddr::V6(address))))
    }

    /// The name, unless this is an address.
    pub const fn name(&self) -> Option<&HostName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }

    /// The address, unless this is a name.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Ip(canonical_ip(address))
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    /// A name, a dotted quad, or an IPv6 address *without* brackets (as events write it).
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if text.contains(':') {
            return Self::from_ipv6_literal(text);
        }
        match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Self::Ip(IpAddr::V4(address))),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => fmt::Display::fmt(name, f),
            Self::Ip(ip) => fmt::Display::fmt(ip, f),
        }
    }
}

serde_as_text!(HostName);
serde_as_text!(Host);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_one_trailing_dot_do_not_matter() {
        let canonical: Host = "example.com".parse().unwrap();
        assert_eq!("EXAMPLE.com.".parse(), Ok(canonical));
    }

    #[test]
    fn empty_labels_are_refused() {
        for bad in [
            "",
            ".",
            "example.com..",
            "a..b",
            ".example.com",
            "-a.com",
            "a-.com",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_in_disguise_are_refused() {
        for bad in [
            "127.1",
            "0x7f.1",
            "017700000001",
            "2130706433",
            "1.2.3.4.5",
            "a.0x7f",
            "01.2.3.4",
            "1.2.3.4.",
            "256.1.1.1",
        ] {
            assert_eq!(bad.parse::<Host>(), Err(InvalidHost::NotDottedQuad), "{bad:?}");
        }
    }

    #[test]
    fn names_are_ascii_and_bounded() {
        for bad in [
            "a b",
            "a\0b.com",
            "exämple.com",
            "a\u{3002}b",
            "a/b",
            "a%2eb",
            "a@b",
            "a\\b",
            "*.a",
        ] {
            assert!(
                matches!(bad.parse::<Host>(), Err(InvalidHost::Character { .. })),
                "{bad:?}"
            );
        }
        let label = "a".repeat(63);
        assert!(format!("{label}.com").parse::<Host>().is_ok());
        assert_eq!(format!("a{label}.com").parse::<Host>(), Err(InvalidHost::Label));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(longest.parse::<Host>().is_ok());
        assert_eq!(format!("{longest}a").parse::<Host>(), Err(InvalidHost::Length));
    }

    #[test]
    fn ipv6_is_canonical_and_mapped_ipv4_is_folded() {
        assert_eq!(
            "2001:0DB8::0:1".parse::<Host>().unwrap().to_string(),
            "2001:db8::1"
        );
        assert_eq!(
            "::ffff:127.0.0.1".parse::<Host>().unwrap().to_string(),
            "127.0.0.1"
        );
        assert_eq!("fe80::1%eth0".parse::<Host>(), Err(InvalidHost::Ipv6));
    }

    proptest! {
        #[test]
        fn every_host_reads_back_as_itself(text in "[a-zA-Z0-9._:-]{1,40}") {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
            }
        }
    }
}
