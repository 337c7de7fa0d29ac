//! `bailiwick approve-act`: what a clause of the policy asked for, and a second person decides.

use control::api::types::{DecideRequest, WaitingList, WaitingView};

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// `bailiwick approve-act` arguments.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["number", "list"])))]
pub struct ApproveActArgs {
    /// The act, by its number
    number: Option<i64>,
    /// List the acts that wait
    #[arg(long)]
    list: bool,
    /// With --list: those that were decided or lapsed, too
    #[arg(long, requires = "list")]
    all: bool,
    /// Leave things as they are; the act will not be done
    #[arg(long, conflicts_with = "list")]
    reject: bool,
    /// Why, for the record
    #[arg(long, conflicts_with = "list")]
    note: Option<String>,
}

/// Runs `bailiwick approve-act`. What is approved is done at once, in the clause's name.
///
/// # Errors
/// The control plane cannot be reached, the act waits no more, or the one who approves is the one who
/// switched the clause on.
pub async fn run(args: &ApproveActArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let client = Client::open(config).await?;
    let Some(number) = args.number else {
        let query = if args.all { "" } else { "?state=waiting" };
        let list: WaitingList = client.get(&format!("/v1/waiting{query}")).await?;
        output::print(format, &list, || {
            if list.waiting.is_empty() {
                return "nothing waits".to_owned();
            }
            list.waiting.iter().map(text).collect::<Vec<_>>().join("\n")
        })?;
        return Ok(Exit::Done);
    };
    let request = DecideRequest {
        approve: !args.reject,
        who: who(),
        note: args.note.clone(),
    };
    let path = format!("/v1/waiting/{number}/decide");
    let decided: WaitingView = client.post(&path, &request).await?;
    output::print(format, &decided, || text(&decided))?;
    Ok(Exit::Done)
}

fn text(act: &WaitingView) -> String {
    let when = match act.due_at {
        Some(due) => format!("done by itself at {due}, unless rejected"),
        None => format!("lapses at {}", act.expires_at),
    };
    let decided = act.decided_by.as_ref().map_or(when, |by| {
        let list = act
            .crl_number
            .map_or(String::new(), |number| format!(", list {number}"));
        format!("{} by {by}{list}", act.state)
    });
    output::for_terminal(&format!(
        "{}  {} {} {} ({})",
        act.waiting_id, act.action, act.plugin_id, act.artifact_digest, act.reason
    )) + &format!(
        "\n    {}; {decided}\n    {}, enabled by {}",
        output::for_terminal(&act.why),
        output::for_terminal(&act.clause),
        output::for_terminal(&act.enabled_by)
    )
}
