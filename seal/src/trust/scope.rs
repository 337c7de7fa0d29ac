//! Scopes: the plugins that a key may speak for.

use std::fmt;
use std::str::FromStr;

use base::PluginId;

/// The plugins that a key may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `*`: all plugins.
    All,
    /// One plugin.
    Plugin(PluginId),
    /// `acme.*`: plugins whose id starts with `acme.`.
    Prefix(String),
}

/// A text that is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is a plugin id, a prefix such as \"acme.*\", or \"*\"")]
pub struct InvalidScope;

impl Scope {
    /// Whether the scope holds `plugin`.
    pub fn covers(&self, plugin: &PluginId) -> bool {
        match self {
            Self::All => true,
            Self::Plugin(own) => own == plugin,
            Self::Prefix(prefix) => plugin.as_str().starts_with(prefix),
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::All),
            // Ending in a separator, so that "acme*" cannot reach into "acmecorp".
            Some(prefix) if prefix.ends_with(['.', '-', '_']) && prefix.parse_stem().is_ok() => {
                Ok(Self::Prefix(prefix.to_owned()))
            }
            Some(_) => Err(InvalidScope),
            None => text.parse().map(Self::Plugin).map_err(|_| InvalidScope),
        }
    }
}

/// The part of a prefix before its final separator is itself a plugin id.
trait ParseStem {
    fn parse_stem(&self) -> Result<PluginId, base::InvalidPluginId>;
}

impl ParseStem for str {
    fn parse_stem(&self) -> Result<PluginId, base::InvalidPluginId> {
        self.get(..self.len().saturating_sub(1)).unwrap_or("").parse()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Plugin(plugin) => fmt::Display::fmt(plugin, f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}
