//! Exports: what other people's tools get, and that it is what the log's key signed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, RawClient, Run, Scenario, World, run};
use serde_json::Value;

use crate::demo::files;
use crate::stock::script;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "json_lines_are_the_very_bytes_that_were_signed",
        needs: &[Peer::Curl],
        run: json_lines,
    },
    Scenario {
        name: "what_is_not_wanted_is_left_out_and_what_is_wanted_is_not",
        needs: &[Peer::Curl],
        run: filters,
    },
    Scenario {
        name: "a_log_that_does_not_verify_is_not_exported",
        needs: &[],
        run: tampered,
    },
    Scenario {
        name: "ocsf_objects_are_valid_by_the_published_schema",
        needs: &[Peer::Curl, Peer::Readers],
        run: ocsf,
    },
    Scenario {
        name: "a_spreadsheet_is_told_no_formula",
        needs: &[Peer::Python],
        run: spreadsheet,
    },
    Scenario {
        name: "duckdb_says_who_called_paste_example",
        needs: &[Peer::Curl, Peer::Readers],
        run: who_called,
    },
    Scenario {
        name: "the_schema_table_is_the_published_schemas",
        needs: &[Peer::Readers],
        run: schema_table,
    },
];

/// A site whose plugin went where it may and where it may not, and a night that said so.
pub fn breached() -> Result<(World, Plugin)> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.origin(&["paste.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    for host in ["api.weather.example", "paste.example"] {
        let url = format!("https://{host}/");
        world
            .run_plugin(&plugin, ["curl", "-fsS", "--max-time", "60", &url])?
            .expect(0)?;
    }
    world.cli(["audit"])?.expect(1)?;
    Ok((world, plugin))
}

/// `bailiwick evidence export` with these arguments.
pub fn export(world: &World, args: &[&str]) -> Result<Run> {
    run(world.command(["evidence", "export"]).args(args))
}

fn lines(run: &Run) -> Vec<String> {
    run.text().lines().map(str::to_owned).collect()
}

fn objects(run: &Run) -> Result<Vec<Value>> {
    lines(run)
        .iter()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

fn json_lines() -> Result<()> {
    let (mut world, _) = breached()?;
    world.stop()?;
    let exported = lines(&export(&world, &["--format", "jsonl"])?.expect(0)?);
    let size = world.ok(["evidence", "verify"])?["logs"][0]["size"]
        .as_u64()
        .context("a size")?;
    assert_eq!(exported.len() as u64, size);
    for (index, line) in exported.iter().enumerate() {
        let proven = world.ok(["evidence", "prove", &index.to_string()])?;
        assert_eq!(proven["entry"], line.as_str());
    }
    // A file holds the same, and appears whole.
    let path = world.path("export.jsonl");
    let written = export(&world, &["--output", &path.display().to_string()])?.expect(0)?;
    assert!(
        written
            .stderr
            .contains(&format!("exported {size} of {size} entries"))
    );
    assert_eq!(std::fs::read_to_string(&path)?.lines().count() as u64, size);
    // Somebody who looked at the first line only did nothing wrong.
    let mut head = world.command(["evidence", "export"]);
    head.stdout(std::process::Stdio::piped());
    let mut child = head.spawn()?;
    drop(child.stdout.take());
    ensure!(child.wait()?.success());
    Ok(())
}

fn filters() -> Result<()> {
    let (world, plugin) = breached()?;
    let all = objects(&export(&world, &[])?.expect(0)?)?;
    let wanted = |args: &[&str]| objects(&export(&world, args)?.expect(0)?);
    let paste = wanted(&["--host", "paste.example"])?;
    ensure!(
        !paste.is_empty()
            && paste
                .iter()
                .all(|event| event["destination_host"] == "paste.example")
    );
    let by_hand = all
        .iter()
        .filter(|event| event["destination_host"] == "paste.example");
    assert_eq!(paste.len(), by_hand.count());
    let of_plugin = wanted(&["--plugin", &plugin.id])?;
    ensure!(of_plugin.len() > paste.len());
    let run = paste[0]["run_id"].as_str().context("a run")?;
    ensure!(
        wanted(&["--run", run])?
            .iter()
            .all(|event| event["run_id"] == run)
    );
    let time = paste[0]["time"].as_str().context("a time")?;
    let (before, after) = (wanted(&["--until", time])?, wanted(&["--since", time])?);
    assert_eq!(before.len() + after.len(), all.len());
    ensure!(wanted(&["--plugin", "acme.nobody"])?.is_empty());
    ensure!(wanted(&["--decision", "deny"])?.is_empty());
    let wrong = export(&world, &["--gateway", "gw-9"])?.expect(2)?;
    assert!(wrong.error_line()?.contains("gw-9"));
    let wrong = run_status(&world, &["status", "--format", "csv"])?;
    assert!(wrong.error_line()?.contains("evidence export"));
    Ok(())
}

fn run_status(world: &World, args: &[&str]) -> Result<Run> {
    run(&mut world.command(args))?.expect(2)
}

fn tampered() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..40 {
        client.tunnel("api.weather.example:443", None)?;
    }
    world.stop()?;
    let mut tiles = files(&world.site().join("data/log/gw-1/tile/entries"));
    tiles.sort();
    let tile = tiles.pop().context("a tile of entries")?;
    let good = std::fs::read(&tile)?;
    let path = world.path("export.csv");
    let output = path.display().to_string();
    let attempt = |status| export(&world, &["--format", "csv", "--output", &output])?.expect(status);
    let mut bad = good.clone();
    let at = bad.len() / 2;
    bad[at] ^= 1;
    std::fs::write(&tile, &bad)?;
    let refused = attempt(1)?;
    assert!(
        refused.error_line()?.contains("tile/entries/"),
        "{}",
        refused.stderr
    );
    ensure!(!path.exists() && files(&world.path("")).iter().all(|file| !is_temporary(file)));
    // Nor is an older checkpoint put back, nor none at all.
    std::fs::write(&tile, &good)?;
    let checkpoint = world.site().join("data/log/gw-1/checkpoint");
    let signed = std::fs::read_to_string(&checkpoint)?;
    std::fs::write(&checkpoint, signed.replacen("acme/gw-1", "acme/gw-2", 1))?;
    std::fs::remove_file(&checkpoint)?;
    attempt(1)?;
    std::fs::write(&checkpoint, &signed)?;
    attempt(0)?;
    ensure!(path.exists());
    std::fs::remove_dir_all(world.site().join("data/log"))?;
    // What is not there cannot be told.
    let gone = export(&world, &[])?;
    ensure!(
        matches!(gone.status, Some(1 | 3)) && gone.stdout.is_empty(),
        "{gone:?}"
    );
    Ok(())
}

fn is_temporary(file: &Path) -> bool {
    file.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(".tmp"))
}

fn ocsf() -> Result<()> {
    let (world, plugin) = breached()?;
    let path = world.path("export.ocsf");
    let output = path.display().to_string();
    export(&world, &["--format", "ocsf", "--output", &output])?.expect(0)?;
    let text = std::fs::read_to_string(&path)?;
    let told: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let classes: BTreeSet<u64> = told
        .iter()
        .filter_map(|object| object["class_uid"].as_u64())
        .collect();
    assert_eq!(classes, BTreeSet::from([0, 2004, 4001]));
    let finding = told
        .iter()
        .find(|object| object["class_uid"] == 2004)
        .context("a finding")?;
    assert_eq!(finding["resources"][0]["uid"], plugin.digest.as_str());
    assert_eq!(
        finding["evidences"][0]["dst_endpoint"]["hostname"],
        "paste.example"
    );
    assert_eq!(finding["is_alert"], true);
    // Every object's place in the log is its own.
    let names: BTreeSet<&str> = told
        .iter()
        .filter_map(|object| object["metadata"]["uid"].as_str())
        .collect();
    assert_eq!(names.len(), told.len());
    run(Peer::Readers.command().arg(script("ocsf_validate.py")).arg(&path))?.expect(0)?;
    Ok(())
}

fn spreadsheet() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let mut client = RawClient::connect(world.gateway()?)?;
    for hostile in [
        "=cmd|'/c calc'!A1:80",
        "@SUM(1;1):443",
        "+1",
        "-1+1:x",
        "a;=1:443",
    ] {
        // Some end the connection.
        if client.tunnel(hostile, None).is_err() {
            client = RawClient::connect(world.gateway()?)?;
            client.tunnel(hostile, None)?;
        }
    }
    world.stop()?;
    let path = world.path("export.csv");
    export(
        &world,
        &["--format", "csv", "--output", &path.display().to_string()],
    )?
    .expect(0)?;
    let read = run(Peer::Python.command().arg(script("read_csv.py")).arg(&path))?
        .expect(0)?
        .json()?;
    assert_eq!(read["formulas"], 0);
    ensure!(read["targets"].as_u64() >= Some(3), "{read}");
    ensure!(read["rows"].as_u64() >= Some(6), "{read}");
    Ok(())
}

/// The very question that README.md asks, put to DuckDB over our folder and nothing else.
fn who_called() -> Result<()> {
    let (mut world, plugin) = breached()?;
    world.stop()?;
    let folder = world.path("archive");
    let output = folder.display().to_string();
    export(&world, &["--format", "parquet", "--output", &output])?.expect(0)?;
    world.ok(["evidence", "archive", "--all"])?;
    let archive = world.site().join("data/archive").display().to_string();
    let readme = std::fs::read_to_string(bailiwick_tests::workspace().join("README.md"))?;
    let line = readme
        .lines()
        .find(|line| line.starts_with("duckdb -c ") && line.contains("paste.example"))
        .context("README.md asks DuckDB who called paste.example")?;
    let query = line.split('"').nth(1).context("a query in quotation marks")?;
    // Last month, for somebody who asks next month.
    let query = query.replace("current_date", "(current_date + INTERVAL 1 MONTH)");
    let script = "import duckdb, json, sys; print(json.dumps([[str(v) for v in row] for row in duckdb.sql(sys.argv[1]).fetchall()]))";
    // What was exported, and the archive itself.
    for folder in [&output, &archive] {
        let query = query.replace("data/archive", folder);
        let told = run(Peer::Readers.command().args(["-c", script, &query]))?
            .expect(0)?
            .json()?;
        assert_eq!(told.as_array().map(Vec::len), Some(1), "{folder}: {told}");
        assert_eq!(told[0][0], plugin.id.as_str(), "{folder}: {told}");
    }
    let wrong = export(
        &world,
        &[
            "--format",
            "parquet",
            "--output",
            &output,
            "--host",
            "paste.example",
        ],
    )?;
    ensure!(wrong.expect(2)?.error_line()?.contains("leave the filters out"));
    Ok(())
}

fn schema_table() -> Result<()> {
    let table = bailiwick_tests::workspace().join("tests/vectors/ocsf/schema.json");
    run(Peer::Readers
        .command()
        .arg(script("ocsf_table.py"))
        .arg("--check")
        .arg(table))?
    .expect(0)?;
    Ok(())
}
