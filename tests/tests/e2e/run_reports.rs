//! Reports about single runs: lines of one file, each a document that stock tools verify, and pages of them
//! that are made when somebody asks.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Scenario, run};
use serde_json::Value;

use crate::stage::Stage;
use crate::stock::{cosign, openssl_verifies};
use crate::story::artifact_report;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_runs_report_is_taken_out_of_its_file_and_verified_with_openssl",
        needs: &[Peer::Openssl],
        run: with_openssl,
    },
    Scenario {
        name: "a_runs_report_is_taken_out_of_its_file_and_verified_with_cosign",
        needs: &[Peer::Cosign],
        run: with_cosign,
    },
    Scenario {
        name: "a_page_made_on_demand_is_the_page_that_the_night_wrote",
        needs: &[],
        run: pages,
    },
    Scenario {
        name: "an_audit_again_writes_no_report_about_a_run_twice_and_mends_the_file",
        needs: &[],
        run: again,
    },
];

/// Two audits that adjoin, the second with a connection that nobody declared.
struct Audits {
    stage: Stage,
    last: Value,
}

fn audits() -> Result<Audits> {
    let stage = Stage::new(&["ok.example", "paste.example"], &["ok.example"])?;
    drop(stage.tunnel("ok.example:443")?);
    stage.wait_for("close", 1)?;
    let first = stage.world.cli(["audit"])?.json()?;
    let since = first["to"].as_str().context("its end")?.to_owned();
    drop(stage.tunnel("paste.example:443")?);
    stage.wait_for("close", 2)?;
    let last = stage.world.cli(["audit", "--since", &since])?.json()?;
    Ok(Audits { stage, last })
}

impl Audits {
    fn of_run(&self) -> Result<&Value> {
        let reports = self.last["reports"].as_array().context("reports")?;
        let mut of_runs = reports.iter().filter(|report| report["run_id"].is_string());
        of_runs.next().with_context(|| format!("no run: {:#}", self.last))
    }

    /// The signed bundle about the run, as a file of its own.
    fn taken_out(&self) -> Result<PathBuf> {
        let bundle = self.stage.world.path("report.sigstore.json");
        let id = text(&self.of_run()?["report_id"])?;
        self.show(&id, "bundle", &bundle)?;
        Ok(bundle)
    }

    fn show(&self, id: &str, form: &str, to: &Path) -> Result<()> {
        let to = to.to_str().context("a path")?;
        let args = ["report", "show", id, "--as", form, "--output", to];
        self.stage.world.cli(args)?.expect(0)?;
        Ok(())
    }

    fn auditor_key(&self) -> PathBuf {
        self.stage.world.site().join("keys/auditor.pub")
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value
        .as_str()
        .with_context(|| format!("{value} is no text"))?
        .to_owned())
}

fn with_openssl() -> Result<()> {
    let audits = audits()?;
    let row = audits.of_run()?;
    let scratch = tempfile::tempdir()?;
    let statement = openssl_verifies(&audits.taken_out()?, &audits.auditor_key(), scratch.path())?;
    assert_eq!(statement["predicate"]["run_id"], row["run_id"]);
    assert_eq!(statement["predicate"]["verdict"], "non_conforming");
    ensure!(
        statement["predicate"]["previous_report"].is_object(),
        "{statement:#}"
    );

    // By its id, and out of the file by its run, without asking anybody.
    let (id, file, run_id) = (
        text(&row["report_id"])?,
        text(&row["report"])?,
        text(&row["run_id"])?,
    );
    ensure!(
        file.ends_with("/runs.sigstore.jsonl") && row["html"].is_null(),
        "{row:#}"
    );
    for named in [vec![id.as_str()], vec![file.as_str(), "--run", run_id.as_str()]] {
        let args = [&["report", "verify"], &named[..]].concat();
        let verified = audits.stage.world.ok(args)?;
        assert_eq!(verified["report_id"], row["report_id"]);
        assert_eq!(verified["evidence"], "matches", "{verified:#}");
    }
    let shown = audits.stage.world.ok(["report", "show", &id])?;
    assert_eq!(shown["run_id"], row["run_id"]);
    let args = ["report", "verify", &file, "--run", "01jd0000000000000000000000"];
    ensure!(audits.stage.world.cli(args)?.status != Some(0));
    Ok(())
}

fn with_cosign() -> Result<()> {
    let audits = audits()?;
    let kind = "https://bailiwick.dev/conformance-report/v1";
    let (bundle, key) = (audits.taken_out()?, audits.auditor_key());
    let artifact = &audits.stage.plugin.artifact;
    cosign(&bundle, &key, kind, artifact)?.expect(0)?;
    // Its evidence is that of its artifact's report, and lies beside it.
    let file = PathBuf::from(text(&audits.of_run()?["report"])?);
    let folder = std::fs::read_dir(file.parent().context("a folder")?)?;
    let mut bundles = Vec::new();
    for entry in folder {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "zst") {
            bundles.push(path);
        }
    }
    ensure!(bundles.len() == 1, "{bundles:?}");
    cosign(&bundle, &key, kind, &bundles[0])?.expect(0)?;
    ensure!(cosign(&bundle, &key, kind, &file)?.status != Some(0));
    Ok(())
}

fn pages() -> Result<()> {
    let audits = audits()?;
    let row = artifact_report(&audits.last, &audits.stage.plugin)?;
    let folder = PathBuf::from(text(&row["folder"])?);
    let made = audits.stage.world.path("made");
    for (form, name) in [
        ("html", "report.html"),
        ("text", "report.txt"),
        ("pdf", "report.pdf"),
    ] {
        audits.show(&text(&row["report_id"])?, form, &made)?;
        let written = std::fs::read(folder.join(name))?;
        ensure!(std::fs::read(&made)? == written, "{name} differs");
        ensure!(!written.is_empty(), "{name}");
    }
    let of_run = audits.of_run()?;
    let id = text(&of_run["report_id"])?;
    audits.show(&id, "text", &made)?;
    let page = std::fs::read_to_string(&made)?;
    for words in [
        "Since the report before",
        "paste.example",
        &text(&of_run["run_id"])?,
    ] {
        ensure!(page.contains(words), "{words}: {page}");
    }
    audits.show(&id, "html", &made)?;
    ensure!(std::fs::read_to_string(&made)?.contains(&text(&of_run["run_id"])?));
    audits.show(&id, "pdf", &made)?;
    ensure!(std::fs::read(&made)?.starts_with(b"%PDF-"));
    Ok(())
}

fn again() -> Result<()> {
    let audits = audits()?;
    let row = audits.of_run()?;
    let file = PathBuf::from(text(&row["report"])?);
    let before = std::fs::read(&file)?;
    ensure!(before.iter().filter(|byte| **byte == b'\n').count() == 1);
    // What a crash leaves: a report that was written and never registered, and half of another.
    let torn = [&before[..], &before[..], &before[..before.len() / 2]].concat();
    std::fs::write(&file, torn)?;
    let verify = ["report", "verify", &text(&row["report_id"])?].map(str::to_owned);
    audits.stage.world.ok(verify.clone())?;
    let period = (text(&audits.last["from"])?, text(&audits.last["to"])?);
    let args = ["audit", "--since", &period.0, "--until", &period.1];
    let same = audits.stage.world.cli(args)?.json()?;
    let found = same["reports"].as_array().context("reports")?;
    ensure!(
        found.iter().any(|report| report["report_id"] == row["report_id"]),
        "{same:#}"
    );
    ensure!(std::fs::read(&file)? == before, "the file is as it was");
    audits.stage.world.ok(verify)?;

    // The signed list of the night names the file, and is as stock tools read it.
    let day = file.ancestors().nth(3).context("the day's folder")?;
    let mut checked = 0;
    for entry in std::fs::read_dir(day)? {
        let night = entry?.path();
        if night.join("reports.sha256").is_file() {
            let mut command = std::process::Command::new("sha256sum");
            command
                .args(["--check", "--strict", "reports.sha256"])
                .current_dir(&night);
            let said = run(&mut command)?.expect(0)?.text();
            checked += usize::from(said.contains("/runs.sigstore.jsonl: OK"));
        }
    }
    ensure!(checked > 0, "no list names a file of runs");
    Ok(())
}
