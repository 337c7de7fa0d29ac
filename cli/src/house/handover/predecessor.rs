//! The process before this one, as the one that takes over from it sees it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base::RunId;
use evidence::{Event, EventKind};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use proxy::{EvidenceUnavailable, HandedSockets, KillScope, ListenAddress};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::link::{self, Link, PATIENCE};
use super::message::{FromPredecessor, FromSuccessor, Hello, Scope, VERSION};
use super::{door, sockets};
use crate::clock;
use crate::config::Config;
use crate::exit::Refused;
use crate::house::gateways::HouseGateways;

/// How long the predecessor may take to stop what only one process may do: requests under way are
/// answered, letters under way are sent.
const RELEASE: Duration = Duration::from_secs(120);
/// How long it may take to cut connections.
const CUTTING: Duration = Duration::from_secs(30);

/// A process that agreed to be taken over from, and still serves.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
}

/// A predecessor whose last connections this process follows: their events go into its log.
#[derive(Debug)]
pub struct Follower {
    mouth: mpsc::UnboundedSender<FromSuccessor>,
    asked: Mutex<HashMap<u64, oneshot::Sender<u64>>>,
    next: AtomicU64,
    live: AtomicU64,
    stage: watch::Receiver<Stage>,
}

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
        if door::process_of_our_user(&stream).is_none() {
            bail!("the process that serves this site is another user's; take over as that user");
        }
        let hello = FromSuccessor::Hello(Hello {
            oldest: VERSION,
            newest: VERSION,
            site: config.file.site.clone(),
            gateway: config.file.gateway.name.clone(),
        });
        link::send(&mut stream, &hello).await?;
        match answer(&mut stream, PATIENCE).await? {
            FromPredecessor::Welcome {
                version: VERSION,
                session,
                sockets: names,
            } => {
                let received = tokio::time::timeout(PATIENCE, sockets::receive(&stream, names.len())).await;
                let received = received
                    .context("the running process was too slow to hand its sockets over")?
                    .context("the running process's sockets could not be taken")?;
                for (name, socket) in names.into_iter().zip(received) {
                    let address: ListenAddress = name.address.parse()?;
                    handed.add(&address, socket, name.has_file);
                }
                handed.follow(&session);
                Ok(Self { stream })
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
