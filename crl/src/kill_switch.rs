//! The kill switch: stop some plugins, or everything, before any lookup.
//!
//! It stands in the head, so flipping it needs no second file. What it stops is not revoked: when it
//! goes off, everything is as it was.

use std::collections::BTreeSet;
use std::fmt;

use base::PluginId;
use serde::{Deserialize, Serialize};

/// The most plugins that the switch names one by one; beyond, stop everything.
pub const MAX_KILLED_PLUGINS: usize = 1024;

/// What the kill switch is turned on or off for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillScope {
    /// `*`.
    Everything,
    /// These plugins.
    Plugins(BTreeSet<PluginId>),
}

/// The kill switch of one list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub enum KillSwitch {
    /// Nothing is stopped.
    #[default]
    Off,
    /// Everything is.
    Everything,
    /// These plugins are; at least one.
    Plugins(BTreeSet<PluginId>),
}

/// Why a kill switch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKillSwitch {
    /// On for nothing, or off for something.
    #[error("the kill switch is active={active} with {names} names in its scope, which contradict")]
    Contradiction {
        /// Whether it claims to be on.
        active: bool,
        /// Names in the scope.
        names: usize,
    },
    /// Neither `*` alone nor sorted plugin ids.
    #[error("the scope of a kill switch is [\"*\"] or up to {MAX_KILLED_PLUGINS} sorted plugin ids")]
    Scope,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    active: bool,
    scope: Vec<String>,
}

impl KillSwitch {
    /// Whether anything is stopped.
    pub const fn is_active(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Whether `plugin` is stopped.
    pub fn stops(&self, plugin: &PluginId) -> bool {
        match self {
            Self::Off => false,
            Self::Everything => true,
            Self::Plugins(plugins) => plugins.contains(plugin),
        }
    }

    /// The switch, turned on for `scope` besides what it was on for.
    pub(crate) fn turned_on(&self, scope: &KillScope) -> Self {
        match (self, scope) {
            (Self::Everything, _) | (_, KillScope::Everything) => Self::Everything,
            (Self::Off, KillScope::Plugins(more)) => Self::of(more.clone()),
            (Self::Plugins(plugins), KillScope::Plugins(more)) => {
                Self::of(plugins.union(more).cloned().collect())
            }
        }
    }

    /// The switch, turned off for `scope`; `None` where single plugins cannot be taken out of
    /// everything.
    pub(crate) fn turned_off(&self, scope: &KillScope) -> Option<Self> {
        match (self, scope) {
            (Self::Off, _) | (_, KillScope::Everything) => Some(Self::Off),
            (Self::Everything, KillScope::Plugins(_)) => None,
            (Self::Plugins(plugins), KillScope::Plugins(fewer)) => {
                Some(Self::of(plugins.difference(fewer).cloned().collect()))
            }
        }
    }

    fn of(plugins: BTreeSet<PluginId>) -> Self {
        if plugins.is_empty() {
            Self::Off
        } else {
            Self::Plugins(plugins)
        }
    }
}

impl From<KillSwitch> for Wire {
    fn from(switch: KillSwitch) -> Self {
        let scope = match &switch {
            KillSwitch::Off => Vec::new(),
            KillSwitch::Everything => vec!["*".to_owned()],
            KillSwitch::Plugins(plugins) => plugins.iter().map(ToString::to_string).collect(),
        };
        Self {
            active: switch.is_active(),
            scope,
        }
    }
}

impl TryFrom<Wire> for KillSwitch {
    type Error = InvalidKillSwitch;

    fn try_from(wire: Wire) -> Result<Self, InvalidKillSwitch> {
        let names = wire.scope.len();
        if wire.active == wire.scope.is_empty() {
            return Err(InvalidKillSwitch::Contradiction {
                active: wire.active,
                names,
            });
        }
        if wire.scope == ["*"] {
            return Ok(Self::Everything);
        }
        let plugins = wire
            .scope
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<PluginId>, _>>()
            .map_err(|_| InvalidKillSwitch::Scope)?;
        if names > MAX_KILLED_PLUGINS || !plugins.is_sorted_by(|a, b| a < b) {
            return Err(InvalidKillSwitch::Scope);
        }
        Ok(Self::of(plugins.into_iter().collect()))
    }
}

impl fmt::Display for KillScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Plugins(plugins) => write_names(plugins, f),
        }
    }
}

impl fmt::Display for KillSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Everything => f.write_str("on for everything"),
            Self::Plugins(plugins) => {
                f.write_str("on for ")?;
                write_names(plugins, f)
            }
        }
    }
}

fn write_names(plugins: &BTreeSet<PluginId>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, plugin) in plugins.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        fmt::Display::fmt(plugin, f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::plugin;

    fn plugins(names: &[&str]) -> KillScope {
        KillScope::Plugins(names.iter().map(|name| plugin(name)).collect())
    }

    #[test]
    fn turning_on_adds_and_turning_off_takes_away() {
        let both = KillSwitch::Off
            .turned_on(&plugins(&["a"]))
            .turned_on(&plugins(&["b"]));
        assert!(both.stops(&plugin("a")) && both.stops(&plugin("b")) && !both.stops(&plugin("c")));
        let one = both.turned_off(&plugins(&["a", "c"])).unwrap();
        assert!(!one.stops(&plugin("a")) && one.stops(&plugin("b")));
        assert_eq!(one.turned_off(&plugins(&["b"])), Some(KillSwitch::Off));
        assert_eq!(one.turned_off(&KillScope::Everything), Some(KillSwitch::Off));
    }

    #[test]
    fn nothing_escapes_from_everything() {
        let all = KillSwitch::Off
            .turned_on(&plugins(&["a"]))
            .turned_on(&KillScope::Everything);
        assert!(all.stops(&plugin("z")));
        assert_eq!(all.turned_on(&plugins(&["a"])), KillSwitch::Everything);
        assert_eq!(all.turned_off(&plugins(&["a"])), None);
    }

    #[test]
    fn the_switch_has_one_form_in_json() {
        for (json, switch) in [
            (r#"{"active":false,"scope":[]}"#, KillSwitch::Off),
            (r#"{"active":true,"scope":["*"]}"#, KillSwitch::Everything),
            (
                r#"{"active":true,"scope":["a","b"]}"#,
                KillSwitch::Off.turned_on(&plugins(&["a", "b"])),
            ),
        ] {
            assert_eq!(serde_json::to_string(&switch).unwrap(), json);
            assert_eq!(serde_json::from_str::<KillSwitch>(json).unwrap(), switch);
        }
        for bad in [
            r#"{"active":true,"scope":[]}"#,
            r#"{"active":false,"scope":["a"]}"#,
            r#"{"active":true,"scope":["*","a"]}"#,
            r#"{"active":true,"scope":["b","a"]}"#,
            r#"{"active":true,"scope":["a","a"]}"#,
            r#"{"active":true,"scope":["A"]}"#,
            r#"{"active":true}"#,
            r#"{"active":true,"scope":["a"],"x":1}"#,
        ] {
            assert!(serde_json::from_str::<KillSwitch>(bad).is_err(), "{bad}");
        }
    }
}
