//! The gateway's witnesses: new checkpoints go out, cosignatures come back, and recording never waits.
//!
//! A round takes the checkpoint file as it stands, sends it to every witness that has not cosigned it
//! yet, and puts what verifies beside the log as `checkpoint.cosigned`. A witness that is down is tried
//! again later and later; one that says something alarming is logged as such. Nothing here touches
//! the log itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use control::api::types::{CosignatureView, WitnessTrouble, WitnessingView};
use evidence::witness::{Cosignature, Cosigned, Heard, Quorum, Rejected, Standing, Submission, Witness};
use evidence::{Checkpoint, prove_consistency};
use parking_lot::Mutex;
use seal::cosignature::CosignatureVerifier;
use seal::key_file;
use seal::note::NoteVerifier;
use seal::trust::Role;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Config;
use crate::witness::{self, Poster, WitnessUrl};

/// How often the checkpoint file is looked at.
const ROUND: Duration = Duration::from_secs(1);
/// The longest pause before a witness that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the last round may take when the house closes.
const LAST_ROUND: Duration = Duration::from_secs(3);
/// For how long entries may stand without the quorum before somebody should look.
pub const GRACE_S: i64 = 600;

/// The desk at which witnesses are dealt with.
pub struct Witnesses {
    log: NoteVerifier,
    folder: PathBuf,
    quorum: Quorum,
    others: Vec<Other>,
    /// The control plane's own witness; its word does not count towards the quorum.
    own: Option<Arc<Mutex<Witness>>>,
    desk: tokio::sync::Mutex<Desk>,
    view: Mutex<WitnessingView>,
}

/// A witness elsewhere.
struct Other {
    url: WitnessUrl,
    key: CosignatureVerifier,
    poster: Poster,
}

#[derive(Default)]
struct Desk {
    /// The checkpoint of the last round, with what was heard about it.
    current: Option<Cosigned>,
    /// What stands beside the log.
    stored: Option<Cosigned>,
    files: Vec<File>,
    /// Why the control plane itself did not cosign.
    own_trouble: Option<String>,
}

/// What is known of one witness elsewhere.
#[derive(Clone, Default)]
struct File {
    /// Entries that it last cosigned, as far as is known.
    known: u64,
    failures: u32,
    not_before: Option<Instant>,
    trouble: Option<String>,
}

impl Witnesses {
    /// The witnesses of this site's gateway: those of the configuration, and the control plane itself
    /// where it has a key for that.
    ///
    /// # Errors
    /// The own witness's key or memory cannot be used, or the authorities of another.
    pub fn open(config: &Config, log: NoteVerifier) -> anyhow::Result<Self> {
        let quorum = witness::quorum(config)?;
        let others = config.file.evidence.witnesses.iter().zip(quorum.witnesses());
        let others: Vec<Other> = others
            .map(|(other, key)| {
                let authorities = other.ca_file.as_ref().map(|file| config.resolve(file));
                Ok(Other {
                    url: other.url.parse()?,
                    key: key.clone(),
                    poster: Poster::new(authorities.as_deref())?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let folder = config.log_dir();
        let stored = Cosigned::read(&folder, &log).unwrap_or_else(|error| {
            tracing::error!(error = %control::error_line(&error), "the cosigned checkpoint beside the log cannot be used");
            None
        });
        let known = |other: &Other| {
            let cosigned = stored
                .as_ref()
                .filter(|stored| stored.cosigned_at(&other.key).is_ok());
            cosigned.map_or(0, |stored| stored.checkpoint().size())
        };
        let files = others
            .iter()
            .map(|other| File {
                known: known(other),
                ..File::default()
            })
            .collect();
        let own = own(config, &log)?;
        let witnesses = Self {
            log,
            folder,
            quorum,
            others,
            own,
            desk: tokio::sync::Mutex::new(Desk {
                current: None,
                stored,
                files,
                own_trouble: None,
            }),
            view: Mutex::default(),
        };
        let view = witnesses.look(&*witnesses.desk.try_lock().context("nobody else knows of it yet")?);
        *witnesses.view.lock() = view;
        Ok(witnesses)
    }

    /// Goes on until stopped. `tell` hears how things stand after each round.
    pub async fn keep(self: Arc<Self>, tell: impl Fn(&WitnessingView), stop: CancellationToken) {
        let rounds = async {
            loop {
                self.round(&tell).await;
                tokio::time::sleep(ROUND).await;
            }
        };
        // A witness that takes its time does not hold up the house; what it says later is asked again.
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
    }

    /// One more round, for the checkpoint that the gateway signed when it stopped.
    pub async fn finish(&self) {
        if tokio::time::timeout(LAST_ROUND, self.round(&|_: &WitnessingView| {}))
            .await
            .is_err()
        {
            tracing::warn!(
                "not every witness has cosigned the last checkpoint; they are asked at the next start"
            );
        }
    }

    /// How things stood after the last round.
    pub fn view(&self) -> WitnessingView {
        self.view.lock().clone()
    }

    async fn round(&self, tell: &impl Fn(&WitnessingView)) {
        let mut desk = self.desk.lock().await;
        if let Err(error) = self.work(&mut desk).await {
            tracing::warn!(error = %format!("{error:#}"), "the checkpoint could not be given to witnesses");
        }
        let view = self.look(&desk);
        tell(&view);
        *self.view.lock() = view;
    }

    async fn work(&self, desk: &mut Desk) -> anyhow::Result<()> {
        let Some(latest) = self.latest().await? else {
            return Ok(());
        };
        let current = match desk.current.take() {
            Some(current) if current.checkpoint() == latest.checkpoint() => current,
            _ => match &desk.stored {
                // After a restart, what was heard before still counts.
                Some(stored) if stored.checkpoint() == latest.checkpoint() => stored.clone(),
                _ => latest,
            },
        };
        let current = desk.current.insert(current).clone();
        self.ask_own(desk, &current).await;
        let now = Instant::now();
        let due = |(other, file): &(&Other, &File)| {
            current.cosigned_at(&other.key).is_err() && file.not_before.is_none_or(|then| then <= now)
        };
        let asked: Vec<usize> = (0..self.others.len())
            .filter(|&place| due(&(&self.others[place], &desk.files[place])))
            .collect();
        let asking = asked.iter().map(|&place| {
            let old = desk.files[place].known;
            self.submit(&self.others[place], &current, old)
        });
        let heard = futures_util::future::join_all(asking).await;
        for (place, heard) in asked.into_iter().zip(heard) {
            self.take(desk, place, heard);
        }
        self.store(desk).await
    }

    /// The log's checkpoint, as the gateway last signed it; `None` while it covers nothing.
    async fn latest(&self) -> anyhow::Result<Option<Cosigned>> {
        let path = self.folder.join("checkpoint");
        let signed = tokio::fs::read(&path)
            .await
            .with_context(|| format!("cannot read {}", path.display()))?;
        let latest = Cosigned::open(&signed, &self.log)?;
        Ok(Some(latest).filter(|latest| latest.checkpoint().size() > 0))
    }

    /// Asks the control plane's own witness, in process and in the same words.
    async fn ask_own(&self, desk: &mut Desk, current: &Cosigned) {
        let Some(own) = self.own.clone() else { return };
        let key = own.lock().verifier().clone();
        if current.cosigned_at(&key).is_ok() {
            return;
        }
        let (folder, checkpoint) = (self.folder.clone(), current.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let mut submission = Submission::new(&checkpoint, &key, checkpoint.checkpoint().size());
            loop {
                let proof = prove_consistency(&folder, checkpoint.checkpoint(), submission.old())?;
                let request = submission.request(proof).to_string();
                let answer = own.lock().answer(request.as_bytes(), now_s());
                match submission.handle_answer(answer.status, answer.body.as_bytes())? {
                    Heard::Cosigned { line, .. } => return anyhow::Ok((line, key)),
                    Heard::AskAgain => {}
                }
            }
        });
        match asked.await.map_err(anyhow::Error::from).flatten() {
            Ok((line, key)) => {
                if let Some(current) = &mut desk.current {
                    // It verified a moment ago.
                    let _ = current.adopt(&line, &key);
                }
                desk.own_trouble = None;
            }
            Err(error) => {
                let trouble = format!("{error:#}");
                if desk.own_trouble.as_ref() != Some(&trouble) {
                    tracing::error!(why = %trouble, "the control plane does not vouch for this log");
                }
                desk.own_trouble = Some(trouble);
            }
        }
    }

    async fn submit(&self, other: &Other, current: &Cosigned, old: u64) -> Result<Word, anyhow::Error> {
        let mut submission = Submission::new(current, &other.key, old);
        loop {
            let proof = self.proof(current.checkpoint(), submission.old()).await?;
            let request = submission.request(proof).to_string();
            let (status, body) = other.poster.add_checkpoint(&other.url, request).await?;
            match submission.handle_answer(status, &body) {
                Ok(Heard::Cosigned { line, .. }) => return Ok(Word::Cosigned(line)),
                Ok(Heard::AskAgain) => {}
                Err(rejected) => return Ok(Word::Rejected(rejected)),
            }
        }
    }

    async fn proof(&self, checkpoint: &Checkpoint, old: u64) -> anyhow::Result<Vec<base::Sha256Digest>> {
        let (folder, checkpoint) = (self.folder.clone(), checkpoint.clone());
        let proof =
            tokio::task::spawn_blocking(move || prove_consistency(&folder, &checkpoint, old)).await??;
        Ok(proof)
    }

    fn take(&self, desk: &mut Desk, place: usize, heard: anyhow::Result<Word>) {
        let (other, file) = (&self.others[place], &mut desk.files[place]);
        let witness = other.key.name();
        let trouble = match heard {
            Ok(Word::Cosigned(line)) => {
                let current = desk.current.as_mut().expect("a round has a checkpoint");
                match current.adopt(&line, &other.key) {
                    Ok(_) => {
                        if file.trouble.is_some() {
                            tracing::info!(witness, "the witness cosigns again");
                        }
                        *file = File {
                            known: current.checkpoint().size(),
                            ..File::default()
                        };
                        return;
                    }
                    Err(error) => error.to_string(),
                }
            }
            Ok(Word::Rejected(rejected)) => {
                if rejected.is_alarming() && file.trouble.is_none() {
                    tracing::error!(witness, url = %other.url, why = %rejected, "the witness does not vouch for this log");
                }
                rejected.to_string()
            }
            Err(error) => format!("{error:#}"),
        };
        if file.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(witness, url = %other.url, why = %trouble, "no cosignature; it is asked again later");
        }
        file.trouble = Some(trouble);
        file.failures = file.failures.saturating_add(1);
        let pause = ROUND.saturating_mul(1 << file.failures.min(6)).min(LONGEST_PAUSE);
        file.not_before = Some(Instant::now() + pause);
    }

    /// Puts what was heard beside the log, if it is worth more than what is there.
    async fn store(&self, desk: &mut Desk) -> anyhow::Result<()> {
        let Some(current) = &desk.current else {
            return Ok(());
        };
        let preferred = if self.others.is_empty() {
            self.own.is_some()
        } else {
            self.quorum.prefers(current, desk.stored.as_ref())
        };
        if !preferred || desk.stored.as_ref() == Some(current) {
            return Ok(());
        }
        let (cosigned, folder) = (current.clone(), self.folder.clone());
        tokio::task::spawn_blocking(move || cosigned.write(&folder)).await??;
        desk.stored = Some(current.clone());
        Ok(())
    }

    fn look(&self, desk: &Desk) -> WitnessingView {
        let standing = self.quorum.standing(desk.stored.as_ref());
        let others = self.others.iter().zip(&desk.files).filter_map(|(other, file)| {
            Some(WitnessTrouble {
                witness: other.key.name().to_owned(),
                why: file.trouble.clone()?,
            })
        });
        let own = desk.own_trouble.iter().map(|why| WitnessTrouble {
            witness: "the control plane".to_owned(),
            why: why.clone(),
        });
        let troubles = own.chain(others);
        WitnessingView {
            needed: standing.needed as u64,
            met: standing.is_met(),
            size: standing.size,
            cosignatures: words(&standing),
            troubles: troubles.collect(),
        }
    }
}

/// What a witness elsewhere said in the end.
enum Word {
    Cosigned(String),
    Rejected(Rejected),
}

/// The control plane's own witness, where this site has a key for it.
fn own(config: &Config, log: &NoteVerifier) -> anyhow::Result<Option<Arc<Mutex<Witness>>>> {
    let path = config.key_path(Role::Witness);
    if !path.exists() {
        return Ok(None);
    }
    let key = key_file::read_private(&path)?;
    let name = witness::own_name(&config.file.site);
    let memory = config.witness_dir();
    let own = Witness::open(&memory, &name, key, [log.clone()])
        .with_context(|| format!("the control plane's own witness ({})", memory.display()))?;
    Ok(Some(Arc::new(Mutex::new(own))))
}

fn now_s() -> u64 {
    u64::try_from(clock::now().unix_s()).unwrap_or(0)
}

/// What each of the witnesses said whose cosignature stands.
pub fn words(standing: &Standing) -> Vec<CosignatureView> {
    let word = |word: &Cosignature| CosignatureView {
        witness: word.witness.clone(),
        time: at_second(word.time_s),
    };
    standing.cosignatures.iter().map(word).collect()
}

/// A witness's second as a timestamp.
pub fn at_second(time_s: u64) -> base::Timestamp {
    base::Timestamp::from_unix_us(
        i64::try_from(time_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000),
    )
}
