"""Upstreams that are one page of links, or a directory with one folder a project."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from pidex.backends.upstream.bodies import PAGE_BYTES
from pidex.backends.upstream.requests import Requests
from pidex.core import upstreampages
from pidex.core.answers import Body
from pidex.core.destinations import shown
from pidex.core.errors import UpstreamFault
from pidex.core.interfaces import Unchanged
from pidex.core.upstreams import UpstreamPage

#: Seconds for which the page of links answers for all its projects, and for which a look for one counts.
PAGE_AGE, LOOK_AGE = 10.0, 300.0
_HEADERS = {"Accept": "text/html, */*; q=0.1", "Accept-Encoding": "gzip, deflate"}

Noted = Callable[[str, upstreampages.Notes], None]


class Links:
    """The page at a URL, read at most once in `PAGE_AGE` seconds. For one event loop."""

    def __init__(self, requests: Requests, noted: Noted, url: str, clock: Callable[[], float]) -> None:
        self._requests, self._noted, self._clock = requests, noted, clock
        self._url = url
        self._lock = asyncio.Lock()
        self._read: upstreampages.Links | None = None
        self._tags: tuple[str | None, str | None] = (None, None)
        self._at: float | None = None
        self._looked: float | None = None

    async def is_list(self, project: str) -> bool:
        """Whether the page is one of files, or has a folder for a project under another spelling."""
        if self._looked is not None and self._clock() - self._looked < LOOK_AGE:
            return False
        self._looked = self._clock()
        try:
            found = await self._current()
        except UpstreamFault:
            return False
        return not found.simple and (bool(found.files) or project in found.folders)

    async def project(self, project: str, held: UpstreamPage | None) -> UpstreamPage | Unchanged | None:
        """As `Upstream.project`."""
        found = await self._current()
        etag, modified = self._tags
        folder = found.folders.get(project)
        if project not in found.files and folder is not None:
            return await self._folder(folder, project, held)
        files = found.files.get(project)
        if files is None:
            return None
        if held is not None and etag is not None and held.etag == etag:
            return Unchanged()
        return UpstreamPage(project, project, upstreampages.unique(files), etag=etag, last_modified=modified)

    async def names(self) -> list[str]:
        """The projects of the page, normalised."""
        found = await self._current()
        return sorted(found.files.keys() | found.folders.keys())

    async def _folder(
        self, url: str, project: str, held: UpstreamPage | None
    ) -> UpstreamPage | Unchanged | None:
        headers = _HEADERS | conditions(held)
        async with (
            self._requests.open("GET", url, headers, prompt=True) as response,
            asyncio.timeout(120),
        ):
            if response.status == 304 and len(headers) > len(_HEADERS):
                return Unchanged()
            if response.status in (404, 410):
                return None
            body = await self._body(response)
            etag, modified = response.headers.get("ETag"), last_modified(response)
        notes = upstreampages.Notes()
        read = await asyncio.to_thread(upstreampages.links, body, notes)
        self._noted(url, notes)
        files = upstreampages.unique(read.files.get(project, []))
        return UpstreamPage(project, project, files, etag=etag, last_modified=modified)

    async def _current(self) -> upstreampages.Links:
        async with self._lock:
            if self._read is not None and self._at is not None and self._clock() - self._at < PAGE_AGE:
                return self._read
            headers = dict(_HEADERS)
            if self._read is not None and self._tags[0]:
                headers["If-None-Match"] = self._tags[0]
            async with (
                self._requests.open("GET", self._url, headers, prompt=True) as response,
                asyncio.timeout(120),
            ):
                if response.status == 304 and self._read is not None:
                    self._at = self._clock()
                    return self._read
                body = await self._body(response)
                tags = (response.headers.get("ETag"), last_modified(response))
            notes = upstreampages.Notes()
            self._read = await asyncio.to_thread(upstreampages.links, body, notes)
            self._tags, self._at = tags, self._clock()
            self._noted(self._url, notes)
            return self._read

    async def _body(self, response: aiohttp.ClientResponse) -> Body:
        if response.status != 200:
            raise UpstreamFault(f"{shown(str(response.url))} answers {response.status} for a page of links.")
        data = await self._requests.body(response, PAGE_BYTES)
        return Body(str(response.url), response.headers.get("Content-Type", ""), data)


def conditions(held: UpstreamPage | None) -> dict[str, str]:
    """The headers that ask whether a held page still holds."""
    if held is None:
        return {}
    if held.etag:
        return {"If-None-Match": held.etag}
    return {"If-Modified-Since": held.last_modified} if held.last_modified else {}


def last_modified(response: aiohttp.ClientResponse) -> str | None:
    """The header as it came, where it can be sent back."""
    text = response.headers.get("Last-Modified", "")
    return text if 0 < len(text) <= 60 and text.isascii() and text.isprintable() else None
