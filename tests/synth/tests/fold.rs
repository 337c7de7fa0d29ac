//! The fold of an archive, held against an engine that nobody here wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use bailiwick_synth::crowd::Sizes;
use bailiwick_synth::folding::Folding;
use bailiwick_synth::{Closing, corpus};
use bailiwick_tests::{Peer, Scenario, run, run_scenarios};
use serde_json::Value;

const SCENARIOS: &[Scenario] = &[Scenario {
    name: "duckdb_comes_to_the_same_tuples",
    needs: &[Peer::Readers],
    run: duckdb,
}];

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

fn duckdb() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site");
    let sizes = Sizes {
        plugins: 6,
        artifacts: 9,
        runs: 60,
        gateways: 3,
        events: 6_000,
        breaches: 0.2,
        days: 1,
        only_archive: Some(Closing::Hours),
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
    ensure!(files > 3 * 20, "{files} files: they are closed with the hour");
    let sum: u64 = tuples.iter().map(|(_, counts)| counts.events).sum();
    ensure!(
        sum == tuples.events(),
        "{sum} of {} rows are in tuples",
        tuples.events()
    );
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
    Ok(rows.collect())
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
