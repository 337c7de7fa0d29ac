//! The handlers: from HTTP to the office and back, and nothing else.

use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Desk;
use super::failure::{Body, Failure, LargeBody, Query};
use super::types::{
    ActQuery, AdmitRequest, AppealView, ArchiveRequest, AskRequest, AuditRequest, BounceRequest,
    ChangeRequest, ConfirmRequest, DecideAppealRequest, DecideRequest, EndRunRequest, ExpireRequest,
    KillRequest, MailQuery, OpenAppealRequest, OpenQuery, PageQuery, PruneRequest, Queued, ReloadRequest,
    ReportQuery, RespondRequest, RunQuery, SafeModeRequest, SendRequest, SetTierRequest, StartRunRequest,
    WaitingQuery,
};
use crate::office::{OfficeError, check_who};

type Answer<T> = Result<Json<T>, Failure>;

/// Which list a raw document belongs to.
const CRL_NUMBER: HeaderName = HeaderName::from_static("x-bailiwick-crl-number");

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(desk): State<Desk>) -> Response {
    match desk.office.unready().await {
        None => "ready\n".into_response(),
        // Unauthenticated callers learn that it is not ready; the status says why.
        Some(why) => {
            tracing::debug!(why, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
        }
    }
}

pub(super) async fn crl_head(State(desk): State<Desk>) -> Response {
    let accepted = desk.office.list();
    raw(
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        accepted.list().crl_number(),
        accepted.head().to_vec(),
    )
}

pub(super) async fn crl_body(State(desk): State<Desk>) -> Response {
    let accepted = desk.office.list();
    raw(
        "application/octet-stream",
        accepted.list().crl_number(),
        accepted.body().to_vec(),
    )
}

fn raw(media_type: &'static str, crl_number: u64, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (CRL_NUMBER, crl_number.to_string()),
    ];
    (headers, bytes).into_response()
}

pub(super) async fn admit(
    State(desk): State<Desk>,
    LargeBody(request): LargeBody<AdmitRequest>,
) -> Answer<super::types::Admitted> {
    Ok(Json(desk.office.admit(request).await?))
}

pub(super) async fn plugins(State(desk): State<Desk>) -> Answer<super::types::PluginList> {
    Ok(Json(desk.office.plugins().await?))
}

pub(super) async fn plugin(
    State(desk): State<Desk>,
    Path(plugin_id): Path<String>,
) -> Answer<super::types::PluginView> {
    Ok(Json(desk.office.plugin(&parse(&plugin_id)?).await?))
}

pub(super) async fn artifact(
    State(desk): State<Desk>,
    Path(digest): Path<String>,
) -> Answer<super::types::ArtifactDetail> {
    Ok(Json(desk.office.artifact(parse(&digest)?).await?))
}

pub(super) async fn set_tier(
    State(desk): State<Desk>,
    Body(request): Body<SetTierRequest>,
) -> Answer<super::types::PluginView> {
    Ok(Json(desk.office.set_tier(request).await?))
}

pub(super) async fn runs(
    State(desk): State<Desk>,
    Query(query): Query<RunQuery>,
) -> Answer<super::types::RunList> {
    Ok(Json(desk.office.runs(query).await?))
}

pub(super) async fn start_run(
    State(desk): State<Desk>,
    Body(request): Body<StartRunRequest>,
) -> Answer<super::types::RunStarted> {
    Ok(Json(desk.office.start_run(request).await?))
}

pub(super) async fn end_run(
    State(desk): State<Desk>,
    Path(run_id): Path<String>,
    Body(request): Body<EndRunRequest>,
) -> Answer<super::types::RunView> {
    Ok(Json(desk.office.end_run(parse(&run_id)?, request).await?))
}

pub(super) async fn crl(State(desk): State<Desk>) -> Answer<crl::ListView> {
    Ok(Json(desk.office.list_view()))
}

pub(super) async fn why(
    State(desk): State<Desk>,
    Path(target): Path<String>,
) -> Answer<super::types::WhyView> {
    let why = desk.office.why(&parse(&target)?).await?;
    Ok(Json(super::types::WhyView {
        text: why.to_string(),
        why: serde_json::to_value(&why).unwrap_or_default(),
    }))
}

pub(super) async fn change_list(
    State(desk): State<Desk>,
    Body(request): Body<ChangeRequest>,
) -> Answer<super::types::ListPublished> {
    Ok(Json(desk.office.change_list(request).await?))
}

pub(super) async fn kill(
    State(desk): State<Desk>,
    Body(request): Body<KillRequest>,
) -> Answer<super::types::ListPublished> {
    Ok(Json(desk.office.kill(request).await?))
}

pub(super) async fn waiting(
    State(desk): State<Desk>,
    Query(query): Query<WaitingQuery>,
) -> Answer<super::types::WaitingList> {
    Ok(Json(desk.office.waiting(query).await?))
}

pub(super) async fn decide(
    State(desk): State<Desk>,
    Path(waiting_id): Path<String>,
    Body(request): Body<DecideRequest>,
) -> Answer<super::types::WaitingView> {
    let decided = desk.office.decide(parse(&waiting_id)?, request).await?;
    Ok(Json(decided))
}

pub(super) async fn audit(
    State(desk): State<Desk>,
    Body(request): Body<AuditRequest>,
) -> Answer<super::types::AuditSummary> {
    let audit = desk.nights.audit(request).await;
    Ok(Json(audit.map_err(OfficeError::from)?))
}

pub(super) async fn audit_progress(State(desk): State<Desk>) -> Json<super::types::AuditProgress> {
    Json(desk.nights.progress().unwrap_or_default())
}

pub(super) async fn reports(
    State(desk): State<Desk>,
    Query(query): Query<ReportQuery>,
) -> Answer<super::types::ReportList> {
    Ok(Json(desk.office.reports(query).await?))
}

pub(super) async fn report(
    State(desk): State<Desk>,
    Path(report_id): Path<String>,
) -> Answer<super::types::ReportDetail> {
    Ok(Json(desk.office.report(parse(&report_id)?).await?))
}

pub(super) async fn report_page(
    State(desk): State<Desk>,
    Path(report_id): Path<String>,
    Query(PageQuery { form }): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = desk.office.report_page(parse(&report_id)?, form).await?;
    Ok(([(header::CONTENT_TYPE, form.media_type())], page).into_response())
}

pub(super) async fn send_report(
    State(desk): State<Desk>,
    Path(report_id): Path<String>,
    Body(request): Body<SendRequest>,
) -> Answer<Queued> {
    let record = desk.office.known_report(parse(&report_id)?).await?;
    let sent = desk.nights.send_report(record, request.who).await;
    Ok(Json(Queued {
        mails: sent.map_err(OfficeError::from)?,
    }))
}

pub(super) async fn mails(
    State(desk): State<Desk>,
    Query(query): Query<MailQuery>,
) -> Answer<super::types::MailList> {
    Ok(Json(desk.office.mails(query).await?))
}

pub(super) async fn mail_again(
    State(desk): State<Desk>,
    Path(mail_id): Path<String>,
    Body(request): Body<SendRequest>,
) -> Answer<super::types::MailList> {
    Ok(Json(
        desk.office.mail_again(parse(&mail_id)?, &request.who).await?,
    ))
}

pub(super) async fn all_again(
    State(desk): State<Desk>,
    Body(request): Body<SendRequest>,
) -> Answer<super::types::SentAgain> {
    Ok(Json(desk.office.all_again(&request.who).await?))
}

pub(super) async fn appeals(
    State(desk): State<Desk>,
    Query(query): Query<OpenQuery>,
) -> Answer<super::types::AppealList> {
    Ok(Json(desk.office.appeals(query.open).await?))
}

pub(super) async fn open_appeal(
    State(desk): State<Desk>,
    Body(request): Body<OpenAppealRequest>,
) -> Answer<AppealView> {
    tell(&desk, desk.office.open_appeal(request).await?).await
}

pub(super) async fn acknowledge_appeal(
    State(desk): State<Desk>,
    Path(appeal_id): Path<String>,
    Body(request): Body<SendRequest>,
) -> Answer<AppealView> {
    let appeal = desk
        .office
        .acknowledge_appeal(parse(&appeal_id)?, request)
        .await?;
    tell(&desk, appeal).await
}

pub(super) async fn respond_to_appeal(
    State(desk): State<Desk>,
    Path(appeal_id): Path<String>,
    Body(request): Body<RespondRequest>,
) -> Answer<AppealView> {
    let appeal = desk.office.respond_to_appeal(parse(&appeal_id)?, request).await?;
    tell(&desk, appeal).await
}

pub(super) async fn decide_appeal(
    State(desk): State<Desk>,
    Path(appeal_id): Path<String>,
    Body(request): Body<DecideAppealRequest>,
) -> Answer<AppealView> {
    let appeal = desk.office.decide_appeal(parse(&appeal_id)?, request).await?;
    tell(&desk, appeal).await
}

/// Owner and security learn how an appeal stands. What was done is done, whatever becomes of the letter.
async fn tell(desk: &Desk, appeal: AppealView) -> Answer<AppealView> {
    if let Err(error) = desk.nights.tell_of_appeal(appeal.clone()).await {
        tracing::error!(%error, appeal = appeal.appeal_id, "the letters about an appeal were not written");
    }
    Ok(Json(appeal))
}

pub(super) async fn remediations(
    State(desk): State<Desk>,
    Query(query): Query<OpenQuery>,
) -> Answer<super::types::RemediationList> {
    Ok(Json(desk.office.remediations(query.open).await?))
}

pub(super) async fn contacts(State(desk): State<Desk>) -> Answer<super::types::ContactList> {
    Ok(Json(desk.office.contacts().await?))
}

pub(super) async fn ask_contact(State(desk): State<Desk>, Body(request): Body<AskRequest>) -> Answer<Queued> {
    check_who(&request.who)?;
    let asked = desk.nights.ask_contact(request.address, request.who).await;
    Ok(Json(Queued {
        mails: vec![asked.map_err(OfficeError::from)?],
    }))
}

pub(super) async fn confirm_contact(
    State(desk): State<Desk>,
    Body(request): Body<ConfirmRequest>,
) -> Answer<super::types::ContactView> {
    Ok(Json(desk.office.confirm_contact(request).await?))
}

pub(super) async fn bounce_contact(
    State(desk): State<Desk>,
    Body(request): Body<BounceRequest>,
) -> Answer<super::types::ContactView> {
    Ok(Json(desk.office.bounce_contact(request).await?))
}

pub(super) async fn acts(
    State(desk): State<Desk>,
    Query(query): Query<ActQuery>,
) -> Answer<super::types::ActList> {
    Ok(Json(desk.office.acts(query).await?))
}

pub(super) async fn safe_mode(
    State(desk): State<Desk>,
    Body(request): Body<SafeModeRequest>,
) -> Answer<super::types::StatusView> {
    Ok(Json(desk.office.set_safe_mode(request).await?))
}

pub(super) async fn archive(
    State(desk): State<Desk>,
    Body(request): Body<ArchiveRequest>,
) -> Answer<super::types::ArchivedView> {
    check_who(&request.who)?;
    let archived = desk.archives.archive(request).await;
    Ok(Json(archived.map_err(OfficeError::from)?))
}

pub(super) async fn prune(
    State(desk): State<Desk>,
    Body(request): Body<PruneRequest>,
) -> Answer<super::types::PrunedView> {
    check_who(&request.who)?;
    let pruned = desk.archives.prune(request).await;
    Ok(Json(pruned.map_err(OfficeError::from)?))
}

pub(super) async fn expire(
    State(desk): State<Desk>,
    Body(request): Body<ExpireRequest>,
) -> Answer<super::types::ExpiredView> {
    check_who(&request.who)?;
    let expired = desk.archives.expire(request).await;
    Ok(Json(expired.map_err(OfficeError::from)?))
}

pub(super) async fn reload(
    State(desk): State<Desk>,
    Body(request): Body<ReloadRequest>,
) -> Answer<super::types::ReloadView> {
    check_who(&request.who)?;
    let reloaded = desk.configuration.reload(request.who).await;
    Ok(Json(reloaded.map_err(OfficeError::from)?))
}

pub(super) async fn status(State(desk): State<Desk>) -> Answer<super::types::StatusView> {
    Ok(Json(desk.office.status().await?))
}

/// A path's parameter, as the type whose text it is.
fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| {
        OfficeError::Request {
            what: format!("the path does not name what it should: {error}"),
        }
        .into()
    })
}
