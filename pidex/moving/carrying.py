"""Bytes carried from one side to the other: what is there already stays, all is checked by its hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from pidex.backends import staging
from pidex.catalogue import relocation
from pidex.catalogue.relocation import Listed, Moved
from pidex.core.errors import Changing, Conflict, StorageFull
from pidex.core.folder import same_but_ctime
from pidex.core.model import Entry, Shelf, Stat
from pidex.moving.sides import Route, Side, Way

#: Files on their way at once, and files that are handed out before the first of them is waited for.
LANES, AHEAD = 8, 256
#: How much is read at once, in bytes, and how much space has to stay free.
BLOCK_BYTES, RESERVE_BYTES = 1024 * 1024, staging.RESERVE_BYTES

Progress = Callable[[int, int], None]


class Carrier:
    """Carries the files of all indexes, as often as it is asked to: what came since then, and no more."""

    def __init__(self, source: Side, target: Side) -> None:
        self._source, self._target = source, target
        self._there: dict[str, int] = {}  # what is in the target's bucket
        self._held: dict[str, int] = {}  # what is in the source's
        self._done: dict[tuple[int, str], tuple[str, Stat]] = {}
        self._signed: frozenset[tuple[int, str]] = frozenset()
        self._signatures: dict[tuple[int, str], bytes] = {}
        self._folders: set[tuple[int, str]] = set()

    def look(self) -> None:
        """See what is in the buckets now."""
        source, target = self._source.objects, self._target.objects
        self._there = dict(target.list_objects()) if target is not None else {}
        self._held = dict(source.list_objects()) if source is not None else {}
        self._signed = source.signed() if source is not None else frozenset()

    def carry(self, routes: Iterable[Route], progress: Progress) -> list[str]:
        """Have all bytes at the target; the names of those files whose bytes cannot be had.

        Raises `StorageFull` before the first of them where there is too little space.
        """
        self.look()
        work = [route for route in routes if route.way in (Way.BUCKET, Way.FOLDER)]
        total, size = 0, 0
        for route in work:
            for file in self._listed(route):
                total += 1
                size += 0 if self._is_done(route, file) else file.size
        self._room(work, size)
        missing: list[str] = []
        for number, (file, found) in enumerate(self._each(work), 1):
            if not found:
                missing.append(file.filename)
            progress(number, total)
        for root, folder in sorted(self._folders):
            self._target.storage.sync(root, folder)
        self._folders.clear()
        self._earlier()
        return missing

    def settle(self, route: Route) -> Iterator[Moved]:
        """Where each file of an index lies at the target, now that all bytes are there."""
        storage = self._target.storage
        for file in self._listed(route):
            root, path = self._place(route, file)
            if route.way is Way.BUCKET:
                from pidex.backends.objects.storage import stat_of  # noqa: PLC0415  # an extra

                stat = stat_of(file.sha256, file.size)
                yield Moved(file, root, path, stat, Shelf.KEPT, stat)
                continue
            place = storage.stat(root, path)
            if route.way is Way.LINKS and not (file.lies and self._same(file, place)):
                yield self._good(file)
                continue
            if place is None:
                raise Changing(f"{path} is not in its new folder any more.")
            kept = storage.keep(Entry(root, path, place), file.sha256)
            if kept is not None and kept.inode == place.inode:
                place = kept
            yield Moved(file, root, path, place, Shelf.FOLDER if kept is None else Shelf.KEPT, kept or place)

    def clear(self, route: Route) -> int:
        """Take away what an earlier run, or the first pass, brought and nobody lists any more; how many."""
        if route.way is not Way.FOLDER:
            return 0
        storage = self._target.storage
        wanted = {self._place(route, file) for file in self._listed(route)}
        surplus = [
            (found.root, found.path)
            for root in self._target.roots(route.index)
            for found in storage.list(root)
            if (found.root, found.path) not in wanted
        ]
        for root, path in surplus:
            storage.delete(root, path)
        return len(surplus)

    def lacking(self, routes: Iterable[Route]) -> Iterator[str]:
        """What the target should have and has not, in sentences; seen anew."""
        there = dict(self._target.objects.list_objects()) if self._target.objects is not None else {}
        for route in routes:
            for file in self._listed(route) if route.way in (Way.BUCKET, Way.FOLDER) else ():
                if route.way is Way.BUCKET:
                    size = there.get(file.sha256)
                else:
                    stat = self._target.storage.stat(*self._place(route, file))
                    size = None if stat is None else stat.size
                if size != file.size:
                    yield f"The bytes of {file.filename} are not at the target as they should be."

    # --- one file -------------------------------------------------------------------------------------------

    def _listed(self, route: Route) -> Iterator[Listed]:
        with self._source.catalogue.read() as conn:
            yield from relocation.listed(conn, route.index.id)

    def _place(self, route: Route, file: Listed) -> tuple[int, str]:
        """Where a file lies at the target."""
        from_bucket = self._source.in_bucket(file.root)
        path = route.path(file.key, file.filename, file.sha256, file.path, from_bucket=from_bucket)
        there, here = self._target.roots(route.index), self._source.roots(route.index)
        alike = not from_bucket and route.way is not Way.BUCKET and len(there) == len(here)
        return (there[here.index(file.root)] if alike else route.root), path

    def _is_done(self, route: Route, file: Listed) -> bool:
        if route.way is Way.BUCKET:
            return self._there.get(file.sha256) == file.size
        place = self._place(route, file)
        return self._done.get(place) == (file.sha256, self._target.storage.stat(*place))

    def _each(self, routes: Iterable[Route]) -> Iterator[tuple[Listed, bool]]:
        """Carry each file, several at once."""
        coming = ((route, file) for route in routes for file in self._listed(route))
        with ThreadPoolExecutor(LANES, "carry") as pool:
            while batch := [*islice(coming, AHEAD)]:
                ended = [pool.submit(self._carry, *each) for each in batch]
                for (_, file), future in zip(batch, ended, strict=True):
                    yield file, future.result()

    def _carry(self, route: Route, file: Listed) -> bool:
        """Have a file at the target, with its signature; whether its bytes could be had."""
        if not self._is_done(route, file):
            if route.way is Way.BUCKET:
                if not self._send(file.sha256, file.size, self._paths(file)):
                    return False
            elif not self._write(self._place(route, file), file):
                return False
        self._sign(file, self._place(route, file))
        return True

    def _send(self, sha256: str, size: int, paths: Iterable[Callable[[], str]]) -> bool:
        """Have bytes in the target's bucket."""
        objects = self._target.objects
        assert objects is not None, "no route leads into a bucket that is not there"
        for path in paths:
            try:
                found = objects.send(Path(path()), sha256)
            except Changing:
                found = False
            if found:
                self._there[sha256] = size
                return True
        return False

    def _paths(self, file: Listed) -> Iterator[Callable[[], str]]:
        """Where this machine has the bytes of a file, or comes to have them."""
        storage = self._source.storage
        yield lambda: storage.kept_path(file.sha256)
        yield lambda: storage.path(file.root, file.path)

    def _write(self, place: tuple[int, str], file: Listed) -> bool:
        """Have a file in its folder at the target."""
        (root, path), storage = place, self._target.storage
        there = storage.stat(root, path)
        if there is not None:
            if storage.digest(root, path) == file.sha256:
                self._done[place] = (file.sha256, there)
                return True
            storage.delete(root, path)  # what an earlier pass brought; whoever lists it has other bytes now
        folder = path.rpartition("/")[0]
        storage.make_folder(root, folder)
        for blocks in self._blocks(file):
            staged = storage.stage(root, size_hint=file.size)
            try:
                if _fill(staged.write, blocks) != file.sha256:
                    continue
                staged.sync()
                self._done[place] = (file.sha256, storage.put(staged, root, path, sync=False))
                self._folders.add((root, folder))
                return True
            except FileNotFoundError:  # the bucket lacks it
                continue
            finally:
                staged.discard()
        return False

    def _blocks(self, file: Listed) -> Iterator[Iterator[bytes]]:
        """The bytes of a file, from one place after another that should have them."""
        if self._source.in_bucket(file.root):
            yield self._source.storage.blocks(file.root, file.path) or iter(())
            return
        for path in self._paths(file):
            yield _read(path())

    def _sign(self, file: Listed, place: tuple[int, str]) -> None:
        """Have the signature of a file beside it."""
        storage, (root, path) = self._source.storage, place
        if self._source.in_bucket(file.root):
            first = (file.root, file.sha256)
            body = storage.beside(file.root, f"{file.path}.asc") if first in self._signed else None
        else:
            body = b"".join(_read(storage.path(file.root, f"{file.path}.asc"))) or None
        if body is None or self._signatures.get(place) == body:
            return
        staged = self._target.storage.stage(root)
        try:
            staged.write(body)
            staged.sync()
            self._target.storage.replace(staged, root, f"{path}.asc")
        finally:
            staged.discard()
        self._signatures[place] = body

    # --- where files stay -----------------------------------------------------------------------------------

    def _same(self, file: Listed, found: Stat | None) -> bool:
        """Whether a path of the folder has the bytes that the source lists."""
        if found is None or found.size != file.size:
            return False
        known = same_but_ctime(found, file.stat)
        return known or self._source.storage.digest(file.root, file.path) == file.sha256

    def _good(self, file: Listed) -> Moved:
        """The last good bytes of a file, at whose path are others: kept at the target, too."""
        self._keep(file.sha256)
        kept = self._target.storage.kept(file.sha256)
        if kept is None:
            raise Conflict(f"The bytes of {file.filename} are changing: try again when it is whole.")
        return Moved(file, file.root, file.path, None, Shelf.KEPT, kept)

    # --- bytes that names had before ------------------------------------------------------------------------

    def _earlier(self) -> None:
        """Have those at the target that can still be brought back."""
        with self._source.catalogue.read() as conn:
            wanted = relocation.earlier(conn)
        if self._target.objects is not None and not self._target.storage.folders:
            for sha256 in sorted(wanted - self._there.keys()):
                former = self._former(sha256)
                if former is not None:
                    self._send(sha256, os.path.getsize(former), [partial(str, former)])
            return
        if self._source.shared.resolve() != self._target.shared.resolve():
            for sha256 in sorted(wanted):
                self._keep(sha256)

    def _keep(self, sha256: str) -> None:
        """Have kept bytes in the target's data directory, where the source has them."""
        storage = self._target.storage
        if storage.kept(sha256) is not None:
            return
        former = self._former(sha256)
        if former is None:
            return
        path = Path(storage.kept_path(sha256))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = staging.stage(0, str(path.parent))
        try:
            if _fill(staged.write, _read(former)) == sha256:
                staged.sync()
                staging.put(staged, str(path.parent), path.name)
        finally:
            staged.discard()

    def _former(self, sha256: str) -> str | None:
        """Where this machine has bytes that are kept at the source, or has them now; None: they are gone."""
        storage = self._source.storage
        if sha256 in self._held or (storage.folders and storage.kept(sha256) is not None):
            with suppress(Changing):
                return storage.kept_path(sha256)
        return None

    def _room(self, routes: Iterable[Route], size: int) -> None:
        """Raise `StorageFull` where the folders of the target have too little space for so many bytes."""
        for route in routes:
            if route.way is Way.FOLDER:
                folder = self._target.storage.folders[route.root]
                found = os.statvfs(folder)
                free = found.f_bavail * found.f_frsize
                if free < size + RESERVE_BYTES:
                    raise StorageFull(
                        f"{size:,} bytes are to go to {folder}, and {free:,} are free there. Make room first."
                    )


def _fill(write: Callable[[bytes], None], blocks: Iterable[bytes]) -> str:
    """Write bytes as they come; their hash."""
    digest = hashlib.sha256()
    for block in blocks:
        write(block)
        digest.update(block)
    return digest.hexdigest()


def _read(path: str) -> Iterator[bytes]:
    """The bytes of a file; none where it cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block
