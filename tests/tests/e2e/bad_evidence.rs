//! What tampering gets: the log and the revocation list, changed in every way that pays.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Plugin, RawClient, Scenario, World};
use serde_json::Value;

use crate::demo::files;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_flipped_byte_in_the_log_is_named",
        needs: &[],
        run: flipped_byte,
    },
    Scenario {
        name: "two_swapped_tiles_are_named",
        needs: &[],
        run: swapped_tiles,
    },
    Scenario {
        name: "a_cut_tail_shows",
        needs: &[],
        run: cut_tail,
    },
    Scenario {
        name: "an_audit_of_tampered_evidence_acquits_nobody",
        needs: &[],
        run: audit_of_tampered_evidence,
    },
    Scenario {
        name: "an_older_list_is_refused",
        needs: &[],
        run: older_list,
    },
    Scenario {
        name: "a_changed_list_is_refused",
        needs: &[],
        run: changed_list,
    },
    Scenario {
        name: "a_list_of_another_site_is_refused",
        needs: &[],
        run: foreign_list,
    },
];

/// A stopped site whose log holds at least `events` entries.
fn recorded(events: usize) -> Result<World> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    ask_namelessly(&world, events)?;
    world.stop()?;
    Ok(world)
}

/// Each question without credentials is one `refused` event.
fn ask_namelessly(world: &World, times: usize) -> Result<()> {
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..times {
        let answer = client.tunnel("api.weather.example:443", None)?;
        ensure!(answer.status == 407, "{answer:?}");
    }
    Ok(())
}

fn log(world: &World) -> PathBuf {
    world.site().join("data/log/gw-1")
}

/// The tiles of entries, in order.
fn entry_tiles(world: &World) -> Vec<PathBuf> {
    let mut tiles = files(&log(world).join("tile/entries"));
    tiles.sort();
    tiles
}

fn verify(world: &World, status: i32) -> Result<Value> {
    let verified = world.cli(["evidence", "verify"])?.expect(status)?.json()?;
    Ok(verified["logs"][0].clone())
}

fn flipped_byte() -> Result<()> {
    let world = recorded(40)?;
    let whole = verify(&world, 0)?;
    assert_eq!(whole["integrity"], "whole", "{whole:#}");
    let tile = entry_tiles(&world).pop().context("a tile of entries")?;
    let good = std::fs::read(&tile)?;
    for share in [3, 2] {
        let mut bad = good.clone();
        let at = bad.len() / share;
        bad[at] ^= 1;
        std::fs::write(&tile, &bad)?;
        let broken = verify(&world, 1)?;
        assert_eq!(broken["integrity"], "broken", "{broken:#}");
        assert_eq!(broken["first_bad"], entry_at(&good, at), "{broken:#}");
        // No proof is made from a log that is not whole.
        ensure!(
            world
                .cli(["evidence", "prove", &entry_at(&good, at).to_string()])?
                .status
                == Some(1)
        );
    }
    std::fs::write(&tile, &good)?;
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    Ok(())
}

/// Which entry the byte at `at` of a tile belongs to: entries are `u16be length ‖ entry`.
fn entry_at(tile: &[u8], at: usize) -> u64 {
    let (mut offset, mut index) = (0, 0);
    while offset + 2 <= tile.len() {
        let length = usize::from(u16::from_be_bytes([tile[offset], tile[offset + 1]]));
        offset += 2 + length;
        if at < offset {
            return index;
        }
        index += 1;
    }
    index
}

fn swapped_tiles() -> Result<()> {
    let world = recorded(530)?;
    let tiles = entry_tiles(&world);
    let full = |name: &str| {
        let found = tiles.iter().find(|tile| tile.ends_with(name)).cloned();
        found.with_context(|| format!("no full tile {name} in {tiles:?}"))
    };
    let (first, second) = (full("entries/000")?, full("entries/001")?);
    let (one, two) = (std::fs::read(&first)?, std::fs::read(&second)?);
    std::fs::write(&first, &two)?;
    std::fs::write(&second, &one)?;
    let broken = verify(&world, 1)?;
    assert_eq!(
        (&broken["integrity"], &broken["first_bad"]),
        (&"broken".into(), &0.into()),
        "{broken:#}"
    );
    // A hash tile is no better a place to lie than an entry tile.
    std::fs::write(&first, &one)?;
    std::fs::write(&second, &two)?;
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    let hashes = log(&world).join("tile/0/000");
    let mut lie = std::fs::read(&hashes)?;
    lie[40] ^= 1;
    std::fs::write(&hashes, lie)?;
    assert_eq!(verify(&world, 1)?["integrity"], "broken");
    Ok(())
}

fn cut_tail() -> Result<()> {
    let mut world = recorded(40)?;
    let early = world.path("early");
    copy(&log(&world), &early)?;
    let size = verify(&world, 0)?["size"].as_u64().context("a size")?;
    world.serve()?;
    ask_namelessly(&world, 40)?;
    world.stop()?;
    assert!(verify(&world, 0)?["size"].as_u64() > Some(size));

    // Tiles cut off under their checkpoint: that checkpoint promised them.
    let late = world.path("late");
    copy(&log(&world), &late)?;
    std::fs::remove_file(entry_tiles(&world).pop().context("a tile of entries")?)?;
    assert_eq!(verify(&world, 1)?["integrity"], "broken");

    // An honest older copy: whole as far as it goes, and nobody says that this is all.
    std::fs::remove_dir_all(log(&world))?;
    copy(&early, &log(&world))?;
    let run = world.cli(["evidence", "verify"])?;
    let prefix = run.json()?["logs"][0].clone();
    match run.status {
        // The control plane remembers a later checkpoint, and that is proof of a cut.
        Some(1) => assert!(prefix.to_string().contains("checkpoint"), "{prefix:#}"),
        // Nobody remembers one: whole, of unproven length.
        Some(0 | 3) => {
            let answers = (&prefix["integrity"], &prefix["completeness"]);
            assert_eq!(answers, (&"whole".into(), &"unproven".into()), "{prefix:#}");
        }
        other => anyhow::bail!("exit status {other:?}: {prefix:#}"),
    }
    Ok(())
}

/// Copies a folder and all below it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().context("inside the folder")?)?;
        std::fs::copy(&file, target)?;
    }
    Ok(())
}

fn audit_of_tampered_evidence() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("medium")?;
    world.run_plugin(&plugin, ["true"])?.expect(0)?;
    ask_namelessly(&world, 40)?;
    world.stop()?;
    let tile = entry_tiles(&world).pop().context("a tile of entries")?;
    let mut bad = std::fs::read(&tile)?;
    let at = bad.len() / 2;
    bad[at] ^= 1;
    std::fs::write(&tile, bad)?;
    let run = world.cli(["audit"])?;
    ensure!(matches!(run.status, Some(1 | 3)), "{run:?}");
    for report in run.json()?["reports"].as_array().into_iter().flatten() {
        assert_eq!(report["verdict"], "inconclusive", "{report:#}");
    }
    Ok(())
}

/// A running site with a list of two changes, and copies of the list's folder before and after the second.
fn two_lists() -> Result<(World, Plugin, PathBuf, PathBuf)> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("medium")?;
    world.ok(["quarantine", &plugin.digest, "--reason", "undeclared_host"])?;
    let (older, newer) = (world.path("older"), world.path("newer"));
    copy(&list(&world)?, &older)?;
    world.ok(["revoke", &plugin.digest, "--reason", "malware"])?;
    copy(&list(&world)?, &newer)?;
    Ok((world, plugin, older, newer))
}

/// The folder of the current list.
fn list(world: &World) -> Result<PathBuf> {
    let shown = world.ok(["crl", "show"])?;
    let head = Path::new(shown["path"].as_str().context("crl show names its path")?);
    Ok(head.parent().context("a head lies in a folder")?.to_owned())
}

fn crl_verify(world: &World, folder: &Path) -> Result<bailiwick_tests::Run> {
    world.cli([
        "crl".as_ref(),
        "verify".as_ref(),
        folder.join("crl.sigstore.json").as_os_str(),
    ])
}

fn older_list() -> Result<()> {
    let (mut world, plugin, older, newer) = two_lists()?;
    crl_verify(&world, &newer)?.expect(0)?;
    world.stop()?;
    // Somebody puts the genuine list of yesterday back. What was seen since is remembered beside it.
    let folder = world.site().join("data/crl");
    let put = |from: &Path| {
        for file in files(from) {
            let name = file.file_name().context("a file has a name")?;
            if name != "seen.json" {
                std::fs::copy(&file, folder.join(name))?;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    put(&older)?;
    let refused = world.cli(["serve"])?.expect(2)?;
    ensure!(
        refused.error_line()?.contains("seen before"),
        "{}",
        refused.stderr
    );
    world.cli(["crl", "verify"])?.expect(1)?.error_line()?;
    put(&newer)?;
    world.serve()?;
    let why = world.ok(["crl", "why", &plugin.digest])?;
    assert_eq!(why["deciding"]["action"], "revoke", "{why:#}");
    Ok(())
}

fn changed_list() -> Result<()> {
    let (world, _, _, newer) = two_lists()?;
    let head = newer.join("crl.sigstore.json");
    let good = std::fs::read_to_string(&head)?;
    let mut unsigned: Value = serde_json::from_str(&good)?;
    unsigned["dsseEnvelope"]["signatures"] = serde_json::json!([]);
    let mut swapped: Value = serde_json::from_str(&good)?;
    let payload = swapped["dsseEnvelope"]["payload"]
        .as_str()
        .context("payload")?
        .to_owned();
    swapped["dsseEnvelope"]["payload"] = format!("{}{}", "eyJ", &payload[3..].replacen('M', "N", 1)).into();
    for (case, text) in [
        ("unsigned", unsigned.to_string()),
        ("payload changed", swapped.to_string()),
        ("truncated", good[..good.len() / 2].to_owned()),
    ] {
        std::fs::write(&head, text)?;
        let run = crl_verify(&world, &newer)?;
        ensure!(matches!(run.status, Some(1 | 2)), "{case}: {run:?}");
        run.error_line().with_context(|| case.to_owned())?;
    }
    std::fs::write(&head, &good)?;
    // A body with one changed byte is not the body that the head names.
    for body in files(&newer)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|kind| kind == "body"))
    {
        let mut bytes = std::fs::read(&body)?;
        if let Some(first) = bytes.first_mut() {
            *first ^= 1;
        }
        std::fs::write(&body, bytes)?;
    }
    crl_verify(&world, &newer)?.expect(1)?.error_line()?;
    Ok(())
}

fn foreign_list() -> Result<()> {
    let (world, ..) = two_lists()?;
    let (_elsewhere, _, _, theirs) = two_lists()?;
    crl_verify(&world, &theirs)?.expect(1)?.error_line()?;
    Ok(())
}
