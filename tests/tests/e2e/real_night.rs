//! A real night: plugins that behave as differently as plugins do, each through real clients and the real
//! gateway, and the verdicts that a person would give who read what each of them declares and does.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bailiwick_tests::{NameServer, Peer, Plugin, Reply, Scenario, World, run};
use serde_json::{Value, json};
use toml::Table;

use crate::policy::{acts, edit_policy, medium};
use crate::stock::script;
use crate::story::artifact_report;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "a_night_over_real_clients_gives_the_verdicts_that_a_person_would_give",
    needs: &[Peer::Curl, Peer::Python, Peer::Node],
    run: night,
}];

/// A field of a manifest, and what makes its value.
type Field = (&'static str, fn() -> Value);

/// One plugin.
struct Row {
    id: &'static str,
    declares: &'static [&'static str],
    /// A field of its manifest beside.
    says: Option<Field>,
    tier: &'static str,
    /// Options of `bailiwick run`.
    options: &'static [&'static str],
    /// What it does, a run for each.
    does: &'static [Does],
    verdict: &'static str,
    /// Findings, as reason and severity.
    findings: &'static [(&'static str, &'static str)],
    /// What the policy does about it; nothing where no clause speaks.
    measure: Option<&'static str>,
    /// Why a person says so.
    #[allow(dead_code, reason = "read by people")]
    why: &'static str,
}

/// What one run does, with which client.
enum Does {
    /// curl, with these arguments.
    Curl(&'static [&'static str]),
    /// Python's `requests`, one URL after the other.
    Requests(&'static [&'static str]),
    /// Python's `httpx`.
    Httpx(&'static [&'static str]),
    /// Node, with a tunnel that it asks for by itself.
    Node(&'static str),
    /// curl as often as there are URLs, one process each, in one run.
    Curls(&'static [&'static str]),
}

const ROWS: &[Row] = &[
    Row {
        id: "acme.weather",
        declares: &["*.weather.example"],
        does: &[
            Does::Curl(&["https://api.weather.example/today"]),
            Does::Curl(&["https://maps.weather.example/today"]),
        ],
        verdict: "conforming",
        why: "both names are one label below what it declares",
        ..PLAIN
    },
    Row {
        id: "acme.loud",
        declares: &["api.loud.example"],
        does: &[Does::Curl(&["https://API.Loud.EXAMPLE/"])],
        verdict: "conforming",
        why: "a name is the same name in capitals",
        ..PLAIN
    },
    Row {
        id: "acme.reader",
        declares: &["one.reader.example", "two.reader.example"],
        does: &[
            Does::Requests(&["https://one.reader.example/a", "https://two.reader.example/b"]),
            Does::Httpx(&["https://two.reader.example/c"]),
        ],
        verdict: "conforming",
        why: "it goes where it said, with whatever library",
        ..PLAIN
    },
    Row {
        id: "acme.script",
        declares: &["api.script.example"],
        does: &[Does::Node("api.script.example")],
        verdict: "conforming",
        why: "a tunnel asked for by hand is a tunnel to the declared host",
        ..PLAIN
    },
    Row {
        id: "acme.paste",
        declares: &["api.paste.example"],
        does: &[Does::Requests(&[
            "https://bin.paste.test/1",
            "https://bin.paste.test/2",
        ])],
        verdict: "non_conforming",
        findings: &[("undeclared_host", "high")],
        measure: Some("quarantine"),
        why: "twice to a host that nobody declared",
        ..PLAIN
    },
    Row {
        id: "acme.once",
        declares: &["api.once.example"],
        does: &[
            Does::Curl(&["https://api.once.example/"]),
            Does::Curl(&["https://bin.paste.test/"]),
        ],
        verdict: "non_conforming",
        findings: &[("undeclared_host", "high")],
        measure: Some("alert"),
        why: "it broke its word; one connection in one run is too little to stop it without asking",
        ..PLAIN
    },
    Row {
        id: "acme.typo",
        declares: &["api.typo.example"],
        does: &[
            Does::Curl(&["https://apl.typo.example/"]),
            Does::Curl(&["https://apl.typo.example/"]),
            Does::Curl(&["https://apl.typo.example/"]),
        ],
        verdict: "non_conforming",
        findings: &[("undeclared_host", "high")],
        measure: Some("alert"),
        why: "an attempt is an attempt; names that do not resolve never take anything down",
        ..PLAIN
    },
    Row {
        id: "acme.port",
        declares: &["api.port.example"],
        does: &[
            Does::Curl(&["https://api.port.example:8443/"]),
            Does::Curl(&["https://api.port.example:8443/"]),
        ],
        verdict: "non_conforming",
        findings: &[("undeclared_port", "medium")],
        measure: Some("quarantine"),
        why: "the declared host on a port that was not declared, in two runs",
        ..PLAIN
    },
    Row {
        id: "acme.front",
        declares: &["front.example"],
        does: &[Does::Curl(&[
            "--connect-to",
            "hidden.example:443:front.example:443",
            "https://hidden.example/",
        ])],
        verdict: "non_conforming",
        findings: &[("sni_mismatch", "high")],
        why: "it asks for the declared host and speaks to another behind it; no clause counts that here",
        ..PLAIN
    },
    Row {
        id: "acme.classy",
        declares: &["api.classy.example"],
        options: &["--data-class", "secret"],
        does: &[
            Does::Curl(&["https://api.classy.example/"]),
            Does::Curl(&["https://api.classy.example/"]),
        ],
        verdict: "non_conforming",
        findings: &[("data_class_breach", "high")],
        measure: Some("quarantine"),
        why: "runs with secret data go to a host declared for official data",
        ..PLAIN
    },
    Row {
        id: "acme.hasty",
        declares: &["api.hasty.example"],
        says: Some(("limits", || json!({"connections_per_minute": 2}))),
        does: &[Does::Curls(&["https://api.hasty.example/"; 4])],
        verdict: "non_conforming",
        findings: &[("limit_exceeded", "medium")],
        measure: Some("quarantine"),
        why: "four connections in a minute where two were promised: two beyond it",
        ..PLAIN
    },
    Row {
        id: "acme.let",
        declares: &["api.let.example"],
        does: &[
            Does::Curl(&["https://cdn.let.test/"]),
            Does::Curl(&["https://cdn.let.test/"]),
        ],
        verdict: "conforming",
        findings: &[("undeclared_host", "info")],
        why: "two people signed that this may pass for a while, and it is written down",
        ..PLAIN
    },
    Row {
        id: "acme.half",
        declares: &["api.half.example"],
        does: &[
            Does::Curl(&["https://cdn.half.test/"]),
            Does::Curl(&["https://cdn.half.test/"]),
        ],
        verdict: "non_conforming",
        findings: &[("undeclared_host", "high")],
        measure: Some("quarantine"),
        why: "of the two whom its exception names only one signed it",
        ..PLAIN
    },
    Row {
        id: "acme.around",
        declares: &["api.around.example"],
        does: &[Does::Curl(&["--noproxy", "*", "https://api.around.example/"])],
        verdict: "no_traffic",
        findings: &[("no_coverage", "info")],
        why: "it ignores its proxy, so nothing of it was seen, and nobody says that it kept its word",
        ..PLAIN
    },
    Row {
        id: "acme.trusted",
        declares: &["api.trusted.example"],
        tier: "high",
        does: &[
            Does::Curl(&["https://bin.paste.test/"]),
            Does::Curl(&["https://bin.paste.test/"]),
        ],
        verdict: "non_conforming",
        findings: &[("undeclared_host", "high")],
        measure: Some("alert"),
        why: "in the high tier a person decides",
        ..PLAIN
    },
];

/// Whatever a row does not say.
const PLAIN: Row = Row {
    id: "",
    declares: &[],
    says: None,
    tier: "medium",
    options: &[],
    does: &[],
    verdict: "conforming",
    findings: &[],
    measure: None,
    why: "",
};

/// Every name that leads somewhere.
const NAMES: &[&str] = &[
    "api.weather.example",
    "maps.weather.example",
    "api.loud.example",
    "one.reader.example",
    "two.reader.example",
    "api.script.example",
    "bin.paste.test",
    "api.once.example",
    "api.port.example",
    "front.example",
    "hidden.example",
    "api.classy.example",
    "api.hasty.example",
    "cdn.let.test",
    "cdn.half.test",
    "api.around.example",
];

const NODE: &str = "
const http = require('http'), tls = require('tls'), proxy = new URL(process.env.HTTPS_PROXY), host = process.argv[1];
const auth = Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64');
const asked = http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: `${host}:443`,
    headers: {Host: `${host}:443`, 'Proxy-Authorization': `Basic ${auth}`}});
asked.on('connect', (answer, socket) => {
    if (answer.statusCode !== 200) process.exit(1);
    const inner = tls.connect({socket, servername: host}, () => inner.write(`GET / HTTP/1.1\\r\\nHost: ${host}\\r\\nConnection: close\\r\\n\\r\\n`));
    inner.on('data', () => {}).on('end', () => process.exit(0)).on('error', error => { console.error(error); process.exit(1); });
});
asked.on('error', error => { console.error(error); process.exit(1); });
asked.end();
";

impl Does {
    fn command(&self) -> Vec<String> {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let curl = ["curl", "-sS", "--max-time", "60", "-o", "/dev/null"];
        let python = |library: &str, urls: &[&str]| {
            let python = Peer::Python
                .command()
                .get_program()
                .to_string_lossy()
                .into_owned();
            let fetch = script("fetch.py").to_string_lossy().into_owned();
            [vec![python, fetch, library.to_owned()], own(urls)].concat()
        };
        match self {
            Self::Curl(arguments) => [own(&curl), own(arguments)].concat(),
            Self::Curls(urls) => {
                let each = "for url; do curl -sS --max-time 60 -o /dev/null \"$url\" || exit; done";
                [own(&["sh", "-c", each, "sh"]), own(urls)].concat()
            }
            Self::Requests(urls) => python("requests", urls),
            Self::Httpx(urls) => python("httpx", urls),
            Self::Node(host) => own(&["node", "-e", NODE, host]),
        }
    }
}

fn night() -> Result<()> {
    // A name that nobody answers for.
    let names = NameServer::start([("apl.typo.example", vec![Reply::NoSuchName])])?;
    let mut world = World::new()?;
    world.origin(NAMES)?;
    world.resolve_with(names.address())?;
    write_policy(&world)?;
    world.serve()?;
    let mut plugins: BTreeMap<&str, Plugin> = BTreeMap::new();
    for row in ROWS {
        let mut plugin = world.plugin(row.id).declares(row.declares);
        plugin = plugin.says("data_classes", json!(["official"]));
        if let Some((field, value)) = row.says {
            plugin = plugin.says(field, value());
        }
        plugins.insert(row.id, plugin.admit(row.tier)?);
    }
    for row in ROWS {
        for does in row.does {
            let mut command = world.command(["run", "--artifact"]);
            command.arg(&plugins[row.id].artifact).args(row.options);
            let done = run(command.arg("--").args(does.command()))?;
            // Names that lead nowhere, and who goes around the gateway, reach nothing.
            let reaches = !matches!(row.id, "acme.typo" | "acme.around");
            ensure!(
                (done.status == Some(0)) == reaches,
                "{}: {} {}",
                row.id,
                done.text(),
                done.stderr
            );
        }
    }
    // What tonight would do, and nothing is done.
    let would = world.cli(["audit", "--dry-run"])?.expect(1)?.json()?;
    told(&would, &plugins, "proposed")?;
    ensure!(
        acts(&world, "quarantine")?.is_empty(),
        "a dry run acts on nothing"
    );

    let audit = world.cli(["audit"])?.expect(1)?.json()?;
    told(&audit, &plugins, "")?;
    let done = acts(&world, "quarantine")?;
    let mut held: Vec<&str> = Vec::new();
    for act in &done {
        ensure!(act["clause"] == "tiers.medium.on_breach", "{act}");
        ensure!(act["enabled_by"] == "ops" && act["who"] == "policy", "{act}");
        let own = plugins
            .iter()
            .find(|(_, plugin)| act["target"] == plugin.digest.as_str());
        held.push(own.context("an act about one of the plugins")?.0);
    }
    held.sort_unstable();
    let mut expected: Vec<&str> = ROWS
        .iter()
        .filter(|row| row.measure == Some("quarantine"))
        .map(|row| row.id)
        .collect();
    expected.sort_unstable();
    ensure!(
        held == expected,
        "held {held:?}, and a person would hold {expected:?}"
    );
    Ok(())
}

/// Holds an audit against the table.
fn told(audit: &Value, plugins: &BTreeMap<&str, Plugin>, result: &str) -> Result<()> {
    let mut wrong = Vec::new();
    for row in ROWS {
        let report = artifact_report(audit, &plugins[row.id])?;
        let found: Vec<(&str, &str)> = report["findings"]
            .as_array()
            .context("findings")?
            .iter()
            .map(|finding| {
                let text = |field: &str| finding[field].as_str().unwrap_or_default();
                (text("reason"), text("severity"))
            })
            .collect();
        let proposals = audit["proposals"].as_array().context("proposals")?;
        let own = proposals.iter().find(|proposal| proposal["plugin_id"] == row.id);
        let measure = own.and_then(|proposal| proposal["measure"].as_str());
        let is_right = report["verdict"] == row.verdict && found == row.findings && measure == row.measure;
        if !is_right {
            wrong.push(format!(
                "{}: {} {found:?} {measure:?}, and a person says {} {:?} {:?}",
                row.id, report["verdict"], row.verdict, row.findings, row.measure
            ));
        }
        if let Some(proposal) = own {
            let named = proposal["clause"].is_string() && proposal["enabled_by"] == "ops";
            ensure!(named, "{proposal:#}");
            ensure!(result.is_empty() || proposal["result"] == result, "{proposal:#}");
        }
    }
    ensure!(wrong.is_empty(), "{}\n{audit:#}", wrong.join("\n"));
    Ok(())
}

/// The medium tier counts classes of data and limits as well, and two exceptions ask to be let pass: one is
/// signed by two people, the other by one.
fn write_policy(world: &World) -> Result<()> {
    let trust = world.ok(["trust", "list"])?;
    let signers = trust["signers"].as_array().context("signers")?;
    let person = |role: &str| -> Result<String> {
        let signer = signers.iter().find(|signer| signer["role"] == role);
        let name = signer.and_then(|signer| signer["name"].as_str());
        Ok(name.with_context(|| format!("a {role} in {trust:#}"))?.to_owned())
    };
    let people = [person("operator")?, person("certifier")?];
    edit_policy(world, |policy| {
        let reasons = medium(policy)["reasons"].as_array_mut().expect("a list");
        reasons.extend(["data_class_breach", "limit_exceeded"].map(toml::Value::from));
        let exception = |plugin: &str, to: &str| {
            let mut exception = Table::new();
            exception.insert("plugin_id".into(), plugin.into());
            exception.insert("reasons".into(), vec!["undeclared_host"].into());
            exception.insert("to".into(), to.into());
            exception.insert("why".into(), "until the next version ships".into());
            exception.insert("signed_by".into(), people.to_vec().into());
            exception.insert("until".into(), "2040-01-01T00:00:00Z".into());
            toml::Value::Table(exception)
        };
        let exceptions = vec![
            exception("acme.let", "cdn.let.test"),
            exception("acme.half", "cdn.half.test"),
        ];
        policy.insert("exceptions".into(), exceptions.into());
    })?;
    for number in ["0", "1"] {
        let signed = world.ok(["policy", "sign-exception", number])?;
        ensure!(signed["counts"] == false, "{signed:#}");
        let again = world.ok(["policy", "sign-exception", number])?;
        ensure!(
            again["counts"] == false,
            "the same person twice is one: {again:#}"
        );
    }
    // Who owns a plugin is not asked.
    let owner = world.plugin("acme.owner").declares(&[]).prepare()?;
    let stranger = owner.key.to_str().context("UTF-8")?;
    let refused = world.cli(["policy", "sign-exception", "0", "--key", stranger])?;
    let refused = refused.expect(1)?.json()?;
    ensure!(refused["code"] == "exception_signature_refused", "{refused:#}");

    // The second person signs elsewhere, and the file is brought here.
    let second = world.path("second.sigstore.json");
    let certifier = world.site().join("keys/certifier.pem");
    world.ok([
        "policy".as_ref(),
        "sign-exception".as_ref(),
        "0".as_ref(),
        "--key".as_ref(),
        certifier.as_os_str(),
        "--out".as_ref(),
        second.as_os_str(),
    ])?;
    let added = world.ok(["policy".as_ref(), "add-signature".as_ref(), second.as_os_str()])?;
    ensure!(
        added["counts"] == true && added["exception"] == "exceptions[0]",
        "{added:#}"
    );
    let linted = world.cli(["policy", "lint"])?.expect(1)?.json()?;
    let unsigned: Vec<&Value> = linted["findings"]
        .as_array()
        .context("findings")?
        .iter()
        .filter(|finding| finding["rule"] == "exception-unsigned")
        .collect();
    ensure!(
        unsigned.len() == 1 && unsigned[0]["field"] == "exceptions[1]",
        "{linted:#}"
    );
    Ok(())
}
