"""Feeds and searches under rules and holds: what pages keep back is not told there either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pidex.catalogue import contents, exemptions, holds, indexes, origins
from pidex.catalogue.engine import Catalogue
from pidex.core.finds import Filters
from pidex.core.layers import Claim, Origin
from pidex.core.model import ANONYMOUS
from pidex.core.queries import Query
from pidex.core.rulebook import edited
from pidex.resolver import Resolver
from pidex.search import Search
from tests.catalogue import rows
from tests.test_resolver import Memory

DAY = 86_400_000_000
FILES = {
    rows.file("tool-1.0-py3-none-any.whl", upload_time=rows.NOW_US + DAY): "a hammer",
    rows.file("tool-2.0-py3-none-any.whl", upload_time=rows.NOW_US + 3 * DAY): "a laser",
    rows.file("other-1.0-py3-none-any.whl", upload_time=rows.NOW_US + 2 * DAY): "a spoon",
}


class House:
    """An index of two projects, and everything that tells of it."""

    def __init__(self, catalogue: Catalogue, place: Path) -> None:
        self.catalogue = catalogue
        self.now = rows.NOW
        self.number = rows.listed(catalogue, FILES)
        with catalogue.write() as conn:
            for file, summary in FILES.items():
                told = f"Metadata-Version: 2.1\nName: {file.project}\nSummary: {summary}\n"
                facts = replace(rows.facts_of(file), summary=summary, metadata=told.encode())
                contents.put_many(conn, [(facts, file.packagetype)])
        self.resolver = Resolver(catalogue, Memory({}), lambda: self.now)
        self.texts = rows.texts(catalogue, place)
        self.search = Search(catalogue, self.texts, self.resolver, lambda: self.now)
        self.search.follow()

    def rule(self, *edits: str) -> None:
        with self.catalogue.write() as conn:
            indexes.set_rules(conn, self.number, edited(None, edits))
            indexes.announce(conn, self.number, at=1, by="ann")

    def hold(self, project: str, version: str) -> None:
        with self.catalogue.write() as conn:
            holds.put(conn, self.number, holds.Hold(project, "release", version, "malware", "ann", 1))
            indexes.announce(conn, self.number, at=1, by="ann")

    def told(self) -> tuple[list[str], list[str], list[str], list[str]]:
        """By the feed of releases, that of projects, XML-RPC's search and the web's."""
        releases = self.resolver.releases("main", 9, by=ANONYMOUS)
        projects = self.resolver.newcomers("main", 9, by=ANONYMOUS)
        hits = self.resolver.search("main", Query((), (), every=True), 9, by=ANONYMOUS)
        self.search.follow()  # a question waits only for a moment
        self.search.follow()  # a search waits for no more than a quarter of a second
        found = self.search.search("main", "", Filters(), by=ANONYMOUS).found
        return (
            [f"{each.project} {each.version}" for each in releases],
            [f"{each.project} {each.version}" for each in projects],
            sorted(f"{each.project} {each.version}" for each in hits),
            sorted(f"{each.project} {each.version}" for each in found),
        )

    def finds(self, text: str) -> list[str]:
        """What a search for a word finds, and the names that it offers where it finds nothing."""
        self.search.follow()
        self.search.follow()  # a search waits for no more than a quarter of a second
        results = self.search.search("main", text, Filters(), by=ANONYMOUS)
        assert results.total == len(results.found)
        return [each.project for each in results.found] or [f"{name}?" for name in results.meant]


@pytest.fixture
def house(catalogue: Catalogue, tmp_path: Path) -> Iterator[House]:
    built = House(catalogue, tmp_path)
    yield built
    built.texts.close()
    catalogue.close()


ALL = (
    ["tool 2.0", "other 1.0", "tool 1.0"],
    ["other 1.0", "tool 2.0"],
    ["other 1.0", "tool 2.0"],
    ["other 1.0", "tool 2.0"],
)
OLD = (
    ["other 1.0", "tool 1.0"],
    ["other 1.0", "tool 1.0"],
    ["other 1.0", "tool 1.0"],
    ["other 1.0", "tool 1.0"],
)
NONE = (["other 1.0"],) * 4


def test_without_rules_everything_is_told(house: House) -> None:
    assert house.told() == ALL
    assert (house.finds("laser"), house.finds("hammer"), house.finds("tol")) == (["tool"], [], ["tool?"])


def test_a_release_in_quarantine_is_told_nowhere(house: House) -> None:
    house.hold("tool", "2")
    assert house.told() == OLD
    assert (house.finds("laser"), house.finds("hammer")) == ([], ["tool"])
    with house.catalogue.write() as conn:
        holds.lift(conn, house.number, "tool", "release", "2")
        indexes.announce(conn, house.number, at=1, by="ann")
    assert house.told() == ALL
    assert house.finds("laser") == ["tool"]


def test_a_project_that_rules_hide_is_neither_found_nor_offered(house: House) -> None:
    house.rule("scope=all", "deny=tool")
    assert house.told() == NONE
    assert (house.finds("laser"), house.finds("tool"), house.finds("tol")) == ([], [], [])
    assert house.search.near("main", "tool", by=ANONYMOUS) == ()
    assert house.search.known("main", ["tool", "other"], by=ANONYMOUS) == {"other"}


def test_rules_for_mirrored_files_leave_own_ones_alone(house: House) -> None:
    house.rule("deny=tool")
    assert house.told() == ALL


def test_an_exemption_that_ends_ends_at_once(house: House) -> None:
    with house.catalogue.write() as conn:
        until = int((rows.NOW + 60) * 1_000_000)
        exemptions.put(conn, house.number, exemptions.Exemption("tool==2.0", until, "a fix", "ann", 1))
    house.rule("scope=all", "deny=tool")
    assert house.told()[0] == ["tool 2.0", "other 1.0"]
    assert house.finds("laser") == ["tool"]
    house.now += 61  # nobody writes anything
    assert house.told() == NONE
    assert house.finds("laser") == []


def test_a_blocked_name_is_not_told(house: House) -> None:
    with house.catalogue.write() as conn:
        origins.put(conn, house.number, Claim("", "tool", Origin.BLOCKED, None, "ann", 1, "stolen"))
        indexes.announce(conn, house.number, at=1, by="ann")
    assert house.told() == NONE
