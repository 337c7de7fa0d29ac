//! From columns and from entries: the same observations, wherever files begin and end.

use std::collections::BTreeMap;

use base::{
    AutomaticAction, Backing, BreachClause, DnsResult, ObservedScheme, Outcome, Policy, PolicyException,
    Reason, RefusalReason, SniVisibility, Tier, TierPolicy,
};
use evidence::archive::{Archive, ArchiveWriter};
use evidence::{Event, EventKind, Origin};
use proptest::prelude::*;

use crate::script::{Line, about, at, event};
use crate::seen::Seen;
use crate::site::{Artifact, Run};
use crate::stage::Stage;
use crate::terms::Rulebook;
use crate::{Fold, Observations, Period};

const NIGHT: i64 = 86_400;

/// The file that these events would be archived as; the first of them has this place in the log.
pub(crate) fn file(gateway: &str, events: &[Event], first: u64) -> Archive {
    let origin = Origin::new("acme", gateway).unwrap();
    let mut writer = ArchiveWriter::new(&origin, first);
    for (event, index) in events.iter().zip(first..) {
        let mut event = event.clone();
        event.seq = index;
        writer.push(&event.to_entry().unwrap()).unwrap();
    }
    Archive::read(writer.finish().unwrap().bytes).unwrap()
}

/// How some events of a log are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Entries,
    File,
}

fn fold(
    mut fold: Fold<'_>,
    events: &[Event],
    audited_to: Option<u64>,
    ways: &[(usize, Way)],
) -> Observations {
    let mut log = fold.log("acme/gw-1", audited_to);
    let mut first = 0;
    for (length, way) in ways {
        let stretch = &events[first..(first + length).min(events.len())];
        let index = first as u64;
        let is_over = match way {
            _ if stretch.is_empty() => continue,
            Way::File => log.handle_file(&file("gw-1", stretch, index)).unwrap().is_break(),
            Way::Entries => (index..)
                .zip(stretch)
                .any(|(index, event)| log.handle_entry(index, event).is_break()),
        };
        if is_over {
            break;
        }
        first += stretch.len();
    }
    log.finish();
    fold.finish()
}

fn any_line() -> impl Strategy<Value = Line> {
    let kind = prop::sample::select(vec![
        EventKind::Open,
        EventKind::Open,
        EventKind::Open,
        EventKind::Connected,
        EventKind::Progress,
        EventKind::Close,
        EventKind::Close,
        EventKind::Close,
        EventKind::Refused,
        EventKind::Gap,
        EventKind::Kill,
        EventKind::Start,
        EventKind::Stop,
    ]);
    let target = prop::sample::select(vec![
        "a.example:443",
        "b.example:443",
        "8.8.8.8:22",
        "evil.example:443",
    ]);
    let plugin = prop::sample::select(vec!["one", "two", "three"]);
    let shape = (0_u8..14, 0_u8..10, any::<bool>());
    (kind, 0_u8..8, target, plugin, 0_u8..3, shape, 0_u64..500).prop_map(
        |(kind, id, target, plugin, run, (shape, odd, also), bytes)| {
            // While one process takes over from another, what one says is about its own connections.
            let session = ["a", "b"][usize::from(id % 2)];
            let named =
                |line: Line| line.with(|event| event.scope = (odd % 2 == 1).then(|| session.to_owned()));
            if matches!(kind, EventKind::Start | EventKind::Stop) {
                return named(event(kind, 0));
            }
            if kind == EventKind::Kill {
                return event(kind, 0);
            }
            if kind == EventKind::Gap {
                return named(event(kind, 0)).with(|event| {
                    event.cause = also.then(|| "the disk was full".to_owned());
                    event.count = (odd > 3).then_some(bytes);
                    event.plugin_id = (odd > 5).then(|| plugin.parse().unwrap());
                });
            }
            let line = about(kind, 0, &format!("{session}-{id}"), plugin, target).of(plugin, run);
            let line = match shape {
                0 => line.of_nobody(),
                1 => line.failed(DnsResult::NxDomain),
                2 => line.refused(RefusalReason::Floor),
                3 => line.refused(RefusalReason::Revoked),
                4 => line.reached(bytes, 2 * bytes).sni("evil.example"),
                5 => line.reached(bytes, 1).sni("absent"),
                6 => line
                    .sni("b.example")
                    .with(|event| event.sni_visibility = Some(SniVisibility::Ech)),
                7 => line
                    .reached(1, bytes)
                    .with(|event| event.resolved_ips.push("10.0.0.1".parse().unwrap())),
                8 => line.with(|event| {
                    event.host_header = Some(format!("h{odd}.example"));
                    event.stripped_headers = vec!["x-forwarded-for".to_owned(), format!("x-{odd}")];
                    event.inner_target = also.then(|| "further.example:443".to_owned());
                }),
                9 => line.with(|event| {
                    event.scheme = Some(ObservedScheme::Tcp);
                    event.outcome = Some(Outcome::ConnectFailed);
                }),
                10 => line
                    .of_nobody()
                    .with(|event| event.credential_fingerprint = Some(format!("f{odd}"))),
                _ => line.reached(bytes, 3 * bytes),
            };
            line.with(|event| {
                if odd == 0 {
                    event.connection_id = None;
                }
                if odd == 1 {
                    (event.destination_host, event.port) = (None, None);
                }
                if odd == 2 && also {
                    event.run_id = None;
                }
            })
        },
    )
}

/// A site on which everything is noted that can be: paces, moments, what ends within the period.
fn ground() -> (Vec<Artifact>, Vec<Run>, Policy) {
    let mut stage = Stage::new()
        .declares("one", &["a.example", "8.8.8.8:22"])
        .declares("two", &["a.example", "b.example"])
        .runs("two", 2);
    let limits = manifests::Limits {
        connections_per_minute: Some(2),
        ..stage.artifacts[0].manifest.limits.clone().unwrap_or_default()
    };
    stage.artifacts[0].manifest.limits = Some(limits);
    stage.expire(1, 0, at(NIGHT / 2));
    stage.artifacts[1].tier = Tier::High;
    let timed = |action| {
        let on_breach = Some(BreachClause {
            within_s: Some(600),
            ..BreachClause::initial(action, "ops")
        });
        TierPolicy {
            on_breach,
            ..TierPolicy::default()
        }
    };
    let mut policy = Policy::initial("ops");
    policy.tiers = BTreeMap::from([
        (Tier::Medium, timed(AutomaticAction::Quarantine)),
        (Tier::High, timed(AutomaticAction::Alert)),
    ]);
    (stage.artifacts, stage.runs, policy)
}

fn events(steps: Vec<(Line, i64)>) -> Vec<Event> {
    // Clocks mostly go on; now and then they are set back, or far ahead.
    let mut clock = -2000;
    steps
        .into_iter()
        .map(|(line, step)| {
            clock += step;
            line.with(|event| event.time = at(clock)).0
        })
        .collect()
}

fn any_step() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0_i64..900, 1 => -700_i64..0, 1 => 0_i64..20_000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn columns_and_entries_give_the_same_observations(
        steps in prop::collection::vec((any_line(), any_step()), 1..160),
        cuts in prop::collection::vec((1_usize..60, any::<bool>()), 0..6),
        audited_to in prop::option::of(0_u64..100),
        only in prop::option::of(prop::sample::select(vec!["one", "two"])),
    ) {
        let events = events(steps);
        let (artifacts, runs, policy) = ground();
        let book = Rulebook::new(&artifacts, &runs, &policy, None).unwrap();
        let period = Period { from: at(0), to: at(NIGHT) };
        let only = only.map(|only| only.parse().unwrap());
        let empty = || Fold::new(period, at(2 * NIGHT)).by(&book).only(only.clone());
        let all = events.len();
        let expected = fold(empty(), &events, audited_to, &[(all, Way::Entries)]);
        let ways: Vec<(usize, Way)> = cuts
            .iter()
            .map(|&(length, is_file)| (length, if is_file { Way::File } else { Way::Entries }))
            .chain([(all, Way::File)])
            .collect();
        prop_assert_eq!(fold(empty(), &events, audited_to, &ways), expected.clone());
        prop_assert_eq!(fold(empty(), &events, audited_to, &[(all, Way::File)]), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_put_by_between_logs_is_what_would_have_been_kept(
        logs in prop::collection::vec(prop::collection::vec((any_line(), any_step()), 1..60), 1..4),
        room in prop::sample::select(vec![0_usize, 100, 1 << 20]),
    ) {
        let (artifacts, runs, policy) = ground();
        let book = Rulebook::new(&artifacts, &runs, &policy, None).unwrap();
        let period = Period { from: at(0), to: at(NIGHT) };
        let logs: Vec<Vec<Event>> = logs.into_iter().map(events).collect();
        let read = |mut fold: Fold<'_>| {
            for (number, events) in logs.iter().enumerate() {
                let mut log = fold.log(&format!("acme/gw-{number}"), None);
                let _ = log.handle_file(&file("gw-1", events, 0)).unwrap();
                log.finish();
            }
            fold.finish_packed()
        };
        let fold = || Fold::new(period, at(2 * NIGHT)).by(&book);
        let (mut expected, _) = read(fold());
        let kept = std::mem::take(&mut expected.seen);
        let (observations, mut seen) = read(fold().packing(Seen::cramped(room)));
        prop_assert!(seen.trouble().is_none());
        prop_assert_eq!(seen.unpacked(), kept);
        prop_assert_eq!(observations, expected);
    }
}

#[test]
fn an_exception_that_ends_within_a_file_is_asked_at_each_moment() {
    let (artifacts, runs, mut policy) = ground();
    policy.exceptions.push(PolicyException {
        reasons: [Reason::UndeclaredHost].into(),
        until: at(500),
        ..exception()
    });
    let book = Rulebook::new(&artifacts, &runs, &policy, None).unwrap();
    let lines = (0..20).flat_map(|n| {
        let id = n.to_string();
        let open = about(EventKind::Open, n * 50, &id, "one", "evil.example:443");
        [
            open,
            about(EventKind::Close, n * 50 + 1, &id, "one", "evil.example:443").reached(1, 1),
        ]
    });
    let events: Vec<Event> = lines.map(|line| line.0).collect();
    let period = Period {
        from: at(0),
        to: at(NIGHT),
    };
    let by = |way| {
        fold(
            Fold::new(period, at(NIGHT)).by(&book),
            &events,
            None,
            &[(events.len(), way)],
        )
    };
    let observations = by(Way::File);
    assert_eq!(observations, by(Way::Entries));
    assert_eq!(observations.moments.values().map(Vec::len).sum::<usize>(), 10);
}

#[test]
fn more_destinations_than_are_remembered_are_the_same_ones_from_columns() {
    let lines = (0..10_050_i64).flat_map(|n| {
        // The first hundred come twice, the second time after the last.
        let host = format!("h{}.example:443", (n * 7_919) % 10_040);
        let id = format!("{n:x}");
        let open = about(EventKind::Open, n, &id, "one", &host);
        [open, about(EventKind::Close, n, &id, "one", &host).reached(1, 1)]
    });
    let events: Vec<Event> = lines.map(|line| line.0).collect();
    let period = Period {
        from: at(0),
        to: at(NIGHT),
    };
    let by = |ways: &[(usize, Way)]| fold(Fold::new(period, at(NIGHT)), &events, None, ways);
    let expected = by(&[(events.len(), Way::Entries)]);
    assert_eq!(expected.beyond.len(), 1);
    assert_eq!(by(&[(9_001, Way::File), (events.len(), Way::File)]), expected);
}

fn exception() -> PolicyException {
    PolicyException {
        backing: Backing::Signed,
        plugin_id: "one".parse().unwrap(),
        artifact_digest: None,
        reasons: Default::default(),
        to: None,
        why: "a migration".to_owned(),
        signed_by: ["a".to_owned(), "b".to_owned()],
        until: at(0),
    }
}
