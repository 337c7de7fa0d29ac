//! Evidence bundles: handed to a stranger, on a machine that never saw the site.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, Run, Scenario, World, bailiwick, run};
use serde_json::Value;

use crate::exports::breached;
use crate::policy::edit_policy;

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
        name: "what_was_let_pass_is_signed_in_the_evidence_and_stock_tools_verify_it",
        needs: &[Peer::Curl, Peer::OwnNetwork, Peer::Cosign],
        run: let_pass,
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

/// Two people let the plugin's undeclared host pass, and a night relies on it.
fn let_pass() -> Result<()> {
    let (mut world, plugin) = breached()?;
    let trust = world.ok(["trust", "list"])?;
    let signers = trust["signers"].as_array().context("signers")?;
    let person = |role: &str| -> Result<toml::Value> {
        let signer = signers.iter().find(|signer| signer["role"] == role);
        let name = signer.and_then(|signer| signer["name"].as_str());
        Ok(name.with_context(|| format!("a {role} in {trust:#}"))?.into())
    };
    let people = vec![person("operator")?, person("certifier")?];
    edit_policy(&world, |policy| {
        let mut exception = toml::Table::new();
        exception.insert("plugin_id".into(), plugin.id.clone().into());
        exception.insert("reasons".into(), vec!["undeclared_host"].into());
        exception.insert("to".into(), "paste.example".into());
        exception.insert("why".into(), "until the next version ships".into());
        exception.insert("signed_by".into(), people.into());
        exception.insert("until".into(), "2040-01-01T00:00:00Z".into());
        policy.insert("exceptions".into(), vec![toml::Value::Table(exception)].into());
    })?;
    world.ok(["policy", "sign-exception"])?;
    let certifier = world.site().join("keys/certifier.pem");
    let by_certifier = [
        "policy".as_ref(),
        "sign-exception".as_ref(),
        "--key".as_ref(),
        certifier.as_os_str(),
    ];
    ensure!(world.ok(by_certifier)?["counts"] == true);
    world.ok(["policy", "sign"])?;
    let audited = world.cli(["audit"])?.expect(0)?.json()?;
    let place = audited["reports"][0]["report"].as_str().context("a report")?;
    let kept = Path::new(place).parent().context("its folder")?;
    let evidence = std::fs::read_dir(kept)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .context("the evidence beside the report")?;
    world.stop()?;

    let elsewhere = tempfile::tempdir()?;
    let verified = world.ok(["verify".as_ref(), evidence.as_os_str()])?;
    let said = |name: &str| {
        let files = verified["files"].as_array().into_iter().flatten();
        let mut named = files.filter(|file| file["name"].as_str().is_some_and(|file| file.ends_with(name)));
        named.next().map_or(String::new(), |file| {
            format!("{} {}", file["state"], file["detail"])
        })
    };
    ensure!(said("exception.json").contains(", used from "), "{verified:#}");
    ensure!(said("policy.json").starts_with("\"verified\""), "{verified:#}");

    run(Command::new("tar")
        .args(["--zstd", "-xf"])
        .arg(&evidence)
        .current_dir(elsewhere.path()))?
    .expect(0)?;
    let guide = std::fs::read_to_string(elsewhere.path().join("VERIFY.md"))?;
    let blocks: Vec<String> = blocks(&guide)
        .into_iter()
        .filter(|block| block.contains("exceptions/") || block.contains("policy.sigstore.json"))
        .collect();
    ensure!(
        blocks.len() == 5,
        "the policy, two signatures, the words and their use: {guide}"
    );
    let tools = format!("{}:/usr/bin:/bin", Peer::folder().join("bin").display());
    let type_in = |block: &str| {
        let script = format!("export HOME=$PWD\n{block}");
        stranger(elsewhere.path(), &["sh", "-euc", &script], &tools)
    };
    for block in &blocks {
        type_in(block)?.expect(0).with_context(|| block.clone())?;
    }
    // One changed word, and neither signature is about it any more.
    let words = crate::demo::files(&elsewhere.path().join("exceptions"))
        .into_iter()
        .find(|file| file.ends_with("exception.json"))
        .context("the words")?;
    let text = std::fs::read_to_string(&words)?;
    std::fs::write(&words, text.replacen("next version", "last version", 1))?;
    let signatures = blocks
        .iter()
        .filter(|block| block.contains("policy-exception/v1"));
    for block in signatures {
        ensure!(type_in(block)?.status != Some(0), "{block}");
    }
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
