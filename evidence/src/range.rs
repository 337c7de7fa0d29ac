//! Verifying a part of a log: some entries against the signed root, without reading the rest.
//!
//! A bundle is hashed anew and led up to the root through the hash tiles above it. What is proven this
//! way is as good as after verifying everything; what lies outside the range was not looked at.

use std::ops::Range;
use std::path::Path;

use base::Sha256Digest;
use seal::note::NoteVerifier;

use crate::Event;
use crate::archive::{Expired, Pruned, last_of};
use crate::folder::{Folder, Found, Unreadable};
use crate::merkle::leaf_hash;
use crate::tile::{Shelf, TILE_WIDTH, Tile};
use crate::verification::{Expiry, Fault, Integrity};
use crate::verified::{NotVerified, ReadError, VerifiedLog};
use crate::verify::{Progress, VerifyError, VerifyOptions, conclude, open_checkpoint};

impl VerifiedLog {
    /// Like [`Self::open_with`], verifying only the entries in `range`, as far as the checkpoint covers
    /// them. Whatever is read from it later is proven when it is read.
    ///
    /// # Errors
    /// [`NotVerified`].
    pub fn open_range(
        folder: &Path,
        verifier: &NoteVerifier,
        options: &VerifyOptions,
        range: Range<u64>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, NotVerified> {
        let files = Folder::with_archive(folder, options.archive.clone());
        let (signed, checkpoint) = match open_checkpoint(&files, verifier, options)? {
            Ok(found) => found,
            Err(unbelievable) => return Err(NotVerified::Tampered(Box::new(unbelievable))),
        };
        let provisional = Self::provisional(&files, verifier, &checkpoint);
        let integrity = provisional.verify_range(range, progress)?;
        provisional.concluded(signed, integrity, options)
    }

    /// The log, if it is whole as far as entries were looked at, and continues what is held elsewhere.
    /// `signed` is its checkpoint, verbatim.
    pub(crate) fn concluded(
        self,
        signed: Vec<u8>,
        integrity: Integrity,
        options: &VerifyOptions,
    ) -> Result<Self, NotVerified> {
        let checkpoint = self.checkpoint().clone();
        let held = options.held.as_ref();
        // The walk over all entries would have met the held root; here the tiles lead to it.
        let held_root = match held.filter(|held| held.size() <= checkpoint.size()) {
            Some(held) if integrity == Integrity::Whole => match self.continues(held) {
                Ok(true) => Some(*held.root()),
                Ok(false) => Some(*checkpoint.root()),
                Err(error) => return Err(unreadable(error, held.size())),
            },
            _ => None,
        };
        let verification = conclude(self.files(), signed, checkpoint, integrity, held, held_root)
            .map_err(VerifyError::from)?;
        self.verified(verification)
    }

    pub(crate) fn verify_range(
        &self,
        range: Range<u64>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Integrity, VerifyError> {
        let end = range.end.min(self.checkpoint().size());
        let total = end.saturating_sub(range.start);
        let mut next = range.start;
        let mut unseen: Option<Range<u64>> = None;
        while next < end {
            let number = next / TILE_WIDTH as u64;
            let upto = end.min((number + 1) * TILE_WIDTH as u64);
            match self.fault_in_bundle(number, next..upto)? {
                // What the log says was pruned is not here, and the archive does not have it.
                Some((_, Fault::Missing { file }))
                    if file.starts_with(ENTRIES) && upto <= self.pruned_to()? =>
                {
                    let start = unseen.map_or(next, |unseen| unseen.start);
                    unseen = Some(start..upto);
                }
                Some((first_bad, why)) => return Ok(Integrity::Broken { first_bad, why }),
                None => {}
            }
            next = upto;
            progress(Progress {
                done: next - range.start,
                total,
            });
        }
        Ok(match unseen {
            None => Integrity::Whole,
            Some(entries) => Integrity::Unseen { entries },
        })
    }

    /// Entries below this were pruned, as the log has it.
    fn pruned_to(&self) -> Result<u64, VerifyError> {
        match last_of(self, |event| Pruned::by(event).is_some()) {
            Ok(last) => Ok(last.as_ref().and_then(Pruned::by).map_or(0, |pruned| pruned.to)),
            Err(ReadError::Unreadable(error)) => Err(error.into()),
            // The log's end cannot be believed, and so says nothing.
            Err(_) => Ok(0),
        }
    }

    /// What the log says expired.
    pub(crate) fn declared_expiry(&self) -> Result<Option<Expiry>, Unreadable> {
        // What is missing while the declaration is looked for must not be looked up in it.
        let blind = Self::provisional(&self.files().knowing(None), self.verifier(), self.checkpoint());
        match last_of(&blind, |event| Expired::by(event).is_some()) {
            Ok(last) => Ok(last.and_then(|event| {
                Some(Expiry {
                    end: Expired::by(&event)?.to,
                    declared_by: event.seq,
                })
            })),
            Err(ReadError::Unreadable(error)) => Err(error),
            // There is none above what is missing, or the log's end cannot be believed.
            Err(_) => Ok(None),
        }
    }

    /// What is missing and was pruned was not changed: nobody can tell.
    pub(crate) fn or_pruned(&self, error: ReadError, index: u64) -> ReadError {
        match error {
            ReadError::Changed { file }
                if file.starts_with(ENTRIES)
                    && !self.files().root().join(&file).exists()
                    && self.pruned_to().is_ok_and(|to| index < to) =>
            {
                ReadError::Pruned { index }
            }
            error => error,
        }
    }

    /// What is wrong with the entries in `range`, all of bundle `number`.
    fn fault_in_bundle(&self, number: u64, range: Range<u64>) -> Result<Option<(u64, Fault)>, VerifyError> {
        let proven = match self.proven_entries(range.start) {
            Ok((file, first, entries)) => (file, first, entries, None),
            Err(ReadError::Unreadable(error)) => return Err(error.into()),
            Err(ReadError::Changed { file }) => {
                let (bundle, first, entries, leaves) = match self.stored(number)? {
                    Ok(found) => found,
                    Err(fault) => return Ok(Some((range.start, fault))),
                };
                let altered = entries
                    .iter()
                    .zip(&leaves)
                    .position(|(entry, leaf)| leaf_hash(entry) != *leaf);
                let doubt = match altered {
                    Some(place) => (first + place as u64, Fault::Altered { file: bundle.clone() }),
                    None => (first, Fault::Rewritten { file }),
                };
                (bundle, first, entries, Some(doubt))
            }
            Err(ReadError::NoSuchEntry { .. } | ReadError::Pruned { .. } | ReadError::Expired { .. }) => {
                return Ok(None);
            }
        };
        let (file, first, entries, doubt) = proven;
        let placed = entries
            .iter()
            .zip(first..)
            .filter(|(_, index)| range.contains(index));
        for (entry, index) in placed {
            // The bytes are those that were signed unless there is a doubt; a moved entry says so itself.
            match Event::from_entry(entry) {
                Ok(event) if event.seq != index => {
                    let seq = event.seq;
                    return Ok(Some((index, Fault::Misplaced { file, seq })));
                }
                Ok(event) if event.gateway != self.checkpoint().origin().gateway() => {
                    let found = event.gateway;
                    return Ok(Some((index, Fault::OtherGateway { file, found })));
                }
                Err(source) if doubt.is_none() => {
                    return Ok(Some((index, Fault::NotAnEvent { file, source })));
                }
                _ => {}
            }
            if let Some((at, fault)) = doubt.as_ref().filter(|(at, _)| *at == index) {
                return Ok(Some((*at, fault.clone())));
            }
        }
        // The bundle does not lead to the root, and it is not for entries in the range to show why.
        Ok(doubt.map(|(at, fault)| (at.max(range.start), fault)))
    }

    /// A bundle as it stands, from the first entry that did not expire, with the leaves that stand beside it.
    #[expect(clippy::type_complexity, reason = "two answers, one of them a fault")]
    fn stored(
        &self,
        number: u64,
    ) -> Result<Result<(String, u64, Vec<Vec<u8>>, Vec<Sha256Digest>), Fault>, Unreadable> {
        let size = self.checkpoint().size();
        let tile = |shelf| Tile::of_tree(shelf, number, size).unwrap_or_else(|| Tile::full(shelf, number));
        let bundle = match self.bundle(tile(Shelf::Entries))? {
            Found::Whole(bundle) => bundle,
            Found::Missing { file } => return Ok(Err(Fault::Missing { file })),
            Found::Malformed { file, what } => return Ok(Err(Fault::Malformed { file, what })),
        };
        let (entries, trouble) = bundle.entries();
        if let Some(what) = trouble {
            let file = bundle.file.clone();
            return Ok(Err(Fault::Malformed { file, what }));
        }
        let leaves = match self.files().hashes(tile(Shelf::Level(0)))? {
            Found::Whole(leaves) => leaves.into_iter().skip(bundle.expired().len()).collect(),
            Found::Missing { .. } | Found::Malformed { .. } => Vec::new(),
        };
        let entries = entries.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Ok((bundle.file.clone(), bundle.first(), entries, leaves)))
    }
}

/// Where bundles stand; hash tiles are never pruned.
const ENTRIES: &str = "tile/entries/";

/// A tile that keeps a held checkpoint from being compared.
fn unreadable(error: ReadError, first_bad: u64) -> NotVerified {
    match error {
        ReadError::Unreadable(error) => NotVerified::Verify(error.into()),
        ReadError::Changed { file } => NotVerified::Tampered(Box::new(crate::verify::unbelievable_from(
            first_bad,
            Fault::Missing { file },
        ))),
        ReadError::NoSuchEntry { .. } | ReadError::Pruned { .. } | ReadError::Expired { .. } => {
            NotVerified::Tampered(Box::new(crate::verify::unbelievable_from(first_bad, Fault::Root)))
        }
    }
}
