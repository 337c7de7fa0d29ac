//! The real binary, built once per test process into the target folder that the tests came from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The workspace's root folder.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The path of the `bailiwick` binary. `BAILIWICK_BIN` names one that is built already.
///
/// # Panics
/// When it cannot be built; no end-to-end test can go on then.
pub fn bailiwick() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("BAILIWICK_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// The folder that cargo builds into, taken from where this test lies: `TARGET/PROFILE/deps/e2e-…`.
pub(crate) fn target_folder() -> (PathBuf, String) {
    let executable = std::env::current_exe().expect("a test process knows its executable");
    let mut folders = executable.ancestors().skip(1);
    let profile = folders
        .find(|folder| !folder.ends_with("deps"))
        .expect("a test executable lies in a profile's folder");
    let name = profile
        .file_name()
        .expect("the profile's folder has a name")
        .to_string_lossy();
    let target = profile
        .parent()
        .expect("the profile's folder lies in the target folder");
    (target.to_owned(), name.into_owned())
}

fn build() -> PathBuf {
    let (target, folder) = target_folder();
    let profile = if folder == "debug" { "dev" } else { folder.as_str() };
    // The whole workspace and one of its tests are named so that cargo resolves the very features that
    // `cargo test --workspace` resolved, and finds everything built. No network: the lock file was
    // honoured when this test was built.
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--offline",
            "--workspace",
            "--bin",
            "bailiwick",
        ])
        .args(["--test", "architecture", "--profile", profile, "--target-dir"])
        .arg(&target)
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "could not build the bailiwick binary: {status:?}"
    );
    target.join(folder).join("bailiwick")
}
