//! Visits: one connection, told as a gateway tells it.
//!
//! What is said here follows the event format, field by field, as a gateway writes it: facts are
//! repeated by every later event of a connection, and what is not known is absent.

use std::net::IpAddr;

use base::{
    ArtifactDigest, Attribution, Decision, DnsResult, Host, Mode, ObservedScheme, Outcome, PluginId,
    RefusalReason, RunId, SniVisibility, Target, Timestamp, Transport,
};
use evidence::{Event, EventKind};

/// One connection, or one attempt at it.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Everything that is known at its end.
    pub facts: Event,
    /// The gateway that saw it, by number.
    pub gateway: usize,
    /// When it was asked for.
    pub at: Timestamp,
    /// When it ended; `None` where the log ends first.
    pub ends: Option<Timestamp>,
    /// When a long tunnel said that it still stands.
    pub progress: Vec<Timestamp>,
}

impl Visit {
    /// A connection that was allowed, reached its destination, and ended well. TLS to a name carries
    /// that name.
    pub fn new(target: Target, at: Timestamp, scheme: Option<ObservedScheme>, dialed: IpAddr) -> Self {
        let mut facts = Event::new(EventKind::Close, at, "");
        facts.attribution = Some(Attribution::None);
        facts.transport = Some(Transport::Tcp);
        facts.decision = Some(Decision::Allow);
        facts.mode = Some(Mode::Observe);
        facts.crl_number = Some(1);
        facts.policy_version = Some(1);
        facts.scheme = scheme;
        match &target.host {
            Host::Name(name) => {
                facts.dns_result = Some(DnsResult::Ok);
                facts.dns_ms = Some(3);
                facts.resolved_ips = vec![dialed];
                facts.dialed_ip = Some(dialed);
                if scheme == Some(ObservedScheme::Tls) {
                    facts.sni = Some(name.to_string());
                    facts.sni_visibility = Some(SniVisibility::Clear);
                    facts.alpn = Some("h2,http/1.1".to_owned());
                }
            }
            Host::Ip(ip) => {
                facts.dns_result = Some(DnsResult::NotNeeded);
                facts.dialed_ip = Some(*ip);
                if scheme == Some(ObservedScheme::Tls) {
                    // RFC 6066 §3: an address is no server name.
                    facts.sni = Some("absent".to_owned());
                    facts.sni_visibility = Some(SniVisibility::Absent);
                }
            }
        }
        facts.destination_host = Some(target.host);
        facts.port = Some(target.port);
        facts.connect_ms = Some(8);
        facts.first_byte_ms = Some(21);
        facts.bytes_out = Some(1_400);
        facts.bytes_in = Some(5_200);
        facts.payload_class = Some("tls;out=4KiB;in=64KiB".to_owned());
        facts.outcome = Some(Outcome::ClientClosed);
        Self {
            facts,
            gateway: 0,
            at,
            ends: Some(at.plus_seconds(1)),
            progress: Vec::new(),
        }
    }

    /// Whose it was, by a proof that held.
    #[must_use]
    pub fn of(mut self, plugin_id: &PluginId, artifact: ArtifactDigest, run_id: RunId) -> Self {
        self.facts.plugin_id = Some(plugin_id.clone());
        self.facts.artifact_digest = Some(artifact);
        self.facts.run_id = Some(run_id);
        self.facts.attribution = Some(Attribution::Token);
        self
    }

    /// The name could not be resolved, so nothing left the gateway.
    #[must_use]
    pub fn unresolved(mut self, result: DnsResult) -> Self {
        self.facts.dns_result = Some(result);
        self.not_reached(Outcome::DnsFailed)
    }

    /// Nobody answered.
    #[must_use]
    pub fn unanswered(self, outcome: Outcome) -> Self {
        let resolved = self.facts.resolved_ips.clone();
        let mut visit = self.not_reached(outcome);
        visit.facts.resolved_ips = resolved;
        visit
    }

    /// Every address was below the floor.
    #[must_use]
    pub fn below_the_floor(self, resolved: Vec<IpAddr>) -> Self {
        let mut visit = self.not_reached(Outcome::FloorRefused);
        visit.facts.resolved_ips = resolved;
        visit.facts.decision = Some(Decision::Deny);
        visit.facts.reason = Some(RefusalReason::Floor);
        visit
    }

    /// The gateway refused it before it was attempted.
    #[must_use]
    pub fn refused(self, reason: RefusalReason, mode: Mode) -> Self {
        let mut visit = self.not_reached(Outcome::Error);
        visit.facts.kind = EventKind::Refused;
        visit.facts.outcome = None;
        visit.facts.dns_result = None;
        visit.facts.dns_ms = None;
        visit.facts.bytes_out = None;
        visit.facts.bytes_in = None;
        visit.facts.payload_class = None;
        visit.facts.decision = Some(Decision::Deny);
        visit.facts.reason = Some(reason);
        visit.facts.mode = Some(mode);
        visit
    }

    /// What the client wrote, where it was not the canonical target.
    #[must_use]
    pub fn written(mut self, raw: &str) -> Self {
        self.facts.raw_target = Some(raw.to_owned());
        self
    }

    /// The name found inside TLS.
    #[must_use]
    pub fn names(mut self, sni: &str) -> Self {
        self.facts.sni = Some(sni.to_owned());
        self
    }

    /// Changes any fact.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Event)) -> Self {
        change(&mut self.facts);
        self
    }

    /// From when until when.
    #[must_use]
    pub fn during(mut self, at: Timestamp, ends: Option<Timestamp>) -> Self {
        self.at = at;
        self.ends = ends;
        self
    }

    fn not_reached(mut self, outcome: Outcome) -> Self {
        let facts = &mut self.facts;
        facts.outcome = Some(outcome);
        facts.scheme = None;
        facts.sni = None;
        facts.sni_visibility = None;
        facts.alpn = None;
        facts.resolved_ips.clear();
        facts.dialed_ip = None;
        facts.connect_ms = None;
        facts.first_byte_ms = None;
        facts.bytes_out = Some(0);
        facts.bytes_in = Some(0);
        facts.payload_class = Some("empty".to_owned());
        self
    }

    /// Its events, in order, as `gateway` writes them.
    pub fn events(&self, gateway: &str, connection_id: &str) -> Vec<Event> {
        let stamped = |mut event: Event, time: Timestamp| {
            event.time = time;
            gateway.clone_into(&mut event.gateway);
            event.connection_id = Some(connection_id.to_owned());
            event
        };
        if self.facts.kind == EventKind::Refused {
            return vec![stamped(self.facts.clone(), self.at)];
        }
        let mut events = vec![stamped(self.asked(), self.at)];
        let steps = self.progress.len() as u64 + 1;
        for (step, &time) in self.progress.iter().enumerate() {
            let mut event = stamped(self.standing(), time);
            event.duration_ms = Some(milliseconds(self.at, time));
            let share = |bytes: Option<u64>| bytes.map(|bytes| bytes * (step as u64 + 1) / steps);
            event.bytes_out = share(self.facts.bytes_out);
            event.bytes_in = share(self.facts.bytes_in);
            events.push(event);
        }
        if let Some(time) = self.ends {
            let mut event = stamped(self.facts.clone(), time);
            event.duration_ms = Some(milliseconds(self.at, time));
            events.push(event);
        }
        events
    }

    /// What is known when it is asked for: who, where to, and the ruling.
    fn asked(&self) -> Event {
        let facts = &self.facts;
        let mut event = Event::new(EventKind::Open, self.at, "");
        event.attribution = facts.attribution;
        event.plugin_id.clone_from(&facts.plugin_id);
        event.artifact_digest = facts.artifact_digest;
        event.run_id = facts.run_id;
        event.transport = facts.transport;
        event.destination_host.clone_from(&facts.destination_host);
        event.port = facts.port;
        event.raw_target.clone_from(&facts.raw_target);
        event.stripped_headers.clone_from(&facts.stripped_headers);
        event.decision = Some(Decision::Allow);
        event.mode = facts.mode;
        event.would_deny = facts.would_deny;
        event.matched_entry.clone_from(&facts.matched_entry);
        event.crl_number = facts.crl_number;
        event.policy_version = facts.policy_version;
        event
    }

    fn standing(&self) -> Event {
        let mut event = self.facts.clone();
        event.kind = EventKind::Progress;
        event.outcome = None;
        event.payload_class = None;
        event
    }
}

fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from((to.unix_us() - from.unix_us()) / 1000).unwrap_or(0)
}
