//! The report as one HTML file: no network, no script, readable on paper and on a phone.

use std::collections::BTreeMap;

use askama::Template;

use super::story::Story;
use crate::context::Context;
use crate::predicate::ConformanceReport;
use crate::words;

/// A page that a mail program and a phone still open.
const MAX_PAGE_BYTES: usize = 200_000;
/// Findings and destinations on a page to begin with; the signed report has all that it has.
const MAX_FINDINGS: usize = 100;
const MAX_ROWS: usize = 200;
/// A site may have a thousand gateways, each with a log.
const MAX_LOGS: usize = 100;
/// Destinations and findings that are drawn.
const MAX_DRAWN: usize = 12;

/// One destination and its share.
struct Bar {
    destination: String,
    connections: String,
    is_declared: bool,
    is_new: bool,
    words: String,
    /// In thousandths.
    width: u64,
}

/// When one finding was seen.
struct Lane {
    title: String,
    tone: &'static str,
    left: i64,
    width: i64,
    words: String,
    from: String,
    to: String,
}

#[derive(Template)]
#[template(path = "report.html", whitespace = "minimize")]
struct Page {
    story: Story,
    is_draft: bool,
    all_findings: usize,
    more_findings: usize,
    more_rows: usize,
    more_logs: usize,
    bars: Vec<Bar>,
    more_bars: usize,
    lanes: Vec<Lane>,
    more_lanes: usize,
}

/// The report as a self-contained HTML page of at most 200,000 bytes; what has no room is counted on
/// the page, and is in the signed report.
pub fn html(report: &ConformanceReport, context: &Context) -> String {
    let (mut findings, mut rows) = (MAX_FINDINGS, MAX_ROWS);
    loop {
        let page = page(report, context, findings, rows);
        if page.len() <= MAX_PAGE_BYTES || findings <= 1 && rows <= 1 {
            return page;
        }
        findings = (findings / 2).max(1);
        rows = (rows / 2).max(1);
    }
}

fn page(report: &ConformanceReport, context: &Context, findings: usize, rows: usize) -> String {
    let mut story = Story::of(report, context);
    let (bars, more_bars) = bars(&story, context);
    let (lanes, more_lanes) = lanes(&story);
    let all_findings = story.findings.len();
    let more_rows = story.rows.len().saturating_sub(rows);
    let more_logs = story.logs.len().saturating_sub(MAX_LOGS);
    story.logs.truncate(MAX_LOGS);
    story.findings.truncate(findings);
    story.rows.truncate(rows);
    story.unused.truncate(rows);
    story.gaps.truncate(rows);
    Page {
        more_findings: all_findings - story.findings.len(),
        all_findings,
        more_rows,
        more_logs,
        bars,
        more_bars,
        lanes,
        more_lanes,
        story,
        is_draft: context.signed.is_none(),
    }
    .render()
    .expect("the template writes strings into a string, which cannot fail")
}

/// Undeclared destinations first, then the busiest; so many that a person takes them in. What was spoken is
/// for the table: here a destination has one bar.
fn bars(story: &Story, context: &Context) -> (Vec<Bar>, usize) {
    let mut sums: BTreeMap<(bool, &str), u64> = BTreeMap::new();
    for row in &story.rows {
        *sums
            .entry((row.declared.is_some(), &row.destination))
            .or_default() += row.number;
    }
    let most = sums.values().copied().max().unwrap_or(0).max(1);
    let mut bars: Vec<_> = sums.into_iter().collect();
    bars.sort_by_key(|&((is_declared, _), number)| (is_declared, std::cmp::Reverse(number)));
    let is_new = |destination: &str| {
        let new = context.changes.as_ref().map(|changes| &changes.new_destinations);
        new.is_some_and(|new| new.iter().any(|new| new == destination))
    };
    let drawn = bars
        .iter()
        .take(MAX_DRAWN)
        .map(|&((is_declared, destination), number)| Bar {
            destination: destination.to_owned(),
            connections: words::grouped(number),
            is_declared,
            is_new: is_new(destination),
            words: format!(
                "{} to {destination}, {}",
                words::count(number, "connection"),
                if is_declared { "declared" } else { "not declared" }
            ),
            // What happened is never drawn as nothing.
            width: u64::try_from(u128::from(number) * 1000 / u128::from(most))
                .unwrap_or(1000)
                .max(8),
        });
    (drawn.collect(), bars.len().saturating_sub(MAX_DRAWN))
}

fn lanes(story: &Story) -> (Vec<Lane>, usize) {
    let lanes: Vec<Lane> = story
        .findings
        .iter()
        .filter_map(|finding| {
            let strip = finding.strip.as_ref()?;
            Some(Lane {
                title: finding.title.clone(),
                tone: finding.tone,
                left: strip.left,
                width: strip.width,
                words: format!("{}: {}", finding.title, strip.words),
                from: strip.from.clone(),
                to: strip.to.clone(),
            })
        })
        .collect();
    let more = lanes.len().saturating_sub(MAX_DRAWN);
    (lanes.into_iter().take(MAX_DRAWN).collect(), more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{breach, clean, context, doubtful, hostile, silent};

    #[test]
    fn a_page_needs_nothing_but_itself() {
        for report in [breach(), clean(), doubtful(), silent()] {
            let page = html(&report, &context());
            for word in ["<script", "src=", "href=\"http", "@import", "url(", "onload"] {
                assert!(!page.contains(word), "{word}");
            }
            assert!(page.contains("default-src 'none'"));
            assert!(page.len() < 200_000, "{} bytes", page.len());
        }
    }

    #[test]
    fn a_page_tells_what_happened_before_anything_else() {
        let page = html(&breach(), &context());
        let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}"));
        assert!(at("which its manifest does not declare") < at("id=\"findings\""));
        assert!(at("id=\"findings\"") < at("id=\"destinations\""));
        assert!(page.contains("tiers.medium.on_breach") && page.contains("dana@acme.example"));
        assert!(page.contains("add &#34;api.randomsite.com&#34; to allowed_egress"));
        assert!(page.contains(
            "cosign verify-blob-attestation --bundle report.sigstore.json \\\n  --key auditor.pub"
        ));
    }

    #[test]
    fn a_thousand_gateways_are_counted_and_a_hundred_named() {
        let mut report = clean();
        let log = report.logs[0].clone();
        report.logs = (0..1000)
            .map(|number| crate::predicate::LogReference {
                origin: format!("acme/gw-{number:04}"),
                ..log.clone()
            })
            .collect();
        let page = html(&report, &context());
        assert!(page.len() < 100_000, "{} bytes", page.len());
        assert!(page.contains("acme/gw-0099") && !page.contains("acme/gw-0100"));
        assert!(page.contains("900 more logs are in the signed report and not on this page."));
    }

    #[test]
    fn a_destination_that_looks_like_a_proxy_is_called_one() {
        let mut report = clean();
        assert!(!html(&report, &context()).contains("proxy-like"));
        report.observed[0].port = 3128.try_into().unwrap();
        assert!(html(&report, &context()).contains("acme.openai.azure.com:3128 is a proxy-like destination"));
    }

    #[test]
    fn a_destination_has_one_bar_whatever_was_spoken() {
        let mut report = breach();
        let bars = |report: &ConformanceReport| bars(&Story::of(report, &context()), &context()).0;
        let before = bars(&report);
        let mut again = report.observed[0].clone();
        again.scheme = None;
        again.connections = 5;
        report.observed.push(again);
        let after = bars(&report);
        assert_eq!(after.len(), before.len());
        let drawn: Vec<_> = after.iter().map(|bar| &bar.destination).collect();
        assert_eq!(
            drawn,
            before.iter().map(|bar| &bar.destination).collect::<Vec<_>>()
        );
        assert_ne!(
            after.iter().map(|bar| &bar.connections).collect::<Vec<_>>(),
            before.iter().map(|bar| &bar.connections).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_draft_says_that_nobody_signed_it() {
        let mut draft = context();
        draft.signed = None;
        let page = html(&breach(), &draft);
        assert!(page.contains("Draft: nobody has signed this."));
        assert!(!page.contains("cosign"));
    }

    #[test]
    fn a_report_of_ten_thousand_findings_stays_a_page_and_says_what_it_left_out() {
        let report = crate::testing::flood(10_000);
        let page = html(&report, &context());
        assert!(page.len() <= MAX_PAGE_BYTES, "{} bytes", page.len());
        assert!(page.contains("more findings are in the signed report and not on this page"));
        assert!(page.contains(&words::count(report.omitted.findings, "finding")));
        assert_eq!(report.omitted.findings + report.findings.len() as u64, 10_000);
        let text = crate::render::text(&report, &context());
        assert!(text.len() <= 600_000, "{} bytes", text.len());
        assert!(crate::render::pdf(&report, &context()).len() < 400_000);
    }

    #[test]
    fn pictures_show_undeclared_destinations_first_and_never_as_nothing() {
        let mut report = breach();
        report.observed[0].connections = 1_000_000;
        let page = html(&report, &context());
        let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}"));
        let undeclared = at("3 connections to api.randomsite.com:443, not declared");
        assert!(undeclared < at("connections to acme.openai.azure.com:443, declared"));
        assert!(page.contains("width=\"8\""));
    }

    #[test]
    fn every_heading_list_and_table_can_be_heard() {
        let page = html(&breach(), &context());
        assert!(page.contains("<html lang=\"en\">"));
        assert_eq!(page.matches("<h1").count(), 1);
        assert_eq!(page.matches("<table").count(), page.matches("<caption").count());
        assert!(page.contains("scope=\"col\"") && page.contains("scope=\"row\""));
        assert_eq!(
            page.matches("role=\"img\"").count(),
            page.matches("<title>").count() - 1
        );
    }

    #[test]
    fn hostile_words_stay_words() {
        let (report, context) = hostile();
        let page = html(&report, &context);
        for word in [
            "<img",
            "<b>",
            "\u{202e}",
            "\u{1b}",
            "\u{200b}",
            "javascript:alert(1)\"",
        ] {
            assert!(!page.contains(word), "{word:?}");
        }
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'));
    }
}
