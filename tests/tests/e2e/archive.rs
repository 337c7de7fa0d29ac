//! The archive: entries leave the log only for files that give them back, and everything still answers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, RawClient, Scenario, World, wait_until, wait_within};
use serde_json::Value;

use crate::demo::files;
use crate::outages::fill;
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_pruned_log_answers_from_its_archive_and_only_from_an_unchanged_one",
        needs: &[],
        run: pruned,
    },
    Scenario {
        name: "a_full_disk_while_a_file_is_sealed_is_said_in_one_sentence_and_made_up_for",
        needs: &[Peer::Tmpfs],
        run: full_disk,
    },
    Scenario {
        name: "near_its_limit_of_disk_the_gateway_warns_and_at_it_on_failure_decides",
        needs: &[],
        run: limit_of_disk,
    },
    Scenario {
        name: "the_archives_limit_is_said_and_entries_stay_in_the_log",
        needs: &[],
        run: limit_of_archive,
    },
    Scenario {
        name: "the_metrics_say_how_the_archive_stands_from_the_first_round_on",
        needs: &[],
        run: first_metrics,
    },
    Scenario {
        name: "without_its_archive_a_bundle_is_not_written_and_says_what_is_missing",
        needs: &[],
        run: bundle_without_archive,
    },
    Scenario {
        name: "a_gateway_that_runs_archives_and_lets_go_by_hand_too",
        needs: &[],
        run: in_use,
    },
];

/// A stopped site whose log holds some hundred events.
pub fn recorded(world: &mut World) -> Result<()> {
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..300 {
        let answer = client.tunnel("api.weather.example:443", None)?;
        ensure!(answer.status == 407, "{answer:?}");
    }
    world.stop()
}

pub fn verify(world: &World, status: i32) -> Result<Value> {
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

/// The archive is on a filesystem of one megabyte, in a mount namespace that ends with the server.
fn full_disk() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    let archive = world.site().join("data/archive");
    std::fs::create_dir_all(&archive)?;
    let mount = format!(
        "mount -t tmpfs -o size=1m tmpfs '{}' && exec \"$@\"",
        archive.display()
    );
    world.serve_through(&["unshare", "--mount", "--", "sh", "-c", &mount, "sh"])?;
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..50 {
        client.tunnel("api.weather.example:443", None)?;
    }
    let inside =
        PathBuf::from(format!("/proc/{}/root", world.server()?.id())).join(archive.strip_prefix("/")?);
    // The folders of the file may be made already; its bytes find no room.
    let filler = inside.join("filler");
    fill(&filler)?;
    let told = world.cli(["evidence", "archive", "--all"])?.expect(2)?;
    ensure!(
        told.text().contains("could not put day=") && told.text().contains("No space left on device"),
        "{}",
        told.text()
    );
    ensure!(
        files(&inside).iter().all(|file| file.ends_with("filler")),
        "something half was left: {:?}",
        files(&inside)
    );
    let bound = world.ok(["events", "--kind", "archived"])?;
    assert_eq!(bound["events"], serde_json::json!([]), "{bound:#}");
    // Recording goes on meanwhile, and what was missed is made up for.
    assert_eq!(client.tunnel("api.weather.example:443", None)?.status, 407);
    std::fs::remove_file(&filler)?;
    let archived = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(archived["files"][0]["entries_from"], 0, "{archived:#}");
    ensure!(
        archived["files"][0]["entries_to"].as_u64() > Some(51),
        "{archived:#}"
    );
    assert_eq!(files(&inside).len(), 1);
    Ok(())
}

pub fn evidence_setting(world: &World, name: &str, value: toml::Value) -> Result<()> {
    world.configure(|file| {
        let evidence = file
            .entry("evidence")
            .or_insert_with(|| toml::Table::new().into());
        let evidence = evidence.as_table_mut().context("[evidence]")?;
        evidence.insert(name.to_owned(), value);
        Ok(())
    })
}

fn limit_of_disk() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    evidence_setting(&world, "log_mib", 1.into())?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let live = LiveRun::start(&world, &plugin, &[])?;
    let connect = |world: &World| ask(world, "api.weather.example:443", Some(&live.credentials));
    assert_eq!(connect(&world)?.status, 200);
    assert!(
        world
            .admin_page("/metrics")?
            .contains("log_limit_bytes 1048576\n")
    );
    let mut refused = None;
    for _ in 0..5000 {
        refused = Some(connect(&world)?).filter(|answer| answer.status != 200);
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.context("a megabyte holds no 5000 connections")?;
    assert_eq!(
        (refused.status, refused.reason()),
        (503, "evidence_unavailable"),
        "{refused:?}"
    );
    assert!(world.admin_page("/readyz")?.starts_with("HTTP/1.1 503"));
    world.wait_for_event("a gap that says which limit", |event| {
        event["kind"] == "gap"
            && event["cause"]
                .as_str()
                .is_some_and(|cause| cause.contains("log_mib"))
    })?;
    // The night's summary and the gateway's own log say so, too.
    let audit = world.cli(["audit"])?.json()?;
    let notices = audit["notices"].to_string();
    ensure!(
        notices.contains("% of its limit") && notices.contains("before on_failure decides"),
        "{notices}"
    );
    wait_until("the gateway to warn", || {
        std::fs::read_to_string(world.path("serve.log"))
            .is_ok_and(|log| log.contains("the evidence needs room"))
    })?;
    world.stop()?;
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    // With room it goes on; and where the site says so, it goes on without.
    evidence_setting(&world, "log_mib", 64.into())?;
    world.serve()?;
    assert_eq!(connect(&world)?.status, 200);
    world.stop()?;
    evidence_setting(&world, "log_mib", 1.into())?;
    evidence_setting(&world, "on_failure", "continue".into())?;
    world.serve()?;
    wait_until("the limit to be seen", || {
        world
            .admin_page("/metrics")
            .is_ok_and(|page| page.contains("evidence_writable 0\n"))
    })?;
    assert_eq!(connect(&world)?.status, 200);
    world.wait_for_event("a gap that counts it", |event| {
        let cause = event["cause"].as_str().unwrap_or_default();
        event["kind"] == "gap" && cause.contains("log_mib") && cause.contains("1 connections went on")
    })?;
    Ok(())
}

fn limit_of_archive() -> Result<()> {
    let mut world = World::new()?;
    recorded(&mut world)?;
    evidence_setting(&world, "archive", true.into())?;
    evidence_setting(&world, "archive_mib", 1.into())?;
    // Somebody else's files count for them; a large one of ours is made up.
    let day = world.site().join("data/archive/day=2026-11-21/gateway=gw-1");
    std::fs::create_dir_all(&day)?;
    let name = format!("{:016}-{:016}-{}.parquet", 900_000, 900_001, "0".repeat(16));
    std::fs::write(day.join(name), vec![0; (1 << 20) + 1])?;
    world.serve()?;
    wait_until("the limit to be seen", || {
        world
            .admin_page("/metrics")
            .is_ok_and(|page| page.contains("archive_stored_bytes 1048577\n"))
    })?;
    let told = world.cli(["evidence", "archive", "--all"])?.expect(2)?;
    ensure!(
        told.text().contains("archive_mib allows no more"),
        "{}",
        told.text()
    );
    let bound = world.ok(["events", "--kind", "archived"])?;
    assert_eq!(bound["events"], serde_json::json!([]), "{bound:#}");
    let audit = world.cli(["audit"])?.json()?;
    let notices = audit["notices"].to_string();
    ensure!(
        notices.contains("the archive takes 100 % of its limit")
            && notices.contains("nothing more is archived"),
        "{notices}"
    );
    Ok(())
}

fn first_metrics() -> Result<()> {
    let mut world = World::new()?;
    evidence_setting(&world, "archive", true.into())?;
    world.serve()?;
    // At the very first start there was no checkpoint when the first round began.
    wait_within(Duration::from_secs(15), "the archive's metrics", || {
        world.admin_page("/metrics").is_ok_and(|page| {
            page.lines().any(|line| {
                line.strip_prefix("bailiwick_gateway_archive_entries_behind ")
                    .and_then(|count| count.parse::<u64>().ok())
                    .is_some_and(|count| count > 0)
            })
        })
    })?;
    ensure!(
        world.admin_page("/metrics")?.contains("archive_failures 0\n"),
        "a round failed"
    );
    let log = std::fs::read_to_string(world.path("serve.log"))?;
    ensure!(!log.contains("the archive was not written"), "{log}");
    Ok(())
}

fn bundle_without_archive() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let live = LiveRun::start(&world, &plugin, &[])?;
    for _ in 0..260 {
        ask(&world, "api.weather.example:443", Some(&live.credentials))?;
    }
    world.ok(["evidence", "archive", "--all"])?;
    world.ok(["evidence", "prune", "--keep", "0s"])?;
    let bundle = |world: &World, name: &str| {
        let output = world.path(name).display().to_string();
        let period = "2020-01-01/2100-01-01";
        world.cli([
            "evidence",
            "bundle",
            "--plugin",
            "acme.weather",
            "--period",
            period,
            "--output",
            &output,
        ])
    };
    bundle(&world, "with.tar.zst")?.expect(0)?;
    let (root, away) = (world.site().join("data/archive"), world.path("away"));
    std::fs::rename(&root, &away)?;
    let told = bundle(&world, "without.tar.zst")?.expect(3)?;
    ensure!(
        told.text()
            .contains("was pruned and the archive that has it is not there")
            && told.text().contains("put the archive back"),
        "{}",
        told.text()
    );
    ensure!(!world.path("without.tar.zst").exists(), "a bundle was written");
    std::fs::rename(&away, &root)?;
    bundle(&world, "again.tar.zst")?.expect(0)?;
    Ok(())
}

fn in_use() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..300 {
        client.tunnel("api.weather.example:443", None)?;
    }
    // The hour is under way.
    let due = world.ok(["evidence", "archive"])?;
    assert_eq!(due["files"], serde_json::json!([]), "{due:#}");
    let archived = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(archived["files"][0]["entries_from"], 0, "{archived:#}");
    ensure!(
        archived["files"][0]["entries_to"].as_u64() > Some(300),
        "not everything that had happened was archived: {archived:#}"
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
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    // It goes on where it was.
    client.tunnel("api.weather.example:443", None)?;
    let more = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(
        more["files"][0]["entries_from"], archived["files"][0]["entries_to"],
        "{more:#}"
    );
    world.stop()?;
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    // What it did is known to whoever does it without the gateway.
    let again = world.ok(["evidence", "archive", "--all"])?;
    ensure!(
        again["files"][0]["entries_from"].is_null()
            || again["files"][0]["entries_from"] == more["files"][0]["entries_to"],
        "{again:#}"
    );
    Ok(())
}
