//! The egress grammar against its golden files and against a slow, obviously correct matcher.

// Helpers of tests may fail loudly, as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::IpAddr;

use bailiwick_manifests::egress::Entry;
use base::{Host, ObservedScheme, Target};
use proptest::prelude::*;
use serde_json::Value;

fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/vectors/manifests/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// `host:port scheme`, with `-` where nobody spoke yet.
fn connection(text: &str) -> (Target, Option<ObservedScheme>) {
    let (authority, scheme) = text.split_once(' ').unwrap();
    let target = Target::from_authority(authority.as_bytes()).unwrap();
    (target, (scheme != "-").then(|| scheme.parse().unwrap()))
}

#[test]
fn entries_of_the_golden_file_have_the_canonical_form_that_it_states() {
    for vector in list(&golden("egress-entries.json")["accepted"]) {
        let text = vector["entry"].as_str().unwrap();
        let entry: Entry = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(entry.to_string(), vector["canonical"], "{text:?}");
        assert_eq!(entry.to_string().parse::<Entry>().unwrap(), entry);
    }
}

#[test]
fn refusals_of_the_golden_file_have_the_code_that_it_states_and_a_hint() {
    let mut codes = std::collections::BTreeSet::new();
    for vector in list(&golden("egress-entries.json")["refused"]) {
        let text = vector["entry"].as_str().unwrap();
        let error = match text.parse::<Entry>() {
            Ok(entry) => panic!("{text:?} was read as {entry}"),
            Err(error) => error,
        };
        assert_eq!(error.problem.code(), vector["code"], "{text:?}: {error}");
        let message = error.to_string();
        assert!(!message.contains('\n') && message.contains("; "), "{message}");
        codes.insert(error.problem.code());
    }
    let long = format!("{}.example", "a.".repeat(600))
        .parse::<Entry>()
        .unwrap_err();
    codes.insert(long.problem.code());
    assert_eq!(codes.len(), 24, "every code has a vector: {codes:?}");
}

#[test]
fn what_a_hint_says_to_write_is_accepted() {
    for (refused, instead) in [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("2001:db8::/32", "[2001:db8::]/32"),
        ("[2001:db8::/32]", "[2001:db8::]/32"),
        ("[2001:db8::1]/32", "[2001:db8::]/32"),
        ("*.com", "*.example.com"),
        ("*.co.uk", "*.example.co.uk"),
        ("example.com:443-80", "80-443"),
    ] {
        let message = refused.parse::<Entry>().unwrap_err().to_string();
        assert!(message.contains(&format!("\"{instead}\"")), "{message}");
        let whole = if instead.starts_with('8') {
            format!("example.com:{instead}")
        } else {
            instead.to_owned()
        };
        assert!(whole.parse::<Entry>().is_ok(), "{whole}");
    }
}

#[test]
fn a_refused_entry_is_shown_escaped_and_short() {
    let message = format!("a\u{1b}[31m\u{202e}{}", "x".repeat(5000))
        .parse::<Entry>()
        .unwrap_err()
        .to_string();
    assert!(
        message.len() < 400 && !message.contains(['\u{1b}', '\u{202e}']),
        "{message}"
    );
}

#[test]
fn entries_cover_what_the_golden_file_states_and_nothing_else_of_it() {
    for vector in list(&golden("egress-coverage.json")) {
        let entry: Entry = vector["entry"].as_str().unwrap().parse().unwrap();
        for (key, expected) in [("covers", true), ("not", false)] {
            for text in list(&vector[key]) {
                let (target, observed) = connection(text.as_str().unwrap());
                assert_eq!(entry.covers(&target, observed), expected, "{entry} and {text}");
                assert_eq!(
                    slowly(&entry.to_string(), &target, observed),
                    expected,
                    "{entry} and {text}"
                );
            }
        }
    }
}

#[test]
fn the_suggested_entry_covers_what_was_observed() {
    for text in [
        "a.example:443 tls",
        "a.example:8080 http",
        "a.example:22 ssh",
        "[2001:db8::1]:9 tcp",
        "10.0.0.1:80 -",
    ] {
        let (target, observed) = connection(text);
        let entry = Entry::for_observation(&target, observed);
        assert!(entry.covers(&target, observed), "{entry} and {text}");
        assert_eq!(entry.to_string().parse::<Entry>().unwrap(), entry);
    }
}

/// Reads a canonical entry character by character and compares label by label and bit by bit. It
/// shares nothing with the matcher but the types of its arguments.
fn slowly(canonical: &str, target: &Target, observed: Option<ObservedScheme>) -> bool {
    let (scheme, rest) = canonical.split_once("://").unwrap_or(("https", canonical));
    let (host, ports) = match rest.rfind(':') {
        Some(colon) if !rest[colon..].contains(']') => (&rest[..colon], Some(&rest[colon + 1..])),
        _ => (rest, None),
    };
    let speaks = match observed.map(ObservedScheme::as_str) {
        None => true,
        Some("tls") => ["https", "wss", "tls"].contains(&scheme),
        Some("http") => ["http", "ws"].contains(&scheme),
        Some(_) => scheme == "tcp",
    };
    let port = target.port.get();
    let on_port = match ports {
        None => {
            port == if scheme == "http" || scheme == "ws" {
                80
            } else {
                443
            }
        }
        Some("*") => true,
        Some(list) => list.split(',').any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap()).contains(&port)
        }),
    };
    speaks && on_port && host_slowly(host, &target.host)
}

fn host_slowly(host: &str, asked: &Host) -> bool {
    let (address, prefix) = host
        .split_once('/')
        .map_or((host, None), |(address, n)| (address, Some(n)));
    let declared = address.trim_matches(['[', ']']).parse::<IpAddr>();
    match (declared, asked) {
        (Ok(declared), Host::Ip(asked)) => {
            let (a, b) = (bits(declared), bits(*asked));
            let length = prefix.map_or(a.len(), |n| n.parse().unwrap());
            a.len() == b.len() && a[..length] == b[..length]
        }
        (Err(_), Host::Name(asked)) => {
            let want: Vec<&str> = host.split('.').collect();
            let have: Vec<&str> = asked.as_str().split('.').collect();
            match want[0] {
                "*" => have.len() == want.len() && have[1..] == want[1..],
                "**" => have.len() >= want.len() && have.ends_with(&want[1..]),
                _ => have == want,
            }
        }
        _ => false,
    }
}

fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect()
}

/// Few labels, few bits and few ports, so that entries and targets meet often.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]", 1..4).prop_map(|labels| format!("{}.test.com", labels.join(".")))
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        name().prop_map(|name| format!("*.{name}")),
        name().prop_map(|name| format!("**.{name}")),
        Just("*.test.com".to_owned()),
        (0u8..4).prop_map(|low| format!("10.0.0.{low}")),
        (27u8..=32, 0u8..4).prop_map(|(n, low)| {
            let address = u32::from_be_bytes([10, 0, 0, low]) & (u32::MAX << (32 - u32::from(n)));
            format!("{}/{n}", std::net::Ipv4Addr::from(address))
        }),
        (0u8..4).prop_map(|low| format!("[2001:db8::{low}]")),
        (0u8..2).prop_map(|n| format!("[2001:db8::]/{}", 126 + n)),
    ]
}

fn ports() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (440u16..446).prop_map(|port| port.to_string()),
        (440u16..443, 443u16..446).prop_map(|(first, last)| format!("{first}-{last}")),
        (440u16..446, 440u16..446).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let scheme = prop::sample::select(vec!["https", "http", "wss", "tls", "tcp"]);
    (scheme, host(), ports()).prop_map(|(scheme, host, ports)| {
        format!("{scheme}://{host}:{ports}")
            .parse()
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

fn asked() -> impl Strategy<Value = (Target, Option<ObservedScheme>)> {
    let host = prop_oneof![
        3 => name(),
        1 => Just("test.com".to_owned()),
        1 => Just("nottest.com".to_owned()),
        2 => (0u8..8).prop_map(|low| format!("10.0.0.{low}")),
        2 => (0u8..8).prop_map(|low| format!("[2001:db8::{low}]")),
    ];
    let observed = prop::option::of(prop::sample::select(ObservedScheme::ALL));
    (host, 439u16..447, observed).prop_map(|(host, port, observed)| {
        let target = Target::from_authority(format!("{host}:{port}").as_bytes()).unwrap();
        (target, observed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_is_a_fixed_point(entry in entry()) {
        let text = entry.to_string();
        let again: Entry = text.parse().unwrap();
        prop_assert_eq!(again.to_string(), text);
        prop_assert_eq!(again, entry);
    }

    #[test]
    fn whatever_is_read_has_a_canonical_form_that_reads_back(
        text in "(https?://|wss?://|tls://|tcp://)?(\\*{1,2}\\.)?[a-zA-Zäß。.0-9*-]{0,12}(/[0-9]{1,3})?(:[0-9,*-]{0,8})?|\\[[0-9a-f:.]{0,20}\\](/[0-9]{1,3})?(:[0-9]{1,5})?|\\PC{0,30}"
    ) {
        if let Ok(entry) = text.parse::<Entry>() {
            let canonical = entry.to_string();
            let again: Entry = canonical.parse().unwrap();
            prop_assert_eq!(&again, &entry);
            prop_assert_eq!(again.to_string(), canonical);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        if let Err(error) = text.parse::<Entry>() {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn coverage_agrees_with_the_slow_matcher(entry in entry(), (target, observed) in asked()) {
        prop_assert_eq!(entry.covers(&target, observed), slowly(&entry.to_string(), &target, observed));
    }

    #[test]
    fn an_entry_that_includes_another_covers_all_that_it_covers(a in entry(), b in entry(), (target, observed) in asked()) {
        if a.includes(&b) && b.covers(&target, observed) {
            prop_assert!(a.covers(&target, observed));
        }
        prop_assert_eq!(a.beyond([&b]).is_empty(), b.includes(&a));
    }

    #[test]
    fn host_patterns_are_nested_or_disjoint(a in entry(), b in entry(), (target, _) in asked()) {
        let (a, b) = (a.host(), b.host());
        if a.covers(&target.host) && b.covers(&target.host) {
            prop_assert!(a.includes(b) || b.includes(a), "{} and {}", a, b);
        }
    }

    #[test]
    fn what_is_beyond_others_misses_nothing_and_is_exact_for_networks(
        own in entry(),
        others in prop::collection::vec(entry(), 0..5),
        (target, observed) in asked(),
    ) {
        // A connection without a scheme belongs to every family, and differences are per family.
        let observed = observed.or(Some(ObservedScheme::Tls));
        let rest = own.beyond(&others);
        let by_others = others.iter().any(|other| other.covers(&target, observed));
        let by_rest = rest.iter().any(|piece| piece.covers(&target, observed));
        if own.covers(&target, observed) {
            prop_assert!(by_others || by_rest, "{} beyond {:?} is {:?}", own, others, rest);
            if target.host.ip().is_some() {
                prop_assert!(!(by_others && by_rest), "{} beyond {:?} is {:?}", own, others, rest);
            }
        } else {
            prop_assert!(!by_rest);
        }
    }
}
