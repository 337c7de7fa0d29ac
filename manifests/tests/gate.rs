//! The load gate: what passes, and each way to fail with the code of its own.

// Helpers of tests may fail loudly, as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use bailiwick_manifests::gate::{
    Admission, Floor, Freshness, GatePolicy, GateRefusal, GateRequest, Listed, Notice, Question, Revocations,
    Standing, admit,
};
use bailiwick_manifests::{Grant, SignedManifest, approve, sign};
use base::{ArtifactDigest, Reason, Sha256Digest, Tier, Timestamp};
use seal::envelope::seal;
use seal::trust::{Role, Signer, TrustRoot};
use seal::{PredicateType, SigningKey, Statement, Subject};
use serde_json::{Value, json};

const ARTIFACT: &[u8] = b"the very bytes that will run";
const OWNER: u8 = 2;
const CERTIFIER: u8 = 3;
const STRANGER: u8 = 9;

fn key(byte: u8) -> SigningKey {
    SigningKey::ed25519_from_seed(&[byte; 32])
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

fn digest_of(bytes: &[u8]) -> ArtifactDigest {
    ArtifactDigest::new(Sha256Digest::of(bytes))
}

/// A list that says what the test wants it to say.
struct List {
    freshness: Freshness,
    standing: Standing,
}

impl Revocations for List {
    fn freshness(&self, _: Timestamp) -> Freshness {
        self.freshness
    }

    fn standing(&self, question: &Question<'_>) -> Standing {
        assert_eq!(question.plugin.as_str(), "acme.weather");
        assert_ne!(self.freshness, Freshness::Missing, "a missing list is not asked");
        self.standing
    }
}

/// A load with everything valid; each test says what matters to it.
struct Load {
    manifest: Value,
    artifact: Vec<u8>,
    signer: u8,
    owner_scope: &'static str,
    owner_valid_until: Option<Timestamp>,
    certifier_valid_from: Timestamp,
    bundle: Option<Vec<u8>>,
    no_bundle: bool,
    first_seen: Option<Timestamp>,
    sidecar: Option<Vec<u8>>,
    approval: Option<Vec<u8>>,
    sbom: Option<Sha256Digest>,
    floor: Option<Floor>,
    policy: GatePolicy,
    list: List,
}

impl Load {
    fn new() -> Self {
        Self {
            manifest: json!({
                "plugin_id": "acme.weather",
                "version": "1.4.2",
                "allowed_egress": ["api.weather.example"],
                "data_classes": ["official"],
                "sdk_allowlist": [],
                "built_by": "ci/acme",
                "built_at": "2026-11-20T00:00:00Z",
            }),
            artifact: ARTIFACT.to_vec(),
            signer: OWNER,
            owner_scope: "acme.*",
            owner_valid_until: None,
            certifier_valid_from: at("2026-01-01T00:00:00Z"),
            bundle: None,
            no_bundle: false,
            first_seen: None,
            sidecar: None,
            approval: None,
            sbom: None,
            floor: None,
            policy: GatePolicy::initial(Tier::Medium),
            list: List {
                freshness: Freshness::Fresh { crl_number: 7 },
                standing: Standing::Silent,
            },
        }
    }

    fn trust(&self) -> TrustRoot {
        let signer = |byte: u8, role, scope: &str| Signer {
            name: format!("{role}"),
            key: key(byte).public(),
            role,
            scopes: vec![scope.parse().unwrap()],
            valid_from: at("2026-01-01T00:00:00Z"),
            valid_until: None,
        };
        let owner = Signer {
            valid_until: self.owner_valid_until,
            ..signer(OWNER, Role::Owner, self.owner_scope)
        };
        let certifier = Signer {
            valid_from: self.certifier_valid_from,
            ..signer(CERTIFIER, Role::Certifier, "acme.*")
        };
        TrustRoot::first(vec![key(1).public()], 1, at("2031-01-01T00:00:00Z"))
            .with_signer(owner)
            .with_signer(certifier)
    }

    fn signed_bundle(&self) -> Vec<u8> {
        let manifest = self.manifest.to_string();
        sign(
            manifest.as_bytes(),
            "weather.whl",
            &digest_of(ARTIFACT),
            &key(self.signer),
        )
        .unwrap()
    }

    /// A statement that `sign` would not make.
    fn sealed(&self, change: impl FnOnce(&mut Statement)) -> Vec<u8> {
        let mut predicate = self.manifest.clone();
        predicate["artifact_digest"] = json!(digest_of(ARTIFACT).to_string());
        let mut statement = Statement {
            subjects: vec![Subject::new("weather.whl", digest_of(ARTIFACT).sha256())],
            predicate_type: PredicateType::PluginManifest.uri().to_owned(),
            predicate,
        };
        change(&mut statement);
        seal(&statement, &key(self.signer)).unwrap()
    }

    fn open(&self) -> SignedManifest {
        SignedManifest::open(&self.signed_bundle(), &self.trust(), now()).unwrap()
    }

    fn approved_by(&self, certifier: u8, change: impl FnOnce(&mut Grant)) -> Vec<u8> {
        let mut grant = Grant {
            verifier: "https://acme.example/certifier".to_owned(),
            policy: "https://acme.example/policy".to_owned(),
            policy_digest: None,
            tier: Tier::Medium,
            at: now(),
            valid_until: None,
        };
        change(&mut grant);
        approve(&self.open(), &grant, &key(certifier)).unwrap()
    }

    fn admit(&self) -> Result<Admission, GateRefusal> {
        let signed = self.signed_bundle();
        let bundle = self.bundle.as_deref().unwrap_or(&signed);
        admit(&GateRequest {
            now: now(),
            trust: &self.trust(),
            revocations: &self.list,
            artifact: &digest_of(&self.artifact),
            bundle: (!self.no_bundle).then_some(bundle),
            first_seen: self.first_seen,
            sidecar: self.sidecar.as_deref(),
            approval: self.approval.as_deref(),
            sbom: self.sbom.as_ref(),
            floor: self.floor.as_ref(),
            policy: self.policy,
        })
    }

    fn code(&self) -> &'static str {
        match self.admit() {
            Ok(_) => "admitted",
            Err(refusal) => {
                assert!(!refusal.to_string().contains('\n'), "{refusal}");
                refusal.code()
            }
        }
    }
}

/// A valid load with one change, and what the gate says to it.
fn code(change: impl FnOnce(&mut Load)) -> &'static str {
    let mut load = Load::new();
    change(&mut load);
    load.code()
}

fn edited(bundle: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(bundle).unwrap();
    edit(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn a_load_with_everything_in_order_is_admitted() {
    let admission = Load::new().admit().unwrap();
    assert_eq!(admission.signed.manifest.plugin_id.as_str(), "acme.weather");
    assert_eq!(admission.signed.signer, key(OWNER).public().fingerprint());
    assert_eq!(admission.signed.artifact, digest_of(ARTIFACT));
    assert_eq!(admission.tier, Tier::Medium);
    assert_eq!(admission.crl_number, 7);
    assert_eq!(admission.notices, []);
}

#[test]
fn one_changed_byte_of_the_artifact_is_refused() {
    for at in 0..ARTIFACT.len() {
        assert_eq!(code(|load| load.artifact[at] ^= 1), "artifact_mismatch");
    }
    assert_eq!(code(|load| load.artifact.push(0)), "artifact_mismatch");
    let refusal = {
        let mut load = Load::new();
        load.artifact.clear();
        load.admit().unwrap_err()
    };
    assert_eq!(refusal.reason(), Some(Reason::DigestMismatch));
}

type Change = Box<dyn FnOnce(&mut Load)>;

/// Each of these is one way to fail, and no two of them share a code.
#[test]
fn each_way_to_fail_has_a_code_of_its_own() {
    let good = Load::new().signed_bundle();
    let text = String::from_utf8(good.clone()).unwrap();
    let bundle = |bytes: Vec<u8>| move |load: &mut Load| load.bundle = Some(bytes);
    let cases: Vec<(&str, Change)> = vec![
        ("manifest_missing", Box::new(|load| load.no_bundle = true)),
        ("bundle_too_large", Box::new(bundle(vec![b' '; 10 << 20]))),
        (
            "bundle_truncated",
            Box::new(bundle(good[..good.len() / 2].to_vec())),
        ),
        (
            "bundle_byte_order_mark",
            Box::new(bundle(format!("\u{feff}{text}").into_bytes())),
        ),
        (
            "bundle_duplicate_key",
            Box::new(bundle(
                text.replacen('{', "{\"mediaType\":\"x\",", 1).into_bytes(),
            )),
        ),
        ("bundle_too_deep", Box::new(bundle("[".repeat(100).into_bytes()))),
        ("bundle_not_json", Box::new(bundle(b"not json".to_vec()))),
        (
            "bundle_malformed",
            Box::new(bundle(edited(&good, |b| {
                b["dsseEnvelope"]["signatures"][0]["alg"] = json!("none")
            }))),
        ),
        (
            "signature_missing",
            Box::new(bundle(edited(&good, |b| {
                b["dsseEnvelope"]["signatures"] = json!([])
            }))),
        ),
        (
            "signature_count",
            Box::new(bundle(edited(&good, |b| {
                let one = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"] = json!([one, one]);
            }))),
        ),
        (
            "signature_bad",
            Box::new(bundle(edited(&good, |b| {
                let payload = b["dsseEnvelope"]["payload"]
                    .as_str()
                    .unwrap()
                    .replacen('e', "f", 1);
                b["dsseEnvelope"]["payload"] = json!(payload);
            }))),
        ),
        ("signer_untrusted", Box::new(|load| load.signer = STRANGER)),
        (
            "signer_out_of_scope",
            Box::new(|load| load.owner_scope = "other.*"),
        ),
        (
            "signer_not_valid_then",
            Box::new(|load| load.owner_valid_until = Some(at("2026-11-21T12:00:00Z"))),
        ),
        (
            "predicate_type_wrong",
            Box::new(|load| {
                load.bundle = Some(load.sealed(|s| s.predicate_type = PredicateType::Crl.uri().to_owned()));
            }),
        ),
        (
            "manifest_unknown_field",
            Box::new(|load| load.bundle = Some(load.sealed(|s| s.predicate["allowed_egres"] = json!([])))),
        ),
        (
            "manifest_field_missing",
            Box::new(|load| {
                load.bundle = Some(load.sealed(|s| {
                    s.predicate.as_object_mut().unwrap().remove("allowed_egress");
                }));
            }),
        ),
        (
            "manifest_field_type",
            Box::new(|load| load.bundle = Some(load.sealed(|s| s.predicate["allowed_egress"] = json!(null)))),
        ),
        (
            "manifest_field_value",
            Box::new(|load| load.bundle = Some(load.sealed(|s| s.predicate["built_at"] = json!("now")))),
        ),
        (
            "manifest_egress",
            Box::new(|load| {
                load.bundle = Some(load.sealed(|s| s.predicate["allowed_egress"] = json!(["*"])))
            }),
        ),
        (
            "manifest_version_unsupported",
            Box::new(|load| load.bundle = Some(load.sealed(|s| s.predicate["manifest_version"] = json!(2)))),
        ),
        (
            "subject_mismatch",
            Box::new(|load| {
                load.bundle =
                    Some(load.sealed(|s| s.subjects[0] = Subject::new("x", &Sha256Digest::of(b"x"))));
            }),
        ),
        (
            "sidecar_unreadable",
            Box::new(|load| load.sidecar = Some(b"{".to_vec())),
        ),
        (
            "sidecar_differs",
            Box::new(|load| {
                let mut readable = load.manifest.clone();
                readable["allowed_egress"] = json!(["evil.example"]);
                load.sidecar = Some(readable.to_string().into_bytes());
            }),
        ),
        ("artifact_mismatch", Box::new(|load| load.artifact.push(b'x'))),
        (
            "approval_missing",
            Box::new(|load| load.policy.approval_required = true),
        ),
        (
            "approval_signer_untrusted",
            Box::new(|load| load.approval = Some(load.approved_by(OWNER, |_| {}))),
        ),
        (
            "approval_expired",
            Box::new(|load| {
                load.approval = Some(load.approved_by(CERTIFIER, |g| g.valid_until = Some(now())))
            }),
        ),
        (
            "approval_truncated",
            Box::new(|load| {
                let mut approval = load.approved_by(CERTIFIER, |_| {});
                approval.pop();
                load.approval = Some(approval);
            }),
        ),
        (
            "approval_predicate_type_wrong",
            Box::new(|load| {
                let manifest = load.manifest.to_string();
                let misused = sign(manifest.as_bytes(), "x", &digest_of(ARTIFACT), &key(CERTIFIER));
                load.approval = Some(misused.unwrap());
            }),
        ),
        (
            "approval_other_manifest",
            Box::new(|load| {
                load.approval = Some(load.approved_by(CERTIFIER, |_| {}));
                load.manifest["allowed_egress"] = json!(["evil.example"]);
            }),
        ),
        (
            "sbom_missing",
            Box::new(|load| {
                load.manifest["sbom"] =
                    json!({"name": "bom.json", "digest": {"sha256": Sha256Digest::of(b"b").to_hex()}});
            }),
        ),
        (
            "sbom_mismatch",
            Box::new(|load| {
                load.manifest["sbom"] =
                    json!({"name": "bom.json", "digest": {"sha256": Sha256Digest::of(b"b").to_hex()}});
                load.sbom = Some(Sha256Digest::of(b"other"));
            }),
        ),
        (
            "downgrade",
            Box::new(|load| load.floor = Some(floor(Some("1.4.3")))),
        ),
        (
            "version_missing",
            Box::new(|load| {
                load.manifest.as_object_mut().unwrap().remove("version");
                load.floor = Some(floor(Some("1.0")));
            }),
        ),
        (
            "older_build",
            Box::new(|load| {
                load.floor = Some(Floor {
                    built_at: at("2026-11-20T00:00:01Z"),
                    ..floor(Some("1.4.2"))
                });
            }),
        ),
        (
            "revocation_list_missing",
            Box::new(|load| load.list.freshness = Freshness::Missing),
        ),
        (
            "revocation_list_stale",
            Box::new(|load| load.list.freshness = stale("2026-11-20T11:59:59Z")),
        ),
        ("killed", Box::new(|load| load.list.standing = Standing::Killed)),
        (
            "artifact_held",
            Box::new(|load| load.list.standing = held(Listed::Artifact)),
        ),
        (
            "signer_held",
            Box::new(|load| load.list.standing = held(Listed::Signer)),
        ),
        (
            "manifest_held",
            Box::new(|load| load.list.standing = held(Listed::Manifest)),
        ),
        (
            "plugin_held",
            Box::new(|load| load.list.standing = held(Listed::Plugin)),
        ),
        (
            "artifact_revoked",
            Box::new(|load| load.list.standing = revoked(Listed::Artifact)),
        ),
        (
            "signer_revoked",
            Box::new(|load| load.list.standing = revoked(Listed::Signer)),
        ),
        (
            "manifest_revoked",
            Box::new(|load| load.list.standing = revoked(Listed::Manifest)),
        ),
        (
            "plugin_revoked",
            Box::new(|load| load.list.standing = revoked(Listed::Plugin)),
        ),
        ("safe_mode", Box::new(|load| load.policy.safe_mode = true)),
        (
            "tier_above_grant",
            Box::new(|load| {
                load.approval = Some(load.approved_by(CERTIFIER, |_| {}));
                load.policy.tier = Tier::High;
            }),
        ),
    ];
    let total = cases.len();
    let mut seen = BTreeSet::new();
    for (expected, change) in cases {
        assert_eq!(code(change), expected);
        seen.insert(expected);
    }
    assert_eq!(seen.len(), total);
}

fn floor(version: Option<&str>) -> Floor {
    Floor {
        artifact: digest_of(b"the build before"),
        version: version.map(str::to_owned),
        built_at: at("2026-11-01T00:00:00Z"),
        signer: key(OWNER).public().fingerprint(),
    }
}

fn stale(next_update: &str) -> Freshness {
    Freshness::Stale {
        crl_number: 7,
        next_update: at(next_update),
    }
}

fn held(listed: Listed) -> Standing {
    Standing::Held {
        listed,
        reason: Some(Reason::UndeclaredHost),
        since: now(),
    }
}

fn revoked(listed: Listed) -> Standing {
    Standing::Revoked {
        listed,
        reason: Some(Reason::Malware),
        since: now(),
    }
}

#[test]
fn a_key_that_expired_since_still_counts_where_the_signing_was_witnessed() {
    let expired = |load: &mut Load| load.owner_valid_until = Some(at("2026-11-21T00:00:00Z"));
    assert_eq!(code(expired), "signer_not_valid_then");
    let witnessed = code(|load| {
        expired(load);
        load.first_seen = Some(at("2026-11-20T12:00:00Z"));
    });
    assert_eq!(witnessed, "admitted");
    let in_the_future = code(|load| {
        expired(load);
        load.first_seen = Some(at("2099-01-01T00:00:00Z"));
    });
    assert_eq!(in_the_future, "signer_not_valid_then");
}

#[test]
fn the_certifiers_key_is_asked_for_the_same_moment() {
    let seen = |moment: &str| {
        code(|load| {
            load.approval = Some(load.approved_by(CERTIFIER, |_| {}));
            load.first_seen = Some(at(moment));
            load.certifier_valid_from = at("2026-07-01T00:00:00Z");
        })
    };
    assert_eq!(seen("2026-07-01T00:00:00Z"), "admitted");
    assert_eq!(seen("2026-06-30T23:59:59Z"), "approval_signer_not_valid_then");
}

#[test]
fn a_readable_copy_beside_the_artifact_must_be_the_signed_value() {
    let draft = |load: &mut Load| load.sidecar = Some(serde_json::to_vec_pretty(&load.manifest).unwrap());
    assert_eq!(code(draft), "admitted");
    let complete = code(|load| {
        let mut readable = load.manifest.clone();
        readable["artifact_digest"] = json!(digest_of(ARTIFACT).to_string());
        load.sidecar = Some(readable.to_string().into_bytes());
    });
    assert_eq!(complete, "admitted");
    let mut load = Load::new();
    load.sidecar = Some(load.manifest.to_string().replace("1.4.2", "1.4.3").into_bytes());
    assert_eq!(
        load.admit().unwrap_err(),
        GateRefusal::SidecarDiffers {
            field: "version".into()
        }
    );
    let mut load = Load::new();
    load.sidecar = Some(
        load.manifest
            .to_string()
            .replacen('{', "{\"owner\":1,", 1)
            .into_bytes(),
    );
    assert_eq!(
        load.admit().unwrap_err(),
        GateRefusal::SidecarDiffers {
            field: "owner".into()
        }
    );
}

#[test]
fn an_approval_admits_up_to_the_tier_that_it_grants() {
    for (asked, expected) in [
        (Tier::High, "tier_above_grant"),
        (Tier::Medium, "admitted"),
        (Tier::Low, "admitted"),
    ] {
        let found = code(|load| {
            load.policy.approval_required = true;
            load.policy.tier = asked;
            load.approval = Some(load.approved_by(CERTIFIER, |_| {}));
        });
        assert_eq!(found, expected, "{asked}");
    }
}

#[test]
fn an_approval_names_the_manifest_by_its_payload_and_runs_out() {
    let mut load = Load::new();
    let end = at("2027-01-01T00:00:00Z");
    load.approval = Some(load.approved_by(CERTIFIER, |grant| grant.valid_until = Some(end)));
    let admission = load.admit().unwrap();
    let approval = admission.approval.unwrap();
    assert_eq!(approval.tier, Tier::Medium);
    assert_eq!(approval.valid_until, Some(end));
    let opened = load
        .trust()
        .open(
            load.approval.as_ref().unwrap(),
            Role::Certifier,
            PredicateType::Approval,
        )
        .unwrap();
    assert_eq!(
        opened.statement.predicate["inputAttestations"][0]["digest"]["sha256"],
        admission.signed.payload_digest.to_hex()
    );
}

#[test]
fn an_approval_that_is_there_is_checked_even_where_none_is_asked_for() {
    let found = code(|load| load.approval = Some(b"rubbish".to_vec()));
    assert_eq!(found, "approval_unreadable");
}

#[test]
fn the_sbom_that_was_signed_is_the_one_that_is_there() {
    let found = code(|load| {
        load.manifest["sbom"] =
            json!({"name": "bom.json", "digest": {"sha256": Sha256Digest::of(b"b").to_hex()}});
        load.sbom = Some(Sha256Digest::of(b"b"));
    });
    assert_eq!(found, "admitted");
}

#[test]
fn a_rebuild_under_the_same_version_is_admitted_and_noticed() {
    let mut load = Load::new();
    load.floor = Some(floor(Some("1.4.2")));
    assert_eq!(
        load.admit().unwrap().notices,
        [Notice::SameVersionOtherBytes {
            version: "1.4.2".into(),
            before: digest_of(b"the build before"),
        }]
    );
}

#[test]
fn without_versions_the_date_of_the_build_decides() {
    let unversioned = |built_at: &str| {
        code(|load| {
            load.manifest.as_object_mut().unwrap().remove("version");
            load.floor = Some(Floor {
                built_at: at(built_at),
                ..floor(None)
            });
        })
    };
    assert_eq!(unversioned("2026-11-20T00:00:00Z"), "admitted");
    assert_eq!(unversioned("2026-11-20T00:00:01Z"), "older_build");
}

#[test]
fn the_artifact_that_set_the_floor_is_no_downgrade() {
    let found = code(|load| {
        load.floor = Some(Floor {
            artifact: digest_of(ARTIFACT),
            ..floor(Some("99"))
        });
    });
    assert_eq!(found, "admitted");
}

#[test]
fn another_signer_than_before_is_noticed_and_not_refused() {
    let mut load = Load::new();
    let before = key(STRANGER).public().fingerprint();
    load.floor = Some(Floor {
        signer: before,
        ..floor(Some("1.0"))
    });
    assert_eq!(
        load.admit().unwrap().notices,
        [Notice::SignerChanged {
            before,
            now: key(OWNER).public().fingerprint(),
        }]
    );
}

#[test]
fn a_stale_list_lets_loads_through_during_the_grace_and_says_so() {
    let mut load = Load::new();
    load.list.freshness = stale("2026-11-20T12:00:00Z");
    assert_eq!(
        load.admit().unwrap().notices,
        [Notice::RevocationListStale {
            crl_number: 7,
            next_update: at("2026-11-20T12:00:00Z"),
        }]
    );
    load.list.standing = held(Listed::Artifact);
    assert_eq!(load.code(), "artifact_held");
}

#[test]
fn a_refusal_carries_the_reason_of_the_closed_list() {
    for (change, reason) in [
        (held(Listed::Artifact), Some(Reason::UndeclaredHost)),
        (revoked(Listed::Signer), Some(Reason::Malware)),
        (Standing::Killed, None),
    ] {
        let mut load = Load::new();
        load.list.standing = change;
        assert_eq!(load.admit().unwrap_err().reason(), reason);
    }
    let mut load = Load::new();
    load.signer = STRANGER;
    assert_eq!(load.admit().unwrap_err().reason(), Some(Reason::SignatureInvalid));
}

#[test]
fn a_truncated_bundle_is_never_admitted_wherever_it_was_cut() {
    let good = Load::new().signed_bundle();
    for end in 0..good.len() {
        let found = code(|load| load.bundle = Some(good[..end].to_vec()));
        assert_eq!(found, "bundle_truncated", "cut at {end}");
    }
}

#[test]
fn a_payload_that_cannot_be_read_is_refused_by_name_although_its_signature_is_good() {
    use base64::Engine as _;
    let good: Value = serde_json::from_slice(&Load::new().signed_bundle()).unwrap();
    let encoded = good["dsseEnvelope"]["payload"].as_str().unwrap();
    let engine = base64::engine::general_purpose::STANDARD;
    let payload = String::from_utf8(engine.decode(encoded).unwrap()).unwrap();
    let field = |field: &str| payload.replacen("\"plugin_id\"", &format!("{field},\"plugin_id\""), 1);
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for (payload, expected) in [
        (field("\"plugin_id\":\"acme.weather\""), "payload_duplicate_key"),
        (field(&format!("\"x\":{nested}")), "payload_too_deep"),
        (field("\"x\":18446744073709551615"), "payload_number_too_large"),
        (format!("\u{feff}{payload}"), "payload_byte_order_mark"),
        (payload[..payload.len() / 2].to_owned(), "payload_not_json"),
        ("{}".to_owned(), "payload_malformed"),
    ] {
        let message =
            seal::envelope::pre_authentication_encoding(seal::envelope::PAYLOAD_TYPE, payload.as_bytes());
        let mut bundle = good.clone();
        bundle["dsseEnvelope"]["payload"] = json!(engine.encode(&payload));
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(engine.encode(key(OWNER).sign(&message)));
        let found = code(|load| load.bundle = Some(bundle.to_string().into_bytes()));
        assert_eq!(found, expected);
    }
}
