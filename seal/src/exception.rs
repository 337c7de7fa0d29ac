//! Who stands behind an exception: two people, each with a signature of their own.
//!
//! An exception lets pass what would otherwise stand against somebody, so one person's word is not
//! enough, whoever signed the policy around it. Each of the two signs the exception's canonical words in
//! an envelope. Whoever decides by an exception and whoever checks that decision elsewhere asks here.

use std::collections::BTreeMap;

use base::{PolicyException, Sha256Digest};

use crate::envelope::{self, EnvelopeError, Verified};
use crate::trust::{Role, Signer, TrustRoot};
use crate::{PredicateType, SigningKey, Statement, Subject};

/// The roles whose holders may stand behind an exception.
pub const ROLES: [Role; 2] = [Role::Operator, Role::Certifier];
/// Larger files are no signatures of exceptions.
pub const MAX_SIGNATURE_BYTES: usize = 64 * 1024;

/// An exception with what its two people signed, verbatim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedException {
    /// The exception's canonical words.
    pub words: Vec<u8>,
    /// The envelopes, one for each of the two.
    pub signatures: Vec<Vec<u8>>,
}

impl SignedException {
    /// The name of the exception: the digest of its words.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(&self.words)
    }
}

/// The words that two people sign, in canonical form.
pub fn words(exception: &PolicyException) -> Vec<u8> {
    base::json::canonical(exception).expect("an exception is words and lists of them")
}

/// Signs an exception for one of the two.
///
/// # Errors
/// [`EnvelopeError`].
pub fn sign(exception: &PolicyException, key: &SigningKey) -> Result<Vec<u8>, EnvelopeError> {
    let statement = Statement {
        subjects: vec![Subject::new(
            "exception.json",
            &Sha256Digest::of(&words(exception)),
        )],
        predicate_type: PredicateType::PolicyException.uri().to_owned(),
        predicate: predicate(exception),
    };
    envelope::seal(&statement, key)
}

fn predicate(exception: &PolicyException) -> serde_json::Value {
    serde_json::to_value(exception).expect("an exception is words and lists of them")
}

/// Who signed `exception`, by a bundle.
///
/// # Errors
/// A sentence that says why this is not a signature of one of the two.
pub fn signer<'t>(
    exception: &PolicyException,
    bundle: &[u8],
    trust: &'t TrustRoot,
) -> Result<&'t Signer, String> {
    if bundle.len() > MAX_SIGNATURE_BYTES {
        return Err("it is too large for a signature".to_owned());
    }
    let mut refused = String::new();
    for role in ROLES {
        match trust.open(bundle, role, PredicateType::PolicyException) {
            Ok(opened) => return named(exception, &opened, trust, role),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(format!(
        "it is signed by no key that the trust root names as an operator's or the certifier's ({refused})"
    ))
}

fn named<'t>(
    exception: &PolicyException,
    opened: &Verified,
    trust: &'t TrustRoot,
    role: Role,
) -> Result<&'t Signer, String> {
    let words = Sha256Digest::of(&words(exception));
    let subject = opened.statement.subjects.first().and_then(Subject::sha256);
    if subject != Some(words) || opened.statement.predicate != predicate(exception) {
        return Err("it is a signature of other words; sign the exception as it is now".to_owned());
    }
    let held = || {
        trust
            .signers
            .iter()
            .filter(|signer| signer.role == role && signer.key.fingerprint() == opened.signer)
    };
    let is_asked = |signer: &&Signer| exception.signed_by.iter().any(|name| is_name(name, &signer.name));
    held().find(is_asked).ok_or_else(|| {
        let names: Vec<&str> = held().map(|signer| signer.name.as_str()).collect();
        format!(
            "{} signed it, and it names {}",
            names.join(" or "),
            exception.signers()
        )
    })
}

fn is_name(asked: &str, found: &str) -> bool {
    asked.trim().eq_ignore_ascii_case(found.trim())
}

/// Signatures of one exception, as they are found.
#[derive(Debug)]
pub struct Signatures<'t> {
    exception: &'t PolicyException,
    trust: &'t TrustRoot,
    /// By the key's fingerprint: the same key twice is one person.
    by_key: BTreeMap<String, (&'t Signer, Vec<u8>)>,
    remarks: Vec<String>,
}

impl<'t> Signatures<'t> {
    /// None yet.
    pub const fn of(exception: &'t PolicyException, trust: &'t TrustRoot) -> Self {
        Self {
            exception,
            trust,
            by_key: BTreeMap::new(),
            remarks: Vec::new(),
        }
    }

    /// One more, from a file called `name`.
    ///
    /// # Errors
    /// Why it does not count. [`Signatures::both`] says so as well, where that leaves a signature missing.
    pub fn add(&mut self, name: &str, bundle: Vec<u8>) -> Result<&'t Signer, String> {
        match signer(self.exception, &bundle, self.trust) {
            Ok(signer) => {
                let key = signer.key.fingerprint().to_string();
                self.by_key.insert(key, (signer, bundle));
                Ok(signer)
            }
            Err(why) => {
                self.remark(name, &why);
                Err(why)
            }
        }
    }

    /// Notes that a file called `name` is no signature.
    pub fn remark(&mut self, name: &str, why: &str) {
        self.remarks.push(format!("{name} does not count: {why}"));
    }

    /// The envelopes of the two, in the order of their keys.
    ///
    /// # Errors
    /// What is missing, in a sentence.
    pub fn both(self) -> Result<Vec<Vec<u8>>, String> {
        let [first, second] = &self.exception.signed_by;
        let signed = |name: &str| {
            self.by_key
                .values()
                .any(|(signer, _)| is_name(name, &signer.name))
        };
        let mut missing = match (signed(first), signed(second)) {
            (true, true) if self.by_key.len() >= 2 => {
                return Ok(self.by_key.into_values().map(|(_, bundle)| bundle).collect());
            }
            (true, true) => "both names stand for one and the same key, and two people have two".to_owned(),
            (true, false) => format!("only {first} signed it, and {second} has to"),
            (false, true) => format!("only {second} signed it, and {first} has to"),
            (false, false) => format!("neither {first} nor {second} signed it"),
        };
        for remark in self.remarks {
            missing.push_str("; ");
            missing.push_str(&remark);
        }
        Err(missing)
    }
}
