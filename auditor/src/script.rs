//! Scripts: events for tests, where a test states only what matters to its claim.

use base::{
    ArtifactDigest, Attribution, Decision, DnsResult, ObservedScheme, Outcome, PluginId, RefusalReason,
    RunId, Sha256Digest, Target, Timestamp,
};
use evidence::{Event, EventKind};

use crate::observation::Who;

/// The day that tests live in, in seconds since the epoch: 2026-11-21T00:00:00Z.
pub(crate) const DAY_S: i64 = 1_795_219_200;

/// The moment `seconds` after the day began.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_us((DAY_S + seconds) * 1_000_000)
}

/// The artifact of `plugin` that tests speak of.
pub(crate) fn artifact(plugin: &str) -> ArtifactDigest {
    ArtifactDigest::new(Sha256Digest::of(format!("the bytes of {plugin}").as_bytes()))
}

/// The run `number` of `plugin`.
pub(crate) fn who(plugin: &str, number: u8) -> Who {
    Who {
        plugin_id: plugin.parse().unwrap(),
        artifact_digest: artifact(plugin),
        run_id: run(plugin, number),
    }
}

pub(crate) fn run(plugin: &str, number: u8) -> RunId {
    let digest = Sha256Digest::of(format!("{plugin} {number}").as_bytes());
    let random = digest.as_bytes()[..10].try_into().unwrap();
    RunId::from_parts(DAY_S.unsigned_abs() * 1000 + u64::from(number), random)
}

/// One event in the making.
#[derive(Clone, Debug)]
pub(crate) struct Line(pub(crate) Event);

/// An event of `gw-1`, `seconds` into the day.
pub(crate) fn event(kind: EventKind, seconds: i64) -> Line {
    Line(Event::new(kind, at(seconds), "gw-1"))
}

/// An event about the connection `id` of run 1 of `plugin` to `target`.
pub(crate) fn about(kind: EventKind, seconds: i64, id: &str, plugin: &str, target: &str) -> Line {
    let mut line = event(kind, seconds);
    line.0.connection_id = Some(id.to_owned());
    line.of(plugin, 1).to(target)
}

/// A connection that came and went: `open` and `close`.
pub(crate) fn visit(seconds: i64, id: &str, plugin: &str, target: &str) -> [Line; 2] {
    [
        about(EventKind::Open, seconds, id, plugin, target),
        about(EventKind::Close, seconds + 1, id, plugin, target).reached(100, 200),
    ]
}

impl Line {
    pub(crate) fn of(mut self, plugin: &str, number: u8) -> Self {
        let who = who(plugin, number);
        self.0.plugin_id = Some(who.plugin_id);
        self.0.artifact_digest = Some(who.artifact_digest);
        self.0.run_id = Some(who.run_id);
        self.0.attribution = Some(Attribution::Token);
        self
    }

    pub(crate) fn of_nobody(mut self) -> Self {
        self.0.plugin_id = None;
        self.0.artifact_digest = None;
        self.0.run_id = None;
        self.0.attribution = Some(Attribution::None);
        self
    }

    pub(crate) fn to(mut self, target: &str) -> Self {
        let target = Target::from_authority(target.as_bytes()).unwrap();
        self.0.destination_host = Some(target.host);
        self.0.port = Some(target.port);
        self.0.decision = Some(Decision::Allow);
        self
    }

    pub(crate) fn reached(mut self, bytes_out: u64, bytes_in: u64) -> Self {
        self.0.scheme = Some(ObservedScheme::Tls);
        self.0.dns_result = Some(DnsResult::Ok);
        self.0.dialed_ip = Some("8.8.8.8".parse().unwrap());
        self.0.resolved_ips = vec!["8.8.8.8".parse().unwrap()];
        self.0.connect_ms = Some(1);
        self.0.outcome = Some(Outcome::ServerClosed);
        self.bytes(bytes_out, bytes_in)
    }

    pub(crate) fn bytes(mut self, bytes_out: u64, bytes_in: u64) -> Self {
        self.0.bytes_out = Some(bytes_out);
        self.0.bytes_in = Some(bytes_in);
        self
    }

    pub(crate) fn failed(mut self, dns: DnsResult) -> Self {
        self.0.dns_result = Some(dns);
        self.0.outcome = Some(Outcome::DnsFailed);
        self
    }

    pub(crate) fn refused(mut self, reason: RefusalReason) -> Self {
        self.0.kind = EventKind::Refused;
        self.0.decision = Some(Decision::Deny);
        self.0.reason = Some(reason);
        self
    }

    pub(crate) fn sni(mut self, sni: &str) -> Self {
        self.0.sni = Some(sni.to_owned());
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Event)) -> Self {
        change(&mut self.0);
        self
    }

    pub(crate) fn plugin_id(&self) -> Option<&PluginId> {
        self.0.plugin_id.as_ref()
    }
}
