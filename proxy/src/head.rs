//! Request heads: the request line and headers of HTTP/1, read once and strictly.
//!
//! Request smuggling lives on bytes that two readers take differently, so this reader takes only
//! what RFC 9112 allows without leniency: lines end in CR LF, fields do not continue on the next
//! line, nothing stands between a field's name and its colon. What it has read is what is logged,
//! ruled on and forwarded; nobody parses the bytes again.
//!
//! No input or output happens here; the caller owns the socket and the clock.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A request head whose bytes could be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: Bytes,
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
    fields: Vec<Field>,
}

/// Where a header's name and its value lie.
pub(crate) type Field = (Range<usize>, Range<usize>);

/// The minor version of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// Why bytes are not a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("a line of the request head does not end in CR LF")]
    LineEnd,
    #[error("the first line is not a method, a target and a version with single spaces between")]
    RequestLine,
    #[error("the request's target has a character that no target contains")]
    Target,
    #[error("this port speaks HTTP/1.0 and HTTP/1.1")]
    Version,
    #[error("a header is not a name, a colon and a value on one line")]
    Header,
    #[error("the request head is too large")]
    TooLarge,
    #[error("the request head has too many headers")]
    TooManyHeaders,
}

/// How much a head may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) headers: usize,
}

/// Finds the end of a head in a growing buffer, looking at each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadScan {
    seen: usize,
    line_start: usize,
}

/// The longest method read; IANA's longest is 17.
const MAX_METHOD: usize = 32;

impl HeadScan {
    /// Looks at what was added to `buffer`. `Some(length)` is a whole head, which is then taken out
    /// of the buffer with [`Head::split_from`].
    pub(crate) fn scan(&mut self, buffer: &[u8], limits: HeadLimits) -> Result<Option<usize>, HeadError> {
        for (at, &byte) in buffer.iter().enumerate().skip(self.seen) {
            self.seen = at + 1;
            if at >= limits.bytes {
                return Err(HeadError::TooLarge);
            }
            let after_cr = at > 0 && buffer[at - 1] == b'\r';
            if (byte == b'\n') != after_cr {
                return Err(HeadError::LineEnd);
            }
            if byte != b'\n' {
                continue;
            }
            let empty = at == self.line_start + 1;
            let leading = self.line_start == 0;
            self.line_start = at + 1;
            // RFC 9112 §2.2: one empty line before the request line is forgiven.
            if empty && !leading {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }
}

impl Head {
    /// Takes a head of `length` bytes, as [`HeadScan`] found it, off the front of `buffer`.
    pub(crate) fn split_from(
        buffer: &mut BytesMut,
        length: usize,
        limits: HeadLimits,
    ) -> Result<Self, HeadError> {
        let head = Self::parse(&buffer[..length], limits)?;
        Ok(Self {
            bytes: buffer.split_to(length).freeze(),
            ..head
        })
    }

    /// Parses the bytes of a whole head; `bytes` of the result are left for the caller to fill in.
    fn parse(raw: &[u8], limits: HeadLimits) -> Result<Self, HeadError> {
        let start = if raw.starts_with(b"\r\n") { 2 } else { 0 };
        let end = raw[start..]
            .iter()
            .position(|&byte| byte == b'\r')
            .map(|at| start + at)
            .ok_or(HeadError::RequestLine)?;
        let (method, target, version) = request_line(raw, start..end)?;
        let fields = fields(raw, end + 2, limits.headers)?;
        Ok(Self {
            bytes: Bytes::new(),
            method,
            target,
            version,
            fields,
        })
    }

    /// The method, as written.
    pub(crate) fn method(&self) -> &[u8] {
        &self.bytes[self.method.clone()]
    }

    /// The request target, as written.
    pub(crate) fn target(&self) -> &[u8] {
        &self.bytes[self.target.clone()]
    }

    /// The version.
    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    /// The headers in the order in which they came: names as written, values without the space
    /// around them.
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

    /// The members of the comma-separated lists in every header called `name`.
    pub(crate) fn list<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }
}

/// What stood where a target belongs, for the record of a head that was not read.
pub(crate) fn target_of_broken_head(buffer: &[u8]) -> Option<&[u8]> {
    let buffer = buffer.strip_prefix(b"\r\n").unwrap_or(buffer);
    let line = buffer
        .split(|&byte| byte == b'\r' || byte == b'\n')
        .next()
        .unwrap_or(buffer);
    let first = line.iter().position(|&byte| byte == b' ')?;
    let rest = &line[first + 1..];
    // The version stands after the last space; a line that ends before it has none yet.
    let target = match rest.iter().rposition(|&byte| byte == b' ') {
        Some(last) if rest[last + 1..].starts_with(b"HTTP/") => &rest[..last],
        _ => rest,
    };
    (!target.is_empty()).then_some(target)
}

type RequestLine = (Range<usize>, Range<usize>, Version);

fn request_line(raw: &[u8], line: Range<usize>) -> Result<RequestLine, HeadError> {
    let text = &raw[line.clone()];
    let space = |bytes: &[u8]| bytes.iter().position(|&byte| byte == b' ');
    let first = space(text).ok_or(HeadError::RequestLine)?;
    let last = text
        .iter()
        .rposition(|&byte| byte == b' ')
        .filter(|&last| last > first)
        .ok_or(HeadError::RequestLine)?;
    let (method, target, version) = (&text[..first], &text[first + 1..last], &text[last + 1..]);
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().copied().all(is_token_byte) {
        return Err(HeadError::RequestLine);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        other if other.starts_with(b"HTTP/") => return Err(HeadError::Version),
        _ => return Err(HeadError::RequestLine),
    };
    if target.is_empty() {
        return Err(HeadError::RequestLine);
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(HeadError::Target);
    }
    let at = line.start;
    Ok((at..at + first, at + first + 1..at + last, version))
}

fn fields(raw: &[u8], start: usize, max: usize) -> Result<Vec<Field>, HeadError> {
    let mut headers = vec![httparse::EMPTY_HEADER; max];
    let parsed = match httparse::parse_headers(&raw[start..], &mut headers) {
        Ok(httparse::Status::Complete((length, parsed))) if start + length == raw.len() => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        _ => return Err(HeadError::Header),
    };
    let span = |part: &[u8]| span_within(raw, part);
    Ok(parsed
        .iter()
        .map(|header| (span(header.name.as_bytes()), span(header.value)))
        .collect())
}

/// Where `part`, a slice of `whole`, lies in it. An empty part may point anywhere.
pub(crate) fn span_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        headers: 32,
    };

    /// Reads a head that arrives in pieces, as the session does.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<(Head, usize)>, HeadError> {
        let mut buffer = BytesMut::new();
        let mut scan = HeadScan::default();
        let mut head = None;
        for piece in pieces {
            buffer.extend_from_slice(piece);
            if head.is_none()
                && let Some(length) = scan.scan(&buffer, LIMITS)?
            {
                head = Some((Head::split_from(&mut buffer, length, LIMITS)?, length));
            }
        }
        Ok(head)
    }

    pub(crate) fn head(raw: &str) -> Result<Head, HeadError> {
        read([raw.as_bytes()]).map(|read| read.expect("a whole head").0)
    }

    #[test]
    fn a_head_is_read_and_the_rest_stays() {
        let raw = "\r\nCONNECT a.example:443 HTTP/1.0\r\nHost: a.example\r\nX: \r\n\r\nrest";
        let (head, length) = read([raw.as_bytes()]).unwrap().unwrap();
        assert_eq!(&raw[length..], "rest");
        assert_eq!(head.method(), b"CONNECT");
        assert_eq!(head.target(), b"a.example:443");
        assert_eq!(head.version(), Version::Http10);
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(fields, [(&b"Host"[..], &b"a.example"[..]), (b"X", b"")]);
    }

    #[test]
    fn leniency_that_smuggling_lives_on_is_refused() {
        for (raw, error) in [
            ("GET http://a/ HTTP/1.1\nHost: a\r\n\r\n", HeadError::LineEnd),
            ("GET http://a/ HTTP/1.1\r\nHost: a\n\r\n", HeadError::LineEnd),
            (
                "GET http://a/ HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
                HeadError::LineEnd,
            ),
            (
                "GET http://a/ HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
                HeadError::Header,
            ),
            ("GET http://a/ HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::Header),
            ("GET http://a/ HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::Header),
            ("GET http://a/ HTTP/1.1\r\nHost\r\n\r\n", HeadError::Header),
            ("GET http://a/ HTTP/1.1\r\n: a\r\n\r\n", HeadError::Header),
            ("GET http://a/ HTTP/1.1\r\nX: a\0b\r\n\r\n", HeadError::Header),
            ("GET  http://a/ HTTP/1.1\r\n\r\n", HeadError::Target),
            ("GET http://a/ b HTTP/1.1\r\n\r\n", HeadError::Target),
            ("GET http://a/\tHTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (" GET http://a/ HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            ("G(T http://a/ HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            ("GET http://a/\r\n\r\n", HeadError::RequestLine),
            ("GET http://a/ HTTP/1.1 \r\n\r\n", HeadError::RequestLine),
            ("GET http://a/ http/1.1\r\n\r\n", HeadError::RequestLine),
            ("GET http://a/ HTTP/2.0\r\n\r\n", HeadError::Version),
            ("GET http://a/ HTTP/1.10\r\n\r\n", HeadError::Version),
            ("\r\n\r\nGET http://a/ HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            ("CONNECT a\u{e9}:443 HTTP/1.1\r\n\r\n", HeadError::Target),
            ("CONNECT a\0b:443 HTTP/1.1\r\n\r\n", HeadError::Target),
        ] {
            assert_eq!(head(raw), Err(error), "{raw:?}");
        }
    }

    #[test]
    fn a_head_has_limits() {
        let long = format!("GET http://a/{} HTTP/1.1\r\n\r\n", "x".repeat(LIMITS.bytes));
        assert_eq!(head(&long), Err(HeadError::TooLarge));
        let lines = |count| format!("GET http://a/ HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(head(&lines(LIMITS.headers)).is_ok());
        assert_eq!(head(&lines(LIMITS.headers + 1)), Err(HeadError::TooManyHeaders));
    }

    #[test]
    fn the_target_of_a_broken_head_is_still_found() {
        for (raw, target) in [
            ("CONNECT a b:443 HTTP/1.1\r\n", Some("a b:443")),
            ("CONNECT a:443 HTTP/1.1\nHost", Some("a:443")),
            ("CONNECT a:4", Some("a:4")),
            ("CONNECT ", None),
            ("nonsense", None),
        ] {
            let found = target_of_broken_head(raw.as_bytes());
            assert_eq!(found, target.map(str::as_bytes), "{raw:?}");
        }
    }

    /// Bytes that look enough like a head to get deep into the reader.
    fn almost_a_head() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            &b"GET "[..],
            b"CONNECT ",
            b"http://a.example/",
            b"a:1",
            b" HTTP/1.1",
            b" HTTP/1.0",
            b"\r\n",
            b"\r\n\r\n",
            b"\r",
            b"\n",
            b"Host: a",
            b"X:y",
            b" ",
            b"\t",
            b":",
            b"\0",
            b"\xff",
            b"abc",
        ]);
        proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read([&raw[..]]);
            let _ = target_of_broken_head(&raw);
        }

        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(raw in almost_a_head(), size in 1usize..7) {
            prop_assert_eq!(read([&raw[..]]), read(raw.chunks(size)));
        }
    }
}
