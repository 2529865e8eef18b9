"""A pytest plugin: tests by suite, and each suite's time beside its budget in minutes.

`python -m tests.suites` prints the tests that failed when pytest ran last, a line each.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest

#: suite -> (minutes it may take in CI, folders of tests/ it runs); everything else is `core`.
SUITES: dict[str, tuple[int, tuple[str, ...]]] = {
    "core": (3, ()),
    "web": (4, ("web", "cli")),
    "clients": (5, ("clients",)),
    "scenarios": (4, ("walks",)),
    "cluster": (4, ("cluster",)),
    "faults": (2, ("faults",)),
}
_KEY = pytest.StashKey["Times"]()


def suite_of(nodeid: str) -> str:
    """The suite of a test, from its path below tests/."""
    folder = nodeid.partition("::")[0].removeprefix("tests/").partition("/")[0]
    return next((name for name, (_, folders) in SUITES.items() if folder in folders), "core")


class Times:
    """Adds up what each suite took, over all the processes that run tests."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = suite_of(report.nodeid)
        self.seconds[suite] += report.duration
        self.tests[suite] += report.when == "teardown"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--suite",
        action="append",
        choices=sorted(SUITES),
        default=[],
        help="run only this suite (repeatable)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_KEY] = Times()
    config.pluginmanager.register(config.stash[_KEY])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--suite")
    order = list(SUITES)
    if chosen:
        dropped = [item for item in items if suite_of(item.nodeid) not in chosen]
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if suite_of(item.nodeid) in chosen]
    # Several processes take files from the front: the longest go first, so that all end together.
    ahead = -1 if config.getoption("dist", "no") != "no" or hasattr(config, "workerinput") else 1
    items.sort(key=lambda item: ahead * order.index(suite_of(item.nodeid)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    times = config.stash[_KEY]
    pages = tomllib.loads((config.rootpath / "docs" / "blocks.toml").read_text(encoding="utf-8"))
    unrun = [
        f"{page}: {line[:60]}: {entry['reason']}"
        for page, lines in pages.items()
        for line, entry in lines.items()
        if "reason" in entry
    ]
    terminalreporter.section(f"blocks of the pages that no test runs: {len(unrun)}")
    for text in unrun:
        terminalreporter.line(text)
    terminalreporter.section("suites")
    for suite, (budget, _) in SUITES.items():
        if count := times.tests[suite]:
            minutes = times.seconds[suite] / 60
            over = "  OVER ITS BUDGET" if minutes > budget else ""
            terminalreporter.line(f"{suite:10} {count:5} tests  {minutes:5.1f} min of {budget}{over}")


def failed(root: Path) -> list[str]:
    """The tests that failed in the last run, as pytest's own cache has them."""
    try:
        found: dict[str, bool] = json.loads(
            (root / ".pytest_cache" / "v" / "cache" / "lastfailed").read_bytes()
        )
    except FileNotFoundError:
        return []
    return sorted(found)


if __name__ == "__main__":
    for test in failed(Path.cwd()):
        print(test)
