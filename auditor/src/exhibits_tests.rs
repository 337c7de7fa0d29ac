//! What a stranger finds in the evidence of a report: who let something pass, by which policy, and every
//! manifest that was the measure.

use std::collections::BTreeMap;

use base::{Backing, PolicyException, Reason};
use reports::bundle::{Finding, inspect, read_bundle};
use seal::trust::TrustRoot;

use crate::script::at;
use crate::stage::{NIGHT_S, Stage, manifest, was_in_force};

type Files = BTreeMap<String, Vec<u8>>;

fn exception(to: &str) -> PolicyException {
    PolicyException {
        plugin_id: "p".parse().unwrap(),
        artifact_digest: None,
        reasons: [Reason::UndeclaredHost].into(),
        to: Some(to.to_owned()),
        why: "until 2.0 ships".to_owned(),
        signed_by: ["ada".to_owned(), "bob".to_owned()],
        until: at(2 * NIGHT_S),
        backing: Backing::Signed,
    }
}

/// One plugin that needs an exception and one that does not, under a policy with two.
fn night() -> Stage {
    Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "paste.example:443")
        .observes("p", "paste.example:443")
        .declares("q", &["ok.example"])
        .observes("q", "ok.example:443")
        .change(|stage| {
            stage.policy.exceptions = vec![exception("paste.example"), exception("other.example")]
        })
        .signed()
}

/// The evidence of the report on a plugin's build.
fn evidence(stage: &Stage, plugin: &str) -> Files {
    let published = stage.published.borrow();
    let own = published
        .iter()
        .find(|p| p.report.plugin_id.as_str() == plugin && p.report.run_id.is_none());
    read_bundle(own.unwrap().evidence.as_ref().unwrap()).unwrap()
}

fn root(stage: &Stage) -> TrustRoot {
    TrustRoot::parse(&stage.auditor.trust_root).unwrap()
}

fn finding(files: &Files, root: &TrustRoot, name: &str) -> Finding {
    let inspection = inspect(files, root);
    let item = inspection.items.into_iter().find(|item| item.name == name);
    item.unwrap_or_else(|| panic!("{name} is missing")).finding
}

fn refused(files: &Files, root: &TrustRoot, name: &str) -> String {
    match finding(files, root, name) {
        Finding::Refused(why) => why,
        other => panic!("{name}: {other:?}"),
    }
}

fn verified(files: &Files, root: &TrustRoot, name: &str) -> String {
    match finding(files, root, name) {
        Finding::Verified(what) => what,
        other => panic!("{name}: {other:?}"),
    }
}

fn exceptions(files: &Files) -> Vec<String> {
    let names = files.keys().filter(|name| name.starts_with("exceptions/"));
    names.cloned().collect()
}

#[test]
fn the_exception_that_a_report_relied_on_is_in_its_evidence_with_both_signatures() {
    let stage = night();
    assert_eq!(stage.verdict("p"), base::Verdict::Conforming);
    let (files, root) = (evidence(&stage, "p"), root(&stage));
    let names = exceptions(&files);
    assert_eq!(
        names.len(),
        3,
        "the words and two signatures of one exception: {names:?}"
    );
    let said = verified(&files, &root, &names[2]);
    assert!(
        said.starts_with(&format!(
            "let pass until {}, signed by ada and bob",
            at(2 * NIGHT_S)
        )),
        "{said}"
    );
    // The first visit began ten seconds into the day, and the second ended eleven seconds later.
    assert!(
        said.ends_with(&format!("used from {} to {}", at(10), at(21))),
        "{said}"
    );
    for signature in &names[..2] {
        let said = verified(&files, &root, signature);
        assert!(
            said.starts_with("signed by ada, operator key")
                || said.starts_with("signed by bob, operator key"),
            "{said}"
        );
    }
    for key in ["keys/operator.pub", "keys/operator-2.pub", "keys/certifier.pub"] {
        verified(&files, &root, key);
    }
    let guide = String::from_utf8(files["VERIFY.md"].clone()).unwrap();
    for part in [
        &names[0],
        &names[1],
        &names[2],
        "## The exceptions",
        "keys/operator-2.pub",
    ] {
        assert!(guide.contains(part), "{part} is not in VERIFY.md");
    }
    // Nobody else's evidence holds it.
    let other = evidence(&stage, "q");
    assert_eq!(exceptions(&other), Vec::<String>::new());
    assert!(
        !String::from_utf8(other["report-inputs.json"].clone())
            .unwrap()
            .contains("exceptions")
    );
}

#[test]
fn an_exception_that_lacks_a_signature_or_was_used_too_late_does_not_verify() {
    let stage = night();
    stage.audit();
    let (files, root) = (evidence(&stage, "p"), root(&stage));
    let names = exceptions(&files);
    let words = names[2].clone();

    let mut one = files.clone();
    one.remove(&names[0]);
    assert!(refused(&one, &root, &words).starts_with("only "));
    let mut twice = files.clone();
    twice.insert(names[0].clone(), files[&names[1]].clone());
    assert!(refused(&twice, &root, &words).starts_with("only "));

    let mut longer = files.clone();
    let text = String::from_utf8(files[&words].clone()).unwrap();
    longer.insert(words.clone(), text.replace("2.0 ships", "9.0 ships").into_bytes());
    refused(&longer, &root, &words);

    let mut late = files.clone();
    let inputs = String::from_utf8(files["report-inputs.json"].clone()).unwrap();
    let late_inputs = inputs.replace(&at(21).to_string(), &at(2 * NIGHT_S).to_string());
    assert_ne!(inputs, late_inputs);
    late.insert("report-inputs.json".to_owned(), late_inputs.into_bytes());
    assert!(refused(&late, &root, &words).contains("ran out at"));

    let mut gone = files.clone();
    names.iter().for_each(|name| drop(gone.remove(name)));
    assert!(refused(&gone, &root, "report-inputs.json").contains("an exception that is missing"));

    let bob = crate::stage::person_key(2).public().fingerprint();
    let without_bob = root.without_signer(&bob, None).unwrap();
    assert!(refused(&files, &without_bob, &words).starts_with("only ada signed it"));
    assert!(matches!(finding(&files, &root, &words), Finding::Verified(_)));
}

#[test]
fn an_exception_is_worth_nothing_beside_a_policy_that_does_not_hold_it() {
    let stage = night();
    stage.audit();
    let (mut files, root) = (evidence(&stage, "p"), root(&stage));
    let names = exceptions(&files);
    let mut policy = stage.policy.clone();
    policy.exceptions.remove(0);
    files.insert("policy.json".to_owned(), base::json::canonical(&policy).unwrap());
    assert!(refused(&files, &root, &names[2]).contains("does not hold it"));
}

#[test]
fn a_policy_that_was_signed_is_in_the_evidence_with_its_signature() {
    let stage = night();
    stage.audit();
    let (files, root) = (evidence(&stage, "q"), root(&stage));
    let said = verified(&files, &root, "policy.json");
    assert!(
        said.starts_with("version 1, signed by certifier key SHA256:"),
        "{said}"
    );
    verified(&files, &root, "policy.sigstore.json");
    let guide = String::from_utf8(files["VERIFY.md"].clone()).unwrap();
    assert!(guide.contains("## The policy"), "{guide}");

    let mut changed = files.clone();
    let text = String::from_utf8(files["policy.json"].clone()).unwrap();
    changed.insert(
        "policy.json".to_owned(),
        text.replace("\"version\":1", "\"version\":2").into_bytes(),
    );
    assert!(refused(&changed, &root, "policy.json").contains("different words"));
    // Without its signature it is what nobody signed.
    let mut unsigned = files.clone();
    unsigned.remove("policy.sigstore.json");
    assert!(matches!(
        finding(&unsigned, &root, "policy.json"),
        Finding::Unsigned(_)
    ));
}

#[test]
fn every_manifest_that_a_report_names_is_in_its_evidence() {
    let stage = Stage::new()
        .declares("p", &["ok.example"])
        .observes("p", "ok.example:443")
        .change(|stage| {
            let before = Stage::new()
                .declares("p", &["ok.example", "cdn.example"])
                .artifacts
                .remove(0);
            let mut earlier = was_in_force(at(50_000), manifest("p", &["ok.example", "cdn.example"]), b"");
            (earlier.payload, earlier.bundle) = (before.manifest_payload, before.manifest_bundle);
            stage.artifacts[0].earlier = vec![earlier];
        });
    stage.audit();
    let (files, root) = (evidence(&stage, "p"), root(&stage));
    for name in [
        "PLUGIN_MANIFEST.sigstore.json",
        "earlier/01/PLUGIN_MANIFEST.sigstore.json",
    ] {
        verified(&files, &root, name);
        let guide = String::from_utf8(files["VERIFY.md"].clone()).unwrap();
        assert!(guide.contains(&format!("--bundle {name}")), "{guide}");
    }
}
