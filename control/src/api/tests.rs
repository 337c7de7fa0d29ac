//! The interface's promises, asked through the router as a server or the command line would.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use base::{ArtifactDigest, PluginId, RunId, Sha256Digest, Verdict};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::archives::{ArchiveFailure, Archives, NoArchives};
use crate::configuration::{NoConfiguration, ReloadFailure};
use crate::nights::{Answer, NightFailure, NoNights};
use crate::store::ReportRecord;
use crate::testing::{Build, NOW, PLUGIN, Site, build, key};

const TOKEN: &str = "an-operators-token-of-decent-length";

fn listen() -> SocketAddr {
    "127.0.0.1:8128".parse().unwrap()
}

/// A configuration that `ada` may have read again, and `bob` just broke.
struct Rereads;

impl Configuration for Rereads {
    fn reload(&self, who: String) -> Answer<'_, Result<types::ReloadView, ReloadFailure>> {
        Box::pin(async move {
            match who.as_str() {
                "bob" => Err(ReloadFailure::Refused {
                    what: "bailiwick.toml: line 3: unknown key".to_owned(),
                }),
                _ => Ok(types::ReloadView {
                    path: "/site/bailiwick.toml".to_owned(),
                    changed: vec!["gateway.unattributed".to_owned()],
                    needs_restart: vec!["gateway.listen".to_owned()],
                }),
            }
        })
    }
}

/// An archive that takes what is due, and whose bucket is away when everything is wanted.
struct Shelves;

impl Archives for Shelves {
    fn archive(
        &self,
        request: types::ArchiveRequest,
    ) -> Answer<'_, Result<types::ArchivedView, ArchiveFailure>> {
        Box::pin(async move {
            if request.all {
                return Err(ArchiveFailure::Failed {
                    what: "could not list day=2026-11-21/ in s3://fleet: connection refused".to_owned(),
                });
            }
            Ok(types::ArchivedView {
                origin: "acme/gw-1".to_owned(),
                archive: "s3://fleet".to_owned(),
                files: vec![types::ArchivedFile {
                    file: "day=2026-11-21/gateway=gw-1/a.parquet".to_owned(),
                    sha256: "00".repeat(32),
                    entries_from: 0,
                    entries_to: 300,
                    bytes: Some(4984),
                }],
            })
        })
    }

    fn prune(&self, request: types::PruneRequest) -> Answer<'_, Result<types::PrunedView, ArchiveFailure>> {
        Box::pin(async move {
            Ok(types::PrunedView {
                origin: "acme/gw-1".to_owned(),
                archive: "s3://fleet".to_owned(),
                dry_run: request.dry_run,
                entries_from: Some(0),
                entries_to: Some(256),
                bundles_removed: u64::from(!request.dry_run),
            })
        })
    }

    fn expire(
        &self,
        request: types::ExpireRequest,
    ) -> Answer<'_, Result<types::ExpiredView, ArchiveFailure>> {
        Box::pin(async move {
            Ok(types::ExpiredView {
                origin: "acme/gw-1".to_owned(),
                archive: "s3://fleet".to_owned(),
                dry_run: request.dry_run,
                entries_from: Some(0),
                entries_to: Some(300),
                files: vec!["day=2026-11-21/gateway=gw-1/a.parquet".to_owned()],
            })
        })
    }
}

async fn api(site: &Site) -> Router {
    api_with(site, Arc::new(NoNights)).await
}

async fn api_with(site: &Site, nights: Arc<dyn Nights>) -> Router {
    let access = Access::new(OperatorToken::from_text(TOKEN), listen());
    router(
        site.office().await,
        nights,
        Arc::new(Rereads),
        Arc::new(Shelves),
        access,
    )
}

/// A request as the command line makes it.
fn request(method: Method, path: &str, body: &Value) -> Request<Body> {
    let body = match body {
        Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "127.0.0.1:8128")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .unwrap()
}

async fn send(api: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = api.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes).into_owned()));
    (status, value)
}

async fn get(api: &Router, path: &str) -> (StatusCode, Value) {
    send(api, request(Method::GET, path, &Value::Null)).await
}

async fn post(api: &Router, path: &str, body: Value) -> (StatusCode, Value) {
    send(api, request(Method::POST, path, &body)).await
}

fn code(answer: &(StatusCode, Value)) -> (u16, &str) {
    (
        answer.0.as_u16(),
        answer.1["error"]["code"].as_str().unwrap_or(""),
    )
}

async fn admit(api: &Router, build: &Build) -> (StatusCode, Value) {
    post(
        api,
        "/v1/admissions",
        serde_json::to_value(build.admit()).unwrap(),
    )
    .await
}

fn quarantine(build: &Build) -> Value {
    json!({"who": "ada", "changes": [
        {"action": "quarantine", "target": build.digest, "reason": "undeclared_host"}]})
}

#[tokio::test]
async fn the_whole_life_of_an_artifact_over_http() {
    let site = Site::new();
    let api = api(&site).await;
    let build = build("1.0");
    let run = json!({"artifact_digest": build.digest, "who": "ada"});
    assert_eq!(
        code(&post(&api, "/v1/runs", run.clone()).await),
        (404, "not_found")
    );
    let (status, admitted) = admit(&api, &build).await;
    assert_eq!(status, StatusCode::OK, "{admitted}");
    assert_eq!(admitted["artifact"]["state"], "admitted");
    let (status, started) = post(&api, "/v1/runs", run.clone()).await;
    assert_eq!(status, StatusCode::OK, "{started}");
    assert_eq!(started["plugin_id"], PLUGIN);

    let (status, published) = post(&api, "/v1/crl/changes", quarantine(&build)).await;
    assert_eq!(status, StatusCode::OK, "{published}");
    assert_eq!(
        (&published["crl_number"], &published["tunnels"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(code(&post(&api, "/v1/runs", run).await), (422, "artifact_held"));
    let (_, why) = get(&api, &format!("/v1/crl/why/{}", build.digest)).await;
    assert!(why["text"].as_str().unwrap().contains("is held"), "{why}");

    let end = format!("/v1/runs/{}/end", started["run_id"].as_str().unwrap());
    let (_, ended) = post(&api, &end, json!({"exit_status": 0})).await;
    assert_eq!(
        (&ended["live"], &ended["exit_status"]),
        (&json!(false), &json!(0))
    );
    let (_, acts) = get(&api, "/v1/acts?limit=1").await;
    assert_eq!(acts["acts"][0]["action"], "quarantine");
}

#[tokio::test]
async fn a_refusal_of_the_gate_arrives_with_its_own_code() {
    let site = Site::new();
    let api = api(&site).await;
    let stranger = crate::testing::build_of(&crate::testing::manifest("1.0"), &key(9));
    assert_eq!(code(&admit(&api, &stranger).await), (422, "signer_untrusted"));
    let mut unsigned = serde_json::to_value(build("1.0").admit()).unwrap();
    unsigned.as_object_mut().unwrap().remove("manifest_bundle");
    let refused = post(&api, "/v1/admissions", unsigned).await;
    assert_eq!(code(&refused), (422, "manifest_missing"));
    assert!(
        refused.1["error"]["message"]
            .as_str()
            .unwrap()
            .contains("bailiwick sign")
    );
}

#[tokio::test]
async fn without_the_operators_token_nothing_is_told_and_nothing_done() {
    let site = Site::new();
    let api = api(&site).await;
    let build = build("1.0");
    admit(&api, &build).await;
    for route in routes::table() {
        let path = route
            .path
            .replace("{digest}", &build.digest.to_string())
            .replace("{plugin_id}", PLUGIN)
            .replace("{target}", PLUGIN)
            .replace("{mail_id}", "1")
            .replace("{report_id}", &Sha256Digest::of(b"x").to_string())
            .replace("{run_id}", &RunId::from_parts(1, [0; 10]).to_string());
        let method: Method = route.method.parse().unwrap();
        for header_value in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer wrong-token-of-a-decent-length-too"),
            Some("Basic YTpi"),
            Some(TOKEN),
            Some(&format!("Bearer {TOKEN}x")),
            Some(&format!("Bearer {}", &TOKEN[1..])),
        ] {
            let mut request = request(method.clone(), &path, &json!({}));
            request.headers_mut().remove(header::AUTHORIZATION);
            if let Some(value) = header_value {
                let value = value.parse().unwrap();
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            let (status, body) = send(&api, request).await;
            if route.open {
                assert_eq!(status, StatusCode::OK, "{path}");
            } else {
                assert_eq!(
                    code(&(status, body)),
                    (401, "not_an_operator"),
                    "{path} {header_value:?}"
                );
            }
        }
    }
    let (_, why) = get(&api, &format!("/v1/artifacts/{}", build.digest)).await;
    assert_eq!(why["artifact"]["state"], "admitted");
}

#[tokio::test]
async fn a_challenge_says_what_would_do_and_never_what_was_expected() {
    let site = Site::new();
    let api = api(&site).await;
    let mut request = request(Method::GET, "/v1/status", &Value::Null);
    request.headers_mut().remove(header::AUTHORIZATION);
    let response = api.oneshot(request).await.unwrap();
    assert_eq!(
        response.headers()[header::WWW_AUTHENTICATE],
        "Bearer realm=\"bailiwick\""
    );
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("operator.token") && !text.contains(TOKEN));
}

#[tokio::test]
async fn pages_in_a_browser_and_names_of_others_are_refused_even_with_the_token() {
    let site = Site::new();
    let api = api(&site).await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "http://127.0.0.1:8128"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for path in ["/v1/status", "/v1/crl/head", "/healthz"] {
            let mut request = request(Method::GET, path, &Value::Null);
            request.headers_mut().insert(name, value.parse().unwrap());
            assert_eq!(
                code(&send(&api, request).await),
                (403, "foreign_origin"),
                "{value}"
            );
        }
    }
    for host in [
        "evil.example",
        "evil.example:8128",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.0.2.1",
        "[2001:db8::1]:8128",
        "[::1",
        "",
    ] {
        let mut request = request(Method::GET, "/v1/status", &Value::Null);
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        assert_eq!(code(&send(&api, request).await), (403, "foreign_host"), "{host}");
    }
    for host in [
        "127.0.0.1:8128",
        "localhost:8128",
        "LOCALHOST",
        "[::1]:8128",
        "127.9.9.9",
    ] {
        let mut request = request(Method::GET, "/v1/status", &Value::Null);
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        assert_eq!(send(&api, request).await.0, StatusCode::OK, "{host}");
    }
    let mut twice = request(Method::GET, "/v1/status", &Value::Null);
    twice
        .headers_mut()
        .append(header::HOST, "evil.example".parse().unwrap());
    assert_eq!(code(&send(&api, twice).await), (403, "foreign_host"));
    let absolute = request(Method::GET, "http://evil.example/v1/status", &Value::Null);
    assert_eq!(code(&send(&api, absolute).await), (403, "foreign_host"));
}

#[tokio::test]
async fn a_body_is_read_strictly_or_not_at_all() {
    let site = Site::new();
    let api = api(&site).await;
    let raw = async |body: String| {
        let mut request = request(Method::POST, "/v1/safe-mode", &Value::Null);
        *request.body_mut() = Body::from(body);
        send(&api, request).await
    };
    for bad in [
        "",
        "{",
        "[]",
        r#"{"on":true}"#,
        r#"{"on":true,"who":"ada","why":"x"}"#,
        r#"{"on":true,"on":false,"who":"ada"}"#,
        r#"{"on":"yes","who":"ada"}"#,
        r#"{"on":true,"who":""}"#,
    ] {
        let answer = raw(bad.to_owned()).await;
        assert_eq!(code(&answer), (400, "bad_request"), "{bad}");
        let message = answer.1["error"]["message"].as_str().unwrap();
        assert!(!message.contains('\n'), "{message}");
    }
    let large = format!(r#"{{"on":true,"who":"ada","note":"{}"}}"#, "x".repeat(MAX_BODY));
    assert_eq!(code(&raw(large).await), (413, "bad_request"));
    let mut form = request(Method::POST, "/v1/safe-mode", &json!({"on": true, "who": "ada"}));
    form.headers_mut()
        .insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(code(&send(&api, form).await), (415, "bad_request"));
    let (_, status) = get(&api, "/v1/status").await;
    assert_eq!(status["safe_mode"], false);
    let twice = r#"{"who":"a","who":"b"}"#;
    let mut admission = request(Method::POST, "/v1/admissions", &Value::Null);
    *admission.body_mut() = Body::from(twice);
    assert_eq!(code(&send(&api, admission).await), (400, "bad_request"));
}

#[tokio::test]
async fn whatever_cannot_be_answered_is_refused_in_the_same_form() {
    let site = Site::new();
    let api = api(&site).await;
    assert_eq!(code(&get(&api, "/v2/status").await), (404, "no_such_route"));
    assert_eq!(
        code(&post(&api, "/v1/status", json!({})).await),
        (405, "no_such_method")
    );
    assert_eq!(
        code(&get(&api, "/v1/artifacts/sha256:abc").await),
        (400, "bad_request")
    );
    assert_eq!(
        code(&get(&api, "/v1/runs?colour=red").await),
        (400, "bad_request")
    );
    assert_eq!(
        code(&get(&api, "/v1/mails?state=lost").await),
        (400, "bad_request")
    );
    assert_eq!(
        code(&post(&api, "/v1/mails/7/again", json!({"who": "ada"})).await),
        (404, "not_found")
    );
    assert_eq!(
        code(&post(&api, "/v1/audits", json!({})).await),
        (501, "no_auditor")
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_refused_and_the_file_named() {
    let site = Site::new();
    let api = api(&site).await;
    let refused = post(&api, "/v1/reload", json!({"who": "bob"})).await;
    assert_eq!(code(&refused), (422, "configuration_refused"));
    let message = refused.1["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("nothing was changed") && message.contains("line 3"),
        "{message}"
    );
    let nobody = post(&api, "/v1/reload", json!({"who": ""})).await;
    assert_eq!(code(&nobody), (400, "bad_request"));
}

#[tokio::test]
async fn an_archive_that_is_away_is_said_in_its_own_words() {
    let site = Site::new();
    let api = api(&site).await;
    let failed = post(&api, "/v1/archive", json!({"all": true, "who": "ada"})).await;
    assert_eq!(code(&failed), (500, "archive_failed"));
    let message = failed.1["error"]["message"].as_str().unwrap();
    assert!(message.contains("s3://fleet: connection refused"), "{message}");
    let nobody = post(&api, "/v1/archive/prune", json!({"keep_s": 0, "who": ""})).await;
    assert_eq!(code(&nobody), (400, "bad_request"));
}

#[tokio::test]
async fn a_full_disk_is_said_as_such() {
    let site = Site::new();
    let office = site.office().await;
    let access = Access::new(OperatorToken::from_text(TOKEN), listen());
    let api = router(
        office.clone(),
        Arc::new(NoNights),
        Arc::new(NoConfiguration),
        Arc::new(NoArchives),
        access,
    );
    office.store().limit_pages(1);
    let mut refused = (StatusCode::OK, Value::Null);
    for version in 0..50 {
        refused = admit(&api, &build(&format!("1.{version}"))).await;
        if refused.0 != StatusCode::OK {
            break;
        }
    }
    assert_eq!(code(&refused), (507, "disk_full"));
}

#[tokio::test]
async fn the_raw_list_is_for_everybody_and_verifies() {
    let site = Site::new();
    let api = api(&site).await;
    let build = build("1.0");
    admit(&api, &build).await;
    post(&api, "/v1/crl/changes", quarantine(&build)).await;
    let raw = async |path: &str| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = api.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x-bailiwick-crl-number"], "2");
        to_bytes(response.into_body(), 1 << 20).await.unwrap()
    };
    let (head, body) = (raw("/v1/crl/head").await, raw("/v1/crl/body").await);
    let reader = crl::Reader::new("acme", None);
    let accepted = reader.accept(&head, &body, &site.first_root(), NOW).unwrap();
    let plugin: PluginId = PLUGIN.parse().unwrap();
    let question = crl::Question {
        artifact: build.digest,
        manifest: None,
        signer: None,
        plugin: &plugin,
    };
    assert!(!accepted.list().standing(&question).is_silent());
}

#[tokio::test]
async fn readiness_is_told_without_saying_why() {
    let site = Site::new();
    let api = api(&site).await;
    let ready = async || {
        let request = Request::builder().uri("/readyz").body(Body::empty()).unwrap();
        send(&api, request).await
    };
    assert_eq!(ready().await, (StatusCode::OK, json!("ready\n")));
    site.gateways
        .ready
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        ready().await,
        (StatusCode::SERVICE_UNAVAILABLE, json!("not ready\n"))
    );
}

/// An auditor that finds what it is told to.
struct Auditor;

impl Nights for Auditor {
    fn audit(&self, request: types::AuditRequest) -> Answer<'_, Result<types::AuditSummary, NightFailure>> {
        Box::pin(async move {
            let from = request.from.ok_or(NightFailure::Busy)?;
            Ok(types::AuditSummary {
                from,
                to: NOW,
                dry_run: request.dry_run,
                reports: vec![types::AuditedReport {
                    report_id: None,
                    plugin_id: PLUGIN.parse().unwrap(),
                    artifact_digest: None,
                    run_id: None,
                    verdict: Verdict::NonConforming,
                    folder: None,
                    findings: vec![types::FindingLine {
                        reason: base::Reason::UndeclaredHost,
                        severity: base::Severity::High,
                        host: Some("paste.example".into()),
                        port: Some(443),
                        connections: 3,
                        fix: "declare it".into(),
                    }],
                    observed: Vec::new(),
                }],
                acts: vec![],
                mails: vec!["<1@acme.example>".into()],
                doubts: vec![],
                notices: vec![],
                proposals: Vec::new(),
                changes: Vec::new(),
                logs: Vec::new(),
            })
        })
    }

    fn send_report(&self, report: ReportRecord, _: String) -> Answer<'_, Result<Vec<String>, NightFailure>> {
        Box::pin(async move { Ok(vec![format!("<{}@acme.example>", report.report_id.to_hex())]) })
    }

    fn ask_contact(&self, address: String, _: String) -> Answer<'_, Result<String, NightFailure>> {
        Box::pin(async move { Ok(format!("<{address}>")) })
    }
}

async fn with_report(site: &Site) -> (Router, Sha256Digest) {
    let api = api_with(site, Arc::new(Auditor)).await;
    let bundle = br#"{"a":1}"#;
    let folder = site.path("report");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("report.sigstore.json"), bundle).unwrap();
    let report = ReportRecord {
        report_id: Sha256Digest::of(bundle),
        plugin_id: PLUGIN.parse().unwrap(),
        artifact_digest: Some(ArtifactDigest::new(Sha256Digest::of(b"x"))),
        run_id: None,
        from: NOW,
        to: NOW,
        verdict: Verdict::Conforming,
        folder: folder.to_str().unwrap().to_owned(),
        line: None,
        created_at: NOW,
    };
    let report_id = report.report_id;
    site.store().add_reports(vec![report]).await.unwrap();
    (api, report_id)
}

#[tokio::test]
async fn a_report_that_was_changed_on_disk_is_not_shown() {
    let site = Site::new();
    let (api, report_id) = with_report(&site).await;
    let path = format!("/v1/reports/{report_id}");
    let (_, detail) = get(&api, &path).await;
    assert_eq!(detail["bundle"], json!({"a": 1}));
    std::fs::write(site.path("report/report.sigstore.json"), br#"{"a":2}"#).unwrap();
    assert_eq!(code(&get(&api, &path).await), (500, "report_unusable"));
    std::fs::remove_file(site.path("report/report.sigstore.json")).unwrap();
    assert_eq!(code(&get(&api, &path).await), (500, "report_unusable"));
}

#[tokio::test]
async fn the_server_answers_over_a_socket_and_stops_when_told() {
    let site = Site::new();
    let api = api(&site).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let end = End::default();
    let deadline = std::time::Duration::from_secs(10);
    let server = tokio::spawn(serve(listener, api, end.clone(), deadline));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let response = sender
        .send_request(request(Method::GET, "/v1/status", &Value::Null))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    end.stop.cancel();
    server.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn in_a_hurry_no_request_goes_on_behind_the_servers_back() {
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let held = std::sync::Arc::new(std::sync::Mutex::new(Some(begun)));
    let slow = axum::routing::get(move || async move {
        // Kept until the request is given up.
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        if let Some(begun) = held.lock().unwrap().take() {
            begun.send(ended).unwrap();
        }
        let _alive = alive;
        std::future::pending::<()>().await;
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut caller = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let end = End::default();
    let router = Router::new().route("/slow", slow);
    let deadline = std::time::Duration::from_secs(24 * 3600);
    let server = tokio::spawn(serve(listener, router, end.clone(), deadline));
    let question = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut caller, question)
        .await
        .unwrap();
    let ended = has_begun.await.unwrap();
    end.stop.cancel();
    end.hurry.cancel();
    server.await.unwrap();
    assert!(ended.await.is_err(), "the request was dropped");
}

fn openapi() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).unwrap()
}

#[test]
fn the_openapi_document_describes_every_route_and_no_other() {
    let mut served: Vec<(String, String, bool)> = routes::table()
        .iter()
        .map(|route| (route.path.to_owned(), route.method.to_owned(), route.open))
        .collect();
    let mut described = Vec::new();
    for (path, operations) in openapi()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let open = operation["security"] == json!([]);
            described.push((path.clone(), method.to_ascii_uppercase(), open));
        }
    }
    served.sort();
    described.sort();
    assert_eq!(served, described);
}

/// As much of JSON Schema as the document uses. Gives the first misfit.
fn misfit(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document
            .pointer(reference.strip_prefix('#').unwrap())
            .unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return misfit(document, target, value, at);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().find_map(|one| misfit(document, one, value, at));
    }
    if let Some(one_of) = schema["oneOf"].as_array() {
        let fits = one_of
            .iter()
            .filter(|one| misfit(document, one, value, at).is_none())
            .count();
        return (fits != 1).then(|| format!("{at}: {value} fits {fits} of its forms"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number");
    if !fits {
        return Some(format!("{at}: {value} is {kind}, not {kinds:?}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{at}: {value} is not among its words"));
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        return items.iter().find_map(|item| misfit(document, schema, item, at));
    }
    let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else {
        return None;
    };
    let required = schema["required"].as_array().into_iter().flatten();
    let missing = required
        .filter_map(Value::as_str)
        .find(|name| !fields.contains_key(*name));
    if let Some(name) = missing {
        return Some(format!("{at}.{name} is missing"));
    }
    fields
        .iter()
        .find_map(|(name, field)| match properties.get(name) {
            Some(schema) => misfit(document, schema, field, &format!("{at}.{name}")),
            None => Some(format!("{at}.{name} is not described")),
        })
}

fn answer_schema<'d>(document: &'d Value, method: &str, path: &str) -> &'d Value {
    let pointer = format!(
        "/paths/{}/{method}/responses/200/content/application~1json/schema",
        path.replace('/', "~1")
    );
    document.pointer(&pointer).unwrap()
}

async fn put_off(site: &Site) {
    let build = build("1.0");
    let act = crate::store::NewWaitingAct {
        plugin_id: PLUGIN.parse().unwrap(),
        artifact_digest: build.digest,
        action: crate::words::Action::Quarantine,
        reason: base::Reason::UndeclaredHost,
        clause: "tiers.medium.on_breach".into(),
        enabled_by: "ops".into(),
        why: "11 running plugins would stop and the clause allows 10".into(),
        due_at: None,
        expires_at: NOW.plus_seconds(60),
    };
    assert!(site.store().ask_to_wait(act, NOW).await.unwrap());
}

#[tokio::test]
async fn answers_are_as_the_openapi_document_describes_them() {
    let site = Site::new();
    let (api, report_id) = with_report(&site).await;
    let document = openapi();
    let build = build("1.0");
    let check = |method: &str, path: &str, answer: (StatusCode, Value)| {
        assert_eq!(answer.0, StatusCode::OK, "{path}: {}", answer.1);
        let schema = answer_schema(&document, method, path);
        assert_eq!(misfit(&document, schema, &answer.1, path), None);
        answer.1
    };
    let letter = crate::outbox::tests::letter("<1@acme.example>");
    crate::outbox::queue(&site.store(), &[letter], NOW).await.unwrap();
    let dead = crate::store::MailFate::Dead {
        error: "550".into(),
        unreachable: false,
    };
    site.store().settle_mail(1, NOW, dead).await.unwrap();

    check("post", "/v1/admissions", admit(&api, &build).await);
    let run = json!({"artifact_digest": build.digest, "valid_for_s": 60, "listeners": ["unix"], "who": "ada",
        "sources": ["192.0.2.7"]});
    let started = check("post", "/v1/runs", post(&api, "/v1/runs", run).await);
    let artifact = format!("/v1/artifacts/{}", build.digest);
    check("get", "/v1/artifacts/{digest}", get(&api, &artifact).await);
    let end = format!("/v1/runs/{}/end", started["run_id"].as_str().unwrap());
    check("post", "/v1/runs/{run_id}/end", post(&api, &end, json!({})).await);
    let tier = json!({"plugin_id": PLUGIN, "tier": "high", "who": "ada", "note": "trusted"});
    check("post", "/v1/tiers", post(&api, "/v1/tiers", tier).await);
    let changes = "/v1/crl/changes";
    check("post", changes, post(&api, changes, quarantine(&build)).await);
    put_off(&site).await;
    check("get", "/v1/waiting", get(&api, "/v1/waiting").await);
    let decide = json!({"approve": true, "who": "ada", "note": "seen"});
    let decided = post(&api, "/v1/waiting/1/decide", decide).await;
    check("post", "/v1/waiting/{waiting_id}/decide", decided);
    let kill = json!({"target": "*", "who": "ada"});
    check("post", "/v1/kill", post(&api, "/v1/kill", kill).await);
    let safe_mode = json!({"on": true, "who": "ada"});
    check(
        "post",
        "/v1/safe-mode",
        post(&api, "/v1/safe-mode", safe_mode).await,
    );
    let reload = post(&api, "/v1/reload", json!({"who": "ada"})).await;
    check("post", "/v1/reload", reload);
    let archived = post(&api, "/v1/archive", json!({"who": "ada"})).await;
    check("post", "/v1/archive", archived);
    let pruned = post(&api, "/v1/archive/prune", json!({"keep_s": 0, "who": "ada"})).await;
    check("post", "/v1/archive/prune", pruned);
    let expired = post(&api, "/v1/archive/expire", json!({"who": "ada"})).await;
    check("post", "/v1/archive/expire", expired);
    check("get", "/v1/audits", get(&api, "/v1/audits").await);
    let audit = json!({"from": NOW, "dry_run": true, "who": "ada"});
    check("post", "/v1/audits", post(&api, "/v1/audits", audit).await);
    let send = json!({"who": "ada"});
    let path = format!("/v1/reports/{report_id}/send");
    check(
        "post",
        "/v1/reports/{report_id}/send",
        post(&api, &path, send.clone()).await,
    );
    check(
        "post",
        "/v1/mails/{mail_id}/again",
        post(&api, "/v1/mails/1/again", send.clone()).await,
    );
    check(
        "post",
        "/v1/mails/again",
        post(&api, "/v1/mails/again", send).await,
    );
    let bounced = json!({"address": "owner@acme.example", "why": "550 5.1.1", "who": "ada"});
    let path = "/v1/contacts/bounced";
    check("post", path, post(&api, path, bounced).await);
    let path = "/v1/contacts/ask";
    let ask = json!({"address": "owner@acme.example", "who": "ada"});
    check("post", path, post(&api, path, ask).await);
    let token = crate::contacts::token_text(&[7; 16]);
    let act = crate::store::Act {
        at: NOW,
        who: "ada".into(),
        action: crate::words::Action::ContactAsked,
        target: "owner@acme.example".into(),
        reason: None,
        note: None,
        clause: None,
        enabled_by: None,
        crl_number: None,
    };
    let digest = Sha256Digest::of(token.as_bytes());
    site.store()
        .ask_contact("owner@acme.example".into(), digest, NOW, act)
        .await
        .unwrap();
    let path = "/v1/contacts/confirm";
    let confirm = json!({"token": token, "who": "ada"});
    check("post", path, post(&api, path, confirm.clone()).await);
    assert_eq!(
        code(&post(&api, path, confirm).await),
        (404, "not_found"),
        "a token is good once"
    );
    for (template, path) in [
        ("/v1/plugins", "/v1/plugins".to_owned()),
        ("/v1/plugins/{plugin_id}", format!("/v1/plugins/{PLUGIN}")),
        (
            "/v1/runs",
            format!("/v1/runs?plugin_id={PLUGIN}&live=false&limit=5"),
        ),
        ("/v1/crl", "/v1/crl".to_owned()),
        ("/v1/crl/why/{target}", format!("/v1/crl/why/{PLUGIN}")),
        ("/v1/reports", format!("/v1/reports?plugin_id={PLUGIN}")),
        ("/v1/reports/{report_id}", format!("/v1/reports/{report_id}")),
        ("/v1/mails", "/v1/mails?state=queued&limit=7".to_owned()),
        ("/v1/contacts", "/v1/contacts".to_owned()),
        ("/v1/appeals", "/v1/appeals?open=true".to_owned()),
        ("/v1/remediations", "/v1/remediations".to_owned()),
        ("/v1/acts", "/v1/acts".to_owned()),
        ("/v1/status", "/v1/status".to_owned()),
    ] {
        check("get", template, get(&api, &path).await);
    }
    let refused = get(&api, "/v1/artifacts/nothing").await.1;
    let schema = json!({"$ref": "#/components/schemas/Error"});
    assert_eq!(misfit(&document, &schema, &refused, "error"), None);
}

/// Whether `full` is read, is as described, and can do without exactly what is not required.
fn check_request<T: serde::de::DeserializeOwned>(name: &str, full: &Value) {
    let document = openapi();
    let schema = &document["components"]["schemas"][name];
    assert_eq!(schema["additionalProperties"], json!(false), "{name}");
    assert_eq!(misfit(&document, schema, full, name), None);
    let fields = full.as_object().unwrap();
    let described = schema["properties"].as_object().unwrap();
    assert!(described.keys().eq(fields.keys()), "{name}: the example is full");
    assert!(serde_json::from_value::<T>(full.clone()).is_ok(), "{name}");
    let required: Vec<&str> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for field in fields.keys() {
        let mut without = full.clone();
        without.as_object_mut().unwrap().remove(field);
        let read = serde_json::from_value::<T>(without).is_ok();
        assert_eq!(read, !required.contains(&field.as_str()), "{name}.{field}");
    }
}

#[test]
fn requests_are_as_the_openapi_document_describes_them() {
    let digest = build("1.0").digest;
    let (sha, run_id) = (Sha256Digest::of(b"x"), RunId::from_parts(1, [0; 10]));
    check_request::<types::AdmitRequest>(
        "AdmitRequest",
        &json!({"file_name": "a.whl", "size_bytes": 1, "artifact_digest": digest, "manifest_bundle": "e30=",
            "manifest_json": "e30=", "approval_bundle": "e30=", "sbom_digest": sha,
            "components": [{"name": "openai", "version": "2.1"}], "tier": "low",
            "supersede": true, "mends": "0".repeat(32), "who": "ada"}),
    );
    check_request::<types::SetTierRequest>(
        "SetTierRequest",
        &json!({"plugin_id": PLUGIN, "tier": "low", "who": "ada", "note": "x"}),
    );
    check_request::<types::StartRunRequest>(
        "StartRunRequest",
        &json!({"artifact_digest": digest, "valid_for_s": 1, "client_key": "PEM", "listeners": ["unix", "tcp"],
            "uid": 1000, "sources": ["192.0.2.7"], "loopback_sources": true, "data_class": "official",
            "who": "ada"}),
    );
    check_request::<types::EndRunRequest>("EndRunRequest", &json!({"exit_status": -1}));
    let change = json!({"action": "revoke", "target": "acme", "reason": "malware"});
    check_request::<types::ListChange>("ListChange", &change);
    check_request::<types::ChangeRequest>(
        "ChangeRequest",
        &json!({"changes": [change], "who": "policy", "note": "x", "clause": "c", "enabled_by": "ada"}),
    );
    check_request::<types::KillRequest>(
        "KillRequest",
        &json!({"target": "*", "lift": true, "reason": "malware", "who": "ada", "note": "x"}),
    );
    check_request::<types::SafeModeRequest>(
        "SafeModeRequest",
        &json!({"on": true, "who": "ada", "note": "x"}),
    );
    check_request::<types::AuditRequest>(
        "AuditRequest",
        &json!({"from": NOW, "to": NOW, "plugin_id": PLUGIN, "run_id": run_id, "manifest": {}, "policy": "version = 1",
            "tier": "low", "observed": true, "full": true, "dry_run": true, "who": "ada"}),
    );
    check_request::<types::DecideRequest>(
        "DecideRequest",
        &json!({"approve": true, "who": "ada", "note": "x"}),
    );
    check_request::<types::ReloadRequest>("ReloadRequest", &json!({"who": "ada"}));
    check_request::<types::ArchiveRequest>("ArchiveRequest", &json!({"all": true, "who": "ada"}));
    check_request::<types::PruneRequest>(
        "PruneRequest",
        &json!({"keep_s": 86400, "dry_run": true, "who": "ada"}),
    );
    check_request::<types::ExpireRequest>("ExpireRequest", &json!({"dry_run": true, "who": "ada"}));
    check_request::<types::SendRequest>("SendRequest", &json!({"who": "ada"}));
    check_request::<types::OpenAppealRequest>(
        "OpenAppealRequest",
        &json!({"finding_id": "0".repeat(32), "reason": "declared", "statement": "x", "who": "ada"}),
    );
    check_request::<types::RespondRequest>("RespondRequest", &json!({"response": "x", "who": "ada"}));
    check_request::<types::DecideAppealRequest>(
        "DecideAppealRequest",
        &json!({"outcome": "granted", "decision": "x", "who": "ada"}),
    );
    check_request::<types::AskRequest>("AskRequest", &json!({"address": "a@b.example", "who": "ada"}));
    check_request::<types::ConfirmRequest>("ConfirmRequest", &json!({"token": "x", "who": "ada"}));
    check_request::<types::BounceRequest>(
        "BounceRequest",
        &json!({"address": "a@b.example", "why": "550", "who": "ada"}),
    );
}

#[test]
fn the_words_in_the_openapi_document_are_the_words_of_the_code() {
    let document = openapi();
    let words = |name: &str| document["components"]["schemas"][name]["enum"].clone();
    assert_eq!(words("Reason"), json!(base::Reason::ALL));
    assert_eq!(words("Tier"), json!(base::Tier::ALL));
    assert_eq!(words("ArtifactState"), json!(base::ArtifactState::ALL));
    assert_eq!(words("Verdict"), json!(Verdict::ALL));
    assert_eq!(words("Severity"), json!(base::Severity::ALL));
    assert_eq!(words("Action"), json!(crate::words::Action::ALL));
    assert_eq!(words("MailState"), json!(crate::words::MailState::ALL));
    assert_eq!(words("WaitingState"), json!(crate::words::WaitingState::ALL));
    assert_eq!(words("AppealReason"), json!(crate::words::AppealReason::ALL));
    assert_eq!(words("AppealOutcome"), json!(crate::words::AppealOutcome::ALL));
    assert_eq!(words("Lane"), json!(crate::words::Lane::ALL));
    assert_eq!(words("Form"), json!(crate::words::Form::ALL));
    assert_eq!(words("ListenerKind"), json!(crate::words::ListenerKind::ALL));
}
