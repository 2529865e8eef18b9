"""Seals: a sum over the rows of each table, kept by every writing transaction, so that other changes show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Table, event, select

from pidex.catalogue import advisories as _advisories  # noqa: F401  # whose tables have a seal, too
from pidex.catalogue import branches as _branches  # noqa: F401
from pidex.catalogue import garbage, upserts
from pidex.catalogue.tables import metadata, seals

#: Without a seal: what is compared with the files themselves, what is only counted, and what has a chain.
UNSEALED = frozenset({"places", "contents", "files", "projects", "downloads", "audit", "seals", "shared"}) | {
    garbage.garbage.name  # found again by the next look into the bucket
}
#: With a seal, and yet made anew by each scan.
DERIVED = frozenset({"problems", "scans"})

_READ = select(seals.c.name, seals.c.value)


def sealed() -> list[Table]:
    """The tables that have a seal."""
    return [table for table in metadata.sorted_tables if table.name not in UNSEALED]


def install(engine: Engine) -> None:
    """Have each connection of a SQLite engine keep the seals, from the first time it writes.

    Triggers of the connection's own do it: they are not in the file, so that whoever writes to it by other
    means leaves the seals as they were, and `differing` tells. Migrations (`pidex_unsealed`) go without.
    """

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        options = conn.get_execution_options()
        if "pidex_begin" not in options or "pidex_unsealed" in options:
            return
        dbapi: Any = conn.connection.driver_connection
        # Asked each time: they go with the transaction that made them where that is undone.
        if dbapi.execute("select 1 from sqlite_temp_master limit 1").fetchone() is not None:
            return
        if dbapi.execute("select 1 from sqlite_master where name = 'seals'").fetchone() is None:
            return
        dbapi.create_function("pidex_seal", -1, _sealed, deterministic=True)
        for table in sealed():
            for statement in _triggers(table):
                dbapi.execute(statement)


def renew(conn: Connection, names: Iterable[str] | None = None) -> None:
    """Seal what tables (all) hold now, in the caller's transaction: after a migration, or on demand."""
    if conn.dialect.name != "sqlite":
        return
    chosen = None if names is None else {*names}
    rows = [
        {"name": table.name, "value": _sum(conn, table)}
        for table in sealed()
        if chosen is None or table.name in chosen
    ]
    upserts.put(conn, seals, rows)


def differing(conn: Connection) -> list[str]:
    """The sealed tables whose rows are not those that pidex wrote. PostgreSQL has checksums of its own."""
    if conn.dialect.name != "sqlite":
        return []
    known = {row.name: row.value for row in conn.execute(_READ)}
    return [table.name for table in sealed() if known.get(table.name) != _sum(conn, table)]


def _columns(table: Table, of: str = "") -> str:
    return ", ".join(f'{of}"{column.name}"' for column in table.columns)


def _sum(conn: Connection, table: Table) -> str:
    rows: Iterable[Sequence[Any]] = conn.exec_driver_sql(f'select {_columns(table)} from "{table.name}"')  # noqa: S608  # our own names
    found = 0
    for row in rows:
        found ^= _number(table.name, *row)
    return f"{found:064x}"


def _number(*values: Any) -> int:
    text = json.dumps(values, default=bytes.hex)
    return int.from_bytes(hashlib.sha256(text.encode()).digest())


def _sealed(value: str, *values: Any) -> str:
    """A seal with one row more, or without one that it had."""
    return f"{int(value, 16) ^ _number(*values):064x}"


def _triggers(table: Table) -> list[str]:
    name = table.name
    old, new = (f"'{name}', {_columns(table, of)}" for of in ("OLD.", "NEW."))
    values = {
        "insert": f"pidex_seal(value, {new})",
        "delete": f"pidex_seal(value, {old})",
        "update": f"pidex_seal(pidex_seal(value, {old}), {new})",
    }
    return [
        f'create temp trigger if not exists seal_{name}_{when} after {when} on main."{name}" begin'  # noqa: S608
        f" update seals set value = {value} where name = '{name}'; end"
        for when, value in values.items()
    ]
