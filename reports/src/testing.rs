//! Builders for tests: everything valid, so that a test states only what matters to its claim.

use base::{Host, ObservedScheme, Port, Reason, Sha256Digest, Timestamp, Verdict};
use seal::SigningKey;

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
        },
        ActionTaken {
            action: ActionKind::Quarantine,
            clause: "tiers.medium.on_breach".into(),
            enabled_by: "dana@acme.example".into(),
            crl_number: Some(43),
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

/// A night without a connection.
pub(crate) fn silent() -> ConformanceReport {
    let mut report = clean();
    report.verdict = Verdict::NoTraffic;
    report.observed.clear();
    report.unused.insert(1, "acme.openai.azure.com".into());
    report
}
