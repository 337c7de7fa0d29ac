//! Evidence bundles: handed to a stranger, on a machine that never saw the site.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, Run, Scenario, World, bailiwick, run};
use serde_json::Value;

use crate::exports::breached;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_bundle_verifies_in_an_empty_environment",
        needs: &[Peer::Curl, Peer::OwnNetwork],
        run: empty_environment,
    },
    Scenario {
        name: "the_commands_in_a_bundle_verify_it_with_stock_tools",
        needs: &[
            Peer::Curl,
            Peer::OwnNetwork,
            Peer::Cosign,
            Peer::Spicy,
            Peer::Openssl,
        ],
        run: stock_commands,
    },
    Scenario {
        name: "a_bundle_holds_one_plugins_events_and_nobody_elses",
        needs: &[Peer::Curl],
        run: one_plugin,
    },
    Scenario {
        name: "a_changed_bundle_is_refused_with_a_reason",
        needs: &[Peer::Curl, Peer::Python],
        run: changed,
    },
    Scenario {
        name: "a_hostile_archive_is_refused_with_a_reason",
        needs: &[Peer::Python],
        run: hostile,
    },
];

/// The time that everything in these tests happens in.
const ALWAYS: &str = "2020-01-01/2100-01-01";

/// A bundle about the plugin of a site that stands still.
fn bundle(world: &World, plugin: &Plugin) -> Result<PathBuf> {
    let path = world.path("evidence.tar.zst");
    let view = world.ok([
        "evidence",
        "bundle",
        "--plugin",
        &plugin.id,
        "--period",
        ALWAYS,
        "--output",
        &path.display().to_string(),
    ])?;
    ensure!(
        view["events"].as_u64() > Some(3) && view["reports"] == 1,
        "{view:#}"
    );
    Ok(path)
}

/// A command in an empty environment: nothing inherited, no network, a folder of its own.
fn stranger(folder: &Path, command: &[&str], path: &str) -> Result<Run> {
    run(Command::new("unshare")
        .args(["--net", "--", "env", "-i", &format!("PATH={path}"), "LC_ALL=C"])
        .args(command)
        .current_dir(folder))
}

fn empty_environment() -> Result<()> {
    let (mut world, plugin) = breached()?;
    world.stop()?;
    let made = bundle(&world, &plugin)?;
    let again = std::fs::read(&made)?;
    bundle(&world, &plugin)?;
    ensure!(
        std::fs::read(&made)? == again,
        "the same evidence is the same bytes"
    );

    let elsewhere = tempfile::tempdir()?;
    let copy = elsewhere.path().join("evidence.tar.zst");
    std::fs::copy(&made, &copy)?;
    let binary = bailiwick().display().to_string();
    let verify = |arguments: &[&str]| {
        let command: Vec<&str> = [binary.as_str(), "verify", "evidence.tar.zst", "--format", "json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        stranger(elsewhere.path(), &command, "/usr/bin:/bin")
    };
    let view = verify(&[])?.expect(0)?.json()?;
    assert_eq!(view["verified"], true, "{view:#}");
    assert_eq!(view["plugin_id"], plugin.id.as_str());
    assert_eq!(view["proven"], view["events"]);
    assert_eq!(view["root"]["given"], false);
    // With a trust root that the stranger had before; and with one of somebody else.
    std::fs::copy(
        world.site().join("root.json"),
        elsewhere.path().join("known.json"),
    )?;
    let view = verify(&["--root", "known.json"])?.expect(0)?.json()?;
    assert_eq!(view["root"]["given"], true);
    let other = World::new()?;
    std::fs::copy(
        other.site().join("root.json"),
        elsewhere.path().join("other.json"),
    )?;
    let view = verify(&["--root", "other.json"])?.expect(1)?.json()?;
    assert_eq!((&view["verified"], &view["proven"]), (&false.into(), &0.into()));
    Ok(())
}

/// The `sh` blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    page.split("```sh\n")
        .skip(1)
        .map(|part| part[..part.find("```").unwrap_or(part.len())].to_owned())
        .collect()
}

fn stock_commands() -> Result<()> {
    let (mut world, plugin) = breached()?;
    world.stop()?;
    let made = bundle(&world, &plugin)?;
    let elsewhere = tempfile::tempdir()?;
    run(Command::new("tar")
        .args(["--zstd", "-xf"])
        .arg(&made)
        .current_dir(elsewhere.path()))?
    .expect(0)?;
    let guide = std::fs::read_to_string(elsewhere.path().join("VERIFY.md"))?;
    let tools = format!("{}:/usr/bin:/bin", Peer::folder().join("bin").display());
    let blocks = blocks(&guide);
    ensure!(blocks.len() >= 7, "{guide}");
    for wanted in ["cosign", "openssl", "spicy", "jq", "cosignature/v1"] {
        ensure!(blocks.iter().any(|block| block.contains(wanted)), "{wanted}");
    }
    let type_in = |block: &str| {
        // cosign wants a home for what it never writes there.
        let script = format!("export HOME=$PWD\n{block}");
        stranger(elsewhere.path(), &["sh", "-euc", &script], &tools)
    };
    for block in &blocks {
        let done = type_in(block)?.expect(0).with_context(|| block.clone())?;
        let said = format!("{}{}", done.text(), done.stderr);
        ensure!(!said.contains("NOT "), "{block}\n{said}");
    }
    // One changed byte of an event, and its command says so.
    let event = crate::demo::files(&elsewhere.path().join("events"))
        .into_iter()
        .find(|file| file.extension().is_some_and(|kind| kind == "json"))
        .context("an event")?;
    let text = std::fs::read_to_string(&event)?;
    std::fs::write(&event, text.replacen("gw-1", "gw-2", 1))?;
    let spicy = blocks
        .iter()
        .find(|block| block.contains("SPICY"))
        .context("spicy")?;
    ensure!(type_in(spicy)?.text().contains("NOT PROVED"));
    Ok(())
}

fn one_plugin() -> Result<()> {
    let (mut world, plugin) = breached()?;
    let other = world
        .plugin("acme.other")
        .declares(&["api.weather.example"])
        .admit("high")?;
    world
        .run_plugin(
            &other,
            ["curl", "-fsS", "--max-time", "60", "https://api.weather.example/"],
        )?
        .expect(0)?;
    world.stop()?;
    let made = bundle(&world, &plugin)?;
    let unpacked = world.path("unpacked");
    std::fs::create_dir(&unpacked)?;
    run(Command::new("tar")
        .args(["--zstd", "-xf"])
        .arg(&made)
        .current_dir(&unpacked))?
    .expect(0)?;
    let events: Vec<Value> = crate::demo::files(&unpacked.join("events"))
        .iter()
        .filter(|file| file.extension().is_some_and(|kind| kind == "json"))
        .map(|file| Ok(serde_json::from_slice(&std::fs::read(file)?)?))
        .collect::<Result<_>>()?;
    ensure!(
        !events.is_empty()
            && events
                .iter()
                .all(|event| event["plugin_id"] == plugin.id.as_str())
    );
    let all = world.events()?;
    let own = all
        .iter()
        .filter(|event| event["plugin_id"] == plugin.id.as_str())
        .count();
    assert_eq!(events.len(), own);
    for file in crate::demo::files(&unpacked) {
        let bytes = std::fs::read(&file)?;
        // The trust root names every owner.
        let is_root = file.file_name().is_some_and(|name| name == "root.json");
        let named = bytes.windows(10).any(|window| window == b"acme.other");
        ensure!(is_root || !named, "{} names another plugin", file.display());
    }
    let nobody = world.cli([
        "evidence",
        "bundle",
        "--plugin",
        "acme.nobody",
        "--period",
        ALWAYS,
    ])?;
    ensure!(nobody.status == Some(2), "{nobody:?}");
    let wrong = world.cli(["evidence", "bundle", "--plugin", &plugin.id, "--period", "soon"])?;
    ensure!(
        wrong.status == Some(2) && wrong.stderr.contains("2026-11-21"),
        "{wrong:?}"
    );
    Ok(())
}

fn verify(world: &World, bundle: &Path) -> Result<Run> {
    world.cli(["verify".as_ref(), bundle.as_os_str()])
}

fn changed() -> Result<()> {
    let (mut world, plugin) = breached()?;
    world.stop()?;
    let made = bundle(&world, &plugin)?;
    let whole = std::fs::read(&made)?;
    let bent = world.path("bent.tar.zst");
    for cut in [0, 5, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&bent, &whole[..cut])?;
        let refused = verify(&world, &bent)?.expect(2)?;
        ensure!(
            refused.error_line()?.contains("bundle not read"),
            "{}",
            refused.stderr
        );
    }
    std::fs::write(&bent, [whole.as_slice(), b"more"].concat())?;
    ensure!(
        verify(&world, &bent)?
            .expect(1)?
            .error_line()?
            .contains("4 bytes follow")
    );
    // Unpacked, edited and packed again, as we pack.
    let edit = |name: &str, from: &str, to: &str| -> Result<Value> {
        let script = crate::stock::script("repack.py");
        run(Peer::Python.command().arg(script).args([
            made.as_os_str(),
            bent.as_os_str(),
            name.as_ref(),
            from.as_ref(),
            to.as_ref(),
        ]))?
        .expect(0)?;
        verify(&world, &bent)?.expect(1)?.json()
    };
    for (name, from, to) in [
        ("events/", "gw-1", "gw-2"),
        ("PLUGIN_MANIFEST", "\"payload\":\"", "\"payload\":\"A"),
        ("reports/", "\"payload\":\"", "\"payload\":\"A"),
        ("crl/crl.sigstore.json", "\"payload\":\"", "\"payload\":\"A"),
        ("keys/owner.pub", "MCow", "MCox"),
        ("about.json", "acme.weather", "acme.breeze"),
        ("checkpoints/", "\n", "1\n"),
    ] {
        let view = edit(name, from, to)?;
        assert_eq!(view["verified"], false, "{name}");
        let refused = |file: &Value| file["state"] == "refused";
        ensure!(
            view["files"].as_array().context("files")?.iter().any(refused),
            "{name}: {view:#}"
        );
    }
    Ok(())
}

fn hostile() -> Result<()> {
    let world = World::new()?;
    let folder = world.path("hostile");
    std::fs::create_dir(&folder)?;
    run(Peer::Python
        .command()
        .arg(crate::stock::script("hostile_bundles.py"))
        .arg(&folder))?
    .expect(0)?;
    let mut bundles = crate::demo::files(&folder);
    bundles.sort();
    ensure!(bundles.len() >= 12, "{bundles:?}");
    for bundle in bundles {
        let refused = verify(&world, &bundle)?;
        ensure!(
            matches!(refused.status, Some(1 | 2)) && refused.error_line()?.contains("bundle not read"),
            "{}: {refused:?}",
            bundle.display()
        );
    }
    // Nothing got out of any of them.
    ensure!(!world.path("evil").exists() && !world.site().join("evil").exists());
    Ok(())
}
