//! Archive files expire by data class: what went is declared and told apart from what is missing, and
//! whoever kept a proof can still use it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{BucketServer, Manner, Peer, Scenario, World, run};
use base::{RunId, Timestamp};
use evidence::{Event, EventKind, LogWriter, Origin};
use seal::key_file;
use serde_json::Value;

use crate::archive::{evidence_setting, verify};
use crate::demo::files;
use crate::tokens::LiveRun;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_file_of_a_class_kept_shortly_expires_and_one_of_neighbours_stays",
        needs: &[],
        run: expires,
    },
    Scenario {
        name: "duckdb_reads_what_did_not_expire",
        needs: &[Peer::Readers],
        run: readable,
    },
    Scenario {
        name: "files_expire_from_a_bucket_once_it_answers",
        needs: &[Peer::Bucket],
        run: from_a_bucket,
    },
    Scenario {
        name: "a_gateway_that_runs_lets_files_expire_by_itself_and_by_hand",
        needs: &[],
        run: in_use,
    },
];

const DAY_S: i64 = 86_400;
/// Events of each hour of the log below.
const EVENTS: usize = 300;

/// A site that kept a hundred days: an hour of a run with secrets, and an hour of it and of an official
/// one, both archived and pruned.
fn old_site() -> Result<World> {
    filled(World::new()?)
}

fn filled(mut world: World) -> Result<World> {
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .says("data_classes", serde_json::json!(["official", "secret"]))
        .admit("high")?;
    for class in ["secret", "official"] {
        drop(LiveRun::start(&world, &plugin, &["--data-class", class])?);
    }
    let listed = world.ok(["runs"])?;
    let of_class = |class: &str| -> Result<RunId> {
        let runs = listed["runs"].as_array().context("runs")?;
        let run = runs.iter().find(|run| run["data_class"] == class);
        Ok(run
            .and_then(|run| run["run_id"].as_str())
            .context("a run")?
            .parse()?)
    };
    let (secret, official) = (of_class("secret")?, of_class("official")?);
    world.stop()?;

    // The same gateway, a hundred days ago.
    for folder in ["data/log", "data/witness"] {
        let folder = world.site().join(folder);
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
    }
    let folder = world.site().join("data/log/gw-1");
    std::fs::create_dir_all(&folder)?;
    let config: toml::Table = std::fs::read_to_string(world.config())?.parse()?;
    let site = config["site"].as_str().context("site")?;
    let key = key_file::read_private(&world.site().join("keys/gateway.pem"))?;
    let (mut writer, _) = LogWriter::open(&folder, &Origin::new(site, "gw-1")?, key)?;
    let noon = Timestamp::from(std::time::SystemTime::now()).unix_s() / DAY_S * DAY_S + DAY_S / 2;
    let event = |hour: i64, run: RunId| {
        let time = Timestamp::from_unix_us((noon - 100 * DAY_S + hour * 3600) * 1_000_000);
        let mut event = Event::new(EventKind::Close, time, "gw-1");
        event.destination_host = "api.weather.example".parse().ok();
        event.plugin_id = "acme.weather".parse().ok();
        event.run_id = Some(run);
        event
    };
    let mut events: Vec<Event> = (0..EVENTS).map(|_| event(0, secret)).collect();
    events.extend((0..EVENTS).map(|number| event(1, if number % 2 == 0 { secret } else { official })));
    events.push(event(2, official));
    writer.append(&mut events)?;
    writer.checkpoint()?;
    drop(writer);

    evidence_setting(&world, "archive", true.into())?;
    evidence_setting(&world, "keep_entries", "30d".into())?;
    let archived = world.ok(["evidence", "archive"])?;
    assert_eq!(
        archived["files"].as_array().map(Vec::len),
        Some(3),
        "{archived:#}"
    );
    let pruned = world.ok(["evidence", "prune"])?;
    assert_eq!(pruned["entries_to"], 512, "{pruned:#}");
    Ok(world)
}

fn keep(world: &World, secret: &str) -> Result<()> {
    let mut table = toml::Table::new();
    table.insert("default".to_owned(), "7y".into());
    table.insert("secret".to_owned(), secret.into());
    evidence_setting(world, "retention", table.into())
}

fn archive_files(world: &World) -> Vec<PathBuf> {
    let mut found = files(&world.site().join("data/archive"));
    found.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    found
}

fn expires() -> Result<()> {
    let world = old_site()?;
    let kept = world.path("kept").display().to_string();
    world.ok(["evidence", "prove", "7", "--out", &kept])?;
    let told = world.cli(["evidence", "expire"])?.expect(2)?;
    ensure!(
        told.text().contains("add [evidence.retention]"),
        "{}",
        told.text()
    );
    // A class that is kept for longer keeps the file.
    keep(&world, "200d")?;
    let none = world.ok(["evidence", "expire"])?;
    assert_eq!(
        (&none["entries_to"], &none["files"]),
        (&Value::Null, &serde_json::json!([]))
    );
    keep(&world, "90d")?;
    let before = archive_files(&world);
    let planned = world.ok(["evidence", "expire", "--dry-run"])?;
    assert_eq!(planned["entries_to"], EVENTS, "{planned:#}");
    assert_eq!(archive_files(&world), before);
    let gone = world.ok(["evidence", "expire"])?;
    assert_eq!(gone["entries_to"], EVENTS, "{gone:#}");
    assert_eq!(gone["files"], planned["files"]);
    // The file with both classes stays, and its neighbours.
    assert_eq!(archive_files(&world), before[1..]);
    let again = world.ok(["evidence", "expire"])?;
    assert_eq!(
        (&again["entries_to"], &again["files"]),
        (&Value::Null, &serde_json::json!([]))
    );

    let verified = verify(&world, 0)?;
    assert_eq!(verified["integrity"], "whole", "{verified:#}");
    assert_eq!(verified["expired"]["entries_from"], 0, "{verified:#}");
    assert_eq!(verified["expired"]["entries_to"], EVENTS, "{verified:#}");
    let declared_by = verified["expired"]["declared_by"].as_u64().context("an entry")?;
    let detail = verified["detail"].as_str().unwrap_or_default();
    ensure!(
        detail.contains(&format!(
            "expired by policy: entries 0 to 299, declared by entry {declared_by}"
        )),
        "{detail}"
    );
    let declared = world.ok(["events", "--kind", "pruned"])?;
    let declared = declared["events"]
        .as_array()
        .and_then(|all| all.last())
        .cloned()
        .context("an entry")?;
    assert_eq!(declared["seq"], declared_by, "{declared:#}");
    assert_eq!(
        (&declared["scope"], &declared["cause"]),
        (&"archive".into(), &"evidence.retention".into())
    );

    // Everything that reads begins with the first entry that is there.
    let events = world.ok(["events"])?;
    assert_eq!(events["events"][0]["seq"], EVENTS);
    let exported = world.path("record.jsonl");
    let output = exported.display().to_string();
    world
        .cli([
            "evidence",
            "export",
            "--plugin",
            "acme.weather",
            "--output",
            &output,
        ])?
        .expect(0)?;
    assert_eq!(std::fs::read_to_string(&exported)?.lines().count(), EVENTS + 1);
    let bundle = world.path("record.tar.zst").display().to_string();
    let period = "2020-01-01/2100-01-01";
    let bundled = world.ok([
        "evidence",
        "bundle",
        "--plugin",
        "acme.weather",
        "--period",
        period,
        "--output",
        &bundle,
    ])?;
    assert_eq!(bundled["events"], EVENTS + 1, "{bundled:#}");
    world.cli(["verify", &bundle])?.expect(0)?;

    // A proof from before and one from now are of the same hash.
    let name = world.path("now").display().to_string();
    let proven = world
        .cli(["evidence", "prove", "7", "--out", &name])?
        .expect(3)?
        .json()?;
    ensure!(proven["entry"].is_null(), "{proven:#}");
    ensure!(
        proven["expired"]
            .as_str()
            .is_some_and(|why| why.contains("entry 7 expired by the site's retention")),
        "{proven:#}"
    );
    let entry = std::fs::read(format!("{kept}.entry"))?;
    let leaf = base::Sha256Digest::of(&[&[0], entry.as_slice()].concat());
    assert_eq!(proven["leaf"], leaf.to_hex());
    ensure!(!world.path("now.entry").exists(), "an entry was made up");
    let key = key_file::read_private(&world.site().join("keys/gateway.pem"))?.public();
    let origin = verified["origin"].as_str().context("a name")?;
    let verifier = seal::note::NoteVerifier::new(origin, &key)?;
    for proof in [&kept, &name] {
        let proof = std::fs::read_to_string(format!("{proof}.tlog-proof"))?;
        assert_eq!(evidence::verify_proof(&proof, &entry, &verifier)?.index, 7);
    }

    // What no entry declares is missing, and stays an answer of its own.
    let (file, away) = (&archive_files(&world)[0], world.path("away"));
    std::fs::rename(file, &away)?;
    let unseen = verify(&world, 3)?;
    assert_eq!(unseen["integrity"], "unseen", "{unseen:#}");
    std::fs::rename(&away, file)?;
    verify(&world, 0)?;
    Ok(())
}

fn readable() -> Result<()> {
    let world = old_site()?;
    keep(&world, "90d")?;
    world.ok(["evidence", "expire"])?;
    let archive = world.site().join("data/archive").display().to_string();
    let query = format!(
        "select count(*), min(seq) from read_parquet('{archive}/**/*.parquet', union_by_name=true) where plugin_id = 'acme.weather'"
    );
    let script = "import duckdb, json, sys; print(json.dumps([[int(v) for v in row] for row in duckdb.sql(sys.argv[1]).fetchall()]))";
    let told = run(Peer::Readers.command().args(["-c", script, &query]))?
        .expect(0)?
        .json()?;
    assert_eq!(told, serde_json::json!([[EVENTS + 1, EVENTS]]));
    Ok(())
}

fn from_a_bucket() -> Result<()> {
    let world = World::new()?;
    let bucket = BucketServer::start(&world, false)?;
    let world = filled(world)?;
    keep(&world, "90d")?;
    bucket.behave(Manner::Away)?;
    let told = world.cli(["evidence", "expire"])?.expect(2)?;
    ensure!(told.text().contains("s3://fleet/acme"), "{}", told.text());
    bucket.behave(Manner::Honest)?;
    let gone = world.ok(["evidence", "expire"])?;
    assert_eq!(gone["entries_to"], EVENTS, "{gone:#}");
    assert_eq!(gone["files"].as_array().map(Vec::len), Some(1), "{gone:#}");
    let verified = verify(&world, 0)?;
    assert_eq!(verified["expired"]["entries_to"], EVENTS, "{verified:#}");
    assert_eq!(world.ok(["events"])?["events"][0]["seq"], EVENTS);
    Ok(())
}

fn in_use() -> Result<()> {
    let mut world = old_site()?;
    keep(&world, "90d")?;
    world.serve()?;
    // Without being asked, at the first round.
    world.wait_for_event("the declaration", |event| {
        event["kind"] == "pruned" && event["scope"] == "archive" && event["entries_to"] == EVENTS
    })?;
    bailiwick_tests::wait_until("the file to go", || {
        archive_files(&world).iter().all(|file| {
            !file
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("0000000000000000-"))
        })
    })?;
    let again = world.ok(["evidence", "expire"])?;
    assert_eq!(
        (&again["entries_to"], &again["files"]),
        (&Value::Null, &serde_json::json!([]))
    );
    // A night that reaches back into what expired cannot tell, and says why.
    let from = "2020-01-01T00:00:00Z";
    let told = world
        .cli(["audit", "--dry-run", "--since", from])?
        .expect(3)?
        .json()?;
    ensure!(
        told.to_string()
            .contains("expired by the site's retention, as entry"),
        "{told:#}"
    );
    world.stop()?;
    verify(&world, 0)?;
    Ok(())
}
