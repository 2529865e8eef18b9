"""An inspector that looks into archives in this very process: what tests of folders use for speed."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Callable

from pidex.core import archives
from pidex.core.errors import BadName, Incomplete, Unsound
from pidex.core.interfaces import Inspector
from pidex.core.limits import Limits
from pidex.core.model import Entry, Look, PlaceState, Stat

#: Seconds since the last change that every file is said to have: nothing depends on the clock.
AGE = 1_000.0


class DirectInspector(Inspector):
    """`during` is called with each path between the two stats, to change the file under the look."""

    def __init__(self, during: Callable[[str], None] = lambda path: None) -> None:
        self.during = during
        self.paths: list[str] = []

    def examine(self, descriptor: int, entry: Entry, check: str) -> Look:
        return self.inspect(f"/proc/self/fd/{descriptor}", entry, check)

    def inspect(self, path: str, entry: Entry, check: str) -> Look:
        self.paths.append(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return Look(entry, PlaceState.UNREAD, code="gone", reason="it is not there any more")
        except OSError as error:
            return Look(entry, PlaceState.REFUSED, code="unreadable", reason=str(error.strerror))
        with open(fd, "rb") as file:
            if not modes.S_ISREG(os.fstat(fd).st_mode):
                return Look(entry, PlaceState.REFUSED, code="not-a-file", reason="not a file")
            if stat_of(os.fstat(fd)) != entry.stat:
                return Look(entry, PlaceState.UNREAD)
            name = entry.path.rpartition("/")[2]
            try:
                facts = archives.inspect(file, name, limits=Limits(), check=check, age=AGE)
                look = Look(entry, PlaceState.WHOLE, facts=facts)
            except Incomplete as error:
                look = Look(entry, PlaceState.PENDING, code=error.reason_code, reason=str(error))
            except Unsound as error:
                look = Look(entry, PlaceState.REFUSED, code=error.reason_code, reason=str(error))
            except BadName as error:
                look = Look(entry, PlaceState.REFUSED, code=error.code, reason=str(error))
            self.during(path)
            if stat_of(os.fstat(fd)) != entry.stat:
                return Look(entry, PlaceState.UNREAD)
            return look


def stat_of(status: os.stat_result) -> Stat:
    return Stat(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
