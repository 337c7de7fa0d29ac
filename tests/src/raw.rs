//! A client that speaks to the gateway byte by byte, for what no polite client would say.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wait::DEADLINE;

/// An answer's head, and its body where it said how long that is.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The first header called `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Why the gateway refused: `X-Bailiwick-Reason`.
    pub fn reason(&self) -> &str {
        self.header("x-bailiwick-reason").unwrap_or_default()
    }
}

/// One connection to a gateway.
pub struct RawClient {
    stream: BufReader<TcpStream>,
}

/// What a run's environment says about its proxy.
#[derive(Clone, Debug)]
pub struct ProxyCredentials {
    /// The run id.
    pub user: String,
    /// The token.
    pub password: String,
}

impl ProxyCredentials {
    /// Reads `http://RUN:TOKEN@host:port`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url
            .trim()
            .strip_prefix("http://")
            .context("a proxy is an http:// URL")?;
        let (pair, _) = rest
            .rsplit_once('@')
            .context("a run's proxy carries credentials")?;
        let (user, password) = pair.split_once(':').context("credentials are user:password")?;
        Ok(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// The header that presents them, with its line end.
    pub fn header(&self) -> String {
        let encoded = STANDARD.encode(format!("{}:{}", self.user, self.password));
        format!("Proxy-Authorization: Basic {encoded}\r\n")
    }
}

impl RawClient {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(gateway: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&gateway, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the gateway hung up.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// `CONNECT target`, with credentials if there are any, and the answer.
    ///
    /// # Errors
    /// When the gateway hung up or answered something that is not HTTP.
    pub fn tunnel(&mut self, target: &str, credentials: Option<&ProxyCredentials>) -> Result<Answer> {
        let credentials = credentials.map_or(String::new(), ProxyCredentials::header);
        self.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n").as_bytes())?;
        self.answer()
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When the gateway hung up or answered something that is not HTTP.
    pub fn answer(&mut self) -> Result<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                anyhow::bail!("the gateway hung up after {lines:?}");
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let status = lines.first().and_then(|line| line.split(' ').nth(1));
        let status = status
            .and_then(|text| text.parse().ok())
            .context("no HTTP status")?;
        let headers: Vec<(String, String)> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: String::new(),
        };
        let length = answer.header("content-length").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    /// Exactly so many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Waits until the other side ends the connection, one way or another.
    pub fn drain(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }
}
