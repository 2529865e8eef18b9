"""Bytes by their hash in a folder, shared by all that refer to them: what backups are made of."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: How much is read at once, in bytes.
BLOCK_BYTES = 1024 * 1024
#: Linux: share the blocks of another file (btrfs, xfs).
_FICLONE = 0x40049409
_PART = ".part"


class Blob(NamedTuple):
    """Stored bytes. By size and mtime it is told later that nobody wrote to them."""

    size: int
    mtime_ns: int


class Vault:
    """`<folder>/<2>/<sha256>`. For one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Bytes that took space of their own.
        self.copied = 0

    def path(self, sha256: str) -> Path:
        """Where the bytes of a hash are or would be."""
        return self.folder / sha256[:2] / sha256

    def find(self, sha256: str) -> Blob | None:
        """What is stored under a hash."""
        try:
            status = os.lstat(self.path(sha256))
        except OSError:
            return None
        return Blob(status.st_size, status.st_mtime_ns)

    def store(self, source: str | Path, sha256: str, *, link: bool) -> Blob | None:
        """Have a file's bytes: shared by its file system, else linked where that is wished, else copied.

        None where the bytes have another hash. Raises `OSError`.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.folder / _PART
        with suppress(FileNotFoundError):
            part.unlink()
        if not (clone(source, part) or (link and _linked(source, part))):
            self.copied += copy(source, part)
        if digest(part) != sha256:
            part.unlink()
            return None
        target = self.path(sha256)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        part.replace(target)
        status = os.lstat(target)
        return Blob(status.st_size, status.st_mtime_ns)

    def sound(self, sha256: str) -> bool:
        """Whether the bytes, read now, have their hash."""
        try:
            return digest(self.path(sha256)) == sha256
        except OSError:
            return False

    def list(self) -> Iterator[str]:
        """Every hash that is stored."""
        for shelf in sorted(self.folder.glob("??")):
            yield from sorted(os.listdir(shelf))

    def drop(self, sha256: str) -> int:
        """Forget bytes; how many."""
        blob = self.find(sha256)
        self.path(sha256).unlink(missing_ok=True)
        return 0 if blob is None else blob.size


def there(path: str | Path) -> bool:
    """Whether there is anything by that name. A disk that does not say is not one that says no: `OSError`."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def clone(source: str | Path, target: str | Path) -> bool:
    """Make `target` with the same blocks as `source`, where the file system can; whether it could."""
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            os.unlink(target)
            return False
    return True


def copy(source: str | Path, target: str | Path) -> int:
    """Copy a file to a new one, and have it on the disk; its size."""
    size = 0
    with open(source, "rb") as old, open(target, "xb") as new:
        while block := old.read(BLOCK_BYTES):
            new.write(block)
            size += len(block)
        new.flush()
        os.fsync(new.fileno())
    return size


def digest(path: str | Path) -> str:
    """The sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _linked(source: str | Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
