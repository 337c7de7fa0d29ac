//! Address classes: which part of the internet an IP address belongs to.
//!
//! IPv6 has many ways to carry an IPv4 address inside (RFC 4291 §2.5.5, RFC 6052, RFC 3056,
//! RFC 4380). A range check that does not look inside is no check, so [`classify`] unwraps first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::text_enum::text_enum;

text_enum! {
    /// Which part of the internet an address belongs to.
    pub enum AddressClass as "address class" {
        /// Globally reachable unicast.
        Public = "public",
        /// `127.0.0.0/8`, `::1`.
        Loopback = "loopback",
        /// `169.254.0.0/16`, `fe80::/10`.
        LinkLocal = "link_local",
        /// Addresses at which clouds serve instance metadata and credentials.
        Metadata = "metadata",
        /// RFC 1918, RFC 4193, and shared address space (RFC 6598).
        Private = "private",
        /// `0.0.0.0/8`, `::`.
        Unspecified = "unspecified",
        /// Multicast and broadcast.
        Multicast = "multicast",
        /// Documentation, benchmarking and other ranges that no server on the internet has.
        Reserved = "reserved",
    }
}

/// IPv4-mapped IPv6 folded to IPv4 (RFC 4291 §2.5.5.2); everything else unchanged.
pub fn canonical_ip(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The class of `address`, after unwrapping every IPv4 address that is embedded in it: an embedding
/// of a non-public address has the class of what it embeds.
pub fn classify(address: IpAddr) -> AddressClass {
    match canonical_ip(address) {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        // Amazon, Google, Azure, Oracle; Alibaba; Azure's wire server.
        (169, 254, 169, 254) | (169, 254, 170, 2) | (100, 100, 100, 200) | (168, 63, 129, 16) => {
            AddressClass::Metadata
        }
        (0, ..) => AddressClass::Unspecified,
        (127, ..) => AddressClass::Loopback,
        (169, 254, ..) => AddressClass::LinkLocal,
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) | (100, 64..=127, ..) => AddressClass::Private,
        (224..=239, ..) | (255, 255, 255, 255) => AddressClass::Multicast,
        (192, 0, 0 | 2, _) | (198, 51, 100, _) | (203, 0, 113, _) | (198, 18..=19, ..) | (240..=255, ..) => {
            AddressClass::Reserved
        }
        _ => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    let s = address.segments();
    if s == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] || s == [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] {
        return AddressClass::Metadata;
    }
    if let Some(inner) = embedded_v4(s) {
        return match classify_v4(inner) {
            // Deprecated and local-use embeddings have no business on the internet even then.
            AddressClass::Public if s[..6] == [0; 6] || s[..3] == [0x64, 0xff9b, 1] => AddressClass::Reserved,
            class => class,
        };
    }
    match s[0] {
        0xfe80..=0xfebf => AddressClass::LinkLocal,
        0xfec0..=0xfeff | 0xfc00..=0xfdff => AddressClass::Private,
        0xff00..=0xffff => AddressClass::Multicast,
        0x2001 if s[1] == 0x0db8 || s[1] < 0x0200 => AddressClass::Reserved,
        0x2000..=0x3ffe => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address carried inside an IPv6 one: IPv4-compatible, NAT64 (well-known and local-use
/// prefix), 6to4, Teredo (client address, inverted) and ISATAP.
fn embedded_v4(s: [u16; 8]) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => {
            Some(join(high, low))
        }
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn every_embedding_of_loopback_is_loopback() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "2001:0:53aa:64c:0:fbff:80ff:fffe",
            "2001:db8::5efe:7f00:1",
        ] {
            assert_eq!(class(text), AddressClass::Loopback, "{text}");
        }
    }

    #[test]
    fn metadata_services_are_known() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert_eq!(class(text), AddressClass::Metadata, "{text}");
        }
    }

    #[test]
    fn ranges_have_their_class_at_both_ends() {
        for (text, expected) in [
            ("10.0.0.0", AddressClass::Private),
            ("10.255.255.255", AddressClass::Private),
            ("172.15.255.255", AddressClass::Public),
            ("172.16.0.0", AddressClass::Private),
            ("172.31.255.255", AddressClass::Private),
            ("172.32.0.0", AddressClass::Public),
            ("192.168.0.1", AddressClass::Private),
            ("100.64.0.0", AddressClass::Private),
            ("100.128.0.0", AddressClass::Public),
            ("169.254.0.1", AddressClass::LinkLocal),
            ("fe80::1", AddressClass::LinkLocal),
            ("fd12::1", AddressClass::Private),
            ("0.0.0.0", AddressClass::Unspecified),
            ("::", AddressClass::Unspecified),
            ("224.0.0.1", AddressClass::Multicast),
            ("ff02::1", AddressClass::Multicast),
            ("192.0.2.1", AddressClass::Reserved),
            ("2001:db8::1", AddressClass::Reserved),
            ("8.8.8.8", AddressClass::Public),
            ("2606:4700::1111", AddressClass::Public),
            ("2002:808:808::", AddressClass::Public),
            ("64:ff9b::808:808", AddressClass::Public),
            ("::8.8.8.8", AddressClass::Reserved),
            ("64:ff9b:1::808:808", AddressClass::Reserved),
            ("4000::1", AddressClass::Reserved),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
    }
}
