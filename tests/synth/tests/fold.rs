//! The fold of an archive, held against an engine that nobody here wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use auditor::archive_fold::Tuples;
use auditor::{Fold, Period};
use bailiwick_synth::corpus::SCENES;
use bailiwick_synth::crowd::{Keeping, Sizes};
use bailiwick_synth::folding::Folding;
use bailiwick_synth::{Closing, corpus};
use bailiwick_tests::{Peer, Scenario, bailiwick, run, run_scenarios, workspace};
use evidence::{Event, EventKind, VerifiedLog};
use seal::note::NoteVerifier;
use serde_json::{Value, json};

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_signed_log_and_its_archive_come_to_the_same_tuples",
        needs: &[],
        run: log_and_archive,
    },
    Scenario {
        name: "duckdb_comes_to_the_same_tuples",
        needs: &[Peer::Readers],
        run: duckdb,
    },
    Scenario {
        name: "the_shipped_query_on_duckdb_comes_to_the_tuples_of_our_own_fold_over_the_whole_corpus",
        needs: &[Peer::Readers],
        run: corpus_on_duckdb,
    },
];

/// The `GROUP BY` of FORMATS §3; one JSON object for each tuple.
const DUCKDB: &str = r#"
import json, sys, duckdb
files, runs = sys.argv[1], "run_id, " if sys.argv[2] == "by-run" else ""
rows = duckdb.connect().execute(f"""
    SELECT plugin_id, artifact_digest, {runs}destination_host, port, scheme, count(*) AS events,
        count(*) FILTER (kind = 'close') AS closed, count(*) FILTER (kind = 'refused') AS refused
    FROM read_parquet('{files}/**/*.parquet', hive_partitioning = false) GROUP BY ALL
""")
names = [column[0] for column in rows.description]
print(json.dumps([dict(zip(names, row)) for row in rows.fetchall()]))
"#;

fn main() -> ExitCode {
    run_scenarios(&[("fold", SCENARIOS)])
}

/// Plugin, artifact, run, host, port and scheme, as JSON has them.
type Key = [String; 6];

const SEEDS: [u64; 3] = [1, 2, 3];

const SIZES: Sizes = Sizes {
    plugins: 6,
    artifacts: 9,
    runs: 60,
    gateways: 3,
    events: 6_000,
    breaches: 0.2,
    days: 1,
    only_archive: None,
    keeping: Keeping::Log,
};

fn log_and_archive() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site");
    let sizes = Sizes { gateways: 1, ..SIZES };
    sizes.make(&site, 4, corpus::DAY.parse()?)?;
    let mut command = Command::new(bailiwick());
    command.arg("--config").arg(site.join("bailiwick.toml"));
    run(command.args(["evidence", "archive", "--all"]))?.expect(0)?;
    let from_archive = ours(&site.join("data/archive"), true)?;

    let key = seal::key_file::read_public(&site.join("keys/gateway.pub"))?;
    let verifier = NoteVerifier::new("crowd/gw-1", &key)?;
    let log = VerifiedLog::open(&site.join("data/log/gw-1"), &verifier)?;
    let events: Vec<Event> = log
        .events(0..log.checkpoint().size())
        .map(|entry| Ok(entry?.1))
        .collect::<Result<_>>()?;
    let bound = events.iter().filter(|event| event.kind == EventKind::Archived);
    let signed: u64 = bound.filter_map(|event| event.count).sum();
    let mut from_log = Tuples::default();
    let archived = usize::try_from(signed)?;
    events[..archived]
        .iter()
        .for_each(|event| from_log.add_event(event));
    ensure!(archived > 5_900, "{archived} entries are in the archive");
    ensure!(
        spelt(&from_log) == from_archive,
        "{:#?}\n{from_archive:#?}",
        spelt(&from_log)
    );
    let sum: u64 = from_archive.values().map(|counts| counts[0]).sum();
    ensure!(
        sum == signed,
        "{sum} rows are in tuples, and the log signed {signed}"
    );
    Ok(())
}

fn duckdb() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site");
    let sizes = Sizes {
        only_archive: Some(Closing::Hours),
        ..SIZES
    };
    sizes.make(&site, 3, corpus::DAY.parse()?)?;
    let archive = site.join("data/archive");
    for by_run in [true, false] {
        let ours = ours(&archive, by_run)?;
        let theirs = theirs(&archive, by_run)?;
        ensure!(ours.len() > 100, "{} tuples are no test", ours.len());
        ensure!(
            ours == theirs,
            "by run: {by_run}; ours {ours:#?}\ntheirs {theirs:#?}"
        );
    }
    Ok(())
}

/// Every kind of every scene whose logs are believed, by the `auditor/sql/duckdb.sql` that is shipped: over the
/// archive there, over the log's own entries here.
fn corpus_on_duckdb() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut tuples = 0;
    for seed in SEEDS {
        // Nothing of a log that was changed is folded.
        for scene in SCENES.iter().filter(|scene| scene.name != "tampered") {
            let site = folder.path().join(format!("{seed}-{}", scene.name));
            let truth = scene.make_keeping(&site, seed, corpus::DAY.parse()?, Keeping::Archived)?;
            let period = Period {
                from: truth.since,
                to: truth.until,
            };
            let seen = truth.until.plus_seconds(6 * 3600);
            let own = folded(&site, period, seen)?;
            let told = run(Peer::Readers
                .command()
                .arg(workspace().join("tests/python/fold.py"))
                .arg("duckdb")
                .arg(site.join("data/archive"))
                .arg("-")
                .arg(workspace().join("auditor/sql/duckdb.sql"))
                .args([period.from.to_string(), period.to.to_string(), seen.to_string()]))?
            .expect(0)?;
            let last = told.text().lines().last().context("tuples")?.to_owned();
            let mut theirs: Vec<Value> = serde_json::from_str(&last)?;
            theirs.sort_by_key(ToString::to_string);
            for (own, theirs) in own.iter().zip(&theirs) {
                ensure!(
                    own == theirs,
                    "seed {seed}, {}: our own fold says\n{own}\nand DuckDB\n{theirs}",
                    scene.name
                );
            }
            ensure!(
                own.len() == theirs.len(),
                "seed {seed}, {}: {} of {}",
                scene.name,
                theirs.len(),
                own.len()
            );
            tuples += own.len();
            std::fs::remove_dir_all(&site)?;
        }
    }
    ensure!(tuples > 1000, "{tuples} tuples are no corpus");
    Ok(())
}

/// The tuples of the night's fold over the entries of every log of a site, in one order.
fn folded(site: &Path, period: Period, seen: base::Timestamp) -> Result<Vec<Value>> {
    let key = seal::key_file::read_public(&site.join("keys/gateway.pub"))?;
    let mut fold = Fold::new(period, seen);
    let mut folders: Vec<_> = std::fs::read_dir(site.join("data/log"))?.collect::<Result<_, _>>()?;
    folders.sort_by_key(std::fs::DirEntry::file_name);
    for folder in folders {
        // A gateway that is expected and handed in nothing.
        if !folder.path().join("checkpoint").exists() {
            continue;
        }
        let origin = format!("corpus/{}", folder.file_name().to_string_lossy());
        let log = VerifiedLog::open(&folder.path(), &NoteVerifier::new(&origin, &key)?)?;
        let mut folding = fold.log(&origin, None);
        for entry in log.events(0..log.checkpoint().size()) {
            let (index, event) = entry?;
            if folding.handle_entry(index, &event).is_break() {
                break;
            }
        }
        folding.finish();
    }
    // What was judged by different measures is one destination all the same.
    let mut sums: BTreeMap<String, (Value, auditor::Tally)> = BTreeMap::new();
    for (who, destinations) in &fold.finish().seen {
        for (visited, observation) in destinations {
            let to = &visited.destination;
            let (host, port) = (&to.target.host, to.target.port);
            let place = json!([
                who.plugin_id,
                who.artifact_digest,
                who.run_id,
                host,
                port,
                to.scheme
            ]);
            let tally = observation.tally();
            let known = sums.entry(place.to_string());
            known
                .and_modify(|(_, sum)| sum.merge(tally))
                .or_insert_with(|| (place, tally.clone()));
        }
    }
    let mut tuples: Vec<Value> = sums
        .into_values()
        .map(|(place, tally)| {
            let mut tuple = place.as_array().cloned().unwrap_or_default();
            let numbers = [tally.connections, tally.bytes_out, tally.bytes_in];
            tuple.extend(numbers.map(Value::from));
            tuple.extend([tally.first.unix_us(), tally.last.unix_us()].map(Value::from));
            Value::Array(tuple)
        })
        .collect();
    tuples.sort_by_key(ToString::to_string);
    Ok(tuples)
}

fn ours(archive: &Path, by_run: bool) -> Result<BTreeMap<Key, [u64; 3]>> {
    let folding = Folding {
        folder: archive.to_owned(),
        by_run,
        check_hashes: true,
    };
    let (tuples, files, _) = folding.tuples()?;
    ensure!(files > 10, "{files} files: they are closed with the hour");
    let sum: u64 = tuples.iter().map(|(_, counts)| counts.events).sum();
    ensure!(
        sum == tuples.events(),
        "{sum} of {} rows are in tuples",
        tuples.events()
    );
    Ok(spelt(&tuples))
}

fn spelt(tuples: &Tuples) -> BTreeMap<Key, [u64; 3]> {
    let text = |text: Option<&str>| serde_json::to_string(&text).unwrap();
    let rows = tuples.iter().map(|(tuple, counts)| {
        let key = [
            text(tuple.plugin_id),
            text(tuple.artifact_digest),
            text(tuple.run_id),
            text(tuple.host),
            serde_json::to_string(&tuple.port).unwrap(),
            text(tuple.scheme.map(base::ObservedScheme::as_str)),
        ];
        (key, [counts.events, counts.closed, counts.refused])
    });
    rows.collect()
}

fn theirs(archive: &Path, by_run: bool) -> Result<BTreeMap<Key, [u64; 3]>> {
    let by = if by_run { "by-run" } else { "without" };
    let printed = run(Peer::Readers.command().args(["-c", DUCKDB]).arg(archive).arg(by))?
        .expect(0)?
        .json()?;
    let rows = printed.as_array().context("a list of tuples")?;
    let field = |row: &Value, name: &str| row.get(name).unwrap_or(&Value::Null).to_string();
    let names = [
        "plugin_id",
        "artifact_digest",
        "run_id",
        "destination_host",
        "port",
        "scheme",
    ];
    let counts = |row: &Value| ["events", "closed", "refused"].map(|name| row[name].as_u64().unwrap());
    Ok(rows
        .iter()
        .map(|row| (names.map(|name| field(row, name)), counts(row)))
        .collect())
}
