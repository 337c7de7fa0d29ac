//! OCSF (Open Cybersecurity Schema Framework) objects, one or two for each event.
//!
//! A connection's events are Network Activity (4001), a name lookup is DNS Activity (4003) beside the
//! end of its connection, and what a gateway says about itself is a base event (0). A fact that the
//! schema has a field for goes there; every other goes into `unmapped` under its own name, so that
//! nothing is lost. What is not known is left out, and never filled in to please a dashboard.

use base::{Decision, DnsResult, Host, ObservedScheme, Outcome, SniVisibility, Transport};
use serde_json::{Map, Value, json};

use crate::{Event, EventKind, InvalidEvent};

/// The version of the schema that the objects are written to. Later 1.x versions read them too.
pub const VERSION: &str = "1.5.0";
/// The profile that says what was done about an activity.
const SECURITY_CONTROL: &str = "security_control";
/// The profile that names a proxy behind the gateway.
const NETWORK_PROXY: &str = "network_proxy";
/// Informational; what is grave is for findings to say.
const INFORMATIONAL: u8 = 1;
const MEDIUM: u8 = 3;
/// "Other": the value is in the schema's sibling text field.
const OTHER: u16 = 99;

/// An object under construction.
pub type Object = Map<String, Value>;

/// The objects that say what an entry says. `origin` is the log's name.
///
/// # Errors
/// [`InvalidEvent`] for bytes that are no event.
pub fn objects(origin: &str, entry: &[u8]) -> Result<Vec<Object>, InvalidEvent> {
    let event = Event::from_entry(entry)?;
    let rest: Object = serde_json::from_slice(entry).map_err(|error| InvalidEvent::Shape {
        detail: error.to_string(),
    })?;
    Ok(match event.kind {
        EventKind::Open
        | EventKind::Connected
        | EventKind::Progress
        | EventKind::Close
        | EventKind::Refused => {
            let lookup = lookup(origin, &event);
            let activity = network_activity(origin, &event, rest);
            lookup.into_iter().chain([activity]).collect()
        }
        EventKind::Gap
        | EventKind::Kill
        | EventKind::Start
        | EventKind::Stop
        | EventKind::Archived
        | EventKind::Pruned => {
            vec![about_gateway(origin, &event, rest)]
        }
    })
}

/// Where an object is from: the log, and this program.
pub fn metadata(origin: &str, uid: String, profiles: &[&str]) -> Object {
    let product = json!({
        "name": "Bailiwick",
        "vendor_name": "Bailiwick",
        "version": env!("CARGO_PKG_VERSION"),
    });
    let mut metadata = object([
        ("version", json!(VERSION)),
        ("product", product),
        ("uid", json!(uid)),
        ("log_name", json!(origin)),
        ("log_provider", json!("bailiwick")),
    ]);
    if !profiles.is_empty() {
        metadata.insert("profiles".to_owned(), json!(profiles));
    }
    metadata
}

/// Where somebody went: a name or an address, and a port.
pub fn endpoint(host: Option<&Host>, port: Option<base::Port>) -> Object {
    let mut endpoint = Object::new();
    match host {
        Some(Host::Name(name)) => put(&mut endpoint, "hostname", Some(name.to_string())),
        Some(Host::Ip(ip)) => put(&mut endpoint, "ip", Some(ip.to_string())),
        None => {}
    }
    put(&mut endpoint, "port", port.map(base::Port::get));
    endpoint
}

/// The members that every object has.
pub fn classified(class: u16, category: u8, activity: u16, severity: u8, time_us: i64) -> Object {
    object([
        ("class_uid", json!(class)),
        ("category_uid", json!(category)),
        ("activity_id", json!(activity)),
        ("type_uid", json!(u32::from(class) * 100 + u32::from(activity))),
        ("severity_id", json!(severity)),
        ("time", json!(time_us.div_euclid(1000))),
    ])
}

/// Adds a member where there is a value.
pub fn put<T: Into<Value>>(object: &mut Object, key: &str, value: Option<T>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), value.into());
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Object {
    members
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Where this event stands in its log.
fn provenance(origin: &str, event: &Event, profiles: &[&str], suffix: &str) -> Object {
    let mut metadata = metadata(origin, format!("{origin}/{}{suffix}", event.seq), profiles);
    metadata.insert("sequence".to_owned(), json!(event.seq));
    metadata.insert("original_time".to_owned(), json!(event.time));
    metadata.insert("event_code".to_owned(), json!(event.kind));
    put(&mut metadata, "correlation_uid", event.connection_id.clone());
    metadata
}

/// What is left of an entry once `mapped` members went elsewhere.
fn unmapped(object: &mut Object, mut rest: Object, mapped: &[&str]) {
    for key in ["gateway", "kind", "seq", "time", "v"].iter().chain(mapped) {
        rest.remove(*key);
    }
    if !rest.is_empty() {
        object.insert("unmapped".to_owned(), Value::Object(rest));
    }
}

fn network_activity(origin: &str, event: &Event, rest: Object) -> Object {
    let activity = match event.kind {
        EventKind::Open => 1,
        EventKind::Refused => 5,
        EventKind::Close => match event.outcome {
            Some(Outcome::ClientReset | Outcome::ServerReset) => 3,
            Some(outcome) if outcome.never_stood() => 4,
            _ => 2,
        },
        _ => 6,
    };
    let profiles: &[&str] = match &event.via {
        Some(_) => &[SECURITY_CONTROL, NETWORK_PROXY],
        None => &[SECURITY_CONTROL],
    };
    let mut object = classified(4001, 4, activity, INFORMATIONAL, event.time.unix_us());
    object.insert(
        "metadata".to_owned(),
        provenance(origin, event, profiles, "").into(),
    );
    put(&mut object, "duration", event.duration_ms);
    outcome(&mut object, event);
    decision(&mut object, event);
    let source = source(event);
    let (destination, mut mapped) = destination(event);
    if source.is_empty() && destination.is_empty() {
        // Whoever it was came to the gateway and no further.
        object.insert("dst_endpoint".to_owned(), json!({"name": event.gateway}));
    }
    put_unless_empty(&mut object, "src_endpoint", source);
    put_unless_empty(&mut object, "dst_endpoint", destination);
    if let Some(via) = &event.via {
        let mut proxy = match base::Target::from_authority(via.as_bytes()) {
            Ok(target) => endpoint(Some(&target.host), Some(target.port)),
            Err(_) => self::object([("name", json!(via))]),
        };
        if !proxy.contains_key("ip") {
            put(&mut proxy, "ip", event.dialed_ip.map(|ip| ip.to_string()));
            mapped.push("dialed_ip");
        }
        object.insert("proxy_endpoint".to_owned(), proxy.into());
    }
    let mut connection = self::object([("direction_id", json!(2))]);
    put(&mut connection, "uid", event.connection_id.clone());
    put(
        &mut connection,
        "protocol_name",
        event.transport.map(Transport::as_str),
    );
    put(
        &mut connection,
        "protocol_num",
        event.transport.map(|transport| match transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }),
    );
    object.insert("connection_info".to_owned(), connection.into());
    let mut traffic = Object::new();
    put(&mut traffic, "bytes_in", event.bytes_in);
    put(&mut traffic, "bytes_out", event.bytes_out);
    if let (Some(to), Some(from)) = (event.bytes_out, event.bytes_in) {
        traffic.insert("bytes".to_owned(), json!(to.saturating_add(from)));
    }
    put_unless_empty(&mut object, "traffic", traffic);
    let named = server_name(event);
    if let Some(name) = named {
        // Which version was negotiated, a gateway that opens nothing does not see.
        object.insert("tls".to_owned(), json!({"version": "unknown", "sni": name}));
    }
    put(&mut object, "app_name", event.scheme.map(ObservedScheme::as_str));
    if let Some(entry) = &event.matched_entry {
        object.insert("firewall_rule".to_owned(), json!({"name": entry}));
    }
    mapped.extend([
        "artifact_digest",
        "bytes_in",
        "bytes_out",
        "connection_id",
        "decision",
        "duration_ms",
        "matched_entry",
        "outcome",
        "plugin_id",
        "reason",
        "run_id",
        "scheme",
        "source_ip",
        "transport",
        "via",
    ]);
    mapped.extend(named.map(|_| "sni"));
    unmapped(&mut object, rest, &mapped);
    object
}

fn put_unless_empty(object: &mut Object, key: &str, member: Object) {
    if !member.is_empty() {
        object.insert(key.to_owned(), member.into());
    }
}

/// Who connected: the plugin as a service, its build, and the run as the instance.
fn source(event: &Event) -> Object {
    let mut source = Object::new();
    put(
        &mut source,
        "svc_name",
        event.plugin_id.as_ref().map(ToString::to_string),
    );
    put(
        &mut source,
        "uid",
        event.artifact_digest.map(|digest| digest.to_string()),
    );
    put(
        &mut source,
        "instance_uid",
        event.run_id.map(|run| run.to_string()),
    );
    put(&mut source, "ip", event.source_ip.map(|ip| ip.to_string()));
    source
}

/// The target asked for and the address that stands behind it, which through a parent proxy is the
/// parent's; with the fields of the event that this says.
fn destination(event: &Event) -> (Object, Vec<&'static str>) {
    let mut destination = endpoint(event.destination_host.as_ref(), event.port);
    let mut mapped = vec!["destination_host", "port"];
    if event.via.is_none() && !destination.contains_key("ip") {
        put(&mut destination, "ip", event.dialed_ip.map(|ip| ip.to_string()));
        mapped.push("dialed_ip");
    }
    // A port alone is no endpoint.
    if destination.keys().all(|key| key == "port") {
        return (Object::new(), Vec::new());
    }
    (destination, mapped)
}

/// The name in a ClientHello, where there was one.
fn server_name(event: &Event) -> Option<&String> {
    let readable = matches!(
        event.sni_visibility,
        Some(SniVisibility::Clear | SniVisibility::Ech)
    );
    event.sni.as_ref().filter(|_| readable)
}

fn outcome(object: &mut Object, event: &Event) {
    if let Some(outcome) = event.outcome {
        let (id, word) = match outcome {
            Outcome::ClientClosed | Outcome::ServerClosed | Outcome::Completed => (1, "Success"),
            Outcome::Killed | Outcome::RunEnded | Outcome::Shutdown => (OTHER, outcome.as_str()),
            _ => (2, "Failure"),
        };
        object.insert("status_id".to_owned(), json!(id));
        object.insert("status".to_owned(), json!(word));
        object.insert("status_detail".to_owned(), json!(outcome));
    }
    put(
        object,
        "status_code",
        event.reason.map(base::RefusalReason::as_str),
    );
}

fn decision(object: &mut Object, event: &Event) {
    if let Some(decision) = event.decision {
        let (action, disposition) = match decision {
            Decision::Allow => (1, 1),
            Decision::Deny => (2, 2),
        };
        object.insert("action_id".to_owned(), json!(action));
        object.insert("disposition_id".to_owned(), json!(disposition));
    }
}

/// The lookup for a connection, told once, with its end.
fn lookup(origin: &str, event: &Event) -> Option<Object> {
    let name = match &event.destination_host {
        Some(Host::Name(name)) => name.to_string(),
        _ => return None,
    };
    if !matches!(event.kind, EventKind::Close | EventKind::Refused) {
        return None;
    }
    let (activity, rcode) = match event.dns_result? {
        DnsResult::NotNeeded | DnsResult::Override | DnsResult::Parent => return None,
        DnsResult::Ok | DnsResult::NoData => (2, Some((0, "NoError"))),
        DnsResult::NxDomain => (2, Some((3, "NXDomain"))),
        DnsResult::ServFail => (2, Some((2, "ServError"))),
        DnsResult::Truncated => (2, None),
        DnsResult::Timeout | DnsResult::Failed => (1, None),
    };
    let mut object = classified(4003, 4, activity, INFORMATIONAL, event.time.unix_us());
    object.insert(
        "metadata".to_owned(),
        provenance(origin, event, &[], "/dns").into(),
    );
    put(&mut object, "duration", event.dns_ms);
    put(
        &mut object,
        "status_detail",
        event.dns_result.map(DnsResult::as_str),
    );
    if let Some((id, word)) = rcode {
        object.insert("rcode_id".to_owned(), json!(id));
        object.insert("rcode".to_owned(), json!(word));
    }
    object.insert("query".to_owned(), json!({"hostname": name}));
    let aliases = event
        .cname_chain
        .iter()
        .map(|alias| json!({"type": "CNAME", "rdata": alias}));
    let addresses = event.resolved_ips.iter().map(|ip| {
        let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
        json!({"type": kind, "rdata": ip.to_string()})
    });
    let answers: Vec<Value> = aliases.chain(addresses).collect();
    if !answers.is_empty() {
        object.insert("answers".to_owned(), answers.into());
    }
    let mut source = source(event);
    // It is the gateway that asks, for whom it may.
    source.insert("name".to_owned(), json!(event.gateway));
    object.insert("src_endpoint".to_owned(), source.into());
    Some(object)
}

fn about_gateway(origin: &str, event: &Event, rest: Object) -> Object {
    let severity = if event.kind == EventKind::Gap {
        MEDIUM
    } else {
        INFORMATIONAL
    };
    let mut object = classified(0, 0, OTHER, severity, event.time.unix_us());
    object.insert("metadata".to_owned(), provenance(origin, event, &[], "").into());
    object.insert("activity_name".to_owned(), json!(event.kind));
    put(&mut object, "message", event.cause.clone());
    put(&mut object, "count", event.count.filter(|count| *count > 0));
    unmapped(&mut object, rest, &["cause", "count"]);
    object
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;

    use super::*;
    use crate::arbitrary::sound_event;
    use crate::export::schema::Schema;

    fn all_of(event: &Event) -> Vec<Object> {
        objects("acme/gw-1", &event.to_entry().unwrap()).unwrap()
    }

    /// Every text and number somewhere in a value.
    fn leaves(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
            Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
            Value::String(text) => found.push(text.clone()),
            other => found.push(other.to_string()),
        }
    }

    proptest! {
        #[test]
        fn every_object_is_what_the_published_schema_wants(event in sound_event()) {
            let schema = Schema::read();
            for object in all_of(&event) {
                let faults = schema.faults(&object);
                prop_assert!(faults.is_empty(), "{faults:#?}\n{object:#?}");
            }
        }

        #[test]
        fn no_fact_of_an_event_is_lost(event in sound_event()) {
            let mut told = Vec::new();
            for object in all_of(&event) {
                leaves(&object.into(), &mut told);
            }
            let mut facts = Vec::new();
            let mut entry: Object = serde_json::from_slice(&event.to_entry().unwrap()).unwrap();
            // These are told in the schema's numbers, or as parts of it.
            for key in ["decision", "gateway", "transport", "v", "via"] {
                entry.remove(key);
            }
            leaves(&entry.into(), &mut facts);
            for fact in facts {
                let bare = fact.trim_matches(['[', ']']).to_owned();
                prop_assert!(told.contains(&fact) || told.contains(&bare), "{fact:?} of {event:#?}\nin {told:?}");
            }
        }
    }

    #[test]
    fn a_tunnel_reads_as_an_activity_and_a_lookup() {
        let mut event = Event::new(
            EventKind::Close,
            "2026-11-21T10:32:01.5Z".parse().unwrap(),
            "gw-1",
        );
        event.seq = 7;
        event.plugin_id = Some("acme.weather".parse().unwrap());
        event.destination_host = Some("api.weather.example".parse().unwrap());
        event.port = Some(base::Port::HTTPS);
        event.decision = Some(Decision::Allow);
        event.dns_result = Some(DnsResult::Ok);
        event.resolved_ips = vec!["192.0.2.1".parse().unwrap()];
        event.dialed_ip = Some("192.0.2.1".parse().unwrap());
        event.outcome = Some(Outcome::ServerClosed);
        event.bytes_out = Some(1);
        event.bytes_in = Some(2);
        let [lookup, activity] = all_of(&event).try_into().unwrap();
        assert_eq!(lookup["type_uid"], 400_302);
        assert_eq!(lookup["query"]["hostname"], "api.weather.example");
        assert_eq!(lookup["answers"], json!([{"type": "A", "rdata": "192.0.2.1"}]));
        assert_eq!(lookup["metadata"]["uid"], "acme/gw-1/7/dns");
        assert_eq!(activity["type_uid"], 400_102);
        assert_eq!(activity["time"], 1_795_257_121_500_i64);
        assert_eq!(activity["metadata"]["uid"], "acme/gw-1/7");
        assert_eq!(activity["src_endpoint"]["svc_name"], "acme.weather");
        assert_eq!(
            activity["dst_endpoint"],
            json!({"hostname": "api.weather.example", "ip": "192.0.2.1", "port": 443})
        );
        assert_eq!(
            activity["traffic"],
            json!({"bytes": 3, "bytes_in": 2, "bytes_out": 1})
        );
        assert_eq!(
            (&activity["action_id"], &activity["status_id"]),
            (&json!(1), &json!(1))
        );
    }

    /// `EXPORTS.md` says where each field goes; where it says `unmapped`, that is where it is.
    #[test]
    fn the_field_map_is_what_the_code_does() {
        const MAP: &str = include_str!("../../EXPORTS.md");
        let row = |field: &str| {
            let start = format!("| `{field}` | ");
            let row = MAP.lines().find_map(|line| line.strip_prefix(start.as_str()));
            row.map(|row| row.split(" | ").next().unwrap_or_default().to_owned())
        };
        let all = crate::export::csv::COLUMNS;
        for field in all {
            assert!(row(field).is_some(), "{field} has no row in EXPORTS.md");
        }
        assert_eq!(
            MAP.lines().filter(|line| line.starts_with("| `")).count(),
            all.len()
        );
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for _ in 0..300 {
            let event = sound_event().new_tree(&mut runner).unwrap().current();
            let entry: Object = serde_json::from_slice(&event.to_entry().unwrap()).unwrap();
            for object in all_of(&event).iter().filter(|object| object["class_uid"] == 4001) {
                let rest = object.get("unmapped").and_then(Value::as_object);
                for field in entry.keys() {
                    let said = row(field).unwrap().contains(&format!("`unmapped.{field}`"));
                    let is_there = rest.is_some_and(|rest| rest.contains_key(field));
                    let place_taken =
                        matches!(field.as_str(), "dialed_ip" | "port" | "sni" | "cause" | "count");
                    assert!(said == is_there || place_taken, "{field}: {object:#?}");
                }
            }
        }
    }

    #[test]
    fn a_gap_is_told_and_weighs_more_than_a_start() {
        let mut gap = Event::new(EventKind::Gap, base::Timestamp::from_unix_us(0), "gw-1");
        gap.cause = Some("disk full".to_owned());
        let [told] = all_of(&gap).try_into().unwrap();
        assert_eq!((&told["class_uid"], &told["severity_id"]), (&json!(0), &json!(3)));
        assert_eq!(told["message"], "disk full");
    }
}
