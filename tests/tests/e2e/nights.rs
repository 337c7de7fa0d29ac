//! Nights by schedule: one that was missed is held once, in its place.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Scenario, World, run, wait_until};
use toml::Value;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "nights_missed_while_down_are_held_in_order_each_once",
    needs: &[Peer::Python],
    run: missed_nights,
}];

/// Moves the day on which the site was opened three days back, as if nobody had served it since.
const THREE_DAYS_AGO: &str = "
import datetime, sqlite3, sys
moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)
with sqlite3.connect(sys.argv[1]) as db:
    done = db.execute('UPDATE settings SET value = ? WHERE name = ?',
                      (moment.strftime('%Y-%m-%dT%H:%M:%S.%fZ'), 'opened'))
    assert done.rowcount == 1
";

/// One line per night: from, to, whether it was finished.
const NIGHTS: &str = "
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    for night in db.execute('SELECT from_us, to_us, finished_at_us IS NOT NULL FROM nights ORDER BY night_id'):
        print(*night)
";

const DAY_US: i64 = 24 * 3600 * 1_000_000;

pub struct Night {
    from: i64,
    to: i64,
    pub finished: bool,
}

pub fn python(world: &World, script: &str) -> Result<String> {
    let database = world.site().join("data/bailiwick.db");
    let mut command = Command::new(Peer::Python.find().map_err(anyhow::Error::msg)?);
    command.arg("-c").arg(script).arg(database);
    Ok(run(&mut command)?.expect(0)?.text())
}

pub fn nights(world: &World) -> Result<Vec<Night>> {
    let night = |line: &str| {
        let fields: Vec<i64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [from, to, finished] = fields[..] else {
            anyhow::bail!("{line:?}")
        };
        Ok(Night {
            from,
            to,
            finished: finished == 1,
        })
    };
    python(world, NIGHTS)?.lines().map(night).collect()
}

fn missed_nights() -> Result<()> {
    let mut world = World::new()?;
    world.configure(|table| {
        let mut audit = toml::Table::new();
        audit.insert("schedule".into(), Value::from("0 2 * * *"));
        audit.insert("time_zone".into(), Value::from("UTC"));
        table.insert("audit".into(), Value::Table(audit));
        Ok(())
    })?;
    world.ok(["status"])?;
    python(&world, THREE_DAYS_AGO)?;

    world.serve()?;
    wait_until("three nights to be held", || {
        nights(&world).is_ok_and(|nights| nights.len() >= 3 && nights.iter().all(|night| night.finished))
    })?;
    let held = nights(&world)?;
    for pair in held.windows(2) {
        ensure!(pair[0].to == pair[1].from, "nights adjoin");
    }
    let last = held.last().context("nights were held")?;
    ensure!(last.to - last.from == DAY_US, "a night is a day");

    // The next start finds nothing left to do.
    world.stop()?;
    world.serve()?;
    let status = world.ok(["status"])?;
    ensure!(status["last_night"]["outcome"].is_string(), "{status:#}");
    let again: Vec<i64> = nights(&world)?
        .iter()
        .take(held.len())
        .map(|night| night.from)
        .collect();
    ensure!(
        again == held.iter().map(|night| night.from).collect::<Vec<_>>(),
        "each night is held once"
    );
    Ok(())
}
