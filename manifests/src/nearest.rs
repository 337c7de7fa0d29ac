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
    Word::new(a).distance(b)
}

/// A word that others are held against.
///
/// The distance to it is counted in the manner of Myers (1999), as Hyyrö (2003) has it for whole words: one
/// column of the table is two words of bits, the differences between its rows.
pub(crate) struct Word {
    /// For each ASCII character the places where it stands.
    places: [u64; 128],
    /// The other characters, each with its place.
    others: Vec<(char, u64)>,
    length: usize,
}

impl Word {
    /// The first 64 characters of a word.
    pub(crate) fn new(word: &str) -> Self {
        let mut new = Self {
            places: [0; 128],
            others: Vec::new(),
            length: 0,
        };
        for character in word.chars().take(64) {
            let place = 1 << new.length;
            match new.places.get_mut(character as usize) {
                Some(places) => *places |= place,
                None => new.others.push((character, place)),
            }
            new.length += 1;
        }
        new
    }

    /// Levenshtein's distance to the first 64 characters of another word.
    pub(crate) fn distance(&self, other: &str) -> usize {
        let Some(last) = self.length.checked_sub(1) else {
            return other.chars().take(64).count();
        };
        let (mut rises, mut falls) = (u64::MAX, 0);
        let mut distance = self.length;
        for character in other.chars().take(64) {
            let equal = self.places_of(character);
            let vertical = equal | falls;
            let horizontal = ((equal & rises).wrapping_add(rises) ^ rises) | equal;
            let (up, down) = (falls | !(horizontal | rises), rises & horizontal);
            distance += usize::from(up >> last & 1 == 1);
            distance -= usize::from(down >> last & 1 == 1);
            let (up, down) = (up << 1 | 1, down << 1);
            rises = down | !(vertical | up);
            falls = up & vertical;
        }
        distance
    }

    /// No distance to another word, which is ASCII, is smaller than this.
    pub(crate) fn least_distance(&self, other: &str) -> usize {
        self.length.abs_diff(other.len().min(64))
    }

    fn places_of(&self, character: char) -> u64 {
        match self.places.get(character as usize) {
            Some(places) => *places,
            None => {
                let own = self.others.iter().filter(|(other, _)| *other == character);
                own.fold(0, |places, (_, place)| places | place)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by the table that everybody knows.
    fn by_table(a: &str, b: &str) -> usize {
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

    proptest! {
        #[test]
        fn the_distance_is_that_of_the_table(a in "[abü.]{0,70}", b in "[abü.]{0,70}") {
            prop_assert_eq!(edit_distance(&a, &b), by_table(&a, &b));
        }
    }

    proptest! {
        #[test]
        fn no_distance_is_smaller_than_the_least(a in "[ab.]{0,70}", b in "[ab.]{0,70}") {
            let word = Word::new(&a);
            prop_assert!(word.least_distance(&b) <= word.distance(&b));
        }
    }

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
