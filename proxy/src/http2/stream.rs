//! One HTTP/2 stream, seen from inside as a connection that speaks HTTP/1.1.
//!
//! Reading gives the request's body as HTTP/1.1 frames it; what is written is an HTTP/1.1 answer, of
//! which the client gets the frames of HTTP/2. A tunnel's bytes pass as they are. Nothing is kept here
//! but what the client sent and nobody has read yet, which its window bounds.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ledger::Ledger;
use super::translate::Kind;
use crate::framing::Framing;
use crate::head::HeadLimits;
use crate::headers::push_field;
use crate::response::ResponseHead;

/// A stream's two directions.
pub(crate) struct Http2Stream {
    receiving: Receiving,
    sending: Sending,
    kind: Kind,
    limits: HeadLimits,
    ledger: Arc<Ledger>,
}

/// Sent at once, at most.
const MAX_WRITE: usize = 64 << 10;
/// What a frame holds at most. With its own nine bytes (RFC 9113 §4.1) it fits one TLS record (RFC 8446
/// §5.1); a few bytes more would cost a record of their own.
pub(crate) const MAX_FRAME: usize = (16 << 10) - 9;
/// What the gateway adds to a server's answer may make its head larger than a server's may be.
const OWN_BYTES: usize = 1 << 10;
const OWN_HEADERS: usize = 8;

impl Http2Stream {
    pub(super) fn new(
        respond: SendResponse<Bytes>,
        body: RecvStream,
        kind: Kind,
        limits: HeadLimits,
        ledger: Arc<Ledger>,
    ) -> Self {
        let coding = match kind {
            Kind::Plain { chunked: true, .. } => Coding::Chunked,
            _ => Coding::Plain,
        };
        Self {
            receiving: Receiving {
                body,
                coding,
                place: Place::Contents,
                contents: Bytes::new(),
                framing: Bytes::new(),
            },
            sending: Sending::Head {
                respond,
                text: BytesMut::new(),
            },
            kind,
            limits: HeadLimits {
                bytes: limits.bytes + OWN_BYTES,
                headers: limits.headers + OWN_HEADERS,
            },
            ledger,
        }
    }

    /// A stream of which nothing more is wanted than to send an answer of the gateway's own.
    pub(super) fn plain(
        respond: SendResponse<Bytes>,
        body: RecvStream,
        limits: HeadLimits,
        ledger: Arc<Ledger>,
    ) -> Self {
        let kind = Kind::Plain {
            method: Method::GET,
            chunked: false,
        };
        Self::new(respond, body, kind, limits, ledger)
    }

    /// Ends it in a reset.
    pub(crate) fn abort(&mut self) {
        match &mut self.sending {
            Sending::Head { respond, .. } => respond.send_reset(Reason::INTERNAL_ERROR),
            Sending::Body { body, .. } => body.send_reset(Reason::INTERNAL_ERROR),
            // RFC 9113 §8.5.
            Sending::Bytes { body } => body.send_reset(Reason::CONNECT_ERROR),
            Sending::Done => return,
        }
        self.sending = Sending::Done;
    }

    /// Whether bytes that are given to it now are a tunnel's, and pass as they are.
    pub(crate) const fn is_tunnel(&self) -> bool {
        matches!(self.sending, Sending::Bytes { .. })
    }

    /// Takes from a tunnel's `bytes` as many as the client's window has room for.
    pub(crate) fn poll_give(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<()>> {
        let Sending::Bytes { body } = &mut self.sending else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let room = ready!(poll_room(body, cx, bytes.len()))?;
        Poll::Ready(send_in_frames(body, bytes.split_to(room)))
    }

    /// Whether the client has reset it.
    pub(crate) fn has_failed(&mut self) -> bool {
        self.poll_gone(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Ready once the client has reset it, or the connection is gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sending {
            Sending::Head { respond, .. } => respond.poll_reset(cx).map(|_| ()),
            Sending::Body { body, .. } | Sending::Bytes { body } => body.poll_reset(cx).map(|_| ()),
            Sending::Done => Poll::Pending,
        }
    }

    /// Reads what has been written so far of an answer's head, which ends with `written`, and says
    /// how many bytes of that belong to it.
    fn take_head(&mut self, written: &[u8]) -> io::Result<usize> {
        let Sending::Head { respond, text } = &mut self.sending else {
            return Ok(0);
        };
        text.extend_from_slice(written);
        loop {
            let head = ResponseHead::split_from(text, self.limits).map_err(io::Error::other)?;
            let Some(head) = head else {
                return Ok(written.len());
            };
            if head.is_interim() {
                let interim = response(&head, head.status(), false)?;
                respond.send_informational(interim).map_err(to_io)?;
                continue;
            }
            let rest = text.len();
            self.sending = self.kind.clone().answer(respond, &head)?;
            return Ok(written.len() - rest);
        }
    }
}

impl fmt::Debug for Http2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Stream")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        if matches!(self.sending, Sending::Head { .. }) && self.has_failed() {
            self.ledger.taken_back();
        }
    }
}

/// What the client sends.
struct Receiving {
    body: RecvStream,
    coding: Coding,
    place: Place,
    /// Received, and not yet read.
    contents: Bytes,
    /// Framing that is to be read before the contents.
    framing: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// As it comes.
    Plain,
    /// RFC 9112 §7.1.
    Chunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Contents,
    Trailers,
    End,
}

impl Receiving {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.framing.is_empty() {
                hand_over(&mut self.framing, buffer);
                return Poll::Ready(Ok(()));
            }
            if !self.contents.is_empty() {
                let taken = hand_over(&mut self.contents, buffer);
                // A stream that is over has no window any more.
                let _ = self.body.flow_control().release_capacity(taken);
                if self.contents.is_empty() {
                    // Gives the frame's memory back.
                    self.contents = Bytes::new();
                    if self.coding == Coding::Chunked {
                        self.framing = Bytes::from_static(b"\r\n");
                    }
                }
                return Poll::Ready(Ok(()));
            }
            match self.place {
                Place::Contents => match ready!(self.body.poll_data(cx)) {
                    Some(Ok(contents)) => {
                        if self.coding == Coding::Chunked && !contents.is_empty() {
                            self.framing = format!("{:x}\r\n", contents.len()).into();
                        }
                        self.contents = contents;
                    }
                    Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
                    None if self.coding == Coding::Plain => self.place = Place::End,
                    None => self.place = Place::Trailers,
                },
                Place::Trailers => {
                    let trailers = ready!(self.body.poll_trailers(cx)).map_err(to_io)?;
                    self.framing = last_chunk(&trailers.unwrap_or_default());
                    self.place = Place::End;
                }
                Place::End => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn hand_over(bytes: &mut Bytes, buffer: &mut ReadBuf<'_>) -> usize {
    let taken = bytes.len().min(buffer.remaining());
    buffer.put_slice(&bytes[..taken]);
    bytes.advance(taken);
    taken
}

fn last_chunk(trailers: &HeaderMap) -> Bytes {
    let mut chunk = b"0\r\n".to_vec();
    for (name, value) in trailers {
        push_field(&mut chunk, name.as_str().as_bytes(), value.as_bytes());
    }
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
}

/// What the client is sent.
enum Sending {
    /// The answer's head is not whole yet.
    Head {
        respond: SendResponse<Bytes>,
        text: BytesMut,
    },
    /// The answer's body.
    Body {
        body: SendStream<Bytes>,
        framing: Framing,
        trailers: Vec<u8>,
    },
    /// A tunnel's bytes.
    Bytes { body: SendStream<Bytes> },
    /// The end was sent.
    Done,
}

impl Kind {
    /// Sends an answer's head, and says what follows it.
    fn answer(self, respond: &mut SendResponse<Bytes>, head: &ResponseHead) -> io::Result<Sending> {
        let status = head.status();
        let (opened, method) = match self {
            Self::Connect => ((200..300).contains(&status), Method::CONNECT),
            Self::WebSocket => (status == 101, Method::GET),
            Self::Plain { method, .. } => (false, method),
        };
        if opened {
            let head = response(head, 200, true)?;
            let body = respond.send_response(head, false).map_err(to_io)?;
            return Ok(Sending::Bytes { body });
        }
        let framing = head
            .framing(method.as_str().as_bytes())
            .map_err(io::Error::other)?;
        let over = framing.is_done();
        let body = respond
            .send_response(response(head, status, false)?, over)
            .map_err(to_io)?;
        Ok(if over {
            Sending::Done
        } else {
            Sending::Body {
                body,
                framing,
                trailers: Vec::new(),
            }
        })
    }
}

impl Sending {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Head { .. } => Poll::Ready(Ok(0)),
            Self::Bytes { body } => {
                let room = ready!(poll_room(body, cx, bytes.len()))?;
                send_in_frames(body, Bytes::copy_from_slice(&bytes[..room]))?;
                Poll::Ready(Ok(room))
            }
            Self::Body {
                body,
                framing,
                trailers,
            } => {
                let mut at = 0;
                while at < bytes.len() && !framing.is_done() {
                    let ahead = usize::try_from(framing.contents_ahead()).unwrap_or(usize::MAX);
                    let taken = if ahead == 0 {
                        if framing.is_in_trailers() {
                            trailers.push(bytes[at]);
                        }
                        1
                    } else {
                        match poll_room(body, cx, ahead.min(bytes.len() - at)) {
                            Poll::Ready(room) => room?,
                            Poll::Pending if at > 0 => break,
                            Poll::Pending => return Poll::Pending,
                        }
                    };
                    let part = &bytes[at..at + taken];
                    framing.take(part).map_err(io::Error::other)?;
                    if ahead > 0 {
                        let last = matches!(framing, Framing::Length(0));
                        body.send_data(Bytes::copy_from_slice(part), last)
                            .map_err(to_io)?;
                    }
                    at += taken;
                }
                if framing.is_done() {
                    if !matches!(framing, Framing::Length(_)) {
                        end(body, trailers)?;
                    }
                    *self = Self::Done;
                }
                Poll::Ready(Ok(at))
            }
            Self::Done => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ends the direction in order, if this is where it may end.
    fn shut_down(&mut self) -> io::Result<()> {
        match self {
            Self::Bytes { body }
            | Self::Body {
                body,
                framing: Framing::UntilClose,
                ..
            } => {
                body.send_data(Bytes::new(), true).map_err(to_io)?;
                *self = Self::Done;
            }
            // Half an answer must not look like a whole one; dropping it resets the stream.
            Self::Head { .. } | Self::Body { .. } | Self::Done => {}
        }
        Ok(())
    }
}

fn send_in_frames(body: &mut SendStream<Bytes>, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        let frame = bytes.split_to(bytes.len().min(MAX_FRAME));
        body.send_data(frame, false).map_err(to_io)?;
    }
    Ok(())
}

/// Waits until some of `wanted` bytes may be sent, and says how many.
fn poll_room(body: &mut SendStream<Bytes>, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
    let wanted = wanted.min(MAX_WRITE);
    body.reserve_capacity(wanted);
    loop {
        // The library tells of changes only, so what there is already has to be asked for.
        let room = body.capacity().min(wanted);
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        match ready!(body.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
            None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

/// Ends a body whose end is not in its length.
fn end(body: &mut SendStream<Bytes>, trailers: &[u8]) -> io::Result<()> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut map = HeaderMap::new();
    if let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(trailers, &mut fields) {
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(io::Error::other)?;
            let value = HeaderValue::from_bytes(field.value).map_err(io::Error::other)?;
            if !is_of_connection(&name) {
                map.append(name, value);
            }
        }
    }
    if map.is_empty() {
        body.send_data(Bytes::new(), true).map_err(to_io)
    } else {
        body.send_trailers(map).map_err(to_io)
    }
}

fn response(head: &ResponseHead, status: u16, opened: bool) -> io::Result<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).map_err(io::Error::other)?;
    for (name, value) in head.fields() {
        let name = HeaderName::from_bytes(name).map_err(io::Error::other)?;
        let handshake = name == header::CONTENT_LENGTH || name == header::SEC_WEBSOCKET_ACCEPT;
        if is_of_connection(&name) || opened && handshake {
            continue;
        }
        let value = HeaderValue::from_bytes(value).map_err(io::Error::other)?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// RFC 9113 §8.2.2: headers that HTTP/2 does not have.
fn is_of_connection(name: &HeaderName) -> bool {
    const NAMES: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.contains(&name.as_str())
}

/// What a protocol error is to whoever reads and writes bytes: the other side is gone.
fn to_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    } else {
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().receiving.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        match stream.sending {
            Sending::Head { .. } => Poll::Ready(stream.take_head(bytes)),
            _ => stream.sending.poll_write(cx, bytes),
        }
    }

    /// Frames are sent by the connection, which needs no asking.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().sending.shut_down())
    }
}
