//! Names whose answers are not to be trusted: rebinding, mixtures, silence.

use anyhow::{Result, ensure};
use bailiwick_tests::{NameServer, RawServer, Reply, Scenario};
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::tokens::LiveRun;

pub const SCENARIOS: &[Scenario] = &[
    // First, because it waits for the gateway's own patience to end.
    Scenario {
        name: "each_way_a_lookup_fails_is_an_attempt_with_a_word_of_its_own",
        needs: &[],
        run: failed_lookups,
    },
    Scenario {
        name: "a_name_that_is_answered_differently_the_second_time_gains_nothing",
        needs: &[],
        run: rebinding,
    },
    Scenario {
        name: "of_a_mixed_answer_the_private_part_is_never_dialled_not_even_when_the_rest_fails",
        needs: &[],
        run: mixed_answers,
    },
    Scenario {
        name: "a_name_that_spells_an_address_is_judged_by_its_answer",
        needs: &[],
        run: embedded_addresses,
    },
    Scenario {
        name: "names_that_carry_data_out_count_one_by_one_and_many_are_a_finding",
        needs: &[],
        run: crowd,
    },
    Scenario {
        name: "two_families_are_one_attempt",
        needs: &[],
        run: two_families,
    },
    Scenario {
        name: "a_name_is_not_excused_by_the_address_that_it_shares",
        needs: &[],
        run: shared_address,
    },
];

type Script = Vec<(&'static str, Vec<Reply>)>;

/// A site whose names are looked up at a server of ours, with these networks lifted from the floor.
fn stage(script: Script, lifted: &[&str]) -> Result<(Stage, NameServer)> {
    let names = NameServer::start(script)?;
    let stage = Stage::prepared(&[], |world, _| {
        world.resolve_with(names.address())?;
        world.allow_private(lifted)
    })?;
    Ok((stage, names))
}

fn ips(event: &Value) -> Vec<&str> {
    let listed = event["resolved_ips"].as_array().into_iter().flatten();
    let mut ips: Vec<_> = listed.filter_map(Value::as_str).collect();
    ips.sort_unstable();
    ips
}

fn rebinding() -> Result<()> {
    let (stage, names) = stage(
        vec![(
            "rebind.example",
            vec![
                Reply::of(&["127.0.0.1"]),
                Reply::of(&["169.254.169.254"]),
                Reply::of(&["10.0.0.1", "::ffff:169.254.169.254"]),
                Reply::of(&["127.0.0.1"]),
            ],
        )],
        &["127.0.0.0/8"],
    )?;
    let target = format!("rebind.example:{}", stage.server.address().port());
    stage.tunnel(&target)?;
    assert_eq!(names.asked("rebind.example"), 1, "asked once, checked, dialled");
    for asked in [2, 3] {
        let answer = stage.connect(&target)?;
        assert_eq!(
            (answer.status, answer.reason()),
            (403, "floor_refused"),
            "{answer:?}"
        );
        assert_eq!(names.asked("rebind.example"), asked);
    }
    ensure!(!stage.server.was_dialled(), "an older answer was used again");
    stage.tunnel(&target)?;
    let closes = stage.wait_for("close", 4)?;
    let told: Vec<_> = closes
        .iter()
        .map(|close| (ips(close), close["dialed_ip"].as_str()))
        .collect();
    assert_eq!(told[0], (vec!["127.0.0.1"], Some("127.0.0.1")));
    assert_eq!(told[1], (vec!["169.254.169.254"], None));
    assert_eq!((told[2].0.len(), told[2].1), (2, None), "{told:?}");
    assert_eq!(told[3], (vec!["127.0.0.1"], Some("127.0.0.1")));
    for close in &closes[1..3] {
        assert_eq!(
            (&close["decision"], &close["outcome"]),
            (&json!("deny"), &json!("floor_refused")),
            "{close:#}"
        );
    }
    Ok(())
}

fn mixed_answers() -> Result<()> {
    let all = ["127.0.0.2", "10.0.0.1", "169.254.169.254", "127.0.0.1"];
    let (stage, _names) = stage(
        vec![
            ("mixed.example", vec![Reply::of(&all)]),
            ("failover.example", vec![Reply::of(&["127.0.0.1", "127.0.0.2"])]),
            (
                "hidden.example",
                vec![Reply::of(&["127.0.0.2", "10.0.0.1", "::1", "fd00::1", "fe80::1"])],
            ),
        ],
        &["127.0.0.1/32"],
    )?;
    // What is private here is on this machine, so that it would answer if it were dialled.
    let hidden = RawServer::at("127.0.0.2:0".parse()?)?;
    let also_hidden = RawServer::at(format!("127.0.0.2:{}", stage.server.address().port()).parse()?)?;
    stage.tunnel(&format!("mixed.example:{}", stage.server.address().port()))?;
    let port = hidden.address().port();
    let failed = stage.connect(format!("failover.example:{port}"))?;
    assert_eq!(
        (failed.status, failed.reason()),
        (502, "connect_failed"),
        "{failed:?}"
    );
    let refused = stage.connect(format!("hidden.example:{port}"))?;
    assert_eq!(
        (refused.status, refused.reason()),
        (403, "floor_refused"),
        "{refused:?}"
    );
    ensure!(
        !hidden.was_dialled() && !also_hidden.was_dialled(),
        "a private address was dialled"
    );
    let closes = stage.wait_for("close", 3)?;
    let mut sorted = all;
    sorted.sort_unstable();
    assert_eq!(
        (ips(&closes[0]), &closes[0]["dialed_ip"]),
        (sorted.to_vec(), &json!("127.0.0.1"))
    );
    assert_eq!(
        (ips(&closes[1]).len(), &closes[1]["dialed_ip"]),
        (2, &Value::Null)
    );
    assert_eq!(
        closes[1]["attempts"],
        json!([format!("127.0.0.1:{port} refused")])
    );
    assert_eq!(closes[2]["attempts"], Value::Null);
    assert_eq!(
        (ips(&closes[2]).len(), &closes[2]["dialed_ip"]),
        (5, &Value::Null)
    );
    Ok(())
}

fn failed_lookups() -> Result<()> {
    let (stage, names) = stage(
        vec![
            ("broken.example", vec![Reply::ServerFailure]),
            ("empty.example", vec![Reply::of(&[])]),
            ("silent.example", vec![Reply::Silence]),
            ("cut.example", vec![Reply::Truncated]),
        ],
        &["127.0.0.0/8"],
    )?;
    // The slow ones first; they wait side by side.
    let mut waiting = Vec::new();
    for name in ["silent", "cut"] {
        let mut client = stage.client()?;
        stage.send_connect(&mut client, format!("{name}.example:443"))?;
        waiting.push((name, client));
    }
    names.wait_for_question("silent.example")?;
    for name in ["nowhere", "broken", "empty"] {
        let answer = stage.connect(format!("{name}.example:443"))?;
        assert_eq!(
            (answer.status, answer.reason()),
            (502, "dns_failed"),
            "{name}: {answer:?}"
        );
    }
    for (name, mut client) in waiting {
        let answer = client.answer()?;
        ensure!(
            matches!(answer.status, 502 | 504) && answer.reason() == "dns_failed",
            "{name}: {answer:?}"
        );
    }
    // Data carried out in names: each attempt counts, wherever it did not lead.
    for label in ["mfrggzdfmztwq2lk", "nnwg23tpobyxe43u", "ov3ho6dzpi"] {
        ensure!(stage.connect(format!("{label}.evil.example:443"))?.status == 502);
    }
    let closes = stage.wait_for("close", 8)?;
    let result = |name: &str| {
        let event = closes.iter().find(|event| event["destination_host"] == name);
        event.map_or(Value::Null, |event| event["dns_result"].clone())
    };
    assert_eq!(result("nowhere.example"), "nxdomain");
    assert_eq!(result("broken.example"), "servfail");
    assert_eq!(result("empty.example"), "no_data");
    assert_eq!(result("silent.example"), "timeout");
    assert_eq!(result("cut.example"), "truncated");
    assert_eq!(result("nnwg23tpobyxe43u.evil.example"), "nxdomain");
    for close in &closes {
        assert_eq!(
            (&close["outcome"], &close["dialed_ip"]),
            (&json!("dns_failed"), &Value::Null),
            "{close:#}"
        );
    }
    assert_eq!(stage.events("open")?.len(), closes.len());
    // No search domain was tried behind anybody's back.
    ensure!(
        names.names().iter().all(|name| name.ends_with(".example")),
        "{:?}",
        names.names()
    );
    Ok(())
}

fn crowd() -> Result<()> {
    let (stage, _names) = stage(vec![], &["127.0.0.0/8"])?;
    let mut client = stage.client()?;
    for n in 0..500 {
        stage.send_connect(&mut client, format!("mfrggzdf{n}.evil.example:443"))?;
        assert_eq!(client.answer()?.reason(), "dns_failed");
    }
    let audit = stage.world.cli(["audit", "--dry-run"])?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    let findings = crate::story::findings(report);
    ensure!(
        findings.iter().any(|(reason, ..)| reason == "limit_exceeded"),
        "{} findings",
        findings.len()
    );
    let names = findings.iter().filter(|(reason, ..)| reason == "undeclared_host");
    // Each name counts; a report spells out as many as anybody reads.
    assert_eq!(names.count(), 499);
    Ok(())
}

fn embedded_addresses() -> Result<()> {
    let below = [
        ("10.0.0.1.nip.example", "10.0.0.1"),
        ("app-192-168-1-250.nip.example", "192.168.1.250"),
        ("0a000001.nip.example", "10.0.0.1"),
        ("169.254.169.254.nip.example", "169.254.169.254"),
        ("localhost.example", "127.0.0.9"),
        ("metadata.google.internal", "169.254.169.254"),
        ("six.nip.example", "fd00:ec2::254"),
        ("8.8.8.8.nip.example", "10.8.8.8"),
    ];
    let mut script: Script = below
        .iter()
        .map(|&(name, ip)| (name, vec![Reply::of(&[ip])]))
        .collect();
    script.push(("10.0.0.2.nip.example", vec![Reply::of(&["127.0.0.1"])]));
    let (stage, _names) = stage(script, &["127.0.0.1/32"])?;
    let port = stage.server.address().port();
    for (name, ip) in below {
        let answer = stage.connect(format!("{name}:{port}"))?;
        assert_eq!(
            (answer.status, answer.reason()),
            (403, "floor_refused"),
            "{name}: {answer:?}"
        );
        let close = stage.events("close")?.pop().unwrap_or_default();
        assert_eq!((ips(&close), &close["dialed_ip"]), (vec![ip], &Value::Null));
    }
    // And a name is not refused for what it spells.
    stage.tunnel(&format!("10.0.0.2.nip.example:{port}"))?;
    Ok(())
}

fn shared_address() -> Result<()> {
    let names = NameServer::start(["ok.example", "evil.example", "blocked.example"].map(|name| {
        // All of them on one address, as behind a CDN.
        (name, vec![Reply::of(&["127.0.0.1"])])
    }))?;
    let stage = Stage::prepared(&[], |world, _| {
        world.resolve_with(names.address())?;
        world.allow_private(&["127.0.0.0/8"])
    })?;
    let port = stage.server.address().port();
    let at = |name: &str| format!("{name}:{port}");
    let entry = format!("tcp://{}", at("ok.example"));
    let watched = stage
        .world
        .plugin("acme.watched")
        .declares(&[&entry])
        .admit("high")?;
    let run = LiveRun::start(&stage.world, &watched, &[])?;
    let ask = |run: &LiveRun, target: &str| {
        let answer = crate::tokens::ask(&stage.world, target, Some(&run.credentials))?;
        if answer.status == 200 {
            drop(stage.server.accept()?);
        }
        Ok::<_, anyhow::Error>((answer.status, answer.reason().to_owned()))
    };
    // What the first name's lookup taught excuses neither the second name nor the bare address; and
    // having gone to an undeclared name first makes nothing of the declared one.
    for target in [
        at("ok.example"),
        at("evil.example"),
        at("127.0.0.1"),
        at("ok.example"),
    ] {
        assert_eq!(ask(&run, &target)?.0, 200, "{target}");
    }
    let closes = stage.wait_for("close", 4)?;
    let told: Vec<_> = closes
        .iter()
        .map(|close| (close["dialed_ip"].as_str(), close["matched_entry"].is_string()))
        .collect();
    let there = Some("127.0.0.1");
    assert_eq!(
        told,
        [(there, true), (there, false), (there, false), (there, true)]
    );
    let audit = stage.world.cli(["audit", "--dry-run"])?.json()?;
    let report = crate::story::artifact_report(&audit, &watched)?;
    let mut findings = crate::story::findings(report);
    findings.sort();
    assert_eq!(
        findings,
        [
            ("ip_literal".to_owned(), "127.0.0.1".to_owned(), u64::from(port)),
            (
                "undeclared_host".to_owned(),
                "evil.example".to_owned(),
                u64::from(port)
            ),
        ]
    );
    // Where a list decides, it decides by name as well: nothing is let in by an address learnt before.
    let low = stage.world.plugin("acme.low").declares(&[&entry]).admit("low")?;
    let run = LiveRun::start(&stage.world, &low, &[])?;
    for target in [at("blocked.example"), at("127.0.0.1")] {
        assert_eq!(ask(&run, &target)?.0, 403, "{target}");
    }
    assert_eq!(names.asked("blocked.example"), 0, "not even looked up");
    Ok(())
}

fn two_families() -> Result<()> {
    let Ok(six) = RawServer::at("[::1]:0".parse()?) else {
        eprintln!("SKIPPED: this machine has no IPv6 loopback");
        return Ok(());
    };
    let (stage, _names) = stage(
        vec![
            ("six.example", vec![Reply::of(&["::1"])]),
            ("race.example", vec![Reply::of(&["127.0.0.3", "::1"])]),
            (
                "nobody.example",
                vec![Reply::of(&["127.0.0.3", "127.0.0.4", "::1"])],
            ),
        ],
        &["127.0.0.0/8", "::1/128"],
    )?;
    for (name, answered) in [
        ("six.example", vec!["::1"]),
        ("race.example", vec!["127.0.0.3", "::1"]),
    ] {
        let before = stage.events("close")?.len();
        let mut client = stage.client()?;
        stage.send_connect(&mut client, format!("{name}:{}", six.address().port()))?;
        let answer = client.answer()?;
        ensure!(answer.status == 200, "{name}: {answer:?}");
        drop((client, six.accept()?));
        let closes = stage.wait_for("close", before + 1)?;
        assert_eq!(closes.len(), before + 1, "the loser of a race is no traffic");
        assert_eq!(
            (ips(&closes[before]), &closes[before]["dialed_ip"]),
            (answered, &json!("::1"))
        );
        // Which family goes first is the resolver's choice; where it was the one that refuses, the
        // event lists both.
        if let Some(attempts) = closes[before]["attempts"].as_array() {
            let port = six.address().port();
            assert_eq!(name, "race.example");
            assert_eq!(
                attempts,
                &[
                    json!(format!("127.0.0.3:{port} refused")),
                    json!(format!("[::1]:{port} connected"))
                ]
            );
        }
    }
    // Nobody at either: one event, and both are listed.
    let refused = stage.connect("nobody.example:9")?;
    assert_eq!(
        (refused.status, refused.reason()),
        (502, "connect_failed"),
        "{refused:?}"
    );
    let close = stage.wait_for("close", 3)?.remove(2);
    let mut attempts: Vec<_> = close["attempts"].as_array().cloned().unwrap_or_default();
    attempts.sort_by_key(ToString::to_string);
    assert_eq!(
        attempts,
        ["127.0.0.3:9 refused", "127.0.0.4:9 refused", "[::1]:9 refused"]
    );
    assert_eq!(stage.events("open")?.len(), 3);
    Ok(())
}
