"""A catalogue copied from one engine to the other and back: the same rows, the same numbers afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pidex.catalogue import audit, copying, grants, indexes, journal, leases, places, seals, tables, users
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import CatalogueError, Conflict
from pidex.core.model import OPERATOR
from pidex.core.permissions import Grant, Role
from tests.catalogue import rows

pytestmark = pytest.mark.postgres


def content(catalogue: Catalogue) -> dict[str, list[Any]]:
    """Every row that is copied."""
    with catalogue.read() as conn:
        return {
            table.name: sorted((tuple(row) for row in conn.execute(select(table))), key=repr)
            for table in tables.metadata.sorted_tables
            if table.name not in copying.LEFT and table.name != "counters"
        }


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue in a file in which something has happened."""
    catalogue = Catalogue.open(tmp_path / "old.db")
    index_id, gone = rows.index(catalogue), rows.index(catalogue, "gone")
    with catalogue.write() as conn:
        users.add(conn, "olga", "a hash", at=1)
        grants.add(conn, Grant("user:olga", Role.OWNER, "main", "*"), by="test", at=2)
        journal.record(conn, index_id, "démo", "add", at=3, by="olga")
        places.upsert_many(conn, index_id, [rows.place(f"a-{number}.0.tar.gz") for number in range(3000)])
        audit.record(conn, OPERATOR, "test", subject="ünï", at=4)
        indexes.remove(conn, gone)
    yield catalogue
    catalogue.close()


def test_there_and_back_it_is_the_same(lived: Catalogue, postgres_url: str, tmp_path: Path) -> None:
    before = content(lived)
    told: list[tuple[int, int]] = []
    with closing(Catalogue.open(postgres_url)) as there, closing(Catalogue.open(tmp_path / "new.db")) as back:
        counted = copying.copy(lived, there, lambda done, total: told.append((done, total)))
        assert counted["places"] == 3000
        assert told[-1] == (sum(counted.values()), sum(counted.values()))
        assert content(there) == before
        copying.copy(there, back)
        assert content(back) == before
        with back.read() as conn:
            assert seals.differing(conn) == []
        for catalogue in (there, back):
            with catalogue.write() as conn:  # numbers go on, and none of an index that is gone comes back
                assert journal.record(conn, 1, "demo", "add", at=5, by="x") == 2
                assert indexes.ensure(conn, "next", 1.0) == 3
                users.add(conn, "rita", "a hash", at=1)
                audit.record(conn, OPERATOR, "again", at=6)
        with back.read() as conn:
            assert seals.differing(conn) == []
            assert [row.action for row in audit.list(conn, limit=2)] == ["again", "test"]


def test_a_place_that_is_in_use_is_left_alone(lived: Catalogue, postgres_url: str) -> None:
    with closing(Catalogue.open(postgres_url)) as there:
        with there.write() as conn:
            users.add(conn, "somebody", "a hash", at=1)
        with pytest.raises(Conflict, match="is in use: it has rows in users"):
            copying.copy(lived, there)
        with there.read() as conn:
            assert users.find(conn, "somebody") is not None


def test_nothing_is_copied_under_running_nodes(lived: Catalogue, postgres_url: str) -> None:
    with closing(Catalogue.open(postgres_url)) as there:
        with there.beside() as conn:
            leases.take(conn, "node:a", "a")
        with pytest.raises(Conflict, match="Nodes are running"):
            copying.copy(lived, there)


def test_what_is_not_the_same_is_not_kept(
    lived: Catalogue, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = copying._sum

    def wrong(conn: Any, table: Any) -> tuple[int, int]:
        count, total = real(conn, table)
        return (count, total + (table.name == "audit" and conn.dialect.name == "postgresql"))

    monkeypatch.setattr(copying, "_sum", wrong)
    with closing(Catalogue.open(postgres_url)) as there:
        empty = content(there)
        with pytest.raises(CatalogueError, match="rows of audit are not the same"):
            copying.copy(lived, there)
        assert content(there) == empty
