//! Evidence and robustness. What is done to a log afterwards is in `tampered_logs` and `witness`; here is
//! what happens to it while it is written, and what watching does to those who are watched.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Scenario, World, run, wait_until};
use serde_json::Value;

use crate::bad_evidence::copy;
use crate::outages::fill;
use crate::stage::{Stage, exactly};
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "metrics_name_no_host_and_no_plugin_and_do_not_grow_with_them",
        needs: &[],
        run: metrics,
    },
    Scenario {
        name: "a_record_torn_by_a_crash_is_a_signed_gap",
        needs: &[],
        run: torn_record,
    },
    Scenario {
        name: "with_on_failure_continue_a_full_disk_stops_nobody_and_leaves_a_gap_and_doubt",
        needs: &[Peer::Tmpfs],
        run: continues_without_evidence,
    },
    Scenario {
        name: "a_tunnel_that_is_open_across_the_night_is_in_tonights_report",
        needs: &[],
        run: open_across_the_night,
    },
    Scenario {
        name: "a_tunnel_carries_every_byte_and_not_one_more",
        needs: &[],
        run: byte_for_byte,
    },
    Scenario {
        name: "what_events_prints_moves_no_cursor",
        needs: &[],
        run: terminal,
    },
    Scenario {
        name: "events_are_found_by_every_filter_and_by_several_at_once",
        needs: &[],
        run: filters,
    },
    Scenario {
        name: "followed_events_come_as_lines_and_end_with_their_reader",
        needs: &[],
        run: followed,
    },
    Scenario {
        name: "one_event_a_kind_a_connection_or_a_range_can_be_proven",
        needs: &[],
        run: proofs,
    },
];

/// Outcomes and reasons are closed lists; one that comes up for the first time adds a series.
const NEW_OUTCOMES: usize = 8;

fn metrics() -> Result<()> {
    let names: Vec<String> = (0..60).map(|number| format!("h{number}.paste.example")).collect();
    let led: Vec<&str> = names.iter().map(String::as_str).collect();
    let stage = Stage::new(&led, &["h0.paste.example"])?;
    let series = |names: &[String]| {
        for name in names {
            // Known and unknown plugins, good and bad names: whatever somebody may try to write there.
            drop(stage.tunnel(&format!("{name}:443"))?);
            let _ = stage.connect(format!("{name}\"}} 1\n:443"))?;
            let _ = ask(&stage.world, &format!("{name}:443"), None)?;
        }
        let page = stage.world.admin_page("/metrics")?;
        for word in ["paste", "weather", "acme", "gw-1", &stage.plugin.digest[7..23]] {
            ensure!(!page.contains(word), "{word} is on the page:\n{page}");
        }
        let body = page.split("\r\n\r\n").nth(1).context("a body")?.to_owned();
        Ok::<_, anyhow::Error>(body.lines().filter(|line| !line.starts_with('#')).count())
    };
    let first = series(&names[..2])?;
    let last = series(&names[2..])?;
    ensure!(
        last <= first + NEW_OUTCOMES,
        "{first} series became {last} with 58 names more"
    );
    Ok(())
}

fn log(world: &World) -> PathBuf {
    world.site().join("data/log/gw-1")
}

fn verified(world: &World, status: i32) -> Result<Value> {
    Ok(world.cli(["evidence", "verify"])?.expect(status)?.json()?["logs"][0].clone())
}

fn torn_record() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    for _ in 0..5 {
        assert_eq!(ask(&world, "api.weather.example:443", None)?.status, 407);
    }
    world.kill_server()?;
    // What a crash leaves of a record: its head, and less than it promises.
    let journal = log(&world).join("journal");
    let mut file = OpenOptions::new().append(true).open(&journal)?;
    file.write_all(&[0x01, 0x00, 1, 2, 3, 4, 5, 6, 7, 8, b'{', b'"'])?;
    drop(file);
    // Torn is not tampered with.
    let before = verified(&world, 0)?;
    assert_eq!(before["integrity"], "whole", "{before:#}");
    world.serve()?;
    world.wait_for_event("the gap", |event| {
        event["kind"] == "gap"
            && event["cause"]
                .as_str()
                .is_some_and(|cause| cause.contains("after a crash"))
    })?;
    world.stop()?;
    let after = verified(&world, 0)?;
    let events = world.events()?;
    assert_eq!(
        after["size"].as_u64(),
        Some(events.len() as u64),
        "the gap is under signature"
    );
    let asked = events.iter().filter(|event| event["kind"] == "refused").count();
    assert_eq!(asked, 5, "nothing acknowledged was lost");
    Ok(())
}

fn continues_without_evidence() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.configure(|config| {
        let evidence = config["evidence"].as_table_mut().context("[evidence]")?;
        evidence.insert("on_failure".into(), "continue".into());
        Ok(())
    })?;
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
    let live = LiveRun::start(&world, &plugin, &[])?;
    let connect = || ask(&world, "api.weather.example:443", Some(&live.credentials));
    assert_eq!(connect()?.status, 200);
    let inside = PathBuf::from(format!("/proc/{}/root", world.server()?.id())).join(log.strip_prefix("/")?);
    let filler = inside.join("filler");
    fill(&filler)?;
    // It goes on, and says on its own pages that it goes on without evidence.
    wait_until("the gateway to notice", || {
        connect().is_ok_and(|answer| answer.status == 200)
            && world
                .admin_page("/metrics")
                .is_ok_and(|page| page.contains("evidence_writable 0\n"))
    })?;
    for _ in 0..20 {
        assert_eq!(connect()?.status, 200);
    }
    std::fs::remove_file(&filler)?;
    wait_until("the gateway to record again", || {
        connect().is_ok()
            && world
                .admin_page("/metrics")
                .is_ok_and(|page| page.contains("evidence_writable 1\n"))
    })?;
    // Events that were held in memory were written late; what could not be is said. Either way the
    // log is whole, and opens are as many as connections, or a gap says that they are not.
    let outside = log.join("gw-1");
    let vkey = world.log_vkey()?;
    let folder = outside.display().to_string();
    wait_until("a copy of the quiet log to verify", || {
        copy(&inside.join("gw-1"), &outside).is_ok()
            && world
                .cli(["evidence", "verify", "--dir", &folder, "--key", &vkey])
                .is_ok_and(|run| run.status == Some(0))
    })?;
    let events = world.events()?;
    let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    ensure!(
        count("open") >= 22 || count("gap") > 0,
        "{} opens, {} gaps",
        count("open"),
        count("gap")
    );
    Ok(())
}

fn open_across_the_night() -> Result<()> {
    let stage = Stage::new(&["api.weather.example"], &[])?;
    let (mut client, mut server) = stage.tunnel("api.weather.example:443")?;
    client.send(b"still here")?;
    assert_eq!(exactly(&mut server, 10)?, b"still here");
    // The night falls while it is open.
    let night = stage.world.cli(["audit"])?.expect(1)?.json()?;
    let reports = night["reports"].as_array().context("reports")?;
    ensure!(
        reports.iter().any(|report| report["verdict"] == "non_conforming"),
        "an open tunnel to an undeclared host is no clean night: {night:#}"
    );
    client.send(b"and after")?;
    assert_eq!(exactly(&mut server, 9)?, b"and after");
    let kinds: Vec<_> = stage
        .world
        .events()?
        .into_iter()
        .map(|event| event["kind"].clone())
        .collect();
    ensure!(
        kinds.contains(&"open".into()) && !kinds.contains(&"close".into()),
        "{kinds:?}"
    );
    Ok(())
}

fn byte_for_byte() -> Result<()> {
    let stage = Stage::new(&["api.weather.example"], &["api.weather.example"])?;
    let (mut client, mut server) = stage.tunnel("api.weather.example:443")?;
    // Anything that a meddler would trip over: every byte value, heads of other protocols, NULs.
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01\x00\x05hello\0\0\r\n.\r\n");
    for round in 0..64_u32 {
        bytes.extend(round.to_le_bytes().iter().cycle().take(4096));
    }
    client.send(&bytes)?;
    assert_eq!(exactly(&mut server, bytes.len())?, bytes);
    bytes.reverse();
    server.write_all(&bytes)?;
    assert_eq!(client.exactly(bytes.len())?, bytes);
    drop(client);
    drop(server);
    let close = stage.wait_for("close", 1)?.remove(0);
    let sent = (close["bytes_out"].as_u64(), close["bytes_in"].as_u64());
    assert_eq!(
        sent,
        (Some(bytes.len() as u64), Some(bytes.len() as u64)),
        "{close:#}"
    );
    Ok(())
}

fn terminal() -> Result<()> {
    let stage = Stage::new(&["api.weather.example"], &[])?;
    for target in [
        &b"\x1b[2J\x1b]0;owned\x07.example:443"[..],
        b"a\xe2\x80\xae.example:443",
        b"a\xc2\x9b31m.example:443",
        b"a\r\n1 open allow.example:443",
    ] {
        let _ = stage.connect(target)?;
    }
    let _ = stage.connect("api.weather.example:443")?;
    stage.wait_for("refused", 3)?;
    let printed = run(&mut stage.world.command(["events"]))?.expect(0)?.text();
    ensure!(printed.contains("api.weather.example"), "{printed}");
    for c in printed.chars() {
        let shown = c == '\n' || !(c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c));
        ensure!(shown, "{c:?} reaches the terminal:\n{printed:?}");
    }
    let events = stage.world.events()?.len();
    assert_eq!(printed.lines().count(), events, "one line for each event");
    Ok(())
}

fn filters() -> Result<()> {
    let stage = Stage::new(
        &["api.weather.example", "paste.example"],
        &["api.weather.example"],
    )?;
    let (client, server) = stage.tunnel("api.weather.example:443")?;
    let _ = stage.tunnel("paste.example:443")?;
    assert_eq!(ask(&stage.world, "paste.example:443", None)?.status, 407);
    assert_eq!(stage.connect("a..b:443")?.status, 400);
    drop((client, server));
    stage.wait_for("close", 1)?;
    let found = |args: &[&str]| {
        let printed = stage.world.ok(["events"].iter().chain(args))?;
        printed["events"].as_array().cloned().context("events")
    };
    let all = found(&[])?;
    let open = all
        .iter()
        .find(|event| event["kind"] == "open")
        .context("an open")?;
    let text = |field: &str| open[field].as_str().unwrap_or_default().to_owned();
    let (id, time, own_run) = (text("connection_id"), text("time"), text("run_id"));
    for (args, field, value) in [
        (["--plugin", "acme.weather"], "plugin_id", "acme.weather"),
        (["--run", &own_run], "run_id", &own_run),
        (
            ["--digest", &stage.plugin.digest],
            "artifact_digest",
            &stage.plugin.digest,
        ),
        (["--host", "paste.example"], "destination_host", "paste.example"),
        (["--kind", "open"], "kind", "open"),
        (["--decision", "deny"], "decision", "deny"),
        (["--reason", "malformed"], "reason", "malformed"),
        (["--connection", &id], "connection_id", &id),
    ] {
        let (found, wanted) = (found(&args)?, all.iter().filter(|event| event[field] == value));
        let wanted: Vec<_> = wanted.cloned().collect();
        ensure!(
            !wanted.is_empty() && wanted.len() < all.len(),
            "{args:?} finds some and not all"
        );
        assert_eq!(found, wanted, "{args:?}");
    }
    let both = found(&["--host", "paste.example", "--kind", "open", "--decision", "allow"])?;
    assert_eq!(both.len(), 1, "{both:?}");
    let (since, until) = (found(&["--since", &time])?, found(&["--until", &time])?);
    assert_eq!(
        since.len() + until.len(),
        all.len(),
        "each event is before {time} or not"
    );
    ensure!(!since.is_empty() && !until.is_empty());
    assert_eq!(found(&["--last", "2"])?, all[all.len() - 2..]);
    // What no event can be is a mistake.
    for args in [["--kind", "opened"], ["--host", "a..b"], ["--since", "yesterday"]] {
        stage.world.cli(["events"].iter().chain(&args))?.expect(2)?;
    }
    Ok(())
}

fn followed() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    for _ in 0..3 {
        assert_eq!(ask(&world, "api.weather.example:443", None)?.status, 407);
    }
    let lines = run(&mut world.command(["--format", "json", "events", "--lines"]))?
        .expect(0)?
        .text();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line)?;
        ensure!(event["seq"].is_u64(), "{event}");
    }
    ensure!(lines.lines().count() >= 4, "{lines}");
    // Without a reader there is nothing to go on for.
    let mut shell = std::process::Command::new("sh");
    shell
        .args([
            "-c",
            "\"$0\" --config \"$1\" --format json events --follow | head -n 4",
        ])
        .arg(bailiwick_tests::bailiwick())
        .arg(world.config());
    world.prepare_client(&mut shell);
    let asking = std::thread::scope(|scope| {
        let followed = scope.spawn(|| run(&mut shell));
        // The pipe is noticed with the next event.
        while !followed.is_finished() {
            ask(&world, "api.weather.example:443", None)?;
        }
        followed
            .join()
            .map_err(|_| anyhow::anyhow!("the follower panicked"))?
    })?;
    assert_eq!(asking.expect(0)?.text().lines().count(), 4);
    world.stop()
}

fn proofs() -> Result<()> {
    let stage = Stage::new(&["api.weather.example"], &["api.weather.example"])?;
    drop(stage.tunnel("api.weather.example:443")?);
    let close = stage.wait_for("close", 1)?.remove(0);
    let id = close["connection_id"].as_str().context("an id")?.to_owned();
    wait_until("the close to be under signature", || {
        stage
            .world
            .ok(["evidence", "verify"])
            .is_ok_and(|view| view["logs"][0]["size"].as_u64() > close["seq"].as_u64())
    })?;
    let prove = |args: &[&str]| stage.world.ok(["evidence", "prove"].iter().chain(args));
    let several = prove(&[&id])?;
    let several = several["proofs"].as_array().context("proofs of each event")?;
    ensure!(several.len() >= 2, "open and close: {several:?}");
    for proof in several {
        let entry: Value = serde_json::from_str(proof["entry"].as_str().context("an entry")?)?;
        assert_eq!(
            (&entry["connection_id"], &entry["seq"]),
            (&Value::from(id.as_str()), &proof["index"])
        );
    }
    let one = prove(&[&id, "--kind", "close"])?;
    assert_eq!(one["index"], close["seq"], "{one:#}");
    let range = prove(&["0..3"])?;
    assert_eq!(range["proofs"].as_array().map(Vec::len), Some(3), "{range:#}");
    let out = stage.world.path("both");
    let out = out.display().to_string();
    prove(&["0..2", "--out", &out])?;
    for name in [
        "both-0.entry",
        "both-0.tlog-proof",
        "both-1.entry",
        "both-1.tlog-proof",
    ] {
        ensure!(stage.world.path(name).is_file(), "{name} was not written");
    }
    for args in [["no-such-id"], ["99999999"], ["5..5"]] {
        let refused = stage
            .world
            .cli(["evidence", "prove"].iter().chain(&args))?
            .expect(2)?;
        refused.error_line()?;
    }
    Ok(())
}
