//! What is said over `/v1`: the same types for the server, for the command line and for the office.
//!
//! Requests refuse unknown fields, because a misspelt field is a wish that would be ignored. Answers
//! may gain fields.

mod archive;
mod artifacts;
mod mail;
mod nights;
mod plugins;
mod reports;
mod revocation;
mod runs;
mod status;
mod waiting;
mod way_back;
mod wire;

pub use crate::store::{Act, ComponentRecord};
pub use archive::{
    ArchiveRequest, ArchivedFile, ArchivedView, ExpireRequest, ExpiredView, PruneRequest, PrunedView,
};
pub use artifacts::{AdmitRequest, Admitted, ArtifactDetail, ArtifactView, MendsView};
pub use mail::{
    AskRequest, BounceRequest, ConfirmRequest, ContactList, ContactView, MailList, MailQuery, MailView,
    SentAgain,
};
pub use nights::{
    AuditProgress, AuditRequest, AuditSummary, AuditedLog, AuditedReport, ChangeLine, FindingLine, NightView,
    ObservedLine, ProposalLine,
};
pub use plugins::{PluginList, PluginView, SetTierRequest};
pub use reports::{PageQuery, Queued, ReportDetail, ReportList, ReportQuery, ReportView, SendRequest};
pub use revocation::{
    ChangeRequest, InvalidTarget, KillRequest, KillTarget, KillView, ListAct, ListChange, ListPublished,
    SafeModeRequest, StateView, Target, WhyView,
};
pub use runs::{EndRunRequest, RunList, RunQuery, RunStarted, RunView, StartRunRequest};
pub use status::{
    ActList, ActQuery, CosignatureView, CrlStatus, GatewayView, ReloadRequest, ReloadView, StateCount,
    StatusView, WitnessTrouble, WitnessingView,
};
pub use waiting::{DecideRequest, WaitingList, WaitingQuery, WaitingView};
pub use way_back::{
    AppealList, AppealView, DecideAppealRequest, OpenAppealRequest, OpenQuery, RemediationList,
    RemediationView, RespondRequest,
};
pub use wire::{Base64Bytes, ErrorBody, ErrorDetail};

#[cfg(test)]
mod tests {
    use base::{ArtifactDigest, RunId, Sha256Digest, Tier, Timestamp, Verdict};

    use super::*;

    #[test]
    fn a_target_is_told_apart_by_its_spelling() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let signer = format!("SHA256:{}", "A".repeat(43));
        for text in [&digest, &signer, &format!("manifest:{digest}"), "acme.weather"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), *text);
        }
        for bad in ["", "*", "sha256:abc", "SHA512:x", "Acme", "manifest:acme", "a b"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_kill_stops_everything_a_plugin_or_a_build() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for text in ["*", "acme.weather", &digest] {
            assert_eq!(text.parse::<KillTarget>().unwrap().to_string(), text);
        }
        assert!(
            format!("SHA256:{}", "A".repeat(43))
                .parse::<KillTarget>()
                .is_err()
        );
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let json = r#"{"on":true,"who":"ops","notes":"x"}"#;
        assert!(serde_json::from_str::<SafeModeRequest>(json).is_err());
    }

    #[test]
    fn the_gravest_verdict_of_a_night_counts() {
        let mut summary = AuditSummary {
            from: Timestamp::from_unix_us(0),
            to: Timestamp::from_unix_us(1),
            dry_run: false,
            reports: Vec::new(),
            acts: Vec::new(),
            mails: Vec::new(),
            doubts: Vec::new(),
            notices: Vec::new(),
            proposals: Vec::new(),
            changes: Vec::new(),
            logs: Vec::new(),
        };
        assert_eq!(summary.verdict(), Verdict::NoTraffic);
        let report = |verdict| AuditedReport {
            report_id: None,
            plugin_id: "acme".parse().unwrap(),
            artifact_digest: None,
            run_id: None,
            verdict,
            folder: None,
            findings: Vec::new(),
            observed: Vec::new(),
        };
        summary.reports.push(report(Verdict::Conforming));
        assert_eq!(summary.verdict(), Verdict::Conforming);
        summary.doubts.push("a gap".into());
        assert_eq!(summary.verdict(), Verdict::Inconclusive);
        summary.reports.push(report(Verdict::NonConforming));
        assert_eq!(summary.verdict(), Verdict::NonConforming);
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let started = RunStarted {
            run_id: RunId::from_parts(1, [0; 10]),
            plugin_id: "acme".parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"x")),
            client_certificate: None,
            token: "very-secret".into(),
            expires_at: Timestamp::from_unix_us(0),
            tier: Tier::Low,
            listeners: Vec::new(),
            shared_sources: Vec::new(),
            gateways: Vec::new(),
        };
        assert!(!format!("{started:?}").contains("very-secret"));
    }
}
