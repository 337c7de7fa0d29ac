//! Escaping: other people's words on their way into our documents.
//!
//! A host, a plugin's file name, an owner's name and a policy clause are data written by strangers.
//! Where they are shown, they must not act: not as markup, terminal control, mail header, formula or
//! shell, and not as invisible or right-to-left text that reads as something else. [`visible`] comes
//! first for every sink; the sinks add what is special about them.

use std::fmt::Write as _;

/// One line of printable text: whatever does not show, or changes how its neighbours show, becomes
/// `\u{…}`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            shown.push(c);
        } else {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
    }
    shown
}

/// [`visible`], cut to `max` characters with an ellipsis.
pub fn short(text: &str, max: usize) -> String {
    let shown = visible(text);
    if shown.chars().count() <= max {
        return shown;
    }
    let mut cut: String = shown.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Text for HTML, in element content and in quoted attributes alike.
pub fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            c => shown.push(c),
        }
    }
    shown
}

/// Text for the value of a mail header: one line, no leading or trailing space, at most 200 characters.
/// Encoding what is not ASCII (RFC 2047) is for whoever writes the header.
pub fn header(text: &str) -> String {
    short(text.trim(), 200)
}

/// One field of a CSV file (RFC 4180), quoted, and never a formula: a spreadsheet that is handed
/// `=HYPERLINK(…)` runs it.
pub fn csv(text: &str) -> String {
    let shown = visible(text);
    let formula = shown
        .trim_start()
        .starts_with(['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", shown.replace('"', "\"\""))
}

/// One word of a POSIX shell command that stands in a document for people to copy. Never an option:
/// a leading `-` gets `./` before it.
pub fn shell(text: &str) -> String {
    let mut word = visible(text);
    if word.starts_with('-') {
        word.insert_str(0, "./");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_./:@%+,-".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The name of an attached or written file: ASCII letters, digits, `.`, `_`, `+` and `-`, never
/// hidden, never empty, at most 120 characters. What comes before the last `/` is dropped.
pub fn file_name(text: &str) -> String {
    let base = text.rsplit(['/', '\\']).next().unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    let name: String = base
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .take(120)
        .collect();
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() {
        "file".to_owned()
    } else {
        name.to_owned()
    }
}

/// Whether `c` shows as itself and leaves its neighbours alone.
fn is_plain(c: char) -> bool {
    if c == ' ' {
        return true;
    }
    if c.is_control() || c.is_whitespace() {
        return false;
    }
    // Format characters, fillers, variation selectors, private use, tags and non-characters
    // (Unicode 16, General_Category Cf, Co, Cn and Default_Ignorable_Code_Point).
    !matches!(u32::from(c),
        0x00AD | 0x034F | 0x0600..=0x0605 | 0x061C | 0x06DD | 0x070F | 0x0890..=0x0891 | 0x08E2
        | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xE000..=0xF8FF | 0xFDD0..=0xFDEF | 0xFE00..=0xFE0F
        | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFF | 0x110BD | 0x110CD | 0x13430..=0x1343F
        | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0x10FFFF)
        && u32::from(c) & 0xFFFE != 0xFFFE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_words_stay_as_they_are() {
        for text in ["invoice_ocr", "Zoë's Büro (Köln)", "日本語", "a-b.c:443", "*.x"] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn what_does_not_show_is_made_to_show() {
        assert_eq!(visible("a\r\nb\t\x1b[31m"), "a\\u{d}\\u{a}b\\u{9}\\u{1b}[31m");
        assert_eq!(visible("cod\u{202e}exe.whl"), "cod\\u{202e}exe.whl");
        for hidden in [
            '\u{0}',
            '\u{7f}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{200b}',
            '\u{200e}',
            '\u{2028}',
            '\u{2066}',
            '\u{3000}',
            '\u{feff}',
            '\u{e0041}',
            '\u{fe0f}',
            '\u{1fffe}',
        ] {
            assert!(visible(&hidden.to_string()).starts_with("\\u{"), "{hidden:?}");
        }
    }

    #[test]
    fn a_formula_is_never_a_formula() {
        assert_eq!(csv("=1+1"), "\"'=1+1\"");
        assert_eq!(csv("  @SUM(A1)"), "\"'  @SUM(A1)\"");
        assert_eq!(csv("a\"b"), "\"a\"\"b\"");
        assert_eq!(csv("api.example"), "\"api.example\"");
    }

    #[test]
    fn a_file_name_is_never_a_command() {
        assert_eq!(shell("plugin-1.0.whl"), "plugin-1.0.whl");
        assert_eq!(shell("$(reboot).whl"), "'$(reboot).whl'");
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell("--key=evil"), "'./--key=evil'");
        assert_eq!(shell(""), "''");
    }

    #[test]
    fn a_file_name_stays_in_its_folder() {
        assert_eq!(file_name("report.sigstore.json"), "report.sigstore.json");
        assert_eq!(file_name("../../.bashrc"), "bashrc");
        assert_eq!(file_name("C:\\evil.exe"), "evil.exe");
        assert_eq!(file_name("a\r\nb\"c;d.whl"), "a__b_c_d.whl");
        assert_eq!(file_name(".."), "file");
        assert_eq!(file_name("-rf"), "rf");
    }

    #[test]
    fn a_header_is_one_short_line() {
        assert_eq!(header(" a\r\nBcc: everyone "), "a\\u{d}\\u{a}Bcc: everyone");
        assert_eq!(header(&"x".repeat(500)).chars().count(), 200);
    }

    fn tame(text: &str) -> bool {
        !text.chars().any(char::is_control) && text.chars().all(is_plain)
    }

    proptest! {
        #[test]
        fn no_text_comes_out_with_a_control_or_a_bidi_character(text in any::<String>()) {
            prop_assert!(tame(&visible(&text)));
            prop_assert!(tame(&header(&text)));
            prop_assert!(tame(&csv(&text)));
            prop_assert!(tame(&shell(&text)));
            prop_assert!(tame(&short(&text, 20)) && short(&text, 20).chars().count() <= 20);
        }

        #[test]
        fn no_text_comes_out_as_markup(text in any::<String>()) {
            let shown = html(&text);
            prop_assert!(!shown.contains(['<', '>', '"', '\'']) && tame(&shown));
        }

        #[test]
        fn showing_what_shows_changes_nothing(text in any::<String>()) {
            prop_assert_eq!(visible(&visible(&text)), visible(&text));
        }

        #[test]
        fn a_csv_field_closes_where_it_should(text in any::<String>()) {
            let field = csv(&text);
            prop_assert!(!field[1..field.len() - 1].replace("\"\"", "").contains('"'));
        }
    }
}
