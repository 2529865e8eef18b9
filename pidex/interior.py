"""What is inside the archives that an index lists, read in a limited child and never unpacked."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pidex.core.errors import NotFound
from pidex.core.interfaces import Handle
from pidex.core.interiors import Excerpt, Members
from pidex.core.limits import MIB
from pidex.core.model import File

#: Lists of members that one process remembers.
REMEMBERED = 32
#: Bytes of a file that is fetched to be looked into, where it does not lie in a folder of this machine.
MAX_FETCHED = 256 * MIB


class Reader(Protocol):
    """Reads archives in a process that can be killed (backends.readings)."""

    def members(self, descriptor: int, filename: str) -> Members:
        """The files in an archive. Raises `NotFound` where it cannot be read, `Busy` where nobody could."""

    def excerpt(self, descriptor: int, filename: str, member: str) -> Excerpt:
        """The beginning of a file in an archive. Raises as `members` does."""


class Interior:
    """Looks into listed files. Safe to use from threads; blocks while a child reads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], Members] = OrderedDict()

    def members(self, file: File, handle: Handle) -> Members:
        """The files in a listed file, of which `handle` is open. Raises `NotFound`, `Busy` or `Changing`."""
        key = (file.sha256, file.filename)
        with self._lock:
            found = self._known.get(key)
        if found is None:
            with _descriptor(handle) as descriptor:
                found = self._reader.members(descriptor, file.filename)
            handle.check()
            with self._lock:
                self._known[key] = found
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return found

    def excerpt(self, file: File, handle: Handle, member: str) -> Excerpt:
        """The beginning of one file in it, by its path there. Raises as `members` does."""
        with _descriptor(handle) as descriptor:
            found = self._reader.excerpt(descriptor, file.filename, member)
        handle.check()
        return found


@contextmanager
def _descriptor(handle: Handle) -> Iterator[int]:
    """A descriptor on the bytes behind a handle: its own, or a copy's."""
    handle.check()
    own = getattr(handle, "fileno", None)
    if own is not None:
        yield own()
        return
    if handle.size > MAX_FETCHED:
        raise NotFound(f"Files of more than {MAX_FETCHED:,} bytes are not looked into.")
    with tempfile.TemporaryFile() as copy:
        at = 0
        while data := handle.read(at, MIB):
            copy.write(data)
            at += len(data)
        copy.flush()
        yield copy.fileno()
