//! The fold of an archive, held against an engine that nobody here wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use auditor::archive_fold::Tuples;
use bailiwick_synth::crowd::{Keeping, Sizes};
use bailiwick_synth::folding::Folding;
use bailiwick_synth::{Closing, corpus};
use bailiwick_tests::{Peer, Scenario, bailiwick, run, run_scenarios};
use evidence::{Event, EventKind, VerifiedLog};
use seal::note::NoteVerifier;
use serde_json::Value;

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
