"""Serials and the lines of the journal."""

from __future__ import annotations

from pidex.catalogue import journal
from pidex.catalogue.engine import Catalogue
from tests.catalogue import rows


def test_lines_are_numbered_in_their_order(catalogue: Catalogue) -> None:
    index_id = rows.index(catalogue)
    with catalogue.write() as conn:
        assert journal.serial(conn) == 0
        added = journal.record(
            conn, index_id, "a", "add", version="1", filename="a-1.zip", at=rows.NOW_US, by="anna"
        )
        events = [journal.Event("b", "yank", "2"), journal.Event("a", "remove")]
        assert (added, journal.record_many(conn, index_id, events, at=7, by="ben")) == (1, 3)
        assert journal.record_many(conn, index_id, [], at=7, by="ben") == 3
    with catalogue.read() as conn:
        first = journal.Change(1, index_id, "a", "1", "add", "a-1.zip", rows.NOW_US, "anna")
        assert journal.since(conn, 0, 1) == [first]
        assert [(line.serial, line.project, line.action) for line in journal.since(conn, 1, 9)] == [
            (2, "b", "yank"),
            (3, "a", "remove"),
        ]
        assert journal.since(conn, 3, 9) == []
        assert [line.serial for line in journal.of_project(conn, index_id, "a", 9)] == [3, 1]
        assert journal.latest(conn, index_id, ["a", "b", "c"]) == {"a": 3, "b": 2}
        assert journal.serial(conn) == 3
