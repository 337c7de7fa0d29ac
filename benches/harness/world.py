"""One benchmark's surroundings: a folder, an origin, a core for the proxy and one for the load."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import build
from .process import BenchError, Child, free_port
from .site import ANY_RATE, Site


class World:
    """Everything that is started here is stopped when the block ends, and the folder removed.

    `niceness` below zero is for machines that others use meanwhile: proxies, origin and load then go
    before whatever else runs, all of them alike."""

    def __init__(self, bailiwick=None, needs_bailiwick=True, origin_threads=1, niceness=0):
        self.loader = build.loader()
        self.bailiwick = build.bailiwick(bailiwick) if needs_bailiwick else None
        if niceness:
            os.setpriority(os.PRIO_PROCESS, 0, niceness)  # inherited by all that is started
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core = cores[0] if len(cores) > 1 else None
        self.load_core = cores[-1] if len(cores) > 1 else None
        self.folder = Path(tempfile.mkdtemp(prefix="bailiwick-bench-"))
        # Peers that leave root behind write their logs here.
        self.folder.chmod(0o755)
        self.started = []
        self.second = None
        self.origin_port = free_port()
        self.origin_threads = origin_threads

    def __enter__(self):
        self.origin = Origin(self, self.origin_port, self.origin_threads)
        return self

    def __exit__(self, *_):
        for peer in reversed(self.started):
            peer.stop()
        self.origin.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def second_origin(self):
        """Another origin, started when it is first asked for."""
        if self.second is None:
            self.second = Origin(self, free_port(), 1)
            self.started.append(self.second)
        return self.second

    def serve_site(self, plugins, core=None, per_second=ANY_RATE):
        """A site on `core` with a run for each of `plugins`, which may open so many connections a second:
        it, and the runs' credentials by name."""
        site = Site(self.bailiwick, self.new_folder("site"), core=core)
        site.allow_rate(per_second)
        self.started.append(site)
        site.serve()
        return site, {name: site.start_run(site.admit(f"bench.{name}")) for name in plugins}

    def new_folder(self, name):
        folder = self.folder / f"{name}-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        folder.chmod(0o777)
        return folder

    def start(self, peer_class):
        peer = peer_class(self)
        self.started.append(peer)
        return peer.start()

    def load(self, mode, *words, core=None, timeout=900):
        """Runs the load generator and returns its report. Failed operations are in the report, not
        an error here."""
        command = [str(self.loader), mode, *(str(word) for word in words), "--json"]
        core = self.load_core if core is None else core
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode not in (0, 1):
            raise BenchError(f"{' '.join(command[:8])} …: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def spawn_load(self, mode, *words, core=None):
        """Starts the load generator and lets it run; [`finish`] takes its report."""
        command = [str(self.loader), mode, *(str(word) for word in words), "--json"]
        core = self.load_core if core is None else core
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class Origin:
    """The server that requests end at, on the load's core."""

    def __init__(self, world, port, threads):
        self.port = port
        command = [world.loader, "origin", "--listen", f"127.0.0.1:{port}", "--threads", str(threads)]
        self.child = Child(command, world.folder / f"origin-{port}.log", core=world.load_core)
        self.child.wait_for_port(port)

    def stop(self):
        self.child.stop()


def finish(process, timeout=900):
    """The report of a load that was spawned."""
    printed, _ = process.communicate(timeout=timeout)
    return json.loads(printed)


def route(peer, world, protocol):
    """The load generator's words that lead through `peer` to the origin, by `protocol`."""
    origin = f"127.0.0.1:{world.origin_port}"
    if peer.floor or peer.speaks == ("relay",):
        words = ["--target", f"127.0.0.1:{peer.port}"]
    else:
        words = ["--proxy", f"127.0.0.1:{peer.port}", "--target", origin]
        if peer.credentials:
            words += ["--proxy-auth", peer.credentials]
    if peer.authority:
        words += ["--proxy-ca", peer.authority]
    if peer.pid:
        words += ["--pid", peer.pid]
    return words
