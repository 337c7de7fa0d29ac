"""Child processes: pinned to a core, logged to a file, stopped by their id, always reaped."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_SECONDS = 30
STOP_SECONDS = 15


class BenchError(Exception):
    """Something that a benchmark cannot go on without; the message says what to do."""


class Child:
    """One process that the benchmark started, with all that it printed in `log`."""

    def __init__(self, command, log, core=None, env=None, stdin=subprocess.DEVNULL, stdout=None):
        self.name = Path(command[0]).name
        self.log = Path(log)
        pinned = ["taskset", "-c", str(core), *command] if core is not None else list(command)
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in pinned],
                stdin=stdin,
                stdout=stdout or output,
                stderr=output,
                env=env,
            )

    @property
    def pid(self):
        # taskset becomes the command that it starts, so this is the command's own id.
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def voluntary_switches(self):
        """How often its threads that live have gone to sleep of their own accord."""
        count = 0
        for status in Path(f"/proc/{self.pid}/task").glob("*/status"):
            try:
                found = re.search(r"(?m)^voluntary_ctxt_switches:\s+(\d+)", status.read_text())
            except OSError:
                continue  # the thread is gone by now
            count += int(found.group(1)) if found else 0
        return count

    def wait_for(self, what, condition, seconds=READY_SECONDS):
        """Waits until `condition` holds; fails with the log's end if it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.is_running():
                raise BenchError(f"{self.name} ended ({self.process.returncode}): {self.tail()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: {what} did not come in {seconds} s: {self.tail()}")
            time.sleep(0.02)

    def wait_to_end(self, seconds=READY_SECONDS):
        """Waits until it has ended by itself, in good order."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not end in {seconds} s: {self.tail()}") from None
        if status:
            raise BenchError(f"{self.name} ended with {status}: {self.tail()}")

    def wait_for_port(self, port):
        self.wait_for(f"port {port}", lambda: accepts(port))

    def tail(self):
        return self.log.read_text(errors="replace")[-600:].strip()

    def stop(self, how=signal.SIGTERM):
        """Ends it by a signal, or, with none, by the end of its standard input."""
        if self.process.stdin:
            self.process.stdin.close()
        if self.is_running() and how:
            self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)


def run(command, **options):
    """Runs a command to its end and returns what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=options.pop("timeout", 300),
        **options,
    )
    if done.returncode != 0:
        words = " ".join(str(word) for word in command[:4])
        raise BenchError(f"{words} … ended with {done.returncode}: {done.stderr.strip()[-800:]}")
    return done.stdout


def accepts(port, host="127.0.0.1"):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def free_port():
    """A port of loopback that nobody listens on, from below the range of short-lived ports."""
    for port in range(20_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in _given:
                _given.add(port)
                return port
    raise BenchError("no free port below 32000; what listens on all of them?")


_given = set()


def find(program):
    """Where a program is, or None. Debian keeps servers where ordinary users do not look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def say(message):
    print(f"bench: {message}", file=sys.stderr, flush=True)
