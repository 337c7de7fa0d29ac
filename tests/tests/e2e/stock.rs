//! Stock tools verify what Bailiwick signs: openssl by hand, cosign, securesystemslib, python-tuf, spicy.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Peer, Plugin, Run, Scenario, World, run, workspace};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a_signed_manifest_verifies_with_openssl_by_hand",
        needs: &[Peer::Openssl],
        run: manifest_with_openssl,
    },
    Scenario {
        name: "a_signed_manifest_verifies_with_cosign_and_not_for_a_changed_artifact",
        needs: &[Peer::Cosign],
        run: manifest_with_cosign,
    },
    Scenario {
        name: "a_signed_manifest_verifies_with_securesystemslib",
        needs: &[Peer::Python],
        run: manifest_with_securesystemslib,
    },
    Scenario {
        name: "a_key_made_by_openssl_signs_like_our_own",
        needs: &[Peer::Openssl],
        run: key_from_openssl,
    },
    Scenario {
        name: "the_trust_root_verifies_with_python_tuf_version_by_version",
        needs: &[Peer::Python],
        run: root_with_tuf,
    },
    Scenario {
        name: "the_revocation_list_verifies_with_openssl",
        needs: &[Peer::Openssl],
        run: list_with_openssl,
    },
    Scenario {
        name: "an_event_proof_verifies_with_spicy",
        needs: &[Peer::Spicy],
        run: event_with_spicy,
    },
];

/// Verifies a bundle with `openssl` alone, as FORMATS describes it, and returns the signed statement.
///
/// # Errors
/// When the signature is not good.
pub fn openssl_verifies(bundle: &Path, public: &Path, folder: &Path) -> Result<Value> {
    let text = std::fs::read(bundle).with_context(|| format!("reading {}", bundle.display()))?;
    let document: Value = serde_json::from_slice(&text)?;
    let envelope = &document["dsseEnvelope"];
    let field = |value: &Value| Ok::<_, anyhow::Error>(value.as_str().context("a string")?.to_owned());
    let payload_type = field(&envelope["payloadType"])?;
    let payload = STANDARD.decode(field(&envelope["payload"])?)?;
    let signature = STANDARD.decode(field(&envelope["signatures"][0]["sig"])?)?;
    let mut pae = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    pae.extend_from_slice(&payload);
    let (pae_file, signature_file) = (folder.join("pae"), folder.join("sig"));
    std::fs::write(&pae_file, pae)?;
    std::fs::write(&signature_file, signature)?;
    let mut command = Peer::Openssl.command();
    if std::fs::read_to_string(public)?.len() < 150 {
        // An Ed25519 key; P-256 keys are longer.
        command
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(public);
        command
            .arg("-in")
            .arg(&pae_file)
            .arg("-sigfile")
            .arg(&signature_file);
    } else {
        command.args(["dgst", "-sha256", "-verify"]).arg(public);
        command.arg("-signature").arg(&signature_file).arg(&pae_file);
    }
    run(&mut command)?.expect(0)?;
    Ok(serde_json::from_slice(&payload)?)
}

/// Asks cosign about a bundle and the artifact it speaks of.
///
/// # Errors
/// When cosign cannot be started.
pub fn cosign(bundle: &Path, public: &Path, predicate_type: &str, artifact: &Path) -> Result<Run> {
    let mut command = Peer::Cosign.command();
    command
        .args([
            "verify-blob-attestation",
            "--insecure-ignore-tlog",
            "--type",
            predicate_type,
            "--bundle",
        ])
        .arg(bundle)
        .arg("--key")
        .arg(public)
        .arg(artifact);
    run(&mut command)
}

/// A script of `tests/python`.
pub fn script(name: &str) -> PathBuf {
    workspace().join("tests/python").join(name)
}

fn signed(world: &World) -> Result<Plugin> {
    world
        .plugin("acme.weather")
        .declares(&["api.weather.example", "*.cdn.weather.example:443"])
        .bytes("weather.whl", b"PK\x05\x06 an artifact \xff")?
        .sign()
}

fn manifest_with_openssl() -> Result<()> {
    let world = World::new()?;
    let plugin = signed(&world)?;
    let statement = openssl_verifies(&plugin.bundle, &plugin.public, &world.path(""))?;
    assert_eq!(
        statement["predicateType"],
        "https://bailiwick.dev/plugin-manifest/v1"
    );
    assert_eq!(statement["predicate"]["plugin_id"], "acme.weather");
    assert_eq!(statement["predicate"]["artifact_digest"], plugin.digest.as_str());
    let subject = plugin.digest.trim_start_matches("sha256:");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], subject);
    // One changed byte of the payload, and openssl says no.
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(&plugin.bundle)?)?;
    let mut payload = STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().context("payload")?)?;
    payload[20] ^= 1;
    bundle["dsseEnvelope"]["payload"] = STANDARD.encode(payload).into();
    let changed = world.path("changed.json");
    std::fs::write(&changed, bundle.to_string())?;
    ensure!(openssl_verifies(&changed, &plugin.public, &world.path("")).is_err());
    Ok(())
}

fn manifest_with_cosign() -> Result<()> {
    let world = World::new()?;
    let plugin = signed(&world)?;
    let kind = "https://bailiwick.dev/plugin-manifest/v1";
    cosign(&plugin.bundle, &plugin.public, kind, &plugin.artifact)?.expect(0)?;
    let other = world.path("other.whl");
    std::fs::write(&other, b"PK\x05\x06 an artifact \xfe")?;
    ensure!(cosign(&plugin.bundle, &plugin.public, kind, &other)?.status != Some(0));
    let crl = "https://bailiwick.dev/crl/v1";
    ensure!(cosign(&plugin.bundle, &plugin.public, crl, &plugin.artifact)?.status != Some(0));
    let auditor = world.site().join("keys/auditor.pub");
    ensure!(cosign(&plugin.bundle, &auditor, kind, &plugin.artifact)?.status != Some(0));
    Ok(())
}

fn manifest_with_securesystemslib() -> Result<()> {
    let world = World::new()?;
    let plugin = signed(&world)?;
    let verify = |public: &Path| {
        run(Peer::Python
            .command()
            .arg(script("verify_dsse.py"))
            .arg(&plugin.bundle)
            .arg(public))
    };
    let payload = verify(&plugin.public)?.expect(0)?.json()?;
    assert_eq!(payload["predicate"]["plugin_id"], "acme.weather");
    ensure!(verify(&world.site().join("keys/crl.pub"))?.status != Some(0));
    Ok(())
}

fn key_from_openssl() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    for (name, arguments) in [
        ("ed25519", &["genpkey", "-algorithm", "ed25519"][..]),
        (
            "p256",
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ],
        ),
    ] {
        // The harness makes an owner's key unless the file is there already.
        let id = format!("made.elsewhere-{name}");
        let key = world.path(&format!("owner-{id}.pem"));
        let public = key.with_extension("pub");
        run(Peer::Openssl.command().args(arguments).arg("-out").arg(&key))?.expect(0)?;
        run(Peer::Openssl
            .command()
            .args(["pkey", "-pubout", "-in"])
            .arg(&key)
            .arg("-out")
            .arg(&public))?
        .expect(0)?;
        run(Command::new("chmod").arg("600").arg(&key))?.expect(0)?;
        world.ok([
            "trust".as_ref(),
            "add".as_ref(),
            public.as_os_str(),
            "--role".as_ref(),
            "owner".as_ref(),
            "--scope".as_ref(),
            id.as_ref(),
        ])?;
        let plugin = world.plugin(&id).declares(&["a.example"]).sign()?;
        openssl_verifies(&plugin.bundle, &public, &world.path(""))?;
        world.verify(&plugin)?.expect(0)?;
    }
    Ok(())
}

fn root_with_tuf() -> Result<()> {
    let world = World::new()?;
    let site = world.site();
    // A P-256 key too: its public half is PEM, whose line ends canonicalisers treat differently.
    let p256 = world.path("p256.pem");
    world.ok([
        "key".as_ref(),
        "new".as_ref(),
        p256.as_os_str(),
        "--type".as_ref(),
        "p256".as_ref(),
    ])?;
    let public = p256.with_extension("pub");
    let first = world.path("root-1.json");
    std::fs::copy(site.join("root.json"), &first)?;
    for scope in ["acme.*", "other"] {
        world.ok([
            "trust".as_ref(),
            "add".as_ref(),
            public.as_os_str(),
            "--role".as_ref(),
            "owner".as_ref(),
            "--scope".as_ref(),
            scope.as_ref(),
        ])?;
    }
    let verify = |files: &[&Path]| run(Peer::Python.command().arg(script("verify_root.py")).args(files));
    let second = site.join("root.2.json");
    let chain = verify(&[&first, &second, &site.join("root.json")])?.expect(0)?;
    assert!(chain.text().starts_with("3 "), "{}", chain.text());
    let edited = world.path("edited.json");
    std::fs::write(
        &edited,
        std::fs::read_to_string(&second)?.replace("acme.*", "acme-*"),
    )?;
    ensure!(verify(&[&edited])?.status != Some(0));
    Ok(())
}

fn list_with_openssl() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["a.example"])
        .admit("medium")?;
    let changed = world.ok(["quarantine", &plugin.digest, "--reason", "undeclared_host"])?;
    let shown = world.ok(["crl", "show"])?;
    let head = PathBuf::from(shown["path"].as_str().context("crl show names its path")?);
    let statement = openssl_verifies(&head, &world.site().join("keys/crl.pub"), &world.path(""))?;
    assert_eq!(statement["predicateType"], "https://bailiwick.dev/crl/v1");
    assert_eq!(statement["predicate"]["crl_number"], changed["crl_number"]);
    // The body's digest is what the head says, and the body holds the artifact's digest in plain bytes.
    let subject = &statement["subject"][0];
    let body = std::fs::read(head.with_file_name(subject["name"].as_str().context("a body's name")?))?;
    assert_eq!(subject["digest"]["sha256"], sha256(&body));
    let wanted = hex::decode(plugin.digest.trim_start_matches("sha256:"))?;
    assert!(body.chunks(40).any(|entry| entry.starts_with(&wanted)));
    Ok(())
}

fn event_with_spicy() -> Result<()> {
    let mut world = World::new()?;
    world.origin(&["api.weather.example"])?;
    world.serve()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .admit("medium")?;
    world.run_plugin(&plugin, ["true"])?.expect(0)?;
    world.stop()?;
    let proven = world.ok(["evidence", "prove", "0"])?;
    let text =
        |field: &str| Ok::<_, anyhow::Error>(proven[field].as_str().context(field.to_owned())?.to_owned());
    let (proof, entry, vkey) = (text("proof")?, text("entry")?, text("vkey")?);
    // What FORMATS tells people to do: the first line is ours, the rest is spicy's.
    let (_, spicy) = proof.split_once('\n').context("a proof has lines")?;
    let event = world.path("event");
    std::fs::write(&event, &entry)?;
    std::fs::write(world.path("event.spicy"), spicy)?;
    run(Peer::Spicy.command().arg("-verify").arg(&vkey).arg(&event))?.expect(0)?;
    std::fs::write(&event, entry.replacen("gw-1", "gw-2", 1))?;
    ensure!(run(Peer::Spicy.command().arg("-verify").arg(&vkey).arg(&event))?.status != Some(0));
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
