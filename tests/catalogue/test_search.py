"""Names that were perhaps meant, and names of other indexes, among many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.catalogue import search
from pidex.catalogue.search import Texts

SOURCE = "upstream:far"


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[Texts]:
    made = Texts(tmp_path / "search.db")
    # More names that begin and end alike than are looked at.
    many = {
        f"pyt{one}{two}{three}et"
        for one in "abcdefghijklmno"
        for two in "abcdefghijklmno"
        for three in "abcdefghijk"
    }
    made.learn(SOURCE, sorted({*many, "pytest", "requests", "numpy", "odoo14-addon-sale-stock", "zope"}))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("pytset", "pytest"),
        ("ptest", "pytest"),
        ("pytestt", "pytest"),
        ("pxtest", "pytest"),
        ("reqeusts", "requests"),
        ("rqeuests", "requests"),
        ("reqests", "requests"),
        ("requets", "requests"),
        ("reqeuts", "requests"),
        ("nupmy", "numpy"),
        ("odoo14-addon-slae-stck", "odoo14-addon-sale-stock"),
        ("zpoe", "zope"),
        ("numpy", "numpy"),
    ],
)
def test_a_name_that_was_meant_is_found(texts: Texts, typed: str, meant: str) -> None:
    assert texts.near([SOURCE], typed, 10)[0] == meant


@pytest.mark.parametrize("typed", ["", "xy", "quite-something-else", "zzzz", "%", "'"])
def test_nothing_is_made_up(texts: Texts, typed: str) -> None:
    assert texts.near([SOURCE], typed, 10) == []
    assert texts.near(["upstream:other"], "pytest", 10) == []


def test_a_list_takes_the_place_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LEARNT", 3)
    texts = Texts(tmp_path / "search.db")
    names = [f"n{number:02}" for number in range(10)]
    assert texts.learn(SOURCE, names) == 10
    assert texts.learn(SOURCE, names) == 0
    assert texts.learn("upstream:other", ["n03"]) == 1
    changed = [*names[1:5], "n055", *names[7:9]]
    assert texts.learn(SOURCE, iter(changed)) == 5
    assert texts.starting([SOURCE], "n", 100) == changed
    assert sorted(texts.sources()) == ["upstream:far", "upstream:other"]
    assert texts.learn(SOURCE, []) == 7
    assert texts.sources() == ["upstream:other"]
    texts.close()
