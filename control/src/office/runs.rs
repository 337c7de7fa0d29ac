//! Runs: registered before they start, so that the gateway never has to guess whose traffic it sees.

use std::collections::HashSet;
use std::net::IpAddr;

use base::{RunId, Timestamp};
use seal::certificate::{RunRequest, issue_run};
use seal::token::{RunClaims, mint};
use seal::trust::Role;
use seal::{PublicKey, RunUri};

use super::names::check_who;
use super::{Office, OfficeError, authorise, new_run_id};
use crate::api::types::{
    EndRunRequest, RunList, RunQuery, RunStarted, RunView, SafeModeRequest, StartRunRequest, StatusView,
};
use crate::gateways::RegisteredRun;
use crate::store::{RunFilter, RunRecord};
use crate::words::{Action, ListenerKind};

/// The longest that a token may be good for: thirty days.
const MAX_RUN_S: u32 = 30 * 24 * 3600;
/// Addresses that one run may have.
const MAX_SOURCES: usize = 16;
/// Runs listed at most.
const MAX_LISTED: u32 = 10_000;

impl Office {
    /// Registers a run, if the artifact may be loaded at this moment, and mints its token.
    ///
    /// # Errors
    /// [`OfficeError::Gate`] or [`OfficeError::State`] where it may not; [`OfficeError::Unknown`]
    /// where it was never admitted.
    pub async fn start_run(&self, request: StartRunRequest) -> Result<RunStarted, OfficeError> {
        check_who(&request.who)?;
        let valid_for_s = request.valid_for_s.unwrap_or(self.inner.settings.run_valid_for_s);
        if !(1..=MAX_RUN_S).contains(&valid_for_s) {
            return Err(OfficeError::Request {
                what: format!("a run's token is valid for 1 to {MAX_RUN_S} seconds, not {valid_for_s}"),
            });
        }
        let client_key = request.client_key.as_deref().map(client_key).transpose()?;
        let (kinds, sources) = ways_in(&request)?;
        let data_class = request.data_class.as_deref().map(data_class).transpose()?;
        self.try_renew_list().await;
        let record = self.known_artifact(request.artifact_digest).await?;
        let (admission, tier) = self.ask_again(&record).await?;
        if !record.state.may_run() {
            return Err(OfficeError::State { state: record.state });
        }
        let now = self.now();
        authorise(&self.trust_root().await?, &self.inner.keys.run, Role::Run, now)?;
        let claims = RunClaims {
            run_id: new_run_id(now)?,
            plugin_id: admission.signed.manifest.plugin_id,
            artifact_digest: record.artifact_digest,
            // Tokens count in whole seconds; the registry says the same.
            expires: Timestamp::from_unix_us(now.unix_s() * 1_000_000).plus_seconds(i64::from(valid_for_s)),
        };
        let token = mint(&claims, &self.inner.keys.run)?;
        let client_certificate = client_key
            .map(|key| self.certify(&claims, &key, now))
            .transpose()?;
        let mut run = RunRecord {
            run_id: claims.run_id,
            artifact_digest: claims.artifact_digest,
            plugin_id: claims.plugin_id,
            started_at: now,
            expires_at: claims.expires,
            ended_at: None,
            exit_status: None,
            started_by: request.who,
            listeners: Vec::new(),
            socket_uid: request.uid,
            sources,
            data_class,
        };
        let shared_sources = self.shared(&run.sources).await?;
        let office = self.clone();
        let run = self
            .to_the_end(async move {
                run.listeners = office.open_run(&run, kinds).await?;
                match office.inner.store.start_run(run.clone()).await {
                    Ok(()) => Ok(run),
                    Err(error) => {
                        // Nobody will ever end what the registry does not know.
                        office.inner.gateways.end_run(run.run_id).await;
                        Err(error.into())
                    }
                }
            })
            .await?;
        Ok(RunStarted {
            run_id: run.run_id,
            plugin_id: run.plugin_id,
            artifact_digest: run.artifact_digest,
            token,
            client_certificate,
            expires_at: run.expires_at,
            tier,
            listeners: run.listeners,
            shared_sources,
            gateways: self.gateways().await,
        })
    }

    /// The client certificate of a run for a key that the run holds.
    fn certify(&self, claims: &RunClaims, key: &PublicKey, now: Timestamp) -> Result<String, OfficeError> {
        let site = &self.inner.settings.site;
        let run = RunUri {
            site: site.parse().map_err(|error| OfficeError::Request {
                what: format!("the site's name {site:?} cannot stand in a certificate: {error}"),
            })?,
            plugin_id: claims.plugin_id.clone(),
            artifact_digest: claims.artifact_digest,
            run_id: claims.run_id,
        };
        let request = RunRequest {
            run: &run,
            key,
            expires: claims.expires,
        };
        Ok(issue_run(&request, &self.inner.keys.run, now)?)
    }

    /// Tells the gateway of a run that it can know without its token, and where its listeners are.
    async fn open_run(&self, run: &RunRecord, kinds: Vec<ListenerKind>) -> Result<Vec<String>, OfficeError> {
        if kinds.is_empty() && run.sources.is_empty() {
            return Ok(Vec::new());
        }
        let registered = RegisteredRun {
            run_id: run.run_id,
            plugin_id: run.plugin_id.clone(),
            artifact_digest: run.artifact_digest,
            expires_at: run.expires_at,
            listeners: Vec::new(),
            socket_uid: run.socket_uid,
            sources: run.sources.clone(),
        };
        Ok(self.inner.gateways.open_run(registered, kinds).await?)
    }

    /// Those of `sources` that some live run has already.
    async fn shared(&self, sources: &[IpAddr]) -> Result<Vec<IpAddr>, OfficeError> {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let taken: HashSet<_> = self
            .live_runs()
            .await?
            .into_iter()
            .flat_map(|run| run.sources)
            .collect();
        Ok(sources.iter().copied().filter(|ip| taken.contains(ip)).collect())
    }

    /// Every run that is neither over nor expired.
    pub(super) async fn live_runs(&self) -> Result<Vec<RunRecord>, OfficeError> {
        let filter = RunFilter {
            live_from: Some(self.now()),
            ..RunFilter::default()
        };
        Ok(self.inner.store.runs(filter).await?)
    }

    /// Ends a run: it is refused from now on whatever proves it, its listeners are closed, and what it
    /// still has open is cut after the gateway's grace.
    ///
    /// # Errors
    /// [`OfficeError::Unknown`] where there is no such run.
    pub async fn end_run(&self, run_id: RunId, request: EndRunRequest) -> Result<RunView, OfficeError> {
        let office = self.clone();
        self.to_the_end(async move {
            let inner = &office.inner;
            let ended = inner
                .store
                .end_run(run_id, office.now(), request.exit_status)
                .await?;
            let record = ended.ok_or_else(|| OfficeError::Unknown {
                what: "run",
                name: run_id.to_string(),
                command: "runs",
            })?;
            inner.gateways.end_run(run_id).await;
            Ok(RunView::new(&record, office.now()))
        })
        .await
    }

    /// Runs, the latest first.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn runs(&self, query: RunQuery) -> Result<RunList, OfficeError> {
        let now = self.now();
        let filter = RunFilter {
            plugin_id: query.plugin_id,
            live_from: query.live.then_some(now),
            limit: Some(query.limit.unwrap_or(100).min(MAX_LISTED)),
            ..RunFilter::default()
        };
        let runs = self.inner.store.runs(filter).await?;
        Ok(RunList {
            runs: runs.iter().map(|run| RunView::new(run, now)).collect(),
        })
    }

    /// Makes the load gate refuse everything, or work as usual again. What runs goes on.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn set_safe_mode(&self, request: SafeModeRequest) -> Result<StatusView, OfficeError> {
        check_who(&request.who)?;
        super::names::check_note(request.note.as_deref())?;
        let (value, action) = match request.on {
            true => ("on", Action::SafeModeOn),
            false => ("off", Action::SafeModeOff),
        };
        if self.safe_mode().await? != request.on {
            let act = super::act(self.now(), &request.who, action, "*", request.note);
            self.inner
                .store
                .set_setting(super::SAFE_MODE, value.to_owned(), Some(act))
                .await?;
        }
        self.status().await
    }
}

/// The class of data that a run is stamped with, in its one spelling.
fn data_class(text: &str) -> Result<String, OfficeError> {
    let class: manifests::DataClass = text.parse().map_err(|error| OfficeError::Request {
        what: format!("data_class: {error}"),
    })?;
    Ok(class.to_string())
}

/// The key that a run asks a certificate for.
fn client_key(pem: &str) -> Result<PublicKey, OfficeError> {
    PublicKey::from_pem(pem).map_err(|error| OfficeError::Request {
        what: format!("the client key is {error}"),
    })
}

/// The listeners and sources that a request asks for, each once and each possible.
fn ways_in(request: &StartRunRequest) -> Result<(Vec<ListenerKind>, Vec<IpAddr>), OfficeError> {
    let refuse = |what: String| Err(OfficeError::Request { what });
    let mut kinds = Vec::new();
    for kind in &request.listeners {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    if request.uid.is_some() && !kinds.contains(&ListenerKind::Unix) {
        return refuse("a uid says who may open the run's Unix socket; ask for that listener too".to_owned());
    }
    if request.sources.len() > MAX_SOURCES {
        return refuse(format!("a run has at most {MAX_SOURCES} sources"));
    }
    let mut sources = Vec::new();
    for source in &request.sources {
        let source = source.to_canonical();
        let is_broadcast = matches!(source, IpAddr::V4(v4) if v4.is_broadcast());
        if source.is_unspecified() || source.is_multicast() || is_broadcast {
            return refuse(format!(
                "nobody connects from {source}; name the address of one machine"
            ));
        }
        if source.is_loopback() && !request.loopback_sources {
            return refuse(format!(
                "{source} is every process of the gateway's own machine; say that this is meant with --loopback-source"
            ));
        }
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    Ok((kinds, sources))
}
