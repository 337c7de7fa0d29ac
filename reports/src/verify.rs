//! The commands with which a stranger checks a report, without us.
//!
//! Written once, so that the page, the mail and the evidence bundle can never recommend different
//! things. File names in them are other people's words and are quoted for the shell.

use seal::PredicateType;

use crate::context::Context;
use crate::escape::{shell, visible};

/// One thing to check and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What it shows.
    pub title: String,
    /// Shell commands, one per line.
    pub commands: String,
}

/// Everything that a holder of the report's files can check.
pub(crate) fn steps(context: &Context) -> Vec<Step> {
    let Some(signed) = &context.signed else {
        return Vec::new();
    };
    let mut steps = vec![Step {
        title: "The auditor signed this report about the artifact (cosign 3)".to_owned(),
        commands: cosign(&signed.name, &signed.key_name, &context.artifact_name),
    }];
    if let Some(evidence) = &context.evidence {
        steps.push(Step {
            title: "and about the evidence bundle".to_owned(),
            commands: cosign(&signed.name, &signed.key_name, &evidence.name),
        });
    }
    steps.push(Step {
        title: "The same signature with openssl and jq alone".to_owned(),
        commands: openssl(
            &signed.name,
            &signed.key_name,
            signed.key.ed25519_bytes().is_some(),
        ),
    });
    steps
}

/// `cosign verify-blob-attestation` for a report.
pub(crate) fn cosign(bundle: &str, key: &str, file: &str) -> String {
    cosign_type(bundle, key, PredicateType::ConformanceReport.uri(), file)
}

/// `cosign verify-blob-attestation` for any of our documents.
pub(crate) fn cosign_type(bundle: &str, key: &str, predicate_type: &str, file: &str) -> String {
    format!(
        "cosign verify-blob-attestation --bundle {} \\\n  --key {} --insecure-ignore-tlog \\\n  --type {} \\\n  {}",
        shell(bundle),
        shell(key),
        shell(predicate_type),
        shell(file)
    )
}

/// `cosign verify-blob-attestation` by the subject's digest, for whoever does not have its bytes. What
/// is handed in stands there as it is.
pub(crate) fn cosign_digest(bundle: &str, key: &str, predicate_type: &str, digest: &str) -> String {
    format!(
        "cosign verify-blob-attestation --bundle {bundle} \\\n  --key {key} --insecure-ignore-tlog \\\n  --type {} \\\n  --digest {digest} --digestAlg sha256",
        shell(predicate_type)
    )
}

/// The envelope taken apart by hand (DSSE 1.0) and verified with `openssl`.
pub(crate) fn openssl(bundle: &str, key: &str, is_ed25519: bool) -> String {
    let bundle = shell(bundle);
    let digest = if is_ed25519 { "" } else { " -digest sha256" };
    format!(
        "jq -r .dsseEnvelope.payload {bundle} | base64 -d > payload\n\
         jq -r '.dsseEnvelope.signatures[0].sig' {bundle} | base64 -d > sig\n\
         {{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' \"$(wc -c < payload)\"; cat payload; }} > pae\n\
         openssl pkeyutl -verify -pubin -inkey {} \\\n  -rawin{digest} -in pae -sigfile sig",
        shell(key)
    )
}

/// Why a mail or page that carries the key is not where the key should come from.
pub(crate) fn key_advice(context: &Context) -> Option<String> {
    let signed = context.signed.as_ref()?;
    Some(format!(
        "Take {} from the site's trust root, not from whoever sent you this report. Its fingerprint, as ssh-keygen prints it: {}",
        visible(&signed.key_name),
        signed.key.fingerprint()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;

    #[test]
    fn the_payload_type_has_the_length_that_the_recipe_states() {
        assert_eq!(seal::envelope::PAYLOAD_TYPE, "application/vnd.in-toto+json");
        assert_eq!(seal::envelope::PAYLOAD_TYPE.len(), 28);
    }

    #[test]
    fn a_draft_offers_nothing_to_verify() {
        let mut draft = context();
        draft.signed = None;
        assert!(steps(&draft).is_empty());
    }

    #[test]
    fn a_hostile_file_name_stays_one_word() {
        let command = cosign("b", "k", "$(touch pwned);\n`id`.whl");
        assert!(command.ends_with("'$(touch pwned);\\u{a}`id`.whl'"), "{command}");
    }

    /// Runs the printed recipe in a shell with the openssl and jq of this machine.
    fn recipe_verifies(bundle: &[u8], key: &seal::PublicKey) -> bool {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("it's a report.json"), bundle).unwrap();
        std::fs::write(folder.path().join("k.pub"), key.to_pem()).unwrap();
        let recipe = openssl("it's a report.json", "k.pub", key.ed25519_bytes().is_some());
        let output = std::process::Command::new("sh")
            .args(["-ec", &recipe])
            .current_dir(folder.path())
            .output()
            .unwrap();
        output.status.success()
    }

    #[test]
    fn the_printed_recipe_verifies_a_report_and_refuses_a_changed_one() {
        let there = |tool: &str| std::process::Command::new(tool).arg("--help").output().is_ok();
        if !there("openssl") || !there("jq") {
            eprintln!("not tested: openssl or jq is not installed");
            return;
        }
        let ed25519 = crate::testing::auditor_key();
        let p256 = seal::SigningKey::p256_from_seed(&[9; 32]).unwrap();
        for (key, other) in [(&ed25519, &p256), (&p256, &ed25519)] {
            let bundle = crate::seal_report(&crate::testing::breach(), "p.whl", None, key).unwrap();
            assert!(recipe_verifies(&bundle, &key.public()));
            assert!(!recipe_verifies(&bundle, &other.public()));
            let mut changed: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
            changed["dsseEnvelope"]["payload"] = serde_json::json!("e30=");
            assert!(!recipe_verifies(
                &serde_json::to_vec(&changed).unwrap(),
                &key.public()
            ));
        }
    }
}
