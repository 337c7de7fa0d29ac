//! Breaches: ways of not keeping one's word, and what an audit must call each.

use std::net::{IpAddr, Ipv4Addr};

use base::{DnsResult, Mode, ObservedScheme, Reason, RefusalReason, Tier};
use serde_json::json;

use super::plot::{At, Plot};
use super::{DAY_S, Kind};
use crate::truth::{Due, Stray, Weight};

pub(super) const KINDS: [Kind; 27] = [
    Kind {
        name: "undeclared_host",
        what: "a host that nobody declared",
        plant: undeclared_host,
    },
    Kind {
        name: "empty_egress",
        what: "any host, where `[]` was declared",
        plant: empty_egress,
    },
    Kind {
        name: "suffix_trick",
        what: "`evil-X` and `X.evil.test` for `X` and `*.X`",
        plant: suffix_trick,
    },
    Kind {
        name: "label_boundary",
        what: "`notX` for `*.X` and `**.X`",
        plant: label_boundary,
    },
    Kind {
        name: "deep_subdomain",
        what: "`a.b.X` for `*.X`",
        plant: deep_subdomain,
    },
    Kind {
        name: "apex",
        what: "`X` for `*.X` and `**.X`",
        plant: apex,
    },
    Kind {
        name: "port",
        what: "a declared host on another port",
        plant: port,
    },
    Kind {
        name: "scheme",
        what: "a declared host and port, spoken to otherwise",
        plant: scheme,
    },
    Kind {
        name: "ip_literal",
        what: "an address, though its name may be declared",
        plant: ip_literal,
    },
    Kind {
        name: "name_into_network",
        what: "a name that resolves into a declared network",
        plant: name_into_network,
    },
    Kind {
        name: "punycode",
        what: "an A-label that looks like the declared name",
        plant: punycode,
    },
    Kind {
        name: "sni_mismatch",
        what: "a declared name outside, another inside TLS",
        plant: sni_mismatch,
    },
    Kind {
        name: "private_resolution",
        what: "a name that leads to private addresses only",
        plant: private_resolution,
    },
    Kind {
        name: "embedded_address",
        what: "an undeclared name that spells a private address",
        plant: embedded_address,
    },
    Kind {
        name: "after_revocation",
        what: "attempts of a revoked build",
        plant: after_revocation,
    },
    Kind {
        name: "expired",
        what: "a host whose declaration had expired",
        plant: expired,
    },
    Kind {
        name: "other_build",
        what: "what only the next version declares",
        plant: other_build,
    },
    Kind {
        name: "denied",
        what: "an undeclared host that the low tier denied",
        plant: denied,
    },
    Kind {
        name: "redirected",
        what: "a declared host, then where it redirects to",
        plant: redirected,
    },
    Kind {
        name: "failed_lookup_elsewhere",
        what: "an undeclared name that does not resolve",
        plant: failed_lookup_elsewhere,
    },
    Kind {
        name: "over_midnight",
        what: "an undeclared tunnel that crosses midnight",
        plant: over_midnight,
    },
    Kind {
        name: "several",
        what: "three kinds at once in one run of three",
        plant: several,
    },
    Kind {
        name: "forged_identity",
        what: "a header that claims an identity",
        plant: forged_identity,
    },
    Kind {
        name: "replayed_token",
        what: "the token of a run that has ended",
        plant: replayed_token,
    },
    Kind {
        name: "two_identities",
        what: "two proofs of identity that disagree",
        plant: two_identities,
    },
    Kind {
        name: "quiet_run",
        what: "network promised, nothing seen",
        plant: quiet_run,
    },
    Kind {
        name: "unattributed",
        what: "connections without identity",
        plant: unattributed,
    },
];

fn undeclared_host(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    let authority = format!("paste.{other}:443");
    // Case 3 is a tunnel in which nobody spoke.
    let scheme = (plot.case != 2).then_some(ObservedScheme::Tls);
    let visit = plot.visit_as(at, &authority, scheme);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, times);
    plot.ordinary(at, &declared);
}

fn empty_egress(plot: &mut Plot) {
    let other = plot.domain();
    let build = plot.build(json!([]));
    let at = plot.run(build);
    let authority = format!("{other}:443");
    let visit = plot.visit(at, &authority);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, times);
}

fn suffix_trick(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([own, format!("*.{own}")]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("{own}:443"));
    for authority in [
        format!("evil-{own}:443"),
        format!("{own}.evil.test:443"),
        format!("www.{own}.evil.test:443"),
    ] {
        undeclared(plot, at, &authority);
    }
}

fn label_boundary(plot: &mut Plot) {
    let own = plot.domain();
    let stars = ["*", "**", "*"][plot.case % 3];
    let build = plot.build(json!([format!("{stars}.{own}")]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("www.{own}:443"));
    undeclared(plot, at, &format!("not{own}:443"));
    undeclared(plot, at, &format!("www.not{own}:443"));
}

fn deep_subdomain(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!([format!("*.{own}")]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("b.{own}:443"));
    let deep = ["a.b", "a.b.c", "x.y.z.b"][plot.case % 3];
    undeclared(plot, at, &format!("{deep}.{own}:443"));
}

fn apex(plot: &mut Plot) {
    let own = plot.domain();
    let stars = ["*", "**", "*"][plot.case % 3];
    let build = plot.build(json!([format!("{stars}.{own}")]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("www.{own}:443"));
    undeclared(plot, at, &format!("{own}:443"));
}

fn port(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    let (port, scheme) = [
        (22, ObservedScheme::Ssh),
        (8443, ObservedScheme::Tls),
        (80, ObservedScheme::Http),
    ][plot.case % 3];
    let authority = format!("api.{own}:{port}");
    let visit = plot.visit_as(at, &authority, Some(scheme));
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredPort, &authority, times);
}

fn scheme(plot: &mut Plot) {
    let own = plot.domain();
    let (declared, port, spoken) = [
        (format!("https://{own}"), 443, ObservedScheme::Ssh),
        (format!("https://{own}"), 443, ObservedScheme::Http),
        (format!("http://{own}"), 80, ObservedScheme::Tls),
    ][plot.case % 3]
        .clone();
    let build = plot.build(json!([declared]));
    let at = plot.run(build);
    let authority = format!("{own}:{port}");
    let visit = plot.visit_as(at, &authority, Some(spoken));
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredScheme, &authority, times);
}

fn ip_literal(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    match plot.case % 3 {
        // The floor refuses it; it was an attempt at an address all the same.
        2 => {
            let authority = "169.254.169.254:80";
            let visit = plot
                .visit_as(at, authority, None)
                .refused(RefusalReason::Floor, Mode::Observe);
            plot.make(at, visit);
            plot.breach(at, Reason::IpLiteral, authority, 1);
        }
        case => {
            let authority = match case {
                0 => format!("{}:443", plot.dice.public_ip()),
                _ => format!("[2001:4860:4860::{:x}]:443", plot.dice.between(1, 0xffff)),
            };
            let visit = plot.visit(at, &authority);
            let times = plot.make_some(at, &visit);
            plot.breach(at, Reason::IpLiteral, &authority, times);
        }
    }
}

fn name_into_network(plot: &mut Plot) {
    let own = plot.domain();
    let build = plot.build(json!(["8.20.0.0/16"]));
    let at = plot.run(build);
    let authority = format!("{own}:443");
    let inside = IpAddr::V4(Ipv4Addr::new(8, 20, 30, 40));
    let visit = plot.visit(at, &authority).with(|facts| {
        facts.resolved_ips = vec![inside];
        facts.dialed_ip = Some(inside);
    });
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, times);
}

fn punycode(plot: &mut Plot) {
    // exämple, pаypal and аррӏе, the latter two with Cyrillic letters.
    let (own, lookalike) = [
        ("example.com", "xn--exmple-cua.com"),
        ("paypal.com", "xn--pypal-4ve.com"),
        ("apple.com", "xn--80ak6aa92e.com"),
    ][plot.case % 3];
    let build = plot.build(json!([own]));
    let at = plot.run(build);
    plot.ordinary(at, &format!("{own}:443"));
    undeclared(plot, at, &format!("{lookalike}:443"));
}

fn sni_mismatch(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    let inside = ["", "hidden.", "a.b."][plot.case % 3];
    let visit = plot.visit(at, &declared).names(&format!("{inside}{other}"));
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::SniMismatch, &declared, times);
}

fn private_resolution(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let private = ["10.1.2.3", "169.254.169.254", "fd00::7"][plot.case % 3];
    let private: IpAddr = private.parse().expect("an address");
    let visit = plot.visit(at, &declared).below_the_floor(vec![private]);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::PrivateResolution, &declared, times);
}

fn embedded_address(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    let authority = format!("10.0.0.{}.{other}:443", plot.case + 1);
    let private = IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(plot.case + 1).unwrap_or(1)));
    let visit = plot.visit(at, &authority).below_the_floor(vec![private]);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, times);
    plot.breach(at, Reason::PrivateResolution, &authority, times);
}

fn expired(plot: &mut Plot) {
    let own = plot.domain();
    let authority = format!("api.{own}:443");
    let noon = plot.time(DAY_S / 2);
    let build = plot.build(json!([{"to": format!("api.{own}"), "expires": noon}]));
    let (early, late) = (plot.run(build), plot.run(build));
    let visit = plot.visit(early, &authority);
    plot.make(
        early,
        visit.during(plot.time(3600 * 9), Some(plot.time(3600 * 9 + 5))),
    );
    let visit = plot.visit(late, &authority);
    // At the very moment it covers nothing any more.
    let begin = plot.time(DAY_S / 2 + 60 * i64::try_from(plot.case).unwrap_or(0));
    plot.make(late, visit.during(begin, Some(begin.plus_seconds(5))));
    plot.breach(late, Reason::UndeclaredHost, &authority, 1);
}

fn other_build(plot: &mut Plot) {
    let own = plot.domain();
    let (narrow, wide) = (format!("api.{own}"), format!("cdn.{own}"));
    let first = plot.build(json!([narrow]));
    let second = plot.build(json!([narrow, wide]));
    let (old, new) = (plot.run(first), plot.run(second));
    for at in [old, new] {
        plot.ordinary(at, &format!("{narrow}:443"));
    }
    plot.ordinary(new, &format!("{wide}:443"));
    undeclared(plot, old, &format!("{wide}:443"));
}

fn after_revocation(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    let visit = plot.visit(at, &declared);
    plot.make(
        at,
        visit.during(plot.time(3600 * 4), Some(plot.time(3600 * 4 + 9))),
    );
    super::losses::revoke(plot, at, plot.time(DAY_S / 2));
    // Where it may go and where it may not: both are attempts, and only one breaks a promise.
    let undeclared = format!("{other}:443");
    let times = plot.case as u64 + 1;
    for authority in [&declared, &undeclared] {
        for minute in 0..times {
            let visit = plot
                .visit(at, authority)
                .refused(RefusalReason::Revoked, Mode::Revoked);
            let seconds = DAY_S / 2 + 600 + 60 * i64::try_from(minute).unwrap_or(0);
            plot.make(at, visit.during(plot.time(seconds), None));
        }
        plot.note(at, Reason::AfterRevocation, authority, times);
    }
    plot.breach(at, Reason::UndeclaredHost, &undeclared, times);
}

fn denied(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, _) = keeps_its_word(plot, &own);
    plot.tier(Tier::Low);
    let authority = format!("{other}:443");
    let visit = plot
        .visit(at, &authority)
        .refused(RefusalReason::Tier, Mode::Enforce);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, times);
}

fn redirected(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    let first = plot.visit(at, &declared);
    let when = first.at;
    plot.make(at, first);
    let authority = format!("login.{other}:443");
    let second = plot.visit(at, &authority);
    plot.make(
        at,
        second.during(when.plus_seconds(1), Some(when.plus_seconds(2))),
    );
    plot.breach(at, Reason::UndeclaredHost, &authority, 1);
}

fn failed_lookup_elsewhere(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    let result = [DnsResult::NxDomain, DnsResult::ServFail, DnsResult::Timeout][plot.case % 3];
    let authority = format!("{other}:443");
    let visit = plot.visit(at, &authority).unresolved(result);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, times);
}

fn over_midnight(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let build = plot.build(json!([format!("api.{own}")]));
    let at = plot.run_during(build, plot.time(-7200), Some(plot.time(DAY_S + 7200)));
    let authority = format!("{other}:443");
    let mut visit = plot.visit(at, &authority);
    match plot.case % 3 {
        // Open since yesterday, heard of today, still open.
        0 => {
            visit.progress = (0..3).map(|n| plot.time(600 * n + 300)).collect();
            visit = visit.during(plot.time(-3600), None);
        }
        // Open since yesterday, ended today.
        1 => visit = visit.during(plot.time(-3600), Some(plot.time(3600))),
        // Opened today, ended tomorrow.
        _ => visit = visit.during(plot.time(DAY_S - 60), Some(plot.time(DAY_S + 60))),
    }
    plot.make(at, visit);
    plot.breach(at, Reason::UndeclaredHost, &authority, 1);
}

fn several(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let build = plot.build(json!([format!("api.{own}")]));
    let declared = format!("api.{own}:443");
    let runs: Vec<At> = (0..3).map(|_| plot.run(build)).collect();
    for &at in &runs {
        plot.ordinary(at, &declared);
    }
    let bad = runs[plot.case % 3];
    undeclared(plot, bad, &format!("{other}:443"));
    let authority = format!("api.{own}:9443");
    let visit = plot.visit(bad, &authority);
    plot.make(bad, visit);
    plot.breach(bad, Reason::UndeclaredPort, &authority, 1);
    let authority = format!("{}:443", plot.dice.public_ip());
    let visit = plot.visit(bad, &authority);
    plot.make(bad, visit);
    plot.breach(bad, Reason::IpLiteral, &authority, 1);
}

fn forged_identity(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let header = ["x-plugin-id", "x-run-id", "x-artifact-digest"][plot.case % 3];
    let visit = plot
        .visit(at, &declared)
        .with(|facts| facts.stripped_headers = vec![header.to_owned()]);
    let times = plot.make_some(at, &visit);
    plot.note(at, Reason::IdentityHeaderForged, &declared, times);
}

fn replayed_token(plot: &mut Plot) {
    let after_the_end = DAY_S - 1800;
    misused(
        plot,
        RefusalReason::RunEnded,
        Reason::CredentialsReplayed,
        after_the_end,
    );
}

fn two_identities(plot: &mut Plot) {
    let while_it_runs = DAY_S / 2;
    misused(
        plot,
        RefusalReason::CredentialsConflict,
        Reason::CredentialsConflict,
        while_it_runs,
    );
}

/// Somebody presents the credentials of a run that keeps its word, and is refused.
fn misused(plot: &mut Plot, refusal: RefusalReason, reason: Reason, seconds: i64) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    let run_id = plot.run_id(at);
    let fingerprint = format!("{:016x}", plot.dice.next());
    let moment = plot.time(seconds);
    let visit = plot
        .visit_of_nobody(&declared, None)
        .refused(refusal, Mode::Observe)
        .during(moment, None)
        .with(|facts| {
            facts.run_id = Some(run_id);
            facts.credential_fingerprint = Some(fingerprint);
        });
    plot.visits.push(visit);
    plot.owe(
        at,
        Due {
            reason,
            weight: Weight::Note,
            host: None,
            port: None,
            connections: 1,
        },
    );
    stray(plot, &declared, Some(refusal), 1);
}

fn quiet_run(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    let quiet = plot.run(0);
    plot.owe(
        quiet,
        Due {
            reason: Reason::NoCoverage,
            weight: Weight::Note,
            host: None,
            port: None,
            connections: 0,
        },
    );
}

fn unattributed(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    // To where the plugin goes, and to where it does not: neither is the plugin's.
    for authority in [declared, format!("{other}:443")] {
        let visit = plot.visit_of_nobody(&authority, Some(ObservedScheme::Tls));
        let (visit, refusal) = match plot.case % 3 {
            0 => (visit, None),
            _ => {
                let reason = RefusalReason::CredentialsMissing;
                (visit.refused(reason, Mode::Observe), Some(reason))
            }
        };
        let times = plot.dice.between(1, 3);
        for _ in 0..times {
            let begin = plot.some_time();
            plot.visits
                .push(visit.clone().during(begin, Some(begin.plus_seconds(1))));
        }
        stray(plot, &authority, refusal, times);
    }
}

fn stray(plot: &mut Plot, authority: &str, refusal: Option<RefusalReason>, connections: u64) {
    plot.strays.push(Stray {
        kind: plot.kind.to_owned(),
        target: authority.to_owned(),
        refusal: refusal.map(|reason| reason.to_string()),
        connections,
    });
}

/// A build that declares `api.OWN`, a run of it, and the authority that it declares.
pub(super) fn keeps_its_word(plot: &mut Plot, own: &str) -> (At, String) {
    let build = plot.build(json!([format!("api.{own}")]));
    (plot.run(build), format!("api.{own}:443"))
}

/// Visits to a host that nobody declared.
pub(super) fn undeclared(plot: &mut Plot, at: At, authority: &str) {
    let visit = plot.visit(at, authority);
    let times = plot.make_some(at, &visit);
    plot.breach(at, Reason::UndeclaredHost, authority, times);
}
