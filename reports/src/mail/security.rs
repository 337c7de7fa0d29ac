//! The letter to the security team: what happened, what was done by which clause, what needs a person.

use base::Verdict;

use super::letter::{Group, Letter, attached};
use super::owner::{held, what};
use super::{Address, Attachment, Mail};
use crate::context::Context;
use crate::escape::visible;
use crate::predicate::ConformanceReport;
use crate::render::story::{Advice, Story};
use crate::words;

/// The letter to the security team, or `None` where nothing needs them.
pub fn security_mail(
    report: &ConformanceReport,
    context: &Context,
    from: &Address,
    to: &[Address],
    attachments: Vec<Attachment>,
) -> Option<Mail> {
    let plugin = &report.plugin_id;
    let tier = context.tier;
    let subject = match report.verdict {
        Verdict::Conforming | Verdict::NoTraffic => return None,
        Verdict::NonConforming => format!(
            "[{}] breach by {plugin} (tier {tier}): {}{}",
            context.site,
            what(report),
            held(report)
        ),
        Verdict::Inconclusive => format!(
            "[{}] no verdict on {plugin} (tier {tier}): evidence missing for {}",
            context.site,
            words::period(report.period)
        ),
    };
    let mut story = Story::of(report, context);
    let opening = vec![
        story.lead.clone(),
        format!(
            "Plugin {plugin}, tier {tier}, owner {}. Artifact {} ({}). Period {}.",
            context.owner.as_deref().map_or("unknown".to_owned(), visible),
            visible(&context.artifact_name),
            report.artifact_digest,
            words::period(report.period)
        ),
    ];
    let steps = std::mem::take(&mut story.for_security);
    let changed = changed(&story);
    let gaps = std::mem::take(&mut story.gaps);
    let mut letter = Letter::about(report, story);
    letter.opening = opening;
    letter.groups.push(Group::new("What needs you", steps));
    if !changed.is_empty() {
        letter.groups.push(Group::new("Since the report before", changed));
    }
    if !gaps.is_empty() {
        let items = gaps.into_iter().map(plain).collect();
        letter.groups.push(Group::new("What is missing", items));
    }
    if letter.actions.is_empty() {
        letter.closing.push("Nothing was done automatically.".to_owned());
    }
    letter.closing.push(attached(&attachments, context));
    letter.closing.retain(|paragraph| !paragraph.is_empty());
    Some(letter.send("security", &subject, report, context, (from, to), attachments))
}

fn changed(story: &Story) -> Vec<Advice> {
    let mut items = Vec::new();
    let (Some(changes), Some(before)) = (&story.changes, story.verdict_before) else {
        return items;
    };
    items.push(plain(format!("The verdict was: {before}.")));
    for change in changes {
        items.push(plain(format!("{}: {}", change.label, change.items.join("; "))));
    }
    items
}

pub(super) fn plain(text: String) -> Advice {
    Advice { text, command: None }
}
