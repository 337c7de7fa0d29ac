//! Events: one thing that the gateway saw, as one entry of the evidence log.
//!
//! An entry is canonical JSON (RFC 8785) of at most 4 KiB, written by [`crate::encode`]. Reading is
//! strict: an entry that would not be written back byte for byte is not an event.
//!
//! No body byte, path, query, header value other than those named, or credential has a field here.

use std::net::IpAddr;

use base::{
    ArtifactDigest, Attribution, Decision, DialAttempt, DnsResult, Host, Mode, ObservedScheme, Outcome,
    PluginId, Port, RefusalReason, RunId, Sha256Digest, SniVisibility, Timestamp, Transport,
};
use serde::{Deserialize, Serialize};

use crate::encode::encode_entry;

/// The largest entry, in bytes.
pub const MAX_EVENT_BYTES: usize = 4096;
/// The version of the event format, in every event's `v`.
pub const EVENT_VERSION: u32 = 1;

/// What kind of thing was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A connection was asked for and will be attempted; written before the first byte leaves.
    Open,
    /// The upstream connection stands. May be left out where `close` carries the same facts.
    Connected,
    /// A long tunnel is still open.
    Progress,
    /// A connection ended.
    Close,
    /// A connection was refused.
    Refused,
    /// Something is missing from this log, and this entry says so.
    Gap,
    /// Live tunnels were cut.
    Kill,
    /// The gateway started.
    Start,
    /// The gateway stopped in good order.
    Stop,
    /// Entries were sealed into an archive file.
    Archived,
    /// Entries are no longer kept beside their hashes: the archive has them. With the scope `archive` they
    /// expired there, too, and only their hashes are left.
    Pruned,
}

impl EventKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Open,
        Self::Connected,
        Self::Progress,
        Self::Close,
        Self::Refused,
        Self::Gap,
        Self::Kill,
        Self::Start,
        Self::Stop,
        Self::Archived,
        Self::Pruned,
    ];
}

/// Whether the connection of this id was made by the process whose `session` this is.
///
/// A process begins the ids of its connections with its session's name and a hyphen. Two of them can
/// have connections at one time, while one takes over from the other; then their `start`, `stop` and
/// `gap` name the session that they are about.
pub fn is_of_session(connection_id: &str, session: &str) -> bool {
    let rest = connection_id.strip_prefix(session);
    rest.is_some_and(|rest| rest.starts_with('-'))
}

/// What ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timeout {
    /// The request head.
    Head,
    /// The name lookup.
    Dns,
    /// The upstream connection.
    Connect,
    /// An idle connection.
    Idle,
    /// The connection's whole life.
    Total,
}

impl Timeout {
    /// Everything that can run out of time.
    pub const ALL: &'static [Self] = &[Self::Head, Self::Dns, Self::Connect, Self::Idle, Self::Total];
}

/// What one proof of identity says: one of several that do not name one run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The build that it names.
    pub artifact_digest: ArtifactDigest,
    /// What kind of proof it is.
    pub attribution: Attribution,
    /// The run that it names.
    pub run_id: RunId,
}

/// One thing that the gateway saw. Absent facts are absent, never made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Application protocols offered in the ClientHello (RFC 7301), joined by commas, escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// The artifact that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_digest: Option<ArtifactDigest>,
    /// Every address dialled and what became of it, in the order of dialling. Left out where the first
    /// one answered: then `dialed_ip` says it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<DialAttempt>,
    /// How the run was known; present wherever a connection is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// Bytes relayed from the destination to the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes relayed from the plugin to the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// `gap`: what happened, in words of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What each proof of identity says, where they do not name one run together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// CNAMEs followed, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cname_chain: Vec<String>,
    /// Milliseconds from first dial to established connection; through a parent proxy, to its consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// Ties the events of one connection together; unique within the gateway's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<String>,
    /// `gap`: events known to be missing, where a number is known. `archived`, `pruned`: rows, entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Refused credentials by fingerprint, never by value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_fingerprint: Option<String>,
    /// The revocation list that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_number: Option<u64>,
    /// The revocation list that was asked is past its `next_update`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub crl_stale: bool,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Where the client asked to go: the canonical host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_host: Option<Host>,
    /// The address that was connected; through a parent proxy, the parent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialed_ip: Option<IpAddr>,
    /// Milliseconds for the name lookup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_ms: Option<u64>,
    /// How the name lookup ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_result: Option<DnsResult>,
    /// Milliseconds from accepted request to end, by the monotonic clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// `archived`, `pruned`: the first entry concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_from: Option<u64>,
    /// `archived`, `pruned`: the entry after the last one concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_to: Option<u64>,
    /// `archived`: the file, below the archive's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// `archived`: the SHA-256 of the file's bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_sha256: Option<Sha256Digest>,
    /// Milliseconds from the established connection to the destination's first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// Which gateway saw it.
    pub gateway: String,
    /// The Host header of plain HTTP, escaped: of a request with an absolute target where it differs
    /// from that; of the first request inside a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
    /// Where a request in the clear, inside a tunnel, asks to be taken on from there: the destination
    /// is a proxy, and what it does further on cannot be seen. `unparsed` where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_target: Option<String>,
    /// What kind of thing was seen.
    pub kind: EventKind,
    /// The declaration or operator's entry that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_entry: Option<String>,
    /// The mode in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Why the connection ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Class and size bucket of what was relayed, never contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_class: Option<String>,
    /// The plugin that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// The policy that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<u64>,
    /// The port asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// What the client wrote, escaped, where it differs from the canonical target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_target: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RefusalReason>,
    /// Every address that the lookup gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved_ips: Vec<IpAddr>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// What was spoken, from the first bytes; absent while nobody spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<ObservedScheme>,
    /// `kill`: a digest, a plugin id, a run id or `*`. `start`: the session that goes on beside the one
    /// that begins. `stop`, `gap`: the one session that ended; absent where everything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The entry's index in the log; given by the one writer.
    pub seq: u64,
    /// The server name in the ClientHello (RFC 6066 §3), lower case, escaped; `absent` and
    /// `unparsed` when TLS was spoken without a readable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// For TLS: what can be said about the server name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni_visibility: Option<SniVisibility>,
    /// `refused`: where somebody came from who may not come in that way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<IpAddr>,
    /// Names of identity headers that the client sent and the gateway removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stripped_headers: Vec<String>,
    /// When it was seen, by the wall clock.
    pub time: Timestamp,
    /// What ran out of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// What carried the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// `kill`: tunnels cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels: Option<u64>,
    /// The version of this format.
    pub v: u32,
    /// The parent proxy that the connection went through, as host and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// What the low tier would have done with this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<bool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Why bytes are not an event, or an event cannot be an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// Larger than [`MAX_EVENT_BYTES`].
    #[error("the event has {bytes} bytes, more than the {MAX_EVENT_BYTES} allowed")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
    },
    /// Not an event.
    #[error("not an event: {detail}")]
    Shape {
        /// What the reader met.
        detail: String,
    },
    /// An event, written differently than we write it.
    #[error("not in canonical form")]
    NotCanonical,
    /// A version that this program does not know.
    #[error("event version {found} is not known; this program reads {EVENT_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
}

impl Event {
    /// An event that says nothing yet but what kind, when and by whom. `seq` is the writer's to give.
    pub fn new(kind: EventKind, time: Timestamp, gateway: &str) -> Self {
        Self {
            alpn: None,
            artifact_digest: None,
            attempts: Vec::new(),
            attribution: None,
            bytes_in: None,
            bytes_out: None,
            cause: None,
            claims: Vec::new(),
            cname_chain: Vec::new(),
            connect_ms: None,
            connection_id: None,
            count: None,
            credential_fingerprint: None,
            crl_number: None,
            crl_stale: false,
            decision: None,
            destination_host: None,
            dialed_ip: None,
            dns_ms: None,
            dns_result: None,
            duration_ms: None,
            entries_from: None,
            entries_to: None,
            file: None,
            file_sha256: None,
            first_byte_ms: None,
            gateway: gateway.to_owned(),
            host_header: None,
            inner_target: None,
            kind,
            matched_entry: None,
            mode: None,
            outcome: None,
            payload_class: None,
            plugin_id: None,
            policy_version: None,
            port: None,
            raw_target: None,
            reason: None,
            resolved_ips: Vec::new(),
            run_id: None,
            scheme: None,
            scope: None,
            seq: 0,
            sni: None,
            sni_visibility: None,
            source_ip: None,
            stripped_headers: Vec::new(),
            time,
            timeout: None,
            transport: None,
            tunnels: None,
            v: EVENT_VERSION,
            via: None,
            would_deny: None,
        }
    }

    /// Whether this event says that the connection `connection_id`, opened earlier in this log, does not
    /// stand any more: its process ended, in good order (`stop`) or not (`start`, `gap`).
    pub fn ends(&self, connection_id: &str) -> bool {
        match (self.kind, self.scope.as_deref()) {
            (EventKind::Start | EventKind::Stop, None) => true,
            (EventKind::Start, Some(session)) => !is_of_session(connection_id, session),
            (EventKind::Stop | EventKind::Gap, Some(session)) => is_of_session(connection_id, session),
            _ => false,
        }
    }

    /// The entry's bytes.
    ///
    /// # Errors
    /// [`InvalidEvent::TooLarge`]; [`InvalidEvent::Shape`] for a counter beyond 2⁵³−1.
    pub fn to_entry(&self) -> Result<Vec<u8>, InvalidEvent> {
        let mut bytes = Vec::with_capacity(1024);
        encode_entry(self, self.seq, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`InvalidEvent`]; `NotCanonical` for whatever would not be written back byte for byte.
    pub fn from_entry(entry: &[u8]) -> Result<Self, InvalidEvent> {
        if entry.len() > MAX_EVENT_BYTES {
            return Err(InvalidEvent::TooLarge { bytes: entry.len() });
        }
        let event: Self = serde_json::from_slice(entry).map_err(|e| InvalidEvent::Shape {
            detail: e.to_string(),
        })?;
        if event.v != EVENT_VERSION {
            return Err(InvalidEvent::Version { found: event.v });
        }
        if event.to_entry()? != entry {
            Err(InvalidEvent::NotCanonical)
        } else {
            Ok(event)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Event {
        let mut event = Event::new(
            EventKind::Close,
            "2026-11-21T10:32:01.5Z".parse().unwrap(),
            "gw-1",
        );
        event.alpn = Some("h2,http/1.1".into());
        event.attempts = vec![
            "[2001:db8::1]:443 refused".parse().unwrap(),
            "192.0.2.1:443 connected".parse().unwrap(),
        ];
        event.attribution = Some(Attribution::Token);
        event.bytes_in = Some(10);
        event.bytes_out = Some(base::json::MAX_INTEGER);
        event.claims = vec![Claim {
            artifact_digest: ArtifactDigest::new(base::Sha256Digest::of(b"build")),
            attribution: Attribution::Listener,
            run_id: RunId::from_parts(1, [2; 10]),
        }];
        event.source_ip = Some("192.0.2.9".parse().unwrap());
        event.cname_chain = vec!["a.example".into()];
        event.connection_id = Some("01".into());
        event.crl_stale = true;
        event.decision = Some(Decision::Allow);
        event.destination_host = Some("example.com".parse().unwrap());
        event.dialed_ip = Some("192.0.2.1".parse().unwrap());
        event.dns_result = Some(DnsResult::Ok);
        event.first_byte_ms = Some(12);
        event.inner_target = Some("b.example:443".into());
        event.sni = Some("example.com".into());
        event.sni_visibility = Some(SniVisibility::Ech);
        event.via = Some("proxy.acme.example:3128".into());
        event.host_header = Some("\u{8}\t\n\u{c}\r\"\\/\u{1f}\u{7f}é€😀".into());
        event.outcome = Some(Outcome::ServerClosed);
        event.plugin_id = Some("acme.weather".parse().unwrap());
        event.port = Some(Port::HTTPS);
        event.resolved_ips = vec!["2001:db8::1".parse().unwrap()];
        event.scheme = Some(ObservedScheme::Tls);
        event.timeout = Some(Timeout::Idle);
        event.would_deny = Some(false);
        event
    }

    #[test]
    fn plain_serialisation_is_the_canonical_form() {
        for event in [
            full(),
            Event::new(EventKind::Start, Timestamp::from_unix_us(0), "gw-1"),
        ] {
            let entry = event.to_entry().unwrap();
            assert_eq!(base::json::canonical(&event).unwrap(), entry);
            assert_eq!(Event::from_entry(&entry).unwrap(), event);
        }
    }

    /// One entry with a field of every kind, as it has to be written for ever.
    #[test]
    fn an_entry_is_written_as_it_always_was() {
        const GOLDEN: &str = include_str!("../../tests/vectors/evidence/event-in-full.json");
        assert_eq!(
            String::from_utf8(full().to_entry().unwrap()).unwrap(),
            GOLDEN.trim_end()
        );
    }

    #[test]
    fn an_entry_written_otherwise_is_no_event() {
        let entry = String::from_utf8(full().to_entry().unwrap()).unwrap();
        let spaced = entry.replacen(':', ": ", 1);
        assert_eq!(
            Event::from_entry(spaced.as_bytes()),
            Err(InvalidEvent::NotCanonical)
        );
        let explicit = entry.replacen("\"crl_stale\":true", "\"crl_stale\":false", 1);
        assert_eq!(
            Event::from_entry(explicit.as_bytes()),
            Err(InvalidEvent::NotCanonical)
        );
        let upper = entry.replacen("example.com", "EXAMPLE.com", 1);
        assert_eq!(
            Event::from_entry(upper.as_bytes()),
            Err(InvalidEvent::NotCanonical)
        );
        let newer = entry.replacen("\"v\":1", "\"v\":2", 1);
        assert_eq!(
            Event::from_entry(newer.as_bytes()),
            Err(InvalidEvent::Version { found: 2 })
        );
        let extra = entry.replacen("\"v\":1", "\"v\":1,\"w\":1", 1);
        assert!(matches!(
            Event::from_entry(extra.as_bytes()),
            Err(InvalidEvent::Shape { .. })
        ));
        assert!(Event::from_entry(&entry.as_bytes()[1..]).is_err());
    }

    #[test]
    fn a_process_ends_its_own_connections_and_those_of_nobody_beside_it() {
        let event = |kind, scope: Option<&str>| {
            let mut event = Event::new(kind, Timestamp::from_unix_us(0), "gw-1");
            event.scope = scope.map(str::to_owned);
            event
        };
        for (kind, scope, ends) in [
            (EventKind::Start, None, [true, true]),
            (EventKind::Stop, None, [true, true]),
            (EventKind::Gap, None, [false, false]),
            // Session `a` goes on.
            (EventKind::Start, Some("a"), [false, true]),
            (EventKind::Stop, Some("a"), [true, false]),
            (EventKind::Gap, Some("a"), [true, false]),
            (EventKind::Kill, Some("a"), [false, false]),
            (EventKind::Close, None, [false, false]),
        ] {
            let event = event(kind, scope);
            assert_eq!(
                ["a-1", "ab-1"].map(|id| event.ends(id)),
                ends,
                "{kind:?} {scope:?}"
            );
        }
    }

    #[test]
    fn an_event_has_a_largest_size() {
        let mut event = full();
        event.raw_target = Some("a".repeat(MAX_EVENT_BYTES));
        assert!(matches!(event.to_entry(), Err(InvalidEvent::TooLarge { .. })));
    }
}
