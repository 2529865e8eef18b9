"""Files of upstreams: from the cache where they lie there, else on their way, once for all who ask."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

from pidex.backends.cache import Cache, Opened, Reading
from pidex.catalogue.mirrored import FileRow, Store
from pidex.core.errors import UpstreamDown
from pidex.core.interfaces import Clock
from pidex.core.model import NO_STAT, File, Stat
from pidex.core.upstreams import UNKNOWN, UpstreamFile
from pidex.mirror.arrival import Arrival, Arriving, Mismatch
from pidex.mirror.connections import Connections
from pidex.mirror.pages import HeldPages

#: Uses that are written at once, and the seconds after which fewer are.
USES, USE_SECONDS = 256, 30.0
#: Below which part of its limit the cache is brought once it is above.
EVICT_TO = 0.9
#: Seconds within which a file that was stored or used is not evicted: somebody may be at it.
YOUNG_SECONDS = 60.0

log = logging.getLogger("pidex.mirror")


class Evicted(NamedTuple):
    """What made room."""

    files: int
    bytes: int


class Files:
    """Bytes of mirrored files. Its async methods run on the loop of `connections`, the others may block.

    `told` counts by outcome: 'held', 'fetched', 'failed', 'wrong', and 'bytes' fetched.
    """

    def __init__(
        self, store: Store, cache: Cache, pages: HeldPages, connections: Connections, *, clock: Clock
    ) -> None:
        self._store, self.cache, self._pages, self._connections = store, cache, pages, connections
        self._clock = clock
        self.pool: Executor = connections.pool
        self.offline = False
        self.told: Counter[str] = Counter()
        self._arrivals: dict[str, Arrival] = {}
        self._asked: dict[Arrival, File] = {}
        self._uses: dict[str, float] = {}
        self._flushed = 0.0

    async def open(self, file: File) -> Reading:
        """The bytes of a mirrored file, its size known: an `Opened` one of the cache, else an `Arriving` one.

        Close it. Nothing is fetched before the first `reach`, but where nobody knows the size. Raises
        `UpstreamDown`, `UpstreamFault` and `NotFound` as the upstream does.
        """
        opened, sha256 = await self._connections.in_thread(self._open, file)
        if opened is not None:
            self.told["held"] += 1
            self._use(sha256)
            return opened
        key = sha256 or file.blake2b_256
        if self.offline:
            raise UpstreamDown(f"{file.filename} is not held, and nothing is fetched (offline).")
        if key not in self._arrivals:
            client, _ = await self._connections.find(file.origin)
            listed = await self._connections.in_thread(self._listed, file)
        else:
            client, listed = None, None

        def begin() -> Arrival:
            arrival = self._arrivals.get(key)
            if arrival is None:
                assert client is not None
                assert listed is not None
                arrival = self._arrivals[key] = Arrival(listed, sha256, client, self)
                self._asked[arrival] = file
            return arrival

        size = self._arrivals[key].size if key in self._arrivals else file.size
        arriving = Arriving(size, file.filename, begin)
        try:
            if client is None or size == UNKNOWN:
                arriving.size = await arriving.arrival.measured()
        except BaseException:
            arriving.close()
            raise
        return arriving

    async def fetch(self, file: File) -> Opened:
        """A mirrored file, whole and in the cache. As `open` otherwise."""
        reading = await self.open(file)
        if isinstance(reading, Opened):
            return reading
        assert isinstance(reading, Arriving)
        try:
            arrival = reading.arrival
            await arrival.finish()
            found = await self._connections.in_thread(self.cache.open, arrival.sha256, file.filename, None)
        finally:
            reading.close()
        if found is None:
            raise UpstreamDown(f"{file.filename} was dropped again just now. Try again.", retry_after=1)
        return found[0]

    def is_held(self, file: File) -> bool:
        """Whether the bytes of a mirrored file lie here."""
        sha256 = self._sha256(file)
        return bool(sha256) and self.cache.path(sha256).exists()

    # --- arrivals come to here ------------------------------------------------------------------------------

    async def keep(self, arrival: Arrival) -> None:
        """Have a whole, checked file lie in the cache, and say so."""
        await self._connections.in_thread(self._keep, arrival, self._asked.get(arrival))
        self.told["fetched"] += 1
        self.told["bytes"] += arrival.got

    def gone(self, arrival: Arrival) -> None:
        """It is not to be joined any more."""
        file = self._asked.pop(arrival, None)
        for key, each in list(self._arrivals.items()):
            if each is arrival:
                del self._arrivals[key]
        if file is None or arrival.error is None:
            return
        if isinstance(arrival.error, Mismatch):
            self.told["wrong"] += 1
            log.error("%s of upstream %s: %s", file.filename, file.origin, arrival.error)
        else:
            self.told["failed"] += 1
            log.warning("%s of upstream %s: %s", file.filename, file.origin, arrival.error)

    async def stop(self) -> None:
        """End what is on its way, and write what waits."""
        await asyncio.gather(*(arrival.stop() for arrival in [*self._arrivals.values()]))
        await self._connections.in_thread(self.flush)

    # --- in a thread ----------------------------------------------------------------------------------------

    def _open(self, file: File) -> tuple[Opened | None, str]:
        """The file in the cache, and the hash it has or must have ('' where nobody knows)."""
        sha256 = self._sha256(file)
        if not sha256:
            return None, ""
        row = self._store.find_file(sha256)
        known = None if row is None else _stat(row)
        found = self.cache.open(sha256, file.filename, known)
        if found is None:
            if row is not None:
                self._store.drop_files([sha256])
            return None, sha256
        opened, stat = found
        if known != NO_STAT._replace(size=stat.size, mtime_ns=stat.mtime_ns, inode=stat.inode):
            now = self._clock()
            stored = now if row is None else row.stored
            self._store.put_file(_row(sha256, stat, stored, now, file))
        return opened, sha256

    def _sha256(self, file: File) -> str:
        if file.sha256:
            return file.sha256
        learnt = self._store.find_learnt(file.blake2b_256)
        return "" if learnt is None else learnt[0]

    def _listed(self, file: File) -> UpstreamFile:
        """The file as its upstream's page has it."""
        found = self._pages.file(file.origin, file.project, file.url)
        return found or UpstreamFile(file.filename, file.url, file.hashes, file.size)

    def _keep(self, arrival: Arrival, file: File | None) -> None:
        assert arrival.staged is not None
        stat = self.cache.keep(arrival.staged, arrival.sha256)
        now = self._clock()
        if file is not None:
            self._store.put_file(_row(arrival.sha256, stat, now, now, file))
            if not file.sha256:
                self._store.put_learnt(file.blake2b_256, arrival.sha256, arrival.got)

    # --- uses and room --------------------------------------------------------------------------------------

    def _use(self, sha256: str) -> None:
        now = self._clock()
        self._uses[sha256] = now
        if len(self._uses) >= USES or now - self._flushed > USE_SECONDS:
            self._flushed = now
            self._connections.in_background(partial(self._connections.in_thread, self.flush))

    def flush(self) -> None:
        """Write when files were used."""
        uses, self._uses = self._uses, {}
        self._store.note_uses(uses)

    def settle(self) -> int:
        """Have a row for each file that lies here, and no other; how many files had none. For a start."""
        rows = {row.sha256: row for row in self._store.list_files()}
        missing = 0
        now = self._clock()
        for sha256, stat in self.cache.list():
            if rows.pop(sha256, None) is None:
                missing += 1
                # Nobody vouches for its bytes: they are read before they are served.
                self._store.put_file(FileRow(sha256, stat.size, 0, 0, now, now))
        self._store.drop_files(rows)
        return missing

    def evict(self, limit: int, age: float) -> Evicted:
        """Delete files that were not used for `age` seconds, and the ones unused for longest while all have
        more than `limit` bytes. Never anything but mirrored files.
        """
        now = self._clock()
        rows = self._store.list_files()
        total = sum(row.size for row in rows)
        goal = limit * EVICT_TO if total > limit else total
        gone: list[FileRow] = []
        for row in rows:
            old = now - row.used > age
            if not old and total <= goal:
                break
            if now - row.used < YOUNG_SECONDS:
                break
            gone.append(row)
            total -= row.size
        for row in gone:
            self.cache.delete(row.sha256)
        self._store.drop_files(row.sha256 for row in gone)
        return Evicted(len(gone), sum(row.size for row in gone))

    def wrong(self) -> Sequence[Mapping[str, Any]]:
        """The notes of files that were not what their upstream declared, newest first."""
        return self.cache.quarantined()


def _stat(row: FileRow) -> Stat | None:
    """The stat with which a file was last known to be right."""
    if not row.mtime_ns:
        return None
    return NO_STAT._replace(size=row.size, mtime_ns=row.mtime_ns, inode=row.inode)


def _row(sha256: str, stat: Stat, stored: float, used: float, file: File) -> FileRow:
    about = (file.origin, file.project, file.filename)
    return FileRow(sha256, stat.size, stat.mtime_ns, stat.inode, stored, used, *about)
