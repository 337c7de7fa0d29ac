//! Targets: where a client asked to go, parsed once.
//!
//! The parsed value is logged, matched, resolved and dialled; nothing reads the raw text again
//! except people.

use std::fmt;

use crate::{Host, InvalidHost, InvalidPort, Port};

/// A destination: host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The host asked for.
    pub host: Host,
    /// The port asked for; there is no default.
    pub port: Port,
}

/// Why an authority is not a target. All of these are answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// A byte outside printable ASCII.
    #[error("the target has a byte outside printable ASCII (byte {at})")]
    Character {
        /// Offset of the first offending byte.
        at: usize,
    },
    /// `user@host`.
    #[error("the target carries user information; credentials belong into Proxy-Authorization")]
    UserInfo,
    /// `[` or `]` anywhere but around an IPv6 literal.
    #[error("brackets belong around an IPv6 address only")]
    Brackets,
    /// No `:port`.
    #[error("the target has no port")]
    PortMissing,
    /// Not a port.
    #[error(transparent)]
    Port(#[from] InvalidPort),
    /// Not a host.
    #[error(transparent)]
    Host(#[from] InvalidHost),
}

impl Target {
    /// Parses `host:port` or `[v6]:port` as it stands on the wire. No percent-decoding, no
    /// conversion of international names, no default port.
    ///
    /// # Errors
    /// [`InvalidTarget`] for whatever could be read in two ways.
    pub fn from_authority(raw: &[u8]) -> Result<Self, InvalidTarget> {
        let (host, port) = split_authority(raw)?;
        Ok(Self {
            host,
            port: port.ok_or(InvalidTarget::PortMissing)?,
        })
    }

    /// Parses an authority whose port may be left out because its scheme has one.
    ///
    /// # Errors
    /// [`InvalidTarget`], as for [`Target::from_authority`].
    pub fn from_authority_or(raw: &[u8], default: Port) -> Result<Self, InvalidTarget> {
        let (host, port) = split_authority(raw)?;
        Ok(Self {
            host,
            port: port.unwrap_or(default),
        })
    }

    /// Parses a bare host name as SOCKS5 sends it.
    ///
    /// # Errors
    /// [`InvalidTarget`] where the bytes are no name and no dotted quad.
    pub fn from_name(raw: &[u8], port: Port) -> Result<Self, InvalidTarget> {
        let text = printable(raw)?;
        if text.contains(':') {
            return Err(InvalidTarget::Host(InvalidHost::Ipv6));
        }
        Ok(Self {
            host: text.parse()?,
            port,
        })
    }
}

fn split_authority(raw: &[u8]) -> Result<(Host, Option<Port>), InvalidTarget> {
    let text = printable(raw)?;
    if text.contains('@') {
        return Err(InvalidTarget::UserInfo);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (literal, rest) = rest.split_once(']').ok_or(InvalidTarget::Brackets)?;
        let host = Host::from_ipv6_literal(literal)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port.parse()?))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(InvalidTarget::Brackets),
        };
    }
    if text.contains(['[', ']']) {
        return Err(InvalidTarget::Brackets);
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((host.parse()?, Some(port.parse()?))),
        None => Ok((text.parse()?, None)),
    }
}

fn printable(raw: &[u8]) -> Result<&str, InvalidTarget> {
    match raw.iter().position(|byte| !byte.is_ascii_graphic()) {
        Some(at) => Err(InvalidTarget::Character { at }),
        None => Ok(std::str::from_utf8(raw).expect("printable ASCII is UTF-8")),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(std::net::IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Untrusted bytes as printable ASCII for an event: `\xNN` for everything else and for the
/// backslash, at most `max_len` bytes of output, `…` marked by a trailing `\~`.
pub fn escape_untrusted(raw: &[u8], max_len: usize) -> String {
    let mut text = String::with_capacity(raw.len().min(max_len));
    for &byte in raw {
        let plain = (byte.is_ascii_graphic() || byte == b' ') && byte != b'\\';
        let width = if plain { 1 } else { 4 };
        if text.len() + width + 2 > max_len {
            text.push_str("\\~");
            break;
        }
        if plain {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(raw: &str) -> Result<String, InvalidTarget> {
        Target::from_authority(raw.as_bytes()).map(|target| target.to_string())
    }

    #[test]
    fn ordinary_targets_have_one_canonical_form() {
        assert_eq!(target("Example.COM.:443").unwrap(), "example.com:443");
        assert_eq!(target("[2001:DB8:0::1]:8443").unwrap(), "[2001:db8::1]:8443");
        assert_eq!(target("[::ffff:10.0.0.1]:80").unwrap(), "10.0.0.1:80");
        assert_eq!(target("192.0.2.7:22").unwrap(), "192.0.2.7:22");
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            ":443",
            "example.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+443",
            "example.com:0443",
            "example.com:443 ",
            "example.com:443:443",
            "[example.com]:443",
            "[[::1]]:443",
            "[::1:443",
            "::1:443",
            "::1]:443",
            "[::1]443",
            "[fe80::1%eth0]:443",
            "ok.com@evil.com:443",
            "user:pw@host:443",
            "a\\b:443",
            "a/b:443",
            "a?b:443",
            "a#b:443",
            "a%2eb:443",
            "a%00:443",
            "a b:443",
            "a\tb:443",
            "a\rb:443",
            "a\nb:443",
            "a\u{7f}b:443",
            "exämple.com:443",
            "a\u{ff0e}b:443",
            "127.1:80",
            "0x7f.1:80",
            "2130706433:80",
            "example.com..:443",
            "http://a:443",
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
        assert!(Target::from_authority(b"evil.com\0.ok.com:443").is_err());
        assert!(Target::from_authority(b"\xff.com:443").is_err());
    }

    #[test]
    fn a_socks_name_is_a_name_and_nothing_else() {
        let parse = |raw: &[u8]| Target::from_name(raw, Port::HTTPS).map(|target| target.to_string());
        assert_eq!(parse(b"Example.com").unwrap(), "example.com:443");
        assert!(parse(b"example.com:443").is_err());
        assert!(parse(b"evil.com\0.ok.com").is_err());
        assert!(parse(b"").is_err());
    }

    #[test]
    fn escaped_text_is_printable_and_bounded() {
        assert_eq!(escape_untrusted(b"a\r\n\\\xff", 64), "a\\x0d\\x0a\\x5c\\xff");
        let long = escape_untrusted(&[0; 1000], 64);
        assert!(long.len() <= 64 && long.ends_with("\\~"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_and_what_parses_is_canonical(raw in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(target) = Target::from_authority(&raw) {
                prop_assert_eq!(Target::from_authority(target.to_string().as_bytes()), Ok(target));
            }
        }

        #[test]
        fn likely_bytes_parse_to_a_fixed_point(raw in "[\\[\\]a-z0-9:.%@-]{1,30}:[0-9]{1,5}") {
            if let Ok(target) = Target::from_authority(raw.as_bytes()) {
                prop_assert_eq!(Target::from_authority(target.to_string().as_bytes()), Ok(target));
            }
        }
    }
}
