//! The gateway of this process, as the control plane sees it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use base::{Attribution, RunId};
use control::api::types::GatewayView;
use control::gateways::{Facts, GatewayFailure, Gateways, KillReport, RegisteredRun, Stop};
use control::nights::Answer;
use control::words::ListenerKind;
use evidence::UnverifiedReader;
use proxy::{Gateway, HandedSockets, Identity, KillScope, Registration, RunPlace, TokenRuns};
use seal::trust::{Role, TrustRoot};

use super::handover::Follower;
use super::rulings::HouseRulings;
use super::run_places::{LONGEST_SOCKET_PATH, RunPlaces, own_uid};
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
    witnesses: ArcSwapOption<Witnesses>,
    /// The process that this one took over from, while it still has connections.
    follower: ArcSwapOption<Follower>,
    places: RunPlaces,
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
            witnesses: ArcSwapOption::default(),
            follower: ArcSwapOption::default(),
            places: RunPlaces::new(config.run_dir()),
        }
    }

    /// From now on there is a gateway. Runs that live longer than the one before get their listeners
    /// back, where they were, on the sockets that were `handed` to this process if they are among them.
    pub fn attach(&self, gateway: Gateway, facts: &Facts, handed: &mut HandedSockets) {
        assert!(self.gateway.set(gateway).is_ok(), "a process has one gateway");
        let mut kept = HashSet::new();
        for run in &facts.registered_runs {
            for address in &run.listeners {
                let Some(place) = self.places.known(address, run.socket_uid) else {
                    tracing::warn!(%run.run_id, address, "a run's listener is not where runs have theirs, and stays closed");
                    continue;
                };
                if let RunPlace::Unix { path, .. } = &place {
                    kept.insert(path.clone());
                }
                if let Err(error) = self.open(run, &place, handed) {
                    tracing::warn!(%error, "a run lost its listener; its token still works");
                }
            }
        }
        self.places.sweep(&kept);
    }

    fn open(
        &self,
        run: &RegisteredRun,
        place: &RunPlace,
        handed: &mut HandedSockets,
    ) -> Result<String, GatewayFailure> {
        let failure = |what: String| GatewayFailure {
            gateway: self.name.clone(),
            what,
        };
        let gateway = self
            .gateway
            .get()
            .ok_or_else(|| failure("it does not run; start it with: bailiwick serve".to_owned()))?;
        let opened = gateway.open_listener_on(handed, &identity(run), place);
        let address = opened.map_err(|error| {
            let hint = match place {
                RunPlace::Unix { path, .. } if path.as_os_str().len() > LONGEST_SOCKET_PATH => {
                    "; the path is too long for a socket, choose a shorter gateway.run_dir"
                }
                RunPlace::Unix { uid, .. } if *uid != own_uid() => {
                    "; only a gateway that runs as root can hand a socket to another user"
                }
                _ => "",
            };
            failure(format!("{}{hint}", control::error_line(&error)))
        })?;
        Ok(address.to_string())
    }

    /// Knows a run by its listeners and sources.
    fn register(&self, run: &RegisteredRun) {
        let registration = Registration {
            identity: identity(run),
            expires: run.expires_at,
            sources: run.sources.clone(),
        };
        self.runs.register(registration, clock::now());
    }

    /// From now on its log has witnesses.
    pub fn attach_witnesses(&self, witnesses: Arc<Witnesses>) {
        self.witnesses.store(Some(witnesses));
    }

    /// From now on another process deals with the witnesses. What they are remembered by is closed.
    pub fn detach_witnesses(&self) {
        self.witnesses.store(None);
    }

    /// Those who vouch for its log, once it runs.
    pub fn witnesses(&self) -> Option<Arc<Witnesses>> {
        self.witnesses.load_full()
    }

    /// From now on the last connections of another process are this one's to look after.
    pub fn attach_follower(self: &Arc<Self>, follower: Arc<Follower>) {
        self.follower.store(Some(Arc::clone(&follower)));
        let own = Arc::downgrade(self);
        tokio::spawn(async move {
            follower.gone().await;
            if let Some(own) = own.upgrade() {
                own.follower.store(None);
            }
        });
    }

    /// The process before this one, while it still has connections.
    pub fn follower(&self) -> Option<Arc<Follower>> {
        self.follower.load_full()
    }

    /// Connections here and with the process before this one.
    pub fn live(&self) -> u64 {
        let here = self.gateway().map_or(0, Gateway::live);
        u64::try_from(here).unwrap_or(u64::MAX) + self.follower().map_or(0, |follower| follower.live())
    }

    /// Refuses a run's token from now on.
    pub fn forget_run(&self, run_id: RunId) {
        let now = clock::now();
        self.runs
            .end_run(run_id, now.plus_seconds(ENDED_RUN_MEMORY_S), now);
    }

    /// The gateway, if it runs.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.gateway.get()
    }

    /// Has the gateway believe whoever proves to be a run by the run keys of `trust`, and nobody else.
    pub fn tell_run_keys(&self, trust: &TrustRoot) {
        let keys: Vec<_> = trust.keys(Role::Run).cloned().collect();
        self.runs.set_keys(keys.clone());
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
        let follower = self.follower();
        for scope in scopes {
            let elsewhere = async {
                match &follower {
                    Some(follower) => follower.cut(&scope).await,
                    None => 0,
                }
            };
            tunnels += gateway.kill_also(scope.clone(), elsewhere).await.tunnels;
        }
        vec![KillReport {
            gateway: self.name.clone(),
            tunnels,
            elapsed: begun.elapsed(),
            error: None,
        }]
    }
}

fn identity(run: &RegisteredRun) -> Identity {
    Identity {
        plugin_id: run.plugin_id.clone(),
        artifact_digest: run.artifact_digest,
        run_id: run.run_id,
        attribution: Attribution::None,
    }
}

impl Gateways for HouseGateways {
    fn apply_list(&self, list: Arc<crl::List>, stop: Stop) -> Answer<'_, Vec<KillReport>> {
        Box::pin(async move {
            // First the answers, then the tunnels: whoever slips in between is refused.
            self.rulings.tell_list(&list);
            if let Some(follower) = self.follower() {
                follower.tell_list();
            }
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
            self.tell_run_keys(&facts.trust);
            for run_id in &facts.ended_runs {
                self.runs
                    .end_run(*run_id, now.plus_seconds(ENDED_RUN_MEMORY_S), now);
            }
            for run in &facts.registered_runs {
                self.register(run);
            }
            if let Some(gateway) = self.gateway.get() {
                // Whoever expired without anybody saying so is refused by now; their doors go too.
                let live: HashSet<_> = facts.registered_runs.iter().map(|run| run.run_id).collect();
                for (run_id, _) in gateway.run_listeners() {
                    if !live.contains(&run_id) && self.runs.is_over(run_id, now) {
                        gateway.close_listeners(run_id).await;
                    }
                }
            }
            self.rulings.tell_facts(facts);
            if let Some(follower) = self.follower() {
                follower.tell_facts(&self.rulings).await;
            }
        })
    }

    fn open_run(
        &self,
        run: RegisteredRun,
        kinds: Vec<ListenerKind>,
    ) -> Answer<'_, Result<Vec<String>, GatewayFailure>> {
        Box::pin(async move {
            self.register(&run);
            let mut addresses = Vec::new();
            for kind in kinds {
                let place = self.places.fresh(kind, run.socket_uid);
                let opened = match place {
                    Ok(place) => self.open(&run, &place, &mut HandedSockets::default()),
                    Err(error) => Err(GatewayFailure {
                        gateway: self.name.clone(),
                        what: format!("cannot make a folder for the run's socket (gateway.run_dir): {error}"),
                    }),
                };
                match opened {
                    Ok(address) => addresses.push(address),
                    Err(failure) => {
                        self.end_run(run.run_id).await;
                        return Err(failure);
                    }
                }
            }
            Ok(addresses)
        })
    }

    fn end_run(&self, run_id: RunId) -> Answer<'_, Vec<KillReport>> {
        Box::pin(async move {
            self.forget_run(run_id);
            let Some(gateway) = self.gateway.get() else {
                return Vec::new();
            };
            let follower = self.follower();
            let elsewhere = async {
                match &follower {
                    Some(follower) => follower.end_run(run_id).await,
                    None => 0,
                }
            };
            let (receipt, elsewhere) = tokio::join!(gateway.end_run(run_id), elsewhere);
            vec![KillReport {
                gateway: self.name.clone(),
                tunnels: receipt.tunnels + elsewhere,
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
                run_listeners: gateway
                    .run_listeners()
                    .iter()
                    .map(|(_, listeners)| u64::try_from(*listeners).unwrap_or(u64::MAX))
                    .sum(),
                run_sources: u64::try_from(self.runs.sources(clock::now())).unwrap_or(u64::MAX),
                live_tunnels: self.live(),
                log_size: UnverifiedReader::new(&self.log_folder, 0)
                    .claimed_size()
                    .unwrap_or_default(),
                crl_number: self.rulings.crl_number(),
                ready: gateway.is_ready(),
                witnessing: self
                    .witnesses()
                    .map(|witnesses| witnesses.view())
                    .unwrap_or_default(),
            }]
        })
    }
}
