"""docs/protocol.md names each requirement once, and no module or test that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| id ", "| key "))
]
#: How many requirements the reference has under each name.
COUNTS = {
    "NAM": 7,
    "VER": 6,
    "SDN": 5,
    "WHN": 9,
    "NEG": 9,
    "APV": 5,
    "LST": 6,
    "HTM": 13,
    "JSN": 6,
    "YNK": 5,
    "STA": 3,
    "MET": 8,
    "NSP": 8,
    "VAR": 9,
    "ERR": 3,
    "SER": 2,
    "FIL": 8,
    "CAC": 11,
    "AUT": 9,
    "UPL": 17,
    "CMD": 7,
    "ATT": 9,
    "MIR": 6,
    "CNF": 4,
    "ARC": 12,
}


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_each_requirement_has_one_row() -> None:
    found = [row[0] for row in ROWS if re.fullmatch(r"[A-Z]{3}-\d+", row[0])]
    assert found == [f"{name}-{number}" for name, count in COUNTS.items() for number in range(1, count + 1)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    _, state, what, where, held = row
    assert state in ("done", "open", "part", "not yet", "no")
    assert what
    assert (state in ("done", "open")) <= bool(names(where))
    assert (state == "done") <= bool(names(held))
    for module in names(where):
        assert any((ROOT / "pidex" / path).is_file() for path in (f"{module}.py", f"{module}/__init__.py"))
    for test in names(held):
        path, _, inside = test.partition("::")
        source = (ROOT / "tests" / f"{path}.py").read_text(encoding="utf-8")
        assert re.search(rf"^(class|def) {inside}\b", source, re.MULTILINE)
