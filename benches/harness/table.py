"""Figures to tables, and tables to RESULTS.md."""

import datetime
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

from .build import ROOT

RESULTS = ROOT / "benches" / "RESULTS.md"


def median(values):
    """The median of what was measured; None where nothing was."""
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None


def number(value, digits=1):
    """A figure for people; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.{digits}f}"


def ratio(value, floor):
    if value is None or not floor:
        return "–"
    return f"{value / floor:.2f} ×"


def markdown(head, rows):
    """A table with its first column to the left and figures to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def circumstances(versions=()):
    """What a reader needs to judge or repeat a run."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    lines = [
        f"`benches/{command}` on {datetime.date.today()}, commit `{commit}`. "
        f"{model}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}.",
    ]
    if versions:
        lines.append("Versions: " + "; ".join(f"{name}: {said}" for name, said in versions) + ".")
    return "\n".join(lines)


def publish(name, title, body, write):
    """Prints a benchmark's section, and puts it in RESULTS.md in place of its last one."""
    print(f"## {title}\n\n{body}\n")
    if not write:
        return
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{begin}\n## {title}\n\n{body}\n{end}"
    text = RESULTS.read_text() if RESULTS.exists() else PREAMBLE
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if pattern.search(text):
        text = pattern.sub(lambda _: section, text)
    else:
        text = text.rstrip("\n") + "\n\n" + section + "\n"
    RESULTS.write_text(text)


PREAMBLE = """# Results

Each section was written by the command that it names; run it again and it replaces its section. Read
the ratios: they were measured in one run on one machine, round-robin, and absolute figures change from
machine to machine. CPU is user and system time of the proxy's process, all threads and children counted.
"""
