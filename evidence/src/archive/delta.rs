//! Parquet's delta encodings (Encodings.md): numbers that rise, and texts that begin alike.

use super::hybrid::{bits_at, push_bits, push_varint, read_varint};

/// Numbers to a block and to a miniblock, as most writers have them.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;
const MINIBLOCKS: usize = BLOCK / MINIBLOCK;

/// Adds `numbers` in DELTA_BINARY_PACKED.
pub(crate) fn push_numbers(out: &mut Vec<u8>, numbers: &[i64]) {
    push_varint(out, BLOCK as u64);
    push_varint(out, MINIBLOCKS as u64);
    push_varint(out, numbers.len() as u64);
    push_varint(out, zigzag(numbers.first().copied().unwrap_or(0)));
    let deltas: Vec<i64> = numbers
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]))
        .collect();
    for block in deltas.chunks(BLOCK) {
        let least = block.iter().copied().min().unwrap_or(0);
        push_varint(out, zigzag(least));
        let mut above = [0; BLOCK];
        for (above, delta) in above.iter_mut().zip(block) {
            *above = delta.wrapping_sub(least).cast_unsigned();
        }
        let widths = widths(&above, block.len());
        out.extend_from_slice(&widths);
        // A miniblock without numbers has no bytes; the last one that has any is filled up with zeroes.
        let used = above
            .chunks(MINIBLOCK)
            .zip(widths)
            .take(block.len().div_ceil(MINIBLOCK));
        for (miniblock, width) in used {
            push_bits(out, miniblock, u32::from(width));
        }
    }
}

fn widths(above: &[u64; BLOCK], used: usize) -> [u8; MINIBLOCKS] {
    let mut widths = [0; MINIBLOCKS];
    for (width, miniblock) in widths.iter_mut().zip(above[..used].chunks(MINIBLOCK)) {
        let all = miniblock.iter().fold(0, |all, number| all | number);
        *width = u8::try_from(64 - all.leading_zeros()).expect("at most 64");
    }
    widths
}

/// Reads exactly `count` numbers off the front of `rest`.
pub(crate) fn read_numbers(rest: &mut &[u8], count: usize) -> Option<Vec<i64>> {
    let block = usize::try_from(read_varint(rest)?).ok()?;
    let miniblocks = usize::try_from(read_varint(rest)?).ok()?;
    let claimed = usize::try_from(read_varint(rest)?).ok()?;
    if claimed != count || (block, miniblocks) != (BLOCK, MINIBLOCKS) {
        return None;
    }
    let mut number = unzigzag(read_varint(rest)?);
    let mut numbers = Vec::with_capacity(count);
    if count > 0 {
        numbers.push(number);
    }
    while numbers.len() < count {
        let least = unzigzag(read_varint(rest)?);
        let (widths, after) = rest.split_at_checked(MINIBLOCKS)?;
        *rest = after;
        for &width in widths {
            let used = (count - numbers.len()).min(MINIBLOCK);
            if used == 0 {
                break;
            }
            if width > 64 {
                return None;
            }
            let (packed, after) = rest.split_at_checked(usize::from(width) * MINIBLOCK / 8)?;
            *rest = after;
            for at in 0..used {
                let above = bits_at(packed, at, u32::from(width)).cast_signed();
                number = number.wrapping_add(least).wrapping_add(above);
                numbers.push(number);
            }
        }
    }
    Some(numbers)
}

/// Adds `texts` in DELTA_BYTE_ARRAY: what each shares with the one before, and what is new.
pub(crate) fn push_texts<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a [u8]>) {
    let (mut shared, mut lengths, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    let mut last: &[u8] = b"";
    for text in texts {
        let same = last
            .iter()
            .zip(text)
            .take_while(|(one, other)| one == other)
            .count();
        let rest = &text[same..];
        shared.push(i64::try_from(same).expect("a text has at most 4 KiB"));
        lengths.push(i64::try_from(rest.len()).expect("a text has at most 4 KiB"));
        fresh.extend_from_slice(rest);
        last = text;
    }
    push_numbers(out, &shared);
    push_numbers(out, &lengths);
    out.extend_from_slice(&fresh);
}

/// Reads exactly `count` texts, of together at most `most` bytes: their bytes, and where each ends.
pub(crate) fn read_texts(bytes: &[u8], count: usize, most: usize) -> Option<(Vec<u8>, Vec<usize>)> {
    let mut rest = bytes;
    let shared = read_numbers(&mut rest, count)?;
    let lengths = read_numbers(&mut rest, count)?;
    let (mut texts, mut ends) = (Vec::new(), Vec::with_capacity(count));
    let (mut start, mut end) = (0, 0);
    for (same, length) in shared.into_iter().zip(lengths) {
        let (same, length) = (usize::try_from(same).ok()?, usize::try_from(length).ok()?);
        let (fresh, after) = rest.split_at_checked(length)?;
        rest = after;
        if same > end - start || texts.len() + same + length > most {
            return None;
        }
        texts.extend_from_within(start..start + same);
        texts.extend_from_slice(fresh);
        (start, end) = (end, texts.len());
        ends.push(end);
    }
    rest.is_empty().then_some((texts, ends))
}

/// Numbers near zero, of either sign, as small ones.
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(crate) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(
            numbers in prop_oneof![
                prop::collection::vec(any::<i64>(), 0..300),
                prop::collection::vec(-5_i64..5, 0..300),
            ],
        ) {
            let mut bytes = Vec::new();
            push_numbers(&mut bytes, &numbers);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read_numbers(&mut rest, numbers.len()), Some(numbers));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn texts_come_back(texts in prop::collection::vec("[ab]{0,6}", 0..200)) {
            let mut bytes = Vec::new();
            push_texts(&mut bytes, texts.iter().map(String::as_bytes));
            let whole: usize = texts.iter().map(String::len).sum();
            let (all, ends) = read_texts(&bytes, texts.len(), whole).unwrap();
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let again: Vec<&[u8]> = starts.zip(&ends).map(|(start, &end)| &all[start..end]).collect();
            prop_assert_eq!(again, texts.iter().map(String::as_bytes).collect::<Vec<_>>());
            if whole > 0 {
                prop_assert_eq!(read_texts(&bytes, texts.len(), whole - 1), None);
            }
        }

        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0_usize..300) {
            let header = [0x80, 0x01, 0x04, 0x02, 0x00];
            let _ = read_numbers(&mut bytes.as_slice(), count);
            let _ = read_numbers(&mut [header.as_slice(), &bytes].concat().as_slice(), 2);
            let _ = read_texts(&bytes, count, 1000);
            let _ = read_texts(&[header.as_slice(), &bytes].concat(), 2, 1000);
        }
    }
}
