//! The golden files under `tests/vectors` verify with stock tools, as the tables in FORMATS promise.
//! The rooms' own tests hold us to writing exactly these bytes.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Scenario, run, workspace};

use crate::stock::{cosign, openssl_verifies};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "revocation_lists_verify_with_openssl",
        needs: &[Peer::Openssl],
        run: lists_with_openssl,
    },
    Scenario {
        name: "revocation_lists_verify_with_cosign",
        needs: &[Peer::Cosign],
        run: lists_with_cosign,
    },
    Scenario {
        name: "reports_verify_with_openssl",
        needs: &[Peer::Openssl],
        run: reports_with_openssl,
    },
    Scenario {
        name: "a_runs_certificate_says_to_openssl_what_its_uri_says",
        needs: &[Peer::Openssl],
        run: certificate_with_openssl,
    },
    Scenario {
        name: "the_event_proof_verifies_with_spicy",
        needs: &[Peer::Spicy],
        run: proof_with_spicy,
    },
];

fn vector(name: &str) -> PathBuf {
    workspace().join("tests/vectors").join(name)
}

fn certificate_with_openssl() -> Result<()> {
    let mut command = Peer::Openssl.command();
    command.args(["x509", "-noout", "-ext", "subjectAltName,extendedKeyUsage", "-in"]);
    let printed = String::from_utf8(run(command.arg(vector("seal/run.crt")))?.expect(0)?.stdout)?;
    let uri = std::fs::read_to_string(vector("seal/run.uri"))?;
    ensure!(
        printed.contains(&format!("URI:{}\n", uri.trim_end())),
        "{printed}"
    );
    ensure!(printed.contains("TLS Web Client Authentication\n"), "{printed}");
    Ok(())
}

fn lists_with_openssl() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    for number in 1..=3 {
        let head = vector(&format!("crl/crl-{number}.sigstore.json"));
        let statement = openssl_verifies(&head, &vector("crl/crl.pub"), scratch.path())?;
        assert_eq!(statement["predicate"]["crl_number"], number);
    }
    Ok(())
}

fn lists_with_cosign() -> Result<()> {
    let kind = "https://bailiwick.dev/crl/v1";
    let key = vector("crl/crl.pub");
    for number in 1..=3 {
        let head = vector(&format!("crl/crl-{number}.sigstore.json"));
        let body = vector(&format!("crl/crl-{number}.body"));
        cosign(&head, &key, kind, &body)?.expect(0)?;
        let other = vector(&format!("crl/crl-{}.body", number % 3 + 1));
        ensure!(
            cosign(&head, &key, kind, &other)?.status != Some(0),
            "list {number} vouches for another body"
        );
    }
    Ok(())
}

fn reports_with_openssl() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut verified = 0;
    for entry in std::fs::read_dir(vector("reports"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".report.sigstore.json") {
            let statement = openssl_verifies(&path, &vector("reports/auditor.pub"), scratch.path())?;
            assert_eq!(
                statement["predicateType"],
                "https://bailiwick.dev/conformance-report/v1"
            );
            verified += 1;
        }
    }
    ensure!(verified > 0, "no golden report");
    Ok(())
}

fn proof_with_spicy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let event = folder.path().join("event");
    std::fs::copy(vector("evidence/event-2.json"), &event)?;
    let proof = std::fs::read_to_string(vector("evidence/event-2.json.tlog-proof"))?;
    let (_, spicy) = proof.split_once('\n').context("a proof has lines")?;
    std::fs::write(folder.path().join("event.spicy"), spicy)?;
    let vkey = std::fs::read_to_string(vector("evidence/log.vkey"))?;
    let verify = || run(Peer::Spicy.command().arg("-verify").arg(vkey.trim()).arg(&event));
    verify()?.expect(0)?;
    let mut changed = std::fs::read(&event)?;
    changed[10] ^= 1;
    std::fs::write(&event, changed)?;
    ensure!(verify()?.status != Some(0));
    Ok(())
}
