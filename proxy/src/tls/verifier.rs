//! The verifier: whom a client certificate is believed.
//!
//! First the signature, the time and the use, as the public key infrastructure has it, with the
//! site's run keys as the only anchors. Then the names: a certificate that is genuine and names no
//! run of this site is refused in the handshake too, so that nothing behind it sees a certificate
//! that says nothing.

use std::sync::Arc;

use base::PluginId;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use seal::PublicKey;
use seal::certificate::{authority_name, read_run};

use super::{ClientAuth, TlsSettings};

#[derive(Debug)]
pub(super) struct RunVerifier {
    site: PluginId,
    mandatory: bool,
    /// None where there is no run key to believe.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl RunVerifier {
    pub(super) fn new(
        settings: &TlsSettings,
        run_keys: &[PublicKey],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let name = authority_name(&settings.site);
        for key in run_keys {
            let spki = key.to_spki_der();
            roots.roots.push(TrustAnchor {
                subject: name.clone().into(),
                subject_public_key_info: sequence_value(&spki).to_vec().into(),
                name_constraints: None,
            });
        }
        let chains = match roots.is_empty() {
            true => None,
            false => {
                let built = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
                Some(built.build().map_err(|error| Error::General(error.to_string()))?)
            }
        };
        Ok(Self {
            site: settings.site.clone(),
            mandatory: settings.client_auth == ClientAuth::Required,
            chains,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ClientCertVerifier for RunVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains
            .as_ref()
            .map_or(&[], |chains| chains.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(chains) = &self.chains else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let verified = chains.verify_client_cert(end_entity, intermediates, now)?;
        read_run(end_entity, &self.site)
            .map_err(|refusal| CertificateError::Other(OtherError(Arc::new(refusal))))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What a DER sequence of less than 128 bytes holds, as our two kinds of public keys are.
fn sequence_value(der: &[u8]) -> &[u8] {
    &der[2..]
}
