//! Merkle trees as in RFC 6962 §2.1 (and RFC 9162 §2.1, which hashes alike).
//!
//! The tree is what turns a file that anybody could edit into evidence: its root names every entry
//! and their order. Leaves and nodes are hashed with different prefixes, so that no entry can pass
//! for a pair of subtrees.

mod consistency;
mod inclusion;

use std::ops::Range;

use base::Sha256Digest;
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

pub use consistency::{consistency_proof, verify_consistency};
pub(crate) use inclusion::path_ranges;
pub use inclusion::{inclusion_proof, verify_inclusion};

/// A proof that leads nowhere: the hashes do not connect what they claim to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the tree's root")]
pub struct BadProof;

/// Where the hashes of perfect subtrees come from: tiles on disk, or memory.
pub trait SubtreeHashes {
    /// Why a hash cannot be had.
    type Error;

    /// The hash over the entries `index << level .. (index + 1) << level`.
    ///
    /// # Errors
    /// Whatever keeps the source from answering.
    fn subtree(&mut self, level: u32, index: u64) -> Result<Sha256Digest, Self::Error>;
}

/// `SHA-256(0x00 ‖ entry)`.
pub fn leaf_hash(entry: &[u8]) -> Sha256Digest {
    let hash = Sha256::new().chain_update([0x00]).chain_update(entry).finalize();
    Sha256Digest::from_bytes(hash.into())
}

/// `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    // 65 bytes always fill the same places of two blocks, so they are laid out at once (FIPS 180-4
    // §5.1.1): the bytes, a one bit, zeroes, and the length in bits.
    let mut blocks = [[0; 64]; 2];
    let [first, second] = &mut blocks;
    first[0] = 0x01;
    first[1..33].copy_from_slice(left.as_bytes());
    first[33..].copy_from_slice(&right.as_bytes()[..31]);
    second[0] = right.as_bytes()[31];
    second[1] = 0x80;
    second[56..].copy_from_slice(&(65_u64 * 8).to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    Sha256Digest::from_bytes(hash)
}

/// The initial hash value of SHA-256 (FIPS 180-4 §5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The root of the tree without entries: the hash of nothing.
pub fn empty_root() -> Sha256Digest {
    Sha256Digest::of(b"")
}

/// The root over `hashes`, each the hash of a leaf or of one of equally large perfect subtrees.
pub fn root_of(hashes: &[Sha256Digest]) -> Sha256Digest {
    edge_root([hashes])
}

/// The root of a tree from its right edge: per tile level, lowest first, the hashes that no full
/// tile covers yet.
pub(crate) fn edge_root<'a>(levels: impl IntoIterator<Item = &'a [Sha256Digest]>) -> Sha256Digest {
    let mut root: Option<Sha256Digest> = None;
    for hashes in levels {
        // A list of n hashes is made of perfect subtrees, one for each bit of n, largest first. The
        // fold runs from the right, smallest first.
        let mut end = hashes.len();
        while end > 0 {
            let size = 1 << end.trailing_zeros();
            let peak = perfect_root(&hashes[end - size..end]);
            root = Some(root.map_or(peak, |right| node_hash(&peak, &right)));
            end -= size;
        }
    }
    root.unwrap_or_else(empty_root)
}

/// The root over a power of two of hashes.
pub(crate) fn perfect_root(hashes: &[Sha256Digest]) -> Sha256Digest {
    debug_assert!(hashes.len().is_power_of_two());
    if let [only] = hashes {
        return *only;
    }
    let mut level: Vec<Sha256Digest> = hashes
        .chunks_exact(2)
        .map(|pair| node_hash(&pair[0], &pair[1]))
        .collect();
    let mut width = level.len();
    while width > 1 {
        width /= 2;
        for i in 0..width {
            level[i] = node_hash(&level[2 * i], &level[2 * i + 1]);
        }
    }
    level[0]
}

/// The hash over the entries in `range`, which is a subtree of some tree and not empty.
pub(crate) fn range_root<S: SubtreeHashes>(
    source: &mut S,
    range: Range<u64>,
) -> Result<Sha256Digest, S::Error> {
    let entries = range.end - range.start;
    if entries.is_power_of_two() {
        let level = entries.trailing_zeros();
        return source.subtree(level, range.start >> level);
    }
    let middle = range.start + split_point(entries);
    let left = range_root(source, range.start..middle)?;
    let right = range_root(source, middle..range.end)?;
    Ok(node_hash(&left, &right))
}

/// The largest power of two smaller than `n`, for n > 1 (RFC 6962 §2.1's `k`).
fn split_point(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Leaves in memory.
    pub(crate) struct Leaves(pub(crate) Vec<Sha256Digest>);

    impl SubtreeHashes for Leaves {
        type Error = std::convert::Infallible;

        fn subtree(&mut self, level: u32, index: u64) -> Result<Sha256Digest, Self::Error> {
            let start = usize::try_from(index << level).unwrap();
            Ok(perfect_root(&self.0[start..start + (1 << level)]))
        }
    }

    impl Leaves {
        pub(crate) fn numbered(size: u64) -> Self {
            Self((0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect())
        }

        pub(crate) fn root(&self, size: u64) -> Sha256Digest {
            definition(&self.0[..usize::try_from(size).unwrap()])
        }
    }

    /// MTH, word for word from RFC 6962 §2.1.
    fn definition(leaves: &[Sha256Digest]) -> Sha256Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&definition(left), &definition(right))
            }
        }
    }

    /// The eight entries of the reference tests of Certificate Transparency.
    pub(crate) fn published() -> Leaves {
        let entries = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        Leaves(
            entries
                .map(|entry| leaf_hash(&hex::decode(entry).unwrap()))
                .to_vec(),
        )
    }

    #[test]
    fn roots_have_their_published_values() {
        // google/certificate-transparency, merkletree tests; transparency-dev/merkle repeats them.
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves = published().0;
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(root_of(&leaves[..size]).to_hex(), *root, "{size} leaves");
        }
    }

    #[test]
    fn a_root_from_the_edge_is_the_root_by_definition() {
        for size in (0..600).chain([65_535, 65_536, 65_537, 70_000]) {
            let leaves = Leaves::numbered(size);
            let tiles: Vec<_> = leaves.0.chunks_exact(256).map(perfect_root).collect();
            let upper: Vec<_> = tiles.chunks_exact(256).map(perfect_root).collect();
            let edge = [
                leaves.0.chunks_exact(256).remainder(),
                tiles.chunks_exact(256).remainder(),
                upper.as_slice(),
            ];
            assert_eq!(edge_root(edge), leaves.root(size), "{size}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_node_is_hashed_as_its_65_bytes_are(left: [u8; 32], right: [u8; 32]) {
            let bytes = [[0x01].as_slice(), &left, &right].concat();
            let [left, right] = [left, right].map(Sha256Digest::from_bytes);
            proptest::prop_assert_eq!(node_hash(&left, &right), Sha256Digest::of(&bytes));
        }
    }

    #[test]
    fn an_entry_cannot_pass_for_a_pair_of_subtrees() {
        let (left, right) = (leaf_hash(b"a"), leaf_hash(b"b"));
        let pair = [left.as_bytes().as_slice(), right.as_bytes()].concat();
        assert_ne!(leaf_hash(&pair), node_hash(&left, &right));
    }
}
