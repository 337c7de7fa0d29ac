//! Issuing: a certificate for a run, and one that a gateway signs for itself.

use std::net::IpAddr;
use std::time::Duration;

use base::Timestamp;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{self, Builder as _, CertificateBuilder};
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier};
use x509_cert::der::{DateTime, EncodePem as _, pem::LineEnding};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate};

use super::{authority, common_name};
use crate::{PublicKey, RunUri, SigningKey};

pub(super) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
pub(super) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
/// Two machines' clocks differ by less.
const SKEW_S: i64 = 300;
/// The longest text in a DNS name (RFC 1035 §2.3.4).
const MAX_DNS_NAME: usize = 253;

/// What a run's certificate is to say.
#[derive(Clone, Debug)]
pub struct RunRequest<'a> {
    /// Whose run it is.
    pub run: &'a RunUri,
    /// The key that the run holds; its private half never comes here.
    pub key: &'a PublicKey,
    /// The first moment at which the certificate is refused; whole seconds.
    pub expires: Timestamp,
}

/// What a gateway's own certificate is to say.
#[derive(Clone, Debug)]
pub struct ServerRequest<'a> {
    /// Under which names clients know it: addresses, and DNS names.
    pub names: &'a [String],
    /// Random bytes that number the certificate.
    pub serial: [u8; 16],
    /// The first moment at which the certificate is refused; whole seconds.
    pub expires: Timestamp,
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Neither an address nor a DNS name; write it otherwise.
    #[error("{name:?} is neither an address nor a DNS name of letters, digits, dots and hyphens")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// Nothing to be known by.
    #[error("a server's certificate needs at least one name")]
    NoName,
    /// The time does not fit a certificate.
    #[error("a certificate's time lies between 1970 and 9999")]
    Time,
    /// The parts do not make a certificate.
    #[error("could not encode the certificate: {0}")]
    Encode(builder::Error),
}

impl From<builder::Error> for IssueError {
    fn from(error: builder::Error) -> Self {
        Self::Encode(error)
    }
}

impl From<x509_cert::der::Error> for IssueError {
    fn from(error: x509_cert::der::Error) -> Self {
        Self::Encode(error.into())
    }
}

/// Issues a run's client certificate under the site's run key, in PEM.
///
/// # Errors
/// [`IssueError`].
pub fn issue_run(
    request: &RunRequest<'_>,
    authority_key: &SigningKey,
    now: Timestamp,
) -> Result<String, IssueError> {
    let uri = Ia5String::new(&request.run.to_string())?;
    let profile = Profile {
        issuer: authority(&request.run.site),
        subject: common_name(&format!("bailiwick run {}", request.run.run_id)),
        names: vec![GeneralName::UniformResourceIdentifier(uri)],
        usage: CLIENT_AUTH,
    };
    // A run has one certificate, so its id numbers it; its first bits are a time, and zero until 6429.
    let serial = SerialNumber::new(request.run.run_id.as_bytes())?;
    let validity = validity(now, request.expires)?;
    sign(profile, serial, validity, request.key, authority_key)
}

/// Issues a certificate that `key` signs for itself, in PEM. Clients trust it by holding it.
///
/// # Errors
/// [`IssueError`].
pub fn self_sign_server(
    request: &ServerRequest<'_>,
    key: &SigningKey,
    now: Timestamp,
) -> Result<String, IssueError> {
    if request.names.is_empty() {
        return Err(IssueError::NoName);
    }
    let names = request.names.iter().map(|name| server_name(name));
    let subject = common_name("bailiwick gateway");
    let profile = Profile {
        issuer: subject.clone(),
        subject,
        names: names.collect::<Result<_, _>>()?,
        usage: SERVER_AUTH,
    };
    let mut serial = request.serial;
    // RFC 5280 §4.1.2.2: positive, and never empty.
    serial[0] = serial[0] & 0x7f | 0x40;
    let serial = SerialNumber::new(&serial)?;
    let validity = validity(now, request.expires)?;
    sign(profile, serial, validity, &key.public(), key)
}

fn server_name(name: &str) -> Result<GeneralName, IssueError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > MAX_DNS_NAME || !name.split('.').all(label) {
        return Err(IssueError::Name {
            name: name.to_owned(),
        });
    }
    Ok(GeneralName::DnsName(Ia5String::new(name)?))
}

/// From a little before `now`, for clocks that are slow, to the last second before `expires`: a
/// certificate's end is its last good moment (RFC 5280 §4.1.2.5), a token's is the first bad one.
fn validity(now: Timestamp, expires: Timestamp) -> Result<Validity, IssueError> {
    Ok(Validity::new(
        time(now.unix_s() - SKEW_S)?,
        time(expires.unix_s() - 1)?,
    ))
}

fn time(unix_s: i64) -> Result<Time, IssueError> {
    let since = u64::try_from(unix_s).map_err(|_| IssueError::Time)?;
    let time = DateTime::from_unix_duration(Duration::from_secs(since)).map_err(|_| IssueError::Time)?;
    Ok(time.into())
}

fn sign(
    profile: Profile,
    serial: SerialNumber,
    validity: Validity,
    subject_key: &PublicKey,
    signer: &SigningKey,
) -> Result<String, IssueError> {
    let spki =
        SubjectPublicKeyInfo::try_from(&subject_key.to_spki_der()[..]).map_err(builder::Error::from)?;
    let builder = CertificateBuilder::new(profile, serial, validity, spki)?;
    let certificate: Certificate = match signer {
        SigningKey::Ed25519(key) => builder.build::<_, ed25519_dalek::Signature>(key)?,
        SigningKey::P256(key) => builder.build::<_, p256::ecdsa::DerSignature>(key)?,
    };
    Ok(certificate.to_pem(LineEnding::LF)?)
}

/// The shape that all our certificates have.
struct Profile {
    issuer: Name,
    subject: Name,
    names: Vec<GeneralName>,
    usage: ObjectIdentifier,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let mut extensions = Vec::new();
        let subject = tbs.subject();
        let not_an_authority = BasicConstraints {
            ca: false,
            path_len_constraint: None,
        };
        extensions.push(not_an_authority.to_extension(subject, &extensions)?);
        let usage = KeyUsage(KeyUsages::DigitalSignature.into());
        extensions.push(usage.to_extension(subject, &extensions)?);
        let usage = ExtendedKeyUsage(vec![self.usage]);
        extensions.push(usage.to_extension(subject, &extensions)?);
        extensions.push(SubjectAltName(self.names.clone()).to_extension(subject, &extensions)?);
        let identifier = SubjectKeyIdentifier::try_from(key)?;
        extensions.push(identifier.to_extension(subject, &extensions)?);
        Ok(extensions)
    }
}
