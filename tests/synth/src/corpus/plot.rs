//! Plots: one case of one kind, with the label that goes with it.

use std::net::IpAddr;

use base::{
    ArtifactDigest, ObservedScheme, PluginId, PolicyException, Reason, RunId, Sha256Digest, Target, Tier,
    Timestamp,
};
use evidence::Event;
use serde_json::{Value, json};

use super::{DAY_S, GATEWAYS};
use crate::dice::Dice;
use crate::registry::{Build, ListRow, RunRow};
use crate::truth::{Due, Stray, Weight};
use crate::visit::Visit;

/// One case of one kind.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) kind: &'static str,
    /// Which case of its kind it is; variants go by it.
    pub(super) case: usize,
    pub(super) dice: Dice,
    since: Timestamp,
    pub(super) builds: Vec<Planned>,
    pub(super) visits: Vec<Visit>,
    /// Entries that are no connection's, by gateway.
    pub(super) marks: Vec<(usize, Event)>,
    pub(super) list: Vec<ListRow>,
    pub(super) strays: Vec<Stray>,
    /// The gateways that say they lost something of this plugin.
    pub(super) doubts: Vec<usize>,
    /// What the policy lets pass, and how many of the two signed it.
    pub(super) exceptions: Vec<(PolicyException, usize)>,
}

/// One build and its runs.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) plugin_id: PluginId,
    pub(super) build: Build,
    /// The same build, admitted again with another manifest.
    pub(super) again: Vec<Build>,
    pub(super) runs: Vec<PlannedRun>,
    /// What the report on the build must say beside what the reports on its runs say.
    pub(super) due: Vec<Due>,
}

/// One run, and what its report must say.
#[derive(Debug)]
pub(super) struct PlannedRun {
    pub(super) row: RunRow,
    pub(super) due: Vec<Due>,
    pub(super) has_traffic: bool,
}

/// Which run of which build.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    build: usize,
    run: usize,
}

impl Plot {
    pub(super) fn new(kind: &'static str, case: usize, dice: Dice, since: Timestamp) -> Self {
        Self {
            kind,
            case,
            dice,
            since,
            builds: Vec::new(),
            visits: Vec::new(),
            marks: Vec::new(),
            list: Vec::new(),
            strays: Vec::new(),
            doubts: Vec::new(),
            exceptions: Vec::new(),
        }
    }

    /// `seconds` into the day.
    pub(super) fn time(&self, seconds: i64) -> Timestamp {
        self.since.plus_seconds(seconds)
    }

    /// Some moment of the working day.
    pub(super) fn some_time(&mut self) -> Timestamp {
        let low = 3 * 3600 * 1_000_000;
        let us = self.dice.between(low, 7 * low);
        Timestamp::from_unix_us(self.since.unix_us() + i64::try_from(us).unwrap_or(0))
    }

    /// A domain that no other plot has.
    pub(super) fn domain(&mut self) -> String {
        let suffix = *self.dice.pick(&["example", "com", "co.uk", "io", "test", "dev"]);
        format!("{}.{suffix}", self.dice.word())
    }

    /// The plugin of this plot, with a build that declares `egress`. Each further one is the plugin's
    /// next version.
    pub(super) fn build(&mut self, egress: Value) -> usize {
        let version = self.builds.len() + 1;
        let plugin_id = format!("{}.case-{}", self.kind.replace('_', "-"), self.case + 1);
        let bytes = format!("{plugin_id} {version} {}", self.dice.next());
        let build = Build {
            file_name: format!("{plugin_id}-{version}.0.0.whl"),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(bytes.as_bytes())),
            manifest: json!({
                "plugin_id": plugin_id,
                "version": format!("{version}.0.0"),
                "owner": {"name": format!("Owners of {plugin_id}"), "email": "owners@plugins.example"},
                "allowed_egress": egress,
                "data_classes": ["official"],
                "sdk_allowlist": [],
                "built_by": "ci/corpus",
                "built_at": self.time(-6 * DAY_S),
            }),
            tier: Tier::High,
            admitted_at: self.time(-5 * DAY_S),
            approved_until: None,
            components: Vec::new(),
        };
        self.builds.push(Planned {
            plugin_id: plugin_id
                .parse()
                .expect("kinds are named so that they can name plugins"),
            build,
            again: Vec::new(),
            runs: Vec::new(),
            due: Vec::new(),
        });
        self.builds.len() - 1
    }

    /// Writes a field of a build's manifest.
    pub(super) fn declare(&mut self, build: usize, field: &str, value: Value) {
        self.builds[build].build.manifest[field] = value;
    }

    /// Admits a build once more, `seconds` into the day, declaring `egress`.
    pub(super) fn admit_again(&mut self, build: usize, egress: Value, seconds: i64) {
        let admitted_at = self.time(seconds);
        let planned = &mut self.builds[build];
        let mut again = planned.build.clone();
        again.manifest["allowed_egress"] = egress;
        again.admitted_at = admitted_at;
        planned.again.push(again);
    }

    /// Has a build approved until `seconds` into the day.
    pub(super) fn approved_until(&mut self, build: usize, seconds: i64) {
        let until = self.time(seconds);
        self.builds[build].build.approved_until = Some(until);
    }

    /// Has a build approved anew, and admitted again `seconds` into the day, for two days.
    pub(super) fn approved_again(&mut self, build: usize, seconds: i64) {
        let (admitted_at, until) = (self.time(seconds), self.time(2 * DAY_S));
        let planned = &mut self.builds[build];
        let mut again = planned.build.clone();
        (again.admitted_at, again.approved_until) = (admitted_at, Some(until));
        planned.again.push(again);
    }

    /// Puts a library into the build of a run.
    pub(super) fn holds(&mut self, at: At, name: &str, version: &str) {
        let components = &mut self.builds[at.build].build.components;
        components.push((name.to_owned(), version.to_owned()));
    }

    /// Registers the run for data of a class.
    pub(super) fn handles(&mut self, at: At, class: &str) {
        self.builds[at.build].runs[at.run].row.data_class = Some(class.to_owned());
    }

    /// Puts the plugin into a tier.
    pub(super) fn tier(&mut self, tier: Tier) {
        for planned in &mut self.builds {
            planned.build.tier = tier;
        }
    }

    /// The digest of a build.
    pub(super) fn artifact(&self, build: usize) -> ArtifactDigest {
        self.builds[build].build.artifact_digest
    }

    /// The plugin.
    pub(super) fn plugin_id(&self) -> PluginId {
        self.builds[0].plugin_id.clone()
    }

    /// A run of a build that took all of the day.
    pub(super) fn run(&mut self, build: usize) -> At {
        let (started, ended) = (self.time(3600), self.time(DAY_S - 3600));
        self.run_during(build, started, Some(ended))
    }

    /// A run of a build.
    pub(super) fn run_during(&mut self, build: usize, started: Timestamp, ended: Option<Timestamp>) -> At {
        let run_id = self.dice.run_id(started);
        let planned = &mut self.builds[build];
        planned.runs.push(PlannedRun {
            row: RunRow {
                run_id,
                plugin_id: planned.plugin_id.clone(),
                artifact_digest: planned.build.artifact_digest,
                started,
                ended,
                data_class: None,
            },
            due: Vec::new(),
            has_traffic: false,
        });
        At {
            build,
            run: self.builds[build].runs.len() - 1,
        }
    }

    /// A run's id.
    pub(super) fn run_id(&self, at: At) -> RunId {
        self.builds[at.build].runs[at.run].row.run_id
    }

    /// A visit of the run to `authority`, TLS unless it is changed, not yet made.
    pub(super) fn visit(&mut self, at: At, authority: &str) -> Visit {
        self.visit_as(at, authority, Some(ObservedScheme::Tls))
    }

    /// A visit on which something else is spoken.
    pub(super) fn visit_as(&mut self, at: At, authority: &str, scheme: Option<ObservedScheme>) -> Visit {
        let (plugin_id, artifact) = (self.plugin_id(), self.artifact(at.build));
        let run_id = self.run_id(at);
        self.visit_of_nobody(authority, scheme)
            .of(&plugin_id, artifact, run_id)
    }

    /// A visit without identity.
    pub(super) fn visit_of_nobody(&mut self, authority: &str, scheme: Option<ObservedScheme>) -> Visit {
        let target = Target::from_authority(authority.as_bytes())
            .unwrap_or_else(|error| unreachable!("{authority}: {error}"));
        let at = self.some_time();
        let dialed: IpAddr = self.dice.public_ip();
        let gateway = usize::try_from(self.dice.below(GATEWAYS as u64)).unwrap_or(0);
        let lasts = self.dice.between(1, 90);
        let mut visit = Visit::new(target, at, scheme, dialed);
        visit.gateway = gateway;
        visit.ends = Some(at.plus_seconds(i64::try_from(lasts).unwrap_or(1)));
        visit
    }

    /// Makes a visit of the run.
    pub(super) fn make(&mut self, at: At, visit: Visit) {
        self.builds[at.build].runs[at.run].has_traffic = true;
        self.visits.push(visit);
    }

    /// Makes the same visit a few times, at different times and gateways; how often.
    pub(super) fn make_some(&mut self, at: At, visit: &Visit) -> u64 {
        let times = self.dice.between(1, 4);
        for _ in 0..times {
            let mut again = visit.clone();
            again.at = self.some_time();
            again.ends = Some(again.at.plus_seconds(2));
            again.gateway = usize::try_from(self.dice.below(GATEWAYS as u64)).unwrap_or(0);
            self.make(at, again);
        }
        times
    }

    /// A few visits to something declared, as they happen all day.
    pub(super) fn ordinary(&mut self, at: At, authority: &str) {
        let visit = self.visit(at, authority);
        self.make_some(at, &visit);
    }

    /// What the run's report must say of `authority`.
    pub(super) fn due(&mut self, at: At, weight: Weight, reason: Reason, authority: &str, connections: u64) {
        let target = Target::from_authority(authority.as_bytes())
            .unwrap_or_else(|error| unreachable!("{authority}: {error}"));
        self.owe(
            at,
            Due {
                reason,
                weight,
                host: Some(target.host.to_string()),
                port: Some(target.port.get()),
                connections,
            },
        );
    }

    /// A breach at `authority`.
    pub(super) fn breach(&mut self, at: At, reason: Reason, authority: &str, connections: u64) {
        self.due(at, Weight::Breach, reason, authority, connections);
    }

    /// Something about `authority` that is worth knowing.
    pub(super) fn note(&mut self, at: At, reason: Reason, authority: &str, connections: u64) {
        self.due(at, Weight::Note, reason, authority, connections);
    }

    /// What the run's report must say beside destinations.
    pub(super) fn owe(&mut self, at: At, due: Due) {
        crate::truth::add(&mut self.builds[at.build].runs[at.run].due, &due);
    }
    /// What the report on a run's build alone must say.
    pub(super) fn owe_build(&mut self, at: At, due: Due) {
        self.builds[at.build].due.push(due);
    }
}
