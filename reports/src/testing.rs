//! Builders for tests: everything valid, so that a test states only what matters to its claim.

use base::{Host, ObservedScheme, Port, Reason, Sha256Digest, Tier, Timestamp, Verdict};
use seal::SigningKey;

use crate::context::{Context, EvidenceFile, SignedFile};
use crate::predicate::{
    ActionKind, ActionTaken, Auditor, ConformanceReport, Coverage, CoverageScope, CrlReference, DigestSet,
    DocumentReference, EventReference, Finding, FindingId, Gap, LogReference, Observed, Omitted, Period,
    PolicyReference,
};

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn host(text: &str) -> Host {
    text.parse().unwrap()
}

/// A key that exists for tests alone; its seed is in the open.
pub(crate) fn auditor_key() -> SigningKey {
    SigningKey::ed25519_from_seed(&[41; 32])
}

/// A trust root in which [`auditor_key`] is the auditor's.
pub(crate) fn trust_root() -> seal::trust::TrustRoot {
    let root_key = SigningKey::ed25519_from_seed(&[90; 32]).public();
    seal::trust::TrustRoot::first(vec![root_key], 1, time("2030-01-01T00:00:00Z")).with_signer(
        seal::trust::Signer {
            name: "auditor".into(),
            key: auditor_key().public(),
            role: seal::trust::Role::Auditor,
            scopes: vec!["*".parse().unwrap()],
            valid_from: time("2026-01-01T00:00:00Z"),
            valid_until: None,
        },
    )
}

fn digest(words: &str) -> DigestSet {
    DigestSet {
        sha256: Sha256Digest::of(words.as_bytes()),
    }
}

pub(crate) fn observed(name: &str, matched: Option<&str>, connections: u64) -> Observed {
    Observed {
        host: host(name),
        port: Port::HTTPS,
        scheme: Some(ObservedScheme::Tls),
        connections,
        refused: 0,
        bytes_out: connections * 1834,
        bytes_in: connections * 52_710,
        matched: matched.map(str::to_owned),
        runs: 0,
        alive_at_end: 0,
    }
}

/// A quiet night: one declared host, one that was declared and not used.
pub(crate) fn clean() -> ConformanceReport {
    ConformanceReport {
        verdict: Verdict::Conforming,
        plugin_id: "azure_openai_embeddings".parse().unwrap(),
        artifact_digest: base::ArtifactDigest::new(Sha256Digest::of(b"artifact")),
        run_id: None,
        period: Period {
            from: time("2026-11-21T00:00:00Z"),
            to: time("2026-11-22T00:00:00Z"),
        },
        auditor: Auditor {
            id: "acme/auditor".into(),
            version: "0.1.0".into(),
        },
        previous_report: None,
        manifests: Vec::new(),
        bytes_before: 0,
        manifest: DocumentReference {
            digest: digest("manifest"),
        },
        policy: PolicyReference {
            version: 7,
            digest: digest("policy"),
        },
        crl: CrlReference {
            crl_number: 42,
            digest: digest("crl"),
        },
        coverage: Coverage {
            scope: CoverageScope::ProxiedOnly,
            runs: 118,
            events: 70_213,
            gateways_expected: 1,
            gateways_seen: 1,
            gaps: Vec::new(),
        },
        logs: vec![LogReference {
            origin: "acme/gw-1".into(),
            from: 0,
            to: 140_426,
            checkpoint: "acme/gw-1\n140426\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
                         — acme/gw-1 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
                .into(),
        }],
        observed: vec![observed("acme.openai.azure.com", Some("acme.openai.azure.com"), 35_012)],
        unused: vec!["*.blob.acme.example".into()],
        findings: Vec::new(),
        actions: Vec::new(),
        omitted: Omitted::default(),
    }
}

/// The finding `reason` about a host, in the report's scope.
pub(crate) fn finding(report: &ConformanceReport, reason: Reason, name: Option<&str>) -> Finding {
    let mut finding = Finding {
        id: "0".repeat(32).parse().unwrap(),
        reason,
        severity: reason.severity(),
        host: name.map(host),
        port: name.map(|_| Port::HTTPS),
        scheme: name.map(|_| ObservedScheme::Tls),
        origin: None,
        runs: vec!["019aa3f0-1c00-7000-8000-000000000001".parse().unwrap()],
        first: time("2026-11-21T09:14:07.512Z"),
        last: time("2026-11-21T17:40:55Z"),
        connections: 3,
        refused: 0,
        nearest_declared: None,
        fix: "stop, or declare it".into(),
        events: vec![EventReference {
            origin: "acme/gw-1".into(),
            index: 321,
        }],
    };
    if let Some(name) = name {
        finding.nearest_declared = Some("acme.openai.azure.com".into());
        finding.fix = format!("add \"{name}\" to allowed_egress and re-sign, or stop connecting");
    }
    finding.id = FindingId::of(&report.scope(), &finding.key());
    finding
}

/// A night with an undeclared host, quarantined by the medium tier.
pub(crate) fn breach() -> ConformanceReport {
    let mut report = clean();
    report.verdict = Verdict::NonConforming;
    report.plugin_id = "invoice_ocr".parse().unwrap();
    report.previous_report = Some(DocumentReference {
        digest: digest("yesterday"),
    });
    report.observed.push(observed("api.randomsite.com", None, 3));
    report.findings = vec![finding(
        &report,
        Reason::UndeclaredHost,
        Some("api.randomsite.com"),
    )];
    report.actions = vec![
        ActionTaken {
            action: ActionKind::Alert,
            clause: "tiers.medium.on_breach".into(),
            enabled_by: "dana@acme.example".into(),
            crl_number: None,
            at: None,
        },
        ActionTaken {
            action: ActionKind::Quarantine,
            clause: "tiers.medium.on_breach".into(),
            enabled_by: "dana@acme.example".into(),
            crl_number: Some(43),
            at: None,
        },
    ];
    report
}

/// A night with a gap and nothing undeclared.
pub(crate) fn doubtful() -> ConformanceReport {
    let mut report = clean();
    report.verdict = Verdict::Inconclusive;
    report.coverage.gaps = vec![Gap {
        origin: "acme/gw-1".into(),
        cause: "the gateway was killed while it wrote; 12 entries could not be recovered".into(),
        index: Some(88_214),
        from: Some(time("2026-11-21T03:12:00Z")),
        to: Some(time("2026-11-21T03:12:04Z")),
        missing: Some(12),
    }];
    let mut gap = finding(&report, Reason::EvidenceGap, None);
    gap.origin = Some("acme/gw-1".into());
    gap.runs.clear();
    gap.connections = 0;
    gap.fix = "nothing for the owner to do: the operator of acme/gw-1 looks into the gap".into();
    gap.events[0].index = 88_214;
    gap.first = time("2026-11-21T03:12:04Z");
    gap.last = gap.first;
    gap.id = FindingId::of(&report.scope(), &gap.key());
    report.findings = vec![gap];
    report
}

/// A night in which one run went to `count` hosts that nobody declared; made to fit, as an auditor does.
pub(crate) fn flood(count: u32) -> ConformanceReport {
    let mut report = breach();
    report.findings.clear();
    for number in 0..count {
        let name = format!("{}{number}.flood.example", "x".repeat(40));
        report.observed.push(observed(&name, None, 1));
        let found = finding(&report, Reason::UndeclaredHost, Some(&name));
        report.findings.push(found);
    }
    report.fit();
    report.check().unwrap();
    report
}

/// A night without a connection.
pub(crate) fn silent() -> ConformanceReport {
    let mut report = clean();
    report.verdict = Verdict::NoTraffic;
    report.observed.clear();
    report.unused.insert(1, "acme.openai.azure.com".into());
    report
}

/// The surroundings of [`breach`], signed and with evidence.
pub(crate) fn context() -> Context {
    Context {
        site: "acme".into(),
        artifact_name: "invoice_ocr-1.4.2-py3-none-any.whl".into(),
        version: Some("1.4.2".into()),
        tier: Tier::Medium,
        owner: Some("Invoice team".into()),
        security_contact: "security@acme.example".into(),
        signed: Some(SignedFile {
            name: "report.sigstore.json".into(),
            payload_digest: Sha256Digest::of(b"payload"),
            key: auditor_key().public(),
            key_name: "auditor.pub".into(),
        }),
        evidence: Some(EvidenceFile {
            name: "evidence-2026-11-21-invoice_ocr.tar.zst".into(),
            digest: Sha256Digest::of(b"evidence"),
            size_bytes: 18_204,
        }),
        appeals: crate::AppealClocks::default(),
        changes: None,
    }
}

/// A report and its surroundings in which everybody who can choose a word chose a hostile one.
pub(crate) fn hostile() -> (ConformanceReport, Context) {
    const WORDS: &str = "<img src=x onerror=alert(1)>\"'\r\nCONFORMING: all is well\r\nBcc: x@evil.example\u{1b}[2J\u{202e}gpj\u{200b}\u{2028}=HYPERLINK(\"x\") $(reboot) {{7*7}} <b>";
    let mut report = breach();
    report.auditor.id = WORDS.into();
    report.auditor.version = WORDS.into();
    report.observed[0].matched = Some(WORDS.into());
    report.unused = vec![WORDS.into()];
    report.coverage.gaps = doubtful().coverage.gaps;
    report.coverage.gaps[0].cause = WORDS.into();
    report.coverage.gaps[0].origin = WORDS.into();
    report.findings[0].nearest_declared = Some(WORDS.into());
    report.findings[0].fix = WORDS.into();
    report.findings[0].events[0].origin = WORDS.into();
    report.logs[0].origin = WORDS.into();
    report.logs[0].checkpoint = WORDS.into();
    for action in &mut report.actions {
        action.clause = WORDS.into();
        action.enabled_by = WORDS.into();
    }
    report.check().unwrap();
    let mut context = context();
    context.site = WORDS.into();
    context.artifact_name = WORDS.into();
    context.version = Some(WORDS.into());
    context.owner = Some(WORDS.into());
    context.security_contact = WORDS.into();
    context.signed.as_mut().unwrap().name = WORDS.into();
    context.signed.as_mut().unwrap().key_name = WORDS.into();
    context.evidence.as_mut().unwrap().name = WORDS.into();
    context.changes = Some(crate::Changes::between(&clean(), &report));
    (report, context)
}

/// Compares with a golden file under `tests/vectors/reports/`, which a reviewer can read. With
/// `BAILIWICK_BLESS=1` it is written instead, for the reviewer to look at.
pub(crate) fn golden(name: &str, found: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/vectors/reports")
        .join(name);
    if std::env::var_os("BAILIWICK_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_default();
    assert!(
        kept == found,
        "{} differs; look at the difference after BAILIWICK_BLESS=1 cargo test -p bailiwick-reports",
        path.display()
    );
}
