//! The documented JSON: `cli/JSON.md` is held to what the commands print.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Run, Scenario, World, workspace};

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "every_command_prints_the_fields_that_are_documented_and_no_others",
    needs: &[Peer::Curl],
    run: documented,
}];

/// The fields that the table promises for `command`: those always there, and those sometimes there.
fn promised(table: &str, command: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let start = format!("| `{command}` | ");
    let row = table.lines().find_map(|line| line.strip_prefix(start.as_str()));
    let row = row.with_context(|| format!("{command} has a row in cli/JSON.md"))?;
    // What stands in parentheses is about the rows inside.
    let row = row.split('(').next().unwrap_or(row);
    let names = row.split('`').skip(1).step_by(2);
    let (sometimes, always): (Vec<&str>, Vec<&str>) = names.partition(|name| name.ends_with('?'));
    let always = always.into_iter().map(str::to_owned).collect();
    let sometimes = sometimes
        .into_iter()
        .map(|name| name.trim_end_matches('?').to_owned())
        .collect();
    Ok((always, sometimes))
}

fn hold(table: &str, command: &str, run: &Run) -> Result<()> {
    let printed = run.json()?;
    let printed: BTreeSet<String> = printed
        .as_object()
        .context("an object")?
        .keys()
        .cloned()
        .collect();
    let (always, sometimes) = promised(table, command)?;
    let missing: Vec<_> = always.difference(&printed).collect();
    ensure!(missing.is_empty(), "{command} does not print {missing:?}");
    let undocumented: Vec<_> = printed
        .iter()
        .filter(|name| !always.contains(*name) && !sometimes.contains(*name))
        .collect();
    ensure!(
        undocumented.is_empty(),
        "{command} prints {undocumented:?}, which cli/JSON.md does not know"
    );
    Ok(())
}

fn documented() -> Result<()> {
    let table = std::fs::read_to_string(workspace().join("cli/JSON.md"))?;
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    world
        .run_plugin(
            &plugin,
            ["curl", "-fsS", "--max-time", "60", "https://paste.example/"],
        )?
        .expect(0)?;
    let path = |name: &str| world.path(name).display().to_string();
    let file = |path: &std::path::Path| path.display().to_string();
    let (artifact, manifest, key) = (file(&plugin.artifact), file(&plugin.manifest), file(&plugin.key));
    let policy = file(&world.site().join("policy.toml"));
    let (digest, another, fresh) = (plugin.digest.as_str(), path("another-site"), path("fresh.pem"));
    let commands: &[(&str, &[&str], i32)] = &[
        ("init", &["init", &another], 0),
        ("key new", &["key", "new", &fresh], 0),
        ("key show", &["key", "show", &fresh], 0),
        ("trust list", &["trust", "list"], 0),
        ("manifest lint", &["manifest", "lint", &manifest], 0),
        ("manifest diff", &["manifest", "diff", &manifest, &manifest], 0),
        (
            "sign",
            &["sign", &artifact, "--manifest", &manifest, "--key", &key],
            0,
        ),
        ("policy show", &["policy", "show"], 0),
        ("policy lint", &["policy", "lint"], 0),
        ("policy sign", &["policy", "sign"], 0),
        ("policy verify", &["policy", "verify"], 0),
        ("policy diff", &["policy", "diff", &policy], 0),
        ("approve", &["approve", &artifact, "--tier", "high"], 0),
        ("verify", &["verify", &artifact], 0),
        ("admit", &["admit", &artifact], 0),
        ("plugins", &["plugins"], 0),
        ("tier set", &["tier", "set", "acme.weather", "medium"], 0),
        ("runs", &["runs"], 0),
        ("check", &["check", "acme.weather", "paste.example"], 1),
        ("check", &["check", "acme.weather", "api.weather.example"], 0),
        ("events", &["events"], 0),
        ("audit", &["audit"], 1),
        ("approve-act", &["approve-act", "--list"], 0),
        ("manifest suggest", &["manifest", "suggest", "acme.weather"], 0),
        ("evidence verify", &["evidence", "verify"], 0),
        ("evidence prove", &["evidence", "prove", "0"], 0),
        ("evidence prove", &["evidence", "prove", "0..2"], 0),
        ("evidence key", &["evidence", "key"], 0),
        (
            "evidence bundle",
            &[
                "evidence",
                "bundle",
                "--plugin",
                "acme.weather",
                "--period",
                "2020-01-01/2100-01-01",
            ],
            0,
        ),
        ("report list", &["report", "list"], 0),
        ("report outbox", &["report", "outbox", "--state", "dead"], 0),
        ("report send", &["report", "send", "--again"], 0),
        ("appeal list", &["appeal", "list"], 0),
        ("remediation list", &["remediation", "list"], 0),
        ("contact list", &["contact", "list"], 0),
        (
            "contact bounced",
            &[
                "contact",
                "bounced",
                "owner@acme.example",
                "--why",
                "550 5.1.1 unknown",
            ],
            0,
        ),
        (
            "quarantine",
            &["quarantine", digest, "--reason", "undeclared_host"],
            0,
        ),
        ("verify", &["verify", &artifact], 1),
        ("crl why", &["crl", "why", digest], 0),
        (
            "reinstate",
            &["reinstate", digest, "--reason", "false_positive"],
            0,
        ),
        ("kill", &["kill", "acme.weather"], 0),
        ("kill", &["kill", "acme.weather", "--lift"], 0),
        ("revoke", &["revoke", digest, "--reason", "malware"], 0),
        ("crl show", &["crl", "show"], 0),
        ("crl verify", &["crl", "verify"], 0),
        ("safe-mode off", &["safe-mode", "off"], 0),
        ("reload", &["reload"], 0),
        ("status", &["status"], 0),
        ("doctor", &["doctor"], 0),
        ("tls new", &["tls", "new", "--renew"], 0),
    ];
    for (command, arguments, status) in commands {
        let run = world.cli(*arguments)?.expect(*status)?;
        hold(&table, command, &run)?;
    }
    let reports = world.ok(["report", "list"])?;
    let report = reports["reports"][0]["report_id"]
        .as_str()
        .context("a report")?
        .to_owned();
    hold(
        &table,
        "report verify",
        &world.cli(["report", "verify", &report])?.expect(0)?,
    )?;
    Ok(())
}
