"""What an index said at an earlier time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pidex.catalogue import indexes
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import NotFound, Withheld
from pidex.core.model import OPERATOR, File
from tests import samples
from tests.test_curator import ADA, MAIN, House
from tests.test_resolver_layers import PYPI, page
from tests.test_resolver_layers import House as Layers

US = 1_000_000


@pytest.fixture
def house(catalogue: Catalogue, tmp_path: Path) -> House:
    return House(catalogue, tmp_path)


def later(house: House, seconds: float = 100) -> int:
    """Let time pass; a moment before what comes next."""
    at = int(house.clock() * US)
    house.now += seconds
    return at + int(seconds * US / 2)


def then(house: House, at: int, project: str = "demo") -> Mapping[str, File]:
    return {file.filename: file for file in house.resolver.page_at(MAIN, project, at, by=OPERATOR).files}


def test_what_was_deleted_and_added_since(house: House) -> None:
    first = later(house)
    house.curator.delete(MAIN, "demo", version="1.0", by=ADA)
    second = later(house)
    samples.write(house.folder, samples.wheel("demo", "3.0"))
    house.scan()
    third = later(house)
    versions = [{file.version for file in then(house, at).values()} for at in (first, second, third)]
    assert versions == [{"1.0", "1.1", "2.0rc1"}, {"1.1", "2.0rc1"}, {"1.1", "2.0rc1", "3.0"}]
    file = next(file for file in then(house, first).values() if file.version == "1.0")
    assert house.resolver.locate_at(MAIN, file.blake2b_256, file.filename, first, by=OPERATOR) == file
    assert len(house.read(file)) == file.size
    assert house.resolver.metadata(MAIN, file, by=OPERATOR).startswith(b"Metadata-Version")
    with pytest.raises(NotFound):
        house.resolver.locate_at(MAIN, file.blake2b_256, file.filename, second, by=OPERATOR)


def test_replaced_bytes_are_those_of_then(house: House) -> None:
    first = later(house)
    old = house.listed()["demo-1.1-py3-none-any.whl"]
    (house.folder / old.filename).unlink()  # as git replaces a file
    samples.write(house.folder, samples.wheel("demo", "1.1", files={"demo/new.py": b"x = 1\n"}))
    house.scan()
    second = later(house)
    assert then(house, first)[old.filename].sha256 == old.sha256
    assert then(house, second)[old.filename].sha256 != old.sha256


def test_bytes_that_are_gone_are_left_out(house: House) -> None:
    first = later(house)
    old = next(file for file in house.listed().values() if file.version == "1.1")
    house.curator.delete(MAIN, "demo", version="1.1", by=ADA)
    house.storage.release([old.sha256])
    assert {file.version for file in then(house, first).values()} == {"1.0", "2.0rc1"}


def test_yanks_are_those_of_then(house: House) -> None:
    first = later(house)
    house.curator.yank(MAIN, "demo", version="1.1", reason="broken", by=ADA)
    second = later(house)
    house.curator.unyank(MAIN, "demo", version="1.1", by=ADA)
    third = later(house)
    name = "demo-1.1-py3-none-any.whl"
    assert [then(house, at)[name].yanked for at in (first, second, third)] == [None, "", None]


def test_rights_and_quarantine_are_those_of_now(house: House) -> None:
    first = later(house)
    house.curator.hold(MAIN, "demo", version="1.1", reason="malware", by=ADA)
    assert {file.version for file in then(house, first).values()} == {"1.0", "2.0rc1"}
    file = house.resolver.page(MAIN, "demo", by=OPERATOR).withheld[0].file
    with pytest.raises(Withheld, match="malware"):
        house.resolver.locate_at(MAIN, file.blake2b_256, file.filename, first, by=OPERATOR)
    house.curator.set_status(MAIN, "demo", "quarantined", by=ADA)
    assert then(house, first) == {}


def test_lists_are_those_of_then(house: House) -> None:
    before = int((time.time() - 3_600) * US)
    first = later(house)
    house.curator.delete(MAIN, "other", by=ADA)
    second = later(house)
    names = [
        [line.project for line in house.resolver.names_at(MAIN, at, by=OPERATOR)] for at in (first, second)
    ]
    assert names == [["demo", "other"], ["demo"]]
    with pytest.raises(NotFound):
        house.resolver.page_at(MAIN, "demo", before, by=OPERATOR)


def test_upstreams_then(catalogue: Catalogue) -> None:
    house = Layers(catalogue)
    house.index("main", upstreams=(PYPI,))
    house.mirror.pages[PYPI, "foo"] = page("foo", "foo-1.0.zip", "foo-2.0.zip")  # uploaded 5 us after 1970
    assert house.resolver.page_at("main", "foo", 5, by=OPERATOR).versions == ("1.0", "2.0")
    with pytest.raises(NotFound):
        house.resolver.page_at("main", "foo", 4, by=OPERATOR)
    house.mirror.names[PYPI] = ["foo"]
    assert [line.project for line in house.resolver.names_at("main", 5, by=OPERATOR)] == ["foo"]


def test_bases_then(house: House, catalogue: Catalogue) -> None:
    with catalogue.write() as conn:
        number = indexes.ensure(conn, "heir", house.clock())
        indexes.set_bases(conn, number, [MAIN])
    first = later(house)
    house.curator.delete(MAIN, "other", by=ADA)
    found = house.resolver.page_at("heir", "other", first, by=OPERATOR)
    assert [file.version for file in found.files] == ["1.0"]
    assert found.index == "heir"
