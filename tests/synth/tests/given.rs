//! Corpora that others wrote, and what is wrong with some of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bailiwick_synth::given::Given;
use base::Tier;
use serde_json::Value;

const RUN: &str = "01926b6e-0000-7000-8000-000000000001";

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(events: &[String]) -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(files.path("manifests")).unwrap();
        files.manifest("weather.json", "acme.weather");
        files.write("events.jsonl", &events.join("\n"));
        files
    }

    fn manifest(&self, name: &str, plugin: &str) {
        let text = format!(
            r#"{{"plugin_id":"{plugin}","allowed_egress":["*.weather.example"],"data_classes":[],"sdk_allowlist":[],"built_by":"{name}","built_at":"2026-11-01T00:00:00Z"}}"#
        );
        self.write(&format!("manifests/{name}"), &text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn given(&self) -> Given {
        Given {
            events: self.path("events.jsonl"),
            manifests: self.path("manifests"),
            runs: None,
            revocations: None,
            ignore: Vec::new(),
            gateways: Vec::new(),
            tier: Tier::Medium,
            site: "given".to_owned(),
            seed: 1,
        }
    }

    fn complaint(&self) -> String {
        let error = self.given().make(&self.path("site")).unwrap_err();
        assert!(!self.path("site").exists(), "a folder was made for nothing");
        format!("{error:#}")
    }
}

fn connection(kind: &str, second: u8, host: &str) -> String {
    format!(
        r#"{{"kind":"{kind}","time":"2026-11-20T10:00:{second:02}Z","connection_id":"{host}","plugin_id":"acme.weather","run_id":"{RUN}","destination_host":"{host}","port":443,"decision":"allow","scheme":"tls","dialed_ip":"8.8.8.8"}}"#
    )
}

fn visits(hosts: &[&str]) -> Vec<String> {
    let one = |host: &&str| [connection("open", 1, host), connection("close", 2, host)];
    hosts.iter().flat_map(one).collect()
}

fn audit(site: &Path) -> (Value, i32) {
    let output = Command::new(bailiwick_tests::bailiwick())
        .arg("--config")
        .arg(site.join("bailiwick.toml"))
        .args([
            "audit",
            "--format",
            "json",
            "--since",
            "2026-11-20T00:00:00Z",
            "--until",
            "2026-11-21T00:00:00Z",
        ])
        .output()
        .unwrap();
    let printed = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (printed, output.status.code().unwrap())
}

#[test]
fn events_and_manifests_of_others_become_a_site_that_the_shipped_binary_audits() {
    let mut events = visits(&["API.weather.example", "paste.example"]);
    events.push(connection("open", 3, "b.weather.example").replacen('{', r#"{"gateway":"gw-2","#, 1));
    let files = Files::new(&events);
    let made = files.given().make(&files.path("site")).unwrap();
    assert_eq!(made.events.values().collect::<Vec<_>>(), [&4, &1]);
    assert_eq!(made.runs, 1);
    let (printed, exit) = audit(&files.path("site"));
    assert_eq!(exit, 1);
    let findings = printed["reports"][0]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0]["reason"], "undeclared_host");
    assert_eq!(findings[0]["host"], "paste.example");
    assert_eq!(findings[0]["connections"], 1);
}

#[test]
fn a_gateway_of_which_there_are_no_events_is_missed() {
    let files = Files::new(&visits(&["api.weather.example"]));
    let mut given = files.given();
    given.gateways = vec!["gw-9".to_owned()];
    given.make(&files.path("site")).unwrap();
    let (printed, exit) = audit(&files.path("site"));
    assert_eq!(exit, 3);
    assert!(
        printed["doubts"][0]
            .as_str()
            .unwrap()
            .starts_with("evidence_gap in given/gw-9")
    );
}

#[test]
fn runs_and_revocations_of_others_are_on_record() {
    let files = Files::new(&visits(&["api.weather.example"]));
    let quiet = "01926b6e-0000-7000-8000-000000000002";
    files.write(
        "runs.jsonl",
        &format!(r#"{{"run_id":"{quiet}","plugin_id":"acme.weather","started":"2026-11-20T09:00:00Z","ended":"2026-11-20T12:00:00Z"}}"#),
    );
    files.write(
        "list.jsonl",
        r#"{"target":"acme.weather","action":"quarantine","reason":"owner_request","at":"2026-11-20T12:00:00Z"}"#,
    );
    let mut given = files.given();
    given.runs = Some(files.path("runs.jsonl"));
    given.revocations = Some(files.path("list.jsonl"));
    assert_eq!(given.make(&files.path("site")).unwrap().runs, 2);
    let (printed, _) = audit(&files.path("site"));
    let reports = printed["reports"].as_array().unwrap();
    let silent = reports.iter().find(|report| report["run_id"] == quiet).unwrap();
    assert_eq!(silent["verdict"], "no_traffic");
    assert_eq!(silent["findings"][0]["reason"], "no_coverage");
    let show = Command::new(bailiwick_tests::bailiwick())
        .arg("--config")
        .arg(files.path("site/bailiwick.toml"))
        .args(["--format", "json", "crl", "show"])
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(list["entries"][0]["action"], "hold", "{list:#}");
    assert_eq!(list["entries"][0]["since"], "2026-11-20T12:00:00.000000Z");
}

#[test]
fn what_is_wrong_with_a_line_is_said_with_its_number() {
    let good = visits(&["api.weather.example"]);
    for (bad, complaint) in [
        (r#"{"kind":"open""#.to_owned(), "line 3: "),
        (connection("open", 3, "a b"), "line 3: "),
        (
            connection("opened", 3, "c.example"),
            "line 3: unknown variant `opened`",
        ),
        (
            connection("open", 3, "c.example").replace("acme.weather", "acme.other"),
            "line 3: no manifest speaks of acme.other",
        ),
        (
            connection("open", 3, "c.example").replace("\"port\"", "\"portt\""),
            "line 3: unknown field `portt`; mend its name, or leave it out with --ignore portt",
        ),
        (
            connection("open", 3, "c.example").replace("2026-11-20T", "yesterday"),
            "line 3: ",
        ),
        ("[]".to_owned(), "line 3: an event is a JSON object"),
        ("x".repeat(100_000), "line 3: longer than"),
    ] {
        let mut events = good.clone();
        events.push(bad);
        let said = Files::new(&events).complaint();
        assert!(said.contains(complaint), "{said}");
    }
}

#[test]
fn labels_of_others_are_left_out_where_they_are_named_and_little_else_is_needed() {
    // As little as an event can say.
    let line = |label: &str, host: &str| {
        format!(
            r#"{{"kind":"close","time":"2026-11-20T10:00:00Z","label":"{label}","why":{{"by":["them"]}},"plugin_id":"acme.weather","run_id":"{RUN}","destination_host":"{host}","port":443}}"#
        )
    };
    let files = Files::new(&[
        line("benign", "api.weather.example"),
        line("breach", "paste.example"),
        String::new(),
    ]);
    assert!(
        files.complaint().contains("line 1: unknown field `label`"),
        "{}",
        files.complaint()
    );
    let mut given = files.given();
    given.ignore = vec!["label".to_owned(), "why".to_owned()];
    given.make(&files.path("site")).unwrap();
    let (printed, exit) = audit(&files.path("site"));
    assert_eq!(exit, 1);
    let findings = printed["reports"][0]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0]["host"], "paste.example");
}

#[test]
fn a_class_of_data_of_others_is_on_record() {
    let files = Files::new(&visits(&["api.weather.example"]));
    let manifest = files.path("manifests/weather.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replace("\"data_classes\":[]", "\"data_classes\":[\"official\"]"),
    )
    .unwrap();
    files.write(
        "runs.jsonl",
        &format!(r#"{{"run_id":"{RUN}","plugin_id":"acme.weather","started":"2026-11-20T09:00:00Z","ended":"2026-11-20T12:00:00Z","data_class":"secret"}}"#),
    );
    let mut given = files.given();
    given.runs = Some(files.path("runs.jsonl"));
    given.make(&files.path("site")).unwrap();
    let (printed, _) = audit(&files.path("site"));
    assert_eq!(
        printed["reports"][0]["findings"][0]["reason"],
        "data_class_breach"
    );
}

#[test]
fn a_plugin_with_two_builds_must_be_told_apart() {
    let files = Files::new(&visits(&["api.weather.example"]));
    files.manifest("weather-2.json", "acme.weather");
    assert!(files.complaint().contains("line 1: acme.weather has 2 builds"));
    let empty = Files::new(&[]);
    assert!(empty.complaint().contains("holds no event"));
}
