//! A letter before it is laid out: the same words for the text part and the HTML part.

use askama::Template;

use super::address::Address;
use super::{Attachment, Mail, identity};
use crate::context::Context;
use crate::escape;
use crate::predicate::ConformanceReport;
use crate::render::story::{ActionStory, Advice, FindingStory, Story};
use crate::render::text::Paper;
use crate::words;

/// More findings are in the report that travels with the letter.
const MAX_FINDINGS: usize = 10;

/// One letter in words.
#[derive(Template)]
#[template(path = "mail.html", whitespace = "minimize")]
pub(super) struct Letter {
    pub site: String,
    pub tone: &'static str,
    /// The verdict, or what the letter is.
    pub mark: String,
    pub headline: String,
    pub opening: Vec<String>,
    pub findings: Vec<FindingStory>,
    /// How many findings are in the report and not in the letter.
    pub further: u64,
    pub actions: Vec<ActionStory>,
    pub groups: Vec<Group>,
    pub check: Vec<Advice>,
    pub closing: Vec<String>,
}

/// A heading and what stands under it.
pub(super) struct Group {
    pub heading: String,
    pub items: Vec<Advice>,
}

impl Group {
    pub(super) fn new(heading: &str, items: Vec<Advice>) -> Self {
        Self {
            heading: heading.to_owned(),
            items,
        }
    }
}

impl Letter {
    /// What letters to owner and security have in common.
    pub(super) fn about(report: &ConformanceReport, story: Story) -> Self {
        let further = story.findings.len().saturating_sub(MAX_FINDINGS) as u64 + report.omitted.findings;
        let mut findings = story.findings;
        findings.truncate(MAX_FINDINGS);
        let mut check: Vec<_> = story
            .steps
            .into_iter()
            .take(1)
            .map(|step| Advice {
                text: format!("{}:", step.title),
                command: Some(step.commands),
            })
            .collect();
        if let Some(advice) = story.key_advice {
            check.push(Advice {
                text: advice,
                command: None,
            });
        }
        Self {
            site: story.site,
            tone: story.tone,
            mark: story.verdict.to_owned(),
            headline: story.headline,
            opening: Vec::new(),
            findings,
            further,
            actions: story.actions,
            groups: Vec::new(),
            check,
            closing: Vec::new(),
        }
    }

    /// The letter as a mail of `kind` about `report`.
    pub(super) fn send(
        self,
        kind: &str,
        subject: &str,
        report: &ConformanceReport,
        context: &Context,
        (from, to): (&Address, &[Address]),
        attachments: Vec<Attachment>,
    ) -> Mail {
        let thread = identity::thread(report, &context.site, from);
        let mut headers = automatic();
        for (name, value) in [
            ("In-Reply-To", thread.clone()),
            ("References", thread),
            ("X-Bailiwick-Plugin", report.plugin_id.to_string()),
            ("X-Bailiwick-Artifact", report.artifact_digest.to_string()),
            ("X-Bailiwick-Verdict", report.verdict.to_string()),
        ] {
            headers.push((name.to_owned(), value));
        }
        self.post(
            identity::message_id(kind, report, &context.site, from, to),
            subject,
            (from, to),
            headers,
            attachments,
        )
    }

    /// The letter as a mail.
    pub(super) fn post(
        self,
        message_id: String,
        subject: &str,
        (from, to): (&Address, &[Address]),
        headers: Vec<(String, String)>,
        attachments: Vec<Attachment>,
    ) -> Mail {
        Mail {
            message_id,
            to: to.to_vec(),
            from: from.clone(),
            subject: escape::header(subject),
            text: self.text(),
            html: self
                .render()
                .expect("the template writes strings into a string, which cannot fail"),
            headers,
            attachments,
        }
    }

    fn text(&self) -> String {
        let mut paper = Paper::default();
        paper.paragraph(&format!("{}: {}", self.mark.to_uppercase(), self.headline));
        for paragraph in &self.opening {
            paper.paragraph(paragraph);
        }
        if !self.findings.is_empty() {
            paper.heading("What was found", '-');
        }
        for (number, finding) in (1..).zip(&self.findings) {
            paper.finding(number, finding);
        }
        if self.further > 0 {
            paper.paragraph(&self.further_words());
        }
        if !self.actions.is_empty() {
            paper.heading("What was done", '-');
            paper.actions(&self.actions);
        }
        for group in &self.groups {
            paper.heading(&group.heading, '-');
            paper.steps(&group.items);
        }
        if !self.check.is_empty() {
            paper.heading("How to check this", '-');
            for step in &self.check {
                paper.paragraph(&step.text);
                if let Some(command) = &step.command {
                    paper.block(command);
                }
            }
        }
        for paragraph in &self.closing {
            paper.paragraph(paragraph);
        }
        paper.finish()
    }

    fn further_words(&self) -> String {
        format!("{} more in the report.", words::count(self.further, "finding"))
    }
}

/// Headers that keep robots from answering robots (RFC 3834 §5; Exchange).
pub(super) fn automatic() -> Vec<(String, String)> {
    vec![
        ("Auto-Submitted".to_owned(), "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress".to_owned(), "All".to_owned()),
    ]
}

/// What the letters bring along, in words.
pub(super) fn attached(attachments: &[Attachment], context: &Context) -> String {
    let mut text = if attachments.is_empty() {
        String::new()
    } else {
        let names: Vec<_> = attachments.iter().map(|file| file.name.as_str()).collect();
        format!("Attached: {}. ", names.join(", "))
    };
    if let Some(evidence) = &context.evidence {
        let name = escape::file_name(&evidence.name);
        if !attachments.iter().any(|file| file.name == name) {
            text.push_str(&format!(
                "The evidence bundle {name} ({}) is kept by the site; ask for it by its name. ",
                words::bytes(evidence.size_bytes)
            ));
        }
    }
    text.trim_end().to_owned()
}
