"""A whole catalogue copied into an empty one, between SQLite and PostgreSQL: all rows, compared, or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import BigInteger, Connection, Table, delete, func, insert, select, text

from pidex.catalogue import indexes, moves, schema, seals, tables, upserts
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import CatalogueError, Conflict
from pidex.core.model import Stat

#: Rows read and written at once.
BATCH_ROWS = 2_000
#: Not copied: what says how a database is, and what running nodes tell each other.
LEFT = frozenset({"meta", "seals", "shared"})
#: The counter of writing transactions, of which holding a catalogue is one: it is compared with nothing.
TURNS = "writes"
#: Of `meta`, what goes with the catalogue.
KEPT_KEYS = (indexes.HIGHEST,)

Progress = Callable[[int, int], None]
#: What else has to be true of the copy before it is one: told of the connection to it.
Finish = Callable[[Connection], None]


def copy(
    source: Catalogue,
    target: Catalogue,
    progress: Progress = lambda _done, _all: None,
    finish: Finish = lambda _conn: None,
) -> Mapping[str, int]:
    """Fill `target` with everything that `source` holds; how many rows of each table.

    One transaction, in which both are compared row by row, and at whose end the caller does what is left to
    do (`finish`): it is all there or nothing is, and a copy that was cut is simply made again. Nobody may
    write to either meanwhile. Raises `Conflict` where `target` is in use.
    """
    every = [table for table in tables.metadata.sorted_tables if table.name not in LEFT]
    with source.read() as old, target.fill() as new:
        for conn in (old, new):
            if conn.dialect.name == "postgresql":  # one of them rests while the other one is read
                conn.execute(text("set local statement_timeout = 0"))
                conn.execute(text("set local idle_in_transaction_session_timeout = 0"))
        check(old, new, source, target)
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
        for table in every:
            if _sum(old, table) != _sum(new, table):
                raise CatalogueError(
                    f"The rows of {table.name} are not the same in {target.name}: nothing was copied."
                )
        head = old.execute(select(tables.seals).where(tables.seals.c.name == tables.audit.name)).mappings()
        upserts.put(new, tables.seals, map(dict, head.all()))  # the newest of the audit's chain
        finish(new)
        seals.renew(new)
    return counted


def check(old: Connection, new: Connection, source: Catalogue, target: Catalogue) -> None:
    """Raise where the one cannot be copied into the other: `CatalogueError`, `Conflict`."""
    for conn, catalogue in ((old, source), (new, target)):
        if schema.stored(conn) != schema.REVISION:
            raise CatalogueError(f"The catalogue {catalogue.name} has the tables of another version.")
    if moves.alive(new):
        raise Conflict(f"Nodes are running on {target.name}: stop them, or name an empty database.")
    if moves.arriving(new) is not None:
        return
    used = [table.name for table in (tables.admissions, tables.users, tables.audit) if _count(new, table)]
    if used:
        raise Conflict(
            f"{target.name} is in use: it has rows in {', '.join(used)}. Name a place without any."
        )


#: What says where files lie, and so is another thing where they lie elsewhere.
_LOCATED: Mapping[str, frozenset[str]] = {
    "files": frozenset({"root", "path", "shelf", *Stat._fields}) - {"size"},
    "tombstones": frozenset({"root", "path"}),
    "indexes": frozenset({"folders"}),
    "admissions": frozenset({"filename"}),  # spelled as it is listed
}


def differing(old: Connection, new: Connection, *, moved: bool, members: int | None) -> Iterator[str]:
    """The tables whose rows are not the same; where files were `moved`, other than by where they lie.

    `members`: how many names are earlier ones at the target, and none of its members.
    """
    apart = {"places", "problems", "branches", "packs"} if moved else set()
    if members:
        apart |= {"admissions", "superseded"}
    for table in tables.metadata.sorted_tables:
        without = _LOCATED.get(table.name, frozenset()) if moved else frozenset()
        if table.name not in LEFT | apart and _sum(old, table, without) != _sum(new, table, without):
            yield table.name
    if members:
        gone = _count(old, tables.admissions) - _count(new, tables.admissions)
        earlier = _count(new, tables.superseded) - _count(old, tables.superseded)
        if not gone == earlier == members:
            yield tables.admissions.name


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


def _sum(conn: Connection, table: Table, without: Collection[str] = ()) -> tuple[int, int]:
    """How many rows there are, and a sum over them that does not depend on their order."""
    columns = [column.name for column in table.columns if column.name not in without]
    count = total = 0
    for row in _rows(conn, table):
        if row.get("name") == TURNS and table is tables.counters:
            continue
        values: Iterable[Any] = (row[name] for name in columns)
        data = json.dumps([*values], default=bytes.hex).encode()
        total ^= int.from_bytes(hashlib.sha256(data).digest())
        count += 1
    return count, total
