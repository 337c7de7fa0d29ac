//! The golden bundles: an artifact, its signed manifest and its approval, byte for byte.
//!
//! The keys are test vectors: Ed25519 seeds of 32 equal bytes, known to everybody and trusted by
//! nobody. `UPDATE_GOLDEN=1 cargo test` writes the files anew after a deliberate change of format.

// Helpers of tests may fail loudly, as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bailiwick_manifests::artifact::{APPROVAL_SUFFIX, BUNDLE_SUFFIX, bundle_path, digest_file};
use bailiwick_manifests::{Approval, Grant, SignError, SignedManifest, approve, sign};
use base::{ArtifactDigest, Sha256Digest, Tier, Timestamp};
use base64::Engine as _;
use seal::trust::{Role, Signer, TrustRoot};
use seal::{PublicKey, SigningKey};
use serde_json::{Value, json};

const NAME: &str = "acme_weather-1.4.2-py3-none-any.whl";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/manifests/signed")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with the golden file, or writes it where that was asked for.
fn assert_golden(name: &str, bytes: &[u8]) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(folder().join(name), bytes).unwrap();
    }
    assert!(read(name) == bytes, "{name} differs from what is made now");
}

fn owner() -> SigningKey {
    SigningKey::ed25519_from_seed(&[0x0a; 32])
}

fn certifier() -> SigningKey {
    SigningKey::ed25519_from_seed(&[0x0b; 32])
}

fn moment() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn trust() -> TrustRoot {
    let signer = |key: &SigningKey, role| Signer {
        name: format!("test vector {role}"),
        key: key.public(),
        role,
        scopes: vec!["acme.*".parse().unwrap()],
        valid_from: "2026-01-01T00:00:00Z".parse().unwrap(),
        valid_until: None,
    };
    TrustRoot::first(vec![owner().public()], 1, moment())
        .with_signer(signer(&owner(), Role::Owner))
        .with_signer(signer(&certifier(), Role::Certifier))
}

fn artifact() -> ArtifactDigest {
    let mut file = File::open(folder().join(NAME)).unwrap();
    digest_file(&mut file).unwrap().0
}

fn grant() -> Grant {
    Grant {
        verifier: "https://platform.example/certifier".to_owned(),
        policy: "https://platform.example/policy".to_owned(),
        policy_digest: Some(Sha256Digest::of(b"policy")),
        tier: Tier::Medium,
        at: moment(),
        valid_until: Some("2027-11-21T10:00:00Z".parse().unwrap()),
    }
}

#[test]
fn signing_makes_the_golden_manifest_and_approval_byte_for_byte() {
    let bundle = sign(&read("PLUGIN_MANIFEST.json"), NAME, &artifact(), &owner()).unwrap();
    assert_golden(&format!("{NAME}{BUNDLE_SUFFIX}"), &bundle);
    assert_golden("owner.pub", owner().public().to_pem().as_bytes());
    let signed = SignedManifest::open(&bundle, &trust(), moment()).unwrap();
    let approval = approve(&signed, &grant(), &certifier()).unwrap();
    assert_golden(&format!("{NAME}{APPROVAL_SUFFIX}"), &approval);
    assert_golden("certifier.pub", certifier().public().to_pem().as_bytes());
}

#[test]
fn the_golden_manifest_reads_back_as_the_document_that_was_signed() {
    let path = bundle_path(&folder().join(NAME));
    let signed = SignedManifest::open(&fs::read(path).unwrap(), &trust(), moment()).unwrap();
    let mut document: Value = serde_json::from_slice(&read("PLUGIN_MANIFEST.json")).unwrap();
    document["artifact_digest"] = json!(artifact().to_string());
    assert_eq!(signed.document, document);
    assert_eq!(signed.artifact_name, NAME);
    assert_eq!(signed.signer, owner().public().fingerprint());
    let approval = read(&format!("{NAME}{APPROVAL_SUFFIX}"));
    let approval = Approval::open(&approval, &signed, &trust(), moment(), moment()).unwrap();
    assert_eq!(
        (approval.tier, approval.valid_until),
        (Tier::Medium, grant().valid_until)
    );
}

#[test]
fn one_changed_byte_of_the_golden_bundle_never_opens_as_another_manifest() {
    let good = read(&format!("{NAME}{BUNDLE_SUFFIX}"));
    let signed = SignedManifest::open(&good, &trust(), moment()).unwrap();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        // The key id is a hint that nothing follows; a changed hint opens as the very same manifest.
        if let Ok(opened) = SignedManifest::open(&changed, &trust(), moment()) {
            assert_eq!(opened, signed, "byte {at}");
        }
    }
}

#[test]
fn a_manifest_is_not_signed_for_another_artifact_than_it_names() {
    let manifest = read("PLUGIN_MANIFEST.json");
    let mut named: Value = serde_json::from_slice(&manifest).unwrap();
    named["artifact_digest"] = json!(artifact().to_string());
    let named = named.to_string().into_bytes();
    let other = ArtifactDigest::new(Sha256Digest::of(b"another build"));
    assert_eq!(
        sign(&named, NAME, &artifact(), &owner()).unwrap(),
        sign(&manifest, NAME, &artifact(), &owner()).unwrap()
    );
    assert!(matches!(
        sign(&named, NAME, &other, &owner()),
        Err(SignError::OtherArtifact { .. })
    ));
}

#[test]
fn nothing_is_signed_that_no_load_gate_would_read() {
    let attempt = |manifest: &str, name: &str| sign(manifest.as_bytes(), name, &artifact(), &owner());
    let good = String::from_utf8(read("PLUGIN_MANIFEST.json")).unwrap();
    assert!(attempt(&good, NAME).is_ok());
    let long = "a".repeat(256);
    for name in ["", "a/b", "..\\x", "a\nb", long.as_str()] {
        assert!(
            matches!(attempt(&good, name), Err(SignError::Name { .. })),
            "{name:?}"
        );
    }
    for bad in [
        "",
        "[]",
        "{}",
        "\"x\"",
        &good.replace("acme.weather", "Acme Weather"),
    ] {
        assert!(matches!(attempt(bad, NAME), Err(SignError::Manifest(_))), "{bad}");
    }
    let mut large: Value = serde_json::from_str(&good).unwrap();
    let paths: Vec<String> = (0..2000).map(|n| format!("{n:0>490}")).collect();
    large["permissions"] = json!({"fs.read": paths});
    let large = large.to_string();
    assert!(large.len() < 1 << 20);
    assert!(matches!(attempt(&large, NAME), Err(SignError::TooLarge { .. })));
}

/// With nothing but OpenSSL, as the file of formats says; skipped where there is none.
#[test]
fn openssl_alone_verifies_the_golden_bundles() {
    let present = Command::new("openssl")
        .arg("version")
        .stdout(Stdio::null())
        .status();
    if !present.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no openssl here");
        return;
    }
    for (suffix, public) in [(BUNDLE_SUFFIX, "owner.pub"), (APPROVAL_SUFFIX, "certifier.pub")] {
        let engine = base64::engine::general_purpose::STANDARD;
        let bundle: Value = serde_json::from_slice(&read(&format!("{NAME}{suffix}"))).unwrap();
        let envelope = &bundle["dsseEnvelope"];
        let decode = |value: &Value| engine.decode(value.as_str().unwrap()).unwrap();
        let payload = decode(&envelope["payload"]);
        let kind = envelope["payloadType"].as_str().unwrap();
        let mut pae = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
        pae.extend_from_slice(&payload);
        let scratch = tempfile::tempdir().unwrap();
        let (pae_file, sig_file) = (scratch.path().join("pae"), scratch.path().join("sig"));
        fs::write(&sig_file, decode(&envelope["signatures"][0]["sig"])).unwrap();
        for (message, expected) in [(pae.clone(), true), ([&pae[..], b"x"].concat(), false)] {
            fs::write(&pae_file, message).unwrap();
            let status = Command::new("openssl")
                .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
                .arg(folder().join(public))
                .arg("-in")
                .arg(&pae_file)
                .arg("-sigfile")
                .arg(&sig_file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.success(), expected, "{suffix}");
        }
        let pem = String::from_utf8(read(public)).unwrap();
        assert!(PublicKey::from_pem(&pem).is_ok());
    }
}
