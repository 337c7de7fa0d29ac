//! Benign twins: what looks like a breach and is none.

use std::net::{IpAddr, Ipv4Addr};

use base::{DnsResult, Mode, ObservedScheme, Outcome, Reason, RefusalReason, SniVisibility, Tier};
use serde_json::json;

use super::breaches::keeps_its_word;
use super::plot::Plot;
use super::{DAY_S, Kind};

pub(super) const KINDS: [Kind; 24] = [
    Kind {
        name: "upper_case",
        what: "`API.X` written for `api.x`",
        plant: upper_case,
    },
    Kind {
        name: "trailing_dot",
        what: "`api.x.` written for `api.x`",
        plant: trailing_dot,
    },
    Kind {
        name: "idn",
        what: "declared as U-label, asked for as A-label",
        plant: idn,
    },
    Kind {
        name: "declared_redirect",
        what: "a redirect to another declared host",
        plant: declared_redirect,
    },
    Kind {
        name: "retries",
        what: "nobody answered, and then somebody did",
        plant: retries,
    },
    Kind {
        name: "failed_lookups",
        what: "a declared name that does not resolve",
        plant: failed_lookups,
    },
    Kind {
        name: "new_host",
        what: "never seen before, and declared",
        plant: new_host,
    },
    Kind {
        name: "many_hosts",
        what: "forty names under `*.X`",
        plant: many_hosts,
    },
    Kind {
        name: "declared_port",
        what: "another port, declared: one, a list, a range, any",
        plant: declared_port,
    },
    Kind {
        name: "declared_depth",
        what: "`a.b.X` for `**.X`",
        plant: declared_depth,
    },
    Kind {
        name: "declared_network",
        what: "an address inside a declared network",
        plant: declared_network,
    },
    Kind {
        name: "web_socket",
        what: "`wss` seen as TLS, `ws` seen as HTTP",
        plant: web_socket,
    },
    Kind {
        name: "declared_ssh",
        what: "SSH, declared as `tcp`",
        plant: declared_ssh,
    },
    Kind {
        name: "silent_tunnel",
        what: "a declared tunnel in which nobody spoke",
        plant: silent_tunnel,
    },
    Kind {
        name: "no_sni",
        what: "TLS without a name inside: worth a note",
        plant: no_sni,
    },
    Kind {
        name: "hidden_sni",
        what: "a name hidden by ECH: worth a note",
        plant: hidden_sni,
    },
    Kind {
        name: "declared_sni",
        what: "another declared name inside: worth a note",
        plant: declared_sni,
    },
    Kind {
        name: "mixed_answers",
        what: "private answers beside public ones: worth a note",
        plant: mixed_answers,
    },
    Kind {
        name: "denied_and_declared",
        what: "declared, and not on the operators' list",
        plant: denied_and_declared,
    },
    Kind {
        name: "over_quota",
        what: "declared, and refused for being too many",
        plant: over_quota,
    },
    Kind {
        name: "two_builds",
        what: "each of two versions by its own manifest",
        plant: two_builds,
    },
    Kind {
        name: "expires_later",
        what: "before its declaration expires",
        plant: expires_later,
    },
    Kind {
        name: "declared_over_midnight",
        what: "a declared tunnel that crosses midnight",
        plant: declared_over_midnight,
    },
    Kind {
        name: "nothing_promised",
        what: "`[]` declared, and nothing seen",
        plant: nothing_promised,
    },
];

fn upper_case(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let visit = plot.visit(at, &declared).written(&declared.to_uppercase());
    plot.make_some(at, &visit);
}

fn trailing_dot(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let visit = plot
        .visit(at, &declared)
        .written(&declared.replace(":443", ".:443"));
    plot.make_some(at, &visit);
}

fn idn(plot: &mut Plot) {
    let (declared, asked) = [
        ("bücher.example", "xn--bcher-kva.example"),
        ("STRASSE.example", "strasse.example"),
        ("*.münchen.example", "www.xn--mnchen-3ya.example"),
    ][plot.case % 3];
    let build = plot.build(json!([declared]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("{asked}:443"));
}

fn declared_redirect(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let build = plot.build(json!([format!("api.{own}"), format!("*.{other}")]));
    let at = plot.run(build);
    let first = plot.visit(at, &format!("api.{own}:443"));
    let when = first.at;
    plot.make(at, first);
    let second = plot.visit(at, &format!("eu.{other}:443"));
    plot.make(
        at,
        second.during(when.plus_seconds(1), Some(when.plus_seconds(3))),
    );
}

fn retries(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let outcome = [
        Outcome::ConnectFailed,
        Outcome::ConnectTimeout,
        Outcome::ServerReset,
    ][plot.case % 3];
    let visit = plot.visit(at, &declared).unanswered(outcome);
    plot.make_some(at, &visit);
    plot.ordinary(at, &declared);
}

fn failed_lookups(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    for result in [
        DnsResult::NxDomain,
        DnsResult::NoData,
        DnsResult::ServFail,
        DnsResult::Timeout,
    ] {
        let visit = plot.visit(at, &declared).unresolved(result);
        plot.make_some(at, &visit);
    }
}

fn new_host(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("*.{own}")]));
    let yesterday = plot.run_during(build, plot.time(-DAY_S), Some(plot.time(-DAY_S / 2)));
    let visit = plot.visit(yesterday, &format!("old.{own}:443"));
    plot.visits
        .push(visit.during(plot.time(-80_000), Some(plot.time(-79_000))));
    // What was over before the day is no part of it.
    plot.builds[build].runs.pop();
    let at = plot.run(build);
    plot.ordinary(at, &format!("new-{}.{own}:443", plot.case));
}

fn many_hosts(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("*.{own}")]));
    let at = plot.run(build);
    for number in 0..40 {
        let visit = plot.visit(at, &format!("shard-{number}.{own}:443"));
        plot.make(at, visit);
    }
}

fn declared_port(plot: &mut Plot) {
    let own = plot.domain();
    let (entry, port) = [
        (format!("{own}:8443"), 8443),
        (format!("{own}:443,9000-9100"), 9100),
        (format!("https://{own}:*"), 65_535),
    ][plot.case % 3]
        .clone();
    let build = plot.build(json!([entry]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("{own}:{port}"));
}

fn declared_depth(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("**.{own}")]));
    let at = plot.run(build);
    for name in ["a", "a.b", "a.b.c.d"] {
        plot.ordinary(at, &format!("{name}.{own}:443"));
    }
}

fn declared_network(plot: &mut Plot) {
    let (entry, address) = [
        ("8.20.0.0/16", "8.20.255.255"),
        ("[2001:4860:4860::]/48", "[2001:4860:4860::8888]"),
        ("8.8.4.4", "8.8.4.4"),
    ][plot.case % 3];
    let build = plot.build(json!([entry]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("{address}:443"));
}

fn web_socket(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("wss://{own}"), format!("ws://plain.{own}")]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("{own}:443"));
    let visit = plot.visit_as(at, &format!("plain.{own}:80"), Some(ObservedScheme::Http));
    plot.make_some(at, &visit);
}

fn declared_ssh(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("tcp://git.{own}:22")]));
    let at = plot.run(build);
    let spoken = [ObservedScheme::Ssh, ObservedScheme::Tcp][plot.case % 2];
    let visit = plot.visit_as(at, &format!("git.{own}:22"), Some(spoken));
    plot.make_some(at, &visit);
}

fn silent_tunnel(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let visit = plot.visit_as(at, &declared, None);
    plot.make_some(at, &visit);
}

fn no_sni(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let visit = plot.visit(at, &declared).names("absent");
    let visit = visit.with(|facts| facts.sni_visibility = Some(SniVisibility::Absent));
    let times = plot.make_some(at, &visit);
    plot.note(at, Reason::SniMismatch, &declared, times);
}

fn hidden_sni(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let visit = plot.visit(at, &declared).names("cloudflare-ech.com");
    let visit = visit.with(|facts| facts.sni_visibility = Some(SniVisibility::Ech));
    let times = plot.make_some(at, &visit);
    plot.note(at, Reason::NoCoverage, &declared, times);
}

fn declared_sni(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("api.{own}"), format!("www.{own}")]));
    let at = plot.run(build);
    let authority = format!("api.{own}:443");
    let visit = plot.visit(at, &authority).names(&format!("www.{own}"));
    let times = plot.make_some(at, &visit);
    plot.note(at, Reason::SniMismatch, &authority, times);
}

fn mixed_answers(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let private = IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7));
    let visit = plot
        .visit(at, &declared)
        .with(|facts| facts.resolved_ips.push(private));
    let times = plot.make_some(at, &visit);
    plot.note(at, Reason::PrivateResolution, &declared, times);
}

fn denied_and_declared(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    plot.tier(Tier::Low);
    let visit = plot
        .visit(at, &declared)
        .refused(RefusalReason::Tier, Mode::Enforce);
    plot.make_some(at, &visit);
}

fn over_quota(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let reason = [
        RefusalReason::Quota,
        RefusalReason::Draining,
        RefusalReason::EvidenceUnavailable,
    ][plot.case % 3];
    let visit = plot.visit(at, &declared).refused(reason, Mode::Observe);
    plot.make_some(at, &visit);
    plot.ordinary(at, &declared);
}

fn two_builds(plot: &mut Plot) {
    let own = plot.domain();
    let (narrow, wide) = (format!("api.{own}"), format!("cdn.{own}"));
    let first = plot.build(json!([narrow]));
    let second = plot.build(json!([wide]));
    let (old, new) = (plot.run(first), plot.run(second));
    plot.ordinary(old, &format!("{narrow}:443"));
    plot.ordinary(new, &format!("{wide}:443"));
}

fn expires_later(plot: &mut Plot) {
    let own = plot.domain();
    let tomorrow = plot.time(DAY_S + 3600);
    let build = plot.build(json!([{"to": format!("api.{own}"), "expires": tomorrow}]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("api.{own}:443"));
}

fn declared_over_midnight(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("api.{own}")]));
    let at = plot.run_during(build, plot.time(-7200), Some(plot.time(DAY_S + 7200)));
    let visit = plot.visit(at, &format!("api.{own}:443"));
    let visit = match plot.case % 3 {
        // Not a word all day; it stood.
        0 => visit.during(plot.time(-3600), Some(plot.time(DAY_S + 3600))),
        1 => visit.during(plot.time(-3600), Some(plot.time(3600))),
        _ => visit.during(plot.time(DAY_S - 60), Some(plot.time(DAY_S + 60))),
    };
    plot.make(at, visit);
}

fn nothing_promised(plot: &mut Plot) {
    let build = plot.build(json!([]));
    plot.run(build);
}
