"""A desk for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pidex.catalogue.engine import Catalogue
from tests.accounts.desk import Desk


@pytest.fixture
def make_desk(_empty_sqlite: Path, tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes a desk with settings."""
    made: list[Desk] = []

    def make(**settings: Any) -> Desk:
        folder = tmp_path / f"desk{len(made)}"
        folder.mkdir()
        catalogue = Catalogue.open(shutil.copy(_empty_sqlite, folder / "catalogue.db"), create=False)
        made.append(Desk(catalogue, folder, **settings))
        return made[-1]

    yield make
    for desk in made:
        desk.expendable.close()
        desk.catalogue.close()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()
