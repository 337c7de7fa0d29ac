//! The archive: entries leave the log only for files that give them back, and everything still answers.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{RawClient, Scenario, World};
use serde_json::Value;

use crate::demo::files;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_pruned_log_answers_from_its_archive_and_only_from_an_unchanged_one",
        needs: &[],
        run: pruned,
    },
    Scenario {
        name: "a_gateway_that_runs_is_not_archived_by_hand",
        needs: &[],
        run: in_use,
    },
];

/// A stopped site whose log holds some hundred events.
fn recorded(world: &mut World) -> Result<()> {
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..300 {
        let answer = client.tunnel("api.weather.example:443", None)?;
        ensure!(answer.status == 407, "{answer:?}");
    }
    world.stop()
}

fn verify(world: &World, status: i32) -> Result<Value> {
    let verified = world.cli(["evidence", "verify"])?.expect(status)?.json()?;
    Ok(verified["logs"][0].clone())
}

fn archive_files(world: &World) -> Vec<PathBuf> {
    let mut found = files(&world.site().join("data/archive"));
    found.sort();
    found
}

fn pruned() -> Result<()> {
    let mut world = World::new()?;
    recorded(&mut world)?;
    let before = world.ok(["events"])?;
    let size = verify(&world, 0)?["size"].as_u64().context("a size")?;

    let archived = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(archived["files"][0]["entries_from"], 0, "{archived:#}");
    assert_eq!(archived["files"][0]["entries_to"], size, "{archived:#}");
    let again = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(again["files"], serde_json::json!([]), "{again:#}");
    let file = archive_files(&world).pop().context("a file")?;
    ensure!(
        file.to_string_lossy().contains("/gateway=gw-1/"),
        "{}",
        file.display()
    );

    let planned = world.ok(["evidence", "prune", "--keep", "0s", "--dry-run"])?;
    assert_eq!(
        (&planned["entries_to"], &planned["bundles_removed"]),
        (&256.into(), &0.into())
    );
    let gone = world.ok(["evidence", "prune", "--keep", "0s"])?;
    assert_eq!(
        (&gone["entries_to"], &gone["bundles_removed"]),
        (&256.into(), &1.into())
    );
    let bundle = world.site().join("data/log/gw-1/tile/entries/000");
    ensure!(!bundle.exists(), "{} is still there", bundle.display());
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    let after = world.ok(["events"])?;
    let first = |events: &Value| events["events"].as_array().map(|all| all[..300].to_vec());
    assert_eq!(first(&after), first(&before));
    world.ok(["evidence", "prove", "7"])?;

    // With the archive away nobody can tell.
    let (root, away) = (world.site().join("data/archive"), world.path("away"));
    std::fs::rename(&root, &away)?;
    let unseen = verify(&world, 3)?;
    assert_eq!(unseen["integrity"], "unseen", "{unseen:#}");
    world.cli(["evidence", "prove", "7"])?.expect(3)?;
    std::fs::rename(&away, &root)?;
    // With one byte changed somebody was at it.
    let whole = std::fs::read(&file)?;
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    std::fs::write(&file, &changed)?;
    let broken = verify(&world, 1)?;
    assert_eq!(broken["integrity"], "broken", "{broken:#}");
    let detail = broken["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("it was changed, or renamed"), "{detail}");
    std::fs::write(&file, &whole)?;
    assert_eq!(verify(&world, 0)?["integrity"], "whole");

    // The gateway goes on where it was, and its nights read the whole log.
    world.configure(|file| {
        let evidence = file
            .entry("evidence")
            .or_insert_with(|| toml::Table::new().into());
        let evidence = evidence.as_table_mut().context("[evidence]")?;
        evidence.insert("archive".to_owned(), true.into());
        evidence.insert("keep_entries".to_owned(), "30d".into());
        Ok(())
    })?;
    world.serve()?;
    world.cli(["audit"])?;
    world.stop()?;
    ensure!(
        verify(&world, 0)?["size"].as_u64() > Some(size),
        "the gateway wrote nothing"
    );
    Ok(())
}

fn in_use() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    for command in ["archive", "prune"] {
        let keep: &[&str] = if command == "prune" {
            &["--keep", "0s"]
        } else {
            &[]
        };
        let refused = world.cli([&["evidence", command], keep].concat())?.expect(2)?;
        ensure!(
            refused
                .stderr
                .contains("the gateway runs, and does this by itself"),
            "{}",
            refused.stderr
        );
    }
    Ok(())
}
