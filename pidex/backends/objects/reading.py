"""Objects fetched once for all who read them: handed on as they come, checked, and kept within a limit."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pidex.backends.cache import Cache, Opened
from pidex.backends.objects.bucket import Bucket
from pidex.backends.staging import StagedFile
from pidex.core.errors import Changing, PidexError, StorageDown
from pidex.core.interfaces import Handle
from pidex.core.model import Stat

#: Objects fetched at once by one process; more wait.
FETCHES = 8
#: Files of the cache whose hash this process remembers to have checked.
REMEMBERED_FILES = 65_536
#: Where the cache is too full, so much of its limit is left.
LEFT = 0.9
#: What a client is told to wait, in seconds, where bytes are not the right ones.
RETRY_SECONDS = 5
#: Seconds between two looks of somebody who waits in a thread.
WAIT_SECONDS = 30.0
#: How often an object is fetched that others drop from the cache at once.
TRIES = 3


class Fetch:
    """One object on its way: its bytes so far, and who waits for more. The last byte waits for the check."""

    def __init__(self, sha256: str, size: int, name: str, staged: StagedFile) -> None:
        self.sha256, self.size, self.name, self.staged = sha256, size, name, staged
        self._written = 0
        self._whole = False
        self._error: PidexError | None = None
        self._changed = threading.Condition()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def advance(self, written: int, *, whole: bool = False, error: PidexError | None = None) -> None:
        """Tell those who wait how far it is."""
        with self._changed:
            self._written, self._whole, self._error = written, whole, error
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for loop, future in waiting:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_resolve, future)

    @property
    def whole(self) -> bool:
        """Whether all of it is there, and right."""
        return self._whole

    def ready(self) -> int:
        """Up to where bytes may be read. Raises what the fetch ended with."""
        if self._error is not None:
            raise type(self._error)(str(self._error), retry_after=self._error.retry_after)
        return self.size if self._whole else max(0, min(self._written, self.size - 1))

    def wait(self, end: int) -> int:
        """Block until bytes up to `end` may be read; up to where they may."""
        with self._changed:
            while (ready := self.ready()) < end:
                self._changed.wait(WAIT_SECONDS)
        return ready

    def coming(self) -> asyncio.Future[None]:
        """Done when there is something new."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self._whole or self._error is not None:
                future.set_result(None)
            else:
                self._waiting.append((loop, future))
        return future


class Coming(Opened):
    """An object on its way, open for reading."""

    def __init__(self, fetch: Fetch) -> None:
        super().__init__(os.dup(fetch.staged.fileno()), fetch.size, fetch.name)
        self._fetch = fetch

    def check(self, *, wait: bool = True) -> None:
        """Raise what the fetch ended with, if it failed."""
        self._fetch.ready()

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        self._fetch.wait(end)
        return super().read(offset, end - offset) if end > offset else b""

    def read_cached(self, offset: int, length: int) -> bytes | None:
        end = min(offset + length, self.size)
        return super().read_cached(offset, length) if self._fetch.ready() >= end else None

    async def reach(self, offset: int, end: int) -> int:
        """Wait until bytes after `offset` may be read; up to where they may, `end` at most."""
        while True:
            coming = self._fetch.coming()
            ready = self._fetch.ready()
            if ready > offset:
                coming.cancel()
                return min(ready, end)
            await coming


class Reader:
    """Reads objects through a cache below a folder, of about `limit` bytes. For any threads.

    Every byte was compared with its hash by this process before it is served again from the cache; and while
    it comes, the last byte is held back until the hash of all is right. Several processes may share a folder.
    """

    def __init__(self, bucket: Bucket, folder: Path, limit: int) -> None:
        self.cache = Cache(folder)
        self._bucket, self._limit = bucket, limit
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._fetches: dict[str, Fetch] = {}
        self._checked: OrderedDict[str, Stat] = OrderedDict()
        self._used: dict[str, float] = {}
        self._room = 0

    def open(self, key: str, sha256: str, size: int, name: str, *, wait: bool = True) -> Handle:
        """Open an object by its hash. With `wait` False, `BlockingIOError` where that takes waiting.

        Where it is not in the cache it is on its way: what is read is waited for. An object that cannot be
        had, or has other bytes, raises `Changing` or `StorageDown` as it is read.
        """
        with self._lock:
            known = self._checked.get(sha256)
        if known is None and not wait:
            raise BlockingIOError
        found = self.cache.open(sha256, name, known)
        if found is not None:
            self._remember(sha256, found[1])
            return found[0]
        if not wait:
            raise BlockingIOError
        return Coming(self._fetch(key, sha256, size, name))

    def held(self, sha256: str) -> Path | None:
        """Where the cache has an object, its bytes read now and right; None where it has not."""
        found = self.cache.open(sha256, sha256[:12], None)
        if found is None:
            return None
        found[0].close()
        return self.cache.path(sha256)

    def path(self, key: str, sha256: str, name: str) -> Path:
        """Where an object lies on this machine, checked: fetched now, if need be.

        Raises `Changing` where it is not in the bucket, or has other bytes.
        """
        for _ in range(TRIES):
            with self._lock:
                known = self._checked.get(sha256)
            found = self.cache.open(sha256, name, known)
            if found is not None:
                found[0].close()
                self._remember(sha256, found[1])
                return self.cache.path(sha256)
            size = self._bucket.size(key)
            if size is None:
                raise _missing(name)
            self._fetch(key, sha256, size, name).wait(size)
        raise StorageDown(
            f"The cache of {self._bucket.url} on this machine is too small: raise storage_cache.",
            retry_after=RETRY_SECONDS,
        )

    def adopt(self, staged: StagedFile, sha256: str) -> None:
        """Have bytes that were just stored lie in the cache, too: they are asked for next."""
        path = self.cache.path(sha256)
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                # Not synced: after a power cut it may have other bytes, and its hash is checked first.
                staged.link(str(path))
            self._grow(sha256, staged.size)

    def close(self) -> None:
        """End; what is on its way is given up."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, key: str, sha256: str, size: int, name: str) -> Fetch:
        with self._lock:
            fetch = self._fetches.get(sha256)
            if fetch is None:
                fetch = Fetch(sha256, size, name, self.cache.stage(size))
                self._fetches[sha256] = fetch
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(FETCHES, thread_name_prefix="object")
                self._pool.submit(self._run, fetch, key)
            return fetch

    def _run(self, fetch: Fetch, key: str) -> None:
        """Fetch, check, keep."""
        written, digest = 0, hashlib.sha256()
        try:
            for block in self._bucket.read(key):
                if written + len(block) > fetch.size:
                    raise self._wrong(fetch, "is longer than it should be")
                fetch.staged.write(block)
                digest.update(block)
                written += len(block)
                fetch.advance(written)
            if written != fetch.size or digest.hexdigest() != fetch.sha256:
                raise self._wrong(fetch, "has other bytes than it should have")
            path = self.cache.path(fetch.sha256)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                fetch.staged.link(str(path))
                self._remember(fetch.sha256, fetch.staged.stat())
            fetch.advance(written, whole=True)
            self._grow(fetch.sha256, fetch.size)
        except FileNotFoundError:
            fetch.advance(written, error=_missing(fetch.name))
        except PidexError as error:
            fetch.advance(written, error=error)
        except Exception as error:  # whoever waits must hear of anything
            fetch.advance(written, error=StorageDown(f"{fetch.name} cannot be read here: {error}."))
        finally:
            with self._lock:
                self._fetches.pop(fetch.sha256, None)

    def _wrong(self, fetch: Fetch, what: str) -> Changing:
        note = {"filename": fetch.name, "sha256": fetch.sha256, "reason": f"the object {what}"}
        self.cache.quarantine(fetch.staged, fetch.name, note)
        return Changing(f"The object of {fetch.name} in the bucket {what}.", retry_after=60)

    def _remember(self, sha256: str, stat: Stat) -> None:
        with self._lock:
            self._used[sha256] = time.monotonic()
            self._checked[sha256] = stat
            self._checked.move_to_end(sha256)
            while len(self._checked) > REMEMBERED_FILES:
                self._used.pop(self._checked.popitem(last=False)[0], None)

    def _grow(self, sha256: str, size: int) -> None:
        """Count what came. After each eighth of the room that was left, look how much there is of all.

        Where that is too much, what was read longest ago goes; what came last stays, however large.
        """
        with self._lock:
            self._used[sha256] = time.monotonic()
            self._room -= size
            if self._room >= 0:
                return
        held = [*self.cache.list()]
        total = sum(each.stat.size for each in held)
        if total > self._limit:
            # Read by this process: by its own clock, last; by others: as they came.
            held.sort(key=lambda each: (self._used.get(each.sha256, 0.0), each.stat.mtime_ns))
            for each in held:
                if total <= self._limit * LEFT or each.sha256 == sha256:
                    continue
                self.cache.delete(each.sha256)
                total -= each.stat.size
                with self._lock:
                    self._checked.pop(each.sha256, None)
                    self._used.pop(each.sha256, None)
        with self._lock:
            self._room = max(0, self._limit - total) // 8


def _missing(name: str) -> Changing:
    return Changing(f"The bytes of {name} are missing from the bucket.", retry_after=60)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
