//! The office: everything an operator, the policy or a launcher can ask of the control plane.
//!
//! The API and the command line call the same methods. Each act says who did it and why, is written
//! down before it is acknowledged, and whatever signs is asked again each time: trust root, policy
//! and list are read when they count rather than remembered from the start.

mod admission;
mod appeals;
mod contacts;
mod error;
mod keeper;
mod list;
mod names;
mod queries;
mod remediation;
#[cfg(test)]
mod report_tests;
mod reports;
mod runs;
#[cfg(test)]
mod tests;
mod waiting;
#[cfg(test)]
mod waiting_tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base::{PluginId, RunId, Sha256Digest, Tier, Timestamp};
use manifests::Manifest;
use seal::SigningKey;
use seal::trust::{Role, TrustRoot};
use tokio_util::sync::CancellationToken;

use crate::api::types::GatewayView;
use crate::clock::Clock;
use crate::gateways::{ArtifactFacts, Facts, Gateways, RegisteredRun};
use crate::policy::{PolicyFileError, PolicyInForce, PolicySignature, check_floor, hold_floor};
use crate::store::{Act, Store};
use crate::trust;
use crate::words::Action;

pub use error::OfficeError;
use keeper::Keeper;
pub(crate) use names::check_who;
pub use reports::page;

/// How often the office looks after its list by itself.
const UPKEEP: Duration = Duration::from_secs(30);

/// What a site may choose about its office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The site's name: the issuer of its lists.
    pub site: String,
    /// The trust root's file.
    pub root_path: PathBuf,
    /// The policy's file.
    pub policy_path: PathBuf,
    /// The folder of the revocation list.
    pub crl_folder: PathBuf,
    /// For how long a list is good. It is renewed when half of that is over.
    pub crl_validity: Duration,
    /// Seconds past its time during which a list still lets new loads through.
    pub crl_grace_s: u32,
    /// Whether the policy has to be signed.
    pub policy_signature: PolicySignature,
    /// For how long a run's token is good, unless asked otherwise.
    pub run_valid_for_s: u32,
    /// How soon appeals are answered.
    pub appeals: ::reports::AppealClocks,
    /// Whom an owner writes to.
    pub security_contact: String,
}

impl Settings {
    /// Settings for a site whose files lie where `bailiwick init` puts them, under `folder`.
    pub fn initial(site: impl Into<String>, folder: &std::path::Path) -> Self {
        let site = site.into();
        Self {
            security_contact: format!("the security team of {site}"),
            site,
            root_path: folder.join("root.json"),
            policy_path: folder.join("policy.toml"),
            crl_folder: folder.join("data/crl"),
            crl_validity: Duration::from_secs(24 * 3600),
            crl_grace_s: 24 * 3600,
            policy_signature: PolicySignature::IfPresent,
            run_valid_for_s: 24 * 3600,
            appeals: ::reports::AppealClocks::default(),
        }
    }
}

/// The keys that an office signs with.
#[derive(Debug)]
pub struct Keys {
    /// Signs revocation lists.
    pub crl: SigningKey,
    /// Signs run tokens.
    pub run: SigningKey,
}

/// The control plane's operations. Cloning gives another handle to the same office.
#[derive(Clone)]
pub struct Office {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    keys: Keys,
    store: Store,
    clock: Arc<dyn Clock>,
    gateways: Arc<dyn Gateways>,
    /// The list in force, and the folder that it is kept in.
    keeper: Keeper,
    /// One change of the list at a time: each is numbered after the one before.
    changing: tokio::sync::Mutex<()>,
    /// The facts that the gateways were told last.
    facts: RwLock<Arc<Facts>>,
    /// Manifests by payload digest, so that facts need not be parsed again and again.
    manifests: Mutex<HashMap<Sha256Digest, Arc<Manifest>>>,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Office({})", self.inner.settings.site)
    }
}

impl Office {
    /// Opens the office: checks trust root, policy and keys, loads the list (or issues the first),
    /// finishes what a crash interrupted, and tells the gateways what to enforce.
    ///
    /// # Errors
    /// [`OfficeError`], naming the file or key that stands in the way.
    pub async fn open(
        settings: Settings,
        keys: Keys,
        store: Store,
        clock: Arc<dyn Clock>,
        gateways: Arc<dyn Gateways>,
    ) -> Result<Self, OfficeError> {
        let now = clock.now();
        let root = trust::read(&settings.root_path, &store, now).await?;
        let policy = read_policy(&settings, &root, &store, now).await?;
        authorise(&root, &keys.run, Role::Run, now)?;
        let keeper = Keeper::open(&settings.crl_folder, &settings.site, &root).await?;
        let facts = Facts {
            policy,
            trust: root,
            artifacts: HashMap::new(),
            ended_runs: std::collections::BTreeSet::new(),
            registered_runs: Vec::new(),
        };
        let office = Self {
            inner: Arc::new(Inner {
                settings,
                keys,
                store,
                clock,
                gateways,
                keeper,
                changing: tokio::sync::Mutex::new(()),
                facts: RwLock::new(Arc::new(facts)),
                manifests: Mutex::new(HashMap::new()),
            }),
        };
        office.settle().await?;
        match office.inner.keeper.in_force() {
            None => office.renew_list().await?,
            // A list that cannot be renewed still stops whom it stops.
            Some(_) => office.try_renew_list().await,
        }
        office.tell_facts().await?;
        office.tell_list().await;
        Ok(office)
    }

    /// The registry.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The list in force, with its documents.
    pub fn list(&self) -> Arc<crl::Accepted> {
        self.inner.keeper.current()
    }

    /// What the gateways were told last.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.inner.facts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The policy as the file says it now, which is in force from now on.
    ///
    /// # Errors
    /// [`OfficeError::Policy`]; an older policy than the last in force is one of them.
    pub async fn policy(&self) -> Result<PolicyInForce, OfficeError> {
        let trust = self.facts().trust.clone();
        self.policy_under(&trust).await
    }

    async fn policy_under(&self, trust: &TrustRoot) -> Result<PolicyInForce, OfficeError> {
        Ok(read_policy(&self.inner.settings, trust, &self.inner.store, self.now()).await?)
    }

    /// The trust root as the file says it now.
    ///
    /// # Errors
    /// [`OfficeError::Trust`].
    pub async fn trust_root(&self) -> Result<TrustRoot, OfficeError> {
        Ok(trust::read(&self.inner.settings.root_path, &self.inner.store, self.now()).await?)
    }

    /// Asks the gateways to sign what they recorded so far.
    ///
    /// # Errors
    /// [`OfficeError::Gateway`].
    pub async fn checkpoint(&self) -> Result<(), OfficeError> {
        Ok(self.inner.gateways.checkpoint().await?)
    }

    /// Waits until no list is being published. Whoever keeps new requests away knows then that this office
    /// changes nothing more.
    pub async fn settled(&self) {
        drop(self.inner.changing.lock().await);
    }

    /// How the gateways are.
    pub async fn gateways(&self) -> Vec<GatewayView> {
        self.inner.gateways.status().await
    }

    /// Looks after list and facts until stopped.
    pub async fn run_upkeep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(UPKEEP) => {}
            }
            if let Err(error) = self.upkeep().await {
                tracing::error!(error = %crate::error_line(&error), "upkeep");
            }
        }
    }

    /// Renews the list if half its time is over, and tells the gateways of changed files.
    ///
    /// # Errors
    /// [`OfficeError`]; what was in force stays in force.
    pub async fn upkeep(&self) -> Result<(), OfficeError> {
        // Each is looked after whatever became of the other.
        let renewed = self.renew_list().await;
        let decided = self.do_what_is_due().await;
        self.tell_facts().await?;
        renewed.and(decided)
    }

    /// Whether the trust root and the policy can be used as they lie there now.
    ///
    /// # Errors
    /// [`OfficeError`].
    pub async fn check_files(&self) -> Result<(), OfficeError> {
        let trust = self.trust_root().await?;
        let settings = &self.inner.settings;
        let path = &settings.policy_path;
        let read = PolicyInForce::read_signed(path, &trust, settings.policy_signature)?;
        // It is kept as the one in force once it is.
        check_floor(path, &read, &self.inner.store).await?;
        Ok(())
    }

    /// Reads trust root and policy again, tells the gateways what they and the list in force say, and
    /// puts on record that `who` had the configuration `path` read again.
    ///
    /// The list itself is in force from the moment in which it is published, and nobody else publishes
    /// here: it is renewed where that is due.
    ///
    /// # Errors
    /// [`OfficeError`]; what was in force stays in force.
    pub async fn reload(&self, who: &str, path: &str) -> Result<(), OfficeError> {
        self.upkeep().await?;
        self.tell_list().await;
        let now = self.now();
        let act = act(now, who, Action::Reload, path, None);
        let store = &self.inner.store;
        Ok(store.set_setting(RELOADED, now.to_string(), Some(act)).await?)
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Tells the gateways what the registry, the policy and the trust root say now.
    async fn tell_facts(&self) -> Result<(), OfficeError> {
        let trust = self.trust_root().await?;
        let policy = self.policy_under(&trust).await?;
        let tiers: HashMap<PluginId, Option<Tier>> = self
            .inner
            .store
            .plugins()
            .await?
            .into_iter()
            .map(|plugin| (plugin.plugin_id, plugin.tier))
            .collect();
        let mut artifacts = HashMap::new();
        for names in self.inner.store.artifact_names().await? {
            let Some(manifest) = self.manifest(names.manifest_payload_sha256, &names.manifest_json) else {
                // The gate admitted it, so this is damage. The gateway then knows no manifest for
                // the artifact, and every connection of it is undeclared.
                tracing::error!(artifact = %names.artifact_digest, "the stored manifest cannot be read");
                continue;
            };
            let chosen = tiers.get(&names.plugin_id).copied().flatten();
            let facts = ArtifactFacts {
                tier: chosen.unwrap_or(policy.policy.default_tier),
                plugin_id: names.plugin_id,
                manifest,
                manifest_digest: names.manifest_payload_sha256,
                signer: names.signer,
            };
            artifacts.insert(names.artifact_digest, facts);
        }
        let ended_runs = self.inner.store.ended_runs(self.now()).await?;
        let live_runs = self.live_runs().await?;
        let facts = Arc::new(Facts {
            policy,
            trust,
            artifacts,
            ended_runs: ended_runs.into_iter().collect(),
            registered_runs: live_runs.iter().filter_map(RegisteredRun::of).collect(),
        });
        *self.inner.facts.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&facts);
        self.inner.gateways.apply_facts(facts).await;
        Ok(())
    }

    fn manifest(&self, payload: Sha256Digest, json: &str) -> Option<Arc<Manifest>> {
        let mut known = self
            .inner
            .manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(manifest) = known.get(&payload) {
            return Some(Arc::clone(manifest));
        }
        let manifest = Arc::new(Manifest::parse(json.as_bytes()).ok()?);
        known.insert(payload, Arc::clone(&manifest));
        Some(manifest)
    }

    async fn safe_mode(&self) -> Result<bool, OfficeError> {
        Ok(self.inner.store.setting(SAFE_MODE).await?.as_deref() == Some("on"))
    }

    /// Runs `work` to its end even if whoever asked hangs up: an act that has begun is finished.
    async fn to_the_end<T, F>(&self, work: F) -> Result<T, OfficeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, OfficeError>> + Send + 'static,
    {
        tokio::spawn(work).await.map_err(|_| OfficeError::Interrupted)?
    }
}

/// When the configuration was last read again, among the settings.
const RELOADED: &str = "config_reloaded";
/// The name of safe mode among the settings.
const SAFE_MODE: &str = "safe_mode";

/// Whether `key` may sign as `role` now.
/// Reads the policy, and holds it against the last one in force before it counts.
async fn read_policy(
    settings: &Settings,
    trust: &TrustRoot,
    store: &Store,
    now: Timestamp,
) -> Result<PolicyInForce, PolicyFileError> {
    let path = &settings.policy_path;
    let read = PolicyInForce::read_signed(path, trust, settings.policy_signature)?;
    hold_floor(path, &read, trust, store, now).await?;
    Ok(read)
}

fn authorise(root: &TrustRoot, key: &SigningKey, role: Role, now: Timestamp) -> Result<(), OfficeError> {
    root.authorises(&key.public().fingerprint(), role, None, now)
        .map(drop)
        .map_err(OfficeError::Key)
}

/// An act that only says who, what, to what and why.
fn act(at: Timestamp, who: &str, action: Action, target: impl ToString, note: Option<String>) -> Act {
    Act {
        at,
        who: who.to_owned(),
        action,
        target: target.to_string(),
        reason: None,
        note,
        clause: None,
        enabled_by: None,
        crl_number: None,
    }
}

/// A run id from the clock and ten random bytes.
fn new_run_id(now: Timestamp) -> Result<RunId, OfficeError> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| OfficeError::Randomness)?;
    let unix_ms = u64::try_from(now.unix_us() / 1000).unwrap_or(0);
    Ok(RunId::from_parts(unix_ms, random))
}
