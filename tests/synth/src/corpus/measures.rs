//! Measures: promises about classes of data, amounts, libraries and time, broken and kept; and what two
//! people let pass for a while.
//!
//! Whatever runs out or comes in force does so at noon, within one run: what the run did before is judged
//! by what was in force then.

use base::{Backing, PolicyException, Reason, Tier};
use serde_json::{Value, json};

use super::plot::{At, Plot};
use super::{DAY_S, Kind, NOON_S};
use crate::truth::{Due, Weight};

pub(super) const BREACHES: [Kind; 12] = [
    Kind {
        name: "data_class",
        what: "data of a class that the host is not declared for",
        plant: data_class,
    },
    Kind {
        name: "too_many_a_minute",
        what: "more connections within a minute than declared",
        plant: too_many_a_minute,
    },
    Kind {
        name: "too_many_bytes",
        what: "more bytes in a run than declared, each place below it",
        plant: too_many_bytes,
    },
    Kind {
        name: "too_long",
        what: "a run that lasts longer than declared",
        plant: too_long,
    },
    Kind {
        name: "sdk_drift",
        what: "a library outside its declared range",
        plant: sdk_drift,
    },
    Kind {
        name: "expired_midway",
        what: "visits after the declaration expired, others before",
        plant: expired_midway,
    },
    Kind {
        name: "widened_midway",
        what: "visits before the wider manifest, others after",
        plant: widened_midway,
    },
    Kind {
        name: "narrowed_midway",
        what: "visits after the narrower manifest, others before",
        plant: narrowed_midway,
    },
    Kind {
        name: "exception_ended",
        what: "visits after an exception ended, others before",
        plant: exception_ended,
    },
    Kind {
        name: "exception_of_one",
        what: "an exception that only one of the two signed",
        plant: exception_of_one,
    },
    Kind {
        name: "approval_lapsed",
        what: "visits after the approval that the tier asks for ran out",
        plant: approval_lapsed,
    },
    Kind {
        name: "renewed_too_late",
        what: "visits between an approval's end and the next approval",
        plant: renewed_too_late,
    },
];

pub(super) const TWINS: [Kind; 11] = [
    Kind {
        name: "declared_class",
        what: "a class declared for this host, or none promised",
        plant: declared_class,
    },
    Kind {
        name: "as_many_a_minute",
        what: "exactly as many in any minute as declared",
        plant: as_many_a_minute,
    },
    Kind {
        name: "as_many_bytes",
        what: "exactly as many bytes as declared",
        plant: as_many_bytes,
    },
    Kind {
        name: "as_long",
        what: "a run that lasts exactly as long as declared",
        plant: as_long,
    },
    Kind {
        name: "sdk_in_range",
        what: "libraries in their ranges, and one not named",
        plant: sdk_in_range,
    },
    Kind {
        name: "before_it_expired",
        what: "a last byte a microsecond before the end",
        plant: before_it_expired,
    },
    Kind {
        name: "after_it_was_widened",
        what: "a first byte at the very moment of the wider one",
        plant: after_it_was_widened,
    },
    Kind {
        name: "let_pass",
        what: "an exception that two signed: worth a note",
        plant: let_pass,
    },
    Kind {
        name: "exception_ran_out",
        what: "an ended exception that nobody needs: worth a note",
        plant: exception_ran_out,
    },
    Kind {
        name: "approval_renewed",
        what: "an approval renewed before it ran out",
        plant: approval_renewed,
    },
    Kind {
        name: "approval_not_asked",
        what: "an approval that ran out and nobody asks for: worth a note",
        plant: approval_not_asked,
    },
];

/// What is declared for one host, with fields of the manifest beside it.
fn declared(plot: &mut Plot, fields: &[(&str, Value)]) -> (At, String) {
    let own = plot.domain();
    let build = plot.build(json!([format!("api.{own}")]));
    for (field, value) in fields {
        plot.declare(build, field, value.clone());
    }
    (plot.run(build), format!("api.{own}:443"))
}

/// A visit from one moment to another, in microseconds from noon.
fn around_noon(plot: &mut Plot, at: At, authority: &str, from_us: i64, to_us: i64) {
    let visit = plot.visit(at, authority);
    let noon = plot.time(NOON_S).unix_us();
    let moment = |us| base::Timestamp::from_unix_us(noon + us);
    plot.make(at, visit.during(moment(from_us), Some(moment(to_us))));
}

const SECOND_US: i64 = 1_000_000;

/// A few visits in the morning and a few in the afternoon; how many of each. The third case has a tunnel
/// across noon as well, which is held against both.
fn all_day(plot: &mut Plot, at: At, authority: &str) -> (u64, u64, u64) {
    let (morning, afternoon) = (plot.dice.between(1, 4), plot.dice.between(1, 4));
    for number in 0..morning {
        let ends = -SECOND_US * 900 * i64::try_from(number).unwrap_or(0) - 1;
        around_noon(plot, at, authority, ends - SECOND_US, ends);
    }
    for number in 0..afternoon {
        let begins = SECOND_US * 900 * i64::try_from(number).unwrap_or(0);
        around_noon(plot, at, authority, begins, begins + SECOND_US);
    }
    let across = u64::from(plot.case % 3 == 2);
    if across == 1 {
        around_noon(plot, at, authority, -3600 * SECOND_US, 3600 * SECOND_US);
    }
    (morning, afternoon, across)
}

fn data_class(plot: &mut Plot) {
    let own = plot.domain();
    let authority = format!("api.{own}:443");
    // Declared for the manifest as a whole, for this host alone, and of two runs only one breaks it.
    let build = match plot.case % 3 {
        1 => {
            let host = json!({"to": format!("api.{own}"), "data_classes": ["official"]});
            let build = plot.build(json!([host]));
            plot.declare(build, "data_classes", json!(["official", "secret"]));
            build
        }
        _ => plot.build(json!([format!("api.{own}")])),
    };
    if plot.case % 3 == 2 {
        let kept = plot.run(build);
        plot.handles(kept, "official");
        plot.ordinary(kept, &authority);
    }
    let at = plot.run(build);
    plot.handles(at, "secret");
    let visit = plot.visit(at, &authority);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::DataClassBreach, &authority, times);
}

fn declared_class(plot: &mut Plot) {
    let own = plot.domain();
    let host = json!({"to": format!("api.{own}"), "data_classes": ["secret"]});
    let (egress, classes) = [
        (json!([host]), json!(["official"])),
        (json!([format!("api.{own}")]), json!(["official", "secret"])),
        (json!([format!("api.{own}")]), json!([])),
    ][plot.case % 3]
        .clone();
    let build = plot.build(egress);
    plot.declare(build, "data_classes", classes);
    let at = plot.run(build);
    plot.handles(at, "secret");
    plot.ordinary(at, &format!("api.{own}:443"));
}

/// Visits at these seconds of a day, at one gateway after the other.
fn at_seconds(plot: &mut Plot, at: At, authority: &str, seconds: impl Iterator<Item = i64>) {
    for (number, second) in seconds.enumerate() {
        let mut visit = plot.visit(at, authority);
        visit.gateway = number % 3;
        let begin = plot.time(second);
        plot.make(at, visit.during(begin, Some(begin.plus_seconds(1))));
    }
}

const A_MINUTE: u64 = 5;

fn too_many_a_minute(plot: &mut Plot) {
    let limits = json!({"connections_per_minute": A_MINUTE});
    let (at, authority) = declared(plot, &[("limits", limits)]);
    // Within a minute of the clock, across two of them, and spread over almost sixty seconds.
    let (begin, apart) = [(40_000, 2), (40_045, 6), (50_001, 9)][plot.case % 3];
    let count = 6 + i64::try_from(plot.case % 2).unwrap_or(0);
    at_seconds(plot, at, &authority, (0..count).map(|n| begin + n * apart));
    at_seconds(plot, at, &authority, (0..5).map(|n| 60_000 + n));
    owe_limit(plot, at, u64::try_from(count).unwrap_or(0));
}

fn as_many_a_minute(plot: &mut Plot) {
    let limits = json!({"connections_per_minute": A_MINUTE});
    let (at, authority) = declared(plot, &[("limits", limits)]);
    at_seconds(plot, at, &authority, (0..5).map(|n| 40_000 + n));
    // Sixty seconds later is another minute.
    at_seconds(plot, at, &authority, (0..5).map(|n| 40_060 + n));
}

/// What one visit moves.
const BYTES: u64 = 1_400 + 5_200;

fn too_many_bytes(plot: &mut Plot) {
    let own = plot.domain();
    let hosts = ["a", "b", "c"].map(|name| format!("{name}.{own}"));
    let build = plot.build(json!(hosts));
    plot.declare(
        build,
        "limits",
        json!({"bytes_per_run": format!("{}B", 3 * BYTES - 1)}),
    );
    let at = plot.run(build);
    for host in &hosts {
        let visit = plot.visit(at, &format!("{host}:443"));
        plot.make(at, visit);
    }
    owe_limit(plot, at, 3);
}

fn as_many_bytes(plot: &mut Plot) {
    let limits = json!({"bytes_per_run": format!("{}B", 3 * BYTES)});
    let (at, authority) = declared(plot, &[("limits", limits)]);
    at_seconds(plot, at, &authority, [30_000, 40_000, 50_000].into_iter());
}

fn too_long(plot: &mut Plot) {
    let allowed = ["PT1H", "PT12H", "PT21H59M59S"][plot.case % 3];
    let (at, authority) = declared(plot, &[("limits", json!({"wall_time": allowed}))]);
    plot.ordinary(at, &authority);
    owe_limit(plot, at, 0);
}

fn as_long(plot: &mut Plot) {
    let allowed = ["PT22H", "PT24H", "22h"][plot.case % 3];
    let (at, authority) = declared(plot, &[("limits", json!({"wall_time": allowed}))]);
    plot.ordinary(at, &authority);
}

fn owe_limit(plot: &mut Plot, at: At, connections: u64) {
    plot.owe(at, bare(Reason::LimitExceeded, Weight::Breach, connections));
}

const fn bare(reason: Reason, weight: Weight, connections: u64) -> Due {
    Due {
        reason,
        weight,
        host: None,
        port: None,
        connections,
    }
}

fn sdk_drift(plot: &mut Plot) {
    let (name, version) = [("openai", "3.0"), ("OpenAI", "1.99"), ("openai", "2.0rc1")][plot.case % 3];
    let (at, authority) = declared(plot, &[("sdk_allowlist", json!(["openai>=2.0,<3.0"]))]);
    plot.holds(at, name, version);
    plot.ordinary(at, &authority);
    plot.owe(at, bare(Reason::SdkDrift, Weight::Breach, 0));
}

fn sdk_in_range(plot: &mut Plot) {
    let version = ["2.0", "2.9.1", "2.0.post1"][plot.case % 3];
    let (at, authority) = declared(plot, &[("sdk_allowlist", json!(["openai>=2.0,<3.0"]))]);
    plot.holds(at, "openai", version);
    plot.holds(at, "httpx", "99");
    plot.ordinary(at, &authority);
}

fn expired_midway(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([{"to": format!("api.{own}"), "expires": plot.time(NOON_S)}]));
    let at = plot.run(build);
    let authority = format!("api.{own}:443");
    let (_, afternoon, across) = all_day(plot, at, &authority);
    plot.breach(at, Reason::UndeclaredHost, &authority, afternoon + across);
}

fn before_it_expired(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([{"to": format!("api.{own}"), "expires": plot.time(NOON_S)}]));
    let at = plot.run(build);
    around_noon(plot, at, &format!("api.{own}:443"), -60 * SECOND_US, -1);
}

fn widened_midway(plot: &mut Plot) {
    let (at, authority) = changes_at_noon(plot, false);
    let (morning, _, across) = all_day(plot, at, &authority);
    plot.breach(at, Reason::UndeclaredHost, &authority, morning + across);
}

fn after_it_was_widened(plot: &mut Plot) {
    let (at, authority) = changes_at_noon(plot, false);
    around_noon(plot, at, &authority, 0, 60 * SECOND_US);
}

fn narrowed_midway(plot: &mut Plot) {
    let (at, authority) = changes_at_noon(plot, true);
    let (_, afternoon, across) = all_day(plot, at, &authority);
    plot.breach(at, Reason::UndeclaredHost, &authority, afternoon + across);
}

/// A build that is admitted again at noon, with one host more or one less; a run of it all day, and that
/// host.
fn changes_at_noon(plot: &mut Plot, narrows: bool) -> (At, String) {
    let own = plot.domain();
    let (narrow, wide) = (
        json!([format!("api.{own}")]),
        json!([format!("api.{own}"), format!("cdn.{own}")]),
    );
    let (first, second) = if narrows { (wide, narrow) } else { (narrow, wide) };
    let build = plot.build(first);
    plot.admit_again(build, second, NOON_S);
    let at = plot.run(build);
    (at, format!("cdn.{own}:443"))
}

/// An exception about the plot's plugin for `host`, until a moment.
fn exception(plot: &mut Plot, host: &str, until_s: i64, signatures: usize) {
    let exception = PolicyException {
        plugin_id: plot.plugin_id(),
        artifact_digest: None,
        reasons: [Reason::UndeclaredHost].into(),
        to: Some(host.to_owned()),
        why: "until the next version ships".to_owned(),
        signed_by: super::PEOPLE.map(str::to_owned),
        until: plot.time(until_s),
        backing: Backing::Unknown,
    };
    plot.exceptions.push((exception, signatures));
}

fn exception_ended(plot: &mut Plot) {
    let other = plot.domain();
    let (at, _) = declared(plot, &[]);
    exception(plot, &other, NOON_S, 2);
    let authority = format!("{other}:443");
    let (_, afternoon, across) = all_day(plot, at, &authority);
    plot.breach(at, Reason::UndeclaredHost, &authority, afternoon + across);
    plot.owe_build(at, bare(Reason::PolicyExpired, Weight::Note, 0));
}

fn exception_of_one(plot: &mut Plot) {
    let other = plot.domain();
    let (at, _) = declared(plot, &[]);
    let signatures = plot.case % 2;
    exception(plot, &other, 2 * DAY_S, signatures);
    let authority = format!("{other}:443");
    let visit = plot.visit(at, &authority);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, times);
}

fn let_pass(plot: &mut Plot) {
    let other = plot.domain();
    let (at, _) = declared(plot, &[]);
    exception(plot, &other, 2 * DAY_S, 2);
    let authority = format!("{other}:443");
    let visit = plot.visit(at, &authority);
    let times = plot.make_some(at, &visit);
    plot.note(at, Reason::UndeclaredHost, &authority, times);
}

fn exception_ran_out(plot: &mut Plot) {
    let other = plot.domain();
    let (at, authority) = declared(plot, &[]);
    exception(plot, &other, NOON_S, 2);
    plot.ordinary(at, &authority);
    plot.owe_build(at, bare(Reason::PolicyExpired, Weight::Note, 0));
}

/// A build in the tier that asks for approvals, approved until noon.
fn approved_until_noon(plot: &mut Plot) -> (At, String) {
    let (at, authority) = declared(plot, &[]);
    plot.tier(Tier::Medium);
    plot.approved_until(0, NOON_S);
    (at, authority)
}

fn approval_lapsed(plot: &mut Plot) {
    let (at, authority) = approved_until_noon(plot);
    // What was asked for in time may outlast it.
    let (_, afternoon, _) = all_day(plot, at, &authority);
    plot.breach(at, Reason::PolicyExpired, &authority, afternoon);
}

fn renewed_too_late(plot: &mut Plot) {
    let (at, authority) = approved_until_noon(plot);
    plot.approved_again(0, NOON_S + 60);
    around_noon(plot, at, &authority, -60 * SECOND_US, -1);
    around_noon(plot, at, &authority, 0, 60 * SECOND_US - 1);
    around_noon(plot, at, &authority, 60 * SECOND_US, 90 * SECOND_US);
    plot.breach(at, Reason::PolicyExpired, &authority, 1);
}

fn approval_renewed(plot: &mut Plot) {
    let (at, authority) = approved_until_noon(plot);
    // In time, and at the last moment.
    plot.approved_again(0, [NOON_S - 3600, NOON_S][plot.case % 2]);
    all_day(plot, at, &authority);
}

fn approval_not_asked(plot: &mut Plot) {
    let (at, authority) = approved_until_noon(plot);
    plot.tier(Tier::High);
    let (_, afternoon, _) = all_day(plot, at, &authority);
    plot.note(at, Reason::PolicyExpired, &authority, afternoon);
}
