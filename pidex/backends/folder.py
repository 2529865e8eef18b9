"""Folders on a disk: keeping second names for files, and opening files for serving."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat as modes
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pidex.backends import staging
from pidex.backends.listing import Listing, said, stat_of
from pidex.core.errors import Changing
from pidex.core.folder import SETTLE_SECONDS, same, same_but_ctime
from pidex.core.interfaces import Handle, KeptFile, Staged, Storage
from pidex.core.model import Entry, File, Problem, Shelf, Stat

#: How much is read at once to hash a file, in bytes.
HASH_BLOCK_BYTES = 1024 * 1024
#: Hashes remembered of files whose ctime alone changed, in files.
REMEMBERED_FILES = 4096
#: What a client is told to wait, in seconds, while a file's bytes are not the admitted ones.
RETRY_AFTER_SECONDS = 2

_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


class Folder(Storage):
    """The roots of indexes, by number, and in the data directory a second name for each listed file.

    `keep` is the folder of the second names (`<keep>/<2>/<sha256>`), None for none. They cost no space while
    the file lies in the folder, and hold its bytes when the folder's name is unlinked or replaced. Where a
    hard link is impossible (another file system, not permitted, too many) there is none, and nothing is
    copied: the file is then served from the folder alone.

    All methods may be called from threads, and in several processes; only the one that holds the data
    directory keeps and releases.
    """

    def __init__(
        self,
        roots: Sequence[str | os.PathLike[str]] | Mapping[int, str | os.PathLike[str]],
        keep: str | os.PathLike[str] | None,
        *,
        reserve: int = staging.RESERVE_BYTES,
    ) -> None:
        numbered = roots.items() if isinstance(roots, Mapping) else enumerate(roots)
        self._roots = {number: os.fspath(Path(root).absolute()) for number, root in numbered}
        self._keep = os.fspath(Path(keep).absolute()) if keep is not None else None
        self._reserve = reserve
        self._listing = Listing(self._roots)
        self._digests: OrderedDict[tuple[int, ...], str] = OrderedDict()
        self._lock = threading.Lock()
        #: Why the last second name could not be made, or None (for reports).
        self.keep_trouble: str | None = None

    @property
    def roots(self) -> Mapping[int, str]:
        return self._roots

    def add(self, roots: Mapping[int, str]) -> None:
        """Learn of the folders of further indexes, by their numbers."""
        for number, root in roots.items():
            self._roots[number] = os.fspath(Path(root).absolute())

    def path(self, root: int, path: str) -> str:
        """The absolute path of a place."""
        return f"{self._roots[root]}/{path}" if path else self._roots[root]

    def list(self, root: int, folder: str = "") -> Iterator[Entry | Problem]:
        """Every package-like file at or below `folder` of a root (see `Listing.list`)."""
        return self._listing.list(root, folder)

    def stat(self, root: int, path: str) -> Stat | None:
        """What lies at a path now (links followed), or None where that is no file."""
        try:
            status = os.stat(self.path(root, path))
        except (OSError, ValueError):
            return None
        return stat_of(status) if modes.S_ISREG(status.st_mode) else None

    # --- second names ---------------------------------------------------------------------------------------

    def keep(self, entry: Entry, sha256: str, *, instead_of: str | None = None) -> Stat | None:
        """Give the bytes of a file that was looked into their second name; the stat of it.

        The inode may be another one than the entry's, where the same bytes were kept before. None where no
        hard link can be made. `instead_of` are the bytes that the name had before: where the file was written
        over in place, their second name leads to the new bytes and is dropped.

        Raises `Changing` where the file is not the one that was looked into any more: its stat is compared
        just before and just after the names change, since that moves ctime.
        """
        if self._keep is None:
            return None
        before = self.stat(entry.root, entry.path)
        if before is None or not same(before, entry.stat):
            raise _changing(entry.path)
        former = self.kept(instead_of) if instead_of not in (None, sha256) else None
        if former is not None and instead_of is not None and _is_one(former, before):
            self.release([instead_of])
        present = self.kept(sha256)
        if present is not None and not _is_one(present, before):
            if self.sound(sha256) is not None:
                return present
            self.release([sha256])
            present = None
        if present is None:
            try:
                self._link(self.path(entry.root, entry.path), self.kept_path(sha256))
            except OSError as error:
                self.keep_trouble = said(error)
                return None
        after = self.kept(sha256)
        if after is None or not same_but_ctime(after, before):
            self.release([sha256])
            raise _changing(entry.path)
        return after

    @staticmethod
    def _link(path: str, target: str) -> None:
        # A directory descriptor makes Python use linkat, which alone follows a link to the file it names.
        for attempt in (1, 2):
            try:
                os.link(path, target, src_dir_fd=_anywhere(), follow_symlinks=True)
                return
            except FileNotFoundError:
                if attempt == 2:
                    raise
                os.makedirs(os.path.dirname(target), exist_ok=True)

    def kept(self, sha256: str) -> Stat | None:
        """The stat of the second name, or None. Whether its bytes still are its name's, `sound` says."""
        if self._keep is None:
            return None
        try:
            status = os.lstat(self.kept_path(sha256))
        except OSError:
            return None
        return stat_of(status) if modes.S_ISREG(status.st_mode) else None

    def sound(self, sha256: str) -> Stat | None:
        """The stat of the second name if its bytes, read now or unchanged since they were, have this hash."""
        if self._keep is None:
            return None
        try:
            fd = os.open(self.kept_path(sha256), _FILE | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            found = _opened(fd)
            if found is not None and self._digest(fd, found, wait=True) == sha256:
                return found
            return None
        finally:
            os.close(fd)

    def release(self, sha256s: Iterable[str]) -> None:
        """Drop second names. Those that do not exist are dropped already."""
        for sha256 in sha256s:
            if self._keep is not None:
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    os.unlink(self.kept_path(sha256))

    def list_kept(self) -> Iterator[KeptFile]:
        """Everything that has a second name."""
        if self._keep is None:
            return
        for shelf in _scanned(self._keep):
            for entry in _scanned(shelf.path) if shelf.is_dir(follow_symlinks=False) else ():
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if modes.S_ISREG(status.st_mode):
                        yield KeptFile(entry.name, stat_of(status), status.st_nlink)

    def kept_path(self, sha256: str) -> str:
        """Where the second name of these bytes is or would be."""
        return f"{self._keep}/{sha256[:2]}/{sha256}"

    # --- placing --------------------------------------------------------------------------------------------

    def refusal(self, root: int) -> str | None:
        """Why nothing can be put into a root, or None."""
        return staging.refusal(self._roots[root])

    def stage(self, root: int, *, size_hint: int = 0) -> Staged:
        """A new file for a root, without a name where the file system can do that."""
        return staging.stage(root, self._roots[root], size_hint=size_hint, reserve=self._reserve)

    def make_folder(self, root: int, folder: str) -> None:
        """Have a folder below a root, with those above it."""
        staging.make_folder(self._roots[root], folder)

    def put(self, staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
        """Link a staged file into place. Raises `FileExistsError`."""
        return staging.put(staged, self._roots[root], path, sync=sync)

    def sync(self, root: int, folder: str = "") -> None:
        """Have the names of a folder on the disk."""
        staging.sync_folder(f"{self._roots[root]}/{folder}" if folder else self._roots[root])

    def replace(self, staged: Staged, root: int, path: str) -> Stat:
        """Move a staged file into the place of another."""
        return staging.replace(staged, self._roots[root], path)

    def delete(self, root: int, path: str) -> bool:
        """Unlink a file of a root."""
        return staging.delete(self._roots[root], path)

    def fixed(self, root: int, path: str) -> str | None:
        """Why the file at a path cannot be taken away, or None."""
        return staging.fixed(self._roots[root], path)

    def restore(self, sha256: str, root: int, path: str, *, over: bool = False) -> Stat:
        """Give kept bytes their name in a root again. Raises `Conflict`, `Forbidden` and `StorageFull`."""
        return staging.restore(self.kept_path(sha256), sha256, self._roots[root], path, over=over)

    def digest(self, root: int, path: str) -> str | None:
        """The sha256 of what lies at a path, read now."""
        return staging.digest(self.path(root, path))

    def sweep(self) -> int:
        """Remove what killed stagings left in the roots."""
        return sum(map(staging.sweep, self._roots.values()))

    def close(self) -> None:
        """Nothing goes on in the background."""

    # --- serving --------------------------------------------------------------------------------------------

    def open(self, file: File, *, wait: bool = True) -> Handle:
        """Open a listed file for serving.

        The shelf that the row names comes first, the other one second. Either is taken where size, mtime and
        inode are the row's. Where only ctime differs (a link or unlink of another name, a rename, a chmod) or
        the inode does (the other shelf), the bytes are hashed once and that is remembered, so that git's
        unlinking never makes an outage and a writer that sets mtime back never passes.

        Raises `Changing` where neither has the admitted bytes. With `wait` False it raises `BlockingIOError`
        instead of hashing: call again in a thread.
        """
        on_shelf = (self.kept_path(file.sha256), _FILE | os.O_NOFOLLOW) if self._keep is not None else None
        in_folder = (self.path(file.root, file.path), _FILE) if file.root in self._roots else None
        ways = (on_shelf, in_folder) if file.shelf is Shelf.KEPT else (in_folder, on_shelf)
        for way in ways:
            if way is None:
                continue
            try:
                fd = os.open(*way)
            except (OSError, ValueError):
                continue
            handle = _Open(self, fd, file)
            try:
                if handle.admitted(wait):
                    return handle
            except BaseException:
                handle.close()
                raise
            handle.close()
        raise _changing(file.filename)

    def _digest(self, fd: int, found: Stat, *, wait: bool) -> str | None:
        """The sha256 of an open file, remembered for as long as its whole stat stays; None where it moved."""
        with self._lock:
            known = self._digests.get(found)
            if known is not None:
                self._digests.move_to_end(found)
                return known
        if not wait:
            raise BlockingIOError(errno.EAGAIN, "the file must be hashed first")
        # A write within the clock tick of this stat would not show in it: let the tick pass before reading.
        time.sleep(SETTLE_SECONDS)
        digest = hashlib.sha256()
        offset = 0
        while block := os.pread(fd, HASH_BLOCK_BYTES, offset):
            digest.update(block)
            offset += len(block)
            if offset > found.size:
                return None
        if _opened(fd) != found:
            return None
        text = digest.hexdigest()
        with self._lock:
            self._digests[found] = text
            while len(self._digests) > REMEMBERED_FILES:
                self._digests.popitem(last=False)
        return text


class _Open(Handle):
    """A descriptor on a listed file. Several requests may share it, from any threads, until it is closed."""

    __slots__ = ("_fd", "_file", "_folder", "_stat", "size")

    def __init__(self, folder: Folder, fd: int, file: File) -> None:
        self._folder = folder
        self._fd = fd
        self._file = file
        self._stat = file.stat
        self.size = file.size

    def admitted(self, wait: bool) -> bool:
        """Whether this descriptor has the admitted bytes; takes its stat as the one to hold it to."""
        found = _opened(self._fd)
        if found is None or found.size != self._file.size:
            return False
        if same(found, self._stat):
            return True
        if found.mtime_ns != self._stat.mtime_ns:
            return False
        try:
            if self._folder._digest(self._fd, found, wait=wait) != self._file.sha256:
                return False
        except BlockingIOError:
            raise
        except OSError:
            return False
        self._stat = found
        return True

    def check(self, *, wait: bool = True) -> None:
        """Raise `Changing` where the bytes are no longer the admitted ones.

        Where only ctime moved, the file is hashed before this returns, so that an unlink in the middle of a
        download goes unnoticed and changed bytes never pass. With `wait` False that raises `BlockingIOError`:
        call again in a thread.
        """
        found = _opened(self._fd)
        if found is not None:
            if same(found, self._stat):
                return
            if same_but_ctime(found, self._stat) and self.admitted(wait):
                return
        raise _changing(self._file.filename)

    def fileno(self) -> int:
        """The descriptor, for who looks inside (interior)."""
        return self._fd

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise _changing(self._file.filename) from error

    def read_cached(self, offset: int, length: int) -> bytes | None:
        if not _NOWAIT:
            return None
        buffer = bytearray(min(length, max(self.size - offset, 0)))
        try:
            count = os.preadv(self._fd, [buffer], offset, _NOWAIT)
        except OSError:
            return None  # not in memory, or a file system that cannot say: `read` waits or explains
        return bytes(buffer) if count == len(buffer) else bytes(memoryview(buffer)[:count])

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _is_one(one: Stat, other: Stat) -> bool:
    """Whether two stats are of one inode."""
    return one.inode == other.inode and one.device == other.device


def _opened(fd: int) -> Stat | None:
    """The stat of a descriptor; None where it is no regular file, or a network mount has lost it."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return stat_of(status) if modes.S_ISREG(status.st_mode) else None


def _changing(name: str) -> Changing:
    return Changing(
        f"{name} is being written to: its bytes are not those that were listed. Try again in a moment.",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _scanned(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from entries
    except OSError:
        return


_ANYWHERE: list[int] = []


def _anywhere() -> int:
    if not _ANYWHERE:
        _ANYWHERE.append(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return _ANYWHERE[0]
