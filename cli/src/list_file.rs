//! A revocation list as files: the head, and the body that lies beside it.

use std::path::Path;

use anyhow::Context as _;
use crl::{Accepted, ListRefused, Reader, Seen};
use seal::PredicateType;
use seal::trust::{Role, TrustRoot};

use crate::exit::Refused;
use crate::{clock, files};

/// A list body of 10⁶ entries; larger ones are sharded.
const MAX_BODY_BYTES: usize = 40_000_000;

/// Reads and verifies a list. Without a site there is no issuer to expect: it is then whoever the
/// head says, for a CRL key of this trust root said so. `seen` is what must not be older.
///
/// # Errors
/// A file cannot be read; or [`Refused`], with the code of what is wrong with the list.
pub fn accept(
    head: &Path,
    trust: &TrustRoot,
    issuer: Option<&str>,
    seen: Option<Seen>,
) -> anyhow::Result<Accepted> {
    let read = |path: &Path, max| {
        files::read_limited(path, max).with_context(|| format!("cannot read {}", path.display()))
    };
    let refused = |error: ListRefused| Refused {
        code: error.code().to_owned(),
        message: format!("{}: {error}", head.display()),
    };
    let bytes = read(head, base::json::MAX_BYTES)?;
    let issuer = match issuer {
        Some(issuer) => issuer.to_owned(),
        None => claimed_issuer(&bytes, trust).unwrap_or_default(),
    };
    let examined = Reader::new(issuer, seen)
        .examine(&bytes, trust, clock::now())
        .map_err(refused)?;
    let body = read(&head.with_file_name(examined.body_file()), MAX_BODY_BYTES)?;
    Ok(examined.with_body(&body).map_err(refused)?)
}

/// The issuer named in a head that a CRL key signed.
fn claimed_issuer(head: &[u8], trust: &TrustRoot) -> Option<String> {
    let opened = trust.open(head, Role::Crl, PredicateType::Crl).ok()?;
    Some(opened.statement.predicate.get("issuer")?.as_str()?.to_owned())
}
