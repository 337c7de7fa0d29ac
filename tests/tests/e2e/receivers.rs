//! Continuous exports to real receivers: a file, rsyslog over TCP and TLS, and an HTTP server in every mood.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, RawClient, Scenario, World, free_port, wait_until, wait_within};
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_file_gets_every_signed_entry_once_and_goes_on_after_a_restart",
        needs: &[],
        run: file,
    },
    Scenario {
        name: "rsyslog_gets_every_signed_entry_over_tls",
        needs: &[Peer::Rsyslog, Peer::Openssl],
        run: rsyslog_tls,
    },
    Scenario {
        name: "a_syslog_server_that_dies_gets_everything_in_the_end",
        needs: &[Peer::Rsyslog],
        run: rsyslog_dies,
    },
    Scenario {
        name: "an_http_receiver_that_fails_stalls_and_refuses_misses_nothing",
        needs: &[],
        run: http_moods,
    },
    Scenario {
        name: "a_receiver_whose_certificate_is_not_believed_gets_nothing",
        needs: &[Peer::Rsyslog, Peer::Openssl],
        run: strange_certificate,
    },
];

/// Names a receiver in the configuration.
fn export_to(world: &World, name: &str, to: &str, more: &[(&str, &str)]) -> Result<()> {
    world.configure(|config| {
        let mut export = toml::Table::new();
        export.insert("name".into(), name.into());
        export.insert("to".into(), to.into());
        for (key, value) in more {
            export.insert((*key).into(), (*value).into());
        }
        let exports = config
            .entry("export")
            .or_insert_with(|| toml::Value::Array(Vec::new()));
        exports
            .as_array_mut()
            .context("a list of exports")?
            .push(export.into());
        Ok(())
    })
}

/// Each question without credentials is one `refused` event.
fn ask_namelessly(world: &World, times: usize) -> Result<()> {
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..times {
        client.tunnel("api.weather.example:443", None)?;
    }
    Ok(())
}

/// How many entries are under a signature.
fn signed(world: &World) -> Result<u64> {
    let view = world.ok(["evidence", "verify"])?;
    view["logs"][0]["size"].as_u64().context("a size")
}

/// The numbers of the entries in lines that end with one.
fn entries(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok()?["seq"].as_u64())
        .collect()
}

fn behind(world: &World, name: &str) -> Result<u64> {
    let page = world.admin_page("/metrics")?;
    let start = format!("bailiwick_gateway_export_entries_behind{{export=\"{name}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(start.as_str()));
    Ok(line.context("the export's lag")?.trim().parse()?)
}

fn file() -> Result<()> {
    let mut world = World::new()?;
    export_to(&world, "siem", "file:siem.jsonl", &[])?;
    export_to(&world, "ocsf", "file:siem.ocsf", &[("format", "ocsf")])?;
    world.serve()?;
    ask_namelessly(&world, 300)?;
    let path = world.site().join("siem.jsonl");
    let read = || entries(&std::fs::read_to_string(&path).unwrap_or_default());
    wait_until("every entry is in the file", || {
        signed(&world).is_ok_and(|size| read() == (0..size).collect::<Vec<_>>() && size > 300)
    })?;
    wait_until("the metrics say that nothing is behind", || {
        behind(&world, "siem").is_ok_and(|lag| lag == 0)
    })?;
    world.kill_server()?;
    // A crash in the middle of a line.
    let mut torn = std::fs::OpenOptions::new().append(true).open(&path)?;
    torn.write_all(b"{\"alpn\":\"h2")?;
    world.serve()?;
    ask_namelessly(&world, 20)?;
    wait_until("it goes on where it was", || {
        signed(&world).is_ok_and(|size| {
            let found: BTreeSet<u64> = read().into_iter().collect();
            size > 321 && found == (0..size).collect()
        })
    })?;
    let text = std::fs::read_to_string(&path)?;
    ensure!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    let told = std::fs::read_to_string(world.site().join("siem.ocsf"))?;
    ensure!(told.lines().count() > 300 && told.contains("\"class_uid\":4001"));
    world.stop()
}

/// A running `rsyslogd` that writes what it gets into a file.
struct Rsyslog {
    child: Child,
    output: PathBuf,
}

impl Rsyslog {
    fn start(folder: &Path, port: u16, certificates: Option<&Path>) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let output = folder.join("received");
        let tls = certificates.map_or(String::new(), |path| {
            let path = path.display();
            format!(
                "global(DefaultNetstreamDriver=\"gtls\" DefaultNetstreamDriverCAFile=\"{path}/ca.pem\"\n\
                 DefaultNetstreamDriverCertFile=\"{path}/server.pem\" DefaultNetstreamDriverKeyFile=\"{path}/server.key\")\n"
            )
        });
        let driver = if certificates.is_some() {
            "module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")"
        } else {
            "module(load=\"imtcp\")"
        };
        let config = format!(
            "global(workDirectory=\"{0}\" maxMessageSize=\"64k\")\n{tls}{driver}\n\
             template(name=\"all\" type=\"string\" string=\"%HOSTNAME% %MSGID% %STRUCTURED-DATA% %msg%\\n\")\n\
             ruleset(name=\"in\") {{ action(type=\"omfile\" file=\"{1}\" template=\"all\") }}\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"in\")\n",
            folder.display(),
            output.display()
        );
        let path = folder.join("rsyslog.conf");
        std::fs::write(&path, config)?;
        let log = std::fs::File::create(folder.join("rsyslog.log"))?;
        let child = Peer::Rsyslog
            .command()
            .args(["-n", "-i"])
            .arg(folder.join("pid"))
            .arg("-f")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let server = Self { child, output };
        wait_until("rsyslogd listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        Ok(server)
    }

    fn received(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a server's certificate under it for 127.0.0.1.
fn certificates(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=authority 2>/dev/null\n\
        openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=logs 2>/dev/null\n\
        printf 'subjectAltName=IP:127.0.0.1\\n' > ext\n\
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30 -extfile ext 2>/dev/null";
    bailiwick_tests::run(Command::new("sh").args(["-euc", script]).current_dir(folder))?.expect(0)?;
    Ok(())
}

fn rsyslog_tls() -> Result<()> {
    let mut world = World::new()?;
    let folder = world.path("certificates");
    certificates(&folder)?;
    let port = free_port()?.port();
    let server = Rsyslog::start(&world.path("rsyslog"), port, Some(&folder))?;
    let ca = folder.join("ca.pem").display().to_string();
    export_to(
        &world,
        "siem",
        &format!("syslog+tls://127.0.0.1:{port}"),
        &[("ca_file", &ca)],
    )?;
    world.serve()?;
    ask_namelessly(&world, 300)?;
    wait_until("rsyslog has every entry", || {
        signed(&world).is_ok_and(|size| {
            let found: BTreeSet<u64> = entries(&server.received()).into_iter().collect();
            size > 300 && found == (0..size).collect()
        })
    })?;
    let received = server.received();
    let line = received
        .lines()
        .find(|line| line.contains(" refused "))
        .context("a refusal")?;
    ensure!(
        line.starts_with("gw-1 refused [bailiwick@32473 log=\"site/gw-1\" seq=\""),
        "{line}"
    );
    // Orderly ends confirm: nothing is told twice.
    world.stop()?;
    world.serve()?;
    wait_until("the end and the new beginning are told", || {
        signed(&world).is_ok_and(|size| entries(&server.received()).len() as u64 >= size)
    })?;
    let told = entries(&server.received());
    let once: BTreeSet<u64> = told.iter().copied().collect();
    assert_eq!(told.len(), once.len());
    world.stop()
}

fn rsyslog_dies() -> Result<()> {
    let mut world = World::new()?;
    let port = free_port()?.port();
    let folder = world.path("rsyslog");
    export_to(&world, "siem", &format!("syslog://127.0.0.1:{port}"), &[])?;
    let server = Rsyslog::start(&folder, port, None)?;
    world.serve()?;
    ask_namelessly(&world, 50)?;
    wait_until("some arrived", || !entries(&server.received()).is_empty())?;
    drop(server);
    ask_namelessly(&world, 50)?;
    let server = Rsyslog::start(&folder, port, None)?;
    ask_namelessly(&world, 50)?;
    wait_until("all arrived in the end", || {
        signed(&world).is_ok_and(|size| {
            let found: BTreeSet<u64> = entries(&server.received()).into_iter().collect();
            size > 150 && found == (0..size).collect()
        })
    })?;
    wait_within(Duration::from_secs(60), "and counts as delivered", || {
        behind(&world, "siem").is_ok_and(|lag| lag == 0)
    })?;
    world.stop()
}

/// How an HTTP server treats a request.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Takes,
    Fails,
    HangsUp,
    Redirects,
    Stalls,
}

/// An HTTP server whose moods a test sets, and which tells what it took.
struct Http {
    address: SocketAddr,
    moods: Sender<Mood>,
    taken: Receiver<(String, Vec<u64>)>,
}

impl Http {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (moods, told) = channel();
        let (tell, taken) = channel();
        std::thread::spawn(move || {
            // Ends with the test's process.
            for stream in listener.incoming().flatten() {
                let mood = told.try_recv().unwrap_or(Mood::Takes);
                let _ = serve(stream, mood, &tell);
            }
        });
        Ok(Self {
            address,
            moods,
            taken,
        })
    }
}

fn serve(stream: TcpStream, mood: Mood, tell: &Sender<(String, Vec<u64>)>) -> Result<()> {
    if matches!(mood, Mood::HangsUp) {
        return Ok(());
    }
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0);
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = match mood {
        Mood::Takes => {
            tell.send((head, entries(&String::from_utf8(body)?)))?;
            "204 No Content\r\n"
        }
        Mood::Fails => "503 Service Unavailable\r\n",
        Mood::Redirects => "307 Temporary Redirect\r\nLocation: /elsewhere\r\n",
        Mood::Stalls => {
            // Until the other side gives up or the test ends.
            let mut rest = [0; 1];
            let _ = reader.read(&mut rest);
            return Ok(());
        }
        Mood::HangsUp => return Ok(()),
    };
    reader
        .get_mut()
        .write_all(format!("HTTP/1.1 {answer}Content-Length: 0\r\n\r\n").as_bytes())?;
    Ok(())
}

fn http_moods() -> Result<()> {
    let mut world = World::new()?;
    let server = Http::start()?;
    let token = world.path("token");
    std::fs::write(&token, "s3cret-of-the-siem\n")?;
    let url = format!("http://{}/in?source=bailiwick", server.address);
    export_to(
        &world,
        "siem",
        &url,
        &[("token_file", &token.display().to_string())],
    )?;
    for mood in [Mood::Fails, Mood::HangsUp, Mood::Redirects] {
        server.moods.send(mood)?;
    }
    world.serve()?;
    ask_namelessly(&world, 100)?;
    let mut found = BTreeSet::new();
    let mut told = Vec::new();
    let mut take_all = |world: &World| {
        wait_until("everything was taken", || {
            for (head, entries) in server.taken.try_iter() {
                found.extend(entries.iter().copied());
                told.push((head, entries));
            }
            signed(world).is_ok_and(|size| found == (0..size).collect())
        })
    };
    take_all(&world)?;
    // A receiver that stalls holds nothing up: neither plugins nor the end of the house.
    server.moods.send(Mood::Stalls)?;
    ask_namelessly(&world, 100)?;
    world.stop()?;
    world.serve()?;
    take_all(&world)?;
    let (head, entries) = told.first().context("a request")?;
    ensure!(head.starts_with("POST /in?source=bailiwick HTTP/1.1"), "{head}");
    ensure!(
        head.to_ascii_lowercase()
            .contains("authorization: bearer s3cret-of-the-siem")
    );
    let range = format!("x-bailiwick-entries: 0-{}", entries.last().context("entries")?);
    ensure!(head.to_ascii_lowercase().contains(&range), "{head}");
    // The token is in no file of ours.
    for file in crate::demo::files(&world.site().join("data")) {
        let bytes = std::fs::read(&file)?;
        ensure!(
            !bytes.windows(6).any(|window| window == b"s3cret"),
            "{}",
            file.display()
        );
    }
    world.stop()
}

fn strange_certificate() -> Result<()> {
    let mut world = World::new()?;
    let (folder, other) = (world.path("certificates"), world.path("others"));
    certificates(&folder)?;
    certificates(&other)?;
    let port = free_port()?.port();
    let server = Rsyslog::start(&world.path("rsyslog"), port, Some(&folder))?;
    let ca = other.join("ca.pem").display().to_string();
    export_to(
        &world,
        "siem",
        &format!("syslog+tls://127.0.0.1:{port}"),
        &[("ca_file", &ca)],
    )?;
    world.serve()?;
    ask_namelessly(&world, 10)?;
    wait_until("it says why", || {
        let page = world.admin_page("/metrics").unwrap_or_default();
        page.lines().any(|line| {
            line.starts_with("bailiwick_gateway_export_failures{export=\"siem\"} ") && !line.ends_with(" 0")
        })
    })?;
    ensure!(server.received().is_empty());
    let log = std::fs::read_to_string(world.path("serve.log"))?;
    ensure!(log.contains("events are not handed on"), "{log}");
    world.stop()
}
