//! Reload: the configuration read again while connections stand.
//!
//! All files are read and checked before anything changes, so a mistake in one of them changes nothing.
//! What cannot change while the process runs is named rather than ignored: an operator who edits the
//! file and hears nothing believes that it is in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::api::types::ReloadView;
use control::configuration::{Configuration, ReloadFailure};
use control::nights::Answer;
use control::office::Office;
use parking_lot::Mutex;

use super::gateway_settings;
use super::gateways::HouseGateways;
use crate::config::{Config, ConfigFile};
use crate::service;
use crate::tls_config;

/// What takes effect without a restart; a table stands for everything in it.
const LIVE: &[&str] = &[
    "gateway.allow_private",
    "gateway.limits",
    "gateway.parent",
    "gateway.proxy_protocol",
    "gateway.resolver",
    "gateway.run_grace",
    "gateway.timeouts",
    TLS,
    "gateway.unattributed",
];
const TLS: &str = "gateway.tls";
/// A table of names: they have dots of their own.
const HOSTS: &str = "gateway.resolver.hosts";

/// Reads the configuration of one house again.
pub struct HouseConfiguration {
    at_start: Config,
    in_force: Mutex<Config>,
    office: Office,
    gateways: Arc<HouseGateways>,
    /// Two reloads at once could put parts of each in force.
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl HouseConfiguration {
    /// A house that was opened with `config`.
    pub fn new(config: &Config, office: Office, gateways: Arc<HouseGateways>) -> Self {
        Self {
            at_start: config.clone(),
            in_force: Mutex::new(config.clone()),
            office,
            gateways,
            one_at_a_time: tokio::sync::Mutex::default(),
        }
    }

    /// How long tunnels may go on after the house was told to close.
    pub fn drain(&self) -> Duration {
        self.in_force.lock().file.gateway.timeouts.drain()
    }

    async fn read_again(&self, who: &str) -> Result<ReloadView, ReloadFailure> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let gateway = self.gateways.gateway().ok_or(ReloadFailure::Absent)?;
        let new = Config::read(&self.at_start.path).map_err(|error| refused(&error.into()))?;
        let settings =
            gateway_settings(&new, self.at_start.file.control.listen).map_err(|error| refused(&error))?;
        gateway.check(&settings).map_err(|error| refused(&error.into()))?;
        self.office
            .check_files()
            .await
            .map_err(|error| refused(&error.into()))?;

        let path = new.path.display().to_string();
        gateway.reload(settings).map_err(|error| failed(&error))?;
        let view = ReloadView {
            changed: self.changed(&new.file),
            needs_restart: self.needs_restart(&new.file),
            path: path.clone(),
        };
        *self.in_force.lock() = new;
        self.office
            .reload(who, &path)
            .await
            .map_err(|error| failed(&error))?;
        Ok(view)
    }

    fn changed(&self, new: &ConfigFile) -> Vec<String> {
        let keys = differences(&self.in_force.lock().file, new);
        keys.into_iter().filter(|key| self.is_live(key)).collect()
    }

    fn needs_restart(&self, new: &ConfigFile) -> Vec<String> {
        let keys = differences(&self.at_start.file, new);
        keys.into_iter().filter(|key| !self.is_live(key)).collect()
    }

    fn is_live(&self, key: &str) -> bool {
        let within = |table: &str| {
            key.strip_prefix(table)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        // A listener that speaks TLS comes with a restart, and its certificate with it.
        if within(TLS) && !tls_config::has_listener(&self.at_start.file) {
            return false;
        }
        LIVE.iter().any(|table| within(table))
    }
}

impl Configuration for HouseConfiguration {
    fn reload(&self, who: String) -> Answer<'_, Result<ReloadView, ReloadFailure>> {
        Box::pin(async move {
            service::reloading();
            let reloaded = self.read_again(&who).await;
            service::ready("serving");
            if let Some(gateway) = self.gateways.gateway() {
                gateway.reloaded(reloaded.is_ok());
            }
            match &reloaded {
                Ok(view) => tracing::info!(
                    who,
                    changed = view.changed.join(" "),
                    needs_restart = view.needs_restart.join(" "),
                    "the configuration was read again"
                ),
                Err(error) => tracing::warn!(
                    who,
                    error = control::error_line(error),
                    "the configuration was not put in force; what was in force stays"
                ),
            }
            reloaded
        })
    }
}

fn refused(error: &anyhow::Error) -> ReloadFailure {
    ReloadFailure::Refused {
        what: control::error_line(error.as_ref()),
    }
}

/// What was found good a moment ago was not any more.
fn failed(error: &dyn std::error::Error) -> ReloadFailure {
    ReloadFailure::Failed {
        what: format!(
            "part of the configuration was not put in force: {}",
            control::error_line(error)
        ),
    }
}

/// The keys in which two files differ, in order.
fn differences(old: &ConfigFile, new: &ConfigFile) -> Vec<String> {
    let (old, new) = (values(old), values(new));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| old.get(key) != new.get(key));
    keys
}

/// Every value of a file by its full key.
fn values(file: &ConfigFile) -> BTreeMap<String, toml::Value> {
    let mut values = BTreeMap::new();
    let file = toml::Value::try_from(file).expect("what was read from TOML can be written as TOML");
    gather("", file, &mut values);
    values
}

fn gather(key: &str, value: toml::Value, values: &mut BTreeMap<String, toml::Value>) {
    match value {
        toml::Value::Table(table) if key != HOSTS => {
            for (name, value) in table {
                let key = if key.is_empty() {
                    name
                } else {
                    format!("{key}.{name}")
                };
                gather(&key, value, values);
            }
        }
        value => {
            values.insert(key.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
site = "acme"
[gateway]
name = "gw-1"
listen = ["127.0.0.1:3128"]
admin = "127.0.0.1:9128"
[gateway.resolver.hosts]
"acme.openai.azure.com" = ["127.0.0.1:8443"]
[control]
listen = "127.0.0.1:8128"
"#;

    fn file(text: &str) -> ConfigFile {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_change_is_named_by_its_full_key_and_nothing_else_is() {
        let old = file(SAMPLE);
        assert_eq!(differences(&old, &old), Vec::<String>::new());
        for (from, to, keys) in [
            ("127.0.0.1:8443", "127.0.0.1:9443", vec!["gateway.resolver.hosts"]),
            (
                "[control]",
                "[gateway.limits]\nconnections_per_run = 3\n[gateway.timeouts]\nidle = \"5m\"\n[control]",
                vec!["gateway.limits.connections_per_run", "gateway.timeouts.idle"],
            ),
            ("127.0.0.1:3128", "127.0.0.1:3129", vec!["gateway.listen"]),
            (
                "[control]",
                "[mail]\nserver = \"smtps://m.example\"\nfrom = \"a@b.example\"\nsecurity = []\n[control]",
                vec!["mail.from", "mail.security", "mail.server"],
            ),
        ] {
            assert_eq!(differences(&old, &file(&SAMPLE.replace(from, to))), keys);
        }
    }

    #[test]
    fn what_is_said_to_be_live_are_keys_that_there_are() {
        let full = SAMPLE.replace(
            "[control]",
            "[gateway.limits]\nheaders = 3\n[gateway.timeouts]\nidle = \"5m\"\n[gateway.tls]\n\
             [[gateway.parent]]\nsuffixes = [\"*\"]\n[control]",
        );
        let keys = values(&file(&full));
        for live in LIVE {
            assert!(keys.keys().any(|key| key.starts_with(live)), "{live}");
        }
    }
}
