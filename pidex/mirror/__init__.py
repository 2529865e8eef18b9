"""What upstreams say and have: each thing is fetched once, checked, and served when they fail."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pidex.backends.cache import Cache, Reading
from pidex.catalogue.behind import Behind
from pidex.catalogue.mirrored import FileRow
from pidex.core import compatibility
from pidex.core.errors import NotFetched, NotFound, PidexError, UpstreamDown
from pidex.core.interfaces import Clock, Inspector, Mirrored, Upstream
from pidex.core.model import Entry, File
from pidex.core.names import parse
from pidex.core.upstreams import Held, UpstreamFile, UpstreamSettings
from pidex.mirror import records
from pidex.mirror.ahead import Ahead, key_of
from pidex.mirror.arrival import Arriving
from pidex.mirror.connections import Connections
from pidex.mirror.files import Evicted, Files
from pidex.mirror.names import Names, Refreshed
from pidex.mirror.pages import HeldPages
from pidex.mirror.records import Sightings

#: Pages that one answer may have to wait for, one after the other.
MAX_WAITS = 64
#: Bytes of metadata that are kept in memory when they come.
CAME_BYTES = 4 * 1024 * 1024
#: Metadata that is fetched at once for who wants that of many files, and how long what cannot be had is left
#: alone, in seconds; files that are remembered for it.
AT_ONCE, VAIN_SECONDS, MOST_VAIN = 16, 300.0, 50_000

T = TypeVar("T")

__all__ = ["Arriving", "Evicted", "Mirror", "Reading", "Refreshed", "Sightings", "Totals"]


class Totals(NamedTuple):
    """What is held."""

    pages: int
    metadata: int
    files: int
    bytes: int
    wrong: int


class Mirror(Mirrored):
    """The sync methods may be called from any thread and may block; they never ask an upstream.

    The async ones run on one event loop at a time, which is also used for what goes on in the background.
    `settings(name)` says how an upstream is reached, `connect` makes its client, `inspector` looks into
    wheels whose metadata cannot be had otherwise. What is in `store` and below `folder` may vanish any time.
    """

    def __init__(
        self,
        store: Behind,
        folder: Path,
        *,
        settings: Callable[[str], UpstreamSettings | None],
        connect: Callable[[UpstreamSettings], Upstream],
        clock: Clock,
        inspector: Callable[[], Inspector] | None = None,
        offline: bool = False,
    ) -> None:
        self.store, self._clock, self._inspector, self.offline = store, clock, inspector, offline
        self._connections = Connections(settings, connect)
        self.pages = HeldPages(store, self._connections, clock=clock, offline=offline)
        self.files = Files(store, Cache(folder), self.pages, self._connections, clock=clock)
        self.files.offline = offline
        self.names = Names(store, self._connections, clock=clock)
        self._ahead = Ahead(self._fetch_ahead)
        self.pages.fetched = self._ahead.start
        self._metadata: dict[str, asyncio.Task[bytes]] = {}
        #: Metadata that came just now: installers ask for it at once.
        self._came: OrderedDict[str, bytes] = OrderedDict()
        #: Metadata that could not be had, and until when it is not asked for again by who wants all.
        self._vain: dict[str, float] = {}
        self._came_bytes = 0

    # --- for who resolves (core.interfaces.Mirrored) --------------------------------------------------------

    def find_page(
        self, upstream: str, project: str, *, confirm: bool = True, wait: bool = True
    ) -> Held | None:
        """What is held of a page; None: it was never asked for. Raises what asking raised just now.

        A stale page counts as fresh for two seconds: with `confirm`, it is confirmed meanwhile, where a loop
        runs. Without `wait`, `BlockingIOError` where the disk has to be asked.
        """
        return self.pages.find(upstream, project, confirm=confirm, wait=wait)

    def list_pages(self, upstream: str) -> Iterator[str]:
        """The projects of which a page is held, sorted."""
        return (project for _, project, _, there in self.store.list_pages(upstream) if there)

    def list_names(self, upstream: str) -> Iterator[str]:
        """The normalised names of the stored list, sorted."""
        return self.store.list_names(upstream)

    def has_name(self, upstream: str, project: str) -> bool:
        """Whether the stored list, or a held page, has the project."""
        row = self.store.find_page(upstream, project, body=False)
        return (row is not None and row.digest is not None) or self.store.has_name(upstream, project)

    def find_metadata(self, file: File, *, wait: bool = True) -> bytes | None:
        """The core metadata of a mirrored file, where it is held.

        Without `wait`, None also where it is on its way, `BlockingIOError` where the disk has to be asked.
        """
        key = _key(file)
        data = self._came.get(key)
        if data is None:
            if not wait:
                if key in self._ahead or key in self._metadata:
                    return None
                raise BlockingIOError
            data = self.store.find_metadata(key)
        # The upstream may announce another one by now.
        return data if data is not None and _is_announced(file, data) else None

    def unmet(self, files: Sequence[File]) -> Sequence[File]:
        """Those of mirrored files whose metadata is not held, and may be had."""
        now = self._clock()
        return [
            file
            for file in files
            if self._vain.get(_key(file), 0.0) <= now and self.find_metadata(file) is None
        ]

    def sightings(self, upstream: str, project: str) -> Sightings:
        """When files and yanks were first seen, of those files of which the page does not say it."""
        row = self.store.find_page(upstream, project)
        return records.unpack_sightings(None if row is None else row.seen)

    def yanked_since(self, upstream: str, project: str) -> Mapping[str, int]:
        """When each yanked file of a page was first seen yanked, in microseconds since 1970, by its name."""
        found = self.sightings(upstream, project)
        return {name: each.yanked for name, each in found.items() if each.yanked}

    def age(self, upstream: str, project: str) -> int | None:
        """Seconds since a page was confirmed, where it is served because its upstream fails; else None."""
        return self.pages.age(upstream, project)

    # --- for who can wait -----------------------------------------------------------------------------------

    async def refresh(self, upstream: str, project: str, *, force: bool = False) -> None:
        """Have a fresh page, fetched once for all who ask; with `force` it is asked for though it is fresh.

        Raises `UpstreamDown` or `UpstreamFault` where nothing is held and it cannot be had.
        """
        await self.pages.refresh(upstream, project, force=force)

    async def open(self, file: File) -> Reading:
        """The bytes of a mirrored file: those of the cache, or `Arriving`, which `reach` waits for."""
        return await self.files.open(file)

    async def metadata(self, file: File, *, missing: bool = False) -> bytes:
        """The core metadata of a mirrored wheel: held, else fetched once for all who ask, checked and held.

        `NotFound` where there is none even in the whole wheel. `missing`: the caller looked for a held one.
        """
        key = _key(file)
        # First: what is no longer on its way is held.
        found = await self._ahead.find(key)
        if found is not None and _is_announced(file, found):
            return found
        if not missing:
            found = await self._connections.in_thread(self.find_metadata, file)
            if found is not None:
                return found
        flight = self._metadata.get(key)
        if flight is None:
            flight = self._metadata[key] = asyncio.ensure_future(self._fetch_metadata(file, key))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def provide(self, missing: NotFetched) -> None:
        """Fetch what a resolver lacked, so that it can be asked again."""
        if missing.files:
            await self._try_all(missing.files)
        elif missing.file is not None:
            await self.metadata(missing.file, missing=True)
        else:
            await self.refresh(missing.upstream, missing.project)

    async def resolved(self, function: Callable[[], T]) -> T:
        """Call `function`, which resolves and may block, in a thread, and fetch what it lacks."""
        for _ in range(MAX_WAITS):
            try:
                return await self._connections.in_thread(function)
            except NotFetched as missing:
                await self.provide(missing)
        raise UpstreamDown(
            "What is fetched cannot be held: see whether the data directory can be written to."
        )

    def settle(self, function: Callable[[], T]) -> T:
        """As `resolved`, for who has no event loop: a command."""
        return self.run(lambda: self.resolved(function))

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run something on a loop of its own, and let go of the upstreams: for who has no event loop."""

        async def main() -> T:
            try:
                return await work()
            finally:
                await self.stop()

        return asyncio.run(main())

    async def stop(self) -> None:
        """End what is on its way and let go of the upstreams; they are connected to again when used."""
        self._ahead.stop()
        for task in list(self._metadata.values()):
            task.cancel()
        await self.files.stop()
        await self._connections.in_thread(self.store.flush)
        await self._connections.close()

    def close(self) -> None:
        """Write what waits, end the threads."""
        self.store.flush()
        self._connections.pool.shutdown(wait=False, cancel_futures=True)

    def _landed(self, key: str, flight: asyncio.Task[bytes]) -> None:
        del self._metadata[key]
        if not flight.cancelled():
            flight.exception()

    async def _fetch_metadata(self, file: File, key: str) -> bytes:
        if self.offline and not await self._connections.in_thread(self.files.is_held, file):
            raise UpstreamDown(f"The metadata of {file.filename} is not held (offline).")
        data: bytes | None = None
        if not self.offline:
            client, _ = await self._connections.find(file.origin)
            try:
                listed = self._listed(file, wait=False)
            except BlockingIOError:
                listed = await self._connections.in_thread(self._listed, file)
            with suppress(NotFound):
                data = await client.metadata(listed)
        if data is None:
            data = await self._from_wheel(file)
        self._hold(key, data)
        if not file.requires_python:
            await self._learn(file.origin, file.project, key, data)
        return data

    async def _try_all(self, files: Sequence[File]) -> None:
        """Fetch the metadata of files, some at once. What cannot be had is left alone for a while."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def attempt(file: File) -> None:
            async with turns:
                try:
                    await self.metadata(file, missing=True)
                except PidexError:
                    self._vain[_key(file)] = self._clock() + VAIN_SECONDS

        await asyncio.gather(*map(attempt, files))
        while len(self._vain) > MOST_VAIN:
            del self._vain[next(iter(self._vain))]

    async def _fetch_ahead(self, upstream: str, file: UpstreamFile) -> bytes:
        client, _ = await self._connections.find(upstream)
        data = await client.metadata(file)
        key = key_of(upstream, file)
        self._hold(key, data)
        if not file.requires_python:
            await self._learn(upstream, parse(file.filename).project, key, data)
        return data

    async def _learn(self, upstream: str, project: str, key: str, data: bytes) -> None:
        """Have the page say what metadata says of Pythons and the page does not."""
        requires_python = compatibility.required(data)
        if requires_python is not None:
            await self.pages.learn(upstream, project, key, requires_python)

    def _hold(self, key: str, data: bytes) -> None:
        """Hold metadata that has come. On the loop: it is written later."""
        self.store.put_metadata(key, data, self._clock())
        self._came_bytes += len(data) - len(self._came.pop(key, b""))
        self._came[key] = data
        while self._came_bytes > CAME_BYTES and len(self._came) > 1:
            self._came_bytes -= len(self._came.popitem(last=False)[1])

    def _listed(self, file: File, *, wait: bool = True) -> UpstreamFile:
        found = self.pages.file(file.origin, file.project, file.url, wait=wait)
        if found is not None:
            return found
        return UpstreamFile(file.filename, file.url, file.hashes, file.size, metadata=file.metadata_sha256)

    async def _from_wheel(self, file: File) -> bytes:
        """The metadata out of the whole wheel, which an inspector looks into."""
        if self._inspector is None or not file.filename.endswith(".whl"):
            raise NotFound(f"{file.filename} has no metadata that can be had on its own.")
        inspector = self._inspector()
        opened = await self.files.fetch(file)
        try:
            entry = Entry(0, file.filename, opened.stat)
            look = await self._connections.in_thread(inspector.examine, opened.fd, entry, "none")
        finally:
            opened.close()
        if look.facts is None or look.facts.metadata is None:
            raise NotFound(f"There is no readable METADATA in {file.filename}.")
        return look.facts.metadata

    # --- for who runs it ------------------------------------------------------------------------------------

    def totals(self) -> Totals:
        """How much is held, and how many files were put away."""
        return Totals(*self.store.totals(), len(self.files.wrong()))

    def list_files(self) -> Sequence[FileRow]:
        """The files that lie here, unused for longest first."""
        return self.store.list_files()

    def forget(self, project: str) -> tuple[int, int]:
        """Drop what is held of a project, of whichever upstream: how many files, and how many pages."""
        files = [row.sha256 for row in self.store.list_files() if row.project == project]
        for sha256 in files:
            self.files.cache.delete(sha256)
        self.store.drop_files(files)
        upstreams = [upstream for upstream, name, _, _ in self.store.list_pages() if name == project]
        return len(files), sum(self.store.drop_pages(upstream, project) for upstream in upstreams)

    def failing(self) -> Mapping[str, str]:
        """The upstreams of which a page could not be had just now in this process, with what was said."""
        now = self._clock()
        failures = list(self.pages.failures.items())
        return {upstream: str(failure.error) for (upstream, _), failure in failures if failure.until > now}


def _key(file: File) -> str:
    """Under what metadata is held. What one upstream says of a wheel is not believed of another's."""
    return f"{file.origin}/{file.blake2b_256}"


def _is_announced(file: File, data: bytes) -> bool:
    """Whether metadata is what the upstream announces of a file, where it says which that is."""
    return file.metadata_sha256 in (None, hashlib.sha256(data).hexdigest())
