"""A site of our own: made by `bailiwick init`, served by `bailiwick serve`, with admitted plugins
and registered runs. Nothing is switched off: attribution, rulings and the signed log are what is measured."""

import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

from .process import BenchError, Child, free_port, run

MANIFEST = {
    "owner": {"name": "Benchmark", "email": "owner@bench.example"},
    "allowed_egress": ["origin.bench.example"],
    "data_classes": ["official"],
    "sdk_allowlist": [],
    "built_by": "benches",
    "built_at": "2026-11-01T10:32:01Z",
}


class Plugin:
    """An admitted artifact."""

    def __init__(self, name, artifact, digest):
        self.name, self.artifact, self.digest = name, artifact, digest

# For a plugin that is the whole load and may open more connections a second than a site would let it.
ANY_RATE = 1_000_000


class Site:
    """One gateway with its control plane, in a folder of its own."""

    def __init__(self, binary, folder, core=None):
        self.binary, self.folder, self.core = Path(binary), Path(folder), core
        self.config = self.folder / "site" / "bailiwick.toml"
        self.port, self.admin, self.control = free_port(), free_port(), free_port()
        self.server = None
        self.before = None
        self.runs = []
        run([self.binary, "init", self.folder / "site"], env=_environment())
        self._configure()

    def _configure(self):
        """Sets ports, and lets the gateway dial loopback, where the origin is."""
        text = self.config.read_text()
        text = re.sub(r"(?m)^listen = \[.*\]", f'listen = ["127.0.0.1:{self.port}"]', text, count=1)
        text = re.sub(r"(?m)^admin = .*", f'admin = "127.0.0.1:{self.admin}"', text, count=1)
        text = re.sub(r'(?m)^listen = ".*"', f'listen = "127.0.0.1:{self.control}"', text, count=1)
        if not re.search(r"(?m)^allow_private = ", text):
            text = text.replace("[gateway]\n", '[gateway]\nallow_private = []\n', 1)
        text = re.sub(r"(?m)^allow_private = .*", 'allow_private = ["127.0.0.0/8"]', text, count=1)
        self.config.write_text(text)

    def listen_with_tls(self):
        """Adds a listener that speaks TLS; returns its port and the certificate to trust, made with the site."""
        port = free_port()
        text = self.config.read_text()
        text = re.sub(r"(?m)^listen = \[(.*)\]", rf'listen = [\1, "tls://127.0.0.1:{port}"]', text, count=1)
        self.config.write_text(text)
        return port, self.config.parent / "keys" / "gateway-tls.crt"

    def allow_rate(self, per_second):
        """So many connections a second are one plugin's quota."""
        text = self.config.read_text()
        text, set_it = re.subn(
            r"(?m)^# connections_per_second = .*", f"connections_per_second = {per_second}", text
        )
        if set_it != 1:
            raise BenchError("the configuration has no connections_per_second to set")
        self.config.write_text(text)

    def serve(self, core=None):
        core = self.core if core is None else core
        self.server = Child(
            [self.binary, "--config", self.config, "serve"],
            self.folder / "serve.log",
            core=core,
            env=_environment(),
        )
        self.server.wait_for("readiness", self.is_ready)
        return self

    def take_over(self):
        """Has another process take over from the one that serves, which keeps the connections that stand.
        The one before that has to be gone by then."""
        self.before_is_gone()
        self.before, self.server = self.server, Child(
            [self.binary, "--config", self.config, "serve", "--take-over"],
            self.folder / "serve.log",
            core=self.core,
            env=_environment(),
        )
        self.server.wait_for("the take-over", lambda: self._metric("predecessor_live") > 0)

    def before_is_gone(self):
        """Waits until the process before this one has no connection any more, and has ended."""
        if self.before:
            self.before.wait_to_end()
            self.before = None

    def _metric(self, name):
        try:
            found = re.search(rf"(?m)^bailiwick_gateway_{name} (\S+)$", self.page("/metrics"))
        except OSError:
            return 0
        return float(found.group(1)) if found else 0

    @property
    def pid(self):
        return self.server.pid

    def is_ready(self):
        try:
            return self.page("/readyz") is not None
        except OSError:
            return False

    def page(self, path):
        """A page of the admin port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
            return answer.read().decode()

    def cli(self, *words):
        printed = run(
            [self.binary, "--config", self.config, "--format", "json", *words], env=_environment()
        )
        return json.loads(printed) if printed.strip() else None

    def admit(self, name, tier="medium"):
        """Signs and admits a plugin, with an owner's key of its own."""
        artifact = self.folder / f"{name}.bin"
        manifest = self.folder / f"{name}.json"
        key = self.folder / f"{name}.pem"
        artifact.write_text(f"the code of {name}\n")
        manifest.write_text(json.dumps({"plugin_id": name, **MANIFEST}))
        self.cli("key", "new", key)
        self.cli("trust", "add", key.with_suffix(".pub"), "--role", "owner", "--scope", name)
        self.cli("sign", artifact, "--manifest", manifest, "--key", key)
        admitted = self.cli("admit", artifact, "--tier", tier)
        digest = re.search(r"sha256:[0-9a-f]{64}", json.dumps(admitted))
        if not digest:
            raise BenchError(f"admit printed no digest: {admitted}")
        return Plugin(name, artifact, digest.group())

    def start_run(self, plugin):
        """Registers a run, as `bailiwick run` does for a plugin's command, and returns its
        credentials `USER:PASSWORD`. The run ends with the site."""
        child = Child(
            [self.binary, "--config", self.config, "--quiet", "run", "--artifact", plugin.artifact]
            + ["--valid-for", "7200", "--", "sh", "-c", "echo $HTTP_PROXY; exec cat >/dev/null"],
            self.folder / "run.log",
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        proxy = child.process.stdout.readline().decode()
        found = re.match(r"http://([^@]+)@", proxy)
        if not found:
            child.stop()
            raise BenchError(f"no run was registered: {child.tail()}")
        self.runs.append(child)
        return found.group(1)

    def post(self, path, body):
        """Asks the control plane, as the commands do but without starting one."""
        token = (self.folder / "site" / "data" / "operator.token").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control}{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def stop(self):
        for child in self.runs:
            child.stop()
        self.runs = []
        if self.server:
            self.server.stop()
            self.server = None
        if self.before:
            self.before.stop()
            self.before = None


def _environment():
    """The caller's, without what would lead the commands elsewhere."""
    foreign = {"BAILIWICK_CONFIG", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    kept = {k: v for k, v in os.environ.items() if k.upper() not in foreign}
    return {**kept, "USER": "bench"}


def settle(seconds=0.5):
    """Lets whatever the last measurement left behind be cleared away."""
    time.sleep(seconds)
