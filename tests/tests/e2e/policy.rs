//! The policy at work: signed, tried out, acting as events arrive, waiting for a second person, and
//! finishing what was interrupted.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{
    Peer, Plugin, RawClient, RawServer, Scenario, World, copy_folder, run, wait_until, wait_within,
};
use serde_json::Value;
use toml::Table;

use crate::story::{artifact_report, findings};
use crate::tokens::LiveRun;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_policy_is_signed_and_a_changed_one_is_refused",
        needs: &[Peer::Python],
        run: signed,
    },
    Scenario {
        name: "the_load_gate_asks_for_an_approval_where_the_policy_does",
        needs: &[],
        run: approval,
    },
    Scenario {
        name: "what_would_stop_too_much_waits_for_a_second_person",
        needs: &[],
        run: second_person,
    },
    Scenario {
        name: "a_breach_is_acted_on_as_it_happens_and_the_night_agrees",
        needs: &[],
        run: live,
    },
    Scenario {
        name: "a_run_of_another_class_of_data_is_a_breach",
        needs: &[],
        run: data_class,
    },
    Scenario {
        name: "what_if_says_what_would_break_and_what_would_be_refused",
        needs: &[],
        run: what_if,
    },
    Scenario {
        name: "a_manifest_is_suggested_from_what_runs_did",
        needs: &[],
        run: suggestion,
    },
    Scenario {
        name: "the_same_inputs_give_the_same_bytes_in_two_processes",
        needs: &[],
        run: reproducible,
    },
    Scenario {
        name: "a_night_that_was_killed_is_finished_and_nothing_is_done_or_published_twice",
        needs: &[Peer::Python],
        run: killed,
    },
];

/// Changes the site's policy, and has a running server read it.
pub fn edit_policy(world: &World, edit: impl FnOnce(&mut Table)) -> Result<()> {
    let path = world.site().join("policy.toml");
    let mut policy: Table = std::fs::read_to_string(&path)?.parse()?;
    edit(&mut policy);
    // Every change is another version.
    let version = policy["version"].as_integer().unwrap_or(0);
    policy.insert("version".into(), (version + 1).into());
    std::fs::write(&path, toml::to_string(&policy)?)?;
    Ok(())
}

pub fn medium(policy: &mut Table) -> &mut Table {
    policy["tiers"]["medium"]["on_breach"]
        .as_table_mut()
        .expect("the shipped policy has the clause")
}

/// A served site where `names` lead to one server.
fn served(names: &[&str]) -> Result<(World, RawServer)> {
    let mut world = World::new()?;
    let server = RawServer::start()?;
    world.lead(names, &[server.address().to_string()])?;
    world.serve()?;
    Ok((world, server))
}

/// A tunnel that stands.
fn tunnel(world: &World, run: &LiveRun, server: &RawServer, target: &str) -> Result<RawClient> {
    let mut client = RawClient::connect(world.gateway()?)?;
    let answer = client.tunnel(target, Some(&run.credentials))?;
    ensure!(answer.status == 200, "{target}: {answer:?}");
    server.accept()?;
    Ok(client)
}

/// A tunnel that stands and in which the client has said something, with its other end.
fn spoken(world: &World, run: &LiveRun, server: &RawServer, target: &str) -> Result<(RawClient, TcpStream)> {
    let mut client = RawClient::connect(world.gateway()?)?;
    let answer = client.tunnel(target, Some(&run.credentials))?;
    ensure!(answer.status == 200, "{target}: {answer:?}");
    let other_end = server.accept()?;
    client.send(b"SSH-2.0-test\r\n")?;
    Ok((client, other_end))
}

/// Two tunnels that came and went.
fn breach_twice(world: &World, run: &LiveRun, server: &RawServer, target: &str) -> Result<()> {
    for _ in 0..2 {
        drop(tunnel(world, run, server, target)?);
    }
    Ok(())
}

pub fn acts(world: &World, action: &str) -> Result<Vec<Value>> {
    let script = "
import json, sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.row_factory = sqlite3.Row
    print(json.dumps([dict(row) for row in db.execute('SELECT * FROM acts ORDER BY act_id')]))
";
    let acts: Vec<Value> = serde_json::from_str(&crate::nights::python(world, script)?)?;
    Ok(acts.into_iter().filter(|act| act["action"] == action).collect())
}

fn signed() -> Result<()> {
    let world = World::new()?;
    let path = world.site().join("policy.toml");
    let missing = world.cli(["policy", "verify"])?.expect(1)?.json()?;
    ensure!(missing["code"] == "signature_missing", "{missing:#}");

    let written = world.ok(["policy", "sign"])?;
    ensure!(Path::new(written["signature"].as_str().unwrap_or_default()).is_file());
    let verified = world.ok(["policy", "verify"])?;
    ensure!(verified["signer"] == written["signer"], "{verified:#}");
    ensure!(world.ok(["policy", "show"])?["signed_by"] == written["signer"]);
    ensure!(world.ok(["policy", "lint"])?["ok"] == true);
    // Nobody served yet, so there is no log to be sure of; the policy is in order.
    world.cli(["audit", "--dry-run"])?.expect(3)?;

    let before = world.path("before.toml");
    std::fs::copy(&path, &before)?;
    edit_policy(&world, |policy| {
        medium(policy).insert("live".into(), true.into());
    })?;
    let changed = world.cli(["policy", "verify"])?.expect(1)?.json()?;
    ensure!(changed["code"] == "policy_changed", "{changed:#}");
    let refused = world.cli(["audit", "--dry-run"])?.expect(2)?;
    ensure!(
        refused.error_line()?.contains("changed after it was signed"),
        "{}",
        refused.stderr
    );
    let difference = world.ok(["policy".as_ref(), "diff".as_ref(), before.as_os_str()])?;
    ensure!(
        difference["changes"][0]["field"] == "tiers.medium.on_breach.live",
        "{difference:#}"
    );
    world.ok(["policy", "sign"])?;
    world.ok(["policy", "verify"])?;
    world.cli(["audit", "--dry-run"])?.expect(3)?;

    // What came into force, and who signed it, is on record.
    let acts = acts(&world, "policy")?;
    let signed = acts.iter().filter(|act| {
        act["note"]
            .as_str()
            .is_some_and(|note| note.contains("signed by SHA256:"))
    });
    ensure!(signed.count() >= 1, "{acts:#?}");

    // A policy that was signed is followed by no unsigned one, nor does a site that asks for signatures
    // follow one.
    std::fs::remove_file(world.site().join("policy.toml.sigstore.json"))?;
    let gone = world.cli(["audit", "--dry-run"])?.expect(2)?;
    ensure!(
        gone.error_line()?.contains("the one that was in force before it"),
        "{}",
        gone.stderr
    );
    world.configure(|table| {
        table.insert("policy_signature".into(), "required".into());
        Ok(())
    })?;
    let unsigned = world.cli(["audit", "--dry-run"])?.expect(2)?;
    ensure!(
        unsigned.error_line()?.contains("is not signed"),
        "{}",
        unsigned.stderr
    );
    Ok(())
}

fn approval() -> Result<()> {
    let world = World::new()?;
    edit_policy(&world, |policy| {
        let high = policy["tiers"]["high"].as_table_mut().expect("a table");
        high.insert("approval_required".into(), true.into());
    })?;
    let plugin = world.plugin("acme.weather").declares(&[]).sign()?;
    let refused = world.admit(&plugin, "high")?.expect(1)?.json()?;
    ensure!(refused["code"] == "approval_missing", "{refused:#}");
    world.ok([
        "approve".as_ref(),
        plugin.artifact.as_os_str(),
        "--tier".as_ref(),
        "high".as_ref(),
    ])?;
    world.admit(&plugin, "high")?.expect(0)?;
    // The other tiers ask for none.
    let other = world.plugin("acme.other").declares(&[]).sign()?;
    world.admit(&other, "medium")?.expect(0)?;
    Ok(())
}

fn second_person() -> Result<()> {
    let (world, server) = served(&["paste.example"])?;
    edit_policy(&world, |policy| {
        medium(policy).insert("max_blast_radius".into(), 1.into());
    })?;
    let plugins = ["acme.one", "acme.two"].map(|id| world.plugin(id).declares(&[]).admit("medium"));
    let plugins = plugins.into_iter().collect::<Result<Vec<_>>>()?;
    let runs = plugins.iter().map(|plugin| LiveRun::start(&world, plugin, &[]));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    for run in &runs {
        breach_twice(&world, run, &server, "paste.example:443")?;
    }
    let would = world.cli(["audit", "--dry-run"])?.expect(1)?.json()?;
    ensure!(would["proposals"][0]["measure"] == "await_approval", "{would:#}");
    ensure!(world.ok(["approve-act", "--list"])?["waiting"] == serde_json::json!([]));

    world.cli(["audit"])?.expect(1)?;
    world.cli(["audit"])?.expect(1)?;
    let waiting = world.ok(["approve-act", "--list"])?;
    let listed = waiting["waiting"].as_array().context("a list")?;
    ensure!(listed.len() == 2, "asked once each: {waiting:#}");
    ensure!(acts(&world, "quarantine")?.is_empty());
    let first = listed.last().context("two wait")?;
    let number = first["waiting_id"].to_string();

    let decide = |who: &str, number: &str, more: &[&str]| {
        let words = ["--format", "json", "approve-act", number];
        run(world.command(words).args(more).env("USER", who))
    };
    let same = decide("ops", &number, &[])?.expect(1)?.json()?;
    ensure!(same["code"] == "same_person", "{same:#}");
    let approved = decide("ada", &number, &["--note", "seen"])?.expect(0)?.json()?;
    ensure!(approved["state"] == "approved", "{approved:#}");
    let done = acts(&world, "quarantine")?;
    ensure!(done.len() == 1 && done[0]["who"] == "ada", "{done:?}");
    ensure!(done[0]["clause"] == "tiers.medium.on_breach" && done[0]["enabled_by"] == "ops");
    let target = first["artifact_digest"].as_str().context("a digest")?;
    let why = world.ok(["crl", "why", target])?;
    ensure!(why["deciding"]["action"] == "hold", "{why:#}");

    let other = listed[0]["waiting_id"].to_string();
    let rejected = decide("ops", &other, &["--reject"])?.expect(0)?.json()?;
    ensure!(rejected["state"] == "rejected", "{rejected:#}");
    ensure!(acts(&world, "quarantine")?.len() == 1);
    Ok(())
}

fn make_live(world: &World) -> Result<()> {
    edit_policy(world, |policy| {
        let clause = medium(policy);
        clause.insert("live".into(), true.into());
        clause.insert("within_s".into(), 600.into());
    })?;
    world.ok(["reload"])?;
    Ok(())
}

fn live() -> Result<()> {
    let (world, server) = served(&["paste.example", "ok.example"])?;
    make_live(&world)?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["ok.example"])
        .admit("medium")?;
    let honest = world
        .plugin("acme.honest")
        .declares(&["tcp://ok.example:443"])
        .admit("medium")?;
    let (run, other) = (
        LiveRun::start(&world, &plugin, &[])?,
        LiveRun::start(&world, &honest, &[])?,
    );
    let _kept = spoken(&world, &other, &server, "ok.example:443")?;
    let one = spoken(&world, &run, &server, "paste.example:443")?;
    ensure!(
        acts(&world, "quarantine")?.is_empty(),
        "one connection corroborates nothing"
    );
    let two = spoken(&world, &run, &server, "paste.example:443")?;
    wait_until("the artifact to be held", || {
        acts(&world, "quarantine").is_ok_and(|acts| acts.len() == 1)
    })?;
    // Its tunnels, which never closed by themselves, are cut; nobody else's is.
    for (mut cut, _server) in [one, two] {
        cut.drain();
    }
    let act = acts(&world, "quarantine")?.remove(0);
    ensure!(act["target"] == plugin.digest.as_str(), "{act}");
    ensure!(
        act["who"] == "policy" && act["clause"] == "tiers.medium.on_breach" && act["enabled_by"] == "ops"
    );
    let number = act["crl_number"].clone();

    // The night says the same, cites the act and does not repeat it.
    wait_until("the audit that the act set off", || {
        let listed = world.ok(["report", "list"]).unwrap_or_default();
        listed["reports"]
            .as_array()
            .is_some_and(|reports| !reports.is_empty())
    })?;
    let audit = audit_when_free(&world)?;
    let report = artifact_report(&audit, &plugin)?;
    ensure!(report["verdict"] == "non_conforming", "{audit:#}");
    let cited = report["actions"].as_array().context("actions")?;
    ensure!(cited.len() == 1 && cited[0]["crl_number"] == number, "{report:#}");
    ensure!(
        artifact_report(&audit, &honest)?["verdict"] == "conforming",
        "{audit:#}"
    );
    ensure!(acts(&world, "quarantine")?.len() == 1, "once");
    let signed = world.ok(["report", "show", report["report"].as_str().context("a path")?])?;
    let taken = &signed["actions"][0];
    ensure!(
        taken["action"] == "quarantine" && taken["at"].is_string(),
        "{signed:#}"
    );
    Ok(())
}

/// An audit by hand, as soon as no other is under way.
fn audit_when_free(world: &World) -> Result<Value> {
    let mut audit = None;
    wait_until("an audit by hand", || {
        let done = world.cli(["audit"]).and_then(|run| run.expect(1)?.json());
        audit = done.ok().filter(|audit| audit["reports"].is_array());
        audit.is_some()
    })?;
    audit.context("waited for")
}

fn data_class() -> Result<()> {
    let (world, server) = served(&["ok.example"])?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["ok.example:443"])
        .says("data_classes", serde_json::json!(["official"]))
        .admit("high")?;
    let fine = LiveRun::start(&world, &plugin, &["--data-class", "official"])?;
    let wrong = LiveRun::start(&world, &plugin, &["--data-class", "secret"])?;
    for run in [&fine, &wrong] {
        drop(tunnel(&world, run, &server, "ok.example:443")?);
    }
    let audit = world.cli(["audit", "--dry-run"])?.expect(1)?.json()?;
    let found = findings(artifact_report(&audit, &plugin)?);
    ensure!(
        found == [("data_class_breach".to_owned(), "ok.example".to_owned(), 443)],
        "{audit:#}"
    );
    let reports = audit["reports"].as_array().context("reports")?;
    let of_runs = reports.iter().filter(|report| report["run_id"].is_string());
    let breaching = of_runs.filter(|report| report["verdict"] == "non_conforming");
    ensure!(breaching.count() == 1, "{audit:#}");
    Ok(())
}

fn draft(world: &World, plugin: &Plugin, egress: &[&str]) -> Result<std::path::PathBuf> {
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&plugin.manifest)?)?;
    manifest["allowed_egress"] = serde_json::json!(egress);
    let path = world.path("draft.json");
    std::fs::write(&path, manifest.to_string())?;
    Ok(path)
}

fn what_if() -> Result<()> {
    let (world, server) = served(&["one.example", "two.example"])?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["one.example", "two.example"])
        .admit("high")?;
    let run = LiveRun::start(&world, &plugin, &[])?;
    for target in ["one.example:443", "two.example:443", "two.example:443"] {
        drop(tunnel(&world, &run, &server, target)?);
    }
    let path = draft(&world, &plugin, &["one.example"])?;
    let narrower = world.cli(["audit".as_ref(), "--manifest".as_ref(), path.as_os_str()])?;
    let narrower = narrower.expect(1)?.json()?;
    let changes = narrower["changes"].as_array().context("changes")?;
    ensure!(
        changes.len() == 1 && changes[0]["would"] == "breach",
        "{narrower:#}"
    );
    ensure!(changes[0]["host"] == "two.example" && changes[0]["connections"] == 2);

    let low = world.cli(["audit", "--tier", "low"])?.expect(0)?.json()?;
    let denied = low["changes"].as_array().context("changes")?;
    ensure!(
        denied.len() == 2 && denied.iter().all(|change| change["would"] == "denied"),
        "{low:#}"
    );
    ensure!(
        denied[0]["by"] == "tier low: the operators' list does not cover it",
        "{low:#}"
    );

    edit_policy(&world, |policy| {
        let low = policy["tiers"]["low"].as_table_mut().expect("a table");
        low.insert("allow".into(), vec!["one.example"].into());
    })?;
    let drafted = world.path("draft.toml");
    std::fs::rename(world.site().join("policy.toml"), &drafted)?;
    std::fs::write(
        world.site().join("policy.toml"),
        "version = 3\ndefault_tier = \"low\"\n",
    )?;
    let both = [
        "audit",
        "--tier",
        "low",
        "--policy",
        drafted.to_str().context("UTF-8")?,
    ];
    let listed = world.cli(both)?.expect(0)?.json()?;
    let denied = listed["changes"].as_array().context("changes")?;
    ensure!(
        denied.len() == 1 && denied[0]["host"] == "two.example",
        "{listed:#}"
    );
    // Nothing of it was written.
    ensure!(world.ok(["report", "list"])?["reports"] == serde_json::json!([]));
    Ok(())
}

fn suggestion() -> Result<()> {
    let names = ["a", "b", "c", "d"].map(|label| format!("{label}.cdn.example.com"));
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.push("ok.example");
    let (world, server) = served(&all)?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["ok.example", "unused.example"])
        .admit("high")?;
    for name in &all {
        let run = LiveRun::start(&world, &plugin, &[])?;
        drop(tunnel(&world, &run, &server, &format!("{name}:443"))?);
    }
    let out = world.path("suggested.json");
    let suggested = world.ok([
        "manifest".as_ref(),
        "suggest".as_ref(),
        "acme.weather".as_ref(),
        "--out".as_ref(),
        out.as_os_str(),
    ])?;
    ensure!(suggested["runs"] == 5, "{suggested:#}");
    let written: Value = serde_json::from_slice(&std::fs::read(&out)?)?;
    ensure!(
        written["allowed_egress"] == serde_json::json!(["*.cdn.example.com", "ok.example"]),
        "{written:#}"
    );
    ensure!(
        suggested["removed"] == serde_json::json!(["unused.example"]),
        "{suggested:#}"
    );
    ensure!(
        suggested["lints"][0]["rule"] == "wildcard-without-purpose",
        "{suggested:#}"
    );
    // It is a draft that the night would have been content with.
    let audit = world.cli(["audit".as_ref(), "--manifest".as_ref(), out.as_os_str()])?;
    audit.expect(0)?;
    let one = world.ok(["manifest", "suggest", "acme.weather", "--runs", "1"])?;
    ensure!(
        one["runs"] == 1 && one["egress"].as_array().is_some_and(|rows| rows.len() == 1),
        "{one:#}"
    );
    Ok(())
}

/// Every file below the folder of reports, by its path there.
fn report_files(site: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let reports = site.join("data/reports");
    let mut files = BTreeMap::new();
    for file in crate::demo::files(&reports) {
        files.insert(file.strip_prefix(&reports)?.to_owned(), std::fs::read(&file)?);
    }
    Ok(files)
}

fn reproducible() -> Result<()> {
    let (mut world, server) = served(&["ok.example", "paste.example"])?;
    let since = world.ok(["status"])?["now"]
        .as_str()
        .context("the time")?
        .to_owned();
    for (id, target) in [("acme.one", "ok.example:443"), ("acme.two", "paste.example:443")] {
        let plugin = world
            .plugin(id)
            .declares(&["tcp://ok.example:443"])
            .admit("high")?;
        let run = LiveRun::start(&world, &plugin, &[])?;
        breach_twice(&world, &run, &server, target)?;
    }
    let until = world.ok(["status"])?["now"]
        .as_str()
        .context("the time")?
        .to_owned();
    world.stop()?;

    // Three processes, each with a copy of its own: nothing but the inputs is the same.
    let audit = |name: &str| {
        let site = world.path(name);
        copy_folder(&world.site(), &site)?;
        let mut command = std::process::Command::new(bailiwick_tests::bailiwick());
        command.arg("--config").arg(site.join("bailiwick.toml"));
        command.args(["--format", "json", "audit", "--since", &since, "--until", &until]);
        world.prepare_client(&mut command);
        run(&mut command)?.expect(1)?;
        report_files(&site)
    };
    let first = audit("one")?;
    ensure!(
        first.keys().any(|path| path.ends_with("report.sigstore.json")),
        "{:?}",
        first.keys()
    );
    ensure!(
        first.keys().any(|path| path.ends_with("night.sigstore.json")),
        "{:?}",
        first.keys()
    );
    ensure!(
        first
            .keys()
            .any(|path| path.extension().is_some_and(|end| end == "zst"))
    );
    for again in ["two", "three"] {
        let other = audit(again)?;
        ensure!(first.keys().eq(other.keys()), "the same files");
        for (path, bytes) in &first {
            ensure!(other.get(path) == Some(bytes), "{} differs", path.display());
        }
    }
    Ok(())
}

/// How many plugins the killed night reports on: enough that it is caught at work.
const PLUGINS: usize = 12;

fn killed() -> Result<()> {
    let (mut world, server) = served(&["paste.example"])?;
    world.receive_mail()?;
    let mut plugins = Vec::new();
    for number in 0..PLUGINS {
        let plugin = world
            .plugin(&format!("acme.plugin-{number}"))
            .declares(&[])
            .admit("medium")?;
        let run = LiveRun::start(&world, &plugin, &[])?;
        breach_twice(&world, &run, &server, "paste.example:443")?;
        plugins.push(plugin);
    }
    world.stop()?;
    // All of it lies in one period, which ends with the next minute.
    let minute = std::time::UNIX_EPOCH.elapsed()?.as_secs() / 60 + 1;
    world.configure(|table| {
        let mut audit = Table::new();
        let line = format!("{} {} * * *", minute % 60, minute / 60 % 24);
        audit.insert("schedule".into(), line.into());
        audit.insert("time_zone".into(), "UTC".into());
        table.insert("audit".into(), audit.into());
        Ok(())
    })?;
    let reports = world.site().join("data/reports");
    world.serve()?;
    wait_within(Duration::from_secs(150), "the first report of a night", || {
        crate::demo::files(&reports)
            .iter()
            .any(|file| file.ends_with("report.sigstore.json"))
    })?;
    world.kill_server()?;
    world.serve()?;
    wait_within(Duration::from_secs(150), "every breach to be acted on", || {
        acts(&world, "quarantine").is_ok_and(|acts| acts.len() >= PLUGINS)
    })?;
    wait_within(Duration::from_secs(150), "the nights to be finished", || {
        crate::nights::nights(&world).is_ok_and(|nights| nights.iter().all(|night| night.finished))
    })?;

    let held = acts(&world, "quarantine")?;
    ensure!(held.len() == PLUGINS, "each once: {held:?}");
    let listed = world.ok(["report", "list"])?;
    let listed = listed["reports"].as_array().context("reports")?;
    for plugin in &plugins {
        let own = listed.iter().filter(|report| {
            report["artifact_digest"] == plugin.digest.as_str()
                && report["run_id"].is_null()
                && report["verdict"] == "non_conforming"
        });
        let own: Vec<_> = own.collect();
        ensure!(
            own.len() == 1,
            "{} has {} reports of the night",
            plugin.id,
            own.len()
        );
        let path = own[0]["report"].as_str().context("a path")?;
        let signed = world.ok(["report", "show", path])?;
        ensure!(signed["actions"][0]["action"] == "quarantine", "{signed:#}");
        world.ok(["report", "verify", path])?;
    }
    let letters: Vec<_> = world
        .mails()
        .iter()
        .map(|mail| (mail.header("Message-ID"), mail.to.clone()))
        .collect();
    let distinct: std::collections::BTreeSet<_> = letters.iter().collect();
    ensure!(
        distinct.len() == letters.len(),
        "no letter went out twice: {letters:?}"
    );
    Ok(())
}
