//! What lapsed: exceptions and approvals that stood for a time, when that time is over.
//!
//! Connections after an approval's end are findings of their own, each with its destination. What is
//! said here is about no destination.

use base::{Reason, RunId, Severity};
use reports::predicate::Finding;

use crate::judge::Case;
use crate::relied::Relied;
use crate::terms::Waiver;

/// Exceptions that one finding spells out.
const MAX_NAMED: usize = 3;

impl Case<'_> {
    /// The exceptions about this build that ran out before the period ended, and its runs that were
    /// registered without an approval that still stood and connected nowhere.
    pub(crate) fn lapsed(&self, relied: &mut Relied) -> Option<Finding> {
        let exceptions = self.lapsed_exceptions(relied);
        let (runs, unapproved) = self.unapproved_runs().unzip();
        let said: Vec<String> = exceptions.into_iter().chain(unapproved).collect();
        if said.is_empty() {
            return None;
        }
        let mut finding = self.bare_finding(Reason::PolicyExpired, None, None, Severity::Low);
        finding.runs = runs.unwrap_or_default();
        finding.fix = said.join("; ");
        Some(finding)
    }

    fn lapsed_exceptions(&self, relied: &mut Relied) -> Option<String> {
        let build = self.book.build_of(self.artifact_digest)?;
        let lapsed: Vec<&Waiver> = build
            .waivers()
            .iter()
            .filter(|waiver| !waiver.exception.stands(self.period.to))
            .collect();
        if lapsed.is_empty() || self.run_id.is_some() {
            return None;
        }
        let named: Vec<String> = lapsed
            .iter()
            .take(MAX_NAMED)
            .inspect(|waiver| relied.name(waiver))
            .map(|waiver| words(waiver))
            .collect();
        let more = match lapsed.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!(
            "an exception of the policy, {}{more}; remove it, or have two people sign it anew",
            named.join("; ")
        ))
    }

    /// Runs that began after the approval ran out and of which no connection says so.
    fn unapproved_runs(&self) -> Option<(Vec<RunId>, String)> {
        let began = self.silent_runs.iter().filter_map(|run_id| {
            let run = self.book.run(*run_id)?;
            let lapsed = self.book.terms_of(self.artifact_digest, run.started)?.lapsed?;
            Some((*run_id, lapsed.at))
        });
        let (runs, ends): (Vec<RunId>, Vec<_>) = began.unzip();
        let last = ends.into_iter().max()?;
        let said = format!(
            "the approval of this build ran out at {last}, and it was run after that; have the certifier approve it \
             anew and admit it again"
        );
        Some((runs, said))
    }
}

/// What ran out, and who had signed it.
fn words(waiver: &Waiver) -> String {
    let exception = &waiver.exception;
    let reasons: Vec<&str> = exception.reasons.iter().map(|reason| reason.as_str()).collect();
    let to = exception
        .to
        .as_ref()
        .map(|to| format!(" to {to:?}"))
        .unwrap_or_default();
    let signers = base::escape_untrusted(exception.signers().as_bytes(), 100);
    format!(
        "{}{to}, signed by {signers}, ran out at {}",
        reasons.join(" and "),
        exception.until
    )
}
