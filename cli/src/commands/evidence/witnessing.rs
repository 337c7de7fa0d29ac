//! What others keep about a log, gathered and weighed: cosigned checkpoints, and whether a quorum spoke.

use std::path::Path;

use anyhow::Context as _;
use base::Timestamp;
use control::api::types::CosignatureView;
use evidence::UnverifiedReader;
use evidence::witness::{COSIGNED_FILE, Cosigned, Quorum};
use seal::cosignature::CosignatureVerifier;
use seal::note::NoteError;
use serde::Serialize;

use crate::config::Config;
use crate::exit::Exit;
use crate::house::logs::LogPlace;
use crate::house::witnesses::{GRACE_S, at_second, words};
use crate::{clock, files, witness};

const OWN: &str = "this site's control plane";

/// Whose word is asked about a log.
pub struct Panel {
    /// The witnesses whose word counts.
    pub quorum: Quorum,
    /// The control plane as a witness, which counts as knowing and not towards the quorum.
    pub own: Vec<CosignatureVerifier>,
    /// The folder in which the control plane, as a witness, remembers.
    pub memory: Option<std::path::PathBuf>,
}

/// A checkpoint that somebody else kept.
pub struct Held {
    /// The checkpoint.
    pub cosigned: Cosigned,
    /// Who kept it, for people.
    pub by: String,
    /// Whether whoever kept it has no part in this site. The control plane may share its disk with the
    /// log: what it remembers can convict, and not acquit.
    pub elsewhere: bool,
    /// When the last of those who cosigned it did so.
    pub as_of: Option<Timestamp>,
}

/// What witnesses say about a log.
#[derive(Serialize)]
pub struct WitnessesView {
    /// Cosignatures that a checkpoint needs.
    pub needed: u64,
    /// Whether the newest cosigned checkpoint has as many, and leaves no entry uncovered for long.
    pub met: bool,
    /// Entries under that checkpoint.
    pub size: u64,
    /// Who cosigned it, and when.
    pub cosignatures: Vec<CosignatureView>,
    /// What is wrong with a cosignature or with the cosigned checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forged: Option<String>,
    /// Since when entries stand without the quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncovered_since: Option<Timestamp>,
}

impl Panel {
    /// The witnesses of a site.
    ///
    /// # Errors
    /// The configuration or the trust root names a key that cannot cosign.
    pub fn of_site(config: &Config, trust: &seal::trust::TrustRoot) -> anyhow::Result<Self> {
        Ok(Self {
            quorum: witness::quorum(config)?,
            own: witness::own_verifiers(config, trust)?,
            memory: Some(config.witness_dir()),
        })
    }

    /// What others keep about a log, and what is forged about it.
    ///
    /// # Errors
    /// A file cannot be read, or `given` is no checkpoint of this log.
    pub fn held(
        &self,
        place: &LogPlace,
        given: Option<&Path>,
    ) -> anyhow::Result<(Vec<Held>, Option<String>)> {
        let (mut held, mut forged) = (Vec::new(), None);
        if let Some(path) = given {
            let bytes = files::read_limited(path, 1 << 16)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let cosigned =
                Cosigned::open(&bytes, &place.verifier).with_context(|| format!("{}", path.display()))?;
            let by = format!("{}", path.display());
            held.push(self.held_by(cosigned, by, true));
        }
        match Cosigned::read(&place.folder, &place.verifier) {
            Ok(None) => {}
            Ok(Some(cosigned)) => {
                forged = self.forged(&cosigned);
                let others = names(self.quorum.witnesses(), &cosigned);
                if !others.is_empty() {
                    let by = format!("witness {}", others.join(" and "));
                    held.push(self.held_by(cosigned, by, true));
                } else if !names(&self.own, &cosigned).is_empty() {
                    held.push(self.held_by(cosigned, OWN.to_owned(), false));
                }
            }
            Err(error) => forged = Some(format!("{COSIGNED_FILE}: {}", control::error_line(&error))),
        }
        if let Some(memory) = &self.memory {
            match Cosigned::read_memory(memory, &place.verifier) {
                Ok(None) => {}
                Ok(Some(cosigned)) => {
                    if self.own.iter().any(|key| cosigned.cosigned_at(key).is_ok()) {
                        held.push(self.held_by(cosigned, OWN.to_owned(), false));
                    }
                }
                Err(error) => {
                    forged.get_or_insert(format!("{}: {}", memory.display(), control::error_line(&error)));
                }
            }
        }
        // The longest is the one to hold against the log; the others must agree with it.
        held.sort_by_key(|held| std::cmp::Reverse((held.cosigned.checkpoint().size(), held.elsewhere)));
        Ok((held, forged))
    }

    fn keys(&self) -> impl Iterator<Item = &CosignatureVerifier> {
        self.quorum.witnesses().iter().chain(&self.own)
    }

    fn held_by(&self, cosigned: Cosigned, by: String, elsewhere: bool) -> Held {
        let as_of = self.keys().filter_map(|key| cosigned.cosigned_at(key).ok()).max();
        Held {
            cosigned,
            by,
            elsewhere,
            as_of: as_of.map(at_second),
        }
    }

    /// A line that claims to be by a known witness and is not.
    fn forged(&self, cosigned: &Cosigned) -> Option<String> {
        let forged = self
            .keys()
            .find(|key| cosigned.cosigned_at(key) == Err(NoteError::BadSignature))?;
        Some(format!(
            "{COSIGNED_FILE}: the cosignature by {:?} does not verify; it was forged, or the checkpoint under it was changed",
            forged.name()
        ))
    }

    /// What witnesses say about the log in `folder`, which has `size` signed entries.
    pub fn view(&self, place: &LogPlace, size: u64, forged: Option<String>) -> WitnessesView {
        let cosigned = Cosigned::read(&place.folder, &place.verifier).ok().flatten();
        let standing = self.quorum.standing(cosigned.as_ref());
        let uncovered_since = (self.quorum.needed() > 0 && standing.size < size)
            .then(|| time_of(&place.folder, standing.size))
            .flatten();
        let is_late = uncovered_since.is_some_and(|since| since.plus_seconds(GRACE_S) < clock::now());
        WitnessesView {
            needed: standing.needed as u64,
            met: standing.is_met() && !is_late,
            size: standing.size,
            cosignatures: words(&standing),
            forged,
            uncovered_since,
        }
    }
}

impl WitnessesView {
    /// The exit status that this stands for.
    pub const fn exit(&self) -> Exit {
        if self.forged.is_some() {
            Exit::Finding
        } else if self.met {
            Exit::Done
        } else {
            Exit::CannotTell
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        if let Some(forged) = &self.forged {
            return format!("FORGED: {forged}");
        }
        if self.needed == 0 && self.cosignatures.is_empty() {
            return "none asked; name some under [evidence] witnesses".to_owned();
        }
        let names: Vec<_> = self
            .cosignatures
            .iter()
            .map(|word| format!("{} at {}", word.witness, word.time))
            .collect();
        let words = match names.as_slice() {
            [] => "nobody cosigned".to_owned(),
            names => format!("{} entries cosigned by {}", self.size, names.join(", ")),
        };
        let quorum = if self.met { "met" } else { "NOT MET" };
        let since = self.uncovered_since.filter(|_| !self.met);
        let since = since.map_or(String::new(), |since| {
            format!("; entries since {since} have no quorum")
        });
        format!("{words}; quorum of {} {quorum}{since}", self.needed)
    }
}

/// The witnesses among `keys` that cosigned.
fn names<'k>(keys: &'k [CosignatureVerifier], cosigned: &Cosigned) -> Vec<&'k str> {
    keys.iter()
        .filter(|key| cosigned.cosigned_at(key).is_ok())
        .map(CosignatureVerifier::name)
        .collect()
}

/// When the entry at `index` was written. The log was verified a moment ago.
fn time_of(folder: &Path, index: u64) -> Option<Timestamp> {
    let events = UnverifiedReader::new(folder, index).read_on().ok()?;
    events.first().map(|(_, event)| event.time)
}
