"""Whether anything changed, asked on every request: a few microseconds, and which projects to forget."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from pidex.catalogue import indexes, journal
from pidex.catalogue.connections import AWAY, BUSY_SECONDS, RETRY_SECONDS, STAMP
from pidex.catalogue.refusals import translated
from pidex.core.errors import CatalogueError

if TYPE_CHECKING:
    from asyncio import Future

    from pidex.catalogue.groupread import GroupRead

#: More changes than this since the last question, and the answer is: everything.
MAX_CHANGES = 10_000

#: Seconds for which a stamp that was read for somebody else is as good as an own one: what one request takes.
FRESH_SECONDS = 1.0
#: Seconds for which what the leading probe of a thread saw is good enough for those that follow it.
LED_SECONDS = 0.005
_STAMP = text(STAMP)

Read = Callable[[], AbstractContextManager[Connection]]


class Probe:
    """Asks one catalogue for changes. Safe in threads; each has an own view of what it has been told."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def changed(self) -> bool:
        """Whether this thread may have missed a change since it last asked; True at its first question.

        True does not promise a change that a reader can see: ask `changes`.
        """
        raise NotImplementedError

    def changes(self, since: int) -> tuple[int, list[tuple[str, str]] | None]:
        """The newest serial, and the (index name, project) pairs touched after serial `since`, heirs' too.

        Project '' stands for rights, '*' for all pages of the index.
        None in place of the list: everything may have changed (more than MAX_CHANGES, or serials went back).
        """
        with self._read() as conn:
            newest = journal.serial(conn)
            if newest == since:
                return newest, []
            if newest < since or newest - since > MAX_CHANGES:
                return newest, None
            touched = journal.touched(conn, since)
            heirs = indexes.heirs(conn, {index for index, _ in touched})
            return newest, [*dict.fromkeys(_inherited(touched, heirs))]


def _inherited(
    touched: Iterable[tuple[str, str]], heirs: Mapping[str, frozenset[str]]
) -> Iterator[tuple[str, str]]:
    for index, project in touched:
        yield index, project
        for heir in heirs[index]:
            yield heir, project


class Lead(threading.local):
    """When the probe that leads in a thread has asked, and how often it was told of a change."""

    at, changes = float("-inf"), 0


class SqliteProbe(Probe):
    """Reads SQLite's own change counter on a raw connection: the one statement that bypasses SQLAlchemy.

    Where threads wait for each other, even that takes a millisecond at times. One that `follows` does not ask
    again where the one that leads did so just now in the same thread, for the same request, and saw nothing,
    and this process has written nothing since.
    """

    def __init__(self, path: Path, read: Read, board: Board, *, follows: bool = False) -> None:
        super().__init__(read)
        self._path, self._board, self._lead, self._follows = path, board, board.lead, follows
        self._uri = f"{path.absolute().as_uri()}?mode=rw"
        self._local = threading.local()

    def changed(self) -> bool:
        """See `Probe.changed`."""
        lead, local = self._lead, self._local
        if self._follows:
            known = lead.changes, self._board.writes
            if getattr(local, "led", None) == known and monotonic() - lead.at < LED_SECONDS:
                return False
            local.led = known
            return self._asked()
        changed = self._asked()
        lead.changes += changed
        lead.at = monotonic()
        return changed

    def _asked(self) -> bool:
        local = self._local
        try:
            # A process forked off must not use its parent's connection.
            if local.pid != os.getpid():
                raise AttributeError
            seen = local.execute("PRAGMA data_version").fetchone()[0]
        except (AttributeError, sqlite3.Error):
            self._connect()
            return True
        if seen == local.seen:
            return False
        local.seen = seen
        return True

    def _connect(self) -> None:
        local = self._local
        with suppress(AttributeError, sqlite3.Error):
            if local.pid == os.getpid():
                local.connection.close()
        with translated(str(self._path)):
            # Autocommit: an open transaction would freeze the counter.
            connection = sqlite3.connect(self._uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
            local.seen = connection.execute("PRAGMA data_version").fetchone()[0]
        local.connection, local.execute, local.pid = connection, connection.execute, os.getpid()


class Board:
    """What the probes of one catalogue share: the newest stamp that was read, when, and by which process."""

    __slots__ = ("at", "group", "lead", "pid", "stamp", "writes")

    def __init__(self) -> None:
        self.stamp, self.at, self.pid = 0, float("-inf"), 0
        #: Transactions that this process has written.
        self.writes = 0
        self.group: GroupRead | None = None
        self.lead = Lead()

    def post(self, stamp: int) -> None:
        """Note a stamp that was read just now."""
        self.stamp, self.at, self.pid = stamp, monotonic(), os.getpid()

    def check(self) -> None:
        """Raise `CatalogueError` while the group read knows that the database is away.

        A thread that asks itself may wait for an answer as long as the network does.
        """
        if self.group is not None and self.pid == os.getpid() and self.group.refuses:
            raise CatalogueError(AWAY, retry_after=RETRY_SECONDS)

    def close(self) -> None:
        """End the group read, if there is one."""
        if self.group is not None:
            self.group.close()
            self.group = None


class PostgresProbe(Probe):
    """Asks PostgreSQL for the sum of all counters, which each writing transaction raises.

    Whoever answers requests calls `ask` for each of them; then `changed` costs nothing for a moment.
    """

    def __init__(self, read: Read, board: Board, url: URL, name: str) -> None:
        super().__init__(read)
        self._board, self._url, self._name = board, url, name
        self._local = threading.local()

    def ask(self) -> Future[int]:
        """The stamp of a query that starts after this call, once for all who wait. For one event loop.

        It never goes down. What is awaited raises `CatalogueError` while the database does not answer.
        """
        group = self._board.group
        if group is None:
            from pidex.catalogue.groupread import GroupRead  # noqa: PLC0415  # only workers wait in groups

            group = self._board.group = GroupRead(self._url, self._name, self._board.post)
        return group.ask()

    def changed(self) -> bool:
        """See `Probe.changed`."""
        board = self._board
        if monotonic() - board.at >= FRESH_SECONDS or board.pid != os.getpid():
            with self._read() as conn:
                stamp = int(conn.execute(_STAMP).scalar_one())
        else:
            stamp = board.stamp
        now = stamp, board.writes
        if now == getattr(self._local, "seen", None):
            return False
        self._local.seen = now
        return True
