//! A retired process: its successor serves, and it has its last connections and nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use evidence::Draft;
use parking_lot::Mutex;
use proxy::{EvidenceUnavailable, Forwarding, Gateway, KillScope, OnFailure};
use seal::trust::TrustRoot;
use tokio::sync::mpsc;

use super::door::{self, Welcomed};
use super::link::{self, Link};
use super::message::{FromPredecessor, FromSuccessor};
use super::recovery;
use crate::config::Config;
use crate::house::gateways::HouseGateways;
use crate::{list_file, service, trust_file};

/// Between two looks at how many connections stand, and at the list once nobody tells of a new one.
const LOOK: Duration = Duration::from_millis(200);

/// A process that another one took over from.
pub struct Retired {
    config: Config,
    gateways: Arc<HouseGateways>,
    /// Followed as it changes.
    trust: Mutex<TrustRoot>,
    link: Link<FromPredecessor, FromSuccessor>,
    forwarding: Forwarding,
    /// How many entries the log had when it was given up.
    lent_at: u64,
    /// How long tunnels may go on.
    drain: Duration,
}

/// How long a successor may take to open everything, from the moment it may.
const OPENING: Duration = Duration::from_secs(60);

impl HouseGateways {
    /// Gives the evidence log up to a process that waits for it and has been given everything else.
    /// `None` where that process did not come to serve, or the log could not be given up: it is ours as
    /// before then.
    ///
    /// # Errors
    /// The log was given up and cannot be had back.
    pub(in crate::house) async fn give_log_to(
        self: &Arc<Self>,
        welcomed: Welcomed,
        config: &Config,
        trust: TrustRoot,
        drain: Duration,
    ) -> anyhow::Result<Option<Retired>> {
        let Welcomed { mut stream, process } = welcomed;
        let Some(gateway) = self.gateway() else {
            return Ok(None);
        };
        let (entries, forwarding) = match gateway.recorder().lend_log().await {
            Ok(lent) => lent,
            Err(error) => {
                door::refuse(stream, &control::error_line(&error)).await;
                return Ok(None);
            }
        };
        let agree = async {
            link::send(&mut stream, &FromPredecessor::Released { entries }).await?;
            link::receive(&mut stream).await
        };
        let Ok(Ok(Some(FromSuccessor::Serving { .. }))) = tokio::time::timeout(OPENING, agree).await else {
            // Closed first, so that a process which is merely slow finds out that it came too late.
            drop(stream);
            recovery::take_log_back(config, gateway, entries).await?;
            return Ok(None);
        };
        gateway.hand_over();
        if let Some(process) = process {
            service::follow(process);
        }
        tracing::info!(
            process,
            connections = gateway.live(),
            "another process serves; the connections that stand here are drained"
        );
        Ok(Some(Retired {
            config: config.clone(),
            gateways: Arc::clone(self),
            trust: Mutex::new(trust),
            link: Link::over(stream),
            forwarding,
            lent_at: entries,
            drain,
        }))
    }
}

impl Retired {
    /// Goes on until the last connection has ended or the drain's deadline has come, and every event is
    /// on record.
    ///
    /// # Errors
    /// The successor died and the log could not be taken back: what happened since is not on record.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let gateways = Arc::clone(&self.gateways);
        let Some(gateway) = gateways.gateway() else {
            return Ok(());
        };
        let mut ended = self.end_after(self.drain);
        let mut looks = tokio::time::interval(LOOK);
        let mut told = None;
        let mut outcome = Ok(());
        let mut is_alone = false;
        loop {
            tokio::select! {
                // Its panic was reported where it happened.
                _ = &mut ended => break,
                Some(forwarded) = self.forwarding.recv(), if !is_alone => {
                    self.link.say(FromPredecessor::Event {
                        number: forwarded.number,
                        entry: entry_of(&forwarded.event),
                    });
                }
                heard = self.link.hear(), if !is_alone => match heard {
                    Some(message) => self.handle(gateway, message).await,
                    None => {
                        is_alone = true;
                        outcome = self.go_on_alone(gateway).await;
                    }
                },
                _ = looks.tick() => {
                    let live = gateway.live() as u64;
                    if is_alone {
                        self.look_at_list(gateway).await;
                    } else if told.replace(live) != Some(live) {
                        self.link.say(FromPredecessor::Live { connections: live });
                    }
                }
            }
        }
        if !is_alone {
            self.link.say(FromPredecessor::Finished);
            self.link.finish().await;
        }
        outcome
    }

    async fn handle(&self, gateway: &Gateway, message: FromSuccessor) {
        match message {
            FromSuccessor::Confirmed { number, is_written } => {
                let answer = if is_written {
                    Ok(())
                } else {
                    Err(EvidenceUnavailable)
                };
                gateway.recorder().confirm_forwarded(number, answer);
            }
            FromSuccessor::List => drop(self.read_list().await),
            FromSuccessor::Cut { id, scope } => {
                let (gateways, mouth) = (Arc::clone(&self.gateways), self.link.mouth());
                tokio::spawn(async move { cut(&gateways, &mouth, id, &scope.into()).await });
            }
            FromSuccessor::EndRun { id, run_id } => {
                let (gateways, mouth) = (Arc::clone(&self.gateways), self.link.mouth());
                self.gateways.forget_run(run_id);
                tokio::spawn(async move {
                    if let Some(gateway) = gateways.gateway() {
                        let connections = gateway.end_run(run_id).await.tunnels;
                        let _ = mouth.send(FromPredecessor::Cut { id, connections });
                    }
                });
            }
            FromSuccessor::Facts {
                id,
                policy,
                policy_digest,
                tiers,
            } => {
                self.gateways.rulings.amend(*policy, policy_digest, &tiers);
                self.follow_trust().await;
                self.link.say(FromPredecessor::InForce { id });
            }
            FromSuccessor::Leave => drop(self.end_after(Duration::ZERO)),
            FromSuccessor::Hello(_) | FromSuccessor::Release | FromSuccessor::Serving { .. } => {
                tracing::warn!(?message, "the successor says what it should not");
            }
        }
    }

    /// Ends the last connections at the latest after `drain`; of several deadlines the earliest holds.
    fn end_after(&self, drain: Duration) -> tokio::task::JoinHandle<()> {
        let gateways = Arc::clone(&self.gateways);
        tokio::spawn(async move {
            if let Some(gateway) = gateways.gateway() {
                gateway.shutdown(drain).await;
            }
        })
    }

    /// The successor is gone without a word. The log is ours again, or nothing can be recorded.
    async fn go_on_alone(&self, gateway: &Gateway) -> anyhow::Result<()> {
        tracing::error!("the process that took over is gone");
        let Err(error) = recovery::take_log_back(&self.config, gateway, self.lent_at).await else {
            return Ok(());
        };
        // Whoever has the log now begins with a `start` that says what this leaves behind.
        gateway.recorder().forsake_log();
        if gateway.recorder().on_failure() == OnFailure::Refuse {
            drop(self.end_after(Duration::ZERO));
        }
        Err(error.context(
            "the process that took over is gone and the evidence log could not be taken back; what became of \
             the last connections is not on record",
        ))
    }

    /// Reads the trust root in the data folder: runs prove themselves by the keys that are in it by now.
    async fn follow_trust(&self) {
        let (known, root) = (self.trust.lock().clone(), self.config.trust_root_path());
        let read = tokio::task::spawn_blocking(move || trust_file::follow(&root, &known)).await;
        match read {
            Ok(Ok(trust)) => {
                self.gateways.tell_run_keys(&trust);
                *self.trust.lock() = trust;
            }
            Ok(Err(error)) => {
                tracing::error!(error = %format!("{error:#}"), "the new trust root cannot be used; the last one stays in force");
            }
            Err(_) => {}
        }
    }

    /// Reads the list in the data folder and enforces it, if it is a newer one.
    async fn read_list(&self) -> Option<Arc<crl::List>> {
        let head = self.config.data_dir().join("crl").join(crl::HEAD_FILE);
        let (known, site) = (self.trust.lock().clone(), self.config.file.site.clone());
        let root = self.config.trust_root_path();
        let read = move || {
            // The key that signs lists may be a newer one than this process began with.
            let trust = trust_file::follow(&root, &known)?;
            let accepted = list_file::accept(&head, &trust, Some(&site), None)?;
            Ok((trust, accepted))
        };
        let read: Result<anyhow::Result<_>, _> = tokio::task::spawn_blocking(read).await;
        let list = match read {
            Ok(Ok((trust, accepted))) => {
                *self.trust.lock() = trust;
                Arc::new(accepted.into_list())
            }
            Ok(Err(error)) => {
                tracing::error!(error = %format!("{error:#}"), "the new revocation list cannot be used; the last one stays in force");
                return None;
            }
            Err(_) => return None,
        };
        if list.crl_number() <= self.gateways.rulings.crl_number() {
            return None;
        }
        self.gateways.rulings.tell_list(&list);
        Some(list)
    }

    /// Without a successor to tell of it, a new list is looked for, and cuts what it stops.
    async fn look_at_list(&self, gateway: &Gateway) {
        if self.read_list().await.is_none() {
            return;
        }
        let stopped: HashSet<_> = gateway
            .live_identities()
            .into_iter()
            .filter(|identity| self.gateways.rulings.stops(identity))
            .map(|identity| identity.artifact_digest)
            .collect();
        for artifact in stopped {
            gateway.kill(KillScope::Artifact(artifact)).await;
        }
    }
}

async fn cut(
    gateways: &HouseGateways,
    mouth: &mpsc::UnboundedSender<FromPredecessor>,
    id: u64,
    scope: &KillScope,
) {
    if let Some(gateway) = gateways.gateway() {
        let connections = gateway.cut_for_another(scope).await.tunnels;
        let _ = mouth.send(FromPredecessor::Cut { id, connections });
    }
}

/// An event as it goes over.
fn entry_of(draft: &Draft) -> String {
    let entry = draft.event(0).and_then(|event| event.to_entry());
    // What was encoded once can be encoded again, as text.
    entry
        .ok()
        .and_then(|entry| String::from_utf8(entry).ok())
        .unwrap_or_default()
}
