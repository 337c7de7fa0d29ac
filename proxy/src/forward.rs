//! Forwarding: plain HTTP requests with an absolute target.
//!
//! The request was read strictly and whole; what goes on is those same bytes without what was meant
//! for the gateway, and a body passes as it is framed. A server connection is used again only for
//! the same client, run and destination.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use base::{ObservedScheme, Outcome, RefusalReason, Target};
use bytes::BytesMut;
use tokio::net::TcpStream;

use crate::attempt::{Attempt, Ending, Route};
use crate::core::Core;
use crate::exchange::{Exchange, ExchangeEnd, Traffic};
use crate::http1::{Next, Session};
use crate::identity::Identity;
use crate::live::Live;
use crate::refusal::{Failure, Refusal};
use crate::request::Request;
use crate::sniff::{Seen, Sniffer};
use crate::stream::abort;
use crate::tunnel::Tunnel;

/// A server connection that waits for another request of the same client.
pub(crate) struct Kept {
    server: TcpStream,
    target: Target,
    identity: Option<Arc<Identity>>,
    route: Route,
    /// Declared last, so that it is dropped after the socket: a kill waits for closed sockets.
    live: Live,
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
    request: Request,
    path: Range<usize>,
) -> Next {
    let identity = match request.identify(core, &session.client.entry).await {
        Ok(identity) => identity,
        Err(refusal) => return session.refuse(&refusal, &request).await,
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
    let mut attempt = match Attempt::admit(core, &live, &request.target, notes).await {
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
        let early = attempt.take_early();
        let end = Exchange {
            core,
            request: &request,
            head: &head,
            traffic: &traffic,
            attempt: &mut attempt,
            early,
        }
        .run(&mut session.client, &mut server, live.cut())
        .await;
        if let Some(at) = traffic.first_byte() {
            attempt.first_byte(at);
        }
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
            ExchangeEnd::TimedOut(_) => (Outcome::IdleTimeout, Some(Failure::ResponseTimeout)),
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
        let timeout = match end {
            ExchangeEnd::TimedOut(timeout) => Some(*timeout),
            _ => None,
        };
        let ending = Ending {
            timeout,
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
