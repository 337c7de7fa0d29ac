//! Reading: whose run a certificate names, and until when a certificate is good.
//!
//! A signature says that the run authority made a certificate; this says that it is of the one shape
//! that the run authority makes. Whatever deviates is refused rather than interpreted.

use std::net::IpAddr;

use base::{PluginId, Timestamp};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::issue::CLIENT_AUTH;
use crate::RunUri;

/// What a run's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCertificate {
    /// Whose run it is.
    pub run: RunUri,
    /// The first moment at which the certificate is refused.
    pub expires: Timestamp,
}

/// Why a certificate names no run of this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// Not a certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Not made for clients, or for more than that.
    #[error("the certificate's extended key usage is not exactly clientAuth")]
    Usage,
    /// No subject alternative name, several, or one that is not a URI.
    #[error("the certificate's subject alternative name is not exactly one URI")]
    Names,
    /// The URI does not name a run.
    #[error("the certificate's URI does not name a run")]
    Uri,
    /// It names a run of another site.
    #[error("the certificate names a run of another site")]
    Site,
}

/// Bytes that are not an X.509 certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate")]
pub struct InvalidCertificate;

/// Reads the certificate of a run of `site`. Its signature and its time are the caller's to check.
///
/// # Errors
/// [`CertificateRefusal`].
pub fn read_run(der: &[u8], site: &PluginId) -> Result<RunCertificate, CertificateRefusal> {
    let certificate = Certificate::from_der(der).map_err(|_| CertificateRefusal::Unreadable)?;
    let tbs = certificate.tbs_certificate();
    match tbs.get_extension::<ExtendedKeyUsage>() {
        Ok(Some((_, usage))) if usage.0 == [CLIENT_AUTH] => {}
        _ => return Err(CertificateRefusal::Usage),
    }
    let Ok(Some((_, SubjectAltName(names)))) = tbs.get_extension() else {
        return Err(CertificateRefusal::Names);
    };
    let [GeneralName::UniformResourceIdentifier(uri)] = &names[..] else {
        return Err(CertificateRefusal::Names);
    };
    let run: RunUri = uri.as_str().parse().map_err(|_| CertificateRefusal::Uri)?;
    if run.site != *site {
        return Err(CertificateRefusal::Site);
    }
    Ok(RunCertificate {
        run,
        expires: first_bad_moment(&certificate),
    })
}

/// The first moment at which the certificate is refused.
///
/// # Errors
/// [`InvalidCertificate`].
pub fn expiry(der: &[u8]) -> Result<Timestamp, InvalidCertificate> {
    let certificate = Certificate::from_der(der).map_err(|_| InvalidCertificate)?;
    Ok(first_bad_moment(&certificate))
}

/// The addresses and DNS names of a server's certificate that its own key issued; `None` where
/// another key did.
///
/// # Errors
/// [`InvalidCertificate`].
pub fn server_names(der: &[u8]) -> Result<Option<Vec<String>>, InvalidCertificate> {
    let certificate = Certificate::from_der(der).map_err(|_| InvalidCertificate)?;
    let tbs = certificate.tbs_certificate();
    if tbs.issuer() != tbs.subject() {
        return Ok(None);
    }
    let Ok(Some((_, SubjectAltName(names)))) = tbs.get_extension() else {
        return Ok(Some(Vec::new()));
    };
    Ok(Some(names.iter().filter_map(server_name).collect()))
}

fn server_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn first_bad_moment(certificate: &Certificate) -> Timestamp {
    let end = certificate.tbs_certificate().validity().not_after;
    let last_good = i64::try_from(end.to_unix_duration().as_secs()).expect("the year 9999 fits 64 bits");
    Timestamp::from_unix_us(last_good * 1_000_000).plus_seconds(1)
}

#[cfg(test)]
mod tests {
    use base::{ArtifactDigest, RunId, Sha256Digest};
    use x509_cert::der::DecodePem as _;
    use x509_cert::der::Encode as _;

    use super::super::{RunRequest, ServerRequest, authority_name, issue_run, self_sign_server};
    use super::*;
    use crate::SigningKey;

    const NOW: Timestamp = Timestamp::from_unix_us(1_700_000_000_000_000);

    fn site() -> PluginId {
        "acme".parse().unwrap()
    }

    fn uri() -> RunUri {
        RunUri {
            site: site(),
            plugin_id: "acme.weather".parse().unwrap(),
            artifact_digest: ArtifactDigest::new(Sha256Digest::of(b"build")),
            run_id: RunId::from_parts(1_700_000_000_000, [5; 10]),
        }
    }

    fn der(pem: &str) -> Vec<u8> {
        Certificate::from_pem(pem).unwrap().to_der().unwrap()
    }

    fn issued(authority: &SigningKey) -> Vec<u8> {
        let holder = SigningKey::p256_from_seed(&[7; 32]).unwrap().public();
        let request = RunRequest {
            run: &uri(),
            key: &holder,
            expires: NOW.plus_seconds(3600),
        };
        der(&issue_run(&request, authority, NOW).unwrap())
    }

    #[test]
    fn a_runs_certificate_gives_back_the_run_and_its_end() {
        for authority in [
            SigningKey::ed25519_from_seed(&[1; 32]),
            SigningKey::p256_from_seed(&[1; 32]).unwrap(),
        ] {
            let read = read_run(&issued(&authority), &site()).unwrap();
            assert_eq!(read.run, uri());
            assert_eq!(read.expires, NOW.plus_seconds(3600));
        }
    }

    #[test]
    fn a_run_of_another_site_is_refused() {
        let certificate = issued(&SigningKey::ed25519_from_seed(&[1; 32]));
        assert_eq!(
            read_run(&certificate, &"acme2".parse().unwrap()),
            Err(CertificateRefusal::Site)
        );
    }

    #[test]
    fn the_issuer_of_a_run_is_the_authority_by_name() {
        let certificate = Certificate::from_der(&issued(&SigningKey::ed25519_from_seed(&[1; 32]))).unwrap();
        let issuer = certificate.tbs_certificate().issuer().to_der().unwrap();
        assert!(issuer.ends_with(&authority_name(&site())));
        for length in [1, 100, 128] {
            let site: PluginId = "s".repeat(length).parse().unwrap();
            let name = authority_name(&site);
            assert_eq!(name[0], 0x31, "a set of one attribute");
            assert!(name.ends_with(site.as_str().as_bytes()));
        }
    }

    #[test]
    fn a_servers_certificate_names_no_run() {
        let key = SigningKey::p256_from_seed(&[3; 32]).unwrap();
        let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
        let request = ServerRequest {
            names: &names,
            serial: [0xff; 16],
            expires: NOW.plus_seconds(86_400),
        };
        let certificate = der(&self_sign_server(&request, &key, NOW).unwrap());
        assert_eq!(read_run(&certificate, &site()), Err(CertificateRefusal::Usage));
        assert_eq!(expiry(&certificate), Ok(NOW.plus_seconds(86_400)));
        assert_eq!(server_names(&certificate), Ok(Some(names.to_vec())));
        let of_a_run = issued(&SigningKey::ed25519_from_seed(&[1; 32]));
        assert_eq!(server_names(&of_a_run), Ok(None));
        for bad in [
            "",
            "a b",
            "*",
            "-a.example",
            "a..b",
            "ü.example",
            &"a".repeat(300),
        ] {
            let request = ServerRequest {
                names: &[bad.to_owned()],
                ..request.clone()
            };
            assert!(self_sign_server(&request, &key, NOW).is_err(), "{bad}");
        }
    }

    /// The files under `tests/vectors/seal`; `BAILIWICK_BLESS=1` writes them anew.
    #[test]
    fn golden_files_hold_the_format() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/seal");
        let holder = SigningKey::p256_from_seed(&[7; 32]).unwrap().public();
        let request = RunRequest {
            run: &uri(),
            key: &holder,
            expires: NOW.plus_seconds(3600),
        };
        let authority = SigningKey::ed25519_from_seed(&[7; 32]);
        let certificate = issue_run(&request, &authority, NOW).unwrap();
        for (name, content) in [
            ("run.crt", certificate),
            ("run.uri", format!("{}\n", uri())),
            ("run-authority.pub", authority.public().to_pem()),
        ] {
            let path = folder.join(name);
            if std::env::var_os("BAILIWICK_BLESS").is_some() {
                std::fs::write(&path, &content).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "{name}");
        }
    }

    #[test]
    fn whatever_is_no_certificate_is_refused_and_nothing_panics() {
        let good = issued(&SigningKey::ed25519_from_seed(&[1; 32]));
        for length in 0..good.len() {
            assert_eq!(
                read_run(&good[..length], &site()),
                Err(CertificateRefusal::Unreadable)
            );
        }
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            if let Ok(read) = read_run(&changed, &site()) {
                assert_eq!(read.run.site, site());
            }
        }
    }
}
