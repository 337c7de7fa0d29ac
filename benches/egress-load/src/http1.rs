//! Just enough HTTP/1.1 to drive a proxy: request heads out, response heads and bodies in.
//!
//! The same [`Connection`] serves both ends, so the built-in origin parses requests with it too.

use std::cell::Cell;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::stream::Stream;

/// A head larger than this is refused.
const BUFFER_BYTES: usize = 16 * 1024;

/// Large bodies are sent and read in pieces of this size.
const BULK_BYTES: usize = 256 * 1024;

/// What bodies are made of.
pub static FILLER: [u8; BULK_BYTES] = [b'x'; BULK_BYTES];

/// How far an [exchange](Connection::exchange) has come; can be read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    pub sent: Cell<u64>,
    pub received: Cell<u64>,
}

/// A stream with a read buffer in front of it.
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// The parts of a message head that decide how its body ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    pub content_length: Option<u64>,
    pub chunked: bool,
    /// The sender closes the connection after this message.
    pub closes: bool,
}

impl Framing {
    /// Whether another message can follow on the same connection.
    pub fn keeps_connection(&self) -> bool {
        !self.closes && (self.chunked || self.content_length.is_some())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    pub framing: Framing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    pub path: String,
    pub framing: Framing,
}

impl Connection {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
        }
    }

    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads exactly `into.len()` bytes.
    pub async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < into.len() {
            if self.start == self.end && self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = (into.len() - filled).min(self.end - self.start);
            into[filled..filled + take].copy_from_slice(&self.buffer[self.start..self.start + take]);
            self.start += take;
            filled += take;
        }
        Ok(())
    }

    pub async fn read_response_head(&mut self) -> io::Result<ResponseHead> {
        let length = self.await_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let head = parse_response_head(&self.buffer[self.start..self.start + length]);
        self.start += length;
        head.ok_or_else(|| invalid("malformed response head"))
    }

    /// The socket, where bytes go over it as they are and none were read ahead; the connection where not.
    pub fn into_socket(self) -> Result<std::net::TcpStream, Self> {
        match self.stream {
            Stream::Tcp(stream) if self.start == self.end => {
                Ok(stream.into_std().expect("a socket leaves the runtime"))
            }
            stream => Err(Self { stream, ..self }),
        }
    }

    /// Reads the next request head, or `None` if the peer closed between requests.
    pub async fn read_request_head(&mut self) -> io::Result<Option<RequestHead>> {
        let Some(length) = self.await_head().await? else {
            return Ok(None);
        };
        let head = parse_request_head(&self.buffer[self.start..self.start + length]);
        self.start += length;
        head.map(Some).ok_or_else(|| invalid("malformed request head"))
    }

    /// Reads and discards the body that `framing` describes; returns its length.
    pub async fn discard_body(&mut self, framing: &Framing) -> io::Result<u64> {
        if framing.chunked {
            return self.discard_chunks().await;
        }
        match framing.content_length {
            Some(length) => self.discard(length).await.map(|()| length),
            None => self.discard_to_end().await,
        }
    }

    pub async fn discard(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            if self.start == self.end && self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = length.min((self.end - self.start) as u64);
            self.start += take as usize;
            length -= take;
        }
        Ok(())
    }

    /// Sends `send` bytes of filler and discards `receive` bytes, both at the same time, and adds
    /// them to `progress` as they move.
    pub async fn exchange(&mut self, send: u64, receive: u64, progress: &Progress) -> io::Result<()> {
        let buffered = receive.min((self.end - self.start) as u64);
        self.start += buffered as usize;
        progress.received.set(progress.received.get() + buffered);
        if self.buffer.len() < BULK_BYTES && receive > BUFFER_BYTES as u64 {
            self.buffer.resize(BULK_BYTES, 0);
        }
        let sent_at_end = progress.sent.get() + send;
        let received_at_end = progress.received.get() + receive - buffered;
        // Nothing is read once `receive` is reached, so the next message stays where it is.
        let buffer = &mut self.buffer;
        match &mut self.stream {
            Stream::Tcp(stream) => {
                let (mut reader, mut writer) = stream.split();
                tokio::try_join!(
                    send_filler(&mut writer, sent_at_end, progress),
                    receive_into(buffer, &mut reader, received_at_end, progress)
                )
            }
            stream => {
                let (mut reader, mut writer) = tokio::io::split(stream);
                tokio::try_join!(
                    send_filler(&mut writer, sent_at_end, progress),
                    receive_into(buffer, &mut reader, received_at_end, progress)
                )
            }
        }
        .map(|_| ())
    }

    /// Waits until the other end closes or is gone; what it says until then is thrown away.
    pub async fn closed(&mut self) {
        loop {
            self.start = self.end;
            if matches!(self.fill().await, Ok(0) | Err(_)) {
                return;
            }
        }
    }

    async fn discard_to_end(&mut self) -> io::Result<u64> {
        let mut total = 0;
        loop {
            total += (self.end - self.start) as u64;
            self.start = self.end;
            if self.fill().await? == 0 {
                return Ok(total);
            }
        }
    }

    async fn discard_chunks(&mut self) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let line = self.read_line().await?;
            let size = parse_chunk_size(&line).ok_or_else(|| invalid("malformed chunk size"))?;
            if size == 0 {
                while !self.read_line().await?.is_empty() {}
                return Ok(total);
            }
            self.discard(size).await?;
            if !self.read_line().await?.is_empty() {
                return Err(invalid("chunk is longer than its size says"));
            }
            total += size;
        }
    }

    async fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.read_exact(&mut byte).await?;
            match byte[0] {
                b'\n' => break,
                b'\r' => {}
                other if line.len() < BUFFER_BYTES => line.push(other),
                _ => return Err(invalid("line too long")),
            }
        }
        Ok(line)
    }

    /// Waits for a whole head; returns its length with the blank line, or `None` on a clean close.
    async fn await_head(&mut self) -> io::Result<Option<usize>> {
        let mut searched = 0;
        loop {
            let pending = &self.buffer[self.start..self.end];
            let from = searched.max(3) - 3;
            if let Some(at) = pending[from..].windows(4).position(|w| w == b"\r\n\r\n") {
                return Ok(Some(from + at + 4));
            }
            searched = pending.len();
            if searched >= BUFFER_BYTES {
                return Err(invalid("head too large"));
            }
            if self.fill().await? == 0 {
                return if searched == 0 {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let read = self.stream.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read)
    }
}

async fn send_filler<W>(writer: &mut W, until: u64, progress: &Progress) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    while progress.sent.get() < until {
        let piece = (until - progress.sent.get()).min(BULK_BYTES as u64) as usize;
        let sent = writer.write(&FILLER[..piece]).await?;
        progress.sent.set(progress.sent.get() + sent as u64);
    }
    // TLS keeps the last of it until it is told that no more follows for now.
    writer.flush().await
}

async fn receive_into<R>(buffer: &mut [u8], reader: &mut R, until: u64, progress: &Progress) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    while progress.received.get() < until {
        let left = until - progress.received.get();
        let piece = left.min(buffer.len() as u64) as usize;
        match reader.read(&mut buffer[..piece]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => progress.received.set(progress.received.get() + read as u64),
        }
    }
    Ok(())
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn parse_response_head(head: &[u8]) -> Option<ResponseHead> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let version = words.next().filter(|word| word.starts_with("HTTP/1."))?;
    let status = words.next()?.parse().ok()?;
    Some(ResponseHead {
        status,
        framing: parse_framing(version, lines),
    })
}

fn parse_request_head(head: &[u8]) -> Option<RequestHead> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let _method = words.next()?;
    let path = words.next()?.to_owned();
    let version = words.next().filter(|word| word.starts_with("HTTP/1."))?;
    let mut framing = parse_framing(version, lines);
    if framing.content_length.is_none() && !framing.chunked {
        framing.content_length = Some(0); // a request without either has no body
    }
    Some(RequestHead { path, framing })
}

fn parse_framing<'a>(version: &str, lines: impl Iterator<Item = &'a str>) -> Framing {
    let mut framing = Framing {
        content_length: None,
        chunked: false,
        closes: version == "HTTP/1.0",
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing.content_length = value.parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing.chunked = value.to_ascii_lowercase().ends_with("chunked");
        } else if name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("proxy-connection") {
            if value.eq_ignore_ascii_case("close") {
                framing.closes = true;
            } else if value.eq_ignore_ascii_case("keep-alive") {
                framing.closes = false;
            }
        }
    }
    framing
}

fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok()
}

/// The value of an `Authorization`-style header for HTTP Basic.
pub fn basic_credentials(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for position in 0..4 {
            if position <= group.len() {
                text.push(ALPHABET[(word >> (18 - 6 * position)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    async fn connection_that_received(bytes: &'static [u8]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        sender.write_all(bytes).await.unwrap();
        Connection::new(Stream::Tcp(stream))
    }

    #[test]
    fn base64_pads_every_remainder() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(
            basic_credentials("aladdin", "opensesame"),
            "Basic YWxhZGRpbjpvcGVuc2VzYW1l"
        );
    }

    #[test]
    fn connection_is_kept_only_where_the_next_message_can_be_found() {
        let keeps = |head: &[u8]| parse_response_head(head).unwrap().framing.keeps_connection();
        assert!(!keeps(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"));
        assert!(keeps(
            b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n"
        ));
        assert!(keeps(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"));
        assert!(!keeps(b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!keeps(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\nContent-Length: 1\r\n\r\n"
        ));
    }

    #[test]
    fn garbage_is_not_a_head() {
        assert_eq!(parse_response_head(b"SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(parse_request_head(b"GET\r\n\r\n"), None);
    }

    #[tokio::test]
    async fn body_of_known_length_leaves_the_next_message() {
        let mut connection = connection_that_received(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No Content\r\n\r\n",
        )
        .await;
        let head = connection.read_response_head().await.unwrap();
        assert_eq!(connection.discard_body(&head.framing).await.unwrap(), 3);
        assert_eq!(connection.read_response_head().await.unwrap().status, 204);
    }

    #[tokio::test]
    async fn chunked_body_is_counted_without_its_framing() {
        let mut connection = connection_that_received(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        )
        .await;
        let head = connection.read_response_head().await.unwrap();
        assert_eq!(connection.discard_body(&head.framing).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn truncated_head_is_an_error() {
        let mut connection = connection_that_received(b"HTTP/1.1 200 OK\r\nContent-").await;
        let error = connection.read_response_head().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
