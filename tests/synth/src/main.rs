//! `bailiwick-synth`: makes sites whose right verdicts are known, for tests and benchmarks.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bailiwick_synth::corpus::{self, SCENES};
use bailiwick_synth::crowd::{Keeping, Sizes};
use bailiwick_synth::folding::Folding;
use bailiwick_synth::given::Given;
use bailiwick_synth::{Closing, Confusion, Truth, matching};
use base::{Tier, Timestamp};
use clap::{Parser, Subcommand};

/// Makes sites with signed evidence for `bailiwick audit`, and holds what it prints against the truth
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plant breaches of every kind and their benign twins, with truth.json beside each site
    Corpus {
        /// The folder to make; one site in it for every scene
        #[arg(long)]
        out: PathBuf,
        /// What names, times and places are drawn from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The day, at its first moment in UTC
        #[arg(long, default_value = corpus::DAY)]
        day: Timestamp,
    },
    /// Make one large site from a seed and sizes, with truth.json in it
    Crowd {
        /// The folder to make
        #[arg(long)]
        out: PathBuf,
        /// What everything is drawn from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The first day, at its first moment in UTC
        #[arg(long, default_value = corpus::DAY)]
        day: Timestamp,
        /// How many days
        #[arg(long, default_value_t = 1)]
        days: u64,
        /// Plugins
        #[arg(long, default_value_t = 20)]
        plugins: u64,
        /// Builds of all plugins
        #[arg(long, default_value_t = 50)]
        artifacts: u64,
        /// Runs of all builds
        #[arg(long, default_value_t = 500)]
        runs: u64,
        /// Gateways
        #[arg(long, default_value_t = 4)]
        gateways: u64,
        /// Events on all gateways
        #[arg(long, default_value_t = 100_000)]
        events: u64,
        /// The share of runs that go where nobody declared
        #[arg(long, default_value_t = 0.01)]
        breaches: f64,
        /// Write archive files, closed like this, and no log that they would come from; for whatever
        /// counts rows and audits nothing
        #[arg(long, value_enum)]
        only_archive: Option<Closing>,
        /// What becomes of each signed log once it is written
        #[arg(long, value_enum, default_value_t, conflicts_with = "only_archive")]
        keep: Keeping,
    },
    /// Count the tuples of an archive with the auditor's own fold
    Fold {
        /// The archive
        folder: PathBuf,
        /// Do not tell runs apart
        #[arg(long)]
        without_run: bool,
        /// Hold every file against the hash in its name
        #[arg(long)]
        check_hashes: bool,
    },
    /// Measure how many pairs of destination and manifest are matched in a second
    Match,
    /// Make a site from events and manifests that somebody else wrote
    ///
    /// Events are JSON objects, one a line, with the fields of evidence logs; they go into the log of
    /// their gateway in the order of the file. A line may leave out: v; seq, which the log gives;
    /// gateway, then gw-1; artifact_digest, where the plugin has one manifest only; attribution, then
    /// "token" beside a run_id and "none" otherwise. Everything else stays as written.
    ///
    /// A field that the format lacks is an error with the line's number, unless --ignore names it.
    ///
    /// Manifests are PLUGIN_MANIFEST.json files; each is signed with a key that is made for the site.
    /// One without artifact_digest gets the digest of its own bytes, which site.json names.
    ///
    /// A run lasts from its first event to its last, unless --runs says otherwise.
    Events {
        /// Events, JSON lines
        #[arg(value_name = "EVENTS")]
        events: PathBuf,
        /// A folder of manifests, *.json
        #[arg(long, value_name = "FOLDER")]
        manifests: PathBuf,
        /// The folder to make
        #[arg(long)]
        out: PathBuf,
        /// Runs, JSON lines: run_id, plugin_id, artifact_digest (if the plugin has several), started, ended,
        /// data_class
        #[arg(long, value_name = "FILE")]
        runs: Option<PathBuf>,
        /// Changes of the revocation list, JSON lines: target (digest or plugin), action (quarantine,
        /// revoke, reinstate), reason, at
        #[arg(long, value_name = "FILE")]
        revocations: Option<PathBuf>,
        /// A field of events that is left out, such as a label of yours; may be repeated
        #[arg(long = "ignore", value_name = "FIELD")]
        ignore: Vec<String>,
        /// A gateway that should have kept a log, whether there are events of it or not; may be repeated
        #[arg(long = "gateway", value_name = "NAME")]
        gateways: Vec<String>,
        /// The tier of every plugin
        #[arg(long, default_value_t = Tier::Medium)]
        tier: Tier,
        /// The site's name
        #[arg(long, default_value = "given")]
        site: String,
        /// What keys are made from
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Hold what `bailiwick audit --format json` printed against truth.json; exit status 1 where they differ
    Check {
        /// truth.json
        truth: PathBuf,
        /// What the audit printed
        audit: PathBuf,
        /// Its exit status [default: the right one]
        #[arg(long)]
        exit: Option<i32>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bailiwick-synth: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Corpus { out, seed, day } => {
            for scene in SCENES {
                let folder = out.join(scene.name);
                let truth = scene.make(&folder, seed, day)?;
                println!(
                    "{}",
                    how_to_audit(&folder.join("bailiwick.toml"), truth.since, truth.until)
                );
            }
            Ok(true)
        }
        Command::Crowd {
            out,
            seed,
            day,
            days,
            plugins,
            artifacts,
            runs,
            gateways,
            events,
            breaches,
            only_archive,
            keep,
        } => {
            let sizes = Sizes {
                plugins,
                artifacts,
                runs,
                gateways,
                events,
                breaches,
                days,
                only_archive,
                keeping: keep,
            };
            let truth = sizes.make(&out, seed, day)?;
            println!(
                "{}",
                how_to_audit(&out.join("bailiwick.toml"), truth.since, truth.until)
            );
            Ok(true)
        }
        Command::Fold {
            folder,
            without_run,
            check_hashes,
        } => {
            let folding = Folding {
                folder,
                by_run: !without_run,
                check_hashes,
            };
            println!("{}", serde_json::to_string(&folding.run()?)?);
            Ok(true)
        }
        Command::Match => {
            println!("{}", serde_json::to_string(&matching::run()?)?);
            Ok(true)
        }
        Command::Events {
            events,
            manifests,
            out,
            runs,
            revocations,
            ignore,
            gateways,
            tier,
            site,
            seed,
        } => {
            let given = Given {
                events,
                manifests,
                runs,
                revocations,
                ignore,
                gateways,
                tier,
                site,
                seed,
            };
            let made = given.make(&out)?;
            println!("{}", how_to_audit(&made.config, made.since, made.until));
            Ok(true)
        }
        Command::Check { truth, audit, exit } => {
            let truth = Truth::read(&truth)?;
            let bytes = std::fs::read(&audit).with_context(|| format!("cannot read {}", audit.display()))?;
            let printed =
                serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", audit.display()))?;
            let mut confusion = Confusion::default();
            confusion.add(&truth, &printed, exit.unwrap_or_else(|| truth.exit.into()))?;
            println!("{}", confusion.table(&corpus::kinds_of(&truth)));
            for line in &confusion.off_diagonal {
                println!("{line}");
            }
            Ok(confusion.off_diagonal.is_empty())
        }
    }
}

fn how_to_audit(config: &std::path::Path, since: Timestamp, until: Timestamp) -> String {
    format!(
        "bailiwick --config {} audit --since {since} --until {until} --format json",
        config.display()
    )
}
