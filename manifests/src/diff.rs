//! Differences between two manifests, for the people who review the second one.
//!
//! Egress is compared by what it reaches and not by how it is written: an entry that others covered
//! already adds nothing, and a wildcard that swallows an old entry is shown as that entry, widened.

use std::fmt;

use serde_json::Value;

use crate::egress::Entry;
use crate::{Declaration, Manifest};

/// What a new manifest says differently from an old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Entries that reach somewhere new.
    pub added: Vec<EgressChange>,
    /// Entries that reach somewhere new, and all that some old entries reached.
    pub widened: Vec<EgressChange>,
    /// Old entries part of whose reach is gone.
    pub removed: Vec<EgressChange>,
    /// Entries that stand in both under other terms.
    pub terms: Vec<TermChange>,
    /// Other fields, by their canonical values.
    pub fields: Vec<FieldChange>,
}

/// One entry that makes a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressChange {
    /// The entry.
    pub entry: Entry,
    /// The old entries that it widens; empty unless it does.
    pub widens: Vec<Entry>,
    /// What exactly is new, or gone.
    pub reach: Vec<Entry>,
}

/// One term of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermChange {
    /// The entry.
    pub entry: Entry,
    /// `purpose`, `methods`, `data_classes` or `expires`.
    pub term: &'static str,
    /// The old value, for people.
    pub old: Option<String>,
    /// The new value, for people.
    pub new: Option<String>,
    /// Whether the entry allows more now.
    pub widens: bool,
}

/// One field of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The field's name.
    pub field: String,
    /// The old value.
    pub old: Option<Value>,
    /// The new value.
    pub new: Option<Value>,
}

impl Difference {
    /// Whether both manifests say the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the new manifest allows connections that the old one did not.
    pub fn widens_egress(&self) -> bool {
        !self.added.is_empty() || !self.widened.is_empty() || self.terms.iter().any(|term| term.widens)
    }
}

/// Compares two manifests.
pub fn diff(old: &Manifest, new: &Manifest) -> Difference {
    let mut difference = Difference {
        terms: term_changes(old, new),
        fields: field_changes(old, new),
        ..Difference::default()
    };
    for entry in entries(new) {
        let reach = entry.beyond(entries(old));
        if reach.is_empty() {
            continue;
        }
        let widens: Vec<Entry> = entries(old).filter(|was| entry.includes(was)).cloned().collect();
        let change = EgressChange {
            entry: entry.clone(),
            reach,
            widens,
        };
        if change.widens.is_empty() {
            difference.added.push(change);
        } else {
            difference.widened.push(change);
        }
    }
    for entry in entries(old) {
        let reach = entry.beyond(entries(new));
        if !reach.is_empty() {
            difference.removed.push(EgressChange {
                entry: entry.clone(),
                widens: Vec::new(),
                reach,
            });
        }
    }
    difference
}

fn entries(manifest: &Manifest) -> impl Iterator<Item = &Entry> {
    manifest
        .allowed_egress
        .iter()
        .map(|declaration| &declaration.entry)
}

fn term_changes(old: &Manifest, new: &Manifest) -> Vec<TermChange> {
    let mut changes = Vec::new();
    for now in &new.allowed_egress {
        let Some(was) = old.allowed_egress.iter().find(|was| was.entry == now.entry) else {
            continue;
        };
        compare_terms(was, now, &mut changes);
    }
    changes
}

fn compare_terms(was: &Declaration, now: &Declaration, changes: &mut Vec<TermChange>) {
    let mut note = |term, old: Option<String>, new: Option<String>, widens| {
        if old != new {
            changes.push(TermChange {
                entry: now.entry.clone(),
                term,
                old,
                new,
                widens,
            });
        }
    };
    note("purpose", was.purpose.clone(), now.purpose.clone(), false);
    note(
        "methods",
        joined(&was.methods),
        joined(&now.methods),
        reaches_further(&was.methods, &now.methods),
    );
    note(
        "data_classes",
        joined(&was.data_classes),
        joined(&now.data_classes),
        reaches_further(&was.data_classes, &now.data_classes),
    );
    let later = match (was.expires, now.expires) {
        (Some(was), Some(now)) => now > was,
        (Some(_), None) => true,
        (None, _) => false,
    };
    note(
        "expires",
        was.expires.map(|end| end.to_string()),
        now.expires.map(|end| end.to_string()),
        later,
    );
}

fn joined<T: fmt::Display>(items: &Option<Vec<T>>) -> Option<String> {
    let texts: Vec<String> = items.as_ref()?.iter().map(ToString::to_string).collect();
    Some(texts.join(", "))
}

/// An absent list restricts nothing.
fn reaches_further<T: PartialEq>(was: &Option<Vec<T>>, now: &Option<Vec<T>>) -> bool {
    match (was, now) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(was), Some(now)) => now.iter().any(|item| !was.contains(item)),
    }
}

fn field_changes(old: &Manifest, new: &Manifest) -> Vec<FieldChange> {
    let (old, new) = (old.to_value(), new.to_value());
    let names = |value: &Value| -> Vec<String> {
        let fields = value.as_object();
        fields
            .into_iter()
            .flat_map(|fields| fields.keys().cloned())
            .collect()
    };
    let mut all = names(&new);
    all.extend(names(&old).into_iter().filter(|name| new.get(name).is_none()));
    all.into_iter()
        .filter(|name| name != "allowed_egress" && old.get(name) != new.get(name))
        .map(|field| FieldChange {
            old: old.get(&field).cloned(),
            new: new.get(&field).cloned(),
            field,
        })
        .collect()
}

fn list(entries: &[Entry]) -> String {
    let texts: Vec<String> = entries.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

impl fmt::Display for Difference {
    /// One line per change: `+` added, `~` widened or changed, `-` removed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partly = |change: &EgressChange, word: &str| {
            if change.reach == [change.entry.clone()] {
                String::new()
            } else {
                format!(" ({word} {})", list(&change.reach))
            }
        };
        for change in &self.added {
            writeln!(f, "+ {}{}", change.entry, partly(change, "new:"))?;
        }
        for change in &self.widened {
            writeln!(
                f,
                "~ {} -> {}{}",
                list(&change.widens),
                change.entry,
                partly(change, "new:")
            )?;
        }
        for change in &self.removed {
            writeln!(f, "- {}{}", change.entry, partly(change, "gone:"))?;
        }
        for change in &self.terms {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            let (old, new) = (shown(&change.old), shown(&change.new));
            let mark = if change.widens { ", allows more" } else { "" };
            writeln!(f, "~ {}: {}: {old} -> {new}{mark}", change.entry, change.term)?;
        }
        for change in &self.fields {
            let shown =
                |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
            writeln!(
                f,
                "~ {}: {} -> {}",
                change.field,
                shown(&change.old),
                shown(&change.new)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(egress: Value) -> Manifest {
        Manifest::draft_from_value(&json!({
            "plugin_id": "acme.weather",
            "version": "1.0",
            "allowed_egress": egress,
            "data_classes": ["official"],
            "sdk_allowlist": [],
            "built_by": "ci",
            "built_at": "2026-11-21T00:00:00Z",
        }))
        .unwrap()
    }

    fn lines(old: Value, new: Value) -> Vec<String> {
        let text = diff(&manifest(old), &manifest(new)).to_string();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_same_promise_in_other_words_is_no_difference() {
        let old = manifest(json!(["a.example", "8.8.0.0/16"]));
        let new = manifest(json!([
            "8.8.128.0/17",
            "8.8.0.0/17",
            "https://A.example.:443",
            "wss://a.example"
        ]));
        let difference = diff(&old, &new);
        assert!(difference.is_empty(), "{difference}");
        assert!(!difference.widens_egress());
    }

    #[test]
    fn what_is_new_widened_and_gone_is_told_apart() {
        assert_eq!(
            lines(
                json!(["a.example", "b.example"]),
                json!(["a.example", "c.example"])
            ),
            ["+ c.example", "- b.example"]
        );
        assert_eq!(
            lines(json!(["x.api.example"]), json!(["*.api.example"])),
            ["~ x.api.example -> *.api.example"]
        );
        assert_eq!(
            lines(json!(["a.example:443,8443"]), json!(["a.example:443,9443"])),
            [
                "+ a.example:443,9443 (new: a.example:9443)",
                "- a.example:443,8443 (gone: a.example:8443)"
            ]
        );
        assert_eq!(
            lines(json!(["8.8.0.0/17"]), json!(["8.8.0.0/16"])),
            ["~ 8.8.0.0/17 -> 8.8.0.0/16 (new: 8.8.128.0/17)"]
        );
        assert_eq!(
            lines(json!(["*.api.example"]), json!(["x.api.example"])),
            ["- *.api.example"]
        );
    }

    #[test]
    fn terms_that_allow_more_say_so() {
        let with = |terms: Value| {
            let mut entry = json!({"to": "http://a.example"});
            entry
                .as_object_mut()
                .unwrap()
                .extend(terms.as_object().unwrap().clone());
            json!([entry])
        };
        let widens =
            |old: Value, new: Value| diff(&manifest(with(old)), &manifest(with(new))).widens_egress();
        let january = json!({"expires": "2027-01-01T00:00:00Z"});
        let june = json!({"expires": "2027-06-01T00:00:00Z"});
        assert!(widens(january.clone(), june.clone()));
        assert!(!widens(june.clone(), january.clone()));
        assert!(widens(june.clone(), json!({})));
        assert!(!widens(json!({}), june));
        assert!(widens(
            json!({"methods": ["GET"]}),
            json!({"methods": ["GET", "POST"]})
        ));
        assert!(!widens(
            json!({"methods": ["GET", "POST"]}),
            json!({"methods": ["GET"]})
        ));
        assert!(widens(json!({"data_classes": ["official"]}), json!({})));
        assert!(!widens(json!({"purpose": "a"}), json!({"purpose": "b"})));
    }

    #[test]
    fn other_fields_are_compared_by_value() {
        let old = manifest(json!([]));
        let mut new = old.clone();
        new.version = Some("1.1".to_owned());
        new.retention = Some("P30D".parse().unwrap());
        let text = diff(&old, &new).to_string();
        assert!(text.contains("~ version: \"1.0\" -> \"1.1\"\n"), "{text}");
        assert!(text.contains("~ retention: none -> \"P30D\"\n"), "{text}");
        assert!(!diff(&old, &new).widens_egress());
    }
}
