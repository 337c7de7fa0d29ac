//! The registry of a synthetic site: what was admitted, what ran, and what was revoked, when.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base::{ArtifactDigest, PluginId, Reason, RunId, Tier, Timestamp};
use control::api::types::{ChangeRequest, ListAct, ListChange, Target};
use control::clock::HandClock;
use control::gateways::NoGateways;
use control::office::{Keys, Office, Settings};
use control::store::{Act, AdmissionRecord, ComponentRecord, NewAdmission, RunRecord, Store};
use control::words::Action;
use manifests::{Grant, Manifest, SignedManifest};
use seal::envelope::Unverified;
use seal::trust::{Role, TrustRoot};
use seal::{PredicateType, SigningKey};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::site::Site;

/// Who did everything here.
const WHO: &str = "synth";
/// How long tokens of these runs were good. Nobody presents one.
const TOKEN_S: i64 = 24 * 3600;
/// The setting that says since when there can be anything to audit.
const OPENED: &str = "opened";
const DATABASE: &str = "bailiwick.db";

/// One build and what its owner promised.
#[derive(Clone, Debug)]
pub struct Build {
    /// What its file is called.
    pub file_name: String,
    /// Its digest.
    pub artifact_digest: ArtifactDigest,
    /// The manifest as its owner wrote it; `artifact_digest` may be left out.
    pub manifest: Value,
    /// The plugin's tier.
    pub tier: Tier,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When the certifier's approval runs out; without one it was not approved.
    pub approved_until: Option<Timestamp>,
    /// Libraries inside, by name and version.
    pub components: Vec<(String, String)>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// The run.
    pub run_id: RunId,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The build.
    pub artifact_digest: ArtifactDigest,
    /// When it was registered.
    pub started: Timestamp,
    /// When it ended, if it did.
    pub ended: Option<Timestamp>,
    /// The class of data that it was registered to handle, if somebody said.
    pub data_class: Option<String>,
}

/// One change of the revocation list.
#[derive(Clone, Debug)]
pub struct ListRow {
    /// What.
    pub target: Target,
    /// Held, revoked or released.
    pub action: ListAct,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
}

/// The registry in the making.
#[derive(Debug)]
pub struct Registry<'s> {
    site: &'s Site,
    owner: SigningKey,
    runtime: Runtime,
    store: Store,
    scratch: tempfile::TempDir,
    opened: Timestamp,
}

impl<'s> Registry<'s> {
    /// Begins the registry of a site that was opened at `opened`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(site: &'s Site, opened: Timestamp) -> Result<Self> {
        let scratch = scratch()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let store = Store::open_sqlite(&scratch.path().join(DATABASE), opened)?;
        runtime.block_on(store.set_setting(OPENED, opened.to_string(), None))?;
        Ok(Self {
            site,
            owner: site.key(Role::Owner),
            runtime,
            store,
            scratch,
            opened,
        })
    }

    /// Signs the manifest of a build and registers it, as the load gate would have.
    ///
    /// # Errors
    /// The manifest is not one, or names another build.
    pub fn admit(&self, build: &Build) -> Result<()> {
        let text = serde_json::to_vec(&build.manifest)?;
        let bundle = manifests::sign(&text, &build.file_name, &build.artifact_digest, &self.owner)?;
        let opened =
            Unverified::parse(&bundle)?.verify([&self.owner.public()], PredicateType::PluginManifest)?;
        let manifest = Manifest::from_value(&opened.statement.predicate)?;
        let approval_bundle = build
            .approved_until
            .map(|until| self.approve(build, &bundle, until))
            .transpose()?;
        let new = NewAdmission {
            plugin_id: manifest.plugin_id,
            tier: Some(build.tier),
            owner_name: manifest.owner.as_ref().map(|owner| owner.name.clone()),
            owner_email: manifest.owner.map(|owner| owner.email),
            artifact_digest: build.artifact_digest,
            version: manifest.version,
            file_name: build.file_name.clone(),
            size_bytes: 1,
            supersede: false,
            admission: AdmissionRecord {
                manifest_json: String::from_utf8(base::json::canonical(&opened.statement.predicate)?)?,
                manifest_payload_sha256: opened.payload_digest(),
                manifest_bundle: bundle,
                approval_bundle,
                sbom_sha256: None,
                components: build
                    .components
                    .iter()
                    .map(|(name, version)| ComponentRecord {
                        name: name.clone(),
                        version: version.clone(),
                    })
                    .collect(),
                signer: opened.signer,
                admitted_at: build.admitted_at,
                admitted_by: WHO.to_owned(),
            },
        };
        let act = Act {
            at: build.admitted_at,
            who: WHO.to_owned(),
            action: Action::Admit,
            target: build.artifact_digest.to_string(),
            reason: None,
            note: None,
            clause: None,
            enabled_by: None,
            crl_number: None,
        };
        Ok(self.runtime.block_on(self.store.admit(new, vec![act]))?)
    }

    /// The certifier's approval of a manifest that its owner signed.
    fn approve(&self, build: &Build, manifest: &[u8], until: Timestamp) -> Result<Vec<u8>> {
        let root = std::fs::read(self.site.folder.join("root.json"))?;
        let signed = SignedManifest::open(manifest, &TrustRoot::parse(&root)?, build.admitted_at)?;
        let grant = Grant {
            verifier: "https://corpus.example/certifier".to_owned(),
            policy: "https://corpus.example/review".to_owned(),
            policy_digest: None,
            tier: build.tier,
            at: build.admitted_at,
            valid_until: Some(until),
        };
        Ok(manifests::approve(
            &signed,
            &grant,
            &self.site.key(Role::Certifier),
        )?)
    }

    /// Registers a run, and its end.
    ///
    /// # Errors
    /// The registry refuses.
    pub fn run(&self, run: &RunRow) -> Result<()> {
        let record = RunRecord {
            run_id: run.run_id,
            artifact_digest: run.artifact_digest,
            plugin_id: run.plugin_id.clone(),
            started_at: run.started,
            expires_at: run.ended.unwrap_or(run.started).plus_seconds(TOKEN_S),
            ended_at: None,
            exit_status: None,
            started_by: WHO.to_owned(),
            listeners: Vec::new(),
            socket_uid: None,
            sources: Vec::new(),
            data_class: run.data_class.clone(),
        };
        self.runtime
            .block_on(self.store.start_run(record))
            .with_context(|| format!("run {}", run.run_id))?;
        if let Some(at) = run.ended {
            self.runtime
                .block_on(self.store.end_run(run.run_id, at, Some(0)))?;
        }
        Ok(())
    }

    /// Puts the registry into its place and publishes the changes of the revocation list, each at its
    /// time.
    ///
    /// # Errors
    /// The folder cannot be written, or a change is not allowed.
    pub fn finish(self, mut changes: Vec<ListRow>) -> Result<()> {
        let Self {
            site,
            runtime,
            store,
            scratch,
            opened,
            ..
        } = self;
        // Closing the last connection folds the log of the database into it.
        drop(store);
        drop(runtime);
        let place = site.data().join(DATABASE);
        std::fs::copy(scratch.path().join(DATABASE), &place)
            .with_context(|| format!("cannot write {}", place.display()))?;
        if changes.is_empty() {
            return Ok(());
        }
        changes.sort_by_key(|change| change.at);
        publish(site, opened, &place, changes)
    }
}

fn publish(site: &Site, opened: Timestamp, database: &Path, changes: Vec<ListRow>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open_sqlite(database, opened)?;
        let clock = Arc::new(HandClock::new(opened));
        let settings = Settings::initial(&site.name, &site.folder);
        let keys = Keys {
            crl: site.key(Role::Crl),
            run: site.key(Role::Run),
        };
        let office = Office::open(
            settings,
            keys,
            store,
            Arc::clone(&clock) as _,
            Arc::new(NoGateways),
        )
        .await?;
        let mut now = opened;
        for change in changes {
            clock.advance_seconds(change.at.unix_s() - now.unix_s());
            now = change.at;
            let request = ChangeRequest {
                changes: vec![ListChange {
                    action: change.action,
                    target: change.target,
                    reason: change.reason,
                }],
                who: WHO.to_owned(),
                note: None,
                clause: None,
                enabled_by: None,
            };
            office.change_list(request).await?;
        }
        Ok(())
    })
}

/// A folder for what grows by small steps that each wait for the disk; in memory a hundred thousand of
/// them take seconds.
pub(crate) fn scratch() -> Result<tempfile::TempDir> {
    let memory = PathBuf::from("/dev/shm");
    let made = tempfile::Builder::new()
        .prefix("bailiwick-synth-")
        .tempdir_in(&memory);
    match made {
        Ok(folder) => Ok(folder),
        Err(_) => tempfile::tempdir().context("cannot make a temporary folder"),
    }
}
