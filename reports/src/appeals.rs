//! The clocks of an appeal, as they are published: how soon somebody reads it, answers it, decides it.

use serde::{Deserialize, Serialize};

/// How soon appeals are answered, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppealClocks {
    /// Until somebody has read it.
    pub acknowledge_s: u32,
    /// Until somebody answers.
    pub respond_s: u32,
    /// Until it is decided.
    pub decide_s: u32,
    /// For how long an owner who was right is protected from automatic acts.
    pub protect_s: u32,
}

impl Default for AppealClocks {
    fn default() -> Self {
        const DAY_S: u32 = 24 * 3600;
        Self {
            acknowledge_s: DAY_S,
            respond_s: 3 * DAY_S,
            decide_s: 10 * DAY_S,
            protect_s: 30 * DAY_S,
        }
    }
}

impl AppealClocks {
    /// The promise in a sentence.
    pub fn words(&self) -> String {
        format!(
            "An appeal is acknowledged within {}, answered within {} and decided within {}; an owner who was right is protected from automatic acts for {}.",
            span(self.acknowledge_s),
            span(self.respond_s),
            span(self.decide_s),
            span(self.protect_s)
        )
    }
}

/// Whole days where it is whole days, else hours.
fn span(seconds: u32) -> String {
    let (number, noun) = match seconds {
        whole if whole % 86_400 == 0 => (whole / 86_400, "day"),
        other => (other.div_ceil(3600), "hour"),
    };
    crate::words::count(u64::from(number), noun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_told_in_days_or_hours() {
        let clocks = AppealClocks {
            acknowledge_s: 4 * 3600,
            ..AppealClocks::default()
        };
        assert_eq!(
            clocks.words(),
            "An appeal is acknowledged within 4 hours, answered within 3 days and decided within 10 days; an owner who was right is protected from automatic acts for 30 days."
        );
    }
}
