//! Witnesses at the edge: serving one, and asking others over HTTP.
//!
//! What is asked and answered is decided in `evidence::witness`; here are the sockets. Plain HTTP
//! will do: requests and answers are signed, and whoever sits in between can only keep them back.

mod post;
mod serve;
mod url;

use anyhow::Context as _;
use evidence::witness::Quorum;
use seal::cosignature::CosignatureVerifier;
use seal::trust::{Role, TrustRoot};

pub use post::Poster;
pub use serve::router;
pub use url::WitnessUrl;

use crate::config::Config;

/// The witnesses that the configuration names, and how many of them it takes.
///
/// # Errors
/// A key or the quorum cannot be; [`Config::read`] has seen to that already.
pub fn quorum(config: &Config) -> anyhow::Result<Quorum> {
    config
        .file
        .evidence
        .quorum()
        .map_err(|(key, message)| anyhow::anyhow!("{key}: {message}"))
}

/// The name under which this site's control plane witnesses its gateways.
pub fn own_name(site: &str) -> String {
    format!("{site}/control")
}

/// The keys of the control plane as a witness. They do not count towards the quorum: it may share its
/// disk with the log.
///
/// # Errors
/// The trust root has a witness key that cannot cosign.
pub fn own_verifiers(config: &Config, trust: &TrustRoot) -> anyhow::Result<Vec<CosignatureVerifier>> {
    let name = own_name(&config.file.site);
    trust
        .keys(Role::Witness)
        .map(|key| CosignatureVerifier::new(&name, key).context("a witness key of the trust root"))
        .collect()
}
