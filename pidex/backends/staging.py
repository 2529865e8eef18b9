"""Files on their way into a folder: written without a name, then linked into place in one step."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat as modes
from collections.abc import Iterator

from pidex.core.errors import Conflict, Forbidden, StorageFull
from pidex.core.interfaces import Staged
from pidex.core.model import Stat

#: Space that a staging leaves free on the file system, in bytes: the catalogue must still be written.
RESERVE_BYTES = 64 * 1024 * 1024
#: How often that is asked for while a file grows, in bytes written.
RESERVE_STEP_BYTES = 64 * 1024 * 1024
#: How much is read at once to hash a file, in bytes.
HASH_BLOCK_BYTES = 1024 * 1024
#: Names of files that are being staged where a file must have one, and of links on their way to a rename.
PREFIX, SUFFIX = ".pidex-", ".part"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: What a file system says that knows no files without a name; EISDIR is said by kernels that do not.
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
#: What a file system says that knows no hard links, or does not let us make one.
_NO_LINK = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS})
_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
_MODE = 0o666  # and the umask


class StagedFile(Staged):
    """A staged file of one folder. `name` is its dot name, None where it has none."""

    def __init__(self, root: int, folder: str, *, reserve: int = RESERVE_BYTES) -> None:
        self.root = root
        self.size = 0
        self.folder = folder
        self._reserve = reserve
        self._asked = 0
        self.name: str | None = None
        self._fd = self._open()

    def _open(self) -> int:
        if _TMPFILE and os.path.isdir("/proc/self/fd"):
            try:
                return os.open(self.folder, _TMPFILE | os.O_RDWR | os.O_CLOEXEC, _MODE)
            except OSError as error:
                if error.errno not in _NO_TMPFILE or not os.path.isdir(self.folder):
                    raise
        self.name = temporary()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(f"{self.folder}/{self.name}", flags, _MODE)

    def write(self, data: bytes) -> None:
        """Append all of `data`. Raises `StorageFull`."""
        self.reserve(len(data))
        view = memoryview(data)
        with space(self.folder):
            while view:
                view = view[os.write(self._fd, view) :]
        self.size += len(data)

    def reserve(self, size: int) -> None:
        """Raise `StorageFull` where `size` more bytes would leave less than the reserve."""
        if self.size + size <= self._asked:
            return
        found = os.fstatvfs(self._fd)
        if found.f_bavail * found.f_frsize < size + self._reserve:
            raise _full(self.folder)
        self._asked = self.size + size + RESERVE_STEP_BYTES

    def fileno(self) -> int:
        return self._fd

    def stat(self) -> Stat:
        return of(os.fstat(self._fd))

    def sync(self, sha256: str = "") -> None:
        """Have the bytes on the disk. Raises `StorageFull`."""
        with space(self.folder):
            os.fsync(self._fd)

    def link(self, target: str) -> None:
        """Give the file a name beside its own, if it has one. Raises `FileExistsError`."""
        with space(self.folder):
            if self.name is None:
                # A directory descriptor makes Python use linkat, which alone follows the link in /proc.
                os.link(f"/proc/self/fd/{self._fd}", target, src_dir_fd=_root(), follow_symlinks=True)
                return
            try:
                os.link(f"{self.folder}/{self.name}", target, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                # No hard links here: claim the name with an empty file, and move over it.
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
                self.rename(target)
            else:
                os.unlink(f"{self.folder}/{self.name}")
                self.name = None

    def rename(self, target: str) -> None:
        """Give the file this name instead of whatever has it now."""
        with space(self.folder):
            if self.name is None:
                name = temporary()
                self.link(f"{self.folder}/{name}")
                self.name = name
            os.rename(f"{self.folder}/{self.name}", target)
            self.name = None

    def discard(self) -> None:
        fd, self._fd = self._fd, -1
        name, self.name = self.name, None
        if name is not None:
            with contextlib.suppress(OSError):
                os.unlink(f"{self.folder}/{name}")
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.discard()


def stage(root: int, folder: str, *, size_hint: int = 0, reserve: int = RESERVE_BYTES) -> StagedFile:
    """A new staged file for a folder. Raises `Forbidden` or `StorageFull`."""
    try:
        with space(folder):
            staged = StagedFile(root, folder, reserve=reserve)
    except OSError as error:
        raise Forbidden(_refused(folder, error.strerror or str(error))) from None
    try:
        staged.reserve(size_hint)
    except BaseException:
        staged.discard()
        raise
    return staged


def put(staged: Staged, folder: str, path: str, *, sync: bool = True) -> Stat:
    """Link a staged file to `path` below `folder`, and sync the folder. Raises `FileExistsError`.

    `sync` False leaves the syncing to the caller.
    """
    target = _target(staged, folder, path)
    _own(staged).link(target)
    if sync:
        sync_folder(os.path.dirname(target))
    return staged.stat()


def make_folder(folder: str, below: str) -> None:
    """Make the folder `below` another one, and those above it, for good. Never follows a link."""
    path = folder
    for part in below.split("/") if below else ():
        if part in (".", "..") or not part:
            raise ValueError(below)
        above, path = path, f"{path}/{part}"
        try:
            os.mkdir(path)
        except FileExistsError:
            if not modes.S_ISDIR(os.lstat(path).st_mode):
                raise Forbidden(_refused(above, f"{part} is no folder of its own")) from None
        except OSError as error:
            raise Forbidden(_refused(above, error.strerror or str(error))) from None
        else:
            sync_folder(above)


def replace(staged: Staged, folder: str, path: str) -> Stat:
    """Move a staged file to `path` below `folder` over what is there, and sync the folder."""
    target = _target(staged, folder, path)
    _own(staged).rename(target)
    sync_folder(os.path.dirname(target))
    return staged.stat()


def delete(folder: str, path: str) -> bool:
    """Unlink `path` below `folder`, and sync the folder. Raises `Forbidden` where that is not allowed."""
    target = f"{folder}/{path}"
    try:
        os.unlink(target)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Forbidden(_refused(os.path.dirname(target), error.strerror or str(error))) from None
    sync_folder(os.path.dirname(target))
    return True


def refusal(folder: str) -> str | None:
    """Why uploads do not go into this folder, or None."""
    if os.path.lexists(f"{folder}/.git"):
        return f"{folder} is a git work tree: add files to it by commit and push"
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return f"{folder} cannot be used: {error.strerror}"
    if found.f_flag & os.ST_RDONLY:
        return f"{folder} lies on a file system that is mounted read-only"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written by the user that runs pidex"
    return None


def fixed(folder: str, path: str) -> str | None:
    """Why the file at `path` below `folder` cannot be taken away, or None."""
    if os.path.lexists(f"{folder}/.git"):
        return f"{folder} is a git work tree: remove files from it by commit and push"
    return refusal(os.path.dirname(f"{folder}/{path}"))


def restore(kept: str, sha256: str, folder: str, path: str, *, over: bool) -> Stat:
    """Give kept bytes the name `path` below `folder` again, and sync the folder; its stat.

    A hard link, or a copy where none can be made. What is there already stays where it is these very bytes;
    other bytes are replaced with `over`, else `Conflict`. Raises `Forbidden` and `StorageFull`.
    """
    target = f"{folder}/{path}"
    if not over and os.path.lexists(target) and digest(target) == sha256:
        return of(os.stat(target))
    parent = os.path.dirname(target)
    name = f"{parent}/{temporary()}"
    try:
        os.makedirs(parent, exist_ok=True)
        with space(parent):
            try:
                os.link(kept, name, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                _copy(kept, name)
            try:
                if over:
                    os.rename(name, target)
                else:
                    os.link(name, target, follow_symlinks=False)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
    except FileExistsError:
        raise Conflict(f"{path} lies in the folder with other bytes: move it away first.") from None
    except OSError as error:
        raise Forbidden(_refused(parent, error.strerror or str(error))) from None
    sync_folder(parent)
    return of(os.stat(target))


def _copy(kept: str, name: str) -> None:
    with open(kept, "rb") as source, open(name, "xb") as copy:
        while block := source.read(HASH_BLOCK_BYTES):
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())


def digest(path: str) -> str | None:
    """The sha256 of the regular file at `path`; None where there is none, or it changed while it was read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        if not modes.S_ISREG(before.st_mode):
            return None
        hashed = hashlib.sha256()
        while block := os.read(fd, HASH_BLOCK_BYTES):
            hashed.update(block)
        return hashed.hexdigest() if of(os.fstat(fd)) == of(before) else None
    except OSError:
        return None
    finally:
        os.close(fd)


def sweep(folder: str) -> int:
    """Unlink dot names of stagings that a kill left behind; how many. Never while anybody stages."""
    swept = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
                    swept += 1
    return swept


def sync_folder(folder: str) -> None:
    """Have the names of a folder on the disk. Raises `StorageFull`."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with space(folder):
            os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(fd)


def temporary() -> str:
    """A dot name that no listing shows and nobody else has."""
    return f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"


def is_temporary(name: str) -> bool:
    """Whether this is the dot name of a staging."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def of(status: os.stat_result) -> Stat:
    """A stat as the model has it."""
    return Stat(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def _target(staged: Staged, folder: str, path: str) -> str:
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(path)
    return f"{folder}/{path}"


def _own(staged: Staged) -> StagedFile:
    if not isinstance(staged, StagedFile):
        raise TypeError("staged by another storage")
    return staged


@contextlib.contextmanager
def space(folder: str) -> Iterator[None]:
    """Says `StorageFull` where the system says that there is no space for what is done in `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _full(folder) from None
        raise


def _full(folder: str) -> StorageFull:
    return StorageFull(
        f"There is no space left for uploads in {os.path.basename(folder) or folder}. "
        "Free some on the server, or have its operator do so."
    )


def _refused(folder: str, why: str) -> str:
    return f"Nothing can be uploaded here: the folder {os.path.basename(folder) or folder} says {why!r}."


_ROOT: list[int] = []


def _root() -> int:
    if not _ROOT:
        _ROOT.append(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return _ROOT[0]
