"""The seams: what pidex asks of a clock, of storage and of a reader of archives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from pidex.core.model import Entry, File, Look, Problem, Stat
from pidex.core.upstreams import Held, UpstreamFile, UpstreamPage


class Clock(Protocol):
    """Time comes from outside. Both in Unix seconds."""

    def __call__(self) -> float: ...


class Handle(Protocol):
    """An open, checked file. Every read is bracketed by `check`; a failed check means: cut the response."""

    size: int

    def check(self, *, wait: bool = True) -> None:
        """Raise `Changing` where the file on disk is no longer the admitted one (fstat differs).

        With `wait` False, `BlockingIOError` where the file would have to be hashed to know: call again in a
        thread.
        """

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; may block on the disk."""

    def read_cached(self, offset: int, length: int) -> bytes | None:
        """As `read`, but None where the disk would have to be waited for (RWF_NOWAIT)."""

    def close(self) -> None: ...


class KeptFile(NamedTuple):
    """A kept copy: its hash, its stat, and how many names its bytes have in all."""

    sha256: str
    stat: Stat
    links: int


class Staged(Protocol):
    """A file on its way into a root: bytes and no name yet. Gone when it is discarded or we die."""

    root: int
    size: int

    def write(self, data: bytes) -> None:
        """Append; may block on the disk. Raises `StorageFull`."""

    def fileno(self) -> int:
        """The open descriptor, for who inspects it."""

    def stat(self) -> Stat:
        """What it is now."""

    def sync(self, sha256: str = "") -> None:
        """Have the bytes on the disk when this returns. Raises `StorageFull`.

        `sha256`: their hash, where the caller has it. A bucket then has them; without it, when they are put.
        """

    def discard(self) -> None:
        """Let it go: closed, and gone where it was not put. Any number of times."""


class Storage(Protocol):
    """A place for bytes. The contract suite in tests/contracts/ runs on every implementation."""

    @property
    def roots(self) -> Mapping[int, str]:
        """The folders of all indexes as absolute paths, by their numbers (`core.folder.roots_of`).

        That of an index in a bucket is the bucket's URL.
        """

    @property
    def folders(self) -> Mapping[int, str]:
        """Those of them that are folders of this machine."""
        return self.roots

    @property
    def bucket(self) -> str | None:
        """The URL of the bucket that has the files of indexes without folders; None: there is none."""
        return None

    def place(self, root: int, filename: str, sha256: str) -> str:
        """The path that a new file gets in a root."""
        return filename

    def add(self, roots: Mapping[int, str]) -> None:
        """Learn of the folders of further indexes, by their numbers."""

    def list(self, root: int, folder: str = "") -> Iterator[Entry | Problem]:
        """Every package-like file at or below `folder` of a root, which may name a file.

        Never dot names, temporary names, sidecars or linked folders.
        """

    def stat(self, root: int, path: str) -> Stat | None:
        """What lies at a path now, or None."""

    def path(self, root: int, path: str) -> str:
        """The absolute path of a place; of one in a bucket, where its bytes are on this machine by now."""

    def lend(self, entry: Entry) -> tuple[str, Stat]:
        """A path on this machine that has the bytes of a file, and the stat that they must have there."""
        return self.path(entry.root, entry.path), entry.stat

    def blocks(self, root: int, path: str) -> Iterator[bytes] | None:
        """The bytes of a place as the bucket has them now; None: they lie in a folder."""
        return None

    def refill(self, sha256: str) -> bool:
        """Send bytes to the bucket once more from this machine; whether it had them, sound."""
        return False

    def beside(self, root: int, path: str) -> bytes | None:
        """The signature that a bucket has of a file."""
        return None

    def keep(self, entry: Entry, sha256: str, *, instead_of: str | None = None) -> Stat | None:
        """Give the bytes a second name in the data directory; its stat, or None where that is impossible.

        `instead_of`: the bytes that the file's name had before. Raises `Changing` where the file is no longer
        the one that was looked into.
        """

    def kept(self, sha256: str) -> Stat | None:
        """The stat of the kept copy, or None."""

    def kept_path(self, sha256: str) -> str:
        """The absolute path of the kept copy, there or not."""

    def sound(self, sha256: str) -> Stat | None:
        """The stat of the kept copy where its bytes still have that hash (read now, if need be), or None."""

    def release(self, sha256s: Iterable[str]) -> None:
        """Drop kept copies."""

    def list_kept(self) -> Iterator[KeptFile]:
        """Every kept copy."""

    def refusal(self, root: int) -> str | None:
        """Why nothing can be put into a root (read-only, a git work tree, missing), or None: it can."""

    def stage(self, root: int, *, size_hint: int = 0) -> Staged:
        """A new file for a root, on its file system. `size_hint`: the bytes that are expected.

        Raises `Forbidden` where the root takes none, `StorageFull` where less than a reserve would be left.
        """

    def make_folder(self, root: int, folder: str) -> None:
        """Have a folder below a root, with those above it. Raises `Forbidden`, also where one is a link."""

    def put(self, staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
        """Give a staged file its name, in one step and for good (the folder is synced). Its stat by then.

        `sync` False: for good only once `sync` of its folder has returned.
        Raises `FileExistsError` where there is anything at `path`, which stays as it is.
        """

    def sync(self, root: int, folder: str = "") -> None:
        """Have the names that are directly in a folder of a root on the disk when this returns."""

    def replace(self, staged: Staged, root: int, path: str) -> Stat:
        """As `put`, in the place of what is there: a reader sees the one or the other."""

    def delete(self, root: int, path: str) -> bool:
        """Take a name away, for good; whether there was one."""

    def fixed(self, root: int, path: str) -> str | None:
        """Why the file at a path cannot be taken away (read-only, a git work tree), or None."""

    def restore(self, sha256: str, root: int, path: str, *, over: bool = False) -> Stat:
        """Give kept bytes a name in a root again, in one step and for good; its stat.

        The same bytes at `path` stay as they are; others are replaced with `over`, else `Conflict`.
        Raises `Forbidden` where the root takes no files.
        """

    def digest(self, root: int, path: str) -> str | None:
        """The sha256 of what lies at a path, read now; None where that is no file or it moved meanwhile."""

    def sweep(self) -> int:
        """Remove what stagings left behind that nobody finishes any more; how many. For a start only."""

    def open(self, file: File, *, wait: bool = True) -> Handle:
        """Open a listed file for serving. Raises `Changing` where it is not the admitted one any more.

        With `wait` False, `BlockingIOError` where the file would have to be hashed to know: call again in a
        thread.
        """

    def close(self) -> None:
        """End what goes on in the background."""

    def link(self, file: File) -> str | None:
        """A URL at which a bucket itself hands out a file for some minutes; None: it is sent from here."""
        return None


class Inspector(Protocol):
    """Looks into archives in limited children (backends.sandbox)."""

    def inspect(self, path: str, entry: Entry, check: str) -> Look:
        """Hash and read one file (`path` absolute). Never raises for what the file contains.

        `check` is 'whole', 'strict' (the facts have `framing` too) or 'none'. The look is UNREAD where the
        file changed while it was read.
        """

    def examine(self, descriptor: int, entry: Entry, check: str) -> Look:
        """As `inspect`, of an open file that is complete: nothing of it is still to come.

        The descriptor stays open, and its position where it is.
        """


class Unchanged(NamedTuple):
    """An upstream's page is still the one that is held."""


class Transfer(Protocol):
    """The bytes of an upstream's file on their way. `size` in bytes, -1 where the upstream does not say.

    `offset` is where they begin: 0 where the upstream does not do ranges.
    """

    size: int
    offset: int
    last_modified: str | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Upstream(Protocol):
    """Another index. The contract suite in tests/contracts/ runs on every implementation.

    Every method raises `UpstreamDown` where it does not answer (within its time-outs, at once while it is
    known to be down) and `UpstreamFault` where its answer cannot be used. For one event loop.
    """

    @property
    def name(self) -> str: ...

    async def project(
        self, project: str, held: UpstreamPage | None = None
    ) -> UpstreamPage | Unchanged | None:
        """Its page of a project (normalised name); `Unchanged` since `held`; None where it has none."""

    async def names(self, etag: str | None = None) -> tuple[str | None, Iterable[str]] | Unchanged:
        """Its project names as it spells them, and the tag to ask again with; `Unchanged` since `etag`."""

    async def metadata(self, file: UpstreamFile) -> bytes:
        """The core metadata of a wheel, checked: by `.metadata`, else out of the wheel by ranges.

        `NotFound` where neither can be had: the caller may read the whole wheel.
        """

    async def describe(self, file: UpstreamFile) -> UpstreamFile:
        """The file with size and time where its page left them out and HEAD tells."""

    def download(self, file: UpstreamFile, *, offset: int = 0) -> AbstractAsyncContextManager[Transfer]:
        """Its bytes from `offset` on, as they come. `NotFound` where it lists the file and lacks it."""

    async def close(self) -> None: ...


class Mirrored(Protocol):
    """What is held of upstreams, for who resolves: never asks an upstream, never waits for one."""

    def find_page(
        self, upstream: str, project: str, *, confirm: bool = True, wait: bool = True
    ) -> Held | None:
        """What is held of a page; None: it was never asked for. `UpstreamDown` where that failed lately.

        `confirm`: a stale one is confirmed in the background. Without `wait`, `BlockingIOError` where the
        disk has to be asked.
        """

    def list_pages(self, upstream: str) -> Iterator[str]:
        """The projects of which a page is held, sorted."""

    def list_names(self, upstream: str) -> Iterator[str]:
        """The normalised names of the stored list, sorted; none where none was fetched."""

    def has_name(self, upstream: str, project: str) -> bool:
        """Whether the stored list, or a held page, has the project."""

    def find_metadata(self, file: File, *, wait: bool = True) -> bytes | None:
        """The core metadata of a mirrored file, where it is held. `wait` as for `find_page`."""

    def unmet(self, files: Sequence[File]) -> Sequence[File]:
        """Those of mirrored files whose metadata is not held, and was not asked for in vain lately."""
        return ()

    def yanked_since(self, upstream: str, project: str) -> Mapping[str, int]:
        """When each yanked file of a page was first seen yanked, in microseconds since 1970, by its name."""
