//! `bailiwick contact`: whether anybody reads where owners are written to.

use clap::Subcommand;
use control::api::types::{AskRequest, BounceRequest, ConfirmRequest, ContactList, ContactView, Queued};

use super::who;
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{self, Format};

/// What to do about contacts.
#[derive(Debug, Subcommand)]
pub enum ContactCommand {
    /// List addresses: who answered, and where mail came back from
    List,
    /// Mail a token to an address, for its reader to send back
    Ask {
        /// The address
        address: String,
    },
    /// A token came back
    Confirm {
        /// The token, as the letter shows it
        token: String,
    },
    /// Mail to an address came back
    Bounced {
        /// The address
        address: String,
        /// What the message about it said
        #[arg(long)]
        why: String,
    },
}

/// Runs `bailiwick contact`.
///
/// # Errors
/// The control plane cannot be reached, or refuses.
pub async fn run(command: &ContactCommand, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let client = Client::open(config).await?;
    match command {
        ContactCommand::List => {
            let list: ContactList = client.get("/v1/contacts").await?;
            output::print(format, &list, || {
                if list.contacts.is_empty() {
                    return "nothing is known of any address; ask one with: bailiwick contact ask ADDRESS"
                        .to_owned();
                }
                list.contacts.iter().map(line).collect::<Vec<_>>().join("\n")
            })?;
        }
        ContactCommand::Ask { address } => {
            let request = AskRequest {
                address: address.clone(),
                who: who(),
            };
            let queued: Queued = client.post("/v1/contacts/ask", &request).await?;
            output::print(format, &queued, || {
                format!(
                    "a token is on its way to {address}; when it comes back: bailiwick contact confirm TOKEN"
                )
            })?;
        }
        ContactCommand::Confirm { token } => {
            let request = ConfirmRequest {
                token: token.clone(),
                who: who(),
            };
            let contact: ContactView = client.post("/v1/contacts/confirm", &request).await?;
            output::print(format, &contact, || line(&contact))?;
        }
        ContactCommand::Bounced { address, why } => {
            let request = BounceRequest {
                address: address.clone(),
                why: why.clone(),
                who: who(),
            };
            let contact: ContactView = client.post("/v1/contacts/bounced", &request).await?;
            output::print(format, &contact, || line(&contact))?;
        }
    }
    Ok(Exit::Done)
}

fn line(contact: &ContactView) -> String {
    let address = &contact.address;
    match (contact.bounced_at, contact.verified_at, contact.asked_at) {
        (Some(at), _, _) => format!(
            "{address}  mail came back at {at}: {}",
            base::escape_untrusted(contact.bounce.as_deref().unwrap_or("").as_bytes(), 200)
        ),
        (None, Some(at), _) => format!("{address}  verified at {at}"),
        (None, None, Some(at)) => format!("{address}  asked at {at}, no answer yet"),
        (None, None, None) => format!("{address}  not asked yet"),
    }
}
