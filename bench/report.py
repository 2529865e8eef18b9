"""What was measured, as the tables of docs/performance.md."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench import peers

DOCUMENT = peers.ROOT / "docs" / "performance.md"
START, END = "<!-- results: written by scripts/bench -->", "<!-- end of results -->"


def note(text: str) -> None:
    """Say what is going on."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Row:
    """One row: a figure by server, and how many answers were bad."""

    title: str
    reach: str
    figures: dict[str, float]
    bad: dict[str, int]


@dataclass
class Table:
    """Figures by server, and ratios of the first to each other (`of_first`: the other way round)."""

    title: str
    servers: list[str]
    of_first: bool = False
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """One figure of pidex alone, as text with its unit."""

    title: str
    figure: str
    reach: str = ""


def ratio(value: float) -> str:
    """Two figures that count."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def table_text(table: Table) -> str:
    first, *others = table.servers
    ratios = [f"{other} / {first}" if table.of_first else f"{first} / {other}" for other in others]
    head = ["", *table.servers, *ratios, "to reach"]
    lines = [f"### {table.title}", "", _line(head), _line(["---"] + ["---:"] * (len(head) - 2) + ["---"])]
    for row in table.rows:
        own = row.figures.get(first)
        cells = [row.title]
        for server in table.servers:
            value = row.figures.get(server)
            mark = f" ({row.bad[server]} bad)" if server in row.bad else ""
            cells.append("-" if value is None else figure(value) + mark)
        for other in others:
            value = row.figures.get(other)
            if not value or not own:
                cells.append("-")
            else:
                cells.append(ratio(value / own if table.of_first else own / value))
        lines.append(_line([*cells, row.reach]))
    return "\n".join(lines) + "\n"


def figures_text(title: str, figures: list[Figure]) -> str:
    lines = [f"### {title}", "", _line(["", "measured", "to reach"]), _line(["---", "---:", "---"])]
    lines += [_line([each.title, each.figure, each.reach]) for each in figures]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def machine() -> str:
    """One paragraph: when, on what, with which versions."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    gib = int(memory[1]) / 1024**2 if memory else 0
    processor = model[1].strip() if model else platform.machine()
    return (
        f"Measured on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores ({processor}), {gib:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}, pidex {version('pidex')}, "
        f"Granian {version('granian')}, nginx {_nginx_version()}, "
        f"devpi-server {peers.version('devpi', 'devpi-server')}, "
        f"pypiserver {peers.version('pypiserver', 'pypiserver')}, wrk. "
        "Load and servers share the cores, so ratios count, not absolute figures."
    )


def _nginx_version() -> str:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


def write(text: str) -> None:
    """Put the results between the marks of docs/performance.md."""
    document = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = document.partition(START)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{START}\n{text}{END}{after}", encoding="utf-8")
