//! HTTP/1 sessions: one request after the other from one client.
//!
//! Each request is read, named, ruled on and recorded for itself, whatever came before it on the same
//! connection.

use std::sync::Arc;
use std::time::Duration;

use base::RefusalReason;
use evidence::Timeout;
use tokio::time::{Instant, sleep_until, timeout};

use crate::client::Client;
use crate::connect;
use crate::core::Core;
use crate::entry::Entry;
use crate::forward::{self, Kept};
use crate::framing::Framing;
use crate::head::{Head, HeadError, HeadScan, target_of_broken_head};
use crate::identity::Identity;
use crate::notes::{BadRequest, presentable};
use crate::refusal::Refusal;
use crate::refused::{refuse_identity, refuse_unread};
use crate::request::{Form, Request};
use crate::tunnel::Tunnel;

/// The body of a refused request that is read and thrown away to keep the connection.
const MAX_SKIPPED: u64 = 64 << 10;
const SKIP: Duration = Duration::from_secs(5);

/// A client between two requests, and the server connection that it may use again.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) kept: Option<Kept>,
    /// Whether a request of this client's was answered already.
    pub(crate) served: bool,
}

/// What came instead of the next request, or that.
enum Arrival {
    Request(Box<Request>),
    Bad(BadRequest, Option<Timeout>),
    /// Nobody is there, or nobody shall be.
    Gone,
    /// A kill ended what this client had.
    Cut,
}

/// What comes after a request.
#[expect(
    clippy::large_enum_variant,
    reason = "a value of this is taken apart where it arrives"
)]
pub(crate) enum Next {
    /// The client may send another one.
    Request(Session),
    /// The connection carries something else from now on.
    Tunnel(Box<Tunnel>),
    /// Nothing: the connection is closed.
    Nothing,
}

/// Serves a client that has begun to speak HTTP/1, until it is gone or what it speaks is no longer
/// ours to read.
pub(crate) async fn serve(core: &Arc<Core>, client: Client) -> Option<Box<Tunnel>> {
    let mut session = Session {
        client,
        kept: None,
        served: false,
    };
    loop {
        let request = match session.next_request(core).await {
            Arrival::Request(request) => *request,
            Arrival::Bad(bad, timeout) => {
                session.refuse_unread(core, bad, timeout).await;
                return None;
            }
            Arrival::Gone => return None,
            Arrival::Cut => {
                session.abort();
                return None;
            }
        };
        let next = serve_request(core, session, request).await;
        session = match next {
            Next::Request(session) => Session {
                served: true,
                ..session
            },
            Next::Tunnel(tunnel) => return Some(tunnel),
            Next::Nothing => return None,
        };
    }
}

/// Serves one request, whatever its client speaks. While the gateway drains, that is the first one of a
/// client that came in before, and no other; unless another process took over: whatever was on its way
/// to us then would have been served there, so it is served here.
pub(crate) async fn serve_request(core: &Arc<Core>, session: Session, request: Request) -> Next {
    if session.served && core.draining.is_cancelled() && !core.handed_over.is_cancelled() {
        let bad = BadRequest {
            reason: RefusalReason::Draining,
            why: "the gateway is shutting down".to_owned(),
            raw_target: Some(presentable(request.head.target())),
        };
        session.refuse_unread(core, bad, None).await;
        return Next::Nothing;
    }
    match request.form.clone() {
        Form::Connect => connect::serve(core, session, request).await,
        Form::Absolute { path } => Box::pin(forward::serve(core, session, request, path)).await,
    }
}

impl Request {
    /// Whose request this is, by everything that was presented.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub(crate) async fn identify(
        &self,
        core: &Arc<Core>,
        entry: &Entry,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        match core.identify(&self.proof, entry) {
            Ok(identity) => Ok(identity),
            Err(refusal) => {
                let (target, notes) = (Some(&self.target), self.notes.clone());
                Err(refuse_identity(core, refusal, &self.proof, target, notes).await)
            }
        }
    }
}

impl Session {
    /// Waits for the next request head and reads it.
    async fn next_request(&mut self, core: &Core) -> Arrival {
        let timeouts = core.settings().timeouts;
        let mut scan = HeadScan::default();
        let idle = self.client.buffer.is_empty();
        let patience = if idle { timeouts.keep_alive } else { timeouts.head };
        let deadline = sleep_until(Instant::now() + patience);
        tokio::pin!(deadline);
        loop {
            let waiting = self.client.buffer.is_empty();
            if !waiting {
                match self.read_head(&mut scan, core) {
                    Ok(Some(head)) => {
                        return match Request::from_head(head) {
                            Ok(request) => Arrival::Request(Box::new(request)),
                            Err(bad) => Arrival::Bad(bad, None),
                        };
                    }
                    Ok(None) => {}
                    Err(error) => return Arrival::Bad(self.bad_head(error), None),
                }
            }
            let kept = self.kept.as_ref();
            tokio::select! {
                biased;
                () = Kept::cut(kept) => return Arrival::Cut,
                () = core.draining.cancelled(), if waiting => return Arrival::Gone,
                read = self.client.fill() => match read {
                    Ok(0) | Err(_) => return Arrival::Gone,
                    Ok(_) if waiting => deadline.as_mut().reset(Instant::now() + timeouts.head),
                    Ok(_) => {}
                },
                () = &mut deadline => {
                    if waiting {
                        return Arrival::Gone;
                    }
                    let mut bad = self.bad_head(HeadError::RequestLine);
                    bad.reason = RefusalReason::Timeout;
                    bad.why = "the request head did not arrive in time".to_owned();
                    return Arrival::Bad(bad, Some(Timeout::Head));
                }
            }
        }
    }

    fn read_head(&mut self, scan: &mut HeadScan, core: &Core) -> Result<Option<Head>, HeadError> {
        let limits = core.head_limits();
        match scan.scan(&self.client.buffer, limits)? {
            Some(length) => Head::split_from(&mut self.client.buffer, length, limits).map(Some),
            None => Ok(None),
        }
    }

    fn bad_head(&self, error: HeadError) -> BadRequest {
        BadRequest::from_head_error(error, target_of_broken_head(&self.client.buffer))
    }

    /// Answers something that was not understood, and closes: what follows it cannot be trusted to
    /// begin where it seems to.
    pub(crate) async fn refuse_unread(mut self, core: &Arc<Core>, bad: BadRequest, timeout: Option<Timeout>) {
        drop(self.kept.take());
        let refusal = refuse_unread(core, bad, timeout).await;
        if self.client.answer(&refusal.to_http(false, false)).await {
            self.client.farewell().await;
        }
    }

    /// Answers a request that is refused. The session goes on where the client means it to and the
    /// next request's beginning is certain.
    pub(crate) async fn refuse(mut self, refusal: &Refusal, request: &Request) -> Next {
        let skippable = match &request.framing {
            Framing::Length(0) => true,
            Framing::Length(length) => *length <= MAX_SKIPPED && !request.expects_continue(),
            Framing::Chunked(_) | Framing::UntilClose => false,
        };
        let persistent = request.persistent && skippable;
        let answer = refusal.to_http(persistent, request.head.method() == b"HEAD");
        if !self.client.answer(&answer).await {
            return Next::Nothing;
        }
        if persistent && self.skip_body(request.framing.clone()).await {
            return Next::Request(self);
        }
        drop(self.kept.take());
        self.client.farewell().await;
        Next::Nothing
    }

    async fn skip_body(&mut self, mut framing: Framing) -> bool {
        let skip = async {
            loop {
                let Ok(taken) = framing.take(&self.client.buffer) else {
                    return false;
                };
                drop(self.client.buffer.split_to(taken));
                if framing.is_done() {
                    return true;
                }
                if !matches!(self.client.fill().await, Ok(1..)) {
                    return false;
                }
            }
        };
        timeout(SKIP, skip).await.unwrap_or(false)
    }

    fn abort(mut self) {
        self.client.abort();
        if let Some(kept) = &self.kept {
            crate::stream::abort(kept.server());
        }
        // The client's socket first, the place in the live table (in `kept`) last.
        drop(self.client);
        drop(self.kept);
    }
}
