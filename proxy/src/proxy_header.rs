//! PROXY protocol headers (version 2): where a client came from, said by whoever carried it here.
//!
//! Whoever may send one can speak for any address, so a header counts only from peers that the
//! operator listed, and they must send it: a listed peer without one would pass for its own client.
//! From everybody else a header is a lie, or a misconfiguration that looks like one.
//!
//! Read as in the PROXY protocol specification (HAProxy, 2020), section 2.2: "The binary header
//! format starts with a constant 12 bytes block containing the protocol signature", then one byte
//! with version (high nibble) and command (low), one with address family (high) and transport (low),
//! and two with the length of what follows, addresses and TLVs. Version 1 is text; it is recognised,
//! to be refused by its name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// "\x0D \x0A \x0D \x0A \x00 \x0D \x0A \x51 \x55 \x49 \x54 \x0A" (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How a version 1 header begins (section 2.1).
const TEXT: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// The largest header that is read. Addresses take 36 bytes (216 for Unix sockets); the rest are TLVs,
/// which say things about the peer's own listener that nobody here asks for.
const MAX_LENGTH: usize = 4 << 10;

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

/// What the first bytes of a connection are, as far as these headers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preface {
    /// Too few bytes to tell.
    More,
    /// A version 2 header begins here.
    Header,
    /// A version 1 header begins here.
    Text,
    /// Neither.
    None,
}

/// Where the header says that the client came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The peer speaks for itself: a health check.
    Peer,
    /// From this address.
    Network(SocketAddr),
    /// From nowhere that has an address.
    Unknown,
}

/// Why bytes that begin like a header are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidHeader {
    #[error("the PROXY header is of version {0}; send version 2")]
    Version(u8),
    #[error("the PROXY header has command {0}, which does not exist")]
    Command(u8),
    #[error("the PROXY header has address family {0:#04x}, which does not exist")]
    Family(u8),
    #[error("the PROXY header is too short for its addresses")]
    Short,
    #[error("the PROXY header has {0} bytes, more than the {MAX_LENGTH} allowed")]
    Long(usize),
}

/// Tells what begins here.
pub(crate) fn preface(bytes: &[u8]) -> Preface {
    if bytes.starts_with(SIGNATURE) {
        Preface::Header
    } else if TEXT.iter().any(|text| bytes.starts_with(text)) {
        Preface::Text
    } else if SIGNATURE.starts_with(bytes) || TEXT.iter().any(|text| text.starts_with(bytes)) {
        Preface::More
    } else {
        Preface::None
    }
}

/// Reads a header, the first bytes of which are [`Preface::Header`]: what it says and how many bytes
/// it has, or `None` while more are needed.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Origin, usize)>, InvalidHeader> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., version_and_command, family_and_transport, high, low] = *fixed;
    // "The receiver must ... only accept the version 2" (section 2.2).
    let version = version_and_command >> 4;
    if version != 2 {
        return Err(InvalidHeader::Version(version));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err(InvalidHeader::Long(length));
    }
    let command = version_and_command & 0xf;
    if command > PROXY {
        return Err(InvalidHeader::Command(command));
    }
    let Some(block) = rest.get(..length) else {
        return Ok(None);
    };
    let origin = match command {
        // "must ... use the real connection endpoints and discard the protocol block".
        LOCAL => Origin::Peer,
        _ => source(family_and_transport, block)?,
    };
    Ok(Some((origin, FIXED + length)))
}

/// How many bytes are certainly missing of a header that begins with `bytes`: reading no more than
/// that leaves what comes behind the header where it is.
pub(crate) fn missing(bytes: &[u8]) -> u64 {
    let whole = match bytes.first_chunk::<FIXED>() {
        Some(&[.., high, low]) => FIXED + usize::from(u16::from_be_bytes([high, low])),
        None => FIXED,
    };
    u64::try_from(whole.saturating_sub(bytes.len())).unwrap_or(u64::MAX)
}

/// The source address that `block` begins with.
fn source(family_and_transport: u8, block: &[u8]) -> Result<Origin, InvalidHeader> {
    // Source and destination address, then source and destination port.
    match family_and_transport {
        0x11 => {
            let block = block.first_chunk::<12>().ok_or(InvalidHeader::Short)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *block;
            let ip = IpAddr::from(Ipv4Addr::new(a, b, c, d));
            Ok(Origin::Network((ip, u16::from_be_bytes([high, low])).into()))
        }
        0x21 => {
            let block = block.first_chunk::<36>().ok_or(InvalidHeader::Short)?;
            let ip = block.first_chunk::<16>().ok_or(InvalidHeader::Short)?;
            let ip = IpAddr::from(Ipv6Addr::from(*ip)).to_canonical();
            Ok(Origin::Network(
                (ip, u16::from_be_bytes([block[32], block[33]])).into(),
            ))
        }
        // A Unix socket has an address, and it is nowhere from here.
        0x31 if block.len() >= 216 => Ok(Origin::Unknown),
        0x31 => Err(InvalidHeader::Short),
        // "forwarded for an unknown, unspecified or unsupported protocol".
        0x00 => Ok(Origin::Unknown),
        // Datagrams (0x12, 0x22, 0x32) do not come over a stream, and other values are not assigned:
        // "Other values are unspecified and must be rejected".
        other => Err(InvalidHeader::Family(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_and_command, family], &length, block].concat()
    }

    fn v4() -> Vec<u8> {
        header(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x0c, 0x38])
    }

    #[test]
    fn the_source_is_read_and_everything_behind_the_addresses_is_passed_over() {
        assert_eq!(
            read(&v4()),
            Ok(Some((Origin::Network("192.0.2.7:12345".parse().unwrap()), 28)))
        );
        let mut block = vec![0; 36];
        block[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        block[32..34].copy_from_slice(&443u16.to_be_bytes());
        // PP2_TYPE_AUTHORITY, with a length that does not even fit.
        block.extend([0x02, 0xff, 0xff, b'x']);
        let bytes = [header(0x21, 0x21, &block), b"CONNECT".to_vec()].concat();
        let source = "[2001:db8::7]:443".parse().unwrap();
        assert_eq!(read(&bytes), Ok(Some((Origin::Network(source), 56))));
        block[..16].copy_from_slice(&"::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap().octets());
        let source = "192.0.2.7:443".parse().unwrap();
        assert_eq!(
            read(&header(0x21, 0x21, &block)),
            Ok(Some((Origin::Network(source), 56)))
        );
    }

    #[test]
    fn a_health_check_is_the_peers_own_and_what_has_no_address_comes_from_nowhere() {
        assert_eq!(read(&header(0x20, 0x00, &[])), Ok(Some((Origin::Peer, 16))));
        // The family is ignored, and so are addresses.
        assert_eq!(read(&header(0x20, 0x11, &[1; 12])), Ok(Some((Origin::Peer, 28))));
        assert_eq!(
            read(&header(0x21, 0x00, &[9; 3])),
            Ok(Some((Origin::Unknown, 19)))
        );
        assert_eq!(
            read(&header(0x21, 0x31, &[0; 216])),
            Ok(Some((Origin::Unknown, 232)))
        );
    }

    #[test]
    fn what_is_not_version_2_of_a_stream_is_refused() {
        for (bytes, error) in [
            (header(0x11, 0x11, &[0; 12]), InvalidHeader::Version(1)),
            (header(0x31, 0x11, &[0; 12]), InvalidHeader::Version(3)),
            (header(0x22, 0x11, &[0; 12]), InvalidHeader::Command(2)),
            (header(0x21, 0x12, &[0; 12]), InvalidHeader::Family(0x12)),
            (header(0x21, 0x41, &[0; 12]), InvalidHeader::Family(0x41)),
            (header(0x21, 0x11, &[0; 11]), InvalidHeader::Short),
            (header(0x21, 0x21, &[0; 35]), InvalidHeader::Short),
            (header(0x21, 0x31, &[0; 215]), InvalidHeader::Short),
            (
                header(0x21, 0x11, &[0; MAX_LENGTH + 1]),
                InvalidHeader::Long(MAX_LENGTH + 1),
            ),
        ] {
            assert_eq!(read(&bytes), Err(error));
        }
        // A length that is too large is refused before anything of it is waited for.
        let long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        assert_eq!(read(&long), Err(InvalidHeader::Long(0xffff)));
    }

    #[test]
    fn headers_are_told_from_http_by_their_first_bytes() {
        for (bytes, expected) in [
            (&b""[..], Preface::More),
            (b"\r\n", Preface::More),
            (b"\r\n\r\n\0", Preface::More),
            (b"P", Preface::More),
            (b"PROXY TCP", Preface::More),
            (SIGNATURE, Preface::Header),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n", Preface::Text),
            (b"PROXY UNKNOWN\r\n", Preface::Text),
            (b"\r\nGET http://a/", Preface::None),
            (b"POST http://a/", Preface::None),
            (b"PROXY http://a/", Preface::None),
            (b"CONNECT", Preface::None),
            (&[5, 1, 0], Preface::None),
        ] {
            assert_eq!(preface(bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn half_a_header_is_waited_for_and_no_bytes_make_the_reader_panic(
            command in 0u8..3, family in any::<u8>(), block in proptest::collection::vec(any::<u8>(), 0..300),
            cut in any::<prop::sample::Index>(), tail in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let whole = header(0x20 | command, family, &block);
            let answer = read(&whole);
            let part = &whole[..cut.index(whole.len())];
            let partial = read(part);
            prop_assert!(missing(part) >= 1 && part.len() as u64 + missing(part) <= whole.len() as u64);
            prop_assert!(partial == Ok(None) || partial == answer);
            prop_assert_eq!(read(&[&whole[..], &tail].concat()), answer);
            if let Ok(Some((_, length))) = answer {
                prop_assert_eq!(length, whole.len());
            }
        }

        #[test]
        fn every_source_is_read_as_it_was_written(source in any::<SocketAddr>(), tlvs in proptest::collection::vec(any::<u8>(), 0..60)) {
            let (family, mut block) = match source {
                SocketAddr::V4(v4) => (0x11, [&v4.ip().octets()[..], &[0; 4]].concat()),
                SocketAddr::V6(v6) => (0x21, [&v6.ip().octets()[..], &[0; 16]].concat()),
            };
            block.extend(source.port().to_be_bytes());
            block.extend([0, 0]);
            block.extend(tlvs);
            let expected = SocketAddr::from((source.ip().to_canonical(), source.port()));
            let (origin, _) = read(&header(0x21, family, &block)).unwrap().unwrap();
            prop_assert_eq!(origin, Origin::Network(expected));
        }
    }
}
