//! Ways to be known without credentials: a run's own listener, a registered source, and whoever
//! speaks for others. Each is a door that somebody else will try.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, RawClient, RawServer, Scenario, World, wait_until};
use serde_json::{Value, json};

use crate::stage::{Stage, exactly, has_ended};
use crate::tokens::ask;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "on_a_runs_own_port_clients_need_no_credentials_and_must_not_have_others",
        needs: &[],
        run: own_port,
    },
    Scenario {
        name: "a_runs_own_socket_lets_in_its_user_and_nobody_else",
        needs: &[Peer::Curl, Peer::AnotherUser],
        run: another_user,
    },
    Scenario {
        name: "a_runs_own_socket_cannot_be_guessed_and_ends_with_the_run",
        needs: &[Peer::Curl],
        run: own_socket,
    },
    Scenario {
        name: "ssh_goes_through_a_runs_own_port_without_a_password",
        needs: &[Peer::Ssh, Peer::Ncat],
        run: ssh,
    },
    Scenario {
        name: "listeners_of_live_runs_come_back_after_a_crash_and_others_are_swept_away",
        needs: &[],
        run: crash,
    },
    Scenario {
        name: "a_unix_listener_replaces_a_dead_socket_and_nothing_else",
        needs: &[],
        run: unix_listener,
    },
    Scenario {
        name: "a_registered_source_names_a_run_until_two_have_it",
        needs: &[],
        run: sources,
    },
    Scenario {
        name: "a_proxy_header_is_read_from_listed_peers_and_ends_everybody_elses_connection",
        needs: &[],
        run: proxy_header,
    },
];

const TARGET: &str = "ok.example:443";

/// A run that says its environment and stays until it is dropped.
pub struct OwnRun {
    child: Child,
    environment: HashMap<String, String>,
}

impl OwnRun {
    /// A run with these options.
    pub fn start(world: &World, plugin: &Plugin, options: &[&str]) -> Result<Self> {
        let mut command = world.command(["run", "--artifact"]);
        command.arg(&plugin.artifact).args(options);
        command.args(["--", "sh", "-c", "env; echo; read line"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("piped")?;
        let mut run = Self {
            child,
            environment: HashMap::new(),
        };
        for line in BufReader::new(stdout).lines() {
            match line?.split_once('=') {
                Some((name, value)) => run.environment.insert(name.to_owned(), value.to_owned()),
                None => break,
            };
        }
        ensure!(!run.environment.is_empty(), "the run did not start");
        Ok(run)
    }

    /// A variable of its environment.
    pub fn get(&self, name: &str) -> Result<&str> {
        let value = self.environment.get(name);
        value.map(String::as_str).with_context(|| format!("no {name}"))
    }

    fn id(&self) -> Result<&str> {
        self.get("BAILIWICK_RUN_ID")
    }

    /// Its loopback port.
    pub fn port(&self) -> Result<SocketAddr> {
        Ok(self.get("BAILIWICK_PROXY")?.parse()?)
    }

    /// Its Unix socket.
    pub fn socket(&self) -> Result<PathBuf> {
        Ok(self.get("BAILIWICK_PROXY_SOCKET")?.into())
    }
}

impl Drop for OwnRun {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The status and the reason of the answer to a `CONNECT` with these fields.
fn connect(stream: &mut (impl Read + Write), fields: &str) -> Result<(u16, String)> {
    stream.write_all(format!("CONNECT {TARGET} HTTP/1.1\r\n{fields}\r\n").as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).context("the gateway hung up")?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let reason = head
        .lines()
        .find_map(|line| line.strip_prefix("X-Bailiwick-Reason: "));
    Ok((status, reason.unwrap_or_default().to_owned()))
}

fn unix(path: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// A connection to `to` that comes from `source`.
fn tcp_from(source: &str, to: SocketAddr) -> Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let source: Ipv4Addr = source.parse()?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn last_refusal(stage: &Stage) -> Result<Value> {
    stage.events("refused")?.pop().context("a refusal is on record")
}

/// What each proof of a refused connection said: method and run.
fn claims(event: &Value) -> Vec<(Value, Value)> {
    let claims = event["claims"].as_array().cloned().unwrap_or_default();
    claims
        .into_iter()
        .map(|claim| (claim["attribution"].clone(), claim["run_id"].clone()))
        .collect()
}

fn stage() -> Result<Stage> {
    Stage::new(&["ok.example"], &["ok.example"])
}

fn own_port() -> Result<()> {
    let stage = stage()?;
    let run = OwnRun::start(&stage.world, &stage.plugin, &["--listener", "tcp"])?;
    let (port, id) = (run.port()?, run.id()?.to_owned());
    ensure!(port.ip().is_loopback());
    let url = format!("http://{port}");
    for name in ["HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
        assert_eq!(run.get(name)?, url, "no credentials in {name}");
    }
    ensure!(
        run.get("JAVA_TOOL_OPTIONS")?
            .contains(&format!("-Dhttps.proxyPort={}", port.port()))
    );
    // HTTP and SOCKS5, both with nothing.
    let mut http = TcpStream::connect(port)?;
    assert_eq!(connect(&mut http, "")?.0, 200);
    let mut socks = RawClient::connect(port)?;
    socks.send(&[5, 1, 0])?;
    ensure!(socks.exactly(2)? == [5, 0]);
    socks.send(&[&[5, 1, 0, 3, 10][..], b"ok.example", &443u16.to_be_bytes()].concat())?;
    ensure!(socks.exactly(10)?[1] == 0);
    let mut server = stage.server.accept()?;
    drop((stage.server.accept()?, socks));
    for event in stage.wait_for("open", 2)? {
        assert_eq!(
            (&event["attribution"], &event["run_id"]),
            (&json!("listener"), &json!(id)),
            "{event:#}"
        );
    }
    // Another run's token there: neither is believed, and both are on record.
    let theirs = &stage.run.credentials;
    let answer = connect(&mut TcpStream::connect(port)?, &theirs.header())?;
    assert_eq!(answer, (407, "credentials_conflict".to_owned()));
    let event = last_refusal(&stage)?;
    assert_eq!(
        claims(&event),
        [
            (json!("token"), json!(theirs.user)),
            (json!("listener"), json!(id))
        ],
        "{event:#}"
    );
    ensure!(
        event.get("plugin_id").is_none() && event.get("run_id").is_none(),
        "{event:#}"
    );
    // Nobody gets to the port through the gateway.
    let answer = stage.connect(port.to_string())?;
    assert_eq!((answer.status, answer.reason()), (403, "floor"), "{answer:?}");
    let runs = stage.world.ok(["runs"])?;
    let shown = runs["runs"].as_array().context("runs")?.iter();
    let shown: Vec<_> = shown.filter(|shown| shown["run_id"] == json!(id)).collect();
    assert_eq!(shown[0]["listeners"], json!([port.to_string()]), "{runs:#}");
    assert_eq!(stage.world.ok(["status"])?["gateways"][0]["run_listeners"], 1);
    // The end of the run is the end of it all.
    drop(run);
    ensure!(
        has_ended(&mut http) && has_ended(&mut server),
        "a tunnel outlived its run"
    );
    ensure!(TcpStream::connect(port).is_err(), "the listener outlived its run");
    ensure!(!stage.server.was_dialled());
    let close = stage.wait_for("close", 2)?.remove(0);
    assert_eq!(close["outcome"], "run_ended", "{close:#}");
    assert_eq!(stage.world.ok(["status"])?["gateways"][0]["run_listeners"], 0);
    stage.is_well(TARGET)
}

/// Opens a socket and every folder above it to everybody.
pub fn open_wide(socket: &Path, above: &Path) -> Result<()> {
    fs::set_permissions(socket, fs::Permissions::from_mode(0o777))?;
    let folders = socket.ancestors().skip(1);
    for folder in folders.take_while(|folder| folder.starts_with(above)) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Asks for something through a socket, as somebody.
pub fn curl(world: &World, socket: &Path, uid: Option<u32>) -> Result<Option<i32>> {
    let mut command = match uid {
        None => Peer::Curl.command(),
        Some(uid) => {
            let mut command = Peer::AnotherUser.command();
            command
                .args([format!("--reuid={uid}"), format!("--regid={uid}")])
                .arg("--clear-groups")
                .arg(
                    Peer::Curl
                        .find()
                        .map_err(|missing| anyhow::anyhow!("{missing}"))?,
                );
            command
        }
    };
    world.prepare_client(&mut command);
    let output = command
        .args(["-sS", "--max-time", "60", "--unix-socket"])
        .arg(socket)
        .args(["--request-target", "http://ok.example/", "http://ok.example/"])
        .output()?;
    Ok(output.status.code())
}

/// A user who owns nothing.
pub const NOBODY: u32 = 65534;

fn another_user() -> Result<()> {
    let stage = stage()?;
    let run = OwnRun::start(&stage.world, &stage.plugin, &["--listener", "unix"])?;
    let socket = run.socket()?;
    // As made, the folder alone keeps others out (curl: 7, could not connect).
    assert_eq!(curl(&stage.world, &socket, Some(NOBODY))?, Some(7));
    open_wide(&socket, stage.world.site().parent().context("a folder")?)?;
    let before = stage.events("refused")?.len();
    assert_eq!(before, 0, "nobody got as far as the gateway");
    // With the folder open, the kernel says who it is: closed without a word. What curl calls that
    // depends on how far it had come.
    let code = curl(&stage.world, &socket, Some(NOBODY))?;
    ensure!(matches!(code, Some(1..)), "curl ended with {code:?}");
    let event = stage.wait_for("refused", before + 1)?.pop().context("recorded")?;
    assert_eq!(event["reason"], "untrusted_peer", "{event:#}");
    assert_eq!(event["attribution"], "none", "{event:#}");
    assert_eq!(
        claims(&event),
        [(json!("listener"), json!(run.id()?))],
        "{event:#}"
    );
    ensure!(!stage.server.was_dialled());
    // A socket can be made for another user, who then is the one.
    let nobody = NOBODY.to_string();
    let theirs = OwnRun::start(
        &stage.world,
        &stage.plugin,
        &["--listener", "unix", "--uid", &nobody],
    )?;
    let socket = theirs.socket()?;
    let found = fs::metadata(&socket)?;
    assert_eq!((found.uid(), found.mode() & 0o777), (NOBODY, 0o600));
    let before = stage.events("refused")?.len();
    let user = curl(&stage.world, &socket, None)?;
    ensure!(matches!(user, Some(1..)), "root is not the run's user: {user:?}");
    let event = stage.wait_for("refused", before + 1)?.pop().context("recorded")?;
    assert_eq!(event["reason"], "untrusted_peer", "{event:#}");
    let code = std::thread::scope(|scope| -> Result<Option<i32>> {
        let asking = scope.spawn(|| curl(&stage.world, &socket, Some(NOBODY)));
        let mut server = stage.server.accept()?;
        crate::stage::head(&mut server)?;
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        asking.join().map_err(|_| anyhow::anyhow!("curl's thread died"))?
    })?;
    assert_eq!(code, Some(0));
    Ok(())
}

fn own_socket() -> Result<()> {
    let stage = stage()?;
    let run = OwnRun::start(&stage.world, &stage.plugin, &["--listener", "unix"])?;
    let second = OwnRun::start(&stage.world, &stage.plugin, &["--listener", "unix,tcp"])?;
    let (socket, other) = (run.socket()?, second.socket()?);
    let folder = socket.parent().context("a folder")?.to_owned();
    let name = |socket: &Path| {
        let folder = socket.parent().and_then(Path::file_name).unwrap_or_default();
        folder.to_string_lossy().into_owned()
    };
    ensure!(name(&socket).len() == 24 && name(&socket) != name(&other));
    assert_eq!(fs::metadata(&socket)?.mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&folder)?.mode() & 0o777, 0o700);
    // Clients that know no Unix sockets go on with credentials; with a port as well, without.
    ensure!(run.get("HTTPS_PROXY")?.contains('@') && run.get("BAILIWICK_PROXY").is_err());
    assert_eq!(second.get("HTTPS_PROXY")?, format!("http://{}", second.port()?));
    let mut client = unix(&socket)?;
    assert_eq!(connect(&mut client, "")?.0, 200);
    let mut server = stage.server.accept()?;
    server.write_all(b"hello")?;
    let mut hello = [0; 5];
    client.read_exact(&mut hello)?;
    let open = stage.wait_for("open", 1)?.pop().context("open")?;
    assert_eq!(open["attribution"], "listener", "{open:#}");
    assert_eq!(open["run_id"], json!(run.id()?), "{open:#}");
    // A token that is presented there must be this run's.
    let answer = connect(&mut unix(&socket)?, &stage.run.credentials.header())?;
    assert_eq!(answer, (407, "credentials_conflict".to_owned()));
    let mut early = unix(&socket)?;
    drop(run);
    ensure!(has_ended(&mut server), "a tunnel outlived its run");
    assert_eq!(client.read(&mut hello)?, 0);
    ensure!(
        !socket.exists() && !folder.exists(),
        "the socket outlived its run"
    );
    // Whoever had come in and not yet asked is refused.
    assert_eq!(connect(&mut early, "")?, (407, "run_ended".to_owned()));
    ensure!(other.exists(), "the neighbour's stays");
    Ok(())
}

fn ssh() -> Result<()> {
    let mut stage = Stage::prepared(&["tcp://ok.example:22"], |world, server| {
        world.lead(&["ok.example"], &[server.address().to_string()])
    })?;
    let ncat = Peer::Ncat
        .find()
        .map_err(|missing| anyhow::anyhow!("{missing}"))?;
    // OpenBSD's netcat takes -X 5 -x; nmap's has words of its own for the same.
    let proxy = format!(
        "{} --proxy-type socks5 --proxy $BAILIWICK_PROXY %h %p",
        ncat.display()
    );
    let mut command = stage.world.command(["run", "--artifact"]);
    command.arg(&stage.plugin.artifact);
    command.args(["--listener", "tcp", "--", "ssh", "-F", "none", "-T"]);
    command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
    command.args(["-o", "UserKnownHostsFile=/dev/null", "-o"]);
    command.arg(format!("ProxyCommand={proxy}"));
    let mut client = command
        .args(["-p", "22", "git@ok.example", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut server = stage.server.accept()?;
    server.write_all(b"SSH-2.0-bailiwick-tests\r\n")?;
    assert_eq!(exactly(&mut server, 8)?, b"SSH-2.0-");
    drop(server);
    client.wait()?;
    let close = stage.wait_for("close", 1)?.pop().context("closed")?;
    assert_eq!(
        (&close["attribution"], &close["scheme"], &close["port"]),
        (&json!("listener"), &json!("ssh"), &json!(22)),
        "{close:#}"
    );
    stage.world.stop()
}

fn crash() -> Result<()> {
    let mut stage = stage()?;
    let run = OwnRun::start(
        &stage.world,
        &stage.plugin,
        &["--listener", "unix", "--listener", "tcp", "--source", "192.0.2.7"],
    )?;
    let (socket, port) = (run.socket()?, run.port()?);
    stage.world.kill_server()?;
    // What nobody has any more, what is nobody's, and what only looks like it.
    let runs = socket.ancestors().nth(2).context("the folder of all")?.to_owned();
    let dead = runs.join("0".repeat(24));
    fs::create_dir(&dead)?;
    drop(UnixListener::bind(dead.join("proxy.sock"))?);
    let precious = runs.join("1".repeat(24));
    fs::create_dir(&precious)?;
    fs::write(precious.join("proxy.sock"), "precious")?;
    stage.world.serve()?;
    wait_until("the run's socket to be served again", || {
        UnixStream::connect(&socket).is_ok()
    })?;
    wait_until("the run's port to be served again", || {
        TcpStream::connect(port).is_ok()
    })?;
    for answer in [
        connect(&mut unix(&socket)?, "")?,
        connect(&mut TcpStream::connect(port)?, "")?,
    ] {
        assert_eq!(answer.0, 200);
        stage.server.accept()?;
    }
    for close in stage.wait_for("close", 2)? {
        assert_eq!(
            (&close["attribution"], &close["run_id"]),
            (&json!("listener"), &json!(run.id()?)),
            "{close:#}"
        );
    }
    ensure!(!dead.exists() && precious.join("proxy.sock").exists());
    drop(run);
    ensure!(!socket.exists() && TcpStream::connect(port).is_err());
    Ok(())
}

fn unix_listener() -> Result<()> {
    let mut stage = Stage::prepared(&["ok.example"], |world, server| {
        world.lead(&["ok.example"], &[server.address().to_string()])?;
        world.configure(|config| {
            let listen = config["gateway"]["listen"].as_array_mut().context("listen")?;
            listen.push("unix:gw.sock".into());
            Ok(())
        })
    })?;
    let path = stage.world.site().join("gw.sock");
    assert_eq!(fs::metadata(&path)?.mode() & 0o777, 0o660);
    let shown = &stage.world.ok(["status"])?["gateways"][0]["listen"][1];
    assert_eq!(*shown, json!(format!("unix:{}", path.display())));
    // It is everybody's, so credentials are as everywhere.
    assert_eq!(
        connect(&mut unix(&path)?, "")?,
        (407, "credentials_missing".to_owned())
    );
    let header = stage.run.credentials.header();
    assert_eq!(connect(&mut unix(&path)?, &header)?.0, 200);
    drop(stage.server.accept()?);
    let close = stage.wait_for("close", 1)?.pop().context("closed")?;
    assert_eq!(close["attribution"], "token", "{close:#}");
    // Another gateway does not take a socket that somebody listens on.
    let intruder = World::new()?;
    intruder.configure(|config| {
        let listen = config["gateway"]["listen"].as_array_mut().context("listen")?;
        listen.push(format!("unix:{}", path.display()).into());
        Ok(())
    })?;
    let error = intruder.cli(["serve"])?;
    assert_eq!(error.status, Some(2), "{error:?}");
    ensure!(error.stderr.contains("somebody listens"), "{error:?}");
    assert_eq!(connect(&mut unix(&path)?, &header)?.0, 200);
    drop(stage.server.accept()?);
    // A dead gateway's socket is replaced.
    let inode = fs::metadata(&path)?.ino();
    stage.world.kill_server()?;
    ensure!(path.exists() && UnixStream::connect(&path).is_err());
    stage.world.serve()?;
    ensure!(fs::metadata(&path)?.ino() != inode);
    assert_eq!(connect(&mut unix(&path)?, &header)?.0, 200);
    drop(stage.server.accept()?);
    // A gateway that stops takes its socket with it, and nothing that took its place.
    stage.world.stop()?;
    ensure!(!path.exists(), "the socket outlived its gateway");
    fs::write(&path, "precious")?;
    let error = stage.world.cli(["serve"])?;
    assert_eq!(error.status, Some(2), "{error:?}");
    ensure!(error.stderr.contains("not a socket"), "{error:?}");
    assert_eq!(fs::read(&path)?, b"precious");
    fs::remove_file(&path)?;
    stage.world.serve()?;
    ensure!(fs::metadata(&path)?.file_type().is_socket());
    fs::remove_file(&path)?;
    fs::write(&path, "another's")?;
    stage.world.stop()?;
    assert_eq!(fs::read(&path)?, b"another's");
    Ok(())
}

fn sources() -> Result<()> {
    let stage = stage()?;
    let gateway = stage.world.gateway()?;
    let own = "127.0.0.77";
    let refused = stage.world.cli(
        ["run", "--artifact"]
            .into_iter()
            .map(std::ffi::OsString::from)
            .chain([stage.plugin.artifact.clone().into_os_string()])
            .chain(["--source", own, "--", "true"].map(std::ffi::OsString::from)),
    )?;
    assert_eq!(refused.status, Some(2), "{refused:?}");
    ensure!(refused.stderr.contains("--loopback-source"), "{refused:?}");
    let options = ["--source", own, "--loopback-source"];
    let run = OwnRun::start(&stage.world, &stage.plugin, &options)?;
    let id = run.id()?.to_owned();
    assert_eq!(connect(&mut tcp_from(own, gateway)?, "")?.0, 200);
    drop(stage.server.accept()?);
    let close = stage.wait_for("close", 1)?.pop().context("closed")?;
    assert_eq!(
        (&close["attribution"], &close["run_id"]),
        (&json!("source"), &json!(id)),
        "{close:#}"
    );
    // From anywhere else it is nobody.
    let answer = connect(&mut tcp_from("127.0.0.78", gateway)?, "")?;
    assert_eq!(answer, (407, "credentials_missing".to_owned()));
    // Another's token from there is a contradiction.
    let theirs = &stage.run.credentials;
    let answer = connect(&mut tcp_from(own, gateway)?, &theirs.header())?;
    assert_eq!(answer, (407, "credentials_conflict".to_owned()));
    let event = last_refusal(&stage)?;
    assert_eq!(
        claims(&event),
        [(json!("token"), json!(theirs.user)), (json!("source"), json!(id))],
        "{event:#}"
    );
    // Two runs on one address: it names neither, and says whom it could be.
    let other = stage.world.plugin("acme.other").declares(&[]).admit("high")?;
    let second = OwnRun::start(&stage.world, &other, &options)?;
    assert_eq!(stage.world.ok(["status"])?["gateways"][0]["run_sources"], 1);
    let answer = connect(&mut tcp_from(own, gateway)?, "")?;
    assert_eq!(answer, (407, "credentials_missing".to_owned()));
    let event = last_refusal(&stage)?;
    assert_eq!(event["attribution"], "none", "{event:#}");
    ensure!(
        event.get("run_id").is_none() && event.get("plugin_id").is_none(),
        "{event:#}"
    );
    assert_eq!(
        claims(&event),
        [
            (json!("source"), json!(id)),
            (json!("source"), json!(second.id()?))
        ],
        "{event:#}"
    );
    drop(second);
    assert_eq!(connect(&mut tcp_from(own, gateway)?, "")?.0, 200);
    drop(stage.server.accept()?);
    drop(run);
    let answer = connect(&mut tcp_from(own, gateway)?, "")?;
    assert_eq!(answer.0, 407, "{answer:?}");
    ensure!(!stage.server.was_dialled());
    Ok(())
}

fn header(source: Ipv4Addr) -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
    [
        &start[..],
        &source.octets(),
        &[10, 0, 0, 1],
        &[0x12, 0x67, 0x0c, 0x38],
    ]
    .concat()
}

fn proxy_header() -> Result<()> {
    let balancer = "127.0.0.88";
    let stage = Stage::prepared(&["ok.example"], |world, server: &RawServer| {
        world.lead(&["ok.example"], &[server.address().to_string()])?;
        world.configure(|config| {
            let gateway = config["gateway"].as_table_mut().context("[gateway]")?;
            gateway.insert("proxy_protocol".into(), vec![format!("{balancer}/32")].into());
            Ok(())
        })
    })?;
    let gateway = stage.world.gateway()?;
    let source = Ipv4Addr::new(203, 0, 113, 5);
    let run = OwnRun::start(&stage.world, &stage.plugin, &["--source", &source.to_string()])?;
    let mut client = tcp_from(balancer, gateway)?;
    client.write_all(&header(source))?;
    assert_eq!(connect(&mut client, "")?.0, 200);
    drop((client, stage.server.accept()?));
    let close = stage.wait_for("close", 1)?.pop().context("closed")?;
    assert_eq!(
        (&close["attribution"], &close["run_id"]),
        (&json!("source"), &json!(run.id()?)),
        "{close:#}"
    );
    // The balancer's own address is nobody's source, and other clients of it bring their tokens.
    let mut client = tcp_from(balancer, gateway)?;
    client.write_all(&header(Ipv4Addr::new(203, 0, 113, 6)))?;
    assert_eq!(connect(&mut client, &stage.run.credentials.header())?.0, 200);
    drop((client, stage.server.accept()?));
    for (from, bytes) in [
        ("127.0.0.1", header(source)),
        ("127.0.0.1", b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n".to_vec()),
        (balancer, b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n".to_vec()),
        (balancer, Vec::new()),
        (
            balancer,
            [&header(source)[..12], &[0x21, 0x11, 0xff, 0xff]].concat(),
        ),
    ] {
        let before = stage.events("refused")?.len();
        let mut client = tcp_from(from, gateway)?;
        client.write_all(&bytes)?;
        // Even with good credentials behind it.
        let _ = client.write_all(
            format!(
                "CONNECT {TARGET} HTTP/1.1\r\n{}\r\n",
                stage.run.credentials.header()
            )
            .as_bytes(),
        );
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        ensure!(rest.is_empty(), "closed without a word, not with {rest:?}");
        let event = stage.wait_for("refused", before + 1)?.pop().context("recorded")?;
        assert_eq!(event["reason"], "untrusted_peer", "{event:#}");
        assert_eq!(event["source_ip"], json!(from.parse::<IpAddr>()?), "{event:#}");
        ensure!(event.get("run_id").is_none(), "{event:#}");
    }
    ensure!(!stage.server.was_dialled());
    // A run's own listener is nobody's to speak for.
    drop(run);
    let answer = ask(&stage.world, TARGET, Some(&stage.run.credentials))?;
    assert_eq!(answer.status, 200);
    Ok(())
}
