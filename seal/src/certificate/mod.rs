//! Certificates: the form in which TLS knows a run and a gateway.
//!
//! A run's client certificate carries its [`RunUri`](crate::RunUri) as the one subject alternative
//! name, signed by the site's run key: the key that signs run tokens is the run authority, so
//! whoever may vouch for a run by a token may vouch for it by a certificate, and the trust root says
//! for both who that is. A token's signature covers a text that no certificate begins with, hence
//! neither can be taken for the other. The authority has no certificate of its own; a gateway needs
//! its name ([`authority_name`]) and its public key.
//!
//! The subject's common name is for people and is never read.

mod issue;
mod read;

pub use issue::{IssueError, RunRequest, ServerRequest, issue_run, self_sign_server};
pub use read::{CertificateRefusal, InvalidCertificate, RunCertificate, expiry, read_run, server_names};

use base::PluginId;
use x509_cert::der::Encode as _;
use x509_cert::name::Name;

/// The subject of the site's run authority: the value of the DER sequence, as a trust anchor has it.
pub fn authority_name(site: &PluginId) -> Vec<u8> {
    let name = authority(site).to_der().expect("a short name encodes");
    let header = match name.get(1) {
        // X.690 §8.1.3.5: the low bits of a long length say how many bytes follow.
        Some(length) if *length >= 0x80 => 2 + usize::from(length & 0x7f),
        _ => 2,
    };
    name[header..].to_vec()
}

fn authority(site: &PluginId) -> Name {
    common_name(&format!("bailiwick runs of {site}"))
}

/// A name of one common name; `text` has no character that RFC 4514 escapes.
fn common_name(text: &str) -> Name {
    format!("CN={text}")
        .parse()
        .expect("letters, digits, spaces and . _ - make a common name")
}
