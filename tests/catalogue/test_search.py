"""What searches look through, on each engine: texts of projects, names that were meant, and other names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.catalogue import fulltext, search
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.fulltext import SharedTexts
from pidex.catalogue.search import State, Texts
from pidex.core import finds
from pidex.core.finds import Document
from tests.catalogue import rows

SOURCE = "upstream:far"
MEANT = [
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
]
DOCUMENTS = [
    Document(
        "anvil", "Anvil", "2.1", "Heats \u00e9clairs", "forge smith", "Hot iron is hammered. " * 9, "MIT",
        updated=7, files=2, pythons=("3.10", "3.11"), platforms=("linux",),
        needs=(("hammer", "hammer>=1; python_version > '3'"), ("tongs", "tongs")),
    ),
    Document("hammer", "hammer", "1.0", "Hits", body="Goes with an anvil. \u7f16\u8bd1\u5668\u5de5\u5177"),
    Document("hammer-time", "Hammer.Time", "1.0", "Stop", needs=(("hammer", "hammer"),)),
    Document("sledgehammer", "sledgehammer", "1.0", "Hits a forge harder", status="archived"),
    Document("tongs", "tongs", "1.0", "Holds", body="x\x00y 12abc 1e5 https://example.test/deep/path"),
]  # fmt: skip


@pytest.fixture
def shared(catalogue: Catalogue, tmp_path: Path) -> Iterator[Texts | SharedTexts]:
    """A few projects of the index `main`, and one of another."""
    made = rows.texts(catalogue, tmp_path)
    assert (made.state(), made.count(), made.find([], ["main"])) == (None, 0, [])
    assert made.write(None, State(3, "main/c"), [("main", each) for each in DOCUMENTS])
    assert made.write(State(3, "main/c"), State(4, None), [("other", Document("anvil", "anvil", "0"))])
    yield made
    made.close()


def found(texts: Texts | SharedTexts, query: str, *indexes: str) -> list[str]:
    return [each[1] for each in texts.find(finds.words(query), indexes or ["main"])]


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


@pytest.mark.parametrize(("typed", "meant"), MEANT)
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


def test_projects_are_found_by_their_texts(shared: Texts | SharedTexts) -> None:
    # Names come first: the one that was typed, those that begin so, those that hold it; then what fits best.
    ordered = {
        "": ["anvil", "hammer", "hammer-time", "sledgehammer", "tongs"],
        "anvil": ["anvil", "hammer"],
        "HAMMER": ["hammer", "hammer-time", "sledgehammer", "anvil"],
        "hammer time": ["hammer-time"],
        "hammer.time": ["hammer-time"],
        "hits forge": ["sledgehammer"],
        "hot hammered": ["anvil"],
        "eclair": ["anvil"],
        "\u00c9CLAIRS": ["anvil"],
        "\u8bd1\u5668": ["hammer"],
        "\u5668\u8bd1": [],
        "12abc": ["tongs"],
        "1e5": ["tongs"],
        "deep/path": ["tongs"],
        "absent": [],
        "a%l": [],
    }
    for query, expected in ordered.items():
        assert found(shared, query) == expected, query
    assert sorted(found(shared, "ham")) == ["anvil", "hammer", "hammer-time", "sledgehammer"]
    assert sorted(found(shared, "forge")) == ["anvil", "sledgehammer"]
    assert found(shared, "iron", "main", "other") == ["anvil"]


def test_names_come_first_however_many_texts_fit(
    shared: Texts | SharedTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (search, fulltext):
        monkeypatch.setattr(module, "MAX_FOUND", 1)
    every = found(shared, "hammer", "main", "other")
    assert every[:3] == ["hammer", "hammer-time", "sledgehammer"]
    assert len(every) <= 4
    assert found(shared, "", "main", "other") == ["anvil"]


def test_a_query_is_never_a_language(shared: Texts | SharedTexts) -> None:
    for query in (
        "'",
        '"',
        "\\",
        "a' | 'b",
        "x:*",
        "(a & !b)",
        "a <-> b",
        "\u0661",
        "\u00aa",
        "9" * 300,
        "a:" * 150,
    ):
        assert set(found(shared, query)) <= {each.project for each in DOCUMENTS}, query


def test_texts_and_queries_of_any_size_are_taken(shared: Texts | SharedTexts) -> None:
    endless = Document(
        "endless", "endless", "1",
        summary=" ".join(map(str, range(200_000))), keywords="\ufdfa" * 30_000, body="\u0130x" * 30_000,
        needs=(("x" * 5_000, "x"), ("hammer", "hammer")),
    )  # fmt: skip
    assert shared.write(State(4, None), State(5, None), [("main", endless)])
    assert found(shared, "199") == ["endless"]
    assert ("endless", "hammer") in [tuple(each) for each in shared.needed_by("main", "hammer")]
    for query in ("\ufdfa" * 300, "\u4e2d" * 300, "x" * 300, "a " * 150):
        assert {*found(shared, query)} <= {"endless", *(each.project for each in DOCUMENTS)}


def test_what_is_found_is_told_as_it_was_written(shared: Texts | SharedTexts) -> None:
    [one] = shared.find(["anvil"], ["other"])
    assert (one[0], shared.tell([one])[0].version) == ("other", "0")
    several = shared.find(["anvil"], ["main"])
    first, second = shared.tell(several)
    assert (first.name, first.version, first.summary) == ("Anvil", "2.1", "Heats \u00e9clairs")
    assert (first.status, first.origin, first.updated, second.name) == ("active", "", 7, "hammer")
    assert [each.project for each in shared.tell(several[::-1])] == ["hammer", "anvil"]
    kind = finds.kind_of(several[0][2])
    assert kind == ("", "active", "MIT", ("3.10", "3.11"), ("linux",))
    assert found(shared, "anvil", "main", "other").count("anvil") == 2
    assert shared.needed_by("main", "hammer") == [
        ("anvil", "hammer>=1; python_version > '3'"),
        ("hammer-time", "hammer"),
    ]
    assert sorted(shared.known("main", ["tongs", "absent", "anvil"])) == ["anvil", "tongs"]


def test_names_of_projects_that_were_meant(shared: Texts | SharedTexts) -> None:
    projects = [Document(meant, meant, "1") for meant in {meant for _, meant in MEANT}]
    assert shared.write(State(4, None), State(5, None), [("main", each) for each in projects])
    for typed, meant in MEANT:
        assert shared.near(["index:main"], typed, 10)[0] == meant
    for typed in ("", "xy", "quite-something-else", "zzzz", "%", "'", "\x00nul"):
        assert shared.near(["index:main"], typed, 10) == []
    assert shared.near(["index:other"], "pytest", 10) == []
    shared.learn(SOURCE, ["anvils"])
    assert shared.near([SOURCE], "anvil", 10) == ["anvils"]
    assert shared.starting([SOURCE], "anv", 10) == ["anvils"]
    assert shared.sources() == ["upstream:far"]


def test_only_the_newest_state_is_written_on(
    shared: Texts | SharedTexts, catalogue: Catalogue, tmp_path: Path
) -> None:
    beside = rows.texts(catalogue, tmp_path)  # another process
    assert beside.state() == State(4, None)
    assert not beside.write(State(3, "main/c"), State(9, None), (), [("main", "anvil")])
    newer = Document("anvil", "Anvil", "3", "Cools", needs=(("bellows", "bellows"),))
    assert beside.write(State(4, None), State(5, None), [("main", newer)], [("main", "tongs")])
    assert (shared.state(), shared.count()) == (State(5, None), 5)
    assert [each.version for each in shared.tell(shared.find(["cools"], ["main"]))] == ["3"]
    assert found(shared, "eclair") == []
    assert (shared.needed_by("main", "tongs"), shared.known("main", ["tongs"])) == ([], [])
    assert [*shared.needed_by("main", "bellows")] == [("anvil", "bellows")]
    shared.forget()
    assert beside.state() is None
    assert beside.write(None, State(6, None), ())
    assert (shared.count(), found(shared, "")) == (0, [])
    beside.close()
