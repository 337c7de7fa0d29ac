//! Plugins and their tiers.

use base::{PluginId, Tier, Timestamp};
use serde::{Deserialize, Serialize};

use super::artifacts::ArtifactView;

/// One plugin of `GET /v1/plugins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginView {
    /// Its name.
    pub plugin_id: PluginId,
    /// The tier in force.
    pub tier: Tier,
    /// Whether somebody chose that tier, or the policy's default holds.
    pub tier_chosen: bool,
    /// The owner's name.
    pub owner_name: Option<String>,
    /// The owner's address.
    pub owner_email: Option<String>,
    /// When it was first admitted.
    pub created_at: Timestamp,
    /// Its artifacts, the latest first.
    pub artifacts: Vec<ArtifactView>,
}

/// The answer to `GET /v1/plugins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginList {
    /// By name.
    pub plugins: Vec<PluginView>,
}

/// `POST /v1/tiers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTierRequest {
    /// The plugin.
    pub plugin_id: PluginId,
    /// Its tier from now on.
    pub tier: Tier,
    /// Who asks.
    pub who: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
