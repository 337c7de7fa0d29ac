//! The keeper of the list: the folder it lies in, and the copy in force.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base::Timestamp;
use crl::{Accepted, Change, Terms};
use seal::SigningKey;
use seal::trust::TrustRoot;

use super::OfficeError;

/// Keeps one site's list.
pub(super) struct Keeper {
    issuer: String,
    store: Arc<Mutex<crl::store::Store>>,
    current: RwLock<Option<Arc<Accepted>>>,
}

impl Keeper {
    /// Opens the folder and loads the list in it, if there is one.
    pub(super) async fn open(folder: &Path, issuer: &str, root: &TrustRoot) -> Result<Self, OfficeError> {
        let keeper = Self {
            issuer: issuer.to_owned(),
            store: Arc::new(Mutex::new(crl::store::Store::open(folder)?)),
            current: RwLock::new(None),
        };
        keeper.load(root).await?;
        Ok(keeper)
    }

    /// The list in force.
    ///
    /// An office is only handed out once its first list was issued, so there always is one.
    pub(super) fn current(&self) -> Arc<Accepted> {
        self.in_force().expect("an open office has a list")
    }

    pub(super) fn in_force(&self) -> Option<Arc<Accepted>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes what the folder holds.
    pub(super) async fn load(&self, root: &TrustRoot) -> Result<(), OfficeError> {
        let (store, root, issuer) = (Arc::clone(&self.store), root.clone(), self.issuer.clone());
        let loaded = tokio::task::spawn_blocking(move || {
            store
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .load(&root, &issuer)
        })
        .await
        .map_err(|_| OfficeError::Interrupted)??;
        if let Some(accepted) = loaded {
            self.put(accepted);
        }
        Ok(())
    }

    /// Issues the next list and makes it durable; only then is it in force here.
    ///
    /// A save that fails half-way may have succeeded all the same: the folder is asked which list it
    /// holds now, and its answer is the truth.
    pub(super) async fn issue(
        &self,
        changes: Vec<Change>,
        root: &TrustRoot,
        now: Timestamp,
        validity: Duration,
        key: &SigningKey,
    ) -> Result<Arc<Accepted>, OfficeError> {
        let terms = Terms {
            issuer: &self.issuer,
            root_version: root.version,
            now,
            validity,
        };
        let previous = self.in_force();
        let previous = previous.as_ref().map(|accepted| accepted.list());
        let published = crl::publish(previous, &changes, &terms, key)?.into_accepted();
        let number = published.list().crl_number();
        let store = Arc::clone(&self.store);
        let (saved, published) = tokio::task::spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            (store.save(&published), published)
        })
        .await
        .map_err(|_| OfficeError::Interrupted)?;
        match saved {
            Ok(()) => Ok(self.put(published)),
            Err(error) => {
                // Whatever this says about the folder, the first error is the one to tell.
                let _ = self.load(root).await;
                match self.in_force() {
                    Some(held) if held.list().crl_number() == number => Ok(held),
                    _ => Err(error.into()),
                }
            }
        }
    }

    fn put(&self, accepted: Accepted) -> Arc<Accepted> {
        let accepted = Arc::new(accepted);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&accepted));
        accepted
    }
}
