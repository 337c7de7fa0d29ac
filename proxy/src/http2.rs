//! HTTP/2 connections: many requests at once from one client.
//!
//! Each stream is a client of its own: named by its own credentials, ruled on, recorded and ended for
//! itself. Behind this room nobody knows about it: a stream's request is written out as HTTP/1.1 and
//! read by the same strict reader as any other, and its answer goes back the same way. So there is
//! one implementation of what a request may do.
//!
//! Frames are the `h2` crate's. It answers a request that RFC 9113 calls malformed by itself, without
//! telling; what it sends is therefore watched, and put on record.

mod frames;
mod ledger;
mod stream;
mod translate;
mod watch;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use base::RefusalReason;
use bytes::Bytes;
use evidence::Timeout;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request as Http2Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::Client;
use crate::core::Core;
use crate::entry::Entry;
use crate::head::{Head, HeadScan};
use crate::http1::{self, Next, Session};
use crate::notes::BadRequest;
use crate::refused::refuse_unread;
use crate::request::Request;
use crate::stream::Stream;
use crate::tunnel::Tunnel;

use ledger::Ledger;
pub(crate) use stream::{Http2Stream, MAX_FRAME};
use translate::Translation;
use watch::{Outbox, Watched};

/// How long a client may take to close once it was told to.
const FAREWELL: Duration = Duration::from_secs(2);
/// Kept for a stream whose receiver is slower than its sender.
const SEND_BUFFER: usize = 64 << 10;
/// Requests that break the protocol before the client is sent away.
const MAX_BROKEN: usize = 64;

type Arrival = (Http2Request<RecvStream>, SendResponse<Bytes>);

/// Serves a client that has begun to speak HTTP/2, until it is gone.
pub(crate) async fn serve(core: &Arc<Core>, client: Client) {
    let Client { io, buffer, entry } = client;
    let ledger = Arc::new(Ledger::new(core));
    let (limits, patience) = (core.settings().limits, core.settings().timeouts.head);
    let (watched, outbox) = Watched::new(io, buffer, Arc::clone(&ledger));
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(limits.http2.streams)
        .initial_window_size(limits.http2.stream_window)
        .initial_connection_window_size(limits.http2.connection_window)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(MAX_BROKEN))
        .enable_connect_protocol()
        .handshake(watched);
    match timeout(patience, outbox.emptied_after(handshake)).await {
        Ok(Ok(io)) => Connection::new(core, entry, io, outbox, ledger).run().await,
        Ok(Err(error)) if error.is_io() => {}
        Ok(Err(_)) => {
            refuse(
                core,
                RefusalReason::Malformed,
                "this is not the beginning of HTTP/2",
                None,
            )
            .await;
        }
        Err(_) => {
            let why = "the beginning of HTTP/2 did not arrive in time";
            refuse(core, RefusalReason::Timeout, why, Some(Timeout::Head)).await;
        }
    }
}

async fn refuse(core: &Arc<Core>, reason: RefusalReason, why: &str, timeout: Option<Timeout>) {
    let bad = BadRequest {
        reason,
        why: why.to_owned(),
        raw_target: None,
    };
    // The answer is a frame that was sent already.
    refuse_unread(core, bad, timeout).await;
}

/// One client's connection.
struct Connection<'a> {
    core: &'a Arc<Core>,
    entry: Entry,
    io: h2::server::Connection<Watched, Bytes>,
    outbox: Arc<Outbox>,
    ledger: Arc<Ledger>,
    /// One for each stream that is being served. A stream that the client took back still has its
    /// place until nothing is done for it any more, so that taking back buys no further work.
    places: Arc<Semaphore>,
    pings: Option<PingPong>,
    ping: PingState,
    /// Until when streams may come that were opened before the client heard that nothing more is served,
    /// once it was told.
    leaving: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum PingState {
    Due(Instant),
    Sent { answer_by: Instant },
}

/// What a connection waited for.
enum Turn {
    Arrival(Box<Arrival>, OwnedSemaphorePermit),
    Failed(h2::Error),
    Closed,
    Draining,
    Pong,
    Timer,
}

impl<'a> Connection<'a> {
    fn new(
        core: &'a Arc<Core>,
        entry: Entry,
        mut io: h2::server::Connection<Watched, Bytes>,
        outbox: Arc<Outbox>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let streams = usize::try_from(core.settings().limits.http2.streams).unwrap_or(usize::MAX);
        Self {
            places: Arc::new(Semaphore::new(streams.clamp(1, Semaphore::MAX_PERMITS))),
            pings: io.ping_pong(),
            ping: PingState::Due(Instant::now() + core.settings().timeouts.ping),
            leaving: None,
            core,
            entry,
            io,
            outbox,
            ledger,
        }
    }

    async fn run(mut self) {
        loop {
            match self.turn().await {
                Turn::Arrival(arrival, place) => self.start(*arrival, place),
                Turn::Failed(error) => return self.failed(&error).await,
                Turn::Closed => return,
                Turn::Draining => self.leave(),
                Turn::Pong => self.ping = PingState::Due(Instant::now() + self.core.settings().timeouts.ping),
                Turn::Timer => {
                    if self.is_lost() {
                        return;
                    }
                }
            }
            if self.ledger.takes_back_too_much() {
                return self.send_away().await;
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        let deadline = self.deadline();
        let (io, pings, places) = (&mut self.io, &mut self.pings, &self.places);
        let waits_for_pong = matches!(self.ping, PingState::Sent { .. });
        let pong = async {
            match pings {
                Some(pings) if waits_for_pong => {
                    // That the connection is gone is told by the arrivals.
                    let _ = poll_fn(|cx| pings.poll_pong(cx)).await;
                }
                _ => std::future::pending().await,
            }
        };
        let is_leaving = self.leaving.is_some();
        let turn = async {
            tokio::select! {
                biased;
                () = self.core.draining.cancelled(), if !is_leaving => Turn::Draining,
                turn = next_arrival(io, places) => turn,
                () = pong => Turn::Pong,
                () = sleep_until(deadline) => Turn::Timer,
            }
        };
        self.outbox.emptied_after(turn).await
    }

    /// When to look up from waiting.
    fn deadline(&self) -> Instant {
        if self.ledger.is_idle() {
            let kept_until = || self.ledger.idle_since() + self.core.settings().timeouts.keep_alive;
            return self.gone_by().unwrap_or_else(kept_until);
        }
        match self.ping {
            PingState::Due(at) | PingState::Sent { answer_by: at } => at,
        }
    }

    /// Until when a client without streams has to be gone, if it was told to go. What its last stream
    /// said may still be on its way to it.
    fn gone_by(&self) -> Option<Instant> {
        let until = self.leaving?;
        Some(until.max(self.ledger.idle_since() + FAREWELL))
    }

    /// Does what is due. Whether nothing more can be expected of the client.
    fn is_lost(&mut self) -> bool {
        let now = Instant::now();
        let timeouts = self.core.settings().timeouts;
        if self.ledger.is_idle() {
            match self.gone_by() {
                Some(until) if now >= until => return true,
                None if now >= self.ledger.idle_since() + timeouts.keep_alive => self.leave(),
                _ => {}
            }
            return false;
        }
        match self.ping {
            PingState::Due(at) if now >= at => {
                if let Some(pings) = &mut self.pings {
                    // Only one is under way, so that there is room for this one.
                    let _ = pings.send_ping(Ping::opaque());
                }
                self.ping = PingState::Sent {
                    answer_by: now + timeouts.pong,
                };
                false
            }
            PingState::Sent { answer_by } => now >= answer_by,
            PingState::Due(_) => false,
        }
    }

    /// Serves what was asked and nothing more (RFC 9113 §6.8).
    fn leave(&mut self) {
        self.io.graceful_shutdown();
        self.leaving = Some(Instant::now() + FAREWELL);
    }

    async fn failed(&self, error: &h2::Error) {
        if !(error.is_library() && error.is_go_away()) {
            return;
        }
        match error.reason() {
            None | Some(Reason::NO_ERROR) => {}
            Some(Reason::ENHANCE_YOUR_CALM) => {
                let why = "the HTTP/2 connection asked for too much without using it";
                refuse(self.core, RefusalReason::Limit, why, None).await;
            }
            Some(_) => {
                let why = "the HTTP/2 connection is not framed as RFC 9113 says";
                refuse(self.core, RefusalReason::Malformed, why, None).await;
            }
        }
    }

    /// Ends a connection on which requests are taken back faster than they can be answered
    /// (CVE-2023-44487).
    async fn send_away(mut self) {
        self.io.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        let closed = poll_fn(|cx| self.io.poll_closed(cx));
        // Whoever does not take the frame is cut off without it.
        let _ = timeout(FAREWELL, self.outbox.emptied_after(closed)).await;
        let why = "too many requests were taken back before they were answered";
        refuse(self.core, RefusalReason::Limit, why, None).await;
    }

    fn start(&self, (request, mut respond): Arrival, place: OwnedSemaphorePermit) {
        let open = self.ledger.open(respond.stream_id().as_u32());
        if self.leaving.is_some_and(|until| Instant::now() >= until) {
            // It could have heard by now. Nothing was done for the stream, so it may be opened elsewhere
            // (RFC 9113 §8.7).
            respond.send_reset(Reason::REFUSED_STREAM);
            let core = Arc::clone(self.core);
            self.core.clients.spawn(async move {
                let why = "the gateway takes no new streams on this connection";
                refuse(&core, RefusalReason::Draining, why, None).await;
                drop(open);
                drop(place);
            });
            return;
        }
        let core = Arc::clone(self.core);
        let entry = self.entry.clone();
        let ledger = Arc::clone(&self.ledger);
        self.core.clients.spawn(async move {
            let closing = core.closing.clone();
            tokio::select! {
                () = serve_stream(core, entry, request, respond, ledger) => {}
                () = closing.cancelled() => {}
            }
            drop(open);
            drop(place);
        });
    }
}

async fn next_arrival(io: &mut h2::server::Connection<Watched, Bytes>, places: &Arc<Semaphore>) -> Turn {
    let place = tokio::select! {
        biased;
        place = Arc::clone(places).acquire_owned() => place.expect("the places are never closed"),
        closed = poll_fn(|cx| io.poll_closed(cx)) => {
            return match closed {
                Ok(()) => Turn::Closed,
                Err(error) => Turn::Failed(error),
            };
        }
    };
    match io.accept().await {
        Some(Ok(arrival)) => Turn::Arrival(Box::new(arrival), place),
        Some(Err(error)) => Turn::Failed(error),
        None => Turn::Closed,
    }
}

/// Serves one stream from its request to its end.
async fn serve_stream(
    core: Arc<Core>,
    entry: Entry,
    request: Http2Request<RecvStream>,
    respond: SendResponse<Bytes>,
    ledger: Arc<Ledger>,
) {
    // Boxed and gone before the tunnel runs: one that stands for days costs a tunnel's size only.
    let tunnel = Box::pin(serve_request(&core, entry, request, respond, ledger)).await;
    if let Some(tunnel) = tunnel {
        tunnel.run(&core).await;
    }
}

async fn serve_request(
    core: &Arc<Core>,
    entry: Entry,
    request: Http2Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    ledger: Arc<Ledger>,
) -> Option<Box<Tunnel>> {
    let (parts, body) = request.into_parts();
    let translation = match Translation::of(&parts, !body.is_end_stream()) {
        Ok(translation) => translation,
        Err(bad) if bad.reason == RefusalReason::Malformed => {
            refuse_unread(core, bad, None).await;
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return None;
        }
        Err(bad) => {
            let io = Http2Stream::plain(respond, body, core.head_limits(), ledger);
            session(io, entry).refuse_unread(core, bad, None).await;
            return None;
        }
    };
    let limits = core.head_limits();
    let Translation { text, carrier, kind } = translation;
    let io = Http2Stream::new(respond, body, kind, limits, ledger);
    let session = session(io, entry);
    let request = match read(text, core).and_then(Request::from_head) {
        Ok(request) => Request { carrier, ..request },
        Err(bad) => {
            session.refuse_unread(core, bad, None).await;
            return None;
        }
    };
    match http1::serve_request(core, session, request).await {
        Next::Tunnel(tunnel) => Some(tunnel),
        // There is one request on a stream. A server connection that could be used again is closed:
        // it is kept for one client, and a stream is one.
        Next::Request(_) | Next::Nothing => None,
    }
}

fn session(io: Http2Stream, entry: Entry) -> Session {
    Session {
        client: Client::new(Stream::Http2(Box::new(io)), entry),
        kept: None,
        // A stream is one request, and its client is told in its own way that no more are taken.
        served: true,
    }
}

/// Reads a translated head as strictly as one that came as HTTP/1.1.
fn read(text: Vec<u8>, core: &Core) -> Result<Head, BadRequest> {
    let limits = core.head_limits();
    let mut text = bytes::BytesMut::from(Bytes::from(text));
    let target = crate::head::target_of_broken_head(&text).map(<[u8]>::to_vec);
    let bad = |error| BadRequest::from_head_error(error, target.as_deref());
    match HeadScan::default().scan(&text, limits).map_err(bad)? {
        Some(length) if length == text.len() => Head::split_from(&mut text, length, limits).map_err(bad),
        _ => Err(bad(crate::head::HeadError::LineEnd)),
    }
}
