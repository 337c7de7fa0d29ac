//! Limits: what a manifest promises about how much, held against what was seen.
//!
//! A gateway sees connections and bytes, the registry when runs began and ended. Memory and processors
//! are seen by neither, and nothing is said about them.

use base::{Reason, RunId, Severity, Timestamp};
use manifests::Limits;
use reports::predicate::Finding;

use crate::charge::Charge;
use crate::judge::Case;
use crate::observation::Who;
use crate::tally::{Cited, Tally};

/// One run that used more than its manifest allows.
struct Excess {
    run_id: RunId,
    first: Timestamp,
    last: Timestamp,
    connections: u64,
    cited: Vec<Cited>,
    what: String,
}

impl Case<'_> {
    /// One finding about all runs that used more than they may, and the charges that follow.
    pub(crate) fn excesses(&self) -> (Option<Finding>, Vec<Charge>) {
        let mut all: Vec<Excess> = Vec::new();
        for who in self.runs() {
            let Some(limits) = self.terms(&who).and_then(|terms| terms.manifest.limits.as_ref()) else {
                continue;
            };
            all.extend(self.too_many_connections(&who, limits));
            all.extend(self.too_many_bytes(&who, limits));
            all.extend(self.too_long(&who, limits));
        }
        let charges = all
            .iter()
            .map(|excess| Charge::beside_connections(excess.run_id, Reason::LimitExceeded));
        let charges = charges.collect();
        (self.excess_finding(&all), charges)
    }

    fn too_many_connections(&self, who: &Who, limits: &Limits) -> Option<Excess> {
        let allowed = limits.connections_per_minute?;
        let busiest = self.observations.paces.get(who)?.busiest_minute()?;
        (busiest.connections > allowed).then(|| Excess {
            run_id: who.run_id,
            first: busiest.first,
            last: busiest.last,
            connections: busiest.connections,
            cited: busiest.cited.to_vec(),
            what: format!(
                "{} connections within a minute where {allowed} are declared",
                busiest.connections
            ),
        })
    }

    fn too_many_bytes(&self, who: &Who, limits: &Limits) -> Option<Excess> {
        let allowed = limits.bytes_per_run?.bytes;
        let mut sum: Option<Tally> = None;
        for observation in self.observations.seen.get(who)?.values() {
            match &mut sum {
                Some(sum) => sum.merge(observation.tally()),
                None => sum = Some(observation.tally().clone()),
            }
        }
        let sum = sum?;
        let moved = sum.bytes_out.saturating_add(sum.bytes_in);
        (moved > allowed).then(|| Excess {
            run_id: who.run_id,
            first: sum.first,
            last: sum.last,
            connections: sum.connections,
            cited: sum.cited(),
            what: format!("{moved} bytes moved where {allowed} are declared"),
        })
    }

    fn too_long(&self, who: &Who, limits: &Limits) -> Option<Excess> {
        let allowed_s = i64::try_from(limits.wall_time.as_ref()?.whole_seconds()?).ok()?;
        let run = self.book.run(who.run_id)?;
        let ended = run.ended.unwrap_or(self.period.to).min(self.period.to);
        let lasted_s = (ended.unix_us() - run.started.unix_us()) / 1_000_000;
        (lasted_s > allowed_s).then(|| Excess {
            run_id: who.run_id,
            first: run.started.max(self.period.from),
            last: ended.max(self.period.from),
            connections: 0,
            cited: Vec::new(),
            what: format!("{lasted_s} seconds of run where {allowed_s} are declared"),
        })
    }

    fn excess_finding(&self, all: &[Excess]) -> Option<Finding> {
        let worst = all.first()?;
        let mut finding = self.bare_finding(Reason::LimitExceeded, None, None, Severity::Medium);
        finding.runs = all.iter().map(|excess| excess.run_id).collect();
        finding.runs.sort_unstable();
        finding.runs.dedup();
        finding.first = all.iter().map(|excess| excess.first).min()?;
        finding.last = all.iter().map(|excess| excess.last).max()?;
        finding.connections = all.iter().map(|excess| excess.connections).sum();
        let more = match all.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more of the kind"),
        };
        finding.fix = format!("{}{more}; raise the limit and re-sign, or use less", worst.what);
        let cited = all.iter().flat_map(|excess| excess.cited.iter().copied());
        finding.events = self.references(cited.take(16).collect());
        Some(finding)
    }
}
