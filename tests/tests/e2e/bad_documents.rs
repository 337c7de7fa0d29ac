//! What bad documents get: one line that says what and what to do, the documented exit status, nothing
//! lost and nothing half-written.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Plugin, Run, Scenario, World};
use serde_json::{Value, json};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_bad_manifest_is_not_signed",
        needs: &[],
        run: bad_manifests,
    },
    Scenario {
        name: "the_load_gate_refuses_each_way_to_be_wrong_with_a_code_of_its_own",
        needs: &[],
        run: bad_bundles,
    },
    Scenario {
        name: "a_refused_artifact_is_not_registered",
        needs: &[],
        run: nothing_registered,
    },
    Scenario {
        name: "a_key_file_that_others_can_read_is_refused",
        needs: &[],
        run: readable_key,
    },
    Scenario {
        name: "a_key_file_that_is_no_key_is_refused",
        needs: &[],
        run: no_key,
    },
    Scenario {
        name: "a_configuration_with_an_unknown_key_starts_nothing",
        needs: &[],
        run: bad_configurations,
    },
    Scenario {
        name: "an_edited_trust_root_is_refused",
        needs: &[],
        run: edited_root,
    },
    Scenario {
        name: "the_classic_seven_fields_are_enough",
        needs: &[],
        run: seven_fields,
    },
    Scenario {
        name: "a_declaration_of_nothing_covers_nothing",
        needs: &[],
        run: declares_nothing,
    },
];

const KIND: &str = "PLUGIN_MANIFEST.sigstore.json";

/// A refusal or a mistake: `status`, and one line that names what it is about.
fn one_line(run: &Run, status: i32, about: &str) -> Result<()> {
    let run = run.clone().expect(status)?;
    let line = run.error_line()?;
    ensure!(
        line.to_lowercase().contains(&about.to_lowercase()),
        "{}\n  the line does not say {about:?}: {line}",
        run.command
    );
    Ok(())
}

fn valid(world: &World) -> Result<Plugin> {
    world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .prepare()
}

/// The files of a folder with their contents.
fn contents(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for path in crate::demo::files(folder) {
        let bytes = std::fs::read(&path)?;
        found.insert(path, bytes);
    }
    Ok(found)
}

fn bad_manifests() -> Result<()> {
    let world = World::new()?;
    let plugin = valid(&world)?;
    let good: Value = serde_json::from_slice(&std::fs::read(&plugin.manifest)?)?;
    let text = serde_json::to_string(&good)?;
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed.to_string()
    };
    let without = |field: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().map(|fields| fields.remove(field));
        changed.to_string()
    };
    let cases: Vec<(&str, String, &str)> = vec![
        ("truncated", text[..text.len() / 2].to_owned(), "not JSON"),
        (
            "oversized",
            with("built_by", json!("x".repeat(2 << 20))),
            "1048576",
        ),
        (
            "twice the same key",
            text.replacen('{', "{\"plugin_id\":\"acme.weather\",", 1),
            "twice",
        ),
        ("deeply nested", with("permissions", nested(80)), "nested"),
        ("byte order mark", format!("\u{feff}{text}"), "byte order mark"),
        (
            "wrong type",
            with("allowed_egress", json!("api.weather.example")),
            "allowed_egress",
        ),
        ("missing field", without("allowed_egress"), "allowed_egress"),
        (
            "unknown field",
            with("alowed_egress", json!([])),
            "allowed_egress",
        ),
        (
            "wildcard on everything",
            with("allowed_egress", json!(["*"])),
            "*",
        ),
        (
            "wildcard on a public suffix",
            with("allowed_egress", json!(["*.co.uk"])),
            "*.co.uk",
        ),
        (
            "a path in an entry",
            with("allowed_egress", json!(["https://a.example/x"])),
            "a.example/x",
        ),
        (
            "another artifact",
            with("artifact_digest", json!(format!("sha256:{}", "0".repeat(64)))),
            "artifact_digest",
        ),
        ("bad plugin id", with("plugin_id", json!("../etc")), "plugin_id"),
        ("bad date", with("built_at", json!("yesterday")), "built_at"),
    ];
    let before = contents(&world.site())?;
    for (case, manifest, about) in cases {
        std::fs::write(&plugin.manifest, manifest)?;
        let run = world.sign(&plugin)?;
        one_line(&run, 2, about).with_context(|| case.to_owned())?;
        ensure!(!plugin.bundle.exists(), "{case}: a bundle was written");
    }
    std::fs::remove_file(&plugin.manifest)?;
    let name = plugin
        .manifest
        .file_name()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    one_line(&world.sign(&plugin)?, 2, &name)?;
    ensure!(!plugin.bundle.exists());
    ensure!(
        contents(&world.site())? == before,
        "a refused signature left something in the site"
    );
    // And the good one is signed, so it was the manifests after all.
    std::fs::write(&plugin.manifest, text)?;
    world.sign(&plugin)?.expect(0)?;
    Ok(())
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!([]), |inner, _| json!([inner]))
}

fn bad_bundles() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = valid(&world)?;
    world.sign(&plugin)?.expect(0)?;
    world.verify(&plugin)?.expect(0)?;
    let artifact = std::fs::read(&plugin.artifact)?;
    let bundle = std::fs::read_to_string(&plugin.bundle)?;

    // A key that nobody trusts, and a key that is trusted for another plugin.
    let stranger = world.path("stranger.pem");
    world.ok(["key".as_ref(), "new".as_ref(), stranger.as_os_str()])?;
    let neighbour = world.plugin("acme.other").declares(&[]).prepare()?;
    let signed_by = |key: &Path| {
        let copy = Plugin {
            key: key.to_owned(),
            ..plugin.clone()
        };
        world.sign(&copy)?.expect(0)?;
        Ok::<_, anyhow::Error>(std::fs::read_to_string(&plugin.bundle)?)
    };
    let by_stranger = signed_by(&stranger)?;
    let by_neighbour = signed_by(&neighbour.key)?;
    world.sign(&neighbour)?.expect(0)?;
    let for_neighbour = std::fs::read_to_string(&neighbour.bundle)?;

    let mut changed = artifact.clone();
    changed[3] ^= 1;
    let mut flipped: Value = serde_json::from_str(&bundle)?;
    let signature = flipped["dsseEnvelope"]["signatures"][0]["sig"]
        .as_str()
        .context("sig")?
        .to_owned();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    flipped["dsseEnvelope"]["signatures"][0]["sig"] = json!(format!("{first}{}", &signature[1..]));
    let twice = bundle.replacen('{', "{\"mediaType\":\"x\",", 1);
    let pretty = |value: &Value| value.to_string();

    let cases: Vec<(&str, Option<String>, &[u8])> = vec![
        ("missing", None, &artifact),
        (
            "truncated",
            Some(bundle[..bundle.len() / 2].to_owned()),
            &artifact,
        ),
        (
            "oversized",
            Some(format!("{bundle}{}", " ".repeat(2 << 20))),
            &artifact,
        ),
        ("twice the same key", Some(twice), &artifact),
        ("signed by a stranger", Some(by_stranger), &artifact),
        (
            "signed by an owner of another plugin",
            Some(by_neighbour),
            &artifact,
        ),
        ("signature changed", Some(pretty(&flipped)), &artifact),
        ("another artifact's", Some(for_neighbour), &artifact),
        ("artifact changed by one byte", Some(bundle.clone()), &changed),
    ];
    let mut codes: BTreeMap<String, &str> = BTreeMap::new();
    for (case, bundle, artifact) in cases {
        std::fs::write(&plugin.artifact, artifact)?;
        match bundle {
            Some(bundle) => std::fs::write(&plugin.bundle, bundle)?,
            None => std::fs::remove_file(&plugin.bundle)?,
        }
        for run in [world.verify(&plugin)?, world.admit(&plugin, "medium")?] {
            let run = run.expect(1).with_context(|| case.to_owned())?;
            run.error_line().with_context(|| case.to_owned())?;
            if let Some(code) = run.json()?["code"].as_str() {
                codes.entry(code.to_owned()).or_insert(case);
            } else {
                ensure!(case == "oversized", "{case}: no code");
            }
        }
    }
    // Nine ways to be wrong; the two about reading and the two about digests may share.
    assert!(codes.len() >= 6, "too few distinct codes: {codes:#?}");
    std::fs::write(&plugin.artifact, &artifact)?;
    std::fs::write(&plugin.bundle, &bundle)?;
    world.admit(&plugin, "medium")?.expect(0)?;
    Ok(())
}

fn nothing_registered() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = valid(&world)?;
    world.admit(&plugin, "medium")?.expect(1)?;
    world.sign(&plugin)?.expect(0)?;
    std::fs::write(&plugin.artifact, b"other bytes")?;
    world.admit(&plugin, "medium")?.expect(1)?;
    assert_eq!(
        world.ok(["plugins"])?["plugins"].as_array().map(Vec::len),
        Some(0)
    );
    let run = world.run_plugin(&plugin, ["true"])?;
    ensure!(
        run.expect(1)?.error_line()?.contains("bailiwick admit"),
        "the way in is named"
    );
    // A file that is not there is a mistake of whoever asks, not a refusal.
    let absent = Plugin {
        artifact: world.path("absent.whl"),
        ..plugin
    };
    one_line(&world.admit(&absent, "medium")?, 2, "absent.whl")?;
    one_line(&world.verify(&absent)?, 2, "absent.whl")
}

fn readable_key() -> Result<()> {
    let world = World::new()?;
    let plugin = valid(&world)?;
    std::fs::set_permissions(&plugin.key, std::fs::Permissions::from_mode(0o640))?;
    one_line(&world.sign(&plugin)?, 2, "chmod 600")?;
    ensure!(!plugin.bundle.exists());
    Ok(())
}

fn no_key() -> Result<()> {
    let world = World::new()?;
    let plugin = valid(&world)?;
    let text = std::fs::read_to_string(&plugin.key)?;
    std::fs::write(&plugin.key, &text[..text.len() / 2])?;
    one_line(&world.sign(&plugin)?, 2, "owner-acme.weather.pem")?;
    std::fs::remove_file(&plugin.key)?;
    one_line(&world.sign(&plugin)?, 2, "owner-acme.weather.pem")?;
    ensure!(!plugin.bundle.exists());
    // And a key is never overwritten.
    std::fs::write(&plugin.key, &text)?;
    let again = world.cli(["key".as_ref(), "new".as_ref(), plugin.key.as_os_str()])?;
    one_line(&again, 2, "exists")?;
    assert_eq!(std::fs::read_to_string(&plugin.key)?, text);
    Ok(())
}

fn bad_configurations() -> Result<()> {
    let world = World::new()?;
    let good = std::fs::read_to_string(world.config())?;
    let before = contents(&world.site().join("data"))?;
    for (case, text, about) in [
        ("unknown key", format!("evidense = 1\n{good}"), "evidense"),
        ("unknown section", format!("{good}\n[gatway]\n"), "gatway"),
        (
            "unknown nested key",
            good.replace("[evidence]", "[evidence]\ndurabilty = \"strict\""),
            "durabilty",
        ),
        (
            "wrong type",
            good.replace("on_failure = \"refuse\"", "on_failure = 7"),
            "line ",
        ),
        (
            "unknown word",
            good.replace("on_failure = \"refuse\"", "on_failure = \"ignore\""),
            "ignore",
        ),
        ("bad schedule", good.replace("0 2 * * *", "at night"), "schedule"),
        (
            "bad time zone",
            good.replace("time_zone = \"UTC\"", "time_zone = \"Europe/Atlantis\""),
            "time zone",
        ),
        (
            "not TOML",
            good.replace("[gateway]", "[gateway"),
            "bailiwick.toml",
        ),
    ] {
        ensure!(text != good, "{case}: the sample changed; adapt this test");
        std::fs::write(world.config(), text)?;
        for command in ["serve", "status"] {
            one_line(&world.cli([command])?, 2, about).with_context(|| format!("{case}, {command}"))?;
        }
    }
    ensure!(
        contents(&world.site().join("data"))? == before,
        "something was started or written"
    );
    std::fs::remove_file(world.config())?;
    one_line(&world.cli(["status"])?, 2, "bailiwick.toml")
}

fn edited_root() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = valid(&world)?;
    world.sign(&plugin)?.expect(0)?;
    world.stop()?;
    let root = world.site().join("root.json");
    let text = std::fs::read_to_string(&root)?;
    std::fs::write(&root, text.replace("acme.weather", "acme.whether"))?;
    one_line(&world.verify(&plugin)?, 2, "trust root")?;
    one_line(&world.cli(["serve"])?, 2, "trust root")?;
    std::fs::write(&root, text)?;
    world.verify(&plugin)?.expect(0)?;
    Ok(())
}

fn seven_fields() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = valid(&world)?;
    let manifest = json!({
        "plugin_id": "acme.weather",
        "artifact_digest": plugin.digest,
        "allowed_egress": ["api.weather.example"],
        "data_classes": ["official", "secret"],
        "sdk_allowlist": ["openai>=2.0,<3.0"],
        "built_by": "ci/elspeth",
        "built_at": "2025-10-15T10:32:01Z",
    });
    std::fs::write(&plugin.manifest, manifest.to_string())?;
    world.sign(&plugin)?.expect(0)?;
    let verified = world.verify(&plugin)?.expect(0)?.json()?;
    assert_eq!(verified["plugin_id"], "acme.weather", "{verified:#}");
    assert_eq!(verified["artifact_digest"], plugin.digest.as_str());
    ensure!(plugin.bundle.to_string_lossy().ends_with(KIND));
    Ok(())
}

fn declares_nothing() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = world.plugin("acme.quiet").declares(&[]).admit("high")?;
    let asked = world
        .cli(["check", "acme.quiet", "api.weather.example:443"])?
        .expect(1)?
        .json()?;
    assert_eq!(
        (&asked["covered"], &asked["reason"]),
        (&false.into(), &"undeclared_host".into()),
        "{asked:#}"
    );
    world.run_plugin(&plugin, ["true"])?.expect(0)?;
    Ok(())
}
