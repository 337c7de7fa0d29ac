//! The report on paper: one PDF that needs nothing but itself.
//!
//! Written with the fonts that every reader of PDF has, so nothing is embedded and the same report is
//! the same bytes. Those fonts know the letters of Western Europe; whatever else a name holds is
//! shown as `\u{…}`, as everywhere else that a character cannot be shown. Whoever needs a page that
//! can be heard takes the HTML.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

use super::story::{Advice, Fact, Story};
use crate::context::Context;
use crate::predicate::ConformanceReport;

/// A4 in points, and the room that stays white.
const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 54.0;
const INNER: f32 = WIDTH - 2.0 * MARGIN;
/// More findings and destinations are in the signed report; the page says how many.
const MAX_FINDINGS: usize = 60;
const MAX_ROWS: usize = 150;

/// A font of the fourteen that need no embedding (ISO 32000-1 §9.6.2.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Font {
    Plain,
    Bold,
    Mono,
}

impl Font {
    const ALL: [(Self, &'static [u8], &'static [u8]); 3] = [
        (Self::Plain, b"F1", b"Helvetica"),
        (Self::Bold, b"F2", b"Helvetica-Bold"),
        (Self::Mono, b"F3", b"Courier"),
    ];

    fn name(self) -> Name<'static> {
        Name(match self {
            Self::Plain => b"F1",
            Self::Bold => b"F2",
            Self::Mono => b"F3",
        })
    }

    /// The width of one character in thousandths of the size, never less than it is.
    fn width(self, byte: u8) -> f32 {
        /// Helvetica from space to tilde, as Adobe publishes it.
        const HELVETICA: [u16; 95] = [
            278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
            556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
            611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
            667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
            222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
        ];
        if self == Self::Mono {
            return 600.0;
        }
        let plain = byte
            .checked_sub(b' ')
            .and_then(|index| HELVETICA.get(usize::from(index)))
            .map_or(1000.0, |width| f32::from(*width));
        // The bold cut is up to a ninth wider.
        if self == Self::Bold { plain * 1.12 } else { plain }
    }
}

/// Text in the encoding of the fonts (WinAnsi): what they cannot show is written as `\u{…}`.
fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => bytes.push(c as u8),
            '\u{a1}'..='\u{ff}' => bytes.push(c as u32 as u8),
            '…' => bytes.push(0x85),
            '‘' => bytes.push(0x91),
            '’' => bytes.push(0x92),
            '“' => bytes.push(0x93),
            '”' => bytes.push(0x94),
            '•' => bytes.push(0x95),
            '–' => bytes.push(0x96),
            '—' => bytes.push(0x97),
            '€' => bytes.push(0x80),
            other => bytes.extend(format!("\\u{{{:x}}}", u32::from(other)).bytes()),
        }
    }
    bytes
}

type Colour = (f32, f32, f32);
const INK: Colour = (0.11, 0.1, 0.09);
const SOFT: Colour = (0.36, 0.33, 0.3);
const LINE: Colour = (0.84, 0.81, 0.77);

fn tone(word: &str) -> Colour {
    match word {
        "bad" => (0.65, 0.11, 0.07),
        "doubt" => (0.48, 0.3, 0.0),
        "good" => (0.09, 0.39, 0.23),
        _ => (0.27, 0.33, 0.42),
    }
}

/// Pages being written from the top down.
struct Sheets {
    pages: Vec<Content>,
    y: f32,
}

impl Sheets {
    fn new() -> Self {
        Self {
            pages: vec![Content::new()],
            y: HEIGHT - MARGIN,
        }
    }

    fn page(&mut self) -> &mut Content {
        self.pages.last_mut().expect("there always is a page")
    }

    /// Begins a new page unless so much room is left.
    fn need(&mut self, height: f32) {
        if self.y - height < MARGIN + 20.0 {
            self.pages.push(Content::new());
            self.y = HEIGHT - MARGIN;
        }
    }

    fn put(&mut self, x: f32, y: f32, font: Font, size: f32, colour: Colour, bytes: &[u8]) {
        let page = self.page();
        page.begin_text();
        page.set_fill_rgb(colour.0, colour.1, colour.2);
        page.set_font(font.name(), size);
        page.next_line(x, y);
        page.show(Str(bytes));
        page.end_text();
    }

    fn rect(&mut self, x: f32, y: f32, width: f32, height: f32, colour: Colour) {
        let page = self.page();
        page.set_fill_rgb(colour.0, colour.1, colour.2);
        page.rect(x, y, width, height);
        page.fill_nonzero();
    }

    /// Text that wraps at words, and inside words that are longer than a line.
    fn text(&mut self, indent: f32, font: Font, size: f32, colour: Colour, text: &str) {
        for line in wrap(font, size, INNER - indent, text) {
            self.need(size * 1.4);
            self.y -= size * 1.4;
            let y = self.y;
            self.put(MARGIN + indent, y, font, size, colour, &line);
        }
    }

    fn gap(&mut self, height: f32) {
        self.y -= height;
    }

    fn heading(&mut self, words: &str) {
        self.gap(14.0);
        self.need(60.0);
        self.text(0.0, Font::Bold, 13.0, INK, words);
        self.gap(4.0);
    }

    /// A label in the left column, its value in the right one.
    fn fact(&mut self, label: &str, value: &str) {
        const COLUMN: f32 = 120.0;
        let mut first = true;
        for line in wrap(Font::Plain, 9.5, INNER - COLUMN, value) {
            self.need(13.5);
            self.y -= 13.5;
            let y = self.y;
            if first {
                self.put(MARGIN, y, Font::Plain, 9.5, SOFT, &encode(label));
                first = false;
            }
            self.put(MARGIN + COLUMN, y, Font::Plain, 9.5, INK, &line);
        }
    }

    fn facts(&mut self, facts: &[Fact]) {
        for fact in facts {
            self.fact(fact.label, &fact.value);
        }
    }

    fn commands(&mut self, commands: &str) {
        for line in commands.lines() {
            self.text(10.0, Font::Mono, 8.0, INK, line);
        }
        self.gap(3.0);
    }

    fn steps(&mut self, heading: &str, steps: &[Advice]) {
        if steps.is_empty() {
            return;
        }
        self.heading(heading);
        for (number, step) in (1..).zip(steps) {
            self.text(0.0, Font::Plain, 10.0, INK, &format!("{number}. {}", step.text));
            if let Some(command) = &step.command {
                self.commands(command);
            }
            self.gap(2.0);
        }
    }

    /// When something was seen, drawn.
    fn strip(&mut self, left: i64, width: i64, colour: Colour) {
        // Thousandths, which a float holds exactly.
        let part = |thousandths: i64| INNER * i16::try_from(thousandths).map_or(0.0, f32::from) / 1000.0;
        self.need(14.0);
        self.y -= 12.0;
        let y = self.y;
        self.rect(MARGIN, y + 2.0, INNER, 2.0, LINE);
        self.rect(MARGIN + part(left), y, part(width), 6.0, colour);
    }

    /// One destination and its share of all connections, drawn.
    fn bar(&mut self, share: f32, colour: Colour) {
        self.need(9.0);
        self.y -= 8.0;
        let y = self.y;
        self.rect(MARGIN, y, (INNER * share).max(2.0), 4.0, colour);
    }
}

/// Lines of encoded text no wider than `width`.
fn wrap(font: Font, size: f32, width: f32, text: &str) -> Vec<Vec<u8>> {
    let measure = |bytes: &[u8]| bytes.iter().map(|&byte| font.width(byte)).sum::<f32>() * size / 1000.0;
    let mut lines = Vec::new();
    let mut line: Vec<u8> = Vec::new();
    for word in encode(text).split(|&byte| byte == b' ') {
        let space = if line.is_empty() { 0.0 } else { measure(b" ") };
        if !line.is_empty() && measure(&line) + space + measure(word) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(b' ');
        }
        for &byte in word {
            if measure(&line) + font.width(byte) * size / 1000.0 > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(byte);
        }
    }
    lines.push(line);
    lines
}

/// The report as a PDF.
pub fn pdf(report: &ConformanceReport, context: &Context) -> Vec<u8> {
    let story = Story::of(report, context);
    let mut sheets = Sheets::new();
    top(&mut sheets, &story, context);
    findings(&mut sheets, &story);
    sheets.steps("What the owner can do", &story.for_owner);
    sheets.steps("What needs the security team", &story.for_security);
    done(&mut sheets, &story);
    destinations(&mut sheets, &story);
    coverage(&mut sheets, &story);
    verification(&mut sheets, &story);
    bind(sheets, &story)
}

fn top(sheets: &mut Sheets, story: &Story, context: &Context) {
    let colour = tone(story.tone);
    sheets.text(
        0.0,
        Font::Plain,
        9.0,
        SOFT,
        &format!("Bailiwick conformance report, {}", story.site),
    );
    sheets.gap(8.0);
    sheets.text(0.0, Font::Bold, 12.0, colour, &story.verdict.to_uppercase());
    if context.signed.is_none() {
        sheets.text(
            0.0,
            Font::Bold,
            10.0,
            tone("doubt"),
            "Draft: nobody has signed this.",
        );
    }
    sheets.gap(2.0);
    sheets.text(0.0, Font::Bold, 16.0, INK, &story.headline);
    sheets.gap(2.0);
    sheets.text(0.0, Font::Plain, 10.5, SOFT, &story.lead);
    sheets.gap(6.0);
    sheets.facts(&story.about);
}

fn findings(sheets: &mut Sheets, story: &Story) {
    if story.findings.is_empty() {
        return;
    }
    sheets.heading("Findings");
    for (number, finding) in (1..).zip(story.findings.iter().take(MAX_FINDINGS)) {
        let colour = tone(finding.tone);
        sheets.need(70.0);
        sheets.text(
            0.0,
            Font::Bold,
            10.5,
            colour,
            &format!("{number}. {} ({})", finding.title, finding.severity),
        );
        sheets.text(0.0, Font::Plain, 10.0, INK, finding.meaning);
        if let Some(strip) = &finding.strip {
            sheets.strip(strip.left, strip.width, colour);
        }
        sheets.facts(&finding.facts);
        if !finding.evidence.is_empty() {
            sheets.fact("Evidence", &finding.evidence);
        }
        sheets.fact("Finding id", &finding.id);
        sheets.fact("Fix", &finding.fix);
        sheets.gap(8.0);
    }
    let more = story.findings.len().saturating_sub(MAX_FINDINGS) as u64;
    if more > 0 {
        let more = crate::words::count(more, "finding");
        sheets.text(
            0.0,
            Font::Bold,
            10.0,
            tone("doubt"),
            &format!("{more} more in the signed report."),
        );
    }
    if !story.omitted.is_empty() {
        let left_out = format!(
            "Left out of the signed report's lists: {}.",
            story.omitted.join(", ")
        );
        sheets.text(0.0, Font::Bold, 10.0, tone("doubt"), &left_out);
    }
}

fn done(sheets: &mut Sheets, story: &Story) {
    sheets.heading("What was done");
    if story.actions.is_empty() {
        sheets.text(0.0, Font::Plain, 10.0, INK, "Nothing was done automatically.");
    }
    for action in &story.actions {
        sheets.text(0.0, Font::Plain, 10.0, INK, &format!("• {}", action.what));
        let why = format!("by clause {}, enabled by {}", action.clause, action.enabled_by);
        sheets.text(10.0, Font::Plain, 9.0, SOFT, &why);
    }
}

fn destinations(sheets: &mut Sheets, story: &Story) {
    sheets.heading("Declared and observed");
    if story.rows.is_empty() {
        sheets.text(0.0, Font::Plain, 10.0, INK, "No connection was observed.");
    }
    let most = story.rows.iter().map(|row| row.number).max().unwrap_or(0).max(1);
    for row in story.rows.iter().take(MAX_ROWS) {
        let colour = tone(if row.declared.is_some() { "good" } else { "bad" });
        sheets.need(44.0);
        sheets.text(0.0, Font::Bold, 9.5, colour, &row.destination);
        let declared = match &row.declared {
            Some(entry) => format!("declared by {entry}"),
            None => "NOT DECLARED".to_owned(),
        };
        let refused = row
            .refused
            .as_ref()
            .map_or(String::new(), |refused| format!(" ({refused} refused)"));
        let line = format!(
            "{declared}; {}; connections {}{refused}, sent {}, received {}",
            row.spoken, row.connections, row.sent, row.received
        );
        sheets.text(0.0, Font::Plain, 9.0, INK, &line);
        // Counters beyond 2²⁴ lose digits in a float; a bar has no digits.
        #[expect(clippy::cast_precision_loss, reason = "a share of a bar's length")]
        let share = row.number as f32 / most as f32;
        sheets.bar(share, colour);
    }
    let more = story.rows.len().saturating_sub(MAX_ROWS) as u64;
    if more > 0 {
        let more = crate::words::count(more, "destination");
        sheets.text(
            0.0,
            Font::Bold,
            10.0,
            tone("doubt"),
            &format!("{more} more in the signed report."),
        );
    }
    for entry in story.unused.iter().take(MAX_ROWS) {
        sheets.text(
            0.0,
            Font::Plain,
            9.0,
            SOFT,
            &format!("{entry} is declared and was not used"),
        );
    }
}

fn coverage(sheets: &mut Sheets, story: &Story) {
    sheets.heading("How complete this is");
    sheets.facts(&story.coverage);
    for gap in &story.gaps {
        sheets.text(0.0, Font::Plain, 9.5, tone("doubt"), &format!("• missing: {gap}"));
    }
    for log in story.logs.iter().take(MAX_ROWS) {
        let line = format!("• log {}, entries {}, root {}", log.origin, log.range, log.root);
        sheets.text(0.0, Font::Plain, 9.0, INK, &line);
    }
    let more = story.logs.len().saturating_sub(MAX_ROWS) as u64;
    if more > 0 {
        let more = crate::words::count(more, "log");
        sheets.text(
            0.0,
            Font::Plain,
            9.0,
            SOFT,
            &format!("• {more} more in the signed report"),
        );
    }
    if let Some(further) = &story.further_logs {
        sheets.text(0.0, Font::Plain, 9.0, INK, &format!("• {further}"));
    }
    for limit in &story.limits {
        sheets.text(0.0, Font::Plain, 9.0, SOFT, &format!("• {limit}"));
    }
}

fn verification(sheets: &mut Sheets, story: &Story) {
    sheets.heading("Check it yourself");
    if let Some(advice) = &story.key_advice {
        sheets.text(0.0, Font::Plain, 10.0, INK, advice);
    }
    for step in &story.steps {
        sheets.gap(3.0);
        sheets.need(40.0);
        sheets.text(0.0, Font::Bold, 9.5, INK, &step.title);
        sheets.commands(&step.commands);
    }
    sheets.gap(4.0);
    sheets.facts(&story.documents);
    sheets.gap(6.0);
    sheets.text(
        0.0,
        Font::Plain,
        9.0,
        SOFT,
        "These pages are a rendering. What counts is the signed report; where the two differ, the signed report is right.",
    );
}

/// The pages as one document.
fn bind(mut sheets: Sheets, story: &Story) -> Vec<u8> {
    let count = sheets.pages.len();
    let title = format!("{}: {}", story.verdict, story.plugin);
    for (number, page) in (1..).zip(&mut sheets.pages) {
        let footer = encode(&format!("{title}, page {number} of {count}"));
        page.begin_text();
        page.set_fill_rgb(SOFT.0, SOFT.1, SOFT.2);
        page.set_font(Font::Plain.name(), 8.0);
        page.next_line(MARGIN, MARGIN - 20.0);
        page.show(Str(&footer));
        page.end_text();
    }
    let mut next = 1;
    let mut fresh = || {
        next += 1;
        Ref::new(next - 1)
    };
    let (catalog, tree, info) = (fresh(), fresh(), fresh());
    let fonts = Font::ALL.map(|(_, name, base)| (name, base, fresh()));
    let pages: Vec<(Ref, Ref, Content)> = sheets
        .pages
        .into_iter()
        .map(|content| (fresh(), fresh(), content))
        .collect();
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree).lang(TextStr("en"));
    pdf.document_info(info)
        .title(TextStr(&title))
        .producer(TextStr("Bailiwick"));
    pdf.pages(tree)
        .kids(pages.iter().map(|(page, _, _)| *page))
        .count(i32::try_from(count).unwrap_or(i32::MAX));
    for (_, base, id) in fonts {
        pdf.type1_font(id)
            .base_font(Name(base))
            .encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    for (id, content_id, content) in pages {
        let mut page = pdf.page(id);
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT))
            .parent(tree)
            .contents(content_id);
        let mut resources = page.resources();
        let mut dictionary = resources.fonts();
        for (name, _, font) in fonts {
            dictionary.pair(Name(name), font);
        }
        dictionary.finish();
        resources.finish();
        page.finish();
        pdf.stream(content_id, &content.finish());
    }
    pdf.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{breach, clean, context, doubtful, hostile, silent};

    /// The text of all content streams, as it was put there.
    fn shown(pdf: &[u8]) -> String {
        let text = String::from_utf8_lossy(pdf).into_owned();
        text.lines()
            .filter(|line| line.ends_with("Tj"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_report_on_paper_says_what_the_page_says() {
        let bytes = pdf(&breach(), &context());
        assert!(bytes.starts_with(b"%PDF-1."));
        let shown = shown(&bytes);
        for words in [
            "NOT CONFORMING",
            "api.randomsite.com:443",
            "NOT DECLARED",
            "cosign verify-blob-attestation",
            "tiers.medium.on_breach",
            "page 1 of",
        ] {
            assert!(shown.contains(words), "{words} is not in\n{shown}");
        }
        assert_eq!(
            bytes,
            pdf(&breach(), &context()),
            "the same report is the same bytes"
        );
        for report in [clean(), doubtful(), silent()] {
            assert!(pdf(&report, &context()).len() < 60_000);
        }
    }

    #[test]
    fn a_draft_says_that_nobody_signed_it() {
        let mut draft = context();
        draft.signed = None;
        assert!(shown(&pdf(&breach(), &draft)).contains("nobody has signed this"));
    }

    #[test]
    fn hostile_words_are_neither_operators_nor_objects() {
        let (report, context) = hostile();
        let bytes = pdf(&report, &context);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(
            text.matches("/JavaScript").count() + text.matches("/OpenAction").count(),
            0
        );
        let shown = shown(&bytes);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\r'));
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        for font in [Font::Plain, Font::Bold, Font::Mono] {
            let long = format!("{} {} ü€ 日本", "W".repeat(300), "word ".repeat(100));
            for line in wrap(font, 10.0, 200.0, &long) {
                let width: f32 = line.iter().map(|&byte| font.width(byte)).sum::<f32>() / 100.0;
                assert!(width <= 200.5, "{width}");
            }
        }
        assert_eq!(
            encode("é€日"),
            [0xe9, 0x80, b'\\', b'u', b'{', b'6', b'5', b'e', b'5', b'}']
        );
    }
}
