//! Sniffing: what is spoken on a connection, from copies of its first bytes.
//!
//! Nothing is held back for it: the relay shows what passes and the sniffer remembers what it still
//! needs. It looks at the connection's first bytes only; whoever speaks first decides.

use base::ObservedScheme;

use crate::client_hello::{self, Hello};

/// What was seen of a connection's protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What is spoken; `None` while nobody spoke.
    pub(crate) scheme: Option<ObservedScheme>,
    /// For TLS: the server name, or `absent`, or `unparsed`.
    pub(crate) sni: Option<String>,
    /// For TLS: the application protocols offered.
    pub(crate) alpn: Option<String>,
}

/// Looks at first bytes until it knows.
#[derive(Debug, Default)]
pub(crate) struct Sniffer {
    buffer: Vec<u8>,
    seen: Option<Seen>,
}

const ABSENT: &str = "absent";
const UNPARSED: &str = "unparsed";
const SSH: &[u8] = b"SSH-";
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
];

impl Sniffer {
    /// A sniffer that has been told.
    pub(crate) fn knowing(seen: Seen) -> Self {
        Self {
            buffer: Vec::new(),
            seen: Some(seen),
        }
    }

    /// Looks at bytes from the client. Whether it knows now and did not before.
    pub(crate) fn client_said(&mut self, bytes: &[u8]) -> bool {
        if self.seen.is_some() || bytes.is_empty() {
            return false;
        }
        // Nearly always everything is in the first segment, and nothing needs to be kept.
        self.seen = if self.buffer.is_empty() {
            look(bytes)
        } else {
            self.buffer.extend_from_slice(bytes);
            look(&self.buffer)
        };
        if self.seen.is_some() {
            self.buffer = Vec::new();
        } else if self.buffer.is_empty() {
            self.buffer.extend_from_slice(bytes);
        }
        self.seen.is_some()
    }

    /// Looks at bytes from the server, which matter only if it speaks first.
    pub(crate) fn server_said(&mut self, bytes: &[u8]) -> bool {
        if self.seen.is_some() || !self.buffer.is_empty() || bytes.is_empty() {
            return false;
        }
        // A server's first segment that is cut inside these four bytes is taken by what there is.
        let ssh = bytes.starts_with(SSH) || SSH.starts_with(bytes);
        self.seen = Some(Seen::of(if ssh {
            ObservedScheme::Ssh
        } else {
            ObservedScheme::Tcp
        }));
        true
    }

    /// Whether it knows.
    pub(crate) const fn is_done(&self) -> bool {
        self.seen.is_some()
    }

    /// What is known by now, even if the client stopped in the middle.
    pub(crate) fn seen(&self) -> Seen {
        match (&self.seen, self.buffer.as_slice()) {
            (Some(seen), _) => seen.clone(),
            (None, []) => Seen::default(),
            (None, [22, ..]) => Seen::unparsed(),
            (None, _) => Seen::of(ObservedScheme::Tcp),
        }
    }
}

impl Seen {
    pub(crate) fn of(scheme: ObservedScheme) -> Self {
        Self {
            scheme: Some(scheme),
            ..Self::default()
        }
    }

    fn unparsed() -> Self {
        Self {
            sni: Some(UNPARSED.to_owned()),
            ..Self::of(ObservedScheme::Tls)
        }
    }
}

/// What a client's first bytes mean; `None` if more are needed.
fn look(bytes: &[u8]) -> Option<Seen> {
    match bytes {
        [22] => None,
        [22, 3, ..] => match client_hello::read(bytes) {
            Hello::More => None,
            Hello::Unreadable => Some(Seen::unparsed()),
            Hello::Read { sni, alpn } => Some(Seen {
                sni: Some(sni.unwrap_or_else(|| ABSENT.to_owned())),
                alpn,
                ..Seen::of(ObservedScheme::Tls)
            }),
        },
        _ if bytes.starts_with(SSH) => Some(Seen::of(ObservedScheme::Ssh)),
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => Some(Seen::of(ObservedScheme::Http)),
        _ if SSH.starts_with(bytes) || METHODS.iter().any(|method| method.starts_with(bytes)) => None,
        _ => Some(Seen::of(ObservedScheme::Tcp)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client_hello::tests::real_hello;

    fn sniffed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
        let mut sniffer = Sniffer::default();
        for piece in pieces {
            sniffer.client_said(piece);
        }
        sniffer.seen()
    }

    #[test]
    fn first_bytes_tell_the_scheme() {
        for (bytes, scheme) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(ObservedScheme::Http)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(ObservedScheme::Http)),
            (b"CONNECT b:1 HTTP/1.1\r\n", Some(ObservedScheme::Http)),
            (b"SSH-2.0-OpenSSH\r\n", Some(ObservedScheme::Ssh)),
            (b"EHLO x\r\n", Some(ObservedScheme::Tcp)),
            (b"GE", Some(ObservedScheme::Tcp)),
            (b"\x16\x02", Some(ObservedScheme::Tcp)),
            (b"\x16", Some(ObservedScheme::Tls)),
            (b"", None),
        ] {
            assert_eq!(sniffed([bytes]).scheme, scheme, "{bytes:?}");
        }
    }

    #[test]
    fn tls_says_what_name_it_asks_for_or_that_it_does_not() {
        let seen = sniffed([&real_hello("a.example", &["h2"])[..]]);
        assert_eq!(
            (seen.sni.as_deref(), seen.alpn.as_deref()),
            (Some("a.example"), Some("h2"))
        );
        assert_eq!(
            sniffed([&real_hello("192.0.2.1", &[])[..]]).sni.as_deref(),
            Some("absent")
        );
        let hello = real_hello("a.example", &[]);
        assert_eq!(sniffed([&hello[..20]]).sni.as_deref(), Some("unparsed"));
    }

    #[test]
    fn a_server_that_speaks_first_decides() {
        let mut sniffer = Sniffer::default();
        assert!(sniffer.server_said(b"SSH-2.0-x\r\n"));
        assert!(!sniffer.client_said(b"GET / HTTP/1.1\r\n"));
        assert_eq!(sniffer.seen(), Seen::of(ObservedScheme::Ssh));
        let mut sniffer = Sniffer::default();
        assert!(sniffer.server_said(b"220 mail\r\n"));
        assert_eq!(sniffer.seen(), Seen::of(ObservedScheme::Tcp));
        let mut sniffer = Sniffer::default();
        sniffer.client_said(b"GE");
        assert!(!sniffer.server_said(b"220 mail\r\n"));
        sniffer.client_said(b"T /");
        assert_eq!(sniffer.seen(), Seen::of(ObservedScheme::Http));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            start in prop::sample::select(vec![&b""[..], b"GET ", b"PAT", b"SSH-", b"\x16\x03\x01\x00\x05", b"\x16\x03\x01\x00\x04\x01\x00"]),
            tail in proptest::collection::vec(any::<u8>(), 0..60),
            size in 1usize..9,
        ) {
            let raw = [start, &tail].concat();
            prop_assert_eq!(sniffed([&raw[..]]), sniffed(raw.chunks(size)));
        }

        #[test]
        fn a_real_hello_is_seen_in_pieces_of_any_size(size in 1usize..400) {
            let hello = real_hello("api.example.com", &["h2", "http/1.1"]);
            prop_assert_eq!(sniffed([&hello[..]]), sniffed(hello.chunks(size)));
        }
    }
}
