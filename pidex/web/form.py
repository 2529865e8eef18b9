"""One upload's form, read as it arrives: fields bounded and checked, the file on its way to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from pidex.core.errors import BadRequest, InvalidFile, TooLarge
from pidex.core.multipart import Event, PartData, PartStart
from pidex.core.uploads import UploadPolicy
from pidex.intake import Stage

#: Bytes of a file that are written in one piece, beside which the next ones are read.
BLOCK_BYTES = 1024 * 1024
#: Bytes of all fields together, beside the longest description.
FIELDS_BYTES = 4 * 1024 * 1024
#: Bytes of a detached signature.
SIGNATURE_BYTES = 64 * 1024

FILE, SIGNATURE = "content", "gpg_signature"
T = TypeVar("T")


class Lane:
    """Jobs for threads, one after the other: the order of a file's pieces, and the end of what holds it."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._last: Future[Any] | None = None
        self._later: list[Callable[[], object]] = []

    async def run(self, job: Callable[[], T]) -> T:
        """The outcome of a job, after what was begun before."""
        await self._ended()
        self._last = future = self._pool.submit(self._all(job))
        return await asyncio.wrap_future(future)

    async def begin(self, job: Callable[[], object]) -> None:
        """Start a job once the one before has ended; what it raises is raised by the next call."""
        await self._ended()
        self._last = self._pool.submit(self._all(job))

    def later(self, job: Callable[[], object]) -> None:
        """Have a job done just before the next one, in the same thread: each way to one costs time."""
        self._later.append(job)

    async def flush(self) -> None:
        """Start what was put off."""
        if self._later:
            await self.begin(self._later.pop())

    async def wait(self) -> None:
        """Wait for what was begun or put off; raises what it raised."""
        await self.flush()
        await self._ended()

    async def _ended(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            await asyncio.wrap_future(last)

    def _all(self, job: Callable[[], T]) -> Callable[[], T]:
        before, self._later = self._later, []
        if not before:
            return job

        def jobs() -> T:
            for each in before:
                each()
            return job()

        return jobs

    def finally_(self, close: Callable[[], None]) -> None:
        """Close something once no job uses it any more: now, or in the thread that still does."""
        if self._last is None:
            close()
        else:
            self._last.add_done_callback(lambda _: close())


class Body:
    """What a form said so far. `named` is called with each field as it ends, and may refuse.

    `stage` makes the file that the content goes to; it is called in a thread.
    """

    def __init__(
        self,
        lane: Lane,
        policy: UploadPolicy,
        stage: Callable[[], Stage],
        named: Callable[[str, str], Coroutine[Any, Any, None]],
    ) -> None:
        self._lane, self._policy, self._make, self._named = lane, policy, stage, named
        self.pairs: list[tuple[str, str]] = []
        self.filename: str | None = None
        self.signature: bytes | None = None
        self.stage: Stage | None = None
        #: Whether a file is wanted: other actions than uploads send some that nobody keeps.
        self.wanted = True
        self._part = ""
        self._data: list[bytes] = []
        self._size = self._total = 0

    async def take(self, event: Event) -> None:
        """The next event of the parser. Raises `BadRequest`, `InvalidFile` or `TooLarge`."""
        if isinstance(event, PartData):
            if self._part == FILE:
                await self._content(event.data)
            else:
                self._field(event.data)
        elif isinstance(event, PartStart):
            self._start(event)
        else:
            await self._end()

    def _start(self, part: PartStart) -> None:
        self._part, self._data, self._size = part.name, [], 0
        if part.name == FILE:
            if self.filename is not None:
                raise BadRequest("The form has more than one file: send each with a request of its own.")
            self.filename = part.filename or ""
            if (part.content_type or "").lower().startswith("image/"):
                raise InvalidFile("Invalid distribution file. Its part of the form says that it is an image.")
        elif part.filename is not None and part.name != SIGNATURE:
            raise BadRequest(f"{part.name}: Should not be a tuple.")  # UPL-4

    def _field(self, data: bytes) -> None:
        self._size += len(data)
        self._total += len(data)
        limit = self._policy.description_limit if self._part == "description" else self._policy.field_limit
        if self._part == SIGNATURE:
            limit = SIGNATURE_BYTES
        if self._size > limit:
            raise TooLarge(f"The field {self._part!r} of the form is longer than {limit:,} bytes.")
        if self._total > self._policy.description_limit + FIELDS_BYTES:
            raise TooLarge("The fields of the form are too long altogether.")
        self._data.append(data)

    async def _content(self, data: bytes) -> None:
        if not self.wanted:
            return
        self._data.append(data)
        self._size += len(data)
        if self._size >= BLOCK_BYTES:
            await self._lane.begin(self._writing())

    def _writing(self) -> Callable[[], None]:
        """A job that writes what has been gathered."""
        pieces, self._data, self._size = self._data, [], 0

        def write() -> None:
            if self.stage is None:
                self.stage = self._make()
            self.stage.write(b"".join(pieces))

        return write

    async def _end(self) -> None:
        if self._part == FILE:
            if self.wanted:
                self._lane.later(self._writing())
            return
        data, self._data = b"".join(self._data), []
        if self._part == SIGNATURE:
            self.signature = data or None
            return
        text = data.decode("utf-8", "replace")
        self.pairs.append((self._part, text))
        await self._named(self._part, text)

    def drop(self) -> None:
        """Let go of the file, once nobody writes to it."""

        def close() -> None:
            if self.stage is not None:
                self.stage.close()

        self._lane.finally_(close)
