"""The group read of a PostgreSQL catalogue: one query tells all who wait whether anything changed."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL

from pidex.catalogue.connections import AWAY, RETRY_SECONDS, STAMP, arguments
from pidex.core.errors import CatalogueError

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

#: Seconds in which the query has to be answered.
ANSWER_SECONDS = 3.0
#: Seconds between two tries to reach a database that is away: doubling from the first to the second.
REST_SECONDS = (0.1, 1.0)
#: Seconds after a failure in which nobody else in this process tries.
REFUSED_SECONDS = 1.5

_NAME = b"pidex_stamp"

log = logging.getLogger("pidex.catalogue")


class GroupRead:
    """Reads the catalogue's stamp on a connection of its own. For the thread of one event loop.

    The rule: whoever asks gets the answer of a query that starts after they asked. One query is under way at
    a time, and the next one serves all who came meanwhile, so that a loaded worker asks once for dozens of
    requests. While the database is away everybody is refused at once, but for those who ask first after each
    rest. The connection is driven by the event loop: no thread, no pool, no transaction.
    """

    def __init__(self, url: URL, name: str, post: Callable[[int], None]) -> None:
        self._url, self._name, self._post = url, name, post
        self._link: PGconn | None = None
        self._socket = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: list[Future[int]] = []  # for the next query
        self._answered: list[Future[int]] = []  # for the one under way
        self._busy = False
        self._rest, self._rested, self._failed = REST_SECONDS[0], 0.0, 0.0
        self._away: float | None = None  # since when
        self._alarm: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._last = self._lost = 0

    def ask(self) -> Future[int]:
        """The stamp of a query that starts after this call. See `PostgresProbe.ask`."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._asked.append(future)
        if not self._busy:
            self._busy = True
            # Who asks in this same turn of the loop is served by the same query.
            loop.call_soon(self._begin)
        return future

    @property
    def refuses(self) -> bool:
        """Whether the database was away a moment ago, or is being reached: others need not wait for it."""
        return self._away is not None and (
            self._connecting is not None or monotonic() < self._failed + REFUSED_SECONDS
        )

    def close(self) -> None:
        """Let the connection go; who waits is refused."""
        if self._connecting is not None:
            self._connecting.cancel()
        self._drop()
        self._refuse(CatalogueError(f"The catalogue {self._name} was closed.", retry_after=RETRY_SECONDS))

    # --- one query ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._answered += self._asked
        self._asked = []
        if self._link is None:
            self._connect()
            return
        self._send()

    def _send(self) -> None:
        link, loop = self._link, self._loop
        assert link is not None
        assert loop is not None
        try:
            link.send_query_prepared(_NAME, [])
            link.flush()  # some dozen bytes, which a socket that answered the last query takes
        except Exception as error:
            self._fail(error)
            return
        if self._alarm is None:
            self._alarm = loop.call_later(ANSWER_SECONDS, self._late)
        self._sent = monotonic()

    def _ready(self) -> None:
        """The socket has something to read."""
        link = self._link
        if link is None:
            return
        try:
            link.consume_input()
            if link.is_busy():
                return
            result = link.get_result()
            if result is None:
                if self._busy and self._answered:
                    raise ConnectionError("no answer")
                return
            while link.get_result() is not None:
                pass
            value = None if result.nfields != 1 or result.ntuples != 1 else result.get_value(0, 0)
            if value is None:
                raise ConnectionError(
                    result.error_message.decode("utf-8", "replace").strip() or "no counters"
                )
            stamp = int(value)
        except Exception as error:
            self._fail(error)
            return
        self._tell(stamp)

    def _tell(self, stamp: int) -> None:
        self._post(stamp)
        if stamp + self._lost < self._last:  # a database that was put back: what was told never goes down
            self._lost = self._last + 1 - stamp
        self._last = stamp + self._lost
        waiting, self._answered = self._answered, []
        for future in waiting:
            if not future.done():
                future.set_result(self._last)
        self._next()

    def _next(self) -> None:
        if self._asked:
            self._begin()
        else:
            self._busy = False

    # --- while it is away -----------------------------------------------------------------------------------

    def _late(self) -> None:
        """Called now and then while questions are asked, instead of a timer for each of them."""
        self._alarm = None
        if self._link is None or not self._busy or self._loop is None:
            return
        left = self._sent + ANSWER_SECONDS - monotonic()
        if left > 0:
            self._alarm = self._loop.call_later(left, self._late)
        else:
            self._fail(TimeoutError(f"no answer within {ANSWER_SECONDS:g} s"))

    def _fail(self, error: Exception) -> None:
        """A connection that was there is lost: all who wait are served by a new one, where it can be had."""
        self._drop()
        self._note(error)
        self._connect()

    def _connect(self) -> None:
        if self._connecting is not None:
            return
        if monotonic() < self._rested:
            self._refuse(self._refusal())
            self._next()
            return
        assert self._loop is not None
        self._busy = True
        self._connecting = self._loop.create_task(self._connected())

    async def _connected(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            link = await loop.run_in_executor(None, self._open)
        except Exception as error:
            self._connecting = None
            self._note(error)
            self._rested = monotonic() + self._rest
            self._rest = min(self._rest * 2, REST_SECONDS[1])
            self._refuse(self._refusal())
            self._next()
            return
        self._connecting = None
        self._link, self._socket, self._rest, self._rested = link, link.socket, REST_SECONDS[0], 0.0
        loop.add_reader(self._socket, self._ready)
        if self._away is not None:
            log.warning("The catalogue %s is back after %.1f s.", self._name, monotonic() - self._away)
            self._away = None
        self._answered += self._asked  # who came while it was being reached
        self._asked = []
        self._send()

    def _open(self) -> PGconn:
        """A new connection, with the query prepared. Blocks."""
        import psycopg  # noqa: PLC0415  # an extra

        given: dict[str, Any] = {**arguments(self._url), "application_name": "pidex group read"}
        words = self._url.set(drivername="postgresql", query={
            name: value for name, value in self._url.query.items() if name != "options"
        })  # fmt: skip
        connection = psycopg.connect(words.render_as_string(hide_password=False), autocommit=True, **given)
        link = connection.pgconn
        link.prepare(_NAME, STAMP.encode())
        link.nonblocking = 1
        self._kept = connection  # closed with it, not when it is collected
        return link

    def _note(self, error: Exception) -> None:
        self._failed = monotonic()
        if self._away is None:
            self._away = monotonic()
            log.error("The catalogue %s does not answer: %s", self._name, str(error).strip())

    def _refusal(self) -> CatalogueError:
        return CatalogueError(AWAY, retry_after=RETRY_SECONDS)

    def _refuse(self, error: CatalogueError) -> None:
        waiting, self._answered, self._asked = [*self._answered, *self._asked], [], []
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # who asked may have gone

    def _drop(self) -> None:
        if self._link is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self._link = None
        with suppress(Exception):
            self._kept.close()
