//! `VERIFY.md`: how a stranger checks everything in the bundle with tools that we did not write.

use std::fmt::Write as _;

use base::PluginId;
use seal::PredicateType;
use seal::envelope::Unverified;
use seal::trust::Role;

use super::layout::{self, Part};
use super::{About, Build, Contents, NamedKey};
use crate::escape::{shell, visible};
use crate::predicate::ConformanceReport;
use crate::{verify, words};

/// What a bundle is about.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// One report, which names the bundle and lies beside it.
    Report(&'a ConformanceReport),
    /// What a plugin did in some time.
    Period(&'a About),
}

impl<'a> Subject<'a> {
    pub(super) const fn plugin_id(self) -> &'a PluginId {
        match self {
            Self::Report(report) => &report.plugin_id,
            Self::Period(about) => &about.plugin_id,
        }
    }
}

/// The guide for this bundle; it names what is there and nothing else.
pub(super) fn verify_md(subject: Subject<'_>, contents: &Contents, parts: &[Part]) -> String {
    let mut guide = Guide::default();
    let plugin = subject.plugin_id();
    match subject {
        Subject::Report(report) => {
            guide.words(&format!(
                "# Evidence about {plugin}\n\nBuild {}, {}.",
                report.artifact_digest,
                words::period(report.period)
            ));
            guide.words(
                "This bundle holds what one conformance report rests on. Everything in it can be checked with \
                 stock tools: cosign 3, openssl, jq, and spicy (Debian package torchwood, which calls it \
                 spicy-torchwood). Run the commands in the folder where you unpacked it, with the report, the \
                 artifact and the bundle itself beside VERIFY.md.",
            );
        }
        Subject::Period(about) => {
            guide.words(&format!(
                "# Evidence about {plugin}\n\nSite {}, {}{}.",
                visible(&about.site),
                words::period(about.period),
                about.run_id.map_or(String::new(), |run| format!(", run {run}"))
            ));
            guide.words(
                "This bundle holds what the gateways of this site saw the plugin do in that time, what its \
                 owner had declared, and what the auditor reported. Everything in it can be checked with stock \
                 tools: cosign 3, openssl, jq, and spicy (Debian package torchwood, which calls it \
                 spicy-torchwood); no network is needed. Run the commands in the folder where you unpacked it. \
                 The command `bailiwick verify` checks the same things from the bundle itself.",
            );
        }
    }
    guide.words(
        "The keys are here so that the commands run. Where they come from is for you to decide: compare \
         them with root.json, and root.json with a copy that you had before.",
    );
    match subject {
        Subject::Report(report) => the_report(&mut guide, report, contents),
        Subject::Period(_) => reports(&mut guide, contents),
    }
    let by_digest = matches!(subject, Subject::Period(_));
    for build in &contents.builds {
        signed_about(&mut guide, contents, build, by_digest);
    }
    policy(&mut guide, contents);
    exceptions(&mut guide, contents);
    revocations(&mut guide, contents, subject);
    events(&mut guide, contents);
    witnesses(&mut guide, contents);
    inventory(&mut guide, parts);
    guide.words(match subject {
        Subject::Report(_) => {
            "## What this cannot show\n\nConnections that went around the gateway are not in any log. A log \
             that verifies is whole up to its checkpoint; that nothing came after it, only a later checkpoint \
             held by somebody else can show."
        }
        Subject::Period(_) => {
            "## What this cannot show\n\nConnections that went around the gateway are not in any log. Each \
             event here is proven to stand in its gateway's log; that no other event of this plugin does is \
             for whoever has the whole log to check. Each report says how many entries it counted, signed."
        }
    });
    guide.text
}

fn the_report(guide: &mut Guide, report: &ConformanceReport, contents: &Contents) {
    guide.words("## The report\n\nThe auditor signed it about the artifact and about this bundle.");
    let auditor = key_of(contents, Role::Auditor);
    let auditor_name = auditor.map_or("keys/auditor.pub".to_owned(), |key| layout::key(&key.name));
    let bundle = super::bundle_name(report);
    let artifact = contents
        .builds
        .first()
        .map_or("", |build| build.artifact_name.as_str());
    let report = "report.sigstore.json";
    guide.command(&verify::cosign(report, &auditor_name, artifact));
    guide.command(&verify::cosign(report, &auditor_name, &bundle));
    guide.words("The same signature with openssl alone:");
    let is_ed25519 = auditor.is_none_or(|key| key.key.ed25519_bytes().is_some());
    guide.command(&verify::openssl(report, &auditor_name, is_ed25519));
}

/// The reports about the plugin, each verified for the digest of the build that it is about.
fn reports(guide: &mut Guide, contents: &Contents) {
    let Some(auditor) = key_of(contents, Role::Auditor).filter(|_| !contents.reports.is_empty()) else {
        return;
    };
    let key = layout::key(&auditor.name);
    guide.words("## The reports\n\nThe auditor signed each about one build, which it names by its digest.");
    guide.command(&format!(
        "for report in reports/*.sigstore.json; do\n  digest=$(jq -r .dsseEnvelope.payload \"$report\" | base64 -d | jq -r '.subject[0].digest.sha256')\n  {} || echo \"NOT VERIFIED: $report\"\ndone",
        verify::cosign_digest(
            "\"$report\"",
            &shell(&key),
            PredicateType::ConformanceReport.uri(),
            "\"$digest\""
        )
    ));
    guide.words("What they say:");
    guide.command(
        "for report in reports/*.sigstore.json; do\n  jq -r .dsseEnvelope.payload \"$report\" | base64 -d |\n    jq -r '.predicate | [.period.from, .period.to, .verdict, (.coverage.events | tostring)] | join(\" \")'\ndone",
    );
    guide.words("The first signature with openssl alone:");
    let is_ed25519 = auditor.key.ed25519_bytes().is_some();
    guide.command(&verify::openssl(&layout::report(0), &key, is_ed25519));
}

/// What owner and platform signed about one build.
fn signed_about(guide: &mut Guide, contents: &Contents, build: &Build, by_digest: bool) {
    let of_which = match contents.builds.as_slice() {
        [_] => String::new(),
        _ => format!(" of build {}", build.artifact_digest),
    };
    let cosign = |document: &str, key: &NamedKey, predicate: PredicateType| -> String {
        let key = layout::key(&key.name);
        if by_digest {
            let digest = build.artifact_digest.sha256().to_hex();
            verify::cosign_digest(&shell(document), &shell(&key), predicate.uri(), &digest)
        } else {
            verify::cosign_type(document, &key, predicate.uri(), &build.artifact_name)
        }
    };
    let owner = signer_of(
        contents,
        Role::Owner,
        PredicateType::PluginManifest,
        &build.manifest,
    );
    if let (false, Some(owner)) = (build.manifest.is_empty(), owner) {
        let manifest = layout::manifest(contents, build);
        guide.words(&format!(
            "## The manifest{of_which}\n\nThe owner signed where the plugin connects."
        ));
        guide.command(&cosign(&manifest, owner, PredicateType::PluginManifest));
        guide.words("What it declares:");
        guide.command(&format!(
            "jq -r .dsseEnvelope.payload {} | base64 -d | jq .predicate",
            shell(&manifest)
        ));
    }
    for (number, earlier) in build.earlier.iter().enumerate() {
        let name = layout::earlier_manifest(contents, build, number);
        let signer = signer_of(contents, Role::Owner, PredicateType::PluginManifest, earlier);
        if let Some(signer) = signer {
            guide.words("A manifest that was in force before, for the time that the report says:");
            guide.command(&cosign(&name, signer, PredicateType::PluginManifest));
        }
    }
    if build.approvals.is_empty() || key_of(contents, Role::Certifier).is_none() {
        return;
    }
    guide.words(&format!(
        "## The approvals{of_which}\n\nThe platform approved the manifest."
    ));
    for (number, approval) in build.approvals.iter().enumerate() {
        let name = layout::approval(contents, build, number);
        let certifier = signer_of(contents, Role::Certifier, PredicateType::Approval, approval);
        if let Some(certifier) = certifier {
            guide.command(&cosign(&name, certifier, PredicateType::Approval));
        }
    }
}

/// The certifier's word for the policy by which clauses acted.
fn policy(guide: &mut Guide, contents: &Contents) {
    if contents.policy_signature.is_empty() || contents.policy.is_empty() {
        return;
    }
    let signature = &contents.policy_signature;
    let Some(certifier) = signer_of(contents, Role::Certifier, PredicateType::Policy, signature) else {
        return;
    };
    guide.words(
        "## The policy\n\nThe certifier signed it: the file by its digest, and its words, which are policy.json.",
    );
    guide.command(&format!(
        "digest=$(jq -r .dsseEnvelope.payload {signature} | base64 -d | jq -r '.subject[0].digest.sha256')\n{}\njq -r .dsseEnvelope.payload {signature} | base64 -d | jq -S .predicate > signed-policy.json\njq -S . {} | cmp - signed-policy.json && echo \"the same words\"",
        verify::cosign_digest(
            layout::POLICY_SIGNATURE,
            &shell(&layout::key(&certifier.name)),
            PredicateType::Policy.uri(),
            "\"$digest\""
        ),
        layout::POLICY,
        signature = layout::POLICY_SIGNATURE,
    ));
}

/// What was let pass, each of the two signatures, and when it was made use of.
fn exceptions(guide: &mut Guide, contents: &Contents) {
    if contents.exceptions.is_empty() {
        return;
    }
    guide.words(
        "## The exceptions\n\nWhat the policy lets pass for a time is signed by two people, each with a key of \
         their own; root.json says whose keys these are.",
    );
    for exception in &contents.exceptions {
        let words = layout::exception(exception);
        for (number, signature) in exception.signatures.iter().enumerate() {
            let signer = seal::exception::ROLES
                .into_iter()
                .find_map(|role| signed_by(contents, role, PredicateType::PolicyException, signature));
            let Some(signer) = signer else {
                continue;
            };
            guide.command(&verify::cosign_type(
                &layout::exception_signature(exception, number),
                &layout::key(&signer.name),
                PredicateType::PolicyException.uri(),
                &words,
            ));
        }
        guide.words("What it lets pass, until when, and why:");
        guide.command(&format!("jq . {}", shell(&words)));
    }
    if !contents.report_inputs.is_empty() {
        guide.words("When the report relied on each, by the digest of its words; the last has to come before its end:");
        guide.command(&format!(
            "jq -c '.exceptions[]?' {}\nsha256sum exceptions/*/{}",
            layout::INPUTS,
            layout::EXCEPTION
        ));
    }
}

fn revocations(guide: &mut Guide, contents: &Contents, subject: Subject<'_>) {
    if let (false, false, Some(crl)) = (
        contents.crl_head.is_empty(),
        contents.crl_body.is_empty(),
        key_of(contents, Role::Crl),
    ) {
        let when = match subject {
            Subject::Report(_) => "report",
            Subject::Period(_) => "bundle",
        };
        guide.words(&format!(
            "## The revocation list\n\nThe list in force when the {when} was made."
        ));
        guide.command(&verify::cosign_type(
            layout::CRL_HEAD,
            &layout::key(&crl.name),
            PredicateType::Crl.uri(),
            layout::CRL_BODY,
        ));
    }
}

/// Who vouches for a log's length, each cosignature taken apart by hand (c2sp.org/tlog-cosignature).
fn witnesses(guide: &mut Guide, contents: &Contents) {
    if contents.cosigned.is_empty() || contents.witnesses.is_empty() {
        return;
    }
    guide.words(
        "## The witnesses\n\nOthers watched these logs grow and cosigned a checkpoint: at that time, this was \
         the largest tree that they had seen, and it continued every one before. A witness that root.json \
         does not name is one whose key you take from itself. Each prints when it cosigned:",
    );
    for (origin, note) in &contents.cosigned {
        for witness in &contents.witnesses {
            let by_it = format!("— {} ", witness.name());
            if !note.lines().any(|line| line.starts_with(&by_it)) {
                continue;
            }
            guide.command(&format!(
                "note={}\nname={}\nawk -v p=\"— $name \" 'index($0, p) == 1 {{print substr($0, length(p) + 1)}}' \"$note\" |\n  while read -r line; do\n    printf %s \"$line\" | base64 -d > blob\n    [ \"$(wc -c < blob)\" -eq 76 ] || continue\n    tail -c 64 blob > sig\n    time=$((0x$(head -c 12 blob | tail -c 8 | od -An -tx1 | tr -d ' \\n')))\n    {{ printf 'cosignature/v1\\ntime %d\\n' \"$time\"; sed '/^$/,$d' \"$note\"; }} > message\n    openssl pkeyutl -verify -pubin -inkey {} \\\n      -rawin -in message -sigfile sig >/dev/null && date -u -d \"@$time\"\n  done",
                shell(&layout::cosigned(origin)),
                shell(witness.name()),
                shell(&layout::witness_key(witness)),
            ));
        }
    }
}

/// The key in the bundle that signed a document; the first of its role where none did.
fn signer_of<'c>(
    contents: &'c Contents,
    role: Role,
    predicate: PredicateType,
    document: &[u8],
) -> Option<&'c NamedKey> {
    signed_by(contents, role, predicate, document).or_else(|| key_of(contents, role))
}

/// The key of this role in the bundle that signed a document.
fn signed_by<'c>(
    contents: &'c Contents,
    role: Role,
    predicate: PredicateType,
    document: &[u8],
) -> Option<&'c NamedKey> {
    let unverified = Unverified::parse(document).ok();
    let signed = |key: &&NamedKey| {
        let verified = unverified
            .clone()
            .map(|document| document.verify([&key.key], predicate));
        key.role == role && verified.is_some_and(|verified| verified.is_ok())
    };
    contents.keys.iter().find(signed)
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
