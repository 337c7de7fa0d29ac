//! Reasons: the closed list of why a finding exists or an artifact was acted on.

use crate::text_enum::text_enum;

text_enum! {
    /// Why a finding exists, or why an artifact is on the revocation list.
    pub enum Reason as "reason" {
        /// A host that no declaration covers.
        UndeclaredHost = "undeclared_host",
        /// A declared host on a port that no declaration covers.
        UndeclaredPort = "undeclared_port",
        /// A declared host and port, spoken to in a scheme that no declaration covers.
        UndeclaredScheme = "undeclared_scheme",
        /// An IP address that no declaration covers.
        IpLiteral = "ip_literal",
        /// A name that resolved to a private address.
        PrivateResolution = "private_resolution",
        /// The name inside TLS differs from the name asked of the gateway.
        SniMismatch = "sni_mismatch",
        /// Traffic was promised and none was seen, or it went where the gateway cannot look.
        NoCoverage = "no_coverage",
        /// Evidence is missing, and the gateway said so.
        EvidenceGap = "evidence_gap",
        /// Evidence was changed.
        TamperedEvidence = "tampered_evidence",
        /// A signature does not verify, or its key may not sign this.
        SignatureInvalid = "signature_invalid",
        /// The artifact's bytes are not the bytes that were signed.
        DigestMismatch = "digest_mismatch",
        /// A lower version than the one admitted before.
        Downgrade = "downgrade",
        /// Another key signs than before.
        SignerChanged = "signer_changed",
        /// The SBOM is not the one that was signed.
        SbomMismatch = "sbom_mismatch",
        /// A library outside the declared ranges.
        SdkDrift = "sdk_drift",
        /// Data of a class that the destination was not declared for.
        DataClassBreach = "data_class_breach",
        /// A declared limit was exceeded.
        LimitExceeded = "limit_exceeded",
        /// A client claimed an identity in headers of its own; the gateway removed them.
        IdentityHeaderForged = "identity_header_forged",
        /// Credentials were presented that are no longer good, or never were.
        CredentialsReplayed = "credentials_replayed",
        /// Two proofs of identity were presented that disagree.
        CredentialsConflict = "credentials_conflict",
        /// A connection asked for after the artifact was revoked or put on hold.
        AfterRevocation = "after_revocation",
        /// A known vulnerability.
        Vulnerability = "vulnerability",
        /// A key got into the wrong hands.
        KeyCompromise = "key_compromise",
        /// Malware.
        Malware = "malware",
        /// The owner asked for it.
        OwnerRequest = "owner_request",
        /// A policy, approval or waiver ran out.
        PolicyExpired = "policy_expired",
        /// A newer artifact took its place.
        Superseded = "superseded",
        /// The earlier act was a mistake.
        FalsePositive = "false_positive",
    }
}

impl Reason {
    /// How grave a finding with this reason is, unless a policy says otherwise.
    pub const fn severity(self) -> Severity {
        match self {
            Self::TamperedEvidence | Self::KeyCompromise | Self::Malware => Severity::Critical,
            Self::UndeclaredHost
            | Self::IpLiteral
            | Self::PrivateResolution
            | Self::SniMismatch
            | Self::SignatureInvalid
            | Self::DigestMismatch
            | Self::Downgrade
            | Self::DataClassBreach => Severity::High,
            Self::UndeclaredPort
            | Self::UndeclaredScheme
            | Self::EvidenceGap
            | Self::SignerChanged
            | Self::SbomMismatch
            | Self::SdkDrift
            | Self::Vulnerability
            | Self::LimitExceeded => Severity::Medium,
            Self::NoCoverage
            | Self::IdentityHeaderForged
            | Self::CredentialsReplayed
            | Self::CredentialsConflict
            | Self::AfterRevocation
            | Self::OwnerRequest
            | Self::PolicyExpired
            | Self::Superseded
            | Self::FalsePositive => Severity::Low,
        }
    }
}

/// What shows that a finding with some reason is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownBy {
    /// Each connection by itself, together with what was declared and approved and what is inside the
    /// build.
    Connection,
    /// What the connections of a run come to together.
    Usage,
    /// Something missing or changed in the evidence itself.
    Doubt,
    /// Events, as something worth knowing that stands against nobody.
    Note,
    /// The load gate, before anything runs.
    Gate,
    /// A person who says so.
    Person,
}

impl Reason {
    /// What shows it. Only what connections show, alone or together, can be counted by the clauses of a
    /// policy.
    pub const fn shown_by(self) -> ShownBy {
        match self {
            Self::UndeclaredHost
            | Self::UndeclaredPort
            | Self::UndeclaredScheme
            | Self::IpLiteral
            | Self::PrivateResolution
            | Self::SniMismatch
            | Self::SdkDrift
            | Self::DataClassBreach
            | Self::PolicyExpired => ShownBy::Connection,
            Self::LimitExceeded => ShownBy::Usage,
            Self::NoCoverage | Self::EvidenceGap | Self::TamperedEvidence => ShownBy::Doubt,
            Self::IdentityHeaderForged
            | Self::CredentialsReplayed
            | Self::CredentialsConflict
            | Self::AfterRevocation => ShownBy::Note,
            Self::SignatureInvalid
            | Self::DigestMismatch
            | Self::Downgrade
            | Self::SignerChanged
            | Self::SbomMismatch => ShownBy::Gate,
            Self::Vulnerability
            | Self::KeyCompromise
            | Self::Malware
            | Self::OwnerRequest
            | Self::Superseded
            | Self::FalsePositive => ShownBy::Person,
        }
    }
}

text_enum! {
    /// How grave a finding is.
    pub enum Severity as "severity" {
        /// Worth knowing; changes no verdict.
        Info = "info",
        /// Should be mended.
        Low = "low",
        /// Should be mended soon.
        Medium = "medium",
        /// A promise was broken.
        High = "high",
        /// Somebody is lying or attacking.
        Critical = "critical",
    }
}
