"""Insert or update: the one place where the two databases' dialects of it are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import sqlite

#: Rows handed to the database in one call: bounds the memory of a batch.
BATCH_ROWS = 10_000


class _Prepared(NamedTuple):
    """A statement as the driver takes it; `order` makes a positional row of a named one, where wanted."""

    sql: str
    order: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None


def put(
    conn: Connection, table: Table, rows: Iterable[Mapping[str, Any]], *, by: tuple[str, ...] = ()
) -> None:
    """Write rows by unique key (`by`, else the primary key): known ones get every other column replaced.

    Each row must name the same columns, two or more, with plain values. No rows: nothing happens.
    """
    coming = iter(rows)
    while batch := [*islice(coming, BATCH_ROWS)]:
        # Handed to the driver as it is: what SQLAlchemy does for each row costs as much as the writing.
        prepared = _prepared(table, conn.dialect, tuple(batch[0]), by)
        values: Sequence[Any] = batch
        if prepared.order is not None:
            values = [prepared.order(row) for row in batch]
        if prepared.order is None:
            conn.exec_driver_sql(prepared.sql, values)
        else:
            driver: Any = conn.connection.driver_connection
            driver.executemany(prepared.sql, values)


def batches(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Cut a list of values into pieces that one IN list of either database takes."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def insert_into(table: Table, dialect: Dialect) -> Any:
    """The dialect's own INSERT, which knows what to do on a conflict."""
    if dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # 40 ms of a start that few need

    return postgresql.insert(table)


@lru_cache(maxsize=128)
def _prepared(table: Table, dialect: Dialect, columns: tuple[str, ...], by: tuple[str, ...]) -> _Prepared:
    keys = by or tuple(column.name for column in table.primary_key)
    insert = insert_into(table, dialect)
    values = {name: insert.excluded[name] for name in columns if name not in keys}
    compiled = insert.on_conflict_do_update(index_elements=keys, set_=values).compile(
        dialect=dialect, column_keys=[*columns]
    )
    return _Prepared(str(compiled), itemgetter(*compiled.positiontup) if compiled.positiontup else None)
