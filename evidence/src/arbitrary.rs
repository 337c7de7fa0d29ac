//! Events of every shape, for property tests.

use std::net::IpAddr;

use base::{
    ArtifactDigest, Attribution, Decision, DialAttempt, DialResult, DnsResult, Host, Mode, ObservedScheme,
    Outcome, PluginId, Port, RefusalReason, RunId, Sha256Digest, SniVisibility, Timestamp, Transport,
};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Claim, Event, EventKind, Timeout};

/// Any event at all, some of which are too large or count too far to be entries.
pub(crate) fn any_event() -> BoxedStrategy<Event> {
    let text = "(?s).{0,24}";
    let ip = any::<IpAddr>();
    let number = prop_oneof![any::<u64>().prop_map(|n| n >> 11), 0_u64..100, any::<u64>()];
    event(text, ip.boxed(), number.boxed(), any::<i64>().boxed())
}

/// An event such as gateways write all day.
pub(crate) fn plain_event() -> BoxedStrategy<Event> {
    let ip = any::<std::net::Ipv4Addr>().prop_map(IpAddr::V4);
    // 2026, but for the leap day that it has not.
    let moment = 1_767_225_600_000_000_i64..1_798_761_600_000_000;
    event(
        r#"[ -~]{0,24}"#,
        ip.boxed(),
        (0..1_u64 << 48).boxed(),
        moment.boxed(),
    )
    .prop_map(|mut event| {
        event.gateway.retain(|c| c.is_ascii_alphanumeric());
        event.attempts.clear();
        event.claims.clear();
        event
    })
    .boxed()
}

fn event(
    text: &'static str,
    ip: BoxedStrategy<IpAddr>,
    number: BoxedStrategy<u64>,
    moment: BoxedStrategy<i64>,
) -> BoxedStrategy<Event> {
    let host = prop_oneof![
        "[a-z][a-z0-9_]{0,8}(\\.[a-z0-9]{1,6}){0,2}\\.[a-z]{2,6}".prop_map(|name| name.parse().unwrap()),
        ip.clone().prop_map(Host::from),
    ];
    let plugin = "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?".prop_map(|id| id.parse::<PluginId>().unwrap());
    let digest = any::<[u8; 32]>().prop_map(|bytes| ArtifactDigest::new(Sha256Digest::from_bytes(bytes)));
    let run = (0..1_u64 << 48, any::<[u8; 10]>()).prop_map(|(ms, random)| RunId::from_parts(ms, random));
    let port = (1..=u16::MAX).prop_map(|port| Port::try_from(port).unwrap());
    let word = || of(text);
    let count = || of(number.clone());
    let basics = (
        select(EventKind::ALL),
        moment,
        "[a-z0-9\\\\\"é]{1,9}",
        number.clone(),
    );
    let texts = (
        (word(), word(), word(), word(), word(), word()),
        (word(), word(), word(), word(), word(), word()),
        prop::collection::vec(text, 0..3),
        prop::collection::vec(text, 0..3),
    );
    let counters = (
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
        count(),
    );
    let words = (
        of(select(Attribution::ALL)),
        of(select(Decision::ALL)),
        of(select(DnsResult::ALL)),
        of(select(Mode::ALL)),
        of(select(Outcome::ALL)),
        of(select(RefusalReason::ALL)),
        of(select(ObservedScheme::ALL)),
        of(select(Transport::ALL)),
        of(select(Timeout::ALL)),
    );
    let values = (
        of(host),
        of(ip.clone()),
        prop::collection::vec(ip.clone(), 0..3),
        of(plugin),
        of(digest.clone()),
        of(run.clone()),
        of(port),
        any::<bool>(),
        of(any::<bool>()),
    );
    let attempt = (any::<std::net::SocketAddr>(), select(DialResult::ALL)).prop_map(|(address, result)| {
        // An address is written without its zone and flow, and read back so.
        let address = std::net::SocketAddr::new(address.ip(), address.port());
        DialAttempt { address, result }
    });
    let claim =
        (digest, select(Attribution::ALL), run).prop_map(|(artifact_digest, attribution, run_id)| Claim {
            artifact_digest,
            attribution,
            run_id,
        });
    let naming = (prop::collection::vec(claim, 0..3), of(ip));
    let sha256 = any::<[u8; 32]>().prop_map(Sha256Digest::from_bytes);
    let filing = (count(), count(), word(), of(sha256));
    let dialling = (
        prop::collection::vec(attempt, 0..3),
        of(select(SniVisibility::ALL)),
    );
    (basics, texts, counters, words, values, dialling, naming, filing)
        .prop_map(
            |(basics, texts, counters, words, values, dialling, naming, filing)| {
                let mut event = Event::new(basics.0, Timestamp::from_unix_us(basics.1), &basics.2);
                event.seq = basics.3;
                (
                    event.alpn,
                    event.cause,
                    event.connection_id,
                    event.credential_fingerprint,
                    event.host_header,
                    event.matched_entry,
                ) = texts.0;
                (
                    event.payload_class,
                    event.raw_target,
                    event.scope,
                    event.sni,
                    event.inner_target,
                    event.via,
                ) = texts.1;
                event.cname_chain = texts.2;
                event.stripped_headers = texts.3;
                (
                    event.bytes_in,
                    event.bytes_out,
                    event.connect_ms,
                    event.count,
                    event.crl_number,
                    event.dns_ms,
                    event.duration_ms,
                    event.first_byte_ms,
                    event.policy_version,
                    event.tunnels,
                ) = counters;
                (
                    event.attribution,
                    event.decision,
                    event.dns_result,
                    event.mode,
                    event.outcome,
                    event.reason,
                    event.scheme,
                    event.transport,
                    event.timeout,
                ) = words;
                (
                    event.destination_host,
                    event.dialed_ip,
                    event.resolved_ips,
                    event.plugin_id,
                    event.artifact_digest,
                    event.run_id,
                    event.port,
                    event.crl_stale,
                    event.would_deny,
                ) = values;
                (event.attempts, event.sni_visibility) = dialling;
                (event.claims, event.source_ip) = naming;
                (
                    event.entries_from,
                    event.entries_to,
                    event.file,
                    event.file_sha256,
                ) = filing;
                event
            },
        )
        .boxed()
}
