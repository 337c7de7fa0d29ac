//! `bailiwick appeal`: an owner says that a finding is wrong.

use clap::Subcommand;
use control::api::types::{
    AppealList, AppealView, DecideAppealRequest, OpenAppealRequest, RespondRequest, SendRequest,
};
use control::words::{AppealOutcome, AppealReason};
use reports::predicate::FindingId;

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// What to do about appeals.
#[derive(Debug, Subcommand)]
pub enum AppealCommand {
    /// Take down an owner's appeal against a finding
    Open {
        /// The finding's id, as reports and letters show it
        finding: FindingId,
        /// declared, not_this_plugin, evidence_wrong, platform_caused, agreed_exception, disproportionate
        #[arg(long)]
        reason: AppealReason,
        /// The owner's own words
        #[arg(long)]
        statement: Option<String>,
    },
    /// List appeals, their clocks, and which are overdue
    List {
        /// Only those that nobody decided yet
        #[arg(long)]
        open: bool,
    },
    /// Say that somebody has read an appeal
    Acknowledge {
        /// The appeal's number
        appeal: i64,
    },
    /// Answer an appeal before it is decided
    Respond {
        /// The appeal's number
        appeal: i64,
        /// The answer, which the owner is mailed
        #[arg(long)]
        text: String,
    },
    /// Decide an appeal; one that is granted lifts the hold and protects the plugin
    Decide {
        /// The appeal's number
        appeal: i64,
        /// granted or denied
        outcome: AppealOutcome,
        /// Why, which the owner is mailed
        #[arg(long)]
        text: String,
    },
}

/// Runs `bailiwick appeal`.
///
/// # Errors
/// The control plane cannot be reached, or refuses.
pub async fn run(command: &AppealCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let client = Client::open(config).await?;
    let appeal: AppealView = match command {
        AppealCommand::List { open } => {
            let list: AppealList = client.get(&format!("/v1/appeals?open={open}")).await?;
            output::print(format, &list, || {
                if list.appeals.is_empty() {
                    return "no appeals".to_owned();
                }
                list.appeals.iter().map(line).collect::<Vec<_>>().join("\n")
            })?;
            return Ok(Exit::Done);
        }
        AppealCommand::Open {
            finding,
            reason,
            statement,
        } => {
            let request = OpenAppealRequest {
                finding_id: *finding,
                reason: *reason,
                statement: statement.clone(),
                who: who(),
            };
            client.post("/v1/appeals", &request).await?
        }
        AppealCommand::Acknowledge { appeal } => {
            let path = format!("/v1/appeals/{appeal}/acknowledge");
            client.post(&path, &SendRequest { who: who() }).await?
        }
        AppealCommand::Respond { appeal, text } => {
            let request = RespondRequest {
                response: text.clone(),
                who: who(),
            };
            client
                .post(&format!("/v1/appeals/{appeal}/respond"), &request)
                .await?
        }
        AppealCommand::Decide {
            appeal,
            outcome,
            text,
        } => {
            let request = DecideAppealRequest {
                outcome: *outcome,
                decision: text.clone(),
                who: who(),
            };
            client
                .post(&format!("/v1/appeals/{appeal}/decide"), &request)
                .await?
        }
    };
    output::print(format, &appeal, || line(&appeal))?;
    Ok(Exit::Done)
}

fn line(appeal: &AppealView) -> String {
    let plain = |text: &str| base::escape_untrusted(text.as_bytes(), 300);
    let stands = match (appeal.outcome, appeal.decided_at) {
        (Some(outcome), Some(at)) => format!("{outcome} at {at}"),
        _ if !appeal.overdue.is_empty() => format!("OVERDUE: {}", appeal.overdue.join(", ")),
        _ => format!("decide by {}", appeal.decide_by),
    };
    let protected = appeal.protected_until.map_or(String::new(), |until| {
        format!("\n    protected from automatic acts until {until}")
    });
    format!(
        "{}  {}  {}  {stands}\n    {}{protected}",
        appeal.appeal_id,
        appeal.plugin_id,
        appeal.reason,
        plain(&appeal.finding)
    )
}
