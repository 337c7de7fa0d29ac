//! The outbox: letters are written down before anybody tries to send them.
//!
//! Queueing is idempotent by Message-ID and recipient, so whoever was interrupted may queue the same
//! letters again. The bytes are frozen when queued: every attempt carries the same letter under the
//! same Message-ID and date, so that a mailbox can tell a repetition from news.

use base::{Sha256Digest, Timestamp};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body as LetterBody, Mailbox, Message, MultiPart, SinglePart};

use crate::store::{NewMail, Store, StoreError};

/// A letter, before it is written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The sender, as `Name <address>` or an address alone.
    pub from: String,
    /// The recipients, likewise; at least one.
    pub to: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The Message-ID, with its angle brackets.
    pub message_id: String,
    /// The Date.
    pub date: Timestamp,
    /// Further headers, such as `Auto-Submitted`.
    pub headers: Vec<(String, String)>,
    /// The body for people who read text.
    pub text: String,
    /// The body for people who read HTML.
    pub html: Option<String>,
    /// Pictures that the HTML shows, each with the content id by which it names it.
    pub pictures: Vec<(String, AttachedFile)>,
    /// Files.
    pub attachments: Vec<AttachedFile>,
    /// What it is about, where a second letter about the same must not follow too soon.
    pub topic: Option<String>,
}

/// A file in a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedFile {
    /// Its name, without folders.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Why a letter was not written out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLetter {
    /// Nobody to send it to.
    #[error("a letter needs a recipient")]
    NoRecipient,
    /// Not an address.
    #[error("{address:?} is not a mail address")]
    Address {
        /// What was written.
        address: String,
    },
    /// A control character where one would start a header of its own.
    #[error("the {field} of a letter holds a control character")]
    Control {
        /// Which field.
        field: &'static str,
    },
    /// A header that is not one, or that this letter has already.
    #[error("{name:?} is not a header that can be added to a letter")]
    Header {
        /// Its name.
        name: String,
    },
    /// A Message-ID that is none.
    #[error("{message_id:?} is not a Message-ID such as <name@host>")]
    MessageId {
        /// What was written.
        message_id: String,
    },
    /// A media type that is none.
    #[error("{media_type:?} is not a media type")]
    MediaType {
        /// What was written.
        media_type: String,
    },
}

/// Why letters were not queued.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// A letter cannot be written out; none of them was queued.
    #[error(transparent)]
    Letter(#[from] InvalidLetter),
    /// The outbox cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Headers that a letter has anyway.
const OWN_HEADERS: [&str; 10] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];

/// Queues letters, all or none; gives how many deliveries are new.
///
/// # Errors
/// [`QueueError`].
pub async fn queue(store: &Store, letters: &[Letter], now: Timestamp) -> Result<u64, QueueError> {
    let mut mails = Vec::new();
    for letter in letters {
        mails.extend(letter.write_out()?);
    }
    Ok(store.queue_mails(mails, now).await?)
}

impl Letter {
    /// A letter as the reports room writes them, dated `date`.
    pub fn from_mail(mail: &reports::mail::Mail, date: Timestamp) -> Self {
        let file = |file: &reports::mail::Attachment| AttachedFile {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            bytes: file.bytes.clone(),
        };
        Self {
            from: mail.from.to_string(),
            to: mail.to.iter().map(ToString::to_string).collect(),
            subject: mail.subject.clone(),
            message_id: mail.message_id.clone(),
            date,
            headers: mail.headers.clone(),
            text: mail.text.clone(),
            html: Some(mail.html.clone()),
            pictures: mail
                .pictures
                .iter()
                .map(|picture| (picture.content_id.clone(), file(&picture.file)))
                .collect(),
            attachments: mail.attachments.iter().map(file).collect(),
            topic: None,
        }
    }

    /// The letter's bytes, once per recipient.
    ///
    /// # Errors
    /// [`InvalidLetter`].
    pub fn write_out(&self) -> Result<Vec<NewMail>, InvalidLetter> {
        self.check()?;
        let from = mailbox(&self.from)?;
        let to = self
            .to
            .iter()
            .map(|address| mailbox(address))
            .collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(InvalidLetter::NoRecipient);
        }
        let mut builder = Message::builder()
            .from(from.clone())
            .subject(self.subject.clone())
            .message_id(Some(self.message_id.clone()))
            .date(moment(self.date));
        for recipient in &to {
            builder = builder.to(recipient.clone());
        }
        for (name, value) in &self.headers {
            builder = builder.raw_header(header(name, value)?);
        }
        let message = builder
            .multipart(self.body()?)
            .expect("a letter with From, To and Date is complete");
        let raw = message.formatted();
        let mut recipients: Vec<String> = to.iter().map(|mailbox| mailbox.email.to_string()).collect();
        recipients.sort();
        recipients.dedup();
        Ok(recipients
            .into_iter()
            .map(|recipient| NewMail {
                message_id: self.message_id.clone(),
                recipient,
                sender: from.email.to_string(),
                subject: self.subject.clone(),
                topic: self.topic.clone(),
                raw: raw.clone(),
            })
            .collect())
    }

    fn check(&self) -> Result<(), InvalidLetter> {
        let clean = |field, text: &str| {
            if text.chars().any(char::is_control) {
                Err(InvalidLetter::Control { field })
            } else {
                Ok(())
            }
        };
        clean("sender", &self.from)?;
        clean("subject", &self.subject)?;
        self.to.iter().try_for_each(|to| clean("recipient", to))?;
        self.headers
            .iter()
            .try_for_each(|(_, value)| clean("headers", value))?;
        self.pictures
            .iter()
            .try_for_each(|(content_id, _)| clean("picture", content_id))?;
        self.pictures
            .iter()
            .map(|(_, file)| file)
            .chain(&self.attachments)
            .try_for_each(|file| clean("attachment", &file.name))?;
        let id = &self.message_id;
        let inner = id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let shaped = inner.is_some_and(|inner| {
            inner.len() <= 250
                && inner.split('@').count() == 2
                && !inner.starts_with('@')
                && !inner.ends_with('@')
                && inner
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'))
        });
        if shaped {
            Ok(())
        } else {
            Err(InvalidLetter::MessageId {
                message_id: id.clone(),
            })
        }
    }

    fn body(&self) -> Result<MultiPart, InvalidLetter> {
        // Boundaries follow from the Message-ID, so that the same letter has the same bytes.
        let boundary =
            |part: &str| Sha256Digest::of(format!("{part} {}", self.message_id).as_bytes()).to_hex();
        let mut alternative = MultiPart::alternative()
            .boundary(boundary("alternative"))
            .singlepart(SinglePart::plain(self.text.clone()));
        alternative = match &self.html {
            Some(html) if self.pictures.is_empty() => alternative.singlepart(SinglePart::html(html.clone())),
            Some(html) => {
                // RFC 2387: the page first, then what it shows.
                let mut related = MultiPart::related()
                    .boundary(boundary("related"))
                    .singlepart(SinglePart::html(html.clone()));
                for (content_id, picture) in &self.pictures {
                    let part = Attachment::new_inline_with_name(content_id.clone(), picture.name.clone());
                    related = related.singlepart(file_part(part, picture)?);
                }
                alternative.multipart(related)
            }
            None => alternative,
        };
        if self.attachments.is_empty() {
            return Ok(alternative);
        }
        let mut mixed = MultiPart::mixed()
            .boundary(boundary("mixed"))
            .multipart(alternative);
        for file in &self.attachments {
            mixed = mixed.singlepart(file_part(Attachment::new(file.name.clone()), file)?);
        }
        Ok(mixed)
    }
}

fn file_part(part: Attachment, file: &AttachedFile) -> Result<SinglePart, InvalidLetter> {
    let media_type = ContentType::parse(&file.media_type).map_err(|_| InvalidLetter::MediaType {
        media_type: file.media_type.clone(),
    })?;
    // Base64 always: a server may touch the line ends of text, and a signature would not survive.
    let bytes = LetterBody::new_with_encoding(file.bytes.clone(), ContentTransferEncoding::Base64)
        .expect("base64 encodes any bytes");
    Ok(part.body(bytes, media_type))
}

fn mailbox(text: &str) -> Result<Mailbox, InvalidLetter> {
    text.parse().map_err(|_| InvalidLetter::Address {
        address: text.to_owned(),
    })
}

fn header(name: &str, value: &str) -> Result<HeaderValue, InvalidLetter> {
    let invalid = || InvalidLetter::Header {
        name: name.to_owned(),
    };
    if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(invalid());
    }
    let header_name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| invalid())?;
    Ok(HeaderValue::new(header_name, value.to_owned()))
}

fn moment(at: Timestamp) -> std::time::SystemTime {
    let since = std::time::Duration::from_secs(u64::try_from(at.unix_s()).unwrap_or(0));
    std::time::UNIX_EPOCH + since
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A letter that says everything a letter can.
    pub(crate) fn letter(message_id: &str) -> Letter {
        Letter {
            from: "Bailiwick <bailiwick@acme.example>".into(),
            to: vec![
                "Weather team <weather@acme.example>".into(),
                "security@acme.example".into(),
            ],
            subject: "invoice_ocr went where it did not say: grüße".into(),
            message_id: message_id.into(),
            date: Timestamp::from_unix_us(1_790_000_000_000_000),
            headers: vec![("Auto-Submitted".into(), "auto-generated".into())],
            text: "It connected to api.randomsite.com.\n.\nA dot alone ends nothing.\n".into(),
            html: Some("<p>It connected to <b>api.randomsite.com</b>.</p>".into()),
            attachments: vec![AttachedFile {
                name: "report.sigstore.json".into(),
                media_type: "application/json".into(),
                bytes: b"{\"mediaType\":\"x\"}".to_vec(),
            }],
            pictures: Vec::new(),
            topic: None,
        }
    }

    #[test]
    fn a_letter_has_two_bodies_its_files_and_its_headers() {
        let mails = letter("<1@acme.example>").write_out().unwrap();
        assert_eq!(mails.len(), 2);
        assert_eq!(mails[0].recipient, "security@acme.example");
        assert_eq!(mails[0].raw, mails[1].raw);
        let raw = String::from_utf8(mails[0].raw.clone()).unwrap();
        for part in [
            "Message-ID: <1@acme.example>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "From: Bailiwick <bailiwick@acme.example>\r\n",
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "filename=\"report.sigstore.json\"",
            "Date: Mon, 21 Sep 2026",
        ] {
            assert!(raw.contains(part), "{part} is missing from\n{raw}");
        }
        assert!(
            raw.is_ascii(),
            "umlauts are encoded, so every server takes the letter"
        );
        assert!(raw.lines().all(|line| line.len() <= 998), "RFC 5322 §2.1.1");
    }

    #[test]
    fn a_mail_of_the_reports_room_becomes_a_letter_with_all_its_parts() {
        let mail = reports::mail::Mail {
            message_id: "<incident@acme.example>".into(),
            to: vec!["owner@acme.example".parse().unwrap()],
            from: "bailiwick@acme.example".parse().unwrap(),
            subject: "A promise was broken".into(),
            text: "text".into(),
            html: "<p>html</p>".into(),
            headers: vec![("References".into(), "<thread@acme.example>".into())],
            pictures: vec![reports::mail::Picture {
                content_id: "strip.1@acme.example".into(),
                file: reports::mail::Attachment {
                    name: "strip.png".into(),
                    media_type: "image/png".into(),
                    bytes: b"\x89PNG".to_vec(),
                },
            }],
            attachments: vec![reports::mail::Attachment {
                name: "report.html".into(),
                media_type: "text/html".into(),
                bytes: b"<p>".to_vec(),
            }],
        };
        let date = Timestamp::from_unix_us(1_790_000_000_000_000);
        let mails = Letter::from_mail(&mail, date).write_out().unwrap();
        assert_eq!(mails.len(), 1);
        assert_eq!(mails[0].sender, "bailiwick@acme.example");
        let raw = String::from_utf8(mails[0].raw.clone()).unwrap();
        assert!(raw.contains("References: <thread@acme.example>\r\n"), "{raw}");
        assert!(
            raw.contains("filename=\"report.html\"") && raw.contains("<p>html</p>"),
            "{raw}"
        );
        // The page and its picture belong together, inside the alternative (RFC 2387).
        let at = |words: &str| raw.find(words).unwrap_or_else(|| panic!("{words} in {raw}"));
        assert!(at("multipart/alternative") < at("multipart/related"));
        assert!(at("<p>html</p>") < at("Content-ID: <strip.1@acme.example>"));
        assert!(raw.contains("Content-Disposition: inline; filename=\"strip.png\""));
    }

    #[test]
    fn a_letter_is_written_as_in_the_golden_file() {
        let raw = letter("<incident-1@acme.example>")
            .write_out()
            .unwrap()
            .remove(0)
            .raw;
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/control/letter.eml");
        if std::env::var_os("BAILIWICK_BLESS").is_some() {
            std::fs::write(golden, &raw).unwrap();
        }
        assert!(
            std::fs::read(golden).unwrap() == raw,
            "compare with BAILIWICK_BLESS=1 and git diff"
        );
    }

    #[test]
    fn an_attachment_arrives_byte_for_byte() {
        use base64::Engine as _;
        let mut letter = letter("<1@acme.example>");
        let bytes = b"signed\nbytes\r\nstay \x00\xff as they are\n".to_vec();
        letter.attachments[0].bytes = bytes.clone();
        let raw = String::from_utf8(letter.write_out().unwrap().remove(0).raw).unwrap();
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        assert!(raw.replace("\r\n", "").contains(&encoded), "{raw}");
    }

    #[test]
    fn the_same_letter_has_the_same_bytes() {
        let once = letter("<1@acme.example>").write_out().unwrap();
        assert_eq!(once, letter("<1@acme.example>").write_out().unwrap());
        assert_ne!(
            once[0].raw,
            letter("<2@acme.example>").write_out().unwrap()[0].raw
        );
    }

    #[test]
    fn a_line_break_cannot_smuggle_a_header_in() {
        let mut subject = letter("<1@acme.example>");
        subject.subject = "Harmless\r\nBcc: everyone@acme.example".into();
        assert_eq!(
            subject.write_out().unwrap_err(),
            InvalidLetter::Control { field: "subject" }
        );
        let mut header = letter("<1@acme.example>");
        header.headers[0].1 = "x\r\nBcc: y".into();
        assert!(header.write_out().is_err());
        let mut name = letter("<1@acme.example>");
        name.headers[0].0 = "Bcc".into();
        assert!(matches!(
            name.write_out().unwrap_err(),
            InvalidLetter::Header { .. }
        ));
        let mut name = letter("<1@acme.example>");
        name.headers[0].0 = "X: y\r\nBcc".into();
        assert!(name.write_out().is_err());
        let mut file = letter("<1@acme.example>");
        file.attachments[0].name = "a\r\nb".into();
        assert!(file.write_out().is_err());
    }

    #[test]
    fn addresses_and_message_ids_are_checked_before_anything_is_queued() {
        for bad in ["", "nobody", "a@", "a b@c", "<a@b", "a@b\nRCPT TO:<c@d>"] {
            let mut letter = letter("<1@acme.example>");
            letter.to = vec![bad.into()];
            assert!(letter.write_out().is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "1@acme",
            "<1>",
            "<@a>",
            "<a@>",
            "<a b@c>",
            "<a@b@c>",
            "<a@b>\r\n",
        ] {
            assert!(letter(bad).write_out().is_err(), "{bad:?}");
        }
        let mut nobody = letter("<1@acme.example>");
        nobody.to.clear();
        assert_eq!(nobody.write_out().unwrap_err(), InvalidLetter::NoRecipient);
    }
}
