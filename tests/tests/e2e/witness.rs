//! Witnesses: who vouches for the log's length, what they are told, and what is made of their word.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{
    Authority, Litewitness, Peer, RawClient, RawServer, Scenario, TlsFront, WitnessServer, World, run,
    wait_until, witness_vkey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::bad_evidence::copy;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_witness_over_tls_is_believed_by_the_authority_that_the_configuration_names_and_by_no_other",
        needs: &[Peer::Python],
        run: over_tls,
    },
    Scenario {
        name: "a_witness_elsewhere_cosigns_and_everybody_who_is_asked_says_so",
        needs: &[],
        run: cosigned,
    },
    Scenario {
        name: "a_cut_tail_and_a_deleted_log_show_against_what_the_witness_keeps",
        needs: &[],
        run: cut_tail,
    },
    Scenario {
        name: "a_witness_that_is_down_holds_nothing_up_and_cosigns_when_it_is_back",
        needs: &[],
        run: witness_down,
    },
    Scenario {
        name: "a_gateway_that_forgot_asks_again_from_where_the_witness_stands",
        needs: &[],
        run: forgot,
    },
    Scenario {
        name: "witnesses_that_lie_stall_or_babble_are_not_believed_and_hold_nothing_up",
        needs: &[],
        run: liars,
    },
    Scenario {
        name: "a_log_that_was_put_back_and_continued_is_not_cosigned_and_the_alarm_is_raised",
        needs: &[],
        run: second_story,
    },
    Scenario {
        name: "a_witness_killed_at_work_remembers_and_goes_on",
        needs: &[],
        run: killed_witness,
    },
    Scenario {
        name: "two_witnesses_do_not_share_a_memory",
        needs: &[],
        run: one_memory,
    },
    Scenario {
        name: "every_refusal_of_the_protocol_has_its_number_on_the_wire",
        needs: &[],
        run: statuses,
    },
    Scenario {
        name: "a_stock_witness_cosigns_our_log",
        needs: &[Peer::Litewitness],
        run: stock_witness,
    },
    Scenario {
        name: "our_witnesss_cosignature_verifies_with_openssl_by_hand",
        needs: &[Peer::Openssl],
        run: cosignature_with_openssl,
    },
    Scenario {
        name: "a_proof_under_a_cosigned_checkpoint_verifies_with_spicy",
        needs: &[Peer::Spicy],
        run: proof_with_spicy,
    },
];

/// A running site whose log a witness elsewhere watches.
fn watched() -> Result<(World, WitnessServer)> {
    let mut world = World::new()?;
    let witness = WitnessServer::start(&world, "w1.example")?;
    world.witnessed_by(&[witness.named()?], None)?;
    world.serve()?;
    Ok((world, witness))
}

/// Each question without credentials is one `refused` event.
fn ask(world: &World, times: usize) -> Result<()> {
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..times {
        let answer = client.tunnel("api.weather.example:443", None)?;
        ensure!(answer.status == 407, "{answer:?}");
    }
    Ok(())
}

fn log(world: &World) -> PathBuf {
    world.site().join("data/log/gw-1")
}

/// What `evidence verify` says about the one log, whatever its exit status.
fn verified(world: &World) -> Result<(Option<i32>, Value)> {
    let run = world.cli(["evidence", "verify"])?;
    let log = run.json()?["logs"][0].clone();
    Ok((run.status, log))
}

/// Waits until at least `size` entries are under signature and all of them cosigned.
fn wait_cosigned(world: &World, size: u64) -> Result<Value> {
    let mut last = Value::Null;
    let waited = wait_until("the quorum to cosign every entry", || {
        verified(world).is_ok_and(|(status, log)| {
            last = log.clone();
            status == Some(0)
                && log["completeness"] == "proven"
                && log["size"].as_u64() >= Some(size)
                && log["witnesses"]["size"] == log["size"]
        })
    });
    waited.with_context(|| format!("{last:#}"))?;
    Ok(last)
}

/// What the running gateway says of its witnesses.
fn witnessing(world: &World) -> Result<Value> {
    Ok(world.ok(["status"])?["gateways"][0]["witnessing"].clone())
}

fn over_tls() -> Result<()> {
    let mut world = World::new()?;
    let witness = WitnessServer::start(&world, "w1.example")?;
    let front = TlsFront::start(&world, witness.address())?;
    let (_, key) = witness.named()?;
    let url = format!("https://{}", front.address());
    world.witnessed_by(&[(url, key)], None)?;
    let believe = |world: &World, authority: &Authority| {
        let file = authority.pem().display().to_string();
        world.configure(|config| {
            config["evidence"]["witnesses"][0]
                .as_table_mut()
                .context("a witness")?
                .insert("ca_file".into(), file.into());
            Ok(())
        })
    };
    believe(&world, &Authority::create(world.path("stranger.pem"))?)?;
    world.serve()?;
    ask(&world, 2)?;
    let is_refused = |said: Value| said["troubles"].to_string().contains("certificate");
    wait_until("the witness's certificate to be refused", || {
        witnessing(&world).is_ok_and(is_refused)
    })?;
    assert_eq!(witnessing(&world)?["met"], false);
    world.stop()?;

    believe(&world, world.authority())?;
    world.serve()?;
    wait_cosigned(&world, 3)?;
    Ok(())
}

fn cosigned() -> Result<()> {
    let (world, witness) = watched()?;
    ask(&world, 5)?;
    let log = wait_cosigned(&world, 6)?;
    assert_eq!(log["witnesses"]["needed"], 1, "{log:#}");
    assert_eq!(log["witnesses"]["met"], true, "{log:#}");
    assert_eq!(
        log["witnesses"]["cosignatures"][0]["witness"], "w1.example",
        "{log:#}"
    );
    assert_eq!(log["held_by"], "witness w1.example", "{log:#}");
    ensure!(log["as_of"].is_string(), "{log:#}");

    wait_until("the gateway to say so", || {
        witnessing(&world).is_ok_and(|said| said["met"] == true && said["size"] == log["size"])
    })?;
    let metrics = world.admin_page("/metrics")?;
    ensure!(
        metrics.contains("bailiwick_gateway_witness_quorum_met 1\n"),
        "{metrics}"
    );
    ensure!(
        metrics.contains("bailiwick_gateway_witness_cosignatures 1\n"),
        "{metrics}"
    );
    let doctor = world.ok(["doctor"])?;
    let check = doctor["checks"].as_array().context("checks")?.iter();
    let check: Vec<_> = check.filter(|check| check["name"] == "witnesses").collect();
    assert_eq!(check[0]["ok"], true, "{doctor:#}");

    // What a stranger gets: a proof under the checkpoint that the witness cosigned.
    let proof = world.ok(["evidence", "prove", "0"])?;
    let text = proof["proof"].as_str().context("a proof")?;
    ensure!(text.contains("\n— w1.example "), "{text}");

    // And what a customer does with a copy, the keys alone, and nothing of the site.
    let copied = world.path("copied");
    copy(&self::log(&world), &copied)?;
    let (_, key) = witness.named()?;
    let copied = copied.display().to_string();
    let vkey = world.log_vkey()?;
    let args = [
        "evidence",
        "verify",
        "--dir",
        &copied,
        "--key",
        &vkey,
        "--witness",
        &key,
    ];
    let (log, other) = (
        world.ok(args)?["logs"][0].clone(),
        world.site().join("keys/gateway.pub"),
    );
    assert_eq!(log["witnesses"]["met"], true, "{log:#}");
    ensure!(log["complete_up_to"].as_u64() >= Some(6), "{log:#}");
    // The public key in PEM does as well.
    let other = other.display().to_string();
    world.ok(["evidence", "verify", "--dir", &copied, "--key", &other])?;
    Ok(())
}

fn cut_tail() -> Result<()> {
    let (mut world, witness) = watched()?;
    ask(&world, 20)?;
    wait_cosigned(&world, 21)?;
    world.stop()?;
    let early = world.path("early");
    copy(&log(&world), &early)?;
    world.serve()?;
    ask(&world, 20)?;
    wait_cosigned(&world, 42)?;
    world.stop()?;
    let late = world.path("late");
    copy(&log(&world), &late)?;

    // A copy of the honest beginning, with the cosigned checkpoint of that time: whole, and complete as
    // of then. Only what the witness keeps shows that it was longer.
    let (vkey, kept) = (world.log_vkey()?, witness.kept());
    let check = |folder: &PathBuf, with: &[&str], status| {
        let folder = folder.display().to_string();
        let args = ["evidence", "verify", "--dir", &folder, "--key", &vkey];
        let run = world.cli(args.iter().chain(with))?.expect(status)?;
        Ok::<_, anyhow::Error>(run.json()?["logs"][0].clone())
    };
    let alone = check(&early, &[], 0)?;
    assert_eq!(
        (&alone["integrity"], &alone["completeness"]),
        (&"whole".into(), &"unproven".into())
    );
    let kept = kept.display().to_string();
    let cut = check(&early, &["--checkpoint", &kept], 1)?;
    assert_eq!(
        (&cut["integrity"], &cut["completeness"]),
        (&"whole".into(), &"cut".into()),
        "{cut:#}"
    );
    let whole = check(&late, &["--checkpoint", &kept], 0)?;
    assert_eq!(whole["completeness"], "proven", "{whole:#}");

    // On the machine itself the control plane remembers, too.
    std::fs::remove_dir_all(log(&world))?;
    copy(&early, &log(&world))?;
    let (status, cut) = verified(&world)?;
    assert_eq!(
        (status, &cut["completeness"]),
        (Some(1), &"cut".into()),
        "{cut:#}"
    );

    // No log at all is no empty log.
    std::fs::remove_dir_all(log(&world))?;
    let (status, gone) = verified(&world)?;
    assert_eq!(
        (status, &gone["completeness"]),
        (Some(1), &"cut".into()),
        "{gone:#}"
    );
    ensure!(
        gone["detail"]
            .as_str()
            .is_some_and(|words| words.contains("it was deleted")),
        "{gone:#}"
    );
    let gone = check(&log(&world), &["--checkpoint", &kept], 1)?;
    ensure!(
        gone["detail"]
            .as_str()
            .is_some_and(|words| words.contains("it was deleted")),
        "{gone:#}"
    );
    Ok(())
}

fn witness_down() -> Result<()> {
    let mut world = World::new()?;
    let witness = WitnessServer::start(&world, "w1.example")?;
    let (address, named) = (witness.address(), witness.named()?);
    witness.stop()?;
    world.witnessed_by(&[named], None)?;
    world.serve()?;
    ask(&world, 20)?;
    wait_until("the trouble to show", || {
        witnessing(&world)
            .is_ok_and(|said| said["met"] == false && said["troubles"].to_string().contains("cannot connect"))
    })?;
    wait_until("every event to be under signature", || {
        verified(&world).is_ok_and(|(_, log)| log["size"].as_u64() >= Some(21))
    })?;
    let (status, log) = verified(&world)?;
    assert_eq!(log["integrity"], "whole", "{log:#}");
    assert_eq!(
        (status, &log["witnesses"]["met"]),
        (Some(3), &false.into()),
        "{log:#}"
    );
    let doctor = world.cli(["doctor"])?.expect(1)?.json()?;
    ensure!(
        doctor.to_string().contains("the-quorum-is-not-met.md"),
        "{doctor:#}"
    );
    ensure!(
        world
            .admin_page("/metrics")?
            .contains("bailiwick_gateway_witness_quorum_met 0\n")
    );

    let _witness = WitnessServer::start_at(&world, "w1.example", address)?;
    wait_cosigned(&world, 21)?;
    Ok(())
}

fn forgot() -> Result<()> {
    let (mut world, witness) = watched()?;
    ask(&world, 5)?;
    wait_cosigned(&world, 6)?;
    world.stop()?;
    std::fs::remove_file(log(&world).join("checkpoint.cosigned"))?;
    world.serve()?;
    ask(&world, 5)?;
    wait_cosigned(&world, 12)?;
    ensure!(witness.printed().contains("409"), "{}", witness.printed());
    Ok(())
}

/// What a witness that is none says to everybody.
fn answer_everybody(server: RawServer, answer: Option<String>) {
    std::thread::spawn(move || {
        let mut waiting = Vec::new();
        while let Ok(mut stream) = server.accept() {
            match &answer {
                Some(answer) => {
                    let _ = read_request(&mut stream);
                    let _ = stream.write_all(answer.as_bytes());
                }
                None => waiting.push(stream),
            }
        }
    });
}

fn read_request(stream: &mut TcpStream) -> Result<()> {
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let got = stream.read(&mut piece)?;
        ensure!(got > 0, "the request broke off");
        read.extend_from_slice(&piece[..got]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        });
        if body.len() >= length.context("a length")?? {
            return Ok(());
        }
    }
}

fn liars() -> Result<()> {
    let mut world = World::new()?;
    let answer = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let mut named = Vec::new();
    let mut liar = |name: &str, says: &dyn Fn(&str) -> Option<String>| {
        let key = world.path(&format!("{name}.pem"));
        world.ok(["key".as_ref(), "new".as_ref(), key.as_os_str()])?;
        let vkey = witness_vkey(name, &key.with_extension("pub"))?;
        let server = RawServer::start()?;
        named.push((format!("http://{}", server.address()), vkey.clone()));
        answer_everybody(server, says(&vkey));
        Ok::<_, anyhow::Error>(())
    };
    let forged = |vkey: &str| {
        let mut parts = vkey.split('+');
        let (name, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let id = hex::decode(id).unwrap_or_default();
        let blob = [id.as_slice(), &1_790_000_000_u64.to_be_bytes(), &[7; 64]].concat();
        format!("— {name} {}\n", STANDARD.encode(blob))
    };
    liar("garbage", &|_| Some(answer("200 OK", "yes, of course\n")))?;
    liar("forger", &|vkey| Some(answer("200 OK", &forged(vkey))))?;
    liar("empty", &|_| Some(answer("200 OK", "")))?;
    liar("ahead", &|_| {
        Some(answer("409 Conflict", "18446744073709551615\n"))
    })?;
    liar("unclear", &|_| Some(answer("409 Conflict", "some\n")))?;
    liar("stranger", &|_| Some(answer("404 Not Found", "")))?;
    liar("doubter", &|_| Some(answer("422 Unprocessable Entity", "")))?;
    liar("broken", &|_| Some(answer("500 Internal Server Error", "")))?;
    liar("endless", &|_| Some(answer("200 OK", &"x".repeat(1 << 20))))?;
    liar("no-http", &|_| Some("220 smtp.example\r\n".to_owned()))?;
    liar("silent", &|_| None)?;
    let honest = WitnessServer::start(&world, "w1.example")?;
    named.push(honest.named()?);
    world.witnessed_by(&named, Some(1))?;
    world.serve()?;
    // Recording goes on while they are at it.
    ask(&world, 50)?;
    let log = wait_cosigned(&world, 51)?;
    let said = log["witnesses"]["cosignatures"]
        .as_array()
        .context("cosignatures")?;
    assert_eq!(
        (said.len(), &said[0]["witness"]),
        (1, &"w1.example".into()),
        "{log:#}"
    );
    let mut seen = String::new();
    let complaints = [
        ("garbage", "no good cosignature"),
        ("forger", "does not verify"),
        ("empty", "no good cosignature"),
        ("ahead", "the log was cut, or the witness lies"),
        ("unclear", "status 409"),
        ("stranger", "does not know this log"),
        ("doubter", "does not accept"),
        ("broken", "status 500"),
        ("endless", "broke off"),
        ("silent", "no answer within"),
    ];
    let about = |troubles: &Value, name: &str, words: &str| {
        troubles.as_array().into_iter().flatten().any(|trouble| {
            trouble["witness"] == name && trouble["why"].as_str().is_some_and(|why| why.contains(words))
        })
    };
    let waited = wait_until("every liar to be found out", || {
        witnessing(&world).is_ok_and(|said| {
            seen = format!("{said:#}");
            complaints
                .iter()
                .all(|(name, words)| about(&said["troubles"], name, words))
        })
    });
    waited.context(seen)?;
    let beside = std::fs::read_to_string(self::log(&world).join("checkpoint.cosigned"))?;
    for (name, _) in complaints {
        ensure!(
            !beside.contains(&format!("— {name} ")),
            "{name} got in:\n{beside}"
        );
    }
    world.stop()
}

fn second_story() -> Result<()> {
    let (mut world, _witness) = watched()?;
    ask(&world, 10)?;
    wait_cosigned(&world, 11)?;
    world.stop()?;
    let early = world.path("early");
    copy(&log(&world), &early)?;
    world.serve()?;
    ask(&world, 10)?;
    wait_cosigned(&world, 22)?;
    world.stop()?;
    // Somebody puts the old log back and lets the gateway go on from there.
    std::fs::remove_dir_all(log(&world))?;
    copy(&early, &log(&world))?;
    world.serve()?;
    ask(&world, 2)?;
    let mut seen = String::new();
    let mut complains = |words: &str| {
        let waited = wait_until("the witness to complain", || {
            witnessing(&world).is_ok_and(|said| {
                seen = format!("{said:#}");
                let troubles = said["troubles"].as_array().cloned().unwrap_or_default();
                ["w1.example", "the control plane"].iter().all(|name| {
                    troubles
                        .iter()
                        .any(|trouble| trouble["witness"] == **name && trouble.to_string().contains(words))
                })
            })
        });
        waited.with_context(|| seen.clone())
    };
    complains("the log was cut")?;
    let (status, cut) = verified(&world)?;
    assert_eq!(
        (status, &cut["completeness"]),
        (Some(1), &"cut".into()),
        "{cut:#}"
    );
    // Grown past what was cosigned, it is another story, and stays one.
    ask(&world, 30)?;
    complains("does not accept that")?;
    let (status, other) = verified(&world)?;
    assert_eq!(
        (status, &other["completeness"]),
        (Some(1), &"contradicted".into()),
        "{other:#}"
    );
    // The night knows as well.
    let night = world.cli(["audit"])?;
    ensure!(matches!(night.status, Some(1 | 3)), "{night:?}");
    ensure!(
        night.text().contains("tampered_evidence") || night.text().contains("held elsewhere"),
        "{night:?}"
    );
    world.stop()
}

fn killed_witness() -> Result<()> {
    let (mut world, mut witness) = watched()?;
    let address = witness.address();
    let mut size = 1;
    for _ in 0..5 {
        ask(&world, 3)?;
        size += 3;
        witness.kill()?;
        ask(&world, 3)?;
        size += 3;
        witness = WitnessServer::start_at(&world, "w1.example", address)?;
    }
    wait_cosigned(&world, size)?;
    world.stop()
}

fn one_memory() -> Result<()> {
    let (world, witness) = watched()?;
    let mut second = WitnessServer::command(&world, "w1.example", SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let refused = run(&mut second)?.expect(2)?;
    let line = refused.error_line()?;
    ensure!(line.contains("in use by another witness"), "{line}");
    witness.stop()
}

/// One request to the witness, and the whole answer.
fn post(witness: &WitnessServer, body: &[u8]) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(witness.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let head = format!(
        "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    // A body that is too long is answered before it was read.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, answer))
}

fn statuses() -> Result<()> {
    let (mut world, witness) = watched()?;
    ask(&world, 5)?;
    let size = wait_cosigned(&world, 6)?["size"].as_u64().context("a size")?;
    world.stop()?;
    let kept = std::fs::read_to_string(witness.kept())?;
    let size_line = kept.lines().nth(1).context("a size")?.to_owned();
    ensure!(size_line.parse::<u64>()? >= size);
    let signed = std::fs::read_to_string(log(&world).join("checkpoint"))?;
    let status = |body: &str| post(&witness, body.as_bytes());

    let (ok, answer) = status(&format!("old {size_line}\n\n{signed}"))?;
    ensure!(ok == 200 && answer.contains("\r\n\r\n— w1.example "), "{answer}");
    let (conflict, answer) = status(&format!("old 0\n\n{signed}"))?;
    ensure!(conflict == 409, "{answer}");
    ensure!(
        answer
            .to_ascii_lowercase()
            .contains("content-type: text/x.tlog.size"),
        "{answer}"
    );
    ensure!(answer.ends_with(&format!("\r\n\r\n{size_line}\n")), "{answer}");
    for (body, expected) in [
        (String::new(), 400),
        ("old x\n\n".to_owned(), 400),
        (format!("old 01\n\n{signed}"), 400),
        (format!("old 99999\n\n{signed}"), 400),
        (format!("old {size_line}\n\nnothing signed\n"), 400),
        (
            format!("old {size_line}\n\n{}", signed.replace("/gw-1\n", "/gw-2\n")),
            404,
        ),
        (
            format!("old {size_line}\n\n{}", signed.replacen(&size_line, "1234567", 1)),
            403,
        ),
    ] {
        let (found, answer) = status(&body)?;
        ensure!(found == expected, "{expected}: {body:?}\n{answer}");
    }
    // What it keeps it also shows, to whoever wants to hold it against the log.
    let get = |path: &str| {
        let mut stream = TcpStream::connect(witness.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, anyhow::Error>(answer)
    };
    let origin = kept.lines().next().context("an origin")?;
    let (shown, now) = (
        get(&format!("/checkpoint/{origin}"))?,
        std::fs::read_to_string(witness.kept())?,
    );
    ensure!(shown.ends_with(&format!("\r\n\r\n{now}")), "{shown}");
    for path in [
        "/checkpoint/acme/other",
        "/checkpoint/../lock",
        "/checkpoint/%2e%2e%2flock",
    ] {
        let answer = get(path)?;
        ensure!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let long = vec![b'x'; 4 << 20];
    let (found, answer) = post(&witness, &long)?;
    ensure!(found == 413, "{answer}");
    Ok(())
}

fn stock_witness() -> Result<()> {
    let mut world = World::new()?;
    let theirs = Litewitness::start(&world, "lite.example/w")?;
    let ours = WitnessServer::start(&world, "w1.example")?;
    world.witnessed_by(&[theirs.named(), ours.named()?], Some(2))?;
    world.serve()?;
    ask(&world, 5)?;
    wait_cosigned(&world, 6)?;
    // Across many sizes, with proofs of every shape.
    for round in 0..4 {
        ask(&world, 97)?;
        let log = wait_cosigned(&world, 6 + 97 * (round + 1))?;
        let said = log["witnesses"]["cosignatures"].to_string();
        ensure!(
            said.contains("lite.example/w") && said.contains("w1.example"),
            "{log:#}"
        );
    }
    // And from where it stands, for a gateway that forgot.
    world.stop()?;
    std::fs::remove_file(log(&world).join("checkpoint.cosigned"))?;
    world.serve()?;
    ask(&world, 3)?;
    wait_cosigned(&world, 399)?;
    world.stop()
}

fn cosignature_with_openssl() -> Result<()> {
    let (mut world, witness) = watched()?;
    ask(&world, 5)?;
    wait_cosigned(&world, 6)?;
    world.stop()?;
    let note = std::fs::read_to_string(witness.kept())?;
    let (text, lines) = note.split_once("\n\n").context("a note")?;
    let line = lines.lines().find_map(|line| line.strip_prefix("— w1.example "));
    let blob = STANDARD.decode(line.context("a cosignature")?)?;
    let (head, signature) = blob.split_at(12);
    let time = u64::from_be_bytes(head[4..].try_into()?);
    let (message, signed) = (world.path("message"), world.path("signature"));
    std::fs::write(&signed, signature)?;
    let verify = |text: &str| {
        std::fs::write(&message, format!("cosignature/v1\ntime {time}\n{text}"))?;
        let mut command = Peer::Openssl.command();
        command.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]);
        command.arg(world.path("w1.example.pub")).arg("-in").arg(&message);
        run(command.arg("-sigfile").arg(&signed))
    };
    verify(&format!("{text}\n"))?.expect(0)?;
    ensure!(verify(&format!("{text}\n\n"))?.status != Some(0));
    Ok(())
}

fn proof_with_spicy() -> Result<()> {
    let (mut world, _witness) = watched()?;
    ask(&world, 5)?;
    wait_cosigned(&world, 6)?;
    world.stop()?;
    let name = world.path("event");
    let proof = world.ok([
        "evidence".as_ref(),
        "prove".as_ref(),
        "3".as_ref(),
        "--out".as_ref(),
        name.as_os_str(),
    ])?;
    let text = proof["proof"].as_str().context("a proof")?;
    ensure!(text.contains("\n— w1.example "), "{text}");
    let (_, spicy) = text.split_once('\n').context("a header")?;
    std::fs::rename(world.path("event.entry"), &name)?;
    std::fs::write(world.path("event.spicy"), spicy)?;
    let mut command = Peer::Spicy.command();
    run(command.args(["-verify", &world.log_vkey()?]).arg(&name))?.expect(0)?;
    Ok(())
}
