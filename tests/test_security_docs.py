"""docs/security.md: every test that it names exists, every threat has a line, every fuzzing target too."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = {row[1]: row[0] for row in re.finditer(r"(?m)^\| (T\d+) \|.*$", TEXT)}
#: Threats of which the page says that there is no surface for them.
ABSENT = {"T29", "T32", "T41"}


def test_every_threat_has_a_line() -> None:
    every = {f"T{number}" for number in range(1, 46)}
    assert set(ROWS) | ABSENT == every
    assert not set(ROWS) & ABSENT
    assert all(f"({each})" in TEXT for each in ABSENT)


@pytest.mark.parametrize("threat", ROWS)
def test_every_test_that_is_named_exists(threat: str) -> None:
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", ROWS[threat])
    assert named, f"{threat} has no test"
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in found, f"{threat}: {path}::{name}"


def test_every_target_is_listed_with_its_minutes() -> None:
    listed = re.findall(r"(?m)^\| ([\w-]+) \| \d+ \| [\d,]+ \| ", TEXT)
    assert sorted(listed) == sorted([*TARGETS, "api"])
