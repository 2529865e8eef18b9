"""A file of no meaning that takes room: where a disk is full it goes, and the catalogue can be written."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

#: Its name in a data directory, its size in bytes, and how little is free where it goes.
NAME, SIZE_BYTES, SCARCE_BYTES = "ballast", 8 * 1024 * 1024, 1024 * 1024

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Ballast:
    """The ballast of one data directory. `reserve`: bytes that have to be free beside it to take its room.

    Uploads leave a reserve of their own; others do not. When somebody else has filled the disk, what frees
    room (deleting, pruning, dropping mirrored files) has to be written down first: by this room.
    """

    def __init__(self, data: Path, *, reserve: int, size: int = SIZE_BYTES) -> None:
        self._path, self._reserve, self._size = data / NAME, reserve, size

    def balance(self) -> str | None:
        """Take the room where there is plenty, give it up where there is hardly any: 'taken', 'given', None.

        Raises `OSError` for anything but a full disk.
        """
        found = os.statvfs(self._path.parent)
        free = found.f_bavail * found.f_frsize
        held = self._held()
        if held and free < SCARCE_BYTES:
            self._path.unlink(missing_ok=True)
            return "given"
        if not held and free >= self._reserve + self._size:
            return "taken" if self._take() else None
        return None

    def _held(self) -> bool:
        try:
            return os.lstat(self._path).st_size >= self._size
        except FileNotFoundError:
            return False

    def _take(self) -> bool:
        part = self._path.with_name(f".{NAME}.part")
        try:
            with part.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, self._size)
                else:  # macOS
                    file.write(bytes(self._size))
            part.rename(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            if error.errno in _FULL:
                return False
            raise
        return True
