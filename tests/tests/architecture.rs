//! The shape of the house, held by tests: who depends on whom, and what deciding code never does.
//!
//! ARCHITECTURE.md states these rules for people. Each exists because breaking it would make a
//! promise of the product depend on somebody's good memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each room may depend on directly. Whatever is not said is forbidden.
const ROOMS: [(&str, &[&str]); 10] = [
    ("base", &[]),
    ("seal", &["base"]),
    ("manifests", &["base", "seal"]),
    ("evidence", &["base", "seal"]),
    ("crl", &["base", "seal"]),
    ("reports", &["base", "seal", "manifests", "evidence", "crl"]),
    ("proxy", &["base", "seal", "evidence"]),
    (
        "auditor",
        &["base", "seal", "manifests", "evidence", "crl", "reports"],
    ),
    (
        "control",
        &["base", "seal", "manifests", "evidence", "crl", "reports"],
    ),
    (
        "cli",
        &[
            "base",
            "seal",
            "manifests",
            "evidence",
            "crl",
            "reports",
            "proxy",
            "auditor",
            "control",
        ],
    ),
];

/// The rooms that decide: bytes, values and `now` in, answers out.
const DECIDING: [&str; 6] = ["base", "seal", "manifests", "evidence", "crl", "reports"];

/// Files that may say `unsafe`, each with its own reason in its header.
const UNSAFE_ALLOWED: [&str; 0] = [];

fn root() -> PathBuf {
    bailiwick_tests::workspace()
        .canonicalize()
        .expect("the workspace exists")
}

/// The package names of the rooms: `bailiwick-base`, …, and plain `bailiwick` for the binary.
fn package(room: &str) -> String {
    match room {
        "cli" => "bailiwick".to_owned(),
        room => format!("bailiwick-{room}"),
    }
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(args)
        .output()
        .expect("cargo runs, it runs us");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The dependency graph of normal (and, with `build`, build) dependencies by package name.
struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads `cargo tree`, which asks for this platform's packages only: those are here, since they
    /// were compiled to get here.
    fn read(build: bool) -> Self {
        let kinds = if build { "normal,build" } else { "normal" };
        let printed = cargo(&[
            "tree",
            "--offline",
            "--workspace",
            "--edges",
            kinds,
            "--prefix",
            "depth",
        ]);
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        // The packages from the root down to the line at hand.
        let mut path: Vec<String> = Vec::new();
        for line in printed.lines().filter(|line| !line.is_empty()) {
            let name_at = line.find(|c: char| !c.is_ascii_digit()).unwrap();
            let depth: usize = line[..name_at].parse().unwrap();
            let name = line[name_at..].split(' ').next().unwrap().to_owned();
            path.truncate(depth);
            if let Some(parent) = path.last() {
                edges.get_mut(parent).unwrap().insert(name.clone());
            }
            edges.entry(name.clone()).or_default();
            path.push(name);
        }
        assert!(
            edges.contains_key("bailiwick"),
            "cargo tree printed something else:\n{printed}"
        );
        Self { edges }
    }

    fn direct(&self, package: &str) -> &BTreeSet<String> {
        &self.edges[package]
    }

    fn reach(&self, package: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(next) = open.pop() {
            for dependency in self.edges.get(&next).into_iter().flatten() {
                if reached.insert(dependency.clone()) {
                    open.push(dependency.clone());
                }
            }
        }
        reached
    }
}

#[test]
fn rooms_depend_only_to_the_left() {
    let graph = Graph::read(true);
    let rooms: BTreeSet<String> = ROOMS.iter().map(|(room, _)| package(room)).collect();
    for (room, allowed) in ROOMS {
        let allowed: BTreeSet<String> = allowed.iter().map(|room| package(room)).collect();
        let found: BTreeSet<String> = graph
            .direct(&package(room))
            .intersection(&rooms)
            .cloned()
            .collect();
        let forbidden: Vec<_> = found.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{room} depends on {forbidden:?}");
    }
}

#[test]
fn every_room_is_in_the_table_above() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let members: BTreeSet<&str> = manifest["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member.as_str().unwrap())
        .collect();
    let known: BTreeSet<&str> = ROOMS
        .iter()
        .map(|(room, _)| *room)
        .chain(["tests", "tests/synth"])
        .collect();
    assert_eq!(members, known);
}

#[test]
fn no_room_depends_on_what_tests_are_made_of() {
    let graph = Graph::read(true);
    for (room, _) in ROOMS {
        for helper in ["bailiwick-tests", "bailiwick-synth"] {
            assert!(
                !graph.reach(&package(room)).contains(helper),
                "{room} reaches {helper}"
            );
        }
    }
}

#[test]
fn the_gateway_judges_nobody() {
    let reach = Graph::read(true).reach(&package("proxy"));
    for room in ["manifests", "crl", "reports", "auditor", "control"] {
        assert!(!reach.contains(&package(room)), "proxy reaches {room}");
    }
}

#[test]
fn deciding_rooms_reach_no_socket_no_runtime_and_no_database() {
    let graph = Graph::read(false);
    for room in DECIDING {
        let reach = graph.reach(&package(room));
        for acting in [
            "tokio",
            "mio",
            "hyper",
            "socket2",
            "rustls",
            "axum",
            "lettre",
            "rusqlite",
            "hickory-resolver",
            "async-std",
        ] {
            assert!(!reach.contains(acting), "{room} reaches {acting}");
        }
        for random in ["getrandom", "rand"] {
            assert!(
                !graph.direct(&package(room)).contains(random),
                "{room} depends on {random}"
            );
        }
    }
}

#[test]
fn only_the_seal_names_a_signature_algorithm() {
    let graph = Graph::read(true);
    for (room, _) in ROOMS.into_iter().filter(|(room, _)| *room != "seal") {
        for algorithm in ["ed25519-dalek", "p256", "curve25519-dalek", "ecdsa", "rsa"] {
            assert!(
                !graph.direct(&package(room)).contains(algorithm),
                "{room} depends on {algorithm}"
            );
        }
    }
}

#[test]
fn one_tls_stack_and_no_foreign_one() {
    let reach = Graph::read(true).reach(&package("cli"));
    for foreign in [
        "openssl",
        "openssl-sys",
        "native-tls",
        "aws-lc-rs",
        "aws-lc-sys",
        "boring",
        "schannel",
    ] {
        assert!(!reach.contains(foreign), "the product links {foreign}");
    }
}

/// A source file of a room: its path for messages, and its lines without comments and without the
/// test module that ends it.
struct Source {
    name: String,
    header: String,
    code: Vec<(usize, String)>,
}

fn sources(room: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(room).join("src"), &mut files);
    files.retain(|path| path.extension().is_some_and(|kind| kind == "rs"));
    assert!(!files.is_empty(), "{room} has no source");
    let tests: BTreeSet<String> = files.iter().flat_map(|path| test_modules(path)).collect();
    // A module for tests may be a file or a folder of files.
    let is_test = |path: &Path| {
        path.with_extension("")
            .components()
            .any(|part| tests.contains(&*part.as_os_str().to_string_lossy()))
    };
    files
        .iter()
        .filter(|path| !is_test(path))
        .map(|path| source(path))
        .collect()
}

/// The modules that this file declares for tests alone, in files of their own.
fn test_modules(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
        let line = rest.lines().find(|line| !line.starts_with("#["))?;
        let name = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        Some(name.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    });
    declared.collect()
}

fn source(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let production = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    Source {
        name: relative(path),
        header: text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect::<Vec<_>>()
            .join("\n"),
        code: production
            .lines()
            .enumerate()
            .filter(|(_, line)| !is_comment(line))
            .map(|(index, line)| (index + 1, line.to_owned()))
            .collect(),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn uses<'s>(sources: &'s [Source], words: &[&str]) -> Vec<(&'s Source, String)> {
    let hit = |line: &str| words.iter().any(|word| line.contains(word));
    sources
        .iter()
        .flat_map(|source| {
            source
                .code
                .iter()
                .map(move |(number, line)| (source, number, line))
        })
        .filter(|(_, _, line)| hit(line))
        .map(|(source, number, line)| (source, format!("{}:{number}: {}", source.name, line.trim())))
        .collect()
}

fn places(found: &[(&Source, String)]) -> String {
    found
        .iter()
        .map(|(_, place)| place.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn deciding_code_is_handed_the_time() {
    for room in DECIDING.into_iter().chain(["auditor"]) {
        let sources = sources(room);
        let clocks = [
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "Utc::now",
            "Local::now",
            "thread::sleep",
        ];
        let found = uses(&sources, &clocks);
        assert!(found.is_empty(), "{room} reads a clock:\n{}", places(&found));
    }
}

#[test]
fn deciding_code_holds_no_socket_and_no_future() {
    for room in DECIDING {
        let sources = sources(room);
        let acts = [
            "std::net::Tcp",
            "std::net::Udp",
            "std::os::unix::net",
            "std::process::Command",
            "async fn",
            "async move",
            "env::var",
        ];
        let found = uses(&sources, &acts);
        assert!(found.is_empty(), "{room} acts:\n{}", places(&found));
    }
}

#[test]
fn deciding_code_touches_files_only_in_a_module_that_says_so() {
    for room in DECIDING {
        let sources = sources(room);
        let says_so = |source: &Source| source.header.to_lowercase().contains("edge");
        // A module in a folder speaks for the whole folder.
        let folders: Vec<&str> = sources
            .iter()
            .filter(|source| says_so(source))
            .filter_map(|source| source.name.strip_suffix("mod.rs"))
            .collect();
        let is_edge =
            |source: &Source| says_so(source) || folders.iter().any(|folder| source.name.starts_with(folder));
        let found: Vec<_> = uses(&sources, &["std::fs", "fs::", "File::open", "OpenOptions"])
            .into_iter()
            .filter(|(source, _)| !is_edge(source))
            .collect();
        assert!(
            found.is_empty(),
            "files outside an edge module (its header must say that it is the edge) of {room}:\n{}",
            places(&found)
        );
    }
}

#[test]
fn unsafe_code_stays_where_it_was_agreed() {
    for (room, _) in ROOMS {
        let sources = sources(room);
        let words = [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe extern",
            "allow(unsafe_code",
            "expect(unsafe_code",
        ];
        let found: Vec<_> = uses(&sources, &words)
            .into_iter()
            .filter(|(source, _)| !UNSAFE_ALLOWED.contains(&source.name.as_str()))
            .collect();
        assert!(found.is_empty(), "unsafe code:\n{}", places(&found));
    }
}

#[test]
fn nothing_is_left_to_do() {
    for (room, _) in ROOMS.into_iter().chain([("tests", [].as_slice())]) {
        let sources = sources(room);
        let found = uses(&sources, &["todo!(", "unimplemented!("]);
        assert!(found.is_empty(), "unfinished code:\n{}", places(&found));
    }
}

#[test]
fn every_module_says_why_it_exists() {
    for (room, _) in ROOMS {
        for source in sources(room) {
            assert!(!source.header.is_empty(), "{} has no module header", source.name);
        }
    }
}

#[test]
fn no_file_names_the_host_of_a_package_registry() {
    // Written in pieces, so that this file passes its own test.
    let hosts: Vec<String> = [
        ["index.crates", "io"],
        ["static.crates", "io"],
        ["registry.npmjs", "org"],
        ["pythonhosted", "org"],
        ["pypi", "org"],
        ["deb.debian", "org"],
        ["proxy.golang", "org"],
    ]
    .iter()
    .map(|parts| parts.join("."))
    .collect();
    let mut found = Vec::new();
    let mut files = Vec::new();
    tracked(&root(), &mut files);
    for path in files {
        // Locked dependencies name their registry by nature.
        if path.file_name().is_some_and(|name| name == "Cargo.lock") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        found.extend(
            hosts
                .iter()
                .filter(|host| text.contains(*host))
                .map(|host| format!("{}: {host}", relative(&path))),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Files that belong to the repository; build products and its own history do not.
fn tracked(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_symlink() || name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            tracked(&path, files);
        } else if std::fs::metadata(&path).is_ok_and(|found| found.len() < 1 << 20) {
            files.push(path);
        }
    }
}
