//! The outbox, and the addresses that letters go to.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{ContactRecord, MailRecord};
use crate::words::MailState;

/// One letter of `GET /v1/mails`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailView {
    /// Its number.
    pub mail_id: i64,
    /// Its Message-ID.
    pub message_id: String,
    /// The recipient.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// How it stands.
    pub state: MailState,
    /// How often a server was asked to take it.
    pub attempts: u32,
    /// When it is tried next, while queued.
    pub next_attempt_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When the server took it.
    pub sent_at: Option<Timestamp>,
}

impl From<MailRecord> for MailView {
    fn from(record: MailRecord) -> Self {
        Self {
            mail_id: record.mail_id,
            message_id: record.message_id,
            to: record.recipient,
            subject: record.subject,
            state: record.state,
            attempts: record.attempts,
            next_attempt_at: (record.state == MailState::Queued).then_some(record.next_attempt_at),
            last_error: record.last_error,
            created_at: record.created_at,
            sent_at: record.sent_at,
        }
    }
}

/// The answer to `GET /v1/mails`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailList {
    /// The latest first.
    pub mails: Vec<MailView>,
}

/// The query of `GET /v1/mails`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailQuery {
    /// Letters in this state only; `dead` lists what was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<MailState>,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One address of `GET /v1/contacts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactView {
    /// The address.
    pub address: String,
    /// When its reader was last asked to send a token back.
    pub asked_at: Option<Timestamp>,
    /// When a token came back.
    pub verified_at: Option<Timestamp>,
    /// When mail to it last came back, unless later mail was taken.
    pub bounced_at: Option<Timestamp>,
    /// What was said then.
    pub bounce: Option<String>,
}

impl From<ContactRecord> for ContactView {
    fn from(record: ContactRecord) -> Self {
        Self {
            address: record.address,
            asked_at: record.asked_at,
            verified_at: record.verified_at,
            bounced_at: record.bounced_at,
            bounce: record.bounce,
        }
    }
}

/// The answer to `GET /v1/contacts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactList {
    /// In the order of their addresses.
    pub contacts: Vec<ContactView>,
}

/// `POST /v1/contacts/ask`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// Whom to mail a token.
    pub address: String,
    /// Who asks.
    pub who: String,
}

/// `POST /v1/contacts/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The token that came back.
    pub token: String,
    /// Who received it.
    pub who: String,
}

/// `POST /v1/contacts/bounced`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BounceRequest {
    /// The address that mail came back from.
    pub address: String,
    /// What the message about it said, in one line.
    pub why: String,
    /// Who received it.
    pub who: String,
}

/// `POST /v1/mails/again`: every dead letter and every webhook that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAgain {
    /// Letters back in the outbox.
    pub mails: u64,
    /// Webhooks back in the queue.
    pub webhooks: u64,
}
