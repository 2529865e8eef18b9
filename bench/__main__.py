"""`python -m bench [quick|medium|full] [pages|folders|names]`: measure, then print or write the tables."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench import cluster, folders, million, mirror, names, pages, peers, report, uploads
from bench.pages import Plan
from bench.report import note

SECTIONS = ("pages", "folders", "names", "uploads", "mirror")
#: What is measured only where it is named.
NAMED = ("cluster", "million")
PLANS = {
    "quick": Plan(rounds=1, seconds=1, projects=50, many=500, megabytes=100),
    "medium": Plan(rounds=3, seconds=2, projects=1000, many=500, megabytes=100),
    "full": Plan(rounds=5, seconds=4, projects=1000, many=500, megabytes=100),
}
SIZES = {"quick": [100, 1000], "medium": [1_000, 10_000, 100_000], "full": [1_000, 10_000, 100_000]}
NAMES = {"quick": 20_000, "medium": 880_000, "full": 880_000}
DROPS = {"quick": 3, "medium": 10, "full": 20}
#: Files of a catalogue that is larger than all others.
MILLION = {"quick": 20_000, "medium": 1_000_000, "full": 1_000_000}
#: Rounds of pidex and of direct access, and of the other mirrors.
MIRRORS = {"quick": (1, 1), "medium": (3, 1), "full": (5, 1)}
#: Rounds, small wheels a round, uploads looked for at once, MB of the big file.
UPLOADS = {"quick": (3, 48, 20, 50), "medium": (3, 160, 100, 1000), "full": (5, 320, 100, 1000)}


def main() -> int:
    """Everything goes into a new folder below .bench, which is deleted at the end."""
    # No server that is measured asks an index out there, unless it is told which.
    os.environ.setdefault("PIDEX_NO_UPSTREAM", "yes")
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="quick|medium|full|SECTION")
    words = set(parser.parse_args().words)
    if unknown := words - {*SECTIONS, *NAMED, *PLANS}:
        parser.error(f"unknown: {' '.join(sorted(unknown))}")
    size = next((name for name in PLANS if name in words), "full")
    sections = [section for section in (*SECTIONS, *NAMED) if section in words] or list(SECTIONS)
    peers.HOME.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="run-", dir=peers.HOME))
    try:
        text = "\n".join([report.machine() + "\n", *measured(home, size, sections)])
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if size != "quick" and len(sections) == len(SECTIONS):
        report.write(text)
        note(f"written to {report.DOCUMENT}")
    print(text)
    return 0


def measured(home: Path, size: str, sections: list[str]) -> list[str]:
    texts = []
    if "pages" in sections:
        texts += [report.table_text(table) for table in pages.measure(home, PLANS[size])]
    if "folders" in sections:
        texts.append(report.figures_text("Folders", folders.measure(home, SIZES[size], DROPS[size])))
    if "names" in sections:
        texts.append(report.figures_text("The project list", names.measure(home, NAMES[size])))
    if "uploads" in sections:
        table, figures = uploads.measure(home, *UPLOADS[size])
        texts += [report.table_text(table), report.figures_text("Uploads", figures)]
    if "mirror" in sections:
        tables, figures = mirror.measure(home, *MIRRORS[size])
        texts += [report.table_text(table) for table in tables]
        texts.append(report.figures_text("Mirrors", figures))
    if "cluster" in sections:
        seconds = {"quick": 2.0, "medium": 5.0, "full": 10.0}[size]
        texts.append(report.figures_text("Nodes", cluster.measure(home, seconds)))
    if "million" in sections:
        texts.append(report.figures_text("A million files", million.measure(home, MILLION[size])))
    return texts


if __name__ == "__main__":
    sys.exit(main())
