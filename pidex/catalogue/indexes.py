"""The indexes that a catalogue knows, by name and number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from pidex.catalogue.tables import indexes


class Index(NamedTuple):
    """An index. `mutability` is 'folder', 'immutable' or 'volatile'."""

    id: int
    name: str
    mutability: str


_COLUMNS = (indexes.c.id, indexes.c.name, indexes.c.mutability)
_FIND = select(*_COLUMNS).where(indexes.c.name == bindparam("name"))
_LIST = select(*_COLUMNS).order_by(indexes.c.name)


def find(conn: Connection, name: str) -> Index | None:
    """The index of that name."""
    row = conn.execute(_FIND, {"name": name}).one_or_none()
    return None if row is None else Index(*row)


def list(conn: Connection) -> Sequence[Index]:  # noqa: A001
    """All indexes by name."""
    return [Index(*row) for row in conn.execute(_LIST)]


def ensure(conn: Connection, name: str, now: float, mutability: str | None = None) -> int:
    """The number of the index of that name, which is made where there is none, with the mutability given.

    `now` in Unix seconds. Needs a writing transaction.
    """
    found = find(conn, name)
    if found is None:
        values = {"name": name, "mutability": mutability or "folder", "created": int(now * 1_000_000)}
        return int(conn.execute(insert(indexes).values(values).returning(indexes.c.id)).scalar_one())
    if mutability is not None and mutability != found.mutability:
        conn.execute(update(indexes).where(indexes.c.id == found.id).values(mutability=mutability))
    return found.id
