//! Runs: beginning and ending them, and what is known of them.

use base::{ArtifactDigest, PluginId, RunId, Tier, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use super::status::GatewayView;
use crate::store::RunRecord;
use crate::words::ListenerKind;

/// `POST /v1/runs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRunRequest {
    /// The artifact about to run, by the digest of the bytes that will.
    pub artifact_digest: ArtifactDigest,
    /// How long the run's token is valid; absent takes the site's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for_s: Option<u32>,
    /// The run's public key in PEM, where it asks for a client certificate as well. The private half
    /// stays with the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Listeners that the run gets for itself: whoever comes in there needs no credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerKind>,
    /// The one user who may open the run's Unix socket; absent takes the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Addresses that are this run's: whoever comes from there needs no credentials, as long as no
    /// other live run has the same address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpAddr>,
    /// Whether loopback may be among the sources: then every process of the gateway's machine is
    /// taken for this run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loopback_sources: bool,
    /// The class of data that the run handles; the night holds it against what each destination is
    /// declared for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_class: Option<String>,
    /// Who asks.
    pub who: String,
}

/// The answer to [`StartRunRequest`]: what the run's environment is made of.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run: the user name of its proxy credentials.
    pub run_id: RunId,
    /// Its plugin.
    pub plugin_id: PluginId,
    /// Its artifact.
    pub artifact_digest: ArtifactDigest,
    /// The password of its proxy credentials. Never logged; whoever has it is the run.
    pub token: String,
    /// The certificate for the key that was sent, in PEM: it names the run, and expires with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// From when on the token is refused.
    pub expires_at: Timestamp,
    /// The tier in force.
    pub tier: Tier,
    /// The run's own listeners: `unix:PATH` or `address:port`, in the order asked for.
    pub listeners: Vec<String>,
    /// Sources that another live run has too, so that they prove nothing for either.
    pub shared_sources: Vec<IpAddr>,
    /// The gateways that will let it out.
    pub gateways: Vec<GatewayView>,
}

impl std::fmt::Debug for RunStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token: debug output ends up in logs.
        f.debug_struct("RunStarted")
            .field("run_id", &self.run_id)
            .field("plugin_id", &self.plugin_id)
            .field("artifact_digest", &self.artifact_digest)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/runs/{run_id}/end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRunRequest {
    /// The command's exit status, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its id.
    pub run_id: RunId,
    /// Its artifact.
    pub artifact_digest: ArtifactDigest,
    /// Its plugin.
    pub plugin_id: PluginId,
    /// Since when.
    pub started_at: Timestamp,
    /// From when on its token is refused.
    pub expires_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit_status: Option<i32>,
    /// Who registered it.
    pub started_by: String,
    /// Its own listeners, which are open while it is live.
    pub listeners: Vec<String>,
    /// The addresses that are its own while it is live.
    pub sources: Vec<IpAddr>,
    /// The class of data that it handles, if somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_class: Option<String>,
    /// Whether it is neither over nor expired.
    pub live: bool,
}

impl RunView {
    /// The view of `record` at `now`.
    pub fn new(record: &RunRecord, now: Timestamp) -> Self {
        Self {
            run_id: record.run_id,
            artifact_digest: record.artifact_digest,
            plugin_id: record.plugin_id.clone(),
            started_at: record.started_at,
            expires_at: record.expires_at,
            ended_at: record.ended_at,
            exit_status: record.exit_status,
            started_by: record.started_by.clone(),
            listeners: record.listeners.clone(),
            sources: record.sources.clone(),
            data_class: record.data_class.clone(),
            live: record.is_live(now),
        }
    }
}

/// The answer to `GET /v1/runs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunList {
    /// The latest first.
    pub runs: Vec<RunView>,
}

/// The query of `GET /v1/runs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    /// One plugin's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<PluginId>,
    /// Live ones only.
    #[serde(default)]
    pub live: bool,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
