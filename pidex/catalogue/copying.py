"""A whole catalogue copied into an empty one, between SQLite and PostgreSQL: all rows, compared, or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import BigInteger, Connection, Table, delete, func, insert, select, text

from pidex.catalogue import indexes, leases, schema, seals, tables, upserts
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import CatalogueError, Conflict

#: Rows read and written at once.
BATCH_ROWS = 2_000
#: Not copied: what says how a database is, and what running nodes tell each other.
LEFT = frozenset({"meta", "seals", "shared"})
#: Of `meta`, what goes with the catalogue.
KEPT_KEYS = (indexes.HIGHEST,)

Progress = Callable[[int, int], None]


def copy(
    source: Catalogue, target: Catalogue, progress: Progress = lambda _done, _all: None
) -> Mapping[str, int]:
    """Fill `target` with everything that `source` holds; how many rows of each table.

    One transaction, at the end of which both are compared row by row: it is all there or nothing is, and a
    copy that was cut is simply made again. Nobody may write to either meanwhile: the caller holds the data
    directories. Raises `Conflict` where `target` is in use, or nodes of `source` are running.
    """
    every = [table for table in tables.metadata.sorted_tables if table.name not in LEFT]
    with source.read() as old, target.fill() as new:
        for conn in (old, new):
            if conn.dialect.name == "postgresql":  # one of them rests while the other one is read
                conn.execute(text("set local statement_timeout = 0"))
                conn.execute(text("set local idle_in_transaction_session_timeout = 0"))
        _check(old, new, source, target)
        total = sum(_count(old, table) for table in every)
        counted, done = {}, 0
        for table in reversed(every):
            new.execute(delete(table))
        for table in every:
            rows = 0
            for batch in _batches(_rows(old, table)):
                new.execute(insert(table), batch)
                rows += len(batch)
                progress(done + rows, total)
            counted[table.name], done = rows, done + rows
        _numbers(old, new, every)
        seals.renew(new)
        for table in every:
            if _sum(old, table) != _sum(new, table):
                raise CatalogueError(
                    f"The rows of {table.name} are not the same in {target.name}: nothing was copied."
                )
    return counted


def _check(old: Connection, new: Connection, source: Catalogue, target: Catalogue) -> None:
    for conn, catalogue in ((old, source), (new, target)):
        if schema.stored(conn) != schema.REVISION:
            raise CatalogueError(f"The catalogue {catalogue.name} has the tables of another version.")
        if conn.dialect.name == "postgresql" and any(leases.nodes(conn).values()):
            raise Conflict(f"Nodes are running on {catalogue.name}: stop them first.")
    used = [table.name for table in (tables.admissions, tables.users, tables.audit) if _count(new, table)]
    if used:
        raise Conflict(
            f"{target.name} is in use: it has rows in {', '.join(used)}. Name a place without any."
        )


def _numbers(old: Connection, new: Connection, every: Sequence[Table]) -> None:
    """Have the new database go on with the numbers of rows where the old one stopped, also of those gone."""
    highest = {}
    for table in every:
        column = table.primary_key.columns.values()[0]
        if len(table.primary_key.columns) != 1 or not isinstance(column.type, BigInteger):
            continue
        if column.autoincrement is False or column.foreign_keys:
            continue
        highest[table.name] = max(_last(old, table), _last(new, table))
    kept = {row.key: row.value for row in old.execute(select(tables.meta)) if row.key in KEPT_KEYS}
    top = max(highest.get("indexes", 0), int(kept.get(indexes.HIGHEST, 0)))
    highest["indexes"] = top
    if new.dialect.name == "postgresql":
        for name, number in highest.items():
            new.execute(
                text("select setval(pg_get_serial_sequence(:name, 'id'), :number)"),
                {"name": name, "number": max(number, 1)},
            )
    upserts.put(new, tables.meta, [{"key": indexes.HIGHEST, "value": str(top)}])


def _last(conn: Connection, table: Table) -> int:
    """The highest number that a table gave out."""
    there = int(conn.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one())
    if conn.dialect.name != "postgresql":
        return there
    name = conn.execute(
        text("select pg_get_serial_sequence(:name, 'id')"), {"name": table.name}
    ).scalar_one_or_none()
    if name is None:
        return there
    given = conn.exec_driver_sql(f"select last_value from {name}").scalar_one()  # noqa: S608  # our own name
    return max(there, int(given))


def _count(conn: Connection, table: Table) -> int:
    return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def _rows(conn: Connection, table: Table) -> Iterator[dict[str, Any]]:
    found = conn.execute(select(table).execution_options(yield_per=BATCH_ROWS))
    for row in found:
        yield dict(row._mapping)


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := [*islice(rows, BATCH_ROWS)]:
        yield batch


def _sum(conn: Connection, table: Table) -> tuple[int, int]:
    """How many rows there are, and a sum over them that does not depend on their order."""
    count = total = 0
    for row in _rows(conn, table):
        values: Iterable[Any] = (row[column.name] for column in table.columns)
        data = json.dumps([*values], default=bytes.hex).encode()
        total ^= int.from_bytes(hashlib.sha256(data).digest())
        count += 1
    return count, total
