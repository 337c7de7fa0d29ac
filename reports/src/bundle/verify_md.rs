//! `VERIFY.md`: how a stranger checks everything in the bundle with tools that we did not write.

use std::fmt::Write as _;

use seal::PredicateType;
use seal::trust::Role;

use super::layout::{self, Part};
use super::{Contents, NamedKey};
use crate::escape::{shell, visible};
use crate::predicate::ConformanceReport;
use crate::{verify, words};

/// The guide for this bundle; it names what is there and nothing else.
pub(super) fn verify_md(report: &ConformanceReport, contents: &Contents, parts: &[Part]) -> String {
    let mut guide = Guide::default();
    guide.words(&format!(
        "# Evidence about {}\n\nBuild {}, {}.",
        report.plugin_id,
        report.artifact_digest,
        words::period(report.period)
    ));
    guide.words(
        "This bundle holds what one conformance report rests on. Everything in it can be checked with \
         stock tools: cosign 3, openssl, jq, and spicy (Debian package torchwood, which calls it \
         spicy-torchwood). Run the commands in the folder where you unpacked it, with the report, the \
         artifact and the bundle itself beside VERIFY.md.",
    );
    guide.words(
        "The keys are here so that the commands run. Where they come from is for you to decide: compare \
         them with root.json, and root.json with a copy that you had before.",
    );
    signed_documents(&mut guide, report, contents);
    events(&mut guide, contents);
    inventory(&mut guide, parts);
    guide.words(
        "## What this cannot show\n\nConnections that went around the gateway are not in any log. A log \
         that verifies is whole up to its checkpoint; that nothing came after it, only a later checkpoint \
         held by somebody else can show.",
    );
    guide.text
}

fn signed_documents(guide: &mut Guide, report: &ConformanceReport, contents: &Contents) {
    let artifact = &contents.artifact_name;
    let key = |role| key_of(contents, role);
    guide.words("## The report\n\nThe auditor signed it about the artifact and about this bundle.");
    let auditor = key(Role::Auditor);
    let auditor_name = auditor.map_or("keys/auditor.pub".to_owned(), |key| layout::key(&key.name));
    let bundle = super::bundle_name(report);
    let report = "report.sigstore.json";
    guide.command(&verify::cosign(report, &auditor_name, artifact));
    guide.command(&verify::cosign(report, &auditor_name, &bundle));
    guide.words("The same signature with openssl alone:");
    let is_ed25519 = auditor.is_none_or(|key| key.key.ed25519_bytes().is_some());
    guide.command(&verify::openssl(report, &auditor_name, is_ed25519));
    if let (false, Some(owner)) = (contents.manifest.is_empty(), key(Role::Owner)) {
        guide.words("## The manifest\n\nThe owner signed where the plugin connects.");
        guide.command(&verify::cosign_type(
            layout::MANIFEST,
            &layout::key(&owner.name),
            PredicateType::PluginManifest.uri(),
            artifact,
        ));
        guide.words("What it declares:");
        guide.command(&format!(
            "jq -r .dsseEnvelope.payload {} | base64 -d | jq .predicate",
            layout::MANIFEST
        ));
    }
    if let (false, Some(certifier)) = (contents.approvals.is_empty(), key(Role::Certifier)) {
        guide.words("## The approvals\n\nThe platform approved the manifest.");
        for number in 0..contents.approvals.len() {
            guide.command(&verify::cosign_type(
                &layout::approval(number),
                &layout::key(&certifier.name),
                PredicateType::Approval.uri(),
                artifact,
            ));
        }
    }
    if let (false, false, Some(crl)) = (
        contents.crl_head.is_empty(),
        contents.crl_body.is_empty(),
        key(Role::Crl),
    ) {
        guide.words("## The revocation list\n\nThe list in force when the report was made.");
        guide.command(&verify::cosign_type(
            layout::CRL_HEAD,
            &layout::key(&crl.name),
            PredicateType::Crl.uri(),
            layout::CRL_BODY,
        ));
    }
}

fn key_of(contents: &Contents, role: Role) -> Option<&NamedKey> {
    contents.keys.iter().find(|key| key.role == role)
}

fn events(guide: &mut Guide, contents: &Contents) {
    if contents.events.is_empty() {
        return;
    }
    guide.words(
        "## The events\n\nEach event is one entry of a gateway's log. Its proof leads to a checkpoint that \
         the gateway signed, so that the event cannot have been made up or changed afterwards.",
    );
    let mut origins: Vec<_> = contents
        .events
        .iter()
        .map(|event| &event.reference.origin)
        .collect();
    origins.sort();
    origins.dedup();
    for origin in origins {
        let proved = contents
            .events
            .iter()
            .any(|event| event.reference.origin == *origin && event.proof.is_some());
        let has_key = contents.log_keys.iter().any(|key| key.name() == origin.as_str());
        if !proved || !has_key {
            guide.words(&format!(
                "Log {}: its events are here without proof, because its log does not verify or its key is not known.",
                visible(origin)
            ));
            continue;
        }
        let pattern = layout::event(origin, 0);
        let folder = pattern.rsplit_once('/').map_or("events", |(folder, _)| folder);
        guide.words(&format!("Log {}:", visible(origin)));
        guide.command(&format!(
            "SPICY=$(command -v spicy || command -v spicy-torchwood)\nfor event in {}/*.json; do\n  tail -n +2 \"$event.tlog-proof\" > \"$event.spicy\" &&\n  \"$SPICY\" -verify \"$(cat {})\" \"$event\" || echo \"NOT PROVED: $event\"\ndone",
            shell(folder),
            shell(&layout::log_key(origin))
        ));
    }
}

fn inventory(guide: &mut Guide, parts: &[Part]) {
    let mut files: Vec<_> = parts.iter().collect();
    files.sort();
    files.dedup();
    let mut table = String::from("## What is here\n\n| file | bytes |\n|---|---:|\n");
    for (name, bytes) in files {
        let _ = writeln!(table, "| {name} | {} |", bytes.len());
    }
    guide.words(table.trim_end());
}

/// Markdown being written.
#[derive(Default)]
struct Guide {
    text: String,
}

impl Guide {
    fn words(&mut self, words: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(words);
        self.text.push('\n');
    }

    fn command(&mut self, command: &str) {
        self.words(&format!("```sh\n{command}\n```"));
    }
}
