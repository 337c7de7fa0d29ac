//! The corpus of tampered logs, each shown to the real binary; and the honest ones among them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{
    CORPUS, LogFolder, Material, RawClient, Run, Scenario, WitnessServer, World, copy_folder, wait_until,
};
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "each_is_rejected_in_the_right_words_with_status_1_and_the_first_bad_entry",
        needs: &[],
        run: corpus,
    },
    Scenario {
        name: "the_wrong_key_or_name_is_said_to_be_that",
        needs: &[],
        run: wrong_key,
    },
];

/// Two full bundles, and a partial one.
const SIZE: u64 = 600;

/// A stopped site whose log has at least `size` entries, and copies of it, cosigned.
struct Recorded {
    world: World,
    witness: WitnessServer,
    early: PathBuf,
    late: PathBuf,
    vkey: String,
}

fn ask(world: &World, times: u64) -> Result<()> {
    let mut client = RawClient::connect(world.gateway()?)?;
    for _ in 0..times {
        let answer = client.tunnel("api.weather.example:443", None)?;
        ensure!(answer.status == 407, "{answer:?}");
    }
    Ok(())
}

fn recorded(gateway: &str) -> Result<Recorded> {
    let mut world = World::new()?;
    world.configure(|config| {
        let own = config["gateway"].as_table_mut().context("[gateway]")?;
        own.insert("name".into(), gateway.into());
        Ok(())
    })?;
    let witness = WitnessServer::start(&world, "w1.example")?;
    world.witnessed_by(&[witness.named()?], None)?;
    let folder = world.site().join("data/log").join(gateway);
    let mut copies = Vec::new();
    for (size, name) in [(SIZE / 2, "early"), (SIZE, "late")] {
        world.serve()?;
        let there = LogFolder::new(&folder).size().unwrap_or(0);
        ask(&world, size.saturating_sub(there))?;
        wait_until("every entry to be cosigned", || {
            world.ok(["evidence", "verify"]).is_ok_and(|view| {
                let log = &view["logs"][0];
                log["size"].as_u64() >= Some(size) && log["witnesses"]["size"] == log["size"]
            })
        })?;
        world.stop()?;
        let copy = world.path(name);
        copy_folder(&folder, &copy)?;
        copies.push(copy);
    }
    let vkey = world.log_vkey()?;
    let (late, early) = (copies.pop().context("late")?, copies.pop().context("early")?);
    Ok(Recorded {
        world,
        witness,
        early,
        late,
        vkey,
    })
}

impl Recorded {
    /// `evidence verify` for a copy, with the keys, and with what the witness keeps where `held`.
    fn verify(&self, folder: &Path, held: bool, format: &str) -> Result<Run> {
        let (_, witness) = self.witness.named()?;
        let (folder, kept) = (
            folder.display().to_string(),
            self.witness.kept().display().to_string(),
        );
        let mut args = vec!["--format", format, "evidence", "verify", "--dir", &folder];
        args.extend(["--key", &self.vkey, "--witness", &witness]);
        if held {
            args.extend(["--checkpoint", &kept]);
        }
        bailiwick_tests::run(&mut self.world.command(args))
    }
}

fn log_of(run: &Run) -> Result<Value> {
    Ok(run.json()?["logs"][0].clone())
}

fn corpus() -> Result<()> {
    let site = recorded("gw-1")?;
    let (other_run, other_gateway) = (recorded("gw-1")?, recorded("gw-2")?);
    let folders = [&site.late, &site.early, &other_run.late, &other_gateway.late].map(LogFolder::new);
    let [good, early, run, gateway] = &folders;
    let material = Material {
        good,
        early,
        other_run: run,
        other_gateway: gateway,
    };
    for held in [false, true] {
        // The honest log, and an honest earlier copy of it, are never accused.
        let whole = log_of(&site.verify(&site.late, held, "json")?.expect(0)?)?;
        assert_eq!(whole["integrity"], "whole", "{whole:#}");
    }
    let earlier = log_of(&site.verify(&site.early, false, "json")?.expect(0)?)?;
    assert_eq!(earlier["integrity"], "whole", "{earlier:#}");

    let folder = site.world.path("tampered");
    for tampering in CORPUS {
        copy_folder(good.path(), &folder)?;
        let about = || format!("{}, in {}", tampering.name, folder.display());
        let log = LogFolder::new(&folder);
        let expected = (tampering.does)(&log, &material).with_context(about)?;
        if tampering.needs_held {
            // Without anybody who remembers, nothing can be seen, and nothing is claimed.
            let alone = site.verify(&folder, false, "json")?;
            ensure!(matches!(alone.status, Some(0 | 3)), "{}: {alone:?}", about());
            let alone = log_of(&alone)?;
            ensure!(alone["integrity"] != "broken", "{}: {alone:#}", about());
        }
        let run = site
            .verify(&folder, tampering.needs_held, "json")?
            .expect(1)
            .with_context(about)?;
        let found = log_of(&run)?;
        let told = format!("{}: {found:#}", about());
        assert_eq!(found["integrity"], expected.integrity, "{told}");
        assert_eq!(found["first_bad"].as_u64(), expected.first_bad, "{told}");
        if let Some(completeness) = expected.completeness {
            assert_eq!(found["completeness"], completeness, "{told}");
        }
        ensure!(
            run.text().contains(expected.words),
            "{:?} is not in {told}",
            expected.words
        );
        // People are told the same.
        let text = site
            .verify(&folder, tampering.needs_held, "text")?
            .expect(1)?
            .text();
        let words = expected.words.replace("\\\"", "\"");
        ensure!(text.contains(&words), "{words:?} is not in {text}");
        if let Some(index) = expected.first_bad.filter(|_| expected.integrity == "broken") {
            ensure!(text.contains(&format!("at entry {index}")), "{text}");
        }
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn wrong_key() -> Result<()> {
    let (site, other) = (recorded("gw-1")?, recorded("gw-2")?);
    let folder = site.late.display().to_string();
    let verify = |key: &str| {
        let run = site
            .world
            .cli(["evidence", "verify", "--dir", &folder, "--key", key])?
            .expect(1)?;
        log_of(&run)
    };
    let found = verify(&other.vkey)?;
    ensure!(
        found["detail"]
            .to_string()
            .contains("the checkpoint belongs to log"),
        "{found:#}"
    );
    let key = other.world.site().join("keys/gateway.pub").display().to_string();
    let found = verify(&key)?;
    ensure!(
        found["detail"].to_string().contains("not signed by this key"),
        "{found:#}"
    );
    // A checkpoint of another log is a mistake, not a finding.
    let kept = other.witness.kept().display().to_string();
    let args = [
        "evidence",
        "verify",
        "--dir",
        &folder,
        "--key",
        &site.vkey,
        "--checkpoint",
        &kept,
    ];
    let line = site.world.cli(args)?.expect(2)?;
    ensure!(line.error_line()?.contains("belongs to log"), "{line:?}");
    Ok(())
}
