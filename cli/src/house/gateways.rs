//! The gateway of this process, as the control plane sees it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use base::RunId;
use control::api::types::GatewayView;
use control::gateways::{Facts, GatewayFailure, Gateways, KillReport, Stop};
use control::nights::Answer;
use evidence::UnverifiedReader;
use proxy::{Gateway, KillScope, TokenRuns};
use seal::trust::Role;

use super::rulings::HouseRulings;
use super::witnesses::Witnesses;
use crate::clock;
use crate::config::Config;

/// How long ended runs are remembered beyond the longest token.
const ENDED_RUN_MEMORY_S: i64 = 48 * 3600;

/// What the gateway asks, and the gateway itself once it runs. A process without one (a command on
/// its own) keeps the answers all the same and cuts nothing.
pub struct HouseGateways {
    name: String,
    log_folder: PathBuf,
    /// May it connect?
    pub rulings: Arc<HouseRulings>,
    /// Whose run is this?
    pub runs: Arc<TokenRuns>,
    gateway: OnceLock<Gateway>,
    witnesses: OnceLock<Arc<Witnesses>>,
}

impl HouseGateways {
    /// No gateway yet.
    pub fn new(config: &Config) -> Self {
        Self {
            name: config.file.gateway.name.clone(),
            log_folder: config.log_dir(),
            rulings: Arc::new(HouseRulings::default()),
            runs: Arc::new(TokenRuns::new(Vec::new())),
            gateway: OnceLock::new(),
            witnesses: OnceLock::new(),
        }
    }

    /// From now on there is a gateway.
    pub fn attach(&self, gateway: Gateway) {
        assert!(self.gateway.set(gateway).is_ok(), "a process has one gateway");
    }

    /// From now on its log has witnesses.
    pub fn attach_witnesses(&self, witnesses: Arc<Witnesses>) {
        assert!(
            self.witnesses.set(witnesses).is_ok(),
            "a gateway's witnesses are asked from one place"
        );
    }

    /// Those who vouch for its log, once it runs.
    pub fn witnesses(&self) -> Option<&Arc<Witnesses>> {
        self.witnesses.get()
    }

    /// The gateway, if it runs.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.get()
    }

    /// Has the gateway believe client certificates under the run keys of `facts`.
    pub fn tell_run_keys(&self, facts: &Facts) {
        let keys = facts.trust.keys(Role::Run).cloned().collect();
        if let Some(Err(error)) = self.gateway.get().map(|gateway| gateway.set_run_keys(keys)) {
            tracing::error!(
                error = control::error_line(&error),
                "run keys of client certificates not changed"
            );
        }
    }

    async fn cut(&self, scopes: Vec<KillScope>) -> Vec<KillReport> {
        let Some(gateway) = self.gateway.get() else {
            return Vec::new();
        };
        let begun = Instant::now();
        let mut tunnels = 0;
        for scope in scopes {
            tunnels += gateway.kill(scope).await.tunnels;
        }
        vec![KillReport {
            gateway: self.name.clone(),
            tunnels,
            elapsed: begun.elapsed(),
            error: None,
        }]
    }
}

impl Gateways for HouseGateways {
    fn apply_list(&self, list: Arc<crl::List>, stop: Stop) -> Answer<'_, Vec<KillReport>> {
        Box::pin(async move {
            // First the answers, then the tunnels: whoever slips in between is refused.
            self.rulings.tell_list(&list);
            let everything = stop.everything.then_some(KillScope::All);
            let plugins = stop.plugins.into_iter().map(KillScope::Plugin);
            let artifacts = stop.artifacts.into_iter().map(KillScope::Artifact);
            self.cut(everything.into_iter().chain(plugins).chain(artifacts).collect())
                .await
        })
    }

    fn apply_facts(&self, facts: Arc<Facts>) -> Answer<'_, ()> {
        Box::pin(async move {
            let now = clock::now();
            self.runs.set_keys(facts.trust.keys(Role::Run).cloned().collect());
            self.tell_run_keys(&facts);
            for run_id in &facts.ended_runs {
                self.runs
                    .end_run(*run_id, now.plus_seconds(ENDED_RUN_MEMORY_S), now);
            }
            self.rulings.tell_facts(facts);
        })
    }

    fn end_run(&self, run_id: RunId) -> Answer<'_, Vec<KillReport>> {
        Box::pin(async move {
            let now = clock::now();
            self.runs
                .end_run(run_id, now.plus_seconds(ENDED_RUN_MEMORY_S), now);
            let Some(gateway) = self.gateway.get() else {
                return Vec::new();
            };
            let receipt = gateway.end_run(run_id).await;
            vec![KillReport {
                gateway: self.name.clone(),
                tunnels: receipt.tunnels,
                elapsed: receipt.elapsed,
                error: None,
            }]
        })
    }

    fn checkpoint(&self) -> Answer<'_, Result<(), GatewayFailure>> {
        Box::pin(async move {
            let Some(gateway) = self.gateway.get() else {
                return Ok(());
            };
            gateway
                .checkpoint()
                .await
                .map(drop)
                .map_err(|error| GatewayFailure {
                    gateway: self.name.clone(),
                    what: error.to_string(),
                })
        })
    }

    fn status(&self) -> Answer<'_, Vec<GatewayView>> {
        Box::pin(async move {
            let Some(gateway) = self.gateway.get() else {
                return Vec::new();
            };
            vec![GatewayView {
                name: self.name.clone(),
                listen: gateway.addresses().iter().map(ToString::to_string).collect(),
                live_tunnels: u64::try_from(gateway.live()).unwrap_or(u64::MAX),
                log_size: UnverifiedReader::new(&self.log_folder, 0)
                    .claimed_size()
                    .unwrap_or_default(),
                crl_number: self.rulings.crl_number(),
                ready: gateway.is_ready(),
                witnessing: self
                    .witnesses
                    .get()
                    .map(|witnesses| witnesses.view())
                    .unwrap_or_default(),
            }]
        })
    }
}
