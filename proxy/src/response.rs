//! Responses: the head of a server's answer, and where the answer ends.
//!
//! The server is no more trusted than the client. An answer whose end could be seen in two places
//! is not passed on.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::framing::Framing;
use crate::head::{Field, HeadLimits, Version, span_within};
use crate::headers::{push_field, response_field_travels};
use crate::request::content_length;

/// The head of an HTTP/1 response.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    bytes: Bytes,
    status: u16,
    /// Whether the server may be asked again on the same connection.
    persistent: bool,
    reason: Range<usize>,
    fields: Vec<Field>,
}

/// A server's answer is not HTTP/1, or could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer is not HTTP/1.1")]
pub(crate) struct BadResponse;

/// What becomes of the connection to the client after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It waits for another request.
    Kept,
    /// It is closed.
    Closed,
    /// It carries another protocol.
    Upgraded,
}

impl ResponseHead {
    /// Takes a response head off the front of `buffer`, if all of it is there.
    pub(crate) fn split_from(buffer: &mut BytesMut, limits: HeadLimits) -> Result<Option<Self>, BadResponse> {
        let mut headers = vec![httparse::EMPTY_HEADER; limits.headers];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(buffer) {
            Ok(httparse::Status::Complete(length)) if length <= limits.bytes => length,
            Ok(httparse::Status::Partial) if buffer.len() < limits.bytes => return Ok(None),
            _ => return Err(BadResponse),
        };
        let span = |part: &[u8]| span_within(buffer, part);
        let fields: Vec<_> = response
            .headers
            .iter()
            .map(|header| (span(header.name.as_bytes()), span(header.value)))
            .collect();
        let reason = span(response.reason.unwrap_or_default().as_bytes());
        let (status, version) = (response.code, response.version);
        let mut head = Self {
            status: status.filter(|status| *status >= 100).ok_or(BadResponse)?,
            persistent: version == Some(1),
            reason,
            fields,
            bytes: buffer.split_to(length).freeze(),
        };
        let closes = head
            .list("connection")
            .any(|member| member.eq_ignore_ascii_case(b"close"));
        head.persistent &= !closes;
        Ok(Some(head))
    }

    /// The status code.
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }

    /// Whether the server's connection can be used again once the body is read.
    pub(crate) const fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// Whether this is an interim answer that another one follows.
    pub(crate) const fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Where the body ends (RFC 9112 §6.3).
    pub(crate) fn framing(&self, method: &[u8]) -> Result<Framing, BadResponse> {
        if method == b"HEAD" || self.status < 200 || self.status == 204 || self.status == 304 {
            return Ok(Framing::NONE);
        }
        let mut lengths = self.values("content-length");
        let codings: Vec<&[u8]> = self.list("transfer-encoding").collect();
        match (lengths.next(), codings.as_slice()) {
            (None, []) => Ok(Framing::UntilClose),
            (Some(length), []) => {
                if lengths.next().is_some() {
                    return Err(BadResponse);
                }
                content_length(length).map(Framing::Length).ok_or(BadResponse)
            }
            (None, [first @ .., last]) => {
                let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
                if first.iter().any(is_chunked) {
                    Err(BadResponse)
                } else if is_chunked(last) {
                    Ok(Framing::chunked())
                } else {
                    Ok(Framing::UntilClose)
                }
            }
            (Some(_), _) => Err(BadResponse),
        }
    }

    /// Whether the body's framing is a coding that HTTP/1.0 does not know.
    pub(crate) fn has_transfer_coding(&self) -> bool {
        self.values("transfer-encoding").next().is_some()
    }

    /// Whether the body is coded in a way that only HTTP/1.1 can say.
    pub(crate) fn is_coded_besides_chunked(&self) -> bool {
        self.list("transfer-encoding")
            .any(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
    }

    /// Whether the server agrees to a WebSocket as RFC 6455 §4.1 says.
    pub(crate) fn accepts_websocket(&self, accept: &str) -> bool {
        let mut upgrades = self.list("upgrade");
        let mut accepts = self.values("sec-websocket-accept");
        upgrades
            .next()
            .is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
            && accepts.next() == Some(accept.as_bytes())
            && upgrades.next().is_none()
            && accepts.next().is_none()
    }

    /// The head to send to the client.
    pub(crate) fn downstream_head(&self, client: Version, afterwards: Afterwards) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(match client {
            Version::Http10 => b"HTTP/1.0 ",
            Version::Http11 => b"HTTP/1.1 ",
        });
        out.extend_from_slice(format!("{:03} ", self.status).as_bytes());
        out.extend_from_slice(&self.bytes[self.reason.clone()]);
        out.extend_from_slice(b"\r\n");
        let named: Vec<&[u8]> = self.list("connection").collect();
        for (name, value) in self.fields() {
            let upgrade = afterwards == Afterwards::Upgraded && name.eq_ignore_ascii_case(b"upgrade");
            if upgrade || response_field_travels(name, &named) {
                push_field(&mut out, name, value);
            }
        }
        match (afterwards, client) {
            (Afterwards::Upgraded, _) => push_field(&mut out, b"Connection", b"Upgrade"),
            (Afterwards::Closed, _) => push_field(&mut out, b"Connection", b"close"),
            (Afterwards::Kept, Version::Http10) => push_field(&mut out, b"Connection", b"keep-alive"),
            (Afterwards::Kept, Version::Http11) => {}
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The headers in the order in which they came.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|(name, value)| (&self.bytes[name.clone()], &self.bytes[value.clone()]))
    }

    /// The values of every header called `name`.
    pub(crate) fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.fields()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    fn list<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        headers: 16,
    };

    fn response(raw: &str) -> Result<Option<ResponseHead>, BadResponse> {
        ResponseHead::split_from(&mut BytesMut::from(raw), LIMITS)
    }

    fn framing(fields: &str) -> Result<Framing, BadResponse> {
        let raw = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        response(&raw).unwrap().unwrap().framing(b"GET")
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::chunked()));
        assert_eq!(
            framing("Transfer-Encoding: gzip, chunked\r\n"),
            Ok(Framing::chunked())
        );
        assert_eq!(framing("Transfer-Encoding: gzip\r\n"), Ok(Framing::UntilClose));
        assert_eq!(framing(""), Ok(Framing::UntilClose));
        for status in ["204 No Content", "304 Not Modified", "101 Switching Protocols"] {
            let raw = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
            let head = response(&raw).unwrap().unwrap();
            assert_eq!(head.framing(b"GET"), Ok(Framing::NONE), "{status}");
        }
        let head = response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(head.framing(b"HEAD"), Ok(Framing::NONE));
    }

    #[test]
    fn an_answer_with_two_ends_is_refused() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +5\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
        ] {
            assert_eq!(framing(fields), Err(BadResponse), "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_response_is_refused_and_half_a_response_is_waited_for() {
        assert!(response("SSH-2.0-x\r\n").is_err());
        assert!(response("HTTP/1.1 200 OK\r\nX: y\r\n").unwrap().is_none());
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(LIMITS.bytes));
        assert!(response(&long).is_err());
    }

    #[test]
    fn an_answer_goes_on_without_what_was_between_gateway_and_server() {
        let raw = "HTTP/1.0 200 Fine\r\nX-Odd: a\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                   Proxy-Authenticate: Basic\r\nX-Bailiwick-Reason: revoked\r\nContent-Length: 0\r\n\r\n";
        let head = response(raw).unwrap().unwrap();
        assert!(!head.is_persistent());
        let text = |client, afterwards| String::from_utf8(head.downstream_head(client, afterwards)).unwrap();
        assert_eq!(
            text(Version::Http11, Afterwards::Kept),
            "HTTP/1.1 200 Fine\r\nX-Odd: a\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            text(Version::Http10, Afterwards::Closed),
            "HTTP/1.0 200 Fine\r\nX-Odd: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
}
