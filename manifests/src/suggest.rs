//! Suggestions: the smallest list of declarations that covers what runs were seen to do.
//!
//! A suggestion is for an owner to read and sign, never to be signed unread: what was seen may be what
//! nobody wanted. So a wildcard is suggested only where names under one parent are plainly one owner's
//! and plainly many, and never on a suffix under which strangers rent names.

use std::collections::{BTreeMap, BTreeSet};

use base::{HostName, ObservedScheme, Target, Timestamp};
use serde_json::json;

use crate::egress::{Entry, HostPattern, Ports, Scheme, SuffixKind, registrable, suffix_kind};
use crate::lint::{Rule, lint};
use crate::{Coverage, Declaration, Manifest};

/// Names under one parent from which on a wildcard is worth more than a list.
const MANY: usize = 4;
/// Labels longer than this may carry something; they are never hidden behind a wildcard.
const LONGEST_LABEL: usize = 24;
/// Lints that a suggested wildcard must not have.
const UNSAFE: [Rule; 6] = [
    Rule::PrivateSuffixWildcard,
    Rule::MultiTenantWildcard,
    Rule::RelayHost,
    Rule::AddressInName,
    Rule::MetadataAddress,
    Rule::MixedScript,
];

/// One destination that runs went to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Visited {
    /// Host and port.
    pub target: Target,
    /// What was spoken; `None` where nobody spoke.
    pub scheme: Option<ObservedScheme>,
    /// The run, by whatever name.
    pub run: String,
}

/// One declaration suggested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The declaration.
    pub declaration: Declaration,
    /// Whether the owner had declared it before.
    pub is_kept: bool,
    /// The runs that need it.
    pub runs: BTreeSet<String>,
    /// The hosts that it stands for.
    pub hosts: BTreeSet<String>,
}

/// The declarations that cover what was visited: those of `before` that are still needed, and for the
/// rest the narrowest, put together where that is safe. In the order of their text.
pub fn suggest(before: &[Declaration], visited: &[Visited], now: Timestamp) -> Vec<Suggestion> {
    let mut kept: BTreeMap<String, Suggestion> = BTreeMap::new();
    let mut exact: BTreeMap<(HostPattern, Scheme), Suggestion> = BTreeMap::new();
    for visit in visited {
        let covering = crate::coverage::coverage(before, &visit.target, visit.scheme, now);
        let suggestion = match covering {
            Coverage::Covered { entry } => {
                let text = entry.to_string();
                kept.entry(text)
                    .or_insert_with(|| Suggestion::new(entry.clone(), true))
            }
            Coverage::Uncovered { .. } => {
                let entry = Entry::for_observation(&visit.target, visit.scheme);
                let key = (entry.host().clone(), entry.scheme());
                let suggestion = exact
                    .entry(key)
                    .or_insert_with(|| Suggestion::new(Declaration::of(entry), false));
                let declared = &mut suggestion.declaration.entry;
                *declared = declared.with_port(visit.target.port);
                suggestion
            }
        };
        suggestion.runs.insert(visit.run.clone());
        suggestion.hosts.insert(visit.target.host.to_string());
    }
    let mut all: Vec<Suggestion> = kept.into_values().chain(put_together(exact)).collect();
    all.sort_by_key(|suggestion| suggestion.declaration.to_string());
    all
}

impl Suggestion {
    fn new(declaration: Declaration, is_kept: bool) -> Self {
        Self {
            declaration,
            is_kept,
            runs: BTreeSet::new(),
            hosts: BTreeSet::new(),
        }
    }
}

/// Puts names under one parent together, where they are many and that is safe.
fn put_together(exact: BTreeMap<(HostPattern, Scheme), Suggestion>) -> Vec<Suggestion> {
    let mut by_parent: BTreeMap<(HostName, Scheme, Ports), Vec<Suggestion>> = BTreeMap::new();
    let mut all = Vec::new();
    for ((host, scheme), suggestion) in exact {
        match parent(&host) {
            Some(parent) => {
                let ports = suggestion.declaration.entry.ports().clone();
                by_parent
                    .entry((parent, scheme, ports))
                    .or_default()
                    .push(suggestion);
            }
            None => all.push(suggestion),
        }
    }
    for ((parent, ..), siblings) in by_parent {
        match wildcard(&parent, &siblings) {
            Some(entry) if siblings.len() >= MANY => {
                let mut one = Suggestion::new(Declaration::of(entry), false);
                for sibling in siblings {
                    one.runs.extend(sibling.runs);
                    one.hosts.extend(sibling.hosts);
                }
                all.push(one);
            }
            _ => all.extend(siblings),
        }
    }
    all
}

/// The name one label up, if the first label is one that a wildcard may stand for.
fn parent(host: &HostPattern) -> Option<HostName> {
    let HostPattern::Name(name) = host else {
        return None;
    };
    let (label, parent) = name.as_str().split_once('.')?;
    let parent: HostName = parent.parse().ok()?;
    (label.len() <= LONGEST_LABEL).then_some(parent)
}

/// The wildcard over `parent`, if every name under it is its one owner's.
fn wildcard(parent: &HostName, siblings: &[Suggestion]) -> Option<Entry> {
    let entry = &siblings.first()?.declaration.entry;
    registrable(parent)?;
    if suffix_kind(parent) != SuffixKind::Own {
        return None;
    }
    let scheme = entry.scheme();
    let text = format!("{scheme}://*.{parent}:{}", entry.ports());
    let wildcard: Entry = text.parse().ok()?;
    let manifest = Manifest::draft_from_value(&json!({
        "plugin_id": "suggested", "allowed_egress": [wildcard.to_string()], "data_classes": [],
        "sdk_allowlist": [], "built_by": "nobody", "built_at": "2026-01-01T00:00:00Z",
    }))
    .ok()?;
    let is_unsafe = lint(&manifest).iter().any(|lint| UNSAFE.contains(&lint.rule));
    (!is_unsafe).then_some(wildcard)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_us(1_795_000_000_000_000);

    fn visits(targets: &[&str]) -> Vec<Visited> {
        let visit = |(number, target): (usize, &&str)| Visited {
            target: Target::from_authority(target.as_bytes()).unwrap(),
            scheme: Some(ObservedScheme::Tls),
            run: (number % 3).to_string(),
        };
        targets.iter().enumerate().map(visit).collect()
    }

    fn entries(before: &[&str], targets: &[&str]) -> Vec<String> {
        let before: Vec<Declaration> = before
            .iter()
            .map(|entry| Declaration::of(entry.parse().unwrap()))
            .collect();
        let suggested = suggest(&before, &visits(targets), NOW);
        suggested.iter().map(|one| one.declaration.to_string()).collect()
    }

    #[test]
    fn few_names_are_named_one_by_one_with_their_ports() {
        let targets = [
            "b.example.com:443",
            "a.example.com:443",
            "a.example.com:8443",
            "192.0.2.7:443",
        ];
        assert_eq!(
            entries(&[], &targets),
            ["192.0.2.7", "a.example.com:443,8443", "b.example.com"]
        );
    }

    #[test]
    fn many_names_of_one_owner_are_put_together() {
        let targets = ["a", "b", "c", "d"].map(|label| format!("{label}.cdn.example.com:443"));
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        assert_eq!(entries(&[], &targets), ["*.cdn.example.com"]);
        assert_eq!(entries(&[], &targets[..3]).len(), 3);
    }

    #[test]
    fn names_that_strangers_rent_are_never_put_together() {
        for parent in [
            "com",
            "co.uk",
            "blob.core.windows.net",
            "openai.azure.com",
            "ngrok.io",
            "github.io",
        ] {
            let targets: Vec<String> = (0..9).map(|n| format!("tenant{n}.{parent}:443")).collect();
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            assert_eq!(entries(&[], &targets).len(), 9, "{parent}");
        }
    }

    #[test]
    fn names_that_may_carry_something_are_never_hidden_behind_a_wildcard() {
        let targets: Vec<String> = (0..9)
            .map(|n| format!("{n}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com:443"))
            .collect();
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        assert_eq!(entries(&[], &targets).len(), 9);
    }

    #[test]
    fn what_was_declared_and_is_used_stays_and_what_is_not_goes() {
        let before = ["*.example.com", "unused.example.net"];
        let targets = ["a.example.com:443", "new.example.org:443"];
        assert_eq!(entries(&before, &targets), ["*.example.com", "new.example.org"]);
    }

    proptest! {
        /// Whatever is suggested covers whatever was visited.
        #[test]
        fn suggestions_cover_what_was_visited(
            hosts in prop::collection::vec(("[a-c]{1,2}", 0_usize..4, prop::sample::select(vec![443_u16, 8443, 22])), 1..20),
        ) {
            let parents = ["example.com", "cdn.example.com", "co.uk", "blob.core.windows.net"];
            let targets: Vec<String> = hosts
                .iter()
                .map(|(label, parent, port)| format!("{label}.{}:{port}", parents[*parent]))
                .collect();
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            let visited = visits(&targets);
            let suggested = suggest(&[], &visited, NOW);
            for visit in &visited {
                let covered = suggested.iter().any(|one| one.declaration.covers(&visit.target, visit.scheme, NOW));
                prop_assert!(covered, "{}", visit.target);
            }
        }
    }
}
