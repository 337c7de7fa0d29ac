//! The distinct values of a column, numbered as they come.

/// Places looked at for one value. A plugin chooses its host names; it must not choose how long we look,
/// so a value that is not found within these gets another number.
const MAX_PROBES: usize = 32;

/// Texts, each with its code.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Codes by hash, plus one; zero where there is none.
    slots: Vec<u32>,
    last: u32,
}

impl Dictionary {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, code: u32) -> &[u8] {
        let at = code as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    /// Forgets every text, and keeps the room that they took.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.slots.fill(0);
        self.last = 0;
    }

    /// The code of `text`, new or known.
    pub(crate) fn code(&mut self, text: &[u8]) -> u32 {
        // Events of one connection follow each other.
        if self.len() > self.last as usize && self.get(self.last) == text {
            return self.last;
        }
        if self.slots.len() < 2 * (self.len() + 1) {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let home = hash(text);
        for probe in 0..MAX_PROBES {
            let slot = (home + probe) & mask;
            match self.slots[slot] {
                0 => {
                    let code = self.add(text);
                    self.slots[slot] = code + 1;
                    self.last = code;
                    return code;
                }
                taken if self.get(taken - 1) == text => {
                    self.last = taken - 1;
                    return self.last;
                }
                _ => {}
            }
        }
        self.last = self.add(text);
        self.last
    }

    fn add(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        self.ends
            .push(u32::try_from(self.bytes.len()).expect("a file's entries have far fewer bytes"));
        u32::try_from(self.ends.len() - 1).expect("a file has far fewer values")
    }

    fn grow(&mut self) {
        let slots = (4 * (self.len() + 1)).next_power_of_two().max(64);
        self.slots.clear();
        self.slots.resize(slots, 0);
        let mask = slots - 1;
        for code in 0..u32::try_from(self.len()).unwrap_or(u32::MAX) {
            let home = hash(self.get(code));
            let free = (0..MAX_PROBES)
                .map(|probe| (home + probe) & mask)
                .find(|&slot| self.slots[slot] == 0);
            if let Some(slot) = free {
                self.slots[slot] = code + 1;
            }
        }
    }
}

/// Bytes of a long text that are looked at, at either end.
const ENDS: usize = 16;

/// Eight bytes at a time: multiply, and fold what went over the top back in.
fn hash(text: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(ODD);
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        u64::try_from(low ^ high).unwrap_or(0)
    };
    let mut state = text.len() as u64 ^ ODD;
    let mut take = |part: &[u8]| {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            state = mix(state, u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            state = mix(state, u64::from_le_bytes(last));
        }
    };
    match (text.first_chunk::<ENDS>(), text.last_chunk::<ENDS>()) {
        // Digests and names that differ do so at one of their ends.
        (Some(first), Some(last)) if text.len() > 2 * ENDS => {
            take(first);
            take(last);
        }
        _ => take(text),
    }
    usize::try_from(state >> 20).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_by_its_code(texts in prop::collection::vec("[a-c]{0,4}", 0..400)) {
            let mut dictionary = Dictionary::default();
            let codes: Vec<u32> = texts.iter().map(|text| dictionary.code(text.as_bytes())).collect();
            for (text, code) in texts.iter().zip(codes) {
                prop_assert_eq!(dictionary.get(code), text.as_bytes());
                prop_assert_eq!(dictionary.code(text.as_bytes()), code);
            }
        }
    }

    #[test]
    fn values_are_numbered_once_and_in_order() {
        let mut dictionary = Dictionary::default();
        for round in 0..2 {
            for number in 0..20_000_u32 {
                let code = dictionary.code(format!("host-{number}.example").as_bytes());
                assert_eq!(code, number, "{round}");
            }
        }
        assert_eq!(dictionary.len(), 20_000);
    }
}
