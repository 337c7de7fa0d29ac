//! The published chain of three lists: what every reader of our lists must take in, byte for byte.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base::{Reason, Sha256Digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seal::envelope::{PAYLOAD_TYPE, pre_authentication_encoding};

use crate::fixture::{Desk, ISSUER, artifact, golden, key, plugin, trust};
use crate::*;

/// Three lists with every kind, every action and the kill switch.
fn chain() -> Desk {
    let artifact = Listed::Artifact(artifact(0x11));
    let manifest = Listed::Manifest(Sha256Digest::from_bytes([0x22; 32]));
    let signer = Listed::Signer(key(3).public().fingerprint());
    let weather = || plugin("acme.weather");
    let mut desk = Desk::new();
    desk.publish(&[]);
    desk.publish(&[
        Change::hold(artifact.clone(), Reason::UndeclaredHost),
        Change::revoke(signer, Reason::KeyCompromise),
    ]);
    desk.publish(&[
        Change::release(artifact, Reason::FalsePositive),
        Change::revoke(manifest, Reason::Superseded),
        Change::hold(Listed::Plugin(weather()), Reason::Malware),
        Change::KillOn(KillScope::Plugins([weather()].into())),
    ]);
    desk
}

/// A body for people: one entry a line, its fields apart.
fn readable(body: &[u8]) -> String {
    let mut text = String::from("digest kind action reason flags revoked_at\n");
    for entry in body.chunks(ENTRY_BYTES) {
        let (digest, rest) = entry.split_at(32);
        let [kind, action, reason, flags] = [0, 1, 2, 3].map(|at| hex::encode(&rest[at..=at]));
        let second = hex::encode(&rest[4..]);
        text.push_str(&format!(
            "{} {kind} {action} {reason} {flags} {second}\n",
            hex::encode(digest)
        ));
    }
    text
}

fn vector(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors/crl")
        .join(name)
}

#[test]
fn the_published_chain_is_issued_byte_for_byte() {
    let desk = chain();
    golden("crl.pub", key(1).public().to_pem().as_bytes());
    for published in &desk.issued {
        let number = published.list().crl_number();
        golden(&format!("crl-{number}.sigstore.json"), published.head());
        golden(&body_file(number), published.body());
        if let Some(delta) = published.delta() {
            golden(&delta_file(number), delta);
        }
    }
    golden("crl-3.body.txt", readable(desk.newest().body()).as_bytes());
    golden(
        "crl-3.delta.txt",
        readable(desk.newest().delta().unwrap()).as_bytes(),
    );
    let mut predicate = serde_json::to_vec_pretty(desk.list().head()).unwrap();
    predicate.push(b'\n');
    golden("crl-3.predicate.json", &predicate);
}

#[test]
fn the_published_chain_is_taken_in_from_its_files() {
    let read = |name: &str| fs::read(vector(name)).unwrap();
    let mut reader = Reader::new(ISSUER, None);
    let mut held: Option<List> = None;
    for number in 1..=3 {
        let head = read(&format!("crl-{number}.sigstore.json"));
        let examined = reader.examine(&head, &trust(), chain().now).unwrap();
        let accepted = examined.with_body(&read(&examined.body_file())).unwrap();
        if let Some(held) = &held {
            let delta = read(&examined.delta_file(held.crl_number()).unwrap());
            assert_eq!(examined.with_delta(&delta, held).unwrap().list(), accepted.list());
            assert_eq!(examined.with_inline(held).unwrap().list(), accepted.list());
        }
        reader.remember(&accepted);
        held = Some(accepted.into_list());
    }
    assert_eq!(held.as_ref(), Some(chain().list()));
}

/// FORMATS §1: with `openssl` alone, from the three fields of the envelope.
#[test]
fn openssl_finds_the_signature_good_and_a_changed_list_bad() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("not checked: openssl is not installed");
        return;
    }
    let bundle: serde_json::Value =
        serde_json::from_slice(&fs::read(vector("crl-3.sigstore.json")).unwrap()).unwrap();
    let field = |pointer: &str| {
        STANDARD
            .decode(bundle.pointer(pointer).unwrap().as_str().unwrap())
            .unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let verifies = |payload: &[u8]| {
        let (pae, sig) = (folder.path().join("pae"), folder.path().join("sig"));
        fs::write(&pae, pre_authentication_encoding(PAYLOAD_TYPE, payload)).unwrap();
        fs::write(&sig, field("/dsseEnvelope/signatures/0/sig")).unwrap();
        let output = Command::new("openssl")
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(vector("crl.pub"))
            .arg("-in")
            .arg(pae)
            .arg("-sigfile")
            .arg(sig)
            .output()
            .unwrap();
        output.status.success()
    };
    let mut payload = field("/dsseEnvelope/payload");
    assert!(verifies(&payload));
    payload[100] ^= 1;
    assert!(!verifies(&payload));
}
