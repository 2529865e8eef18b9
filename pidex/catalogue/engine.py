"""The catalogue: one database, opened, checked, migrated, read in snapshots and written one at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine, exc, select, text
from sqlalchemy.engine import URL, make_url

import pidex
from pidex.catalogue import connections, moves, requirements, schema, seals, snapshots
from pidex.catalogue.probe import Board, PostgresProbe, Probe, SqliteProbe
from pidex.catalogue.refusals import damaged, translated
from pidex.catalogue.tables import metadata
from pidex.core.errors import CatalogueError

# Services name the type of a connection without importing SQLAlchemy, whose home is here.
__all__ = ["Catalogue", "Connection", "address_of"]

#: One migration at a time: any fixed number that nothing else in the database uses.
_MIGRATION_LOCK = 7_095_339

#: The writer's turn on PostgreSQL: the row of the serial is locked, and that something was written is noted.
_TAKE_TURN = text(
    "with turn as (select value from counters where name = 'serial' for update)"
    " insert into counters (name, value) select 'writes', 1 from turn"
    " on conflict (name) do update set value = counters.value + 1"
)


class Catalogue:
    """A pool of connections to one catalogue. Safe to use from threads, and from several processes at once.

    `path` is the file of a SQLite catalogue and None for PostgreSQL.
    """

    def __init__(self, url: URL) -> None:
        self.path = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        self._url = url
        self._engine = connections.sqlite(url) if self.path is not None else connections.postgresql(url)
        self._reader: Engine
        self._writer: Engine
        self._beside: Engine
        if self.path is not None:
            self._reader = self._engine
            self._writer = self._engine.execution_options(pidex_begin="BEGIN IMMEDIATE")
            seals.install(self._engine)
        else:
            self._reader = self._engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            self._writer = self._engine
            self._beside = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._pid = os.getpid()
        self._board = Board()

    @classmethod
    def open(
        cls, url_or_path: str | Path, *, create: bool = True, clock: Callable[[], float] = time.time
    ) -> Self:
        """Open a catalogue by its file or `postgresql://` URL.

        `create` makes a missing one and migrates an older one (the main process and commands that hold
        the data directory, after a snapshot); without it both are refused, and nothing is written.
        Raises `CatalogueError`: missing, corrupt, made by a newer pidex, or no catalogue at all.
        """
        catalogue = cls(address_of(url_or_path))
        try:
            catalogue._ready(create, clock)
        except BaseException:
            catalogue.close()
            raise
        return catalogue

    @property
    def dialect(self) -> str:
        """'sqlite' or 'postgresql'."""
        return self._engine.dialect.name

    @property
    def name(self) -> str:
        """What messages call this catalogue: its file, or its URL without the password."""
        if self.path is not None:
            return str(self.path)
        return self._url.set(drivername="postgresql").render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one consistent state from its first statement to the end of the block."""
        with translated(self.name), self._here(self._reader).connect() as conn, conn.begin():
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The writing transaction: committed at the end of the block, undone by an exception.

        There is one at a time, on both engines and over all processes, so serials taken inside become
        visible in their order (SER-1). Keep the block short: others wait `connections.BUSY_SECONDS` at most.
        Raises `Moving` while the installation goes to another place, and once it has.
        """
        with self.steer() as conn:
            moves.check(conn)
            yield conn

    @contextmanager
    def steer(self) -> Iterator[Connection]:
        """As `write`, whatever is said of a move: for who moves, and for rows that stay here."""
        with translated(self.name), self._here(self._writer).begin() as conn:
            if self.path is None:
                conn.execute(_TAKE_TURN)
            yield conn
        self._board.writes += 1

    @contextmanager
    def beside(self) -> Iterator[Connection]:
        """A connection for rows of which no answer is made: leases, and counted guesses.

        Each statement is a transaction of its own. Writers in their turn do not wait for it, nor it for them.
        On SQLite it is `steer`.
        """
        if self.path is not None:
            with self.steer() as conn:
                yield conn
            return
        with translated(self.name), self._here(self._beside).begin() as conn:
            yield conn

    @contextmanager
    def derive(self) -> Iterator[Connection]:
        """A transaction over rows beside the catalogue that can be made again from it, on PostgreSQL.

        It takes no turn: writers do not wait for it, and no cache hears of it.
        """
        with translated(self.name), self._here(self._writer).begin() as conn:
            yield conn

    @contextmanager
    def fill(self) -> Iterator[Connection]:
        """The writing transaction of who fills an empty catalogue: it lasts, and who fills it seals it."""
        writer = self._here(self._writer).execution_options(pidex_unsealed=True)
        with translated(self.name), writer.begin() as conn:
            if self.path is None:
                conn.execute(_TAKE_TURN)
            yield conn
        self._board.writes += 1

    def probe(self, *, follows: bool = False) -> Probe:
        """A change probe for this process; one that `follows` may leave it to others in the same thread."""
        if self.path is not None:
            return SqliteProbe(self.path, self.read, self._board, follows=follows)
        return PostgresProbe(self.read, self._board, self._url, self.name)

    def close(self) -> None:
        """Close all pooled connections. The catalogue opens new ones if it is used again."""
        self._board.close()
        self._engine.dispose()

    def _here(self, engine: Engine) -> Engine:
        self._board.check()
        # A forked child must not speak on its parent's connections.
        if self._pid != os.getpid():
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        return engine

    def _ready(self, create: bool, clock: Callable[[], float]) -> None:
        if self.path is not None:
            self._prepare_file(self.path, create)
        with self.read() as conn:
            if self.path is None and create:
                requirements.check(conn, self.name)
            found = schema.stored(conn)
            if found == schema.REVISION:
                _touch_tables(conn)
                if create and moves.arriving(conn) is not None:
                    raise CatalogueError(
                        f"The catalogue {self.name} is not all there yet: `pidex migrate` is filling it."
                        " Let that come to its end, or run it again."
                    )
                return
            if found is None and schema.tables(conn):
                raise CatalogueError(
                    f"{self.name} is a database, but not a pidex catalogue. Name another data directory."
                )
            if found is not None and not schema.is_known(found):
                made_by = schema.program(conn) or "an unknown version"
                raise CatalogueError(
                    f"The catalogue {self.name} was made by a newer pidex ({made_by}, tables {found}); "
                    f"this is pidex {pidex.__version__} (tables {schema.REVISION}). Run the newer pidex."
                )
        if not create:
            what = "is empty" if found is None else f"still has the tables of an older pidex ({found})"
            raise CatalogueError(f"The catalogue {self.name} {what}. Start `pidex serve` to make it ready.")
        if found is not None and self.path is not None:
            snapshots.take(self.path, snapshots.folder_of(self.path), clock(), why="migration")
        self._migrate()

    def _prepare_file(self, path: Path, create: bool) -> None:
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            if not create:
                raise CatalogueError(f"There is no catalogue {path}. Start `pidex serve` first.") from None
            try:
                # Later revisions hold password hashes and tokens: for the owner's eyes only.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise CatalogueError(f"The catalogue {path} cannot be made: {error.strerror}.") from error
            return
        except OSError as error:
            raise CatalogueError(f"The catalogue {path} cannot be opened: {error.strerror}.") from error
        # SQLite takes an empty file for a new database. With snapshots beside it, it is a lost one.
        if size == 0 and snapshots.list(snapshots.folder_of(path)):
            raise damaged(str(path), "it is empty")

    def _migrate(self) -> None:
        writer = self._writer.execution_options(pidex_unsealed=True)
        with translated(self.name), writer.begin() as conn:
            if self.path is None:
                # Another node may be at it, for as long as that takes.
                conn.execute(text("set local lock_timeout = 0"))
                conn.execute(text("set local statement_timeout = 0"))
                conn.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            if schema.stored(conn) != schema.REVISION:  # another process may have been first
                schema.migrate(conn)
        # Statements prepared before, and what SQLite's planner read when it connected, are of the old tables.
        self._engine.dispose()


def address_of(url_or_path: str | Path) -> URL:
    """Where a catalogue is, as a URL for SQLAlchemy. Raises `CatalogueError` where it names nothing known."""
    if isinstance(url_or_path, str) and "://" in url_or_path:
        try:
            url = make_url(url_or_path)
        except exc.ArgumentError:
            raise CatalogueError(
                "The catalogue's URL cannot be read: use postgresql://user@host/db."
            ) from None
        if url.get_backend_name() == "sqlite":
            return URL.create("sqlite", database=str(url.database))
        if url.get_backend_name() not in ("postgresql", "postgres"):
            raise CatalogueError(
                f"No catalogue can be kept in {url.drivername}: use a file or postgresql://."
            )
        return url.set(drivername="postgresql+psycopg")
    return URL.create("sqlite", database=str(url_or_path))


def _touch_tables(conn: Connection) -> None:
    """Read the first and the last row of each table: cheap at any size, and it meets most damage.

    A cut-off file, an overwritten start and a broken table root are seen here. A flipped bit deep inside is
    found by the check of the daily snapshot.
    """
    if conn.dialect.name != "sqlite":
        return
    for table in metadata.sorted_tables:
        keys = [*table.primary_key]
        conn.execute(select(table).order_by(*keys).limit(1)).all()
        conn.execute(select(table).order_by(*(key.desc() for key in keys)).limit(1)).all()
