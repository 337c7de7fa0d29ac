//! Lapsed exceptions: what was let pass for a time, when that time is over.

use base::{Reason, Severity};
use reports::predicate::Finding;

use crate::judge::Case;

/// Exceptions that one finding spells out.
const MAX_NAMED: usize = 3;

impl Case<'_> {
    /// The exceptions about this build that ran out before the period ended.
    pub(crate) fn lapsed_exceptions(&self) -> Option<Finding> {
        let build = self.book.build_of(self.artifact_digest)?;
        let lapsed: Vec<String> = build
            .waivers()
            .iter()
            .map(|waiver| &waiver.exception)
            .filter(|exception| !exception.stands(self.period.to))
            .map(|exception| {
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
            })
            .collect();
        if lapsed.is_empty() {
            return None;
        }
        let more = match lapsed.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let named: Vec<&str> = lapsed.iter().take(MAX_NAMED).map(String::as_str).collect();
        let mut finding = self.bare_finding(Reason::PolicyExpired, None, None, Severity::Low);
        finding.fix = format!(
            "an exception of the policy, {}{more}; remove it, or have two people sign it anew",
            named.join("; ")
        );
        Some(finding)
    }
}
