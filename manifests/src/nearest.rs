//! Nearest names: what somebody probably meant.

/// The known word that is closest to `word`, if one is close enough to be a slip of the finger.
pub(crate) fn nearest_word<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    known
        .iter()
        .map(|candidate| (edit_distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, on the first 64 characters of each.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_their_textbook_values() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }

    #[test]
    fn only_a_slip_of_the_finger_gets_a_suggestion() {
        let known = ["allowed_egress", "built_by", "built_at"];
        assert_eq!(nearest_word("alowed_egress", &known), Some("allowed_egress"));
        assert_eq!(nearest_word("allowed_hosts", &known), None);
        assert_eq!(nearest_word("build_at", &known), Some("built_at"));
    }
}
