//! The messages of SOCKS5 that a client sends (RFC 1928 §3, §4; RFC 1929 §2), and how each is read.
//!
//! No input or output, and nothing of the gateway: the caller hands over what has arrived so far.

use std::fmt;
use std::net::IpAddr;

use base::{Host, InvalidTarget, Port, Target};

pub(super) const VERSION: u8 = 5;
pub(super) const AUTH_VERSION: u8 = 1;
pub(super) const NO_AUTH: u8 = 0;
pub(super) const USER_AND_PASSWORD: u8 = 2;
pub(super) const CONNECT: u8 = 1;
pub(super) const UDP_ASSOCIATE: u8 = 3;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What a client may prove itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) no_auth: bool,
    pub(super) user_and_password: bool,
}

/// What a client proves itself with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct UserAndPassword {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
}

/// Credentials are shown to nobody.
impl fmt::Debug for UserAndPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserAndPassword")
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) command: u8,
    pub(super) target: Result<Target, Unreadable>,
    /// The host as it was sent: the bytes of a name, the usual text of an address.
    pub(super) raw_host: Vec<u8>,
}

/// Why a request names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Target(InvalidTarget),
    AddressType,
}

/// Bytes that are no SOCKS5 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A whole message and how many bytes it had, or `None` while more are needed.
pub(super) type Message<T> = Result<Option<(T, usize)>, Malformed>;

pub(super) fn greeting(bytes: &[u8]) -> Message<Greeting> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if version != VERSION {
        return Err(Malformed);
    }
    let Some(methods) = counted(rest) else {
        return Ok(None);
    };
    let greeting = Greeting {
        no_auth: methods.contains(&NO_AUTH),
        user_and_password: methods.contains(&USER_AND_PASSWORD),
    };
    Ok(Some((greeting, 2 + methods.len())))
}

pub(super) fn user_and_password(bytes: &[u8]) -> Message<UserAndPassword> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if version != AUTH_VERSION {
        return Err(Malformed);
    }
    let Some(user) = counted(rest) else {
        return Ok(None);
    };
    let Some((password, counted_len)) = password(&rest[1 + user.len()..]) else {
        return Ok(None);
    };
    let length = 2 + user.len() + counted_len;
    let credentials = UserAndPassword {
        user: user.to_vec(),
        password: password.to_vec(),
    };
    Ok(Some((credentials, length)))
}

/// The password and how many bytes it took with its length.
///
/// PySocks, and with it requests and pip, writes a length from 128 on as UTF-8, in two bytes where
/// RFC 1929 has one. Tokens are longer than that. The two forms cannot be taken for each other: the
/// byte after a length is the first of a token, which is ASCII, and the second of a pair never is.
fn password(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if let [lead @ (0xc2 | 0xc3), rest @ ..] = bytes {
        let (second, rest) = rest.split_first()?;
        if second & 0xc0 == 0x80 {
            let length = usize::from(lead & 0x1f) << 6 | usize::from(second & 0x3f);
            return Some((rest.get(..length)?, 2 + length));
        }
    }
    counted(bytes).map(|password| (password, 1 + password.len()))
}

pub(super) fn ask(bytes: &[u8]) -> Message<Ask> {
    let Some(([version, command, reserved, kind], rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    if *version != VERSION || *reserved != 0 {
        return Err(Malformed);
    }
    let host_len = match *kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => match rest.first() {
            Some(length) => 1 + usize::from(*length),
            None => return Ok(None),
        },
        // How long such an address is, nobody knows; this is as far as the message can be read.
        _ => {
            let ask = Ask {
                command: *command,
                target: Err(Unreadable::AddressType),
                raw_host: Vec::new(),
            };
            return Ok(Some((ask, bytes.len())));
        }
    };
    let Some((host, rest)) = rest.split_at_checked(host_len) else {
        return Ok(None);
    };
    let Some((port, _)) = rest.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let (target, raw_host) = read_target(*kind, host, u16::from_be_bytes(*port));
    let ask = Ask {
        command: *command,
        target: target.map_err(Unreadable::Target),
        raw_host,
    };
    Ok(Some((ask, 4 + host_len + 2)))
}

/// `kind` decides what `host` is, never its length: a name may be as long as an address.
fn read_target(kind: u8, host: &[u8], port: u16) -> (Result<Target, InvalidTarget>, Vec<u8>) {
    let port = Port::try_from(port).map_err(InvalidTarget::from);
    let ip = match kind {
        IPV4 => <[u8; 4]>::try_from(host).ok().map(IpAddr::from),
        IPV6 => <[u8; 16]>::try_from(host).ok().map(IpAddr::from),
        _ => None,
    };
    match ip {
        Some(ip) => {
            let host = Host::from(ip);
            (
                port.map(|port| Target { host, port }),
                ip.to_string().into_bytes(),
            )
        }
        None => {
            let name = &host[1..];
            let target = port.and_then(|port| Target::from_name(name, port));
            (target, name.to_vec())
        }
    }
}

/// A byte that counts, and so many bytes.
fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = bytes.split_first()?;
    rest.get(..usize::from(length))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    fn asked(host: &[u8], port: u16) -> Ask {
        let bytes = [
            &[5, 1, 0, 3, u8::try_from(host.len()).unwrap()],
            host,
            &port.to_be_bytes(),
        ]
        .concat();
        let (ask, length) = ask(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        ask
    }

    #[test]
    fn a_password_is_read_whichever_way_its_length_was_written() {
        for length in 1..=255usize {
            let secret = vec![b'a'; length];
            let one_byte = vec![u8::try_from(length).unwrap()];
            let as_text = char::from_u32(u32::try_from(length).unwrap())
                .unwrap()
                .to_string()
                .into_bytes();
            for written in [one_byte, as_text] {
                let message = [&[1, 3], &b"run"[..], &written, &secret].concat();
                // Nothing is made of it before it is whole, and nothing is left over after.
                for end in 0..message.len() {
                    assert_eq!(
                        user_and_password(&message[..end]),
                        Ok(None),
                        "{length} cut at {end}"
                    );
                }
                let (proof, used) = user_and_password(&message).unwrap().unwrap();
                assert_eq!(used, message.len());
                assert_eq!((&proof.user[..], &proof.password[..]), (&b"run"[..], &secret[..]));
            }
        }
    }

    #[test]
    fn a_name_is_a_name_and_an_address_is_an_address() {
        assert_eq!(
            asked(b"Example.com", 443).target.unwrap().to_string(),
            "example.com:443"
        );
        // As long as an IPv4 and an IPv6 address, counting the byte before it.
        assert_eq!(asked(b"abc", 443).target.unwrap().to_string(), "abc:443");
        assert_eq!(
            asked(b"a.b.example.com", 443).target.unwrap().to_string(),
            "a.b.example.com:443"
        );
        let v4 = [5, 1, 0, 1, 192, 0, 2, 7, 0, 22];
        assert_eq!(
            ask(&v4).unwrap().unwrap().0.target.unwrap().to_string(),
            "192.0.2.7:22"
        );
        let v6 = [&[5, 1, 0, 4][..], &Ipv6Addr::LOCALHOST.octets(), &[0, 80]].concat();
        assert_eq!(
            ask(&v6).unwrap().unwrap().0.target.unwrap().to_string(),
            "[::1]:80"
        );
    }

    #[test]
    fn targets_that_could_be_read_in_two_ways_are_refused() {
        for host in [
            &b""[..],
            b"evil.com\0.ok.com",
            b"a b",
            b"127.1",
            b"a:443",
            b"::1",
            &[b'a'; 255],
            b"\xff",
        ] {
            assert!(
                matches!(asked(host, 443).target, Err(Unreadable::Target(_))),
                "{host:?}"
            );
        }
        assert!(asked(b"a.example", 0).target.is_err());
        let (unknown, _) = ask(&[5, 1, 0, 9, 1, 2]).unwrap().unwrap();
        assert_eq!(unknown.target, Err(Unreadable::AddressType));
    }

    #[test]
    fn messages_of_other_protocols_are_refused() {
        assert_eq!(greeting(&[4, 1, 0]), Err(Malformed));
        assert_eq!(user_and_password(&[5, 1, b'a', 1, b'b']), Err(Malformed));
        assert_eq!(ask(&[5, 1, 1, 1, 0, 0, 0, 0, 0, 1]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic_and_half_a_message_is_waited_for(raw in proptest::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
            let part = &raw[..cut.index(raw.len() + 1)];
            prop_assert!(agrees(greeting(part), greeting(&raw)));
            prop_assert!(agrees(user_and_password(part), user_and_password(&raw)));
            let head = [&[5, 1, 0, 3][..], &raw].concat();
            prop_assert!(agrees(ask(&head[..4 + part.len()]), ask(&head)));
            let _ = ask(&raw);
        }
    }

    /// A prefix of a message needs more, or gives what the whole gives.
    fn agrees<T: PartialEq>(part: Message<T>, whole: Message<T>) -> bool {
        part == Ok(None) || part == whole
    }
}
