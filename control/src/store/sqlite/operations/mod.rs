//! The operations of the store in SQLite's words, one file per noun.

mod acts;
mod appeals;
mod contacts;
mod hooks;
mod mails;
mod nights;
mod registry;
mod remediations;
mod reports;
mod runs;
mod waiting;

pub(in crate::store) use acts::{
    acts, automatic_acts, change_setting, counts, drop_change, note_change, pending_change, record_change,
    set_setting, setting, watch_artifact,
};
pub(in crate::store) use appeals::{appeal, appeals, open_appeal, protections, step_appeal};
pub(in crate::store) use contacts::{ask_contact, bounce_contact, confirm_contact, contacts};
pub(in crate::store) use hooks::{due_hooks, hook_counts, hooks_again, queue_hook, settle_hook};
pub(in crate::store) use mails::{
    free_mails, last_letter_about, lease_mails, mails, next_mail_at, queue_mails, send_again, settle_mail,
};
pub(in crate::store) use nights::{begin_night, finish_night, last_audited_to, latest_night, night_for};
pub(in crate::store) use registry::{
    admissions, admit, artifact, artifact_names, artifacts, plugin, plugins, set_tier,
};
pub(in crate::store) use remediations::{add_remediation, close_remediation, remediation, remediations};
pub(in crate::store) use reports::{
    add_reports, report, report_history, reports, reports_before, reports_to, weeks,
};
pub(in crate::store) use runs::{end_run, ended_runs, run, running_plugins, runs, start_run};
pub(in crate::store) use waiting::{
    ask_to_wait, decide_waiting_act, due_acts, lapse_waiting_acts, return_lease, take_lease, waiting_act,
    waiting_acts,
};
