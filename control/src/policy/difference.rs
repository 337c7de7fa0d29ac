//! The difference between two policies, field by field, for whoever signs the later one.

use std::collections::BTreeMap;

use base::Policy;
use serde::Serialize;
use serde_json::Value;

/// One field that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyChange {
    /// The field's full name.
    pub field: String,
    /// What it said; absent where it was not there.
    pub before: Option<String>,
    /// What it says; absent where it is not there any more.
    pub after: Option<String>,
}

/// What `after` says otherwise than `before`, by the fields' full names.
pub fn difference(before: &Policy, after: &Policy) -> Vec<PolicyChange> {
    let (before, after) = (fields(before), fields(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| PolicyChange {
            field: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}

fn fields(policy: &Policy) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let value = serde_json::to_value(policy).expect("a policy is words, numbers and lists of them");
    flatten(String::new(), &value, &mut all);
    all
}

fn flatten(name: String, value: &Value, all: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                flatten(format!("{name}{dot}{key}"), value, all);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                flatten(format!("{name}[{at}]"), item, all);
            }
        }
        plain => {
            all.insert(name, plain.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Tier;

    use super::*;

    #[test]
    fn a_change_is_named_by_its_field_with_both_sides() {
        let before = Policy::initial("ops");
        assert_eq!(difference(&before, &before), []);
        let mut after = before.clone();
        after.version = 2;
        let medium = after.tiers.get_mut(&Tier::Medium).unwrap();
        medium.on_breach.as_mut().unwrap().live = true;
        after.tiers.get_mut(&Tier::High).unwrap().on_breach = None;
        let changes = difference(&before, &after);
        let named = |field: &str| changes.iter().find(|change| change.field == field).unwrap();
        assert_eq!(named("version").after.as_deref(), Some("2"));
        let live = named("tiers.medium.on_breach.live");
        assert_eq!(
            (live.before.as_deref(), live.after.as_deref()),
            (None, Some("true"))
        );
        assert_eq!(named("tiers.high.on_breach.action").after, None);
    }
}
