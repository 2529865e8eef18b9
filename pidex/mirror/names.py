"""The name lists of upstreams: fetched once a day where an upstream is used, and compared with our own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pidex.catalogue.mirrored import Store
from pidex.core.errors import NotFound, UpstreamDown, UpstreamFault
from pidex.core.interfaces import Clock, Unchanged
from pidex.core.names import is_name, normalize
from pidex.mirror.connections import Connections

#: Seconds for which a list holds, and after which one that could not be had is tried again.
LIST_SECONDS, RETRY_SECONDS = 86_400.0, 3_600.0
#: Seconds after whose last use an upstream's list is let grow old.
UNUSED_SECONDS = 7 * 86_400.0

log = logging.getLogger("pidex.mirror")


class Refreshed(NamedTuple):
    """What became of a list: how many names it has, and whether it was fetched anew."""

    upstream: str
    names: int
    changed: bool


class Names:
    """For the process that runs the loops: others only read what is stored."""

    def __init__(self, store: Store, connections: Connections, *, clock: Clock) -> None:
        self._store, self._connections, self._clock = store, connections, clock
        self._tried: dict[str, float] = {}

    def due(self) -> Sequence[str]:
        """The upstreams whose list is missing or a day old, of those that were used in the last week."""
        now = self._clock()
        return [
            row.upstream
            for row in self._store.lists()
            if now - row.used < UNUSED_SECONDS
            and now - (row.fetched or 0.0) >= LIST_SECONDS
            and now - self._tried.get(row.upstream, 0.0) >= RETRY_SECONDS
        ]

    async def refresh(self, upstream: str) -> Refreshed | None:
        """Fetch a list where it changed; None where it cannot be had (an index need not have one)."""
        in_thread = self._connections.in_thread
        self._tried[upstream] = self._clock()
        rows = await in_thread(self._store.lists)
        row = next((row for row in rows if row.upstream == upstream), None)
        try:
            client, _ = await self._connections.find(upstream)
            told = await client.names(None if row is None else row.etag)
        except (UpstreamDown, UpstreamFault, NotFound) as error:
            log.info("The names of upstream %s cannot be had: %s", upstream, error)
            return None
        if isinstance(told, Unchanged):
            await in_thread(self._store.confirm_names, upstream, self._clock())
            return Refreshed(upstream, 0 if row is None else row.names, changed=False)
        etag, names = told
        count = await in_thread(self._put, upstream, names, etag)
        return Refreshed(upstream, count, changed=True)

    def _put(self, upstream: str, names: Iterable[str], etag: str | None) -> int:
        return self._store.put_names(upstream, _sorted(names), etag, self._clock())

    def exposed(self, own: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(upstream, name) for each of our own names that a stored list has."""
        lists = [row.upstream for row in self._store.lists() if row.names]
        for name in own:
            for upstream in lists:
                if self._store.has_name(upstream, name):
                    yield upstream, name


def _sorted(names: Iterable[str]) -> Iterable[str]:
    """Normalised, in order, each once, without what is no name."""
    last = ""
    for name in sorted(map(normalize, filter(is_name, names))):
        if name != last:
            yield name
        last = name
