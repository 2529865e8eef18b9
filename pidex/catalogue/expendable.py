"""What may be lost at any time (cache.db): wishes of workers, uses of tokens, and what upstreams said."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    delete,
    exc,
    func,
    select,
    text,
    true,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL

from pidex.catalogue import connections

#: The tables below, by number: those of a file with another number are dropped and made anew.
VERSION = 6
#: Wishes that wait at most. One more is dropped: a scan reads everything in the end.
MAX_WANTED = 1_000
#: Tokens whose last use is known at most; the ones unused for longest go first.
MAX_USES = 10_000
#: How long a writer waits for another, in seconds. Then it gives up: nothing in here is worth more.
BUSY_SECONDS = 2.0

metadata = MetaData()

#: Projects to be read before others, oldest wish first. An empty project stands for the whole index.
wanted = Table(
    "wanted",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("index_name", Text, nullable=False),
    Column("project", Text, nullable=False),
    UniqueConstraint("index_name", "project"),
)

#: When a token (by number) was last used, in microseconds since 1970.
uses = Table(
    "uses",
    metadata,
    Column("token_id", Integer, primary_key=True),
    Column("at", Integer, nullable=False),
)

#: What upstreams said of projects (`catalogue.mirrored`). Times in Unix seconds. `digest` None: no such
#: project. `seen`: when files and yanks were first seen there; `body` and `seen` are compressed.
upstream_pages = Table(
    "upstream_pages",
    metadata,
    Column("upstream", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("fetched", Float, nullable=False),
    Column("fresh_until", Float, nullable=False),
    Column("digest", LargeBinary),
    Column("body", LargeBinary),
    Column("seen", LargeBinary),
)

#: The name lists of upstreams, in blocks of sorted names: one is looked up by its first name.
upstream_names = Table(
    "upstream_names",
    metadata,
    Column("upstream", Text, primary_key=True),
    Column("first", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: Which lists there are. `used`: when the upstream was last asked for anything.
upstream_lists = Table(
    "upstream_lists",
    metadata,
    Column("upstream", Text, primary_key=True),
    Column("used", Float, nullable=False),
    Column("etag", Text),
    Column("fetched", Float),
    Column("names", Integer, nullable=False, server_default="0"),
)

#: Core metadata of mirrored wheels, compressed, by upstream and file.
upstream_metadata = Table(
    "upstream_metadata",
    metadata,
    Column("key", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

#: Files of upstreams that are held (their bytes lie beside the catalogue), and when they were last used.
cached_files = Table(
    "cached_files",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("stored", Float, nullable=False),
    Column("used", Float, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Index("ix_cached_files_used", "used"),
)

#: The hash that a file of an upstream without hashes had when it was first fetched, by the hash of its URL.
learnt_hashes = Table(
    "learnt_hashes",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
)

#: Downloads that are still to be added to the sums in the catalogue (`catalogue.downloads`).
counted = Table(
    "counted",
    metadata,
    Column("index_name", Text, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("filename", Text, primary_key=True),
    Column("client", Text, primary_key=True),
    Column("python", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("number", Integer, nullable=False),
    sqlite_with_rowid=False,
)

_ANY = select(wanted.c.number).limit(1)
_COUNT = select(func.count()).select_from(wanted)
_TAKE = delete(wanted).returning(wanted.c.number, wanted.c.index_name, wanted.c.project)

_USES = select(uses.c.token_id, uses.c.at)
_OLD = select(uses.c.token_id).order_by(uses.c.at.desc()).offset(MAX_USES)

Result = TypeVar("Result")


class Expendable:
    """A file beside the catalogue that may vanish, be damaged or be deleted at any moment, also while in use.

    Safe in threads and in several processes. No method raises for what the file is like: a wish is lost then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._identity: tuple[int, ...] | None = None

    def want(self, index: str, project: str | None = None) -> None:
        """Ask that a project's files be read before others; without one, that all folders be scanned."""

        def put(conn: Connection) -> None:
            if int(conn.execute(_COUNT).scalar_one()) < MAX_WANTED or project is None:
                wish = insert(wanted).values(index_name=index, project=project or "")
                conn.execute(wish.on_conflict_do_nothing())

        self.run(put, None, write=True)

    def take_wanted(self, index: str | None = None) -> Sequence[tuple[str, str | None]]:
        """The wishes since the last call, oldest first: (index, project), None for a whole scan.

        `index`: only those about it.
        """
        mine = true() if index is None else wanted.c.index_name == index
        if not self.run(lambda conn: conn.execute(_ANY.where(mine)).first() is not None, False):
            return []

        def take(conn: Connection) -> Sequence[tuple[int, str, str]]:
            found = conn.execute(_TAKE.where(mine))
            return sorted((number, name, project) for number, name, project in found)

        nothing: Sequence[tuple[int, str, str]] = ()
        taken = self.run(take, nothing, write=True)
        return [(name, project or None) for _, name, project in taken]

    def note_use(self, token_id: int, at: int) -> None:
        """Remember that a token was used at a time (microseconds since 1970)."""

        def put(conn: Connection) -> None:
            use = insert(uses).values(token_id=token_id, at=at)
            conn.execute(use.on_conflict_do_update(index_elements=["token_id"], set_={"at": at}))
            conn.execute(delete(uses).where(uses.c.token_id.in_(_OLD)))

        self.run(put, None, write=True)

    def uses(self) -> Mapping[int, int]:
        """When each token was last used (microseconds since 1970), as far as is known."""
        nothing: Mapping[int, int] = {}
        return self.run(lambda conn: {int(token): int(at) for token, at in conn.execute(_USES)}, nothing)

    def close(self) -> None:
        """Close the file. It is opened again if it is used again."""
        with self._lock:
            self._close()

    def run(self, work: Callable[[Connection], Result], otherwise: Result, *, write: bool = False) -> Result:
        """What `work` returns, in one transaction; `otherwise` where the file cannot be used."""
        with self._lock, suppress(exc.DBAPIError, exc.TimeoutError, sqlite3.Error, OSError):
            for attempt in range(2):
                try:
                    engine = self._opened()
                    if write:
                        engine = engine.execution_options(pidex_begin="BEGIN IMMEDIATE")
                    with engine.begin() as conn:
                        return work(conn)
                except (exc.DBAPIError, sqlite3.Error) as error:
                    if attempt or _is_busy(error):
                        raise
                    self._remove()
        return otherwise

    def _opened(self) -> Engine:
        """The engine over the file that is there now."""
        if self._engine is not None and self._identity == self._there():
            return self._engine
        self._close()
        url = URL.create("sqlite", database=str(self.path))
        engine = connections.sqlite(url, synchronous="NORMAL", busy_seconds=BUSY_SECONDS)
        self._engine = engine
        if not self.path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with engine.execution_options(pidex_begin="BEGIN IMMEDIATE").begin() as conn:
            if conn.execute(text("PRAGMA user_version")).scalar_one() != VERSION:
                old = MetaData()
                old.reflect(conn)
                old.drop_all(conn)
                metadata.create_all(conn)
                conn.execute(text(f"PRAGMA user_version={VERSION}"))
        self._identity = self._there()
        return engine

    def _there(self) -> tuple[int, ...] | None:
        """Which file lies at the path: a process that has a deleted file open would speak to itself alone."""
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return os.getpid(), stat.st_dev, stat.st_ino

    def _close(self) -> None:
        if self._engine is not None:
            # A forked child leaves its parent's connections alone.
            ours = self._identity is None or self._identity[0] == os.getpid()
            self._engine.dispose(close=ours)
        self._engine = self._identity = None

    def _remove(self) -> None:
        self._close()
        for end in ("", "-wal", "-shm", "-journal"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)


def _is_busy(error: Exception) -> bool:
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return getattr(cause, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
