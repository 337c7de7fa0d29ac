//! The life of an artifact: held, revoked, reinstated, killed; and what a restart must not forget.

use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};
use bailiwick_tests::{Origin, Peer, Plugin, Run, Scenario, World, wait_until};
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_quarantine_cuts_an_idle_tunnel_and_a_reinstatement_lets_it_run_again",
        needs: &[Peer::Curl],
        run: quarantine_and_reinstate,
    },
    Scenario {
        name: "a_revocation_is_final",
        needs: &[Peer::Curl],
        run: revocation,
    },
    Scenario {
        name: "a_kill_stops_a_plugin_whatever_its_digest",
        needs: &[Peer::Curl],
        run: kill,
    },
    Scenario {
        name: "a_killed_server_comes_back_with_every_event_and_every_refusal",
        needs: &[Peer::Curl],
        run: power_cut,
    },
    Scenario {
        name: "a_site_is_served_once_at_a_time",
        needs: &[],
        run: served_once,
    },
    Scenario {
        name: "a_site_is_made_once",
        needs: &[],
        run: made_once,
    },
    Scenario {
        name: "an_idle_site_stops_in_good_order_and_says_so_in_its_log",
        needs: &[],
        run: orderly_stop,
    },
];

const URL: &str = "https://api.weather.example/hold";

/// A plugin whose process holds one silent connection.
struct Holder(Child);

impl Holder {
    fn start(world: &World, origin: &Origin, plugin: &Plugin) -> Result<Self> {
        let before = origin.seen().len();
        let mut command = world.plugin_command(plugin, ["curl", "-sSN", URL]);
        let holder = Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        wait_until("the plugin to hold a connection", || origin.seen().len() > before)?;
        Ok(holder)
    }

    /// Waits until somebody cut the connection, and returns curl's own exit status.
    fn cut(mut self) -> Result<i32> {
        let mut status = None;
        wait_until("the tunnel to be cut", || {
            status = self.0.try_wait().ok().flatten();
            status.is_some()
        })?;
        status
            .and_then(|status| status.code())
            .context("curl ended by itself")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

struct Stage {
    world: World,
    origin: std::sync::Arc<Origin>,
    plugin: Plugin,
}

fn stage() -> Result<Stage> {
    let mut world = World::new()?;
    let origin = world.origin(&["api.weather.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("medium")?;
    Ok(Stage {
        world,
        origin,
        plugin,
    })
}

fn fetch(world: &World, plugin: &Plugin) -> Result<Run> {
    world.run_plugin(
        plugin,
        ["curl", "-fsS", "--max-time", "60", "https://api.weather.example/"],
    )
}

fn state(world: &World, plugin: &Plugin) -> Result<String> {
    let printed = world.ok(["plugins"])?;
    let rows = printed["plugins"].as_array().context("plugins")?;
    let row = rows
        .iter()
        .find(|row| row["artifact_digest"] == plugin.digest.as_str());
    Ok(row.context("the artifact is registered")?["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn quarantine_and_reinstate() -> Result<()> {
    let Stage {
        world,
        origin,
        plugin,
    } = stage()?;
    let holder = Holder::start(&world, &origin, &plugin)?;
    let done = world.ok(["quarantine", &plugin.digest, "--reason", "undeclared_host"])?;
    assert_eq!(done["action"], "hold");
    assert_eq!(done["tunnels"], 1, "{done:#}");
    assert!(done["ms"].is_number(), "{done:#}");
    assert_ne!(holder.cut()?, 0, "curl notices");
    world.wait_for_event("the killed connection's close", |event| {
        event["kind"] == "close" && event["outcome"] == "killed"
    })?;
    world.wait_for_event("a kill event", |event| {
        event["kind"] == "kill" && event["tunnels"] == 1
    })?;
    assert_eq!(state(&world, &plugin)?, "quarantined");

    let refused = fetch(&world, &plugin)?.expect(1)?;
    refused.error_line()?;
    let why = world.ok(["crl", "why", &plugin.digest])?;
    let deciding = (&why["deciding"]["action"], &why["deciding"]["reason"]);
    assert_eq!(deciding, (&"hold".into(), &"undeclared_host".into()), "{why:#}");

    let done = world.ok(["reinstate", &plugin.digest, "--reason", "false_positive"])?;
    assert_eq!(done["action"], "release");
    fetch(&world, &plugin)?.expect(0)?;
    assert_eq!(state(&world, &plugin)?, "reinstated");
    // The list keeps the entry as a release, so that caches converge.
    let entries = world.ok(["crl", "show"])?["entries"].clone();
    let entry = entries
        .as_array()
        .and_then(|entries| entries.first())
        .context("one entry")?;
    assert_eq!(entry["action"], "release", "{entries:#}");
    Ok(())
}

fn revocation() -> Result<()> {
    let Stage {
        world,
        origin,
        plugin,
    } = stage()?;
    let holder = Holder::start(&world, &origin, &plugin)?;
    let done = world.ok(["revoke", &plugin.digest, "--reason", "malware"])?;
    assert_eq!(
        (&done["action"], &done["tunnels"]),
        (&"revoke".into(), &1.into()),
        "{done:#}"
    );
    assert_ne!(holder.cut()?, 0);
    assert_eq!(state(&world, &plugin)?, "revoked");
    fetch(&world, &plugin)?.expect(1)?;
    let again = world
        .cli(["reinstate", &plugin.digest, "--reason", "false_positive"])?
        .expect(1)?;
    assert!(again.error_line()?.contains("final"), "{}", again.stderr);
    assert_eq!(
        world.ok(["crl", "why", &plugin.digest])?["deciding"]["action"],
        "revoke"
    );
    world.admit(&plugin, "medium")?.expect(1)?;
    // A new build is another digest.
    let next = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .bytes("weather-2.bin", b"mended")?
        .admit("medium")?;
    fetch(&world, &next)?.expect(0)?;
    Ok(())
}

fn kill() -> Result<()> {
    let Stage {
        world,
        origin,
        plugin,
    } = stage()?;
    let other = world
        .plugin("acme.other")
        .declares(&["api.weather.example"])
        .admit("medium")?;
    let holder = Holder::start(&world, &origin, &plugin)?;
    let bystander = Holder::start(&world, &origin, &other)?;
    let done = world.ok(["kill", "acme.weather"])?;
    assert_eq!(done["tunnels"], 1, "{done:#}");
    assert_ne!(holder.cut()?, 0);
    fetch(&world, &plugin)?.expect(1)?;
    fetch(&world, &other)?.expect(0)?;
    let next = world
        .plugin("acme.weather")
        .declares(&[])
        .bytes("weather-2.bin", b"another build")?
        .sign()?;
    let code = refusal(&world.admit(&next, "medium")?)?;
    assert!(code.contains("kill"), "{code}");
    let done = world.ok(["kill", "--all"])?;
    assert_eq!(done["tunnels"], 1, "{done:#}");
    assert_ne!(bystander.cut()?, 0);
    fetch(&world, &other)?.expect(1)?;
    assert_eq!(world.ok(["crl", "show"])?["kill_switch"]["active"], true);
    Ok(())
}

/// The code of a refused load.
fn refusal(run: &Run) -> Result<String> {
    let run = run.clone().expect(1)?;
    Ok(run.json()?["code"]
        .as_str()
        .context("a refusal has a code")?
        .to_owned())
}

fn power_cut() -> Result<()> {
    let Stage {
        mut world,
        origin,
        plugin,
    } = stage()?;
    let doomed = world
        .plugin("acme.doomed")
        .declares(&["api.weather.example"])
        .admit("medium")?;
    fetch(&world, &plugin)?.expect(0)?;
    world.wait_for_event("the close", |event| event["kind"] == "close")?;
    let holder = Holder::start(&world, &origin, &plugin)?;
    world.ok(["revoke", &doomed.digest, "--reason", "malware"])?;
    let before = world.events()?;
    world.kill_server()?;
    assert_ne!(holder.cut()?, 0, "no gateway, no traffic");

    world.serve()?;
    let after = world.events()?;
    let missing: Vec<_> = before.iter().filter(|event| !after.contains(event)).collect();
    assert!(missing.is_empty(), "events were lost: {missing:#?}");
    let seqs: Vec<_> = after.iter().map(|event| event["seq"].as_u64()).collect();
    let expected: Vec<_> = (0..after.len() as u64).map(Some).collect();
    assert_eq!(seqs, expected, "the log has no hole");
    // Whatever was lost in the tunnel that was open is said.
    let says_gap = |event: &Value| event["kind"] == "gap" || event["kind"] == "start";
    assert!(
        after[before.len()..].iter().any(says_gap),
        "{:#?}",
        &after[before.len()..]
    );
    fetch(&world, &doomed)?.expect(1)?;
    fetch(&world, &plugin)?.expect(0)?;
    let verified = world.cli(["evidence", "verify"])?.expect(0)?.json()?;
    assert_eq!(verified["logs"][0]["integrity"], "whole", "{verified:#}");
    Ok(())
}

fn served_once() -> Result<()> {
    let Stage { world, .. } = stage()?;
    let second = world.cli(["serve"])?.expect(2)?;
    second.error_line()?;
    assert!(
        world.admin_page("/readyz")?.starts_with("HTTP/1.1 200"),
        "the first is unharmed"
    );
    Ok(())
}

fn made_once() -> Result<()> {
    let world = World::new()?;
    let root = std::fs::read(world.site().join("root.json"))?;
    let again = world
        .cli(["init".as_ref(), world.site().as_os_str()])?
        .expect(2)?;
    again.error_line()?;
    assert_eq!(std::fs::read(world.site().join("root.json"))?, root);
    Ok(())
}

fn orderly_stop() -> Result<()> {
    let Stage { mut world, .. } = stage()?;
    assert!(world.admin_page("/healthz")?.starts_with("HTTP/1.1 200"));
    world.stop()?;
    let events = world.events()?;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(
        (kinds.first(), kinds.last()),
        (Some(&"start"), Some(&"stop")),
        "{kinds:?}"
    );
    let verified = world.cli(["evidence", "verify"])?.expect(0)?.json()?;
    assert_eq!(verified["logs"][0]["size"], events.len(), "{verified:#}");
    Ok(())
}
