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
#: The same for PostgreSQL, in each process: a server has few connections, and all nodes share them.
SERVER_POOL_SIZE, SERVER_POOL_BURST = 4, 8
#: Seconds until a connection to PostgreSQL has to be there, and after which an idle one is made anew.
CONNECT_SECONDS, RECYCLE_SECONDS = 3, 1800
#: Seconds of silence until the other side is asked whether it lives, and in which it has to answer.
KEEPALIVE_SECONDS, ALIVE_SECONDS = 5, 10
#: What holds for each session: how long a statement, a lock and an idle transaction may last, and what
#: writers rely on. The server looks after us as we after it: a node that is cut off holds no lock for long.
SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": f"{BUSY_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": KEEPALIVE_SECONDS,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "default_transaction_isolation": r"read\ committed",
    "jit": "off",
}
#: Raised by every writing transaction, and by each change that it makes: it never goes down.
STAMP = "select sum(value)::bigint from counters"
#: What is said while the database is away, and how long clients are told to wait, in seconds.
AWAY, RETRY_SECONDS = "The catalogue does not answer now. Try again in a moment.", 1
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
        # The connection used last has the pages in its cache; those of a burst keep what little they have.
        pool_use_lifo=True,
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
            connect_args=arguments(url),
            pool_size=SERVER_POOL_SIZE,
            max_overflow=SERVER_POOL_BURST,
            pool_timeout=BUSY_SECONDS,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_SECONDS,
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise CatalogueError(
            f"A PostgreSQL catalogue needs {error.name}: run `pip install 'psycopg[binary]'`."
        ) from error


def arguments(url: URL) -> dict[str, Any]:
    """How each connection to PostgreSQL is made, where its URL does not say otherwise.

    Nothing waits without an end: not for a connection, a lock, an answer, nor for a node that has gone.
    """
    given: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "pidex",
        "client_encoding": "utf8",
        "target_session_attrs": "read-write",  # of several hosts the one that is no standby
        "keepalives_idle": KEEPALIVE_SECONDS,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": ALIVE_SECONDS * 1000,
    }
    found = {name: value for name, value in given.items() if name not in url.query}
    said = url.query.get("options", "")
    own = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    # What the URL says comes last, and so counts.
    found["options"] = f"{own} {said if isinstance(said, str) else ' '.join(said)}".strip()
    return found
