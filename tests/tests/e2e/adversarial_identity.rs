//! Whose connection it is: claims that are no proof, proofs of somebody else, proofs that leak.

use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Answer, ProxyCredentials, RawClient, RawServer, Scenario, wait_until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::demo::files;
use crate::stage::{Stage, exactly, has_ended, head};
use crate::tokens::{LiveRun, ask};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "headers_and_parameters_that_claim_an_identity_are_taken_out_noted_and_not_believed",
        needs: &[],
        run: forged_headers,
    },
    Scenario {
        name: "two_plugins_on_one_address_are_told_apart_by_what_they_prove",
        needs: &[],
        run: one_address,
    },
    Scenario {
        name: "whoever_proves_nothing_is_nobody_even_where_one_plugin_runs",
        needs: &[],
        run: observed,
    },
    Scenario {
        name: "what_goes_through_another_plugin_is_the_other_ones_and_the_report_says_so",
        needs: &[],
        run: through_another,
    },
    Scenario {
        name: "what_goes_around_the_gateway_is_never_called_conforming",
        needs: &[],
        run: goes_around,
    },
    Scenario {
        name: "the_end_of_a_run_ends_its_tunnels_and_its_token",
        needs: &[],
        run: ended,
    },
    Scenario {
        name: "a_token_is_written_down_nowhere",
        needs: &[],
        run: written_nowhere,
    },
    Scenario {
        name: "a_run_is_named_by_the_registry_and_by_nobody_else",
        needs: &[],
        run: run_ids,
    },
];

const TARGET: &str = "ok.example:443";

/// The name under which events may mention a token.
fn fingerprint(token: &str) -> String {
    hex::encode(Sha256::digest(token))[..16].to_owned()
}

fn forged_headers() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["http://ok.example", "ok.example"])?;
    stage.world.plugin("acme.other").declares(&[]).admit("high")?;
    let fields = "Host: ok.example\r\nX-Plugin-Id: acme.other\r\nx-run-id: 00000000-0000-7000-8000-000000000000\r\n\
                  X-ARTIFACT-DIGEST: sha256:00\r\nX-Bailiwick-Run: r\r\nX-Bailiwick-Reason: floor\r\nX-Kept: yes\r\n";
    let line = "GET http://ok.example/?plugin_id=acme.other&run_id=r";
    let mut client = stage.client()?;
    stage.send_request(&mut client, line, fields)?;
    let mut server = stage.server.accept()?;
    assert_eq!(
        head(&mut server)?,
        "GET /?plugin_id=acme.other&run_id=r HTTP/1.1\r\nHost: ok.example\r\nX-Kept: yes\r\n\r\n"
    );
    server.write_all(b"HTTP/1.1 204 No Content\r\nX-Bailiwick-Run: forged\r\n\r\n")?;
    let answer = client.answer()?;
    assert_eq!(
        (answer.status, answer.header("x-bailiwick-run")),
        (204, None),
        "{answer:?}"
    );
    let answer = stage.request("CONNECT ok.example:443", fields)?;
    assert_eq!(answer.status, 200, "{answer:?}");
    drop((client, server, stage.server.accept()?));
    for event in stage.wait_for("close", 2)? {
        assert_eq!(
            (&event["plugin_id"], &event["run_id"]),
            (&json!("acme.weather"), &json!(stage.run.credentials.user)),
            "{event:#}"
        );
        assert_eq!(
            event["stripped_headers"],
            json!([
                "x-artifact-digest",
                "x-bailiwick-reason",
                "x-bailiwick-run",
                "x-plugin-id",
                "x-run-id"
            ]),
            "{event:#}"
        );
    }
    ensure!(!serde_json::to_string(&stage.world.events()?)?.contains("acme.other"));
    let findings = stage.findings()?;
    for target in ["ok.example:80", TARGET] {
        ensure!(
            findings.contains(&("identity_header_forged".to_owned(), target.to_owned())),
            "{findings:?}"
        );
    }
    Ok(())
}

/// Refused with 407 for this reason, and on record by fingerprint with nobody's name.
fn is_refused(stage: &Stage, answer: &Answer, reason: &str, token: &str) -> Result<Value> {
    ensure!((answer.status, answer.reason()) == (407, reason), "{answer:?}");
    let event = stage.events("refused")?.pop().context("a refusal is on record")?;
    assert_eq!(event["reason"], reason, "{event:#}");
    assert_eq!(event["credential_fingerprint"], fingerprint(token), "{event:#}");
    assert_eq!(event["attribution"], "none", "{event:#}");
    ensure!(
        event.get("plugin_id").is_none() && event.get("artifact_digest").is_none(),
        "{event:#}"
    );
    Ok(event)
}

fn one_address() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let other = stage.world.plugin("acme.other").declares(&[]).admit("high")?;
    let others = LiveRun::start(&stage.world, &other, &[])?;
    let (ours, theirs) = (&stage.run.credentials, &others.credentials);
    for (user, password) in [(ours, theirs), (theirs, ours)] {
        let mixed = ProxyCredentials {
            user: user.user.clone(),
            password: password.password.clone(),
        };
        let answer = ask(&stage.world, TARGET, Some(&mixed))?;
        is_refused(&stage, &answer, "credentials_invalid", &password.password)?;
        // SOCKS5 has no better idea.
        let mut client = stage.client()?;
        let length = |text: &str| u8::try_from(text.len()).context("fits SOCKS5");
        client.send(&[5, 1, 2])?;
        ensure!(client.exactly(2)? == [5, 2]);
        client.send(
            &[
                &[1, length(&mixed.user)?][..],
                mixed.user.as_bytes(),
                &[length(&mixed.password)?],
                mixed.password.as_bytes(),
            ]
            .concat(),
        )?;
        ensure!(client.exactly(2)? == [1, 1], "refused");
    }
    // Twice the credentials, or both identities at once, are none.
    let both = format!("{}{}", ours.header(), theirs.header());
    let mut client = stage.client()?;
    client.send(format!("CONNECT {TARGET} HTTP/1.1\r\n{both}\r\n").as_bytes())?;
    assert_eq!(client.answer()?.status, 400);
    ensure!(!stage.server.was_dialled());
    for credentials in [ours, theirs] {
        assert_eq!(ask(&stage.world, TARGET, Some(credentials))?.status, 200);
        stage.server.accept()?;
    }
    let closes = stage.wait_for("close", 2)?;
    let told: Vec<_> = closes
        .iter()
        .map(|event| {
            (
                event["plugin_id"].clone(),
                event["run_id"].clone(),
                event["attribution"].clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (json!("acme.weather"), json!(ours.user), json!("token")),
            (json!("acme.other"), json!(theirs.user), json!("token")),
        ]
    );
    assert_eq!(stage.findings()?, [], "nothing of the neighbour's is ours");
    Ok(())
}

fn observed() -> Result<()> {
    let stage = Stage::prepared(&["ok.example"], |world, server| {
        world.lead(&["ok.example"], &[server.address().to_string()])?;
        world.configure(|config| {
            let gateway = config["gateway"].as_table_mut().context("[gateway]")?;
            gateway.insert("unattributed".into(), "observe".into());
            Ok(())
        })
    })?;
    // The only run there is, on the same address, is not taken for whoever comes without a name.
    let mut client = stage.client()?;
    client.send(format!("CONNECT {TARGET} HTTP/1.1\r\nX-Plugin-Id: acme.weather\r\n\r\n").as_bytes())?;
    assert_eq!(client.answer()?.status, 200);
    drop((client, stage.server.accept()?));
    let close = &stage.wait_for("close", 1)?[0];
    assert_eq!(close["attribution"], "none", "{close:#}");
    for field in ["plugin_id", "artifact_digest", "run_id"] {
        ensure!(close.get(field).is_none(), "{close:#}");
    }
    let audit = stage.world.cli(["audit", "--dry-run"])?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    assert_eq!(report["verdict"], "no_traffic", "{report:#}");
    // Bad credentials are not none.
    let mut forged = stage.run.credentials.clone();
    forged.password = "A".repeat(forged.password.len());
    let answer = ask(&stage.world, TARGET, Some(&forged))?;
    is_refused(&stage, &answer, "credentials_invalid", &forged.password)?;
    // The audit has a place of its own for both: they are told, and stand against no plugin.
    let audit = stage.world.cli(["audit", "--dry-run"])?.json()?;
    let notices: Vec<_> = audit["notices"].as_array().into_iter().flatten().collect();
    for told in [
        "to ok.example:443 that belong to no run, relayed without identity".to_owned(),
        format!(
            "finding credentials_replayed: token {}",
            fingerprint(&forged.password)
        ),
    ] {
        ensure!(
            notices.iter().any(|notice| notice.to_string().contains(&told)),
            "{told}: {notices:#?}"
        );
    }
    assert_eq!(stage.findings()?, []);
    Ok(())
}

fn through_another() -> Result<()> {
    let stage = Stage::new(&["ok.example", "evil.example"], &["ok.example"])?;
    let other = stage
        .world
        .plugin("acme.other")
        .declares(&["ok.example"])
        .admit("high")?;
    let others = LiveRun::start(&stage.world, &other, &[])?;
    // The other plugin offers a service of its own on this machine; whoever asks there, it asks for.
    let service = RawServer::start()?;
    let mut ours = TcpStream::connect(service.address())?;
    ours.write_all(b"please fetch evil.example")?;
    let mut asked = service.accept()?;
    ensure!(exactly(&mut asked, 25)? == b"please fetch evil.example");
    let mut fetching = RawClient::connect(stage.world.gateway()?)?;
    let answer = fetching.tunnel("evil.example:443", Some(&others.credentials))?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut server = stage.server.accept()?;
    server.write_all(b"for the other")?;
    asked.write_all(&fetching.exactly(13)?)?;
    ensure!(exactly(&mut ours, 13)? == b"for the other");
    drop((ours, asked, fetching, server));
    let close = &stage.wait_for("close", 1)?[0];
    assert_eq!(
        (&close["plugin_id"], &close["run_id"]),
        (&json!("acme.other"), &json!(others.credentials.user)),
        "{close:#}"
    );
    let audit = stage.world.cli(["audit", "--dry-run"])?.json()?;
    let report = crate::story::artifact_report(&audit, &other)?;
    assert_eq!(
        crate::story::findings(report),
        [("undeclared_host".to_owned(), "evil.example".to_owned(), 443)]
    );
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    assert_eq!(report["verdict"], "no_traffic", "{report:#}");
    let report = stage.report()?;
    ensure!(
        report.contains("What a plugin relays through another plugin is seen as the other plugin's traffic."),
        "{report}"
    );
    Ok(())
}

fn goes_around() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let mut direct = TcpStream::connect(stage.server.address())?;
    direct.write_all(b"past the gateway")?;
    ensure!(exactly(&mut stage.server.accept()?, 16)? == b"past the gateway");
    ensure!(
        stage.events("open")?.is_empty(),
        "a gateway saw what did not come to it"
    );
    let audit = stage.world.cli(["audit"])?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    assert_eq!(report["verdict"], "no_traffic", "{report:#}");
    let signed = report["report"].as_str().context("the report's file")?.to_owned();
    let shown = stage.world.ok(["report", "show", &signed])?;
    ensure!(shown.to_string().contains("proxied-only"), "{shown:#}");
    let text = stage.report()?;
    ensure!(
        text.contains("Only connections that went through a gateway are seen."),
        "{text}"
    );
    // Nor is it once something did come to the gateway and was in order: the limit still stands there.
    stage.is_well(TARGET)?;
    stage.wait_for("close", 1)?;
    let text = stage.report()?;
    ensure!(text.contains("proxied-only"), "{text}");
    Ok(())
}

fn ended() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let short = LiveRun::start(&stage.world, &stage.plugin, &["--valid-for", "1"])?;
    let run = LiveRun::start(&stage.world, &stage.plugin, &[])?;
    let credentials = run.credentials.clone();
    let mut client = RawClient::connect(stage.world.gateway()?)?;
    ensure!(client.tunnel(TARGET, Some(&credentials))?.status == 200);
    let mut server = stage.server.accept()?;
    drop(run);
    client.drain();
    ensure!(has_ended(&mut server), "a tunnel outlived its run");
    let close = &stage.wait_for("close", 1)?[0];
    assert_eq!(close["outcome"], "run_ended", "{close:#}");
    for _ in 0..2 {
        let answer = ask(&stage.world, TARGET, Some(&credentials))?;
        let event = is_refused(&stage, &answer, "run_ended", &credentials.password)?;
        // The token was good once, so the run may be named; who it was is not said again.
        assert_eq!(event["run_id"], json!(credentials.user), "{event:#}");
    }
    let mut answer = None;
    wait_until("the token to expire", || {
        answer = ask(&stage.world, TARGET, Some(&short.credentials)).ok();
        answer.as_ref().is_some_and(|answer| answer.status == 407)
    })?;
    let answer = answer.context("answered")?;
    is_refused(
        &stage,
        &answer,
        "credentials_expired",
        &short.credentials.password,
    )?;
    while stage.server.was_dialled() {}
    // The neighbour's run goes on.
    stage.is_well(TARGET)
}

fn written_nowhere() -> Result<()> {
    let mut stage = Stage::new(&["ok.example"], &["http://ok.example"])?;
    let ProxyCredentials { user, password } = stage.run.credentials.clone();
    let pair = format!("{user}:{password}");
    stage.is_well(TARGET)?;
    // Where it does not belong: in targets, in Host headers, as a user, in a header for the server.
    for line in [
        format!("CONNECT {pair}@ok.example:443"),
        format!("CONNECT {password}@ok.example:443"),
        format!("GET http://{pair}@ok.example/"),
        format!("GET http://ok.example/#{password}"),
        format!("GET /{password}"),
        format!("CONNECT ok.example:443/{password}"),
        format!("CONNECT ok.example:443?{password}"),
    ] {
        assert_eq!(stage.request(&line, "Host: ok.example\r\n")?.status, 400);
    }
    let answer = stage.request("GET http://ok.example/", &format!("Host: {pair}@ok.example\r\n"))?;
    assert_eq!(answer.status, 400);
    let swapped = ProxyCredentials {
        user: password.clone(),
        password: user.clone(),
    };
    assert_eq!(ask(&stage.world, TARGET, Some(&swapped))?.status, 407);
    let mut client = stage.client()?;
    let fields = format!("Host: ok.example\r\nAuthorization: Bearer {password}\r\nCookie: {password}\r\n");
    stage.send_request(
        &mut client,
        &format!("GET http://ok.example/?key={password}"),
        &fields,
    )?;
    let mut server = stage.server.accept()?;
    let request = head(&mut server)?;
    ensure!(
        request.matches(&password).count() == 3,
        "what is the server's reaches it"
    );
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    client.answer()?;
    ensure!(!stage.world.ok(["status"])?.to_string().contains(&password));
    ensure!(!stage.world.ok(["runs"])?.to_string().contains(&password));
    ensure!(!stage.world.admin_page("/metrics")?.contains(&password));
    let mut audit = stage.world.cli(["audit"])?;
    ensure!(matches!(audit.status, Some(0 | 1)), "{audit:?}");
    audit.stderr.push_str(&audit.text());
    ensure!(!audit.stderr.contains(&password));
    // Nor do other users of the machine read it in the list of processes.
    for process in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        ensure!(
            !String::from_utf8_lossy(&line).contains(&password),
            "{} was started with the token",
            process.path().display()
        );
    }
    let printed = stage.world.server()?.printed();
    ensure!(!printed.contains(&password), "{printed}");
    let encoded = stage.run.credentials.header();
    let encoded = encoded.trim_end().rsplit(' ').next().context("Basic")?.to_owned();
    stage.world.stop()?;
    let written = files(&stage.world.site());
    ensure!(written.len() > 10, "this looks into the site's folder");
    for file in written {
        let bytes = std::fs::read(&file)?;
        for secret in [&password, &encoded] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            ensure!(!found, "{} holds the token", file.display());
        }
    }
    Ok(())
}

fn run_ids() -> Result<()> {
    let stage = Stage::new(&["ok.example"], &["ok.example"])?;
    let good = &stage.run.credentials;
    for user in [
        String::new(),
        "../../etc/passwd".to_owned(),
        "..%2f..%2f".to_owned(),
        "acme.weather".to_owned(),
        "\u{0}".to_owned(),
        "\u{1b}[31m".to_owned(),
        "a\r\nX-Plugin-Id".to_owned(),
        format!("{} ", good.user),
        format!("{}/..", good.user),
        format!("{{{}}}", good.user),
        "0".repeat(36),
        "x".repeat(30_000),
    ] {
        let odd = ProxyCredentials {
            user,
            password: good.password.clone(),
        };
        let answer = ask(&stage.world, TARGET, Some(&odd))?;
        is_refused(&stage, &answer, "credentials_invalid", &good.password)?;
    }
    let huge = ProxyCredentials {
        user: "x".repeat(1 << 20),
        password: good.password.clone(),
    };
    let mut client = stage.client()?;
    // The gateway may have stopped reading by then.
    let _ = client.send(format!("CONNECT {TARGET} HTTP/1.1\r\n{}\r\n", huge.header()).as_bytes());
    assert_eq!(client.answer()?.status, 431);

    // Nor does the registry take a name from whoever asks for a run.
    let control = stage.world.configuration()?["control"]["listen"]
        .as_str()
        .context("control.listen")?
        .to_owned();
    let token = std::fs::read_to_string(stage.world.site().join("data/operator.token"))?;
    let post = |path: &str, body: &Value| {
        let body = body.to_string();
        let mut client = RawClient::connect(control.parse()?)?;
        client.send(
            format!(
                "POST {path} HTTP/1.1\r\nHost: {control}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                token.trim(),
                body.len()
            )
            .as_bytes(),
        )?;
        client.answer()
    };
    let runs = || Ok::<_, anyhow::Error>(stage.world.ok(["runs"])?["runs"].as_array().map_or(0, Vec::len));
    let before = runs()?;
    for run_id in [
        good.user.clone(),
        "../x".to_owned(),
        "x".repeat(1 << 20),
        "\u{7}".to_owned(),
    ] {
        let body = json!({"artifact_digest": stage.plugin.digest, "who": "test", "run_id": run_id});
        let answer = post("/v1/runs", &body)?;
        ensure!((400..500).contains(&answer.status), "{answer:?}");
    }
    for run_id in ["..", "%2e%2e%2f", "x", "%00", "*", "acme.weather"] {
        let answer = post(&format!("/v1/runs/{run_id}/end"), &json!({}))?;
        ensure!((400..500).contains(&answer.status), "{run_id}: {answer:?}");
    }
    assert_eq!(runs()?, before);
    let plain = post(
        "/v1/runs",
        &json!({"artifact_digest": stage.plugin.digest, "who": "test"}),
    )?;
    ensure!((200..300).contains(&plain.status), "{plain:?}");
    assert_eq!(runs()?, before + 1);
    stage.is_well(TARGET)
}
