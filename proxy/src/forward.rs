//! Forwarding: plain HTTP requests with an absolute target.
//!
//! The request was read strictly and whole; what goes on is those same bytes without what was meant
//! for the gateway, and a body passes as it is framed. A server connection is used again only for
//! the same client, run and destination.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{ObservedScheme, Outcome, RefusalReason, Target};
use bytes::{Buf as _, BytesMut};
use evidence::Timeout;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::attempt::{Attempt, Ending, Route, refuse_identity};
use crate::client::{Client, abort};
use crate::core::Core;
use crate::framing::Framing;
use crate::head::{HeadLimits, Version};
use crate::http1::{Next, Session};
use crate::identity::Identity;
use crate::live::{Cut, CutCause, Live};
use crate::refusal::{Failure, Refusal};
use crate::request::Request;
use crate::response::{Afterwards, ResponseHead};
use crate::sniff::{Seen, Sniffer};
use crate::tunnel::Tunnel;

/// Read at once from a body; lent only while an exchange is under way.
const READ: usize = 32 << 10;

/// A server connection that waits for another request of the same client.
pub(crate) struct Kept {
    server: TcpStream,
    target: Target,
    identity: Option<Arc<Identity>>,
    route: Route,
    /// Declared last, so that it is dropped after the socket: a kill waits for closed sockets.
    live: Live,
}

/// How an exchange ended.
#[derive(Debug)]
enum ExchangeEnd {
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
    /// Nothing moved for too long.
    Idle,
    /// The gateway ended it.
    Cut(CutCause),
}

impl Kept {
    /// Waits for a kill of the connection; for ever, if there is none.
    pub(crate) async fn cut(kept: Option<&Self>) {
        match kept {
            Some(kept) => {
                kept.live.cut().fired().await;
            }
            None => std::future::pending().await,
        }
    }

    pub(crate) const fn server(&self) -> &TcpStream {
        &self.server
    }

    fn serves(&self, target: &Target, identity: Option<&Identity>) -> bool {
        self.target == *target && self.identity.as_deref() == identity
    }

    /// Whether the server has neither closed nor said anything since its last answer.
    fn is_quiet(&self) -> bool {
        let read = self.server.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Serves a plain HTTP request.
pub(crate) async fn serve(
    core: &Arc<Core>,
    mut session: Session,
    mut request: Request,
    path: Range<usize>,
) -> Next {
    let identity = match core.identify(&request.proof, session.client.source) {
        Ok(identity) => identity,
        Err(refusal) => {
            let notes = request.notes.clone();
            let refusal = refuse_identity(core, refusal, &request.proof, Some(&request.target), notes).await;
            return session.refuse(&refusal, &request).await;
        }
    };
    let kept = session
        .kept
        .take()
        .filter(|kept| kept.serves(&request.target, identity.as_deref()) && kept.is_quiet());
    let (mut kept, live) = match kept {
        Some(kept) => (Some((kept.server, kept.route)), kept.live),
        None => (None, core.live.enter(identity.clone())),
    };
    let notes = request.notes.clone();
    let mut attempt = match Attempt::admit(core, identity.as_deref(), &request.target, notes).await {
        Ok(attempt) => attempt,
        Err(refusal) => {
            drop(kept);
            drop(live);
            return session.refuse(&refusal, &request).await;
        }
    };
    let head = request.upstream_head(&path);
    loop {
        let is_reused = kept.is_some();
        let (mut server, route) = match kept.take() {
            Some((server, route)) => {
                attempt.reuse(&route);
                (server, route)
            }
            None => match attempt.reach(live.cut()).await {
                Ok((reached, server, route)) => {
                    attempt = reached;
                    (server, route)
                }
                Err(refusal) if refusal.is_cut() => {
                    session.client.answer_at_once(&refusal.to_http(false, false));
                    drop(session);
                    drop(live);
                    return Next::Nothing;
                }
                Err(refusal) => {
                    drop(live);
                    return session.refuse(&refusal, &request).await;
                }
            },
        };
        let traffic = Traffic::starting();
        let bodiless = request.framing.is_done();
        let end = Exchange {
            core,
            request: &mut request,
            head: &head,
            traffic: &traffic,
        }
        .run(&mut session.client, &mut server, live.cut())
        .await;
        // A server may close an idle connection at the very moment it is used again. That is nobody's
        // failure, and a request without a body can simply be sent once more.
        if matches!(end, ExchangeEnd::NoAnswer) && is_reused && bodiless {
            continue;
        }
        let over = Over {
            session,
            server,
            live,
            attempt,
            traffic,
        };
        return match end {
            ExchangeEnd::Complete {
                client_kept,
                server_kept,
            } => {
                over.complete(&request, identity, route, client_kept, server_kept)
                    .await
            }
            ExchangeEnd::Upgraded { from_server } => Next::Tunnel(Box::new(over.into_tunnel(from_server))),
            end => {
                over.break_off(&end, &request).await;
                Next::Nothing
            }
        };
    }
}

/// An exchange that is over, with everything that has to be put away. The order of the fields is the
/// order in which they are dropped: sockets first, the place in the live table last.
struct Over {
    session: Session,
    server: TcpStream,
    attempt: Attempt,
    traffic: Traffic,
    live: Live,
}

impl Over {
    fn ending(&self, request: &Request, outcome: Outcome) -> Ending {
        Ending {
            outcome: Some(outcome),
            bytes_out: self.traffic.out(),
            bytes_in: self.traffic.back(),
            seen: Seen::of(ObservedScheme::Http),
            declared: Some(request.content_family()),
            ..Ending::default()
        }
    }

    async fn complete(
        self,
        request: &Request,
        identity: Option<Arc<Identity>>,
        route: Route,
        client_kept: bool,
        server_kept: bool,
    ) -> Next {
        let ending = self.ending(request, Outcome::Completed);
        let target = self.attempt.target().clone();
        self.attempt.close(ending);
        let mut session = self.session;
        if server_kept && client_kept {
            session.kept = Some(Kept {
                server: self.server,
                target,
                identity,
                route,
                live: self.live,
            });
        } else {
            drop(self.server);
            drop(self.live);
        }
        if client_kept {
            if session.client.buffer.is_empty() {
                session.client.buffer = BytesMut::new();
            }
            Next::Request(session)
        } else {
            session.client.farewell().await;
            Next::Nothing
        }
    }

    fn into_tunnel(self, from_server: Vec<u8>) -> Tunnel {
        Tunnel {
            from_client: self.session.client.buffer.to_vec(),
            bytes_before: (
                self.traffic.out(),
                self.traffic.back() - u64::try_from(from_server.len()).expect("a length fits 64 bits"),
            ),
            from_server,
            client: self.session.client.io,
            server: self.server,
            live: self.live,
            attempt: self.attempt,
            sniffer: Sniffer::knowing(Seen::of(ObservedScheme::Http)),
        }
    }

    /// Puts an exchange away that did not come to its proper end. The client gets an answer if none
    /// has begun; half an answer ends in a reset, so that nobody takes it for a whole one.
    async fn break_off(self, end: &ExchangeEnd, request: &Request) {
        let (outcome, failure) = match end {
            ExchangeEnd::NoAnswer => (Outcome::ServerClosed, Some(Failure::ServerGone)),
            ExchangeEnd::BadResponse => (Outcome::BadResponse, Some(Failure::BadResponse)),
            ExchangeEnd::ServerGone => (Outcome::ServerReset, Some(Failure::ServerGone)),
            ExchangeEnd::Idle => (Outcome::IdleTimeout, Some(Failure::ResponseTimeout)),
            ExchangeEnd::Cut(cause) => (cause.outcome(), Some(Failure::Cut(*cause))),
            ExchangeEnd::ClientGone(outcome) => (*outcome, None),
            _ => (Outcome::Error, None),
        };
        let bad_chunks = matches!(end, ExchangeEnd::BadChunks);
        let refusal = match failure {
            Some(failure) => Some(Refusal::failed(self.attempt.target(), failure)),
            None if bad_chunks => Some(Refusal::new(
                RefusalReason::Malformed,
                "the request's body is not chunked as HTTP/1.1 says",
            )),
            None => None,
        };
        let ending = Ending {
            timeout: matches!(end, ExchangeEnd::Idle).then_some(Timeout::Idle),
            reason: bad_chunks.then_some(RefusalReason::Malformed),
            ..self.ending(request, outcome)
        };
        self.attempt.close(ending);
        abort(&self.server);
        drop(self.server);
        let mut client = self.session.client;
        let answered = self.traffic.is_answered();
        match refusal {
            Some(refusal) if !answered && refusal.is_cut() => {
                client.answer_at_once(&refusal.to_http(false, false));
            }
            Some(refusal) if !answered => {
                drop(self.live);
                let answer = refusal.to_http(false, request.head.method() == b"HEAD");
                if client.answer(&answer).await {
                    client.farewell().await;
                }
                return;
            }
            _ => client.abort(),
        }
        drop(client);
        drop(self.live);
    }
}

/// What has moved so far, shared by the two directions of one exchange.
#[derive(Debug)]
struct Traffic {
    started: Instant,
    out: AtomicU64,
    back: AtomicU64,
    /// Bytes of the final answer that the client was sent.
    answered: AtomicU64,
    /// When something last moved, in microseconds since the start.
    moved_us: AtomicU64,
}

impl Traffic {
    fn starting() -> Self {
        Self {
            started: Instant::now(),
            out: AtomicU64::new(0),
            back: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            moved_us: AtomicU64::new(0),
        }
    }

    fn add(&self, counter: &AtomicU64, bytes: usize) {
        let bytes = u64::try_from(bytes).expect("a length fits 64 bits");
        counter.fetch_add(bytes, Ordering::Relaxed);
        let moved = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved_us.store(moved, Ordering::Relaxed);
    }

    fn out(&self) -> u64 {
        self.out.load(Ordering::Relaxed)
    }

    fn back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }

    fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) > 0
    }

    /// Returns when nothing has moved for `idle`.
    async fn stalled(&self, idle: Duration) {
        loop {
            let moved = Duration::from_micros(self.moved_us.load(Ordering::Relaxed));
            let deadline = self.started + moved + idle;
            if Instant::now() >= deadline {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

/// One request and its answer.
struct Exchange<'a> {
    core: &'a Core,
    request: &'a mut Request,
    /// What the server is sent ahead of the body.
    head: &'a [u8],
    traffic: &'a Traffic,
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
    async fn run(self, client: &mut Client, server: &mut TcpStream, cut: &Cut) -> ExchangeEnd {
        let Self {
            core,
            request,
            head,
            traffic,
        } = self;
        let (mut from_client, mut to_client) = client.io.split();
        let (mut from_server, mut to_server) = server.split();
        let mut framing = request.framing.clone();
        let upload = pass(
            Passage {
                from: &mut from_client,
                buffer: &mut client.buffer,
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
        }
        .run(&mut from_server, &mut to_client);
        let stalled = traffic.stalled(core.settings.timeouts.idle);
        tokio::pin!(upload, download, stalled);
        let mut uploaded = None;
        let end = loop {
            tokio::select! {
                biased;
                cause = cut.fired() => return ExchangeEnd::Cut(cause),
                result = &mut upload, if uploaded.is_none() => match result {
                    Err(Stopped::SourceClosed) => return ExchangeEnd::ClientGone(Outcome::ClientClosed),
                    Err(Stopped::SourceReset) => return ExchangeEnd::ClientGone(Outcome::ClientReset),
                    Err(Stopped::Framing) => return ExchangeEnd::BadChunks,
                    // A server that takes no more may still have answered.
                    Err(Stopped::ReceiverGone) => uploaded = Some(false),
                    Ok(()) => uploaded = Some(true),
                },
                end = &mut download => break end,
                () = &mut stalled => return ExchangeEnd::Idle,
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

/// The way back.
struct Download<'a> {
    request: &'a Request,
    traffic: &'a Traffic,
    limits: HeadLimits,
    draining: bool,
}

impl Download<'_> {
    async fn run<R, W>(self, from: &mut R, to: &mut W) -> ExchangeEnd
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = BytesMut::new();
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
            buffer.reserve(READ);
            match from.read_buf(&mut buffer).await {
                Ok(0) | Err(_) if self.traffic.back() == 0 => return ExchangeEnd::NoAnswer,
                Ok(0) => return ExchangeEnd::BadResponse,
                Err(_) => return ExchangeEnd::ServerGone,
                Ok(read) => self.traffic.add(&self.traffic.back, read),
            }
        };
        if head.status() == 101 {
            return self.upgrade(&head, buffer, to).await;
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
        to.write_all(&head.downstream_head(Version::Http11, Afterwards::Kept))
            .await
    }

    async fn upgrade<W>(&self, head: &ResponseHead, buffer: BytesMut, to: &mut W) -> ExchangeEnd
    where
        W: AsyncWrite + Unpin,
    {
        if !self.request.upgrade {
            return ExchangeEnd::BadResponse;
        }
        let head = head.downstream_head(self.request.head.version(), Afterwards::Upgraded);
        self.traffic.add(&self.traffic.answered, head.len());
        match to.write_all(&head).await {
            Ok(()) => ExchangeEnd::Upgraded {
                from_server: buffer.to_vec(),
            },
            Err(_) => ExchangeEnd::ClientGone(Outcome::ClientReset),
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
    loop {
        // The head travels with the first of the body: one system call, one segment.
        let taken = framing.take(buffer).map_err(|_| Stopped::Framing)?;
        if out.is_empty() {
            to.write_all(&buffer[..taken]).await.map_err(gone)?;
            sent(taken);
        } else {
            out.extend_from_slice(&buffer[..taken]);
            to.write_all(&out).await.map_err(gone)?;
            sent(out.len());
            out = Vec::new();
        }
        buffer.advance(taken);
        if framing.is_done() {
            return Ok(());
        }
        buffer.reserve(READ);
        match from.read_buf(buffer).await {
            Ok(0) if *framing == Framing::UntilClose => return Ok(()),
            Ok(0) => return Err(Stopped::SourceClosed),
            Err(_) => return Err(Stopped::SourceReset),
            Ok(bytes) => read(bytes),
        }
    }
}
