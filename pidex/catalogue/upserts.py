"""Insert or update: the one place where the two databases' dialects of it are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

#: Rows handed to the database in one call: bounds the memory of a batch.
BATCH_ROWS = 10_000


def put(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, by: tuple[str, ...] = ()
) -> None:
    """Write rows by unique key (`by`, else the primary key): known ones get every other column replaced.

    Each row must name the same columns. No rows: nothing happens.
    """
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        conn.execute(_statement(table, conn.dialect.name, tuple(batch[0]), by), batch)


@cache
def _statement(table: Table, dialect: str, columns: tuple[str, ...], by: tuple[str, ...]) -> Any:
    keys = by or tuple(column.name for column in table.primary_key)
    insert = _INSERTS[dialect](table)
    values = {name: insert.excluded[name] for name in columns if name not in keys}
    if not values:
        return insert.on_conflict_do_nothing(index_elements=keys)
    return insert.on_conflict_do_update(index_elements=keys, set_=values)


def batches(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Cut a list of values into pieces that one IN list of either database takes."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
