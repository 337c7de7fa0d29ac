//! Contacts: which addresses are known to have a reader, and which are known to have none.

use base::Sha256Digest;

use super::names::{check_note, check_who};
use super::{Office, OfficeError, act};
use crate::api::types::{BounceRequest, ConfirmRequest, ContactList, ContactView};
use crate::contacts::read_token;
use crate::words::Action;

impl Office {
    /// Every address that something is known of.
    ///
    /// # Errors
    /// [`OfficeError::Store`].
    pub async fn contacts(&self) -> Result<ContactList, OfficeError> {
        let contacts = self.inner.store.contacts().await?;
        Ok(ContactList {
            contacts: contacts.into_iter().map(ContactView::from).collect(),
        })
    }

    /// A token came back from an address.
    ///
    /// # Errors
    /// [`OfficeError::Request`] where it is no token, [`OfficeError::Unknown`] where it was sent to
    /// nobody or came back before.
    pub async fn confirm_contact(&self, request: ConfirmRequest) -> Result<ContactView, OfficeError> {
        check_who(&request.who)?;
        let token = read_token(&request.token).ok_or_else(|| OfficeError::Request {
            what: "a token is 32 hex digits, as the letter shows it".to_owned(),
        })?;
        let digest = Sha256Digest::of(token.as_bytes());
        let store = &self.inner.store;
        let confirmed = store.confirm_contact(digest, self.now(), request.who).await?;
        let address = confirmed.ok_or_else(|| OfficeError::Unknown {
            what: "open token",
            name: token,
            command: "contact list",
        })?;
        self.contact(&address).await
    }

    /// Mail to an address came back by another way than the mail server's answer.
    ///
    /// # Errors
    /// [`OfficeError::Request`] where the address is none.
    pub async fn bounce_contact(&self, request: BounceRequest) -> Result<ContactView, OfficeError> {
        check_who(&request.who)?;
        check_note(Some(&request.why))?;
        let address: reports::mail::Address =
            request
                .address
                .parse()
                .map_err(|error: reports::mail::InvalidAddress| OfficeError::Request {
                    what: error.to_string(),
                })?;
        let now = self.now();
        let act = act(
            now,
            &request.who,
            Action::ContactBounced,
            &address,
            Some(request.why.clone()),
        );
        let store = &self.inner.store;
        store
            .bounce_contact(address.to_string(), request.why, now, act)
            .await?;
        self.contact(address.as_str()).await
    }

    async fn contact(&self, address: &str) -> Result<ContactView, OfficeError> {
        let contacts = self.inner.store.contacts().await?;
        let found = contacts.into_iter().find(|contact| contact.address == address);
        found.map(ContactView::from).ok_or_else(|| OfficeError::Unknown {
            what: "contact",
            name: address.to_owned(),
            command: "contact list",
        })
    }
}
