//! A corpus of tampered logs, made by somebody who knows the format and not the key.
//!
//! Nothing of the product is used here: bundles are taken apart, trees are hashed and tiles are written
//! by this file's own reading of c2sp.org/tlog-tiles and RFC 6962, so that a mistake of the product is
//! not made twice.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Entries in a full bundle, hashes in a full tile.
const WIDTH: usize = 256;

type Hash = [u8; 32];

/// A folder that holds a log, to be copied and changed.
#[derive(Clone, Debug)]
pub struct LogFolder {
    root: PathBuf,
}

/// What a tampering should get: exit status 1, and this.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What `integrity` is.
    pub integrity: &'static str,
    /// What `first_bad` is, where the log is broken.
    pub first_bad: Option<u64>,
    /// What `completeness` is, where that is what shows it.
    pub completeness: Option<&'static str>,
    /// Words that the answer has.
    pub words: &'static str,
}

/// The logs that a forger has at hand.
pub struct Material<'m> {
    /// The honest log: at least two full bundles and a partial one.
    pub good: &'m LogFolder,
    /// The same log, earlier.
    pub early: &'m LogFolder,
    /// A log that the same gateway wrote in another run of the world: same names, other key.
    pub other_run: &'m LogFolder,
    /// A log of another gateway.
    pub other_gateway: &'m LogFolder,
}

/// One entry of the corpus.
pub struct Tampering {
    /// What was done.
    pub name: &'static str,
    /// Does it to a copy of the honest log.
    pub does: fn(&LogFolder, &Material<'_>) -> Result<Expected>,
    /// Whether it takes a checkpoint that somebody kept to see it.
    pub needs_held: bool,
}

/// Everything in the corpus.
pub const CORPUS: &[Tampering] = &[
    tampering("one flipped bit in an entry", flipped_entry),
    tampering("an entry rewritten to say something harmless", harmless_entry),
    tampering("an entry rewritten together with its leaf hash", entry_and_leaf),
    tampering("a flipped bit in a hash tile", flipped_hash),
    tampering("a flipped bit in the hash tile above", flipped_upper_hash),
    tampering("a dropped entry", dropped),
    tampering("a repeated entry", repeated),
    tampering("two entries in another order", reordered),
    tampering("an entry moved to another bundle", moved),
    tampering("swapped bundles", swapped_bundles),
    tampering("swapped bundles with their hashes", swapped_bundles_and_hashes),
    tampering("a bundle from another run", spliced_run),
    tampering("an entry from another gateway", spliced_gateway),
    tampering("everything rewritten and hashed anew, without the key", rechained),
    tampering(
        "everything rewritten, hashed anew and signed with another key",
        rechained_and_signed,
    ),
    tampering(
        "a shorter tree under a signature that was not made for it",
        resized,
    ),
    tampering("the checkpoint of another gateway", foreign_checkpoint),
    tampering("the checkpoint of another run", checkpoint_of_another_run),
    tampering("no checkpoint", no_checkpoint),
    tampering("an empty checkpoint", empty_checkpoint),
    tampering("the last bundle deleted", last_bundle_deleted),
    tampering("a full bundle deleted", full_bundle_deleted),
    tampering("a hash tile deleted", hash_tile_deleted),
    tampering("all tiles deleted", all_tiles_deleted),
    tampering("the last bundle cut within an entry", cut_within_entry),
    tampering("bytes after the last entry", padded),
    tampering("a cosignature that the witness did not make", forged_cosignature),
    tampering("a cosigned checkpoint with another size", edited_cosigned),
    Tampering {
        name: "the tail cut off: an earlier copy put in its place",
        does: earlier_copy,
        needs_held: true,
    },
    Tampering {
        name: "an earlier checkpoint put back over later tiles",
        does: earlier_checkpoint,
        needs_held: true,
    },
    Tampering {
        name: "the whole log deleted",
        does: all_deleted,
        needs_held: true,
    },
];

const fn tampering(name: &'static str, does: fn(&LogFolder, &Material<'_>) -> Result<Expected>) -> Tampering {
    Tampering {
        name,
        does,
        needs_held: false,
    }
}

const fn broken(first_bad: u64, words: &'static str) -> Expected {
    Expected {
        integrity: "broken",
        first_bad: Some(first_bad),
        completeness: None,
        words,
    }
}

impl LogFolder {
    /// The log in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.file(name)).with_context(|| format!("reading {name}"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.file(name), bytes)?)
    }

    /// How many entries the checkpoint covers.
    ///
    /// # Errors
    /// When there is no checkpoint.
    pub fn size(&self) -> Result<u64> {
        let text = String::from_utf8(self.read("checkpoint")?)?;
        Ok(text.lines().nth(1).context("a size")?.parse()?)
    }

    fn bundle_name(&self, number: u64) -> Result<String> {
        let rest = self.size()?.saturating_sub(number * WIDTH as u64);
        Ok(if rest >= WIDTH as u64 {
            format!("tile/entries/{number:03}")
        } else {
            format!("tile/entries/{number:03}.p/{rest}")
        })
    }

    fn entries(&self, number: u64) -> Result<Vec<Vec<u8>>> {
        let bytes = self.read(&self.bundle_name(number)?)?;
        let (mut entries, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after.split_at_checked(length).context("a whole entry")?;
            entries.push(entry.to_vec());
            rest = after;
        }
        Ok(entries)
    }

    fn write_entries(&self, number: u64, entries: &[Vec<u8>]) -> Result<()> {
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.extend_from_slice(&u16::try_from(entry.len())?.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        self.write(&self.bundle_name(number)?, &bytes)
    }

    fn edit(&self, number: u64, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<()> {
        let mut entries = self.entries(number)?;
        change(&mut entries);
        self.write_entries(number, &entries)
    }

    fn write_leaves(&self, number: u64) -> Result<()> {
        let leaves: Vec<Hash> = self.entries(number)?.iter().map(|entry| leaf(entry)).collect();
        let name = self.bundle_name(number)?.replace("tile/entries/", "tile/0/");
        self.write(&name, &leaves.concat())
    }

    /// Hashes everything anew, tiles of all levels, and returns the root.
    fn rehash(&self) -> Result<Hash> {
        let size = self.size()?;
        let mut leaves = Vec::new();
        for number in 0..size.div_ceil(WIDTH as u64) {
            leaves.extend(self.entries(number)?.iter().map(|entry| leaf(entry)));
        }
        let (mut hashes, mut level) = (leaves.clone(), 0);
        while !hashes.is_empty() {
            for (number, tile) in hashes.chunks(WIDTH).enumerate() {
                let name = if tile.len() == WIDTH {
                    format!("tile/{level}/{number:03}")
                } else {
                    format!("tile/{level}/{number:03}.p/{}", tile.len())
                };
                self.write(&name, &tile.concat())?;
            }
            hashes = hashes.chunks_exact(WIDTH).map(root).collect();
            level += 1;
        }
        Ok(root(&leaves))
    }

    fn edit_checkpoint(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let text = String::from_utf8(self.read("checkpoint")?)?;
        self.write("checkpoint", change(text).as_bytes())
    }

    fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.file(name)).with_context(|| format!("removing {name}"))
    }
}

fn leaf(entry: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(entry)
        .finalize()
        .into()
}

/// MTH of RFC 6962 §2.1, over leaf hashes.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let node = Sha256::new().chain_update([1]).chain_update(root(left));
            node.chain_update(root(right)).finalize().into()
        }
    }
}

/// An entry that says something else and is still an event in canonical form.
fn harmless(entry: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(entry);
    let changed = text.replacen("api.weather.example", "api.feather.example", 1);
    changed.into_bytes()
}

fn flipped_entry(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.edit(1, |all| {
        let at = all[44].len() / 2;
        all[44][at] ^= 1;
    })?;
    Ok(broken(300, "the entry in tile/entries/001 was altered"))
}

fn harmless_entry(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.edit(0, |all| all[100] = harmless(&all[100]))?;
    Ok(broken(100, "the entry in tile/entries/000 was altered"))
}

fn entry_and_leaf(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.edit(1, |all| all[44] = harmless(&all[44]))?;
    log.write_leaves(1)?;
    Ok(broken(256, "rewritten together with their hashes"))
}

fn flipped_hash(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let mut tile = log.read("tile/0/001")?;
    tile[44 * 32] ^= 1;
    log.write("tile/0/001", &tile)?;
    Ok(broken(300, "a hash in tile/0/001 was altered"))
}

fn flipped_upper_hash(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let mut tile = log.read("tile/1/000.p/2")?;
    tile[40] ^= 1;
    log.write("tile/1/000.p/2", &tile)?;
    Ok(broken(256, "a hash in tile/1/000.p/2 was altered"))
}

fn dropped(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.edit(0, |all| drop(all.remove(7)))?;
    Ok(broken(
        7,
        "holds entry 8 in this place: entries were moved, repeated or dropped",
    ))
}

fn repeated(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.edit(1, |all| all.insert(8, all[7].clone()))?;
    Ok(broken(264, "holds entry 263 in this place"))
}

fn reordered(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.edit(0, |all| all.swap(10, 20))?;
    Ok(broken(10, "holds entry 20 in this place"))
}

fn moved(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let mut taken = Vec::new();
    log.edit(1, |all| taken = all.remove(3))?;
    log.edit(0, |all| all.insert(30, taken))?;
    Ok(broken(30, "holds entry 259 in this place"))
}

fn swap(log: &LogFolder, one: &str, other: &str) -> Result<()> {
    let (first, second) = (log.read(one)?, log.read(other)?);
    log.write(one, &second)?;
    log.write(other, &first)
}

fn swapped_bundles(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    swap(log, "tile/entries/000", "tile/entries/001")?;
    Ok(broken(0, "holds entry 256 in this place"))
}

fn swapped_bundles_and_hashes(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    swap(log, "tile/0/000", "tile/0/001")?;
    swapped_bundles(log, material)
}

fn spliced_run(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    let theirs = material.other_run.read("tile/entries/001")?;
    log.write("tile/entries/001", &theirs)?;
    Ok(broken(256, "the entry in tile/entries/001 was altered"))
}

fn spliced_gateway(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    let theirs = material.other_gateway.entries(0)?;
    log.edit(0, |all| all[9] = theirs[9].clone())?;
    Ok(broken(9, "it was taken from another log"))
}

fn rechained(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.edit(0, |all| all[100] = harmless(&all[100]))?;
    log.rehash()?;
    Ok(broken(0, "not with the signed root: the log was rewritten"))
}

fn rechained_and_signed(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    log.edit(0, |all| all[100] = harmless(&all[100]))?;
    let root = STANDARD.encode(log.rehash()?);
    // Any key but the gateway's; that of another run, whose name is the same, is the best at hand.
    let signed = String::from_utf8(material.other_run.read("checkpoint")?)?;
    let theirs = signed.lines().last().context("a signature line")?.to_owned();
    log.edit_checkpoint(|text| {
        let mut lines: Vec<&str> = text.lines().take(2).collect();
        lines.push(&root);
        format!("{}\n\n{theirs}\n", lines.join("\n"))
    })?;
    Ok(broken(0, "not signed by this key"))
}

fn resized(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let size = log.size()?;
    log.edit_checkpoint(|text| text.replacen(&format!("\n{size}\n"), "\n512\n", 1))?;
    Ok(broken(0, "edited after it was signed"))
}

fn foreign_checkpoint(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    log.write("checkpoint", &material.other_gateway.read("checkpoint")?)?;
    Ok(broken(0, "the checkpoint belongs to log"))
}

fn checkpoint_of_another_run(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    log.write("checkpoint", &material.other_run.read("checkpoint")?)?;
    Ok(broken(0, "not signed by this key"))
}

fn no_checkpoint(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.remove("checkpoint")?;
    Ok(broken(0, "no checkpoint: the file was deleted"))
}

fn empty_checkpoint(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.write("checkpoint", b"")?;
    Ok(broken(0, "not a signed note"))
}

fn last_bundle_deleted(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.remove(&log.bundle_name(2)?)?;
    Ok(broken(512, "is missing and the signed checkpoint covers it"))
}

fn full_bundle_deleted(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.remove("tile/entries/001")?;
    Ok(broken(256, "tile/entries/001 is missing"))
}

fn hash_tile_deleted(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    log.remove("tile/0/001")?;
    Ok(broken(256, "tile/0/001 is missing"))
}

fn all_tiles_deleted(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    fs::remove_dir_all(log.file("tile"))?;
    Ok(broken(0, "is missing and the signed checkpoint covers it"))
}

fn cut_within_entry(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let name = log.bundle_name(2)?;
    let bytes = log.read(&name)?;
    let entries = log.entries(2)?;
    let kept: usize = entries[..5].iter().map(|entry| entry.len() + 2).sum();
    log.write(&name, &bytes[..kept + 7])?;
    Ok(broken(517, "is damaged: the bundle ends within entry 5"))
}

fn padded(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let mut bytes = log.read("tile/entries/001")?;
    bytes.extend_from_slice(&[0, 0]);
    log.write("tile/entries/001", &bytes)?;
    Ok(broken(511, "2 bytes follow the bundle's last entry"))
}

fn forged_cosignature(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let note = String::from_utf8(log.read("checkpoint.cosigned")?)?;
    let line = note
        .lines()
        .find(|line| line.starts_with("— w1.example "))
        .context("a cosignature")?;
    let blob = line.rsplit(' ').next().unwrap_or_default();
    let mut forged = STANDARD.decode(blob)?;
    // A later time, as if the witness had looked again.
    forged[11] = forged[11].wrapping_add(1);
    log.write(
        "checkpoint.cosigned",
        note.replacen(blob, &STANDARD.encode(forged), 1).as_bytes(),
    )?;
    Ok(Expected {
        integrity: "whole",
        first_bad: None,
        completeness: None,
        words: "the cosignature by \\\"w1.example\\\" does not verify; it was forged",
    })
}

fn edited_cosigned(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    let note = String::from_utf8(log.read("checkpoint.cosigned")?)?;
    let size = note.lines().nth(1).context("a size")?.to_owned();
    log.write(
        "checkpoint.cosigned",
        note.replacen(&format!("\n{size}\n"), "\n12\n", 1).as_bytes(),
    )?;
    Ok(Expected {
        integrity: "whole",
        first_bad: None,
        completeness: None,
        words: "edited after it was signed",
    })
}

const fn cut(integrity: &'static str, words: &'static str) -> Expected {
    Expected {
        integrity,
        first_bad: None,
        completeness: Some("cut"),
        words,
    }
}

fn earlier_copy(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    fs::remove_dir_all(log.path())?;
    crate::files::copy_folder(material.early.path(), log.path())?;
    Ok(cut(
        "whole",
        "its tail was cut off or an older checkpoint put back",
    ))
}

fn earlier_checkpoint(log: &LogFolder, material: &Material<'_>) -> Result<Expected> {
    let (earlier, later) = (material.early.size()?, log.size()?);
    ensure!(earlier < later, "{earlier} is earlier than {later}");
    for name in ["checkpoint", "checkpoint.cosigned"] {
        log.write(name, &material.early.read(name)?)?;
    }
    Ok(cut(
        "whole",
        "its tail was cut off or an older checkpoint put back",
    ))
}

fn all_deleted(log: &LogFolder, _: &Material<'_>) -> Result<Expected> {
    fs::remove_dir_all(log.path())?;
    fs::create_dir(log.path())?;
    Ok(Expected {
        first_bad: Some(0),
        ..cut("unknown", "holds no log: it was deleted")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_hashed_as_published() {
        // google/certificate-transparency, merkletree tests.
        assert_eq!(
            hex::encode(root(&[])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let leaves = ["", "00", "10"].map(|entry| leaf(&hex::decode(entry).unwrap_or_default()));
        assert_eq!(
            hex::encode(root(&leaves)),
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
    }
}
