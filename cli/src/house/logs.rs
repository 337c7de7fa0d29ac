//! The evidence logs of this site, and the keys under which they are to be verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use evidence::Checkpoint;
use evidence::archive::Store;
use seal::note::NoteVerifier;
use seal::trust::{Role, TrustRoot};

use super::archive;
use crate::config::Config;

/// One gateway's log.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// `<site>/<gateway>`.
    pub origin: String,
    /// The gateway.
    pub gateway: String,
    /// The log's folder.
    pub folder: PathBuf,
    /// The key it must be signed with.
    pub verifier: NoteVerifier,
    /// What reaches its archive, where that is a bucket.
    pub archive: Option<Arc<dyn Store>>,
}

/// The logs in the data folder, by name of gateway. The configured gateway's log is among them even
/// before it was written: a log that should be there and is not is a finding, not an omission.
///
/// # Errors
/// The folder cannot be read, or the trust root knows no gateway key.
pub fn all(config: &Config, trust: &TrustRoot) -> anyhow::Result<Vec<LogPlace>> {
    let folder = config.data_dir().join("log");
    let mut gateways = vec![config.file.gateway.name.clone()];
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if !gateways.contains(&name) {
                    gateways.push(name);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    }
    gateways.sort();
    let archive = archive::elsewhere(config);
    gateways
        .into_iter()
        .map(|gateway| {
            let (origin, folder) = (format!("{}/{gateway}", config.file.site), folder.join(&gateway));
            let verifier = verifier(trust, &origin, &folder)?;
            Ok(LogPlace {
                origin,
                gateway,
                folder,
                verifier,
                archive: archive.clone(),
            })
        })
        .collect()
}

/// The gateway key that signed the log's checkpoint; where none did, the first, which will then
/// say so.
fn verifier(trust: &TrustRoot, origin: &str, folder: &Path) -> anyhow::Result<NoteVerifier> {
    let verifiers: Vec<_> = trust
        .keys(Role::Gateway)
        .map(|key| NoteVerifier::new(origin, key))
        .collect::<Result<_, _>>()?;
    let checkpoint = std::fs::read(folder.join("checkpoint")).unwrap_or_default();
    let signed = verifiers
        .iter()
        .find(|verifier| Checkpoint::open(&checkpoint, verifier).is_ok());
    signed.or(verifiers.first()).cloned().context(
        "the trust root knows no gateway key; add one with: bailiwick trust add KEY.pub --role gateway",
    )
}
