//! `bailiwick status`: what is running and how old everything is.

use control::api::types::{MailList, MailView, StatusView};
use serde::Serialize;

use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format, styled};

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    status: StatusView,
    mails: Mails,
}

#[derive(Serialize)]
struct Mails {
    pending: u64,
    sent: usize,
    dead: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// Runs `bailiwick status`.
///
/// # Errors
/// The data folder cannot be opened.
pub async fn run(config: &Config, format: Format) -> anyhow::Result<Exit> {
    let client = Client::open(config).await?;
    let status: StatusView = client.get("/v1/status").await?;
    let sent: MailList = client.get("/v1/mails?state=sent").await?;
    let queued: MailList = client.get("/v1/mails?state=queued").await?;
    let trouble = |mail: MailView| mail.last_error;
    let view = View {
        mails: Mails {
            pending: status.mails_queued,
            sent: sent.mails.len(),
            dead: status.mails_dead,
            last_error: queued.mails.into_iter().find_map(trouble),
        },
        status,
    };
    output::print(format, &view, || text(&view))?;
    Ok(Exit::Done)
}

fn text(view: &View) -> String {
    let status = &view.status;
    let warn = |text: &str| styled("33", text);
    let mut lines = vec![format!("site            {}", status.site)];
    let mut say = |name: &str, text: String| lines.push(format!("{name:<15} {text}"));
    if status.gateways.is_empty() {
        say("gateway", warn("not running; start it with: bailiwick serve"));
    }
    for gateway in &status.gateways {
        let state = if gateway.ready {
            "ready".to_owned()
        } else {
            warn("not ready; see the evidence runbook")
        };
        say(
            "gateway",
            format!(
                "{} on {}: {state}, {} listener(s) and {} source(s) of single runs, {} live tunnel(s), {} log entries, list {}",
                gateway.name,
                gateway.listen.join(" "),
                gateway.run_listeners,
                gateway.run_sources,
                gateway.live_tunnels,
                gateway.log_size,
                gateway.crl_number
            ),
        );
    }
    for gateway in &status.gateways {
        let witnessing = &gateway.witnessing;
        if witnessing.needed == 0 && witnessing.cosignatures.is_empty() {
            say(
                "witnesses",
                "none asked; that the log is all there rests on this machine alone".to_owned(),
            );
            continue;
        }
        let count = format!(
            "{} of {} needed cosigned {} entries",
            witnessing.cosignatures.len(),
            witnessing.needed,
            witnessing.size
        );
        if witnessing.met {
            say("witnesses", count);
        } else {
            say(
                "witnesses",
                warn(&format!("{count}: the quorum is not met; see its runbook")),
            );
        }
        for trouble in &witnessing.troubles {
            say("", warn(&format!("{}: {}", trouble.witness, trouble.why)));
        }
    }
    let age = if status.crl.stale {
        warn("stale since")
    } else {
        "good until".to_owned()
    };
    say(
        "revocations",
        format!(
            "list {}, {} entries, {age} {}",
            status.crl.crl_number, status.crl.entries, status.crl.next_update
        ),
    );
    if !status.crl.kill_switch.is_empty() {
        say(
            "kill switch",
            warn(&format!("stops {}", status.crl.kill_switch.join(" "))),
        );
    }
    if status.safe_mode {
        say("safe mode", warn("on: the load gate refuses everything"));
    }
    let states: Vec<_> = status
        .artifacts
        .iter()
        .map(|count| format!("{} {}", count.count, count.state))
        .collect();
    say("plugins", format!("{} ({})", status.plugins, states.join(", ")));
    say("live runs", status.live_runs.to_string());
    say("policy", format!("version {}", status.policy_version));
    say(
        "trust root",
        format!(
            "version {}, until {}",
            status.trust_root_version, status.trust_root_expires
        ),
    );
    let night = status
        .last_night
        .as_ref()
        .map_or("never held".to_owned(), |night| {
            format!(
                "up to {}: {}",
                night.to,
                night.outcome.as_deref().unwrap_or("not finished")
            )
        });
    say("last audit", night);
    say("reports", status.reports.to_string());
    let trouble = view
        .mails
        .last_error
        .as_ref()
        .map(|error| warn(&format!("; {error}")))
        .unwrap_or_default();
    say(
        "mail",
        format!(
            "{} sent, {} waiting, {} given up{trouble}",
            view.mails.sent, view.mails.pending, view.mails.dead
        ),
    );
    if status.webhooks_queued + status.webhooks_dead > 0 {
        say(
            "webhook",
            warn(&format!(
                "{} waiting, {} given up",
                status.webhooks_queued, status.webhooks_dead
            )),
        );
    }
    lines.join("\n")
}
