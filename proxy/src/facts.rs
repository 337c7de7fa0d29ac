//! Facts: what an event says about a connection, taken from what the rooms of this crate know.
//!
//! An event has a largest size, and much of what it says was written by others. So whatever comes in
//! here is escaped, bounded and, where it is still too much together, cut.

use std::net::SocketAddr;
use std::time::Duration;

use base::{Attribution, ObservedScheme, Target};
use evidence::{Event, MAX_EVENT_BYTES};

use crate::attempt::Ending;
use crate::identity::Identity;
use crate::names::Lookup;
use crate::notes::{MAX_RAW, Notes};
use crate::ruling::Ruling;
use crate::sniff::Seen;

/// Addresses and aliases that an event lists; an entry has a largest size.
const MAX_ADDRESSES: usize = 16;
const MAX_ALIASES: usize = 4;

pub(crate) fn describe_target(event: &mut Event, target: &Target, notes: Notes) {
    event.destination_host = Some(target.host.clone());
    event.port = Some(target.port);
    event.raw_target = notes.raw_target;
    event.host_header = notes.host_header;
    event.stripped_headers = notes.stripped_headers;
}

pub(crate) fn describe_identity(event: &mut Event, identity: Option<&Identity>) {
    event.attribution = Some(identity.map_or(Attribution::None, |identity| identity.attribution));
    if let Some(identity) = identity {
        event.plugin_id = Some(identity.plugin_id.clone());
        event.artifact_digest = Some(identity.artifact_digest);
        event.run_id = Some(identity.run_id);
    }
}

pub(crate) fn describe_ruling(event: &mut Event, ruling: &Ruling) {
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

pub(crate) fn describe_lookup(event: &mut Event, lookup: &Lookup) {
    event.dns_result = Some(lookup.result);
    if lookup.elapsed > Duration::ZERO {
        event.dns_ms = Some(milliseconds(lookup.elapsed));
    }
    let ips = lookup.addresses.iter().map(SocketAddr::ip);
    event.resolved_ips = ips.take(MAX_ADDRESSES).collect();
    let aliases = lookup.cname_chain.iter().take(MAX_ALIASES);
    event.cname_chain = aliases
        .map(|alias| base::escape_untrusted(alias.as_bytes(), 256))
        .collect();
}

pub(crate) fn describe_seen(event: &mut Event, seen: Seen) {
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
pub(crate) fn payload_class(ending: &Ending) -> String {
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

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use evidence::EventKind;

    use super::*;
    use crate::core::Core;

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
