//! `bailiwick tls`: the certificate that the gateway shows to clients that speak TLS to it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::Timestamp;
use clap::Subcommand;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use seal::certificate::{ServerRequest, self_sign_server, server_names};
use seal::{SigningKey, key_file};
use serde::Serialize;

use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::tls_config::{default_certificate, default_key};
use crate::{clock, files, random};

/// Under which names a gateway on this machine is reached.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "::1", "localhost"];
const DAY_S: i64 = 24 * 3600;
/// The longest that common clients accept of a certificate.
const DAYS: u16 = 825;

/// What to do with the gateway's certificate.
#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Make a key and a certificate that it signs for itself, where [gateway.tls] names them
    New {
        /// A name or address under which clients reach the gateway [default: those of loopback]
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<String>,
        /// For how many days the certificate is good
        #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u16).range(1..))]
        days: u16,
        /// Replace the certificate and keep its key; a running gateway takes it up by itself
        #[arg(long)]
        renew: bool,
    },
}

#[derive(Serialize)]
struct TlsView {
    certificate: PathBuf,
    key: PathBuf,
    names: Vec<String>,
    expires: Timestamp,
    renewed: bool,
}

/// Runs `bailiwick tls`.
///
/// # Errors
/// A file is in the way or cannot be written, or a name cannot stand in a certificate.
pub fn run(command: &TlsCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let TlsCommand::New { names, days, renew } = command;
    let own = config.file.gateway.tls.as_ref();
    let certificate = config.resolve(&own.map_or_else(default_certificate, |tls| tls.certificate.clone()));
    let key_path = config.resolve(&own.map_or_else(default_key, |tls| tls.key.clone()));
    let now = clock::now();
    let expires = now.plus_seconds(i64::from(*days) * DAY_S);
    let names = match (names.is_empty(), renew) {
        (false, _) => names.clone(),
        (true, true) => present_names(&certificate)?,
        (true, false) => loopback(),
    };
    if *renew {
        let key = key_file::read_private(&key_path)?;
        write_certificate(&certificate, &key, &names, expires, now)?;
    } else {
        make(&certificate, &key_path, &names, expires, now)?;
    }
    let view = TlsView {
        certificate,
        key: key_path,
        names,
        expires,
        renewed: *renew,
    };
    output::print(format, &view, || {
        format!(
            "certificate  {}   hand it out\nkey          {}   keep it secret\nnames        {}\nuntil        {}",
            view.certificate.display(),
            view.key.display(),
            view.names.join(" "),
            view.expires
        )
    })?;
    Ok(Exit::Done)
}

/// Makes the first certificate of a site, for loopback, and its key.
///
/// # Errors
/// As [`run`].
pub fn make_first(certificate: &Path, key: &Path, now: Timestamp) -> anyhow::Result<()> {
    let expires = now.plus_seconds(i64::from(DAYS) * DAY_S);
    make(certificate, key, &loopback(), expires, now)
}

fn loopback() -> Vec<String> {
    LOOPBACK.map(str::to_owned).to_vec()
}

fn make(
    certificate: &Path,
    key_path: &Path,
    names: &[String],
    expires: Timestamp,
    now: Timestamp,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        !certificate.exists(),
        "{} exists; replace it with: bailiwick tls new --renew",
        certificate.display()
    );
    // P-256: the one kind of key that every TLS library of the last ten years can use.
    let key = random::p256_key();
    key_file::write_private(key_path, &key)?;
    write_certificate(certificate, &key, names, expires, now).inspect_err(|_| {
        // The pair stands or falls together.
        let _ = std::fs::remove_file(key_path);
    })
}

fn write_certificate(
    path: &Path,
    key: &SigningKey,
    names: &[String],
    expires: Timestamp,
    now: Timestamp,
) -> anyhow::Result<()> {
    let request = ServerRequest {
        names,
        serial: random::bytes(),
        expires,
    };
    let pem = self_sign_server(&request, key, now)?;
    files::replace(path, pem.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// The names of a certificate that was made here; one that somebody else issued is not replaced.
fn present_names(path: &Path) -> anyhow::Result<Vec<String>> {
    let der = CertificateDer::from_pem_file(path)
        .map_err(|error| anyhow::anyhow!("cannot read the certificate {}: {error}", path.display()))?;
    server_names(&der)?.with_context(|| {
        format!(
            "{} was issued by somebody else; renew it where it was issued, or name what to replace it by with --name",
            path.display()
        )
    })
}
