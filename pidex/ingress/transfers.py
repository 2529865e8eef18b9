"""A visit as pyftpdlib works on it: a file system, uploads as files to write to, refusals as replies."""

from __future__ import annotations

import logging
import os
import stat as modes
import zlib
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any

from pyftpdlib.exceptions import FilesystemError
from pyftpdlib.filesystems import AbstractedFS

from pidex.core.errors import Busy, Changing, InvalidFile, PidexError, StorageFull, TooLarge
from pidex.ingress.drafts import Draft
from pidex.ingress.visit import Item, Reading, Visit

#: What is read of an upload after it was refused, so that its sender hears why: bytes and seconds.
DRAIN_BYTES, DRAIN_SECONDS = 64 * 1024 * 1024, 10.0

log = logging.getLogger("pidex.ftp")


class _Name(str):
    """A name in a listing, with what is known of it."""

    __slots__ = ("item",)
    item: Item


class Files(AbstractedFS):  # type: ignore[misc]
    """A visit as the file system that pyftpdlib works on: a path is its own real path."""

    def __init__(self, root: str, session: Any) -> None:
        super().__init__("/", session)
        self._visit: Visit = session.visit
        self._cwd = self._visit.home()
        self._listed: dict[str, Item] = {}

    def ftp2fs(self, ftppath: str) -> str:
        path: str = self.ftpnorm(ftppath)
        return path

    def fs2ftp(self, fspath: str) -> str:
        return fspath

    def validpath(self, path: str) -> bool:
        return True

    def realpath(self, path: str) -> str:
        return path

    def chdir(self, path: str) -> None:
        if not self.isdir(path):
            raise FilesystemError("There is no such folder")
        self._cwd = path

    def listdir(self, path: str) -> list[_Name]:
        found = []
        for item in self._asked(self._visit.list, path):
            name = _Name(item.name)
            name.item = item
            found.append(name)
        return found

    def format_list(self, basedir: str, listing: Sequence[str], ignore_err: bool = True) -> Iterator[bytes]:
        self._note(basedir, listing)
        yield from super().format_list(basedir, listing, ignore_err)
        self._listed = {}

    def format_mlsx(
        self, basedir: str, listing: Sequence[str], perms: str, facts: Sequence[str], ignore_err: bool = True
    ) -> Iterator[bytes]:
        self._note(basedir, listing)
        yield from super().format_mlsx(basedir, listing, perms, facts, ignore_err)
        self._listed = {}

    def _note(self, folder: str, listing: Sequence[str]) -> None:
        """Have what a listing knows at hand for the `lstat` of each line."""
        self._listed = {f"{folder}/{name}": name.item for name in listing if isinstance(name, _Name)}

    def stat(self, path: str) -> os.stat_result:
        item = self._listed.get(path) or self._asked(self._visit.find, path)
        if item is None:
            raise FilesystemError("There is no such file")
        mode = modes.S_IFDIR | 0o755 if item.folder else modes.S_IFREG | 0o644
        at = int(item.modified)
        return os.stat_result((mode, zlib.crc32(path.encode()), 1, 1, 0, 0, item.size, at, at, at))

    lstat = stat

    def get_user_by_uid(self, uid: int) -> str:
        return "pidex"

    def get_group_by_gid(self, gid: int) -> str:
        return "pidex"

    def getsize(self, path: str) -> int:
        return self.stat(path).st_size

    def getmtime(self, path: str) -> float:
        return self.stat(path).st_mtime

    def isdir(self, path: str) -> bool:
        item = self._seen(path)
        return item is not None and item.folder

    def isfile(self, path: str) -> bool:
        item = self._seen(path)
        return item is not None and not item.folder

    def islink(self, path: str) -> bool:
        return False

    def lexists(self, path: str) -> bool:
        return self._seen(path) is not None

    def _seen(self, path: str) -> Item | None:
        try:
            return self._visit.find(path)
        except PidexError:
            return None

    def open(self, filename: str, mode: str) -> Reading | Upload:
        if mode == "rb":
            found: Reading = self._asked(self._visit.open, filename)
            return found
        draft = self._asked(self._visit.begin, filename, resume=mode != "wb")
        return Upload(self._visit, filename, draft)

    def remove(self, path: str) -> None:
        self._asked(self._visit.remove, path)

    def rename(self, src: str, dst: str) -> None:
        self._asked(self._visit.rename, src, dst)

    def mkdir(self, path: str) -> None:
        raise FilesystemError("An index is one folder, in which none is made")

    def rmdir(self, path: str) -> None:
        raise FilesystemError("The folders here are the indexes: none is removed by FTP")

    def chmod(self, path: str, mode: int) -> None:
        raise FilesystemError("Files have no permissions here: rights are granted on the server")

    def utime(self, path: str, timeval: float) -> None:
        raise FilesystemError("The time of a package is when it came in, and is not set")

    @staticmethod
    def _asked(ask: Callable[..., Any], *args: object, **rest: object) -> Any:
        """What a visit answers; what it refuses as pyftpdlib tells it, with 550."""
        try:
            return ask(*args, **rest)
        except PidexError as error:
            raise FilesystemError(sentence(error).rstrip(".")) from None


class Upload:
    """A draft as the file that a data connection writes to; `end` says what becomes of it."""

    def __init__(self, visit: Visit, path: str, draft: Draft) -> None:
        self._visit, self.name, self._draft = visit, path, draft
        self.closed = False
        self._refused: PidexError | None = None
        self._drained, self._until = 0, 0.0

    def seek(self, offset: int) -> None:
        """Go on where a transfer was cut: at the end of what is here, nowhere else."""
        if offset != self._draft.stage.size:
            raise FilesystemError(f"{self._draft.stage.size} bytes are here: go on with REST at that number")

    def write(self, data: bytes) -> None:
        """Append; after a refusal, count what is thrown away."""
        if self._refused is not None:
            self._drained += len(data)
            return
        try:
            self._draft.stage.write(data)
        except PidexError as error:
            self._refused, self._until = error, monotonic() + DRAIN_SECONDS
            self._visit.drop(self._draft)

    @property
    def over(self) -> bool:
        """Whether nothing more is to be read of a refused upload."""
        return self._refused is not None and (self._drained > DRAIN_BYTES or monotonic() > self._until)

    def end(self, whole: bool, gone: Callable[[], bool]) -> str | None:
        """The reply to a transfer that ended, for once; None where there is nothing to add.

        `whole`: the sender closed the connection. Whether it had sent everything, the archive says. `gone`:
        whether the caller is there no more; what they sent is kept for a while, then, to be gone on with.
        """
        if self.closed:
            return None
        self.closed = True
        if self._refused is not None:
            return reply(self._refused)
        if not whole or self._visit.is_draft(self.name):
            self._visit.keep(self._draft)
            return "226 Received; it is a package once it is renamed to one." if whole else None
        try:
            receipt = self._visit.receive(self._draft, self.name)
        except PidexError as error:
            if isinstance(error, InvalidFile) and gone():
                self._visit.keep(self._draft)
            else:
                self._visit.drop(self._draft)
            return reply(error)
        except BaseException:
            self._visit.drop(self._draft)
            raise
        log.info("FTP: %s sent %s: %s", self._visit.by.name, receipt.filename, receipt.status)
        return f"226 {receipt.filename}: {receipt.status}."

    def close(self) -> None:
        """Lay the draft aside where the transfer came to no end."""
        if not self.closed:
            self.closed = True
            if self._refused is None:
                self._visit.keep(self._draft)


def sentence(error: PidexError) -> str:
    """A refusal on one line, without control characters, as a reply must be."""
    line = " ".join(str(error).split())
    return "".join(each if each.isprintable() else "?" for each in line)


def reply(error: PidexError) -> str:
    """The reply to an upload that was refused: 4xx where trying again may help."""
    match error:
        case Busy() | Changing():
            code = 450
        case StorageFull():
            code = 452
        case TooLarge():
            code = 552
        case _:
            code = 550
    return f"{code} {sentence(error)}"
