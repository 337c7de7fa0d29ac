//! `bailiwick evidence prove`: proofs of single events, which stock tools accept.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use evidence::witness::Cosigned;
use evidence::{
    Event, EventKind, EventProof, ExpiredProof, NotVerified, ReadError, VerifiedLog, VerifyOptions,
};
use serde::Serialize;

use super::super::filter;
use super::witnessing::Panel;
use crate::config::Config;
use crate::exit::{Exit, NotThere, Refused, Unknowable};
use crate::house::logs::{self, LogPlace};
use crate::output::{self, Format};
use crate::{files, trust_file};

/// More proofs than this are a copy of the log; copy it instead.
const MAX_PROOFS: u64 = 1000;

/// `bailiwick evidence prove` arguments.
///
/// EVENT is an index in the log (the event's seq), a range of them (A..B, B not included), or a
/// connection id, which stands for all events of that connection. A proof holds the checkpoint that
/// witnesses cosigned, where it covers the event, and else the log's own.
///
/// Of an entry that expired the proof and its hash are written and the entry is not: exit status 3.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ProveArgs {
    /// An index, A..B, or a connection id
    event: String,
    /// Of a connection's events, those of this kind only
    #[arg(long, value_parser = filter::kind)]
    kind: Option<EventKind>,
    /// The gateway whose log it is in [default: the configured one]
    #[arg(long)]
    gateway: Option<String>,
    /// Write NAME.entry and NAME.tlog-proof; of several events, NAME-<index>.entry and so on
    #[arg(long, value_name = "NAME")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct ProveView {
    origin: String,
    vkey: String,
    #[serde(flatten)]
    single: Option<ProofView>,
    /// Where more than one event was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proofs: Vec<ProofView>,
}

#[derive(Serialize)]
struct ProofView {
    index: u64,
    /// Absent where it expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    /// Of an entry that expired: what it hashes to as a leaf, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
    /// Why there is no entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<String>,
    proof: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<PathBuf>>,
}

/// Runs `bailiwick evidence prove`.
///
/// # Errors
/// The log is not whole (a refusal), has no such event, or a file cannot be written.
pub fn run(
    args: &ProveArgs,
    config: impl FnOnce() -> anyhow::Result<Config>,
    format: Format,
) -> anyhow::Result<Exit> {
    let config = config()?;
    let gateway = args.gateway.as_ref().unwrap_or(&config.file.gateway.name);
    let trust = trust_file::read(&config.trust_root_path())?;
    let places = logs::all(&config, &trust)?;
    let place = places
        .iter()
        .find(|place| place.gateway == *gateway)
        .with_context(|| format!("this site has no log of a gateway {gateway:?}"))?;
    let options = VerifyOptions {
        archive: place.archive.clone(),
        ..VerifyOptions::default()
    };
    let log =
        VerifiedLog::open_with(&place.folder, &place.verifier, &options, &mut |_| {}).map_err(|error| {
            match error {
                NotVerified::Unseen(_) => anyhow::Error::from(Unknowable(error.to_string())),
                error => Refused {
                    code: "not_verified".to_owned(),
                    message: error.to_string(),
                }
                .into(),
            }
        })?;
    let cosigned = cosigned(place, &Panel::of_site(&config, &trust)?, &log);
    let indices = wanted(args, &log)?;
    let many = indices.len() > 1;
    let mut proofs = Vec::new();
    for index in indices {
        let name = args.out.as_ref().map(|name| numbered(name, index, many));
        let name = name.as_deref();
        proofs.push(match prove(&log, index, cosigned.as_ref()) {
            Ok(proof) => view(index, &proof, name)?,
            Err(error) if is_expired(&error) => {
                expired_view(index, &log.prove_expired(index)?, error.to_string(), name)?
            }
            Err(error) => return Err(error),
        });
    }
    let is_whole = proofs.iter().all(|proof| proof.entry.is_some());
    let single = if many { None } else { proofs.pop() };
    let view = ProveView {
        origin: place.origin.clone(),
        vkey: place.verifier.to_vkey(),
        single,
        proofs,
    };
    output::print(format, &view, || text(&view))?;
    Ok(if is_whole { Exit::Done } else { Exit::CannotTell })
}

/// The cosigned checkpoint beside the log, if a known witness stands behind it and the log continues it.
pub fn cosigned(place: &LogPlace, panel: &Panel, log: &VerifiedLog) -> Option<Cosigned> {
    let cosigned = Cosigned::read(&place.folder, &place.verifier).ok().flatten()?;
    let known = panel
        .quorum
        .witnesses()
        .iter()
        .chain(&panel.own)
        .any(|key| cosigned.cosigned_at(key).is_ok());
    let same = log.continues(cosigned.checkpoint()).unwrap_or(false);
    (known && same).then_some(cosigned)
}

/// The entry at `index` and its proof, under the cosigned checkpoint where that covers it.
///
/// # Errors
/// The entry is not as it was signed.
pub fn prove(log: &VerifiedLog, index: u64, cosigned: Option<&Cosigned>) -> anyhow::Result<EventProof> {
    let covering = cosigned.filter(|cosigned| index < cosigned.checkpoint().size());
    if let Some(cosigned) = covering
        && let Ok(proof) = log.prove_under(index, cosigned)
    {
        return Ok(proof);
    }
    Ok(log.prove(index)?)
}

/// Whether an entry was not proven because it expired.
pub fn is_expired(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ReadError::Expired { .. }))
}

/// The indices of the events that EVENT stands for.
fn wanted(args: &ProveArgs, log: &VerifiedLog) -> anyhow::Result<Vec<u64>> {
    let text = args.event.as_str();
    let of_kind = |event: &Event| args.kind.is_none_or(|kind| event.kind == kind);
    if let Some(range) = index_or_range(text) {
        let count = range.end - range.start;
        anyhow::ensure!(
            count <= MAX_PROOFS,
            "{count} proofs are a copy of the log; copy its folder, which verifies with its key alone"
        );
        if args.kind.is_none() {
            return Ok(range.collect());
        }
        let found = log.events(range).filter_map(|found| match found {
            Ok((index, event)) => of_kind(&event).then_some(Ok(index)),
            Err(error) => Some(Err(error)),
        });
        return some(found.collect::<Result<_, _>>()?, text);
    }
    let mut found = Vec::new();
    for event in log.events(0..u64::MAX) {
        let (index, event) = event?;
        if event.connection_id.as_deref() == Some(text) && of_kind(&event) {
            found.push(index);
        }
        anyhow::ensure!(
            found.len() as u64 <= MAX_PROOFS,
            "connection {text} has more than {MAX_PROOFS} events; name a kind with --kind, or a range"
        );
    }
    some(found, text)
}

fn some(found: Vec<u64>, text: &str) -> anyhow::Result<Vec<u64>> {
    if found.is_empty() {
        let message = format!("no signed entry of the log is {text}; `bailiwick events` lists them");
        return Err(NotThere(message).into());
    }
    Ok(found)
}

fn index_or_range(text: &str) -> Option<Range<u64>> {
    if let Ok(index) = text.parse::<u64>() {
        return Some(index..index.checked_add(1)?);
    }
    let (from, to) = text.split_once("..")?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    (from < to).then_some(from..to)
}

fn numbered(name: &Path, index: u64, many: bool) -> PathBuf {
    let mut numbered = name.as_os_str().to_owned();
    if many {
        numbered.push(format!("-{index}"));
    }
    numbered.into()
}

fn view(index: u64, proof: &EventProof, name: Option<&Path>) -> anyhow::Result<ProofView> {
    let parts = [
        (".entry", proof.entry.as_slice()),
        (".tlog-proof", proof.proof.as_bytes()),
    ];
    Ok(ProofView {
        index,
        entry: Some(String::from_utf8_lossy(&proof.entry).into_owned()),
        leaf: None,
        expired: None,
        proof: proof.proof.clone(),
        files: name.map(|name| write(name, &parts)).transpose()?,
    })
}

/// Of an entry that nobody can read any more.
fn expired_view(
    index: u64,
    proof: &ExpiredProof,
    why: String,
    name: Option<&Path>,
) -> anyhow::Result<ProofView> {
    let parts = [(".tlog-proof", proof.proof.as_bytes())];
    Ok(ProofView {
        index,
        entry: None,
        leaf: Some(proof.leaf.to_hex()),
        expired: Some(why),
        proof: proof.proof.clone(),
        files: name.map(|name| write(name, &parts)).transpose()?,
    })
}

fn write(name: &Path, parts: &[(&str, &[u8])]) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (ending, bytes) in parts {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        let path = PathBuf::from(path);
        files::replace(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

fn text(view: &ProveView) -> String {
    let proofs = view.single.iter().chain(&view.proofs);
    let mut lines = Vec::new();
    for proof in proofs {
        if let (Some(why), Some(leaf)) = (&proof.expired, &proof.leaf) {
            lines.push(why.clone());
            lines.push(format!("leaf   {leaf}"));
        }
        match proof.files.as_deref() {
            Some([entry, file]) => {
                lines.push(format!("entry  {}\nproof  {}", entry.display(), file.display()));
            }
            Some(files) => lines.extend(files.iter().map(|file| format!("proof  {}", file.display()))),
            None => lines.push(proof.proof.clone()),
        }
    }
    if view
        .single
        .iter()
        .chain(&view.proofs)
        .any(|proof| proof.files.is_some())
    {
        lines.push(format!("key    {}", view.vkey));
    }
    lines.join("\n")
}
