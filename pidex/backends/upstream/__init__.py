"""Another index over HTTP: its pages, its metadata and its files, checked before anybody sees them."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime

import aiohttp
from msgspec import structs

from pidex.backends.upstream import links
from pidex.backends.upstream.bodies import METADATA_BYTES, NAMES_BYTES, PAGE_BYTES, Unpacking
from pidex.backends.upstream.requests import Requests, Told, trusted
from pidex.core import archives, names, passage, remotewheels, upstreampages
from pidex.core.answers import Body
from pidex.core.destinations import shown
from pidex.core.errors import BadName, NotFound, Unsound, UpstreamDown, UpstreamFault
from pidex.core.interfaces import Transfer, Unchanged
from pidex.core.upstreams import UNKNOWN, UpstreamFile, UpstreamPage, UpstreamSettings

_TYPE = "application/vnd.pypi.simple.v1"
ACCEPT = f"{_TYPE}+json, {_TYPE}+html; q=0.2, text/html; q=0.1, */*; q=0.01"
PAGE_HEADERS = {"Accept": ACCEPT, "Accept-Encoding": "gzip, deflate"}
#: Bodies of this many bytes, packed, are read beside the loop; smaller ones cost it less than a thread does.
BESIDE = 3 * 1024
#: Big pages that are read at the same time: more take more memory, and are not done sooner.
READING = 2
#: Seconds for a page from its first byte to its last, and for a list of names or a `.metadata`.
PAGE_SECONDS = 120.0
#: Files whose sizes and times are asked for at a time.
DESCRIBED_AT_ONCE = 8
#: Bytes of a wheel that is fetched whole for its metadata, where ranges are not understood.
SMALL_WHEEL = 1 << 20
#: Characters of a tag that is kept.
MAX_TAG = 500
#: The first lines of metadata as every tool writes them.
_HEAD = re.compile(
    rb"Metadata-Version: [0-9.]{1,9}\nName: ([A-Za-z0-9._-]{1,200})\n"
    rb"Version: ([A-Za-z0-9.!+]{1,200})\n(?![ \t])"
)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


def warm() -> None:
    """Have ready what the first request needs. From any thread."""
    trusted()


class HttpUpstream:
    """An index behind a URL (`Upstream`). `variables`: the environment's, for proxies; `log` takes a line.

    `clock` only runs forward; `told` hears of each request, `read` of each page of an index, in the thread
    that has read it. For one event loop.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        variables: Mapping[str, str] | None = None,
        log: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        told: Told = lambda _outcome, _seconds: None,
        read: Callable[[UpstreamPage], None] = lambda _: None,
    ) -> None:
        self._settings, self._log, self._read = settings, log, read
        self._requests = Requests(settings, variables=variables, clock=clock, told=told)
        self._root = settings.url.rstrip("/") + "/"
        self._kind = settings.kind
        if self._kind == "auto" and re.search(r"/\+?simple/\Z", self._root):
            self._kind = "simple"
        self._links = links.Links(self._requests, self._noted, settings.url, clock)
        self._reading = ThreadPoolExecutor(READING, "pidex-upstream")
        self._describing = asyncio.Semaphore(DESCRIBED_AT_ONCE)

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def shut(self) -> int:
        """How many of its servers are left alone now, because they do not answer. From any thread."""
        return self._requests.shut

    async def close(self) -> None:
        self._reading.shutdown(wait=False, cancel_futures=True)
        await self._requests.close()

    # Pages.

    async def project(
        self, project: str, held: UpstreamPage | None = None
    ) -> UpstreamPage | Unchanged | None:
        """See `Upstream`. An upstream of kind 'auto' is what its first answers show it to be."""
        if self._kind == "links":
            return await self._links.project(project, held)
        found = await self._page(f"{self._root}{project}/", project, held)
        if found is not None or self._kind == "simple":
            if found is not None:
                self._kind = "simple"
            return found
        below = await self._page(f"{self._root}simple/{project}/", project, held)
        if below is not None:
            self._root, self._kind = f"{self._root}simple/", "simple"
            return below
        if await self._links.is_list(project):
            self._kind = "links"
            return await self._links.project(project, held)
        return None

    async def names(self, etag: str | None = None) -> tuple[str | None, Iterable[str]] | Unchanged:
        """See `Upstream`. An index without a list of projects has no names."""
        if self._kind == "links":
            return None, await self._links.names()
        headers = PAGE_HEADERS | ({"If-None-Match": etag} if etag else {})
        async with self._requests.open("GET", self._root, headers) as response, asyncio.timeout(PAGE_SECONDS):
            if response.status == 304 and etag:
                return Unchanged()
            if response.status in (404, 405, 410):
                return None, ()
            body = await self._body(response, NAMES_BYTES)
            tag = _tag(response)
        return tag, await asyncio.to_thread(upstreampages.project_names, body)

    async def _page(
        self, url: str, project: str, held: UpstreamPage | None
    ) -> UpstreamPage | Unchanged | None:
        headers = PAGE_HEADERS | links.conditions(held)
        async with (
            self._requests.open("GET", url, headers, prompt=True) as response,
            asyncio.timeout(PAGE_SECONDS),
        ):
            if response.status == 304 and len(headers) > len(PAGE_HEADERS):
                return Unchanged()
            if response.status in (404, 410):
                return None
            _require_page(response)
            packed = await self._requests.packed(response, PAGE_BYTES)
            where, kind = str(response.url), response.headers.get("Content-Type", "")
            etag, modified = _tag(response), links.last_modified(response)
        notes = upstreampages.Notes()

        def read() -> UpstreamPage:
            body = Body(where, kind, packed.unpack())
            page = replace(upstreampages.page(project, body, notes), etag=etag, last_modified=modified)
            self._read(page)
            return page

        if packed.size > BESIDE:
            page = await asyncio.get_running_loop().run_in_executor(self._reading, read)
        else:
            page = read()
        self._noted(url, notes)
        return page

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> Body:
        _require_page(response)
        data = await self._requests.body(response, limit)
        return Body(str(response.url), response.headers.get("Content-Type", ""), data)

    def _noted(self, url: str, notes: upstreampages.Notes) -> None:
        if notes.count:
            more = f" ({notes.count} in all)" if notes.count > len(notes.lines) else ""
            self._log(f"upstream {self.name}: {shown(url)}: {'; '.join(notes.lines[:3])}{more}")

    # Files.

    async def describe(self, file: UpstreamFile) -> UpstreamFile:
        """See `Upstream`. What HEAD does not tell stays unknown."""
        if UNKNOWN not in (file.size, file.upload_time):
            return file
        async with self._describing:
            size, modified = await self._head(file)
        if file.size == UNKNOWN:
            file = structs.replace(file, size=size)
        if file.upload_time == UNKNOWN and modified != UNKNOWN:
            file = structs.replace(file, upload_time=modified, time_source="last-modified")
        return file

    async def _head(self, file: UpstreamFile) -> tuple[int, int]:
        async with self._requests.open("HEAD", file.url, {}) as response:
            if response.status == 200:
                return _length(response), _modified(response)
            if response.status not in (405, 501):
                return UNKNOWN, UNKNOWN
        async with self._requests.open("GET", file.url, {"Range": "bytes=0-0"}) as response:
            if response.status == 206:
                return _range(response)[2], _modified(response)
            return (_length(response), _modified(response)) if response.status == 200 else (UNKNOWN, UNKNOWN)

    @asynccontextmanager
    async def download(self, file: UpstreamFile, *, offset: int = 0) -> AsyncIterator[Transfer]:
        """See `Upstream`. The bytes are those of the file: a coding that nobody asked for is undone.

        `size` is that of the whole file. An end before it raises `UpstreamDown`, bytes beyond it
        `UpstreamFault`; whether they are the right ones is for whoever has all of them to say.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._requests.open("GET", file.url, headers) as response:
            if response.status in (404, 410):
                raise NotFound(f"Upstream {self.name} lists {file.filename} and does not have it.")
            if response.status == 206 and offset:
                start, _, size = _range(response)
                if start != offset:
                    raise UpstreamFault(f"The upstream sent another part of {file.filename} than asked for.")
            elif response.status == 200:
                start, size = 0, _length(response)
            else:
                raise UpstreamFault(f"{shown(file.url)} answers {response.status} for a file.")
            if UNKNOWN not in (file.size, size) and file.size != size:
                raise UpstreamFault(
                    f"{file.filename} has {size:,} bytes at the upstream, whose page says {file.size:,}."
                )
            yield Download(response, file, start, size)

    # Metadata.

    async def metadata(self, file: UpstreamFile) -> bytes:
        """See `Upstream`. Where a SHA-256 is announced, nothing else comes out."""
        if not file.filename.endswith(".whl"):
            raise NotFound(f"{file.filename} is no wheel: only wheels have metadata beside them.")
        trouble: UpstreamFault | None = None
        if file.metadata is not None:
            try:
                data = await self._sidecar(file)
                if data is not None:
                    return data
            except UpstreamFault as error:
                trouble = error
        try:
            data = await self._out_of_wheel(file)
            if file.metadata and hashlib.sha256(data).hexdigest() != file.metadata:
                raise UpstreamFault(f"The metadata in {file.filename} is not what the upstream announces.")
            return data
        except NotFound:
            if trouble is not None:
                raise trouble from None
            raise

    async def _sidecar(self, file: UpstreamFile) -> bytes | None:
        """`.metadata` beside the file; None where it is not there, `UpstreamFault` where it is another."""
        path, question, query = file.url.partition("?")
        url = f"{path}.metadata{question}{query}"
        headers = {"Accept-Encoding": "gzip, deflate"}
        async with (
            self._requests.open("GET", url, headers, prompt=True) as response,
            asyncio.timeout(PAGE_SECONDS),
        ):
            if response.status != 200:
                return None
            data = await self._requests.body(response, METADATA_BYTES)
        if file.metadata and hashlib.sha256(data).hexdigest() != file.metadata:
            raise UpstreamFault(f"The metadata of {file.filename} is not what the upstream announces.")
        return _agreed(data, file.filename)

    async def _out_of_wheel(self, file: UpstreamFile) -> bytes:
        """METADATA by ranges. `NotFound` where the upstream does not do them and the wheel is not small."""
        size, end, whole = await self._end(file)
        if whole:
            size = len(end)
        reading = remotewheels.reading(file.filename, size, end)
        try:
            offset, length = next(reading)
            while True:
                offset, length = reading.send(await self._part(file, offset, length, size))
        except StopIteration as done:
            return bytes(done.value)
        except (Unsound, BadName) as error:
            raise UpstreamFault(f"{file.filename} of upstream {self.name} is no wheel: {error}.") from None

    async def _end(self, file: UpstreamFile) -> tuple[int, bytes, bool]:
        """The size of a wheel and its last bytes, and whether that is all of it."""
        # A server that does not know this kind of range answers 416 or 501, or sends the whole.
        asked = {"Range": f"bytes=-{remotewheels.TAIL}"}
        async with self._requests.open("GET", file.url, asked) as response, asyncio.timeout(PAGE_SECONDS):
            if response.status == 206:
                start, end, size = _range(response)
                if end + 1 != size or not 0 <= size - start <= remotewheels.TAIL:
                    raise UpstreamFault(f"The upstream sent another part of {file.filename} than asked for.")
                return size, await self._exactly(response, size - start, file), False
            if response.status in (404, 410):
                raise NotFound(f"Upstream {self.name} lists {file.filename} and does not have it.")
            if response.status == 200:
                size = _length(response)
                if not 0 < size <= SMALL_WHEEL:
                    raise NotFound(f"Upstream {self.name} does not send parts of {file.filename}.")
                return size, await self._exactly(response, size, file), True
        size = file.size if file.size != UNKNOWN else (await self._head(file))[0]
        if size <= 0:
            raise NotFound(f"Upstream {self.name} does not send parts of {file.filename}.")
        length = min(size, remotewheels.TAIL)
        return size, await self._part(file, size - length, length, size), False

    async def _part(self, file: UpstreamFile, offset: int, length: int, size: int) -> bytes:
        asked = {"Range": f"bytes={offset}-{offset + length - 1}"}
        async with self._requests.open("GET", file.url, asked) as response, asyncio.timeout(PAGE_SECONDS):
            if response.status != 206:
                raise NotFound(f"Upstream {self.name} does not send parts of {file.filename}.")
            if _range(response) != (offset, offset + length - 1, size):
                raise UpstreamFault(f"The upstream sent another part of {file.filename} than asked for.")
            return await self._exactly(response, length, file)

    async def _exactly(self, response: aiohttp.ClientResponse, length: int, file: UpstreamFile) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UpstreamFault(f"The upstream packs parts of {file.filename}: they cannot be used.")
        data = await self._requests.body(response, length)
        if len(data) != length:
            raise UpstreamFault(f"The upstream sent {len(data):,} bytes of {file.filename} for {length:,}.")
        return data


class Download:
    """A file on its way (`Transfer`)."""

    def __init__(self, response: aiohttp.ClientResponse, file: UpstreamFile, offset: int, size: int) -> None:
        self.offset, self.size = offset, size
        self.last_modified = links.last_modified(response)
        self._response, self._file = response, file
        encoding = response.headers.get("Content-Encoding", "")
        # Apache says of a .tar.gz that it is a tar packed with gzip: its bytes are the file (FIL-2).
        if encoding and file.filename.endswith((".gz", ".tgz", ".bz2", ".xz")):
            encoding = ""
        self._unpacking = Unpacking(encoding, shown(file.url))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        expected = self.size if self.size != UNKNOWN else self._file.size
        left = expected - self.offset if expected != UNKNOWN else passage.MAX_SIZE
        async for data in self._response.content.iter_any():
            piece = self._unpacking.feed(data, min(left, len(data) * 1_100 + 4_096))
            left -= len(piece)
            yield piece
        if expected != UNKNOWN and left > 0:
            raise UpstreamDown(f"{self._file.filename} ended {left:,} bytes early.", retry_after=5)
        self._unpacking.finish()


def _require_page(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        raise UpstreamFault(f"{shown(str(response.url))} answers {response.status} for a page.")


def _agreed(data: bytes, filename: str) -> bytes:
    head = _HEAD.match(data)
    try:
        if head is not None and filename.endswith(".whl"):
            named = names.parse(filename)
            if names.normalize(head[1].decode()) == named.project and head[2].decode() == named.version:
                return data  # as nearly always: then it need not be taken apart
        return archives.agreed(data, filename)
    except (Unsound, BadName) as error:
        raise UpstreamFault(f"The metadata of {filename} is of something else: {error}.") from None


def _tag(response: aiohttp.ClientResponse) -> str | None:
    tag = response.headers.get("ETag", "")
    return tag if 0 < len(tag) <= MAX_TAG and tag.isprintable() else None


def _length(response: aiohttp.ClientResponse) -> int:
    """The size of a file by its answer; unknown where it comes packed."""
    text = response.headers.get("Content-Length", "")
    packed = response.headers.get("Content-Encoding", "identity") not in ("", "identity")
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) and not packed else UNKNOWN


def _range(response: aiohttp.ClientResponse) -> tuple[int, int, int]:
    """First byte, last byte and size by `Content-Range`."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None:
        raise UpstreamFault(f"{shown(str(response.url))} sends a part and does not say which.")
    first, last, size = map(int, match.groups())
    if not first <= last < size:
        raise UpstreamFault(f"{shown(str(response.url))} sends a part that cannot be.")
    return first, last, size


def _modified(response: aiohttp.ClientResponse) -> int:
    """Last-Modified in microseconds since 1970, or `UNKNOWN`."""
    try:
        return int(parsedate_to_datetime(response.headers["Last-Modified"]).timestamp()) * 1_000_000
    except (LookupError, ValueError, TypeError, OverflowError):
        return UNKNOWN
