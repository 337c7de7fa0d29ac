//! Tiers: how much trust this deployment gives a plugin.

use crate::text_enum::text_enum;

text_enum! {
    /// How much trust this deployment gives a plugin. The tier says what happens on a breach; it
    /// never changes what counts as one.
    pub enum Tier as "tier" {
        /// Connections are allowed and recorded; on a breach a person decides.
        High = "high",
        /// Connections are allowed and recorded; on a breach the policy quarantines.
        Medium = "medium",
        /// Connections are denied except the operators' list ∩ the manifest.
        Low = "low",
        /// Every connection is denied.
        Legacy = "legacy",
    }
}
