//! Parent proxies: another gateway as the way out, and proxies that say no in every way.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{ProxyCredentials, RawClient, RawServer, Scenario, World};
use serde_json::{Value, json};

use crate::stage::{Stage, exactly, has_ended, head};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two_gateways_in_a_row_carry_every_byte_and_each_records_its_own_hop",
        needs: &[],
        run: chain,
    },
    Scenario {
        name: "a_parent_proxy_learns_host_and_port_and_nothing_else",
        needs: &[],
        run: scripted,
    },
    Scenario {
        name: "each_way_a_parent_proxy_says_no_has_an_answer_and_an_outcome_of_its_own",
        needs: &[],
        run: refusals,
    },
    Scenario {
        name: "the_floor_holds_in_front_of_a_parent_proxy_for_what_can_be_seen_of_it",
        needs: &[],
        run: floor,
    },
    Scenario {
        name: "a_kill_does_not_wait_for_a_parent_proxy",
        needs: &[],
        run: killed_while_waiting,
    },
];

const USER: &str = "gateway-at-site";
const PASSWORD: &str = "parents-own-password";

/// Has destinations go through `parent`, an address, with an account.
fn configure(world: &World, parent: &str, suffixes: &[&str], account: (&str, &str)) -> Result<()> {
    let file = world.site().join("parent.password");
    std::fs::write(&file, format!("{}\n", account.1))?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    world.configure(|config| {
        let entry: toml::Table = format!(
            "suffixes = {suffixes:?}\nurl = \"http://{parent}\"\nusername = \"{}\"\npassword_file = \"parent.password\"",
            account.0
        )
        .parse()?;
        let gateway = config["gateway"].as_table_mut().context("a site has a gateway")?;
        gateway.insert("parent".into(), toml::Value::Array(vec![entry.into()]));
        Ok(())
    })
}

/// A stage whose way out is a proxy that the test plays itself.
fn behind(parent: &RawServer, suffixes: &[&str]) -> Result<Stage> {
    let address = parent.address().to_string();
    Stage::prepared(&["far.example"], |world, server| {
        world.lead(&["near.example"], &[server.address().to_string()])?;
        configure(world, &address, suffixes, (USER, PASSWORD))
    })
}

fn no_secret_was_told(stage: &Stage) -> Result<()> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let told = [
        std::fs::read_to_string(stage.world.path("serve.log"))?,
        format!("{:?}", stage.world.events()?),
        stage.world.admin_page("/metrics")?,
    ];
    for secret in [PASSWORD, &encoded] {
        ensure!(
            told.iter().all(|text| !text.contains(secret)),
            "{secret} was told"
        );
    }
    Ok(())
}

fn chain() -> Result<()> {
    let far = Stage::new(&["far.example"], &["far.example"])?;
    let ProxyCredentials { user, password } = &far.run.credentials;
    let parent = far.world.gateway()?.to_string();
    let near = Stage::prepared(&["tcp://far.example:443", "http://far.example"], |world, _| {
        configure(world, &parent, &["*"], (user, password))
    })?;
    let mut client = near.client()?;
    near.send_connect(&mut client, "far.example:443")?;
    let answer = client.answer()?;
    ensure!(answer.status == 200, "{answer:?}");
    let mut server = far.server.accept()?;
    let question: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let sent = question.clone();
    let sending = std::thread::spawn(move || client.send(&sent).map(|()| client));
    ensure!(exactly(&mut server, question.len())? == question);
    let mut client = sending.join().expect("the sender ends")?;
    server.write_all(b"answer")?;
    ensure!(client.exactly(6)? == b"answer");
    drop((client, server));
    let hop = |stage: &Stage| -> Result<Value> { stage.wait_for("close", 1)?.pop().context("one close") };
    let (first, second) = (hop(&near)?, hop(&far)?);
    for close in [&first, &second] {
        assert_eq!(
            (
                &close["destination_host"],
                &close["bytes_out"],
                &close["bytes_in"]
            ),
            (&json!("far.example"), &json!(question.len()), &json!(6)),
            "{close:#}"
        );
        ensure!(
            close["first_byte_ms"].is_u64() && close["connect_ms"].is_u64(),
            "{close:#}"
        );
    }
    assert_eq!(
        (&first["via"], &first["dns_result"], &first["resolved_ips"]),
        (&json!(parent), &json!("parent"), &Value::Null)
    );
    assert_eq!(
        (&second["via"], &second["dns_result"]),
        (&Value::Null, &json!("override"))
    );

    // Plain HTTP goes through a tunnel as well, and on one connection again and again.
    let mut client = near.client()?;
    let mut server = None;
    for round in 0..2 {
        near.send_request(
            &mut client,
            "GET http://far.example/path",
            "Host: far.example\r\n",
        )?;
        let server = match &mut server {
            Some(server) => server,
            none => none.insert(far.server.accept()?),
        };
        let asked = head(server)?;
        ensure!(
            asked.starts_with("GET /path HTTP/1.1\r\n") && !asked.contains("Proxy-"),
            "{asked}"
        );
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        ensure!(client.answer()?.body == "ok", "round {round}");
    }
    let opens = far.events("open")?;
    assert_eq!(opens.len(), 2, "the parent saw one tunnel for both requests");
    assert_eq!(opens[1]["port"], 80);
    assert_eq!(near.findings()?, []);
    Ok(())
}

fn scripted() -> Result<()> {
    let parent = RawServer::start()?;
    let stage = behind(&parent, &["far.example", "192.0.2.0/24"])?;
    let mut client = stage.client()?;
    stage.send_connect(&mut client, "Sub.Far.Example:8443")?;
    let mut at_parent = parent.accept()?;
    let asked = head(&mut at_parent)?;
    let expected =
        "CONNECT sub.far.example:8443 HTTP/1.1\r\nHost: sub.far.example:8443\r\nProxy-Authorization: Basic ";
    ensure!(asked.starts_with(expected), "{asked}");
    ensure!(asked.lines().count() == 4, "{asked}");
    // What the destination said at once came with the parent's consent.
    at_parent
        .write_all(b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\nSSH-2.0-far\r\n")?;
    let answer = client.answer()?;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(client.exactly(13)? == b"SSH-2.0-far\r\n");
    drop((client, at_parent));
    let close = stage.wait_for("close", 1)?.remove(0);
    assert_eq!(
        (
            &close["scheme"],
            &close["bytes_in"],
            &close["via"],
            &close["outcome"]
        ),
        (
            &json!("ssh"),
            &json!(13),
            &json!(parent.address().to_string()),
            &json!("client_closed")
        ),
        "{close:#}"
    );
    // A name that the operator mapped goes where it is mapped to, and others have no parent.
    stage.tunnel("near.example:443")?;
    let direct = stage.connect("nowhere.invalid:443")?;
    assert_eq!(
        (direct.status, direct.reason()),
        (502, "dns_failed"),
        "{direct:?}"
    );
    ensure!(!parent.was_dialled(), "the parent was asked");
    no_secret_was_told(&stage)
}

fn refusals() -> Result<()> {
    let parent = RawServer::start()?;
    let stage = behind(&parent, &["*"])?;
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let cases: &[(&[u8], u16, &str)] = &[
        (
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n\r\n",
            502,
            "parent_credentials",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            403,
            "parent_refused",
        ),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", 502, "parent_failed"),
        (b"SSH-2.0-not-a-proxy\r\n\r\n", 502, "parent_bad_response"),
        (endless.as_bytes(), 502, "parent_bad_response"),
        (b"", 502, "parent_bad_response"),
    ];
    for (at, (said, status, word)) in cases.iter().enumerate() {
        let mut client = stage.client()?;
        stage.send_connect(&mut client, "far.example:443")?;
        let mut at_parent = parent.accept()?;
        head(&mut at_parent)?;
        // Whoever has read enough may have hung up by now.
        let _ = at_parent.write_all(said);
        drop(at_parent);
        let answer = client.answer()?;
        assert_eq!((answer.status, answer.reason()), (*status, *word), "{answer:?}");
        ensure!(answer.header("proxy-authenticate").is_none(), "{answer:?}");
        let close = stage.wait_for("close", at + 1)?.remove(at);
        assert_eq!(
            (&close["outcome"], &close["bytes_in"], &close["decision"]),
            (&json!(word), &json!(0), &json!("allow")),
            "{close:#}"
        );
    }
    // Nobody there at all.
    drop(parent);
    let answer = stage.connect("far.example:443")?;
    assert_eq!(
        (answer.status, answer.reason()),
        (502, "parent_unreachable"),
        "{answer:?}"
    );
    let close = stage.wait_for("close", cases.len() + 1)?.remove(cases.len());
    ensure!(
        close["attempts"][0]
            .as_str()
            .is_some_and(|attempt| attempt.ends_with(" refused")),
        "{close:#}"
    );
    no_secret_was_told(&stage)
}

fn floor() -> Result<()> {
    let parent = RawServer::start()?;
    let stage = behind(&parent, &["*"])?;
    for target in ["169.254.169.254:80", "10.0.0.1:443", "[fd00:ec2::254]:80"] {
        let answer = stage.connect(target)?;
        assert_eq!(
            (answer.status, answer.reason()),
            (403, "floor"),
            "{target}: {answer:?}"
        );
    }
    ensure!(
        !parent.was_dialled(),
        "the parent was asked for an address below the floor"
    );
    Ok(())
}

fn killed_while_waiting() -> Result<()> {
    let parent = RawServer::start()?;
    let stage = behind(&parent, &["*"])?;
    let mut client = stage.client()?;
    stage.send_connect(&mut client, "far.example:443")?;
    let mut at_parent: TcpStream = parent.accept()?;
    head(&mut at_parent)?;
    stage.world.ok(["kill", "acme.weather"])?;
    ensure!(has_ended(&mut at_parent), "the parent's connection is still open");
    let answer: Result<_> = RawClient::answer(&mut client);
    ensure!(
        answer.is_ok_and(|answer| answer.status == 403),
        "a kill is a refusal"
    );
    let close = stage.wait_for("close", 1)?.remove(0);
    assert_eq!(close["outcome"], "killed", "{close:#}");
    Ok(())
}
