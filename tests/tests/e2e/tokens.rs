//! Credentials at the gateway: absent, forged, replayed, expired, borrowed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Answer, Plugin, ProxyCredentials, RawClient, Scenario, World, wait_until};
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "without_credentials_the_answer_is_407_on_a_connection_that_stays",
        needs: &[],
        run: no_credentials,
    },
    Scenario {
        name: "a_forged_token_is_refused",
        needs: &[],
        run: forged,
    },
    Scenario {
        name: "a_token_of_another_run_is_refused",
        needs: &[],
        run: borrowed,
    },
    Scenario {
        name: "a_token_replayed_after_its_run_ended_is_refused",
        needs: &[],
        run: replayed,
    },
    Scenario {
        name: "an_expired_token_is_refused",
        needs: &[],
        run: expired,
    },
    Scenario {
        name: "what_cannot_be_read_in_one_way_is_answered_with_400_and_recorded",
        needs: &[],
        run: malformed,
    },
    Scenario {
        name: "the_floor_holds_in_every_mode",
        needs: &[],
        run: floor,
    },
];

const TARGET: &str = "api.weather.example:443";

fn stage() -> Result<(World, Plugin)> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("high")?;
    Ok((world, plugin))
}

/// A run that stays until it is dropped, and its credentials.
pub struct LiveRun {
    child: Child,
    /// What the run's environment says about its proxy.
    pub credentials: ProxyCredentials,
}

impl LiveRun {
    /// The plugin does nothing but say its proxy and read its input, which ends when we say so.
    pub fn start(world: &World, plugin: &Plugin, options: &[&str]) -> Result<Self> {
        let mut command = world.command(["run", "--artifact"]);
        command.arg(&plugin.artifact).args(options);
        command.args(["--", "sh", "-c", "echo $HTTPS_PROXY; read line"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        match ProxyCredentials::parse(&line) {
            Ok(credentials) => Ok(Self { child, credentials }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn end(mut self) -> Result<ProxyCredentials> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(self.credentials.clone())
    }
}

impl Drop for LiveRun {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub fn ask(world: &World, target: &str, credentials: Option<&ProxyCredentials>) -> Result<Answer> {
    RawClient::connect(world.gateway()?)?.tunnel(target, credentials)
}

fn recorded(world: &World, reason: &str) -> Result<Value> {
    let refused = |event: &Value| event["kind"] == "refused" && event["reason"] == reason;
    world.wait_for_event(&format!("a refused event with reason {reason}"), refused)?;
    world.events()?.into_iter().find(refused).context("seen just now")
}

/// A refusal for want of credentials: 407 with a challenge, no body, connection kept, reason given.
fn check_407(answer: &Answer, reason: &str) -> Result<()> {
    ensure!(answer.status == 407, "{answer:?}");
    ensure!(answer.reason() == reason, "{answer:?}");
    ensure!(answer.header("content-length") == Some("0"), "{answer:?}");
    let challenge = answer
        .header("proxy-authenticate")
        .context("a 407 has a challenge")?;
    ensure!(challenge.starts_with("Basic realm="), "{challenge}");
    ensure!(answer.header("connection") != Some("close"), "{answer:?}");
    let status = answer.header("proxy-status").context("RFC 9209")?;
    ensure!(status.starts_with("bailiwick;"), "{status}");
    Ok(())
}

fn no_credentials() -> Result<()> {
    let (world, plugin) = stage()?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    let mut client = RawClient::connect(world.gateway()?)?;
    check_407(&client.tunnel(TARGET, None)?, "credentials_missing")?;
    // git and Java send credentials only now, on this very connection.
    assert_eq!(client.tunnel(TARGET, Some(&run.credentials))?.status, 200);
    let event = recorded(&world, "credentials_missing")?;
    assert_eq!(event["attribution"], "none", "{event:#}");
    assert!(event.get("plugin_id").is_none(), "never guessed: {event:#}");
    assert_eq!(event["destination_host"], "api.weather.example");
    Ok(())
}

fn forged() -> Result<()> {
    let (world, plugin) = stage()?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    for at in [
        0,
        run.credentials.password.len() / 2,
        run.credentials.password.len() - 2,
    ] {
        let mut forged = run.credentials.clone();
        let old = forged.password.as_bytes()[at];
        let new = if old == b'A' { "B" } else { "A" };
        forged.password.replace_range(at..=at, new);
        check_407(&ask(&world, TARGET, Some(&forged))?, "credentials_invalid")?;
    }
    let event = recorded(&world, "credentials_invalid")?;
    assert!(event.get("plugin_id").is_none(), "{event:#}");
    assert!(event["credential_fingerprint"].is_string(), "{event:#}");
    let log = serde_json::to_string(&world.events()?)?;
    assert!(
        !log.contains(&run.credentials.password[..40]),
        "a credential is never written down"
    );
    Ok(())
}

fn borrowed() -> Result<()> {
    let (world, plugin) = stage()?;
    let one = LiveRun::start(&world, &plugin, &[])?;
    let two = LiveRun::start(&world, &plugin, &[])?;
    let mixed = ProxyCredentials {
        user: one.credentials.user.clone(),
        password: two.credentials.password.clone(),
    };
    check_407(&ask(&world, TARGET, Some(&mixed))?, "credentials_invalid")
}

fn replayed() -> Result<()> {
    let (world, plugin) = stage()?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    assert_eq!(ask(&world, TARGET, Some(&run.credentials))?.status, 200);
    let credentials = run.end()?;
    check_407(&ask(&world, TARGET, Some(&credentials))?, "run_ended")?;
    let event = recorded(&world, "run_ended")?;
    let fingerprint = event["credential_fingerprint"]
        .as_str()
        .context("a fingerprint")?;
    // A finding in the run's report, by fingerprint, that stands against nobody.
    let audit = world.cli(["audit", "--dry-run"])?.json()?;
    let report = crate::story::artifact_report(&audit, &plugin)?;
    let finding = report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|finding| finding["reason"] == "credentials_replayed")
        .with_context(|| format!("{report:#}"))?;
    ensure!(
        finding["fix"]
            .as_str()
            .is_some_and(|fix| fix.contains(fingerprint)),
        "{finding:#}"
    );
    assert_ne!(report["verdict"], "non_conforming", "{report:#}");
    let notices = audit["notices"].to_string();
    ensure!(
        notices.contains("credentials_replayed") && notices.contains(&credentials.user),
        "{notices}"
    );
    Ok(())
}

fn expired() -> Result<()> {
    let (world, plugin) = stage()?;
    let run = LiveRun::start(&world, &plugin, &["--valid-for", "1"])?;
    let mut last = None;
    wait_until("the token to expire", || {
        last = ask(&world, TARGET, Some(&run.credentials)).ok();
        last.as_ref().is_some_and(|answer| answer.status == 407)
    })?;
    check_407(&last.context("answered")?, "credentials_expired")
}

fn malformed() -> Result<()> {
    let (world, plugin) = stage()?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    for target in [
        "api.weather.example",
        "api.weather.example:0",
        "api.weather.example:0443",
        "api.weather.example..:443",
        "user:pw@api.weather.example:443",
        "0x7f.1:443",
        "2130706433:443",
        "[::1%eth0]:443",
        "a%2eb.example:443",
    ] {
        let answer = ask(&world, target, Some(&run.credentials))?;
        assert_eq!(
            (answer.status, answer.reason()),
            (400, "malformed"),
            "{target}: {answer:?}"
        );
    }
    let event = recorded(&world, "malformed")?;
    assert!(event["raw_target"].is_string(), "{event:#}");
    let log = serde_json::to_string(&world.events()?)?;
    assert!(
        !log.contains("user:pw"),
        "credentials in a target are never logged"
    );
    // A request that is meant for a web server never reaches anything of ours.
    let mut client = RawClient::connect(world.gateway()?)?;
    client.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    assert_eq!(client.answer()?.status, 400);
    Ok(())
}

fn floor() -> Result<()> {
    let (world, plugin) = stage()?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    let config = world.configuration()?;
    let own = [
        world.gateway()?.to_string(),
        config["gateway"]["admin"].as_str().context("admin")?.to_owned(),
        config["control"]["listen"]
            .as_str()
            .context("control")?
            .to_owned(),
    ];
    let foreign = [
        "169.254.169.254:80",
        "10.0.0.1:443",
        "[::ffff:169.254.169.254]:80",
        "[64:ff9b::a9fe:a9fe]:80",
    ];
    for target in own.iter().map(String::as_str).chain(foreign) {
        let answer = ask(&world, target, Some(&run.credentials))?;
        assert_eq!(
            (answer.status, answer.reason()),
            (403, "floor"),
            "{target}: {answer:?}"
        );
    }
    let event = recorded(&world, "floor")?;
    assert_eq!(event["decision"], "deny", "{event:#}");
    Ok(())
}
