//! The operations of the store in SQLite's words, one file per noun.

mod acts;
mod mails;
mod nights;
mod registry;
mod reports;
mod runs;

pub(in crate::store) use acts::{
    acts, counts, drop_change, note_change, pending_change, record_change, set_setting, setting,
};
pub(in crate::store) use mails::{lease_mails, mails, next_mail_at, queue_mails, send_again, settle_mail};
pub(in crate::store) use nights::{begin_night, finish_night, last_audited_to, latest_night};
pub(in crate::store) use registry::{
    admissions, admit, artifact, artifact_names, artifacts, plugin, plugins, set_tier,
};
pub(in crate::store) use reports::{add_report, report, report_before, reports};
pub(in crate::store) use runs::{end_run, ended_runs, run, running_plugins, runs, start_run};
