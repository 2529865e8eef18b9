"""Changes by serial, newest releases and search: on both databases, and only what the caller may know of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pidex.catalogue import contents, files, journal, projects, scans, statuses, yanks
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Busy, NotFound
from pidex.core.listing import REFRESH
from pidex.core.model import ANONYMOUS, File, Principal, Status
from pidex.core.permissions import Action, Visibility
from pidex.core.queries import Query
from pidex.resolver import Resolver
from tests.catalogue import rows
from tests.test_resolver import Memory

DAY = 86_400_000_000
OLD = rows.file("Foo_Bar-1.0.tar.gz", upload_time=rows.NOW_US)
SAME = rows.file("foo_bar-1.0.0-py3-none-any.whl", upload_time=rows.NOW_US + DAY)
NEW = rows.file("foo_bar-1.10-py3-none-any.whl", upload_time=rows.NOW_US + 5 * DAY)
OTHER = rows.file("other-1.zip", upload_time=rows.NOW_US + 3 * DAY)
PRIVATE = rows.file("private_thing-0.1-py3-none-any.whl", upload_time=rows.NOW_US + 9 * DAY)
SUMMARIES = {
    OLD: "An old text",
    SAME: "An old text",
    NEW: "Größte 100% Hilfe_für alle",
    OTHER: None,
    PRIVATE: "Secret text",
}


class Half(Resolver):
    """A resolver for somebody who may see everything but what is private."""

    def visible(self, index: str, *, by: Principal, action: Action = Action.LIST) -> Visibility:
        return Visibility(frozenset({"foo-*", "other"}))


def described(catalogue: Catalogue, found: Mapping[File, str | None]) -> int:
    index_id = rows.listed(catalogue, found)
    with catalogue.write() as conn:
        read = [
            (replace(rows.facts_of(file), summary=summary), file.packagetype)
            for file, summary in found.items()
        ]
        contents.put_many(conn, read)
    return index_id


@pytest.fixture
def resolver(catalogue: Catalogue) -> Resolver:
    return Resolver(catalogue, Memory({}), lambda: rows.NOW)


@pytest.fixture
def half(catalogue: Catalogue) -> Resolver:
    return Half(catalogue, Memory({}), lambda: rows.NOW)


@pytest.fixture
def index_id(catalogue: Catalogue) -> int:
    return described(catalogue, SUMMARIES)


def quarantine(catalogue: Catalogue, index_id: int, project: str) -> None:
    with catalogue.write() as conn:
        marker = statuses.ProjectStatus(project, Status.QUARANTINED, None, "alice", rows.NOW_US)
        statuses.put(conn, index_id, marker)


# --- changes ---


def test_changes_are_told_oldest_first_after_a_serial(resolver: Resolver, index_id: int) -> None:
    found = resolver.changes("main", 0, by=ANONYMOUS)
    assert [change.serial for change in found] == [1, 2, 3, 4, 5]
    assert found[0] == (1, "foo-bar", "1.0", "add", rows.NOW_US)
    assert resolver.changes("main", 3, by=ANONYMOUS) == found[3:]
    assert resolver.changes("main", 3, 1, by=ANONYMOUS) == found[3:4]
    assert resolver.changes("main", 5, by=ANONYMOUS) == []
    assert resolver.changes("main", 1 << 62, by=ANONYMOUS) == []
    assert resolver.changes("main", 0, -1, by=ANONYMOUS) == []
    assert resolver.serial("main", by=ANONYMOUS) == 5


def test_changes_are_told_after_a_time(catalogue: Catalogue, resolver: Resolver, index_id: int) -> None:
    with catalogue.write() as conn:
        journal.record(conn, index_id, "other", "yank release", version="1", at=rows.NOW_US + DAY, by="alice")
    (change,) = resolver.changes("main", 0, by=ANONYMOUS, after=rows.NOW_US)
    assert (change.serial, change.project, change.version, change.action) == (6, "other", "1", "yank release")


def test_what_concerns_no_reader_is_not_told(catalogue: Catalogue, resolver: Resolver, index_id: int) -> None:
    with catalogue.write() as conn:
        journal.record(conn, index_id, "other", REFRESH, at=rows.NOW_US, by="pidex")
        journal.record(conn, index_id, "", "rights", at=rows.NOW_US, by="pidex")
    rows.listed(catalogue, [rows.file("elsewhere-1.zip")], name="team")
    assert [change.serial for change in resolver.changes("main", 0, by=ANONYMOUS)] == [1, 2, 3, 4, 5]
    assert resolver.serial("main", by=ANONYMOUS) == 5
    assert resolver.serial("team", by=ANONYMOUS) == 8


def test_an_index_without_changes_has_serial_0(catalogue: Catalogue, resolver: Resolver) -> None:
    rows.index(catalogue)
    assert resolver.serial("main", by=ANONYMOUS) == 0
    assert resolver.changes("main", 0, by=ANONYMOUS) == []


# --- newest ---


def test_releases_are_told_newest_first_by_their_first_file(resolver: Resolver, index_id: int) -> None:
    found = resolver.releases("main", 100, by=ANONYMOUS)
    assert [(one.project, one.version, one.summary) for one in found] == [
        ("private-thing", "0.1", "Secret text"),
        ("foo-bar", "1.10", "Größte 100% Hilfe_für alle"),
        ("other", "1", None),
        ("foo-bar", "1.0", "An old text"),
    ]
    assert found[1].at == rows.NOW_US + 5 * DAY
    assert resolver.releases("main", 2, by=ANONYMOUS) == found[:2]


def test_releases_of_one_project(resolver: Resolver, half: Resolver, index_id: int) -> None:
    found = resolver.releases("main", 100, by=ANONYMOUS, project="foo-bar")
    assert [(one.name, one.version) for one in found] == [("foo_bar", "1.10"), ("Foo_Bar", "1.0")]
    with pytest.raises(NotFound):
        resolver.releases("main", 100, by=ANONYMOUS, project="absent")
    with pytest.raises(NotFound):
        half.releases("main", 100, by=ANONYMOUS, project="private-thing")


def test_newcomers_are_told_by_their_first_file(resolver: Resolver, index_id: int) -> None:
    found = resolver.newcomers("main", 100, by=ANONYMOUS)
    assert [(one.project, one.at) for one in found] == [
        ("private-thing", rows.NOW_US + 9 * DAY),
        ("other", rows.NOW_US + 3 * DAY),
        ("foo-bar", rows.NOW_US),
    ]
    assert resolver.newcomers("main", 1, by=ANONYMOUS) == found[:1]


def test_before_the_first_listing_nothing_is_told(catalogue: Catalogue, resolver: Resolver) -> None:
    index_id = rows.index(catalogue)
    with catalogue.write() as conn:
        scans.put(conn, index_id, scans.Scan(listed=False, finished=None))
    for ask in (
        lambda: resolver.releases("main", 9, by=ANONYMOUS),
        lambda: resolver.newcomers("main", 9, by=ANONYMOUS),
        lambda: resolver.search("main", Query(), 9, by=ANONYMOUS),
    ):
        with pytest.raises(Busy) as caught:
            ask()
        assert caught.value.retry_after


# --- search ---


def found(resolver: Resolver, query: Query, limit: int = 100) -> list[str]:
    return [hit.project for hit in resolver.search("main", query, limit, by=ANONYMOUS)]


@pytest.mark.parametrize(
    ("query", "projects"),
    [
        (Query(("FOO",)), ["foo-bar"]),
        (Query(("foo_bar",)), ["foo-bar"]),
        (Query(("Foo.Bar",)), ["foo-bar"]),
        (Query(("o",)), ["other", "foo-bar"]),
        (Query(("r",)), ["foo-bar", "other", "private-thing"]),
        (Query((), ("GRÖSSTE",)), []),  # what the database offers by ß is not found by SS
        (Query((), ("größ",)), ["foo-bar"]),
        (Query((), ("HILFE_FÜR",)), ["foo-bar"]),
        (Query((), ("100%",)), ["foo-bar"]),
        (Query((), ("0%H",)), []),
        (Query((), ("Hilfe!",)), []),
        (Query((), ("text",)), ["private-thing"]),  # the latest release of foo-bar says something else
        (Query(("foo",), ("text",), every=False), ["foo-bar", "private-thing"]),
        (Query(("foo",), ("hilfe",)), ["foo-bar"]),
        (Query(("other",), ("hilfe",)), []),
        (Query(("foo", "bar")), ["foo-bar"]),
        (Query(("foo", "other"), every=False), ["other", "foo-bar"]),
        (Query(), ["foo-bar", "other", "private-thing"]),
        (Query(("nul\0",)), []),
        (Query(("' or 1=1 --",)), []),
    ],
)  # fmt: skip
def test_search(resolver: Resolver, index_id: int, query: Query, projects: list[str]) -> None:
    assert found(resolver, query) == projects


def test_a_hit_is_the_latest_release(catalogue: Catalogue, resolver: Resolver, index_id: int) -> None:
    (hit,) = resolver.search("main", Query(("foo-bar",)), 9, by=ANONYMOUS)
    assert hit == ("foo-bar", "foo_bar", "1.10", "Größte 100% Hilfe_für alle", 3)
    with catalogue.write() as conn:
        yank = yanks.Yank("foo-bar", "release", "1.10", "", "alice", rows.NOW_US)
        yanks.put(conn, index_id, yank)
    (hit,) = resolver.search("main", Query(("foo-bar",)), 9, by=ANONYMOUS)
    assert (hit.version, hit.summary) == ("1.0", "An old text")


def test_hits_are_limited(resolver: Resolver, index_id: int) -> None:
    assert found(resolver, Query(), 2) == ["foo-bar", "other"]
    assert found(resolver, Query(), 0) == []


# --- who may know ---


def test_what_a_caller_may_not_know_of_is_nowhere(half: Resolver, index_id: int) -> None:
    assert {change.project for change in half.changes("main", 0, by=ANONYMOUS)} == {"foo-bar", "other"}
    assert half.serial("main", by=ANONYMOUS) == 4
    assert {one.project for one in half.releases("main", 9, by=ANONYMOUS)} == {"foo-bar", "other"}
    assert {one.project for one in half.newcomers("main", 9, by=ANONYMOUS)} == {"foo-bar", "other"}
    assert found(half, Query((), ("secret",))) == []
    assert found(half, Query(("private-thing",))) == []
    # Limits count what is seen.
    assert len(half.releases("main", 1, by=ANONYMOUS)) == 1
    assert len(half.changes("main", 0, 4, by=ANONYMOUS)) == 4


def test_quarantined_projects_are_not_offered(
    catalogue: Catalogue, resolver: Resolver, index_id: int
) -> None:
    quarantine(catalogue, index_id, "foo-bar")
    assert "foo-bar" not in {one.project for one in resolver.releases("main", 9, by=ANONYMOUS)}
    assert resolver.releases("main", 9, by=ANONYMOUS, project="foo-bar") == []
    assert "foo-bar" not in {one.project for one in resolver.newcomers("main", 9, by=ANONYMOUS)}
    assert found(resolver, Query(("foo",))) == []


@pytest.mark.parametrize("name", ["absent", "a\0b", "\ud800"])
def test_an_unknown_index_is_not_found(resolver: Resolver, index_id: int, name: str) -> None:
    for ask in (
        lambda: resolver.serial(name, by=ANONYMOUS),
        lambda: resolver.changes(name, 0, by=ANONYMOUS),
        lambda: resolver.releases(name, 9, by=ANONYMOUS),
        lambda: resolver.newcomers(name, 9, by=ANONYMOUS),
        lambda: resolver.search(name, Query(), 9, by=ANONYMOUS),
    ):
        with pytest.raises(NotFound):
            ask()


def test_a_project_that_left_is_found_no_more(
    catalogue: Catalogue, resolver: Resolver, index_id: int
) -> None:
    with catalogue.write() as conn:
        files.replace(conn, index_id, OTHER.filename.casefold(), None)
        projects.refresh(conn, index_id, {"other"})
    assert found(resolver, Query(("other",))) == []
