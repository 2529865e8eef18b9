"""What lies in a folder: packages are seen, some things never, and what cannot be served is reported."""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pidex.core import names
from pidex.core.folder import is_sidecar
from pidex.core.model import Entry, Problem, Stat

#: The longest file name that every file system and archive tool takes, in bytes.
LONGEST_NAME_BYTES = 255

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
#: What a folder holds that is a git repository without a work tree.
_BARE = ("HEAD", "objects", "refs")
_SUFFIXES = tuple(kind.suffix for kind in names.EXTENSIONS)


class Listing:
    """The walk over roots, by their numbers. Remembers on which device each root was seen last."""

    def __init__(self, roots: Mapping[int, str]) -> None:
        self._roots = roots
        self._devices: dict[int, int] = {}

    def list(self, root: int, folder: str = "") -> Iterator[Entry | Problem]:
        """Every package-like file at or below `folder` of a root, which may also name a single file.

        Never seen: dot files and folders, temporary names, sidecars (`.asc`, `.metadata`, ...), and symlinked
        folders, at any depth, asked for by name too. Symlinked files are followed, also out of the root. What
        cannot be served is a `Problem`; nothing is raised for what lies in a folder, and nothing is yielded
        for what does not exist, except for a missing root (code `root-missing`, path '').
        """
        base = self._roots[root]
        try:
            fd = os.open(base, _DIRECTORY & ~os.O_NOFOLLOW)  # the root itself may be a link
        except OSError as error:
            yield Problem(root, "", "root-missing", f"the folder {base} cannot be read: {said(error)}")
            return
        try:
            if self._unmounted(root, fd):
                yield Problem(
                    root, "", "root-missing",
                    f"the folder {base} is empty and on another device than before: is a mount missing?",
                )  # fmt: skip
            elif folder:
                yield from self._at(root, fd, folder.strip("/").split("/"))
            else:
                yield from self._below(root, fd, "")
        finally:
            os.close(fd)

    def _unmounted(self, root: int, fd: int) -> bool:
        """Whether a mount went away and left its empty mount point: no reason to forget what lay on it."""
        device = os.fstat(fd).st_dev
        if self._devices.get(root, device) == device:
            self._devices[root] = device
            return False
        with os.scandir(fd) as entries:
            empty = next(entries, None) is None
        if not empty:
            self._devices[root] = device
        return empty

    def _at(self, root: int, base: int, parts: Sequence[str]) -> Iterator[Entry | Problem]:
        """What lies at a path below the root, found step by step as a walk from the root would find it."""
        fd, path = os.dup(base), ""
        try:
            for number, part in enumerate(parts):
                if part.startswith(".") or not part:
                    return
                status = os.stat(part, dir_fd=fd, follow_symlinks=False)
                if not modes.S_ISDIR(status.st_mode):
                    if number == len(parts) - 1:
                        linked = modes.S_ISLNK(status.st_mode)
                        item = self._file(root, path, part, _Named(part, fd, status), linked)
                        if item is not None:
                            yield item
                    return
                path += part + "/"
                opened = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = opened
                if _is_bare(fd):
                    yield _bare(root, path)
                    return
            yield from self._below(root, fd, path)
        except PermissionError as error:
            yield _shut(root, path, error)
        except OSError:
            return  # it went away on the way
        finally:
            os.close(fd)

    def _below(self, root: int, base: int, prefix: str) -> Iterator[Entry | Problem]:
        """Walk the folder that `base` is opened on; `prefix` is its path, with a slash at its end, or ''."""
        folders = [""]
        while folders:
            below = folders.pop()
            path = prefix + below
            plain = path.isascii()
            fd = base
            try:
                if below:
                    fd = os.open(below, _DIRECTORY, dir_fd=base)
                    if _is_bare(fd):
                        yield _bare(root, path)
                        continue
                with os.scandir(fd) as entries:
                    for entry in entries:
                        name = entry.name
                        if name[0] == ".":
                            continue
                        if plain and entry.is_file(follow_symlinks=False) and _is_plain(name):
                            try:
                                yield Entry(root, path + name, stat_of(entry.stat(follow_symlinks=False)))
                                continue
                            except OSError:
                                pass  # the long way says what is wrong
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(f"{below}{name}/")
                            continue
                        item = self._file(root, path, name, entry, entry.is_symlink())
                        if item is not None:
                            yield item
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away since its parent was read
            except OSError as error:
                yield _shut(root, path, error)
            finally:
                if fd != base:
                    os.close(fd)

    def _file(
        self, root: int, folder: str, name: str, entry: os.DirEntry[str] | _Named, linked: bool
    ) -> Entry | Problem | None:
        """What a listing says of one name that is no folder; None for what is never seen."""
        if not linked and not names.is_package(name):
            if names.is_temporary(name) or is_sidecar(name):
                return None
            return _problem(root, folder, name, "not-a-package", "its name ends as no package's does")
        if names.is_temporary(name):
            return None
        path = folder + name
        if not path.isascii() and _unspeakable(path):
            return _problem(root, folder, name, "bad-name", "its name is not UTF-8: rename it")
        try:
            status = entry.stat()
        except FileNotFoundError:
            if not linked:
                return None
            return _problem(root, folder, name, "broken-link", "it is a link to nothing")
        except OSError as error:
            if error.errno == errno.ELOOP:
                return _problem(root, folder, name, "loop", "it is a link that leads back to itself")
            return _problem(root, folder, name, "unreadable", f"it cannot be read: {said(error)}")
        if linked:
            if modes.S_ISDIR(status.st_mode) or is_sidecar(name):
                return None
            if not names.is_package(name):
                return _problem(root, folder, name, "not-a-package", "its name ends as no package's does")
        if not modes.S_ISREG(status.st_mode):
            return _problem(root, folder, name, "not-a-file", "it is a pipe, socket or device, not a file")
        if len(name) * 4 > LONGEST_NAME_BYTES and len(name.encode()) > LONGEST_NAME_BYTES:
            return _problem(root, folder, name, "bad-name", f"its name exceeds {LONGEST_NAME_BYTES} bytes")
        return Entry(root, path, stat_of(status))


class _Named(NamedTuple):
    """One name in an open folder, with as much of a directory entry as a listing asks for."""

    name: str
    folder: int
    status: os.stat_result

    def stat(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.folder) if modes.S_ISLNK(self.status.st_mode) else self.status


def _is_plain(name: str) -> bool:
    """Whether a name is a package's and nothing special is about it: the short way for most files."""
    return name.endswith(_SUFFIXES) and name.isascii() and len(name) < 256 and not names.is_temporary(name)


def stat_of(status: os.stat_result) -> Stat:
    return Stat(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def _is_bare(fd: int) -> bool:
    """Whether a folder is a git repository without a work tree: its files are not for serving (S13)."""
    try:
        for name in _BARE:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _bare(root: int, path: str) -> Problem:
    return Problem(root, path.rstrip("/"), "bare-repository", "it is a git repository: it is not entered")


def _shut(root: int, path: str, error: OSError) -> Problem:
    reason = f"the folder cannot be listed: {said(error)}; what was known of it stays"
    return Problem(root, _spoken(path.rstrip("/")), "folder-unreadable", reason)


def _problem(root: int, folder: str, name: str, code: str, reason: str) -> Problem:
    return Problem(root, _spoken(folder + name), code, reason)


def _unspeakable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False


def _spoken(path: str) -> str:
    r"""A path as text: bytes that are not UTF-8 as `\xNN`."""
    if not _unspeakable(path):
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def said(error: OSError) -> str:
    return error.strerror or str(error)
