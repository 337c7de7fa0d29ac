//! Translation: an HTTP/2 request written as HTTP/1.1, for the reader that every request passes.
//!
//! What RFC 9113 calls malformed and the protocol library lets through is refused here; everything
//! else is left to that reader. No input or output.

use base::{Port, RefusalReason, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use sha1::{Digest as _, Sha1};

use crate::headers::push_field;
use crate::notes::{BadRequest, presentable};
use crate::request::Carrier;

/// A request as HTTP/1.1.
#[derive(Debug)]
pub(super) struct Translation {
    /// The whole head.
    pub(super) text: Vec<u8>,
    pub(super) carrier: Carrier,
    pub(super) kind: Kind,
}

/// What travels on a stream behind the request's head and behind the answer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes both ways, once the answer is a success.
    Connect,
    /// Bytes both ways, once the server has changed protocols.
    WebSocket,
    /// A body and a body.
    Plain {
        method: Method,
        /// Whether the request's body comes in chunks, seen from this side.
        chunked: bool,
    },
}

/// RFC 6455 §1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Translation {
    /// Writes a request out; `has_body` where something may follow its head.
    ///
    /// # Errors
    /// [`BadRequest`]; its reason is `Malformed` where RFC 9113 wants the stream to be reset.
    pub(super) fn of(parts: &Parts, has_body: bool) -> Result<Self, BadRequest> {
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let bad = |reason, why: &str| BadRequest {
            reason,
            why: why.to_owned(),
            raw_target: authority.map(|authority| presentable(authority.as_bytes())),
        };
        let malformed = |why: &str| bad(RefusalReason::Malformed, why);
        let Some(authority) = authority else {
            return Err(malformed("there is no :authority"));
        };
        check_fields(&parts.headers).map_err(malformed)?;
        let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
        let is_connect = parts.method == Method::CONNECT && protocol.is_none();
        let default_port = if is_connect { None } else { Some(Port::HTTP) };
        check_host(&parts.headers, authority, default_port).map_err(malformed)?;
        if is_connect {
            let mut text = format!("CONNECT {authority} HTTP/1.1\r\n").into_bytes();
            push_fields(&mut text, authority, &parts.headers, |_| true);
            text.extend_from_slice(b"\r\n");
            return Ok(Self {
                text,
                carrier: Carrier::Http2,
                kind: Kind::Connect,
            });
        }
        let scheme = parts.uri.scheme_str().unwrap_or_default();
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let path = match path {
            "*" if parts.method == Method::OPTIONS => "",
            path if path.starts_with('/') => path,
            _ => return Err(malformed("the :path does not begin with a slash")),
        };
        let target = format!("{scheme}://{authority}{path}");
        match protocol {
            None => Ok(Self::plain(parts, &target, authority, has_body)),
            Some("websocket") if scheme == "http" => Ok(Self::websocket(parts, &target, authority)),
            Some("websocket") => Err(bad(
                RefusalReason::Unsupported,
                "a WebSocket over https would have to be opened by this gateway, which reads no TLS; use CONNECT",
            )),
            Some(_) => Err(bad(
                RefusalReason::Unsupported,
                "the only protocol of an extended CONNECT served here is websocket",
            )),
        }
    }

    fn plain(parts: &Parts, target: &str, authority: &str, has_body: bool) -> Self {
        let chunked = has_body && !parts.headers.contains_key(header::CONTENT_LENGTH);
        let mut text = format!("{} {target} HTTP/1.1\r\n", parts.method).into_bytes();
        push_fields(&mut text, authority, &parts.headers, |_| true);
        if chunked {
            push_field(&mut text, b"transfer-encoding", b"chunked");
        }
        text.extend_from_slice(b"\r\n");
        Self {
            text,
            carrier: Carrier::Http2,
            kind: Kind::Plain {
                method: parts.method.clone(),
                chunked,
            },
        }
    }

    /// RFC 8441 §5: what HTTP/1.1 says in `Upgrade` and in the handshake's key.
    fn websocket(parts: &Parts, target: &str, authority: &str) -> Self {
        let key = STANDARD.encode(nonce());
        let mut text = format!("GET {target} HTTP/1.1\r\n").into_bytes();
        push_fields(&mut text, authority, &parts.headers, |name| {
            name != header::SEC_WEBSOCKET_KEY
        });
        push_field(&mut text, b"connection", b"Upgrade");
        push_field(&mut text, b"upgrade", b"websocket");
        push_field(&mut text, b"sec-websocket-key", key.as_bytes());
        text.extend_from_slice(b"\r\n");
        Self {
            text,
            carrier: Carrier::WebSocketOverHttp2 { accept: accept(&key) },
            kind: Kind::WebSocket,
        }
    }
}

fn nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).expect("the system has randomness");
    nonce
}

/// RFC 6455 §4.2.2: what a server answers to `key`.
fn accept(key: &str) -> String {
    let hash = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(WEBSOCKET_GUID)
        .finalize();
    STANDARD.encode(hash)
}

/// RFC 9113 §8.2: what the protocol library does not look at.
fn check_fields(fields: &HeaderMap) -> Result<(), &'static str> {
    for value in fields.values().map(http::HeaderValue::as_bytes) {
        // Nothing else that is white space is let through.
        if value.trim_ascii().len() != value.len() {
            return Err("a header begins or ends with a space");
        }
    }
    if fields.contains_key(header::TRANSFER_ENCODING) || fields.contains_key(header::UPGRADE) {
        return Err("HTTP/2 has no headers of a connection");
    }
    Ok(())
}

/// RFC 9113 §8.3.1: `host` names what `:authority` names, or the request is malformed.
fn check_host(fields: &HeaderMap, authority: &str, default: Option<Port>) -> Result<(), &'static str> {
    let mut hosts = fields.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    if hosts.next().is_some() {
        return Err("there are two host headers");
    }
    let read = |text: &[u8]| match default {
        Some(port) => Target::from_authority_or(text, port),
        None => Target::from_authority(text),
    };
    // A bad authority is refused by the reader, which says what is wrong with it.
    let Ok(target) = read(authority.as_bytes()) else {
        return Ok(());
    };
    match Target::from_authority_or(host.as_bytes(), default.unwrap_or(target.port)) {
        Ok(named) if named == target => Ok(()),
        Ok(_) => Err("host and :authority differ"),
        Err(_) => Err("the host header is not a host"),
    }
}

fn push_fields(
    text: &mut Vec<u8>,
    authority: &str,
    fields: &HeaderMap,
    keep: impl Fn(&header::HeaderName) -> bool,
) {
    match fields.get(header::HOST) {
        Some(host) => push_field(text, b"host", host.as_bytes()),
        None => push_field(text, b"host", authority.as_bytes()),
    }
    // RFC 9113 §8.2.3: HTTP/1.1 has one cookie header.
    let mut crumbs: Vec<&[u8]> = Vec::new();
    for (name, value) in fields {
        if name == header::COOKIE {
            crumbs.push(value.as_bytes());
        } else if name != header::HOST && keep(name) {
            push_field(text, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !crumbs.is_empty() {
        push_field(text, b"cookie", &crumbs.join(&b"; "[..]));
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn of(request: http::request::Builder, has_body: bool) -> Result<Translation, BadRequest> {
        Translation::of(&request.body(()).unwrap().into_parts().0, has_body)
    }

    fn text(request: http::request::Builder, has_body: bool) -> String {
        String::from_utf8(of(request, has_body).unwrap().text).unwrap()
    }

    #[test]
    fn a_request_is_written_as_http_1_says_it() {
        let request = Request::post("http://a.example:8080/p?q")
            .header("accept", "*/*")
            .header("cookie", "a=1")
            .header("x-run-id", "7")
            .header("cookie", "b=2");
        assert_eq!(
            text(request, true),
            "POST http://a.example:8080/p?q HTTP/1.1\r\nhost: a.example:8080\r\naccept: */*\r\n\
             x-run-id: 7\r\ncookie: a=1; b=2\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let request = Request::put("http://a.example/").header("content-length", "5");
        assert_eq!(
            text(request, true),
            "PUT http://a.example/ HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\n"
        );
        let request = Request::connect("a.example:443").header("host", "A.EXAMPLE:443");
        assert_eq!(
            text(request, true),
            "CONNECT a.example:443 HTTP/1.1\r\nhost: A.EXAMPLE:443\r\n\r\n"
        );
    }

    #[test]
    fn a_websocket_is_asked_for_in_the_words_of_http_1() {
        let request = Request::connect("http://a.example/chat")
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "mine");
        let translation = of(request, true).unwrap();
        let text = String::from_utf8(translation.text).unwrap();
        let (_, key) = text.split_once("sec-websocket-key: ").unwrap();
        let key = key.trim_end();
        assert_eq!(
            text,
            format!(
                "GET http://a.example/chat HTTP/1.1\r\nhost: a.example\r\nsec-websocket-version: 13\r\n\
                 connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: {key}\r\n\r\n"
            )
        );
        let accept = accept(key);
        assert_eq!(translation.carrier, Carrier::WebSocketOverHttp2 { accept });
        // The example of RFC 6455 §1.3.
        assert_eq!(
            super::accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn what_names_two_hosts_or_none_is_malformed() {
        let get = || Request::get("http://a.example/");
        for request in [
            Request::get("/path"),
            get().header("host", "b.example"),
            get().header("host", "a.example:81"),
            get().header("host", "a.example").header("host", "a.example"),
            get().header("host", "a b"),
            get().header("host", ""),
            get().header("x", " y"),
            get().header("x", "y\t"),
            get().header("transfer-encoding", "chunked"),
            Request::connect("a.example:443").header("host", "b.example:443"),
        ] {
            let shown = format!("{request:?}");
            assert_eq!(
                of(request, false).unwrap_err().reason,
                RefusalReason::Malformed,
                "{shown}"
            );
        }
        assert!(of(get().header("host", "a.example:80"), false).is_ok());
    }

    #[test]
    fn a_path_cannot_grow_the_authority() {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some("a.example".parse().unwrap());
        for path in ["*", "?q"] {
            parts.path_and_query = Some(path.parse().unwrap());
            let uri = http::Uri::from_parts(std::mem::take(&mut parts)).unwrap();
            let request = Request::get(uri.clone());
            assert!(of(request, false).is_err(), "{path}");
            parts = uri.into_parts();
        }
        parts.path_and_query = Some("*".parse().unwrap());
        let request = Request::options(http::Uri::from_parts(parts).unwrap());
        assert!(text(request, false).starts_with("OPTIONS http://a.example HTTP/1.1\r\n"));
    }

    #[test]
    fn what_needs_tls_opened_is_unsupported() {
        for request in [
            Request::connect("https://a.example/chat").extension(Protocol::from_static("websocket")),
            Request::connect("http://a.example/").extension(Protocol::from_static("connect-udp")),
        ] {
            assert_eq!(of(request, true).unwrap_err().reason, RefusalReason::Unsupported);
        }
    }

    proptest! {
        #[test]
        fn no_header_becomes_two_lines(name in "[a-z-]{1,12}", value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let request = Request::get("http://a.example/").header(name, &value[..]);
            let Ok(request) = request.body(()) else { return Ok(()) };
            if let Ok(translation) = Translation::of(&request.into_parts().0, false) {
                let lines = translation.text.split(|&byte| byte == b'\n').count();
                prop_assert!(lines <= 5);
                prop_assert!(!translation.text.windows(3).any(|window| window == b"\n\r\n") || translation.text.ends_with(b"\r\n\r\n"));
            }
        }
    }
}
