"""Where a bucket is for tests of this folder: on the disk, by the same library."""

from __future__ import annotations

from pathlib import Path

import pytest

from pidex.backends.objects.bucket import Place


@pytest.fixture
def bucket(tmp_path: Path) -> Place:
    return Place(f"file://{tmp_path}/bucket")
