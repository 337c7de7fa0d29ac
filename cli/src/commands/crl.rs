//! `bailiwick crl`: the revocation list, shown, checked and explained.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use control::api::types::{Target, WhyView as WhyAnswer};
use crl::{Accepted, KillSwitch, ListView};
use serde::Serialize;

use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::{clock, files, list_file, trust_file};

/// What to do with the list.
#[derive(Debug, Subcommand)]
pub enum CrlCommand {
    /// Show the list in force
    Show,
    /// Verify a list: signature, issuer, number, body
    Verify {
        /// The head, crl.sigstore.json; its body lies beside it [default: the list in force]
        head: Option<PathBuf>,
    },
    /// Copy the list's files into a folder, as any file server can carry them
    Export {
        /// The folder
        folder: PathBuf,
    },
    /// Say which entry decides about a digest, and why
    Why {
        /// An artifact, manifest or key digest (sha256:…, SHA256:…), or a plugin id
        target: Target,
    },
}

#[derive(Serialize)]
struct ShowView<'a> {
    #[serde(flatten)]
    list: &'a ListView,
    path: PathBuf,
}

#[derive(Serialize)]
struct VerifyView {
    verified: bool,
    issuer: String,
    crl_number: u64,
    entries: usize,
    signer: String,
    stale: bool,
    path: PathBuf,
}

#[derive(Serialize)]
struct WhyView<'a> {
    digest: String,
    standing: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(flatten)]
    why: &'a serde_json::Value,
}

#[derive(Serialize)]
struct ExportView {
    files: Vec<PathBuf>,
}

/// Runs `bailiwick crl`.
///
/// # Errors
/// The list cannot be read, or is refused.
pub async fn run(command: &CrlCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let folder = config.data_dir().join("crl");
    let head = folder.join(crl::HEAD_FILE);
    match command {
        CrlCommand::Show => {
            let accepted = accept(config, &head)?;
            let list = ListView::new(&accepted, clock::now());
            output::print(
                format,
                &ShowView {
                    list: &list,
                    path: head,
                },
                || text(&list),
            )?;
        }
        CrlCommand::Verify { head: named } => {
            let path = named.clone().unwrap_or(head);
            let accepted = accept(config, &path)?;
            let list = accepted.list();
            let view = VerifyView {
                verified: true,
                issuer: list.issuer().to_owned(),
                crl_number: list.crl_number(),
                entries: list.entries().len(),
                signer: accepted.signer().to_string(),
                stale: !list.freshness(clock::now()).is_fresh(),
                path,
            };
            output::print(format, &view, || {
                let age = if view.stale {
                    "past its next update"
                } else {
                    "fresh"
                };
                format!(
                    "list {} of {} verifies: {} entries, signed by {}, {age}",
                    view.crl_number, view.issuer, view.entries, view.signer
                )
            })?;
        }
        CrlCommand::Export { folder: out } => {
            let accepted = accept(config, &head)?;
            std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
            let number = accepted.list().crl_number();
            // The head last: whoever sees it finds what it names.
            let mut documents = vec![(crl::body_file(number), accepted.body().to_vec())];
            documents.push((crl::HEAD_FILE.to_owned(), accepted.head().to_vec()));
            let mut written = Vec::new();
            for (name, bytes) in documents {
                let path = out.join(name);
                files::replace(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
                written.push(path);
            }
            let view = ExportView { files: written };
            output::print(format, &view, || {
                view.files
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join("\n")
            })?;
        }
        CrlCommand::Why { target } => {
            // A fingerprint is base64 and may hold a slash.
            let path = format!("/v1/crl/why/{}", target.to_string().replace('/', "%2F"));
            let answer: WhyAnswer = Client::open(config).await?.get(&path).await?;
            let deciding = &answer.why["deciding"];
            let standing = match (deciding["by"].as_str(), deciding["action"].as_str()) {
                (Some("kill_switch"), _) => "killed",
                (Some("entry"), Some("revoke")) => "revoke",
                (Some("entry"), _) => "hold",
                _ => "silent",
            };
            let view = WhyView {
                digest: target.to_string(),
                standing,
                reason: deciding["reason"].as_str(),
                why: &answer.why,
            };
            output::print(format, &view, || answer.text.clone())?;
        }
    }
    Ok(Exit::Done)
}

fn text(list: &ListView) -> String {
    let kill_switch = match &list.kill_switch {
        KillSwitch::Off => "off".to_owned(),
        KillSwitch::Everything => "stops everything".to_owned(),
        KillSwitch::Plugins(plugins) => {
            let names: Vec<_> = plugins.iter().map(ToString::to_string).collect();
            format!("stops {}", names.join(" "))
        }
    };
    let row = |entry: &crl::EntryView| {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        vec![
            word(serde_json::json!(entry.action)),
            word(serde_json::json!(entry.kind)),
            entry.reason.to_string(),
            entry.since.to_string(),
            entry.name.clone(),
        ]
    };
    let rows: Vec<_> = list.entries.iter().map(row).collect();
    format!(
        "list {} of {}, signed by {}\nissued {}, next update {}{}\nkill switch {kill_switch}\n{}",
        list.crl_number,
        list.issuer,
        list.signer,
        list.this_update,
        list.next_update,
        if list.freshness.is_fresh() { "" } else { " (past)" },
        output::table(&["ACTION", "KIND", "REASON", "SINCE", "NAME"], &rows)
    )
}

/// Reads and verifies a list of this site. An older list than it has seen is refused, wherever the
/// list comes from.
pub(super) fn accept(config: &Config, head: &Path) -> anyhow::Result<Accepted> {
    let trust = trust_file::read(&config.trust_root_path())?;
    let seen = crl::store::Store::open(config.data_dir().join("crl"))?.seen()?;
    list_file::accept(head, &trust, Some(&config.file.site), seen)
}
