//! A whole site for tests: keys, trust root, policy, gateways that remember what they were told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{ArtifactDigest, Policy, RunId, Sha256Digest, Timestamp};
use seal::SigningKey;
use seal::trust::{Role, Scope, Signer, TrustRoot};
use serde_json::{Value, json};

use crate::api::types::{AdmitRequest, Base64Bytes, GatewayView, StartRunRequest, WitnessingView};
use crate::clock::HandClock;
use crate::gateways::{Facts, GatewayFailure, Gateways, KillReport, RegisteredRun, Stop};
use crate::nights::Answer;
use crate::office::{Keys, Office, OfficeError, Settings};
use crate::store::Store;
use crate::words::ListenerKind;

pub(crate) const NOW: Timestamp = Timestamp::from_unix_us(1_790_000_000_000_000);
pub(crate) const PLUGIN: &str = "acme.weather";

pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::ed25519_from_seed(&[byte; 32])
}

pub(crate) fn root_key() -> SigningKey {
    key(1)
}

pub(crate) fn owner_key() -> SigningKey {
    key(2)
}

pub(crate) fn certifier_key() -> SigningKey {
    key(12)
}

pub(crate) fn run_key() -> SigningKey {
    key(4)
}

/// What the gateways were told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    List { number: u64, stop: Stop },
    Facts,
    OpenRun(RegisteredRun),
    EndRun(RunId),
}

/// Gateways that remember.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) told: Mutex<Vec<Told>>,
    pub(crate) facts: Mutex<Option<Arc<Facts>>>,
    pub(crate) ready: std::sync::atomic::AtomicBool,
    pub(crate) without_listeners: std::sync::atomic::AtomicBool,
}

impl Recorder {
    /// What they were told since the last time this was asked.
    pub(crate) fn news(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    pub(crate) fn facts(&self) -> Arc<Facts> {
        self.facts.lock().unwrap().clone().unwrap()
    }
}

fn report(tunnels: u64) -> KillReport {
    KillReport {
        gateway: "gw-1".into(),
        tunnels,
        elapsed: Duration::from_micros(700),
        error: None,
    }
}

impl Gateways for Recorder {
    fn apply_list(&self, list: Arc<crl::List>, stop: Stop) -> Answer<'_, Vec<KillReport>> {
        let tunnels = if stop.is_empty() { 0 } else { 2 };
        let number = list.crl_number();
        self.told.lock().unwrap().push(Told::List { number, stop });
        Box::pin(async move { vec![report(tunnels)] })
    }

    fn apply_facts(&self, facts: Arc<Facts>) -> Answer<'_, ()> {
        self.told.lock().unwrap().push(Told::Facts);
        *self.facts.lock().unwrap() = Some(facts);
        Box::pin(async {})
    }

    fn open_run(
        &self,
        run: RegisteredRun,
        kinds: Vec<ListenerKind>,
    ) -> Answer<'_, Result<Vec<String>, GatewayFailure>> {
        self.told.lock().unwrap().push(Told::OpenRun(run));
        let failing = self.without_listeners.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move {
            if failing {
                return Err(GatewayFailure {
                    gateway: "gw-1".into(),
                    what: "no more sockets".into(),
                });
            }
            let at = |kind| match kind {
                ListenerKind::Unix => "unix:/run/bailiwick/0/proxy.sock".to_owned(),
                ListenerKind::Tcp => "127.0.0.1:4711".to_owned(),
            };
            Ok(kinds.into_iter().map(at).collect())
        })
    }

    fn end_run(&self, run_id: RunId) -> Answer<'_, Vec<KillReport>> {
        self.told.lock().unwrap().push(Told::EndRun(run_id));
        Box::pin(async { vec![report(1)] })
    }

    fn checkpoint(&self) -> Answer<'_, Result<(), GatewayFailure>> {
        Box::pin(async { Ok(()) })
    }

    fn status(&self) -> Answer<'_, Vec<GatewayView>> {
        let ready = self.ready.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move {
            vec![GatewayView {
                name: "gw-1".into(),
                listen: vec!["127.0.0.1:3128".into()],
                run_listeners: 0,
                run_sources: 0,
                live_tunnels: 0,
                log_size: 0,
                crl_number: 1,
                ready,
                witnessing: WitnessingView::default(),
            }]
        })
    }
}

/// A site in a temporary folder.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) gateways: Arc<Recorder>,
}

/// A signed artifact that lies nowhere: its digest and its bundle.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) digest: ArtifactDigest,
    pub(crate) bundle: Vec<u8>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let policy = toml::to_string(&Policy::initial("ops")).unwrap();
        std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
        let site = Self {
            folder,
            clock: Arc::new(HandClock::new(NOW)),
            gateways: Arc::new(Recorder::default()),
        };
        site.gateways
            .ready
            .store(true, std::sync::atomic::Ordering::SeqCst);
        site.write_root(&site.first_root());
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn first_root(&self) -> TrustRoot {
        let mut root = TrustRoot::first(vec![root_key().public()], 1, NOW.plus_seconds(365 * 86_400));
        for (role, key) in [
            (Role::Owner, owner_key()),
            (Role::Crl, key(3)),
            (Role::Run, run_key()),
            (Role::Certifier, certifier_key()),
        ] {
            root.signers.push(Signer {
                name: role.to_string(),
                key: key.public(),
                role,
                scopes: vec![Scope::All],
                valid_from: NOW.plus_seconds(-86_400),
                valid_until: None,
            });
        }
        root
    }

    pub(crate) fn write_root(&self, root: &TrustRoot) {
        std::fs::write(self.path("root.json"), root.sign(&[&root_key()]).unwrap()).unwrap();
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_sqlite(&self.path("data/bailiwick.db"), NOW).unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::initial("acme", self.folder.path())
    }

    /// The office, as a start of the process opens it.
    pub(crate) async fn try_office(&self) -> Result<Office, OfficeError> {
        let keys = Keys {
            crl: key(3),
            run: run_key(),
        };
        let clock: Arc<HandClock> = Arc::clone(&self.clock);
        let gateways: Arc<Recorder> = Arc::clone(&self.gateways);
        Office::open(self.settings(), keys, self.store(), clock, gateways).await
    }

    pub(crate) async fn office(&self) -> Office {
        self.try_office().await.unwrap()
    }
}

/// The seven classic fields, and a version.
pub(crate) fn manifest(version: &str) -> Value {
    json!({
        "plugin_id": PLUGIN,
        "version": version,
        "owner": {"name": "Weather team", "email": "weather@acme.example"},
        "allowed_egress": ["api.weather.example"],
        "data_classes": ["official"],
        "sdk_allowlist": [],
        "built_by": "ci/acme",
        "built_at": "2026-09-01T10:00:00Z"
    })
}

pub(crate) fn build_of(manifest: &Value, signer: &SigningKey) -> Build {
    let bytes = base::json::canonical(manifest).unwrap();
    let digest = ArtifactDigest::new(Sha256Digest::of(&bytes));
    let bundle = manifests::sign(&bytes, "weather.whl", &digest, signer).unwrap();
    Build { digest, bundle }
}

pub(crate) fn build(version: &str) -> Build {
    build_of(&manifest(version), &owner_key())
}

impl Build {
    pub(crate) fn admit(&self) -> AdmitRequest {
        AdmitRequest {
            file_name: "weather.whl".into(),
            size_bytes: 4,
            artifact_digest: self.digest,
            manifest_bundle: Some(Base64Bytes(self.bundle.clone())),
            manifest_json: None,
            approval_bundle: None,
            sbom_digest: None,
            components: Vec::new(),
            tier: None,
            supersede: false,
            mends: None,
            who: "ada".into(),
        }
    }

    pub(crate) fn run(&self) -> StartRunRequest {
        StartRunRequest {
            client_key: None,
            artifact_digest: self.digest,
            valid_for_s: None,
            listeners: Vec::new(),
            uid: None,
            sources: Vec::new(),
            data_class: None,
            loopback_sources: false,
            who: "launcher".into(),
        }
    }
}
