//! Crowds: sites as large as one likes, from a seed and sizes.
//!
//! What is asked for is size: many plugins that keep their word, all day, on many gateways, and a known
//! share of runs that do not. Each run works for a while and ends; each connection is an `open` and a
//! `close`, some with a `connected` between, and a few are refused. Memory does not grow with events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use anyhow::Result;
use base::{
    ArtifactDigest, Mode, ObservedScheme, PluginId, Reason, RefusalReason, RunId, Sha256Digest, Target, Tier,
    Timestamp,
};
use evidence::{Event, EventKind};
use serde_json::{Value, json};

use crate::archive::{Closing, GatewayArchive};
use crate::dice::Dice;
use crate::registry::{Build, Registry, RunRow};
use crate::site::{ArchivedLog, GatewayLog, Site};
use crate::truth::{self, Due, Expected, Truth, Weight};
use crate::visit::Visit;

const SITE: &str = "crowd";
const KIND: &str = "crowd";
const DAY_US: i64 = 86_400_000_000;
/// Runs of one gateway that are at work at one time.
const AT_WORK: u64 = 4;

/// How large, and how bad.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Plugins.
    pub plugins: u64,
    /// Builds, of all plugins together.
    pub artifacts: u64,
    /// Runs, of all builds together.
    pub runs: u64,
    /// Gateways; every run has one.
    pub gateways: u64,
    /// Events, of all gateways together.
    pub events: u64,
    /// The share of runs that go where nobody declared.
    pub breaches: f64,
    /// Days, one after the other.
    pub days: u64,
    /// Only archive files are written, closed like this, and no log that they would come from.
    pub only_archive: Option<Closing>,
    /// What becomes of each log once it is written.
    pub keeping: Keeping,
}

/// What becomes of a log once it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Keeping {
    /// It stays as it is
    #[default]
    Log,
    /// Every hour is archived as well
    Archived,
    /// Every hour is archived, and its entries are let go
    Pruned,
}

impl Keeping {
    pub(crate) fn apply(self, site: &Site, gateway: &str) -> Result<()> {
        match self {
            Self::Log => Ok(()),
            Self::Archived => site.archive_log(gateway, false),
            Self::Pruned => site.archive_log(gateway, true),
        }
    }
}

/// Where a gateway's events go.
enum Sink {
    Log(Box<GatewayLog>),
    Archive(Box<GatewayArchive>),
    Both { log: Box<ArchivedLog>, prune: bool },
}

impl Sink {
    fn append(&mut self, event: Event) -> Result<()> {
        match self {
            Self::Log(log) => log.append(event),
            Self::Archive(archive) => archive.append(&event).map(drop),
            Self::Both { log, .. } => log.append(event),
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Log(log) => log.size(),
            Self::Archive(archive) => archive.size(),
            Self::Both { log, .. } => log.size(),
        }
    }

    fn finish(self, site: &Site, last: &Event) -> Result<()> {
        match self {
            Self::Log(log) => log.finish().map(drop),
            Self::Archive(archive) => archive.finish(last).map(drop),
            Self::Both { log, prune } => log.finish(site, last, prune),
        }
    }
}

/// One build, as far as it must be remembered.
struct Artifact {
    plugin_id: PluginId,
    digest: ArtifactDigest,
    domain: String,
}

/// One run at work.
struct Run {
    artifact: usize,
    run_id: RunId,
    dice: Dice,
    /// Where it goes undeclared, and how often it still will.
    breach: Option<(Reason, Target, u64)>,
    broke: u64,
    connections: u64,
}

impl Sizes {
    /// Makes the site in `folder`, with `truth.json` in it.
    ///
    /// # Errors
    /// Sizes that do not fit each other; the folder holds something, or cannot be written.
    pub fn make(&self, folder: &Path, seed: u64, since: Timestamp) -> Result<Truth> {
        self.check()?;
        let opened = since.plus_seconds(-24 * 3600);
        let site = Site::make(folder, SITE, seed, &gateway(0), opened)?;
        let registry = Registry::begin(&site, opened)?;
        let artifacts = self.admit(&registry, seed, opened)?;
        let mut reports: Vec<Vec<Expected>> = artifacts.iter().map(|_| Vec::new()).collect();
        for at in 0..self.gateways {
            let day = Gateway {
                sizes: self,
                seed,
                at,
                since,
                artifacts: &artifacts,
            };
            for (artifact, expected) in day.write(&site, &registry)? {
                reports[artifact].push(expected);
            }
        }
        registry.finish(Vec::new())?;
        if let Some(first) = artifacts.first() {
            site.write("draft.json", &format!("{:#}\n", first.draft(opened)))?;
        }
        let reports = artifacts
            .iter()
            .zip(reports)
            .flat_map(|(artifact, runs)| artifact.reports(runs))
            .collect();
        let truth = self.truth(since, reports);
        truth.write(&folder.join("truth.json"))?;
        Ok(truth)
    }

    fn check(&self) -> Result<()> {
        let one = |number: u64, what: &str| {
            anyhow::ensure!(number > 0, "--{what} must be at least 1");
            Ok(())
        };
        one(self.plugins, "plugins")?;
        one(self.gateways, "gateways")?;
        one(self.days, "days")?;
        anyhow::ensure!(
            self.artifacts >= self.plugins,
            "every plugin has a build: --artifacts {} is too few",
            self.artifacts
        );
        anyhow::ensure!(
            self.runs >= self.artifacts,
            "every build has a run: --runs {} is too few",
            self.runs
        );
        anyhow::ensure!(
            self.runs >= self.gateways,
            "every gateway has a run: --runs {} is too few",
            self.runs
        );
        anyhow::ensure!(
            self.events >= 8 * self.runs,
            "a run has some connections of two events each: --events must be at least 8 times --runs"
        );
        anyhow::ensure!(
            (0.0..=1.0).contains(&self.breaches),
            "--breaches is a share from 0 to 1"
        );
        Ok(())
    }

    fn admit(&self, registry: &Registry<'_>, seed: u64, opened: Timestamp) -> Result<Vec<Artifact>> {
        let mut dice = Dice::new(seed, "artifacts");
        let mut artifacts = Vec::new();
        let mut domains = Vec::new();
        for number in 0..self.artifacts {
            let plugin = number % self.plugins;
            if number < self.plugins {
                domains.push(format!("{}.example", dice.word()));
            }
            let domain = domains[usize::try_from(plugin).unwrap_or(0)].clone();
            let plugin_id: PluginId = format!("team-{}.plugin-{plugin}", plugin % 97).parse()?;
            let digest = ArtifactDigest::new(Sha256Digest::of(format!("{seed} build {number}").as_bytes()));
            let version = number / self.plugins + 1;
            registry.admit(&Build {
                file_name: format!("{plugin_id}-{version}.0.0.whl"),
                artifact_digest: digest,
                manifest: manifest(&plugin_id, version, &domain, opened),
                tier: Tier::High,
                admitted_at: opened,
                components: Vec::new(),
                approved_until: None,
            })?;
            artifacts.push(Artifact {
                plugin_id,
                digest,
                domain,
            });
        }
        Ok(artifacts)
    }

    fn truth(&self, since: Timestamp, reports: Vec<Expected>) -> Truth {
        let days = i64::try_from(self.days).unwrap_or(1);
        Truth {
            since,
            until: Timestamp::from_unix_us(since.unix_us() + days * DAY_US),
            exit: truth::exit(&reports, &[]),
            reports,
            doubts: Vec::new(),
            strays: Vec::new(),
        }
    }
}

/// Every kind of entry that matching has to look at.
pub(crate) fn manifest(plugin_id: &PluginId, version: u64, domain: &str, built_at: Timestamp) -> Value {
    json!({
        "plugin_id": plugin_id,
        "version": format!("{version}.0.0"),
        "owner": {"name": format!("Owners of {plugin_id}"), "email": "owners@plugins.example"},
        "allowed_egress": [
            format!("api.{domain}"),
            format!("auth.{domain}:443,8443"),
            {"to": format!("*.cdn.{domain}"), "purpose": "assets"},
            {"to": format!("**.telemetry.{domain}"), "purpose": "metrics"},
            format!("http://mirror.{domain}"),
            format!("tcp://git.{domain}:22"),
        ],
        "data_classes": ["official"],
        "sdk_allowlist": [],
        "built_by": "ci/crowd",
        "built_at": built_at,
    })
}

impl Artifact {
    /// A manifest of its plugin that declares only some of what is used; for whoever asks what if.
    fn draft(&self, opened: Timestamp) -> Value {
        let mut value = manifest(&self.plugin_id, 99, &self.domain, opened);
        if let Some(egress) = value["allowed_egress"].as_array_mut() {
            egress.truncate(2);
        }
        value
    }

    /// The report on the artifact, then those on its runs.
    fn reports(&self, runs: Vec<Expected>) -> Vec<Expected> {
        let mut findings = Vec::new();
        for due in runs.iter().flat_map(|run| &run.findings) {
            truth::add(&mut findings, due);
        }
        let mut reports = vec![Expected {
            kind: KIND.to_owned(),
            plugin_id: self.plugin_id.clone(),
            artifact_digest: self.digest,
            run_id: None,
            verdict: truth::verdict(&findings, !runs.is_empty()),
            findings,
        }];
        reports.extend(runs);
        reports
    }

    /// Where a run of it goes, as declared: often the same, now and then somewhere of many.
    fn destination(&self, dice: &mut Dice) -> (String, u16, ObservedScheme) {
        let domain = &self.domain;
        match dice.below(100) {
            0..50 => (format!("api.{domain}"), 443, ObservedScheme::Tls),
            50..65 => (format!("auth.{domain}"), 443, ObservedScheme::Tls),
            65..68 => (format!("auth.{domain}"), 8443, ObservedScheme::Tls),
            68..84 => (
                format!("edge-{}.cdn.{domain}", dice.below(12)),
                443,
                ObservedScheme::Tls,
            ),
            84..92 => (
                format!("eu.node-{}.telemetry.{domain}", dice.below(6)),
                443,
                ObservedScheme::Tls,
            ),
            92..97 => (format!("mirror.{domain}"), 80, ObservedScheme::Http),
            _ => (format!("git.{domain}"), 22, ObservedScheme::Ssh),
        }
    }
}

/// One gateway's log.
struct Gateway<'c> {
    sizes: &'c Sizes,
    seed: u64,
    at: u64,
    since: Timestamp,
    artifacts: &'c [Artifact],
}

/// Entries that wait for their time, the earliest first; equal ones in the order of their making.
#[derive(Default)]
struct Waiting {
    heap: BinaryHeap<Reverse<(Timestamp, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    next: u64,
}

impl Gateway<'_> {
    /// Writes log and runs; gives what the reports on the runs must say, by artifact.
    fn write(&self, site: &Site, registry: &Registry<'_>) -> Result<Vec<(usize, Expected)>> {
        let share = |all: u64| all / self.sizes.gateways + u64::from(self.at < all % self.sizes.gateways);
        let (runs, events) = (share(self.sizes.runs), share(self.sizes.events));
        let name = gateway(self.at);
        let mut log = match (self.sizes.only_archive, self.sizes.keeping) {
            (Some(closing), _) => Sink::Archive(Box::new(site.archive(&name, closing)?)),
            (None, Keeping::Log) => Sink::Log(Box::new(site.log(&name)?)),
            (None, keeping) => Sink::Both {
                log: Box::new(site.archived_log(&name)?),
                prune: keeping == Keeping::Pruned,
            },
        };
        let start = Event::new(EventKind::Start, self.since.plus_seconds(-1), &name);
        log.append(start)?;
        let mut dice = Dice::new(self.seed, &name);
        let mut at_work: std::collections::BTreeMap<u64, Run> = std::collections::BTreeMap::new();
        let mut waiting = Waiting::default();
        let mut expected = Vec::new();
        let span = DAY_US * i64::try_from(self.sizes.days).unwrap_or(1) - 60_000_000;
        let mut number = 0;
        // Two events a connection, and one more for some: steps are planned by twos.
        let steps = events / 2;
        while log.size() + waiting.heap.len() as u64 + 1 < events {
            let step = number.min(steps - 1);
            let base = step * runs / steps;
            let is_first = !at_work.contains_key(&base);
            let run = if is_first {
                base
            } else {
                (base + dice.below(AT_WORK)).min(runs - 1)
            };
            at_work.entry(run).or_insert_with(|| self.run(run, runs, span));
            while let Some(entry) = at_work.first_entry().filter(|entry| *entry.key() < base) {
                let index = *entry.key();
                expected.push(self.end(registry, index, runs, span, entry.remove())?);
            }
            let moment =
                i64::try_from(u128::from(step) * u128::from(span.unsigned_abs()) / u128::from(steps))?;
            let time = Timestamp::from_unix_us(self.since.unix_us() + moment);
            waiting.release(time, &mut log)?;
            if let Some(run) = at_work.get_mut(&run) {
                let visit = run.visit(self.artifacts, time);
                let with_connected = dice.below(16) == 0;
                for event in told(&visit, &name, number, with_connected) {
                    waiting.push(event);
                }
            }
            number += 1;
        }
        let until = waiting.heap.iter().map(|Reverse((due, _))| *due).max();
        let until = until.unwrap_or(self.since);
        waiting.release(Timestamp::from_unix_us(i64::MAX), &mut log)?;
        for (index, run) in at_work {
            expected.push(self.end(registry, index, runs, span, run)?);
        }
        log.finish(site, &Event::new(EventKind::Start, until, &name))?;
        Ok(expected)
    }

    fn run(&self, index: u64, of: u64, span: i64) -> Run {
        // Runs go round over the gateways, and builds over the runs.
        let number = index * self.sizes.gateways + self.at;
        let artifact = usize::try_from(number % self.sizes.artifacts).unwrap_or(0);
        let mut dice = Dice::new(self.seed, &format!("run {number}"));
        let run_id = dice.run_id(self.times(index, of, span).0);
        let breach = dice.chance(self.sizes.breaches).then(|| {
            let own = &self.artifacts[artifact].domain;
            let (reason, authority) = match dice.below(4) {
                0 => (Reason::UndeclaredPort, format!("api.{own}:9443")),
                1 => (Reason::IpLiteral, format!("{}:443", dice.public_ip())),
                2 => (Reason::UndeclaredHost, format!("evil-{own}:443")),
                _ => (Reason::UndeclaredHost, format!("paste.{}.test:443", dice.word())),
            };
            let target = Target::from_authority(authority.as_bytes()).expect("it was written as one");
            (reason, target, dice.between(1, 3))
        });
        Run {
            artifact,
            run_id,
            dice,
            breach,
            broke: 0,
            connections: 0,
        }
    }

    /// When a run starts and ends.
    fn times(&self, index: u64, of: u64, span: i64) -> (Timestamp, Timestamp) {
        let part = |index: u64| {
            let us = u128::from(index) * u128::from(span.unsigned_abs()) / u128::from(of.max(1));
            i64::try_from(us).unwrap_or(i64::MAX)
        };
        let at = |us: i64| Timestamp::from_unix_us(self.since.unix_us() + us);
        let begin = part(index.saturating_sub(AT_WORK));
        (at(begin), at(part(index + 1) + 30_000_000))
    }

    fn end(
        &self,
        registry: &Registry<'_>,
        index: u64,
        of: u64,
        span: i64,
        run: Run,
    ) -> Result<(usize, Expected)> {
        let artifact = &self.artifacts[run.artifact];
        let (started, ended) = self.times(index, of, span);
        registry.run(&RunRow {
            run_id: run.run_id,
            plugin_id: artifact.plugin_id.clone(),
            artifact_digest: artifact.digest,
            started,
            ended: Some(ended),
            data_class: None,
        })?;
        let findings: Vec<Due> = run
            .breach
            .iter()
            .filter(|_| run.broke > 0)
            .map(|(reason, target, _)| Due {
                reason: *reason,
                weight: Weight::Breach,
                host: Some(target.host.to_string()),
                port: Some(target.port.get()),
                connections: run.broke,
            })
            .collect();
        let expected = Expected {
            kind: KIND.to_owned(),
            plugin_id: artifact.plugin_id.clone(),
            artifact_digest: artifact.digest,
            run_id: Some(run.run_id),
            verdict: truth::verdict(&findings, run.connections > 0),
            findings,
        };
        Ok((run.artifact, expected))
    }
}

impl Run {
    fn visit(&mut self, artifacts: &[Artifact], time: Timestamp) -> Visit {
        let own = &artifacts[self.artifact];
        let dice = &mut self.dice;
        self.connections += 1;
        let (target, scheme) = match &mut self.breach {
            Some((_, target, left)) if *left > 0 => {
                *left -= 1;
                self.broke += 1;
                (target.clone(), ObservedScheme::Tls)
            }
            _ => {
                let (host, port, scheme) = own.destination(dice);
                let target = Target {
                    host: host.parse().expect("it was written as a name"),
                    port: base::Port::try_from(port).expect("it is not zero"),
                };
                (target, scheme)
            }
        };
        let dialed = dice.public_ip();
        let lasts_us = 40_000 + i64::try_from(dice.sized(8, 23)).unwrap_or(0);
        let ends = Timestamp::from_unix_us(time.unix_us() + lasts_us);
        let visit =
            Visit::new(target, time, Some(scheme), dialed).of(&own.plugin_id, own.digest, self.run_id);
        let visit = visit.during(time, Some(ends)).with(|facts| {
            facts.dns_ms = facts.dns_ms.map(|_| dice.between(0, 40));
            facts.connect_ms = Some(dice.between(1, 90));
            facts.first_byte_ms = Some(dice.between(1, 400));
            facts.bytes_out = Some(200 + dice.sized(6, 16));
            facts.bytes_in = Some(500 + dice.sized(8, 22));
        });
        if dice.below(50) == 0 {
            visit.refused(RefusalReason::Quota, Mode::Observe)
        } else {
            visit
        }
    }
}

/// The events of a visit, with or without the `connected` that a gateway may leave out.
fn told(visit: &Visit, gateway: &str, number: u64, with_connected: bool) -> Vec<Event> {
    let mut events = visit.events(gateway, &format!("{number:x}"));
    if let ([open, close], true) = (events.as_slice(), with_connected) {
        let between = (open.time.unix_us() + close.time.unix_us()) / 2;
        let mut connected = close.clone();
        connected.kind = EventKind::Connected;
        connected.time = Timestamp::from_unix_us(between);
        connected.outcome = None;
        connected.payload_class = None;
        connected.duration_ms = None;
        connected.bytes_out = None;
        connected.bytes_in = None;
        connected.first_byte_ms = None;
        events.insert(1, connected);
    }
    events
}

impl Waiting {
    fn push(&mut self, event: Event) {
        self.heap.push(Reverse((event.time, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    /// Appends what is due at `time`.
    fn release(&mut self, time: Timestamp, log: &mut Sink) -> Result<()> {
        while let Some(Reverse((due, number))) = self.heap.peek().copied()
            && due <= time
        {
            self.heap.pop();
            if let Some(event) = self.events.remove(&number) {
                log.append(event)?;
            }
        }
        Ok(())
    }
}

fn gateway(at: u64) -> String {
    format!("gw-{}", at + 1)
}
