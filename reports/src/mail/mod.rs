//! Mail: the letters to owners and to the security team, as values.
//!
//! Nothing is sent here; whoever owns the socket and the outbox sends. A letter's Message-ID follows
//! from what it is about, so that the same incident is the same letter however often a night is
//! audited again, and is never sent twice. What changes the incident (another finding, another act)
//! makes another letter in the same thread.

mod address;
mod alarm;
mod contact;
mod digest;
mod identity;
mod letter;
mod owner;
mod security;
mod way_back;

use serde::{Deserialize, Serialize};

pub use address::{Address, InvalidAddress};
pub use alarm::{Reader, Sighting, alarm, alarm_topic};
pub use contact::contact_letter;
pub use digest::{Night, night_digest, urgency};
pub use identity::incident_topics;
pub use owner::owner_mail;
pub(crate) use owner::what;
pub use security::security_mail;
pub use way_back::{AppealNews, appeal_letter, closing_letter};

/// Larger files are linked, not attached.
pub const MAX_ATTACHMENT_BYTES: usize = 1 << 20;

/// One letter, ready to be handed to a mail server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The Message-ID with its angle brackets; the same for the same incident.
    pub message_id: String,
    /// The recipients.
    pub to: Vec<Address>,
    /// The sender.
    pub from: Address,
    /// One line of printable text; encoding it (RFC 2047) is for whoever writes the header.
    pub subject: String,
    /// The plain text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// Further headers in printable ASCII.
    pub headers: Vec<(String, String)>,
    /// Pictures that the HTML part shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<Picture>,
    /// Files that travel with the letter.
    pub attachments: Vec<Attachment>,
}

/// A picture inside a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// By which the HTML names it (RFC 2392), without angle brackets.
    pub content_id: String,
    /// The picture.
    pub file: Attachment,
}

/// A file that travels with a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Its name: ASCII, no folder.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its contents.
    #[serde(with = "base64_text")]
    pub bytes: Vec<u8>,
}

impl Attachment {
    /// An attachment under a harmless name, unless it is larger than [`MAX_ATTACHMENT_BYTES`].
    pub fn if_small(name: &str, media_type: &str, bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MAX_ATTACHMENT_BYTES).then(|| Self {
            name: crate::escape::file_name(name),
            media_type: media_type.to_owned(),
            bytes,
        })
    }
}

/// Bytes in JSON, for an outbox that stores letters as text.
mod base64_text {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
