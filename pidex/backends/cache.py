"""Files of upstreams on a disk: each under its hash, those on their way beside them, wrong ones apart."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pidex.backends import staging
from pidex.backends.staging import StagedFile
from pidex.core.errors import Changing, Forbidden, StorageDown
from pidex.core.interfaces import Handle
from pidex.core.model import NO_STAT, Stat

#: How much is read at once to hash a file, in bytes.
HASH_BLOCK_BYTES = 1024 * 1024
#: Wrong files that are kept for who wants to know what came, newest first, and their bytes in all.
MAX_QUARANTINED, QUARANTINE_BYTES = 20, 1024**3

log = logging.getLogger("pidex.mirror")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


class Stored(NamedTuple):
    """A file that lies in the cache."""

    sha256: str
    stat: Stat


class Reading(Handle):
    """A descriptor on bytes that nobody changes: those of the cache, or of a file on its way to it.

    `check` says `Changing` where somebody did change them. Not its own descriptor: `close` does nothing.
    """

    __slots__ = ("_name", "fd", "size", "stat")

    def __init__(self, fd: int, size: int, name: str, stat: Stat = NO_STAT) -> None:
        self.fd, self.size, self._name, self.stat = fd, size, name, stat

    def check(self, *, wait: bool = True) -> None:
        """Raise `Changing` where size, inode or time of change of the bytes are others than at first."""
        if self.stat is not NO_STAT and not _same(staging.of(os.fstat(self.fd)), self.stat):
            raise Changing(f"{self._name} was changed on the disk. Try again in a moment.", retry_after=1)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.fd, length, offset)

    def read_cached(self, offset: int, length: int) -> bytes | None:
        if not _NOWAIT:
            return None
        buffer = bytearray(min(length, max(self.size - offset, 0)))
        try:
            count = os.preadv(self.fd, [buffer], offset, _NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if count == len(buffer) else bytes(memoryview(buffer)[:count])

    def close(self) -> None:
        pass


class Opened(Reading):
    """A file of the cache that is open for reading."""

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Cache:
    """Below one folder: `<2>/<sha256>`, `arriving/`, `quarantine/`. Every method may block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arriving, self._quarantine = folder / "arriving", folder / "quarantine"

    def path(self, sha256: str) -> Path:
        """Where the bytes with a hash lie, if they do."""
        return self.folder / sha256[:2] / sha256

    def stage(self, size: int) -> StagedFile:
        """A new file on its way. `size`: bytes that are expected, 0 where unknown.

        Raises `StorageFull`, and `StorageDown` where the disk says no: nobody is forbidden to download.
        """
        folder = str(self._arriving)
        try:
            with staging.space(folder):
                self._arriving.mkdir(mode=0o700, parents=True, exist_ok=True)
            return staging.stage(0, folder, size_hint=size)
        except (OSError, Forbidden) as error:
            log.error("Nothing of upstreams can be kept in %s: %s", folder, error)
            raise StorageDown(
                "The file cannot be kept here: the disk of the mirror does not take it. The server's log says"
                " why. Try again once its operator has seen to it.",
                retry_after=5,
            ) from None

    def keep(self, staged: StagedFile, sha256: str) -> Stat:
        """Have a whole, checked file lie here for good; its stat. Another process may have been first."""
        path = self.path(sha256)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        staged.sync()
        with contextlib.suppress(FileExistsError):
            staged.link(str(path))
        return staging.of(os.stat(path))

    def open(self, sha256: str, name: str, known: Stat | None) -> tuple[Opened, Stat] | None:
        """Open a file, with its stat; None where there is none.

        `known`: the stat it had when it was last known to be right. Where it has another by now, or none is
        known, it is read; a file with other bytes is put away, and is not there.
        """
        if not _SHA256.fullmatch(sha256):
            return None
        try:
            fd = os.open(self.path(sha256), _FILE)
        except OSError:
            return None
        found = staging.of(os.fstat(fd))
        opened = Opened(fd, found.size, name, found)
        if known is not None and _same(found, known):
            return opened, found
        if _digest(fd) == sha256:
            return opened, found
        opened.close()
        note = {"filename": name, "sha256": sha256, "reason": "its bytes changed on the disk"}
        self._put_away(str(self.path(sha256)), name, note)
        return None

    def quarantine(self, staged: StagedFile, name: str, note: Mapping[str, object]) -> None:
        """Put a wrong file away, with a note of what is wrong with it."""
        self._quarantine.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._arriving / f".wrong-{os.getpid()}-{id(staged)}"
        with contextlib.suppress(OSError):
            staged.link(str(path))
            self._put_away(str(path), name, note)

    def quarantined(self) -> Sequence[Mapping[str, Any]]:
        """The notes of the files that were put away, newest first."""
        notes = []
        for path in self._notes():
            with contextlib.suppress(OSError, ValueError):
                notes.append(json.loads(path.read_bytes()))
        return notes

    def clear_quarantine(self) -> int:
        """Delete what was put away; how many files."""
        notes = self._notes()
        for path in notes:
            path.unlink(missing_ok=True)
            path.with_suffix("").unlink(missing_ok=True)
        return len(notes)

    def list(self) -> Iterator[Stored]:
        """Every file that lies here."""
        for folder in _entries(self.folder):
            if len(folder.name) == 2 and folder.is_dir(follow_symlinks=False):
                for entry in _entries(Path(folder.path)):
                    if _SHA256.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):
                            yield Stored(entry.name, staging.of(entry.stat(follow_symlinks=False)))

    def delete(self, sha256: str) -> None:
        """Have a file lie here no more; who has it open goes on reading."""
        self.path(sha256).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove what an earlier run left on its way; how many files. For a start only."""
        left = [entry.path for entry in _entries(self._arriving)]
        for path in left:
            with contextlib.suppress(OSError):
                os.unlink(path)
        return len(left)

    def _notes(self) -> Sequence[Path]:
        names = (entry.path for entry in _entries(self._quarantine) if entry.name.endswith(".json"))
        return sorted(map(Path, names), key=lambda path: path.name, reverse=True)

    def _put_away(self, path: str, name: str, note: Mapping[str, object]) -> None:
        self._quarantine.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.stat(path)
        # Other people's names do not become ours: what it is called is in the note.
        target = self._quarantine / f"{status.st_mtime_ns:020d}-{status.st_ino}"
        os.rename(path, target)
        text = json.dumps({**note, "size": status.st_size, "at": status.st_mtime}, indent=1)
        target.with_suffix(".json").write_text(text, encoding="utf-8")
        total = 0
        for number, each in enumerate(self._notes(), 1):
            wrong = each.with_suffix("")
            with contextlib.suppress(OSError):
                total += wrong.stat().st_size
            if number > MAX_QUARANTINED or (total > QUARANTINE_BYTES and number > 1):
                wrong.unlink(missing_ok=True)
                each.unlink(missing_ok=True)


def _same(one: Stat, other: Stat) -> bool:
    """Whether a stat speaks of the same bytes: links come and go, so ctime says nothing."""
    return (one.size, one.mtime_ns, one.inode) == (other.size, other.mtime_ns, other.inode)


def _digest(fd: int) -> str:
    digest, offset = hashlib.sha256(), 0
    while block := os.pread(fd, HASH_BLOCK_BYTES, offset):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from list(entries)
    except OSError:
        return
