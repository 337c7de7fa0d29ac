//! What the fold makes of a day's events.

use base::{DnsResult, ObservedScheme, RefusalReason, Target};
use evidence::EventKind::{Close, Gap, Open, Progress, Start, Stop};
use proptest::prelude::*;

use crate::file_fold::tests::file;
use crate::script::{Line, about, at, event, visit, who};
use crate::{Destination, Fold, Observation, Observations, Oddities, Period, Who};

const NIGHT: i64 = 86_400;

fn today() -> Period {
    Period {
        from: at(0),
        to: at(NIGHT),
    }
}

/// What the logs say; and what archive files with the same entries say is the same.
fn fold(period: Period, logs: &[&[Line]]) -> Observations {
    let observations = fold_entries(period, logs);
    let lines: usize = logs.iter().map(|lines| lines.len()).sum();
    for length in [2, 1000].into_iter().filter(|length| lines < 1000 * length) {
        assert_eq!(fold_files(period, logs, length), observations);
    }
    observations
}

fn fold_files(period: Period, logs: &[&[Line]], length: usize) -> Observations {
    let mut fold = Fold::new(period, at(10 * NIGHT));
    for (number, lines) in logs.iter().enumerate() {
        let gateway = format!("gw-{}", number + 1);
        let mut log = fold.log(&format!("acme/{gateway}"), None);
        for (place, lines) in lines.chunks(length).enumerate() {
            let events: Vec<_> = lines.iter().map(|line| line.0.clone()).collect();
            let file = file(&gateway, &events, (place * length) as u64);
            if log.handle_file(&file).unwrap().is_break() {
                break;
            }
        }
        log.finish();
    }
    fold.finish()
}

fn fold_entries(period: Period, logs: &[&[Line]]) -> Observations {
    let mut fold = Fold::new(period, at(10 * NIGHT));
    for (number, lines) in logs.iter().enumerate() {
        let mut log = fold.log(&format!("acme/gw-{}", number + 1), None);
        for (index, line) in (0..).zip(*lines) {
            if log.handle_entry(index, &line.0).is_break() {
                break;
            }
        }
        log.finish();
    }
    fold.finish()
}

fn seen<'a>(observations: &'a Observations, plugin: &str, target: &str) -> Vec<&'a Observation> {
    let target = Target::from_authority(target.as_bytes()).unwrap();
    let all = all_seen(observations)
        .into_iter()
        .filter(|(who, destination, _)| who.plugin_id.as_str() == plugin && destination.target == target);
    all.map(|(_, _, observation)| observation).collect()
}

fn all_seen(observations: &Observations) -> Vec<(&Who, &Destination, &Observation)> {
    let mut all = Vec::new();
    for (who, seen) in &observations.seen {
        all.extend(
            seen.iter()
                .map(|(to, observation)| (who, &to.destination, observation)),
        );
    }
    all
}

fn odd(observation: &Observation) -> &Oddities {
    observation.odd.as_deref().unwrap()
}

fn only<'a>(observations: &'a Observations, plugin: &str, target: &str) -> &'a Observation {
    let all = seen(observations, plugin, target);
    assert_eq!(all.len(), 1, "{observations:#?}");
    all[0]
}

#[test]
fn connections_fold_into_one_observation_per_destination() {
    let lines: Vec<Line> = (0..10_u32)
        .flat_map(|n| visit(i64::from(n) * 10, &n.to_string(), "weather", "api.example:443"))
        .collect();
    let observations = fold(today(), &[&lines]);
    let tally = only(&observations, "weather", "api.example:443").tally();
    assert_eq!((tally.connections, tally.established), (10, 10));
    assert_eq!((tally.bytes_out, tally.bytes_in), (1000, 2000));
    assert_eq!((tally.first, tally.last), (at(0), at(91)));
    let cited: Vec<u64> = tally.cited().iter().map(|cited| cited.index).collect();
    assert_eq!(cited, [0, 1, 2, 3, 4, 5, 18, 19]);
    assert_eq!(observations.events[&who("weather", 1)].events, 20);
    assert_eq!((observations.logs[0].from, observations.logs[0].to), (0, 20));
}

#[test]
fn what_is_remembered_of_one_run_or_of_nobody_has_an_end() {
    let (destinations, strays) = (crate::crowd::MAX_DESTINATIONS, crate::crowd::MAX_STRAYS);
    let mut lines = Vec::new();
    for n in 0..destinations + 50 {
        lines.push(about(Close, 5, &n.to_string(), "weather", &format!("n{n}.example:443")).reached(1, 1));
    }
    // One that is known already is still told apart.
    lines.push(about(Close, 6, "again", "weather", "n0.example:443").reached(1, 1));
    for n in 0..strays + 50 {
        lines.push(
            about(
                Close,
                7,
                &format!("s{n}"),
                "weather",
                &format!("n{n}.example:443"),
            )
            .of_nobody()
            .refused(RefusalReason::CredentialsInvalid)
            .with(|event| event.credential_fingerprint = Some(format!("SHA256:{n}"))),
        );
    }
    let observations = fold(today(), &[&lines]);
    let run = who("weather", 1);
    assert_eq!(observations.seen[&run].len(), destinations);
    assert_eq!(observations.beyond[&run].connections, 50);
    assert_eq!(
        only(&observations, "weather", "n0.example:443")
            .tally()
            .connections,
        2
    );
    assert_eq!(observations.strays.len(), strays + 1);
    let counted: u64 = observations.strays.values().map(|tally| tally.connections).sum();
    assert_eq!(counted, (strays + 50) as u64);
}

#[test]
fn the_names_inside_one_destination_have_an_end_too() {
    let lines: Vec<Line> = (0..300)
        .map(|n| {
            about(Close, 5, &n.to_string(), "weather", "api.example:443")
                .reached(1, 1)
                .sni(&format!("n{n}.evil.example"))
        })
        .collect();
    let observations = fold(today(), &[&lines]);
    let names = &odd(only(&observations, "weather", "api.example:443")).inner_names;
    assert_eq!(names.len(), crate::crowd::MAX_INNER_NAMES + 1);
    let counted: u64 = names.values().map(|tally| tally.connections).sum();
    assert_eq!(counted, 300);
}

#[test]
fn the_scheme_is_part_of_the_destination_and_known_when_somebody_spoke() {
    let mut lines = visit(1, "a", "weather", "api.example:443").to_vec();
    lines.push(about(Open, 5, "b", "weather", "api.example:443"));
    let observations = fold(today(), &[&lines]);
    let schemes: Vec<_> = all_seen(&observations)
        .iter()
        .map(|(_, to, _)| to.scheme)
        .collect();
    assert_eq!(schemes, [None, Some(ObservedScheme::Tls)]);
}

#[test]
fn a_tunnel_alive_at_the_end_is_part_of_both_nights_and_its_bytes_of_one_each() {
    let lines = [
        about(Open, 10, "a", "weather", "api.example:443"),
        about(Progress, 600, "a", "weather", "api.example:443").bytes(100, 1000),
        about(Progress, NIGHT + 600, "a", "weather", "api.example:443").bytes(150, 1500),
        about(Close, NIGHT + 700, "a", "weather", "api.example:443").reached(160, 1600),
    ];
    let tonight = fold(today(), &[&lines]);
    let observation = only(&tonight, "weather", "api.example:443");
    assert_eq!(observation.alive_at_end, 1);
    assert_eq!(
        (observation.tally().connections, observation.tally().bytes_in),
        (1, 1000)
    );

    let tomorrow = Period {
        from: at(NIGHT),
        to: at(2 * NIGHT),
    };
    let tomorrow = fold(tomorrow, &[&lines]);
    let observation = only(&tomorrow, "weather", "api.example:443");
    assert_eq!(observation.alive_at_end, 0);
    assert_eq!(
        (observation.tally().connections, observation.tally().bytes_in),
        (1, 600)
    );
    assert_eq!(observation.tally().first, at(NIGHT + 600));
}

#[test]
fn a_tunnel_that_says_nothing_all_night_still_appears() {
    let lines = [about(Open, -100, "a", "weather", "api.example:443").bytes(7, 7)];
    let observations = fold(today(), &[&lines]);
    let observation = only(&observations, "weather", "api.example:443");
    assert_eq!((observation.alive_at_end, observation.tally().bytes_out), (1, 0));
}

#[test]
fn what_came_and_went_before_the_period_is_not_in_it() {
    let lines = visit(-100, "a", "weather", "api.example:443");
    assert!(fold(today(), &[&lines]).seen.is_empty());
}

#[test]
fn a_gateway_that_stops_or_comes_back_has_no_older_connections() {
    for kind in [Start, Stop] {
        let lines = [
            about(Open, -100, "a", "weather", "old.example:443"),
            event(kind, -50),
        ];
        assert!(fold(today(), &[&lines]).seen.is_empty(), "{kind:?}");
        let lines = [
            about(Open, 100, "a", "weather", "api.example:443"),
            event(kind, 200),
        ];
        let observations = fold(today(), &[&lines]);
        assert_eq!(
            only(&observations, "weather", "api.example:443").alive_at_end,
            0,
            "{kind:?}"
        );
    }
}

#[test]
fn connections_of_two_gateways_never_mix_although_their_ids_are_equal() {
    let one = [about(Open, 10, "a", "weather", "api.example:443")];
    let two = [about(Close, 20, "a", "other", "api.example:443").reached(1, 1)];
    let observations = fold(today(), &[&one, &two]);
    assert_eq!(
        only(&observations, "weather", "api.example:443")
            .tally()
            .established,
        0
    );
    assert_eq!(
        only(&observations, "other", "api.example:443")
            .tally()
            .established,
        1
    );
    assert_eq!(observations.logs.len(), 2);
}

#[test]
fn every_entry_falls_into_exactly_one_of_two_nights_even_when_the_clock_is_set_back() {
    let lines = [
        visit(NIGHT - 10, "a", "weather", "one.example:443"),
        visit(NIGHT + 10, "b", "weather", "two.example:443"),
        visit(NIGHT - 5, "c", "weather", "three.example:443"),
    ]
    .concat();
    let tonight = fold(today(), &[&lines]);
    let tomorrow = fold(
        Period {
            from: at(NIGHT),
            to: at(2 * NIGHT),
        },
        &[&lines],
    );
    assert_eq!((all_seen(&tonight).len(), all_seen(&tomorrow).len()), (1, 2));
    assert_eq!((tonight.logs[0].from, tonight.logs[0].to), (0, 2));
    assert_eq!((tomorrow.logs[0].from, tomorrow.logs[0].to), (2, 6));
}

#[test]
fn what_the_night_before_had_not_read_is_part_of_tonight() {
    let lines = [
        visit(-100, "a", "weather", "one.example:443"),
        visit(-50, "b", "weather", "two.example:443"),
    ]
    .concat();
    let mut fold = Fold::new(today(), at(NIGHT));
    let mut log = fold.log("acme/gw-1", Some(2));
    for (index, line) in (0..).zip(&lines) {
        assert!(log.handle_entry(index, &line.0).is_continue());
    }
    log.finish();
    let observations = fold.finish();
    assert_eq!(all_seen(&observations).len(), 1);
    assert_eq!((observations.logs[0].from, observations.logs[0].to), (2, 4));
    assert_eq!(
        only(&observations, "weather", "two.example:443").tally().first,
        at(-50)
    );
}

#[test]
fn an_entry_dated_in_the_far_future_hides_nothing() {
    let lines = [
        visit(10, "a", "weather", "one.example:443"),
        visit(400 * NIGHT, "b", "weather", "two.example:443"),
        visit(20, "c", "weather", "three.example:443"),
    ]
    .concat();
    assert_eq!(all_seen(&fold(today(), &[&lines])).len(), 3);
}

#[test]
fn denied_attempts_and_failed_lookups_are_attempts() {
    let lines = [
        about(Open, 1, "a", "weather", "gone.example:443"),
        about(Close, 2, "a", "weather", "gone.example:443").failed(DnsResult::NxDomain),
        about(Open, 3, "b", "weather", "shut.example:443").refused(RefusalReason::Quarantined),
    ];
    let observations = fold(today(), &[&lines]);
    let gone = only(&observations, "weather", "gone.example:443").tally();
    assert_eq!(
        (gone.connections, gone.established, gone.failed_lookups),
        (1, 0, 1)
    );
    assert_eq!(gone.beyond_lookup(), 0);
    let shut = only(&observations, "weather", "shut.example:443").tally();
    assert_eq!((shut.connections, shut.established, shut.denied), (1, 0, 1));
}

#[test]
fn nobody_is_never_taken_for_somebody() {
    let lines = [
        about(Open, 1, "a", "weather", "api.example:443")
            .of_nobody()
            .refused(RefusalReason::CredentialsMissing),
        // A plugin's name without a proof is a claim.
        about(Open, 2, "b", "weather", "api.example:443").with(|event| {
            event.attribution = Some(base::Attribution::None);
        }),
        event(Open, 3).of("weather", 1).refused(RefusalReason::Malformed),
    ];
    let observations = fold(today(), &[&lines]);
    assert!(observations.seen.is_empty());
    let strays: Vec<_> = observations
        .strays
        .keys()
        .map(|stray| (stray.who.is_some(), stray.target.is_some(), stray.refusal))
        .collect();
    assert_eq!(
        strays,
        [
            (false, true, None),
            (false, true, Some(RefusalReason::CredentialsMissing)),
            (true, false, Some(RefusalReason::Malformed)),
        ]
    );
    assert!(lines[2].plugin_id().is_some());
}

#[test]
fn names_inside_a_connection_are_kept_where_they_differ() {
    let lines = [
        about(Close, 1, "a", "weather", "ok.example:443")
            .reached(1, 1)
            .sni("ok.example"),
        about(Close, 2, "b", "weather", "ok.example:443")
            .reached(1, 1)
            .sni("OK.example."),
        about(Close, 3, "c", "weather", "ok.example:443")
            .reached(1, 1)
            .sni("evil.example"),
        about(Close, 4, "d", "weather", "ok.example:443")
            .reached(1, 1)
            .sni("absent"),
        about(Close, 5, "e", "weather", "ok.example:443")
            .reached(1, 1)
            .sni("a b\\x00"),
        about(Close, 6, "f", "weather", "ok.example:80")
            .reached(1, 1)
            .with(|event| {
                event.host_header = Some("other.example:8080".to_owned());
            }),
    ];
    let observations = fold(today(), &[&lines]);
    let observation = only(&observations, "weather", "ok.example:443");
    let names: Vec<String> = odd(observation)
        .inner_names
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["evil.example", "a b\\x00"]);
    assert_eq!(odd(observation).unnamed_tls.as_ref().unwrap().connections, 1);
    let plain = only(&observations, "weather", "ok.example:80");
    let names: Vec<String> = odd(plain).inner_names.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["other.example"]);
}

#[test]
fn private_answers_are_told_apart_from_what_the_operator_allowed() {
    let answers = |id: &str, target: &str, all: &[&str], dialed: Option<&str>| {
        let (all, dialed) = (all.iter().map(|ip| ip.parse().unwrap()).collect(), dialed);
        about(Close, 1, id, "weather", target)
            .reached(1, 1)
            .with(|event| {
                event.resolved_ips = all;
                event.dialed_ip = dialed.map(|ip| ip.parse().unwrap());
            })
    };
    let lines = [
        answers(
            "a",
            "mixed.example:443",
            &["8.8.8.8", "10.0.0.1"],
            Some("8.8.8.8"),
        ),
        answers("b", "allowed.example:443", &["10.0.0.1"], Some("10.0.0.1")),
        answers("c", "mapped.example:443", &["127.0.0.1"], Some("127.0.0.1"))
            .with(|event| event.dns_result = Some(DnsResult::Override)),
        answers("d", "floor.example:443", &["169.254.169.254"], None).refused(RefusalReason::Floor),
        answers("e", "169.254.169.254:80", &[], None).refused(RefusalReason::Floor),
    ];
    let observations = fold(today(), &[&lines]);
    let facts = |target: &str| {
        let odd = only(&observations, "weather", target).odd.as_deref();
        (
            odd.is_some_and(|odd| odd.mixed_answers.is_some()),
            odd.is_some_and(|odd| odd.floor.is_some()),
        )
    };
    assert_eq!(facts("mixed.example:443"), (true, false));
    assert_eq!(facts("allowed.example:443"), (false, false));
    assert_eq!(facts("mapped.example:443"), (false, false));
    assert_eq!(facts("floor.example:443"), (false, true));
    assert_eq!(facts("169.254.169.254:80"), (false, false));
}

#[test]
fn a_gap_reaches_back_to_the_last_sign_of_life() {
    let gap = |seconds| event(Gap, seconds).with(|event| event.cause = Some("torn tail".to_owned()));
    let died_today = [
        visit(100, "a", "weather", "api.example:443").to_vec(),
        vec![event(Start, NIGHT + 50), gap(NIGHT + 51)],
        visit(NIGHT + 100, "b", "weather", "api.example:443").to_vec(),
        vec![gap(NIGHT + 200)],
    ]
    .concat();
    let observations = fold(today(), &[&died_today]);
    assert_eq!(observations.gaps.len(), 1);
    assert_eq!(
        (observations.gaps[0].from, observations.gaps[0].to),
        (at(101), at(NIGHT + 51))
    );
    assert_eq!(observations.gaps[0].cited.index, 3);

    let tomorrow = Period {
        from: at(NIGHT),
        to: at(2 * NIGHT),
    };
    assert_eq!(fold(tomorrow, &[&died_today]).gaps.len(), 2);
    let later = Period {
        from: at(2 * NIGHT),
        to: at(3 * NIGHT),
    };
    assert!(fold(later, &[&died_today]).gaps.is_empty());
}

#[test]
fn what_a_crash_cut_short_is_missing_for_its_plugin_and_not_alive() {
    let lines = [
        about(Open, 100, "a", "weather", "api.example:443"),
        about(Open, 110, "b", "weather", "api.example:443"),
        about(Open, 120, "c", "clock", "time.example:443"),
        about(Close, 130, "c", "clock", "time.example:443").reached(1, 1),
        event(Start, 200),
        event(Start, 210),
    ];
    let observations = fold(today(), &[&lines]);
    let [gap] = observations.gaps.as_slice() else {
        panic!("{:#?}", observations.gaps);
    };
    assert_eq!(
        gap.plugin_id.as_ref().map(base::PluginId::as_str),
        Some("weather")
    );
    assert_eq!((gap.count, gap.cited.index), (Some(2), 4));
    assert_eq!((gap.from, gap.to), (at(130), at(200)));
    assert_eq!(only(&observations, "weather", "api.example:443").alive_at_end, 0);
    // A gateway that stops has said how its connections ended.
    let stopped = [lines[0].clone(), event(Stop, 190), event(Start, 200)];
    assert!(fold(today(), &[&stopped]).gaps.is_empty());
}

fn named(kind: evidence::EventKind, seconds: i64, session: &str) -> Line {
    event(kind, seconds).with(|event| event.scope = Some(session.to_owned()))
}

#[test]
fn a_process_that_takes_over_ends_nothing_of_the_one_that_goes_on_beside_it() {
    let api = "api.example:443";
    let lines = [
        event(Start, 90),
        about(Open, 100, "a-1", "weather", api),
        named(Start, 200, "a"),
        about(Open, 210, "b-1", "clock", api),
        about(Close, 220, "a-1", "weather", api).reached(5, 7),
        named(Stop, 230, "a"),
        about(Close, 240, "b-1", "clock", api).reached(1, 2),
        event(Stop, 250),
    ];
    let observations = fold(today(), &[&lines]);
    assert!(observations.gaps.is_empty(), "{:#?}", observations.gaps);
    for (plugin, bytes) in [("weather", 5), ("clock", 1)] {
        let seen = only(&observations, plugin, api);
        assert_eq!((seen.tally().connections, seen.tally().bytes_out), (1, bytes));
        assert_eq!(seen.alive_at_end, 0);
    }
    // At midnight both are alive, also where the one that took over began after it.
    for midnight in [215, 150] {
        let shifted: Vec<Line> = lines
            .iter()
            .map(|line| {
                let after = line.0.time.plus_seconds(NIGHT - midnight);
                line.clone().with(|event| event.time = after)
            })
            .collect();
        let observations = fold(today(), &[&shifted]);
        assert!(observations.gaps.is_empty(), "{:#?}", observations.gaps);
        assert_eq!(only(&observations, "weather", api).alive_at_end, 1);
    }
}

#[test]
fn what_one_of_two_processes_took_with_it_is_missing_for_its_plugins_alone() {
    let api = "api.example:443";
    let lines = [
        about(Open, 100, "a-1", "weather", api),
        named(Start, 200, "a"),
        about(Open, 210, "b-1", "clock", api),
        named(Gap, 220, "a"),
        about(Close, 240, "b-1", "clock", api).reached(1, 2),
    ];
    let missing = |observations: &Observations| -> Vec<(String, Option<u64>)> {
        let plugin = |gap: &crate::observation::Gap| gap.plugin_id.as_ref().unwrap().to_string();
        let gaps = observations.gaps.iter();
        gaps.map(|gap| (plugin(gap), gap.count)).collect()
    };
    let observations = fold(today(), &[&lines]);
    assert_eq!(missing(&observations), [("weather".to_owned(), Some(1))]);
    assert_eq!(only(&observations, "weather", api).alive_at_end, 0);
    // The successor died, and the one before goes on.
    let mut lines = lines;
    lines[3] = named(Gap, 220, "b");
    lines[4] = about(Close, 240, "a-1", "weather", api).reached(1, 2);
    assert_eq!(
        missing(&fold(today(), &[&lines])),
        [("clock".to_owned(), Some(1))]
    );
    // Both died, or nothing stood.
    lines[3] = event(Start, 220);
    assert_eq!(missing(&fold(today(), &[&lines[..4]])).len(), 2);
    assert!(fold(today(), &[&[named(Gap, 220, "a")]]).gaps.is_empty());
}

#[test]
fn a_crash_that_shows_only_after_the_period_is_missing_in_it_too() {
    let lines = [
        about(Open, -100, "a", "weather", "api.example:443").bytes(7, 7),
        event(Start, NIGHT + 100),
        event(Start, NIGHT + 200),
    ];
    let observations = fold(today(), &[&lines]);
    assert_eq!(observations.gaps.len(), 1);
    let observation = only(&observations, "weather", "api.example:443");
    assert_eq!(
        (observation.tally().connections, observation.alive_at_end),
        (1, 0)
    );
    let tomorrow = Period {
        from: at(NIGHT),
        to: at(2 * NIGHT),
    };
    assert_eq!(fold(tomorrow, &[&lines]).gaps.len(), 1);
    let later = Period {
        from: at(2 * NIGHT),
        to: at(3 * NIGHT),
    };
    assert!(fold(later, &[&lines]).gaps.is_empty());
}

proptest! {
    /// However a day is cut in two, nothing is lost and nothing is counted twice.
    #[test]
    fn two_adjoining_periods_together_hold_every_byte(
        cut in 1_i64..NIGHT,
        steps in proptest::collection::vec((0_i64..NIGHT, 0_u8..5, 0_u64..1000), 1..60),
    ) {
        let mut steps = steps;
        steps.sort_unstable();
        let mut sent = [0_u64; 5];
        let lines: Vec<Line> = steps
            .iter()
            .map(|&(seconds, id, bytes)| {
                sent[usize::from(id)] += bytes;
                about(Progress, seconds, &id.to_string(), "weather", "api.example:443")
                    .bytes(sent[usize::from(id)], 0)
            })
            .collect();
        let bytes = |from, to| {
            let observations = fold(Period { from: at(from), to: at(to) }, &[&lines]);
            all_seen(&observations).iter().map(|(_, _, seen)| seen.tally().bytes_out).sum::<u64>()
        };
        prop_assert_eq!(bytes(0, cut) + bytes(cut, NIGHT), sent.iter().sum::<u64>());
    }

    /// Events in any order and with any holes are counted, never a panic.
    #[test]
    fn no_order_of_events_makes_the_fold_panic(
        steps in proptest::collection::vec((-1000_i64..NIGHT + 1000, 0_u8..4, 0_u8..8), 0..40),
    ) {
        let kinds = [Open, Close, Progress, Start, Stop, Gap, evidence::EventKind::Connected,
            evidence::EventKind::Refused];
        let lines: Vec<Line> = steps
            .iter()
            .map(|&(seconds, id, kind)| {
                about(kinds[usize::from(kind)], seconds, &id.to_string(), "weather", "api.example:443")
            })
            .collect();
        let observations = fold(today(), &[&lines]);
        for (_, _, observation) in all_seen(&observations) {
            let tally = observation.tally();
            prop_assert!(tally.first <= tally.last);
            prop_assert!(tally.established + tally.denied <= tally.connections);
        }
    }
}
