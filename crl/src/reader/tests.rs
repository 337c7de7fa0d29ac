use base::Reason;
use proptest::prelude::*;

use super::*;
use crate::fixture::{Desk, ISSUER, artifact, at, key, listed, plugin, trust};
use crate::head::MAX_INLINE;
use crate::{Change, KillScope, Listed, Question, RevocationSet, Standing, Terms, publish};

fn desk(count: u8) -> Desk {
    let mut desk = Desk::new();
    for byte in 1..=count {
        desk.hold(byte);
    }
    desk
}

fn nth(desk: &Desk, number: usize) -> &Accepted {
    desk.issued[number - 1].accepted()
}

fn after(desk: &Desk, number: usize) -> Reader {
    Reader::new(ISSUER, Some(nth(desk, number).seen()))
}

fn offer(reader: &Reader, accepted: &Accepted, now: Timestamp) -> Result<Accepted, ListRefused> {
    reader.accept(accepted.head(), accepted.body(), &trust(), now)
}

#[test]
fn a_chain_is_followed_list_by_list_and_with_gaps() {
    let desk = desk(4);
    let mut reader = Reader::new(ISSUER, None);
    for number in [1, 2, 4] {
        let accepted = offer(&reader, nth(&desk, number), desk.now).unwrap();
        assert_eq!(accepted.list(), nth(&desk, number).list());
        assert!(!accepted.is_known());
        reader.remember(&accepted);
    }
    let again = offer(&reader, nth(&desk, 4), desk.now).unwrap();
    assert!(again.is_known());
    assert_eq!(again.seen(), *reader.seen().unwrap());
}

#[test]
fn an_empty_list_with_a_higher_number_is_a_list() {
    let mut desk = Desk::new();
    desk.publish(&[]);
    desk.publish(&[]);
    let accepted = offer(&after(&desk, 1), nth(&desk, 2), desk.now).unwrap();
    assert!(accepted.list().entries().is_empty());
}

#[test]
fn a_list_past_its_next_update_is_still_taken_in_and_says_that_it_is_stale() {
    let desk = desk(1);
    let late = at("2026-12-24T00:00:00Z");
    let accepted = offer(&Reader::new(ISSUER, None), nth(&desk, 1), late).unwrap();
    assert_eq!(
        accepted.set().freshness(late),
        crate::Freshness::Stale {
            since: accepted.list().head().next_update
        }
    );
    let weather = plugin("acme.weather");
    let question = Question {
        artifact: artifact(1),
        manifest: None,
        signer: None,
        plugin: &weather,
    };
    assert!(matches!(accepted.set().standing(&question), Standing::Held(_)));
}

#[test]
fn only_a_crl_key_in_its_time_may_sign() {
    let desk = desk(1);
    let reader = Reader::new(ISSUER, None);
    // Key 2 is in the trust root, for manifests.
    for byte in [2, 8] {
        let forged = publish(None, &[], &desk.terms(), &key(byte)).unwrap();
        let refused = offer(&reader, forged.accepted(), desk.now).unwrap_err();
        assert!(matches!(refused, ListRefused::Signature(_)), "{refused}");
    }
    for moment in ["2025-12-31T23:59:59Z", "2027-01-01T00:00:00Z"] {
        let refused = offer(&reader, nth(&desk, 1), at(moment)).unwrap_err();
        assert!(matches!(refused, ListRefused::NotAuthorised(_)), "{refused}");
    }
    let unsigned = String::from_utf8(nth(&desk, 1).head().to_vec()).unwrap();
    let start = unsigned.find("\"signatures\":[").unwrap() + "\"signatures\":[".len();
    let end = start + unsigned[start..].find(']').unwrap();
    let unsigned = format!("{}{}", &unsigned[..start], &unsigned[end..]);
    let refused = reader
        .examine(unsigned.as_bytes(), &trust(), desk.now)
        .unwrap_err();
    assert_eq!(
        refused,
        ListRefused::Signature(seal::envelope::EnvelopeError::SignatureCount { found: 0 })
    );
}

#[test]
fn a_manifest_signed_by_a_crl_key_is_no_list() {
    let statement = |predicate_type: PredicateType| seal::Statement {
        predicate_type: predicate_type.uri().to_owned(),
        ..nth(&desk(1), 1).list().head().to_statement()
    };
    let reader = Reader::new(ISSUER, None);
    let now = at("2026-11-21T11:00:00Z");
    let sealed = seal::envelope::seal(&statement(PredicateType::PluginManifest), &key(1)).unwrap();
    assert!(matches!(
        reader.examine(&sealed, &trust(), now),
        Err(ListRefused::Signature(
            seal::envelope::EnvelopeError::PredicateType { .. }
        ))
    ));
    let mut empty = statement(PredicateType::Crl);
    empty.predicate = serde_json::json!({});
    let sealed = seal::envelope::seal(&empty, &key(1)).unwrap();
    assert!(matches!(
        reader.examine(&sealed, &trust(), now),
        Err(ListRefused::Head(_))
    ));
}

#[test]
fn another_issuers_list_is_refused() {
    let desk = desk(1);
    let other = publish(
        None,
        &[],
        &Terms {
            issuer: "other",
            ..desk.terms()
        },
        &key(1),
    )
    .unwrap();
    let refused = offer(&Reader::new(ISSUER, None), other.accepted(), desk.now).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused the revocation list of \"other\": this reader follows \"acme\"; check where the list is fetched from"
    );
}

#[test]
fn a_list_from_the_future_is_refused_beyond_the_skew_of_honest_clocks() {
    let desk = desk(1);
    let reader = Reader::new(ISSUER, None);
    let issued = nth(&desk, 1).list().head().this_update;
    assert!(offer(&reader, nth(&desk, 1), issued.plus_seconds(-MAX_CLOCK_SKEW_S)).is_ok());
    let refused = offer(&reader, nth(&desk, 1), issued.plus_seconds(-MAX_CLOCK_SKEW_S - 1)).unwrap_err();
    assert!(matches!(refused, ListRefused::Future { .. }), "{refused}");
}

#[test]
fn an_older_list_is_a_rollback() {
    let desk = desk(3);
    assert_eq!(
        offer(&after(&desk, 3), nth(&desk, 2), desk.now),
        Err(ListRefused::Rollback { seen: 3, found: 2 })
    );
}

#[test]
fn a_list_under_an_older_trust_root_is_refused() {
    let mut desk = desk(1);
    let rival = publish(
        None,
        &[],
        &Terms {
            root_version: 2,
            ..desk.terms()
        },
        &key(1),
    )
    .unwrap();
    let rival = publish(
        Some(rival.list()),
        &[],
        &Terms {
            root_version: 2,
            ..desk.terms()
        },
        &key(1),
    )
    .unwrap();
    assert_eq!(
        offer(&after(&desk, 1), rival.accepted(), desk.now),
        Err(ListRefused::OlderRoot {
            crl_number: 2,
            seen: 3,
            found: 2
        })
    );
    desk.root_version = 4;
    desk.hold(2);
    assert!(offer(&after(&desk, 1), nth(&desk, 2), desk.now).is_ok());
}

#[test]
fn two_lists_with_one_number_are_an_equivocation_and_so_is_a_list_that_follows_another() {
    let desk = desk(2);
    let fork =
        |change: &[Change]| publish(Some(nth(&desk, 1).list()), change, &desk.terms(), &key(1)).unwrap();
    let rival = fork(&[Change::revoke(listed(9), Reason::Malware)]);
    let refused = offer(&after(&desk, 2), rival.accepted(), desk.now).unwrap_err();
    assert!(
        matches!(refused, ListRefused::Equivocation { crl_number: 2, .. }),
        "{refused}"
    );
    // Even where all entries agree: it is the head that was signed twice.
    let twin = publish(
        Some(nth(&desk, 1).list()),
        &[Change::hold(listed(2), Reason::UndeclaredHost)],
        &Terms {
            validity: std::time::Duration::from_secs(7200),
            ..desk.terms()
        },
        &key(1),
    )
    .unwrap();
    assert_eq!(twin.body(), nth(&desk, 2).body());
    let refused = offer(&after(&desk, 2), twin.accepted(), desk.now).unwrap_err();
    assert_eq!(refused.code(), "equivocation");

    let next = publish(Some(rival.list()), &[], &desk.terms(), &key(1)).unwrap();
    assert_eq!(
        offer(&after(&desk, 2), next.accepted(), desk.now),
        Err(ListRefused::BrokenChain {
            crl_number: 3,
            seen: nth(&desk, 2).list().head_sha256(),
            follows: Some(rival.list().head_sha256()),
        })
    );
}

#[test]
fn the_same_words_in_another_envelope_are_the_same_list() {
    let desk = desk(1);
    let head = String::from_utf8(nth(&desk, 1).head().to_vec()).unwrap();
    let keyid = key(1).public().fingerprint().to_string();
    let rewrapped = head.replace(&format!("\"keyid\":\"{keyid}\""), "\"keyid\":\"\"");
    assert_ne!(rewrapped, head);
    let reader = after(&desk, 1);
    let accepted = reader
        .accept(rewrapped.as_bytes(), nth(&desk, 1).body(), &trust(), desk.now)
        .unwrap();
    assert!(accepted.is_known());
}

#[test]
fn a_body_that_the_head_does_not_name_is_refused() {
    let desk = desk(2);
    let examined = after(&desk, 1)
        .examine(nth(&desk, 2).head(), &trust(), desk.now)
        .unwrap();
    assert_eq!(examined.body_file(), "crl-2.body");
    for body in [nth(&desk, 1).body(), b"", &nth(&desk, 2).body()[..40]] {
        assert_eq!(examined.with_body(body).unwrap_err().code(), "body_hash");
    }
}

#[test]
fn a_body_that_its_own_issuer_garbled_is_refused() {
    let signed = |body: &[u8], entries: u64| {
        let mut head = nth(&desk(1), 1).list().head().clone();
        head.files.full = seal::Subject::new("crl-1.body", &Sha256Digest::of(body));
        head.entries = entries;
        seal::envelope::seal(&head.to_statement(), &key(1)).unwrap()
    };
    let accept = |body: &[u8], entries: u64| {
        let now = at("2026-11-21T11:00:00Z");
        Reader::new(ISSUER, None)
            .accept(&signed(body, entries), body, &trust(), now)
            .map_err(|refused| refused.code())
    };
    let body = nth(&desk(2), 2).body().to_vec();
    assert!(accept(&body, 2).is_ok());
    assert_eq!(accept(&body, 3), Err("entry_count"));
    assert_eq!(accept(&body[..79], 2), Err("body"));
    assert_eq!(accept(&[&body[40..], &body[..40]].concat(), 2), Err("body"));
}

#[test]
fn a_delta_applies_to_its_exact_base_alone() {
    let desk = desk(3);
    let examined = after(&desk, 2)
        .examine(nth(&desk, 3).head(), &trust(), desk.now)
        .unwrap();
    let delta = nth(&desk, 3).delta().unwrap();
    assert_eq!(examined.delta_file(2).as_deref(), Some("crl-3.delta"));
    assert_eq!(examined.delta_file(1), None);
    let accepted = examined.with_delta(delta, nth(&desk, 2).list()).unwrap();
    assert_eq!(accepted.body(), nth(&desk, 3).body());
    assert_eq!(
        examined.with_delta(delta, nth(&desk, 1).list()),
        Err(ListRefused::DeltaBase {
            crl_number: 3,
            base: Some(2),
            held: 1
        })
    );
    // A base of the right number with other entries is another base.
    let rival = publish(Some(nth(&desk, 1).list()), &[], &desk.terms(), &key(1)).unwrap();
    let refused = examined.with_delta(delta, rival.list()).unwrap_err();
    assert_eq!((refused.code(), refused.wants_full_body()), ("body_hash", true));
    // So is a delta that would lead to the same entries, and was not signed.
    let roundabout = nth(&desk, 3).body();
    for other in [&delta[1..], b"", roundabout] {
        let refused = examined.with_delta(other, nth(&desk, 2).list()).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("refused crl-3.delta: its sha256 is"),
            "{refused}"
        );
    }
}

#[test]
fn a_head_brings_its_last_changes_along_and_says_when_they_do_not_reach_back() {
    let mut desk = desk(1);
    for byte in 2..=5 {
        desk.hold(byte);
    }
    let catch_up = |desk: &Desk, from: usize| {
        let examined = after(desk, from)
            .examine(desk.newest().head(), &trust(), desk.now)
            .unwrap();
        examined.with_inline(nth(desk, from).list())
    };
    for from in 1..=5 {
        assert_eq!(catch_up(&desk, from).unwrap().list(), desk.list());
    }
    let many: Vec<_> = (0..=MAX_INLINE as u32)
        .map(|n| {
            Change::hold(
                Listed::Manifest(Sha256Digest::of(&n.to_be_bytes())),
                Reason::SdkDrift,
            )
        })
        .collect();
    desk.publish(&many);
    let refused = catch_up(&desk, 5).unwrap_err();
    assert_eq!(
        refused,
        ListRefused::InlineGap {
            crl_number: 6,
            held: 5
        }
    );
    assert!(refused.wants_full_body());
}

#[test]
fn no_changed_byte_of_head_or_body_is_ever_believed() {
    let desk = desk(2);
    let reader = after(&desk, 1);
    let (head, body) = (nth(&desk, 2).head(), nth(&desk, 2).body());
    for at in 0..body.len() {
        let mut changed = body.to_vec();
        changed[at] ^= 1 << (at % 8);
        assert!(
            reader.accept(head, &changed, &trust(), desk.now).is_err(),
            "body byte {at}"
        );
    }
    // Key id and hint are labels outside the signature: changing them changes no word of the list.
    let text = std::str::from_utf8(head).unwrap();
    let label = |name: &str| {
        let start = text.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
        start..start + text[start..].find('"').unwrap()
    };
    let labels = [label("keyid"), label("hint")];
    for at in 0..head.len() {
        let mut changed = head.to_vec();
        changed[at] ^= 1 << (at % 8);
        if let Ok(accepted) = reader.accept(&changed, body, &trust(), desk.now) {
            assert!(labels.iter().any(|label| label.contains(&at)), "head byte {at}");
            assert_eq!(accepted.list(), nth(&desk, 2).list());
        }
    }
    for end in 0..head.len() {
        assert!(
            reader.accept(&head[..end], body, &trust(), desk.now).is_err(),
            "head cut at {end}"
        );
    }
}

#[test]
fn every_refusal_is_one_line_with_a_code_of_its_own() {
    let digest = Sha256Digest::of(b"");
    let now = at("2026-11-21T10:00:00Z");
    let file = || "crl-1.body".to_owned();
    let all = [
        ListRefused::Signature(seal::envelope::EnvelopeError::SignatureCount { found: 0 }),
        ListRefused::NotAuthorised(seal::trust::NotAuthorised::Role {
            key: key(1).public().fingerprint(),
            role: Role::Crl,
        }),
        Head::from_statement(&seal::Statement {
            subjects: Vec::new(),
            predicate_type: String::new(),
            predicate: serde_json::Value::Null,
        })
        .map_err(ListRefused::Head)
        .unwrap_err(),
        ListRefused::Issuer {
            expected: "a".into(),
            found: "b\nc".into(),
        },
        ListRefused::Future {
            crl_number: 1,
            this_update: now,
            now,
        },
        ListRefused::OlderRoot {
            crl_number: 1,
            seen: 2,
            found: 1,
        },
        ListRefused::Rollback { seen: 2, found: 1 },
        ListRefused::Equivocation {
            crl_number: 1,
            seen: digest,
            found: digest,
        },
        ListRefused::BrokenChain {
            crl_number: 1,
            seen: digest,
            follows: None,
        },
        ListRefused::BodyHash {
            file: file(),
            expected: digest,
            found: digest,
        },
        ListRefused::Body {
            file: file(),
            source: crate::InvalidBody::Length { bytes: 1 },
        },
        ListRefused::EntryCount {
            file: file(),
            expected: 1,
            found: 2,
        },
        ListRefused::DeltaBase {
            crl_number: 2,
            base: None,
            held: 1,
        },
        ListRefused::InlineGap {
            crl_number: 2,
            held: 1,
        },
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(ListRefused::code).collect();
    assert_eq!(codes.len(), all.len());
    assert!(all.iter().all(|refused| !refused.to_string().contains('\n')));
}

/// A change over so few things that the rules are met often.
fn any_change() -> impl Strategy<Value = Change> {
    let thing = (0u8..4, 0u8..3).prop_map(|(kind, byte)| match kind {
        0 => listed(byte),
        1 => Listed::Manifest(*artifact(byte).sha256()),
        2 => Listed::Signer(key(byte).public().fingerprint()),
        _ => Listed::Plugin(plugin(&format!("p{byte}"))),
    });
    let scope = prop_oneof![
        Just(KillScope::Everything),
        (0u8..3).prop_map(|byte| KillScope::Plugins([plugin(&format!("p{byte}"))].into())),
    ];
    let reason = prop::sample::select(Reason::ALL);
    prop_oneof![
        8 => (0u8..3, thing, reason).prop_map(|(action, thing, reason)| match action {
            0 => Change::hold(thing, reason),
            1 => Change::release(thing, reason),
            _ => Change::revoke(thing, reason),
        }),
        1 => scope.clone().prop_map(Change::KillOn),
        1 => scope.prop_map(Change::KillOff),
    ]
}

/// What a list says about every build that the changes could concern.
fn answers(list: &List) -> Vec<Standing> {
    let set = RevocationSet::from(list);
    let mut answers = Vec::new();
    for byte in 0..3u8 {
        for other in 0..3u8 {
            let plugin = plugin(&format!("p{other}"));
            let question = Question {
                artifact: artifact(byte),
                manifest: (other > 0).then(|| *artifact(other).sha256()),
                signer: (byte > 0).then(|| key(other).public().fingerprint()),
                plugin: &plugin,
            };
            let standing = set.standing(&question);
            assert_eq!(list.standing(&question), standing);
            assert_eq!(
                standing.is_silent(),
                list.why_question(&question).deciding == crate::Deciding::Nothing
            );
            answers.push(standing);
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whichever_way_the_entries_come_the_list_is_the_same(
        steps in prop::collection::vec((prop::collection::vec(any_change(), 0..4), any::<bool>()), 1..12)
    ) {
        let mut desk = Desk::new();
        desk.publish(&[]);
        let mut by_delta = nth(&desk, 1).list().clone();
        let mut lagging = by_delta.clone();
        for (changes, catches_up) in steps {
            let before = desk.list().clone();
            if desk.try_publish(&changes).is_err() {
                prop_assert_eq!(desk.list(), &before);
                continue;
            }
            let newest = desk.newest();
            let examine = |held: &List| {
                Reader::new(ISSUER, Some(held.seen())).examine(newest.head(), &trust(), desk.now).unwrap()
            };
            let full = examine(&by_delta).with_body(newest.body()).unwrap();
            let delta = examine(&by_delta).with_delta(newest.delta().unwrap(), &by_delta).unwrap();
            prop_assert_eq!(full.list(), newest.list());
            prop_assert_eq!(delta.list(), newest.list());
            prop_assert_eq!(answers(full.list()), answers(delta.list()));
            by_delta = delta.into_list();
            if catches_up {
                let inline = examine(&lagging).with_inline(&lagging).unwrap();
                prop_assert_eq!(inline.list(), newest.list());
                lagging = inline.into_list();
            }
            // Nothing leaves a list, and nothing comes back from revocation.
            for old in before.entries() {
                let new = newest.list().entries().get(old.kind, &old.digest).unwrap();
                prop_assert!(old.action != crate::Action::Revoke || new == old);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(head in prop::collection::vec(any::<u8>(), 0..300), body in prop::collection::vec(any::<u8>(), 0..300)) {
        let now = at("2026-11-21T11:00:00Z");
        prop_assert!(Reader::new(ISSUER, None).accept(&head, &body, &trust(), now).is_err());
    }
}
