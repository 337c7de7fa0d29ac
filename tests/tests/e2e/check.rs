//! `bailiwick check` says what the gateway then does, and the low tier's list goes before any lookup.

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{NameServer, Plugin, RawClient, RawServer, Reply, Scenario, World};
use serde_json::{Value, json};

use crate::tokens::LiveRun;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "check_says_what_the_gateway_then_does_and_writes_down",
        needs: &[],
        run: agrees,
    },
    Scenario {
        name: "what_the_low_tier_denies_is_never_looked_up",
        needs: &[],
        run: before_any_lookup,
    },
];

const DECLARED: [&str; 3] = ["*.weather.example", "http://plain.example", "192.0.2.7"];

/// A site whose operators list some destinations for the low tier.
fn site(allow: &[&str]) -> Result<World> {
    let world = World::new()?;
    let path = world.site().join("policy.toml");
    let mut policy: toml::Table = std::fs::read_to_string(&path)?.parse()?;
    let tiers = policy.entry("tiers").or_insert_with(|| toml::Table::new().into());
    let low = tiers.as_table_mut().context("tiers is a table")?;
    let low = low.entry("low").or_insert_with(|| toml::Table::new().into());
    let low = low.as_table_mut().context("tiers.low is a table")?;
    let allow: Vec<String> = allow.iter().map(|&entry| entry.to_owned()).collect();
    low.insert("allow".into(), allow.into());
    low.insert("contact".into(), "netops@site.example".into());
    std::fs::write(&path, policy.to_string())?;
    Ok(world)
}

/// What the gateway did with the plugin's request, as it wrote it down first.
fn decided(world: &World, run: &LiveRun, target: &str) -> Result<Value> {
    RawClient::connect(world.gateway()?)?.tunnel(target, Some(&run.credentials))?;
    let events = world.events()?;
    let last = events
        .iter()
        .rfind(|event| matches!(event["kind"].as_str(), Some("open" | "refused")));
    last.cloned().with_context(|| format!("{target} is on record"))
}

fn agrees_on(world: &World, plugin: &Plugin, run: &LiveRun, target: &str, covered: bool) -> Result<Value> {
    let run_of = world.cli(["check", &plugin.id, target])?;
    let check = run_of.json()?;
    let event = decided(world, run, target)?;
    for (said, done) in [
        ("decision", "decision"),
        ("mode", "mode"),
        ("refusal", "reason"),
        ("matched_entry", "matched_entry"),
        ("would_deny", "would_deny"),
    ] {
        assert_eq!(check[said], event[done], "{target}: {check:#} {event:#}");
    }
    assert_eq!(check["covered"], covered, "{check:#}");
    let clean = covered && check["decision"] == "allow";
    run_of.expect(if clean { 0 } else { 1 })?;
    Ok(check)
}

fn agrees() -> Result<()> {
    let mut world = site(&["api.weather.example", "listed.example"])?;
    let server = RawServer::start()?;
    let names = [
        "api.weather.example",
        "maps.weather.example",
        "listed.example",
        "weather.example",
    ];
    world.lead(&names, &[server.address().to_string()])?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&DECLARED).admit("high")?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    let targets = [
        ("api.weather.example:443", true),
        ("maps.weather.example:443", true),
        ("listed.example:443", false),
        ("weather.example:443", false),
        ("api.weather.example:8443", false),
        ("127.0.0.9:443", false),
        ("169.254.169.254:80", false),
    ];
    for tier in ["high", "low", "legacy"] {
        world.ok(["tier", "set", &plugin.id, tier])?;
        for (target, covered) in targets {
            let check = agrees_on(&world, &plugin, &run, target, covered)?;
            assert_eq!(check["tier"], tier);
            let denied = match tier {
                "low" => target != "api.weather.example:443",
                "legacy" => true,
                _ => target.starts_with("169."),
            };
            assert_eq!(
                check["decision"],
                if denied { "deny" } else { "allow" },
                "{tier} {target}"
            );
            if tier == "high" {
                assert_eq!(
                    check["would_deny"],
                    target != "api.weather.example:443",
                    "{check:#}"
                );
            }
        }
    }
    // Near misses, and what would be spoken.
    world.ok(["tier", "set", &plugin.id, "high"])?;
    let near = world
        .cli(["check", &plugin.id, "weather.example"])?
        .expect(1)?
        .json()?;
    assert_eq!(
        (&near["reason"], &near["nearest"]),
        (&json!("undeclared_host"), &json!("*.weather.example"))
    );
    let scheme = world.cli(["check", &plugin.id, "api.weather.example", "--scheme", "ssh"])?;
    assert_eq!(scheme.expect(1)?.json()?["reason"], "undeclared_scheme");
    let mut text = world.command(["check", &plugin.id, "weather.example"]);
    let text = String::from_utf8(text.output()?.stdout)?;
    for line in [
        "weather.example:443 is not covered: undeclared_host",
        "nearest  *.weather.example",
        "gateway  allow (tier high, observe)",
        "low tier would deny it",
    ] {
        ensure!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    // A list goes before every tier, and the answer is the one a refused client reads.
    world.ok(["quarantine", &plugin.digest, "--reason", "undeclared_host"])?;
    let held = agrees_on(&world, &plugin, &run, "api.weather.example:443", true)?;
    assert_eq!(
        (&held["refusal"], &held["mode"]),
        (&json!("quarantined"), &json!("quarantined"))
    );
    let answer =
        RawClient::connect(world.gateway()?)?.tunnel("api.weather.example:443", Some(&run.credentials))?;
    let advice = held["advice"].as_str().context("a refusal comes with advice")?;
    ensure!(answer.body.trim_end().ends_with(advice), "{answer:?}");
    Ok(())
}

fn before_any_lookup() -> Result<()> {
    let names = NameServer::start(vec![("api.weather.example", vec![Reply::of(&["127.0.0.1"])])])?;
    let mut world = site(&["api.weather.example:*"])?;
    world.resolve_with(names.address())?;
    let server = RawServer::start()?;
    world.serve()?;
    let port = server.address().port();
    let declared = [
        format!("tcp://api.weather.example:{port}"),
        "maps.weather.example".to_owned(),
    ];
    let declared: Vec<&str> = declared.iter().map(String::as_str).collect();
    let plugin = world.plugin("acme.weather").declares(&declared).admit("low")?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    let ask = |target: &str| RawClient::connect(world.gateway()?)?.tunnel(target, Some(&run.credentials));
    for target in ["maps.weather.example:443", "mfrggzdfmztwq2lk.evil.example:443"] {
        let answer = ask(target)?;
        assert_eq!((answer.status, answer.reason()), (403, "tier"), "{answer:?}");
        ensure!(answer.body.contains("netops@site.example"), "{answer:?}");
    }
    assert_eq!(names.names(), Vec::<String>::new(), "a denied name was looked up");
    assert_eq!(ask(&format!("api.weather.example:{port}"))?.status, 200);
    assert_eq!(names.names(), ["api.weather.example"]);
    Ok(())
}
