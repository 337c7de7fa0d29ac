//! The letter that asks whether anybody reads an address.

use super::letter::{Group, Letter, automatic};
use super::security::plain;
use super::{Address, Mail, identity};
use crate::escape::visible;

/// Asks the reader of `to` to send `token` back to `contact`.
pub fn contact_letter(site: &str, token: &str, contact: &str, from: &Address, to: &Address) -> Mail {
    let contact = visible(contact);
    let letter = Letter {
        site: visible(site),
        tone: "quiet",
        mark: "Please confirm this address".to_owned(),
        headline: "Does somebody read mail here?".to_owned(),
        opening: vec![
            format!(
                "{to} is named as the owner's address in the manifest of a plugin at {}. If the plugin breaks its word, this is where the platform writes.",
                visible(site)
            ),
            "Please show that mail reaches you.".to_owned(),
        ],
        findings: Vec::new(),
        further: 0,
        actions: Vec::new(),
        groups: vec![Group::new(
            "What to do now",
            vec![
                plain(format!("Send this token to {contact}: {token}")),
                plain("If you own no plugin here, say so to the same address; nobody writes again.".to_owned()),
            ],
        )],
        bars: Vec::new(),
        strips: Vec::new(),
        pictures: Vec::new(),
        check: Vec::new(),
        closing: vec![
            "The token proves nothing but that you received this letter. Nobody asks you for a password or a key.".to_owned(),
        ],
    };
    letter.post(
        identity::contact_id(token, site, from, to),
        &format!("[{site}] please confirm that this address is read"),
        (from, std::slice::from_ref(to)),
        automatic(site, from),
        Vec::new(),
    )
}
