"""Places and problems: what lies in the folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite

from pidex.catalogue import files, places, problems
from pidex.catalogue.engine import Catalogue
from pidex.core.model import Place, PlaceState, Problem, Stat
from tests.catalogue import rows

WHOLE = rows.place("sub/Foo_Bar-1.0-py3-none-any.whl", stat=Stat(2**40, 2**62, -5, 2**63 - 1, 2**40))
UNREAD = rows.place("foo-bar-2.0.tar.gz", PlaceState.UNREAD)
PENDING = rows.place(
    "foo.bar-3.0.zip",
    PlaceState.PENDING,
    code="truncated",
    reason="its end is missing",
    looks=3,
    next_look=12.5,
)
REFUSED = rows.place("other-1.0.tar.gz", PlaceState.REFUSED, root=1, code="damaged", reason="CRC")
NAMELESS = rows.place("straße.zip", PlaceState.UNREAD)
EVERY = [WHOLE, UNREAD, PENDING, REFUSED, NAMELESS]


@pytest.fixture
def index_id(catalogue: Catalogue) -> int:
    number = rows.index(catalogue)
    with catalogue.write() as conn:
        places.upsert_many(conn, number, EVERY)
        places.upsert_many(conn, number, [])
    return number


def test_places_come_back_as_they_were(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.read() as conn:
        assert {(place.root, place.path): place for place in places.list(conn, index_id)} == {
            (place.root, place.path): place for place in EVERY
        }
        assert places.find(conn, index_id, 0, UNREAD.path) == UNREAD
        assert places.find(conn, index_id, 1, UNREAD.path) is None
        assert places.find(conn, index_id + 1, 0, UNREAD.path) is None


def test_places_of_a_project_are_found_by_any_spelling(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.read() as conn:
        assert [*places.list_project(conn, index_id, "foo-bar")] == [UNREAD, PENDING, WHOLE]
        assert [*places.list_project(conn, index_id, "foo-bar", unfinished=True)] == [UNREAD, PENDING]
        assert [*places.list_unfinished(conn, index_id)] == [UNREAD, PENDING, NAMELESS, REFUSED]


def test_unread_is_a_matter_of_the_project(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.read() as conn:
        assert places.unread(conn, index_id, "foo-bar")
        assert not places.unread(conn, index_id, "other")
        assert not places.unread(conn, index_id + 1, "foo-bar")
        assert places.count_unread(conn, index_id) == 2
        assert places.unread_projects(conn, index_id) == {"foo-bar"}


def test_a_known_place_is_written_over(catalogue: Catalogue, index_id: int) -> None:
    read = Place(0, UNREAD.path, Stat(9, 9, 9, 9, 9), PlaceState.WHOLE, "a" * 64)
    with catalogue.write() as conn:
        places.upsert_many(conn, index_id, [read])
        assert places.find(conn, index_id, 0, UNREAD.path) == read
        assert len(places.list(conn, index_id)) == len(EVERY)
        places.delete_many(conn, index_id, [(0, UNREAD.path), (7, "nothing")])
        places.delete_many(conn, index_id, [])
        assert places.find(conn, index_id, 0, UNREAD.path) is None
        assert len(places.list(conn, index_id)) == len(EVERY) - 1


def test_many_keys_are_looked_up_at_once(catalogue: Catalogue, index_id: int) -> None:
    copy = rows.place("a/b/FOO-BAR-2.0.TAR.GZ", PlaceState.UNREAD)
    keys = [f"nothing-{number}.zip" for number in range(1200)]
    with catalogue.write() as conn:
        places.upsert_many(conn, index_id, [copy])
        found = places.find_by_keys(conn, index_id, [*keys, UNREAD.key, REFUSED.key])
        assert {key: [*value] for key, value in found.items()} == {
            UNREAD.key: [copy, UNREAD],
            REFUSED.key: [REFUSED],
        }


def test_whole_places_that_are_not_listed(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.write() as conn:
        assert [*places.list_unlisted(conn, index_id)] == [(WHOLE, None)]
        served = rows.file("foo_bar-1.0-py3-none-any.whl", path="served.whl")
        files.replace(conn, index_id, WHOLE.key, served)
        assert [*places.list_unlisted(conn, index_id)] == [(WHOLE, "served.whl")]
        files.replace(
            conn, index_id, WHOLE.key, rows.file("foo_bar-1.0-py3-none-any.whl", sha256=WHOLE.sha256)
        )
        assert [*places.list_unlisted(conn, index_id)] == []


def test_problems_are_what_the_last_listing_saw(catalogue: Catalogue, index_id: int) -> None:
    link = Problem(0, "a/link.whl", "broken-link", "it leads nowhere")
    raw = Problem(1, "caf\udce9.whl", "name", "caf\udce9.whl is not UTF-8")
    stored = Problem(1, "caf\\udce9.whl", "name", "caf\\udce9.whl is not UTF-8")
    with catalogue.write() as conn:
        problems.replace(conn, index_id, [raw, link, raw])
        assert [*problems.list(conn, index_id)] == [link, stored]
        problems.put_many(conn, index_id, [Problem(0, "a/link.whl", "loop", "it leads to itself")])
        problems.delete_many(conn, index_id, [(1, "caf\udce9.whl"), (9, "nothing")])
        assert [*problems.list(conn, index_id)] == [Problem(0, "a/link.whl", "loop", "it leads to itself")]
        problems.replace(conn, index_id, [])
        assert [*problems.list(conn, index_id)] == []


@pytest.mark.parametrize(
    ("statement", "key"),
    [
        (places._UNREAD_OF, "ix_places_unfinished (index_id=? AND project=?)"),
        (places._UNFINISHED_OF, "ix_places_unfinished (index_id=? AND project=?)"),
        (places._UNREAD_PROJECTS, "ix_places_unfinished (index_id=?"),
        (places._COUNT_UNREAD, "ix_places_unfinished (index_id=?"),
        (places._LIST_UNFINISHED, "ix_places_unfinished (index_id=?"),
        (places._FIND, "PRIMARY KEY (index_id=? AND root=? AND path=?)"),
        (files._OF_PROJECT, "ix_files_index_id_project (index_id=? AND project=?)"),
        (files._BY_BLAKE2, "ix_files_index_id_blake2b_256 (index_id=? AND blake2b_256=?)"),
        (files._BY_KEY.statement, "sqlite_autoindex_files_1 (index_id=? AND key=?)"),
    ],
)
def test_the_hot_statements_are_look_ups(tmp_path: Path, statement: object, key: str) -> None:
    """SQLite's planner goes by the figures that the migration wrote, not by those of an empty table."""
    catalogue = Catalogue.open(tmp_path / "catalogue.db")
    sql = str(statement.compile(dialect=sqlite.dialect()))  # type: ignore[attr-defined]
    with catalogue.read() as conn:
        plan = conn.exec_driver_sql(f"explain query plan {sql}", (1,) * sql.count("?")).all()
    catalogue.close()
    assert any(key in row[-1] for row in plan), plan
