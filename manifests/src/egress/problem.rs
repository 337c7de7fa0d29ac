//! What can be wrong with an egress entry, and what to write instead.

use base::InvalidHost;

/// An entry that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("egress entry {entry:?}: {problem}")]
pub struct InvalidEntry {
    /// The entry as written, cut to a printable length.
    pub entry: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an egress entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No host.
    #[error("no host is named; write one, such as \"api.example.com\"")]
    Empty,
    /// Longer than any entry needs to be.
    #[error("it is longer than {max} bytes; split it into several entries")]
    TooLong {
        /// The most bytes an entry may have.
        max: usize,
    },
    /// Space, control character, percent sign, or something else that no host contains.
    #[error("{character:?} cannot be part of it; write a plain host name and remove spaces and escapes")]
    Character {
        /// The first offending character.
        character: char,
    },
    /// A scheme that the grammar does not have.
    #[error(
        "{scheme:?} is not one of https, http, wss, ws, tls, tcp; write \"{instead}://host:port\" instead"
    )]
    Scheme {
        /// The scheme as written.
        scheme: String,
        /// The scheme that comes closest.
        instead: &'static str,
    },
    /// A protocol that the gateway does not carry, so a promise about it could never be checked.
    #[error(
        "{scheme} does not pass the gateway and could not be checked; declare the TCP port or leave it out"
    )]
    Unobservable {
        /// The scheme as written, in lower case.
        scheme: String,
    },
    /// `user@host`.
    #[error("it carries user information; write the host alone, after the \"@\"")]
    UserInfo,
    /// A path, query or fragment.
    #[error("paths and queries cannot be observed and are not declared; write the host alone")]
    Path,
    /// A regular expression, brace list or shell pattern.
    #[error("it looks like a regular expression; write each host, or \"*.example.com\" for one label")]
    Pattern,
    /// `!host`, `-host`.
    #[error("entries only allow, nothing is excluded; remove the \"{sign}\" and declare what is used")]
    Negation {
        /// The sign found.
        sign: char,
    },
    /// `*`, `**`.
    #[error("a wildcard alone would promise nothing; name the hosts, such as \"*.example.com\"")]
    BareWildcard,
    /// A wildcard anywhere but as the whole first label.
    #[error(
        "a wildcard stands alone as the first label (\"*.example.com\", \"**.example.com\"); name the other hosts in full"
    )]
    WildcardPlace,
    /// `10.0.*.*`, `*.10.0.0.1`.
    #[error("addresses take no wildcard; write a network such as \"10.0.0.0/16\"")]
    WildcardAddress,
    /// `*.com`.
    #[error(
        "{suffix:?} is a top-level domain and strangers live there; name your domain, such as \"*.example.{suffix}\""
    )]
    WildcardTopLevel {
        /// The top-level domain.
        suffix: String,
    },
    /// `*.co.uk`.
    #[error(
        "{suffix:?} is a public suffix and strangers live there; name your domain, such as \"*.example.{suffix}\""
    )]
    WildcardPublicSuffix {
        /// The public suffix.
        suffix: String,
    },
    /// Not a DNS name.
    #[error("{0}; write a full host name such as \"api.example.com\"")]
    Name(InvalidHost),
    /// `127.1`, `0x7f.1`, `2130706433`.
    #[error("it looks like an IPv4 address; write four plain decimal numbers such as \"192.0.2.7\"")]
    AddressSpelling,
    /// Not a valid international name, or one that does not survive conversion both ways.
    #[error(
        "it is not a valid international name (UTS 46); write the \"xn--\" form that your registrar shows"
    )]
    International,
    /// An IPv6 address without brackets.
    #[error("IPv6 addresses stand in brackets; write {instead:?}")]
    Ipv6Brackets {
        /// The entry with brackets.
        instead: String,
    },
    /// Not an IPv6 address, or one with a zone.
    #[error("the brackets hold no IPv6 address (zones are not read); write one such as \"[2001:db8::1]\"")]
    Ipv6,
    /// A prefix length that is no number or too large.
    #[error("a prefix length is a plain number from 0 to {max}; write \"/{max}\" for one address")]
    PrefixLength {
        /// The largest prefix length of this kind of address.
        max: u8,
    },
    /// `10.0.0.1/8`.
    #[error("the address has bits set beyond its prefix; write {network:?}")]
    HostBits {
        /// The network meant, in canonical form.
        network: String,
    },
    /// `tls://host`, `tcp://host`.
    #[error("{scheme} has no port of its own; write \"{scheme}://host:port\"")]
    PortsMissing {
        /// The scheme.
        scheme: &'static str,
    },
    /// Not a list of ports.
    #[error(
        "{text:?} is not a list of ports; write numbers from 1 to 65535 such as \":443\" or \":8000-8099,9000\""
    )]
    Port {
        /// The ports as written.
        text: String,
    },
    /// `90-80`.
    #[error("the port range runs backwards; write \"{last}-{first}\"")]
    PortRange {
        /// The first port as written.
        first: u16,
        /// The last port as written.
        last: u16,
    },
}

impl Problem {
    /// A stable name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong { .. } => "too_long",
            Self::Character { .. } => "character",
            Self::Scheme { .. } => "scheme",
            Self::Unobservable { .. } => "unobservable",
            Self::UserInfo => "user_info",
            Self::Path => "path",
            Self::Pattern => "pattern",
            Self::Negation { .. } => "negation",
            Self::BareWildcard => "bare_wildcard",
            Self::WildcardPlace => "wildcard_place",
            Self::WildcardAddress => "wildcard_address",
            Self::WildcardTopLevel { .. } => "wildcard_top_level",
            Self::WildcardPublicSuffix { .. } => "wildcard_public_suffix",
            Self::Name(_) => "name",
            Self::AddressSpelling => "address_spelling",
            Self::International => "international",
            Self::Ipv6Brackets { .. } => "ipv6_brackets",
            Self::Ipv6 => "ipv6",
            Self::PrefixLength { .. } => "prefix_length",
            Self::HostBits { .. } => "host_bits",
            Self::PortsMissing { .. } => "ports_missing",
            Self::Port { .. } => "port",
            Self::PortRange { .. } => "port_range",
        }
    }
}
