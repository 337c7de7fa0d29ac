//! Exchanges: one plain HTTP request and its answer, passing both ways at once.
//!
//! A server may answer before the question is complete, and a client may wait for `100 Continue`
//! before it asks the rest, so neither direction waits for the other.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{ObservedScheme, Outcome};
use bytes::{Buf as _, BytesMut};
use evidence::Timeout;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::attempt::Attempt;
use crate::client::Client;
use crate::core::Core;
use crate::framing::Framing;
use crate::head::{HeadLimits, Version};
use crate::lifetime::Lifetime;
use crate::live::{Cut, CutCause};
use crate::request::{Carrier, Request};
use crate::response::{Afterwards, ResponseHead};
use crate::sniff::Seen;
use crate::stream::Stream;

/// Read at once from a body; lent only while an exchange is under way.
const READ: usize = 32 << 10;
/// Read at first: most messages are small.
const READ_FIRST: usize = 4 << 10;

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum ExchangeEnd {
    /// The answer was passed on whole.
    Complete { client_kept: bool, server_kept: bool },
    /// The server agreed to another protocol; it said this already.
    Upgraded { from_server: Vec<u8> },
    /// The server closed before a byte of an answer.
    NoAnswer,
    /// The server's answer is no answer.
    BadResponse,
    /// The server went away in the middle of its answer.
    ServerGone,
    /// The client went away.
    ClientGone(Outcome),
    /// The request's body is not framed as it says.
    BadChunks,
    /// It took too long, or nothing moved for too long.
    TimedOut(Timeout),
    /// The gateway ended it.
    Cut(CutCause),
}

/// What has moved so far, shared by the two directions of one exchange.
#[derive(Debug)]
pub(crate) struct Traffic {
    started: Instant,
    out: AtomicU64,
    back: AtomicU64,
    /// Bytes of the final answer that the client was sent.
    answered: AtomicU64,
    /// When something last moved, in microseconds since the start.
    moved_us: AtomicU64,
    /// When the server first said something, in microseconds since the start; 0 while it did not.
    answered_us: AtomicU64,
}

impl Traffic {
    pub(crate) fn starting() -> Self {
        Self {
            started: Instant::now(),
            out: AtomicU64::new(0),
            back: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            moved_us: AtomicU64::new(0),
            answered_us: AtomicU64::new(0),
        }
    }

    fn add(&self, counter: &AtomicU64, bytes: usize) {
        let bytes = u64::try_from(bytes).expect("a length fits 64 bits");
        counter.fetch_add(bytes, Ordering::Relaxed);
        let moved = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved_us.store(moved, Ordering::Relaxed);
    }

    /// Counts what the server said.
    fn hear(&self, bytes: usize) {
        self.add(&self.back, bytes);
        if self.answered_us.load(Ordering::Relaxed) == 0 {
            let at = self.moved_us.load(Ordering::Relaxed).max(1);
            self.answered_us.store(at, Ordering::Relaxed);
        }
    }

    pub(crate) fn out(&self) -> u64 {
        self.out.load(Ordering::Relaxed)
    }

    pub(crate) fn back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }

    /// When the server first said something.
    pub(crate) fn first_byte(&self) -> Option<std::time::Instant> {
        let at = self.answered_us.load(Ordering::Relaxed);
        (at > 0).then(|| self.started.into_std() + Duration::from_micros(at))
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) > 0
    }

    /// When something last moved.
    fn moved(&self) -> Instant {
        self.started + Duration::from_micros(self.moved_us.load(Ordering::Relaxed))
    }
}

/// One request and its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) core: &'a Core,
    pub(crate) request: &'a Request,
    /// What the server is sent ahead of the body.
    pub(crate) head: &'a [u8],
    pub(crate) traffic: &'a Traffic,
    /// Whose record it is.
    pub(crate) attempt: &'a mut Attempt,
    /// What the server said before it was asked.
    pub(crate) early: Vec<u8>,
}

/// Why a direction stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// Its source closed before the message was complete.
    SourceClosed,
    /// Its source is gone.
    SourceReset,
    /// Its message is not framed as it says.
    Framing,
    /// Its receiver is gone.
    ReceiverGone,
}

impl Exchange<'_> {
    /// Sends the request and passes the answer on, both at once: a server may answer early, and a
    /// client may wait for `100 Continue`.
    pub(crate) async fn run(self, client: &mut Client, server: &mut TcpStream, cut: &Cut) -> ExchangeEnd {
        let Client { io, buffer, .. } = client;
        match io {
            // A socket's halves need no lock.
            Stream::Tcp(io) => {
                let (mut from, mut to) = io.split();
                self.pass_both_ways(&mut from, &mut to, buffer, server, cut).await
            }
            io => {
                let (mut from, mut to) = tokio::io::split(io);
                self.pass_both_ways(&mut from, &mut to, buffer, server, cut).await
            }
        }
    }

    async fn pass_both_ways<R, W>(
        self,
        from_client: &mut R,
        to_client: &mut W,
        buffer: &mut BytesMut,
        server: &mut TcpStream,
        cut: &Cut,
    ) -> ExchangeEnd
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let Self {
            core,
            request,
            head,
            traffic,
            attempt,
            early,
        } = self;
        let mut life = Lifetime::of(attempt, &core.settings().timeouts);
        let (mut from_server, mut to_server) = server.split();
        let mut framing = request.framing.clone();
        let upload = pass(
            Passage {
                from: from_client,
                buffer,
                to: &mut to_server,
                framing: &mut framing,
            },
            head.to_vec(),
            |_| {},
            |sent| traffic.add(&traffic.out, sent),
        );
        let download = Download {
            request,
            traffic,
            limits: core.head_limits(),
            draining: core.draining.is_cancelled(),
            early,
        }
        .run(&mut from_server, to_client);
        let timer = sleep_until(life.next(traffic.moved(), true));
        let fired = cut.fired();
        tokio::pin!(upload, download, timer, fired);
        let mut uploaded = None;
        let end = loop {
            tokio::select! {
                biased;
                cause = &mut fired => return ExchangeEnd::Cut(cause),
                result = &mut upload, if uploaded.is_none() => match result {
                    Err(Stopped::SourceClosed) => return ExchangeEnd::ClientGone(Outcome::ClientClosed),
                    Err(Stopped::SourceReset) => return ExchangeEnd::ClientGone(Outcome::ClientReset),
                    Err(Stopped::Framing) => return ExchangeEnd::BadChunks,
                    // A server that takes no more may still have answered.
                    Err(Stopped::ReceiverGone) => uploaded = Some(false),
                    Ok(()) => uploaded = Some(true),
                },
                end = &mut download => break end,
                () = &mut timer => {
                    if let Some(timeout) = look_at(attempt, traffic, &mut life) {
                        return ExchangeEnd::TimedOut(timeout);
                    }
                    timer.as_mut().reset(life.next(traffic.moved(), true));
                }
            }
        };
        match (end, uploaded == Some(true)) {
            (end, true) => end,
            // An answer before the end of the question: neither connection is in a known state.
            (ExchangeEnd::Complete { .. }, false) => ExchangeEnd::Complete {
                client_kept: false,
                server_kept: false,
            },
            (ExchangeEnd::Upgraded { .. }, false) => ExchangeEnd::BadResponse,
            (end, false) => end,
        }
    }
}

/// Writes down what is due of an exchange that lasts, or says why it has to end.
fn look_at(attempt: &mut Attempt, traffic: &Traffic, life: &mut Lifetime) -> Option<Timeout> {
    let (now, seen) = (Instant::now(), || Seen::of(ObservedScheme::Http));
    if let Some(at) = traffic.first_byte() {
        attempt.first_byte(at);
    }
    if life.announcement_is_due(now, true) {
        attempt.connected(seen());
    }
    if life.progress_is_due(now) {
        attempt.progress(traffic.out(), traffic.back(), seen());
    }
    life.end(now, traffic.moved())
}

/// The way back.
struct Download<'a> {
    request: &'a Request,
    traffic: &'a Traffic,
    limits: HeadLimits,
    draining: bool,
    early: Vec<u8>,
}

impl Download<'_> {
    async fn run<R, W>(self, from: &mut R, to: &mut W) -> ExchangeEnd
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = BytesMut::from(self.early.as_slice());
        if !buffer.is_empty() {
            self.traffic.hear(buffer.len());
        }
        let head = loop {
            match ResponseHead::split_from(&mut buffer, self.limits) {
                Ok(Some(head)) if head.is_interim() => {
                    if self.pass_interim(&head, to).await.is_err() {
                        return ExchangeEnd::ClientGone(Outcome::ClientReset);
                    }
                    continue;
                }
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(_) => return ExchangeEnd::BadResponse,
            }
            buffer.reserve(READ_FIRST);
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) if self.traffic.back() == 0 => return ExchangeEnd::NoAnswer,
                Ok(0) => return ExchangeEnd::BadResponse,
                Err(_) => return ExchangeEnd::ServerGone,
                Ok(read) => self.traffic.hear(read),
            }
        };
        if head.status() == 101 {
            return self.upgrade(&head, buffer, to).await;
        }
        if !self.request.carrier.can_carry(&head) {
            return ExchangeEnd::BadResponse;
        }
        let old_client = self.request.head.version() == Version::Http10;
        let Ok(mut framing) = head.framing(self.request.head.method()) else {
            return ExchangeEnd::BadResponse;
        };
        if old_client && head.has_transfer_coding() {
            return ExchangeEnd::BadResponse;
        }
        let until_close = framing == Framing::UntilClose;
        let client_kept = self.request.persistent && !until_close && !self.draining;
        let server_kept = head.is_persistent() && !until_close && !old_client;
        let afterwards = if client_kept {
            Afterwards::Kept
        } else {
            Afterwards::Closed
        };
        let passed = pass(
            Passage {
                from,
                buffer: &mut buffer,
                to,
                framing: &mut framing,
            },
            head.downstream_head(self.request.head.version(), afterwards),
            |read| self.traffic.add(&self.traffic.back, read),
            |sent| self.traffic.add(&self.traffic.answered, sent),
        )
        .await;
        match passed {
            Ok(()) => ExchangeEnd::Complete {
                client_kept,
                // Bytes after the answer are an answer to nothing.
                server_kept: server_kept && buffer.is_empty(),
            },
            Err(Stopped::SourceClosed | Stopped::SourceReset) => ExchangeEnd::ServerGone,
            Err(Stopped::Framing) => ExchangeEnd::BadResponse,
            Err(Stopped::ReceiverGone) => ExchangeEnd::ClientGone(Outcome::ClientReset),
        }
    }

    async fn pass_interim<W>(&self, head: &ResponseHead, to: &mut W) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        // RFC 9110 §15.2: HTTP/1.0 has no interim answers.
        if self.request.head.version() == Version::Http10 {
            return Ok(());
        }
        send(to, &head.downstream_head(Version::Http11, Afterwards::Kept)).await
    }

    async fn upgrade<W>(&self, head: &ResponseHead, buffer: BytesMut, to: &mut W) -> ExchangeEnd
    where
        W: AsyncWrite + Unpin,
    {
        let agreed = match &self.request.carrier {
            Carrier::WebSocketOverHttp2 { accept } => head.accepts_websocket(accept),
            Carrier::Http1 | Carrier::Http2 => self.request.upgrade,
        };
        if !agreed {
            return ExchangeEnd::BadResponse;
        }
        let head = head.downstream_head(self.request.head.version(), Afterwards::Upgraded);
        self.traffic.add(&self.traffic.answered, head.len());
        match send(to, &head).await {
            Ok(()) => ExchangeEnd::Upgraded {
                from_server: buffer.to_vec(),
            },
            Err(_) => ExchangeEnd::ClientGone(Outcome::ClientReset),
        }
    }
}

/// Writes `bytes` and has them leave: what is passed on is not held back.
async fn send<W: AsyncWrite + Unpin>(to: &mut W, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

impl Carrier {
    /// Whether a final answer can be said to the client without a change of meaning.
    fn can_carry(&self, head: &ResponseHead) -> bool {
        match self {
            Self::Http1 => true,
            Self::Http2 => !head.is_coded_besides_chunked(),
            // A success would tell the client that its WebSocket is open.
            Self::WebSocketOverHttp2 { .. } => {
                !head.is_coded_besides_chunked() && !(200..300).contains(&head.status())
            }
        }
    }
}

/// A message's body on its way.
struct Passage<'a, R, W> {
    from: &'a mut R,
    /// Read already; what belongs to the next message stays in it.
    buffer: &'a mut BytesMut,
    to: &'a mut W,
    framing: &'a mut Framing,
}

/// Sends `head` and then the body as it comes, telling what was read and what was sent.
async fn pass<R, W>(
    passage: Passage<'_, R, W>,
    head: Vec<u8>,
    read: impl Fn(usize),
    sent: impl Fn(usize),
) -> Result<(), Stopped>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Passage {
        from,
        buffer,
        to,
        framing,
    } = passage;
    let gone = |_| Stopped::ReceiverGone;
    let mut out = head;
    let mut room = READ_FIRST;
    loop {
        // The head travels with the first of the body: one system call, one segment.
        let taken = framing.take(buffer).map_err(|_| Stopped::Framing)?;
        if out.is_empty() {
            send(to, &buffer[..taken]).await.map_err(gone)?;
            sent(taken);
        } else {
            out.extend_from_slice(&buffer[..taken]);
            send(to, &out).await.map_err(gone)?;
            sent(out.len());
            out = Vec::new();
        }
        buffer.advance(taken);
        if framing.is_done() {
            return Ok(());
        }
        buffer.reserve(room);
        match from.read_buf(buffer).await {
            Ok(0) if *framing == Framing::UntilClose => return Ok(()),
            Ok(0) => return Err(Stopped::SourceClosed),
            Err(_) => return Err(Stopped::SourceReset),
            Ok(bytes) => {
                read(bytes);
                if bytes >= room {
                    room = READ;
                }
            }
        }
    }
}
