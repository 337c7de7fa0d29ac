//! Consistency: one tree is the beginning of another (RFC 6962 §2.1.2, RFC 9162 §2.1.4).

use base::Sha256Digest;

use super::{BadProof, SubtreeHashes, empty_root, node_hash, range_root, split_point};

/// The hashes that show the tree of `old` entries to be the beginning of that of `new` entries.
///
/// `old` is not larger than `new`. Empty where there is nothing to show: equal sizes, or `old` is 0.
///
/// # Errors
/// What `source` says.
pub fn consistency_proof<S: SubtreeHashes>(
    source: &mut S,
    old: u64,
    new: u64,
) -> Result<Vec<Sha256Digest>, S::Error> {
    let mut ranges = Vec::new();
    if old == 0 || old >= new {
        return Ok(Vec::new());
    }
    // SUBPROOF of RFC 6962 §2.1.2, from the root down; `whole` is its flag b: the old tree is a
    // subtree of the new one and its hash is known to whoever asks.
    let (mut start, mut end, mut whole) = (0, new, true);
    while end != old {
        let middle = start + split_point(end - start);
        if old <= middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
            whole = false;
        }
    }
    if !whole {
        ranges.push(start..end);
    }
    ranges
        .into_iter()
        .rev()
        .map(|range| range_root(source, range))
        .collect()
}

/// Checks that the tree (`old`, `old_root`) is the beginning of the tree (`new`, `new_root`).
///
/// # Errors
/// [`BadProof`].
pub fn verify_consistency(
    old: u64,
    old_root: &Sha256Digest,
    new: u64,
    new_root: &Sha256Digest,
    proof: &[Sha256Digest],
) -> Result<(), BadProof> {
    let require = |held: bool| if held { Ok(()) } else { Err(BadProof) };
    if old > new {
        return Err(BadProof);
    }
    if old == new {
        return require(proof.is_empty() && old_root == new_root);
    }
    if old == 0 {
        return require(proof.is_empty() && *old_root == empty_root());
    }
    // RFC 9162 §2.1.4.2, whose names are kept. An old tree of a power of two is its own first hash.
    let mut path = proof.iter();
    let first = if old.is_power_of_two() {
        old_root
    } else {
        path.next().ok_or(BadProof)?
    };
    let (mut fn_, mut sn) = (old - 1, new - 1);
    while fn_ & 1 == 1 {
        fn_ >>= 1;
        sn >>= 1;
    }
    let (mut fr, mut sr) = (*first, *first);
    for c in path {
        if sn == 0 {
            return Err(BadProof);
        }
        if fn_ & 1 == 1 || fn_ == sn {
            fr = node_hash(c, &fr);
            sr = node_hash(c, &sr);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            sr = node_hash(&sr, c);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    require(sn == 0 && fr == *old_root && sr == *new_root)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::tests::{Leaves, published};

    #[test]
    fn proofs_have_their_published_values() {
        // google/certificate-transparency, merkletree tests: (old, new, proof).
        let cases: [(u64, u64, &[&str]); 4] = [
            (1, 1, &[]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                5,
                &[
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ];
        let mut leaves = published();
        for (old, new, wanted) in cases {
            let Ok(proof) = consistency_proof(&mut leaves, old, new);
            let found: Vec<String> = proof.iter().map(Sha256Digest::to_hex).collect();
            assert_eq!(found, wanted, "{old} to {new}");
            let (old_root, new_root) = (leaves.root(old), leaves.root(new));
            assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
        }
    }

    #[test]
    fn a_larger_tree_is_never_the_beginning_of_a_smaller_one() {
        let leaves = published();
        let (seven, eight) = (leaves.root(7), leaves.root(8));
        assert_eq!(verify_consistency(8, &eight, 7, &seven, &[]), Err(BadProof));
        assert_eq!(verify_consistency(8, &eight, 8, &seven, &[]), Err(BadProof));
        assert_eq!(verify_consistency(0, &seven, 8, &eight, &[]), Err(BadProof));
        assert_eq!(verify_consistency(0, &empty_root(), 8, &eight, &[]), Ok(()));
        assert_eq!(verify_consistency(7, &seven, 8, &eight, &[]), Err(BadProof));
    }

    proptest! {
        #[test]
        fn every_consistency_proof_verifies_and_none_with_a_bit_changed(
            new in 1u64..700,
            pick in any::<prop::sample::Index>(),
            hurt in any::<prop::sample::Index>(),
            bit in 0usize..256,
        ) {
            let mut leaves = Leaves::numbered(new);
            let old = pick.index(leaves.0.len()) as u64 + 1;
            let (old_root, new_root) = (leaves.root(old), leaves.root(new));
            let Ok(mut proof) = consistency_proof(&mut leaves, old, new);
            prop_assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
            prop_assert!(verify_consistency(old, &new_root, new, &old_root, &proof).is_err() || old == new);
            let longer: Vec<_> = proof.iter().copied().chain([old_root]).collect();
            prop_assert!(verify_consistency(old, &old_root, new, &new_root, &longer).is_err());
            if !proof.is_empty() {
                prop_assert!(verify_consistency(old, &old_root, new, &new_root, &proof[1..]).is_err());
                let hurt = hurt.index(proof.len());
                let mut bytes = *proof[hurt].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                proof[hurt] = Sha256Digest::from_bytes(bytes);
                prop_assert!(verify_consistency(old, &old_root, new, &new_root, &proof).is_err());
            }
        }
    }
}
