//! Which events are wanted.

use base::{ArtifactDigest, Decision, Host, PluginId, RefusalReason, RunId, Timestamp};

use crate::{Event, EventKind};

/// Which events are wanted: all that is said must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this plugin.
    pub plugin_id: Option<PluginId>,
    /// Of this run.
    pub run_id: Option<RunId>,
    /// Of this artifact.
    pub artifact_digest: Option<ArtifactDigest>,
    /// To this host.
    pub host: Option<Host>,
    /// Of this kind.
    pub kind: Option<EventKind>,
    /// Allowed or denied.
    pub decision: Option<Decision>,
    /// Refused for this reason.
    pub reason: Option<RefusalReason>,
    /// Of this connection.
    pub connection_id: Option<String>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether everything is wanted.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this event is wanted.
    pub fn wants(&self, event: &Event) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        same(self.plugin_id.as_ref(), event.plugin_id.as_ref())
            && same(self.run_id.as_ref(), event.run_id.as_ref())
            && same(self.artifact_digest.as_ref(), event.artifact_digest.as_ref())
            && same(self.host.as_ref(), event.destination_host.as_ref())
            && same(self.kind.as_ref(), Some(&event.kind))
            && same(self.connection_id.as_ref(), event.connection_id.as_ref())
            && same(self.decision.as_ref(), event.decision.as_ref())
            && same(self.reason.as_ref(), event.reason.as_ref())
            && self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
    }

    /// A sieve for entries, which costs a fraction of reading them: what it drops is not wanted, what
    /// it lets through may be.
    pub fn sieve(&self) -> Sieve {
        let member = |key: &str, word: String| format!("\"{key}\":\"{word}\"").into_bytes();
        let words = [
            self.plugin_id
                .as_ref()
                .map(|plugin| member("plugin_id", plugin.to_string())),
            self.run_id.map(|run| member("run_id", run.to_string())),
            self.artifact_digest
                .map(|digest| member("artifact_digest", digest.to_string())),
            self.host
                .as_ref()
                .map(|host| member("destination_host", host.to_string())),
            self.decision
                .map(|decision| member("decision", decision.to_string())),
            self.reason.map(|reason| member("reason", reason.to_string())),
        ];
        Sieve {
            members: words.into_iter().flatten().collect(),
        }
    }
}

/// What a wanted entry must hold, as its bytes stand in canonical JSON. Quotation marks inside of
/// texts are escaped, so no text can pass for a member.
#[derive(Clone, Debug)]
pub struct Sieve {
    members: Vec<Vec<u8>>,
}

impl Sieve {
    /// Whether the entry may be wanted.
    pub fn lets_through(&self, entry: &[u8]) -> bool {
        self.members
            .iter()
            .all(|member| entry.windows(member.len()).any(|window| window == member))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::sound_event;

    proptest! {
        #[test]
        fn no_wanted_entry_is_held_back_by_the_sieve(event in sound_event(), chosen in any::<[bool; 6]>()) {
            let choose = |at: usize| chosen[at];
            let filter = Filter {
                plugin_id: event.plugin_id.clone().filter(|_| choose(0)),
                run_id: event.run_id.filter(|_| choose(1)),
                artifact_digest: event.artifact_digest.filter(|_| choose(2)),
                host: event.destination_host.clone().filter(|_| choose(3)),
                decision: event.decision.filter(|_| choose(4)),
                reason: event.reason.filter(|_| choose(5)),
                ..Filter::default()
            };
            prop_assert!(filter.wants(&event));
            prop_assert!(filter.sieve().lets_through(&event.to_entry().unwrap()));
        }
    }
}
