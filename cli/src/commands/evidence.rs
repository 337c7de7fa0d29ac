//! `bailiwick evidence`: is the log what was signed, and what does it prove?

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use evidence::{
    Checkpoint, Completeness, Integrity, Progress, Verification, VerifiedLog, VerifyError, VerifyOptions,
};
use indicatif::{ProgressBar, ProgressStyle};
use seal::note::NoteVerifier;
use serde::Serialize;

use crate::config::Config;
use crate::exit::{Exit, Refused};
use crate::house::logs::{self, LogPlace};
use crate::output::{self, Format};
use crate::{files, trust_file};

/// What to do with evidence.
#[derive(Debug, Subcommand)]
pub enum EvidenceCommand {
    /// Verify whole logs: every entry, every hash, the signature
    Verify(VerifyArgs),
    /// Write the proof of one event, for stock tools
    Prove {
        /// The event's index in the log (its seq)
        index: u64,
        /// The gateway whose log it is in [default: the configured one]
        #[arg(long)]
        gateway: Option<String>,
        /// Write NAME.entry and NAME.tlog-proof
        #[arg(long, value_name = "NAME")]
        out: Option<PathBuf>,
    },
}

/// `bailiwick evidence verify` arguments.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// A log's folder, for example a copy from elsewhere [default: all logs of this site]
    #[arg(long, value_name = "DIR", requires = "vkey")]
    dir: Option<PathBuf>,
    /// The log's verifier key, name+hash+key
    #[arg(long)]
    vkey: Option<String>,
    /// A checkpoint of the log that was kept elsewhere: it shows cut tails and roll-backs
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

#[derive(Serialize)]
struct VerifyView {
    logs: Vec<LogView>,
}

#[derive(Serialize)]
struct LogView {
    origin: String,
    folder: PathBuf,
    vkey: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    integrity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<u64>,
    completeness: &'static str,
    detail: String,
    unsigned: u64,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Serialize)]
struct ProveView {
    origin: String,
    index: u64,
    entry: String,
    proof: String,
    vkey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<[PathBuf; 2]>,
}

/// Runs `bailiwick evidence`. Configuration is needed unless `--dir` and `--vkey` say everything.
///
/// # Errors
/// A log or a file cannot be read at all.
pub fn run(
    command: &EvidenceCommand,
    config: impl FnOnce() -> anyhow::Result<Config>,
    format: Format,
    quiet: bool,
) -> anyhow::Result<Exit> {
    match command {
        EvidenceCommand::Verify(args) => verify(args, config, format, quiet),
        EvidenceCommand::Prove { index, gateway, out } => {
            prove(*index, gateway.as_deref(), out.as_deref(), &config()?, format)
        }
    }
}

fn verify(
    args: &VerifyArgs,
    config: impl FnOnce() -> anyhow::Result<Config>,
    format: Format,
    quiet: bool,
) -> anyhow::Result<Exit> {
    let places = match (&args.dir, &args.vkey) {
        (Some(dir), Some(vkey)) => {
            let verifier = NoteVerifier::from_vkey(vkey).context("--vkey")?;
            let origin = verifier.name().to_owned();
            vec![LogPlace {
                gateway: origin.clone(),
                origin,
                folder: dir.clone(),
                verifier,
            }]
        }
        _ => {
            let config = config()?;
            logs::all(&config, &trust_file::read(&config.trust_root_path())?)?
        }
    };
    let mut view = VerifyView { logs: Vec::new() };
    for place in &places {
        view.logs
            .push(verify_one(place, args.checkpoint.as_deref(), quiet)?);
    }
    output::print(format, &view, || {
        let lines = view.logs.iter().map(|log| {
            let size = format!("{} entries under signature", log.size);
            let unsigned = if log.unsigned > 0 {
                format!(", {} not yet", log.unsigned)
            } else {
                String::new()
            };
            format!(
                "{}\n  {size}{unsigned}\n  integrity     {}\n  completeness  {}\n  {}",
                log.origin, log.integrity, log.completeness, log.detail
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    })?;
    let worst = |exit| view.logs.iter().any(|log| log.exit == exit);
    Ok([Exit::Finding, Exit::CannotTell]
        .into_iter()
        .find(|exit| worst(*exit))
        .unwrap_or(Exit::Done))
}

fn verify_one(place: &LogPlace, held: Option<&Path>, quiet: bool) -> anyhow::Result<LogView> {
    let held = match held {
        Some(path) => {
            let bytes = files::read_limited(path, 1 << 16)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Some(Checkpoint::open(&bytes, &place.verifier).with_context(|| format!("{}", path.display()))?)
        }
        None => None,
    };
    let bar = progress_bar(quiet);
    let mut report = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    let verified = evidence::verify_log(
        &place.folder,
        &place.verifier,
        &VerifyOptions { held },
        &mut report,
    );
    bar.finish_and_clear();
    match verified {
        Ok(verification) => Ok(log_view(place, &verification)),
        Err(VerifyError::NoLog { folder }) => Ok(LogView {
            size: 0,
            root: None,
            integrity: "unknown",
            first_bad: None,
            completeness: "unproven",
            detail: format!(
                "{} holds no log: the gateway never wrote one, or it was deleted",
                folder.display()
            ),
            unsigned: 0,
            exit: Exit::CannotTell,
            origin: place.origin.clone(),
            folder,
            vkey: place.verifier.to_vkey(),
        }),
        Err(error) => Err(error.into()),
    }
}

fn log_view(place: &LogPlace, verification: &Verification) -> LogView {
    let first_bad = match &verification.integrity {
        Integrity::Whole => None,
        Integrity::Broken { first_bad, .. } => Some(*first_bad),
    };
    LogView {
        origin: place.origin.clone(),
        folder: place.folder.clone(),
        vkey: place.verifier.to_vkey(),
        size: verification.size(),
        root: verification
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.root().to_string()),
        integrity: if first_bad.is_none() { "whole" } else { "broken" },
        first_bad,
        completeness: match &verification.completeness {
            Completeness::Proven => "proven",
            Completeness::Unproven(_) => "unproven",
            Completeness::Cut { .. } => "cut",
            Completeness::RolledBack { .. } => "rolled_back",
            Completeness::Contradicted { .. } => "contradicted",
        },
        detail: format!("{}; {}", verification.integrity, verification.completeness),
        unsigned: verification.unsigned,
        exit: if verification.is_tampered() {
            Exit::Finding
        } else {
            Exit::Done
        },
    }
}

fn prove(
    index: u64,
    gateway: Option<&str>,
    out: Option<&Path>,
    config: &Config,
    format: Format,
) -> anyhow::Result<Exit> {
    let gateway = gateway.unwrap_or(&config.file.gateway.name);
    let places = logs::all(config, &trust_file::read(&config.trust_root_path())?)?;
    let place = places
        .iter()
        .find(|place| place.gateway == gateway)
        .with_context(|| format!("this site has no log of a gateway {gateway:?}"))?;
    let log = VerifiedLog::open(&place.folder, &place.verifier).map_err(|error| Refused {
        code: "not_verified".to_owned(),
        message: error.to_string(),
    })?;
    let proof = log.prove(index)?;
    let files = match out {
        Some(name) => {
            let beside = |ending: &str| {
                let mut path = name.as_os_str().to_owned();
                path.push(ending);
                PathBuf::from(path)
            };
            let paths = [beside(".entry"), beside(".tlog-proof")];
            files::replace(&paths[0], &proof.entry)
                .with_context(|| format!("cannot write {}", paths[0].display()))?;
            files::replace(&paths[1], proof.proof.as_bytes())
                .with_context(|| format!("cannot write {}", paths[1].display()))?;
            Some(paths)
        }
        None => None,
    };
    let view = ProveView {
        origin: place.origin.clone(),
        index,
        entry: String::from_utf8_lossy(&proof.entry).into_owned(),
        proof: proof.proof,
        vkey: place.verifier.to_vkey(),
        files,
    };
    output::print(format, &view, || match &view.files {
        Some([entry, proof]) => format!(
            "entry  {}\nproof  {}\nkey    {}",
            entry.display(),
            proof.display(),
            view.vkey
        ),
        None => view.proof.clone(),
    })?;
    Ok(Exit::Done)
}

fn progress_bar(quiet: bool) -> ProgressBar {
    use std::io::IsTerminal as _;
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("verifying {bar:40} {pos}/{len} entries, {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(0).with_style(style)
}
