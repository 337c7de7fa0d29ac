//! The labelled corpus: sites in which every breach was planted on purpose, each beside a benign twin
//! that looks like it.
//!
//! Labels come from the manifest grammar and the design, kind by kind, and are written down with what
//! is planted. The auditor is never asked what it thinks while a corpus is made.

mod breaches;
mod losses;
mod measures;
mod plot;
mod twins;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use base::{Reason, Timestamp};
use evidence::{Event, EventKind};

use crate::crowd::Keeping;
use crate::dice::Dice;
use crate::registry::Registry;
use crate::site::Site;
use crate::truth::{self, Doubted, Due, Expected, Truth, Weight};
use plot::Plot;

/// One kind of thing that is planted.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    plant: fn(&mut Plot),
}

/// One site of a corpus.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Its name, which is also its folder's.
    pub name: &'static str,
    kinds: &'static [&'static [Kind]],
    /// How often each kind is planted.
    cases: usize,
    ending: Ending,
}

/// What becomes of a scene's evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nothing.
    Whole,
    /// A gateway says that it lost events, and not whose.
    Gap,
    /// A gateway hands in no log.
    Missing,
    /// A log is changed after it was signed.
    Tampered,
}

/// The day that corpora are about, as long as nobody names another.
pub const DAY: &str = "2026-10-05T00:00:00Z";
const DAY_S: i64 = 86_400;
/// Gateways that see ordinary traffic.
const GATEWAYS: usize = 3;
/// The gateway that dies at noon.
const CRASHING: usize = GATEWAYS;
const NOON_S: i64 = DAY_S / 2;
const SITE: &str = "corpus";
/// The two who sign exceptions, by their names in the trust root.
const PEOPLE: [&str; 2] = ["corpus operator", "corpus certifier"];

/// The sites of every corpus.
pub const SCENES: [Scene; 4] = [
    Scene {
        name: "whole",
        kinds: &[
            &breaches::KINDS,
            &measures::BREACHES,
            &losses::OF_ONE_PLUGIN,
            &twins::KINDS,
            &measures::TWINS,
        ],
        cases: 3,
        ending: Ending::Whole,
    },
    Scene {
        name: "gap",
        kinds: &[&losses::GAP],
        cases: 2,
        ending: Ending::Gap,
    },
    Scene {
        name: "missing",
        kinds: &[&losses::MISSING],
        cases: 2,
        ending: Ending::Missing,
    },
    Scene {
        name: "tampered",
        kinds: &[&losses::TAMPERED],
        cases: 2,
        ending: Ending::Tampered,
    },
];

/// Every kind with what it is, in the order of a table.
pub fn kinds() -> Vec<(&'static str, &'static str)> {
    let all = SCENES
        .iter()
        .flat_map(|scene| scene.kinds.iter().copied().flatten());
    all.map(|kind| (kind.name, kind.what)).collect()
}

/// Those of [`kinds`] that a truth speaks of.
pub fn kinds_of(truth: &Truth) -> Vec<(&'static str, &'static str)> {
    let planted = truth::cases(truth);
    kinds()
        .into_iter()
        .filter(|(kind, _)| planted.contains_key(kind))
        .collect()
}

impl Scene {
    /// Makes the scene as a site in `folder`, with `truth.json` in it.
    ///
    /// # Errors
    /// The folder holds something, or cannot be written.
    pub fn make(&self, folder: &Path, seed: u64, since: Timestamp) -> Result<Truth> {
        self.make_keeping(folder, seed, since, Keeping::Log)
    }

    /// The same, and what becomes of its logs.
    ///
    /// # Errors
    /// As for [`Self::make`].
    pub fn make_keeping(
        &self,
        folder: &Path,
        seed: u64,
        since: Timestamp,
        keeping: Keeping,
    ) -> Result<Truth> {
        let mut plots = Vec::new();
        let kinds = self.kinds.iter().copied().flatten();
        for kind in kinds {
            for case in 0..self.cases {
                let dice = Dice::new(seed, &format!("{} {case}", kind.name));
                let mut plot = Plot::new(kind.name, case, dice, since);
                (kind.plant)(&mut plot);
                plots.push(plot);
            }
        }
        let opened = since.plus_seconds(-7 * DAY_S);
        let site = Site::make(folder, SITE, seed, &gateway(0), opened)?;
        site.except(plots.iter().flat_map(|plot| plot.exceptions.clone()).collect())?;
        let registry = Registry::begin(&site, opened)?;
        for plot in &plots {
            for planned in &plot.builds {
                registry.admit(&planned.build)?;
                for again in &planned.again {
                    registry.admit(again)?;
                }
                for run in &planned.runs {
                    registry.run(&run.row)?;
                }
            }
        }
        registry.finish(plots.iter().flat_map(|plot| plot.list.clone()).collect())?;
        self.write_logs(&site, &plots, since, keeping)?;
        let truth = self.truth(&plots, since);
        truth.write(&folder.join("truth.json"))?;
        Ok(truth)
    }

    fn write_logs(&self, site: &Site, plots: &[Plot], since: Timestamp, keeping: Keeping) -> Result<()> {
        let mut logs: BTreeMap<usize, Vec<(Timestamp, Event)>> = BTreeMap::new();
        for at in 0..GATEWAYS {
            logs.insert(at, vec![mark(at, EventKind::Start, since.plus_seconds(-DAY_S))]);
        }
        let visits = plots.iter().flat_map(|plot| &plot.visits);
        for (number, visit) in visits.enumerate() {
            let log = logs.entry(visit.gateway).or_default();
            let events = visit.events(&gateway(visit.gateway), &format!("c{number:06x}"));
            log.extend(events.into_iter().map(|event| (event.time, event)));
        }
        for (at, event) in plots.iter().flat_map(|plot| &plot.marks) {
            let event = Event {
                gateway: gateway(*at),
                ..event.clone()
            };
            logs.entry(*at).or_default().push((event.time, event));
        }
        if let Some(log) = logs.get_mut(&CRASHING) {
            log.push(mark(CRASHING, EventKind::Start, since.plus_seconds(-DAY_S)));
            log.push(mark(CRASHING, EventKind::Start, since.plus_seconds(NOON_S)));
        }
        match self.ending {
            Ending::Gap => {
                let (time, mut gap) = mark(1, EventKind::Gap, since.plus_seconds(NOON_S));
                gap.cause = Some("the queue was full and events were dropped".to_owned());
                gap.count = Some(17);
                logs.entry(1).or_default().push((time, gap));
            }
            Ending::Missing => site.expect_gateway(&gateway(GATEWAYS))?,
            Ending::Whole | Ending::Tampered => {}
        }
        for (at, mut entries) in logs {
            entries.sort_by_key(|(time, _)| *time);
            let mut log = site.log(&gateway(at))?;
            for (_, event) in entries {
                log.append(event)?;
            }
            log.finish()?;
            keeping.apply(site, &gateway(at))?;
        }
        if self.ending == Ending::Tampered {
            tamper(&site.log_folder(&gateway(1)))?;
        }
        Ok(())
    }

    fn truth(&self, plots: &[Plot], since: Timestamp) -> Truth {
        let site_doubt = match self.ending {
            Ending::Whole => None,
            Ending::Gap => Some((Reason::EvidenceGap, gateway(1))),
            Ending::Missing => Some((Reason::EvidenceGap, gateway(GATEWAYS))),
            Ending::Tampered => Some((Reason::TamperedEvidence, gateway(1))),
        };
        let mut doubts: Vec<Doubted> = Vec::new();
        let mut reports = Vec::new();
        for plot in plots {
            let mut of_plugin: Vec<Due> = plot.doubts.iter().map(|_| doubt(Reason::EvidenceGap)).collect();
            doubts.extend(
                plot.doubts
                    .iter()
                    .map(|&at| doubted(plot.kind, Reason::EvidenceGap, &gateway(at))),
            );
            of_plugin.extend(site_doubt.iter().map(|(reason, _)| doubt(*reason)));
            reports.extend(plot.reports(&of_plugin));
        }
        if let (Some((reason, gateway)), Some(plot)) = (site_doubt, plots.first()) {
            doubts.push(doubted(plot.kind, reason, &gateway));
        }
        let strays = plots.iter().flat_map(|plot| plot.strays.clone()).collect();
        Truth {
            since,
            until: since.plus_seconds(DAY_S),
            exit: truth::exit(&reports, &doubts),
            reports,
            doubts,
            strays,
        }
    }
}

impl Plot {
    /// What the reports on this plot's builds and runs must say.
    fn reports(&self, doubts: &[Due]) -> Vec<Expected> {
        let mut reports = Vec::new();
        for planned in &self.builds {
            let mut expected = |run_id, mut findings: Vec<Due>, has_traffic| {
                findings.extend_from_slice(doubts);
                reports.push(Expected {
                    kind: self.kind.to_owned(),
                    plugin_id: planned.plugin_id.clone(),
                    artifact_digest: planned.build.artifact_digest,
                    run_id,
                    verdict: truth::verdict(&findings, has_traffic),
                    findings,
                });
            };
            let mut all = Vec::new();
            let of_runs = planned.runs.iter().flat_map(|run| &run.due);
            for due in of_runs.chain(&planned.due) {
                truth::add(&mut all, due);
            }
            expected(None, all, planned.runs.iter().any(|run| run.has_traffic));
            for run in &planned.runs {
                expected(Some(run.row.run_id), run.due.clone(), run.has_traffic);
            }
        }
        reports
    }
}

/// The gateway of a number.
fn gateway(at: usize) -> String {
    format!("gw-{}", at + 1)
}

fn mark(at: usize, kind: EventKind, time: Timestamp) -> (Timestamp, Event) {
    (time, Event::new(kind, time, &gateway(at)))
}

fn doubt(reason: Reason) -> Due {
    Due {
        reason,
        weight: Weight::Doubt,
        host: None,
        port: None,
        connections: 0,
    }
}

fn doubted(kind: &str, reason: Reason, gateway: &str) -> Doubted {
    Doubted {
        kind: kind.to_owned(),
        reason,
        origin: format!("{SITE}/{gateway}"),
    }
}

/// Changes one letter of a host name in a log, among its first entries.
///
/// # Errors
/// The log cannot be read or written.
pub fn tamper(log: &Path) -> Result<()> {
    let entries = log.join("tile/entries");
    let file = std::fs::read_dir(&entries)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .min()
        .expect("a log with entries has a bundle of them");
    // A short log's only bundle is a partial one, in a folder of its own.
    let file = if file.is_dir() {
        std::fs::read_dir(&file)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .min()
            .expect("a folder of partial bundles holds one")
    } else {
        file
    };
    let mut bytes = std::fs::read(&file)?;
    let needle = b"\"destination_host\":\"";
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the log's first bundle holds a connection");
    let letter = &mut bytes[at + needle.len()];
    *letter = if *letter == b'x' { b'y' } else { b'x' };
    Ok(std::fs::write(&file, bytes)?)
}
