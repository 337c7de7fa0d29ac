//! `bailiwick evidence bundle`: everything about a plugin in some time, for a stranger.
//!
//! What goes in is what is signed: events with their proofs, manifests, approvals, the revocation
//! list, reports. The registry is asked for what it keeps, and nobody has to trust its answer.

mod papers;
mod period;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{PluginId, RunId, Sha256Digest};
use evidence::VerifiedLog;
use evidence::export::Filter;
use reports::bundle::{About, CitedEvent, Contents, write_period_bundle};
use reports::predicate::{EventReference, Period};
use serde::Serialize;

use super::export;
use super::prove;
use super::witnessing::Panel;
use crate::client::Client;
use crate::config::Config;
use crate::exit::{Exit, Refused};
use crate::house::logs::{self, LogPlace};
use crate::output::{self, Format};
use crate::{files, trust_file};
use papers::Papers;

/// Each event is two files of the bundle.
const MAX_EVENTS: usize = reports::bundle::MAX_ENTRIES / 2 - 500;

/// `bailiwick evidence bundle` arguments.
#[derive(Debug, clap::Args)]
pub struct BundleArgs {
    /// The plugin
    #[arg(long)]
    plugin: PluginId,
    /// The time: a day (2026-11-21), a month (2026-11), or FROM/TO with days or RFC 3339 moments
    #[arg(long, value_parser = period::parse)]
    period: Period,
    /// One run's events and reports only
    #[arg(long)]
    run: Option<RunId>,
    /// Where to; - is standard output [default: evidence-<plugin>-<from>-<to>.tar.zst]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct BundleView {
    bundle: PathBuf,
    sha256: Sha256Digest,
    size_bytes: u64,
    plugin_id: PluginId,
    from: base::Timestamp,
    to: base::Timestamp,
    builds: usize,
    reports: usize,
    events: usize,
}

/// Runs `bailiwick evidence bundle`.
///
/// # Errors
/// A log or a document does not verify (a refusal), the plugin is not known, or there is too much.
pub async fn run(args: &BundleArgs, config: &Config, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let about = About {
        period: args.period,
        plugin_id: args.plugin.clone(),
        run_id: args.run,
        site: config.file.site.clone(),
    };
    let trust = trust_file::read(&config.trust_root_path())?;
    let papers = Papers::gather(&Client::open(config).await?, config, &trust, &about).await?;
    let mut contents = Contents::default();
    let panel = Panel::of_site(config, &trust)?;
    for place in logs::all(config, &trust)? {
        add_log(&mut contents, &place, &panel, &about, &papers)?;
    }
    anyhow::ensure!(
        contents.events.len() <= MAX_EVENTS,
        "{} events are too many for one bundle, which holds {MAX_EVENTS}; name a shorter --period, or one --run",
        contents.events.len()
    );
    let events = contents.events.len();
    papers.put_into(&mut contents, &trust, &about)?;
    let view = BundleView {
        bundle: args.output.clone().unwrap_or_else(|| about.bundle_name().into()),
        sha256: Sha256Digest::of(&[]),
        size_bytes: 0,
        plugin_id: about.plugin_id.clone(),
        from: about.period.from,
        to: about.period.to,
        builds: contents.builds.len(),
        reports: contents.reports.len(),
        events,
    };
    let bytes = write_period_bundle(&about, &contents)?;
    let view = BundleView {
        sha256: Sha256Digest::of(&bytes),
        size_bytes: bytes.len() as u64,
        ..view
    };
    if view.bundle == Path::new("-") {
        use std::io::Write as _;
        std::io::stdout().lock().write_all(&bytes)?;
        output::note(quiet, &text(&view));
        return Ok(Exit::Done);
    }
    files::replace(&view.bundle, &bytes)
        .with_context(|| format!("cannot write {}", view.bundle.display()))?;
    output::print(format, &view, || text(&view))?;
    Ok(Exit::Done)
}

fn text(view: &BundleView) -> String {
    format!(
        "{}\n{} events, {} reports and {} builds of {}, {} bytes\nsha256 {}\nverify it with: bailiwick verify {}, or unpack it and read VERIFY.md",
        view.bundle.display(),
        view.events,
        view.reports,
        view.builds,
        view.plugin_id,
        view.size_bytes,
        view.sha256.to_hex(),
        view.bundle.display()
    )
}

/// Adds what one log says about the plugin, and what its reports cite.
fn add_log(
    contents: &mut Contents,
    place: &LogPlace,
    panel: &Panel,
    about: &About,
    papers: &Papers,
) -> anyhow::Result<()> {
    let log = export::open(place, panel)?;
    let cited = papers.cited(&place.origin);
    let wanted = wanted(&log, place, about, cited)?;
    let cosigned = prove::cosigned(place, panel, &log);
    for index in &wanted {
        let proven = match prove::prove(&log, *index, cosigned.as_ref()) {
            // A report may cite what expired since; its own bundle, kept beside it, has the entry.
            Err(error) if prove::is_expired(&error) => continue,
            proven => proven?,
        };
        contents.events.push(CitedEvent {
            reference: EventReference {
                origin: place.origin.clone(),
                index: *index,
            },
            entry: proven.entry,
            proof: Some(proven.proof),
        });
    }
    contents
        .checkpoints
        .push((place.origin.clone(), log.signed_checkpoint().to_owned()));
    if let Some(cosigned) = &cosigned {
        contents
            .cosigned
            .push((place.origin.clone(), cosigned.to_string()));
        for witness in panel.quorum.witnesses().iter().chain(&panel.own) {
            if cosigned.cosigned_at(witness).is_ok() && !contents.witnesses.contains(witness) {
                contents.witnesses.push(witness.clone());
            }
        }
    }
    contents.log_keys.push(place.verifier.clone());
    Ok(())
}

/// The entries of the plugin in that time, and those that reports about it cite.
fn wanted(
    log: &VerifiedLog,
    place: &LogPlace,
    about: &About,
    cited: BTreeSet<u64>,
) -> anyhow::Result<BTreeSet<u64>> {
    let filter = Filter {
        plugin_id: Some(about.plugin_id.clone()),
        run_id: about.run_id,
        since: Some(about.period.from),
        until: Some(about.period.to),
        ..Filter::default()
    };
    let sieve = filter.sieve();
    let mut wanted = cited;
    let mut entries = log.entries(0..u64::MAX);
    while let Some(bundle) = entries.read_on().map_err(|error| export::refused(place, error))? {
        for (index, entry) in bundle.entries() {
            if sieve.lets_through(entry) && filter.wants(&evidence::Event::from_entry(entry)?) {
                wanted.insert(index);
            }
        }
    }
    if let Some(beyond) = wanted.range(log.checkpoint().size()..).next() {
        return Err(Refused {
            code: "not_verified".to_owned(),
            message: format!(
                "a report cites entry {beyond} of log {}, which has {} entries: the log was cut; see: bailiwick evidence verify",
                place.origin,
                log.checkpoint().size()
            ),
        }
        .into());
    }
    Ok(wanted)
}
