"""Pages of upstreams: held ones at once, fetched once for all who ask, confirmed in the background."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple
from urllib.parse import unquote

from pidex.catalogue.mirrored import PageRow, Store
from pidex.core import compatibility
from pidex.core.errors import PidexError, UpstreamDown, UpstreamFault
from pidex.core.interfaces import Clock, Unchanged, Upstream
from pidex.core.upstreams import Held, UpstreamFile, UpstreamPage, UpstreamSettings
from pidex.core.written import Written
from pidex.mirror import records
from pidex.mirror.connections import Connections

#: Seconds for which a held page that is just being confirmed counts as fresh.
RENEWING_SECONDS = 2.0
#: Seconds before a page whose upstream failed is asked for again, at first and at most.
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 2.0, 60.0
#: Failures that are remembered, in pages.
FAILURES = 10_000
#: Pages that are kept unpacked, and their bytes in all, by `_weight`.
UNPACKED_PAGES, UNPACKED_BYTES = 256, 10 * 1024 * 1024
#: Bytes of pages that have just come, and that nobody has looked at yet.
FRESH_BYTES = 48 * 1024 * 1024
#: Bytes that a file of a page takes that is not kept as it is written, and every page beside its files.
FILE_BYTES = 1_024
#: Seconds for which it is not looked again whether another process holds a page, or a newer one.
LOOKED_SECONDS = 1.0
#: Pages of which that is remembered.
LOOKED_PAGES = 1_024
#: A page is held on the loop where it has no more packed bytes and yanked files than these: in 0.3 ms.
QUICK_BYTES, QUICK_YANKS = 256 * 1024, 256
#: A page that was confirmed so lately, in seconds, is not asked for again, whatever a client wishes.
FORCED_SECONDS = 1.0
#: Files of a page that are asked for one by one where it lacks sizes and times, and seconds to wait for that.
DESCRIBED_FILES, DESCRIBING_SECONDS = 256, 2.0
#: Such questions at the same time.
DESCRIBING = 8
#: Seconds between two notes that an upstream is used.
NOTE_SECONDS = 3600.0

log = logging.getLogger("pidex.mirror")


class Failure(NamedTuple):
    """That a page could not be had. `until`: when it is worth trying again; `fetched`: of what is held."""

    error: PidexError
    until: float
    pause: float
    fetched: float | None


class HeldPages:
    """The sync half may be called from any thread; the async half runs on one loop at a time.

    `offline`: what is held is served, and nothing is asked for. `told` counts looks by outcome: 'held' and
    'stale'; and questions to upstreams: 'fetched', 'confirmed', 'absent', 'failed'.
    """

    def __init__(self, store: Store, connections: Connections, *, clock: Clock, offline: bool) -> None:
        self._store, self._connections = store, connections
        self._clock, self._offline = clock, offline
        self._lock = threading.Lock()
        self._unpacked: OrderedDict[tuple[str, str], tuple[bytes, UpstreamPage]] = OrderedDict()
        self._bytes = 0
        self._fresh: OrderedDict[tuple[str, str], tuple[bytes, UpstreamPage]] = OrderedDict()
        self._fresh_bytes = 0
        self.told: Counter[str] = Counter()
        self._noted: dict[str, float] = {}
        self._looked: dict[tuple[str, str], tuple[PageRow | None, float]] = {}
        self.failures: OrderedDict[tuple[str, str], Failure] = OrderedDict()
        self._flights: dict[tuple[str, str], asyncio.Task[None]] = {}
        #: Requires-Python by the keys of metadata that is still to be put into a page, and what does it.
        self._learnt: dict[tuple[str, str], dict[str, str]] = {}
        self._completing: dict[tuple[str, str], asyncio.Task[None]] = {}
        #: Called on the loop: with a page that has come, and with the project of one that says more by now.
        self.fetched: Callable[[str, UpstreamPage], None] = lambda _upstream, _page: None
        self.completed: Callable[[str], None] = lambda _project: None

    # --- from any thread ------------------------------------------------------------------------------------

    def find(self, upstream: str, project: str, *, confirm: bool = True, wait: bool = True) -> Held | None:
        """What is held; None: fetch it. Raises what a fetch of a page that is not held raised just now.

        Without `wait`, `BlockingIOError` where that has to be read from the disk.

        With `confirm`, a stale page is confirmed in the background, where there is a loop for that. That a
        project does not exist is never stale: it is forgotten.
        """
        now = self._clock()
        row = self._row(upstream, project, now, wait=wait)
        failure = self.failures.get((upstream, project))
        if failure is not None and failure.until <= now:
            failure = None
        if row is None or (row.digest is None and row.fresh_until <= now and not self._offline):
            if failure is not None:
                raise failure.error
            return None
        if row.digest is None:
            return Held(None, row.fetched, max(row.fresh_until, now + RENEWING_SECONDS))
        page = self._page(upstream, project, row.digest, wait=wait)
        if page is None:
            return None
        self.told["held" if row.fresh_until > now else "stale"] += 1
        if row.fresh_until > now:
            return Held(page, row.fetched, row.fresh_until)
        if failure is not None:
            return Held(page, row.fetched, failure.until)
        if self._offline:
            return Held(page, row.fetched, now + MAX_PAUSE_SECONDS)
        if confirm:
            self._connections.in_background(lambda: self.renew(upstream, project))
        return Held(page, row.fetched, now + RENEWING_SECONDS)

    def _row(self, upstream: str, project: str, now: float, *, wait: bool = True) -> PageRow | None:
        """What is held of a page, without its contents; as it was a moment ago, where it was looked at then.

        Who resolves looks at a page for each of its files. Where it turns out to have vanished, that is found
        out with its contents.
        """
        key = (upstream, project)
        before = self._looked.get(key)
        row, looked = before or (None, 0.0)
        if row is not None and 0 <= now - looked < LOOKED_SECONDS:
            return row
        if not wait:
            raise BlockingIOError
        row = self._store.find_page(upstream, project, body=False)
        if self._looked.get(key) is before:  # what came meanwhile is newer than what was read
            self._look(key, row, now)
        return row

    def _look(self, key: tuple[str, str], row: PageRow | None, now: float) -> None:
        if len(self._looked) >= LOOKED_PAGES:
            self._looked.clear()
        self._looked[key] = (row, now)

    def _is_missing(self, key: tuple[str, str], now: float) -> bool:
        """Whether somebody looked for a page a moment ago, and it was not there."""
        row, looked = self._looked.get(key, (None, -inf))
        return row is None and 0 <= now - looked < LOOKED_SECONDS

    def file(self, upstream: str, project: str, url: str, *, wait: bool = True) -> UpstreamFile | None:
        """A file of a held page as its upstream lists it. `wait` as for `find`."""
        row = self._row(upstream, project, self._clock(), wait=wait)
        if row is None or row.digest is None:
            return None
        page = self._page(upstream, project, row.digest, wait=wait)
        if page is None:
            return None
        files: Iterable[UpstreamFile | None] = page.files
        if isinstance(page.files, Written):
            files = [page.files.find(unquote(url.rpartition("/")[2]).casefold())]
        return next((file for file in files if file is not None and file.url == url), None)

    def age(self, upstream: str, project: str) -> int | None:
        """Seconds since a page was confirmed, where it is served because its upstream fails."""
        failure = self.failures.get((upstream, project))
        if failure is None or failure.fetched is None:
            return None
        return max(0, int(self._clock() - failure.fetched))

    def _page(self, upstream: str, project: str, digest: bytes, *, wait: bool = True) -> UpstreamPage | None:
        key = (upstream, project)
        with self._lock:
            self._look_at(key)
            known = self._unpacked.get(key)
            if known is not None and known[0] == digest:
                self._unpacked.move_to_end(key)
                return known[1]
        if not wait:
            raise BlockingIOError
        row = self._store.find_page(upstream, project)
        page = None if row is None or row.body is None else records.unpack(row.body)
        if page is None:
            # Damaged: as good as not there, and fetched again whole.
            self._looked.pop(key, None)
            self._store.drop_pages(upstream, project)
            return None
        assert row is not None
        self._remember(key, row.digest or digest, page)
        return page

    def _remember(self, key: tuple[str, str], digest: bytes, page: UpstreamPage) -> None:
        with self._lock:
            self._keep(key, digest, page)

    def _welcome(self, key: tuple[str, str], digest: bytes, page: UpstreamPage) -> None:
        """Keep a page that has come for who waits for it, however many others come at the same time."""
        with self._lock:
            self._look_at(key)
            self._fresh[key] = (digest, page)
            self._fresh_bytes += _weight(page)
            while len(self._fresh) > 1 and self._fresh_bytes > FRESH_BYTES:
                self._look_at(next(iter(self._fresh)))

    def _look_at(self, key: tuple[str, str]) -> None:
        """A page that has just come is from now on kept like others."""
        came = self._fresh.pop(key, None)
        if came is not None:
            self._fresh_bytes -= _weight(came[1])
            self._keep(key, *came)

    def _keep(self, key: tuple[str, str], digest: bytes, page: UpstreamPage) -> None:
        self._forget(key)
        self._unpacked[key] = (digest, page)
        self._bytes += _weight(page)
        while len(self._unpacked) > 1 and (
            len(self._unpacked) > UNPACKED_PAGES or self._bytes > UNPACKED_BYTES
        ):
            self._forget(next(iter(self._unpacked)))

    def _forget(self, key: tuple[str, str]) -> None:
        known = self._unpacked.pop(key, None)
        if known is not None:
            self._bytes -= _weight(known[1])

    # --- on the loop ----------------------------------------------------------------------------------------

    async def refresh(self, upstream: str, project: str, *, force: bool = False) -> None:
        """Have a page that is fresh: nothing is asked where it is, unless with `force`.

        Once for all who ask meanwhile. Raises `UpstreamDown` or `UpstreamFault` where nothing is held.
        """
        key = (upstream, project)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._refresh(upstream, project, force))
            flight.add_done_callback(lambda done: self._landed(key, done))
        await asyncio.shield(flight)

    async def learn(self, upstream: str, project: str, key: str, requires_python: str) -> None:
        """Have a held page say the Requires-Python of a wheel's metadata, which is held under a key.

        Where the upstream says one, that stays. A page that is on its way finds the metadata itself, or hears
        of it when it has come.
        """
        page = (upstream, project)
        self._learnt.setdefault(page, {})[key] = requires_python
        if page not in self._flights:
            await asyncio.shield(self._complete(page))

    def _complete(self, page: tuple[str, str]) -> asyncio.Task[None]:
        task = self._completing.get(page)
        if task is None:
            task = self._completing[page] = asyncio.ensure_future(self._completed(page))
            task.add_done_callback(lambda _: self._completing.pop(page))
        return task

    async def _completed(self, page: tuple[str, str]) -> None:
        while learnt := self._learnt.pop(page, None):
            if await self._connections.in_thread(self._put_learnt, page, learnt):
                self.completed(page[1])

    def _put_learnt(self, key: tuple[str, str], learnt: Mapping[str, str]) -> bool:
        """Put what was learnt into the page that is held; whether that changes it."""
        row = self._store.find_page(*key)
        page = None if row is None or row.body is None else records.unpack(row.body)
        if row is None or page is None:
            return False
        completed = records.completed(page, key[0], learnt)
        if completed is page:
            return False
        self._put(key, completed, row)
        return True

    async def renew(self, upstream: str, project: str) -> None:
        """Confirm a held page; that it fails is told by `failures`."""
        try:
            await self.refresh(upstream, project)
        except PidexError as error:
            log.debug("%s of %s is not confirmed: %s", project, upstream, error)

    def _landed(self, key: tuple[str, str], flight: asyncio.Task[None]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # whoever asked has seen it, or has gone
            if key in self._learnt:
                self._complete(key)

    async def _refresh(self, upstream: str, project: str, force: bool) -> None:
        in_thread = self._connections.in_thread
        if (upstream, project) in self._completing:
            await asyncio.wait([self._completing[upstream, project]])
        now = self._clock()

        def look() -> tuple[PageRow | None, UpstreamPage | None, UpstreamSettings | None]:
            row = self._store.find_page(upstream, project)
            if row is not None and (
                (row.fresh_until > now and not force) or 0 <= now - row.fetched < FORCED_SECONDS
            ):
                return row, None, None
            held = None if row is None or row.body is None else records.head(row.body)
            return row, held, None if self._offline else self._connections.settings(upstream)

        row, held, settings = None, None, self._connections.known(upstream)
        if self._offline or force or settings is None or not self._is_missing((upstream, project), now):
            row, held, settings = await in_thread(look)
        if settings is None:
            if row is not None:
                return
            raise UpstreamDown(f"{project} of {upstream} is not held, and nothing is fetched (offline).")
        try:
            client = self._connections.client(settings)
            told = await client.project(project, held)
        except (UpstreamDown, UpstreamFault) as error:
            self._failed(upstream, project, error, row)
            if row is None or row.digest is None:
                raise
            return
        self.failures.pop((upstream, project), None)
        self._looked.pop((upstream, project), None)
        now = self._clock()
        if now - self._noted.get(upstream, 0.0) > NOTE_SECONDS:
            self._noted[upstream] = now
            await in_thread(self._store.note_use, upstream, now)
        if isinstance(told, Unchanged):
            self.told["confirmed"] += 1
            await in_thread(self._store.confirm_page, upstream, project, now, now + settings.max_age)
        elif told is None:
            self.told["absent"] += 1
            seen = None if row is None else row.seen  # it may come back
            absent = PageRow(now, now + settings.absent_age, None, None, seen)
            self._store.put_page(upstream, project, absent)
            self._look((upstream, project), absent._replace(seen=None), now)
        else:
            self.told["fetched"] += 1
            self.fetched(upstream, told)
            await self._hold(client, told, row, settings.max_age)

    async def _hold(self, client: Upstream, told: UpstreamPage, row: PageRow | None, max_age: float) -> None:
        """Put a page that has come, with what is known of its files beside what it says."""
        in_thread, now = self._connections.in_thread, self._clock()
        files = told.files
        if (
            isinstance(files, Written)
            and len(files.yanked) <= QUICK_YANKS
            and len(files.packed or files.text) <= QUICK_BYTES
        ):
            before = records.unpack_sightings(None if row is None else row.seen)
            self._hold_as(client.name, told, records.sight(told, before, int(now * 1_000_000)), now, max_age)
            return

        def sight() -> tuple[records.Sightings, Sequence[UpstreamFile]]:
            before = records.unpack_sightings(None if row is None else row.seen)
            seen = records.sight(told, before, int(now * 1_000_000))
            vague = records.vague(told, seen)[-DESCRIBED_FILES:]
            if not vague:  # as of nearly all: then one turn in a thread does
                self._hold_as(client.name, told, seen, now, max_age)
            return seen, vague

        seen, vague = await in_thread(sight)
        if vague:
            described = records.described(seen, await self._describe(client, vague))
            await in_thread(self._hold_as, client.name, told, described, now, max_age)

    def _hold_as(
        self, upstream: str, told: UpstreamPage, seen: records.Sightings, now: float, max_age: float
    ) -> None:
        """Put a page with all that is known of its files."""
        mended = records.repaired(told, seen)
        lacking = records.lacking(mended, upstream)
        held = self._store.list_metadata([*lacking])
        pythons = {
            key: requires_python
            for key, data in held
            if lacking[key].metadata in (None, "", hashlib.sha256(data).hexdigest())
            and (requires_python := compatibility.required(data)) is not None
        }
        mended = records.completed(mended, upstream, pythons)
        row = PageRow(now, now + max_age, None, None, records.pack_sightings(seen))
        self._put((upstream, told.project), mended, row)

    def _put(self, key: tuple[str, str], page: UpstreamPage, row: PageRow) -> None:
        """Put a page in the place of what is held; `row` has what is known beside it."""
        digest, body = records.pack(page)
        row = row._replace(digest=digest, body=body)
        self._store.put_page(*key, row)
        self._welcome(key, digest, page)
        self._look(key, row._replace(body=None, seen=None), self._clock())

    async def _describe(self, client: Upstream, files: Sequence[UpstreamFile]) -> Sequence[UpstreamFile]:
        """The files with what their upstream says of each alone, as far as that comes in time."""
        free = asyncio.Semaphore(DESCRIBING)

        async def one(file: UpstreamFile) -> UpstreamFile:
            async with free:
                return await client.describe(file)

        tasks = [asyncio.ensure_future(one(file)) for file in files]
        done, late = await asyncio.wait(tasks, timeout=DESCRIBING_SECONDS)
        for task in late:
            task.cancel()
        return [task.result() for task in done if not task.cancelled() and task.exception() is None]

    def _failed(self, upstream: str, project: str, error: PidexError, row: PageRow | None) -> None:
        self.told["failed"] += 1
        key = (upstream, project)
        before = self.failures.pop(key, None)
        pause = PAUSE_SECONDS if before is None else min(2 * before.pause, MAX_PAUSE_SECONDS)
        held = None if row is None or row.digest is None else row.fetched
        self.failures[key] = Failure(error, self._clock() + pause, pause, held)
        while len(self.failures) > FAILURES:
            self.failures.popitem(last=False)
        log.warning("%s: %s%s", upstream, error, "" if held is None else " What is held is served.")


def _weight(page: UpstreamPage) -> int:
    """Bytes of memory that a page takes."""
    files = page.files
    if isinstance(files, Written):
        return FILE_BYTES + len(files.text) + len(files.packed or b"")
    return FILE_BYTES * (1 + len(files))
