//! Plain HTTP inside a tunnel: whom its first request names.
//!
//! Some clients send everything through CONNECT, plain HTTP too. The first request then names its
//! host in the clear; it is read on its way through, once, and nothing but that is kept. A request
//! that asks to be taken on from there, as one to a proxy does, shows that the tunnel ends at a
//! proxy.

use base::{Port, Target, escape_untrusted};
use bytes::BytesMut;

use crate::head::{Head, HeadLimits, HeadScan};

/// What the beginning of a plain HTTP connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    /// More bytes are needed.
    More,
    /// A whole head.
    Read {
        /// The Host header, escaped; `unparsed` where there are several.
        host: Option<String>,
        /// Where a proxy would be asked to go; `unparsed` where it cannot be read.
        target: Option<String>,
    },
    /// Not a head that can be read, or too much of one.
    Unreadable,
}

/// What stands for a name that was there and could not be read in one way.
pub(crate) const UNPARSED: &str = "unparsed";
/// Bytes looked at, at most.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 << 10,
    headers: 128,
};
const MAX_HOST: usize = 264;

/// Reads the beginning of a stream of requests. The answer for some bytes stays the same however
/// many follow, unless it was [`Inner::More`].
pub(crate) fn read(stream: &[u8]) -> Inner {
    match HeadScan::default().scan(stream, LIMITS) {
        Ok(None) => Inner::More,
        Ok(Some(length)) => match Head::split_from(&mut BytesMut::from(&stream[..length]), length, LIMITS) {
            Ok(head) => Inner::Read {
                host: host(&head),
                target: target(&head),
            },
            Err(_) => Inner::Unreadable,
        },
        Err(_) => Inner::Unreadable,
    }
}

fn host(head: &Head) -> Option<String> {
    let mut values = head.values("host");
    let value = values.next()?;
    Some(match values.next() {
        None => escape_untrusted(value, MAX_HOST),
        Some(_) => UNPARSED.to_owned(),
    })
}

/// Only the authority: a path is nobody's business, and neither are credentials before an `@`.
fn target(head: &Head) -> Option<String> {
    let written = head.target();
    let (authority, default) = if head.method() == b"CONNECT" {
        (written, Port::HTTPS)
    } else {
        let scheme = written.windows(3).position(|window| window == b"://")?;
        let plain = written[..scheme].eq_ignore_ascii_case(b"http");
        if !plain && !written[..scheme].eq_ignore_ascii_case(b"https") {
            return None;
        }
        let rest = &written[scheme + 3..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let authority = &rest[..end.unwrap_or(rest.len())];
        (authority, if plain { Port::HTTP } else { Port::HTTPS })
    };
    let read = Target::from_authority_or(authority, default);
    Some(read.map_or_else(|_| UNPARSED.to_owned(), |target| target.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(host: Option<&str>, target: Option<&str>) -> Inner {
        Inner::Read {
            host: host.map(str::to_owned),
            target: target.map(str::to_owned),
        }
    }

    #[test]
    fn the_first_request_names_its_host_and_nothing_else_is_kept() {
        for (request, inner) in [
            (
                "GET /secret?key=1 HTTP/1.1\r\nHost: A.example\r\nCookie: c\r\n\r\nbody",
                named(Some("A.example"), None),
            ),
            ("GET / HTTP/1.0\r\n\r\n", named(None, None)),
            (
                "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
                named(Some("unparsed"), None),
            ),
            ("GET / HTTP/1.1\r\nHost: a.exa", Inner::More),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Inner::Unreadable),
            ("GET / HTTP/1.1\nHost: a\n\n", Inner::Unreadable),
            (
                "OPTIONS * HTTP/1.1\r\nHost: a:8\r\n\r\n",
                named(Some("a:8"), None),
            ),
        ] {
            assert_eq!(read(request.as_bytes()), inner, "{request:?}");
        }
    }

    #[test]
    fn a_request_to_a_proxy_says_where_it_wants_to_go() {
        for (line, target) in [
            ("CONNECT b.example:443", "b.example:443"),
            ("CONNECT B.example", "b.example:443"),
            ("CONNECT u:p@b.example:443", "unparsed"),
            ("GET http://b.example/path?q", "b.example:80"),
            ("GET HTTPS://b.example", "b.example:443"),
            ("GET http://u:p@b.example/", "unparsed"),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(read(request.as_bytes()), named(Some("x"), Some(target)), "{line}");
        }
        let other = b"GET ftp://b.example/ HTTP/1.1\r\n\r\n";
        assert_eq!(read(other), named(None, None));
    }

    #[test]
    fn a_head_that_never_ends_is_given_up() {
        let endless = [&b"GET / HTTP/1.1\r\n"[..], &b"X: y\r\n".repeat(10_000)].concat();
        assert_eq!(read(&endless), Inner::Unreadable);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_prefixes_agree(tail in proptest::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
            let raw = [&b"GET http://a/ HTTP/1.1\r\n"[..], &tail, b"\r\n\r\n"].concat();
            let part = read(&raw[..cut.index(raw.len())]);
            prop_assert!(part == Inner::More || part == read(&raw));
        }
    }
}
