//! Parquet's hybrid of runs and bit-packed groups (Encodings.md, "RLE/Bit-Packing Hybrid"): levels, and
//! codes of a dictionary.

/// Bits that numbers up to `most` need.
pub(crate) const fn bits_for(most: u32) -> u32 {
    32 - most.leading_zeros()
}

/// A run pays off from this many equal numbers on; groups have this many.
const GROUP: usize = 8;

/// Adds `numbers`, each of at most `bits` bits, to `out`.
pub(crate) fn push_hybrid(out: &mut Vec<u8>, numbers: &[u32], bits: u32) {
    let mut packed = 0;
    let mut at = 0;
    while at < numbers.len() {
        let first = numbers[at];
        let equal = numbers[at..]
            .iter()
            .take_while(|&&number| number == first)
            .count();
        // Groups begin where the last ended, so a run may have to leave some to fill one up.
        let lent = (GROUP - (at - packed) % GROUP) % GROUP;
        if equal >= lent + GROUP {
            push_packed(out, &numbers[packed..at + lent], bits);
            push_run(out, first, equal - lent, bits);
            at += equal;
            packed = at;
        } else {
            at += equal;
        }
    }
    push_packed(out, &numbers[packed..], bits);
}

/// Adds a run of `length` times `number`.
pub(crate) fn push_run(out: &mut Vec<u8>, number: u32, length: usize, bits: u32) {
    push_varint(out, (length as u64) << 1);
    out.extend_from_slice(&number.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

fn push_packed(out: &mut Vec<u8>, numbers: &[u32], bits: u32) {
    if numbers.is_empty() {
        return;
    }
    push_varint(out, ((numbers.len().div_ceil(GROUP) as u64) << 1) | 1);
    for group in numbers.chunks(GROUP) {
        let mut whole = [0; GROUP];
        whole[..group.len()].copy_from_slice(group);
        let numbers = whole.map(u64::from);
        push_bits(out, &numbers, bits);
    }
}

/// Adds `numbers`, eight or a multiple of it, of `bits` bits each, the lowest bits first.
pub(crate) fn push_bits(out: &mut Vec<u8>, numbers: &[u64], bits: u32) {
    let (mut waiting, mut held) = (0_u128, 0);
    for number in numbers {
        waiting |= u128::from(*number) << held;
        held += bits;
        while held >= 8 {
            out.push(waiting.to_le_bytes()[0]);
            waiting >>= 8;
            held -= 8;
        }
    }
}

/// Number `at` of `bits` bits in `bytes`, which hold it.
pub(crate) fn bits_at(bytes: &[u8], at: usize, bits: u32) -> u64 {
    let from = at * bits as usize;
    let (start, shift) = (from / 8, from % 8);
    // Most numbers are small, and most do not stand at the end.
    if bits <= 56
        && let Some(word) = bytes.get(start..).and_then(<[u8]>::first_chunk::<8>)
    {
        return u64::from_le_bytes(*word) >> shift & ((1 << bits) - 1);
    }
    let mut word = [0; 16];
    let end = bytes.len().min(start + 16);
    word[..end - start].copy_from_slice(&bytes[start..end]);
    let word = u128::from_le_bytes(word) >> shift;
    let mask = (1_u128 << bits) - 1;
    u64::try_from(word & mask).expect("at most 64 bits are asked for")
}

/// Reads exactly `count` numbers of `bits` bits, none above `most`; `None` where `bytes` hold others.
pub(crate) fn read_hybrid(bytes: &[u8], count: usize, bits: u32, most: u32) -> Option<Vec<u32>> {
    if bits > 32 {
        return None;
    }
    let mut numbers = Vec::with_capacity(count);
    let mut rest = bytes;
    while numbers.len() < count {
        let header = read_varint(&mut rest)?;
        let length = usize::try_from(header >> 1).ok()?;
        let left = count - numbers.len();
        if header & 1 == 0 {
            let (number, after) = rest.split_at_checked(bits.div_ceil(8) as usize)?;
            rest = after;
            let mut word = [0; 4];
            word[..number.len()].copy_from_slice(number);
            let number = u32::from_le_bytes(word);
            if length == 0 || length > left || number > most {
                return None;
            }
            numbers.resize(numbers.len() + length, number);
        } else {
            let groups = length;
            if groups == 0 || groups > left.div_ceil(GROUP) {
                return None;
            }
            let (packed, after) = rest.split_at_checked(groups * bits as usize)?;
            rest = after;
            let from = numbers.len();
            unpack(packed, left.min(groups * GROUP), bits, &mut numbers);
            if numbers[from..]
                .iter()
                .fold(0, |largest, &number| number.max(largest))
                > most
            {
                return None;
            }
        }
    }
    Some(numbers)
}

/// Adds `count` numbers of `bits` bits to `out`.
fn unpack(packed: &[u8], count: usize, bits: u32, out: &mut Vec<u32>) {
    let from = out.len();
    match bits {
        1..=8 => unpack_small(packed, bits, out),
        9..=16 => unpack_middling(packed, bits, out),
        _ => out.extend((0..count).map(|at| u32::try_from(bits_at(packed, at, bits)).unwrap_or(u32::MAX))),
    }
    out.truncate(from + count);
}

/// Adds all numbers of `packed`, of at most eight bits each; a group of eight takes as many bytes as a
/// number has bits.
fn unpack_small(packed: &[u8], bits: u32, out: &mut Vec<u32>) {
    let mask = (1_u64 << bits) - 1;
    for group in packed.chunks_exact(bits as usize) {
        let mut word = [0; 8];
        word[..group.len()].copy_from_slice(group);
        let word = u64::from_le_bytes(word);
        let numbers = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| (word >> (at * bits) & mask) as u32);
        out.extend_from_slice(&numbers);
    }
}

/// The same, of at most sixteen bits each.
fn unpack_middling(packed: &[u8], bits: u32, out: &mut Vec<u32>) {
    let mask = (1_u64 << bits) - 1;
    // Four numbers take half as many bytes, and begin within one.
    for group in packed.chunks_exact(bits as usize) {
        let mut word = [0; 16];
        word[..group.len()].copy_from_slice(group);
        let word = u128::from_le_bytes(word);
        let halves = [word as u64, (word >> (4 * bits)) as u64];
        let numbers = [0, 1, 2, 3, 4, 5, 6, 7].map(|at: u32| {
            let half = halves[(at / 4) as usize];
            (half >> (at % 4 * bits) & mask) as u32
        });
        out.extend_from_slice(&numbers);
    }
}

/// What the bits of each byte say, the lowest first.
const FLAGS: [[bool; GROUP]; 256] = {
    let mut all = [[false; GROUP]; 256];
    let mut byte = 0;
    while byte < all.len() {
        let mut at = 0;
        while at < GROUP {
            all[byte][at] = byte >> at & 1 == 1;
            at += 1;
        }
        byte += 1;
    }
    all
};

/// Reads exactly `count` numbers of one bit each; `None` where `bytes` hold others.
pub(crate) fn read_flags(bytes: &[u8], count: usize) -> Option<Vec<bool>> {
    let mut flags: Vec<bool> = Vec::with_capacity(count + GROUP);
    let mut rest = bytes;
    while flags.len() < count {
        let header = read_varint(&mut rest)?;
        let length = usize::try_from(header >> 1).ok()?;
        let left = count - flags.len();
        if header & 1 == 0 {
            let (&flag, after) = rest.split_first()?;
            rest = after;
            if length == 0 || length > left || flag > 1 {
                return None;
            }
            flags.resize(flags.len() + length, flag == 1);
        } else {
            if length == 0 || length > left.div_ceil(GROUP) {
                return None;
            }
            let (packed, after) = rest.split_at_checked(length)?;
            rest = after;
            for group in packed {
                flags.extend_from_slice(&FLAGS[usize::from(*group)]);
            }
            flags.truncate(count);
        }
    }
    Some(flags)
}

/// Adds a number, seven bits a byte, the lowest first.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Reads such a number off the front of `rest`.
pub(crate) fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let seven = u64::from(byte & 0x7f);
        if (seven << shift) >> shift != seven {
            return None;
        }
        number |= seven << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            runs in prop::collection::vec((any::<u32>(), 1_usize..40), 0..40),
            bits in 1_u32..=32,
        ) {
            let mask = u32::MAX >> (32 - bits);
            let numbers: Vec<u32> = runs
                .iter()
                .flat_map(|&(number, length)| std::iter::repeat_n(number & mask, length))
                .collect();
            let mut bytes = Vec::new();
            push_hybrid(&mut bytes, &numbers, bits);
            let most = numbers.iter().copied().max().unwrap_or(0);
            prop_assert_eq!(read_hybrid(&bytes, numbers.len(), bits, most), Some(numbers.clone()));
            if most > 0 {
                prop_assert_eq!(read_hybrid(&bytes, numbers.len(), bits, most - 1), None);
            }
        }

        #[test]
        fn flags_are_numbers_of_one_bit(
            runs in prop::collection::vec((any::<bool>(), 1_usize..40), 0..40),
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let flags = runs.iter().flat_map(|&(flag, length)| std::iter::repeat_n(flag, length));
            let numbers: Vec<u32> = flags.map(u32::from).collect();
            let mut bytes = Vec::new();
            push_hybrid(&mut bytes, &numbers, 1);
            if let Some((at, byte)) = damage.filter(|_| !bytes.is_empty()) {
                *at.get_mut(&mut bytes) = byte;
            }
            let flags = read_flags(&bytes, numbers.len());
            let flags = flags.map(|flags| flags.into_iter().map(u32::from).collect::<Vec<_>>());
            prop_assert_eq!(flags, read_hybrid(&bytes, numbers.len(), 1, 1));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..40), count in 0_usize..2000, bits in 0_u32..40,
        ) {
            let _ = read_hybrid(&bytes, count, bits, u32::MAX);
            let _ = read_varint(&mut bytes.as_slice());
        }

        #[test]
        fn varints_come_back(number: u64) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, number);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read_varint(&mut rest), Some(number));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn the_published_example_has_the_same_bytes() {
        // Encodings.md: the numbers 0 to 7 with a width of 3 bits.
        let mut bytes = Vec::new();
        push_hybrid(&mut bytes, &[0, 1, 2, 3, 4, 5, 6, 7], 3);
        assert_eq!(bytes, [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
    }
}
