//! Evidence that is not whole, and builds that may no longer run.

use base::{Reason, Timestamp};
use control::api::types::{ListAct, Target};
use evidence::{Event, EventKind};

use super::breaches::{keeps_its_word, undeclared};
use super::plot::{At, Plot};
use super::{CRASHING, Kind, NOON_S};
use crate::registry::ListRow;

pub(super) const OF_ONE_PLUGIN: [Kind; 2] = [
    Kind {
        name: "plugin_gap",
        what: "a gateway lost events of this plugin alone",
        plant: plugin_gap,
    },
    Kind {
        name: "cut_short",
        what: "a gateway died with its connections",
        plant: cut_short,
    },
];

pub(super) const GAP: [Kind; 2] = [
    Kind {
        name: "gap",
        what: "a gateway lost events and cannot say whose",
        plant: ordinary,
    },
    Kind {
        name: "gap_and_breach",
        what: "a breach beside it",
        plant: breaking,
    },
];

pub(super) const MISSING: [Kind; 2] = [
    Kind {
        name: "missing_gateway",
        what: "a gateway handed in no log",
        plant: ordinary,
    },
    Kind {
        name: "missing_gateway_and_breach",
        what: "a breach beside it",
        plant: breaking,
    },
];

pub(super) const TAMPERED: [Kind; 2] = [
    Kind {
        name: "tampered",
        what: "one letter of a log was changed",
        plant: untouched,
    },
    Kind {
        name: "tampered_and_breach",
        what: "a breach in a log that was not",
        plant: untouched_and_breaking,
    },
];

fn plugin_gap(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    let gateway = plot.case % 3;
    let mut gap = Event::new(EventKind::Gap, plot.some_time(), "");
    gap.plugin_id = Some(plot.plugin_id());
    gap.cause = Some("the plugin's budget for events was used up".to_owned());
    gap.count = Some(plot.dice.between(1, 900));
    plot.marks.push((gateway, gap));
    plot.doubts.push(gateway);
}

fn cut_short(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    let mut visit = plot.visit(at, &declared);
    visit.gateway = CRASHING;
    let begin = plot.time(NOON_S - 600 - 60 * i64::try_from(plot.case).unwrap_or(0));
    plot.make(at, visit.during(begin, None));
    plot.doubts.push(CRASHING);
}

fn ordinary(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
}

fn breaking(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    plot.ordinary(at, &declared);
    undeclared(plot, at, &format!("{other}:443"));
}

/// Something in every log, and all that counts in the first.
fn untouched(plot: &mut Plot) {
    let own = plot.domain();
    let (at, declared) = keeps_its_word(plot, &own);
    for gateway in 0..2 {
        let mut visit = plot.visit(at, &declared);
        visit.gateway = gateway;
        plot.make(at, visit);
    }
}

fn untouched_and_breaking(plot: &mut Plot) {
    let (own, other) = (plot.domain(), plot.domain());
    let (at, declared) = keeps_its_word(plot, &own);
    let authority = format!("{other}:443");
    for (gateway, authority) in [(0, &declared), (1, &declared), (2, &authority)] {
        let mut visit = plot.visit(at, authority);
        visit.gateway = gateway;
        plot.make(at, visit);
    }
    plot.breach(at, Reason::UndeclaredHost, &authority, 1);
}

/// Revokes the build of a run.
pub(super) fn revoke(plot: &mut Plot, _of: At, at: Timestamp) {
    plot.list.push(ListRow {
        target: Target::Artifact(plot.artifact(0)),
        action: ListAct::Revoke,
        reason: Reason::Vulnerability,
        at,
    });
}
