//! The table of routes.

use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post};

use super::{Desk, MAX_ADMISSION, handlers};

/// One route.
pub(super) struct Route {
    /// `GET` or `POST`; what the OpenAPI document is compared with.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the handler knows its method by itself")
    )]
    pub(super) method: &'static str,
    /// The path, with its parameters in braces.
    pub(super) path: &'static str,
    /// Whether it is answered without a token: liveness, and the list, which is public by nature.
    pub(super) open: bool,
    /// Who answers.
    pub(super) handler: MethodRouter<Desk>,
}

/// All routes.
pub(super) fn table() -> Vec<Route> {
    let route = |method, path, handler| Route {
        method,
        path,
        open: false,
        handler,
    };
    let open = |path, handler| Route {
        method: "GET",
        path,
        open: true,
        handler,
    };
    let large = DefaultBodyLimit::max(MAX_ADMISSION);
    vec![
        open("/healthz", get(handlers::healthz)),
        open("/readyz", get(handlers::readyz)),
        open("/v1/crl/head", get(handlers::crl_head)),
        open("/v1/crl/body", get(handlers::crl_body)),
        route("POST", "/v1/admissions", post(handlers::admit).layer(large)),
        route("GET", "/v1/plugins", get(handlers::plugins)),
        route("GET", "/v1/plugins/{plugin_id}", get(handlers::plugin)),
        route("GET", "/v1/artifacts/{digest}", get(handlers::artifact)),
        route("POST", "/v1/tiers", post(handlers::set_tier)),
        route("GET", "/v1/runs", get(handlers::runs)),
        route("POST", "/v1/runs", post(handlers::start_run)),
        route("POST", "/v1/runs/{run_id}/end", post(handlers::end_run)),
        route("GET", "/v1/crl", get(handlers::crl)),
        route("GET", "/v1/crl/why/{target}", get(handlers::why)),
        route("POST", "/v1/crl/changes", post(handlers::change_list)),
        route("POST", "/v1/kill", post(handlers::kill)),
        route("GET", "/v1/waiting", get(handlers::waiting)),
        route("POST", "/v1/waiting/{waiting_id}/decide", post(handlers::decide)),
        route("GET", "/v1/audits", get(handlers::audit_progress)),
        route("POST", "/v1/audits", post(handlers::audit)),
        route("GET", "/v1/reports", get(handlers::reports)),
        route("GET", "/v1/reports/{report_id}", get(handlers::report)),
        route("GET", "/v1/reports/{report_id}/page", get(handlers::report_page)),
        route(
            "POST",
            "/v1/reports/{report_id}/send",
            post(handlers::send_report),
        ),
        route("GET", "/v1/mails", get(handlers::mails)),
        route("POST", "/v1/mails/again", post(handlers::all_again)),
        route("POST", "/v1/mails/{mail_id}/again", post(handlers::mail_again)),
        route("GET", "/v1/appeals", get(handlers::appeals)),
        route("POST", "/v1/appeals", post(handlers::open_appeal)),
        route(
            "POST",
            "/v1/appeals/{appeal_id}/acknowledge",
            post(handlers::acknowledge_appeal),
        ),
        route(
            "POST",
            "/v1/appeals/{appeal_id}/respond",
            post(handlers::respond_to_appeal),
        ),
        route(
            "POST",
            "/v1/appeals/{appeal_id}/decide",
            post(handlers::decide_appeal),
        ),
        route("GET", "/v1/remediations", get(handlers::remediations)),
        route("GET", "/v1/contacts", get(handlers::contacts)),
        route("POST", "/v1/contacts/ask", post(handlers::ask_contact)),
        route("POST", "/v1/contacts/confirm", post(handlers::confirm_contact)),
        route("POST", "/v1/contacts/bounced", post(handlers::bounce_contact)),
        route("GET", "/v1/acts", get(handlers::acts)),
        route("POST", "/v1/safe-mode", post(handlers::safe_mode)),
        route("POST", "/v1/archive", post(handlers::archive)),
        route("POST", "/v1/archive/prune", post(handlers::prune)),
        route("POST", "/v1/archive/expire", post(handlers::expire)),
        route("POST", "/v1/reload", post(handlers::reload)),
        route("GET", "/v1/status", get(handlers::status)),
    ]
}
