//! Quotas: how much of the gateway one run and one plugin may use.
//!
//! A plugin that floods the gateway must not slow its neighbours, and must not fill the evidence log
//! with its own refusals either: those of one second are one event that counts them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{PluginId, RunId};

use crate::identity::Identity;

/// Between two events that say that a plugin is over its quota.
pub(crate) const SAID_EVERY: Duration = Duration::from_secs(1);

/// How much of the gateway one run and one plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Live connections of one run.
    pub connections_per_run: usize,
    /// Live connections of one plugin, all of its runs and builds together.
    pub connections_per_plugin: usize,
    /// New connections of one plugin in a second, in the long run. Twice as many may come at once.
    pub connections_per_second: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            connections_per_run: 10_000,
            connections_per_plugin: 10_000,
            connections_per_second: 2_000,
        }
    }
}

/// Which quota a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Quota {
    #[error("this run has {limit} connections already (gateway.limits.connections_per_run)")]
    Run { limit: usize },
    #[error("this plugin has {limit} connections already (gateway.limits.connections_per_plugin)")]
    Plugin { limit: usize },
    #[error(
        "this plugin opens more than {limit} connections in a second (gateway.limits.connections_per_second)"
    )]
    Rate { limit: u32 },
}

/// A connection that is over a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) quota: Quota,
    /// How many refusals there are to be told of, this one included; `None` while they are gathered.
    pub(crate) told: Option<u64>,
}

/// Refusals that were gathered and not yet told.
#[derive(Clone, Debug)]
pub(crate) struct Untold {
    pub(crate) identity: Arc<Identity>,
    pub(crate) count: u64,
}

/// Who uses how much.
#[derive(Default)]
pub(crate) struct Usage {
    plugins: HashMap<PluginId, PluginUsage>,
}

struct PluginUsage {
    live: usize,
    runs: HashMap<RunId, usize>,
    /// Connections that may come at once, as of `filled`.
    allowance: f64,
    filled: Instant,
    untold: u64,
    told: Option<Instant>,
    /// Whose connection was refused last.
    refused: Option<Arc<Identity>>,
}

impl Usage {
    /// Counts a new connection in, or says which quota it is over. What was counted in is given back
    /// by [`Usage::leave`].
    pub(crate) fn enter(
        &mut self,
        identity: &Arc<Identity>,
        quotas: Quotas,
        now: Instant,
    ) -> Result<(), Excess> {
        let burst = f64::from(quotas.connections_per_second) * 2.0;
        if !self.plugins.contains_key(&identity.plugin_id) {
            let fresh = PluginUsage::full(burst, now);
            self.plugins.insert(identity.plugin_id.clone(), fresh);
        }
        let usage = self
            .plugins
            .get_mut(&identity.plugin_id)
            .expect("it was just put there");
        usage.fill(f64::from(quotas.connections_per_second), burst, now);
        match usage.over(identity.run_id, quotas) {
            Some(quota) => Err(Excess {
                quota,
                told: usage.refuse(identity, now),
            }),
            None => {
                usage.allowance -= 1.0;
                usage.live += 1;
                *usage.runs.entry(identity.run_id).or_default() += 1;
                Ok(())
            }
        }
    }

    /// Counts a connection out.
    pub(crate) fn leave(&mut self, identity: &Identity) {
        let Some(usage) = self.plugins.get_mut(&identity.plugin_id) else {
            return;
        };
        usage.live = usage.live.saturating_sub(1);
        if let Some(run) = usage.runs.get_mut(&identity.run_id) {
            *run -= 1;
            if *run == 0 {
                usage.runs.remove(&identity.run_id);
            }
        }
    }

    /// Takes the refusals that nobody was told of in time, and forgets plugins at rest.
    pub(crate) fn sweep(&mut self, quotas: Quotas, now: Instant) -> Vec<Untold> {
        let rate = f64::from(quotas.connections_per_second);
        let mut untold = Vec::new();
        self.plugins.retain(|_, usage| {
            if usage.untold > 0
                && usage
                    .told
                    .is_none_or(|told| now.duration_since(told) >= SAID_EVERY)
                && let Some(identity) = usage.refused.clone()
            {
                untold.push(Untold {
                    identity,
                    count: std::mem::take(&mut usage.untold),
                });
                usage.told = Some(now);
            }
            usage.fill(rate, rate * 2.0, now);
            usage.live > 0 || usage.untold > 0 || usage.allowance < rate * 2.0
        });
        untold
    }
}

impl PluginUsage {
    fn full(burst: f64, now: Instant) -> Self {
        Self {
            live: 0,
            runs: HashMap::new(),
            allowance: burst,
            filled: now,
            untold: 0,
            told: None,
            refused: None,
        }
    }

    fn fill(&mut self, rate: f64, burst: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.allowance = (self.allowance + passed * rate).min(burst);
        self.filled = now;
    }

    fn over(&self, run_id: RunId, quotas: Quotas) -> Option<Quota> {
        let of_run = self.runs.get(&run_id).copied().unwrap_or_default();
        if of_run >= quotas.connections_per_run {
            Some(Quota::Run {
                limit: quotas.connections_per_run,
            })
        } else if self.live >= quotas.connections_per_plugin {
            Some(Quota::Plugin {
                limit: quotas.connections_per_plugin,
            })
        } else if self.allowance < 1.0 {
            Some(Quota::Rate {
                limit: quotas.connections_per_second,
            })
        } else {
            None
        }
    }

    /// Gathers a refusal; how many there are to tell of now, if it is time.
    fn refuse(&mut self, identity: &Arc<Identity>, now: Instant) -> Option<u64> {
        self.untold += 1;
        self.refused = Some(Arc::clone(identity));
        if self
            .told
            .is_some_and(|told| now.duration_since(told) < SAID_EVERY)
        {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use base::{ArtifactDigest, Attribution, Sha256Digest};

    use super::*;

    const QUOTAS: Quotas = Quotas {
        connections_per_run: 2,
        connections_per_plugin: 3,
        connections_per_second: 5,
    };

    fn identity(plugin: &str, run: u8) -> Arc<Identity> {
        Arc::new(Identity {
            plugin_id: plugin.parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"build")),
            run_id: RunId::from_parts(1, [run; 10]),
            attribution: Attribution::Token,
        })
    }

    #[test]
    fn a_run_and_a_plugin_have_so_many_connections_at_once_and_others_are_not_counted() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        let (first, second, other) = (identity("a", 1), identity("a", 2), identity("b", 3));
        assert_eq!(usage.enter(&first, QUOTAS, now), Ok(()));
        assert_eq!(usage.enter(&first, QUOTAS, now), Ok(()));
        let over = usage.enter(&first, QUOTAS, now).unwrap_err();
        assert_eq!(over.quota, Quota::Run { limit: 2 });
        assert_eq!(usage.enter(&second, QUOTAS, now), Ok(()));
        let over = usage.enter(&second, QUOTAS, now).unwrap_err();
        assert_eq!(over.quota, Quota::Plugin { limit: 3 });
        assert_eq!(usage.enter(&other, QUOTAS, now), Ok(()));
        usage.leave(&first);
        assert_eq!(usage.enter(&second, QUOTAS, now), Ok(()));
    }

    #[test]
    fn a_plugin_opens_so_many_in_a_second_and_twice_as_many_at_once() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        let client = identity("a", 1);
        let mut open = |at: Instant| {
            let entered = usage.enter(&client, QUOTAS, at);
            if entered.is_ok() {
                usage.leave(&client);
            }
            entered
        };
        for _ in 0..10 {
            assert_eq!(open(now), Ok(()));
        }
        assert_eq!(open(now).unwrap_err().quota, Quota::Rate { limit: 5 });
        for _ in 0..5 {
            assert_eq!(open(now + Duration::from_secs(1)), Ok(()));
        }
        assert!(open(now + Duration::from_secs(1)).is_err());
    }

    #[test]
    fn refusals_are_told_once_a_second_and_every_one_is_counted() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        let client = identity("a", 1);
        for _ in 0..2 {
            usage.enter(&client, QUOTAS, now).unwrap();
        }
        let told: Vec<_> = (0..5)
            .map(|_| usage.enter(&client, QUOTAS, now).unwrap_err().told)
            .collect();
        assert_eq!(told, [Some(1), None, None, None, None]);
        assert!(usage.sweep(QUOTAS, now).is_empty());
        let later = now + Duration::from_secs(2);
        let untold = usage.sweep(QUOTAS, later);
        assert_eq!(untold.iter().map(|untold| untold.count).collect::<Vec<_>>(), [4]);
        assert!(usage.sweep(QUOTAS, later + SAID_EVERY).is_empty());
    }

    #[test]
    fn plugins_at_rest_are_forgotten() {
        let (mut usage, now) = (Usage::default(), Instant::now());
        let client = identity("a", 1);
        usage.enter(&client, QUOTAS, now).unwrap();
        usage.sweep(QUOTAS, now + Duration::from_secs(60));
        assert_eq!(usage.plugins.len(), 1);
        usage.leave(&client);
        usage.sweep(QUOTAS, now + Duration::from_secs(60));
        assert!(usage.plugins.is_empty());
    }
}
