//! Tunnels: a connection whose contents are nobody's business, from established to closed.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base::Outcome;
use evidence::Timeout;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::attempt::{Attempt, Ending};
use crate::client::Client;
use crate::core::Core;
use crate::lifetime::Lifetime;
use crate::live::{CutCause, Live, Sever};
use crate::relay::{Relay, RelayEnd, Side, Step};
use crate::sniff::Sniffer;
use crate::stream::{Stream, abort, has_failed, sever};

/// Both ends of an established connection, and its place in the live table.
pub(crate) struct Tunnel {
    pub(crate) client: Stream,
    pub(crate) server: TcpStream,
    pub(crate) live: Live,
    pub(crate) attempt: Attempt,
    /// Read from the client and from the server already, and not yet passed on.
    pub(crate) from_client: Vec<u8>,
    pub(crate) from_server: Vec<u8>,
    /// Bytes that were relayed before the connection became a tunnel.
    pub(crate) bytes_before: (u64, u64),
    /// What is known of the protocol already.
    pub(crate) sniffer: Sniffer,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug)]
enum TunnelEnd {
    ByItself(RelayEnd),
    Cut(CutCause),
    TimedOut(Timeout),
}

impl Tunnel {
    /// Tells the client that its connection stands, which makes it a tunnel. A client that is gone by
    /// then leaves a record and no tunnel.
    pub(crate) async fn establish(
        mut client: Client,
        answer: &[u8],
        server: TcpStream,
        live: Live,
        attempt: Attempt,
    ) -> Option<Box<Self>> {
        if client.answer(answer).await {
            return Some(Box::new(Self::new(client, server, live, attempt)));
        }
        attempt.close(Ending {
            outcome: Some(Outcome::ClientReset),
            ..Ending::default()
        });
        // Both sockets before the place in the live table.
        drop((client, server));
        drop(live);
        None
    }

    /// A tunnel of which nothing is known yet. What the client sent ahead belongs into it.
    fn new(client: Client, server: TcpStream, live: Live, mut attempt: Attempt) -> Self {
        Self {
            from_client: client.buffer.to_vec(),
            from_server: attempt.take_early(),
            client: client.io,
            server,
            live,
            attempt,
            bytes_before: (0, 0),
            sniffer: Sniffer::default(),
        }
    }

    /// Relays until it is over, writes down how it ended, and leaves the live table.
    pub(crate) fn run(self: Box<Self>, core: &Core) -> impl Future<Output = ()> + Send + use<> {
        let Self {
            client,
            server,
            live,
            attempt,
            from_client,
            from_server,
            bytes_before,
            mut sniffer,
        } = *self;
        sniffer.client_said(&from_client);
        sniffer.server_said(&from_server);
        let relay = Relay::new(client, server, from_client, from_server);
        let mut standing = Standing {
            ends: Arc::new(Ends::new(relay)),
            live,
            clock: Clock::starting(core, &attempt),
            attempt,
            bytes_before,
            sniffer,
        };
        // What waits for days holds each thing once; an `async fn` would hold its arguments twice.
        async move {
            let end = standing.relay().await;
            standing.end(end);
        }
    }
}

/// A tunnel while it stands.
struct Standing {
    ends: Arc<Ends>,
    attempt: Attempt,
    bytes_before: (u64, u64),
    sniffer: Sniffer,
    clock: Clock,
    /// Left last, also where the task dies.
    live: Live,
}

impl Standing {
    /// Relays until it is over.
    async fn relay(&mut self) -> TunnelEnd {
        let Self {
            ends,
            attempt,
            sniffer,
            clock,
            bytes_before: (out_before, in_before),
            ..
        } = self;
        clock.patience_is_over(Instant::now(), sniffer);
        let mut next = clock.next(&ends.hold().relay, sniffer);
        let cut = self.live.cut();
        let fired = cut.fired();
        tokio::pin!(fired);
        cut.stands(Arc::clone(ends) as Arc<dyn Sever>);
        let timer = sleep_until(next);
        tokio::pin!(timer);
        loop {
            // One that fires early looks again and is set anew; setting it on every turn costs more.
            if next < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                cause = &mut fired => return TunnelEnd::Cut(cause),
                step = poll_fn(|cx| {
                    // Asked with the sockets in hand: whoever severs them has said why before.
                    let mut held = ends.hold();
                    match cut.cause() {
                        None => held.relay.poll(cx, sniffer),
                        Some(_) => Poll::Pending,
                    }
                }) => {
                    if let Step::Ended(end) = step {
                        return TunnelEnd::ByItself(end);
                    }
                }
                () = &mut timer => {}
            }
            // What is being severed moves nothing any more, and is told when that is done.
            if cut.cause().is_some() {
                return TunnelEnd::Cut(fired.await);
            }
            let mut held = ends.hold();
            let relay = &mut held.relay;
            let now = Instant::now();
            if let Some(at) = relay.first_answer() {
                attempt.first_byte(at);
            }
            if clock.patience_is_over(now, sniffer) {
                sniffer.give_up();
            }
            if clock.life.announcement_is_due(now, sniffer.is_done()) {
                attempt.connected(sniffer.seen());
            }
            if clock.life.progress_is_due(now) {
                attempt.progress(
                    *out_before + relay.bytes_out(),
                    *in_before + relay.bytes_in(),
                    sniffer.seen(),
                );
            }
            if relay.is_stalled()
                && clock.look_is_due(now)
                && let Some(side) = reset_side(relay)
            {
                return TunnelEnd::ByItself(RelayEnd::Reset(side));
            }
            if let Some(timeout) = clock.life.end(now, moved(relay)) {
                return TunnelEnd::TimedOut(timeout);
            }
            next = clock.next(relay, sniffer);
        }
    }

    /// Writes down how it ended, closes both sockets and leaves the live table.
    fn end(self, end: TunnelEnd) {
        let Self {
            ends,
            live,
            mut attempt,
            bytes_before: (out_before, in_before),
            sniffer,
            ..
        } = self;
        // Nobody severs them from here on.
        let Held {
            mut relay,
            is_client_severed,
            is_server_severed,
        } = ends.take();
        if let Some(at) = relay.first_answer() {
            attempt.first_byte(at);
        }
        attempt.close(Ending {
            outcome: Some(end.outcome()),
            timeout: end.timeout(),
            bytes_out: out_before + relay.bytes_out(),
            bytes_in: in_before + relay.bytes_in(),
            seen: sniffer.seen(),
            ..Ending::default()
        });
        if end.resets(Side::Client) && !is_client_severed {
            relay.client.abort();
        }
        if end.resets(Side::Server) && !is_server_severed {
            abort(&relay.server);
        }
        // The live table is left last: a kill waits for closed sockets.
        drop(relay);
        drop(live);
    }
}

/// A relay that its tunnel drives, and that whoever cuts the tunnel can sever.
struct Ends(Mutex<Option<Held>>);

struct Held {
    relay: Relay<Stream, TcpStream>,
    is_client_severed: bool,
    is_server_severed: bool,
}

impl Ends {
    fn new(relay: Relay<Stream, TcpStream>) -> Self {
        Self(Mutex::new(Some(Held {
            relay,
            is_client_severed: false,
            is_server_severed: false,
        })))
    }

    fn hold(&self) -> MappedMutexGuard<'_, Held> {
        MutexGuard::map(self.0.lock(), |held| {
            held.as_mut().expect("a tunnel takes its relay once, at its end")
        })
    }

    fn take(&self) -> Held {
        let held = self.0.lock().take();
        held.expect("a tunnel takes its relay once, at its end")
    }
}

impl Sever for Ends {
    fn sever_client(&self) {
        if let Some(held) = self.0.lock().as_mut() {
            held.is_client_severed |= held.relay.client.sever();
        }
    }

    fn sever_server(&self) {
        if let Some(held) = self.0.lock().as_mut() {
            held.is_server_severed |= sever(&held.relay.server);
        }
    }
}

/// Which side has reset the connection, if one has. Asking takes the answer: the tunnel ends with it.
fn reset_side(relay: &mut Relay<Stream, TcpStream>) -> Option<Side> {
    if relay.client.has_failed() {
        return Some(Side::Client);
    }
    has_failed(&relay.server).then_some(Side::Server)
}

impl TunnelEnd {
    const fn outcome(self) -> Outcome {
        match self {
            Self::ByItself(RelayEnd::Closed(Side::Client)) => Outcome::ClientClosed,
            Self::ByItself(RelayEnd::Closed(Side::Server)) => Outcome::ServerClosed,
            Self::ByItself(RelayEnd::Reset(Side::Client)) => Outcome::ClientReset,
            Self::ByItself(RelayEnd::Reset(Side::Server)) => Outcome::ServerReset,
            Self::Cut(cause) => cause.outcome(),
            Self::TimedOut(_) => Outcome::IdleTimeout,
        }
    }

    const fn timeout(self) -> Option<Timeout> {
        match self {
            Self::TimedOut(timeout) => Some(timeout),
            Self::ByItself(_) | Self::Cut(_) => None,
        }
    }

    /// Whether `side` is told by a reset: what one side did by a reset reaches the other as one, and
    /// what the gateway ends is nobody's orderly close.
    fn resets(self, side: Side) -> bool {
        match self {
            Self::ByItself(RelayEnd::Closed(_)) => false,
            Self::ByItself(RelayEnd::Reset(gone)) => gone != side,
            Self::Cut(_) | Self::TimedOut(_) => true,
        }
    }
}

/// When a tunnel has to look up from relaying.
struct Clock {
    life: Lifetime,
    look_at: Instant,
    stalled: Duration,
    /// For how long somebody may speak before it is clear what.
    patience: Duration,
    give_up_at: Option<Instant>,
}

impl Clock {
    fn starting(core: &Core, attempt: &Attempt) -> Self {
        let timeouts = core.settings().timeouts;
        Self {
            life: Lifetime::of(attempt, &timeouts),
            look_at: Instant::now(),
            stalled: timeouts.stalled,
            patience: timeouts.head,
            give_up_at: None,
        }
    }

    fn next(&self, relay: &Relay<Stream, TcpStream>, sniffer: &Sniffer) -> Instant {
        let mut next = self.life.next(moved(relay), sniffer.is_done());
        if relay.is_stalled() {
            next = next.min(self.look_at);
        }
        self.give_up_at.map_or(next, |give_up_at| next.min(give_up_at))
    }

    /// Whether somebody has been speaking for so long that no more will be learnt from it.
    fn patience_is_over(&mut self, now: Instant, sniffer: &Sniffer) -> bool {
        if !sniffer.is_looking() {
            self.give_up_at = None;
            return false;
        }
        now >= *self.give_up_at.get_or_insert(now + self.patience)
    }

    fn look_is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.look_at;
        if due {
            self.look_at = now + self.stalled;
        }
        due
    }
}

fn moved(relay: &Relay<Stream, TcpStream>) -> Instant {
    Instant::from_std(relay.last_moved())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Box<Tunnel>, &'static Arc<Core>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_tunnel_at_rest_is_small() {
        let facts = size_of::<evidence::Event>();
        let tunnel = size_of_future(|tunnel, core| tunnel.run(core));
        assert!(
            tunnel < 1024 && facts < 1024,
            "{tunnel} bytes and {facts} of facts"
        );
    }
}
