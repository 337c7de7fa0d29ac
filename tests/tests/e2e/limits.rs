//! What one plugin may take of the gateway, and what the gateway says of itself while it serves: limits,
//! histograms, lines in its log, and its words to a service manager.

use std::os::unix::net::UnixDatagram;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{
    Answer, Frame, FrameClient, NameServer, RawClient, RawServer, Reply, Scenario, World, wait_until,
};

use crate::adversarial_http2::basic;
use crate::service::{carries, metric};
use crate::stage::{Stage, has_ended};
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "each_quota_of_a_plugin_is_said_and_given_back_and_is_nobody_elses",
        needs: &[],
        run: quotas,
    },
    Scenario {
        name: "streams_above_the_limit_are_refused_and_the_others_go_on",
        needs: &[],
        run: streams,
    },
    Scenario {
        name: "lookups_of_one_plugin_wait_for_each_other_and_for_nobody_elses",
        needs: &[],
        run: lookups,
    },
    Scenario {
        name: "a_connection_has_an_end_where_the_site_sets_one_however_busy_it_is",
        needs: &[],
        run: total_time,
    },
    Scenario {
        name: "what_takes_time_is_counted_in_histograms",
        needs: &[],
        run: histograms,
    },
    Scenario {
        name: "whatever_is_refused_or_fails_is_one_line_without_a_secret",
        needs: &[],
        run: lines,
    },
    Scenario {
        name: "the_limit_of_open_files_is_raised_and_said",
        needs: &[],
        run: open_files,
    },
    Scenario {
        name: "the_service_manager_hears_of_start_reload_life_and_stop",
        needs: &[],
        run: service_manager,
    },
];

const NAME: &str = "api.weather.example";
const TARGET: &str = "api.weather.example:443";

/// Puts tables into `[gateway]`.
fn configure(world: &World, tables: &str) -> Result<()> {
    world.configure(|config| {
        let tables: toml::Table = tables.parse()?;
        config["gateway"]
            .as_table_mut()
            .context("gateway")?
            .extend(tables);
        Ok(())
    })
}

pub fn stage(tables: &str) -> Result<Stage> {
    Stage::prepared(&[NAME], |world, server| {
        world.lead(&[NAME], &[server.address().to_string()])?;
        configure(world, tables)
    })
}

pub fn is_over_quota(answer: &Answer) -> bool {
    (answer.status, answer.reason(), answer.header("retry-after")) == (429, "quota", Some("1"))
}

fn quotas() -> Result<()> {
    for (quota, runs, fits) in [
        ("connections_per_run = 3", 1, 3),
        ("connections_per_plugin = 4", 2, 4),
        // So many a second, and twice as many at once.
        ("connections_per_second = 1", 1, 2),
    ] {
        let stage = stage(&format!("[limits]\n{quota}"))?;
        let world = &stage.world;
        let second = LiveRun::start(world, &stage.plugin, &[])?;
        let runs = &[&stage.run.credentials, &second.credentials][..runs];
        let neighbour = world.plugin("acme.neighbour").declares(&[NAME]).admit("high")?;
        let neighbour = LiveRun::start(world, &neighbour, &[])?;
        // One after the other until one is too many; each stands meanwhile.
        let mut standing = Vec::new();
        let over = loop {
            let mut client = stage.client()?;
            let run = runs[standing.len() % runs.len()];
            let answer = client.tunnel(TARGET, Some(run))?;
            if answer.status != 200 {
                break answer;
            }
            standing.push((client, stage.server.accept()?));
            ensure!(standing.len() < 60, "{quota} lets everybody through");
        };
        ensure!(is_over_quota(&over), "{quota}: {over:?}");
        // A rate gives room again while the others are opened.
        let is_rate = quota.contains("per_second");
        ensure!(
            standing.len() == fits || is_rate && standing.len() > fits,
            "{quota}: {}",
            standing.len()
        );
        let theirs = ask(world, TARGET, Some(&neighbour.credentials))?;
        ensure!(theirs.status == 200, "{quota}: a neighbour: {theirs:?}");
        drop(stage.server.accept()?);
        for (client, far) in &mut standing {
            carries(client, far)?;
        }
        let told = stage.wait_for("refused", 1)?;
        ensure!(
            told[0]["reason"] == "quota" && told[0]["plugin_id"] == "acme.weather" && told[0]["count"] == 1,
            "{told:#?}"
        );
        drop(standing);
        wait_until("what ended to be given back", || {
            ask(world, TARGET, Some(runs[0])).is_ok_and(|answer| answer.status == 200)
        })?;
    }
    Ok(())
}

fn streams() -> Result<()> {
    const REFUSED_STREAM: u32 = 7;
    let stage = stage("[limits]\nhttp2_streams = 2")?;
    let mut client = FrameClient::connect(stage.world.gateway()?)?;
    let proof = basic(&stage.run.credentials);
    let request = |id| {
        let fields = [
            (":method", "CONNECT"),
            (":authority", TARGET),
            ("proxy-authorization", proof.as_str()),
        ];
        Frame::request(id, &fields)
    };
    let mut far = Vec::new();
    for id in [1, 3] {
        client.send(&request(id))?;
        client.until(|frame| frame.stream == id && frame.is_success())?;
        far.push(stage.server.accept()?);
    }
    client.send(&request(5))?;
    let refused = client.refusal(5)?;
    assert_eq!(
        (refused.kind, refused.reason()),
        (Frame::RESET, Some(REFUSED_STREAM))
    );
    let told = stage.wait_for("refused", 1)?;
    assert_eq!(told[0]["reason"], "limit", "{told:#?}");
    // The two that stand go on; with one of them gone there is room for another.
    client.send(&Frame::new(Frame::DATA, 0, 1, *b"ping"))?;
    ensure!(crate::stage::exactly(&mut far[0], 4)? == b"ping");
    client.send(&Frame::reset(3, 8))?;
    ensure!(has_ended(&mut far[1]));
    stage.wait_for("close", 1)?;
    client.send(&request(7))?;
    client.until(|frame| frame.stream == 7 && frame.is_success())?;
    drop(stage.server.accept()?);
    stage.is_well(TARGET)
}

fn lookups() -> Result<()> {
    let names = NameServer::start([
        ("slow.example", vec![Reply::Silence]),
        ("theirs.example", vec![Reply::of(&["127.0.0.1"])]),
        ("behind.example", vec![Reply::of(&["127.0.0.1"])]),
    ])?;
    let stage = Stage::prepared(&["slow.example", "behind.example"], |world, _| {
        world.resolve_with(names.address())?;
        configure(
            world,
            "[limits]\nlookups_per_plugin = 1\n[timeouts]\nlookup = \"3s\"",
        )
    })?;
    let world = &stage.world;
    let neighbour = world
        .plugin("acme.neighbour")
        .declares(&["theirs.example"])
        .admit("high")?;
    let neighbour = LiveRun::start(world, &neighbour, &[])?;
    let port = stage.server.address().port();
    let mut slow = stage.client()?;
    stage.send_connect(&mut slow, "slow.example:443")?;
    names.wait_for_question("slow.example")?;
    let mut behind = stage.client()?;
    stage.send_connect(&mut behind, format!("behind.example:{port}"))?;
    let theirs = ask(
        world,
        &format!("theirs.example:{port}"),
        Some(&neighbour.credentials),
    )?;
    ensure!(
        theirs.status == 200,
        "a neighbour is looked up at once: {theirs:?}"
    );
    assert_eq!(
        names.asked("behind.example"),
        0,
        "the plugin's own second question waits"
    );
    let answer = slow.answer()?;
    assert_eq!(
        (answer.status, answer.reason()),
        (504, "dns_failed"),
        "{answer:?}"
    );
    let answer = behind.answer()?;
    ensure!(answer.status == 200, "it had its turn: {answer:?}");
    Ok(())
}

fn total_time() -> Result<()> {
    let stage = stage("[timeouts]\ntotal = \"2s\"")?;
    let (mut client, mut far) = stage.tunnel(TARGET)?;
    // Never idle, and over all the same.
    let mut rounds = 0;
    while carries(&mut client, &mut far).is_ok() {
        rounds += 1;
    }
    ensure!(rounds > 0 && has_ended(&mut far));
    let closes = stage.wait_for("close", 1)?;
    assert_eq!(closes[0]["timeout"], "total", "{closes:#?}");
    stage.is_well(TARGET)
}

/// How many were counted, the buckets of that histogram, and whether the last of these counts them all.
fn histogram(world: &World, name: &str) -> Result<(u64, usize)> {
    let name = format!("bailiwick_gateway_{name}_seconds");
    let count = metric(world, &format!("{name}_count"))?;
    let page = world.admin_page("/metrics")?;
    let buckets: Vec<u64> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix(&name)?
                .strip_prefix("_bucket{le=\"")?
                .split_once("\"} ")
        })
        .map(|(_, number)| number.trim().parse())
        .collect::<Result<_, _>>()?;
    ensure!(
        buckets.is_sorted() && buckets.last() == Some(&count),
        "{name}: {buckets:?}, {count}"
    );
    Ok((count, buckets.len()))
}

fn histograms() -> Result<()> {
    let names = NameServer::start([("looked-up.example", vec![Reply::of(&["127.0.0.1"])])])?;
    let stage = Stage::prepared(&["looked-up.example"], |world, _| {
        world.resolve_with(names.address())
    })?;
    let all = ["lookup", "connect", "queueing", "kill"];
    for name in all {
        let (count, buckets) = histogram(&stage.world, name)?;
        ensure!(count == 0 && buckets > 8, "{name}: {count} in {buckets} buckets");
    }
    let target = format!("looked-up.example:{}", stage.server.address().port());
    let (client, far) = stage.tunnel(&target)?;
    stage.world.ok(["kill", "acme.weather"])?;
    ensure!(has_ended(&mut client.socket()));
    drop(far);
    for name in all {
        let (count, _) = histogram(&stage.world, name)?;
        ensure!(count >= 1, "{name} counted {count}");
    }
    Ok(())
}

fn lines() -> Result<()> {
    let nobody = bailiwick_tests::free_port()?;
    let names = NameServer::start([("nowhere.example", vec![Reply::NoSuchName])])?;
    let stage = Stage::prepared(&[NAME], |world, server| {
        world.lead(&[NAME], &[server.address().to_string()])?;
        world.lead(&["closed.example"], &[nobody.to_string()])?;
        world.resolve_with(names.address())
    })?;
    let forged = "b64-cAnArY-forged-token";
    let header = |user: &str, password: &str| {
        let credentials = bailiwick_tests::ProxyCredentials {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        credentials.header()
    };
    let raw = |text: String| -> Result<u16> {
        let mut client = stage.client()?;
        client.send(text.as_bytes())?;
        Ok(client.answer()?.status)
    };
    let own = stage.run.credentials.header();
    let user = &stage.run.credentials.user;
    for (text, status, line) in [
        (
            format!("CONNECT {TARGET} HTTP/1.1\r\n\r\n"),
            407,
            "connection refused",
        ),
        (
            format!("CONNECT {TARGET} HTTP/1.1\r\n{}\r\n", header(user, forged)),
            407,
            "connection refused",
        ),
        (
            format!("GET http://name:cAnArY-url@{NAME}/cAnArY-path?cAnArY-query HTTP/1.1\r\n{own}\r\n"),
            400,
            "connection refused",
        ),
        (
            format!("CONNECT 169.254.169.254:80 HTTP/1.1\r\nCookie: cAnArY-cookie\r\n{own}\r\n"),
            403,
            "connection refused",
        ),
        (
            format!("CONNECT closed.example:443 HTTP/1.1\r\n{own}\r\n"),
            502,
            "connection failed",
        ),
        (
            format!("GET http://nowhere.example/cAnArY-path HTTP/1.1\r\nHost: nowhere.example\r\n{own}\r\n"),
            502,
            "connection failed",
        ),
    ] {
        let said = || -> Result<Vec<String>> {
            let printed = stage.world.server()?.printed();
            let lines = printed
                .lines()
                .filter(|line| line.contains("connection refused") || line.contains("connection failed"));
            Ok(lines.map(str::to_owned).collect())
        };
        let before = said()?.len();
        assert_eq!(raw(text.clone())?, status, "{text}");
        wait_until("a line", || said().is_ok_and(|lines| lines.len() > before))?;
        let lines = said()?;
        assert_eq!(lines.len(), before + 1, "one line: {lines:#?}");
        ensure!(
            lines[before].contains(line) && lines[before].contains("connection_id="),
            "{lines:#?}"
        );
    }
    // What is served is no line.
    stage.is_well(TARGET)?;
    let printed = stage.world.server()?.printed();
    assert_eq!(printed.matches("connection_id=").count(), 6, "{printed}");
    for secret in ["cAnArY", stage.run.credentials.password.as_str()] {
        ensure!(!printed.contains(secret), "{secret} in {printed}");
    }
    Ok(())
}

fn open_files() -> Result<()> {
    let mut world = World::new()?;
    world.serve_through(&["sh", "-c", "ulimit -S -n 128; exec \"$@\"", "sh"])?;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.server()?.id()))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let words: Vec<_> = line
        .context("a limit of open files")?
        .split_whitespace()
        .collect();
    ensure!(words[0] == words[1] && words[0] != "128", "{words:?}");
    let wanted = format!("open_files={}", words[0]);
    // It is ready a moment before it has said so.
    wait_until("the limit to be said, with the clients that fit", || {
        let printed = world
            .server()
            .map(bailiwick_tests::Server::printed)
            .unwrap_or_default();
        printed.lines().any(|line| {
            line.contains("limit of open files") && line.contains(&wanted) && line.contains("clients=")
        })
    })?;
    world.stop()
}

fn service_manager() -> Result<()> {
    let mut world = World::new()?;
    let server = RawServer::start()?;
    world.lead(&[NAME], &[server.address().to_string()])?;
    let notices = world.path("notices");
    let manager = UnixDatagram::bind(&notices)?;
    manager.set_nonblocking(true)?;
    let named = format!("NOTIFY_SOCKET={}", notices.display());
    world.serve_through(&["env", &named, "WATCHDOG_USEC=200000"])?;
    let mut told: Vec<String> = Vec::new();
    let mut hear = || {
        let mut notice = [0; 4096];
        while let Ok(length) = manager.recv(&mut notice) {
            told.extend(
                String::from_utf8_lossy(&notice[..length])
                    .lines()
                    .map(str::to_owned),
            );
        }
        told.clone()
    };
    let count = |told: &[String], wanted: &str| told.iter().filter(|line| *line == wanted).count();
    wait_until("the watchdog to be shown life again and again", || {
        let told = hear();
        count(&told, "READY=1") == 1 && count(&told, "WATCHDOG=1") >= 4
    })?;
    // A process that does not get round to anything shows none.
    world.server()?.freeze();
    let shown = count(&hear(), "WATCHDOG=1");
    let mut client = RawClient::connect(world.gateway()?)?;
    client
        .socket()
        .set_read_timeout(Some(std::time::Duration::from_millis(600)))?;
    ensure!(
        client.answer().is_err(),
        "three intervals in which nobody answers"
    );
    let while_frozen = count(&hear(), "WATCHDOG=1") - shown;
    ensure!(while_frozen <= 1, "{while_frozen} signs of life");
    world.server()?.thaw();
    world.ok(["reload"])?;
    wait_until("the reload to be told, and its end", || {
        let told = hear();
        count(&told, "RELOADING=1") == 1 && count(&told, "READY=1") == 2
    })?;
    ensure!(hear().iter().any(|line| line.starts_with("MONOTONIC_USEC=")));
    world.stop()?;
    let told = hear();
    ensure!(count(&told, "STOPPING=1") == 1, "{told:?}");
    Ok(())
}
