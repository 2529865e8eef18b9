"""How connections to each database are opened and kept: durability, waiting and the pool."""

from __future__ import annotations

import sqlite3
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from pidex.core.errors import CatalogueError

#: How long a writer waits for the one before it, and a thread for a connection, in seconds.
BUSY_SECONDS = 10
#: Between two tries where SQLite itself does not wait, in seconds.
PAUSE_SECONDS = 0.01
#: Connections kept open, and how many more a burst of threads may open.
POOL_SIZE = 8
POOL_BURST = 56
#: SQLite's page cache of each connection, in KiB.
CACHE_KIB = 4096
#: What a write-ahead log is cut back to once it is written into the database, in bytes.
WAL_BYTES = 64 * 1024 * 1024


def sqlite(url: URL, *, synchronous: str = "FULL", busy_seconds: float | None = None) -> Engine:
    """An engine over a SQLite file with a write-ahead log.

    A transaction begins with BEGIN, and so sees one state from its first statement on. With the execution
    option `pidex_begin` it begins with that instead: BEGIN IMMEDIATE takes the writer's lock at once.
    """
    wait = BUSY_SECONDS if busy_seconds is None else busy_seconds
    engine = create_engine(
        url,
        connect_args={"timeout": wait, "isolation_level": None, "check_same_thread": False},
        pool_size=POOL_SIZE,
        max_overflow=POOL_BURST,
        pool_timeout=wait,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _connect(dbapi: Any, _record: object) -> None:
        cursor = dbapi.cursor()
        try:
            _write_ahead(cursor, wait)
            cursor.execute(f"PRAGMA synchronous={synchronous}")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            cursor.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        finally:
            cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        # The driver begins nothing by itself (isolation_level None).
        dbapi: Any = conn.connection.driver_connection
        dbapi.execute(conn.get_execution_options().get("pidex_begin", "BEGIN"))

    return engine


def _write_ahead(cursor: Any, seconds: float) -> None:
    """Have a write-ahead log. SQLite itself does not wait for another that switches a new file over."""
    deadline = monotonic() + seconds
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname not in ("SQLITE_BUSY", "SQLITE_LOCKED") or monotonic() >= deadline:
                raise
        sleep(PAUSE_SECONDS)


def postgresql(url: URL) -> Engine:
    """An engine over PostgreSQL. Raises `CatalogueError` where its driver is not installed."""
    try:
        return create_engine(
            url,
            connect_args={"connect_timeout": BUSY_SECONDS},
            pool_size=POOL_SIZE,
            max_overflow=POOL_BURST,
            pool_timeout=BUSY_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise CatalogueError(
            f"A PostgreSQL catalogue needs {error.name}: install `pidex[postgres]`."
        ) from error
