//! Limits: what a manifest promises about how much, held against what was seen.
//!
//! A gateway sees connections and bytes, the registry when runs began and ended. Memory and processors
//! are seen by neither, and nothing is said about them.

use std::collections::BTreeMap;

use base::{Reason, RunId, Severity, Timestamp};
use reports::predicate::Finding;

use crate::charge::Charge;
use crate::judge::Case;
use crate::moment::{Moment, Reasons};
use crate::observation::Who;
use crate::relied::Use;
use crate::tally::{Cited, Tally};
use crate::usage::{Allowance, Beyond, Usage};

/// What is said and counted of limits that were exceeded.
#[derive(Default)]
pub(crate) struct Excesses {
    pub(crate) findings: Vec<Finding>,
    pub(crate) charges: Vec<Charge>,
    /// The connections beyond a limit, for clauses that count by moments.
    pub(crate) moments: Vec<Moment>,
    /// By which exceptions limits were let be exceeded.
    pub(crate) excused: Vec<Use>,
}

/// One run that used more than its manifest allows.
struct Excess {
    run_id: RunId,
    first: Timestamp,
    last: Timestamp,
    connections: u64,
    cited: Vec<Cited>,
    what: String,
    /// What the policy lets pass, and in whose words.
    excuse: Option<Excuse>,
}

/// That the policy lets a limit be exceeded.
struct Excuse {
    words: String,
    uses: Vec<Use>,
}

impl Case<'_> {
    /// One finding about all runs that used more than they may, one about those that the policy lets, and
    /// what follows for clauses.
    pub(crate) fn excesses(&self) -> Excesses {
        let mut all: Vec<Excess> = Vec::new();
        let mut excesses = Excesses::default();
        for who in self.runs() {
            let known = self.book.build(&who).is_some_and(|build| build.is_limited);
            if !known {
                continue;
            }
            let before = all.len();
            let beyond = self.excesses_of(&who, &mut all);
            let stands = all[before..].iter().any(|excess| excess.excuse.is_none());
            if stands {
                excesses.charges.extend(charges(who.run_id, &beyond));
            }
            excesses
                .moments
                .extend(beyond.into_values().map(|beyond| beyond.moment(who.run_id)));
        }
        excesses.moments.sort();
        let (stand, excused): (Vec<Excess>, Vec<Excess>) =
            all.into_iter().partition(|excess| excess.excuse.is_none());
        let uses = excused.iter().filter_map(|excess| excess.excuse.as_ref());
        excesses.excused = uses.flat_map(|excuse| excuse.uses.iter().cloned()).collect();
        let findings = [
            self.excess_finding(&stand, Severity::Medium),
            // One thing is said under one name: what stands outweighs what is let pass.
            self.excess_finding(&excused, Severity::Info)
                .filter(|_| stand.is_empty()),
        ];
        excesses.findings = findings.into_iter().flatten().collect();
        excesses
    }

    /// Notes what one run used too much of, and gives the connections beyond a limit that nobody lets pass,
    /// each at the first moment at which it was.
    fn excesses_of<'u>(&'u self, who: &Who, all: &mut Vec<Excess>) -> BTreeMap<Cited, Beyond<'u>> {
        static NOTHING: Usage = Usage::none();
        let usage = self.observations.usages.get(who).unwrap_or(&NOTHING);
        let allowance = Allowance::of(self.book, who);
        let (too_many, busiest) = usage.too_many(|at| allowance.connections_per_minute(at));
        let (too_large, most) = usage.too_large(allowance.bytes_before(), |at| allowance.bytes_per_run(at));
        let too_late = allowance.run().map_or_else(Vec::new, |run| {
            usage.too_late(run.started, |at| allowance.wall_time_s(at))
        });
        all.extend(busiest.map(|busiest| Excess {
            run_id: who.run_id,
            first: busiest.first,
            last: busiest.last,
            connections: busiest.connections,
            cited: busiest.cited.to_vec(),
            what: format!(
                "{} connections within a minute where {} are declared",
                busiest.connections, busiest.allowed
            ),
            excuse: self.excuse(who, too_many.iter().map(|beyond| beyond.at)),
        }));
        all.extend(self.too_many_bytes(who, &allowance, &too_large, most));
        all.extend(self.too_long(who, &allowance));
        let mut each: BTreeMap<Cited, Beyond<'u>> = BTreeMap::new();
        for beyond in too_many.into_iter().chain(too_late).chain(too_large) {
            if self.book.excuse(who, Reason::LimitExceeded, beyond.at).is_none() {
                let known = each.entry(beyond.used.cited[0]).or_insert_with(|| beyond.clone());
                known.at = known.at.min(beyond.at);
            }
        }
        each
    }

    fn too_many_bytes(
        &self,
        who: &Who,
        allowance: &Allowance<'_>,
        beyond: &[Beyond<'_>],
        most: Option<(u64, u64)>,
    ) -> Option<Excess> {
        let mut sum: Option<Tally> = None;
        let run = self.seen.of(Some(who.run_id)).first()?;
        for (_, observation) in &run.sights {
            match &mut sum {
                Some(sum) => sum.merge(observation.tally()),
                None => sum = Some(observation.tally().clone()),
            }
        }
        let sum = sum?;
        // Of a run with more connections than are remembered, the sum is known all the same.
        let before = allowance.bytes_before();
        let moved = sum.bytes_out.saturating_add(sum.bytes_in).saturating_add(before);
        let in_all = allowance
            .bytes_per_run(sum.last)
            .filter(|allowed| moved > *allowed);
        let (moved, allowed) = in_all.map(|allowed| (moved, allowed)).or(most)?;
        let last = (beyond.is_empty()).then_some(sum.last);
        let moments = beyond.iter().map(|beyond| beyond.at).chain(last);
        Some(Excess {
            run_id: who.run_id,
            first: sum.first,
            last: sum.last,
            connections: sum.connections,
            cited: sum.cited(),
            what: match before {
                0 => format!("{moved} bytes moved where {allowed} are declared"),
                before => format!(
                    "{moved} bytes moved where {allowed} are declared, {before} of them before {}",
                    self.period.from
                ),
            },
            excuse: self.excuse(who, moments),
        })
    }

    /// The run, at the end of each time in which one manifest was in force.
    fn too_long(&self, who: &Who, allowance: &Allowance<'_>) -> Option<Excess> {
        let run = allowance.run()?;
        let ended = run.ended.unwrap_or(self.period.to).min(self.period.to);
        let begins: Vec<Timestamp> = self
            .book
            .all_terms(who, run.started, ended.max(run.started))
            .map(|terms| terms.at)
            .collect();
        let ends = begins.iter().skip(1).copied().chain(std::iter::once(ended));
        let over = begins.iter().zip(ends).filter_map(|(&begin, end)| {
            let allowed_s = allowance.wall_time_s(begin)?;
            let lasted_s = (end.unix_us() - run.started.unix_us()) / 1_000_000;
            (end >= self.period.from && lasted_s > allowed_s).then_some((begin, lasted_s, allowed_s))
        });
        let (begin, lasted_s, allowed_s) = over.last()?;
        Some(Excess {
            run_id: who.run_id,
            first: run.started.max(self.period.from),
            last: ended.max(self.period.from),
            connections: 0,
            cited: Vec::new(),
            what: format!("{lasted_s} seconds of run where {allowed_s} are declared"),
            excuse: self.excuse(who, std::iter::once(begin)),
        })
    }

    /// By what the policy lets a limit be exceeded at each of these moments, in the words of the first.
    fn excuse(&self, who: &Who, moments: impl Iterator<Item = Timestamp>) -> Option<Excuse> {
        let excuse = |at| Some((at, self.book.excuse(who, Reason::LimitExceeded, at)?));
        let waivers: Vec<_> = moments.map(excuse).collect::<Option<_>>()?;
        let (_, first) = waivers.first()?;
        Some(Excuse {
            words: first.words(),
            uses: waivers
                .iter()
                .map(|(at, waiver)| Use::of(waiver, *at, *at))
                .collect(),
        })
    }

    fn excess_finding(&self, all: &[Excess], severity: Severity) -> Option<Finding> {
        let worst = all.first()?;
        let mut finding = self.bare_finding(Reason::LimitExceeded, None, None, severity);
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
        let mend = format!("{}{more}; raise the limit and re-sign, or use less", worst.what);
        finding.fix = match &worst.excuse {
            Some(excuse) => format!("{}; then: {mend}", excuse.words),
            None => mend,
        };
        let cited = all.iter().flat_map(|excess| excess.cited.iter().copied());
        finding.events = self.references(cited.take(16).collect());
        Some(finding)
    }
}

/// The charges that one run's connections beyond limits come to: one for each way in which the same
/// connections may have been counted already.
fn charges(run_id: RunId, beyond: &BTreeMap<Cited, Beyond<'_>>) -> Vec<Charge> {
    let mut by_before: BTreeMap<Reasons, Charge> = BTreeMap::new();
    // Without a connection beyond it, a limit exceeded is a reason to tell people.
    by_before.insert(
        Reasons::default(),
        Charge::beside_connections(run_id, Reason::LimitExceeded),
    );
    for Beyond { used, .. } in beyond.values() {
        let charge = by_before.entry(used.broke).or_insert_with(|| Charge {
            before: used.broke,
            ..Charge::beside_connections(run_id, Reason::LimitExceeded)
        });
        *charge.established.entry(Reason::LimitExceeded).or_default() += u64::from(used.established);
        if used.beyond_lookup {
            charge.beyond_lookup.insert(Reason::LimitExceeded);
        }
    }
    by_before.into_values().collect()
}
