"""The seams: what pidex asks of a clock, of storage and of a reader of archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from pidex.core.model import Entry, File, Look, Problem, Stat


class Clock(Protocol):
    """Time comes from outside. Both in Unix seconds."""

    def __call__(self) -> float: ...


class Handle(Protocol):
    """An open, checked file. Every read is bracketed by `check`; a failed check means: cut the response."""

    size: int

    def check(self) -> None:
        """Raise `Changing` where the file on disk is no longer the admitted one (fstat differs)."""

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; may block on the disk."""

    def read_cached(self, offset: int, length: int) -> bytes | None:
        """As `read`, but None where the disk would have to be waited for (RWF_NOWAIT)."""

    def close(self) -> None: ...


class Storage(Protocol):
    """A place for bytes. The contract suite in tests/contracts/ runs on every implementation."""

    def list(self, root: int, folder: str = "") -> Iterator[Entry | Problem]:
        """Every package-like file below `folder` of a root; never dot names, temporary names, linked folders."""

    def stat(self, root: int, path: str) -> Stat | None:
        """What lies at a path now, or None."""

    def keep(self, entry: Entry, sha256: str) -> Stat | None:
        """Give the bytes a second name in the data directory; the stat after it, or None where that is impossible."""

    def kept(self, sha256: str) -> Stat | None:
        """The stat of the kept copy, or None."""

    def release(self, sha256s: Iterable[str]) -> None:
        """Drop kept copies."""

    def open(self, file: File) -> Handle:
        """Open a listed file for serving. Raises `Changing` where it is not the admitted one any more."""


class Inspector(Protocol):
    """Looks into archives in limited children (backends.sandbox)."""

    def inspect(self, path: str, entry: Entry, check: str) -> Look:
        """Hash and read one file (`path` absolute). Never raises for what the file contains.

        `check` is 'whole' or 'none'. The look is UNREAD where the file changed while it was read.
        """
