//! The gateways, as control sees them: somebody who is told what to enforce and says what it cut.
//!
//! Control pushes whole values (the list, the facts), never questions to be asked back: a gateway
//! that lost touch carries on with the last ones it was told.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{ArtifactDigest, PluginId, RunId, Sha256Digest, Tier, Timestamp};
use manifests::Manifest;
use seal::Fingerprint;
use seal::trust::TrustRoot;

use crate::api::types::GatewayView;
use crate::nights::Answer;
use crate::policy::PolicyInForce;
use crate::store::RunRecord;
use crate::words::ListenerKind;

/// What a gateway needs to know besides the revocation list.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The policy in force.
    pub policy: PolicyInForce,
    /// The trust root in force; its run keys sign the tokens.
    pub trust: TrustRoot,
    /// Every artifact that was ever admitted.
    pub artifacts: HashMap<ArtifactDigest, ArtifactFacts>,
    /// Runs that ended before their tokens expired: to be refused.
    pub ended_runs: BTreeSet<RunId>,
    /// Live runs that can be known without their token.
    pub registered_runs: Vec<RegisteredRun>,
}

/// A run that can be known by where its connections come in or come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredRun {
    /// The run.
    pub run_id: RunId,
    /// Its plugin.
    pub plugin_id: PluginId,
    /// Its artifact.
    pub artifact_digest: ArtifactDigest,
    /// From when on it is over in any case.
    pub expires_at: Timestamp,
    /// Its own listeners, `unix:PATH` or `address:port`.
    pub listeners: Vec<String>,
    /// The one user who may open its Unix socket; absent for the gateway's own.
    pub socket_uid: Option<u32>,
    /// The addresses that are its own.
    pub sources: Vec<IpAddr>,
}

impl RegisteredRun {
    /// What `record` says about it; `None` where only its token tells.
    pub fn of(record: &RunRecord) -> Option<Self> {
        if record.listeners.is_empty() && record.sources.is_empty() {
            return None;
        }
        Some(Self {
            run_id: record.run_id,
            plugin_id: record.plugin_id.clone(),
            artifact_digest: record.artifact_digest,
            expires_at: record.expires_at,
            listeners: record.listeners.clone(),
            socket_uid: record.socket_uid,
            sources: record.sources.clone(),
        })
    }
}

/// What is known of one artifact.
#[derive(Clone, Debug)]
pub struct ArtifactFacts {
    /// Its plugin.
    pub plugin_id: PluginId,
    /// The tier in force for its plugin.
    pub tier: Tier,
    /// The manifest in force.
    pub manifest: Arc<Manifest>,
    /// The SHA-256 of the manifest's signed payload.
    pub manifest_digest: Sha256Digest,
    /// Who signed it.
    pub signer: Fingerprint,
}

/// What a new list stops: the tunnels of all of these are to be cut, idle or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// The kill switch was thrown for everything.
    pub everything: bool,
    /// These plugins, every build of them.
    pub plugins: BTreeSet<PluginId>,
    /// These builds.
    pub artifacts: BTreeSet<ArtifactDigest>,
}

impl Stop {
    /// Whether there is nothing to cut.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.plugins.is_empty() && self.artifacts.is_empty()
    }
}

/// What one gateway cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillReport {
    /// The gateway.
    pub gateway: String,
    /// Tunnels closed.
    pub tunnels: u64,
    /// From being told to the last socket closed.
    pub elapsed: Duration,
    /// What went wrong, if it did.
    pub error: Option<String>,
}

/// Why something could not be had from a gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gateway {gateway}: {what}")]
pub struct GatewayFailure {
    /// The gateway.
    pub gateway: String,
    /// What failed, and what to do.
    pub what: String,
}

/// All gateways that this control plane can reach.
pub trait Gateways: Send + Sync {
    /// Enforces `list` from now on, then cuts what `stop` names. The list is on disk already.
    fn apply_list(&self, list: Arc<crl::List>, stop: Stop) -> Answer<'_, Vec<KillReport>>;

    /// Knows `facts` from now on, in place of earlier ones.
    fn apply_facts(&self, facts: Arc<Facts>) -> Answer<'_, ()>;

    /// Knows `run` from now on, whose listeners are not open yet, and opens one of each of `kinds` for
    /// it alone. Says where they are, in the same order. Where one cannot be opened none stays open, and
    /// the run is refused.
    fn open_run(
        &self,
        run: RegisteredRun,
        kinds: Vec<ListenerKind>,
    ) -> Answer<'_, Result<Vec<String>, GatewayFailure>>;

    /// Refuses a run's token from now on, closes its listeners and ends what it still has open, after
    /// the gateway's grace.
    fn end_run(&self, run_id: RunId) -> Answer<'_, Vec<KillReport>>;

    /// Signs what was recorded so far, so that an audit has it whole.
    fn checkpoint(&self) -> Answer<'_, Result<(), GatewayFailure>>;

    /// How they are.
    fn status(&self) -> Answer<'_, Vec<GatewayView>>;
}

/// A process without gateways: the command line on its own. Whatever it publishes is on disk, and
/// gateways find it there when they start.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGateways;

impl Gateways for NoGateways {
    fn apply_list(&self, _: Arc<crl::List>, _: Stop) -> Answer<'_, Vec<KillReport>> {
        Box::pin(async { Vec::new() })
    }

    fn apply_facts(&self, _: Arc<Facts>) -> Answer<'_, ()> {
        Box::pin(async {})
    }

    fn open_run(
        &self,
        _: RegisteredRun,
        _: Vec<ListenerKind>,
    ) -> Answer<'_, Result<Vec<String>, GatewayFailure>> {
        Box::pin(async {
            Err(GatewayFailure {
                gateway: "-".to_owned(),
                what: "no gateway runs here; start one with: bailiwick serve".to_owned(),
            })
        })
    }

    fn end_run(&self, _: RunId) -> Answer<'_, Vec<KillReport>> {
        Box::pin(async { Vec::new() })
    }

    fn checkpoint(&self) -> Answer<'_, Result<(), GatewayFailure>> {
        Box::pin(async { Ok(()) })
    }

    fn status(&self) -> Answer<'_, Vec<GatewayView>> {
        Box::pin(async { Vec::new() })
    }
}
