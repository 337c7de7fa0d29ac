//! `bailiwick demo-plugin FILE`: the interpreter of the demo's plugins.
//!
//! It behaves as a client library does: it learns its proxy from `HTTPS_PROXY` and its certificate
//! authority from `SSL_CERT_FILE`, and knows nothing else of Bailiwick.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::script::{Script, Step, Url};
use crate::exit::Exit;
use crate::output;

/// `bailiwick demo-plugin` arguments.
#[derive(Debug, clap::Args)]
pub struct DemoPluginArgs {
    /// The plugin file
    file: PathBuf,
}

/// The proxy, as the environment names it.
struct Proxy {
    address: String,
    /// `user:password`, percent-escapes never needed.
    credentials: Option<String>,
}

/// A proxy's answer other than 200.
#[derive(Debug, thiserror::Error)]
#[error("the proxy answered {status}")]
struct ProxyRefused {
    status: String,
}

/// Runs the plugin.
///
/// # Errors
/// The file is no plugin, or the environment names no proxy. A refused or failed call is printed and
/// the next step follows, as it would in a product that carries on.
pub async fn run(args: &DemoPluginArgs) -> anyhow::Result<Exit> {
    let script: Script = read(&args.file)?;
    let proxy = Proxy::from_environment()?;
    let tls = TlsConnector::from(Arc::new(client_config()?));
    for step in &script.steps {
        let (url, proxy_use) = match step {
            Step::Call(url) | Step::Hold(url) => (url, &proxy),
            Step::CallNamelessly(url) => (
                url,
                &Proxy {
                    address: proxy.address.clone(),
                    credentials: None,
                },
            ),
        };
        let shown = format!("https://{}{}", url.target.host, url.path);
        let said = match (
            step,
            call(proxy_use, &tls, url, matches!(step, Step::Hold(_))).await,
        ) {
            (Step::CallNamelessly(_), Ok(status)) => format!("{shown} without credentials -> {status}"),
            (Step::CallNamelessly(_), Err(error)) => format!("{shown} without credentials -> {error:#}"),
            (_, Ok(status)) => format!("{shown} -> {status}"),
            (_, Err(error)) => format!("{shown} -> {error:#}"),
        };
        output::line(&said)?;
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> anyhow::Result<Script> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{}", path.display()))
}

async fn call(proxy: &Proxy, tls: &TlsConnector, url: &Url, hold: bool) -> anyhow::Result<String> {
    let stream = connect(proxy, tls, url).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = http::Request::get(&url.path)
        .header(http::header::HOST, url.host().to_string())
        .body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if hold {
        output::line(&format!(
            "https://{}{} -> {status}, holding the stream open",
            url.host(),
            url.path
        ))?;
    }
    let mut body = response.into_body();
    let end = loop {
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    drop(sender);
    driver.abort();
    match (hold, end) {
        (false, Ok(())) => Ok(status.to_string()),
        (true, Ok(())) => Ok("the stream ended".to_owned()),
        (true, Err(_)) => Ok("the stream was cut".to_owned()),
        (false, Err(error)) => Err(error.into()),
    }
}

async fn connect(proxy: &Proxy, tls: &TlsConnector, url: &Url) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(&proxy.address)
        .await
        .with_context(|| format!("cannot reach the proxy at {}", proxy.address))?;
    let credentials = proxy
        .credentials
        .as_ref()
        .map(|pair| format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair)))
        .unwrap_or_default();
    let target = &url.target;
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let answer = read_head(&mut stream).await?;
    let status = answer
        .lines()
        .next()
        .unwrap_or_default()
        .split_once(' ')
        .map_or("", |(_, status)| status);
    if !status.starts_with("200") {
        return Err(ProxyRefused {
            status: status.to_owned(),
        }
        .into());
    }
    let name = ServerName::try_from(url.host().to_string())?;
    Ok(tls.connect(name, stream).await?)
}

/// Reads an answer's head byte by byte, so that nothing of the tunnel is swallowed.
async fn read_head(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < 16 * 1024, "the proxy's answer has no end");
        head.push(stream.read_u8().await.context("the proxy hung up")?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

impl Proxy {
    fn from_environment() -> anyhow::Result<Self> {
        let value = ["HTTPS_PROXY", "https_proxy"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let value = value.context("HTTPS_PROXY is not set; start plugins with: bailiwick run")?;
        let rest = value
            .strip_prefix("http://")
            .context("HTTPS_PROXY is not an http:// URL")?
            .trim_end_matches('/');
        Ok(match rest.rsplit_once('@') {
            Some((pair, address)) => Self {
                address: address.to_owned(),
                credentials: Some(pair.to_owned()),
            },
            None => Self {
                address: rest.to_owned(),
                credentials: None,
            },
        })
    }
}

fn client_config() -> anyhow::Result<rustls::ClientConfig> {
    let path = std::env::var("SSL_CERT_FILE").context("SSL_CERT_FILE is not set")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).with_context(|| format!("cannot read {path}"))? {
        roots.add(certificate?)?;
    }
    Ok(rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}
