//! Writing events as entries, straight into a buffer.
//!
//! The keys stand below in the order of RFC 8785, so nothing is sorted, and nothing is allocated but
//! the buffer's growth. Tests hold every event to what the general canonicaliser makes of it. An
//! event's `seq` is known to the log's one writer alone; producers therefore encode a [`Draft`],
//! whose place for it is left open, and the writer does not encode at all.

use std::io::Write as _;
use std::net::IpAddr;

use base::{Host, Sha256Digest};

use crate::{Claim, Event, EventKind, InvalidEvent, MAX_EVENT_BYTES, Timeout};

/// An event as its entry will be, but for the `seq` that the log's writer gives it.
///
/// Making one is the costly part of recording an event, and any thread may do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The entry without the digits of `seq`.
    bytes: Box<[u8]>,
    kind: EventKind,
    gateway_at: u16,
    gateway_len: u16,
    seq_at: u16,
}

/// Where in an entry the writer's own parts stand.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    gateway_at: usize,
    gateway_len: usize,
    seq_at: usize,
}

/// The largest `seq` has this many digits: it stays below 2⁵³.
const SEQ_DIGITS: usize = 16;

impl Draft {
    /// Encodes `event`, whose `seq` counts for nothing.
    ///
    /// # Errors
    /// [`InvalidEvent::TooLarge`], with the largest `seq` counted in; [`InvalidEvent::Shape`] for a
    /// counter beyond 2⁵³−1.
    pub fn new(event: &Event) -> Result<Self, InvalidEvent> {
        let mut bytes = Vec::with_capacity(1024);
        let places = encode(event, None, &mut bytes)?;
        if bytes.len() + SEQ_DIGITS > MAX_EVENT_BYTES {
            return Err(InvalidEvent::TooLarge {
                bytes: bytes.len() + SEQ_DIGITS,
            });
        }
        let narrow = |at: usize| u16::try_from(at).expect("an entry has at most 4 KiB");
        Ok(Self {
            bytes: bytes.into_boxed_slice(),
            kind: event.kind,
            gateway_at: narrow(places.gateway_at),
            gateway_len: narrow(places.gateway_len),
            seq_at: narrow(places.seq_at),
        })
    }

    /// What kind of thing was seen.
    pub const fn kind(&self) -> EventKind {
        self.kind
    }

    /// How many bytes the entry will have, but for its `seq`.
    pub const fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The event with `seq` in its place.
    ///
    /// # Errors
    /// [`InvalidEvent`], where `seq` is beyond 2⁵³−1.
    pub fn event(&self, seq: u64) -> Result<Event, InvalidEvent> {
        let mut entry = Vec::with_capacity(self.bytes.len() + SEQ_DIGITS);
        self.write(seq, &mut entry);
        Event::from_entry(&entry)
    }

    /// Adds the entry to `out`.
    pub(crate) fn write(&self, seq: u64, out: &mut Vec<u8>) {
        let (before, after) = self.bytes.split_at(usize::from(self.seq_at));
        out.extend_from_slice(before);
        push_number(out, seq);
        out.extend_from_slice(after);
    }

    /// The gateway's name as it stands in the entry, escaped and between quotation marks.
    pub(crate) fn gateway(&self) -> &[u8] {
        let at = usize::from(self.gateway_at);
        &self.bytes[at..at + usize::from(self.gateway_len)]
    }
}

/// A gateway's name as it stands in entries.
pub(crate) fn encoded_gateway(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    push_text(&mut out, name);
    out
}

/// Adds the entry of `event` to `out`, with the `seq` given.
pub(crate) fn encode_entry(event: &Event, seq: u64, out: &mut Vec<u8>) -> Result<(), InvalidEvent> {
    let start = out.len();
    encode(event, Some(seq), out)?;
    let bytes = out.len() - start;
    if bytes > MAX_EVENT_BYTES {
        out.truncate(start);
        return Err(InvalidEvent::TooLarge { bytes });
    }
    Ok(())
}

/// Adds an entry, without the digits of `seq` where none is given.
fn encode(event: &Event, seq: Option<u64>, out: &mut Vec<u8>) -> Result<Places, InvalidEvent> {
    // By name and without a rest: a field that is added to events must be added here.
    let Event {
        alpn,
        artifact_digest,
        attempts,
        attribution,
        bytes_in,
        bytes_out,
        cause,
        claims,
        cname_chain,
        connect_ms,
        connection_id,
        count,
        credential_fingerprint,
        crl_number,
        crl_stale,
        decision,
        destination_host,
        dialed_ip,
        dns_ms,
        dns_result,
        duration_ms,
        entries_from,
        entries_to,
        file,
        file_sha256,
        first_byte_ms,
        gateway,
        host_header,
        inner_target,
        kind,
        matched_entry,
        mode,
        outcome,
        payload_class,
        plugin_id,
        policy_version,
        port,
        raw_target,
        reason,
        resolved_ips,
        run_id,
        scheme,
        scope,
        seq: _,
        sni,
        sni_visibility,
        source_ip,
        stripped_headers,
        time,
        timeout,
        transport,
        tunnels,
        v,
        via,
        would_deny,
    } = event;
    let counters = [
        *bytes_in,
        *bytes_out,
        *connect_ms,
        *count,
        *crl_number,
        *dns_ms,
        *duration_ms,
        *entries_from,
        *entries_to,
        *first_byte_ms,
        *policy_version,
        *tunnels,
        seq,
    ];
    if counters
        .iter()
        .flatten()
        .any(|&counter| counter > base::json::MAX_INTEGER)
    {
        return Err(InvalidEvent::Shape {
            detail: "a counter is beyond 2^53-1".to_owned(),
        });
    }
    let start = out.len();
    let mut places = Places::default();
    let mut object = Object { out };
    object.text("alpn", alpn.as_deref());
    object.with("artifact_digest", artifact_digest.as_ref(), |out, digest| {
        push_digest(out, digest.sha256())
    });
    object.list("attempts", attempts, |out, attempt| {
        push_text(out, &attempt.to_string())
    });
    object.word("attribution", attribution.map(base::Attribution::as_str));
    object.number("bytes_in", *bytes_in);
    object.number("bytes_out", *bytes_out);
    object.text("cause", cause.as_deref());
    object.list("claims", claims, push_claim);
    object.list("cname_chain", cname_chain, |out, name| push_text(out, name));
    object.number("connect_ms", *connect_ms);
    object.text("connection_id", connection_id.as_deref());
    object.number("count", *count);
    object.text("credential_fingerprint", credential_fingerprint.as_deref());
    object.number("crl_number", *crl_number);
    object.flag("crl_stale", crl_stale.then_some(true));
    object.word("decision", decision.map(base::Decision::as_str));
    object.with("destination_host", destination_host.as_ref(), push_host);
    object.with("dialed_ip", dialed_ip.as_ref(), push_ip);
    object.number("dns_ms", *dns_ms);
    object.word("dns_result", dns_result.map(base::DnsResult::as_str));
    object.number("duration_ms", *duration_ms);
    object.number("entries_from", *entries_from);
    object.number("entries_to", *entries_to);
    object.text("file", file.as_deref());
    object.with("file_sha256", file_sha256.as_ref(), push_digest);
    object.number("first_byte_ms", *first_byte_ms);
    object.key("gateway");
    places.gateway_at = object.out.len() - start;
    push_text(object.out, gateway);
    places.gateway_len = object.out.len() - start - places.gateway_at;
    object.text("host_header", host_header.as_deref());
    object.text("inner_target", inner_target.as_deref());
    object.word("kind", Some(kind_word(*kind)));
    object.text("matched_entry", matched_entry.as_deref());
    object.word("mode", mode.map(base::Mode::as_str));
    object.word("outcome", outcome.map(base::Outcome::as_str));
    object.text("payload_class", payload_class.as_deref());
    object.word("plugin_id", plugin_id.as_ref().map(base::PluginId::as_str));
    object.number("policy_version", *policy_version);
    object.number("port", port.map(|port| u64::from(port.get())));
    object.text("raw_target", raw_target.as_deref());
    object.word("reason", reason.map(base::RefusalReason::as_str));
    object.list("resolved_ips", resolved_ips, push_ip);
    object.with("run_id", run_id.as_ref(), |out, run| {
        push_uuid(out, run.as_bytes())
    });
    object.word("scheme", scheme.map(base::ObservedScheme::as_str));
    object.text("scope", scope.as_deref());
    object.key("seq");
    places.seq_at = object.out.len() - start;
    if let Some(seq) = seq {
        push_number(object.out, seq);
    }
    object.text("sni", sni.as_deref());
    object.word("sni_visibility", sni_visibility.map(base::SniVisibility::as_str));
    object.with("source_ip", source_ip.as_ref(), push_ip);
    object.list("stripped_headers", stripped_headers, |out, name| {
        push_text(out, name)
    });
    object.key("time");
    push_word(object.out, &time.to_ascii());
    object.word("timeout", timeout.map(timeout_word));
    object.word("transport", transport.map(base::Transport::as_str));
    object.number("tunnels", *tunnels);
    object.number("v", Some(u64::from(*v)));
    object.text("via", via.as_deref());
    object.flag("would_deny", *would_deny);
    out.push(b'}');
    out[start] = b'{';
    Ok(places)
}

/// Writes fields that are there and leaves out those that are not. The comma before the first field
/// is where the brace belongs.
struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl Object<'_> {
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn with<T>(&mut self, key: &str, value: Option<&T>, push: impl FnOnce(&mut Vec<u8>, &T)) {
        if let Some(value) = value {
            self.key(key);
            push(self.out, value);
        }
    }

    fn text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.key(key);
            push_text(self.out, text);
        }
    }

    /// A word that needs no escaping.
    fn word(&mut self, key: &str, word: Option<&str>) {
        if let Some(word) = word {
            self.key(key);
            push_word(self.out, word.as_bytes());
        }
    }

    fn number(&mut self, key: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.key(key);
            push_number(self.out, number);
        }
    }

    fn flag(&mut self, key: &str, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.key(key);
            self.out.extend_from_slice(if flag { b"true" } else { b"false" });
        }
    }

    fn list<T>(&mut self, key: &str, items: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
        if items.is_empty() {
            return;
        }
        self.key(key);
        self.out.push(b'[');
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.out.push(b',');
            }
            push(self.out, item);
        }
        self.out.push(b']');
    }
}

/// The one spelling of a kind, as serde writes it.
pub(crate) const fn kind_word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Open => "open",
        EventKind::Connected => "connected",
        EventKind::Progress => "progress",
        EventKind::Close => "close",
        EventKind::Refused => "refused",
        EventKind::Gap => "gap",
        EventKind::Kill => "kill",
        EventKind::Start => "start",
        EventKind::Stop => "stop",
        EventKind::Archived => "archived",
        EventKind::Pruned => "pruned",
    }
}

/// The one spelling of a timeout, as serde writes it.
pub(crate) const fn timeout_word(timeout: Timeout) -> &'static str {
    match timeout {
        Timeout::Head => "head",
        Timeout::Dns => "dns",
        Timeout::Connect => "connect",
        Timeout::Idle => "idle",
        Timeout::Total => "total",
    }
}

fn push_claim(out: &mut Vec<u8>, claim: &Claim) {
    let Claim {
        artifact_digest,
        attribution,
        run_id,
    } = claim;
    out.extend_from_slice(b"{\"artifact_digest\":");
    push_digest(out, artifact_digest.sha256());
    out.extend_from_slice(b",\"attribution\":");
    push_word(out, attribution.as_str().as_bytes());
    out.extend_from_slice(b",\"run_id\":");
    push_uuid(out, run_id.as_bytes());
    out.push(b'}');
}

fn push_word(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(word);
    out.push(b'"');
}

/// RFC 8785 §3.2.2.2: the short escapes where there are any, `\u00xx` for other controls, everything
/// else as it is.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        out.extend_from_slice(&rest[..at]);
        let short = match rest[at] {
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            plain @ (b'"' | b'\\') => plain,
            control => {
                let digits = hex_digits(control);
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
                rest = &rest[at + 1..];
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("a digit is below ten");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

const fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

fn push_digest(out: &mut Vec<u8>, digest: &Sha256Digest) {
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest.as_bytes()) {
        pair.copy_from_slice(&hex_digits(*byte));
    }
    out.extend_from_slice(b"\"sha256:");
    out.extend_from_slice(&digits);
    out.push(b'"');
}

/// RFC 9562 §4: groups of 4, 2, 2, 2 and 6 bytes.
fn push_uuid(out: &mut Vec<u8>, bytes: &[u8; 16]) {
    out.push(b'"');
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&hex_digits(*byte));
    }
    out.push(b'"');
}

fn push_host(out: &mut Vec<u8>, host: &Host) {
    match host {
        Host::Name(name) => push_word(out, name.as_str().as_bytes()),
        Host::Ip(ip) => push_ip(out, ip),
    }
}

fn push_ip(out: &mut Vec<u8>, ip: &IpAddr) {
    out.push(b'"');
    match ip {
        IpAddr::V4(ip) => {
            for (position, octet) in ip.octets().into_iter().enumerate() {
                if position > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(octet));
            }
        }
        // The library knows which zeroes to leave out (RFC 5952).
        IpAddr::V6(ip) => write!(out, "{ip}").expect("writing to memory cannot fail"),
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::any_event;

    proptest! {
        #[test]
        fn entries_are_byte_for_byte_what_the_canonicaliser_makes_of_events(event in any_event()) {
            match (event.to_entry(), base::json::canonical(&event)) {
                (Ok(entry), canonical) => {
                    prop_assert_eq!(String::from_utf8(entry.clone()), String::from_utf8(canonical.unwrap()));
                    prop_assert_eq!(Event::from_entry(&entry), Ok(event));
                }
                (Err(InvalidEvent::TooLarge { bytes }), canonical) => {
                    prop_assert!(bytes > MAX_EVENT_BYTES);
                    prop_assert_eq!(canonical.unwrap().len(), bytes);
                }
                (Err(_), canonical) => prop_assert!(canonical.is_err()),
            }
        }

        #[test]
        fn a_draft_is_the_entry_once_it_has_its_seq(event in any_event(), seq in 0..=base::json::MAX_INTEGER) {
            let numbered = Event { seq, ..event.clone() };
            if let (Ok(draft), Ok(entry)) = (Draft::new(&event), numbered.to_entry()) {
                let mut written = Vec::new();
                draft.write(seq, &mut written);
                prop_assert_eq!(written, entry);
                prop_assert_eq!(draft.gateway(), encoded_gateway(&event.gateway));
                prop_assert_eq!(draft.event(seq), Ok(numbered));
            }
        }
    }

    #[test]
    fn kinds_and_timeouts_are_spelt_as_serde_spells_them() {
        for &kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind_word(kind));
        }
        for &timeout in Timeout::ALL {
            assert_eq!(serde_json::to_value(timeout).unwrap(), timeout_word(timeout));
        }
    }
}
