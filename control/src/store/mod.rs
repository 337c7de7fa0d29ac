//! The registry: what this site knows about plugins, artifacts, runs, reports, letters and acts.
//!
//! [`Store`] is a list of operations, each of which happens as a whole or not at all. An engine
//! implements the list; SQLite is the one there is, and one that several control planes can share
//! would be another variant behind the same methods. No SQL leaves an engine's own folder.
//!
//! Gateways never come here. They carry on with signed tokens and signed lists.

mod records;
mod sqlite;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use base::{ArtifactDigest, ArtifactState, PluginId, RunId, Sha256Digest, Tier, Timestamp};

use crate::words::{MailState, WaitingState};

pub use records::{
    Act, AdmissionRecord, AppealRecord, AppealStep, ArtifactNames, ArtifactRecord, ComponentRecord,
    ContactRecord, Counts, HookRecord, LeasedMail, Line, MailFate, MailRecord, NewAdmission, NewAppeal,
    NewMail, NewRemediation, NewWaitingAct, NightRecord, PluginRecord, RemediationRecord, ReportRecord,
    RunFilter, RunRecord, WaitingAct, WaitingDecision, WeekRecord,
};

/// Why the store did not do what it was asked to. Whatever it was, nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened at all.
    #[error("cannot open the registry {path}; check that the folder exists and is yours")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        source: EngineError,
    },
    /// A newer Bailiwick made this database.
    #[error(
        "the registry {path} has migration {number}, which this bailiwick does not know; use the newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The unknown migration.
        number: u32,
    },
    /// A migration that was applied reads differently here.
    #[error(
        "migration {number} of the registry {path} was applied in another wording; use the bailiwick that made it"
    )]
    EditedHistory {
        /// The file.
        path: PathBuf,
        /// The migration concerned.
        number: u32,
    },
    /// The disk is full. Free space and repeat.
    #[error(
        "could not {operation}: the disk with the registry {path} is full; nothing was written, free some space and repeat"
    )]
    Full {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Somebody else is writing. Repeat.
    #[error("could not {operation}: another process is writing to the registry {path}; repeat in a moment")]
    Busy {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The database refused or failed otherwise.
    #[error("could not {operation} in the registry {path}")]
    Engine {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the engine said.
        source: EngineError,
    },
}

/// What an engine said, without saying which engine.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EngineError(Box<dyn std::error::Error + Send + Sync>);

/// The registry of one site.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(sqlite::Sqlite),
}

impl Store {
    /// Opens the SQLite registry at `path`, creates it if it is not there, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Newer`], [`StoreError::EditedHistory`], or a failure while
    /// migrating.
    pub fn open_sqlite(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        Ok(Self {
            engine: Engine::Sqlite(sqlite::Sqlite::open(path, now)?),
        })
    }

    /// Lets the database grow to `pages` pages and no further, as a full disk would.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) {
        let Engine::Sqlite(engine) = &self.engine;
        engine.limit_pages(pages);
    }

    /// Runs SQL that no operation would.
    #[cfg(test)]
    pub(crate) fn tamper(&self, sql: &str) -> Result<(), String> {
        let Engine::Sqlite(engine) = &self.engine;
        engine.tamper(sql)
    }
}

/// Declares the operations: for each, an async method that hands the work to the engine's function
/// of the same name, off the async threads and inside one transaction.
macro_rules! operations {
    ($( $(#[$doc:meta])* $access:ident $what:literal $name:ident( $($arg:ident : $ty:ty),* ) -> $out:ty; )*) => {
        impl Store {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// [`StoreError`]; nothing was written.
                pub async fn $name(&self, $($arg: $ty),*) -> Result<$out, StoreError> {
                    match &self.engine {
                        Engine::Sqlite(engine) => {
                            engine.$access($what, move |db| sqlite::operations::$name(db, $($arg),*)).await
                        }
                    }
                }
            )*
        }
    };
}

operations! {
    /// One setting.
    read "read a setting" setting(name: &'static str) -> Option<String>;
    /// Changes one setting and says who did it.
    write "change a setting" set_setting(name: &'static str, value: String, act: Option<Act>) -> ();
    /// Changes one setting and says who did it; `false`, and nothing is said, where it has that value.
    write "change a setting" change_setting(name: &'static str, value: String, act: Act) -> bool;

    /// Registers plugin, artifact and passage through the gate in one go, with their acts.
    write "record an admission" admit(new: NewAdmission, acts: Vec<Act>) -> ();
    /// All plugins, by name.
    read "list plugins" plugins() -> Vec<PluginRecord>;
    /// One plugin.
    read "look up a plugin" plugin(plugin_id: PluginId) -> Option<PluginRecord>;
    /// Puts a plugin into a tier; `false` where there is no such plugin.
    write "set a tier" set_tier(plugin_id: PluginId, tier: Tier, act: Act) -> bool;
    /// All artifacts, or one plugin's; the latest first.
    read "list artifacts" artifacts(plugin_id: Option<PluginId>) -> Vec<ArtifactRecord>;
    /// One artifact.
    read "look up an artifact" artifact(artifact_digest: ArtifactDigest) -> Option<ArtifactRecord>;
    /// What a list could name, of every artifact.
    read "list artifacts" artifact_names() -> Vec<ArtifactNames>;
    /// Every passage of one artifact through the gate, the earliest first: which manifest held when.
    read "list admissions" admissions(artifact_digest: ArtifactDigest) -> Vec<AdmissionRecord>;

    /// Registers a run.
    write "register a run" start_run(run: RunRecord) -> ();
    /// Ends a run; the first end counts. The record as it then stands, or `None`.
    write "end a run" end_run(run_id: RunId, at: Timestamp, exit_status: Option<i32>) -> Option<RunRecord>;
    /// One run.
    read "look up a run" run(run_id: RunId) -> Option<RunRecord>;
    /// Runs, the latest first.
    read "list runs" runs(filter: RunFilter) -> Vec<RunRecord>;
    /// Runs that ended while their tokens are still valid: what a gateway must be told to refuse.
    read "list ended runs" ended_runs(now: Timestamp) -> Vec<RunId>;
    /// How many distinct plugins run now.
    read "count running plugins" running_plugins(now: Timestamp) -> u64;

    /// Begins a night. One that was scheduled for the same moment and never finished is taken up
    /// again under its number; one that finished gives `None`.
    write "begin a night" begin_night(
        scheduled_for: Option<Timestamp>, from: Timestamp, to: Timestamp, now: Timestamp
    ) -> Option<i64>;
    /// Finishes a night and remembers how far the audit has come, never further back than before.
    write "finish a night" finish_night(
        night_id: i64, now: Timestamp, outcome: String, audited_to: Option<Timestamp>
    ) -> ();
    /// The night that was due at a moment, if it was begun.
    read "look up a night" night_for(scheduled_for: Timestamp) -> Option<NightRecord>;
    /// The latest night by its beginning.
    read "look up the latest night" latest_night() -> Option<NightRecord>;
    /// How far the audit has come.
    read "look up how far the audit has come" last_audited_to() -> Option<Timestamp>;

    /// Registers reports; gives how many were not there already.
    write "record reports" add_reports(reports: Vec<ReportRecord>) -> usize;
    /// Reports, the latest period first; of one plugin, if given.
    read "list reports" reports(plugin_id: Option<PluginId>, limit: u32) -> Vec<ReportRecord>;
    /// Reports about artifacts by week and verdict, from the week of `since` on; the latest week first.
    read "count reports by week" weeks(since: Timestamp) -> Vec<WeekRecord>;
    /// One report.
    read "look up a report" report(report_id: Sha256Digest) -> Option<ReportRecord>;
    /// The reports before: of the same artifact, and of each of `runs`, the latest for an earlier period.
    read "look up the reports before" reports_before(
        plugin_id: PluginId, artifact_digest: ArtifactDigest, runs: Vec<RunId>, from: Timestamp
    ) -> Vec<ReportRecord>;
    /// Reports about the same artifact (and run, or none) for earlier periods, the latest first.
    read "look up the reports before" report_history(
        plugin_id: PluginId, artifact_digest: ArtifactDigest, run_id: Option<RunId>, from: Timestamp, limit: u32
    ) -> Vec<ReportRecord>;

    /// Queues letters; those that are there already stay as they are. How many are new.
    write "queue mail" queue_mails(mails: Vec<NewMail>, now: Timestamp) -> u64;
    /// Takes due letters for `lease_s` seconds into the hands of `postman`: until then no other gets
    /// them.
    write "take due mail" lease_mails(
        now: Timestamp, lease_s: u32, limit: u32, postman: String
    ) -> Vec<LeasedMail>;
    /// Makes every letter due that is in the hands of anybody but `postman`; how many there were. Only
    /// for whoever holds the data folder alone: the others are dead.
    write "free mail of an earlier life" free_mails(now: Timestamp, postman: String) -> u64;
    /// Says how an attempt ended.
    write "record a delivery" settle_mail(mail_id: i64, now: Timestamp, fate: MailFate) -> ();
    /// Letters, the latest first; in one state, if given.
    read "list mail" mails(state: Option<MailState>, limit: u32) -> Vec<MailRecord>;
    /// Puts a dead letter back into the outbox; `false` where there is no such dead letter.
    write "put mail back into the outbox" send_again(mail_id: i64, now: Timestamp, act: Act) -> bool;
    /// When a letter about `topic` was last queued.
    read "look up the last letter about something" last_letter_about(topic: String) -> Option<Timestamp>;
    /// When the next letter is due.
    read "look up the next mail" next_mail_at() -> Option<Timestamp>;

    /// The reports about one artifact and its runs for periods that end at `to`, the latest first.
    read "list reports" reports_to(
        plugin_id: PluginId, artifact_digest: ArtifactDigest, to: Timestamp
    ) -> Vec<ReportRecord>;

    /// Asks for an act to be decided; `false` where the same waits already.
    write "put an act off" ask_to_wait(act: NewWaitingAct, now: Timestamp) -> bool;
    /// Acts that waited or wait, the latest first; in one state, if given.
    read "list waiting acts" waiting_acts(state: Option<WaitingState>, limit: u32) -> Vec<WaitingAct>;
    /// One of them.
    read "look up a waiting act" waiting_act(waiting_id: i64) -> Option<WaitingAct>;
    /// Decides one, with the acts that this is; `false` where it was decided before.
    write "decide a waiting act" decide_waiting_act(
        waiting_id: i64, decision: WaitingDecision, acts: Vec<Act>
    ) -> bool;
    /// Acts whose grace is over, and that nobody rejected.
    read "list acts that are due" due_acts(now: Timestamp) -> Vec<WaitingAct>;
    /// Lets lapse whatever nobody decided in time. How many.
    write "let waiting acts lapse" lapse_waiting_acts(now: Timestamp) -> u64;

    /// Takes a lease for `holder` until `until`, or renews it; `false` while another holds it.
    write "take a lease" take_lease(
        name: &'static str, holder: String, now: Timestamp, until: Timestamp
    ) -> bool;
    /// Gives a lease back, if `holder` has it.
    write "give a lease back" return_lease(name: &'static str, holder: String) -> ();

    /// Puts an artifact that may run into the state `watch`, with its act; `false` where it may not, or
    /// is in that state.
    write "watch an artifact" watch_artifact(artifact_digest: ArtifactDigest, act: Act) -> bool;
    /// What clauses of the policy did since `from`, the earliest first.
    read "list automatic acts" automatic_acts(from: Timestamp) -> Vec<Act>;
    /// Opens an appeal and gives its number; `None` where one about the same finding is open.
    write "open an appeal" open_appeal(new: NewAppeal, now: Timestamp, act: Act) -> Option<i64>;
    /// Goes one step further with an open appeal; `false` where it is not open.
    write "answer an appeal" step_appeal(
        appeal_id: i64, step: AppealStep, now: Timestamp, act: Act
    ) -> bool;
    /// Appeals, the latest first; the open ones only, if asked.
    read "list appeals" appeals(open_only: bool) -> Vec<AppealRecord>;
    /// One appeal.
    read "look up an appeal" appeal(appeal_id: i64) -> Option<AppealRecord>;
    /// Plugins that are protected from automatic acts, and until when.
    read "list protected plugins" protections(now: Timestamp) -> Vec<(PluginId, Timestamp)>;

    /// Links a build to the finding that it mends; once.
    write "record a remediation" add_remediation(new: NewRemediation, now: Timestamp, act: Act) -> ();
    /// Remediations, the latest first; the open ones only, if asked.
    read "list remediations" remediations(open_only: bool) -> Vec<RemediationRecord>;
    /// One remediation.
    read "look up a remediation" remediation(remediation_id: i64) -> Option<RemediationRecord>;
    /// Closes a remediation; `false` where it was closed before.
    write "close a remediation" close_remediation(
        remediation_id: i64, closed_by: Sha256Digest, folder: String, now: Timestamp, act: Act
    ) -> bool;

    /// What is known of addresses, in their order.
    read "list contacts" contacts() -> Vec<ContactRecord>;
    /// Writes down that `address` was asked to send a token back.
    write "ask a contact" ask_contact(
        address: String, token_sha256: Sha256Digest, now: Timestamp, act: Act
    ) -> ();
    /// A token came back: the address is verified. Gives it, or `None` where nobody was sent that token.
    write "verify a contact" confirm_contact(
        token_sha256: Sha256Digest, now: Timestamp, who: String
    ) -> Option<String>;
    /// Writes down that mail to `address` came back.
    write "note a bounce" bounce_contact(address: String, why: String, now: Timestamp, act: Act) -> ();

    /// Queues what a webhook is told; `false` where it was queued before.
    write "queue a webhook" queue_hook(delivery_id: String, body: Vec<u8>, now: Timestamp) -> bool;
    /// The oldest that are due. One courier alone asks.
    read "take due webhooks" due_hooks(now: Timestamp, limit: u32) -> Vec<HookRecord>;
    /// Says how an attempt ended.
    write "record a webhook" settle_hook(hook_id: i64, now: Timestamp, fate: MailFate) -> ();
    /// How many wait, and how many were given up.
    read "count webhooks" hook_counts() -> (u64, u64);
    /// Puts every webhook that was given up back into the queue; how many there were.
    write "put webhooks back" hooks_again(now: Timestamp, who: String) -> u64;

    /// The acts, the latest first.
    read "list acts" acts(limit: u32) -> Vec<Act>;
    /// Notes which acts the list about to be published carries.
    write "note a change of the revocation list" note_change(crl_number: u64, acts: Vec<Act>) -> ();
    /// The change that was noted and never recorded.
    read "look up a pending change" pending_change() -> Option<(u64, Vec<Act>)>;
    /// Records a published change: its acts, and the states that follow from it.
    write "record a change of the revocation list" record_change(
        acts: Vec<Act>, states: Vec<(ArtifactDigest, ArtifactState)>, now: Timestamp
    ) -> ();
    /// Forgets a noted change whose list was never published.
    write "drop a pending change" drop_change() -> ();

    /// How many of what there are.
    read "count" counts(now: Timestamp) -> Counts;
}
