"""What the long forms saw, kept beside this module, and docs/reliability.md written from it."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: written by scripts/faults -->", "<!-- end of figures -->"

#: Part: its title, the promise, and where its trials and failures are.
PARTS: dict[str, tuple[str, str]] = {
    "kills": ("`kill -9` of the whole session", "rounds"),
    "starts": ("Starts after a kill", "starts"),
    "power": ("Power cuts", "cuts"),
    "calls": ("Failing storage calls", "faults"),
    "sqlite": ("Failing calls of SQLite", "faults"),
    "races": ("Races, and requests sent again", "races"),
    "disk": ("Full disks", "rounds"),
    "soak": ("Mixed load for minutes", "minutes"),
    "verify": ("Damages, found by `pidex verify --deep`", "damages"),
    "backup": ("Backups under load, restored elsewhere", "backups"),
    "bombs": ("Bombs, and what others wait meanwhile", "times"),
    "timing": ("What a wrong password or token costs, by what is known of it", "tokens"),
    "peers": ("The same driver against others", "rounds"),
}


def machine() -> str:
    """What the figures were reached on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 30)
    load = os.getloadavg()[1]
    busy = (
        f"; others used it, too: {load:.0f} processes at work on average"
        if load > (os.cpu_count() or 1)
        else ""
    )
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return (
        f"{os.cpu_count()} cores, {memory} GiB, {system}, Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}" + busy
    )


def load() -> dict[str, list[dict[str, Any]]]:
    """Runs by part."""
    found: dict[str, list[dict[str, Any]]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return found


def keep(part: str, figures: dict[str, object]) -> None:
    """Add a run, and write the page."""
    runs = load()
    day = time.strftime("%Y-%m-%d", time.gmtime())
    runs.setdefault(part, []).append({"day": day, "machine": machine(), "figures": figures})
    KEPT.write_text(json.dumps(runs, indent=1) + "\n")
    write()


def write() -> None:
    """Have the page hold what is kept."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(load())}\n{END}{after}", encoding="utf-8")


def tables(runs: dict[str, list[dict[str, Any]]]) -> str:
    """The figures as tables: one line a run that was without a failure, or what was found."""
    lines = []
    for part, (title, counted) in PARTS.items():
        lines += [f"### {title}", ""]
        if part not in runs:
            lines += ["Not run in its long form yet.", ""]
            continue
        if part == "peers":
            lines += _side_by_side(runs[part][-1]["figures"])
        elif part == "bombs":
            lines += _by_row(runs[part][-1]["figures"])
        else:
            lines += ["| run | seen |", "| --- | --- |"]
            lines += [f"| {run['day']} | {_said(run['figures'])} |" for run in runs[part]]
            lines += _together([run["figures"].get(counted) for run in runs[part]], counted)
        lines += ["", f"On {runs[part][-1]['machine']}.", ""]
    return "\n".join(lines)


def _said(figures: dict[str, Any]) -> str:
    flat = {name: value for name, value in figures.items() if not isinstance(value, dict)}
    told = {name: value if name == "seed" else _number(value) for name, value in flat.items()}
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in told.items())


def _together(counts: list[object], counted: str) -> list[str]:
    """The trials of all runs, where there are several."""
    numbers = [each for each in counts if isinstance(each, int)]
    return [f"| together | {counted}: {sum(numbers):,} |"] if len(numbers) > 1 else []


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _by_row(figures: dict[str, Any]) -> list[str]:
    """One line each, of the same figures."""
    columns = list(next(iter(figures.values())))
    lines = [f"| | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, row in figures.items():
        lines.append(f"| {name} | {' | '.join(_number(row[each]) for each in columns)} |")
    return lines


def _side_by_side(figures: dict[str, Any]) -> list[str]:
    servers = list(figures)
    rows = list(dict.fromkeys(name for each in figures.values() for name in each))
    lines = [f"| | {' | '.join(servers)} |", f"| --- |{' ---: |' * len(servers)}"]
    for row in rows:
        lines.append(f"| {row} | {' | '.join(_number(figures[each].get(row, '')) for each in servers)} |")
    return lines
