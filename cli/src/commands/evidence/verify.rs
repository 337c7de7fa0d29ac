//! `bailiwick evidence verify`: integrity and completeness, as two answers.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::Context as _;
use base::Timestamp;
use evidence::{
    Checkpoint, Completeness, Integrity, NotVerified, Progress, Verification, VerifiedLog, VerifyError,
    VerifyOptions, WhyUnproven,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::super::vkey;
use super::witnessing::{Held, Panel, WitnessesView};
use crate::config::Config;
use crate::exit::{Exit, Unknowable};
use crate::house::logs::{self, LogPlace};
use crate::output::{self, Format};
use crate::{files, trust_file};

/// `bailiwick evidence verify` arguments.
///
/// Integrity: is every entry under the signature as it was signed? Completeness: is the log as long as it
/// once was? Only somebody else can tell: a witness whose cosignature lies beside the log, or a checkpoint
/// that you kept (--checkpoint).
///
/// Exit status: 0 whole, 1 tampered with, 2 wrong use or unreadable, 3 cannot tell: no log, or the
/// quorum of witnesses is not met.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct VerifyArgs {
    /// A log's folder, for example a copy from elsewhere [default: all logs of this site]
    #[arg(long, value_name = "DIR", requires = "key")]
    dir: Option<PathBuf>,
    /// The log's key: name+hash+key, a file with it, or its public key in PEM
    #[arg(long, visible_alias = "vkey", value_name = "VKEY|FILE", requires = "dir")]
    key: Option<String>,
    /// The log's name, <site>/<gateway>, where the key does not say it
    #[arg(long, requires = "key")]
    origin: Option<String>,
    /// Verify one gateway's log only
    #[arg(long, conflicts_with = "dir")]
    gateway: Option<String>,
    /// A checkpoint of the log that was kept elsewhere: it shows cut tails and roll-backs
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// A witness's key whose cosignatures count, with --dir (repeatable)
    #[arg(long = "witness", value_name = "VKEY|FILE", requires = "dir")]
    witnesses: Vec<String>,
    /// How many of these witnesses are needed [default: all]
    #[arg(long, requires = "witnesses", value_name = "N")]
    quorum: Option<usize>,
    /// Verify entries A to B only (B not included), against the signed root
    #[arg(long, value_name = "A..B", value_parser = range)]
    range: Option<Range<u64>>,
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
    /// Where only a part was looked at: from here to there.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[u64; 2]>,
    integrity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// What the site let expire: nobody can read it, and its hashes are as they were signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<ExpiredRange>,
    completeness: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_up_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Timestamp>,
    witnesses: WitnessesView,
    detail: String,
    unsigned: u64,
    #[serde(skip)]
    exit: Exit,
}

/// Entries that are not missing, because they expired by policy.
#[derive(Serialize)]
struct ExpiredRange {
    entries_from: u64,
    entries_to: u64,
    declared_by: u64,
}

/// Runs `bailiwick evidence verify`.
///
/// # Errors
/// A log or a file cannot be read at all.
pub fn run(
    args: &VerifyArgs,
    config: impl FnOnce() -> anyhow::Result<Config>,
    format: Format,
    quiet: bool,
) -> anyhow::Result<Exit> {
    let (places, panel) = places(args, config)?;
    let mut view = VerifyView { logs: Vec::new() };
    for place in &places {
        view.logs.push(verify_one(place, &panel, args, quiet)?);
    }
    output::print(format, &view, || {
        view.logs.iter().map(text).collect::<Vec<_>>().join("\n")
    })?;
    let worst = |exit| view.logs.iter().any(|log| log.exit == exit);
    Ok([Exit::Finding, Exit::CannotTell]
        .into_iter()
        .find(|exit| worst(*exit))
        .unwrap_or(Exit::Done))
}

fn places(
    args: &VerifyArgs,
    config: impl FnOnce() -> anyhow::Result<Config>,
) -> anyhow::Result<(Vec<LogPlace>, Panel)> {
    let (Some(dir), Some(key)) = (&args.dir, &args.key) else {
        let config = config()?;
        let trust = trust_file::read(&config.trust_root_path())?;
        let mut places = logs::all(&config, &trust)?;
        if let Some(gateway) = &args.gateway {
            places.retain(|place| place.gateway == *gateway);
            anyhow::ensure!(
                !places.is_empty(),
                "this site has no log of a gateway {gateway:?}"
            );
        }
        anyhow::ensure!(
            args.checkpoint.is_none() || places.len() == 1,
            "--checkpoint is about one log and this site has {}; name one with --gateway",
            places.len()
        );
        return Ok((places, Panel::of_site(&config, &trust)?));
    };
    // Whichever name is taken, the signature decides whether it is this log's.
    let claimed = || {
        let signed = files::read_limited(&dir.join("checkpoint"), 1 << 16).ok()?;
        Some(String::from_utf8(signed).ok()?.lines().next()?.to_owned())
    };
    let claimed = || args.origin.clone().or_else(claimed);
    let verifier = vkey::log(key, claimed).context("--key")?;
    let mut witnesses = Vec::new();
    for witness in &args.witnesses {
        witnesses.extend(vkey::witnesses(witness).context("--witness")?);
    }
    let needed = args.quorum.unwrap_or(witnesses.len());
    let origin = verifier.name().to_owned();
    let place = LogPlace {
        gateway: origin.clone(),
        origin,
        folder: dir.clone(),
        verifier,
        archive: None,
    };
    let panel = Panel {
        quorum: evidence::witness::Quorum::new(witnesses, needed).context("--quorum")?,
        own: Vec::new(),
        memory: None,
    };
    Ok((vec![place], panel))
}

fn verify_one(place: &LogPlace, panel: &Panel, args: &VerifyArgs, quiet: bool) -> anyhow::Result<LogView> {
    let (held, forged) = panel.held(place, args.checkpoint.as_deref())?;
    let bar = progress_bar(quiet);
    let mut report = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    let options = VerifyOptions {
        verified: None,
        held: held.first().map(|held| held.cosigned.checkpoint().clone()),
        archive: place.archive.clone(),
    };
    let opened = match &args.range {
        None => VerifiedLog::open_with(&place.folder, &place.verifier, &options, &mut report),
        Some(range) => VerifiedLog::open_range(
            &place.folder,
            &place.verifier,
            &options,
            range.clone(),
            &mut report,
        ),
    };
    bar.finish_and_clear();
    let mut verification = match opened {
        Ok(log) => agree(&log, &held)?,
        Err(NotVerified::Tampered(verification) | NotVerified::Unseen(verification)) => *verification,
        Err(NotVerified::Verify(VerifyError::NoLog { .. })) => {
            return Ok(gone(place, panel, held.first(), forged));
        }
        Err(NotVerified::Verify(VerifyError::Unreadable(away))) if away.is_elsewhere() => {
            return Err(Unknowable(format!("{:#}", anyhow::Error::from(away))).into());
        }
        Err(NotVerified::Verify(error)) => return Err(error.into()),
    };
    let size = verification.size();
    if let Some(range) = args.range.as_ref().filter(|range| range.end > size) {
        anyhow::ensure!(
            verification.is_tampered(),
            "the log has {size} entries under its checkpoint and no entry {}; end the range there",
            range.end - 1
        );
    }
    let decisive = if verification.is_tampered() {
        held.first()
    } else {
        let elsewhere = held.iter().find(|held| held.elsewhere);
        acquit(&mut verification, elsewhere);
        elsewhere
    };
    Ok(view(place, panel, args, decisive, forged, &verification))
}

/// Completeness as far as somebody elsewhere vouches for it.
fn acquit(verification: &mut Verification, elsewhere: Option<&Held>) {
    let size = elsewhere.map(|held| held.cosigned.checkpoint().size());
    verification.completeness = match size {
        None => Completeness::Unproven(WhyUnproven::NothingHeld),
        Some(size) if size == verification.size() => Completeness::Proven,
        Some(size) => Completeness::Unproven(WhyUnproven::HeldUpTo(size)),
    };
}

/// A log that is whole is held against every further checkpoint that somebody kept, not the longest
/// alone.
fn agree(log: &VerifiedLog, held: &[Held]) -> anyhow::Result<Verification> {
    let mut verification = log.verification().clone();
    for other in held.iter().skip(1) {
        let checkpoint = other.cosigned.checkpoint();
        if !log.continues(checkpoint)? {
            verification.completeness = Completeness::Contradicted {
                held: checkpoint.size(),
            };
        }
    }
    Ok(verification)
}

fn view(
    place: &LogPlace,
    panel: &Panel,
    args: &VerifyArgs,
    held: Option<&Held>,
    forged: Option<String>,
    verification: &Verification,
) -> LogView {
    let (first_bad, file) = match &verification.integrity {
        Integrity::Whole | Integrity::Unseen { .. } => (None, None),
        Integrity::Broken { first_bad, why } => (Some(*first_bad), why.file().map(str::to_owned)),
    };
    let witnesses = panel.view(place, verification.size(), forged);
    LogView {
        origin: place.origin.clone(),
        folder: place.folder.clone(),
        vkey: place.verifier.to_vkey(),
        size: verification.size(),
        root: verification
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.root().to_string()),
        range: args.range.as_ref().map(|range| [range.start, range.end]),
        integrity: match &verification.integrity {
            Integrity::Whole => "whole",
            Integrity::Unseen { .. } => "unseen",
            Integrity::Broken { .. } => "broken",
        },
        first_bad,
        file,
        expired: verification.expired.map(|expiry| ExpiredRange {
            entries_from: 0,
            entries_to: expiry.end,
            declared_by: expiry.declared_by,
        }),
        completeness: match &verification.completeness {
            Completeness::Proven => "proven",
            Completeness::Unproven(_) => "unproven",
            Completeness::Cut { .. } => "cut",
            Completeness::RolledBack { .. } => "rolled_back",
            Completeness::Contradicted { .. } => "contradicted",
        },
        complete_up_to: match &verification.completeness {
            Completeness::Proven => Some(verification.size()),
            Completeness::Unproven(WhyUnproven::HeldUpTo(size)) => Some(*size),
            _ => None,
        },
        held_by: held.map(|held| held.by.clone()),
        as_of: held.and_then(|held| held.as_of),
        detail: detail(verification),
        unsigned: verification.unsigned,
        exit: if verification.is_tampered() {
            Exit::Finding
        } else if matches!(verification.integrity, Integrity::Unseen { .. }) {
            Exit::CannotTell
        } else {
            witnesses.exit()
        },
        witnesses,
    }
}

fn detail(verification: &Verification) -> String {
    let expired = verification.expired.map(|expiry| format!("; {expiry}"));
    format!(
        "{}{}; {}",
        verification.integrity,
        expired.unwrap_or_default(),
        verification.completeness
    )
}

/// There is no log. Whether one was taken away, only others know.
fn gone(place: &LogPlace, panel: &Panel, held: Option<&Held>, forged: Option<String>) -> LogView {
    let folder = place.folder.display();
    let as_of = held.and_then(|held| held.as_of);
    let once = held.map(|held| (held.cosigned.checkpoint(), &held.by));
    let once = once.filter(|(checkpoint, _)| checkpoint.size() > 0);
    LogView {
        origin: place.origin.clone(),
        folder: place.folder.clone(),
        vkey: place.verifier.to_vkey(),
        size: 0,
        root: None,
        range: None,
        integrity: "unknown",
        first_bad: once.map(|_| 0),
        file: None,
        expired: None,
        completeness: if once.is_some() { "cut" } else { "unproven" },
        complete_up_to: None,
        held_by: once.map(|(_, by)| by.clone()),
        as_of,
        witnesses: panel.view(place, once.map_or(0, |(checkpoint, _)| checkpoint.size()), forged),
        detail: once.map_or_else(
            || format!("{folder} holds no log: the gateway never wrote one, or it was deleted"),
            |(checkpoint, by)| {
                let size = Checkpoint::size(checkpoint);
                format!(
                    "{folder} holds no log: it was deleted; a checkpoint of {size} entries is held by {by}"
                )
            },
        ),
        unsigned: 0,
        exit: if once.is_some() {
            Exit::Finding
        } else {
            Exit::CannotTell
        },
    }
}

fn text(log: &LogView) -> String {
    let unsigned = if log.unsigned > 0 {
        format!(", {} not yet", log.unsigned)
    } else {
        String::new()
    };
    let range = log.range.map_or(String::new(), |[from, to]| {
        format!(", of which {from} to {to} were verified")
    });
    let first_bad = log.first_bad.map_or(String::new(), |index| {
        let file = log
            .file
            .as_ref()
            .map_or(String::new(), |file| format!(" in {file}"));
        format!(" at entry {index}{file}")
    });
    let up_to = log.complete_up_to.map_or(String::new(), |size| {
        let by = log.held_by.as_deref().unwrap_or("somebody");
        let as_of = log.as_of.map_or(String::new(), |time| format!(" as of {time}"));
        format!("; complete up to {size}{as_of}, says {by}")
    });
    format!(
        "{}\n  {} entries under signature{unsigned}{range}\n  integrity     {}{first_bad}\n  completeness  {}{up_to}\n  \
         witnesses     {}\n  {}\n  key {}",
        log.origin,
        log.size,
        log.integrity,
        log.completeness,
        log.witnesses.line(),
        log.detail,
        log.vkey
    )
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let bad = || "a range is written A..B, for example 100..200".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(bad)?;
    let (from, to): (u64, u64) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    if from < to { Ok(from..to) } else { Err(bad()) }
}

/// Shown on a terminal only.
fn progress_bar(quiet: bool) -> ProgressBar {
    use std::io::IsTerminal as _;
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("verifying {bar:40} {pos}/{len} entries, {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(0).with_style(style)
}
