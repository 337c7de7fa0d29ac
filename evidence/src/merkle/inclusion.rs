//! Inclusion: this entry stands at this index of that tree (RFC 6962 §2.1.1, RFC 9162 §2.1.3).

use std::ops::Range;

use base::Sha256Digest;

use super::{BadProof, SubtreeHashes, node_hash, range_root, split_point};

/// The hashes that lead from leaf `index` to the root of the first `size` entries, sibling first.
///
/// `index` is smaller than `size`; otherwise the proof is empty and verifies nothing.
///
/// # Errors
/// What `source` says.
pub fn inclusion_proof<S: SubtreeHashes>(
    source: &mut S,
    index: u64,
    size: u64,
) -> Result<Vec<Sha256Digest>, S::Error> {
    path_ranges(index, size)
        .into_iter()
        .map(|range| range_root(source, range))
        .collect()
}

/// The subtrees beside the path from leaf `index` to the root, lowest first.
pub(crate) fn path_ranges(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, size);
    if index >= size {
        return ranges;
    }
    // RFC 6962 §2.1.1 recurses to the leaf and adds siblings on the way back: PATH(m, D[n]) =
    // PATH(m, D[0:k]) : MTH(D[k:n]) for m < k, else PATH(m - k, D[k:n]) : MTH(D[0:k]).
    while end - start > 1 {
        let middle = start + split_point(end - start);
        if index < middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    ranges.reverse();
    ranges
}

/// Checks that `leaf` stands at `index` of the tree with `size` entries and this `root`.
///
/// # Errors
/// [`BadProof`].
pub fn verify_inclusion(
    leaf: &Sha256Digest,
    index: u64,
    size: u64,
    root: &Sha256Digest,
    proof: &[Sha256Digest],
) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof);
    }
    // RFC 9162 §2.1.3.2, whose names are kept.
    let (mut fn_, mut sn) = (index, size - 1);
    let mut r = *leaf;
    for p in proof {
        if sn == 0 {
            return Err(BadProof);
        }
        if fn_ & 1 == 1 || fn_ == sn {
            r = node_hash(p, &r);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            r = node_hash(&r, p);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    if sn == 0 && r == *root {
        Ok(())
    } else {
        Err(BadProof)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merkle::tests::{Leaves, published};

    #[test]
    fn proofs_have_their_published_values() {
        // google/certificate-transparency, merkletree tests: (index, size, proof).
        let cases: [(u64, u64, &[&str]); 4] = [
            (0, 1, &[]),
            (
                0,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                5,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                3,
                &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
            ),
        ];
        let mut leaves = published();
        for (index, size, wanted) in cases {
            let Ok(proof) = inclusion_proof(&mut leaves, index, size);
            let found: Vec<String> = proof.iter().map(Sha256Digest::to_hex).collect();
            assert_eq!(found, wanted, "entry {index} of {size}");
            let leaf = leaves.0[usize::try_from(index).unwrap()];
            assert_eq!(
                verify_inclusion(&leaf, index, size, &leaves.root(size), &proof),
                Ok(())
            );
        }
    }

    #[test]
    fn an_entry_outside_the_tree_is_never_included() {
        let leaves = published();
        let root = leaves.root(8);
        assert_eq!(verify_inclusion(&leaves.0[0], 8, 8, &root, &[]), Err(BadProof));
        assert_eq!(verify_inclusion(&leaves.0[0], 0, 0, &root, &[]), Err(BadProof));
        assert!(path_ranges(8, 8).is_empty());
    }

    proptest! {
        #[test]
        fn every_inclusion_proof_verifies_and_none_with_a_bit_changed(
            size in 1u64..700,
            pick in any::<prop::sample::Index>(),
            hurt in any::<prop::sample::Index>(),
            bit in 0usize..256,
        ) {
            let mut leaves = Leaves::numbered(size);
            let at = pick.index(leaves.0.len());
            let (index, leaf, root) = (at as u64, leaves.0[at], leaves.root(size));
            let Ok(mut proof) = inclusion_proof(&mut leaves, index, size);
            prop_assert_eq!(verify_inclusion(&leaf, index, size, &root, &proof), Ok(()));
            prop_assert!(verify_inclusion(&leaf, index ^ 1, size, &root, &proof).is_err());
            prop_assert!(verify_inclusion(&root, index, size, &leaf, &proof).is_err() || size == 1);

            let longer: Vec<_> = proof.iter().copied().chain([root]).collect();
            prop_assert!(verify_inclusion(&leaf, index, size, &root, &longer).is_err());
            if !proof.is_empty() {
                prop_assert!(verify_inclusion(&leaf, index, size, &root, &proof[1..]).is_err());
                let hurt = hurt.index(proof.len());
                let mut bytes = *proof[hurt].as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                proof[hurt] = Sha256Digest::from_bytes(bytes);
                prop_assert!(verify_inclusion(&leaf, index, size, &root, &proof).is_err());
            }
        }
    }
}
