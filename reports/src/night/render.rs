//! The night's summary as a page and as text.

use askama::Template;

use super::{NIGHT_FILE, NightSummary, REPORTS_FILE, Week};
use crate::context::SignedFile;
use crate::escape::visible;
use crate::render::text::Paper;
use crate::verify::{cosign_type, openssl};
use crate::words;

/// One column of the picture of the weeks.
struct Column {
    day: String,
    words: String,
    /// Stretches from the bottom: tone, offset and height in hundredths.
    parts: Vec<(&'static str, u64, u64)>,
    broke: String,
}

/// A list of lines under a heading.
struct Section {
    heading: &'static str,
    lines: Vec<String>,
}

#[derive(Template)]
#[template(path = "night.html", whitespace = "minimize")]
struct Page<'a> {
    site: String,
    tone: &'static str,
    mark: &'static str,
    headline: String,
    period: String,
    summary: &'a NightSummary,
    sections: Vec<Section>,
    weeks: Vec<Column>,
    steps: Vec<(&'static str, String)>,
    key: String,
    reports: String,
}

/// The summary as a self-contained HTML page. It lies beside its list and its signed form.
pub fn html(summary: &NightSummary, signed: &SignedFile) -> String {
    let (tone, mark, headline) = headline(summary);
    Page {
        site: visible(&summary.site),
        tone,
        mark,
        headline,
        period: words::period(summary.period),
        sections: sections(summary),
        weeks: columns(&summary.weeks),
        steps: steps(signed),
        key: key(signed),
        reports: words::count(summary.reports.reports, "report"),
        summary,
    }
    .render()
    .expect("the template writes strings into a string, which cannot fail")
}

/// The summary as plain text.
pub fn text(summary: &NightSummary, signed: &SignedFile) -> String {
    let (_, mark, headline) = headline(summary);
    let mut paper = Paper::default();
    paper.heading(
        &format!(
            "{}: night of {}",
            mark.to_uppercase(),
            words::period(summary.period)
        ),
        '=',
    );
    paper.paragraph(&format!("{}: {headline}", visible(&summary.site)));
    paper.paragraph(&format!("{}.", summary.verdicts));
    for section in sections(summary) {
        paper.heading(section.heading, '-');
        for line in &section.lines {
            paper.item("-", line);
        }
        paper.blank();
    }
    if !summary.weeks.is_empty() {
        paper.heading("Week by week", '-');
        for week in &summary.weeks {
            paper.item("-", &week.line());
        }
        paper.blank();
    }
    paper.heading("How to check this", '-');
    paper.paragraph(&key(signed));
    for (title, commands) in steps(signed) {
        paper.paragraph(&format!("{title}:"));
        paper.block(&commands);
    }
    paper.finish()
}

fn headline(summary: &NightSummary) -> (&'static str, &'static str, String) {
    let verdicts = summary.verdicts;
    let all = verdicts.conforming + verdicts.non_conforming + verdicts.inconclusive + verdicts.no_traffic;
    match (verdicts.non_conforming, verdicts.inconclusive) {
        (0, 0) if all == 0 => ("quiet", "Quiet", "No plugin was audited this night.".to_owned()),
        (0, 0) => (
            "good",
            "All kept their word",
            "Every plugin kept its word this night.".to_owned(),
        ),
        (0, _) => (
            "doubt",
            "Not everything was seen",
            "Nothing undeclared was seen, and not everything was seen.".to_owned(),
        ),
        (1, _) => (
            "bad",
            "A word was broken",
            "One build did not keep its word this night.".to_owned(),
        ),
        (many, _) => (
            "bad",
            "Words were broken",
            format!(
                "{} builds did not keep their word this night.",
                words::grouped(many)
            ),
        ),
    }
}

fn sections(summary: &NightSummary) -> Vec<Section> {
    let mut sections = vec![
        Section {
            heading: "What needs you",
            lines: summary
                .needs_you
                .iter()
                .map(|need| visible(&need.line()))
                .collect(),
        },
        Section {
            heading: "What was done automatically",
            lines: summary.done.iter().map(|done| visible(&done.line())).collect(),
        },
        Section {
            heading: "What changed since the night before",
            lines: summary
                .changed
                .iter()
                .flat_map(|change| change.lines())
                .map(|line| visible(&line))
                .collect(),
        },
        Section {
            heading: "About the site",
            lines: summary.notices.iter().map(|notice| visible(notice)).collect(),
        },
    ];
    for (section, nothing) in sections.iter_mut().zip([
        "Nothing needs a person.",
        "Nothing was done without a person.",
        "Nothing changed that the reports before can tell.",
        "",
    ]) {
        if section.lines.is_empty() && !nothing.is_empty() {
            section.lines.push(nothing.to_owned());
        }
    }
    sections.retain(|section| !section.lines.is_empty());
    if summary.omitted > 0 {
        sections.push(Section {
            heading: "Left out of the lists above",
            lines: vec![format!(
                "{}; the reports of the night hold them.",
                words::count(summary.omitted, "line")
            )],
        });
    }
    sections
}

/// The weeks as stacked columns, the earliest first.
fn columns(weeks: &[Week]) -> Vec<Column> {
    let total = |week: &Week| {
        let v = week.verdicts;
        v.conforming + v.non_conforming + v.inconclusive + v.no_traffic
    };
    let most = weeks.iter().map(total).max().unwrap_or(0).max(1);
    weeks
        .iter()
        .rev()
        .map(|week| {
            let mut offset = 0;
            let parts = [
                ("bad", week.verdicts.non_conforming),
                ("doubt", week.verdicts.inconclusive),
                ("good", week.verdicts.conforming),
                ("quiet", week.verdicts.no_traffic),
            ]
            .into_iter()
            .filter(|(_, number)| *number > 0)
            .map(|(tone, number)| {
                // What happened is never drawn as nothing.
                let height = (number * 100 / most).max(2).min(100 - offset.min(98));
                let part = (tone, 100 - offset - height, height);
                offset += height;
                part
            })
            .collect();
            Column {
                day: week.from.utc_day()[5..].to_owned(),
                words: week.line(),
                parts,
                broke: words::grouped(week.builds_not_conforming),
            }
        })
        .collect()
}

fn key(signed: &SignedFile) -> String {
    format!(
        "Take {} from the site's trust root, not from whoever sent you this page. Its fingerprint, as ssh-keygen prints it: {}",
        visible(&signed.key_name),
        signed.key.fingerprint()
    )
}

fn steps(signed: &SignedFile) -> Vec<(&'static str, String)> {
    vec![
        (
            "The auditor signed this summary about the list of reports (cosign 3)",
            cosign_type(
                NIGHT_FILE,
                &signed.key_name,
                ::seal::PredicateType::NightSummary.uri(),
                REPORTS_FILE,
            ),
        ),
        (
            "and every report of the list is still the one it was",
            format!("sha256sum --check {REPORTS_FILE}"),
        ),
        (
            "The same signature with openssl and jq alone",
            openssl(NIGHT_FILE, &signed.key_name, signed.key.ed25519_bytes().is_some()),
        ),
    ]
}
