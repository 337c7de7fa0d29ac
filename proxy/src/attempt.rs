//! Attempts: one try of a plugin to reach a destination, from the ruling to the close.
//!
//! An attempt writes its own record. What nobody may forget is therefore in one place: an `open` is
//! on record before a name is looked up or a byte leaves, and what was opened is closed exactly once,
//! even if the task that held it dies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{
    Attribution, Decision, DialResult, DnsResult, Host, ObservedScheme, Outcome, RefusalReason, Target,
    Transport,
};
use evidence::{Event, EventKind, MAX_EVENT_BYTES, Timeout};
use tokio::net::TcpStream;

use crate::core::Core;
use crate::dial::{DialError, dial};
use crate::entry::Entry;
use crate::identity::{Identity, IdentityRefusal};
use crate::live::{Cut, Live};
use crate::names::Lookup;
use crate::parent::{Parent, ParentFailure, ParentRule};
use crate::quota::{Excess, Untold};
use crate::refusal::{Failure, Refusal};
use crate::request::{BadRequest, MAX_RAW, Notes, Proof};
use crate::ruling::Ruling;
use crate::sniff::Seen;

/// Addresses and aliases that an event lists; an entry has a largest size.
const MAX_ADDRESSES: usize = 16;
const MAX_ALIASES: usize = 4;

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
        let recorded = core.recorder.record_and_wait(&facts).await;
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
            facts: Box::new(facts),
            started,
            established: started,
            early: Vec::new(),
            closed: false,
        })
    }

    /// Looks the name up, holds the answers against the floor and dials what is left. On failure the
    /// attempt is closed and the answer for the client comes back.
    pub(crate) async fn reach(mut self, cut: &Cut) -> Result<(Self, TcpStream, Route), Refusal> {
        let reached = match cut.or(self.try_to_reach()).await {
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
        if !core.names.overrides(&self.target)
            && let Some(parent) = ParentRule::choose(&core.settings.parents, &self.target)
        {
            return self.reach_through(parent).await;
        }
        let lookup = core
            .names
            .look_up(&self.target, self.facts.plugin_id.as_ref())
            .await;
        self.describe_lookup(&lookup);
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
            DialError::Failed(error) => Failure::Connect(error.kind()),
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
        let mut addresses = core.names.look_up(&parent.target(), None).await.addresses;
        addresses.retain(|address| !core.floor.is_own(*address));
        let started = Instant::now();
        let (mut stream, address) = self.dial(&addresses).await.map_err(|error| match error {
            DialError::Failed(_) => unreachable,
            DialError::Timeout => Failure::Parent(ParentFailure::Timeout),
        })?;
        self.facts.dialed_ip = Some(address.ip());
        let patience = core.settings.timeouts.connect;
        self.early = parent
            .ask(&mut stream, &self.target, core.head_limits(), patience)
            .await
            .map_err(Failure::Parent)?;
        Ok((stream, self.established(address, started.elapsed())))
    }

    async fn dial(&mut self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), DialError> {
        let budget = self.core.settings.timeouts.connect;
        let (stream, address) = dial(addresses, budget, &mut self.facts.attempts).await?;
        // One address that answered is `dialed_ip` and no list.
        if matches!(self.facts.attempts.as_slice(), [only] if only.result == DialResult::Connected) {
            self.facts.attempts.clear();
        }
        // Small messages must not wait for each other (RFC 896).
        let _ = stream.set_nodelay(true);
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

    /// Records that the connection stands, and what is spoken on it.
    pub(crate) fn connected(&mut self, seen: Seen) {
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

    fn describe_lookup(&mut self, lookup: &Lookup) {
        let facts = &mut self.facts;
        facts.dns_result = Some(lookup.result);
        if lookup.elapsed > Duration::ZERO {
            self.core.metrics.looked_up(lookup.elapsed);
            facts.dns_ms = Some(milliseconds(lookup.elapsed));
        }
        let ips = lookup.addresses.iter().map(SocketAddr::ip);
        facts.resolved_ips = ips.take(MAX_ADDRESSES).collect();
        let aliases = lookup.cname_chain.iter().take(MAX_ALIASES);
        facts.cname_chain = aliases
            .map(|alias| base::escape_untrusted(alias.as_bytes(), 256))
            .collect();
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

/// Records a request that was refused before it could be understood, and gives the answer.
pub(crate) async fn refuse_unread(core: &Arc<Core>, bad: BadRequest, timeout: Option<Timeout>) -> Refusal {
    let mut event = core.event(EventKind::Refused);
    event.attribution = Some(Attribution::None);
    event.transport = Some(Transport::Tcp);
    event.raw_target = bad.raw_target;
    event.timeout = timeout;
    record_refusal(core, event, bad.reason).await;
    Refusal::new(bad.reason, &bad.why)
}

/// Records a request whose credentials prove nothing, and gives the answer.
pub(crate) async fn refuse_identity(
    core: &Arc<Core>,
    refusal: IdentityRefusal,
    proof: &Proof,
    target: Option<&Target>,
    notes: Notes,
) -> Refusal {
    let mut event = core.event(EventKind::Refused);
    event.attribution = Some(Attribution::None);
    event.transport = Some(Transport::Tcp);
    event.run_id = refusal.run_id();
    event.claims = refusal.claims().to_vec();
    if let Some(target) = target {
        describe_target(&mut event, target, notes);
    }
    if let Proof::Basic { password, .. } = proof {
        event.credential_fingerprint = Some(seal::token::token_fingerprint(password));
    }
    record_refusal(core, event, refusal.reason()).await;
    Refusal::identity(&refusal)
}

/// Records that somebody came in who may not, or not in this way. They are told nothing: whoever
/// speaks for others without being asked to, or opens another user's door, is no client.
pub(crate) async fn refuse_peer(core: &Arc<Core>, entry: &Entry, why: &str) {
    let mut event = core.event(EventKind::Refused);
    event.attribution = Some(Attribution::None);
    event.transport = Some(Transport::Tcp);
    event.source_ip = entry.source.map(|source| source.ip().to_canonical());
    // Whose door it was; that is not who came.
    event.claims = entry.listener.iter().map(|listener| listener.claim()).collect();
    tracing::warn!(source = ?event.source_ip, why, "a peer was not let in");
    record_refusal(core, event, RefusalReason::UntrustedPeer).await;
}

/// Records that a well-formed request asks for something that is not served.
pub(crate) async fn refuse_unsupported(
    core: &Arc<Core>,
    identity: Option<&Identity>,
    target: Option<&Target>,
    transport: Transport,
    why: &str,
) -> Refusal {
    let mut event = core.event(EventKind::Refused);
    describe_identity(&mut event, identity);
    if let Some(target) = target {
        describe_target(&mut event, target, Notes::default());
    }
    event.transport = Some(transport);
    record_refusal(core, event, RefusalReason::Unsupported).await;
    Refusal::new(RefusalReason::Unsupported, why)
}

/// Records refusals over a quota: one event a second, which counts them.
async fn record_excess(core: &Core, mut facts: Event, excess: Excess) {
    match excess.told {
        Some(count) => {
            facts.count = Some(count);
            record_refusal(core, facts, RefusalReason::Quota).await;
        }
        None => core.metrics.refused(RefusalReason::Quota),
    }
}

/// Records refusals over a quota that nobody was told of in time.
pub(crate) fn record_untold(core: &Core, untold: &Untold) {
    let mut event = core.event(EventKind::Refused);
    describe_identity(&mut event, Some(&untold.identity));
    event.transport = Some(Transport::Tcp);
    event.count = Some(untold.count);
    let event = refused(core, event, RefusalReason::Quota);
    log_refusal(&event, RefusalReason::Quota);
    core.recorder.record(event);
}

/// Waits until the refusal is on record, so that whoever has its answer can look it up there.
async fn record_refusal(core: &Core, facts: Event, reason: RefusalReason) {
    core.metrics.refused(reason);
    let event = refused(core, facts, reason);
    log_refusal(&event, reason);
    // Where evidence cannot be written this waits in memory; the client is refused either way.
    let _ = core.recorder.record_and_wait(event).await;
}

/// One line for whoever reads the log of the process; the record is the event.
fn log_refusal(event: &Event, reason: RefusalReason) {
    tracing::info!(
        connection_id = event.connection_id.as_deref(),
        plugin_id = event.plugin_id.as_ref().map(tracing::field::display),
        run_id = event.run_id.as_ref().map(tracing::field::display),
        host = event.destination_host.as_ref().map(tracing::field::display),
        port = event.port.map(tracing::field::display),
        raw_target = event.raw_target.as_deref(),
        count = event.count,
        reason = %reason,
        "connection refused"
    );
}

fn refused(core: &Core, mut facts: Event, reason: RefusalReason) -> Event {
    if facts.connection_id.is_none() {
        facts.connection_id = Some(core.connection_ids.next());
    }
    facts.kind = EventKind::Refused;
    facts.decision = Some(Decision::Deny);
    facts.reason = Some(reason);
    facts
}

fn describe_target(event: &mut Event, target: &Target, notes: Notes) {
    event.destination_host = Some(target.host.clone());
    event.port = Some(target.port);
    event.raw_target = notes.raw_target;
    event.host_header = notes.host_header;
    event.stripped_headers = notes.stripped_headers;
}

fn describe_identity(event: &mut Event, identity: Option<&Identity>) {
    event.attribution = Some(identity.map_or(Attribution::None, |identity| identity.attribution));
    if let Some(identity) = identity {
        event.plugin_id = Some(identity.plugin_id.clone());
        event.artifact_digest = Some(identity.artifact_digest);
        event.run_id = Some(identity.run_id);
    }
}

fn describe_ruling(event: &mut Event, ruling: &Ruling) {
    event.decision = Some(ruling.decision);
    event.mode = Some(ruling.mode);
    event.matched_entry = ruling
        .matched_entry
        .as_ref()
        .map(|entry| base::escape_untrusted(entry.as_bytes(), MAX_RAW));
    event.would_deny = ruling.would_deny;
    event.crl_number = ruling.crl_number;
    event.crl_stale = ruling.crl_stale;
    event.policy_version = ruling.policy_version;
}

fn describe_seen(event: &mut Event, seen: Seen) {
    event.scheme = seen.scheme;
    event.sni = seen.sni;
    event.sni_visibility = seen.sni_visibility;
    event.alpn = seen.alpn;
    if seen.host_header.is_some() {
        event.host_header = seen.host_header;
    }
    event.inner_target = seen.inner_target;
    fit(event);
}

/// Shortens what others wrote until the event fits an entry, the least telling first. Whoever could
/// make an event too large to be written down could make it disappear.
fn fit(event: &mut Event) {
    /// The writer gives the number, which takes a few bytes more.
    const ROOM: usize = MAX_EVENT_BYTES - 32;
    const STEPS: [fn(&mut Event); 7] = [
        |event| event.cname_chain.iter_mut().for_each(|alias| cut(alias, 60)),
        |event| event.resolved_ips.truncate(4),
        |event| event.attempts.truncate(2),
        |event| event.stripped_headers.truncate(4),
        |event| event.host_header.iter_mut().for_each(|host| cut(host, 264)),
        |event| event.cname_chain.truncate(1),
        |event| event.alpn.iter_mut().for_each(|alpn| cut(alpn, 40)),
    ];
    let texts = [&event.host_header, &event.sni, &event.alpn, &event.inner_target];
    let texts: usize = texts
        .into_iter()
        .flatten()
        .chain(&event.cname_chain)
        .map(String::len)
        .sum();
    let lists = event.resolved_ips.len() + event.attempts.len() + event.stripped_headers.len();
    // Nearly always far below, and then nothing is written out to find that out.
    if 2 * texts + 64 * lists < ROOM / 2 {
        return;
    }
    for shorten in STEPS {
        if event.to_entry().is_ok_and(|entry| entry.len() <= ROOM) {
            return;
        }
        shorten(event);
    }
}

/// Cuts text that was escaped, and says so as escaping does.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let whole = text[..max - 2].rfind('\\').filter(|at| at + 4 > max - 2);
        text.truncate(whole.unwrap_or(max - 2));
        text.push_str("\\~");
    }
}

/// Class, and how much went which way, in powers of sixteen: enough to tell a question from an
/// upload, too little to tell what was said.
fn payload_class(ending: &Ending) -> String {
    let class = match (ending.declared, ending.seen.scheme) {
        _ if ending.bytes_out == 0 && ending.bytes_in == 0 => "empty",
        (Some(declared), _) => declared,
        (None, Some(ObservedScheme::Tls)) => "tls",
        (None, Some(ObservedScheme::Ssh)) => "ssh",
        (None, Some(ObservedScheme::Http)) => "http",
        (None, Some(ObservedScheme::Tcp) | None) => "binary",
    };
    format!(
        "{class} out{} in{}",
        size_bucket(ending.bytes_out),
        size_bucket(ending.bytes_in)
    )
}

const fn size_bucket(bytes: u64) -> &'static str {
    match bytes {
        0 => "=0",
        1..0x400 => "<1KiB",
        0x400..0x4000 => "<16KiB",
        0x4000..0x4_0000 => "<256KiB",
        0x4_0000..0x40_0000 => "<4MiB",
        0x40_0000..0x400_0000 => "<64MiB",
        0x400_0000..0x4000_0000 => "<1GiB",
        _ => ">=1GiB",
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_make_an_event_too_large_to_be_written_down() {
        let full = |text: &str, max| base::escape_untrusted(text.repeat(max).as_bytes(), max);
        for text in ["\"", "\\", "\0", "a"] {
            let mut event = Event::new(EventKind::Close, Core::now(), &"g".repeat(128));
            event.plugin_id = Some("p".repeat(128).parse().unwrap());
            event.artifact_digest = Some(format!("sha256:{}", "0".repeat(64)).parse().unwrap());
            event.run_id = Some(base::RunId::from_parts(0, [1; 10]));
            event.destination_host = Some(format!("{0}.{0}.{0}.{0}", "a".repeat(62)).parse().unwrap());
            event.via = Some("v".repeat(260));
            event.matched_entry = Some("m".repeat(260));
            event.raw_target = Some("r".repeat(260));
            event.connection_id = Some("f".repeat(33));
            event.stripped_headers = vec![full("x", 64); 12];
            event.cname_chain = vec![full(text, 256); MAX_ALIASES];
            event.resolved_ips =
                vec!["2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(); MAX_ADDRESSES];
            event.attempts = vec![
                "[2001:db8:1111:2222:3333:4444:5555:6666]:65535 unreachable"
                    .parse()
                    .unwrap();
                8
            ];
            let seen = Seen {
                sni: Some(full(text, 256)),
                alpn: Some(full(text, 128)),
                host_header: Some(full(text, MAX_RAW)),
                inner_target: Some("i".repeat(260)),
                ..Seen::of(ObservedScheme::Tls)
            };
            let named = seen.sni.clone();
            describe_seen(&mut event, seen);
            event.seq = base::json::MAX_INTEGER;
            let entry = event.to_entry();
            assert!(entry.is_ok(), "{text:?}: {entry:?}");
            assert_eq!(event.sni, named, "the name that is judged is never cut");
        }
        let mut short = "ab\\x00cd".to_owned();
        cut(&mut short, 7);
        assert_eq!(short, "ab\\~");
    }

    #[test]
    fn a_payload_class_names_class_size_and_direction() {
        let mut ending = Ending::default();
        assert_eq!(payload_class(&ending), "empty out=0 in=0");
        ending.bytes_in = 5_000;
        assert_eq!(payload_class(&ending), "binary out=0 in<16KiB");
        ending.seen = Seen::of(ObservedScheme::Tls);
        ending.bytes_out = 1 << 40;
        assert_eq!(payload_class(&ending), "tls out>=1GiB in<16KiB");
        ending.declared = Some("json");
        assert_eq!(payload_class(&ending), "json out>=1GiB in<16KiB");
    }
}
