"""What is measured, and what measures it: built in release, from this clone."""

import os
import subprocess
from pathlib import Path

from .process import BenchError, say

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LOADER = TARGET / "egress-load" / "release" / "egress-load"
BAILIWICK = TARGET / "release" / "bailiwick"


def loader():
    """The load generator."""
    manifest = ROOT / "benches" / "egress-load" / "Cargo.toml"
    _cargo("--manifest-path", manifest, "--target-dir", TARGET / "egress-load")
    return LOADER


def bailiwick(given=None):
    """The gateway: built here, or the binary that was `given`."""
    if given:
        return Path(given)
    _cargo("--manifest-path", ROOT / "Cargo.toml", "-p", "bailiwick", "--target-dir", TARGET)
    return BAILIWICK


def synth():
    """What makes sites and archives of any size."""
    _cargo("--manifest-path", ROOT / "Cargo.toml", "-p", "bailiwick-synth", "-p", "bailiwick", "--target-dir", TARGET)
    return TARGET / "release" / "bailiwick-synth"


def example(name):
    """A program of this folder that is built with the gateway's crate."""
    # Both packages, so that they share what is built for the binary.
    packages = ["-p", "bailiwick", "-p", "bailiwick-proxy"]
    _cargo("--manifest-path", ROOT / "Cargo.toml", *packages, "--example", name, "--target-dir", TARGET)
    return TARGET / "release" / "examples" / name


def _cargo(*arguments):
    say(f"cargo build --release {arguments[1]}")
    command = ["cargo", "build", "--release", "--quiet", *(str(word) for word in arguments)]
    if subprocess.run(command, check=False).returncode != 0:
        raise BenchError("the build failed; see above")
