//! TLS to the gateway, and runs that prove themselves by a certificate: the real binary, the clients
//! that people have, and certificates that somebody else made.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, Run, Scenario, World, run, wait_until, workspace};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use serde_json::{Value, json};

use crate::demo::files;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "curl_proves_its_run_by_a_certificate_and_git_needs_not_be_told",
        needs: &[Peer::Curl, Peer::Git],
        run: curl_and_git,
    },
    Scenario {
        name: "python_goes_through_with_its_standard_library",
        needs: &[Peer::Python],
        run: python,
    },
    Scenario {
        name: "node_goes_through_with_its_tls_module",
        needs: &[Peer::Node],
        run: node,
    },
    Scenario {
        name: "go_goes_through_with_its_http_client",
        needs: &[Peer::Go],
        run: go,
    },
    Scenario {
        name: "the_key_of_a_run_stays_with_the_run_and_goes_with_it",
        needs: &[],
        run: key_stays,
    },
    Scenario {
        name: "a_token_goes_through_tls_where_that_is_the_only_way_in",
        needs: &[Peer::Curl],
        run: token_in_tls,
    },
    // ADVERSARIAL 60.
    Scenario {
        name: "only_a_certificate_that_the_run_key_made_for_a_live_run_of_a_loadable_artifact_opens_anything",
        needs: &[Peer::Curl],
        run: adversarial_certificates,
    },
    Scenario {
        name: "a_renewed_certificate_is_taken_up_and_a_broken_one_is_told",
        needs: &[Peer::Curl],
        run: renewal,
    },
    Scenario {
        name: "what_is_missing_for_tls_is_said_with_what_to_do",
        needs: &[],
        run: told_what_to_do,
    },
];

const CURL: &str = r#"curl -sS -o /dev/null -w '%{http_code}\n' --proxy-cacert "$BAILIWICK_PROXY_CA" \
    --proxy-cert "$BAILIWICK_PROXY_CERT" --proxy-key "$BAILIWICK_PROXY_KEY" "#;

/// A site with a TLS listener as its second, and its configuration changed further.
fn site(client_auth: &str) -> Result<World> {
    let world = World::new()?;
    listen(&world, "tls://127.0.0.1:0", client_auth)?;
    Ok(world)
}

/// Adds a TLS listener to a site.
pub fn listen(world: &World, address: &str, client_auth: &str) -> Result<()> {
    world.configure(|config| {
        let gateway = config["gateway"].as_table_mut().context("gateway")?;
        let listen = gateway["listen"].as_array_mut().context("listen")?;
        listen.push(address.into());
        let tls = gateway["tls"].as_table_mut().context("init writes gateway.tls")?;
        tls.insert("client_auth".into(), client_auth.into());
        Ok(())
    })
}

/// Where the gateway says that it listens.
pub fn listens(world: &World) -> Result<Vec<String>> {
    let status = world.ok(["status"])?;
    let listen = status["gateways"][0]["listen"].as_array().context("listen")?;
    Ok(listen
        .iter()
        .filter_map(|at| at.as_str().map(str::to_owned))
        .collect())
}

/// The address that the TLS listener took.
pub fn tls_address(world: &World) -> Result<String> {
    let listens = listens(world)?;
    let address = listens.iter().find_map(|text| text.strip_prefix("tls://"));
    Ok(address.context("a tls:// listener")?.to_owned())
}

/// `bailiwick run --mtls … -- sh -c SCRIPT`.
fn run_mtls(world: &World, plugin: &Plugin, script: &str) -> Result<Run> {
    let mut command = world.command(["run", "--mtls", "--artifact"]);
    command.arg(&plugin.artifact).args(["--", "sh", "-c", script]);
    run(&mut command)
}

fn client(name: &str) -> PathBuf {
    workspace().join("tests/tests/e2e/tls").join(name)
}

/// Whether all that happened was attributed by certificate.
fn ensure_by_certificate(world: &World, plugin: &Plugin, opened: usize) -> Result<()> {
    let events = world.events()?;
    let opens: Vec<_> = events.iter().filter(|event| event["kind"] == "open").collect();
    ensure!(opens.len() == opened, "{opens:#?}");
    for event in opens {
        assert_eq!(event["attribution"], "mtls", "{event:#}");
        assert_eq!(event["artifact_digest"], json!(plugin.digest), "{event:#}");
    }
    Ok(())
}

fn curl_and_git() -> Result<()> {
    let mut world = site("optional")?;
    world.origin(&["api.example"])?;
    world.plain_origin(&["plain.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.example"])
        .admit("high")?;
    let script = format!("{CURL} https://api.example/ && {CURL} http://plain.example/");
    let done = run_mtls(&world, &plugin, &script)?.expect(0)?;
    assert_eq!(String::from_utf8_lossy(&done.stdout), "200\n200\n");
    ensure_by_certificate(&world, &plugin, 2)?;
    // There is no repository; that git came as far as asking for it is the point.
    run_mtls(
        &world,
        &plugin,
        "git ls-remote https://api.example/none.git; true",
    )?
    .expect(0)?;
    let opens = |events: &[Value]| events.iter().filter(|event| event["kind"] == "open").count();
    ensure!(opens(&world.events()?) > 2, "git did not come through");
    Ok(())
}

fn drive(peer: Peer, script: &str, hosts: &[&str], opened: usize) -> Result<()> {
    let mut world = site("required")?;
    world.origin(&["api.example"])?;
    world.plain_origin(&["plain.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.example"])
        .admit("high")?;
    let mut command = world.command(["run", "--mtls", "--artifact"]);
    command
        .arg(&plugin.artifact)
        .arg("--")
        .arg(peer.command().get_program())
        .arg(client(script))
        .args(hosts);
    run(&mut command)?.expect(0)?;
    ensure_by_certificate(&world, &plugin, opened)
}

fn python() -> Result<()> {
    // The two plain requests are two connections of the record, whatever sockets they shared.
    drive(Peer::Python, "client.py", &["plain.example", "api.example"], 3)
}

fn node() -> Result<()> {
    drive(Peer::Node, "client.js", &["api.example"], 1)
}

fn go() -> Result<()> {
    let mut world = site("required")?;
    world.origin(&["api.example"])?;
    world.plain_origin(&["plain.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.example"])
        .admit("high")?;
    let built = world.path("go-client");
    let mut build = Peer::Go.command();
    build.args(["build", "-o"]).arg(&built).arg(client("client.go"));
    for (name, value) in [
        ("GO111MODULE", "off"),
        ("GOTOOLCHAIN", "local"),
        ("CGO_ENABLED", "0"),
    ] {
        build.env(name, value);
    }
    run(&mut build)?.expect(0)?;
    let mut command = world.command(["run", "--mtls", "--artifact"]);
    command
        .arg(&plugin.artifact)
        .arg("--")
        .arg(&built)
        .args(["https://api.example/", "http://plain.example/"]);
    run(&mut command)?.expect(0)?;
    ensure_by_certificate(&world, &plugin, 2)
}

fn key_stays() -> Result<()> {
    let mut world = site("optional")?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").admit("high")?;
    let script = r#"
        cat "$BAILIWICK_PROXY_KEY"
        stat -c %a "$BAILIWICK_PROXY_KEY" "$(dirname "$BAILIWICK_PROXY_KEY")" >&2
        dirname "$BAILIWICK_PROXY_KEY" > kept
        env > environment"#;
    let done = run_mtls(&world, &plugin, script)?.expect(0)?;
    let key = String::from_utf8(done.stdout)?;
    ensure!(done.stderr.contains("600\n700\n"), "{}", done.stderr);
    let secret = key.lines().nth(1).context("a key in PEM")?;
    for file in files(&world.site()) {
        let content = std::fs::read(&file)?;
        let found = content
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        ensure!(!found, "the run's key stands in {}", file.display());
    }
    let environment = std::fs::read_to_string(world.path("environment"))?;
    ensure!(!environment.contains(secret));
    // Nothing in the environment is a credential: user and password of a proxy stand before an @.
    let proxies = environment
        .lines()
        .filter(|line| line.to_lowercase().contains("_proxy="));
    ensure!(
        proxies.clone().count() >= 6 && proxies.clone().all(|line| !line.contains('@')),
        "{environment}"
    );
    let kept = std::fs::read_to_string(world.path("kept"))?;
    ensure!(!Path::new(kept.trim()).exists(), "{kept} is still there");
    Ok(())
}

fn token_in_tls() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.example"])?;
    world.configure(|config| {
        let gateway = config["gateway"].as_table_mut().context("gateway")?;
        gateway.insert("listen".into(), vec!["tls://127.0.0.1:0".to_owned()].into());
        Ok(())
    })?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.example"])
        .admit("high")?;
    let script = r#"curl -sS -o /dev/null --proxy-cacert "$BAILIWICK_PROXY_CA" https://api.example/"#;
    world.run_plugin(&plugin, ["sh", "-c", script])?.expect(0)?;
    let events = world.events()?;
    let open = events
        .iter()
        .find(|event| event["kind"] == "open")
        .context("an open")?;
    assert_eq!(open["attribution"], "token", "{open:#}");
    Ok(())
}

/// A certificate that `authority` (a key in PEM) signed under the name of the site's run authority.
fn forge(
    world: &World,
    name: &str,
    authority: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> Result<(PathBuf, PathBuf)> {
    let mut issuer = CertificateParams::new(Vec::new())?;
    issuer.distinguished_name = DistinguishedName::new();
    issuer
        .distinguished_name
        .push(DnType::CommonName, "bailiwick runs of site");
    let issuer = Issuer::new(issuer, KeyPair::from_pem(authority)?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let certificate = params.signed_by(&key, &issuer)?;
    let (certificate_path, key_path) = (
        world.path(&format!("{name}.crt")),
        world.path(&format!("{name}.key")),
    );
    std::fs::write(&certificate_path, certificate.pem())?;
    std::fs::write(&key_path, key.serialize_pem())?;
    Ok((certificate_path, key_path))
}

/// What curl gets for a CONNECT: the gateway's status, or nothing where the handshake failed.
fn curl(world: &World, address: &str, files: Option<&(PathBuf, PathBuf)>, user: Option<&str>) -> Result<u16> {
    let mut command = Peer::Curl.command();
    world.prepare_client(&mut command);
    command
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_connect}", "-x"])
        .arg(format!("https://{address}"))
        .arg("--proxy-cacert")
        .arg(world.site().join("keys/gateway-tls.crt"));
    if let Some((certificate, key)) = files {
        command
            .arg("--proxy-cert")
            .arg(certificate)
            .arg("--proxy-key")
            .arg(key);
    }
    if let Some(user) = user {
        command.args(["--proxy-user", user]);
    }
    let done = run(command.arg("https://api.example/"))?;
    Ok(String::from_utf8_lossy(&done.stdout).trim().parse()?)
}

fn adversarial_certificates() -> Result<()> {
    let mut world = site("optional")?;
    world.origin(&["api.example"])?;
    world.serve()?;
    let address = tls_address(&world)?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.example"])
        .admit("high")?;
    let other = world.plugin("acme.other").admit("high")?;
    // A run whose certificate is copied while it lives, and used by another client meanwhile.
    let script = r#"cp "$BAILIWICK_PROXY_CERT" copy.crt; cp "$BAILIWICK_PROXY_KEY" copy.key
        echo "$BAILIWICK_RUN_ID" > run_id; echo > ready; read line"#;
    let mut command = world.command(["run", "--mtls", "--artifact"]);
    command.arg(&plugin.artifact).args(["--", "sh", "-c", script]);
    let mut live = command.stdin(std::process::Stdio::piped()).spawn()?;
    wait_until("the run's certificate", || world.path("ready").exists())?;
    let copy = (world.path("copy.crt"), world.path("copy.key"));
    let run_id = std::fs::read_to_string(world.path("run_id"))?.trim().to_owned();
    assert_eq!(curl(&world, &address, Some(&copy), None)?, 200);

    let authority = std::fs::read_to_string(world.site().join("keys/run.pem"))?;
    let uri = |site: &str, digest: &str| {
        format!("bailiwick://{site}/plugin/acme.weather/artifact/{digest}/run/{run_id}")
    };
    let good = uri("site", &plugin.digest);
    let named = |text: &str| -> Result<SanType> { Ok(SanType::URI(text.try_into()?)) };
    let stranger = KeyPair::generate()?.serialize_pem();
    type Change = Box<dyn FnOnce(&mut CertificateParams)>;
    let san = |names: Vec<SanType>| -> Change { Box::new(move |params| params.subject_alt_names = names) };
    let usage_name = named(&good)?;
    let late_name = named(&good)?;
    let common_name = good.clone();
    let cases: Vec<(&str, &str, Change, u16)> = vec![
        // The forger has the run key here, to show that it is the content that decides next.
        ("as-issued", &authority, san(vec![named(&good)?]), 200),
        ("foreign-authority", &stranger, san(vec![named(&good)?]), 0),
        (
            "wrong-usage",
            &authority,
            Box::new(move |params| {
                params.subject_alt_names = vec![usage_name];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            0,
        ),
        (
            "expired",
            &authority,
            Box::new(move |params| {
                params.subject_alt_names = vec![late_name];
                params.not_after = rcgen::date_time_ymd(2024, 1, 1);
            }),
            0,
        ),
        (
            "common-name-only",
            &authority,
            Box::new(move |params| params.distinguished_name.push(DnType::CommonName, common_name)),
            0,
        ),
        (
            "two-names",
            &authority,
            san(vec![named(&good)?, named(&good)?]),
            0,
        ),
        (
            "other-site",
            &authority,
            san(vec![named(&uri("elsewhere", &plugin.digest))?]),
            0,
        ),
        (
            "other-scheme",
            &authority,
            san(vec![named("spiffe://site/acme.weather")?]),
            0,
        ),
    ];
    for (name, authority, change, expected) in cases {
        let files = forge(&world, name, authority, change)?;
        let status = curl(&world, &address, Some(&files), None)?;
        assert_eq!(status, expected, "{name}");
    }
    let refused: Vec<Value> = world
        .events()?
        .into_iter()
        .filter(|event| event["kind"] == "refused")
        .map(|event| event["reason"].clone())
        .collect();
    assert_eq!(
        refused
            .iter()
            .filter(|reason| **reason == "credentials_expired")
            .count(),
        1
    );
    assert_eq!(
        refused
            .iter()
            .filter(|reason| **reason == "credentials_invalid")
            .count(),
        6
    );

    // Absent where optional: other proofs, or none.
    assert_eq!(curl(&world, &address, None, None)?, 407);
    // A common name that says something else is nothing.
    let collision = forge(&world, "collision", &authority, |params| {
        params.subject_alt_names = named(&good).into_iter().collect();
        let elsewhere = good.replace("acme.weather", "acme.other");
        params.distinguished_name.push(DnType::CommonName, elsewhere);
    })?;
    assert_eq!(curl(&world, &address, Some(&collision), None)?, 200);
    let events = world.events()?;
    let opens = events.iter().filter(|event| event["kind"] == "open");
    ensure!(opens.clone().count() == 3 && opens.clone().all(|event| event["plugin_id"] == "acme.weather"));

    // A token of somebody else beside it.
    let token_of_other = crate::tokens::LiveRun::start(&world, &other, &[])?;
    let user = format!(
        "{}:{}",
        token_of_other.credentials.user, token_of_other.credentials.password
    );
    assert_eq!(curl(&world, &address, Some(&copy), Some(&user))?, 407);
    drop(token_of_other);

    // The artifact's right to load is gone, then the run is over.
    world.ok(["quarantine", &plugin.digest, "--reason", "undeclared_host"])?;
    assert_eq!(curl(&world, &address, Some(&copy), None)?, 403);
    world.ok(["reinstate", &plugin.digest, "--reason", "false_positive"])?;
    assert_eq!(curl(&world, &address, Some(&copy), None)?, 200);
    drop(live.stdin.take());
    live.wait()?;
    assert_eq!(curl(&world, &address, Some(&copy), None)?, 407);
    world.wait_for_event("a refusal of the ended run", |event| {
        event["reason"] == "run_ended" && event["run_id"] == json!(run_id)
    })
}

fn metric(world: &World, name: &str) -> Result<String> {
    let page = world.admin_page("/metrics")?;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("bailiwick_gateway_{name} ")));
    Ok(line.with_context(|| format!("{name} in\n{page}"))?.to_owned())
}

fn renewal() -> Result<()> {
    let mut world = site("optional")?;
    world.origin(&["api.example"])?;
    world.serve()?;
    let address = tls_address(&world)?;
    ensure!(world.cli(["doctor"])?.expect(0)?.json()?["healthy"] == true);
    let expires = "tls_certificate_expires_timestamp";
    let before = metric(&world, expires)?;
    let view = world.ok(["tls", "new", "--renew", "--days", "20"])?;
    assert_eq!(view["names"], json!(["127.0.0.1", "::1", "localhost"]));
    assert_eq!(view["renewed"], true);
    wait_until("the new certificate", || {
        metric(&world, expires).is_ok_and(|now| now != before)
    })?;
    assert_eq!(curl(&world, &address, None, None)?, 407);
    // Due soon: a finding for doctor.
    let doctor = world.cli(["doctor"])?.expect(1)?.json()?;
    ensure!(doctor.to_string().contains("tls new --renew"), "{doctor:#}");
    world.ok(["tls", "new", "--renew"])?;

    let certificate = world.site().join("keys/gateway-tls.crt");
    let good = std::fs::read(&certificate)?;
    std::fs::write(&certificate, "not a certificate\n")?;
    wait_until("the alarm", || {
        metric(&world, "tls_certificate_not_replaced").is_ok_and(|value| value == "1")
    })?;
    ensure!(world.cli(["doctor"])?.expect(1)?.json()?["healthy"] == false);
    std::fs::write(&certificate, good)?;
    let hang_up = Command::new("kill")
        .arg("-HUP")
        .arg(world.server()?.id().to_string())
        .status()?;
    ensure!(hang_up.success());
    wait_until("the alarm's end", || {
        metric(&world, "tls_certificate_not_replaced").is_ok_and(|value| value == "0")
    })?;
    assert_eq!(curl(&world, &address, None, None)?, 407);
    let warned = world.server()?.printed().matches("cannot be used").count();
    ensure!(warned == 1, "warned {warned} times");
    world.stop()
}

fn told_what_to_do() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").admit("high")?;
    let refused = run_mtls(&world, &plugin, "true")?.expect(2)?;
    ensure!(
        refused.stderr.contains("tls://127.0.0.1:3129"),
        "{}",
        refused.stderr
    );
    world.stop()?;

    listen(&world, "tls://127.0.0.1:0", "none")?;
    world.serve()?;
    let refused = run_mtls(&world, &plugin, "true")?.expect(2)?;
    ensure!(refused.stderr.contains("client_auth"), "{}", refused.stderr);
    world.stop()?;

    // A key that others can read, a section that is gone.
    let key = world.site().join("keys/gateway-tls.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let serve = run(&mut world.command(["serve"]))?.expect(2)?;
    ensure!(serve.stderr.contains("chmod 600"), "{}", serve.stderr);
    world.configure(|config| {
        config["gateway"].as_table_mut().context("gateway")?.remove("tls");
        Ok(())
    })?;
    let serve = run(&mut world.command(["serve"]))?.expect(2)?;
    ensure!(serve.stderr.contains("bailiwick tls new"), "{}", serve.stderr);
    Ok(())
}
