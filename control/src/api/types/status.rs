//! How the site stands: acts, gateways, witnesses, settings.

use base::{ArtifactState, Timestamp};
use serde::{Deserialize, Serialize};

use super::nights::NightView;
use crate::store::{Act, Counts};

/// `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Who asks.
    pub who: String,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// The configuration file that was read.
    pub path: String,
    /// Keys whose new values are in force now.
    pub changed: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub needs_restart: Vec<String>,
}

/// The query of `GET /v1/acts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActQuery {
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The answer to `GET /v1/acts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActList {
    /// The latest first.
    pub acts: Vec<Act>,
}

/// The answer to `GET /v1/status`: what is running and how old everything is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The site's name.
    pub site: String,
    /// The control plane's time.
    pub now: Timestamp,
    /// Whether the load gate refuses everything.
    pub safe_mode: bool,
    /// The policy in force.
    pub policy_version: u64,
    /// The trust root in force.
    pub trust_root_version: u64,
    /// After this moment a newer trust root is due.
    pub trust_root_expires: Timestamp,
    /// The list in force.
    pub crl: CrlStatus,
    /// Plugins registered.
    pub plugins: u64,
    /// Artifacts by state.
    pub artifacts: Vec<StateCount>,
    /// Runs that are live now.
    pub live_runs: u64,
    /// Reports written.
    pub reports: u64,
    /// Letters waiting.
    pub mails_queued: u64,
    /// Letters given up.
    pub mails_dead: u64,
    /// Webhooks waiting.
    #[serde(default)]
    pub webhooks_queued: u64,
    /// Webhooks given up.
    #[serde(default)]
    pub webhooks_dead: u64,
    /// How far the audit has come.
    pub last_audited_to: Option<Timestamp>,
    /// The latest audit.
    pub last_night: Option<NightView>,
    /// The gateways that this control plane can reach.
    pub gateways: Vec<GatewayView>,
}

impl StatusView {
    /// Artifacts by state, out of the store's counts.
    pub fn states(counts: &Counts) -> Vec<StateCount> {
        counts
            .artifacts
            .iter()
            .map(|&(state, count)| StateCount { state, count })
            .collect()
    }
}

/// How many artifacts are in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// The state.
    pub state: ArtifactState,
    /// How many.
    pub count: u64,
}

/// The revocation list in brief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlStatus {
    /// Its number.
    pub crl_number: u64,
    /// When it was issued.
    pub this_update: Timestamp,
    /// When the next one is due.
    pub next_update: Timestamp,
    /// Whether that moment has passed.
    pub stale: bool,
    /// How many entries it has.
    pub entries: u64,
    /// What the kill switch stops; empty while it rests.
    pub kill_switch: Vec<String>,
}

/// One gateway, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    /// Its name.
    pub name: String,
    /// Where plugins reach it, as `address:port` or `unix:PATH`.
    pub listen: Vec<String>,
    /// Listeners of single runs that are open now.
    pub run_listeners: u64,
    /// Source addresses that live runs are known by.
    pub run_sources: u64,
    /// Tunnels open now.
    pub live_tunnels: u64,
    /// Entries in its log.
    pub log_size: u64,
    /// The list it enforces.
    pub crl_number: u64,
    /// Whether it takes connections.
    pub ready: bool,
    /// What witnesses said about its log.
    pub witnessing: WitnessingView,
}

/// What witnesses said about a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessingView {
    /// Cosignatures that a checkpoint needs.
    pub needed: u64,
    /// Whether the newest cosigned checkpoint has as many.
    pub met: bool,
    /// Entries under that checkpoint; 0 where none was cosigned.
    pub size: u64,
    /// Who cosigned it.
    pub cosignatures: Vec<CosignatureView>,
    /// Who did not, and why.
    pub troubles: Vec<WitnessTrouble>,
}

/// One witness's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosignatureView {
    /// The witness.
    pub witness: String,
    /// When it cosigned.
    pub time: Timestamp,
}

/// Why a witness did not cosign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessTrouble {
    /// The witness.
    pub witness: String,
    /// In words.
    pub why: String,
}
