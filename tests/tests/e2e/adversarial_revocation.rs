//! Revocation against the odds: every state a connection can be in, restarts, races, forged lists.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{
    Answer, DEADLINE, NameServer, ProxyCredentials, RawClient, RawServer, Reply, Scenario, forge,
    forge_statement, run, statement, wait_until,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::stage::{Stage, exactly, has_ended, head};
use crate::tokens::LiveRun;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_hold_ends_a_connection_in_whatever_state_it_is",
        needs: &[],
        run: every_state,
    },
    Scenario {
        name: "after_a_power_cut_the_first_connection_is_refused_already",
        needs: &[],
        run: first_accept,
    },
    Scenario {
        name: "an_acknowledged_revocation_survives_a_power_cut_at_that_moment",
        needs: &[],
        run: cut_while_revoking,
    },
    Scenario {
        name: "operators_who_disagree_at_once_leave_one_answer_everywhere",
        needs: &[],
        run: race,
    },
    Scenario {
        name: "a_forged_list_is_refused_by_name_and_the_last_good_one_stays_in_force",
        needs: &[],
        run: forged_lists,
    },
    Scenario {
        name: "a_list_past_its_time_loads_nothing_new_after_the_grace_and_still_revokes",
        needs: &[],
        run: stale_list,
    },
];

const TARGET: &str = "ok.example:443";

fn quarantine(stage: &Stage) -> Result<Value> {
    stage
        .world
        .ok(["quarantine", &stage.plugin.digest, "--reason", "undeclared_host"])
}

/// Writes until every buffer on the way is full.
fn fill(mut stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(true)?;
    let mut full = 0;
    wait_until("every buffer on the way to be full", || {
        match stream.write(&[7; 1 << 16]) {
            Ok(_) => full = 0,
            Err(_) => full += 1,
        }
        full > 5
    })?;
    Ok(stream.set_nonblocking(false)?)
}

fn every_state() -> Result<()> {
    let names = NameServer::start([("pending.example", vec![Reply::Silence])])?;
    let deaf = RawServer::deaf()?;
    let stage = Stage::prepared(&["ok.example"], |world, server| {
        world.lead(&["ok.example"], &[server.address().to_string()])?;
        world.lead(&["deaf.example"], &[deaf.address().to_string()])?;
        world.resolve_with(names.address())
    })?;
    let other = stage
        .world
        .plugin("acme.bystander")
        .declares(&["ok.example"])
        .admit("high")?;
    let bystander = LiveRun::start(&stage.world, &other, &[])?;
    let mut spared = stage.client()?;
    ensure!(spared.tunnel(TARGET, Some(&bystander.credentials))?.status == 200);
    let mut spared_server = stage.server.accept()?;

    let idle = stage.tunnel(TARGET)?;
    let (mut busy, mut busy_server) = stage.tunnel(TARGET)?;
    busy.send(b"hello")?;
    ensure!(exactly(&mut busy_server, 5)? == b"hello");
    let (mut peeking, peeking_server) = stage.tunnel(TARGET)?;
    peeking.send(&[22, 3, 1, 1, 0, 1])?;
    let (asked, mut asked_server) = stage.tunnel(TARGET)?;
    asked.socket().shutdown(Shutdown::Write)?;
    ensure!(
        has_ended(&mut asked_server),
        "the end of one direction is passed on"
    );
    let (answered, answered_server) = stage.tunnel(TARGET)?;
    answered_server.shutdown(Shutdown::Write)?;
    let (stalled, stalled_server) = stage.tunnel(TARGET)?;
    fill(stalled.socket())?;
    let (deafened, deafened_server) = stage.tunnel(TARGET)?;
    fill(&deafened_server)?;
    let mut tunnels = vec![
        ("idle", idle.0, idle.1),
        ("relaying", busy, busy_server),
        ("in the middle of a ClientHello", peeking, peeking_server),
        ("closed by the server in one direction", answered, answered_server),
        ("before a server that reads nothing", stalled, stalled_server),
        ("before a client that reads nothing", deafened, deafened_server),
    ];
    let mut waiting = stage.client()?;
    stage.send_request(&mut waiting, "GET http://ok.example/", "Host: ok.example\r\n")?;
    let mut waiting_server = stage.server.accept()?;
    head(&mut waiting_server)?;
    let mut connecting = stage.client()?;
    stage.send_connect(&mut connecting, "deaf.example:443")?;
    let mut resolving = stage.client()?;
    stage.send_connect(&mut resolving, "pending.example:443")?;
    names.wait_for_question("pending.example")?;

    let done = quarantine(&stage)?;
    println!("10 connections in 10 states were ended in {} ms", done["ms"]);
    assert_eq!(done["tunnels"], 10, "{done:#}");
    for (state, client, server) in &mut tunnels {
        client.drain();
        ensure!(has_ended(server), "{state}: the server still waits");
    }
    let mut asked = asked;
    asked.drain();
    for (state, client) in [
        ("waiting for an answer", &mut waiting),
        ("connecting", &mut connecting),
        ("being looked up", &mut resolving),
    ] {
        let answer = client.answer().with_context(|| state.to_owned())?;
        ensure!(
            (answer.status, answer.reason()) == (403, "killed"),
            "{state}: {answer:?}"
        );
    }
    let closes = stage.wait_for("close", 10)?;
    assert_eq!(closes.len(), 10);
    for close in &closes {
        assert_eq!(close["outcome"], "killed", "{close:#}");
        assert_eq!(close["plugin_id"], "acme.weather");
    }
    // Nobody else noticed, and nothing new comes in.
    spared.send(b"still here")?;
    ensure!(exactly(&mut spared_server, 10)? == b"still here");
    let refused = stage.connect(TARGET)?;
    assert_eq!(
        (refused.status, refused.reason()),
        (403, "quarantined"),
        "{refused:?}"
    );
    Ok(())
}

/// The first answer that anybody gets at this gateway, asking from before it is there.
fn first_answer(
    gateway: std::net::SocketAddr,
    credentials: ProxyCredentials,
) -> thread::JoinHandle<Result<Answer>> {
    thread::spawn(move || {
        let mut answer = None;
        wait_until("the gateway to answer again", || {
            let asked =
                RawClient::connect(gateway).and_then(|mut client| client.tunnel(TARGET, Some(&credentials)));
            answer = asked.ok();
            answer.is_some()
        })?;
        answer.context("answered")
    })
}

/// Cuts the power, serves again, and gives the first answer after that.
fn power_cut(stage: &mut Stage) -> Result<Answer> {
    stage.world.kill_server()?;
    serve_again(stage)
}

/// Serves again, and gives the first answer.
fn serve_again(stage: &mut Stage) -> Result<Answer> {
    let first = first_answer(stage.world.gateway()?, stage.run.credentials.clone());
    stage.world.serve()?;
    match first.join() {
        Ok(answer) => answer,
        Err(_) => anyhow::bail!("whoever asked panicked"),
    }
}

fn first_accept() -> Result<()> {
    let mut stage = Stage::new(&["ok.example"], &["ok.example"])?;
    ensure!(stage.connect(TARGET)?.status == 200);
    quarantine(&stage)?;
    let first = power_cut(&mut stage)?;
    assert_eq!((first.status, first.reason()), (403, "quarantined"), "{first:?}");
    stage
        .world
        .ok(["reinstate", &stage.plugin.digest, "--reason", "false_positive"])?;
    let first = power_cut(&mut stage)?;
    assert_eq!(first.status, 200, "{first:?}");
    stage
        .world
        .ok(["revoke", &stage.plugin.digest, "--reason", "malware"])?;
    let first = power_cut(&mut stage)?;
    assert_eq!((first.status, first.reason()), (403, "revoked"), "{first:?}");
    Ok(())
}

fn cut_while_revoking() -> Result<()> {
    let mut stage = Stage::new(&["ok.example"], &["ok.example"])?;
    for round in 0..4 {
        let mut command = stage.world.command([
            "--format",
            "json",
            "quarantine",
            &stage.plugin.digest,
            "--reason",
            "undeclared_host",
        ]);
        let acting = thread::spawn(move || run(&mut command));
        // At once; when the list's body is there; when its head is.
        let folder = crl_folder(&stage);
        let seen = || match round {
            0 => Some(0),
            1 => std::fs::read_dir(&folder).ok().map(|files| files.count() as u64),
            _ => std::fs::metadata(folder.join("crl.sigstore.json"))
                .ok()
                .map(|head| head.ino()),
        };
        let before = seen();
        let started = Instant::now();
        while round > 0 && seen() == before && !acting.is_finished() && started.elapsed() < DEADLINE {
            thread::yield_now();
        }
        stage.world.kill_server()?;
        // Without a server the command may have done it by itself; it holds the site meanwhile.
        let Ok(acted) = acting.join() else {
            anyhow::bail!("whoever acted panicked");
        };
        let acknowledged = acted?.status == Some(0);
        let after = serve_again(&mut stage)?;
        if acknowledged {
            assert_eq!(
                (after.status, after.reason()),
                (403, "quarantined"),
                "round {round}"
            );
        }
        // Whatever happened, it happened everywhere.
        let why = stage.world.ok(["crl", "why", &stage.plugin.digest])?;
        assert_eq!(why["standing"] == "hold", after.status == 403, "{why:#}");
        stage.world.cli(["crl", "verify"])?.expect(0)?;
        if after.status == 403 {
            stage
                .world
                .ok(["reinstate", &stage.plugin.digest, "--reason", "false_positive"])?;
        }
    }
    Ok(())
}

fn race() -> Result<()> {
    let mut stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let digest = stage.plugin.digest.clone();
    let act = |verb: &str, reason: &str| {
        let mut command =
            stage
                .world
                .command(["--format", "json", verb, digest.as_str(), "--reason", reason]);
        thread::spawn(move || run(&mut command))
    };
    let acting: Vec<_> = (0..3)
        .flat_map(|_| {
            [
                act("quarantine", "undeclared_host"),
                act("reinstate", "false_positive"),
            ]
        })
        .collect();
    let mut numbers = Vec::new();
    for acted in acting {
        let Ok(acted) = acted.join() else {
            anyhow::bail!("whoever acted panicked");
        };
        let acted = acted?;
        // Reinstating what is not held may be refused; nothing else may go wrong.
        ensure!(matches!(acted.status, Some(0 | 1)), "{acted:?}");
        if acted.status == Some(0) {
            numbers.extend(acted.json()?["crl_number"].as_u64());
        }
    }
    ensure!(!numbers.is_empty(), "nobody could act");
    let standing = stage.world.ok(["crl", "why", &digest])?["standing"].clone();
    let before = stage.connect(TARGET)?.status;
    assert_eq!(standing == "hold", before == 403, "{standing}");
    let shown = stage.world.ok(["crl", "show"])?;
    let newest = shown["crl_number"].as_u64().context("a number")?;
    ensure!(
        numbers.iter().all(|&number| number <= newest),
        "{numbers:?} {newest}"
    );
    let after = power_cut(&mut stage)?;
    assert_eq!(after.status, before, "{after:?}");
    assert_eq!(stage.world.ok(["crl", "why", &digest])?["standing"], standing);
    stage.world.cli(["crl", "verify"])?.expect(0)?;
    Ok(())
}

fn crl_folder(stage: &Stage) -> PathBuf {
    stage.world.site().join("data/crl")
}

fn crl_key(stage: &Stage) -> PathBuf {
    stage.world.site().join("keys/crl.pem")
}

fn forged_lists() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let head = crl_folder(&stage).join("crl.sigstore.json");
    let first = std::fs::read_to_string(&head)?;
    quarantine(&stage)?;
    let good = std::fs::read_to_string(&head)?;
    let key = crl_key(&stage);
    let payload = serde_json::to_vec(&statement(&good)?)?;
    let wrong_key = stage.world.site().join("keys/gateway.pem");
    let number = statement(&good)?["predicate"]["crl_number"]
        .as_u64()
        .context("a number")?;
    let edited = |edit: &dyn Fn(&mut Value)| forge_statement(&good, &key, |document| edit(document));
    let mut unsigned: Value = serde_json::from_str(&good)?;
    unsigned["dsseEnvelope"]["signatures"] = json!([]);
    let next = |document: &mut Value, previous: &str| {
        let file = format!("crl-{}.body", number + 1);
        document["subject"][0]["name"] = json!(file);
        document["subject"] = json!([document["subject"][0]]);
        let list = &mut document["predicate"];
        list["crl_number"] = json!(number + 1);
        list["base_crl_number"] = Value::Null;
        list["files"]["delta"] = Value::Null;
        list["files"]["full"]["name"] = json!(file);
        list["prev_head_sha256"] = json!(previous);
    };
    // That the forger can sign at all: the very same document is a good one.
    std::fs::write(&head, forge(&good, &payload, &key)?)?;
    stage.world.cli(["crl", "verify"])?.expect(0)?;
    let cases = [
        ("unsigned", unsigned.to_string(), "signature"),
        ("cut short", good[..good.len() / 2].to_owned(), "signature"),
        (
            "signed by another key",
            forge(&good, &payload, &wrong_key)?,
            "signature",
        ),
        (
            "dated ahead",
            edited(&|document| {
                document["predicate"]["this_update"] = json!("2099-01-01T00:00:00.000000Z");
                document["predicate"]["next_update"] = json!("2099-01-02T00:00:00.000000Z");
            })?,
            "future",
        ),
        ("genuine, and older", first, "rollback"),
        (
            "another one with the same number",
            edited(&|document| {
                document["predicate"]["next_update"] = json!("2098-01-02T00:00:00.000000Z");
            })?,
            "equivocation",
        ),
        (
            "the next one, after another one",
            edited(&|document| next(document, &"0".repeat(64)))?,
            "broken_chain",
        ),
        (
            "somebody else's",
            edited(&|document| document["predicate"]["issuer"] = json!("elsewhere"))?,
            "issuer",
        ),
        (
            "with a field that nobody knows",
            edited(&|document| document["predicate"]["paused"] = json!(true))?,
            "head",
        ),
        (
            "with a body of other bytes",
            edited(&|document| {
                next(document, &hex::encode(Sha256::digest(&payload)));
                document["subject"][0]["digest"]["sha256"] = json!("1".repeat(64));
                document["predicate"]["files"]["full"]["digest"]["sha256"] = json!("1".repeat(64));
            })?,
            "body_hash",
        ),
    ];
    let body = crl_folder(&stage).join(format!("crl-{number}.body"));
    let next_body = crl_folder(&stage).join(format!("crl-{}.body", number + 1));
    std::fs::copy(&body, &next_body)?;
    for (case, list, code) in cases {
        std::fs::write(&head, list)?;
        let refused = stage
            .world
            .cli(["crl", "verify"])?
            .expect(1)
            .with_context(|| case.to_owned())?;
        assert_eq!(refused.json()?["code"], code, "{case}: {}", refused.stderr);
        refused.error_line()?;
        // The gateway goes by what it accepted, not by what lies in a folder.
        let answer = stage.connect(TARGET)?;
        assert_eq!(
            (answer.status, answer.reason()),
            (403, "quarantined"),
            "{case}: {answer:?}"
        );
    }
    // A genuine act sets things right again, over whatever lies there.
    std::fs::remove_file(&next_body)?;
    stage
        .world
        .ok(["revoke", &stage.plugin.digest, "--reason", "malware"])?;
    stage.world.cli(["crl", "verify"])?.expect(0)?;
    assert_eq!(stage.connect(TARGET)?.reason(), "revoked");
    Ok(())
}

fn stale_list() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let folder = stage.world.path("stale");
    std::fs::create_dir(&folder)?;
    let stale = folder.join("crl.sigstore.json");
    // The list in force with other dates, given to the load gate by name.
    let verify = |this_update: &str, next_update: Option<&str>| {
        let good = std::fs::read_to_string(crl_folder(&stage).join("crl.sigstore.json"))?;
        let list = forge_statement(&good, &crl_key(&stage), |document| {
            let list = &mut document["predicate"];
            // Without another date, due at the moment at which it was issued.
            list["next_update"] = next_update.map_or_else(|| list["this_update"].clone(), |date| json!(date));
            list["this_update"] = json!(this_update);
        })?;
        let file = statement(&good)?["predicate"]["files"]["full"]["name"].clone();
        let body = file.as_str().context("a body")?;
        std::fs::copy(crl_folder(&stage).join(body), folder.join(body))?;
        std::fs::write(&stale, list)?;
        stage.world.cli([
            "verify".as_ref(),
            stage.plugin.artifact.as_os_str(),
            "--crl".as_ref(),
            stale.as_os_str(),
        ])
    };
    let late = verify("2020-01-01T00:00:00.000000Z", Some("2020-01-02T00:00:00.000000Z"))?.expect(1)?;
    assert_eq!(late.json()?["code"], "revocation_list_stale", "{}", late.stderr);
    let graced = verify("2020-01-01T00:00:00.000000Z", None)?.expect(0)?.json()?;
    ensure!(
        graced["notices"]
            .as_array()
            .is_some_and(|notices| !notices.is_empty()),
        "a list past its time is noticed: {graced:#}"
    );
    // Age never takes a name off the list.
    quarantine(&stage)?;
    let held = verify("2020-01-01T00:00:00.000000Z", None)?.expect(1)?;
    assert_eq!(held.json()?["code"], "artifact_held", "{}", held.stderr);
    Ok(())
}
