"""What was changed by other means than pidex shows: rows of each table by seals, the audit by its chain."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from pidex.catalogue import audit, schema, seals
from pidex.catalogue.engine import Catalogue
from pidex.core.model import OPERATOR
from tests.catalogue import rows


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A catalogue file with rows in many tables, written by pidex alone."""
    catalogue = Catalogue.open(tmp_path / "catalogue.db")
    index_id = rows.index(catalogue)
    with catalogue.write() as conn:
        for number in range(5):
            audit.record(conn, OPERATOR, "x.add", subject=f"s{number}", after={"n": number}, at=number)
        conn.execute(text("insert into users (name, display, created) values ('ann', 'Ann', 1)"))
        conn.execute(text("insert into groups (name, created) values ('team', 1)"))
        conn.execute(
            text(
                "insert into memberships select users.id, groups.id from users, groups"
                " where groups.name = 'team'"
            )
        )
        conn.execute(
            text("insert into signatures (index_id, key, body) values (:i, 'k', :b)"),
            {"i": index_id, "b": b"\x00\xff"},
        )
        conn.execute(text("update users set disabled = true where name = 'ann'"))
    with catalogue.write() as conn:
        conn.execute(text("insert into users (name, display, created) values ('bob', 'Bob', 1)"))
        conn.execute(
            text(
                "insert into memberships select users.id, groups.id from users, groups"
                " where users.name = 'bob' and groups.name = 'team'"
            )
        )
        conn.execute(text("delete from users where name = 'bob'"))  # and with him the membership
    with suppress(ZeroDivisionError), catalogue.write() as conn:
        conn.execute(text("delete from users"))
        raise ZeroDivisionError
    catalogue.close()
    return tmp_path / "catalogue.db"


def differing(path: Path) -> list[str]:
    catalogue = Catalogue.open(path, create=False)
    with catalogue.read() as conn:
        found = seals.differing(conn)
    catalogue.close()
    return found


def breaks(path: Path) -> list[str]:
    catalogue = Catalogue.open(path, create=False)
    with catalogue.read() as conn:
        found = [each.reason for each in audit.breaks(conn)]
    catalogue.close()
    return found


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(statement)


def test_what_pidex_writes_is_sealed(filled: Path) -> None:
    assert differing(filled) == []
    assert breaks(filled) == []


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("users", "update users set password_hash = 'x' where name = 'ann'"),
        ("users", "delete from users where name = 'ann'"),
        ("groups", "insert into groups (name, created) values ('more', 1)"),
        ("memberships", "delete from memberships"),
        ("signatures", "update signatures set body = x'0102'"),
        ("indexes", "update indexes set mutability = 'volatile'"),
        ("counters", "update counters set value = value + 1 where name = 'serial'"),
        ("grants", "update grants set role = 'admin'"),
    ],
)
def test_a_change_by_other_means_shows(filled: Path, table: str, statement: str) -> None:
    change(filled, statement)
    assert differing(filled) == [table]
    catalogue = Catalogue.open(filled)
    with catalogue.write() as conn:  # what pidex writes afterwards hides nothing
        conn.execute(text("update users set display = 'A' where name = 'ann'"))
        conn.execute(text("update counters set value = value + 1 where name = 'serial'"))
    assert differing(filled) == [table]
    with catalogue.write() as conn:
        seals.renew(conn)
    catalogue.close()
    assert differing(filled) == []


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("update audit set actor = 'eve' where id = 3", "row 3 was changed"),
        ("delete from audit where id = 3", "rows between 2 and 4"),
        ("delete from audit where id = 1", "rows between 0 and 2"),
        ("delete from audit where id = 5", "rows after 4"),
        ("delete from audit", "rows after 0"),
        ("update audit set id = 9 where id = 5", "row 9 was changed"),
        (
            "insert into audit (id, at, actor, via, action, previous, digest)"
            " select 6, at, actor, via, action, digest, digest from audit where id = 5",
            "row 6 was changed",
        ),
        ("insert into audit (at, actor, via, action) values (1, 'eve', '', 'x')", "rows between 5 and 6"),
        ("delete from seals where name = 'audit'", "rows after 5"),
    ],
)
def test_the_chain_shows_which_row(filled: Path, statement: str, reason: str) -> None:
    change(filled, statement)
    assert any(found.startswith(reason) for found in breaks(filled))


def test_the_chain_holds_on_each_engine(catalogue: Catalogue) -> None:
    for number in range(3):
        with catalogue.write() as conn:
            audit.record(conn, OPERATOR, "x.add", subject="é\n", before={"a": [1]}, at=number)
            audit.record(conn, OPERATOR, "y.add", at=number)
    with catalogue.write() as conn:
        assert list(audit.breaks(conn)) == []
        last, digest = audit.head(conn)
        assert last == 6
        assert len(digest) == 64
        conn.execute(text("update audit set subject = 'other' where id = 3"))
        assert [each.id for each in audit.breaks(conn)] == [3]


def test_older_rows_are_chained_by_the_migration(place: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(schema, "REVISION", "0003")
        old = Catalogue.open(place)
        with old.steer() as conn:  # of that time: it knows nothing of moves
            for number in range(3):
                conn.execute(
                    text("insert into audit (at, actor, via, action) values (:n, 'me', 'x', 'y')"),
                    {"n": number},
                )
        old.close()
    catalogue = Catalogue.open(place)
    with catalogue.write() as conn:
        assert list(audit.breaks(conn)) == []
        audit.record(conn, OPERATOR, "y.add", at=9)
        assert list(audit.breaks(conn)) == []
        assert seals.differing(conn) == []
        conn.execute(text("delete from audit where id = 2"))
        assert [each.id for each in audit.breaks(conn)] == [3]
    catalogue.close()


def test_seals_are_kept_after_the_first_transaction_of_a_connection_was_undone(tmp_path: Path) -> None:
    Catalogue.open(tmp_path / "catalogue.db").close()
    catalogue = Catalogue.open(tmp_path / "catalogue.db", create=False)
    with suppress(RuntimeError), catalogue.write() as conn:
        conn.execute(text("insert into users (name, display, created) values ('ann', 'Ann', 1)"))
        raise RuntimeError
    with catalogue.write() as conn:
        conn.execute(text("insert into users (name, display, created) values ('bob', 'Bob', 1)"))
    catalogue.close()
    assert differing(tmp_path / "catalogue.db") == []
