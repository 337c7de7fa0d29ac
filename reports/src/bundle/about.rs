//! What a bundle about a plugin's doings in some time is about, in its own words.
//!
//! Nobody signs this: it says what the bundle is meant to be, and everything in the bundle is held
//! against it.

use base::{PluginId, RunId};
use serde::{Deserialize, Serialize};

use crate::predicate::Period;

/// What a bundle is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The time.
    pub period: Period,
    /// The plugin.
    pub plugin_id: PluginId,
    /// The run, where only one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The site whose gateways saw it.
    pub site: String,
}

/// A text that does not say what a bundle is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not say what the bundle is about: {0}")]
pub struct InvalidAbout(String);

impl About {
    /// What the bundle's file is called.
    pub fn bundle_name(&self) -> String {
        let run = self.run_id.map_or(String::new(), |run| format!("-{run}"));
        let (from, to) = (self.period.from.utc_day(), self.period.to.utc_day());
        format!("evidence-{}-{from}-{to}{run}.tar.zst", self.plugin_id)
    }

    pub(super) fn to_text(&self) -> Vec<u8> {
        base::json::canonical(self).expect("words and times have a canonical form")
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`InvalidAbout`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidAbout> {
        let value = base::json::parse(bytes).map_err(|error| InvalidAbout(error.to_string()))?;
        serde_json::from_value(value).map_err(|error| InvalidAbout(error.to_string()))
    }
}
