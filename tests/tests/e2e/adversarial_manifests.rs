//! Manifests that promise what nobody can hold them to, and signatures around what must not be loaded.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{Plugin, Scenario, World, forge, forge_statement, statement};
use serde_json::{Value, json};

use crate::stage::Stage;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "what_cannot_be_promised_is_refused_by_lint_by_sign_and_by_the_load_gate",
        needs: &[],
        run: impossible_entries,
    },
    Scenario {
        name: "a_good_signature_around_a_bad_document_loads_nothing",
        needs: &[],
        run: signed_nonsense,
    },
    Scenario {
        name: "no_field_of_an_envelope_chooses_how_it_is_verified",
        needs: &[],
        run: confused_envelopes,
    },
    Scenario {
        name: "a_rule_that_nobody_can_observe_is_refused_at_lint",
        needs: &[],
        run: unobservable,
    },
    Scenario {
        name: "a_wildcard_over_other_peoples_tenants_is_warned_of",
        needs: &[],
        run: tenants,
    },
    Scenario {
        name: "declaring_nothing_makes_every_host_a_breach",
        needs: &[],
        run: nothing_declared,
    },
    Scenario {
        name: "a_wider_manifest_shows_its_difference_and_inherits_no_good_name",
        needs: &[],
        run: wider_version,
    },
];

/// Entries that are refused wherever they turn up.
const IMPOSSIBLE: [&str; 30] = [
    "*",
    "**",
    "*.*",
    "*.com",
    "*.co.uk",
    "**.co.uk",
    "foo*.com",
    "f*o.example.com",
    "*foo.example.com",
    "*.*.example.com",
    "example.*",
    "api.*.example.com",
    "*.127.0.0.1",
    "http://x/*",
    "https://api.example.com/v1",
    "https://api.example.com/",
    "https://api.example.com?x=1",
    "https://user:pw@api.example.com",
    "^.*$",
    ".*\\.example\\.com",
    "(a|b).example.com",
    "[a-z]+.example.com",
    "!api.example.com",
    "GET https://api.example.com",
    "udp://dns.example.com:53",
    "icmp://api.example.com",
    "quic://api.example.com",
    "api.example.com:443-80",
    "2130706433",
    "",
];

fn unobservable() -> Result<()> {
    let world = World::new()?;
    let plugin = world.plugin("acme.weather").declares(&[]).prepare()?;
    let good: Value = serde_json::from_slice(&std::fs::read(&plugin.manifest)?)?;
    let linted = |declared: Value| {
        let mut manifest = good.clone();
        manifest["allowed_egress"] = json!([declared]);
        std::fs::write(&plugin.manifest, manifest.to_string())?;
        lint(&world, &plugin.manifest)
    };
    let hidden = linted(json!({"to": "api.weather.example", "methods": ["GET"], "purpose": "x"}))?;
    let hidden = hidden.expect(1)?.json()?;
    let rules: Vec<_> = hidden["findings"].as_array().into_iter().flatten().collect();
    ensure!(
        rules
            .iter()
            .any(|row| row["rule"] == "unverifiable-methods" && row["severity"] == "error"),
        "{hidden:#}"
    );
    // On plain HTTP they can be seen.
    let seen = linted(json!({"to": "http://api.weather.example:8080", "methods": ["GET"], "purpose": "x"}))?;
    seen.expect(0)?;
    for no_entry in [
        "https://api.weather.example/v1/data",
        "udp://api.weather.example:53",
    ] {
        linted(json!(no_entry))?.expect(2)?;
    }
    Ok(())
}

fn lint(world: &World, manifest: &Path) -> Result<bailiwick_tests::Run> {
    world.cli(["manifest".as_ref(), "lint".as_ref(), manifest.as_os_str()])
}

/// A signed plugin, its bundle, and the same bundle with another predicate, signed again by its owner.
fn signed(world: &World) -> Result<(Plugin, String)> {
    let plugin = world
        .plugin("acme.weather")
        .declares(&["api.weather.example"])
        .sign()?;
    // What people read beside it is not what this is about.
    let bundle = std::fs::read_to_string(&plugin.bundle)?;
    Ok((plugin, bundle))
}

/// The code with which the load gate refuses `bundle`, by both of its commands.
fn refused(world: &World, plugin: &Plugin, bundle: &[u8]) -> Result<String> {
    std::fs::write(&plugin.bundle, bundle)?;
    let mut codes = Vec::new();
    for run in [world.verify(plugin)?, world.admit(plugin, "high")?] {
        let run = run.expect(1)?;
        run.error_line()?;
        codes.push(run.json()?["code"].as_str().context("a code")?.to_owned());
    }
    ensure!(codes[0] == codes[1], "verify and admit disagree: {codes:?}");
    Ok(codes.swap_remove(0))
}

fn impossible_entries() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let (plugin, bundle) = signed(&world)?;
    let good: Value = serde_json::from_slice(&std::fs::read(&plugin.manifest)?)?;
    for entry in IMPOSSIBLE {
        for declared in [json!(entry), json!({"to": entry, "purpose": "x"})] {
            let mut manifest = good.clone();
            manifest["allowed_egress"] = json!(["api.weather.example", declared]);
            std::fs::write(&plugin.manifest, manifest.to_string())?;
            let linted = lint(&world, &plugin.manifest)?;
            ensure!(
                matches!(linted.status, Some(1 | 2)),
                "lint of {entry:?}: {linted:?}"
            );
        }
        let signed = world.sign(&plugin)?.expect(2).with_context(|| entry.to_owned())?;
        signed.error_line()?;
    }
    // Whoever signs with tools of their own meets the load gate.
    for entry in IMPOSSIBLE {
        let forged = forge_statement(&bundle, &plugin.key, |document| {
            document["predicate"]["allowed_egress"] = json!(["api.weather.example", entry]);
        })?;
        let code = refused(&world, &plugin, forged.as_bytes()).with_context(|| entry.to_owned())?;
        assert_eq!(code, "manifest_egress", "{entry:?}");
    }
    std::fs::write(&plugin.bundle, &bundle)?;
    world.admit(&plugin, "high")?.expect(0)?;
    Ok(())
}

fn signed_nonsense() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let (plugin, bundle) = signed(&world)?;
    let key = &plugin.key;
    let text = statement(&bundle)?.to_string();
    // The forger can sign: the very same document is let through.
    std::fs::write(&plugin.bundle, forge(&bundle, text.as_bytes(), key)?)?;
    world.verify(&plugin)?.expect(0)?;
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let edited = |edit: &dyn Fn(&mut Value)| forge_statement(&bundle, key, |document| edit(document));
    let without = |field: &'static str| {
        edited(&|document| {
            let predicate = document["predicate"].as_object_mut();
            predicate.map(|fields| fields.remove(field));
        })
    };
    let raw = |payload: &str| forge(&bundle, payload.as_bytes(), key);
    let cases: Vec<(&str, String)> = vec![
        ("no declaration at all", without("allowed_egress")?),
        (
            "declarations of null",
            edited(&|d| d["predicate"]["allowed_egress"] = Value::Null)?,
        ),
        (
            "a declaration of anything",
            edited(&|d| d["predicate"]["allowed_egress"] = json!("any"))?,
        ),
        (
            "a field that nobody knows",
            edited(&|d| d["predicate"]["allow_all"] = json!(true))?,
        ),
        (
            "an id with a path",
            edited(&|d| d["predicate"]["plugin_id"] = json!("../etc"))?,
        ),
        (
            "another plugin's",
            edited(&|d| d["predicate"]["plugin_id"] = json!("acme.other"))?,
        ),
        (
            "for another artifact",
            edited(&|d| d["predicate"]["artifact_digest"] = json!(format!("sha256:{}", "0".repeat(64))))?,
        ),
        (
            "about another subject",
            edited(&|d| d["subject"][0]["digest"]["sha256"] = json!("0".repeat(64)))?,
        ),
        ("about nothing", edited(&|d| d["subject"] = json!([]))?),
        (
            "of another kind",
            edited(&|d| d["predicateType"] = json!("https://bailiwick.dev/crl/v1"))?,
        ),
        (
            "of a later format",
            edited(&|d| d["predicate"]["manifest_version"] = json!(2))?,
        ),
        (
            "in another grammar",
            edited(&|d| d["predicate"]["egress_grammar"] = json!("regex/1"))?,
        ),
        (
            "twice the same key",
            raw(&text.replacen(
                "\"predicate\":{",
                "\"predicate\":{\"plugin_id\":\"acme.other\",",
                1,
            ))?,
        ),
        (
            "too deep",
            raw(&text.replacen("\"predicate\":{", &format!("\"predicate\":{{\"x\":{nested},"), 1))?,
        ),
        ("a byte order mark", raw(&format!("\u{feff}{text}"))?),
        ("cut short", raw(&text[..text.len() / 2])?),
        ("no JSON", raw("manifest: yes")?),
        ("empty", raw("")?),
        (
            "a number beyond all numbers",
            edited(&|d| d["predicate"]["limits"] = json!({"connections_per_minute": u64::MAX}))?,
        ),
    ];
    let mut told = Vec::new();
    for (case, forged) in cases {
        let code = refused(&world, &plugin, forged.as_bytes()).with_context(|| case.to_owned())?;
        told.push((case, code));
    }
    let told: Vec<_> = told.iter().map(|(case, code)| (*case, code.as_str())).collect();
    let expected = [
        ("no declaration at all", "manifest_field_missing"),
        ("declarations of null", "manifest_field_type"),
        ("a declaration of anything", "manifest_field_type"),
        ("a field that nobody knows", "manifest_unknown_field"),
        ("an id with a path", "manifest_field_value"),
        ("another plugin's", "signer_out_of_scope"),
        ("for another artifact", "subject_mismatch"),
        ("about another subject", "subject_mismatch"),
        ("about nothing", "payload_malformed"),
        ("of another kind", "predicate_type_wrong"),
        ("of a later format", "manifest_version_unsupported"),
        ("in another grammar", "manifest_version_unsupported"),
        ("twice the same key", "payload_duplicate_key"),
        ("too deep", "payload_too_deep"),
        ("a byte order mark", "payload_byte_order_mark"),
        ("cut short", "payload_not_json"),
        ("no JSON", "payload_not_json"),
        ("empty", "payload_not_json"),
        ("a number beyond all numbers", "payload_number_too_large"),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        world.ok(["plugins"])?["plugins"],
        json!([]),
        "nothing was registered"
    );
    Ok(())
}

fn confused_envelopes() -> Result<()> {
    let mut world = World::new()?;
    world.serve()?;
    let (plugin, bundle) = signed(&world)?;
    let good: Value = serde_json::from_str(&bundle)?;
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        edit(&mut changed);
        changed.to_string()
    };
    let crl = std::fs::read_to_string(world.site().join("data/crl/crl.sigstore.json"))?;
    let cases: Vec<(&str, String)> = vec![
        (
            "alg none",
            edited(&|b| b["dsseEnvelope"]["signatures"][0]["alg"] = json!("none")),
        ),
        (
            "an algorithm",
            edited(&|b| b["verificationMaterial"]["algorithm"] = json!("HS256")),
        ),
        (
            "no signature",
            edited(&|b| b["dsseEnvelope"]["signatures"] = json!([])),
        ),
        (
            "an empty signature",
            edited(&|b| b["dsseEnvelope"]["signatures"][0]["sig"] = json!("")),
        ),
        (
            "two signatures",
            edited(&|b| {
                let one = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"] = json!([one, one]);
            }),
        ),
        (
            "another payload type",
            edited(&|b| b["dsseEnvelope"]["payloadType"] = json!("text/plain")),
        ),
        (
            "another media type",
            edited(&|b| b["mediaType"] = json!("application/json")),
        ),
        ("a further field", edited(&|b| b["tlogEntries"] = json!([]))),
        (
            "a payload that is no base64",
            edited(&|b| b["dsseEnvelope"]["payload"] = json!("%%%")),
        ),
        ("no envelope", edited(&|b| b["dsseEnvelope"] = Value::Null)),
        (
            "a certificate of its own",
            edited(&|b| b["verificationMaterial"] = json!({"certificate": {"rawBytes": ""}})),
        ),
        ("a byte order mark", format!("\u{feff}{bundle}")),
        (
            "twice the same key",
            bundle.replacen('{', "{\"mediaType\":\"x\",", 1),
        ),
        (
            "too deep",
            format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        ),
        ("two documents", format!("{bundle}{bundle}")),
        ("empty", String::new()),
        ("the revocation list's signature", crl),
    ];
    let mut told = Vec::new();
    for (case, forged) in cases {
        let code = refused(&world, &plugin, forged.as_bytes()).with_context(|| case.to_owned())?;
        told.push((case, code));
    }
    let told: Vec<_> = told.iter().map(|(case, code)| (*case, code.as_str())).collect();
    let expected = [
        ("alg none", "bundle_malformed"),
        ("an algorithm", "bundle_malformed"),
        ("no signature", "signature_missing"),
        ("an empty signature", "signature_bad"),
        ("two signatures", "signature_count"),
        ("another payload type", "bundle_malformed"),
        ("another media type", "bundle_malformed"),
        ("a further field", "bundle_malformed"),
        ("a payload that is no base64", "bundle_malformed"),
        ("no envelope", "bundle_malformed"),
        ("a certificate of its own", "bundle_malformed"),
        ("a byte order mark", "bundle_byte_order_mark"),
        ("twice the same key", "bundle_duplicate_key"),
        ("too deep", "bundle_too_deep"),
        ("two documents", "bundle_not_json"),
        ("empty", "bundle_truncated"),
        ("the revocation list's signature", "signer_untrusted"),
    ];
    assert_eq!(told, expected);
    // The names of the signer are hints: a wrong one does not save or break a good signature.
    let hinted = edited(&|b| {
        b["verificationMaterial"]["publicKey"]["hint"] = json!("AAAA");
        b["dsseEnvelope"]["signatures"][0]["keyid"] = json!("SHA256:somebody");
    });
    std::fs::write(&plugin.bundle, hinted)?;
    world.verify(&plugin)?.expect(0)?;
    // Ten megabytes are not read, whatever is in them.
    std::fs::write(&plugin.bundle, format!("{bundle}{}", " ".repeat(10 << 20)))?;
    for run in [world.verify(&plugin)?, world.admit(&plugin, "high")?] {
        ensure!(matches!(run.status, Some(1 | 2)), "{run:?}");
        run.error_line()?;
    }
    ensure!(world.admin_page("/healthz")?.starts_with("HTTP/1.1 200"));
    Ok(())
}

fn tenants() -> Result<()> {
    let world = World::new()?;
    let plugin = world
        .plugin("acme.weather")
        .declares(&["*.blob.core.windows.net", "api.weather.example"])
        .prepare()?;
    let linted = lint(&world, &plugin.manifest)?;
    ensure!(matches!(linted.status, Some(0 | 1)), "{linted:?}");
    let view = linted.json()?;
    let about: Vec<_> = view["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["entry"].to_string().contains("blob.core.windows.net"))
        .collect();
    ensure!(!about.is_empty(), "not warned of: {view:#}");
    ensure!(about[0]["message"].is_string(), "{view:#}");
    Ok(())
}

fn nothing_declared() -> Result<()> {
    let stage = Stage::new(&["one.example", "two.example"], &[])?;
    for target in ["one.example:443", "two.example:80"] {
        stage.tunnel(target)?;
    }
    let undeclared = |target: &str| ("undeclared_host".to_owned(), target.to_owned());
    assert_eq!(
        stage.findings()?,
        [undeclared("one.example:443"), undeclared("two.example:80")]
    );
    Ok(())
}

fn wider_version() -> Result<()> {
    let stage = Stage::new(
        &["api.weather.example", "paste.example"],
        &["api.weather.example"],
    )?;
    stage.tunnel("api.weather.example:443")?;
    stage.wait_for("close", 1)?;
    let audit = stage.world.cli(["audit"])?.expect(0)?.json()?;
    let report = crate::story::artifact_report(&audit, &stage.plugin)?;
    assert_eq!(report["verdict"], "conforming", "{report:#}");
    let wider = stage
        .world
        .plugin("acme.weather")
        .declares(&["*.weather.example", "paste.example"])
        .bytes("weather-2.bin", b"another build")?
        .admit("high")?;
    let compare = |old: &Plugin, new: &Plugin| {
        stage.world.cli([
            "manifest".as_ref(),
            "diff".as_ref(),
            old.bundle.as_os_str(),
            new.bundle.as_os_str(),
        ])
    };
    let shown = compare(&stage.plugin, &wider)?.expect(0)?.json()?;
    assert_eq!(shown["widens"], true, "{shown:#}");
    ensure!(shown.to_string().contains("paste.example"), "{shown:#}");
    ensure!(shown.to_string().contains("*.weather.example"), "{shown:#}");
    let narrowed = compare(&wider, &stage.plugin)?.expect(0)?.json()?;
    ensure!(
        !narrowed["removed"].as_array().is_none_or(Vec::is_empty),
        "{narrowed:#}"
    );
    // The new build has done nothing yet, and nothing is said of it.
    let audit = stage.world.cli(["audit", "--dry-run"])?.json()?;
    let report = crate::story::artifact_report(&audit, &wider)?;
    assert_eq!(report["verdict"], "no_traffic", "{report:#}");
    // And what the new one may do, the old one still may not.
    stage.tunnel("paste.example:443")?;
    stage.wait_for("close", 2)?;
    assert_eq!(
        stage.findings()?,
        [("undeclared_host".to_owned(), "paste.example:443".to_owned())]
    );
    Ok(())
}
