"""Downloads counted beside the requests: plain numbers, handed over by a thread every few seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from pidex.statistics import Download
from pidex.web import aliases
from pidex.web.indexes import Indexes

#: Seconds that a count waits for others before it is written down.
FLUSH_SECONDS = 5.0
#: Kinds of downloads that wait at most; further ones are not counted until these are written down.
MAX_WAITING = 20_000
#: Characters of a User-Agent that are kept until it is read.
AGENT_CHARS = 1_000

log = logging.getLogger("pidex.web")


class Tally:
    """The downloads of one worker. For the event loop's thread; `note` is called in another one."""

    def __init__(self, note: Callable[[Mapping[Download, int]], None], prefix: str, indexes: Indexes) -> None:
        self._note, self._prefix, self._indexes = note, prefix, indexes
        self._waiting: dict[tuple[str, bytes], int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, path: str, agent: bytes | None) -> None:
        """Count a whole file that was sent: its path, and who asked for it."""
        key = path, (agent or b"")[:AGENT_CHARS]
        number = self._waiting.get(key, 0)
        if number or len(self._waiting) < MAX_WAITING:
            self._waiting[key] = number + 1
        if self._timer is None:
            with suppress(RuntimeError):  # the loop has ended: `close` comes next
                self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def close(self) -> None:
        """Write down what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        self._write(waiting)

    def _flush(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        asyncio.get_running_loop().run_in_executor(None, self._write, waiting)

    def _write(self, waiting: Mapping[tuple[str, bytes], int]) -> None:
        found: dict[Download, int] = {}
        for (path, agent), number in waiting.items():
            place = self._place(path)
            if place is not None:
                key = (*place, agent.decode("latin-1"))
                found[key] = found.get(key, 0) + number
        if found:
            try:
                self._note(found)
            except Exception:  # statistics never stop a server
                log.exception("Downloads could not be counted.")

    def _place(self, path: str) -> tuple[str, str] | None:
        """The index and the file name of a path that was answered with a file."""
        rest = path.removeprefix(self._prefix)
        first = rest[1:].partition("/")[0]
        index = self._indexes[0]
        if first in self._indexes:
            index = first
        elif first in aliases.FIRST:
            found = aliases.place(rest, self._indexes, index)
            if found is not None:
                index = found[0]
        filename = rest.rpartition("/")[2]
        return (index, filename) if filename else None
