//! A take-over as clients see it that came in by TLS, by HTTP/2 or by their run's own listener, and what
//! is ruled on in the process before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Frame, FrameClient, RawClient, Scenario, TlsClient, TlsManner, World, wait_until};
use serde_json::json;

use crate::adversarial_http2::basic;
use crate::service::metric;
use crate::stage::{Stage, exactly, has_ended};
use crate::take_over::{TARGET, all_ended, ends, is_whole, of_kind, stage, stage_with};
use crate::tls::{listen, listens, tls_address};
use crate::ways_in::OwnRun;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "tunnels_in_tls_stand_in_the_process_before_and_new_ones_are_the_successors",
        needs: &[],
        run: tls,
    },
    Scenario {
        name: "listeners_whose_ports_the_system_chose_are_the_same_ports_in_the_successor",
        needs: &[],
        run: ports_of_the_system,
    },
    Scenario {
        name: "streams_go_on_in_the_process_before_and_the_next_is_opened_on_another_connection",
        needs: &[],
        run: http2,
    },
    Scenario {
        name: "tunnels_by_a_runs_own_listeners_stand_and_end_with_the_run",
        needs: &[],
        run: own_listeners,
    },
    Scenario {
        name: "a_changed_tier_or_policy_rules_the_process_before_as_it_rules_one_alone",
        needs: &[],
        run: tier_and_policy,
    },
    Scenario {
        name: "a_list_by_a_key_that_came_with_the_successor_rules_the_process_before_too",
        needs: &[],
        run: renewed_list_key,
    },
    Scenario {
        name: "a_run_key_that_is_withdrawn_proves_nothing_in_the_process_before_either",
        needs: &[],
        run: withdrawn_run_key,
    },
];

/// A client, whatever it came in by.
trait Client: Read + Write {}

impl<T: Read + Write> Client for T {}

/// `CONNECT`, and the status of its answer. `fields` each with its line end.
fn connect(client: &mut dyn Client, fields: &str) -> Result<u16> {
    client.write_all(format!("CONNECT {TARGET} HTTP/1.1\r\n{fields}\r\n").as_bytes())?;
    client.flush()?;
    status(client)
}

/// The status of an answer without a body, read to its end.
fn status(client: &mut dyn Client) -> Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).context("the gateway hung up")?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    Ok(head.split(' ').nth(1).context("a status")?.parse()?)
}

/// Says something in a tunnel and hears the answer.
fn carries(client: &mut dyn Client, far: &mut TcpStream) -> Result<()> {
    client.write_all(b"ping")?;
    client.flush()?;
    ensure!(exactly(far, 4)? == b"ping");
    far.write_all(b"pong")?;
    let mut heard = [0; 4];
    client.read_exact(&mut heard)?;
    ensure!(heard == *b"pong");
    Ok(())
}

/// Much in both directions, byte for byte.
fn carries_much(client: &mut dyn Client, far: &mut TcpStream) -> Result<()> {
    let bytes: Vec<u8> = (0..400_000_u32).map(|at| at.to_be_bytes()[3]).collect();
    let mut heard = vec![0; bytes.len()];
    let (sent, mut other) = (bytes.clone(), far.try_clone()?);
    let sending = std::thread::spawn(move || other.write_all(&sent));
    client.read_exact(&mut heard)?;
    sending
        .join()
        .map_err(|_| anyhow::anyhow!("the server's thread died"))??;
    ensure!(heard == bytes, "what came down differs");
    let (up, mut other) = (bytes.len(), far.try_clone()?);
    let reading = std::thread::spawn(move || exactly(&mut other, up));
    client.write_all(&bytes)?;
    client.flush()?;
    let heard = reading
        .join()
        .map_err(|_| anyhow::anyhow!("the server's thread died"))??;
    ensure!(heard == bytes, "what went up differs");
    Ok(())
}

/// The first certificate of a file in PEM, in DER.
fn certificate(path: &Path) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let text = std::fs::read_to_string(path)?;
    let body = text.lines().skip(1).take_while(|line| !line.starts_with("-----"));
    Ok(base64::engine::general_purpose::STANDARD.decode(body.collect::<String>())?)
}

/// Renews the gateway's certificate and waits until it is in force. What it is now.
fn renew(world: &World) -> Result<Vec<u8>> {
    world.ok(["tls", "new", "--renew"])?;
    world.ok(["reload"])?;
    certificate(&world.site().join("keys/gateway-tls.crt"))
}

fn tls() -> Result<()> {
    let mut stage = stage_with("60s", |world| listen(world, "tls://127.0.0.1:0", "optional"))?;
    let run = OwnRun::start(&stage.world, &stage.plugin, &["--mtls"])?;
    let (certificate, key) = (run.get("BAILIWICK_PROXY_CERT")?, run.get("BAILIWICK_PROXY_KEY")?);
    let own = (Path::new(certificate), Path::new(key));
    let address = tls_address(&stage.world)?.parse()?;
    let trusted = stage.world.site().join("keys/gateway-tls.crt");
    let client = || {
        let manner = TlsManner {
            trusted: &trusted,
            own: Some(own),
            alpn: b"http/1.1",
        };
        TlsClient::connect(address, manner)
    };
    let mut first = client()?;
    assert_eq!(connect(&mut first, "")?, 200);
    let mut first_far = stage.server.accept()?;
    let renewed = renew(&stage.world)?;
    let mut second = client()?;
    ensure!(first.presented()? != renewed && second.presented()? == renewed);
    assert_eq!(connect(&mut second, "")?, 200);
    let mut second_far = stage.server.accept()?;
    // One that shook hands and has said nothing yet, and one in the middle of its request.
    let mut halfway = client()?;
    halfway.write_all(format!("CONNECT {TARGET} HT").as_bytes())?;

    let before = stage.world.take_over()?;
    carries(&mut first, &mut first_far)?;
    carries_much(&mut second, &mut second_far)?;
    halfway.write_all(b"TP/1.1\r\n\r\n")?;
    assert_eq!(status(&mut halfway)?, 200);
    let mut halfway_far = stage.server.accept()?;
    carries(&mut halfway, &mut halfway_far)?;
    let mut third = client()?;
    ensure!(
        third.presented()? == renewed,
        "the successor presents what was in force"
    );
    assert_eq!(connect(&mut third, "")?, 200);
    let mut third_far = stage.server.accept()?;
    carries_much(&mut third, &mut third_far)?;
    wait_until("who holds what to be counted", || {
        metric(&stage.world, "bailiwick_gateway_predecessor_live").is_ok_and(|live| live == 3)
    })?;
    // A renewal after the take-over is the successor's, and touches nobody.
    let again = renew(&stage.world)?;
    ensure!(client()?.presented()? == again && again != renewed);
    carries(&mut first, &mut first_far)?;
    carries(&mut third, &mut third_far)?;
    drop((first, first_far, second, second_far, halfway, halfway_far));
    ends(before)?;
    carries(&mut third, &mut third_far)?;
    drop((third, third_far, run));
    let Stage { run, mut world, .. } = stage;
    drop(run);
    world.stop()?;
    let events = is_whole(&world)?;
    let opens = of_kind(&events, "open");
    assert_eq!(opens.len(), 4);
    ensure!(
        opens.iter().all(|open| open["attribution"] == "mtls"),
        "{opens:#?}"
    );
    for kind in ["refused", "gap"] {
        assert_eq!(of_kind(&events, kind).len(), 0, "{kind}");
    }
    all_ended(&events)
}

fn ports_of_the_system() -> Result<()> {
    let mut stage = stage_with("60s", |world| {
        for address in [
            "127.0.0.1:0",
            "tls://127.0.0.1:0",
            "127.0.0.1:0",
            "tls://127.0.0.1:0",
        ] {
            listen(world, address, "none")?;
        }
        Ok(())
    })?;
    let at_first = listens(&stage.world)?;
    assert_eq!(at_first.len(), 5);
    ensure!(at_first.iter().all(|at| !at.ends_with(":0")), "{at_first:?}");
    for _ in 0..2 {
        let before = stage.world.take_over()?;
        assert_eq!(listens(&stage.world)?, at_first);
        ends(before)?;
    }
    let trusted = stage.world.site().join("keys/gateway-tls.crt");
    let fields = format!("Proxy-Authorization: {}\r\n", basic(&stage.run.credentials));
    for address in &at_first {
        let mut client: Box<dyn Client> = match address.strip_prefix("tls://") {
            None => Box::new(TcpStream::connect(address)?),
            Some(address) => Box::new(TlsClient::connect(
                address.parse()?,
                TlsManner {
                    trusted: &trusted,
                    own: None,
                    alpn: b"http/1.1",
                },
            )?),
        };
        assert_eq!(connect(&mut *client, &fields)?, 200, "{address}");
        carries(&mut *client, &mut stage.server.accept()?)?;
    }
    Ok(())
}

/// A stream that was opened, as its first frame.
fn request(stage: &Stage, id: u32) -> Frame {
    let proof = basic(&stage.run.credentials);
    let fields = [
        (":method", "CONNECT"),
        (":authority", TARGET),
        ("proxy-authorization", proof.as_str()),
    ];
    Frame::request(id, &fields)
}

fn open(stage: &Stage, client: &mut FrameClient, id: u32) -> Result<TcpStream> {
    client.send(&request(stage, id))?;
    client.until(|frame| frame.stream == id && frame.is_success())?;
    stage.server.accept()
}

/// Says something on a stream and hears the answer. Nothing may be said meanwhile on stream `silent`.
fn stream_carries(client: &mut FrameClient, id: u32, far: &mut TcpStream, silent: u32) -> Result<()> {
    client.send(&Frame::new(Frame::DATA, 0, id, *b"ping"))?;
    ensure!(exactly(far, 4)? == b"ping");
    far.write_all(b"pong")?;
    let told =
        client.until(|frame| frame.stream == silent || frame.stream == id && frame.kind == Frame::DATA)?;
    ensure!(told.payload == b"pong", "{told:?}");
    Ok(())
}

fn http2() -> Result<()> {
    /// `REFUSED_STREAM`: nothing was done, so it may be asked again (RFC 9113 §8.7).
    const REFUSED_STREAM: u32 = 7;
    let mut stage = stage_with("60s", |world| listen(world, "tls://127.0.0.1:0", "optional"))?;
    let trusted = stage.world.site().join("keys/gateway-tls.crt");
    let address = tls_address(&stage.world)?.parse()?;
    let gateway = stage.world.gateway()?;
    let connection = |is_tls: bool| -> Result<FrameClient> {
        if !is_tls {
            return FrameClient::connect(gateway);
        }
        let manner = TlsManner {
            trusted: &trusted,
            own: None,
            alpn: b"h2",
        };
        FrameClient::over(TlsClient::connect(address, manner)?)
    };
    let mut served = 0;
    for is_tls in [false, true] {
        let mut client = connection(is_tls)?;
        let (mut one, mut three) = (open(&stage, &mut client, 1)?, open(&stage, &mut client, 3)?);
        let before = stage.world.take_over()?;
        // The client has not heard yet that it should go. Its stream is served, or given back untouched.
        client.send(&request(&stage, 5))?;
        // It hears of it twice: once at once, and once it has shown by its answer to a ping that it heard.
        let (mut goodbyes, mut answer) = (Vec::new(), None);
        while goodbyes.len() < 2 || answer.is_none() {
            let frame = client.until(|frame| {
                let is_answer = matches!(frame.kind, Frame::HEADERS | Frame::RESET);
                frame.kind == Frame::GOAWAY || frame.stream == 5 && is_answer
            })?;
            match frame.kind {
                Frame::GOAWAY => goodbyes.push(frame),
                _ => answer = Some(frame),
            }
        }
        ensure!(
            goodbyes.iter().all(|goodbye| goodbye.reason() == Some(0)),
            "{goodbyes:?}"
        );
        let answer = answer.context("seen just now")?;
        let mut five = if answer.kind == Frame::RESET {
            assert_eq!(answer.reason(), Some(REFUSED_STREAM));
            None
        } else {
            ensure!(answer.is_success(), "{answer:?}");
            Some(stage.server.accept()?)
        };
        // From now on nothing new is looked at here.
        client.send(&request(&stage, 7))?;
        stream_carries(&mut client, 1, &mut one, 7)?;
        stream_carries(&mut client, 3, &mut three, 7)?;
        if let Some(five) = &mut five {
            stream_carries(&mut client, 5, five, 7)?;
            served += 1;
        }
        let mut other = connection(is_tls)?;
        let mut far = open(&stage, &mut other, 1)?;
        stream_carries(&mut other, 1, &mut far, u32::MAX)?;
        stream_carries(&mut client, 1, &mut one, 7)?;
        // Streams end one by one, and with the last of them the connection and its process.
        for (id, far) in [(1, Some(one)), (3, Some(three)), (5, five)] {
            if let Some(mut far) = far {
                client.send(&Frame::new(Frame::DATA, Frame::END_STREAM, id, *b"bye"))?;
                ensure!(exactly(&mut far, 3)? == b"bye" && has_ended(&mut far));
                drop(far);
                client.until(|frame| frame.stream == id && frame.flags & Frame::END_STREAM != 0)?;
            }
        }
        client.drain();
        ends(before)?;
        stream_carries(&mut other, 1, &mut far, u32::MAX)?;
    }
    let Stage { run, mut world, .. } = stage;
    drop(run);
    world.stop()?;
    let events = is_whole(&world)?;
    assert_eq!(of_kind(&events, "open").len(), 6 + served);
    let refused = of_kind(&events, "refused");
    assert_eq!(refused.len(), 2 - served, "{refused:#?}");
    ensure!(
        refused.iter().all(|event| event["reason"] == "draining"),
        "{refused:#?}"
    );
    all_ended(&events)
}

fn own_listeners() -> Result<()> {
    let mut stage = stage_with("60s", |world| {
        world.configure(|config| {
            let gateway = config["gateway"].as_table_mut().context("gateway")?;
            gateway.insert("run_grace".into(), "0s".into());
            Ok(())
        })
    })?;
    let run = OwnRun::start(&stage.world, &stage.plugin, &["--listener", "unix,tcp"])?;
    let (port, socket) = (run.port()?, run.socket()?);
    let tunnels = |stage: &Stage| -> Result<Vec<(Box<dyn Client>, TcpStream)>> {
        let clients: [Box<dyn Client>; 2] = [
            Box::new(TcpStream::connect(port)?),
            Box::new(UnixStream::connect(&socket)?),
        ];
        let mut tunnels = Vec::new();
        for mut client in clients {
            assert_eq!(connect(&mut client, "")?, 200);
            tunnels.push((client, stage.server.accept()?));
        }
        Ok(tunnels)
    };
    let mut theirs = tunnels(&stage)?;
    let before = stage.world.take_over()?;
    let mut ours = tunnels(&stage)?;
    for (client, far) in theirs.iter_mut().chain(&mut ours) {
        carries(client, far)?;
    }
    drop(run);
    for (client, far) in theirs.iter_mut().chain(&mut ours) {
        ensure!(has_ended(client) && has_ended(far));
    }
    ends(before)?;
    wait_until("the run's listeners to be gone", || {
        !socket.exists() && TcpStream::connect(port).is_err()
    })?;
    let events = is_whole(&stage.world)?;
    let closes = of_kind(&events, "close");
    assert_eq!(closes.len(), 4);
    ensure!(
        closes.iter().all(|close| close["outcome"] == "run_ended"),
        "{closes:#?}"
    );
    all_ended(&events)
}

/// Puts another policy in force, in which operators list `allow` for the low tier.
fn allow_in_low(world: &World, version: i64, allow: &[&str]) -> Result<()> {
    let path = world.site().join("policy.toml");
    let mut policy: toml::Table = std::fs::read_to_string(&path)?.parse()?;
    policy.insert("version".into(), version.into());
    let tiers = policy.entry("tiers").or_insert_with(|| toml::Table::new().into());
    let tiers = tiers.as_table_mut().context("tiers is a table")?;
    let low = tiers.entry("low").or_insert_with(|| toml::Table::new().into());
    let allow: Vec<String> = allow.iter().map(|&entry| entry.to_owned()).collect();
    low.as_table_mut()
        .context("tiers.low is a table")?
        .insert("allow".into(), allow.into());
    std::fs::write(&path, policy.to_string())?;
    world.ok(["reload"])?;
    Ok(())
}

/// Lets clients be in the middle of a request for as long as a test takes.
fn patient_with_heads(world: &World) -> Result<()> {
    world.configure(|config| {
        config["gateway"]["timeouts"]
            .as_table_mut()
            .context("timeouts")?
            .insert("head".into(), "300s".into());
        Ok(())
    })?;
    world.ok(["reload"])?;
    Ok(())
}

fn tier_and_policy() -> Result<()> {
    for is_taken_over in [false, true] {
        let mut stage = stage("60s")?;
        patient_with_heads(&stage.world)?;
        let version = stage.world.ok(["status"])?["policy_version"].as_i64();
        let version = version.context("policy_version")?;
        allow_in_low(&stage.world, version + 1, &["tcp://api.weather.example:443"])?;
        let (mut client, mut far) = stage.tunnel(TARGET)?;
        // Clients that have begun to ask, and one whose first question was answered.
        let mut halfway = Vec::new();
        for _ in 0..4 {
            let mut client = stage.client()?;
            client.send(format!("CONNECT {TARGET} HT").as_bytes())?;
            halfway.push(client);
        }
        let rest = format!("TP/1.1\r\n{}\r\n", stage.run.credentials.header());
        let mut answer = || -> Result<(u16, String)> {
            let mut client = halfway.pop().context("one that waits")?;
            client.send(rest.as_bytes())?;
            let answer = client.answer()?;
            Ok((answer.status, answer.reason().to_owned()))
        };
        let mut kept = stage.client()?;
        let ask = |stage: &Stage, client: &mut RawClient| -> Result<(u16, String)> {
            stage.send_request(client, "GET http://busy.example/", "Host: busy.example\r\n")?;
            let answer = client.answer()?;
            Ok((answer.status, answer.reason().to_owned()))
        };
        assert_eq!(ask(&stage, &mut kept)?.0, 200);
        let before = if is_taken_over {
            Some(stage.world.take_over()?)
        } else {
            None
        };
        assert_eq!(answer()?.0, 200);
        drop(stage.server.accept()?);
        let denied = (403, "tier".to_owned());

        stage.world.ok(["tier", "set", "acme.weather", "legacy"])?;
        // What stands is what was allowed, and stands; what is asked from now on is not.
        crate::service::carries(&mut client, &mut far)?;
        assert_eq!(answer()?, denied);
        if is_taken_over {
            ensure!(has_ended(&mut kept.socket()), "an idle connection is told to go");
            kept = stage.client()?;
        }
        assert_eq!(ask(&stage, &mut kept)?, denied);

        stage.world.ok(["tier", "set", "acme.weather", "low"])?;
        assert_eq!(answer()?.0, 200, "what both lists cover");
        drop(stage.server.accept()?);
        allow_in_low(&stage.world, version + 2, &["elsewhere.example"])?;
        assert_eq!(answer()?, denied);
        crate::service::carries(&mut client, &mut far)?;
        let refused = stage.wait_for("refused", 3)?;
        assert_eq!(refused.len(), 3, "{refused:#?}");
        let ruled_by = &refused[2];
        assert_eq!(ruled_by["policy_version"], json!(version + 2), "{ruled_by:#}");
        drop((client, far));
        if let Some(before) = before {
            ends(before)?;
        }
        let Stage { run, mut world, .. } = stage;
        drop(run);
        world.stop()?;
        all_ended(&is_whole(&world)?)?;
    }
    Ok(())
}

fn renewed_list_key() -> Result<()> {
    let mut stage = stage("60s")?;
    patient_with_heads(&stage.world)?;
    let (client, far) = stage.tunnel(TARGET)?;
    let mut halfway = stage.client()?;
    halfway.send(format!("CONNECT {TARGET} HT").as_bytes())?;
    // The key that signs lists is replaced, with the version that brings the next process. The root was
    // changed for another reason before.
    let key = |name: &str| stage.world.path(&format!("{name}.pem"));
    for (name, role) in [("other-owner", "owner"), ("lists", "crl")] {
        stage
            .world
            .ok(["key".as_ref(), "new".as_ref(), key(name).as_os_str()])?;
        let mut command = stage
            .world
            .command(["--format", "json", "trust", "add", "--role", role]);
        command.arg(key(name).with_extension("pub"));
        if role == "owner" {
            command.args(["--scope", "acme.other"]);
        }
        bailiwick_tests::run(&mut command)?.expect(0)?;
    }
    let key = key("lists");
    let own = stage.world.site().join("keys/crl.pem");
    std::fs::copy(&key, &own)?;
    let before = stage.world.take_over()?;
    let digest = stage.plugin.digest.to_string();
    stage
        .world
        .ok(["quarantine", &digest, "--reason", "undeclared_host"])?;
    ensure!(has_ended(&mut client.socket()));
    drop(far);
    // Whoever was in the middle of asking is refused there as well.
    halfway.send(format!("TP/1.1\r\n{}\r\n", stage.run.credentials.header()).as_bytes())?;
    let answer = halfway.answer()?;
    assert_eq!(
        (answer.status, answer.reason()),
        (403, "quarantined"),
        "{answer:?}"
    );
    drop(halfway);
    ensure!(
        !before.printed().contains("cannot be used"),
        "{}",
        before.printed()
    );
    ends(before)
}

fn withdrawn_run_key() -> Result<()> {
    for is_taken_over in [false, true] {
        let mut stage = stage("60s")?;
        patient_with_heads(&stage.world)?;
        let (mut client, mut far) = stage.tunnel(TARGET)?;
        let mut halfway = [stage.client()?, stage.client()?];
        for client in &mut halfway {
            client.send(format!("CONNECT {TARGET} HT").as_bytes())?;
        }
        let rest = format!("TP/1.1\r\n{}\r\n", stage.run.credentials.header());
        let before = if is_taken_over {
            Some(stage.world.take_over()?)
        } else {
            None
        };
        let [first, second] = &mut halfway;
        first.send(rest.as_bytes())?;
        assert_eq!(first.answer()?.status, 200);
        drop(stage.server.accept()?);
        let key = stage.world.site().join("keys/run.pem");
        let removal = ["trust", "remove", "--role", "run"].map(std::ffi::OsStr::new);
        stage.world.ok(removal.into_iter().chain([key.as_os_str()]))?;
        stage.world.ok(["reload"])?;
        second.send(rest.as_bytes())?;
        let answer = second.answer()?;
        assert_eq!(
            (answer.status, answer.reason()),
            (407, "credentials_invalid"),
            "{answer:?}"
        );
        // What stands is what was proved, and stands.
        crate::service::carries(&mut client, &mut far)?;
        drop((client, far, halfway));
        if let Some(before) = before {
            ends(before)?;
        }
    }
    Ok(())
}
