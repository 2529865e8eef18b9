"""Looks into files in threads, so that the loop that asks for them never waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import Empty, SimpleQueue

from pidex.core import names
from pidex.core.errors import BadName, PidexError
from pidex.core.interfaces import Inspector, Storage
from pidex.core.model import Entry, Look, PlaceState

#: Looks under way beside those that run, so that no child is idle while a batch is written: files and bytes.
AHEAD_FILES, AHEAD_BYTES = 32, 4 * 1024 * 1024


class Inspection:
    """Looks into files in threads, each waiting for one child of the inspector."""

    def __init__(
        self, inspector: Inspector, storage: Storage, *, check: str, threads: int, wake: Callable[[], None]
    ) -> None:
        self._inspector = inspector
        self._storage = storage
        self._check = check
        self._threads = max(1, threads)
        self._wake = wake
        self._results: SimpleQueue[tuple[Look, float]] = SimpleQueue()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="look")
        self._files = self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether another file may be started: a few small ones beside those that run, so no child idles."""
        return self._files < self._threads or (self._files < AHEAD_FILES and self._bytes < AHEAD_BYTES)

    def start(self, entry: Entry, sha256: str | None = None) -> None:
        """Look into a file; `sha256`: into these kept bytes, under the entry's name."""
        self._files += 1
        self._bytes += entry.stat.size
        self._pool.submit(self._look, entry, sha256)

    def ended(self) -> Iterator[tuple[Look, float]]:
        """The looks that ended since the last time, with the seconds that each took."""
        while True:
            try:
                look, took = self._results.get_nowait()
            except Empty:
                return
            self._files -= 1
            self._bytes -= look.entry.stat.size
            yield look, took

    def close(self) -> None:
        """End when the looks under way do."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _look(self, entry: Entry, sha256: str | None) -> None:
        start = time.monotonic()
        try:
            names.parse(entry.path.rpartition("/")[2])
            if sha256 is not None:
                path, stat = self._storage.kept_path(sha256), entry.stat
            else:
                path, stat = self._storage.lend(entry)
            look = self._inspector.inspect(path, entry._replace(stat=stat), self._check)
            look = replace(look, entry=entry)
        except BadName as error:
            look = Look(entry, PlaceState.REFUSED, code=error.code, reason=str(error))
        except PidexError as error:  # a bucket that does not answer, or lacks it
            look = Look(entry, PlaceState.UNREAD, code="sandbox", reason=str(error))
        except Exception as error:
            # An inspector does not raise; one that does must not cost a file its look.
            logging.getLogger(__name__).exception("%s could not be looked into", entry.path)
            look = Look(entry, PlaceState.UNREAD, code="sandbox", reason=str(error))
        self._results.put((look, time.monotonic() - start))
        self._wake()
