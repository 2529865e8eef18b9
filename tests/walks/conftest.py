"""A folder of packages for each walk."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder; the data directory appears beside it."""
    made = tmp_path / "packages"
    made.mkdir()
    return made
