//! Host patterns: the host part of an egress entry.
//!
//! Any two patterns are nested or disjoint, never half over each other. That is what keeps inclusion
//! and difference of declarations decidable by looking at them, and it is why the grammar has no
//! wildcard in the middle and no negation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use base::{Host, HostName, InvalidHost, canonical_ip};
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Problem;
use super::suffix::{SuffixKind, suffix_kind};

/// The longest DNS name, in bytes.
const MAX_NAME: usize = 253;

/// The hosts that an entry speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This name alone.
    Name(HostName),
    /// `*.x`: names with exactly one label more.
    OneLabelUnder(HostName),
    /// `**.x`: names with one label more, or several.
    LabelsUnder(HostName),
    /// This address alone.
    Address(IpAddr),
    /// Every address of a network of two or more.
    Network(IpNet),
}

impl HostPattern {
    /// Whether the pattern covers `host`. A name never covers an address, nor the other way round.
    pub fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Name(name), Host::Name(asked)) => name == asked,
            (Self::OneLabelUnder(parent), Host::Name(asked)) => {
                labels_under(asked, parent).is_some_and(|labels| !labels.contains('.'))
            }
            (Self::LabelsUnder(parent), Host::Name(asked)) => labels_under(asked, parent).is_some(),
            (Self::Address(address), Host::Ip(asked)) => *address == canonical_ip(*asked),
            (Self::Network(network), Host::Ip(asked)) => network.contains(&canonical_ip(*asked)),
            _ => false,
        }
    }

    /// Whether the pattern covers every host that `other` covers. Where it does not, and `other` does
    /// not include it either, the two share no host at all.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Name(name)) => self.covers(&Host::Name(name.clone())),
            (_, Self::Address(address)) => self.covers(&Host::Ip(*address)),
            (Self::LabelsUnder(parent), Self::OneLabelUnder(inner) | Self::LabelsUnder(inner)) => {
                inner == parent || labels_under(inner, parent).is_some()
            }
            (Self::Network(network), Self::Network(inner)) => network.contains(inner),
            _ => self == other,
        }
    }

    /// The name that is meant or stands behind the wildcard, unless this is about addresses.
    pub const fn name(&self) -> Option<&HostName> {
        match self {
            Self::Name(name) | Self::OneLabelUnder(name) | Self::LabelsUnder(name) => Some(name),
            Self::Address(_) | Self::Network(_) => None,
        }
    }

    /// The name behind the wildcard, if there is a wildcard.
    pub const fn wildcard_parent(&self) -> Option<&HostName> {
        match self {
            Self::OneLabelUnder(name) | Self::LabelsUnder(name) => Some(name),
            _ => None,
        }
    }

    /// The pattern with international labels in Unicode, for people; `None` where that changes nothing.
    pub fn to_unicode(&self) -> Option<String> {
        let name = self.name()?.as_str();
        let (unicode, outcome) =
            Uts46::new().to_unicode(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
        let prefix = self.wildcard_prefix();
        (outcome.is_ok() && unicode != name).then(|| format!("{prefix}{unicode}"))
    }

    /// Hosts near the pattern that it does *not* cover, for people who expect that it does.
    pub fn near_misses(&self) -> Vec<String> {
        match self {
            Self::Name(name) => vec![format!("www.{name}"), format!("not{name}")],
            Self::OneLabelUnder(parent) => {
                vec![
                    parent.to_string(),
                    format!("a.b.{parent}"),
                    format!("not{parent}"),
                ]
            }
            Self::LabelsUnder(parent) => vec![parent.to_string(), format!("not{parent}")],
            Self::Address(_) => vec!["any name that resolves to it".to_owned()],
            Self::Network(_) => vec!["any name that resolves into it".to_owned()],
        }
    }

    /// The network as a pattern; a network of one is an address.
    pub(super) fn network(network: IpNet) -> Self {
        if network.prefix_len() == network.max_prefix_len() {
            Self::Address(network.addr())
        } else {
            Self::Network(network)
        }
    }

    const fn wildcard_prefix(&self) -> &'static str {
        match self {
            Self::OneLabelUnder(_) => "*.",
            Self::LabelsUnder(_) => "**.",
            _ => "",
        }
    }
}

/// What stands before `.parent` in `name`, whole labels only.
fn labels_under<'n>(name: &'n HostName, parent: &HostName) -> Option<&'n str> {
    name.as_str().strip_suffix(parent.as_str())?.strip_suffix('.')
}

impl FromStr for HostPattern {
    type Err = Problem;

    /// IPv6 addresses stand in brackets here, as in an entry.
    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Err(Problem::Empty);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return parse_ipv6(rest);
        }
        check_characters(text)?;
        if let Some((address, prefix)) = text.split_once('/') {
            let address: Ipv4Addr = address.parse().map_err(|_| Problem::Path)?;
            return parse_ipv4_network(address, prefix);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        parse_name(text)
    }
}

fn check_characters(text: &str) -> Result<(), Problem> {
    if let Some(sign) = text.chars().next().filter(|sign| matches!(sign, '!' | '-' | '~')) {
        return Err(Problem::Negation { sign });
    }
    for character in text.chars() {
        match character {
            '^' | '$' | '(' | ')' | '|' | '{' | '}' | '+' | '\\' | '[' | ']' => return Err(Problem::Pattern),
            '?' | '#' => return Err(Problem::Path),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '*' | '/' => {}
            _ if character.is_ascii() || character.is_whitespace() || character.is_control() => {
                return Err(Problem::Character { character });
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse_name(text: &str) -> Result<HostPattern, Problem> {
    type Build = fn(HostName) -> HostPattern;
    let (rest, build): (&str, Build) = if let Some(rest) = text.strip_prefix("**.") {
        (rest, HostPattern::LabelsUnder)
    } else if let Some(rest) = text.strip_prefix("*.") {
        (rest, HostPattern::OneLabelUnder)
    } else {
        (text, HostPattern::Name)
    };
    if text.bytes().all(|byte| matches!(byte, b'*' | b'.')) && text.contains('*') {
        return Err(Problem::BareWildcard);
    }
    let digits = rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'*'));
    if text.contains('*') && digits {
        return Err(Problem::WildcardAddress);
    }
    if rest.contains('*') {
        return Err(Problem::WildcardPlace);
    }
    let name = to_host_name(rest)?;
    let pattern = build(name);
    let Some(parent) = pattern.wildcard_parent() else {
        return Ok(pattern);
    };
    let suffix = parent.to_string();
    match suffix_kind(parent) {
        SuffixKind::TopLevel => Err(Problem::WildcardTopLevel { suffix }),
        SuffixKind::Icann => Err(Problem::WildcardPublicSuffix { suffix }),
        // The shortest name under it, "a." and the parent, must still be a name.
        _ if suffix.len() + 2 > MAX_NAME => Err(Problem::Name(InvalidHost::Length)),
        SuffixKind::Private | SuffixKind::Own => Ok(pattern),
    }
}

/// UTS 46 ToASCII, non-transitional, and back again: what does not come back as itself is refused,
/// because then two spellings of one entry would mean two hosts.
fn to_host_name(text: &str) -> Result<HostName, Problem> {
    let uts46 = Uts46::new();
    let to_ascii = |text: &str| {
        uts46
            .to_ascii(
                text.as_bytes(),
                AsciiDenyList::EMPTY,
                Hyphens::Allow,
                DnsLength::Ignore,
            )
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| Problem::International)
    };
    let ascii = to_ascii(text)?;
    let (unicode, outcome) = uts46.to_unicode(ascii.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
    if outcome.is_err() || to_ascii(&unicode)? != ascii {
        return Err(Problem::International);
    }
    ascii.parse().map_err(|error| match error {
        InvalidHost::Empty => Problem::Empty,
        InvalidHost::NotDottedQuad => Problem::AddressSpelling,
        other => Problem::Name(other),
    })
}

fn parse_prefix(text: &str, max: u8) -> Result<u8, Problem> {
    let plain = matches!(text.len(), 1..=3) && text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    match text.parse::<u8>() {
        Ok(length) if plain && !padded && length <= max => Ok(length),
        _ => Err(Problem::PrefixLength { max }),
    }
}

fn parse_ipv4_network(address: Ipv4Addr, prefix: &str) -> Result<HostPattern, Problem> {
    let length = parse_prefix(prefix, 32)?;
    let network = Ipv4Net::new(address, length).map_err(|_| Problem::PrefixLength { max: 32 })?;
    without_host_bits(network.into())
}

/// Parses what follows the opening bracket: `v6]` or `v6]/n`.
fn parse_ipv6(rest: &str) -> Result<HostPattern, Problem> {
    let (literal, rest) = rest.split_once(']').ok_or(Problem::Ipv6)?;
    let address: Ipv6Addr = literal.parse().map_err(|_| match literal.split_once('/') {
        Some((address, length)) if address.parse::<Ipv6Addr>().is_ok() => Problem::Ipv6Brackets {
            instead: format!("[{address}]/{length}"),
        },
        _ => Problem::Ipv6,
    })?;
    let Some(prefix) = rest.strip_prefix('/') else {
        let folded = canonical_ip(IpAddr::V6(address));
        return if rest.is_empty() {
            Ok(HostPattern::Address(folded))
        } else {
            Err(Problem::Ipv6)
        };
    };
    let length = parse_prefix(prefix, 128)?;
    match (address.to_ipv4_mapped(), length.checked_sub(96)) {
        (Some(v4), Some(length)) => {
            let network = Ipv4Net::new(v4, length).map_err(|_| Problem::PrefixLength { max: 128 })?;
            without_host_bits(network.into())
        }
        _ => {
            let network = Ipv6Net::new(address, length).map_err(|_| Problem::PrefixLength { max: 128 })?;
            without_host_bits(network.into())
        }
    }
}

fn without_host_bits(network: IpNet) -> Result<HostPattern, Problem> {
    let pattern = HostPattern::network(network.trunc());
    if network.addr() == network.network() {
        Ok(pattern)
    } else {
        Err(Problem::HostBits {
            network: pattern.to_string(),
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) | Self::OneLabelUnder(name) | Self::LabelsUnder(name) => {
                write!(f, "{}{name}", self.wildcard_prefix())
            }
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Network(IpNet::V4(network)) => write!(f, "{network}"),
            Self::Network(IpNet::V6(network)) => write!(f, "[{}]/{}", network.addr(), network.prefix_len()),
        }
    }
}
