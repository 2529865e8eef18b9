"""Reading files to hash them, from the disk and at a rate, so that nobody who is served notices."""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from pidex.core.errors import PidexError
from pidex.core.model import Stat

#: Bytes read at once.
BLOCK_BYTES = 1024 * 1024
_FORGET: int | None = getattr(os, "POSIX_FADV_DONTNEED", None)


class Digests(NamedTuple):
    """The hashes of a file that did not change while it was read, in hexadecimal."""

    sha256: str
    blake2b_256: str
    md5: str
    size: int


class Unreadable(NamedTuple):
    """A file that could not be read to its end: the disk says why."""

    reason: str


class Stopped(Exception):
    """Whoever reads is to end."""


class Pace:
    """Lets so many bytes through in a second; 0: as they come. `wait(seconds)` returns whether to stop."""

    def __init__(self, rate: float = 0.0, wait: Callable[[float], bool | None] = time.sleep) -> None:
        self._rate, self._wait = rate, wait
        self._due = 0.0

    def take(self, count: int) -> None:
        """Wait until `count` bytes more may be read. Raises `Stopped`."""
        if self._rate <= 0:
            return
        now = time.monotonic()
        self._due = max(self._due, now) + count / self._rate
        if self._due > now and self._wait(self._due - now):
            raise Stopped


def digests(path: str, pace: Pace, *, cold: bool = True) -> tuple[Stat, Digests] | Unreadable | None:
    """Read a file; its stat and hashes. None where there is no file, or it changed while it was read.

    `cold`: from the disk, not from memory. What somebody else reads at the time stays in memory.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return None if gone else Unreadable(error.strerror or str(error))
    try:
        before = os.fstat(fd)
        if not modes.S_ISREG(before.st_mode):
            return None
        sha256, blake2b, md5 = (
            hashlib.sha256(),
            hashlib.blake2b(digest_size=32),
            hashlib.md5(usedforsecurity=False),
        )
        if cold and _FORGET is not None:
            with suppress(OSError):
                os.posix_fadvise(fd, 0, 0, _FORGET)
        size = 0
        while block := os.read(fd, BLOCK_BYTES):
            for hashed in (sha256, blake2b, md5):
                hashed.update(block)
            size += len(block)
            pace.take(len(block))
        if _stat(os.fstat(fd)) != _stat(before) or size != before.st_size:
            return None
        return _stat(before), Digests(sha256.hexdigest(), blake2b.hexdigest(), md5.hexdigest(), size)
    except OSError as error:
        return Unreadable(error.strerror or str(error))
    finally:
        os.close(fd)


def streamed(blocks: Iterable[bytes], stat: Stat, pace: Pace) -> tuple[Stat, Digests] | Unreadable:
    """As `digests`, of what a bucket hands out; the stat is as given. Nobody changes what lies there."""
    sha256, blake2b = hashlib.sha256(), hashlib.blake2b(digest_size=32)
    md5, size = hashlib.md5(usedforsecurity=False), 0
    try:
        for block in blocks:
            for hashed in (sha256, blake2b, md5):
                hashed.update(block)
            size += len(block)
            pace.take(len(block))
    except FileNotFoundError:
        return Unreadable("it is missing from the bucket")
    except PidexError as error:
        return Unreadable(str(error).rstrip("."))
    return stat, Digests(sha256.hexdigest(), blake2b.hexdigest(), md5.hexdigest(), size)


def _stat(status: os.stat_result) -> Stat:
    return Stat(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
