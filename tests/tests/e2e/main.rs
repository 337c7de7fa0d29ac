//! End to end: the real binary, real sockets, real clients, stock verifiers.

mod adversarial_evidence;
mod adversarial_http2;
mod adversarial_identity;
mod adversarial_layers;
mod adversarial_manifests;
mod adversarial_names;
mod adversarial_revocation;
mod adversarial_targets;
mod archive;
mod bad_documents;
mod bad_evidence;
mod bucket;
mod bundles;
mod canary;
mod check;
mod clients;
mod demo;
mod exhaustion;
mod exports;
mod golden;
mod json;
mod kills;
mod life;
mod limits;
mod looks;
mod mail;
mod matrix;
mod nights;
mod outages;
mod parents;
mod policy;
mod real_night;
mod receivers;
mod retention;
mod run_reports;
mod runbooks;
mod service;
mod slow_bodies;
mod stage;
mod stock;
mod story;
mod take_over;
mod take_over_clients;
mod take_over_door;
mod tampered_logs;
mod tls;
mod tokens;
mod way_back;
mod ways_in;
mod witness;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = bailiwick_tests::run_scenarios(&[
        // First, because one of them waits for more than a minute.
        ("outages", outages::SCENARIOS),
        ("kills", kills::SCENARIOS),
        ("demo", demo::SCENARIOS),
        ("golden", golden::SCENARIOS),
        ("stock", stock::SCENARIOS),
        ("story", story::SCENARIOS),
        ("clients", clients::SCENARIOS),
        ("matrix", matrix::SCENARIOS),
        ("life", life::SCENARIOS),
        ("looks", looks::SCENARIOS),
        ("mail", mail::SCENARIOS),
        ("way_back", way_back::SCENARIOS),
        ("tls", tls::SCENARIOS),
        ("tokens", tokens::SCENARIOS),
        ("bad_documents", bad_documents::SCENARIOS),
        ("archive", archive::SCENARIOS),
        ("retention", retention::SCENARIOS),
        ("bucket", bucket::SCENARIOS),
        ("bad_evidence", bad_evidence::SCENARIOS),
        ("adversarial_http2", adversarial_http2::SCENARIOS),
        ("adversarial_evidence", adversarial_evidence::SCENARIOS),
        ("adversarial_identity", adversarial_identity::SCENARIOS),
        ("ways_in", ways_in::SCENARIOS),
        ("adversarial_layers", adversarial_layers::SCENARIOS),
        ("adversarial_manifests", adversarial_manifests::SCENARIOS),
        ("adversarial_names", adversarial_names::SCENARIOS),
        ("adversarial_revocation", adversarial_revocation::SCENARIOS),
        ("adversarial_targets", adversarial_targets::SCENARIOS),
        ("check", check::SCENARIOS),
        ("exports", exports::SCENARIOS),
        ("receivers", receivers::SCENARIOS),
        ("bundles", bundles::SCENARIOS),
        ("canary", canary::SCENARIOS),
        ("parents", parents::SCENARIOS),
        ("runbooks", runbooks::SCENARIOS),
        ("exhaustion", exhaustion::SCENARIOS),
        ("service", service::SCENARIOS),
        ("slow_bodies", slow_bodies::SCENARIOS),
        ("limits", limits::SCENARIOS),
        ("take_over", take_over::SCENARIOS),
        ("take_over_clients", take_over_clients::SCENARIOS),
        ("take_over_door", take_over_door::SCENARIOS),
        ("nights", nights::SCENARIOS),
        ("run_reports", run_reports::SCENARIOS),
        ("policy", policy::SCENARIOS),
        ("real_night", real_night::SCENARIOS),
        ("json", json::SCENARIOS),
        ("witness", witness::SCENARIOS),
        ("tampered_logs", tampered_logs::SCENARIOS),
    ]);
    demo::clean();
    code
}
