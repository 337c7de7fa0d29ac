//! What whoever runs the gateway does to it while it serves: reload it, hand it sockets, replace it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, RawClient, RawServer, Scenario, World, bailiwick, run, wait_until, workspace};

use crate::stage::Stage;
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_reload_changes_the_rules_and_drops_no_tunnel",
        needs: &[],
        run: reload,
    },
    Scenario {
        name: "a_file_that_cannot_be_used_changes_nothing_and_is_said_to_be_wrong",
        needs: &[],
        run: broken_files,
    },
    Scenario {
        name: "sockets_that_were_handed_over_are_used_by_their_address_and_others_are_named",
        needs: &[Peer::Python],
        run: handed_sockets,
    },
    Scenario {
        name: "a_restart_on_handed_sockets_refuses_nobody_and_keeps_tunnels_until_the_deadline",
        needs: &[],
        run: restart,
    },
    Scenario {
        name: "the_sample_units_are_sound_and_hold_the_port_of_a_fresh_site",
        needs: &[Peer::SystemdAnalyze],
        run: units,
    },
];

/// The units of `packaging/systemd`, as their text.
const UNITS: [&str; 2] = ["bailiwick.service", "bailiwick.socket"];
const TARGET: &str = "api.weather.example:443";
/// Where everybody goes who only counts.
pub const BUSY: &str = "busy.example:443";

/// The number of a metric, 0 where it was never counted.
pub fn metric(world: &World, name: &str) -> Result<u64> {
    let page = world.admin_page("/metrics")?;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.map_or(Ok(0), |number| number.trim().parse())?)
}

fn strings(value: &serde_json::Value) -> Vec<&str> {
    let array = value.as_array().map(Vec::as_slice).unwrap_or_default();
    array.iter().filter_map(serde_json::Value::as_str).collect()
}

/// A tunnel that was answered with 200, and its far end.
fn tunnel(stage: &Stage) -> Result<(RawClient, std::net::TcpStream)> {
    let mut client = stage.client()?;
    let answer = client.tunnel(TARGET, Some(&stage.run.credentials))?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok((client, stage.server.accept()?))
}

/// Says something in a tunnel and hears the answer.
pub fn carries(client: &mut RawClient, far: &mut std::net::TcpStream) -> Result<()> {
    use std::io::{Read as _, Write as _};
    client.send(b"ping")?;
    let mut heard = [0; 4];
    far.read_exact(&mut heard)?;
    far.write_all(b"pong")?;
    ensure!(heard == *b"ping" && client.exactly(4)? == b"pong");
    Ok(())
}

fn reload() -> Result<()> {
    let stage = Stage::new(&["api.weather.example"], &["api.weather.example", "new.example"])?;
    let world = &stage.world;
    let (mut client, mut far) = tunnel(&stage)?;
    let nothing = world.ok(["reload"])?;
    assert_eq!(
        (strings(&nothing["changed"]), strings(&nothing["needs_restart"])),
        (vec![], vec![])
    );

    // Names lead elsewhere, nobody has to say who it is, the floor comes back, and a schedule waits.
    world.lead(&["new.example"], &[stage.server.address().to_string()])?;
    world.configure(|config| {
        let gateway = config["gateway"].as_table_mut().context("gateway")?;
        gateway.insert("unattributed".into(), "observe".into());
        let limits = "connections_per_run = 2\n[timeouts]\ndrain = \"1s\"\n";
        let limits: toml::Table = format!("[limits]\n{limits}").parse()?;
        gateway.extend(limits);
        let audit: toml::Table = "[audit]\nschedule = \"0 3 * * *\"".parse()?;
        config.extend(audit);
        Ok(())
    })?;
    ensure!(ask(world, "new.example:443", Some(&stage.run.credentials))?.status != 200);
    ensure!(ask(world, TARGET, None)?.status == 407);
    let reloaded = world.ok(["reload"])?;
    assert_eq!(
        strings(&reloaded["changed"]),
        [
            "gateway.limits.connections_per_run",
            "gateway.resolver.hosts",
            "gateway.timeouts.drain",
            "gateway.unattributed"
        ]
    );
    assert_eq!(strings(&reloaded["needs_restart"]), ["audit.schedule"]);

    ensure!(ask(world, TARGET, None)?.status == 200);
    // The tunnel from before counts towards the new quota, and stands.
    let mut second = stage.client()?;
    let answer = second.tunnel("new.example:443", Some(&stage.run.credentials))?;
    ensure!(answer.status == 200, "{answer:?}");
    let third = ask(world, TARGET, Some(&stage.run.credentials))?;
    ensure!((third.status, third.reason()) == (429, "quota"), "{third:?}");
    carries(&mut client, &mut far)?;

    world.allow_private(&["10.0.0.0/8"])?;
    world.server()?.hang_up();
    wait_until("the floor to be back", || {
        ask(world, TARGET, None).is_ok_and(|answer| answer.reason() == "floor_refused")
    })?;
    carries(&mut client, &mut far)?;
    // What waits for a restart goes on waiting.
    let again = world.ok(["reload"])?;
    assert_eq!(strings(&again["needs_restart"]), ["audit.schedule"]);
    assert_eq!(strings(&again["changed"]), Vec::<&str>::new());
    assert_eq!(
        metric(world, "bailiwick_gateway_config_reloads_total{result=\"done\"}")?,
        4
    );
    Ok(())
}

fn broken_files() -> Result<()> {
    let stage = Stage::new(&["api.weather.example"], &["api.weather.example"])?;
    let world = &stage.world;
    let (mut client, mut far) = tunnel(&stage)?;
    let loaded = metric(world, "bailiwick_gateway_config_loaded_timestamp")?;
    ensure!(loaded > 0);
    let good = std::fs::read_to_string(world.config())?;

    // A file that the command cannot read itself never gets as far as the server.
    std::fs::write(
        world.config(),
        good.replace("[gateway]", "[gateway]\nlisten_on = 1"),
    )?;
    let run = world.cli(["reload"])?.expect(2)?;
    ensure!(run.error_line()?.contains("listen_on"), "{run:?}");
    // The server says so in one line, and on its page.
    world.server()?.hang_up();
    let failed = "bailiwick_gateway_config_reload_failed";
    wait_until("the failed reload to be a metric", || {
        metric(world, failed).is_ok_and(|value| value == 1)
    })?;
    std::fs::write(world.config(), &good)?;
    let printed = world.server()?.printed();
    let line = printed.lines().find(|line| line.contains("listen_on"));
    ensure!(
        line.is_some_and(|line| line.contains("what was in force stays")),
        "{printed}"
    );

    // A file that only the server reads: everything else in the same reload is left alone too.
    let policy = world.site().join("policy.toml");
    let rules = std::fs::read_to_string(&policy)?;
    std::fs::write(&policy, format!("{rules}\nnonsense = true\n"))?;
    world.configure(|config| {
        config["gateway"]
            .as_table_mut()
            .context("gateway")?
            .insert("unattributed".into(), "observe".into());
        Ok(())
    })?;
    let refused = world.cli(["reload"])?.expect(1)?;
    assert_eq!(refused.json()?["code"], "configuration_refused");
    ensure!(
        refused.error_line()?.contains("nothing was changed"),
        "{refused:?}"
    );
    ensure!(ask(world, TARGET, None)?.status == 407);
    assert_eq!(metric(world, failed)?, 1);
    carries(&mut client, &mut far)?;

    std::fs::write(&policy, rules)?;
    let mended = world.ok(["reload"])?;
    assert_eq!(strings(&mended["changed"]), ["gateway.unattributed"]);
    assert_eq!(metric(world, failed)?, 0);
    ensure!(metric(world, "bailiwick_gateway_config_loaded_timestamp")? >= loaded);
    let acts = world.ok(["status"])?;
    ensure!(acts["gateways"][0]["ready"] == true, "{acts}");
    carries(&mut client, &mut far)
}

/// Opens a socket per argument before "--" and becomes what comes after it, as a service manager does.
const SERVICE_MANAGER: &str = r#"
import os, socket, sys
at = sys.argv.index("--")
sockets = []
for name in sys.argv[1:at]:
    if name.startswith("unix:"):
        s = socket.socket(socket.AF_UNIX)
        s.bind(name[5:])
    else:
        s = socket.socket()
        host, port = name.rsplit(":", 1)
        s.bind((host, int(port)))
    s.listen(16)
    sockets.append(os.dup(s.fileno()))
spare = [os.dup2(fd, 100 + n) for n, fd in enumerate(sockets)]
for n, fd in enumerate(spare):
    os.dup2(fd, 3 + n)
os.environ["LISTEN_FDS"] = str(len(spare))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(sys.argv[at + 1], sys.argv[at + 1:])
"#;

fn handed_sockets() -> Result<()> {
    let mut world = World::new()?;
    let server = RawServer::start()?;
    world.lead(&["api.weather.example"], &[server.address().to_string()])?;
    let socket = world.path("gateway.sock");
    let unix = format!("unix:{}", socket.display());
    world.configure(|config| {
        let listen = config["gateway"]["listen"].as_array_mut().context("listen")?;
        listen.push(unix.clone().into());
        Ok(())
    })?;
    let config = world.configuration()?;
    let gateway = world.gateway()?.to_string();
    let admin = config["gateway"]["admin"].as_str().context("admin")?;
    let control = config["control"]["listen"].as_str().context("control")?;
    let unknown = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
    let handed = [unix.as_str(), &unknown, control, &gateway, admin];
    let python = Peer::Python
        .find()
        .map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let python = python.to_str().context("a path of text")?;
    let launcher = [python, "-c", SERVICE_MANAGER];
    world.serve_through(&[&launcher[..], &handed, &["--"]].concat())?;
    let warned = |printed: &str| -> Vec<String> {
        let lines = printed
            .lines()
            .filter(|line| line.contains("handed over for an address"));
        lines.map(str::to_owned).collect()
    };
    // The ports are there a moment before the log says what is not for them.
    wait_until("the socket that serves nobody to be named", || {
        world
            .server()
            .is_ok_and(|server| !warned(&server.printed()).is_empty())
    })?;
    let printed = world.server()?.printed();
    ensure!(
        matches!(warned(&printed).as_slice(), [line] if line.contains(&unknown)),
        "{printed}"
    );

    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    assert_eq!(ask(&world, TARGET, Some(&run.credentials))?.status, 200);
    let mut client = std::os::unix::net::UnixStream::connect(&socket)?;
    std::io::Write::write_all(&mut client, b"nonsense\r\n\r\n")?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    drop(run);
    world.stop()?;
    // Whoever opened the socket takes it away.
    ensure!(socket.exists(), "the socket's file is not ours to remove");
    Ok(())
}

/// Connects over and over, one client after the other, until told to stop.
pub struct Hammer {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Hammer {
    /// Begins, at the destination [`BUSY`].
    pub fn start(gateway: SocketAddr, run: &LiveRun) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..4)
            .map(|_| {
                let (stop, done, credentials) =
                    (Arc::clone(&stop), Arc::clone(&done), run.credentials.clone());
                thread::spawn(move || {
                    let mut refused = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let answer = RawClient::connect(gateway)
                            .and_then(|mut client| client.tunnel(BUSY, Some(&credentials)));
                        match answer {
                            Ok(answer) if answer.status == 200 => {
                                done.fetch_add(1, Ordering::SeqCst);
                            }
                            other => refused.push(format!("{other:?}")),
                        }
                    }
                    refused
                })
            })
            .collect();
        Self { stop, done, clients }
    }

    /// Waits for so many more connections that were answered.
    pub fn wait_for_more(&self, count: usize) -> Result<()> {
        let before = self.done.load(Ordering::SeqCst);
        wait_until("more connections", || {
            self.done.load(Ordering::SeqCst) >= before + count
        })
    }

    /// Ends it, and says who was refused.
    pub fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let refused = self.clients.into_iter().map(|client| client.join());
        refused
            .flat_map(|refused| refused.expect("a client does not panic"))
            .collect()
    }
}

fn restart() -> Result<()> {
    let mut world = World::new()?;
    let server = RawServer::start()?;
    world.lead(&["api.weather.example"], &[server.address().to_string()])?;
    world.plain_origin(&["busy.example"])?;
    world.configure(|config| {
        let timeouts: toml::Table = "[timeouts]\ndrain = \"2s\"".parse()?;
        config["gateway"]
            .as_table_mut()
            .context("gateway")?
            .extend(timeouts);
        Ok(())
    })?;
    // What systemd does: the socket is ours, and outlives every process that serves it.
    let socket = TcpListener::bind(world.gateway()?)?;
    world.serve_on(&socket)?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    let mut standing = RawClient::connect(world.gateway()?)?;
    assert_eq!(standing.tunnel(TARGET, Some(&run.credentials))?.status, 200);
    let mut far = server.accept()?;

    let hammer = Hammer::start(world.gateway()?, &run);
    // Nobody takes what the hammer opens; the kernel connects it all the same.
    hammer.wait_for_more(20)?;
    for is_first in [true, false] {
        world.server()?.terminate();
        if is_first {
            wait_until("the first process to drain", || {
                world
                    .admin_page("/readyz")
                    .is_ok_and(|page| page.ends_with("draining\n"))
            })?;
            carries(&mut standing, &mut far)?;
        }
        world.ended()?;
        world.serve_on(&socket)?;
        hammer.wait_for_more(20)?;
    }
    let refused = hammer.finish();
    ensure!(
        refused.is_empty(),
        "{} refused: {:?}",
        refused.len(),
        refused.first()
    );
    drop(run);
    world.stop()?;
    // Three processes, one log, nothing missing between them.
    let verified = world.ok(["evidence", "verify"])?;
    assert_eq!(verified["logs"][0]["integrity"], "whole", "{verified:#}");
    let events = world.events()?;
    let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((count("start"), count("stop"), count("gap")), (3, 3, 0));
    let cut = events
        .iter()
        .filter(|event| event["outcome"] == "shutdown")
        .count();
    ensure!(cut >= 1, "the tunnel ended at the deadline and is on record");
    Ok(())
}

fn units() -> Result<()> {
    let world = World::new()?;
    let mut paths = Vec::new();
    for name in UNITS {
        let text = std::fs::read_to_string(workspace().join("packaging/systemd").join(name))?;
        // The binary has to be where the unit says it is.
        let installed = bailiwick().display().to_string();
        let path = world.path(name);
        std::fs::write(&path, text.replace("/usr/bin/bailiwick", &installed))?;
        paths.push(path);
    }
    let mut analyze = Peer::SystemdAnalyze.command();
    let verified = run(analyze.args(["verify", "--man=no"]).args(&paths))?.expect(0)?;
    // Whatever it only warns of is a mistake too.
    ensure!(verified.stderr.trim().is_empty(), "{}", verified.stderr);

    let fresh = world.path("fresh");
    let made = ["init".as_ref(), fresh.as_os_str()];
    world.cli(made)?.expect(0)?;
    let config: toml::Table = std::fs::read_to_string(fresh.join("bailiwick.toml"))?.parse()?;
    let listen = config["gateway"]["listen"][0]
        .as_str()
        .context("gateway.listen")?;
    let socket = std::fs::read_to_string(&paths[1])?;
    ensure!(socket.contains(&format!("ListenStream={listen}\n")), "{listen}");
    Ok(())
}
