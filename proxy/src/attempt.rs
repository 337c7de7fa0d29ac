//! Attempts: one try of a plugin to reach a destination, from the ruling to the close.
//!
//! An attempt writes its own record. What nobody may forget is therefore in one place: an `open` is
//! on record before a name is looked up or a byte leaves, and what was opened is closed exactly once,
//! even if the task that held it dies.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Decision, DialResult, DnsResult, Host, Outcome, RefusalReason, Target, Transport};
use evidence::{Event, EventKind, Timeout};
use tokio::net::TcpStream;

use crate::core::Core;
use crate::dial::{DialError, dial};
use crate::exhausted::Exhausted;
use crate::facts::{
    describe_identity, describe_lookup, describe_ruling, describe_seen, describe_target, milliseconds,
    payload_class,
};
use crate::identity::IdentityRefusal;
use crate::live::{Cut, Live};
use crate::notes::Notes;
use crate::parent::{Parent, ParentFailure, ParentRule};
use crate::refusal::{Failure, Refusal};
use crate::refused::{record_excess, record_refusal, refused};
use crate::sniff::Seen;

/// A connection that was ruled on and recorded as open.
pub(crate) struct Attempt {
    core: Arc<Core>,
    target: Target,
    /// What every event of this attempt says; grows as more is known.
    facts: Box<Event>,
    started: Instant,
    /// When the destination could be spoken to.
    established: Instant,
    /// What the destination said before anybody listened, through a parent proxy.
    early: Vec<u8>,
    /// Whether a `connected` event has said that it stands.
    announced: bool,
    closed: bool,
}

/// How a destination was reached; enough to describe a connection that is used again.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    dns_result: DnsResult,
    resolved_ips: Vec<IpAddr>,
    cname_chain: Vec<String>,
    dialed_ip: IpAddr,
    via: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) reason: Option<RefusalReason>,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) seen: Seen,
    /// What the client declared about its contents, where it did.
    pub(crate) declared: Option<&'static str>,
}

impl Attempt {
    /// Asks whether the connection that holds `live` may go to `target`, and records the answer.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub(crate) async fn admit(
        core: &Arc<Core>,
        live: &Live,
        target: &Target,
        notes: Notes,
    ) -> Result<Self, Refusal> {
        let identity = live.identity();
        let started = Instant::now();
        let mut facts = core.event(EventKind::Open);
        facts.connection_id = Some(core.connection_ids.next());
        facts.transport = Some(Transport::Tcp);
        describe_target(&mut facts, target, notes);
        describe_identity(&mut facts, identity);
        // Asked again now that the connection can be cut: had the run ended since it was named, nobody
        // would come and cut it.
        if let Some(run_id) = identity.map(|identity| identity.run_id)
            && core.runs.has_ended(run_id)
        {
            record_refusal(core, facts, RefusalReason::RunEnded).await;
            return Err(Refusal::identity(&IdentityRefusal::Ended { run_id }));
        }
        if let Some(excess) = live.excess() {
            record_excess(core, facts, excess).await;
            let over = async {
                tokio::select! {
                    _ = live.cut().fired() => {}
                    () = core.draining.cancelled() => {}
                }
            };
            // Apart, because every attempt would be as large as this rare wait.
            Box::pin(core.tarpit.hold(over)).await;
            return Err(Refusal::quota(&excess.quota));
        }
        let ruling = core.rulings.rule(identity, target);
        describe_ruling(&mut facts, &ruling);
        if ruling.decision == Decision::Deny {
            let reason = ruling.reason.unwrap_or(RefusalReason::Tier);
            record_refusal(core, facts, reason).await;
            return Err(Refusal::ruled(target, reason, &ruling));
        }
        // An address needs no lookup to be seen for what it is.
        if let Host::Ip(ip) = &target.host
            && let Err(below) = core.floor.check(SocketAddr::new(*ip, target.port.get()))
        {
            record_refusal(core, facts, RefusalReason::Floor).await;
            let why = format!("{target} is not dialled: {below}");
            return Err(Refusal::new(RefusalReason::Floor, &why));
        }
        let turn = core.turns.pass(facts.plugin_id.as_ref()).await;
        let recorded = core.recorder.record_and_wait(&facts).await;
        drop(turn);
        core.metrics.queued(started.elapsed());
        if recorded.is_err() {
            // Written as soon as anything can be; the client need not wait for it.
            core.recorder
                .record(refused(core, facts, RefusalReason::EvidenceUnavailable));
            return Err(Refusal::evidence());
        }
        core.metrics.opened.inc();
        Ok(Self {
            core: Arc::clone(core),
            target: target.clone(),
            facts,
            started,
            established: started,
            early: Vec::new(),
            announced: false,
            closed: false,
        })
    }

    /// Admits and reaches, for a connection of its own.
    ///
    /// # Errors
    /// The refusal, which is on record.
    pub(crate) async fn make(
        core: &Arc<Core>,
        live: &Live,
        target: &Target,
        notes: Notes,
    ) -> Result<(Self, TcpStream), Refusal> {
        let attempt = Self::admit(core, live, target, notes).await?;
        let (attempt, server, _) = attempt.reach(live.cut()).await?;
        Ok((attempt, server))
    }

    /// Looks the name up, holds the answers against the floor and dials what is left. On failure the
    /// attempt is closed and the answer for the client comes back.
    pub(crate) async fn reach(mut self, cut: &Cut) -> Result<(Self, TcpStream, Route), Refusal> {
        let reached = match cut.or(pin!(self.try_to_reach())).await {
            Ok(reached) => reached,
            Err(cause) => Err(Failure::Cut(cause)),
        };
        match reached {
            Ok((stream, route)) => Ok((self, stream, route)),
            Err(failure) => Err(self.fail(failure, Ending::default())),
        }
    }

    async fn try_to_reach(&mut self) -> Result<(TcpStream, Route), Failure> {
        let core = Arc::clone(&self.core);
        // A reload in the middle of it must not change the rules.
        let (settings, names) = (Arc::clone(&core.settings()), core.names());
        if !names.overrides(&self.target)
            && let Some(parent) = ParentRule::choose(&settings.parents, &self.target)
        {
            return Box::pin(self.reach_through(parent)).await;
        }
        let lookup = names.look_up(&self.target, self.facts.plugin_id.as_ref()).await;
        describe_lookup(&mut self.facts, &lookup);
        if lookup.elapsed > Duration::ZERO {
            core.metrics.looked_up(lookup.elapsed);
        }
        if lookup.addresses.is_empty() {
            return Err(Failure::Lookup(lookup.result));
        }
        let mut dialable = lookup.addresses;
        dialable.retain(|address| core.floor.check(*address).is_ok());
        if dialable.is_empty() {
            return Err(Failure::Floor);
        }
        let started = Instant::now();
        let dialled = self.dial(&dialable).await;
        let took = started.elapsed();
        let (stream, address) = dialled.map_err(|error| match error {
            DialError::Failed(error) => match Exhausted::of(&error) {
                Some(exhausted) => Failure::Exhausted(exhausted),
                None => Failure::Connect(error.kind()),
            },
            DialError::Timeout => Failure::ConnectTimeout,
        })?;
        Ok((stream, self.established(address, took)))
    }

    /// Has a parent proxy connect, which also looks the name up.
    async fn reach_through(&mut self, parent: &Parent) -> Result<(TcpStream, Route), Failure> {
        let core = Arc::clone(&self.core);
        self.facts.dns_result = Some(DnsResult::Parent);
        self.facts.via = Some(parent.to_string());
        let unreachable = Failure::Parent(ParentFailure::Unreachable);
        let mut addresses = core.names().look_up(&parent.target(), None).await.addresses;
        addresses.retain(|address| !core.floor.is_own(*address));
        let started = Instant::now();
        let (mut stream, address) = self.dial(&addresses).await.map_err(|error| match error {
            DialError::Failed(error) => Exhausted::of(&error).map_or(unreachable, Failure::Exhausted),
            DialError::Timeout => Failure::Parent(ParentFailure::Timeout),
        })?;
        self.facts.dialed_ip = Some(address.ip());
        let patience = core.settings().timeouts.connect;
        self.early = parent
            .ask(&mut stream, &self.target, core.head_limits(), patience)
            .await
            .map_err(Failure::Parent)?;
        Ok((stream, self.established(address, started.elapsed())))
    }

    async fn dial(&mut self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), DialError> {
        let budget = self.core.settings().timeouts.connect;
        let (stream, address) = dial(addresses, budget, &mut self.facts.attempts).await?;
        // One address that answered is `dialed_ip` and no list.
        if matches!(self.facts.attempts.as_slice(), [only] if only.result == DialResult::Connected) {
            self.facts.attempts.clear();
        }
        Ok((stream, address))
    }

    fn established(&mut self, address: SocketAddr, took: Duration) -> Route {
        self.core.metrics.connected(took);
        self.established = Instant::now();
        let facts = &mut self.facts;
        facts.connect_ms = Some(milliseconds(took));
        facts.dialed_ip = Some(address.ip());
        Route {
            dns_result: facts.dns_result.unwrap_or(DnsResult::NotNeeded),
            resolved_ips: facts.resolved_ips.clone(),
            cname_chain: facts.cname_chain.clone(),
            dialed_ip: address.ip(),
            via: facts.via.clone(),
        }
    }

    /// What the destination said before anybody listened; given once.
    pub(crate) fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// Notes when the destination first said something. Only the first time counts.
    pub(crate) fn first_byte(&mut self, at: Instant) {
        let waited = at.saturating_duration_since(self.established);
        self.facts.first_byte_ms.get_or_insert(milliseconds(waited));
    }

    /// Says that an existing connection is used again.
    pub(crate) fn reuse(&mut self, route: &Route) {
        self.facts.dns_result = Some(route.dns_result);
        self.facts.resolved_ips.clone_from(&route.resolved_ips);
        self.facts.cname_chain.clone_from(&route.cname_chain);
        self.facts.dialed_ip = Some(route.dialed_ip);
        self.facts.via.clone_from(&route.via);
        self.established = Instant::now();
    }

    /// Where to.
    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    /// When it began.
    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    /// Whether it is on record that it stands.
    pub(crate) const fn is_announced(&self) -> bool {
        self.announced
    }

    /// Records that the connection stands, and what is spoken on it.
    pub(crate) fn connected(&mut self, seen: Seen) {
        self.announced = true;
        let event = self.event(EventKind::Connected);
        describe_seen(event, seen);
        self.core.recorder.record(&*self.facts);
    }

    /// Records that the connection still stands.
    pub(crate) fn progress(&mut self, bytes_out: u64, bytes_in: u64, seen: Seen) {
        let duration = self.started.elapsed();
        let event = self.event(EventKind::Progress);
        event.bytes_out = Some(bytes_out);
        event.bytes_in = Some(bytes_in);
        event.duration_ms = Some(milliseconds(duration));
        describe_seen(event, seen);
        self.core.recorder.record(&*self.facts);
    }

    /// Closes an attempt that failed, and gives the answer for the client.
    pub(crate) fn fail(self, failure: Failure, ending: Ending) -> Refusal {
        let refusal = Refusal::failed(&self.target, failure);
        if let Failure::Exhausted(exhausted) = failure {
            self.core.metrics.exhausted(exhausted);
        }
        let facts = &self.facts;
        tracing::info!(
            connection_id = facts.connection_id.as_deref(),
            plugin_id = facts.plugin_id.as_ref().map(tracing::field::display),
            run_id = facts.run_id.as_ref().map(tracing::field::display),
            target = %self.target,
            outcome = %failure.outcome(),
            failure = ?failure,
            "connection failed"
        );
        self.close(Ending {
            outcome: Some(failure.outcome()),
            timeout: failure.timeout(),
            reason: (failure == Failure::Floor)
                .then_some(RefusalReason::Floor)
                .or(ending.reason),
            ..ending
        });
        refusal
    }

    /// Records the end.
    pub(crate) fn close(mut self, ending: Ending) {
        self.record_close(ending);
    }

    fn record_close(&mut self, ending: Ending) {
        self.closed = true;
        let outcome = ending.outcome.unwrap_or(Outcome::Error);
        let duration = self.started.elapsed();
        let event = self.event(EventKind::Close);
        event.outcome = Some(outcome);
        event.timeout = ending.timeout;
        event.bytes_out = Some(ending.bytes_out);
        event.bytes_in = Some(ending.bytes_in);
        event.duration_ms = Some(milliseconds(duration));
        event.payload_class = Some(payload_class(&ending));
        if ending.reason.is_some() {
            event.reason = ending.reason;
        }
        if ending.reason == Some(RefusalReason::Floor) {
            event.decision = Some(Decision::Deny);
        }
        describe_seen(event, ending.seen);
        self.core.metrics.ended(outcome);
        self.core.metrics.bytes_out.inc_by(ending.bytes_out);
        self.core.metrics.bytes_in.inc_by(ending.bytes_in);
        self.core.recorder.record(&*self.facts);
    }

    /// The facts as an event of this moment. What one event adds is true of the later ones too, or
    /// they say it anew; so none is copied.
    fn event(&mut self, kind: EventKind) -> &mut Event {
        self.facts.kind = kind;
        self.facts.time = Core::now();
        &mut self.facts
    }
}

impl Drop for Attempt {
    /// A task that died in the middle still leaves a complete record.
    fn drop(&mut self) {
        if !self.closed {
            self.record_close(Ending::default());
        }
    }
}
