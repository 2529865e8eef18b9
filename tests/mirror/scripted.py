"""An upstream of the test's own: it says what it is told to, when it is told to, and counts the questions."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from pidex.catalogue.behind import Behind
from pidex.catalogue.expendable import Expendable
from pidex.core.errors import NotFound, PidexError
from pidex.core.interfaces import Inspector, Unchanged, Upstream
from pidex.core.model import File, PackageType
from pidex.core.upstreams import UNKNOWN, UpstreamFile, UpstreamPage, UpstreamSettings
from pidex.mirror import Mirror

NAME = "up"


class Clock:
    """Time, as the test has it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Flow:
    """The bytes of a file on their way. `gate`: waits before each piece after the first."""

    last_modified = None

    def __init__(self, data: bytes, offset: int, size: int, upstream: Scripted) -> None:
        self.data, self.offset, self.size, self._upstream = data, offset, size, upstream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        step = self._upstream.piece
        for number, at in enumerate(range(0, len(self.data), step)):
            if number:
                await self._upstream.gate.wait()
            if self._upstream.break_after is not None and at + self.offset >= self._upstream.break_after:
                self._upstream.break_after = None
                raise self._upstream.broken
            yield self.data[at : at + step]


class Scripted(Upstream):
    """`pages`: by project (None: none), `bodies`: by URL, `error`: raised instead of any answer."""

    def __init__(self) -> None:
        self.pages: dict[str, UpstreamPage] = {}
        self.bodies: dict[str, bytes] = {}
        self.metadatas: dict[str, bytes] = {}
        self.listed: list[str] = []
        self.told: dict[str, UpstreamFile] = {}
        self.error: PidexError | None = None
        self.broken: PidexError = NotFound("nothing")
        self.asked: Counter[str] = Counter()
        self.offsets: list[int] = []
        self.piece = 64 * 1024
        self.break_after: int | None = None
        self.ranges = True
        self.lie: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = 0

    @property
    def name(self) -> str:
        return NAME

    def _ask(self, what: str) -> None:
        self.asked[what] += 1
        if self.error is not None:
            raise self.error

    async def project(
        self, project: str, held: UpstreamPage | None = None
    ) -> UpstreamPage | Unchanged | None:
        self._ask(project)
        await asyncio.sleep(0)
        await self.gate.wait()
        page = self.pages.get(project)
        return Unchanged() if page is not None and held is not None and held.etag == page.etag else page

    async def names(self, etag: str | None = None) -> tuple[str | None, Iterable[str]] | Unchanged:
        self._ask("names")
        return Unchanged() if etag == "tag" else ("tag", self.listed)

    async def metadata(self, file: UpstreamFile) -> bytes:
        self._ask("metadata")
        await asyncio.sleep(0)
        if file.filename not in self.metadatas:
            raise NotFound("none")
        return self.metadatas[file.filename]

    async def describe(self, file: UpstreamFile) -> UpstreamFile:
        self._ask("describe")
        return self.told.get(file.filename, file)

    @asynccontextmanager
    async def download(self, file: UpstreamFile, *, offset: int = 0) -> AsyncIterator[Any]:
        self._ask("download")
        self.offsets.append(offset)
        if file.url not in self.bodies:
            raise NotFound(f"{file.filename} is not there")
        data = self.bodies[file.url]
        size = len(data) if self.lie is None else self.lie
        start = offset if self.ranges else 0
        yield Flow(data[start:], start, size, self)

    async def close(self) -> None:
        self.closed += 1

    # What it has.

    def page(self, project: str, *files: UpstreamFile, etag: str = "1") -> None:
        self.pages[project] = UpstreamPage(project, project, files, etag=etag)

    def file(self, filename: str, data: bytes, *, hashed: bool = True, **said: Any) -> File:
        """Have a file; as an index lists it."""
        url = f"http://up.example/{filename}"
        self.bodies[url] = data
        hashes = (("sha256", hashlib.sha256(data).hexdigest()),) if hashed else ()
        size = said.pop("size", len(data))
        project = filename.partition("-")[0]
        self.page(project, UpstreamFile(filename, url, hashes, size, 1, **said))
        return File(
            filename, project, project, "1.0", PackageType.WHEEL, "py3", dict(hashes).get("sha256", ""),
            hashlib.blake2b(url.encode(), digest_size=32).hexdigest(), "", size, 1, origin=NAME, url=url,
            hashes=hashes, announced=True,
        )  # fmt: skip


class Rig:
    """A mirror over a scripted upstream."""

    def __init__(self, place: Path, inspector: Callable[[], Inspector] | None = None) -> None:
        self.place, self.clock, self.upstream = place, Clock(), Scripted()
        self.expendable = Expendable(place / "cache.db")
        self.store = Behind(self.expendable)
        self.settings = UpstreamSettings(NAME, "http://up.example/")
        self.mirror = self.another(inspector=inspector)

    def another(self, *, offline: bool = False, inspector: Callable[[], Inspector] | None = None) -> Mirror:
        """Another mirror over the same files, as another process has one."""
        return Mirror(
            self.store,
            self.place / "mirror",
            settings=lambda name: self.settings if name == NAME else None,
            connect=lambda _: self.upstream,
            clock=self.clock,
            offline=offline,
            inspector=inspector,
        )


@contextmanager
def rigged(place: Path, inspector: Callable[[], Inspector] | None = None) -> Iterator[Rig]:
    """A rig for one test."""
    rig = Rig(place, inspector)
    try:
        yield rig
    finally:
        rig.mirror.close()
        rig.expendable.close()


def with_metadata(file: File, data: bytes) -> UpstreamFile:
    return UpstreamFile(file.filename, file.url, file.hashes, metadata=hashlib.sha256(data).hexdigest())


async def read(reading: Any, start: int = 0, end: int | None = None) -> bytes:
    """Read bytes as an answer is sent: never beyond what may be."""
    end = reading.size if end is None else end
    found = b""
    while start < end:
        limit = end if not hasattr(reading, "reach") else await reading.reach(start, end)
        assert start < limit <= end
        data = reading.read(start, limit - start)
        reading.check()
        found, start = found + data, start + len(data)
    return found


__all__ = ["NAME", "UNKNOWN", "Clock", "Rig", "Scripted", "read", "rigged", "with_metadata"]
