//! A letter before it is laid out: the same words for the text part and the HTML part.

use askama::Template;

use super::address::Address;
use super::{Attachment, Mail, Picture, identity};
use crate::context::Context;
use crate::escape;
use crate::picture;
use crate::predicate::ConformanceReport;
use crate::render::story::{ActionStory, Advice, FindingStory, Row, Story};
use crate::render::text::Paper;
use crate::words;

/// More findings are in the report that travels with the letter.
const MAX_FINDINGS: usize = 10;
/// Destinations that are drawn; undeclared ones come first.
const MAX_BARS: usize = 8;

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
    /// Destinations with their bars, undeclared ones first.
    pub bars: Vec<Bar>,
    pub check: Vec<Advice>,
    pub closing: Vec<String>,
    /// Content ids of the findings' strips, by the finding's place.
    pub strips: Vec<Option<String>>,
    /// What the HTML shows.
    pub pictures: Vec<Picture>,
}

/// One destination and how much went there.
pub(super) struct Bar {
    pub destination: String,
    pub connections: String,
    pub is_declared: bool,
    pub words: String,
    pub content_id: String,
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
            .take(2)
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
            bars: Vec::new(),
            check,
            closing: Vec::new(),
            strips: Vec::new(),
            pictures: Vec::new(),
        }
    }

    /// Draws when the findings were seen, and how much went where.
    fn draw(&mut self, rows: &[Row], message_id: &str) {
        for (number, finding) in (1..).zip(&self.findings) {
            let strip = finding.strip.as_ref().map(|strip| {
                let content_id = identity::content_id(message_id, &format!("seen-{number}"));
                self.pictures.push(Picture {
                    content_id: content_id.clone(),
                    file: Attachment {
                        name: format!("seen-{number}.png"),
                        media_type: "image/png".to_owned(),
                        bytes: picture::strip(strip.left, strip.width, finding.tone),
                    },
                });
                content_id
            });
            self.strips.push(strip);
        }
        let most = rows.iter().map(|row| row.number).max().unwrap_or(0);
        for (number, row) in (1..).zip(rows.iter().take(MAX_BARS)) {
            let content_id = identity::content_id(message_id, &format!("bar-{number}"));
            let is_declared = row.declared.is_some();
            self.pictures.push(Picture {
                content_id: content_id.clone(),
                file: Attachment {
                    name: format!("bar-{number}.png"),
                    media_type: "image/png".to_owned(),
                    bytes: picture::bar(row.number, most, is_declared),
                },
            });
            self.bars.push(Bar {
                destination: row.destination.clone(),
                connections: row.connections.clone(),
                is_declared,
                words: format!(
                    "{}, {}",
                    words::count(row.number, "connection"),
                    if is_declared { "declared" } else { "not declared" }
                ),
                content_id,
            });
        }
    }

    /// The letter as a mail of `kind` about `report`.
    pub(super) fn send(
        mut self,
        kind: &str,
        subject: &str,
        report: &ConformanceReport,
        context: &Context,
        (from, to): (&Address, &[Address]),
        attachments: Vec<Attachment>,
    ) -> Mail {
        let thread = identity::thread(&report.plugin_id, &report.artifact_digest, &context.site, from);
        let message_id = identity::message_id(kind, report, &context.site, from, to);
        if report.verdict == base::Verdict::NonConforming {
            self.draw(&Story::rows_of(report), &message_id);
        }
        let mut headers = automatic(&context.site, from);
        for (name, value) in [
            ("In-Reply-To", thread.clone()),
            ("References", thread),
            ("X-Bailiwick-Plugin", report.plugin_id.to_string()),
            ("X-Bailiwick-Artifact", report.artifact_digest.to_string()),
            ("X-Bailiwick-Verdict", report.verdict.to_string()),
        ] {
            headers.push((name.to_owned(), value));
        }
        self.post(message_id, subject, (from, to), headers, attachments)
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
            pictures: self.pictures,
            attachments,
        }
    }

    /// The content id of the strip of the finding at this place.
    fn strip(&self, index: &usize) -> Option<&String> {
        self.strips.get(*index)?.as_ref()
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
        if !self.bars.is_empty() {
            paper.heading("Where it connected", '-');
            for bar in &self.bars {
                let mark = if bar.is_declared { "ok" } else { "!!" };
                paper.item(mark, &format!("{}: {}", bar.destination, bar.words));
            }
            paper.blank();
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

/// Headers that keep robots from answering robots (RFC 3834 §5; Exchange), and by which mailboxes file
/// the letters of one site together (RFC 2919).
pub(super) fn automatic(site: &str, from: &Address) -> Vec<(String, String)> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let label: String = site.chars().map(plain).take(63).collect();
    [
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("Precedence", "bulk".to_owned()),
        ("List-Id", format!("<{label}.bailiwick.{}>", from.domain())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
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
