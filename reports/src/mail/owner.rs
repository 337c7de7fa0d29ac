//! The letter to an owner: bad news about their plugin, with everything they need to mend it.

use base::Verdict;

use super::letter::{Group, Letter, attached};
use super::{Address, Attachment, Mail};
use crate::context::Context;
use crate::escape::visible;
use crate::predicate::{ActionKind, ConformanceReport};
use crate::render::story::Story;
use crate::words;

/// The letter to the owner of the plugin, or `None` where there is nothing to tell.
///
/// Send it for reports about an artifact; reports about single runs repeat the same incident.
pub fn owner_mail(
    report: &ConformanceReport,
    context: &Context,
    from: &Address,
    to: &Address,
    attachments: Vec<Attachment>,
) -> Option<Mail> {
    let story = Story::of(report, context);
    let greeting = match &context.owner {
        Some(owner) => format!("Hello {},", visible(owner)),
        None => "Hello,".to_owned(),
    };
    let plugin = &report.plugin_id;
    let artifact = visible(&context.artifact_name);
    let (subject, opening, heading) = match report.verdict {
        Verdict::Conforming | Verdict::NoTraffic => return None,
        Verdict::NonConforming => (
            format!("[{}] {plugin}: {}{}", context.site, what(report), held(report)),
            vec![
                greeting,
                format!(
                    "you signed the manifest of {plugin}, which says where it connects. This letter is about {artifact}, a build that did not keep to it. {}",
                    story.lead
                ),
            ],
            "What to do now",
        ),
        Verdict::Inconclusive => (
            format!(
                "[{}] {plugin}: no verdict for {}, evidence is missing",
                context.site,
                words::period(report.period)
            ),
            vec![
                greeting,
                format!(
                    "part of the record about your plugin {plugin} ({artifact}) is missing for {}. {} You need not do anything; you are told because a missing record is not a good one.",
                    words::period(report.period),
                    story.lead
                ),
            ],
            "What happens now",
        ),
    };
    let mut story = story;
    let steps = std::mem::take(&mut story.for_owner);
    let contact = visible(&context.security_contact);
    let mut letter = Letter::about(report, story);
    letter.opening = opening;
    letter.groups = vec![Group::new(heading, steps)];
    letter.closing = vec![
        attached(&attachments, context),
        format!(
            "The platform watches, says what it saw and may stop a build; it never changes your plugin or its manifest. This letter was written by a program. People read {contact}."
        ),
    ];
    letter.closing.retain(|paragraph| !paragraph.is_empty());
    Some(letter.send(
        "owner",
        &subject,
        report,
        context,
        (from, std::slice::from_ref(to)),
        attachments,
    ))
}

/// The breach in a few words for a subject line.
pub(crate) fn what(report: &ConformanceReport) -> String {
    let mut breaches = report.breaches();
    let first = breaches.next();
    let further = breaches.count() as u64 + report.omitted.findings;
    let first = first.map_or_else(|| "breach".to_owned(), words::finding_title);
    match further {
        0 => first,
        further => format!("{first} and {} more", words::grouped(further)),
    }
}

/// What happened to the build, for a subject line.
pub(super) fn held(report: &ConformanceReport) -> &'static str {
    match report.actions.iter().map(|taken| taken.action).max() {
        Some(ActionKind::Quarantine) => ", build on hold",
        Some(ActionKind::Revoke) => ", build revoked",
        Some(ActionKind::AwaitApproval) => ", a hold awaits approval",
        Some(ActionKind::Announce) => ", a hold is announced",
        Some(ActionKind::Alert | ActionKind::Watch) | None => "",
    }
}
