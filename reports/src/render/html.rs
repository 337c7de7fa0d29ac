//! The report as one HTML file: no network, no script, readable on paper and on a phone.

use askama::Template;

use super::story::Story;
use crate::context::Context;
use crate::predicate::ConformanceReport;

#[derive(Template)]
#[template(path = "report.html", whitespace = "minimize")]
struct Page {
    story: Story,
    is_draft: bool,
}

/// The report as a self-contained HTML page.
pub fn html(report: &ConformanceReport, context: &Context) -> String {
    Page {
        story: Story::of(report, context),
        is_draft: context.signed.is_none(),
    }
    .render()
    .expect("the template writes strings into a string, which cannot fail")
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
    fn a_destination_that_looks_like_a_proxy_is_called_one() {
        let mut report = clean();
        assert!(!html(&report, &context()).contains("proxy-like"));
        report.observed[0].port = 3128.try_into().unwrap();
        assert!(html(&report, &context()).contains("acme.openai.azure.com:3128 is a proxy-like destination"));
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
