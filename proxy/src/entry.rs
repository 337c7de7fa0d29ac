//! Entries: what a listener knows about a client before it says a word.

use std::net::SocketAddr;
use std::sync::Arc;

use base::{RunId, Timestamp};

use crate::identity::Identity;
use crate::proxy_header::Origin;

/// How a client came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// Where it came from; a Unix socket's client comes from nowhere.
    pub(crate) source: Option<SocketAddr>,
    /// Whose run's own listener it used, if it is one.
    pub(crate) listener: Option<Arc<Identity>>,
    /// Whose run its client certificate names. The certificate was verified.
    pub(crate) certificate: Option<Arc<Identity>>,
    /// The first moment at which that certificate is refused; a connection may outlive it.
    pub(crate) certificate_expires: Option<Timestamp>,
}

impl Entry {
    /// A client of a listener that is everybody's.
    pub(crate) fn from_source(source: SocketAddr) -> Self {
        Self {
            source: Some(source),
            ..Self::default()
        }
    }

    /// Whoever carried the client here says where it came from.
    pub(crate) fn came_from(&mut self, origin: Origin) {
        match origin {
            Origin::Peer => {}
            Origin::Network(source) => self.source = Some(source),
            // Not from the peer's address either, which is everybody's behind it.
            Origin::Unknown => self.source = None,
        }
    }

    /// Whose certificate it is, if its time is over by now.
    pub(crate) fn expired_run(&self, now: Timestamp) -> Option<RunId> {
        let certificate = self.certificate.as_ref()?;
        (now >= self.certificate_expires?).then_some(certificate.run_id)
    }
}

#[cfg(test)]
mod tests {
    use base::{ArtifactDigest, Attribution, Sha256Digest};

    use super::*;

    #[test]
    fn a_certificate_is_worth_nothing_from_its_end_on_however_long_the_connection_stands() {
        const END: Timestamp = Timestamp::from_unix_us(1_700_000_000_000_000);
        let run_id = RunId::from_parts(1_700_000_000_000, [1; 10]);
        let entry = Entry {
            certificate: Some(Arc::new(Identity {
                plugin_id: "acme.weather".parse().unwrap(),
                artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"build")),
                run_id,
                attribution: Attribution::Mtls,
            })),
            certificate_expires: Some(END),
            ..Entry::default()
        };
        assert_eq!(entry.expired_run(END.plus_seconds(-1)), None);
        assert_eq!(entry.expired_run(END), Some(run_id));
        assert_eq!(Entry::default().expired_run(END), None);
    }
}
