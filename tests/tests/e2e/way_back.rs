//! The owner's way back: a build that mends a finding, and an appeal against one.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, Scenario, World, run, wait_until};
use serde_json::Value;

use crate::story::artifact_report;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_build_that_mends_a_finding_comes_in_on_the_fast_lane_and_a_night_closes_it",
        needs: &[Peer::Curl, Peer::Cosign],
        run: mended,
    },
    Scenario {
        name: "an_appeal_that_is_granted_lifts_the_hold_and_protects_the_plugin",
        needs: &[Peer::Curl],
        run: granted,
    },
];

fn visit(world: &World, plugin: &Plugin, host: &str) -> Result<()> {
    let url = format!("https://{host}/");
    world
        .run_plugin(plugin, ["curl", "-fsS", "--max-time", "60", &url])?
        .expect(0)?;
    Ok(())
}

/// A site where a build of the medium tier went where it did not say, and was put on hold. The id of
/// the finding.
fn found(world: &mut World) -> Result<(Plugin, String)> {
    world.origin(&["paste.example"])?;
    world.receive_mail()?;
    world.serve()?;
    let plugin = world.plugin("acme.weather").declares(&[]).admit("medium")?;
    for _ in 0..2 {
        visit(world, &plugin, "paste.example")?;
    }
    let audit = world.cli(["audit"])?.expect(1)?.json()?;
    let report = artifact_report(&audit, &plugin)?;
    let path = report["report"].as_str().context("the report's file")?;
    let shown = world.ok(["report", "show", path])?;
    let id = shown["findings"][0]["id"]
        .as_str()
        .context("a finding")?
        .to_owned();
    Ok((plugin, id))
}

fn letter_with(world: &World, to: &str, words: &str) -> bool {
    world
        .mails()
        .iter()
        .any(|mail| mail.to.iter().any(|reader| reader == to) && mail.message.contains(words))
}

fn mended() -> Result<()> {
    let mut world = World::new()?;
    let (old, finding) = found(&mut world)?;
    // More than the finding needs is not for the fast lane.
    let greedy = world
        .plugin("acme.weather")
        .declares(&["paste.example", "elsewhere.example"])
        .bytes("greedy.whl", b"a greedy build")?
        .sign()?;
    let admit = |plugin: &Plugin| {
        world.cli([
            "admit".as_ref(),
            plugin.artifact.as_os_str(),
            "--mends".as_ref(),
            finding.as_ref(),
        ])
    };
    let refused = admit(&greedy)?;
    ensure!(
        refused.status != Some(0) && refused.error_line()?.contains("allowed more"),
        "{refused:?}"
    );
    let mended = world
        .plugin("acme.weather")
        .declares(&["paste.example"])
        .bytes("mended.whl", b"a mended build")?
        .sign()?;
    let admitted = admit(&mended)?.expect(0)?.json()?;
    let mends = &admitted["mends"];
    ensure!(
        mends["lane"] == "fast"
            && mends["declares_it"] == true
            && mends["mends_digest"] == old.digest.as_str(),
        "{admitted:#}"
    );
    ensure!(
        mends["difference"]
            .as_str()
            .is_some_and(|text| text.contains("paste.example")),
        "{admitted:#}"
    );
    let open = world.ok(["remediation", "list", "--open"])?;
    ensure!(
        open["remediations"]
            .as_array()
            .is_some_and(|list| list.len() == 1),
        "{open:#}"
    );
    // It runs, goes where it now says, and the next night closes what was open.
    visit(&world, &mended, "paste.example")?;
    world.cli(["audit"])?;
    let all = world.ok(["remediation", "list"])?;
    let closed = &all["remediations"][0];
    ensure!(closed["closed_at"].is_string(), "{all:#}");
    let folder = Path::new(closed["folder"].as_str().context("a folder")?).to_owned();
    // Signed about both builds.
    run(Peer::Cosign
        .command()
        .args(["verify-blob-attestation", "--insecure-ignore-tlog", "--bundle"])
        .arg(folder.join("closing.sigstore.json"))
        .arg("--key")
        .arg(world.site().join("keys/auditor.pub"))
        .args(["--type", "https://bailiwick.dev/remediation/v1"])
        .arg(&mended.artifact))?
    .expect(0)?;
    wait_until("the letter that says so", || {
        letter_with(&world, "acme.weather@owner.example", "mended")
    })
}

fn granted() -> Result<()> {
    let mut world = World::new()?;
    let (plugin, finding) = found(&mut world)?;
    let held = world.ok(["crl", "why", &plugin.digest])?;
    ensure!(held["deciding"]["action"] == "hold", "{held:#}");
    let unknown = "0".repeat(32);
    let refused = world.cli(["appeal", "open", &unknown, "--reason", "evidence_wrong"])?;
    ensure!(refused.status != Some(0), "{refused:?}");
    let open = [
        "appeal",
        "open",
        &finding,
        "--reason",
        "agreed_exception",
        "--statement",
        "we had agreed",
    ];
    let appeal = world.ok(open)?;
    let number = appeal["appeal_id"].as_i64().context("a number")?.to_string();
    ensure!(
        appeal["decide_by"].is_string() && appeal["overdue"] == serde_json::json!([]),
        "{appeal:#}"
    );
    ensure!(world.cli(open)?.status != Some(0), "one open appeal per finding");
    world.ok(["appeal", "acknowledge", &number])?;
    world.ok(["appeal", "respond", &number, "--text", "we look into it"])?;
    let decided = world.ok(["appeal", "decide", &number, "granted", "--text", "you are right"])?;
    ensure!(
        decided["protected_until"].is_string() && decided["crl_number"].is_u64(),
        "{decided:#}"
    );
    ensure!(
        world
            .cli(["appeal", "decide", &number, "denied", "--text", "no"])?
            .status
            != Some(0),
        "a decision stays"
    );
    let lifted = world.ok(["crl", "why", &plugin.digest])?;
    ensure!(lifted["deciding"]["action"] != "hold", "{lifted:#}");
    wait_until("the owner to be told", || {
        letter_with(&world, "acme.weather@owner.example", "granted")
    })?;
    // The same again: reported, and nothing is done without a person.
    for _ in 0..2 {
        visit(&world, &plugin, "paste.example")?;
    }
    let audit = world.cli(["audit"])?.expect(1)?.json()?;
    // What was done before the appeal is on record; nothing was done since.
    let lists: Vec<&Value> = audit["acts"]
        .as_array()
        .context("acts")?
        .iter()
        .map(|act| &act["crl_number"])
        .collect();
    ensure!(
        lists
            .iter()
            .all(|list| list.as_u64() < decided["crl_number"].as_u64()),
        "{audit:#}"
    );
    let why = world.ok(["crl", "why", &plugin.digest])?;
    ensure!(why["deciding"]["action"] != "hold", "{why:#}");
    Ok(())
}
