//! Zero-downtime upgrade: a process takes the gateway over from another one, and nobody notices.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{RawClient, Scenario, Server, World, wait_until};
use serde_json::{Value, json};

use crate::service::{Hammer, carries, metric};
use crate::stage::{Stage, has_ended};
use crate::ways_in::OwnRun;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two_take_overs_in_a_row_refuse_nobody_cut_nothing_and_leave_a_clean_night",
        needs: &[],
        run: under_load,
    },
    Scenario {
        name: "a_kill_reaches_what_the_process_before_still_holds",
        needs: &[],
        run: kill,
    },
    Scenario {
        name: "the_process_before_ends_at_the_deadline_and_says_so_in_the_log",
        needs: &[],
        run: deadline,
    },
    Scenario {
        name: "a_successor_that_is_refused_or_gives_up_leaves_the_running_process_serving",
        needs: &[],
        run: refused,
    },
    Scenario {
        name: "a_successor_that_dies_before_it_serves_leaves_the_running_process_serving",
        needs: &[],
        run: dies_before_it_serves,
    },
    Scenario {
        name: "a_successor_that_dies_later_leaves_the_log_to_the_process_before",
        needs: &[],
        run: dies_later,
    },
    Scenario {
        name: "what_the_process_before_took_with_it_is_a_gap",
        needs: &[],
        run: predecessor_dies,
    },
    Scenario {
        name: "a_log_that_another_process_has_ends_the_tunnels_that_nobody_records",
        needs: &[],
        run: log_is_lost,
    },
    Scenario {
        name: "without_its_successor_a_process_looks_for_new_lists_itself",
        needs: &[],
        run: list_is_polled,
    },
    Scenario {
        name: "a_run_that_ends_ends_with_the_process_before_too",
        needs: &[],
        run: run_ends,
    },
    Scenario {
        name: "a_successor_that_stops_has_the_process_before_end_in_good_order",
        needs: &[],
        run: both_stop,
    },
    Scenario {
        name: "a_draining_process_is_stopped_at_once_by_the_second_signal_and_leaves_a_gap",
        needs: &[],
        run: second_signal,
    },
    Scenario {
        name: "listeners_of_runs_and_kept_connections_come_over_or_are_told_to_go",
        needs: &[],
        run: ways_in,
    },
    Scenario {
        name: "a_process_that_is_asked_to_starts_its_successor_itself",
        needs: &[],
        run: by_signal,
    },
];

/// Where everything goes here.
pub const TARGET: &str = "api.weather.example:443";

/// A site with a plugin and its run, where tunnels may go on for `drain` after a take-over.
pub fn stage(drain: &str) -> Result<Stage> {
    stage_with(drain, |_| Ok(()))
}

/// The same, prepared further.
pub fn stage_with(drain: &str, prepare: impl FnOnce(&World) -> Result<()>) -> Result<Stage> {
    let names = ["api.weather.example"];
    let declared = ["tcp://api.weather.example:443", "busy.example"];
    Stage::prepared(&declared, |world, server| {
        prepare(world)?;
        world.lead(&names, &[server.address().to_string()])?;
        world.plain_origin(&["busy.example"])?;
        world.configure(|config| {
            let timeouts: toml::Table = format!("[timeouts]\ndrain = \"{drain}\"").parse()?;
            config["gateway"]
                .as_table_mut()
                .context("gateway")?
                .extend(timeouts);
            Ok(())
        })
    })
}

/// The log verifies, and nothing is missing from it but what is said to be.
pub fn is_whole(world: &World) -> Result<Vec<Value>> {
    let verified = world.ok(["evidence", "verify"])?;
    ensure!(verified["logs"][0]["integrity"] == "whole", "{verified:#}");
    world.events()
}

/// Every event of one kind.
pub fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["kind"] == kind).collect()
}

/// Every connection that was opened ended once.
pub fn all_ended(events: &[Value]) -> Result<()> {
    let ids = |kind| {
        let mut ids: Vec<_> = of_kind(events, kind)
            .iter()
            .filter_map(|event| event["connection_id"].as_str())
            .collect();
        ids.sort_unstable();
        ids
    };
    let (opened, closed) = (ids("open"), ids("close"));
    ensure!(
        opened == closed,
        "{} were opened, {} closed",
        opened.len(),
        closed.len()
    );
    Ok(())
}

/// Waits for a process to end by itself, in good order.
pub fn ends(server: Server) -> Result<()> {
    let status = server.ended()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn under_load() -> Result<()> {
    let mut stage = stage("60s")?;
    let hammer = Hammer::start(stage.world.gateway()?, &stage.run);
    hammer.wait_for_more(20)?;
    for round in 0..2 {
        let (mut client, mut far) = stage.tunnel(TARGET)?;
        carries(&mut client, &mut far)?;
        let before = stage.world.take_over()?;
        carries(&mut client, &mut far)?;
        hammer.wait_for_more(20)?;
        let counted = "bailiwick_gateway_predecessor_live";
        wait_until("the other process's connections to be counted", || {
            metric(&stage.world, counted).is_ok_and(|live| live >= 1)
        })?;
        ensure!(stage.world.admin_page("/readyz")?.starts_with("HTTP/1.1 200"));
        let bytes = vec![7; 300_000];
        far.write_all(&bytes)?;
        ensure!(client.exactly(bytes.len())? == bytes, "byte for byte");
        drop((client, far));
        ends(before).with_context(|| format!("take-over {round}"))?;
        wait_until("nobody to be left behind", || {
            metric(&stage.world, counted).is_ok_and(|live| live == 0)
        })?;
    }
    let refused = hammer.finish();
    ensure!(
        refused.is_empty(),
        "{} refused: {:?}",
        refused.len(),
        refused.first()
    );
    let audit = stage.world.cli(["audit"])?.expect(0)?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    ensure!(report["verdict"] == "conforming", "{report:#}");
    let Stage { run, mut world, .. } = stage;
    drop(run);
    world.stop()?;
    let events = is_whole(&world)?;
    all_ended(&events)?;
    let (starts, stops) = (of_kind(&events, "start"), of_kind(&events, "stop"));
    assert_eq!((starts.len(), stops.len()), (3, 3));
    assert_eq!(of_kind(&events, "gap"), Vec::<&Value>::new());
    // Each names the session that goes on beside it, and that session's `stop` names itself.
    assert_eq!(starts[0].get("scope"), None);
    assert_eq!(starts[1]["scope"], stops[0]["scope"]);
    assert_eq!(starts[2]["scope"], stops[1]["scope"]);
    assert_eq!(stops[2].get("scope"), None);
    Ok(())
}

fn kill() -> Result<()> {
    let mut stage = stage("60s")?;
    let (mut client, far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    let (mut second, second_far) = stage.tunnel(TARGET)?;
    wait_until("both tunnels to be counted", || {
        let status = stage.world.ok(["status"]);
        status.is_ok_and(|status| status["gateways"][0]["live_tunnels"] == 2)
    })?;
    let killed = stage.world.ok(["kill", "acme.weather"])?;
    assert_eq!(killed["tunnels"], 2, "{killed:#}");
    for (client, mut far) in [(&mut client, far), (&mut second, second_far)] {
        ensure!(has_ended(&mut client.socket()) && has_ended(&mut far));
    }
    ends(before)?;
    stage.wait_for("close", 2)?;
    let events = is_whole(&stage.world)?;
    for close in of_kind(&events, "close") {
        assert_eq!(close["outcome"], "killed", "{close:#}");
    }
    let kills = of_kind(&events, "kill");
    assert_eq!(kills.len(), 1, "{kills:#?}");
    assert_eq!(kills[0]["tunnels"], 2);
    Ok(())
}

fn deadline() -> Result<()> {
    let mut stage = stage("1s")?;
    let (client, mut far) = stage.tunnel(TARGET)?;
    let mut before = stage.world.take_over()?;
    // The tunnel would go on; the deadline ends it.
    ends_by_itself(&mut before)?;
    ensure!(has_ended(&mut client.socket()) && has_ended(&mut far));
    let closes = stage.wait_for("close", 1)?;
    assert_eq!(closes[0]["outcome"], "shutdown");
    let events = is_whole(&stage.world)?;
    let kinds: Vec<_> = events.iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds.last(), Some(&&json!("stop")));
    Ok(())
}

fn ends_by_itself(server: &mut Server) -> Result<()> {
    wait_until("the process to end", || !server.is_running())
}

/// Speaks the language of the handover, as far as a test needs it.
pub struct Successor(pub UnixStream);

impl Successor {
    /// One that has said who it is.
    pub fn knock(world: &World, oldest: u32, newest: u32) -> Result<Self> {
        let stream = UnixStream::connect(world.site().join("data/handover/socket"))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut successor = Self(stream);
        let site = world.configuration()?["site"]
            .as_str()
            .context("site")?
            .to_owned();
        successor.say(
            &json!({"say": "hello", "oldest": oldest, "newest": newest, "site": site, "gateway": "gw-1"}),
        )?;
        Ok(successor)
    }

    /// One that is let in, as soon as there is time for it, and what it was told.
    pub fn welcomed(world: &World) -> Result<(Self, Value)> {
        let mut welcomed = None;
        wait_until("a successor to be welcome", || {
            let successor = Self::knock(world, 1, 1).and_then(|mut successor| {
                let answer = successor.hear()?;
                Ok((successor, answer))
            });
            welcomed = successor.ok().filter(|(_, answer)| answer["say"] == "welcome");
            welcomed.is_some()
        })?;
        welcomed.context("seen just now")
    }

    /// Says a message.
    pub fn say(&mut self, message: &Value) -> Result<()> {
        let body = message.to_string();
        self.0.write_all(&u32::try_from(body.len())?.to_be_bytes())?;
        Ok(self.0.write_all(body.as_bytes())?)
    }

    /// The next message.
    pub fn hear(&mut self) -> Result<Value> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.0.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Reads past the bytes that come with the sockets; the sockets are closed.
    pub fn leave_sockets(&mut self, welcome: &Value) -> Result<()> {
        let sockets = welcome["sockets"].as_array().context("sockets")?.len();
        let mut marks = vec![0; sockets.div_ceil(64)];
        Ok(self.0.read_exact(&mut marks)?)
    }
}

fn refused() -> Result<()> {
    let mut stage = stage("60s")?;
    let (mut client, mut far) = stage.tunnel(TARGET)?;
    let answer = Successor::knock(&stage.world, 7, 9)?.hear()?;
    assert_eq!(answer["say"], "refused");
    ensure!(
        answer["why"]
            .as_str()
            .is_some_and(|why| why.contains("versions 1 to 2")),
        "{answer}"
    );
    // One that looks at the sockets and leaves.
    drop(Successor::welcomed(&stage.world)?);
    stage.is_well(TARGET)?;

    // Somebody else's gateway.
    let config = std::fs::read_to_string(stage.world.config())?;
    std::fs::write(
        stage.world.config(),
        config.replacen("name = \"gw-1\"", "name = \"gw-2\"", 1),
    )?;
    let other = stage.world.cli(["serve", "--take-over"])?.expect(1)?;
    ensure!(other.stderr.contains("gw-2") && other.stderr.contains("goes on as before"));
    std::fs::write(stage.world.config(), config)?;
    carries(&mut client, &mut far)?;

    // While the process before still has a tunnel nobody else comes in.
    let before = stage.world.take_over()?;
    let second = stage.world.cli(["serve", "--take-over"])?.expect(1)?;
    ensure!(
        second.stderr.contains("still has connections"),
        "{}",
        second.stderr
    );
    carries(&mut client, &mut far)?;
    drop((client, far));
    ends(before)?;
    stage.is_well(TARGET)?;

    // Nobody serves.
    let Stage { run, mut world, .. } = stage;
    drop(run);
    world.stop()?;
    let nobody = world.cli(["serve", "--take-over"])?.expect(2)?;
    ensure!(nobody.stderr.contains("bailiwick serve"), "{}", nobody.stderr);
    let events = is_whole(&world)?;
    assert_eq!(of_kind(&events, "gap"), Vec::<&Value>::new());
    all_ended(&events)
}

fn dies_before_it_serves() -> Result<()> {
    let stage = stage("60s")?;
    let (mut client, mut far) = stage.tunnel(TARGET)?;
    let hammer = Hammer::start(stage.world.gateway()?, &stage.run);
    hammer.wait_for_more(5)?;
    for _ in 0..2 {
        // An older one, which is spoken to as it speaks.
        let (mut successor, welcome) = Successor::welcomed(&stage.world)?;
        assert_eq!(welcome["version"], 1, "{welcome}");
        successor.leave_sockets(&welcome)?;
        successor.say(&json!({"say": "release"}))?;
        let released = successor.hear()?;
        assert_eq!(released["say"], "released", "{released}");
        // The log is free now, and everybody who wants something waits.
        ensure!(
            std::fs::File::open(stage.world.site().join("data/log/gw-1/lock"))?
                .try_lock()
                .is_ok()
        );
        drop(successor);
        hammer.wait_for_more(20)?;
        carries(&mut client, &mut far)?;
    }
    let refused = hammer.finish();
    ensure!(refused.is_empty(), "{refused:?}");
    // All of it serves again, the control plane too.
    stage.world.ok(["kill", "acme.weather"])?;
    ensure!(has_ended(&mut client.socket()) && has_ended(&mut far));
    let Stage { run, mut world, .. } = stage;
    drop(run);
    world.stop()?;
    let events = is_whole(&world)?;
    assert_eq!(of_kind(&events, "gap"), Vec::<&Value>::new());
    assert_eq!(of_kind(&events, "start").len(), 1);
    all_ended(&events)
}

fn dies_later() -> Result<()> {
    let mut stage = stage("5s")?;
    let (mut client, mut far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    let (theirs, _theirs_far) = stage.tunnel(TARGET)?;
    stage.wait_for("open", 2)?;
    stage.world.kill_server()?;
    ensure!(has_ended(&mut theirs.socket()));
    carries(&mut client, &mut far)?;
    drop((client, far));
    ends(before)?;
    let Stage { run, mut world, .. } = stage;
    drop(run);
    let events = is_whole(&world)?;
    let gaps = of_kind(&events, "gap");
    assert_eq!(gaps.len(), 1, "{events:#?}");
    ensure!(gaps[0]["scope"].is_string(), "{gaps:#?}");
    let closes = of_kind(&events, "close");
    assert_eq!(closes.len(), 1, "{closes:#?}");
    assert_eq!(events.last().context("events")?["kind"], "stop");
    world.serve()?;
    is_whole(&world)?;
    Ok(())
}

fn predecessor_dies() -> Result<()> {
    let mut stage = stage("60s")?;
    let (client, _far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    let (mut theirs, mut theirs_far) = stage.tunnel(TARGET)?;
    before.kill()?;
    ensure!(has_ended(&mut client.socket()));
    let gaps = stage.wait_for("gap", 1)?;
    carries(&mut theirs, &mut theirs_far)?;
    let events = is_whole(&stage.world)?;
    assert_eq!(gaps[0]["scope"], of_kind(&events, "start")[1]["scope"]);
    // The night knows what is missing, and that the other one's tunnel is alive.
    let audit = stage.world.cli(["audit"])?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    ensure!(report["verdict"] == "inconclusive", "{report:#}");
    // And with the predecessor gone, another one may take over.
    drop(Successor::welcomed(&stage.world)?);
    Ok(())
}

fn log_is_lost() -> Result<()> {
    let mut stage = stage("60s")?;
    let (client, mut far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    // Somebody has the log before the one that could take it back notices that it is free.
    before.freeze();
    stage.world.kill_server()?;
    let lock = std::fs::File::open(stage.world.site().join("data/log/gw-1/lock"))?;
    wait_until("the log to be free", || lock.try_lock().is_ok())?;
    before.thaw();
    ensure!(has_ended(&mut client.socket()) && has_ended(&mut far));
    let (status, printed) = before.ended_with()?;
    ensure!(!status.success(), "{status}");
    ensure!(printed.contains("is not on record"), "{printed}");
    lock.unlock()?;

    // What is missing is seen by the next start.
    stage.world.serve()?;
    let audit = stage.world.cli(["audit"])?.expect(3)?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    ensure!(report["verdict"] == "inconclusive", "{report:#}");
    is_whole(&stage.world)?;
    Ok(())
}

fn list_is_polled() -> Result<()> {
    let mut stage = stage("60s")?;
    let (client, mut far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    stage.world.kill_server()?;
    // Without a server the command changes the list by itself, as soon as the folder is free.
    let killed = stage.world.ok(["kill", "acme.weather"])?;
    assert_eq!(killed["tunnels"], 0, "{killed:#}");
    ensure!(has_ended(&mut client.socket()) && has_ended(&mut far));
    ends(before)?;
    let Stage { run, world, .. } = stage;
    drop(run);
    let events = is_whole(&world)?;
    let closes = of_kind(&events, "close");
    assert_eq!(closes.len(), 1, "{closes:#?}");
    assert_eq!(closes[0]["outcome"], "killed");
    all_ended(&events)
}

fn run_ends() -> Result<()> {
    let mut stage = stage("60s")?;
    stage.world.configure(|config| {
        let gateway = config["gateway"].as_table_mut().context("gateway")?;
        gateway.insert("run_grace".into(), "0s".into());
        Ok(())
    })?;
    stage.world.ok(["reload"])?;
    let (client, mut far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    let Stage { run, mut world, .. } = stage;
    drop(run);
    ensure!(has_ended(&mut client.socket()) && has_ended(&mut far));
    ends(before)?;
    world.stop()?;
    let events = is_whole(&world)?;
    assert_eq!(of_kind(&events, "close")[0]["outcome"], "run_ended");
    all_ended(&events)
}

fn both_stop() -> Result<()> {
    let mut stage = stage("60s")?;
    let (client, mut far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    // The successor gives nobody any time, and the log has to stay open until the other one is done.
    stage.world.configure(|config| {
        config["gateway"]["timeouts"]["drain"] = "0s".into();
        Ok(())
    })?;
    stage.world.ok(["reload"])?;
    let Stage { run, mut world, .. } = stage;
    world.stop()?;
    ensure!(has_ended(&mut client.socket()) && has_ended(&mut far));
    ends(before)?;
    let events = is_whole(&world)?;
    // Had the run ended before, that would have ended the tunnel.
    drop(run);
    assert_eq!(of_kind(&events, "close")[0]["outcome"], "shutdown");
    assert_eq!(of_kind(&events, "stop").len(), 2);
    assert_eq!(of_kind(&events, "gap"), Vec::<&Value>::new());
    all_ended(&events)
}

fn second_signal() -> Result<()> {
    let mut stage = stage("60s")?;
    // A connection to the admin port that was there before hears the one it is with.
    let admin = stage.world.configuration()?["gateway"]["admin"]
        .as_str()
        .context("gateway.admin")?
        .parse()?;
    let mut admin = RawClient::connect(admin)?;
    let mut ready = || -> Result<u16> {
        admin.send(b"GET /readyz HTTP/1.1\r\nHost: admin\r\n\r\n")?;
        Ok(admin.answer()?.status)
    };
    assert_eq!(ready()?, 200);
    let (mut client, mut far) = stage.tunnel(TARGET)?;
    let before = stage.world.take_over()?;
    assert_eq!(ready()?, 503);
    ensure!(stage.world.admin_page("/readyz")?.starts_with("HTTP/1.1 200"));
    before.terminate();
    wait_until("the signal to be heard", || {
        before.printed().contains("tunnels are being drained already")
    })?;
    carries(&mut client, &mut far)?;
    before.terminate();
    ensure!(has_ended(&mut client.socket()));
    ends(before)?;
    let gaps = stage.wait_for("gap", 1)?;
    ensure!(gaps[0]["scope"].is_string(), "{gaps:#?}");
    is_whole(&stage.world)?;
    Ok(())
}

fn ways_in() -> Result<()> {
    let mut stage = stage("60s")?;
    let unix = OwnRun::start(&stage.world, &stage.plugin, &["--listener", "unix,tcp"])?;
    let socket = unix.socket()?;
    let (client, far) = stage.tunnel(TARGET)?;
    // A connection that is kept for more requests.
    let mut kept = stage.client()?;
    let ask = |kept: &mut RawClient| -> Result<()> {
        let answer = {
            stage.send_request(kept, "GET http://busy.example/", "Host: busy.example\r\n")?;
            kept.answer()?
        };
        ensure!(answer.status < 500, "{answer:?}");
        Ok(())
    };
    ask(&mut kept)?;
    let before = stage.world.take_over()?;
    ensure!(has_ended(&mut kept.socket()), "an idle connection is told to go");
    let through = |socket: &std::path::Path| -> Result<u16> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(format!("CONNECT {TARGET} HTTP/1.1\r\nHost: {TARGET}\r\n\r\n").as_bytes())?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(String::from_utf8_lossy(&head[9..]).parse()?)
    };
    assert_eq!(through(&socket)?, 200);
    drop((client, far));
    ends(before)?;
    // The file goes with the one who serves it, and not with the one who made it.
    assert_eq!(through(&socket)?, 200);
    assert_eq!(stage.world.ok(["status"])?["gateways"][0]["run_listeners"], 2);
    drop(unix);
    wait_until("the run's socket to be gone", || !socket.exists())?;
    Ok(())
}

fn by_signal() -> Result<()> {
    let mut world = World::new()?;
    // Where a service manager would listen.
    let notices = world.path("notices");
    let manager = UnixDatagram::bind(&notices)?;
    manager.set_nonblocking(true)?;
    let named = format!("NOTIFY_SOCKET={}", notices.display());
    world.serve_through(&["env", &named])?;
    world.server()?.succeed();
    wait_until("the successor to be said to serve", || {
        let printed = world.server().map(Server::printed).unwrap_or_default();
        printed.matches("admin    http://").count() == 2
    })?;
    let process = successor_in(&world.server()?.printed()).context("the successor's process")?;
    // It is nobody's child here, so it is ended by hand.
    let end = Ended(process);
    world.ended()?;
    ensure!(world.admin_page("/readyz")?.starts_with("HTTP/1.1 200"));
    let mut told = Vec::new();
    let mut notice = [0; 4096];
    while let Ok(length) = manager.recv(&mut notice) {
        told.extend(
            String::from_utf8_lossy(&notice[..length])
                .lines()
                .map(str::to_owned),
        );
    }
    let at = |wanted: &str| told.iter().position(|line| line == wanted);
    // The one that leaves names the other, and never says that the service stops.
    ensure!(at(&format!("MAINPID={process}")).is_some(), "{told:?}");
    ensure!(at("STOPPING=1").is_none(), "{told:?}");
    assert_eq!(told.iter().filter(|line| *line == "READY=1").count(), 2);
    let events = is_whole(&world)?;
    assert_eq!(of_kind(&events, "start").len(), 2);
    drop(end);
    Ok(())
}

fn successor_in(printed: &str) -> Option<i32> {
    let line = printed
        .lines()
        .find(|line| line.contains("a successor was started"))?;
    let digits = line.rsplit("process=").next()?;
    digits
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty())?
        .parse()
        .ok()
}

/// A process that is asked to stop, and waited for, at the end.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process, test_kill_process};
        if let Some(process) = Pid::from_raw(self.0) {
            let _ = kill_process(process, Signal::TERM);
            let _ = wait_until("the successor to end", || test_kill_process(process).is_err());
        }
    }
}
