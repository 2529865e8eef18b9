"""A shim before `os` and `open`: the N-th call that pidex makes fails as a disk does."""

from __future__ import annotations

import _pyio  # type: ignore[import-not-found]
import builtins
import contextlib
import errno
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_CREATES = frozenset(
    {"open", "write", "pwrite", "fsync", "fdatasync", "link", "rename", "replace", "mkdir", "ftruncate"}
)
_READS = frozenset({"read", "pread", "preadv", "fstat", "stat", "lstat", "scandir", "statvfs", "fstatvfs"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: Which calls fail so, by the name of the error.
KINDS: dict[str, frozenset[str]] = {
    "ENOSPC": _CREATES,
    "EDQUOT": _CREATES,
    "EIO": _CREATES | _READS | {"unlink"},
    "EROFS": frozenset({"open", "link", "rename", "replace", "unlink", "mkdir", "ftruncate"}),
    "EMFILE": frozenset({"open", "scandir"}),
    "short write": frozenset({"write", "pwrite"}),
}
#: Those that mean that there is no space.
FULL = frozenset({"ENOSPC", "EDQUOT"})
_ALL = _CREATES | _READS | {"unlink"}
#: Modules through which pidex makes its calls. `_pyio` has files whose reads and writes are those of `os`.
_BETWEEN = frozenset(
    {"pathlib", "shutil", "contextlib", "tempfile", "genericpath", "posixpath", "os", "_pyio", "faults.shim"}
)


class Shim:
    """Stands before the calls that pidex makes of `os`; the N-th fails, and with `lasting` all after it.

    Calls of others (the HTTP server, asyncio, this harness) pass. SQLite makes its own: see `faults.sqlite`.
    """

    _passing = False

    def __init__(self, kind: str, number: int, *, lasting: bool = False) -> None:
        self._kind, self._number, self._lasting = kind, number, lasting
        self.seen = 0
        self.where = ""
        self._lock = threading.Lock()

    @staticmethod
    @contextlib.contextmanager
    def unguarded() -> Iterator[None]:
        """The harness's own calls, which succeed."""
        Shim._passing = True
        try:
            yield
        finally:
            Shim._passing = False

    @contextlib.contextmanager
    def standing(self) -> Iterator[Shim]:
        """In force within the block."""
        kept = {name: getattr(os, name) for name in _ALL}
        opened = builtins.open

        def open_ours(*args: Any, **kwargs: Any) -> Any:
            """Files of pidex are those of `_pyio`, so that none of their reads and writes passes unseen."""
            ours = not self._passing and _ours(sys._getframe(1))
            return (_pyio.open if ours else opened)(*args, **kwargs)

        for name, call in kept.items():
            setattr(os, name, self._guard(name, call))
        builtins.open = io.open = open_ours
        try:
            yield self
        finally:
            for name, call in kept.items():
                setattr(os, name, call)
            builtins.open = io.open = opened

    def _guard(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self._due(name, args):
                if self._kind != "short write":
                    code = getattr(errno, self._kind)
                    raise OSError(code, os.strerror(code))
                if len(args[1]) > 1:
                    return call(args[0], args[1][: len(args[1]) // 2], *args[2:], **kwargs)
            return call(*args, **kwargs)

        return guarded

    def _due(self, name: str, args: tuple[Any, ...]) -> bool:
        if self._passing or name not in KINDS[self._kind] or not _ours(sys._getframe(2)):
            return False
        if name == "open" and self._kind in ("ENOSPC", "EDQUOT", "EROFS") and not args[1] & _WRITING:
            return False
        with self._lock:
            self.seen += 1
            due = self.seen == self._number or (self._lasting and self.seen > self._number)
            if self.seen == self._number:
                self.where = f"{name} in {_caller(sys._getframe(2))}"
        return due


def _ours(frame: FrameType | None) -> bool:
    """Whether a call comes from pidex' own modules, by way of the library's or not."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in _BETWEEN and module not in _BETWEEN:
            return bool(module.startswith("pidex."))
        frame = frame.f_back
    return False


def _caller(frame: FrameType | None) -> str:
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith("pidex."):
            return f"{frame.f_globals['__name__']}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"
