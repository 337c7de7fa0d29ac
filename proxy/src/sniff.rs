//! Sniffing: what is spoken on a connection, from copies of its first bytes.
//!
//! Nothing is held back for it: the relay shows what passes and the sniffer remembers what it still
//! needs. Whoever speaks first decides. Only where the first bytes of a client are those of no
//! protocol known here, the first bytes of the answer are heard too.

use base::{ObservedScheme, SniVisibility};

use crate::client_hello::{self, Hello};
use crate::inner_http::{self, Inner, UNPARSED};

/// What was seen of a connection's protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What is spoken; `None` while nobody spoke.
    pub(crate) scheme: Option<ObservedScheme>,
    /// For TLS: the server name, or `absent`, or `unparsed`.
    pub(crate) sni: Option<String>,
    /// For TLS: what can be said about the server name.
    pub(crate) sni_visibility: Option<SniVisibility>,
    /// For TLS: the application protocols offered.
    pub(crate) alpn: Option<String>,
    /// For HTTP: the host that the first request names.
    pub(crate) host_header: Option<String>,
    /// For HTTP: where the first request asks a proxy to go.
    pub(crate) inner_target: Option<String>,
}

/// Looks at first bytes until it knows.
#[derive(Debug, Default)]
pub(crate) struct Sniffer {
    /// Said by the client, and not yet enough.
    client: Vec<u8>,
    /// Said by a server that spoke first, or to a client that spoke nothing known; a few bytes.
    server: Vec<u8>,
    /// The client spoke, and nothing that is known.
    unknown: bool,
    seen: Option<Seen>,
}

const ABSENT: &str = "absent";
const SSH: &[u8] = b"SSH-";
/// How an answer in HTTP/1 begins.
const HTTP: &[u8] = b"HTTP/1.";
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
            seen: Some(seen),
            ..Self::default()
        }
    }

    /// Looks at bytes from the client. Whether it has begun or ended to look.
    pub(crate) fn client_said(&mut self, bytes: &[u8]) -> bool {
        if self.seen.is_some() || self.unknown || bytes.is_empty() {
            return false;
        }
        if !self.server.is_empty() {
            // The server spoke first and stopped in the middle of a word.
            return self.know(ObservedScheme::Tcp);
        }
        // Nearly always everything is in the first segment, and nothing needs to be kept.
        let begun = self.client.is_empty();
        let looked = if begun {
            look(bytes)
        } else {
            self.client.extend_from_slice(bytes);
            look(&self.client)
        };
        match looked {
            Look::Known(seen) => {
                self.client = Vec::new();
                self.seen = Some(seen);
                true
            }
            Look::Unknown => {
                self.client = Vec::new();
                self.unknown = true;
                true
            }
            Look::More => {
                if begun {
                    self.client.extend_from_slice(bytes);
                }
                begun
            }
        }
    }

    /// Looks at bytes from the server, which matter if it speaks first, or is first to speak anything
    /// known. Whether it has ended to look.
    pub(crate) fn server_said(&mut self, bytes: &[u8]) -> bool {
        if self.seen.is_some() || !self.client.is_empty() || bytes.is_empty() {
            return false;
        }
        let begun = self.server.is_empty();
        let wanted = HTTP.len().saturating_sub(self.server.len());
        self.server.extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        match server_scheme(&self.server) {
            Some(scheme) => self.know(scheme),
            None => begun,
        }
    }

    fn know(&mut self, scheme: ObservedScheme) -> bool {
        self.server = Vec::new();
        self.seen = Some(Seen::of(scheme));
        true
    }

    /// Stops looking: what is known by now is what will be known.
    pub(crate) fn give_up(&mut self) {
        if self.is_looking() {
            *self = Self::knowing(self.seen());
        }
    }

    /// Whether there is something to tell. More than that nothing known is spoken, an answer may yet
    /// tell.
    pub(crate) const fn is_done(&self) -> bool {
        self.seen.is_some() || self.unknown
    }

    /// Whether somebody began to say something that is remembered until there is more of it.
    pub(crate) const fn is_looking(&self) -> bool {
        self.seen.is_none() && !(self.client.is_empty() && self.server.is_empty())
    }

    /// What is known by now, even if somebody stopped in the middle.
    pub(crate) fn seen(&self) -> Seen {
        match (&self.seen, self.client.as_slice()) {
            (Some(seen), _) => seen.clone(),
            (None, []) if !self.unknown && self.server.is_empty() => Seen::default(),
            (None, [22, ..]) => Seen::unparsed(),
            (None, bytes) if speaks_http(bytes) => Seen {
                host_header: Some(UNPARSED.to_owned()),
                ..Seen::of(ObservedScheme::Http)
            },
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
            sni_visibility: Some(SniVisibility::Unparsed),
            ..Self::of(ObservedScheme::Tls)
        }
    }
}

/// What a client's first bytes mean.
enum Look {
    More,
    Known(Seen),
    Unknown,
}

fn look(bytes: &[u8]) -> Look {
    match bytes {
        [22] => Look::More,
        [22, 3, ..] => match client_hello::read(bytes) {
            Hello::More => Look::More,
            Hello::Unreadable => Look::Known(Seen::unparsed()),
            Hello::Read { sni, alpn, ech } => Look::Known(Seen {
                sni_visibility: Some(match &sni {
                    _ if ech => SniVisibility::Ech,
                    Some(_) => SniVisibility::Clear,
                    None => SniVisibility::Absent,
                }),
                sni: Some(sni.unwrap_or_else(|| ABSENT.to_owned())),
                alpn,
                ..Seen::of(ObservedScheme::Tls)
            }),
        },
        _ if bytes.starts_with(SSH) => Look::Known(Seen::of(ObservedScheme::Ssh)),
        // The preface of HTTP/2; what follows it is binary.
        _ if bytes.starts_with(b"PRI ") => Look::Known(Seen::of(ObservedScheme::Http)),
        _ if speaks_http(bytes) => match inner_http::read(bytes) {
            Inner::More => Look::More,
            Inner::Unreadable => Look::Known(Seen {
                host_header: Some(UNPARSED.to_owned()),
                ..Seen::of(ObservedScheme::Http)
            }),
            Inner::Read { host, target } => Look::Known(Seen {
                host_header: host,
                inner_target: target,
                ..Seen::of(ObservedScheme::Http)
            }),
        },
        _ if SSH.starts_with(bytes) || METHODS.iter().any(|method| method.starts_with(bytes)) => Look::More,
        _ => Look::Unknown,
    }
}

fn speaks_http(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method))
}

/// What a server's first bytes mean; `None` if more are needed.
fn server_scheme(bytes: &[u8]) -> Option<ObservedScheme> {
    if bytes.starts_with(SSH) {
        Some(ObservedScheme::Ssh)
    } else if bytes.starts_with(HTTP) {
        Some(ObservedScheme::Http)
    } else if SSH.starts_with(bytes) || HTTP.starts_with(bytes) {
        None
    } else {
        Some(ObservedScheme::Tcp)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client_hello::tests::{real_hello, with_extension};

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
    fn what_a_client_speaks_and_nobody_knows_is_named_by_the_answer() {
        for (answer, scheme) in [
            (&b"HTTP/1.1 207 Multi-Status\r\n"[..], ObservedScheme::Http),
            (b"SSH-2.0-x\r\n", ObservedScheme::Ssh),
            (b"\x15\x03\x01", ObservedScheme::Tcp),
            (b"HTTPS", ObservedScheme::Tcp),
        ] {
            for size in 1..=answer.len() {
                let mut sniffer = Sniffer::default();
                sniffer.client_said(b"PROPFIND / HTTP/1.1\r\n\r\n");
                assert_eq!(sniffer.seen(), Seen::of(ObservedScheme::Tcp));
                for piece in answer.chunks(size) {
                    sniffer.server_said(piece);
                }
                assert!(sniffer.is_done() && !sniffer.is_looking());
                assert_eq!(sniffer.seen(), Seen::of(scheme), "{answer:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_sniffer_that_gives_up_keeps_what_it_knows() {
        let hello = real_hello("a.example", &[]);
        for (begun, scheme) in [
            (&hello[..40], Some(ObservedScheme::Tls)),
            (b"GET / HTTP/1.1\r\nHo", Some(ObservedScheme::Http)),
            (b"PAT", Some(ObservedScheme::Tcp)),
        ] {
            let mut sniffer = Sniffer::default();
            assert!(sniffer.client_said(begun), "the beginning is news");
            let before = sniffer.seen();
            sniffer.give_up();
            sniffer.client_said(b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
            sniffer.server_said(b"SSH-2.0-x");
            assert!(sniffer.is_done() && !sniffer.is_looking());
            assert_eq!((sniffer.seen(), before.scheme), (before, scheme));
        }
        let mut silent = Sniffer::default();
        silent.give_up();
        assert!(
            silent.client_said(b"SSH-2.0-x"),
            "silence is no reason to give up"
        );
    }

    #[test]
    fn the_first_request_in_the_clear_is_read_for_its_names() {
        let seen = sniffed([
            &b"CONNECT b.example:22 HT"[..],
            b"TP/1.1\r\nHost: c.example\r\n",
            b"\r\n",
        ]);
        assert_eq!(seen.scheme, Some(ObservedScheme::Http));
        assert_eq!(
            (seen.host_header.as_deref(), seen.inner_target.as_deref()),
            (Some("c.example"), Some("b.example:22"))
        );
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
        let hidden = with_extension(&hello, 0xfe0d, &[1; 40]);
        for (hello, visibility) in [
            (hello.as_slice(), SniVisibility::Clear),
            (&real_hello("192.0.2.1", &[]), SniVisibility::Absent),
            (&hello[..20], SniVisibility::Unparsed),
            (&hidden, SniVisibility::Ech),
        ] {
            assert_eq!(sniffed([hello]).sni_visibility, Some(visibility));
        }
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
        sniffer.client_said(b"T / HTTP/1.1\r\n\r\n");
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
