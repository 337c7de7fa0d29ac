//! Tokens by which the reader of an address shows that mail reaches them.

/// A token as it stands in a letter: 32 lower-case hex digits in groups of four.
pub fn token_text(bytes: &[u8; 16]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(39);
    for (index, pair) in bytes.chunks(2).enumerate() {
        if index > 0 {
            text.push('-');
        }
        for byte in pair {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

/// The token somebody sent back, however their mail program spaced it; `None` where it is none.
pub fn read_token(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '>' | '<'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let fits = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| {
        let groups: Vec<&str> = (0..8).map(|group| &digits[group * 4..group * 4 + 4]).collect();
        groups.join("-")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_that_was_mangled_on_the_way_is_read_all_the_same() {
        let token = token_text(&[0xAB; 16]);
        assert_eq!(token, "abab-abab-abab-abab-abab-abab-abab-abab");
        assert_eq!(
            read_token(&format!("> {}\r\n", token.to_uppercase())),
            Some(token)
        );
        for bad in [
            "",
            "abab",
            "zz",
            "ab ab ab",
            "äbab-abab-abab-abab-abab-abab-abab-abab",
        ] {
            assert_eq!(read_token(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_token_reads_back(bytes in any::<[u8; 16]>()) {
            let token = token_text(&bytes);
            prop_assert_eq!(read_token(&token), Some(token));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
            let _ = read_token(&text);
        }
    }
}
