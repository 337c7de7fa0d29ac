//! What a tier says about one destination: the one rule by which gateways decide, and by which a night
//! says what another tier would have decided.

use base::{Target, Tier, Timestamp};

use crate::egress::Entry;
use crate::{Coverage, Manifest};

/// Who covers a destination: the manifest, the operators' list, both or neither. What was spoken is not
/// known when a connection is decided on, so host and port decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByTier {
    /// The declaration that covers it.
    pub matched: Option<String>,
    /// The entry of the operators' list that covers it.
    pub listed: Option<String>,
}

impl ByTier {
    /// Asks both at the moment `at`. Without a manifest nothing is declared.
    pub fn ask(
        manifest: Option<&Manifest>,
        operators_list: &[Entry],
        target: &Target,
        at: Timestamp,
    ) -> Self {
        let matched = manifest.and_then(|manifest| match manifest.coverage(target, None, at) {
            Coverage::Covered { entry } => Some(entry.entry.to_string()),
            Coverage::Uncovered { .. } => None,
        });
        let listed = operators_list.iter().find(|entry| entry.covers(target, None));
        Self {
            matched,
            listed: listed.map(ToString::to_string),
        }
    }

    /// Whether the low tier denies it.
    pub const fn would_deny(&self) -> bool {
        self.matched.is_none() || self.listed.is_none()
    }

    /// Why `tier` denies it, for people; `None` where it is allowed.
    pub fn denial(&self, tier: Tier) -> Option<String> {
        match tier {
            Tier::High | Tier::Medium => None,
            Tier::Low => {
                let missing = match (&self.matched, &self.listed) {
                    (Some(_), Some(_)) => return None,
                    (None, None) => "neither the manifest nor the operators' list covers it",
                    (None, Some(_)) => "the manifest does not cover it",
                    (Some(_), None) => "the operators' list does not cover it",
                };
                Some(format!("tier low: {missing}"))
            }
            Tier::Legacy => Some("tier legacy: no connection is allowed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_low_tier_allows_what_both_cover_and_the_others_all_or_nothing() {
        let manifest = Manifest::draft_from_value(&json!({
            "plugin_id": "ocr", "allowed_egress": ["both.example", "declared.example"], "data_classes": [],
            "sdk_allowlist": [], "built_by": "ci", "built_at": "2026-11-01T00:00:00Z",
        }))
        .unwrap();
        let list: Vec<Entry> = ["both.example", "listed.example"]
            .map(|entry| entry.parse().unwrap())
            .into();
        let at = Timestamp::from_unix_us(1_795_000_000_000_000);
        for (host, low) in [
            ("both", None),
            (
                "declared",
                Some("tier low: the operators' list does not cover it"),
            ),
            ("listed", Some("tier low: the manifest does not cover it")),
            (
                "none",
                Some("tier low: neither the manifest nor the operators' list covers it"),
            ),
        ] {
            let target = Target::from_authority(format!("{host}.example:443").as_bytes()).unwrap();
            let asked = ByTier::ask(Some(&manifest), &list, &target, at);
            assert_eq!(asked.denial(Tier::Low).as_deref(), low, "{host}");
            assert_eq!(asked.would_deny(), low.is_some(), "{host}");
            assert_eq!(asked.denial(Tier::High), None);
            assert!(asked.denial(Tier::Legacy).is_some());
        }
    }
}
