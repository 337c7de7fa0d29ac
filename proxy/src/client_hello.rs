//! ClientHellos: which name and which protocols a TLS client asks for (RFC 8446 §4.1.2).
//!
//! The bytes are looked at on their way through and are nobody's business after that. A hello may be
//! spread over any number of segments and records; what cannot be read is called unreadable and
//! still relayed, because observing must not change traffic.

use base::escape_untrusted;

/// Bytes looked at, at most; a hello with post-quantum key shares stays far below.
pub(crate) const MAX_HELLO: usize = 64 << 10;

/// What the beginning of a TLS stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// More bytes are needed.
    More,
    /// A whole ClientHello.
    Read {
        /// The server name, lower case and escaped, if there is one.
        sni: Option<String>,
        /// Application protocols offered, joined by commas and escaped.
        alpn: Option<String>,
        /// Whether an Encrypted Client Hello is offered. Clients send a filler that looks the same
        /// (GREASE), so this says that a name may be hidden, and never that one is.
        ech: bool,
    },
    /// Not a ClientHello that can be read.
    Unreadable,
}

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// RFC 5246 §6.2.1 allows 2¹⁴; records in the clear are never longer.
const MAX_RECORD: usize = 1 << 14;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
/// `encrypted_client_hello`, and its forerunner, the encrypted server name.
const EXTENSION_ECH: u16 = 0xfe0d;
const EXTENSION_ESNI: u16 = 0xffce;

/// Reads the beginning of a stream whose first byte says that it is TLS. The answer for some bytes
/// stays the same however many follow, unless it was [`Hello::More`].
pub(crate) fn read(stream: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut rest = stream;
    loop {
        if let Some(whole) = whole_message(&message) {
            return match whole {
                Ok(body) => parse(body).unwrap_or(Hello::Unreadable),
                Err(Unreadable) => Hello::Unreadable,
            };
        }
        if stream.len() - rest.len() > MAX_HELLO {
            return Hello::Unreadable;
        }
        let Some((header, after)) = rest.split_first_chunk::<5>() else {
            return Hello::More;
        };
        let [kind, major, _, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE_RECORD || major != 3 || length == 0 || length > MAX_RECORD {
            return Hello::Unreadable;
        }
        let Some((fragment, after)) = after.split_at_checked(length) else {
            return Hello::More;
        };
        message.extend_from_slice(fragment);
        rest = after;
    }
}

struct Unreadable;

/// The handshake message's body, once all of it is there.
fn whole_message(message: &[u8]) -> Option<Result<&[u8], Unreadable>> {
    let ([kind, a, b, c], body) = message.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
    if *kind != CLIENT_HELLO || length > MAX_HELLO {
        return Some(Err(Unreadable));
    }
    body.get(..length).map(Ok)
}

fn parse(body: &[u8]) -> Option<Hello> {
    let mut hello = Cursor(body);
    hello.bytes(2 + 32)?; // version, random
    hello.vector8()?; // session id
    hello.vector16()?; // cipher suites
    hello.vector8()?; // compression methods
    let mut read = (None, None);
    let mut ech = false;
    if !hello.0.is_empty() {
        let mut extensions = Cursor(hello.vector16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.number16()?;
            let contents = extensions.vector16()?;
            match kind {
                // Two of a kind are forbidden (RFC 8446 §4.2), and a server might take the other.
                EXTENSION_SERVER_NAME if read.0.is_some() => return None,
                EXTENSION_ALPN if read.1.is_some() => return None,
                EXTENSION_SERVER_NAME => read.0 = Some(server_name(contents)?),
                EXTENSION_ALPN => read.1 = Some(protocols(contents)?),
                EXTENSION_ECH | EXTENSION_ESNI => ech = true,
                _ => {}
            }
        }
    }
    hello.0.is_empty().then_some(Hello::Read {
        sni: read.0,
        alpn: read.1,
        ech,
    })
}

/// RFC 6066 §3: a list with exactly one name of type `host_name`.
fn server_name(contents: &[u8]) -> Option<String> {
    let mut extension = Cursor(contents);
    let mut list = Cursor(extension.vector16()?);
    let kind = list.bytes(1)?;
    let name = list.vector16()?;
    if kind != [0] || name.is_empty() || !list.0.is_empty() || !extension.0.is_empty() {
        return None;
    }
    Some(escape_untrusted(&name.to_ascii_lowercase(), 256))
}

fn protocols(contents: &[u8]) -> Option<String> {
    let mut extension = Cursor(contents);
    let mut list = Cursor(extension.vector16()?);
    let mut text = Vec::new();
    while !list.0.is_empty() {
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(list.vector8()?);
    }
    extension.0.is_empty().then(|| escape_untrusted(&text, 128))
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.bytes(1)?[0];
        self.bytes(usize::from(length))
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.number16()?;
        self.bytes(usize::from(length))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    use super::*;

    /// A ClientHello as a real client writes it.
    pub(crate) fn real_hello(name: &str, alpn: &[&str]) -> Vec<u8> {
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn rewrapped(hello: &[u8], record: usize) -> Vec<u8> {
        hello[5..]
            .chunks(record)
            .flat_map(|part| {
                let length = u16::try_from(part.len()).unwrap().to_be_bytes();
                [&[22, 3, 1, length[0], length[1]], part].concat()
            })
            .collect()
    }

    /// `hello`, with one more extension, in records of the largest size.
    pub(crate) fn with_extension(hello: &[u8], kind: u16, contents: &[u8]) -> Vec<u8> {
        let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
        let extension = [&kind.to_be_bytes()[..], &length(contents.len()), contents].concat();
        // After the record's and the message's header: version, random, and three vectors.
        let body = &hello[9..];
        let mut at = 34 + 1 + usize::from(body[34]);
        at += 2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        at += 1 + usize::from(body[at]);
        let extensions = [&body[at + 2..], &extension].concat();
        let body = [&body[..at], &length(extensions.len()), &extensions].concat();
        let size = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[0, 0, 0, 0, 0, CLIENT_HELLO], &size[1..], &body].concat();
        rewrapped(&message, MAX_RECORD)
    }

    fn read_hello(sni: Option<&str>, alpn: Option<&str>) -> Hello {
        Hello::Read {
            sni: sni.map(str::to_owned),
            alpn: alpn.map(str::to_owned),
            ech: false,
        }
    }

    #[test]
    fn a_real_hello_is_read() {
        let hello = real_hello("API.Example.com", &["h2", "http/1.1"]);
        assert_eq!(
            read(&hello),
            read_hello(Some("api.example.com"), Some("h2,http/1.1"))
        );
        assert_eq!(read(&real_hello("192.0.2.1", &[])), read_hello(None, None));
    }

    #[test]
    fn a_hello_in_ten_byte_records_is_read() {
        let hello = rewrapped(&real_hello("api.example.com", &["h2"]), 10);
        assert_eq!(read(&hello), read_hello(Some("api.example.com"), Some("h2")));
        assert_eq!(read(&hello[..hello.len() - 1]), Hello::More);
    }

    #[test]
    fn a_hidden_name_is_noticed_whether_it_is_there_or_only_looks_it() {
        for kind in [EXTENSION_ECH, EXTENSION_ESNI, 0xfe0e] {
            let hello = with_extension(&real_hello("cover.example", &[]), kind, &[0; 300]);
            assert_eq!(
                read(&hello),
                Hello::Read {
                    sni: Some("cover.example".to_owned()),
                    alpn: None,
                    ech: kind != 0xfe0e,
                }
            );
        }
    }

    #[test]
    fn a_hello_with_post_quantum_keys_is_read_up_to_the_cap_and_not_beyond() {
        let small = real_hello("api.example.com", &["h2"]);
        for kilobytes in [1, 17, 40, 60] {
            let large = with_extension(&small, 0xfafa, &vec![7; kilobytes << 10]);
            assert_eq!(read(&large), read(&small), "{kilobytes} KiB");
        }
        let beyond = rewrapped(&with_extension(&small, 0xfafa, &[7; 0xff00]), 200);
        assert_eq!(read(&beyond), Hello::Unreadable);
    }

    #[test]
    fn a_hello_that_never_ends_is_given_up() {
        let endless = [22, 3, 1, 0, 1, 1]
            .repeat(4) // type and a length of 0x010101
            .into_iter()
            .chain([22, 3, 1, 0, 1, 0].repeat(MAX_HELLO))
            .collect::<Vec<_>>();
        assert_eq!(read(&endless), Hello::Unreadable);
    }

    #[test]
    fn what_is_no_hello_is_unreadable() {
        let hello = real_hello("a.example", &[]);
        for (at, byte) in [(0, 23), (1, 4), (5, 2), (43, 255)] {
            let mut broken = hello.clone();
            broken[at] = byte;
            assert_ne!(read(&broken), read(&hello), "byte {at}");
        }
        assert_eq!(read(&[22, 3, 1, 0, 0]), Hello::Unreadable);
        assert_eq!(read(&[22, 3, 1, 255, 255]), Hello::Unreadable);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&tail);
            read(&[&[22, 3, 1, 0, 200, 1, 0, 0, 190, 3, 3][..], &tail].concat());
        }

        #[test]
        fn a_changed_hello_never_panics_and_its_prefixes_agree_with_it(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut hello = rewrapped(&real_hello("api.example.com", &["h2"]), 40);
            let at = at.index(hello.len());
            hello[at] = byte;
            let whole = read(&hello);
            let part = read(&hello[..cut.index(hello.len())]);
            prop_assert!(part == Hello::More || part == whole);
        }
    }
}
