"""Houses for the web tests: one for reading, made once, and one for each test that changes something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.web.driver import House

PACKAGES = (
    samples.wheel("demo", "1.0", requires_python=">=3.8", requires=["other>=1"]),
    samples.wheel("demo", "1.1"),
    samples.sdist("demo", "1.1"),
    samples.wheel("Foo.Bar", "2.0+cu118"),
    *(samples.wheel("many", f"1.{number}") for number in range(60)),
)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Nobody changes this one."""
    with House(tmp_path_factory.mktemp("house"), *PACKAGES) as built:
        built.closed_to_changes = True
        yield built


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A house for one test."""
    with House(tmp_path, samples.wheel("demo", "1.0"), samples.sdist("demo", "1.0")) as built:
        yield built
