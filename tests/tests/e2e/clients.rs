//! Real clients through the gateway: each reads its proxy from the environment in its own way, reaches
//! a declared and an undeclared host, and the audit finds exactly the undeclared one.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use bailiwick_tests::{Peer, Plugin, Scenario, World, run};
use serde_json::Value;

use crate::stock::script;
use crate::story::{artifact_report, findings};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "curl",
        needs: &[Peer::Curl],
        run: || {
            fetches(|url| {
                vec![
                    "curl".into(),
                    "-fsS".into(),
                    "--max-time".into(),
                    "60".into(),
                    url.into(),
                ]
            })
        },
    },
    Scenario {
        name: "curl_on_plain_http",
        needs: &[Peer::Curl],
        run: plain_http,
    },
    Scenario {
        name: "wget",
        needs: &[Peer::Wget],
        run: || {
            // wget reads no variable for its authority.
            fetches(|url| {
                let script =
                    "exec wget --tries=1 --timeout=60 -qO- --ca-certificate=\"$SSL_CERT_FILE\" \"$0\"";
                vec!["sh".into(), "-c".into(), script.into(), url.into()]
            })
        },
    },
    Scenario {
        name: "requests",
        needs: &[Peer::Python],
        run: || fetches(|url| python("requests", url)),
    },
    Scenario {
        name: "httpx",
        needs: &[Peer::Python],
        run: || fetches(|url| python("httpx", url)),
    },
    Scenario {
        name: "urllib",
        needs: &[Peer::Python],
        run: || fetches(|url| python("urllib", url)),
    },
    Scenario {
        name: "git",
        needs: &[Peer::Git],
        run: git,
    },
];

fn python(library: &str, url: &str) -> Vec<OsString> {
    let python = Peer::Python.command().get_program().to_owned();
    vec![python, script("fetch.py").into(), library.into(), url.into()]
}

/// One fetch of each host, through `bailiwick run`.
fn fetches(command: impl Fn(&str) -> Vec<OsString>) -> Result<()> {
    let mut world = World::new()?;
    let declared = world.origin(&["api.weather.example"])?;
    let undeclared = world.origin(&["paste.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["*.weather.example"])
        .admit("high")?;
    world
        .run_plugin(&plugin, command("https://api.weather.example/v1/today"))?
        .expect(0)?;
    assert_eq!(audit(&world, &plugin, 0)?, []);
    world
        .run_plugin(&plugin, command("https://paste.example/new"))?
        .expect(0)?;
    assert_eq!(declared.seen().len(), 1);
    assert_eq!(declared.seen()[0].path, "/v1/today");
    assert_eq!(undeclared.seen().len(), 1);
    // The gateway relays byte for byte: the origin sees the client and nothing of us.
    for seen in declared.seen().iter().chain(&undeclared.seen()) {
        assert_eq!(seen.header("proxy-authorization"), None);
        assert_eq!(seen.header("via"), None);
        assert_eq!(seen.header("x-forwarded-for"), None);
    }
    assert_eq!(undeclared.seen()[0].sni.as_deref(), Some("paste.example"));
    assert_eq!(
        audit(&world, &plugin, 1)?,
        [("undeclared_host".to_owned(), "paste.example".to_owned(), 443)]
    );
    events_tell_it(&world, &plugin, "paste.example", "tls")
}

fn audit(world: &World, plugin: &Plugin, status: i32) -> Result<Vec<(String, String, u64)>> {
    let audit = world.cli(["audit"])?.expect(status)?.json()?;
    Ok(findings(artifact_report(&audit, plugin)?))
}

/// The log names plugin, artifact, run and destination of every connection to `host`.
fn events_tell_it(world: &World, plugin: &Plugin, host: &str, scheme: &str) -> Result<()> {
    let ended = |event: &Value| event["destination_host"] == host && event["kind"] == "close";
    world.wait_for_event("the close event", ended)?;
    let events = world.events()?;
    let about: Vec<&Value> = events
        .iter()
        .filter(|event| event["destination_host"] == host)
        .collect();
    let kinds: Vec<_> = about
        .iter()
        .map(|event| event["kind"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(kinds.first(), Some(&"open"), "{kinds:?}");
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "close").count(),
        1,
        "{kinds:?}"
    );
    for event in &about {
        assert_eq!(event["plugin_id"], plugin.id.as_str(), "{event:#}");
        assert_eq!(event["artifact_digest"], plugin.digest.as_str(), "{event:#}");
        assert_eq!(event["attribution"], "token", "{event:#}");
        assert_eq!(event["decision"], "allow", "{event:#}");
        assert!(event["run_id"].is_string(), "{event:#}");
    }
    let close = events
        .iter()
        .find(|event| ended(event))
        .context("a close event")?;
    assert_eq!(close["scheme"], scheme, "{close:#}");
    assert!(close["bytes_out"].as_u64() > Some(0), "{close:#}");
    assert!(close["bytes_in"].as_u64() > Some(0), "{close:#}");
    Ok(())
}

fn plain_http() -> Result<()> {
    let mut world = World::new()?;
    let origin = world.plain_origin(&["plain.weather.example"])?;
    world.serve()?;
    let fetch = |plugin: &Plugin| {
        world
            .run_plugin(
                plugin,
                [
                    "curl",
                    "-fsS",
                    "--max-time",
                    "60",
                    "http://plain.weather.example/today",
                ],
            )?
            .expect(0)
    };
    // Declared over TLS only: the same host on port 80 in clear is another promise.
    let strict = world
        .plugin("acme.strict")
        .declares(&["plain.weather.example"])
        .admit("high")?;
    fetch(&strict)?;
    let found = audit(&world, &strict, 1)?;
    assert_eq!(
        found,
        [(
            "undeclared_port".to_owned(),
            "plain.weather.example".to_owned(),
            80
        )]
    );
    let frank = world
        .plugin("acme.frank")
        .declares(&["http://plain.weather.example"])
        .admit("high")?;
    fetch(&frank)?;
    let printed = world
        .cli(["audit", "--plugin", "acme.frank"])?
        .expect(0)?
        .json()?;
    assert_eq!(findings(artifact_report(&printed, &frank)?), []);
    let seen = origin.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].path, "/today", "absolute-form became origin-form");
    assert_eq!(seen[0].header("host"), Some("plain.weather.example"));
    assert_eq!(
        seen[0].header("proxy-authorization"),
        None,
        "credentials stay with the gateway"
    );
    assert_eq!(seen[0].header("proxy-connection"), None);
    events_tell_it_of(&world, &frank)
}

fn events_tell_it_of(world: &World, plugin: &Plugin) -> Result<()> {
    let about = |event: &Value| event["plugin_id"] == plugin.id.as_str() && event["scheme"] == "http";
    world.wait_for_event("an event in scheme http", about)
}

/// `git clone` learns of the proxy's credentials only after a 407 on the same connection.
fn git() -> Result<()> {
    let mut world = World::new()?;
    let www = world.path("www");
    repository(&world, &www)?;
    let origin = world.file_origin(&["git.weather.example"], &www)?;
    world.serve()?;
    let plugin = world
        .plugin("acme.fetcher")
        .declares(&["git.weather.example"])
        .admit("high")?;
    let clone = world.path("clone");
    world
        .run_plugin(
            &plugin,
            [
                "git".as_ref(),
                "clone".as_ref(),
                "--quiet".as_ref(),
                "https://git.weather.example/forecast.git".as_ref(),
                clone.as_os_str(),
            ],
        )?
        .expect(0)?;
    assert_eq!(std::fs::read_to_string(clone.join("forecast.txt"))?, "rain\n");
    assert!(
        origin
            .seen()
            .iter()
            .any(|seen| seen.path.starts_with("/forecast.git/info/refs"))
    );
    assert_eq!(audit(&world, &plugin, 0)?, []);
    Ok(())
}

/// A bare repository that any file server can serve.
pub fn repository(world: &World, www: &Path) -> Result<()> {
    std::fs::create_dir_all(www)?;
    let work = world.path("work");
    std::fs::create_dir(&work)?;
    std::fs::write(work.join("forecast.txt"), "rain\n")?;
    let git = |arguments: &[&str]| {
        let mut command = Peer::Git.command();
        world.prepare_client(&mut command);
        for (name, value) in [("AUTHOR", "A"), ("COMMITTER", "C")] {
            command
                .env(format!("GIT_{name}_NAME"), value)
                .env(format!("GIT_{name}_EMAIL"), "a@b.example");
        }
        run(Command::current_dir(&mut command, &work).args(arguments))?.expect(0)
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "-m", "the forecast"])?;
    let bare = www.join("forecast.git");
    let bare = bare.to_str().context("a temporary folder has a plain name")?;
    git(&["clone", "--quiet", "--bare", ".", bare])?;
    git(&["--git-dir", bare, "update-server-info"])?;
    Ok(())
}
