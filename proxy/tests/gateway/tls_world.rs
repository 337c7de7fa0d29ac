//! What tests of TLS listeners need: a gateway with a certificate, certificates of every kind for
//! clients, and a client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base::{PluginId, Timestamp};
use proxy::{ClientAuth, ListenAddress, TlsSettings};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use seal::certificate::{RunRequest, ServerRequest, issue_run, self_sign_server};
use seal::{RunUri, SigningKey};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{PATIENCE, Plan, Plugin, World};

/// A gateway with a TLS listener besides the plain one, and the folder that its certificate is in.
pub struct TlsWorld {
    pub world: World,
    pub folder: TempDir,
}

/// What a client proves itself with.
#[derive(Debug)]
pub struct Proof {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

pub fn site() -> PluginId {
    "acme".parse().unwrap()
}

pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// A new certificate of the gateway's own, good for `seconds`, as PEM of certificate and key.
pub fn server_pair(seed: u8, seconds: i64) -> (String, String) {
    let key = SigningKey::p256_from_seed(&[seed; 32]).unwrap();
    let request = ServerRequest {
        names: &["127.0.0.1".to_owned(), "localhost".to_owned()],
        serial: [seed; 16],
        expires: now().plus_seconds(seconds),
    };
    let certificate = self_sign_server(&request, &key, now()).unwrap();
    (certificate, key.to_pem().to_string())
}

/// A plan with a TLS listener in second place.
pub fn plan(folder: &TempDir, client_auth: ClientAuth, hosts: &[(&str, SocketAddr)]) -> Plan {
    let (certificate, key) = server_pair(40, 3600);
    write_pair(folder, &certificate, &key);
    let mut plan = Plan::reaching(hosts);
    plan.settings
        .listen
        .push(ListenAddress::Tls("127.0.0.1:0".parse().unwrap()));
    let run_key = SigningKey::ed25519_from_seed(&[7; 32]);
    plan.settings.tls = Some(TlsSettings {
        client_auth,
        run_keys: vec![run_key.public()],
        look_every: std::time::Duration::from_millis(10),
        ..TlsSettings::new(certificate_path(folder), key_path(folder), site())
    });
    plan
}

pub fn certificate_path(folder: &TempDir) -> PathBuf {
    folder.path().join("tls.crt")
}

pub fn key_path(folder: &TempDir) -> PathBuf {
    folder.path().join("tls.key")
}

/// Puts a pair in place as a careful tool does: each file is whole at every moment.
pub fn write_pair(folder: &TempDir, certificate: &str, key: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    for (path, text) in [(key_path(folder), key), (certificate_path(folder), certificate)] {
        let fresh = path.with_extension("fresh");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
    }
}

impl TlsWorld {
    pub async fn start(client_auth: ClientAuth, hosts: &[(&str, SocketAddr)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = plan(&folder, client_auth, hosts).start().await;
        Self { world, folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.world.gateway.addresses()[1].socket_address().unwrap()
    }

    /// The certificate that `bailiwick run --mtls` would give this run.
    pub fn proof(&self, plugin: &Plugin) -> Proof {
        let key = SigningKey::p256_from_seed(&[90; 32]).unwrap();
        let request = RunRequest {
            run: &uri(plugin),
            key: &key.public(),
            expires: plugin.claims.expires,
        };
        let pem = issue_run(&request, &self.world.key, now()).unwrap();
        Proof {
            chain: vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
            key: PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).unwrap(),
        }
    }

    pub async fn connect(&self, proof: Option<Proof>) -> std::io::Result<TlsTalker> {
        self.connect_with(proof, &[]).await
    }

    pub async fn connect_with(&self, proof: Option<Proof>, alpn: &[&str]) -> std::io::Result<TlsTalker> {
        let pem = std::fs::read(certificate_path(&self.folder)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let config = client_config(roots, proof, alpn);
        let socket = TcpStream::connect(self.address()).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let io = TlsConnector::from(config).connect(name, socket).await?;
        Ok(TlsTalker { io, read: Vec::new() })
    }

    /// A tunnel to `authority` whose client proved itself by `proof` alone.
    pub async fn tunnel(&self, proof: Proof, authority: &str) -> TlsTalker {
        let mut client = self.connect(Some(proof)).await.unwrap();
        client.send(format!("CONNECT {authority} HTTP/1.1\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        client
    }
}

pub fn client_config(roots: RootCertStore, proof: Option<Proof>, alpn: &[&str]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match proof {
        None => builder.with_no_client_auth(),
        Some(proof) => builder.with_client_auth_cert(proof.chain, proof.key).unwrap(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub fn uri(plugin: &Plugin) -> RunUri {
    RunUri {
        site: site(),
        plugin_id: plugin.claims.plugin_id.clone(),
        artifact_digest: plugin.claims.artifact_digest,
        run_id: plugin.claims.run_id,
    }
}

/// A certificate as somebody else might have made it; signed by `authority` under the name of the
/// site's run authority.
pub fn forge(authority: &SigningKey, change: impl FnOnce(&mut CertificateParams)) -> Proof {
    let authority = KeyPair::from_pem(&authority.to_pem()).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(
        DnType::CommonName,
        DnValue::Utf8String("bailiwick runs of acme".to_owned()),
    );
    params.distinguished_name.remove(DnType::CountryName);
    let issuer = Issuer::new(params, authority);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Proof {
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    }
}

pub fn uri_name(text: impl ToString) -> SanType {
    SanType::URI(text.to_string().try_into().unwrap())
}

/// Somebody who speaks plainly inside TLS.
pub struct TlsTalker {
    pub io: TlsStream<TcpStream>,
    pub read: Vec<u8>,
}

impl TlsTalker {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        tokio::time::timeout(PATIENCE, self.io.read_buf(&mut self.read))
            .await
            .expect("something to read")
    }

    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
            }
            assert_ne!(
                self.fill().await.unwrap(),
                0,
                "{:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }

    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert_ne!(self.fill().await.unwrap(), 0);
        }
        self.read.drain(..count).collect()
    }

    /// Everything until the other side says in TLS that this is the end.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.unwrap() > 0 {}
        std::mem::take(&mut self.read)
    }

    /// What the connection breaks with. A client learns in TLS 1.3 that its certificate is refused
    /// only when it reads.
    pub async fn breaks(&mut self) -> std::io::Error {
        loop {
            match self.fill().await {
                Ok(0) => return std::io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }
}
