//! `[evidence.retention]`: for how long what was archived is kept, by the class of data that a run was
//! stamped with.
//!
//! ```toml
//! [evidence.retention]
//! default = "7y"     # events without a run, of a run without a class, or of a class not named here
//! secret = "90d"
//! ```

use std::collections::BTreeMap;

use manifests::DataClass;

use crate::config::{EvidenceConfig, keep_s};

/// What a declaration in the log names as its cause.
pub const SETTING: &str = "evidence.retention";
/// The name in the table that is no class.
const DEFAULT: &str = "default";
/// Longer than anybody can promise: a thousand years.
const LONGEST_S: i64 = 1000 * 366 * 24 * 3600;

/// How long archived events are kept, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    default_s: i64,
    classes: BTreeMap<String, i64>,
    spelling: String,
}

impl Retention {
    /// What the table says; `None` where there is none, and nothing ever expires.
    ///
    /// # Errors
    /// The key that is wrong, and what to do.
    pub fn of(evidence: &EvidenceConfig) -> Result<Option<Self>, (String, String)> {
        let Some(table) = &evidence.retention else {
            return Ok(None);
        };
        let wrong = |message: &str| Err((SETTING.to_owned(), message.to_owned()));
        if !evidence.archive {
            return wrong("nothing expires that was not archived; add archive = true");
        }
        let Some(keep_entries) = &evidence.keep_entries else {
            return wrong("nothing expires before its entries leave the log; add keep_entries");
        };
        let least_s =
            keep_s(keep_entries).map_err(|message| ("evidence.keep_entries".to_owned(), message))?;
        let mut classes = BTreeMap::new();
        for (class, text) in table {
            let key = format!("{SETTING}.{class}");
            if class != DEFAULT && class.parse::<DataClass>().is_err() {
                return Err((
                    key,
                    format!("{class:?} is no data class; name one as manifests do"),
                ));
            }
            let kept_s = keep_s(text).map_err(|message| (key.clone(), message))?;
            if kept_s < least_s {
                let message = format!(
                    "{text:?} is shorter than keep_entries, {keep_entries:?}, for which every entry stays in the log"
                );
                return Err((key, message));
            }
            if kept_s > LONGEST_S {
                let message = format!("{text:?} is longer than a thousand years; nobody can promise that");
                return Err((key, message));
            }
            classes.insert(class.clone(), kept_s);
        }
        let Some(default_s) = classes.remove(DEFAULT) else {
            return wrong(
                "events without a run or of another class need an answer too; add default, for example \"7y\"",
            );
        };
        let words = table.iter().map(|(class, text)| format!("{class} {text}"));
        Ok(Some(Self {
            default_s,
            classes,
            spelling: words.collect::<Vec<_>>().join(", "),
        }))
    }

    /// For how many seconds events of a run with this class are kept.
    pub fn kept_s(&self, class: Option<&str>) -> i64 {
        let named = class.and_then(|class| self.classes.get(class));
        named.copied().unwrap_or(self.default_s)
    }

    /// The table in one line.
    pub fn spelling(&self) -> &str {
        &self.spelling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 86_400;

    fn read(text: &str) -> Result<Option<Retention>, (String, String)> {
        Retention::of(&toml::from_str(text).unwrap())
    }

    #[test]
    fn each_class_is_kept_as_long_as_it_says_and_all_others_as_the_default_says() {
        assert_eq!(read("archive = true").unwrap(), None);
        let table = "archive = true\nkeep_entries = \"30d\"\n[retention]\ndefault = \"7y\"\nsecret = \"90d\"\nofficial = \"6mo\"";
        let retention = read(table).unwrap().unwrap();
        assert_eq!(retention.kept_s(Some("secret")), 90 * DAY_S);
        // The longest that the words can mean.
        assert_eq!(retention.kept_s(Some("official")), 6 * 31 * DAY_S);
        for other in [None, Some("public"), Some("default")] {
            assert_eq!(retention.kept_s(other), 7 * 366 * DAY_S, "{other:?}");
        }
        assert_eq!(retention.spelling(), "default 7y, official 6mo, secret 90d");
    }

    #[test]
    fn each_mistake_has_a_sentence_that_says_what_to_do() {
        let kept = "archive = true\nkeep_entries = \"30d\"\n[retention]\n";
        for (text, key, words) in [
            (
                "[retention]\ndefault = \"7y\"".to_owned(),
                "evidence.retention",
                "add archive = true",
            ),
            (
                "archive = true\n[retention]\ndefault = \"7y\"".to_owned(),
                "evidence.retention",
                "add keep_entries",
            ),
            (kept.to_owned(), "evidence.retention", "add default"),
            (
                format!("{kept}secret = \"90d\""),
                "evidence.retention",
                "add default",
            ),
            (
                format!("{kept}default = \"7y\"\nsecret = \"soon\""),
                "evidence.retention.secret",
                "\"soon\" is not a duration",
            ),
            (
                format!("{kept}default = \"7y\"\nsecret = \"7d\""),
                "evidence.retention.secret",
                "shorter than keep_entries, \"30d\"",
            ),
            (
                format!("{kept}default = \"2000y\""),
                "evidence.retention.default",
                "longer than a thousand years",
            ),
            (
                format!("{kept}default = \"7y\"\n\"\" = \"90d\""),
                "evidence.retention.",
                "is no data class",
            ),
        ] {
            let (found, message) = read(&text).unwrap_err();
            assert_eq!(found, key, "{text}");
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
