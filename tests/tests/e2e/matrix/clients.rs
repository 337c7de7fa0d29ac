//! The clients of the matrix, and what is known of them. Command lines are for `sh`, in an empty folder
//! of their own that is their home as well.

use super::cell::Column::{self, Http, Https, Loopback, Socks, Ws, WsLoopback, Wss};

/// One client as people use it.
pub struct Client {
    /// Stands in ids and paths.
    pub id: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// Prints its version; fails where it is not installed.
    pub version: &'static str,
    /// Makes `$BUILT` ready, before anything runs and without a proxy.
    pub build: Option<&'static str>,
    /// Reaches `$URL`, and fails unless it got what it wanted.
    pub line: &'static str,
    /// The folder that is served under `$URL`; without one, a file is.
    pub serves: Option<&'static str>,
    /// How it comes in, and with that, what names it.
    pub way: Way,
    /// What it does through the gateway.
    pub through: &'static [Column],
    /// What it does past the gateway, whatever its environment says.
    pub bypasses: &'static [Column],
    /// Where it goes through the gateway and shows its origin the proxy's credentials, inside TLS, where
    /// nobody can take them away.
    pub leaks: &'static [Column],
    /// Succeeds if this version has learnt to ask its environment after all.
    pub learnt: Option<&'static str>,
}

/// A way into the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The port that everybody uses, with the run's token.
    Token,
    /// TLS, with the run's certificate.
    Certificate,
    /// A port of the run's own, with nothing.
    OwnPort,
    /// A socket of the run's own, with nothing.
    OwnSocket,
}

impl Way {
    /// What `bailiwick run` is asked for.
    pub const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Token => &[],
            Self::Certificate => &["--mtls"],
            Self::OwnPort => &["--listener", "tcp"],
            Self::OwnSocket => &["--listener", "unix"],
        }
    }

    /// What every event of the run has to name.
    pub const fn attribution(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Certificate => "mtls",
            Self::OwnPort | Self::OwnSocket => "listener",
        }
    }
}

const CLIENT: Client = Client {
    id: "",
    name: "",
    version: "",
    build: None,
    line: "",
    serves: None,
    way: Way::Token,
    through: &[],
    bypasses: &[],
    leaks: &[],
    learnt: None,
};

/// A library of Python, driven by `clients/python/fetch.py`.
macro_rules! python {
    ($id:literal, $name:literal, $through:expr, $bypasses:expr) => {
        Client {
            id: $id,
            name: $name,
            version: concat!("\"$PYTHON\" \"$CLIENTS/python/fetch.py\" ", $id),
            line: concat!("\"$PYTHON\" \"$CLIENTS/python/fetch.py\" ", $id, " \"$URL\""),
            through: &$through,
            bypasses: &$bypasses,
            ..CLIENT
        }
    };
}

/// A library of Node, driven by `clients/node/fetch.js`.
macro_rules! node {
    ($id:literal, $library:literal, $name:literal, $through:expr, $bypasses:expr) => {
        Client {
            id: $id,
            name: $name,
            version: concat!("node \"$CLIENTS/node/fetch.js\" ", $library),
            line: concat!("node \"$CLIENTS/node/fetch.js\" ", $library, " \"$URL\""),
            through: &$through,
            bypasses: &$bypasses,
            ..CLIENT
        }
    };
}

/// From the versions on that have this option, Node heeds `NODE_USE_ENV_PROXY`, which `bailiwick run` sets.
const NODE_LEARNT: Option<&str> =
    Some("node -e 'process.exit(process.allowedNodeEnvironmentFlags.has(\"--use-env-proxy\") ? 0 : 1)'");

/// Java trusts no file of certificates, only stores.
const JAVA_BUILD: &str = r#"[ -f "$BUILT/trust.p12" ] ||
    keytool -importcert -noprompt -alias tests -file "$SSL_CERT_FILE" -keystore "$BUILT/trust.p12" \
        -storetype PKCS12 -storepass changeit
    javac -d "$BUILT" "$CLIENTS/java/Fetch.java""#;

/// Built aside and put into place whole, because two rows build it, perhaps at once.
const GO_BUILD: &str = r#"GO111MODULE=off GOTOOLCHAIN=local GOCACHE="$BUILT/go-cache" \
    go build -o "$BUILT/fetch-go.$$" "$CLIENTS/go/fetch.go" && mv "$BUILT/fetch-go.$$" "$BUILT/fetch-go""#;

macro_rules! java {
    ($id:literal, $class:literal) => {
        Client {
            id: $id,
            name: concat!("Java ", $class),
            version: "javac -version",
            line: concat!(
                "java -XX:TieredStopAtLevel=1 -cp \"$BUILT\" ",
                "-Djavax.net.ssl.trustStore=\"$BUILT/trust.p12\" -Djavax.net.ssl.trustStorePassword=changeit ",
                "Fetch ",
                $class,
                " \"$URL\""
            ),
            through: &[Http, Https, Loopback],
            ..CLIENT
        }
    };
}

pub const CLIENTS: &[Client] = &[
    Client {
        id: "curl",
        name: "curl",
        version: "curl --version",
        line: r#"curl -fsS --max-time 60 -o got "$URL""#,
        through: &[Http, Https, Socks, Loopback],
        ..CLIENT
    },
    Client {
        id: "wget",
        name: "wget",
        version: "wget --version",
        line: r#"wget -q --tries=1 --timeout=60 --ca-certificate="$SSL_CERT_FILE" -O got "$URL""#,
        through: &[Http, Https, Loopback],
        ..CLIENT
    },
    Client {
        id: "git",
        name: "git clone",
        version: "git --version",
        line: r#"git clone --quiet "$URL/forecast.git" clone && grep -q rain clone/forecast.txt"#,
        serves: Some("git"),
        through: &[Http, Https, Socks],
        ..CLIENT
    },
    Client {
        id: "pip",
        name: "pip download",
        // It refuses what is no wheel, so a real one is served, if there is one.
        version: r#"ls "$WHEELS"/openai-*.whl >&2 && "$PYTHON" -m pip --version"#,
        line: r#""$PYTHON" -m pip download --quiet --disable-pip-version-check --no-input --no-deps --retries 0 \
            --cert "$SSL_CERT_FILE" --trusted-host plain.matrix.example --index-url "$URL/simple" openai &&
            ls openai-*.whl"#,
        serves: Some("pip"),
        through: &[Http, Https, Socks],
        ..CLIENT
    },
    Client {
        id: "npm",
        name: "npm view",
        version: "npm --version",
        line: r#"npm view --registry "$URL/" --cafile "$SSL_CERT_FILE" --fetch-retries=0 --no-update-notifier forecast version >got &&
            grep -q 1.0.0 got"#,
        serves: Some("npm"),
        through: &[Http, Https],
        ..CLIENT
    },
    Client {
        id: "cargo",
        name: "cargo, sparse index",
        version: r#""$CARGO" --version"#,
        line: r#"mkdir src && : >src/lib.rs && cat >Cargo.toml <<end &&
[package]
name = "plugin"
edition = "2021"
[dependencies]
forecast = { version = "1", registry = "matrix" }
end
            CARGO_HOME="$PWD/cargo" CARGO_NET_RETRY=0 CARGO_HTTP_CAINFO="$SSL_CERT_FILE" \
            CARGO_REGISTRIES_MATRIX_INDEX="sparse+$URL/" "$CARGO" generate-lockfile --quiet &&
            grep -q forecast Cargo.lock"#,
        serves: Some("cargo"),
        through: &[Http, Https],
        ..CLIENT
    },
    Client {
        id: "apt",
        name: "apt",
        version: "[ -x /usr/lib/apt/apt-helper ] && apt-get --version",
        line: r#"/usr/lib/apt/apt-helper -o APT::Sandbox::User= -o Acquire::Retries=0 \
            -o Acquire::https::CaInfo="$SSL_CERT_FILE" download-file "$URL" got && [ -s got ]"#,
        through: &[Http],
        // It repeats Proxy-Authorization to whoever is at the other end of its tunnel.
        leaks: &[Https],
        ..CLIENT
    },
    Client {
        id: "ncat",
        name: "ncat --proxy-auth",
        version: "ncat --version 2>&1",
        // A tunnel to port 80, through which HTTP is spoken by hand.
        line: r#"user=${HTTPS_PROXY#http://} address=${HTTPS_PROXY##*@}
            printf 'GET /%s HTTP/1.0\r\n\r\n' "${URL##*/}" |
            ncat --no-shutdown --proxy "$address" --proxy-type http --proxy-auth "${user%@*}" plain.matrix.example 80 |
            grep -q '^HTTP/1.. 200'"#,
        through: &[Http],
        ..CLIENT
    },
    Client {
        id: "curl-tls",
        name: "curl, certificate",
        version: "curl --version",
        line: r#"curl -fsS --max-time 60 --proxy-cacert "$BAILIWICK_PROXY_CA" --proxy-cert "$BAILIWICK_PROXY_CERT" \
            --proxy-key "$BAILIWICK_PROXY_KEY" -o got "$URL""#,
        way: Way::Certificate,
        through: &[Http, Https, Loopback],
        ..CLIENT
    },
    Client {
        way: Way::Certificate,
        ..python!("urllib3-tls", "urllib3, certificate", [Http, Https, Loopback], [])
    },
    Client {
        id: "go-tls",
        name: "Go net/http, certificate",
        version: "go version",
        build: Some(GO_BUILD),
        line: r#""$BUILT/fetch-go" "$URL""#,
        way: Way::Certificate,
        through: &[Http, Https],
        ..CLIENT
    },
    Client {
        id: "curl-own-port",
        name: "curl, own port",
        version: "curl --version",
        line: r#"curl -fsS --max-time 60 -o got "$URL""#,
        way: Way::OwnPort,
        through: &[Http, Https, Socks, Loopback],
        ..CLIENT
    },
    Client {
        id: "ncat-own-port",
        name: "ncat, socks5, own port",
        version: "ncat --version 2>&1",
        // As `ProxyCommand` of ssh has it: no credentials, and a name for the proxy to look up.
        line: r#"printf 'GET /%s HTTP/1.0\r\n\r\n' "${URL##*/}" |
            ncat --no-shutdown --proxy "$BAILIWICK_PROXY" --proxy-type socks5 --proxy-dns remote plain.matrix.example 80 |
            grep -q '^HTTP/1.. 200'"#,
        way: Way::OwnPort,
        through: &[Http],
        ..CLIENT
    },
    Client {
        id: "curl-own-socket",
        name: "curl, own socket",
        // SOCKS5 over a Unix socket came with 7.84. HTTP needs no proxy for it: the URL is the target.
        version: r#"minor=$(curl --version | sed -n '1s/^curl 7\.\([0-9]*\)\..*/\1/p') &&
            [ "${minor:-84}" -ge 84 ] && curl --version"#,
        line: r#"case $URL in
            https:*) curl -fsS --max-time 60 --proxy "socks5h://localhost$BAILIWICK_PROXY_SOCKET" -o got "$URL" ;;
            *) curl -fsS --max-time 60 --noproxy '*' --unix-socket "$BAILIWICK_PROXY_SOCKET" \
                --request-target "$URL" -o got "$URL" ;;
            esac"#,
        way: Way::OwnSocket,
        through: &[Http, Socks],
        ..CLIENT
    },
    // PySocks writes the length of a password as a letter in UTF-8, which from 128 on is two bytes.
    python!("requests", "requests", [Http, Https, Socks, Loopback], []),
    python!("urllib", "urllib.request", [Http, Https, Loopback], []),
    python!("httpx", "httpx", [Http, Https, Socks, Loopback], []),
    python!(
        "aiohttp-trust-env",
        "aiohttp, trust_env",
        [Http, Https, Loopback],
        []
    ),
    python!("aiohttp", "aiohttp as it is", [], [Loopback]),
    python!(
        "urllib3-proxy-manager",
        "urllib3 ProxyManager",
        [Http, Https, Loopback],
        []
    ),
    python!("urllib3", "urllib3 PoolManager", [], [Loopback]),
    python!("websockets", "websockets", [Ws, Wss, WsLoopback], []),
    // Its proxy speaks HTTP/2, and so do they.
    python!("h2", "hyper-h2, HTTP/2 proxy", [Http, Https, Loopback], []),
    python!("openai", "openai SDK", [Https, Socks], []),
    Client {
        learnt: NODE_LEARNT,
        ..node!("node-fetch", "fetch", "Node fetch", [], [Loopback])
    },
    Client {
        learnt: NODE_LEARNT,
        ..node!("node-http", "http", "Node http.get", [], [Loopback])
    },
    node!(
        "undici",
        "undici",
        "undici EnvHttpProxyAgent",
        [Http, Https, Ws, Wss, Loopback],
        []
    ),
    node!(
        "node-http2",
        "http2",
        "Node http2, HTTP/2 proxy",
        [Http, Https, Ws, Loopback, WsLoopback],
        []
    ),
    node!("axios", "axios", "axios", [Http, Https, Loopback], []),
    node!("ws", "ws", "ws as it is", [], [WsLoopback]),
    node!(
        "ws-agent",
        "ws-with-agent",
        "ws, https-proxy-agent",
        [Ws, Wss, WsLoopback],
        []
    ),
    Client {
        id: "go",
        name: "Go net/http",
        version: "go version",
        build: Some(GO_BUILD),
        // It knows no ALL_PROXY and no socks5h; its socks5 resolves no names either.
        line: r#"HTTPS_PROXY=${HTTPS_PROXY:-socks5${ALL_PROXY#socks5h}} "$BUILT/fetch-go" "$URL""#,
        through: &[Http, Https, Socks],
        // It never asks a proxy for a loopback address.
        bypasses: &[Loopback],
        ..CLIENT
    },
    Client {
        build: Some(JAVA_BUILD),
        ..java!("java-http-client", "HttpClient")
    },
    java!("java-url-connection", "HttpURLConnection"),
];
