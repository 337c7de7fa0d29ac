//! The story with software that nobody here wrote: the openai wheel from PyPI as the artifact, its
//! client as the plugin, and one call that its owner never declared.

use std::path::Path;

use anyhow::{Context as _, Result};
use bailiwick_tests::{Peer, Plugin, Run, Scenario, World, run, wait_until};
use serde_json::Value;

use crate::demo::files;
use crate::stock::script;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the_openai_wheel_keeps_its_word_until_it_does_not",
        needs: &[Peer::Python, Peer::OpenaiWheel],
        run: openai_wheel,
    },
    Scenario {
        name: "the_evidence_holds_no_path_no_body_and_no_secret",
        needs: &[Peer::Python, Peer::OpenaiWheel],
        run: nothing_private,
    },
];

/// Azure, the undeclared host, mail, a server, and the wheel signed and admitted.
fn stage() -> Result<(World, Plugin)> {
    let mut world = World::new()?;
    world.origin(&["acme.openai.azure.com"])?;
    world.origin(&["api.randomsite.com"])?;
    world.receive_mail()?;
    world.serve()?;
    let wheel = Peer::OpenaiWheel
        .find()
        .map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let plugin = world
        .plugin("azure_openai_embeddings")
        .declares(&["acme.openai.azure.com"])
        .says("sdk_allowlist", serde_json::json!(["openai>=3.0,<4.0"]))
        .artifact(&wheel)?
        .admit("medium")?;
    Ok((world, plugin))
}

/// Runs the plugin from the very wheel that was signed.
fn embed(world: &World, plugin: &Plugin, how: &str) -> Result<Run> {
    let python = Peer::Python.command().get_program().to_owned();
    let mut command = world.plugin_command(
        plugin,
        [
            python.as_os_str(),
            script("embeddings_plugin.py").as_os_str(),
            how.as_ref(),
        ],
    );
    run(command
        .env("PYTHONPATH", &plugin.artifact)
        .env("EXPECTED_WHEEL", &plugin.artifact))
}

/// The reports of an audit that speak of the artifact as a whole, not of one run.
pub fn artifact_report<'a>(audit: &'a Value, plugin: &Plugin) -> Result<&'a Value> {
    let reports = audit["reports"].as_array().context("an audit lists reports")?;
    reports
        .iter()
        .find(|report| report["artifact_digest"] == plugin.digest.as_str() && report["run_id"].is_null())
        .with_context(|| format!("no report for {}: {audit:#}", plugin.id))
}

/// What a report found: reason, host and port.
pub fn findings(report: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|finding| {
            (
                text(&finding["reason"]),
                text(&finding["host"]),
                finding["port"].as_u64().unwrap_or(0),
            )
        })
        .collect()
}

fn openai_wheel() -> Result<()> {
    let (world, plugin) = stage()?;
    let honest = embed(&world, &plugin, "honest")?.expect(0)?;
    assert!(
        honest.text().contains("embeddings [[0.25, -0.5, 0.125]"),
        "{}",
        honest.text()
    );
    let audit = world.cli(["audit"])?.expect(0)?.json()?;
    let report = artifact_report(&audit, &plugin)?;
    assert_eq!(report["verdict"], "conforming", "{audit:#}");
    assert_eq!(findings(report), []);

    // Two runs, because one connection is no corroboration.
    for _ in 0..2 {
        let leak = embed(&world, &plugin, "leak")?.expect(0)?;
        assert!(
            leak.text().contains("collected 200"),
            "an observing gateway stops nobody: {}",
            leak.text()
        );
    }
    let audit = world.cli(["audit"])?.expect(1)?.json()?;
    let report = artifact_report(&audit, &plugin)?;
    assert_eq!(report["verdict"], "non_conforming", "{audit:#}");
    assert_eq!(
        findings(report),
        [("undeclared_host".to_owned(), "api.randomsite.com".to_owned(), 443)]
    );
    for kind in ["report", "html", "text"] {
        let path = report[kind]
            .as_str()
            .with_context(|| format!("the report's {kind}"))?;
        assert!(Path::new(path).is_file(), "{path}");
    }

    // The tier acts.
    let why = world.ok(["crl", "why", &plugin.digest])?;
    assert_eq!(why["deciding"]["action"], "hold", "{why:#}");
    let refused = embed(&world, &plugin, "honest")?.expect(1)?;
    assert!(
        refused.error_line()?.contains("hold") || refused.stderr.contains("quarantine"),
        "{}",
        refused.stderr
    );

    // Owner and security read about it.
    wait_until("mail to owner and security", || {
        let mails = world.mails();
        let reached = |address: &str| mails.iter().any(|mail| mail.to.iter().any(|to| to == address));
        reached("azure-openai-embeddings@owner.example") && reached("security@site.example")
    })?;
    for mail in world
        .mails()
        .iter()
        .filter(|mail| mail.to.iter().any(|to| to.ends_with("@owner.example")))
    {
        assert!(mail.message.contains("api.randomsite.com"), "{}", mail.message);
    }

    // A mended build is another digest, and the hold does not touch it.
    let mended = world
        .plugin("azure_openai_embeddings")
        .declares(&["acme.openai.azure.com", "api.randomsite.com"])
        .bytes("mended-3.54.1-py3-none-any.whl", b"another build")?
        .admit("medium")?;
    world.run_plugin(&mended, ["true"])?.expect(0)?;
    Ok(())
}

fn nothing_private() -> Result<()> {
    let (mut world, plugin) = stage()?;
    embed(&world, &plugin, "leak")?.expect(0)?;
    world.cli(["audit"])?.expect(1)?;
    world.stop()?;
    let private: [&[u8]; 6] = [
        b"/collect",
        b"/openai/deployments",
        b"0123456789\"",
        b"first text",
        b"not-a-secret",
        b"Proxy-Authorization",
    ];
    for file in files(&world.site().join("data")) {
        let bytes = std::fs::read(&file)?;
        for words in private {
            let found = bytes.windows(words.len()).any(|window| window == words);
            assert!(
                !found,
                "{} holds {:?}",
                file.display(),
                String::from_utf8_lossy(words)
            );
        }
    }
    Ok(())
}
