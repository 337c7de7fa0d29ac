//! Requests: what a request head asks for, decided once.
//!
//! Everything that another server might decide differently is decided here or refused here: where
//! the request goes, where its body ends, which headers travel on. A client's word about who it is
//! or through whom it came is noted and dropped.

use std::collections::BTreeSet;
use std::ops::Range;

use base::{Port, RefusalReason, Target, escape_untrusted};

use crate::framing::Framing;
use crate::head::{Head, Version, span_within};
use crate::headers::{is_identity_header, push_field, travels};
use crate::notes::{BadRequest, MAX_RAW, Notes, presentable};
use crate::proof::Proof;

/// A request that can be understood in one way only.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) form: Form,
    pub(crate) target: Target,
    pub(crate) proof: Proof,
    /// Where the request's body ends.
    pub(crate) framing: Framing,
    /// Whether the client means to send another request on this connection.
    pub(crate) persistent: bool,
    /// Whether the client asks to change to another protocol (RFC 9110 §7.8).
    pub(crate) upgrade: bool,
    pub(crate) carrier: Carrier,
    pub(crate) notes: Notes,
}

/// What carried a request to the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Http1,
    Http2,
    /// An extended CONNECT (RFC 8441 §5): the gateway shakes hands in the client's place, and this is
    /// what a server that agrees answers.
    WebSocketOverHttp2 {
        accept: String,
    },
}

/// How the target was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `CONNECT host:port`.
    Connect,
    /// `METHOD http://host/path`; where path and query lie in the target.
    Absolute { path: Range<usize> },
}

const MAX_STRIPPED: usize = 12;

impl Request {
    /// Decides what `head` asks for.
    ///
    /// # Errors
    /// [`BadRequest`] for whatever could be understood in two ways, or is not served here.
    pub(crate) fn from_head(head: Head) -> Result<Self, BadRequest> {
        let reading = Self::read(&head);
        match reading {
            Ok((form, target, framing)) => Ok(Self {
                proof: Proof::in_head(&head),
                persistent: is_persistent(&head),
                upgrade: head
                    .list("connection")
                    .any(|m| m.eq_ignore_ascii_case(b"upgrade"))
                    && head.values("upgrade").next().is_some(),
                carrier: Carrier::Http1,
                notes: notes(&head, &form, &target),
                head,
                form,
                target,
                framing,
            }),
            Err((reason, why)) => Err(BadRequest {
                reason,
                why,
                raw_target: Some(presentable(head.target())),
            }),
        }
    }

    fn read(head: &Head) -> Result<(Form, Target, Framing), (RefusalReason, String)> {
        let malformed = |why: String| (RefusalReason::Malformed, why);
        let framing = framing(head).map_err(|why| malformed(why.to_owned()))?;
        let (form, target) = if head.method() == b"CONNECT" {
            if head.values("content-length").next().is_some()
                || head.values("transfer-encoding").next().is_some()
            {
                return Err(malformed("a CONNECT request has no body".to_owned()));
            }
            let target = Target::from_authority(head.target()).map_err(|e| malformed(e.to_string()))?;
            (Form::Connect, target)
        } else {
            absolute(head)?
        };
        check_host(head, &form, &target).map_err(malformed)?;
        if head.values("proxy-authorization").nth(1).is_some() {
            return Err(malformed("credentials are presented more than once".to_owned()));
        }
        Ok((form, target, framing))
    }

    /// The head to send to the server: the request as it came, in origin form, without what is
    /// between client and gateway only, and without what would speak for the gateway.
    /// `path` is that of [`Form::Absolute`].
    pub(crate) fn upstream_head(&self, path: &Range<usize>) -> Vec<u8> {
        let path = &self.head.target()[path.clone()];
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(self.head.method());
        out.push(b' ');
        match path.first() {
            // RFC 9112 §3.2.4: the server itself, not its root.
            None if self.head.method() == b"OPTIONS" => out.push(b'*'),
            None => out.push(b'/'),
            Some(b'?') => {
                out.push(b'/');
                out.extend_from_slice(path);
            }
            Some(_) => out.extend_from_slice(path),
        }
        out.extend_from_slice(match self.head.version() {
            Version::Http10 => b" HTTP/1.0\r\n",
            Version::Http11 => b" HTTP/1.1\r\n",
        });
        let mut host = Some(host_for(&self.target));
        let named: Vec<&[u8]> = self.head.list("connection").collect();
        for (name, value) in self.head.fields() {
            let value = if name.eq_ignore_ascii_case(b"host") {
                // A Host header that agrees with the target goes on as it was written.
                match host.take() {
                    Some(host) if self.notes.host_header.is_some() => {
                        push_field(&mut out, name, host.as_bytes());
                        continue;
                    }
                    _ => value,
                }
            } else if !travels(name, &named) {
                continue;
            } else {
                value
            };
            push_field(&mut out, name, value);
        }
        if let Some(host) = host {
            push_field(&mut out, b"Host", host.as_bytes());
        }
        if self.upgrade {
            push_field(&mut out, b"Connection", b"Upgrade");
            for value in self.head.values("upgrade") {
                push_field(&mut out, b"Upgrade", value);
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.head
            .list("expect")
            .any(|member| member.eq_ignore_ascii_case(b"100-continue"))
    }

    /// The family of contents that the client declared; `http` if it declared none.
    pub(crate) fn content_family(&self) -> &'static str {
        let Some(value) = self.head.values("content-type").next() else {
            return "http";
        };
        let kind = value.split(|&b| b == b';').next().unwrap_or(value).trim_ascii();
        let kind = String::from_utf8_lossy(kind).to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" => "form",
            "application/octet-stream" => "binary",
            kind if kind.ends_with("json") => "json",
            kind if kind.ends_with("xml") => "xml",
            kind => match kind.split('/').next() {
                Some("multipart") => "multipart",
                Some("text") => "text",
                Some("image") => "image",
                Some("audio") => "audio",
                Some("video") => "video",
                _ => "other",
            },
        }
    }
}

/// `http://authority/path`, split by hand: the authority is what [`Target`] reads, all of it.
fn absolute(head: &Head) -> Result<(Form, Target), (RefusalReason, String)> {
    let raw = head.target();
    let Some(colon) = raw.windows(3).position(|window| window == b"://") else {
        return Err((
            RefusalReason::Malformed,
            "this is a proxy: the target must be a whole http:// URL".to_owned(),
        ));
    };
    if !raw[..colon].eq_ignore_ascii_case(b"http") {
        return Err((
            RefusalReason::Unsupported,
            "only http:// is forwarded; everything else goes through CONNECT".to_owned(),
        ));
    }
    let rest = &raw[colon + 3..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let target = Target::from_authority_or(&rest[..end], Port::HTTP)
        .map_err(|error| (RefusalReason::Malformed, error.to_string()))?;
    if rest[end..].contains(&b'#') {
        return Err((
            RefusalReason::Malformed,
            "a request target has no fragment".to_owned(),
        ));
    }
    let path = span_within(raw, &rest[end..]);
    Ok((Form::Absolute { path }, target))
}

fn check_host(head: &Head, form: &Form, target: &Target) -> Result<(), String> {
    let mut hosts = head.values("host");
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err("there are two Host headers".to_owned());
    }
    let absolute = matches!(form, Form::Absolute { .. });
    match first {
        None if absolute && head.version() == Version::Http11 => Err("there is no Host header".to_owned()),
        None => Ok(()),
        Some(b"") if !absolute => Ok(()),
        Some(host) => host_target(host, form, target)
            .map(|_| ())
            .map_err(|error| format!("the Host header is not a host: {error}")),
    }
}

fn host_target(host: &[u8], form: &Form, target: &Target) -> Result<Target, base::InvalidTarget> {
    let default = match form {
        Form::Connect => target.port,
        Form::Absolute { .. } => Port::HTTP,
    };
    Target::from_authority_or(host, default)
}

fn framing(head: &Head) -> Result<Framing, &'static str> {
    let mut lengths = head.values("content-length");
    let mut codings = head.values("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::NONE),
        (Some(_), Some(_)) => Err("the body has both a length and a transfer coding"),
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err("the body's length is given more than once");
            }
            content_length(length)
                .map(Framing::Length)
                .ok_or("the body's length is not a plain number")
        }
        (None, Some(coding)) => {
            if head.version() == Version::Http10 {
                return Err("HTTP/1.0 has no transfer codings");
            }
            if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err("the only transfer coding of a request is chunked, once");
            }
            Ok(Framing::chunked())
        }
    }
}

/// A length in plain digits that a counter of our own can hold.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    let plain = !value.is_empty() && value.len() <= 15 && value.iter().all(u8::is_ascii_digit);
    plain.then(|| {
        value
            .iter()
            .fold(0, |length, digit| length * 10 + u64::from(digit - b'0'))
    })
}

fn is_persistent(head: &Head) -> bool {
    let says = |word: &[u8]| {
        head.list("connection")
            .chain(head.list("proxy-connection"))
            .any(|member| member.eq_ignore_ascii_case(word))
    };
    match head.version() {
        Version::Http11 => !says(b"close"),
        Version::Http10 => says(b"keep-alive") && !says(b"close"),
    }
}

fn notes(head: &Head, form: &Form, target: &Target) -> Notes {
    let written = match form {
        Form::Connect => head.target(),
        Form::Absolute { path } => {
            let end = if path.is_empty() {
                head.target().len()
            } else {
                path.start
            };
            &head.target()["http://".len()..end]
        }
    };
    let default_form = matches!(form, Form::Absolute { .. }).then(|| host_for(target));
    let canonical = target.to_string();
    let differs = written != canonical.as_bytes()
        && default_form.is_none_or(|default_form| written != default_form.as_bytes());
    let host = head.values("host").next().filter(|host| !host.is_empty());
    let host_differs = host.filter(|host| host_target(host, form, target).as_ref() != Ok(target));
    let stripped_headers: BTreeSet<String> = head
        .fields()
        .filter(|(name, _)| is_identity_header(name))
        .map(|(name, _)| escape_untrusted(&name.to_ascii_lowercase(), 64))
        .take(MAX_STRIPPED)
        .collect();
    Notes {
        raw_target: differs.then(|| escape_untrusted(written, MAX_RAW)),
        host_header: host_differs.map(|host| escape_untrusted(host, MAX_RAW)),
        stripped_headers: stripped_headers.into_iter().collect(),
    }
}

/// The value of a Host header that names `target`: the port is left out where it is that of `http`.
fn host_for(target: &Target) -> String {
    let text = target.to_string();
    match text.strip_suffix(":80") {
        Some(host) if target.port == Port::HTTP => host.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::tests::head;

    fn request(raw: &str) -> Result<Request, BadRequest> {
        Request::from_head(head(raw).unwrap())
    }

    fn upstream_head(request: &Request) -> String {
        let Form::Absolute { path } = &request.form else {
            panic!("a CONNECT request is not forwarded");
        };
        String::from_utf8(request.upstream_head(path)).unwrap()
    }

    fn refused(raw: &str) -> BadRequest {
        match request(raw) {
            Ok(_) => panic!("accepted {raw:?}"),
            Err(bad) => bad,
        }
    }

    #[test]
    fn connect_needs_no_host_and_takes_no_body() {
        let request = request("CONNECT Example.com.:443 HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(request.target.to_string(), "example.com:443");
        assert_eq!(request.notes.raw_target.as_deref(), Some("Example.com.:443"));
        assert!(!request.persistent);
        for field in [
            "Content-Length: 0",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
        ] {
            let raw = format!("CONNECT a.example:443 HTTP/1.1\r\n{field}\r\n\r\n");
            assert_eq!(refused(&raw).reason, RefusalReason::Malformed, "{field}");
        }
    }

    #[test]
    fn the_host_header_of_a_connect_request_is_noted_where_it_differs() {
        for (host, noted) in [
            ("Host: a.example\r\n", None),
            ("Host: A.example:443\r\n", None),
            ("Host: \r\n", None),
            ("Host: b.example\r\n", Some("b.example")),
            ("Host: a.example:80\r\n", Some("a.example:80")),
        ] {
            let request = request(&format!("CONNECT a.example:443 HTTP/1.1\r\n{host}\r\n")).unwrap();
            assert_eq!(request.notes.host_header.as_deref(), noted, "{host}");
        }
    }

    #[test]
    fn a_host_header_that_disagrees_is_noted_and_rewritten() {
        let request = request("GET http://ok.example/p?q HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
        assert_eq!(request.target.to_string(), "ok.example:80");
        assert_eq!(request.notes.host_header.as_deref(), Some("evil.example"));
        let head = upstream_head(&request);
        assert_eq!(head, "GET /p?q HTTP/1.1\r\nHost: ok.example\r\n\r\n");
    }

    #[test]
    fn what_is_not_between_client_and_gateway_goes_on_as_it_came() {
        let request = request(
            "GET HTTP://Ok.example:80 HTTP/1.1\r\nhOST: ok.example:80\r\nX-Odd:  a  b\r\ncookie: c\r\nTE: trailers\r\n\
             Connection: close, X-Hop, Host\r\nX-Hop: 1\r\nProxy-Authorization: Basic YTpi\r\nProxy-Connection: keep-alive\r\n\
             Keep-Alive: 5\r\nVia: 1.1 x\r\nForwarded: for=1\r\nMax-Forwards: 1\r\nX-Upstream-Https-Proxy: p\r\n\
             X-Plugin-Id: p\r\nx-bailiwick-run: r\r\nX-RUN-ID: r\r\nAccept: */*\r\n\r\n",
        )
        .unwrap();
        let head = upstream_head(&request);
        assert_eq!(
            head,
            "GET / HTTP/1.1\r\nhOST: ok.example:80\r\nX-Odd: a  b\r\ncookie: c\r\nAccept: */*\r\n\r\n"
        );
        assert_eq!(
            request.notes.stripped_headers,
            ["x-bailiwick-run", "x-plugin-id", "x-run-id"]
        );
        assert_eq!(request.notes.host_header, None);
        assert!(!request.persistent);
        assert_eq!(
            request.proof,
            Proof::Basic {
                user: b"a".into(),
                password: b"b".into()
            }
        );
    }

    #[test]
    fn an_upgrade_is_asked_for_in_the_gateways_own_connection_header() {
        let raw = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let head = upstream_head(&request(raw).unwrap());
        assert!(
            head.ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            "{head}"
        );
    }

    #[test]
    fn options_of_a_whole_server_is_asked_with_an_asterisk() {
        let raw = "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert!(upstream_head(&request(raw).unwrap()).starts_with("OPTIONS * HTTP/1.1\r\n"));
        let raw = "GET http://a.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert!(upstream_head(&request(raw).unwrap()).starts_with("GET /?q HTTP/1.1\r\n"));
    }

    #[test]
    fn requests_that_two_servers_could_read_differently_are_refused() {
        let with = |fields: &str| format!("POST http://a.example/ HTTP/1.1\r\n{fields}\r\n");
        for fields in [
            "",
            "Host: a.example\r\nHost: a.example\r\n",
            "Host: a.example, b.example\r\n",
            "Host: \r\n",
            "Host: a.example/\r\n",
            "Host: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Host: a.example\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
            "Host: a.example\r\nContent-Length: 1, 1\r\n",
            "Host: a.example\r\nContent-Length: +5\r\n",
            "Host: a.example\r\nContent-Length: 0x5\r\n",
            "Host: a.example\r\nContent-Length: \r\n",
            "Host: a.example\r\nContent-Length: 99999999999999999999\r\n",
            "Host: a.example\r\nTransfer-Encoding: chunked, identity\r\n",
            "Host: a.example\r\nTransfer-Encoding: identity\r\n",
            "Host: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Host: a.example\r\nTransfer-Encoding: xchunked\r\n",
            "Host: a.example\r\nProxy-Authorization: Basic YTpi\r\nProxy-Authorization: Basic YTpi\r\n",
        ] {
            assert_eq!(
                refused(&with(fields)).reason,
                RefusalReason::Malformed,
                "{fields:?}"
            );
        }
        for target in [
            "/admin",
            "a.example",
            "a.example:80",
            "*",
            "http:/a.example/",
            "http:///p",
        ] {
            let raw = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            assert_eq!(refused(&raw).reason, RefusalReason::Malformed, "{target}");
        }
        let raw = "GET http://a.example/#f HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(refused(raw).reason, RefusalReason::Malformed);
        let raw = "GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(refused(raw).reason, RefusalReason::Unsupported);
        let raw = "POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(raw).reason, RefusalReason::Malformed);
    }
}
