//! What outages get: a mail server that is down, a disk that is full.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, Scenario, World, wait_until, wait_within};

use crate::bad_evidence::copy;
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "mail_waits_for_its_server_and_is_sent_once",
        needs: &[Peer::Curl],
        run: mail_server_down,
    },
    Scenario {
        name: "a_full_disk_stops_traffic_rather_than_evidence",
        needs: &[Peer::Curl, Peer::Tmpfs],
        run: full_disk,
    },
    Scenario {
        name: "a_dead_upstream_is_recorded_as_what_it_is",
        needs: &[Peer::Curl],
        run: dead_upstream,
    },
];

fn leak(world: &World, plugin: &Plugin) -> Result<()> {
    world
        .run_plugin(
            plugin,
            ["curl", "-fsS", "--max-time", "60", "https://paste.example/"],
        )?
        .expect(0)?;
    Ok(())
}

fn pending(world: &World) -> Result<u64> {
    world.ok(["status"])?["mails"]["pending"]
        .as_u64()
        .context("status counts pending mails")
}

fn mail_server_down() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["paste.example"])?;
    // Reserved by us until the server comes up, so that nobody else answers there.
    let reserved = TcpListener::bind(("127.0.0.1", 0))?;
    let address: SocketAddr = reserved.local_addr()?;
    drop(reserved);
    world.send_mail_to(address)?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("medium")?;
    leak(&world, &plugin)?;
    leak(&world, &plugin)?;
    world.cli(["audit"])?.expect(1)?;
    let waiting = pending(&world)?;
    assert!(waiting >= 2, "owner and security wait for their mail: {waiting}");

    // The outbox outlives the process.
    world.kill_server()?;
    world.start_mail_at(address)?;
    world.serve()?;
    // The first retry comes a minute after the failure, and the postman naps.
    wait_within(Duration::from_secs(240), "the outbox to empty", || {
        pending(&world).is_ok_and(|count| count == 0)
    })?;
    let mut ids: Vec<_> = world
        .mails()
        .iter()
        .map(|mail| mail.header("Message-ID"))
        .collect();
    assert!(ids.len() as u64 >= waiting, "{ids:?}");
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "a mail was sent twice");
    Ok(())
}

/// A log folder of two megabytes, in a mount namespace that ends with the server.
fn full_disk() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    let log = world.site().join("data/log");
    std::fs::create_dir_all(&log)?;
    let mount = format!(
        "mount -t tmpfs -o size=2m tmpfs '{}' && exec \"$@\"",
        log.display()
    );
    world.serve_through(&["unshare", "--mount", "--", "sh", "-c", &mount, "sh"])?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    let connect = |world: &World| ask(world, "api.weather.example:443", Some(&run.credentials));
    assert_eq!(connect(&world)?.status, 200);

    // The server's own view of its disk, which we may look into.
    let inside = PathBuf::from(format!("/proc/{}/root", world.server()?.id())).join(log.strip_prefix("/")?);
    let filler = inside.join("filler");
    fill(&filler)?;
    // A few events more fit into the page that the journal has already.
    let mut refused = None;
    wait_until("a connection without a record to be refused", || {
        refused = connect(&world).ok().filter(|answer| answer.status != 200);
        refused.is_some()
    })?;
    let refused = refused.context("refused")?;
    assert_eq!(
        (refused.status, refused.reason()),
        (503, "evidence_unavailable"),
        "{refused:?}"
    );
    let unready = world.admin_page("/readyz")?;
    ensure!(
        unready.starts_with("HTTP/1.1 503") && unready.ends_with("evidence cannot be written\n"),
        "{unready}"
    );
    std::fs::remove_file(&filler)?;
    wait_until("the gateway to record again", || {
        connect(&world).is_ok_and(|answer| answer.status == 200)
    })?;
    wait_until("the gateway to say that it is ready", || {
        world
            .admin_page("/readyz")
            .is_ok_and(|page| page.starts_with("HTTP/1.1 200"))
    })?;
    assert!(world.admin_page("/healthz")?.starts_with("HTTP/1.1 200"));
    // Nothing half-written: what is there verifies, outside the namespace too.
    world.ok(["audit", "--dry-run"])?;
    let outside = log.join("gw-1");
    wait_until("a copy of the quiet log to verify", || {
        copy(&inside.join("gw-1"), &outside).is_ok()
            && world
                .cli(["evidence", "verify"])
                .is_ok_and(|run| run.status == Some(0))
    })?;
    world.stop()?;
    // The copy lacks what was written since, and the control plane as a witness knows; held against its
    // key alone, it is whole.
    let (folder, vkey) = (outside.display().to_string(), world.log_vkey()?);
    let args = ["evidence", "verify", "--dir", &folder, "--key", &vkey];
    let verified = world.cli(args)?.expect(0)?.json()?;
    assert_eq!(verified["logs"][0]["integrity"], "whole", "{verified:#}");
    Ok(())
}

/// Writes until nothing more fits. Never more than a few megabytes: should the small filesystem not be
/// where it is expected, the machine's own disk must not suffer.
pub fn fill(file: &Path) -> Result<()> {
    const LIMIT: usize = 8 << 20;
    let mut filler = OpenOptions::new().create(true).append(true).open(file)?;
    let mut written = 0;
    for size in [64 * 1024, 4096, 1] {
        while filler.write_all(&vec![0; size]).is_ok() {
            written += size;
            ensure!(
                written < LIMIT,
                "{} is on a larger disk than it should be",
                file.display()
            );
        }
    }
    Ok(())
}

fn dead_upstream() -> Result<()> {
    let mut world = World::new()?;
    let nobody = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    world.configure(|config| {
        let hosts = config["gateway"]["resolver"]["hosts"]
            .as_table_mut()
            .context("hosts")?;
        hosts.insert("api.weather.example".into(), vec![nobody.to_string()].into());
        Ok(())
    })?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let run = world.run_plugin(
        &plugin,
        ["curl", "-sS", "--max-time", "60", "https://api.weather.example/"],
    )?;
    assert_ne!(run.status, Some(0));
    assert!(run.stderr.contains("502"), "{}", run.stderr);
    world.wait_for_event("the failed connection", |event| {
        event["outcome"] == "connect_failed"
    })?;
    // An attempt is not an established connection, and a declared one is no breach.
    world.cli(["audit"])?.expect(0)?;
    Ok(())
}
