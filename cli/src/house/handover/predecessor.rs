//! The process before this one, as the one that takes over from it sees it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base::{ArtifactDigest, RunId, Sha256Digest, Tier};
use evidence::{Event, EventKind};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use proxy::{EvidenceUnavailable, HandedSockets, KillScope, ListenAddress, Purpose};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::link::{self, Link, PATIENCE};
use super::message::{FromPredecessor, FromSuccessor, Hello, OLDEST, Scope, TELLS_FACTS, VERSION};
use super::{door, sockets};
use crate::clock;
use crate::config::Config;
use crate::exit::Refused;
use crate::house::gateways::HouseGateways;
use crate::house::rulings::HouseRulings;

/// How long the predecessor may take to stop what only one process may do: requests under way are
/// answered, letters under way are sent.
const RELEASE: Duration = Duration::from_secs(120);
/// How long it may take to cut connections.
const CUTTING: Duration = Duration::from_secs(30);

/// A process that agreed to be taken over from, and still serves.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// What is spoken with it.
    version: u32,
}

/// A predecessor whose last connections this process follows: their events go into its log.
#[derive(Debug)]
pub struct Follower {
    mouth: mpsc::UnboundedSender<FromSuccessor>,
    asked: Mutex<HashMap<u64, oneshot::Sender<u64>>>,
    next: AtomicU64,
    live: AtomicU64,
    stage: watch::Receiver<Stage>,
    version: u32,
    /// What it was last told to rule by. Held while it is told, so that it hears of changes in order.
    told: tokio::sync::Mutex<Told>,
}

/// What a predecessor rules by, as far as it was told.
#[derive(Debug, Default)]
struct Told {
    policy: Option<Sha256Digest>,
    /// The version of the trust root, which it reads by itself.
    trust: Option<u64>,
    tiers: HashMap<ArtifactDigest, Tier>,
}

/// Tiers that go over in one message.
const TIERS_AT_ONCE: usize = 8192;

/// How far a predecessor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It may still accept clients.
    Serving,
    /// It has its last connections and takes no others.
    Retired,
    /// It is gone.
    Gone,
}

impl Predecessor {
    /// Asks the process that serves the site to be taken over from, and takes its sockets. It serves on
    /// meanwhile.
    ///
    /// # Errors
    /// Nobody serves the site, or it refuses.
    pub async fn ask(config: &Config, handed: &mut HandedSockets) -> anyhow::Result<Self> {
        let mut stream = door::knock(&config.data_dir()).await.map_err(|error| {
            anyhow::Error::new(error).context(
                "no process serves this site that could be taken over from; start one with: bailiwick serve",
            )
        })?;
        if door::Peer::of_our_user(&stream).is_none() {
            bail!("the process that serves this site is another user's; take over as that user");
        }
        let hello = FromSuccessor::Hello(Hello {
            oldest: OLDEST,
            newest: VERSION,
            site: config.file.site.clone(),
            gateway: config.file.gateway.name.clone(),
        });
        link::send(&mut stream, &hello).await?;
        match answer(&mut stream, PATIENCE).await? {
            FromPredecessor::Welcome {
                version,
                session,
                sockets: names,
            } if (OLDEST..=VERSION).contains(&version) => {
                let received = tokio::time::timeout(PATIENCE, sockets::receive(&stream, names.len())).await;
                let received = received
                    .context("the running process was too slow to hand its sockets over")?
                    .context("the running process's sockets could not be taken")?;
                for (name, socket) in names.into_iter().zip(received) {
                    let address: ListenAddress = name.address.parse()?;
                    let purpose = name.purpose.as_deref().and_then(Purpose::named);
                    handed.add(&address, purpose, socket, name.has_file);
                }
                handed.follow(&session);
                Ok(Self { stream, version })
            }
            other => bail!("the running process answered what this version does not understand: {other:?}"),
        }
    }

    /// Has it give up log and folder. From here on this process serves, or dies and leaves it to serve.
    ///
    /// # Errors
    /// It refuses, or is gone.
    pub async fn release(&mut self) -> anyhow::Result<()> {
        link::send(&mut self.stream, &FromSuccessor::Release).await?;
        match answer(&mut self.stream, RELEASE).await? {
            FromPredecessor::Released { entries } => {
                tracing::info!(entries, "the running process gave the evidence log up");
                Ok(())
            }
            other => bail!("the running process answered what this version does not understand: {other:?}"),
        }
    }

    /// Tells it that this process serves, and follows its last connections from then on. Returns once it
    /// takes no more of them. Where it is gone, whatever it still had is lost with it, as in a crash.
    pub async fn follow(mut self, session: &str, gateways: Arc<HouseGateways>) -> Arc<Follower> {
        let serving = FromSuccessor::Serving {
            session: gateways
                .gateway()
                .map(proxy::Gateway::session)
                .unwrap_or_default(),
        };
        // Where it is gone, following it ends at once.
        let _ = link::send(&mut self.stream, &serving).await;
        let link = Link::over(self.stream);
        let (reached, stage) = watch::channel(Stage::Serving);
        let follower = Arc::new(Follower {
            mouth: link.mouth(),
            asked: Mutex::default(),
            next: AtomicU64::new(0),
            live: AtomicU64::new(0),
            stage,
            version: self.version,
            told: tokio::sync::Mutex::default(),
        });
        let (own, session) = (Arc::clone(&follower), session.to_owned());
        tokio::spawn(async move {
            listen(&own, link, &session, &gateways, &reached).await;
            own.asked.lock().clear();
            let _ = reached.send(Stage::Gone);
        });
        let _ = tokio::time::timeout(PATIENCE, follower.reached(Stage::Retired)).await;
        follower
    }
}

async fn answer(stream: &mut UnixStream, patience: Duration) -> anyhow::Result<FromPredecessor> {
    let answer = tokio::time::timeout(patience, link::receive(stream)).await;
    let answer = answer.context("the running process did not answer in time; it goes on as before")?;
    match answer.context("the running process broke off; it goes on as before")? {
        Some(FromPredecessor::Refused { why }) => Err(Refused {
            code: "take_over_refused".to_owned(),
            message: format!(
                "the running process refuses to be taken over from, and goes on as before: {why}"
            ),
        }
        .into()),
        Some(answer) => Ok(answer),
        None => bail!("the running process broke off; look into what it printed"),
    }
}

/// Writes down what the predecessor says until it has nothing more to say, or is gone.
async fn listen(
    follower: &Follower,
    mut link: Link<FromSuccessor, FromPredecessor>,
    session: &str,
    gateways: &HouseGateways,
    reached: &watch::Sender<Stage>,
) {
    let Some(gateway) = gateways.gateway() else {
        return;
    };
    let mut waiting: VecDeque<(u64, BoxFuture<'static, Result<(), EvidenceUnavailable>>)> = VecDeque::new();
    let mut has_finished = false;
    loop {
        let next_written = async {
            match waiting.front_mut() {
                Some((number, written)) => (*number, written.await),
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            (number, written) = next_written => {
                waiting.pop_front();
                link.say(FromSuccessor::Confirmed { number, is_written: written.is_ok() });
                continue;
            }
            heard = link.hear() => heard,
        };
        match heard {
            Some(FromPredecessor::Event { number, entry }) => {
                let event = Event::from_entry(entry.as_bytes()).unwrap_or_else(|error| {
                    tracing::error!(%error, "the process before this one forwarded what is no event");
                    gap(
                        gateway,
                        "an event of the process before this one could not be read",
                        Some(1),
                    )
                });
                waiting.push_back((number, gateway.recorder().record_noting(&event).boxed()));
            }
            Some(FromPredecessor::Live { connections }) => {
                let _ = reached.send(Stage::Retired);
                follower.live.store(connections, Ordering::Relaxed);
                gateway.predecessor(connections);
            }
            Some(FromPredecessor::Cut { id, connections }) => {
                if let Some(asked) = follower.asked.lock().remove(&id) {
                    let _ = asked.send(connections);
                }
            }
            Some(FromPredecessor::InForce { id }) => {
                if let Some(asked) = follower.asked.lock().remove(&id) {
                    let _ = asked.send(0);
                }
            }
            Some(FromPredecessor::Finished) => {
                has_finished = true;
                break;
            }
            Some(other) => tracing::warn!(?other, "the process before this one says what it should not"),
            None => break,
        }
    }
    follower.live.store(0, Ordering::Relaxed);
    gateway.predecessor(0);
    if has_finished {
        tracing::info!("the process before this one has ended in good order");
        return;
    }
    tracing::error!(
        "the process before this one ended before its connections did; their ends are not on record"
    );
    let mut cut_short = gap(
        gateway,
        "the process before this one ended without stopping, and the ends of its connections are not on record",
        None,
    );
    cut_short.scope = Some(session.to_owned());
    gateway.record(cut_short);
}

fn gap(gateway: &proxy::Gateway, cause: &str, count: Option<u64>) -> Event {
    let mut gap = Event::new(EventKind::Gap, clock::now(), gateway.recorder().gateway());
    gap.cause = Some(cause.to_owned());
    gap.count = count;
    gap
}

impl Follower {
    /// Connections that the predecessor still holds.
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Tells it that there is a new revocation list.
    pub fn tell_list(&self) {
        let _ = self.mouth.send(FromSuccessor::List);
    }

    /// Has it cut its connections in `scope`, and says how many those were once they are closed.
    pub async fn cut(&self, scope: &KillScope) -> u64 {
        let scope = Scope::from(scope);
        self.ask(|id| FromSuccessor::Cut { id, scope }).await
    }

    /// Has it end what a run still has there.
    pub async fn end_run(&self, run_id: RunId) -> u64 {
        self.ask(|id| FromSuccessor::EndRun { id, run_id }).await
    }

    /// Tells it what `rulings` are made of by now besides the list, as far as it was not told, and returns
    /// once that is in force there. One that is too old to hear of it rules as it did.
    pub async fn tell_facts(&self, rulings: &HouseRulings) {
        if self.version < TELLS_FACTS {
            return;
        }
        let mut told = self.told.lock().await;
        let Some(facts) = rulings.facts() else {
            return;
        };
        let changed = |(digest, known): (&ArtifactDigest, &control::gateways::ArtifactFacts)| {
            (told.tiers.get(digest) != Some(&known.tier)).then_some((*digest, known.tier))
        };
        let tiers: Vec<_> = facts.artifacts.iter().filter_map(changed).collect();
        let (policy, policy_digest) = (&facts.policy.policy, facts.policy.digest);
        let trust = facts.trust.version;
        if tiers.is_empty() && told.policy == Some(policy_digest) && told.trust == Some(trust) {
            return;
        }
        // The policy goes with each part, and alone where no tier changed.
        let parts = tiers.len().div_ceil(TIERS_AT_ONCE).max(1);
        for part in 0..parts {
            let some = tiers.iter().skip(part * TIERS_AT_ONCE).take(TIERS_AT_ONCE);
            let (policy, tiers) = (Box::new(policy.clone()), some.copied().collect());
            self.ask(|id| FromSuccessor::Facts {
                id,
                policy,
                policy_digest,
                tiers,
            })
            .await;
        }
        told.policy = Some(policy_digest);
        told.trust = Some(trust);
        told.tiers.extend(tiers);
    }

    async fn ask(&self, question: impl FnOnce(u64) -> FromSuccessor) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.asked.lock().insert(id, answer);
        if *self.stage.borrow() == Stage::Gone {
            // Nobody answers, and nobody holds anything.
            self.asked.lock().remove(&id);
            return 0;
        }
        let _ = self.mouth.send(question(id));
        // A process that is gone has no connections.
        tokio::time::timeout(CUTTING, answered)
            .await
            .map_or(0, Result::unwrap_or_default)
    }

    /// Waits until it has no connections any more; after `patience` it is told to end them.
    pub async fn outlive(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.gone()).await.is_err() {
            let _ = self.mouth.send(FromSuccessor::Leave);
            let _ = tokio::time::timeout(PATIENCE, self.gone()).await;
        }
    }

    /// Waits until it is gone.
    pub async fn gone(&self) {
        self.reached(Stage::Gone).await;
    }

    async fn reached(&self, stage: Stage) {
        // Whoever says so is gone itself where this fails.
        let _ = self.stage.clone().wait_for(|now| *now >= stage).await;
    }
}

#[cfg(test)]
mod tests {
    use base::{Policy, Timestamp};
    use control::gateways::Facts;
    use control::policy::PolicyInForce;
    use seal::SigningKey;
    use seal::trust::TrustRoot;

    use super::*;

    fn rulings(version: u64) -> HouseRulings {
        let policy = Policy {
            version,
            default_tier: Tier::Low,
            tiers: std::collections::BTreeMap::new(),
            exceptions: Vec::new(),
        };
        let key = SigningKey::ed25519_from_seed(&[9; 32]).public();
        let rulings = HouseRulings::default();
        rulings.tell_facts(Arc::new(Facts {
            policy: PolicyInForce {
                policy,
                digest: Sha256Digest::of(&version.to_be_bytes()),
                signed_by: None,
                signature: None,
                exceptions: Vec::new(),
            },
            trust: TrustRoot::first(vec![key], 1, Timestamp::from_unix_us(1)),
            artifacts: HashMap::new(),
            ended_runs: std::collections::BTreeSet::new(),
            registered_runs: Vec::new(),
        }));
        rulings
    }

    /// A follower of a predecessor that speaks `version`, what it says, and its stage.
    fn follower(
        version: u32,
    ) -> (
        Arc<Follower>,
        mpsc::UnboundedReceiver<FromSuccessor>,
        watch::Sender<Stage>,
    ) {
        let (mouth, said) = mpsc::unbounded_channel();
        let (reached, stage) = watch::channel(Stage::Retired);
        let follower = Follower {
            mouth,
            asked: Mutex::default(),
            next: AtomicU64::new(0),
            live: AtomicU64::new(0),
            stage,
            version,
            told: tokio::sync::Mutex::default(),
        };
        (Arc::new(follower), said, reached)
    }

    #[tokio::test]
    async fn what_is_ruled_by_is_told_once_and_again_when_it_changed() {
        let (follower, mut said, _stage) = follower(TELLS_FACTS);
        for version in [1, 2] {
            let own = Arc::clone(&follower);
            let telling = tokio::spawn(async move { own.tell_facts(&rulings(version)).await });
            let Some(FromSuccessor::Facts { id, policy, .. }) = said.recv().await else {
                panic!("something else was said");
            };
            assert_eq!(policy.version, version);
            let asked = follower.asked.lock().remove(&id);
            asked.expect("somebody waits").send(0).expect("still waits");
            telling.await.expect("told");
            follower.tell_facts(&rulings(version)).await;
            assert!(said.try_recv().is_err(), "what is in force is not told again");
        }
    }

    #[tokio::test]
    async fn one_that_is_too_old_is_told_nothing_that_it_would_not_understand() {
        let (follower, mut said, _stage) = follower(OLDEST);
        follower.tell_facts(&rulings(1)).await;
        assert!(said.try_recv().is_err());
        follower.tell_list();
        assert_eq!(said.try_recv(), Ok(FromSuccessor::List));
    }
}
