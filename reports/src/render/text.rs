//! The report as plain text, for terminals and mail: 78 columns, no colour, no control characters.

use super::story::{ActionStory, Advice, Fact, FindingStory, Story};
use crate::context::Context;
use crate::predicate::ConformanceReport;

const WIDTH: usize = 78;

/// The report as plain text.
pub fn text(report: &ConformanceReport, context: &Context) -> String {
    let story = Story::of(report, context);
    let mut paper = Paper::default();
    paper.heading(
        &format!("{}: {}", story.verdict.to_uppercase(), story.plugin),
        '=',
    );
    if context.signed.is_none() {
        paper.paragraph("Draft: nobody has signed this.");
    }
    paper.paragraph(&story.headline);
    paper.paragraph(&story.lead);
    paper.facts(&story.about);
    findings(&mut paper, &story);
    advice(&mut paper, "What the owner can do", &story.for_owner);
    advice(&mut paper, "What needs the security team", &story.for_security);
    done(&mut paper, &story);
    changes(&mut paper, &story);
    destinations(&mut paper, &story);
    coverage(&mut paper, &story);
    verification(&mut paper, &story);
    paper.finish()
}

fn findings(paper: &mut Paper, story: &Story) {
    if story.findings.is_empty() {
        return;
    }
    paper.heading("Findings", '-');
    for (number, finding) in (1..).zip(&story.findings) {
        paper.finding(number, finding);
    }
    if !story.omitted.is_empty() {
        paper.paragraph(&format!("Left out of the lists: {}.", story.omitted.join(", ")));
    }
}

fn advice(paper: &mut Paper, heading: &str, advice: &[Advice]) {
    if advice.is_empty() {
        return;
    }
    paper.heading(heading, '-');
    paper.steps(advice);
}

fn done(paper: &mut Paper, story: &Story) {
    paper.heading("What was done", '-');
    if story.actions.is_empty() {
        paper.paragraph("Nothing was done automatically.");
    }
    paper.actions(&story.actions);
}

fn changes(paper: &mut Paper, story: &Story) {
    let Some(changes) = &story.changes else {
        return;
    };
    paper.heading("Since the report before", '-');
    if let Some(before) = story.verdict_before {
        paper.paragraph(&format!("The verdict was: {before}."));
    }
    if changes.is_empty() {
        paper.paragraph("Nothing else changed.");
    }
    for change in changes {
        paper.line(&format!("{}:", change.label));
        for item in &change.items {
            paper.item("-", item);
        }
        paper.blank();
    }
}

fn destinations(paper: &mut Paper, story: &Story) {
    paper.heading("Declared and observed", '-');
    if story.rows.is_empty() {
        paper.paragraph("No connection was observed.");
    }
    for row in &story.rows {
        let mark = if row.declared.is_some() { "ok" } else { "!!" };
        paper.item(mark, &format!("{} over {}", row.destination, row.spoken));
        let refused = match &row.refused {
            Some(refused) => format!(" ({refused} refused)"),
            None => String::new(),
        };
        paper.indented(
            3,
            &format!(
                "{}; connections {}{refused}, sent {}, received {}",
                match &row.declared {
                    Some(entry) => format!("declared by {entry}"),
                    None => "NOT DECLARED".to_owned(),
                },
                row.connections,
                row.sent,
                row.received
            ),
        );
    }
    for entry in &story.unused {
        paper.item("--", &format!("{entry} is declared and was not used"));
    }
    paper.blank();
}

fn coverage(paper: &mut Paper, story: &Story) {
    paper.heading("How complete this is", '-');
    paper.facts(&story.coverage);
    for gap in &story.gaps {
        paper.item("-", &format!("missing: {gap}"));
    }
    for log in &story.logs {
        paper.item("-", &format!("log {}, entries {}", log.origin, log.range));
        paper.indented(2, &format!("root {}", log.root));
    }
    if let Some(further) = &story.further_logs {
        paper.item("-", further);
    }
    for limit in &story.limits {
        paper.item("-", limit);
    }
    paper.blank();
}

fn verification(paper: &mut Paper, story: &Story) {
    paper.heading("How to check this", '-');
    if let Some(advice) = &story.key_advice {
        paper.paragraph(advice);
    }
    for step in &story.steps {
        paper.paragraph(&format!("{}:", step.title));
        paper.block(&step.commands);
    }
    paper.facts(&story.documents);
}

/// Text being written: wrapped at words, never inside one, because a broken digest or command cannot
/// be copied.
#[derive(Default)]
pub(crate) struct Paper {
    text: String,
}

impl Paper {
    pub(crate) fn heading(&mut self, words: &str, underline: char) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.blank();
        }
        self.line(words);
        let width = words.chars().count().min(WIDTH);
        self.line(&underline.to_string().repeat(width));
        self.blank();
    }

    pub(crate) fn line(&mut self, words: &str) {
        self.text.push_str(words.trim_end());
        self.text.push('\n');
    }

    pub(crate) fn blank(&mut self) {
        self.text.push('\n');
    }

    pub(crate) fn paragraph(&mut self, words: &str) {
        self.wrap("", "", words);
        self.blank();
    }

    pub(crate) fn item(&mut self, mark: &str, words: &str) {
        self.wrap(&format!("{mark} "), &" ".repeat(mark.len() + 1), words);
    }

    pub(crate) fn indented(&mut self, spaces: usize, words: &str) {
        let margin = " ".repeat(spaces);
        self.wrap(&margin, &margin, words);
    }

    pub(crate) fn command(&mut self, spaces: usize, command: &str) {
        self.line(&format!("{}$ {command}", " ".repeat(spaces)));
    }

    pub(crate) fn facts(&mut self, facts: &[Fact]) {
        let width = facts
            .iter()
            .map(|fact| fact.label.len())
            .max()
            .unwrap_or(0)
            .min(24);
        for fact in facts {
            let label = format!("{:width$}  ", fact.label);
            let margin = " ".repeat(width + 2);
            self.wrap(&label, &margin, &fact.value);
        }
        self.blank();
    }

    pub(crate) fn block(&mut self, commands: &str) {
        for line in commands.lines() {
            self.line(&format!("  {line}"));
        }
        self.blank();
    }

    pub(crate) fn steps(&mut self, steps: &[Advice]) {
        for (number, step) in (1..).zip(steps) {
            self.item(&format!("{number}."), &step.text);
            if let Some(command) = &step.command {
                self.command(3, command);
            }
        }
        self.blank();
    }

    pub(crate) fn actions(&mut self, actions: &[ActionStory]) {
        for action in actions {
            self.item("-", &action.what);
            self.indented(
                2,
                &format!("by clause {}, enabled by {}", action.clause, action.enabled_by),
            );
        }
        if !actions.is_empty() {
            self.blank();
        }
    }

    pub(crate) fn finding(&mut self, number: usize, finding: &FindingStory) {
        self.item(
            &format!("{number}."),
            &format!("{} [{}]", finding.title, finding.severity),
        );
        self.indented(3, finding.meaning);
        for fact in &finding.facts {
            self.indented(3, &format!("{}: {}", fact.label, fact.value));
        }
        self.indented(3, &format!("Fix: {}", finding.fix));
        if !finding.evidence.is_empty() {
            self.indented(3, &format!("Evidence: {}", finding.evidence));
        }
        self.indented(3, &format!("Finding id: {}", finding.id));
        self.blank();
    }

    fn wrap(&mut self, first: &str, margin: &str, words: &str) {
        let mut line = first.to_owned();
        let mut is_empty = true;
        for word in words.split(' ').filter(|word| !word.is_empty()) {
            let fits = line.chars().count() + 1 + word.chars().count() <= WIDTH;
            if !is_empty && !fits {
                self.line(&line);
                margin.clone_into(&mut line);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        self.line(&line);
    }

    pub(crate) fn finish(self) -> String {
        format!("{}\n", self.text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{breach, clean, context, doubtful, hostile};

    #[test]
    fn text_wraps_at_words_and_says_the_same() {
        let page = text(&breach(), &context());
        assert!(page.starts_with("NOT CONFORMING: invoice_ocr\n===="));
        assert!(page.contains("add \"api.randomsite.com\" to allowed_egress"));
        assert!(page.contains("by clause tiers.medium.on_breach, enabled by dana@acme.example"));
        for line in page.lines().filter(|line| line.chars().count() > WIDTH) {
            // Only what must not be broken runs over: a digest, a command.
            let whole = ["sha256:", "$ ", "cosign", "printf", "jq "];
            assert!(whole.iter().any(|word| line.contains(word)), "{line}");
        }
    }

    #[test]
    fn a_gap_accuses_nobody() {
        let page = text(&doubtful(), &context());
        assert!(page.contains("This accuses nobody."));
        assert!(page.contains("12 entries missing"));
        assert!(!page.contains("bailiwick quarantine"));
        assert!(!text(&clean(), &context()).contains("What needs the security team"));
    }

    #[test]
    fn hostile_words_never_reach_the_terminal() {
        let (report, context) = hostile();
        let page = text(&report, &context);
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'));
        assert!(!page.contains(['\u{202e}', '\u{200b}', '\u{2028}']));
        // No line can be made to look like one of ours.
        assert!(!page.lines().any(|line| line.starts_with("CONFORMING: ")));
    }
}
