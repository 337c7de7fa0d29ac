//! The lease of the night: whoever has it is the only one to publish and to act, however many instances
//! share the registry.
//!
//! It is renewed while the night lasts and expires by itself when its holder dies, so that another takes
//! over where the first one stopped. A holder that could not renew in time does nothing more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control::store::Store;
use tokio::task::JoinHandle;

use crate::clock;
use crate::random;

const NAME: &str = "night";
/// For how long the lease is good. A night that was cut short is taken up again after at most this.
const GOOD_FOR_S: i64 = 20;
const RENEWED_EVERY: Duration = Duration::from_secs(5);

/// The lease, held until it is given back or dropped.
pub struct Lease {
    store: Store,
    holder: String,
    lost: LeaseWatch,
    renewing: JoinHandle<()>,
}

/// Whether the lease is still ours.
#[derive(Clone, Debug)]
pub struct LeaseWatch(Arc<AtomicBool>);

/// Another instance may have taken over.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the lease of the night could not be renewed in time; another instance may hold it by now")]
pub struct LeaseLost;

impl LeaseWatch {
    /// Asked before anything is done or published.
    ///
    /// # Errors
    /// [`LeaseLost`].
    pub fn check(&self) -> Result<(), LeaseLost> {
        if self.0.load(Ordering::SeqCst) {
            return Err(LeaseLost);
        }
        Ok(())
    }
}

impl Lease {
    /// Takes the lease; `None` while another holds it.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn take(store: &Store) -> anyhow::Result<Option<Self>> {
        let name = u64::from_be_bytes(random::bytes());
        let holder = format!("{}-{name:016x}", std::process::id());
        if !renew(store, &holder).await? {
            return Ok(None);
        }
        let lost = LeaseWatch(Arc::default());
        let renewing = tokio::spawn(keep(store.clone(), holder.clone(), lost.clone()));
        Ok(Some(Self {
            store: store.clone(),
            holder,
            lost,
            renewing,
        }))
    }

    /// Tells whether the lease is still ours.
    pub fn watch(&self) -> LeaseWatch {
        self.lost.clone()
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// The registry does not answer; the lease then expires by itself.
    pub async fn give_back(self) -> anyhow::Result<()> {
        self.renewing.abort();
        Ok(self.store.return_lease(NAME, self.holder.clone()).await?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

async fn renew(store: &Store, holder: &str) -> anyhow::Result<bool> {
    let now = clock::now();
    let until = now.plus_seconds(GOOD_FOR_S);
    Ok(store.take_lease(NAME, holder.to_owned(), now, until).await?)
}

async fn keep(store: Store, holder: String, lost: LeaseWatch) {
    let mut good_until = clock::now().plus_seconds(GOOD_FOR_S);
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        match renew(&store, &holder).await {
            Ok(true) => good_until = clock::now().plus_seconds(GOOD_FOR_S),
            Ok(false) => return lost.0.store(true, Ordering::SeqCst),
            Err(error) if clock::now() >= good_until => {
                tracing::error!(error = %format!("{error:#}"), "the lease of the night was lost");
                return lost.0.store(true, Ordering::SeqCst);
            }
            Err(_) => {}
        }
    }
}
