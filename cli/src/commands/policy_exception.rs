//! `bailiwick policy sign-exception` and `add-signature`: the two who stand behind an exception.
//!
//! Each of them signs on a machine of their own, with a key of their own; the file that comes out is put
//! into the folder beside the policy. Whoever collects the second one needs no key.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::{Backing, PolicyException};
use control::policy::{
    PolicyInForce, exception_signature_name, exception_signer, exception_words, exceptions_folder,
    sign_exception,
};
use seal::envelope::Unverified;
use seal::key_file;
use seal::trust::TrustRoot;
use serde::Serialize;

use crate::exit::{Exit, Refused};
use crate::files;
use crate::output::{self, Format};

/// Larger files are no signatures of exceptions.
const MAX_SIGNATURE_BYTES: usize = 64 * 1024;

/// What is signed, and with what.
pub struct Signing<'a> {
    /// The policy.
    pub policy: &'a Path,
    /// Which of its exceptions; its only one where absent.
    pub number: Option<usize>,
    /// The private key of one of the two.
    pub key: &'a Path,
    /// Where the signature goes; beside the policy where absent.
    pub out: Option<&'a Path>,
}

#[derive(Serialize)]
struct SignedView {
    policy: PathBuf,
    exception: String,
    signature: PathBuf,
    signer: String,
    /// Absent where no trust root is at hand.
    counts: Option<bool>,
    lacking: Option<String>,
}

/// Signs an exception for one of the two.
///
/// # Errors
/// The policy, the exception or the key cannot be used.
pub fn sign(signing: &Signing<'_>, trust: Option<&TrustRoot>, format: Format) -> anyhow::Result<Exit> {
    let read = PolicyInForce::read(signing.policy)?;
    let (number, exception) = chosen(&read, signing.number)?;
    let key = key_file::read_private(signing.key)?;
    let bundle = sign_exception(exception, &key)?;
    if let Some(trust) = trust {
        check(exception, &bundle, trust)?;
    }
    let fingerprint = key.public().fingerprint();
    let signature = match signing.out {
        Some(out) => {
            files::replace(out, &bundle).with_context(|| format!("cannot write {}", out.display()))?;
            out.to_owned()
        }
        None => put(signing.policy, exception, &fingerprint, &bundle)?,
    };
    said(
        signing.policy,
        number,
        signature,
        &fingerprint.to_string(),
        trust,
        format,
    )
}

/// Puts a signature that somebody made elsewhere beside the policy.
///
/// # Errors
/// It is a signature of none of the policy's exceptions, or of nobody who was asked.
pub fn add(policy: &Path, bundle: &Path, trust: &TrustRoot, format: Format) -> anyhow::Result<Exit> {
    let read = PolicyInForce::read(policy)?;
    let bytes = files::read_limited(bundle, MAX_SIGNATURE_BYTES)
        .with_context(|| format!("cannot read {}", bundle.display()))?;
    let mut why = "the policy has no exception to sign".to_owned();
    for (number, exception) in read.policy.exceptions.iter().enumerate() {
        match exception_signer(exception, &bytes, trust) {
            Ok(signer) => {
                let fingerprint = signer.key.fingerprint();
                let signature = put(policy, exception, &fingerprint, &bytes)?;
                return said(
                    policy,
                    number,
                    signature,
                    &fingerprint.to_string(),
                    Some(trust),
                    format,
                );
            }
            Err(error) => why = error,
        }
    }
    if let Err(error) = Unverified::parse(&bytes) {
        why = error.to_string();
    }
    Err(refused(format!("{} is not added: {why}", bundle.display())))
}

fn check(exception: &PolicyException, bundle: &[u8], trust: &TrustRoot) -> anyhow::Result<()> {
    let signer = exception_signer(exception, bundle, trust);
    signer
        .map(drop)
        .map_err(|why| refused(format!("nothing signed: {why}")))
}

fn refused(message: String) -> anyhow::Error {
    let code = "exception_signature_refused".to_owned();
    Refused { code, message }.into()
}

fn chosen(read: &PolicyInForce, number: Option<usize>) -> anyhow::Result<(usize, &PolicyException)> {
    let all = &read.policy.exceptions;
    let number = match (number, all.len()) {
        (_, 0) => anyhow::bail!("the policy has no exceptions; write one as [[exceptions]] first"),
        (Some(number), _) => number,
        (None, 1) => 0,
        (None, several) => anyhow::bail!(
            "the policy has {several} exceptions; say which, from 0 to {}",
            several - 1
        ),
    };
    let exception = all
        .get(number)
        .with_context(|| format!("there is no exceptions[{number}]; the last is {}", all.len() - 1))?;
    Ok((number, exception))
}

/// Writes the signature, and beside it the words that it is about, for stock tools.
fn put(
    policy: &Path,
    exception: &PolicyException,
    key: &seal::Fingerprint,
    bundle: &[u8],
) -> anyhow::Result<PathBuf> {
    let folder = exceptions_folder(policy);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let words = exception_words(exception);
    let name = base::Sha256Digest::of(&words).to_hex();
    let signature = folder.join(exception_signature_name(exception, key));
    for (path, bytes) in [
        (folder.join(format!("{name}.json")), words.as_slice()),
        (signature.clone(), bundle),
    ] {
        files::replace(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(signature)
}

fn said(
    policy: &Path,
    number: usize,
    signature: PathBuf,
    signer: &str,
    trust: Option<&TrustRoot>,
    format: Format,
) -> anyhow::Result<Exit> {
    let backing = match trust {
        Some(trust) => {
            let read = PolicyInForce::read(policy)?.with_backing(policy, trust);
            read.policy.exceptions[number].backing.clone()
        }
        None => Backing::Unknown,
    };
    let view = SignedView {
        policy: policy.to_owned(),
        exception: format!("exceptions[{number}]"),
        signature,
        signer: signer.to_owned(),
        counts: (backing != Backing::Unknown).then_some(backing == Backing::Signed),
        lacking: match backing {
            Backing::Lacking { what } => Some(what),
            Backing::Signed | Backing::Unknown => None,
        },
    };
    output::print(format, &view, || {
        let standing = match (&view.lacking, view.counts) {
            (Some(lacking), _) => format!("\nlacking   {}", output::for_terminal(lacking)),
            (None, Some(true)) => "\nit counts: both signed it".to_owned(),
            (None, _) => String::new(),
        };
        format!(
            "signed    {} of {}\nby        {}\nin        {}{standing}",
            view.exception,
            view.policy.display(),
            view.signer,
            view.signature.display()
        )
    })?;
    Ok(Exit::Done)
}
