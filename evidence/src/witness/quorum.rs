//! The quorum: how many witnesses, of those that a site names, it takes to be believed.

use seal::cosignature::CosignatureVerifier;

use super::cosigned::Cosigned;

/// The witnesses whose word counts, and how many of them are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    witnesses: Vec<CosignatureVerifier>,
    needed: usize,
}

/// A quorum that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuorum {
    /// Nobody could ever meet it.
    #[error("a quorum of {needed} needs at least as many witnesses, and {witnesses} are named")]
    OutOfReach {
        /// Cosignatures needed.
        needed: usize,
        /// Witnesses named.
        witnesses: usize,
    },
    /// One witness under two names would be counted twice.
    #[error("witness {name:?} is named twice, or shares its key with another")]
    Twice {
        /// The name.
        name: String,
    },
}

/// One witness's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness.
    pub witness: String,
    /// When it cosigned, in seconds since 1970.
    pub time_s: u64,
}

/// What a cosigned checkpoint is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Cosignatures needed.
    pub needed: usize,
    /// Cosignatures that verify, by witnesses whose word counts.
    pub cosignatures: Vec<Cosignature>,
    /// Entries under the cosigned checkpoint; 0 where there is none.
    pub size: u64,
}

impl Quorum {
    /// A quorum of `needed` among `witnesses`.
    ///
    /// # Errors
    /// [`InvalidQuorum`].
    pub fn new(witnesses: Vec<CosignatureVerifier>, needed: usize) -> Result<Self, InvalidQuorum> {
        if needed > witnesses.len() {
            return Err(InvalidQuorum::OutOfReach {
                needed,
                witnesses: witnesses.len(),
            });
        }
        for (place, witness) in witnesses.iter().enumerate() {
            let same = |other: &CosignatureVerifier| {
                other.name() == witness.name() || other.has_same_key_as(witness)
            };
            if witnesses[..place].iter().any(same) {
                return Err(InvalidQuorum::Twice {
                    name: witness.name().to_owned(),
                });
            }
        }
        Ok(Self { witnesses, needed })
    }

    /// The witnesses whose word counts.
    pub fn witnesses(&self) -> &[CosignatureVerifier] {
        &self.witnesses
    }

    /// How many of them are needed.
    pub const fn needed(&self) -> usize {
        self.needed
    }

    /// What the witnesses said about a checkpoint.
    pub fn standing(&self, cosigned: Option<&Cosigned>) -> Standing {
        let said = |witness: &CosignatureVerifier| {
            let time_s = cosigned?.cosigned_at(witness).ok()?;
            Some(Cosignature {
                witness: witness.name().to_owned(),
                time_s,
            })
        };
        let cosignatures: Vec<_> = self.witnesses.iter().filter_map(said).collect();
        let size = cosigned.map_or(0, |cosigned| cosigned.checkpoint().size());
        Standing {
            needed: self.needed,
            size: if cosignatures.is_empty() { 0 } else { size },
            cosignatures,
        }
    }

    /// Whether `new` should take the place of `old` beside the log: it covers no less, and it does not
    /// fall short of a quorum that was met.
    pub fn prefers(&self, new: &Cosigned, old: Option<&Cosigned>) -> bool {
        let (new_standing, old_standing) = (self.standing(Some(new)), self.standing(old));
        let (count, before) = (new_standing.cosignatures.len(), old_standing.cosignatures.len());
        count > 0 && new_standing.size >= old_standing.size && (count >= self.needed || count >= before)
    }
}

impl Standing {
    /// Whether as many witnesses cosigned as are needed. Where none is needed, nobody was asked to.
    pub fn is_met(&self) -> bool {
        self.cosignatures.len() >= self.needed
    }

    /// When the witnesses had all spoken, in seconds since 1970; `None` where nobody has.
    pub fn time_s(&self) -> Option<u64> {
        self.cosignatures.iter().map(|word| word.time_s).max()
    }
}
