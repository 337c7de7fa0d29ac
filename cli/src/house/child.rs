//! The command of a run: its environment, its signals, its exit status.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::run_folder::ClientFiles;

/// What a run's command is told through its environment.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// The run.
    pub run_id: base::RunId,
    /// The plugin.
    pub plugin_id: base::PluginId,
    /// The artifact.
    pub artifact_digest: base::ArtifactDigest,
    /// The gateway's address for clients on this machine, or the run's own.
    pub proxy: SocketAddr,
    /// The run token, a credential; absent where `proxy` is the run's own.
    pub token: Option<String>,
    /// The run's own Unix socket, where it has one.
    pub socket: Option<PathBuf>,
    /// Where the gateway speaks TLS at that address: what the command needs for that.
    pub tls: Option<TlsFacts>,
}

/// What a run's command needs to speak TLS to the gateway.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// The certificates that vouch for the gateway.
    pub authority: PathBuf,
    /// What the run proves itself by. It is then told no token: there is nothing to copy.
    pub client: Option<ClientFiles>,
}

impl RunFacts {
    /// The proxy as clients are told it.
    fn proxy_url(&self) -> String {
        let (scheme, has_certificate) = match &self.tls {
            None => ("http", false),
            Some(tls) => ("https", tls.client.is_some()),
        };
        let Self { run_id, proxy, .. } = self;
        match self.token.as_ref().filter(|_| !has_certificate) {
            Some(token) => format!("{scheme}://{run_id}:{token}@{proxy}"),
            None => format!("{scheme}://{proxy}"),
        }
    }
}

/// The names under which a run finds what it needs for TLS to the gateway: our own, and those that
/// git reads.
fn tls_environment(facts: &RunFacts, tls: &TlsFacts) -> Vec<(String, String)> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut environment = vec![
        ("BAILIWICK_PROXY_URL", facts.proxy_url()),
        ("BAILIWICK_PROXY_CA", path(&tls.authority)),
        ("GIT_PROXY_SSL_CAINFO", path(&tls.authority)),
    ];
    if let Some(client) = &tls.client {
        let (certificate, key) = (path(&client.certificate), path(&client.key));
        environment.extend([
            ("BAILIWICK_PROXY_CERT", certificate.clone()),
            ("BAILIWICK_PROXY_KEY", key.clone()),
            ("GIT_PROXY_SSL_CERT", certificate),
            ("GIT_PROXY_SSL_KEY", key),
        ]);
    }
    environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The environment of a run, in the spellings that real clients read: some know lower case only,
/// some only `ALL_PROXY`, Java none of them, and an inherited `NO_PROXY` would open a way around.
pub fn environment(facts: &RunFacts) -> Vec<(String, String)> {
    let proxy = facts.proxy_url();
    let mut environment = Vec::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        environment.push((name.to_owned(), proxy.clone()));
        environment.push((name.to_lowercase(), proxy.clone()));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        environment.push((name.to_owned(), String::new()));
    }
    let (host, port) = (facts.proxy.ip(), facts.proxy.port());
    let mut java = String::new();
    if let Ok(inherited) = std::env::var("JAVA_TOOL_OPTIONS") {
        java.push_str(&inherited);
        java.push(' ');
    }
    java.push_str(&format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts= -Djdk.http.auth.tunneling.disabledSchemes="
    ));
    let own = [
        ("NODE_USE_ENV_PROXY", "1".to_owned()),
        ("JAVA_TOOL_OPTIONS", java),
        ("BAILIWICK_RUN_ID", facts.run_id.to_string()),
        ("BAILIWICK_PLUGIN_ID", facts.plugin_id.to_string()),
        ("BAILIWICK_ARTIFACT_DIGEST", facts.artifact_digest.to_string()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if let Some(tls) = &facts.tls {
        environment.extend(tls_environment(facts, tls));
    }
    // For clients that are told their proxy in words of their own, as in `nc -X 5 -x $BAILIWICK_PROXY`:
    // only where no credentials are needed, or they would be refused.
    if facts.token.is_none() && facts.tls.is_none() {
        environment.push(("BAILIWICK_PROXY".to_owned(), facts.proxy.to_string()));
    }
    if let Some(socket) = &facts.socket {
        // The gateway chose the path, and chose it in UTF-8.
        environment.push(("BAILIWICK_PROXY_SOCKET".to_owned(), socket.display().to_string()));
    }
    environment
}

/// Runs `command` to its end, passing SIGTERM, SIGINT and SIGHUP on to it.
///
/// # Errors
/// The command cannot be started.
pub async fn run(command: &[OsString], facts: &RunFacts) -> anyhow::Result<ExitStatus> {
    let (program, arguments) = command
        .split_first()
        .context("no command given; write it after --")?;
    let mut child = Command::new(program)
        .args(arguments)
        // Of a run around this one, if there is any.
        .env_remove("BAILIWICK_PROXY")
        .env_remove("BAILIWICK_PROXY_SOCKET")
        .envs(environment(facts))
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // A terminal's Ctrl-C reaches the whole foreground group by itself; told twice, many programs
    // give up without cleaning up.
    let terminal_tells = std::io::stdin().is_terminal();
    loop {
        let passed = tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => {
                if terminal_tells {
                    continue;
                }
                Signal::INT
            }
            _ = hang_up.recv() => Signal::HUP,
        };
        if let Some(pid) = pid {
            // A child that has just ended cannot be told; its status comes with the next turn.
            let _ = kill_process(pid, passed);
        }
    }
}

/// The exit status that stands for `status`: the child's own, or 128 + signal as shells have it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> RunFacts {
        RunFacts {
            run_id: base::RunId::from_parts(1_700_000_000_000, [1; 10]),
            plugin_id: "acme.weather".parse().unwrap(),
            artifact_digest: base::ArtifactDigest::new(base::Sha256Digest::of(b"x")),
            proxy: "127.0.0.1:3128".parse().unwrap(),
            token: Some("a-b_c".to_owned()),
            socket: None,
            tls: None,
        }
    }

    #[test]
    fn a_listener_of_its_own_takes_the_place_of_credentials() {
        let facts = RunFacts {
            token: None,
            socket: Some("/run/bailiwick/x/proxy.sock".into()),
            ..facts()
        };
        let environment: std::collections::BTreeMap<_, _> = environment(&facts).into_iter().collect();
        assert_eq!(environment["https_proxy"], "http://127.0.0.1:3128");
        assert_eq!(environment["BAILIWICK_PROXY"], "127.0.0.1:3128");
        assert_eq!(
            environment["BAILIWICK_PROXY_SOCKET"],
            "/run/bailiwick/x/proxy.sock"
        );
        assert!(!environment.values().any(|value| value.contains("a-b_c")));
    }

    #[test]
    fn both_spellings_carry_the_credentials_and_no_proxy_is_empty() {
        let environment = environment(&facts());
        let get = |name: &str| {
            environment
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
                .unwrap()
        };
        let expected = format!("http://{}:a-b_c@127.0.0.1:3128", facts().run_id);
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            assert_eq!(get(name), expected);
        }
        assert_eq!(
            (get("NO_PROXY"), get("no_proxy"), get("NODE_USE_ENV_PROXY")),
            ("", "", "1")
        );
        assert!(get("JAVA_TOOL_OPTIONS").contains("-Dhttps.proxyPort=3128"));
    }

    #[test]
    fn a_run_with_a_certificate_is_told_where_it_is_and_no_token() {
        let mut facts = facts();
        facts.tls = Some(TlsFacts {
            authority: "/site/gateway.crt".into(),
            client: Some(ClientFiles {
                certificate: "/run/client.crt".into(),
                key: "/run/client.key".into(),
            }),
        });
        let with_certificate = environment(&facts);
        let get = |name: &str| {
            let found = with_certificate.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.as_str())
        };
        for (name, value) in [
            ("HTTPS_PROXY", "https://127.0.0.1:3128"),
            ("BAILIWICK_PROXY_URL", "https://127.0.0.1:3128"),
            ("BAILIWICK_PROXY_CA", "/site/gateway.crt"),
            ("BAILIWICK_PROXY_CERT", "/run/client.crt"),
            ("BAILIWICK_PROXY_KEY", "/run/client.key"),
            ("GIT_PROXY_SSL_CERT", "/run/client.crt"),
        ] {
            assert_eq!(get(name), Some(value), "{name}");
        }
        assert!(with_certificate.iter().all(|(_, value)| !value.contains("a-b_c")));

        facts.tls.as_mut().unwrap().client = None;
        let by_token = environment(&facts);
        let url = format!("https://{}:a-b_c@127.0.0.1:3128", facts.run_id);
        assert!(by_token.contains(&("HTTPS_PROXY".to_owned(), url)));
        assert!(by_token.iter().all(|(name, _)| name != "BAILIWICK_PROXY_CERT"));
    }

    #[tokio::test]
    async fn the_exit_status_is_the_childs_own() {
        let sh = |script: &str| ["sh", "-c", script].map(OsString::from);
        assert_eq!(exit_code(run(&sh("exit 7"), &facts()).await.unwrap()), 7);
        assert_eq!(exit_code(run(&sh("kill -9 $$"), &facts()).await.unwrap()), 137);
        assert!(run(&["/nonexistent".into()], &facts()).await.is_err());
    }
}
