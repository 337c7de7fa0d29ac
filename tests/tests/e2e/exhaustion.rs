//! What the gateway does when it runs out of something, or waits for somebody who is gone: a clear
//! answer, a metric, and everything as before once there is enough again.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{
    Answer, DEADLINE, NameServer, Peer, RawClient, RawServer, Reply, Scenario, World, bailiwick, run,
    wait_until,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::service::metric;
use crate::stage::Stage;
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "without_descriptors_clients_are_told_or_wait_and_are_served_once_there_are_some",
        needs: &[],
        run: descriptors,
    },
    Scenario {
        name: "clients_never_take_the_descriptors_that_the_log_needs",
        needs: &[],
        run: few_descriptors,
    },
    Scenario {
        name: OUT_OF_PORTS,
        needs: &[Peer::OwnNetwork],
        run: ports,
    },
    Scenario {
        name: "a_name_server_that_is_down_is_a_gateway_timeout_until_it_is_up",
        needs: &[],
        run: name_server,
    },
    Scenario {
        name: "a_black_hole_is_a_gateway_timeout_and_holds_nobody_else_up",
        needs: &[],
        run: black_hole,
    },
    Scenario {
        name: "whoever_stalls_is_ended_by_the_idle_timeout_and_nobody_else_notices",
        needs: &[],
        run: stalled,
    },
];

const OUT_OF_PORTS: &str = "without_local_ports_the_gateway_says_so_and_goes_on_once_there_are_some";
const TARGET: &str = "api.weather.example:443";
const EXHAUSTED: &str = "bailiwick_gateway_exhausted_total";

fn stage() -> Result<Stage> {
    Stage::new(&["api.weather.example"], &["api.weather.example"])
}

/// Whether the answer blames the gateway and no destination.
fn is_exhausted(answer: &Answer) -> bool {
    let status = answer.header("proxy-status").unwrap_or_default();
    (answer.status, answer.reason()) == (503, "connect_failed") && status.contains("proxy_internal_error")
}

/// Lets the server have so many descriptors more than it has now, or as many as ever.
fn leave(world: &World, more: Option<usize>) -> Result<()> {
    let id = world.server()?.id();
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let most = getrlimit(Resource::Nofile).maximum;
    let current = match more {
        None => most,
        Some(more) => {
            let open = std::fs::read_dir(format!("/proc/{id}/fd"))?;
            let open: BTreeSet<u64> = open
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .collect();
            // A limit is on numbers, and what was closed left holes among them.
            let mut free = (0..).filter(|number| !open.contains(number));
            free.nth(more)
        }
    };
    let limit = Rlimit {
        current,
        maximum: most,
    };
    prlimit(pid, Resource::Nofile, limit)?;
    Ok(())
}

fn descriptors() -> Result<()> {
    let stage = stage()?;
    let world = &stage.world;
    stage.is_well(TARGET)?;
    // Room for a client, and none for its connection. Whatever the process opens now and then may be
    // quicker, so this is tried until it meets just that.
    wait_until("an answer that says what is missing", || {
        let met = leave(world, Some(1))
            .and_then(|()| stage.client())
            .and_then(|client| {
                client
                    .socket()
                    .set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
                let mut client = client;
                stage.send_connect(&mut client, TARGET)?;
                client.answer()
            })
            .is_ok_and(|answer| is_exhausted(&answer));
        let _ = leave(world, None);
        met
    })?;
    // No room at all: the kernel takes the client, and it waits.
    leave(world, Some(0))?;
    let mut waiting = Vec::new();
    wait_until("the log to say why nobody is accepted", || {
        if let Ok(mut client) = stage.client() {
            let _ = stage.send_connect(&mut client, TARGET);
            waiting.push(client);
        }
        let _ = leave(world, Some(0));
        world
            .server()
            .is_ok_and(|server| server.printed().contains("client not accepted"))
    })?;
    leave(world, None)?;
    for mut client in waiting {
        let answer = client.answer()?;
        // Evidence that could not be written meanwhile refuses as it should.
        ensure!(
            answer.status == 200 || answer.status == 503,
            "a client that waited is answered: {answer:?}"
        );
    }
    wait_until("everything to be as before", || {
        world
            .admin_page("/readyz")
            .is_ok_and(|page| page.starts_with("HTTP/1.1 200"))
            && stage.connect(TARGET).is_ok_and(|answer| answer.status == 200)
    })?;
    ensure!(metric(world, &format!("{EXHAUSTED}{{resource=\"files\"}}"))? >= 2);
    let verified = world.ok(["evidence", "verify"])?;
    assert_eq!(verified["logs"][0]["integrity"], "whole", "{verified:#}");
    Ok(())
}

fn few_descriptors() -> Result<()> {
    let mut world = World::new()?;
    let server = RawServer::start()?;
    world.lead(&["api.weather.example"], &[server.address().to_string()])?;
    world.serve_through(&["sh", "-c", "ulimit -n 160; exec \"$@\"", "sh"])?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let plugin_run = LiveRun::start(&world, &plugin, &[])?;
    // 40 places, as two descriptors each leave the other half alone.
    let mut tunnels = Vec::new();
    for _ in 0..40 {
        let mut client = RawClient::connect(world.gateway()?)?;
        let answer = client.tunnel(TARGET, Some(&plugin_run.credentials))?;
        ensure!(answer.status == 200, "tunnel {}: {answer:?}", tunnels.len());
        tunnels.push((client, server.accept()?));
    }
    let turned_away = ask(&world, TARGET, Some(&plugin_run.credentials))?;
    assert_eq!((turned_away.status, turned_away.reason()), (503, "limit"));
    ensure!(metric(&world, "bailiwick_gateway_clients_turned_away_total")? >= 1);
    // Full of clients, the house still does everything else.
    let ready = world.admin_page("/readyz")?;
    ensure!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    world.ok(["evidence", "verify"])?;
    world.ok(["status"])?;
    tunnels.truncate(39);
    wait_until("a place to be free", || {
        ask(&world, TARGET, Some(&plugin_run.credentials)).is_ok_and(|answer| answer.status == 200)
    })
}

/// Runs this very scenario again where there are few ports to connect from.
fn ports() -> Result<()> {
    const INSIDE: &str = "BAILIWICK_FEW_PORTS";
    if std::env::var_os(INSIDE).is_some() {
        return out_of_ports();
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--", "sh", "-euc"])
        .arg(
            "ip link set lo up; echo '50000 50063' >/proc/sys/net/ipv4/ip_local_port_range; \
             exec \"$0\" --exact \"$1\"",
        )
        .arg(std::env::current_exe()?)
        .arg(format!("exhaustion::{OUT_OF_PORTS}"))
        .env(INSIDE, "1")
        .env("BAILIWICK_BIN", bailiwick());
    let inside = run(&mut command)?.expect(0)?;
    ensure!(inside.text().contains("1 passed"), "{}", inside.text());
    Ok(())
}

fn out_of_ports() -> Result<()> {
    let mut world = World::new()?;
    let server = RawServer::start()?;
    world.lead(&["api.weather.example"], &[server.address().to_string()])?;
    // Clients that need no port themselves; and a house that stands outside the few there are, for
    // whichever of them was free a moment ago somebody else may have now.
    let socket = world.path("gateway.sock");
    world.configure(|config| {
        let gateway = config["gateway"].as_table_mut().context("gateway")?;
        let unix = format!("unix:{}", socket.display());
        gateway.insert("listen".into(), vec!["127.0.0.1:40001".to_owned(), unix].into());
        gateway.insert("admin".into(), "127.0.0.1:40002".into());
        let control = config["control"].as_table_mut().context("control")?;
        control.insert("listen".into(), "127.0.0.1:40003".into());
        Ok(())
    })?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let plugin_run = LiveRun::start(&world, &plugin, &[])?;
    let credentials = plugin_run.credentials.header();
    let connect = || -> Result<(UnixStream, String)> {
        let mut client = UnixStream::connect(&socket)?;
        client.set_read_timeout(Some(DEADLINE))?;
        client.write_all(format!("CONNECT {TARGET} HTTP/1.1\r\n{credentials}\r\n").as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.extend(byte);
        }
        Ok((client, String::from_utf8(head)?))
    };
    let mut tunnels = Vec::new();
    let refused = loop {
        let (client, head) = connect()?;
        if !head.starts_with("HTTP/1.1 200") {
            break head;
        }
        tunnels.push((client, server.accept()?));
        ensure!(tunnels.len() < 64, "there are no more ports than this");
    };
    ensure!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("proxy_internal_error"),
        "{refused}"
    );
    // The admin port needs one of the ports as well, for whoever asks.
    tunnels.truncate(tunnels.len() / 2);
    wait_until("a port to be free again", || {
        connect().is_ok_and(|(_, head)| head.starts_with("HTTP/1.1 200"))
    })?;
    let counted = metric(&world, &format!("{EXHAUSTED}{{resource=\"local_addresses\"}}"))?;
    ensure!(counted >= 1, "{counted}");
    Ok(())
}

fn name_server() -> Result<()> {
    // Both families and both attempts of the first lookup go unanswered.
    let mut replies = vec![Reply::Silence; 2];
    replies.push(Reply::of(&["127.0.0.1"]));
    let names = NameServer::start([("api.weather.example", replies)])?;
    let stage = Stage::prepared(&["api.weather.example"], |world, _| {
        world.resolve_with(names.address())?;
        timeouts(world, "lookup = \"400ms\"")
    })?;
    let target = format!("api.weather.example:{}", stage.server.address().port());
    let down = stage.connect(&target)?;
    ensure!((down.status, down.reason()) == (504, "dns_failed"), "{down:?}");
    ensure!(
        metric(
            &stage.world,
            "bailiwick_gateway_ended_total{outcome=\"dns_failed\"}"
        )? >= 1
    );
    wait_until("the name to be found", || {
        stage.connect(&target).is_ok_and(|answer| answer.status == 200)
    })
}

fn timeouts(world: &World, lines: &str) -> Result<()> {
    world.configure(|config| {
        let table: toml::Table = format!("[timeouts]\n{lines}\n").parse()?;
        config["gateway"].as_table_mut().context("gateway")?.extend(table);
        Ok(())
    })
}

fn black_hole() -> Result<()> {
    let deaf = RawServer::deaf()?;
    let stage = Stage::prepared(&["api.weather.example", "hole.example"], |world, server| {
        world.lead(&["hole.example"], &[deaf.address().to_string()])?;
        world.lead(&["api.weather.example"], &[server.address().to_string()])?;
        timeouts(world, "connect = \"1s\"")
    })?;
    let mut lost = Vec::new();
    for _ in 0..20 {
        let mut client = stage.client()?;
        stage.send_connect(&mut client, "hole.example:443")?;
        lost.push(client);
    }
    stage.is_well(TARGET)?;
    for mut client in lost {
        let answer = client.answer()?;
        ensure!(
            (answer.status, answer.reason()) == (504, "connect_timeout"),
            "{answer:?}"
        );
        let status = answer.header("proxy-status").unwrap_or_default();
        ensure!(status.contains("connection_timeout"), "{status}");
    }
    let ended = "bailiwick_gateway_ended_total{outcome=\"connect_timeout\"}";
    assert_eq!(metric(&stage.world, ended)?, 20);
    stage.is_well(TARGET)
}

/// Writes until nothing more is taken, but never without end.
fn fill(stream: &TcpStream) -> Result<()> {
    const MOST: usize = 64 << 20;
    stream.set_write_timeout(Some(std::time::Duration::from_millis(300)))?;
    let (mut written, block) = (0, vec![0x42; 64 << 10]);
    while written < MOST {
        match (&*stream).write(&block) {
            Ok(count) => written += count,
            Err(_) => return Ok(()),
        }
    }
    anyhow::bail!("the gateway took {MOST} bytes for somebody who takes none")
}

fn stalled() -> Result<()> {
    let stage = Stage::prepared(&["api.weather.example"], |world, server| {
        world.lead(&["api.weather.example"], &[server.address().to_string()])?;
        timeouts(world, "idle = \"2s\"")
    })?;
    // A client that is gone and never said so looks like one that is silent.
    let (mut silent, mut silent_far) = stage.tunnel(TARGET)?;
    // A server whose window is closed.
    let (flooding, mut full_far) = stage.tunnel(TARGET)?;
    fill(flooding.socket())?;
    // A body that stops in the middle.
    let mut dripping = stage.client()?;
    stage.send_request(
        &mut dripping,
        "POST http://api.weather.example:443/upload",
        "Host: api.weather.example:443\r\nContent-Length: 1000\r\n",
    )?;
    let mut uploaded = stage.server.accept()?;
    crate::stage::head(&mut uploaded)?;
    dripping.send(b"a few bytes")?;
    ensure!(crate::stage::exactly(&mut uploaded, 11)? == b"a few bytes");
    stage.is_well(TARGET)?;

    silent.drain();
    dripping.drain();
    for far in [&mut silent_far, &mut full_far, &mut uploaded] {
        ensure!(crate::stage::has_ended(far), "the far end is closed too");
    }
    let timed_out = "bailiwick_gateway_ended_total{outcome=\"idle_timeout\"}";
    wait_until("all three to be counted", || {
        metric(&stage.world, timed_out).is_ok_and(|count| count >= 3)
    })?;
    stage.is_well(TARGET)
}
