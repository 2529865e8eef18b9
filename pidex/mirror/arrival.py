"""One file of an upstream on its way: fetched once for all who want it, checked before anybody has all."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from pidex.backends.cache import Cache, Reading
from pidex.backends.staging import StagedFile
from pidex.core.errors import PidexError, UpstreamDown, UpstreamFault
from pidex.core.interfaces import Upstream
from pidex.core.upstreams import UNKNOWN, UpstreamFile

#: Bytes that are written and hashed at once.
PIECE_BYTES = 256 * 1024
#: The last bytes of an answer: they wait until the hash is known to be right.
HOLD_BYTES = 256 * 1024
#: Seconds that a fetch goes on which nobody waits for any more: clients come back. A small rest is fetched.
LINGER_SECONDS, SMALL_BYTES = 5.0, 16 * 1024 * 1024
#: Times that a fetch which broke off goes on where it was without a byte gained meanwhile.
RESUMES = 2
#: Bytes of a file at most: 10 GiB is PyPI's own limit.
MAX_FILE_BYTES = 16 * 1024**3
#: The hashes that are believed, best first, where no SHA-256 is declared.
ALGORITHMS = ("sha512", "sha384", "sha3_512", "sha3_256", "blake2b", "sha224", "sha1", "md5")

log = logging.getLogger("pidex.mirror")


class Home(Protocol):
    """Where arrivals come to. `keep` is called with a whole and right one, `gone` once nobody may join it."""

    cache: Cache
    pool: Executor

    async def keep(self, arrival: Arrival) -> None: ...

    def gone(self, arrival: Arrival) -> None: ...


class Arrival:
    """A fetch. Everything runs on one event loop but for the disk and the hashes, which a thread does.

    Clients read what is there from the file it is written to, so a slow one slows nobody, and memory holds a
    piece of it. `size` is UNKNOWN until the upstream says. `sha256` is set once all is there and right.

    No answer is complete before that: of every span its last bytes are held back. So a range waits for the
    whole file where it could be had by a range of its own: those bytes could not be checked.
    """

    def __init__(self, file: UpstreamFile, expected: str, upstream: Upstream, home: Home) -> None:
        self.file, self.expected, self.size = file, expected, file.size
        self._upstream, self._home = upstream, home
        self.staged: StagedFile | None = None
        self.got = 0
        self.sha256 = ""
        self.error: PidexError | None = None
        self.ended = False
        self._users = 0
        self._moved = asyncio.Event()
        self._digests: dict[str, Any] = {"sha256": hashlib.sha256()}
        declared = dict(file.hashes)
        if not expected:
            best = next((name for name in ALGORITHMS if name in declared), None)
            if best is not None:
                self._digests[best] = hashlib.new(best, usedforsecurity=False)
        self._task = asyncio.ensure_future(self._run())
        self._timer: asyncio.TimerHandle | None = None

    # --- who reads ------------------------------------------------------------------------------------------

    def join(self) -> None:
        """One more waits for it."""
        self._users += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def leave(self) -> None:
        """One less. A fetch that nobody waits for ends soon, unless little is left of it."""
        self._users -= 1
        if self._users:
            return
        if self.ended:
            self._close()
        elif self.size == UNKNOWN or self.size - self.got > SMALL_BYTES:
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._abandon)

    async def measured(self) -> int:
        """The size, once the upstream has said it or all is there. Raises what the fetch raised."""
        while self.size == UNKNOWN:
            if self.error is not None:
                raise self.error
            await self._moved.wait()
        return self.size

    async def reach(self, offset: int, end: int) -> int:
        """Wait for more than `offset` of an answer that ends at `end`; up to where it may be sent.

        Raises what the fetch raised.
        """
        while True:
            if self.error is not None:
                raise self.error
            there = min(self.got, end) if self.sha256 else min(self.got, end - HOLD_BYTES)
            if there > offset:
                return there
            await self._moved.wait()

    async def finish(self) -> None:
        """Wait until it lies in the cache. Raises what the fetch raised."""
        while not self.ended:
            await self._moved.wait()
        if self.error is not None:
            raise self.error

    # --- the fetch ------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        self._timer = None
        if not self._users and not self.ended:
            self._home.gone(self)
            self._task.cancel()

    async def stop(self) -> None:
        """End it, wherever it is."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.staged = await loop.run_in_executor(
                self._home.pool, self._home.cache.stage, max(self.size, 0)
            )
            await self._fetch(self.staged)
            self._check()
            self.sha256 = str(self._digests["sha256"].hexdigest())
            self._tell()  # everybody may have the rest; the disk is waited for by nobody
            await self._home.keep(self)
        except PidexError as error:
            self.error = error
        except asyncio.CancelledError:
            self.error = UpstreamDown(f"Nobody waited for {self.file.filename}. Try again.", retry_after=1)
        except Exception as error:
            log.exception("Fetching %s failed.", self.file.filename)
            self.error = UpstreamFault(f"{self.file.filename} could not be fetched: {type(error).__name__}.")
        finally:
            await self._end()

    async def _end(self) -> None:
        self._home.gone(self)
        if isinstance(self.error, Mismatch) and self.staged is not None and self.got:
            put_away = partial(self._home.cache.quarantine, self.staged, self.file.filename)
            note = self._note(self.error)
            await asyncio.get_running_loop().run_in_executor(self._home.pool, put_away, note)
        self.ended = True
        self._tell()
        if not self._users:
            self._close()

    async def _fetch(self, staged: StagedFile) -> None:
        """All bytes, over as many connections as it takes while each brings some."""
        idle = 0
        while True:
            before = self.got
            try:
                await self._connection(staged)
                if self.size in (UNKNOWN, self.got):
                    self.size = self.got
                    return
                if self.got > self.size:
                    raise Mismatch(f"it is longer than {self.size:,} bytes")
                error: PidexError = UpstreamFault(
                    f"The upstream sent {self.got:,} of the {self.size:,} bytes of {self.file.filename}."
                )
            except UpstreamDown as down:
                error = down
            idle = 0 if self.got > before else idle + 1
            if idle >= RESUMES or not self.got:
                raise error

    async def _connection(self, staged: StagedFile) -> None:
        start = self.got
        async with self._upstream.download(self.file, offset=start) as transfer:
            whole = transfer.size if transfer.size != UNKNOWN else UNKNOWN
            if whole != UNKNOWN:
                if whole > MAX_FILE_BYTES:
                    raise UpstreamFault(
                        f"{self.file.filename} has {whole:,} bytes: too large to be mirrored."
                    )
                if self.size not in (UNKNOWN, whole):
                    raise Mismatch(f"it has {whole:,} bytes instead of {self.size:,}")
                self.size = whole
                self._tell()
            skip = start - transfer.offset
            if skip < 0:
                raise UpstreamFault(f"{self.file.filename}: the upstream sent another part than asked for.")
            await self._pour(transfer, staged, skip)

    async def _pour(self, transfer: Any, staged: StagedFile, skip: int) -> None:
        """Write what comes, in pieces. `skip`: bytes at its beginning that are here already."""
        pieces: list[bytes] = []
        waiting = 0
        try:
            async for data in transfer:
                fresh = data[skip:] if skip else data
                skip = max(0, skip - len(data))
                pieces.append(fresh)
                waiting += len(fresh)
                if waiting >= PIECE_BYTES:
                    pieces, full, waiting = [], pieces, 0
                    await self._write(staged, full)
        finally:
            if waiting:
                await self._write(staged, pieces)

    async def _write(self, staged: StagedFile, pieces: list[bytes]) -> None:
        def write() -> int:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            staged.write(data)
            for digest in self._digests.values():
                digest.update(data)
            return len(data)

        count = await asyncio.get_running_loop().run_in_executor(self._home.pool, write)
        self.got += count
        limit = self.size if self.size != UNKNOWN else MAX_FILE_BYTES
        if self.got > limit:
            raise Mismatch(f"it is longer than {limit:,} bytes")
        self._tell()

    def _check(self) -> None:
        """Raise `Mismatch` where the bytes are not those that the upstream declared."""
        declared = dict(self.file.hashes)
        if self.expected:
            declared["sha256"] = self.expected
        for name, digest in self._digests.items():
            if name in declared and digest.hexdigest() != declared[name]:
                raise Mismatch(f"its {name} is {digest.hexdigest()} instead of {declared[name]}")

    def _note(self, error: Mismatch) -> dict[str, object]:
        return {
            "filename": self.file.filename,
            "upstream": self._upstream.name,
            "declared": dict(self.file.hashes),
            "reason": error.reason,
        }

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _close(self) -> None:
        if self.staged is not None:
            self.staged.discard()


class Mismatch(UpstreamFault):
    """The bytes of a file are not those that were declared. `reason` says in which way."""

    code, title = "mismatch", "Upstream sent other bytes"

    def __init__(self, reason: str) -> None:
        super().__init__(f"What the upstream sent is not the file that it lists: {reason}. It was put away.")
        self.reason = reason


class Arriving(Reading):
    """An arrival as one answer reads it. The fetch begins with the first `reach`, so that HEAD is free."""

    def __init__(self, size: int, name: str, begin: Callable[[], Arrival]) -> None:
        super().__init__(-1, size, name)
        self._begin = begin
        self._arrival: Arrival | None = None

    @property
    def arrival(self) -> Arrival:
        """The fetch, which begins now."""
        if self._arrival is None:
            self._arrival = self._begin()
            self._arrival.join()
        return self._arrival

    async def reach(self, offset: int, end: int) -> int:
        """As `Arrival.reach`: ask before each read, and read no further."""
        arrival = self.arrival
        there = await arrival.reach(offset, end)
        if self.fd < 0:
            assert arrival.staged is not None
            self.fd = arrival.staged.fileno()
        return there

    def check(self, *, wait: bool = True) -> None:
        """Raise what the fetch raised."""
        if self._arrival is not None and self._arrival.error is not None:
            raise self._arrival.error

    def close(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            self.fd = -1
            arrival.leave()
