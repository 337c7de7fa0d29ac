//! `bailiwick trust`: who may sign what.

use std::path::PathBuf;

use base::Timestamp;
use clap::Subcommand;
use seal::trust::{Role, Scope, Signer};
use serde::Serialize;

use super::key;
use crate::config::Config;
use crate::exit::{Exit, Refused};
use crate::output::{self, Format};
use crate::{clock, trust_file};

/// What to do with the trust root.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Let a key sign in a role, for the plugins in its scope
    Add {
        /// The public key file
        key: PathBuf,
        /// What it may sign: owner, certifier, auditor, crl, gateway, witness, run, operator
        #[arg(long)]
        role: Role,
        /// For which plugins: an id, a prefix such as "acme.*", or "*"; may be repeated
        #[arg(long, required_if_eq("role", "owner"))]
        scope: Vec<Scope>,
        /// Who holds the key, for people; the file's name if absent
        #[arg(long)]
        name: Option<String>,
        /// The last moment at which the key counts (RFC 3339)
        #[arg(long)]
        valid_until: Option<Timestamp>,
    },
    /// List the keys, their roles and scopes
    List,
    /// Take a key's rights away
    Remove {
        /// A key file, or a fingerprint such as SHA256:…
        key: String,
        /// Only in this role
        #[arg(long)]
        role: Option<Role>,
    },
}

#[derive(Serialize)]
struct TrustView {
    version: u64,
    expires: Timestamp,
    threshold: usize,
    root_keys: Vec<String>,
    signers: Vec<SignerView>,
}

#[derive(Serialize)]
struct SignerView {
    name: String,
    fingerprint: String,
    role: Role,
    scopes: Vec<String>,
    valid_from: Timestamp,
    valid_until: Option<Timestamp>,
}

/// Runs `bailiwick trust`.
///
/// # Errors
/// A file that cannot be read or written, or a key that is not there to be removed.
pub fn run(command: &TrustCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let current = trust_file::read(&config.trust_root_path())?;
    let root = match command {
        TrustCommand::List => current,
        TrustCommand::Add {
            key: path,
            role,
            scope,
            name,
            valid_until,
        } => {
            let stem = || {
                path.file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            };
            let next = current.with_signer(Signer {
                name: name.clone().unwrap_or_else(stem),
                key: key::read_any(path)?,
                role: *role,
                scopes: if scope.is_empty() {
                    vec![Scope::All]
                } else {
                    scope.clone()
                },
                valid_from: clock::now(),
                valid_until: *valid_until,
            });
            trust_file::replace(config, &next)?;
            next
        }
        TrustCommand::Remove { key: named, role } => {
            let fingerprint = match named.parse() {
                Ok(fingerprint) => fingerprint,
                Err(_) => key::read_any(&PathBuf::from(named))?.fingerprint(),
            };
            let next = current
                .without_signer(&fingerprint, *role)
                .ok_or_else(|| Refused {
                    code: "not_trusted".to_owned(),
                    message: format!("key {fingerprint} holds no such role; see: bailiwick trust list"),
                })?;
            trust_file::replace(config, &next)?;
            next
        }
    };
    let view = TrustView {
        version: root.version,
        expires: root.expires,
        threshold: root.threshold,
        root_keys: root
            .root_keys
            .iter()
            .map(|key| key.fingerprint().to_string())
            .collect(),
        signers: root.signers.iter().map(signer_view).collect(),
    };
    output::print(format, &view, || {
        let row = |s: &SignerView| {
            let until = s.valid_until.map_or("-".to_owned(), |end| end.to_string());
            vec![
                s.role.to_string(),
                s.scopes.join(","),
                s.name.clone(),
                s.fingerprint.clone(),
                until,
            ]
        };
        let rows: Vec<_> = view.signers.iter().map(row).collect();
        format!(
            "trust root version {}, {} of {} root keys sign, expires {}\n{}",
            view.version,
            view.threshold,
            view.root_keys.len(),
            view.expires,
            output::table(&["ROLE", "SCOPE", "NAME", "KEY", "UNTIL"], &rows)
        )
    })?;
    Ok(Exit::Done)
}

fn signer_view(signer: &Signer) -> SignerView {
    SignerView {
        name: signer.name.clone(),
        fingerprint: signer.key.fingerprint().to_string(),
        role: signer.role,
        scopes: signer.scopes.iter().map(ToString::to_string).collect(),
        valid_from: signer.valid_from,
        valid_until: signer.valid_until,
    }
}
