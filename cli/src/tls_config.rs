//! `[gateway.tls]`: what clients see that speak TLS to the gateway, and whom they must be.

use std::path::{Path, PathBuf};

use proxy::{ClientAuth, ListenAddress, TlsSettings};
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigFile};

/// `[gateway.tls]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The gateway's certificate, with what chains it to an authority, in PEM.
    #[serde(default = "default_certificate")]
    pub certificate: PathBuf,
    /// Its private key in PEM.
    #[serde(default = "default_key")]
    pub key: PathBuf,
    /// What runs are told to trust; the certificate itself unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// Where `bailiwick init` puts the certificate, relative to the configuration file.
pub fn default_certificate() -> PathBuf {
    "keys/gateway-tls.crt".into()
}

/// Where `bailiwick init` puts its key.
pub fn default_key() -> PathBuf {
    "keys/gateway-tls.key".into()
}

impl TlsConfig {
    /// What runs are told to trust.
    pub fn authority(&self, config: &Config) -> PathBuf {
        config.resolve(self.ca.as_deref().unwrap_or(&self.certificate))
    }
}

/// Whether `file` has a listener that speaks TLS and nothing to present there.
///
/// # Errors
/// The key and what is wrong with it.
pub fn check(file: &ConfigFile) -> Result<(), (&'static str, String)> {
    if has_listener(file) && file.gateway.tls.is_none() {
        let message = "a tls:// listener needs [gateway.tls]; add that section, then make a certificate with: \
                       bailiwick tls new";
        return Err(("gateway.listen", message.to_owned()));
    }
    Ok(())
}

/// Whether clients can speak TLS to this gateway.
pub fn has_listener(file: &ConfigFile) -> bool {
    let speaks_tls = |address: &ListenAddress| matches!(address, ListenAddress::Tls(_));
    file.gateway.listen.iter().any(speaks_tls)
}

/// The gateway's settings for its TLS listeners, if it has any. No run key is believed yet.
pub fn settings(config: &Config) -> Option<TlsSettings> {
    let own = config.file.gateway.tls.as_ref()?;
    let path = |path: &Path| config.resolve(path);
    // Checked with the file.
    let site = config.file.site.parse().ok()?;
    has_listener(&config.file).then(|| TlsSettings {
        client_auth: own.client_auth,
        ..TlsSettings::new(path(&own.certificate), path(&own.key), site)
    })
}
