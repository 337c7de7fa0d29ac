//! The demo's services: TLS servers on loopback that answer for names they do not own.
//!
//! Nothing but the resolver override in the demo's configuration knows that they are local.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A certificate authority that lives as long as the demo.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A running service; dropping it stops it.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// Certificate generation failed.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(
            DnType::CommonName,
            "Bailiwick demo authority, worthless elsewhere",
        );
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// Writes the certificate for clients to trust.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_certificate(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, &self.pem).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts a service for `name` on a free loopback port.
    ///
    /// # Errors
    /// No port, or certificate generation failed.
    pub async fn start_origin(&self, name: &'static str) -> anyhow::Result<Origin> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), name));
            }
        });
        Ok(Origin {
            address,
            _task: AbortOnDropHandle::new(task),
        })
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, name: &'static str) {
    // A client that does not finish its handshake is the client's affair.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, &request)) });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// `/stream` says one word and then stays silent; everything else is answered at once.
fn answer(name: &str, request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    if request.uri().path() == "/stream" {
        let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"listening\n")))]);
        let silence = futures_util::stream::pending();
        return Response::new(http_body_util::BodyExt::boxed(StreamBody::new(
            first.chain(silence),
        )));
    }
    let text = format!("{{\"service\":\"{name}\",\"ok\":true}}\n");
    Response::new(Full::new(Bytes::from(text)).boxed())
}
