"""Files: opened once and kept open, sent by the one loop that never lets changed bytes out."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

from pidex.core import ranges
from pidex.core.errors import Changing, PidexError
from pidex.core.interfaces import Handle
from pidex.core.model import File
from pidex.core.negotiation import etag_matches
from pidex.web.replies import SAFE, SHARED, Audience, Reply

#: Bytes read and sent at once; design chapter 4 has the measurements.
BLOCK_BYTES = 256 * 1024
#: What content-addressed URLs allow: the same URL never means other bytes (FIL-3).
IMMUTABLE = "max-age=31536000, immutable"

Message = dict[str, object]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, object]]]
#: Waits for bytes after an offset of an answer that ends somewhere; up to where they may be read.
Reach = Callable[[int, int], Awaitable[int]]


class OpenFile:
    """A listed file with its descriptor and its headers. Closed when nobody uses it and nobody keeps it.

    `private`: whether strangers may not have it. Mirrored ones: `until` is when its page is to be asked again
    whether it may be had (Unix time), and `reach` waits for bytes that are on their way.
    """

    __slots__ = (
        "_kept", "_users", "etag", "file", "handle", "index", "last_modified", "private", "reach", "until",
        "whole",
    )  # fmt: skip

    def __init__(
        self, index: str, file: File, handle: Handle, headers: Mapping[str, str], *, private: bool
    ) -> None:
        self.index, self.file, self.handle, self.private = index, file, handle, private
        self.etag = f'"{file.sha256 or file.blake2b_256}"'
        self.until: float | None = None
        self.reach: Reach | None = getattr(handle, "reach", None)
        self.last_modified = formatdate(file.upload_time // 1_000_000, usegmt=True)
        self._users, self._kept = 0, False
        always = {"etag": self.etag, "last-modified": self.last_modified, **headers}
        length = {"content-length": str(handle.size)}
        self.whole = Reply(200, (always | length).items())

    def __enter__(self) -> OpenFile:
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        self._close()

    def keep(self, kept: bool) -> None:
        """Whether the cache holds on to it."""
        self._kept = kept
        self._close()

    def small(self) -> bytes | None:
        """All bytes of a file of one block, where they are in memory and the admitted ones; else None."""
        handle = self.handle
        size = handle.size
        if size > BLOCK_BYTES:
            return None
        try:
            handle.check(wait=False)
            data = handle.read_cached(0, size)
            handle.check(wait=False)
        except (Changing, BlockingIOError):
            return None
        return data if data is not None and len(data) == size else None

    def unchanged(self, if_none_match: str | None, if_modified_since: str | None) -> bool:
        """Whether the caller has these bytes already (FIL-8)."""
        if if_none_match is not None:
            return etag_matches(if_none_match, self.etag)
        return if_modified_since is not None and if_modified_since.strip() == self.last_modified

    def _close(self) -> None:
        if not self._users and not self._kept:
            self.handle.close()


class OpenFiles:
    """Open files by path, the least recently used closed when there are more than `limit`. For one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._files: OrderedDict[str, OpenFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._files)

    def find(self, path: str) -> OpenFile | None:
        """The open file of a path."""
        found = self._files.get(path)
        if found is not None:
            self._files.move_to_end(path)
        return found

    def put(self, path: str, opened: OpenFile) -> None:
        """Keep a file open."""
        self.drop(path)
        opened.keep(True)
        self._files[path] = opened
        while len(self._files) > self._limit:
            self.drop(next(iter(self._files)))

    def drop(self, path: str, only: OpenFile | None = None) -> None:
        """Let go of the file of a path (only if it still is that one)."""
        found = self._files.get(path)
        if found is not None and (only is None or found is only):
            del self._files[path]
            found.keep(False)

    def drop_project(self, index: str | None, project: str | None) -> None:
        """Let go of a project's files; of an index's where `project` is None; of all where both are."""
        for path, opened in list(self._files.items()):
            if index is None or (opened.index == index and project in (None, opened.file.project)):
                self.drop(path)


def file_headers(cache_control: str | None, audience: Audience) -> dict[str, str]:
    """What every file's answer says beside what is its own (FIL-1 to FIL-3): data, never a page."""
    return {
        "content-type": "application/octet-stream",
        "accept-ranges": "bytes",
        "cache-control": audience.control(cache_control or f"public, {IMMUTABLE}"),
        "content-disposition": "attachment",
        **audience.vary(),
        **audience.shared,
        **SAFE,
    }


def answer(
    opened: OpenFile, headers: Mapping[str, str | None], *, head: bool
) -> tuple[Reply, tuple[int, int] | None]:
    """Status and headers for a request's conditions and Range (FIL-4), and which bytes go with them."""
    size = opened.handle.size
    if opened.unchanged(headers.get("if-none-match"), headers.get("if-modified-since")):
        keep = {"etag", "last-modified", "cache-control", "vary", *SHARED}
        return Reply(304, [(name, value) for name, value in opened.whole.headers if name in keep]), None
    wanted: ranges.Whole | ranges.Slice | ranges.Unsatisfiable = ranges.Whole()
    asked = headers.get("range")
    if asked is not None and ranges.applies(headers.get("if-range"), opened.etag, opened.last_modified):
        wanted = ranges.parse(asked, size)
    if isinstance(wanted, ranges.Whole):
        return opened.whole, None if head else (0, size)
    kept = [(name, value) for name, value in opened.whole.headers if name != "content-length"]
    span = ("content-range", wanted.content_range(size))
    if isinstance(wanted, ranges.Unsatisfiable):
        gone = [pair for pair in kept if pair[0] not in ("cache-control", "content-disposition")]
        return Reply(416, [*gone, ("cache-control", "no-store"), span, ("content-length", "0")]), None
    reply = Reply(206, [*kept, span, ("content-length", str(wanted.length))])
    return reply, None if head else (wanted.start, wanted.end)


async def check(handle: Handle, pool: Executor) -> None:
    """`handle.check()`, in a thread where it would have to hash. Raises `Changing`."""
    try:
        handle.check(wait=False)
    except BlockingIOError:
        await asyncio.get_running_loop().run_in_executor(pool, handle.check)


async def pump(
    opened: OpenFile, span: tuple[int, int], send: Send, receive: Receive, pool: Executor
) -> tuple[int, bool]:
    """Send the bytes of `span`, start and end, each block checked after it was read and before it goes out.

    Returns how many bytes went out, and whether that was all. Where the file changes, turns out not to be
    what its upstream declared, or the client goes, it returns without the last message, which cuts it off.
    """
    handle, reach = opened.handle, opened.reach
    loop = asyncio.get_running_loop()
    gone = asyncio.ensure_future(_disconnected(receive))
    start, end = span
    offset = start
    limit = end if reach is None else start
    try:
        while offset < end and not gone.done():
            if offset >= limit and reach is not None:
                limit = await _either(reach(offset, end), gone)
            length = min(BLOCK_BYTES, limit - offset)
            data = handle.read_cached(offset, length)
            if not data:
                data = await loop.run_in_executor(pool, handle.read, offset, length)
            await check(handle, pool)
            if not data:
                break
            offset += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": offset < end})
    except (PidexError, OSError, RuntimeError):
        return offset - start, False  # RuntimeError: the server's word for a connection that has gone
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await gone
    return offset - start, offset >= end


async def _either(reach: Awaitable[int], gone: asyncio.Future[None]) -> int:
    """What `reach` says. Raises `OSError` where the client goes first."""
    reaching = asyncio.ensure_future(reach)
    both: set[asyncio.Future[Any]] = {reaching, gone}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not reaching.done():
        reaching.cancel()
        raise OSError("the client has gone")
    return reaching.result()


def location(base: str, path: str) -> str:
    """A relative Location: `base` and a percent-encoded path, safe whatever the path holds."""
    return base + quote(path, safe="/!~")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
