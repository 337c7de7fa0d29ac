//! An archive in a bucket: whatever works from a folder works from there, and a bucket that lies or is
//! away costs nobody anything but time.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{BucketServer, Manner, Peer, RawClient, Scenario, World};
use serde_json::Value;

use crate::archive::{evidence_setting, recorded, verify};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_log_pruned_into_a_bucket_is_verified_read_proven_exported_and_audited_from_there",
        needs: &[Peer::Bucket],
        run: || from_a_bucket(false),
    },
    Scenario {
        name: "a_bucket_is_reached_over_tls_under_the_authority_that_is_named",
        needs: &[Peer::Bucket],
        run: || from_a_bucket(true),
    },
    Scenario {
        name: "a_bucket_that_lies_about_success_archives_nothing_and_lets_nothing_go",
        needs: &[Peer::Bucket],
        run: lying,
    },
    Scenario {
        name: "a_gateway_that_runs_fills_a_bucket_shows_its_log_there_and_outlives_the_bucket",
        needs: &[Peer::Bucket],
        run: running,
    },
    Scenario {
        name: "a_bucket_that_refuses_us_or_is_away_is_said_in_one_sentence",
        needs: &[Peer::Bucket],
        run: refused,
    },
];

fn from_a_bucket(tls: bool) -> Result<()> {
    let mut world = World::new()?;
    let bucket = BucketServer::start(&world, tls)?;
    recorded(&mut world)?;
    for setting in ["archive", "publish_log"] {
        evidence_setting(&world, setting, true.into())?;
    }
    let before = world.ok(["events"])?;

    let archived = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(archived["archive"], "s3://fleet/acme", "{archived:#}");
    let size = verify(&world, 0)?["size"].as_u64().context("a size")?;
    assert_eq!(archived["files"][0]["entries_to"], size - 1, "{archived:#}");
    let again = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(again["files"], serde_json::json!([]), "{again:#}");
    let doctor = world.cli(["doctor"])?.json()?.to_string();
    ensure!(
        doctor.contains("s3://fleet/acme answers, and shows the log"),
        "{doctor}"
    );
    ensure!(
        !world.site().join("data/archive").exists(),
        "a bucket needs no folder"
    );

    let gone = world.ok(["evidence", "prune", "--keep", "0s"])?;
    assert_eq!(gone["bundles_removed"], 1, "{gone:#}");
    let place = std::fs::read_to_string(world.site().join("data/log/gw-1/archive"))?;
    assert_eq!(place, "s3://fleet/acme\n");
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    let first = |events: &Value| events["events"].as_array().map(|all| all[..300].to_vec());
    assert_eq!(first(&world.ok(["events"])?), first(&before));
    world.ok(["evidence", "prove", "7"])?;
    let lines = world.path("export.jsonl");
    let export = ["evidence", "export", "--format", "jsonl", "--output"];
    bailiwick_tests::run(world.command(export).arg(&lines))?.expect(0)?;
    let exported = std::fs::read_to_string(&lines)?.lines().count() as u64;
    ensure!(exported >= size, "{exported} of {size} entries were exported");
    let audited = world.ok(["audit"])?;
    assert_eq!(audited["doubts"], serde_json::json!([]), "{audited:#}");

    // A stranger to the bucket cannot tell, and says so; so does everybody while it is away.
    bucket.behave(Manner::Away)?;
    let away = world.cli(["evidence", "verify"])?.expect(3)?;
    ensure!(
        away.text().contains("the archive does not answer") && away.text().contains("503"),
        "{}",
        away.text()
    );
    let audited = world.cli(["audit"])?.expect(3)?;
    ensure!(
        audited.text().contains("the archive does not answer"),
        "{}",
        audited.text()
    );
    bucket.behave(Manner::Honest)?;
    let key = world.log_vkey()?;
    let folder = world.site().join("data/log/gw-1");
    let mut stranger = world.command(["--format", "json", "evidence", "verify", "--key", &key, "--dir"]);
    let told = bailiwick_tests::run(stranger.arg(&folder))?.expect(3)?;
    ensure!(
        told.text().contains("name it as archive_to under [evidence]"),
        "{}",
        told.text()
    );
    Ok(())
}

fn lying() -> Result<()> {
    let mut world = World::new()?;
    let bucket = BucketServer::start(&world, false)?;
    recorded(&mut world)?;
    for manner in [Manner::Drops, Manner::Changes] {
        bucket.behave(manner)?;
        let told = world.cli(["evidence", "archive", "--all"])?.expect(2)?;
        ensure!(
            told.text().contains("s3://fleet/acme said that it took day=")
                || told.text().contains("lies where the next file belongs"),
            "{manner:?}: {}",
            told.text()
        );
        let bound = world.ok(["events", "--kind", "archived"])?;
        assert_eq!(bound["events"], serde_json::json!([]), "{manner:?}: {bound:#}");
        let kept = world.ok(["evidence", "prune", "--keep", "0s"])?;
        assert_eq!(kept["bundles_removed"], 0, "{manner:?}: {kept:#}");
    }
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    Ok(())
}

fn running() -> Result<()> {
    let mut world = World::new()?;
    let bucket = BucketServer::start(&world, false)?;
    world.origin(&["api.weather.example"])?;
    for setting in ["archive", "publish_log"] {
        evidence_setting(&world, setting, true.into())?;
    }
    world.serve()?;
    let mut client = RawClient::connect(world.gateway()?)?;
    let mut ask = || client.tunnel("api.weather.example:443", None);
    for _ in 0..20 {
        assert_eq!(ask()?.status, 407);
    }
    let archived = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(archived["files"][0]["entries_from"], 0, "{archived:#}");
    let doctor = world.cli(["doctor"])?.json()?.to_string();
    ensure!(
        doctor.contains("s3://fleet/acme answers, and shows the log"),
        "{doctor}"
    );
    let failures = |world: &World| {
        let page = world.admin_page("/metrics").unwrap_or_default();
        let count = page
            .lines()
            .find_map(|line| line.strip_prefix("bailiwick_gateway_archive_failures "));
        count.and_then(|count| count.parse::<u64>().ok())
    };
    assert_eq!(failures(&world), Some(0));
    // It goes away, lies, and comes back; the gateway records all the while.
    bucket.behave(Manner::Away)?;
    world.cli(["evidence", "archive", "--all"])?.expect(2)?;
    assert_eq!(ask()?.status, 407);
    bucket.behave(Manner::Drops)?;
    let told = world.cli(["evidence", "archive", "--all"])?.expect(2)?;
    ensure!(
        told.text()
            .contains("it lies about success: nothing was archived"),
        "{}",
        told.text()
    );
    assert_eq!(ask()?.status, 407);
    bucket.behave(Manner::Honest)?;
    let more = world.ok(["evidence", "archive", "--all"])?;
    assert_eq!(
        more["files"][0]["entries_from"], archived["files"][0]["entries_to"],
        "{more:#}"
    );
    // With the bucket gone for good it stops in good order.
    drop(bucket);
    world.stop()?;
    assert_eq!(verify(&world, 0)?["integrity"], "whole");
    Ok(())
}

fn refused() -> Result<()> {
    let mut world = World::new()?;
    let bucket = BucketServer::start(&world, false)?;
    recorded(&mut world)?;
    let archive = |status: i32| -> Result<String> {
        let told = world.cli(["evidence", "archive", "--all"])?.expect(status)?;
        Ok(told.text())
    };
    let credentials = world.path("bucket-credentials");
    let right = std::fs::read_to_string(&credentials)?;
    let secret = right
        .lines()
        .find_map(|line| line.strip_prefix("aws_secret_access_key = "))
        .context("a secret")?;

    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o644))?;
    let told = archive(2)?;
    ensure!(told.contains("readable by others"), "{told}");
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600))?;
    std::fs::write(&credentials, right.replace(secret, "another"))?;
    let told = archive(2)?;
    ensure!(
        told.contains("the bucket refuses these credentials") && !told.contains("another"),
        "{told}"
    );
    std::fs::write(&credentials, &right)?;
    bucket.behave(Manner::Away)?;
    let told = archive(2)?;
    ensure!(
        told.contains("in s3://fleet/acme: ") && told.contains("503"),
        "{told}"
    );
    bucket.behave(Manner::Honest)?;
    drop(bucket);
    let told = archive(2)?;
    ensure!(told.contains("cannot connect to 127.0.0.1:"), "{told}");
    // Nothing of the secret is anywhere but in its file.
    for file in crate::demo::files(&world.site()) {
        let bytes = std::fs::read(&file)?;
        ensure!(
            !bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes()),
            "{} has the secret",
            file.display()
        );
    }
    Ok(())
}
