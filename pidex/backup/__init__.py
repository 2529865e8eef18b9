"""Backups: one consistent state of catalogue and files, taken while the server works, and put back."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pidex import __version__
from pidex.backends.repositories import Repositories
from pidex.backends.vault import Vault, digest
from pidex.backup import manifest as manifests
from pidex.backup.manifest import BLOBS, CATALOGUE, Kept, Manifest
from pidex.catalogue import audit, comparison, indexes, journal, schema, snapshots
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Conflict, Forbidden, StorageFull
from pidex.core.folder import roots_of
from pidex.core.interfaces import Clock, Storage

#: So often the catalogue is taken again where files went between it and them.
ROUNDS = 3
#: Seconds that a push may keep a backup waiting.
LOCK_SECONDS = 60.0
#: What is beside a file and belongs to it, where it is there.
SIDECARS = (".asc",)
#: Files of the data directory that are kept as they are.
DATA = ("instance",)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

#: What long work tells: files done, and files in all.
Progress = Callable[[int, int], None]
#: Called at each named step: for tests that cut there.
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A finished backup. `fresh`: files that were not in an earlier one; `copied`: bytes that took space.

    `objects`: what lies in a bucket, and is only named.
    """

    path: str
    files: int
    bytes: int
    fresh: int
    copied: int
    missing: tuple[str, ...]
    dropped: tuple[str, ...]
    objects: int = 0


@dataclass(slots=True)
class _Taking:
    """What is put together for a manifest. `known`: what the last one said of stored bytes."""

    vault: Vault
    known: Mapping[str, tuple[int, int]]
    link: bool
    blobs: dict[str, tuple[int, int]] = field(default_factory=dict)
    files: dict[int, list[Kept]] = field(default_factory=dict)
    kept: list[tuple[str, int]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    fresh: int = 0

    def has(self, sha256: str) -> bool:
        """Whether sound bytes of a hash are stored already."""
        if sha256 in self.blobs:
            return True
        blob = self.vault.find(sha256)
        # Linked bytes may have been written to since: then their time is another one.
        if blob is None or (tuple(blob) != self.known.get(sha256) and not self.vault.sound(sha256)):
            return False
        self.blobs[sha256] = (blob.size, blob.mtime_ns)
        return True

    def store(self, source: str | Path, sha256: str, *, link: bool) -> bool:
        """Store bytes; whether they had that hash."""
        blob = self.vault.store(source, sha256, link=link)
        if blob is not None:
            self.blobs[sha256] = (blob.size, blob.mtime_ns)
            self.fresh += 1
        return blob is not None


class Backups:
    """Takes backups of a data directory and the folders that it serves. Beside a server or without one."""

    def __init__(
        self, catalogue: Path, storage: Storage, repositories: Repositories, *, data: Path, clock: Clock
    ) -> None:
        self._catalogue, self._storage, self._repositories = catalogue, storage, repositories
        self._data, self._clock = data, clock

    def take(
        self,
        target: Path,
        *,
        keep: int = 0,
        link: bool = False,
        settings: Mapping[str, Any] | None = None,
        config: Sequence[Path] = (),
        progress: Progress = lambda done, total: None,
        step: Step = lambda name: None,
    ) -> Taken:
        """Take a backup into a folder of backups, which share their bytes.

        The catalogue comes first, in one consistent state; then every file that it knows, by its hash. Where
        one went in between, another catalogue is taken: a backup never lacks what its catalogue lists, or
        says so (`missing`). `link`: hard links where blocks cannot be shared and the file system is the
        same. They move the ctime of what is linked, so that it is read again, and lead to whatever is written
        into it later.
        `keep`: drop all but the newest so many, 0 for none. A cut leaves the older backups whole.

        Raises `Conflict` while another one is taken there, `StorageFull`, `CatalogueError`.
        """
        with _space(target), _alone(target):
            for left in target.glob(".taking-*"):
                shutil.rmtree(left, ignore_errors=True)
            now = self._clock()
            name = datetime.fromtimestamp(now, UTC).strftime(manifests.STAMP)
            part = target / f".taking-{name}"
            part.mkdir(mode=0o700)
            vault = Vault(target / BLOBS)
            made = _Taking(vault, self._known(target), link)
            for left_rounds in range(ROUNDS - 1, -1, -1):
                step("catalogue")
                snapshots.copy(self._catalogue, part / CATALOGUE)
                step("files")
                made = _Taking(vault, made.known, link)
                found = self._files(part / CATALOGUE, made, progress)
                if not made.missing or not left_rounds:
                    break
            step("data")
            found = replace(found, data=self._others(made), settings={**(settings or {})})
            found = replace(found, taken=now, config=self._config(made, config), blobs=made.blobs)
            step("manifest")
            manifests.write(part, found)
            _sync(part)
            step("name")
            part.rename(target / name)
            _sync(target)
            step("prune")
            dropped = self._prune(target, vault, keep)
        hashes = found.hashes
        return Taken(
            str(target / name), sum(map(len, found.files.values())), sum(hashes.values()), made.fresh,
            vault.copied, tuple(found.missing), dropped, len(found.objects),
        )  # fmt: skip

    # --- what goes in ---------------------------------------------------------------------------------------

    def _files(self, copied: Path, made: _Taking, progress: Progress) -> Manifest:
        """Store what a copy of the catalogue knows of; the manifest as far as it goes."""
        with closing(Catalogue.open(copied, create=False)) as opened, opened.read() as conn:
            serial, head = journal.serial(conn), audit.head(conn)
            revision = schema.stored(conn) or ""
            places = [
                place
                for index in indexes.list(conn)
                for place in comparison.list_whole(conn, index.id)
                if place.root in roots_of(self._storage.roots, index.name, index.id)
            ]
            listed = comparison.hashes(conn)
        named = [place for place in places if place.root not in self._storage.folders]
        places = [place for place in places if place.root in self._storage.folders]
        snapshots.settle(copied)
        kept = {each.sha256: each.stat.size for each in self._storage.list_kept()}
        total = len(places) + len(kept)
        for number, place in enumerate(places):
            progress(number, total)
            sha256, path = place.sha256 or "", self._storage.path(place.root, place.path)
            if self._store(made, sha256, place.stat.size, path):
                entry = Kept(place.path, sha256, place.stat.size, place.stat.mtime_ns, _mode(path))
                made.files.setdefault(place.root, []).append(entry)
                self._beside(made, place.root, place.path)
            else:
                made.missing.append(place.path)
        for number, (sha256, size) in enumerate(kept.items(), len(places)):
            progress(number, total)
            if self._store(made, sha256, size, self._storage.kept_path(sha256)):
                made.kept.append((sha256, size))
        # What a bucket has is named, and not copied: the bucket is backed up by its own means.
        objects = sorted({(place.sha256 or "", place.stat.size) for place in named})
        made.missing += sorted(listed - set(made.blobs) - {sha256 for sha256, _ in objects})
        return Manifest(
            taken=0.0, program=__version__, revision=revision, serial=serial, audit=head,
            data_dir=str(self._data), catalogue=(digest(copied), copied.stat().st_size),
            roots=dict(self._storage.folders), files=made.files, kept=made.kept, missing=made.missing,
            bucket=self._storage.bucket, objects=objects,
        )  # fmt: skip

    def _store(self, made: _Taking, sha256: str, size: int, path: str) -> bool:
        """Have the bytes of a hash stored, from a path or from the kept copy; whether they are."""
        if made.has(sha256):
            return True
        for source in (path, self._storage.kept_path(sha256)):
            with suppress(FileNotFoundError, PermissionError, IsADirectoryError):
                if os.path.getsize(source) == size and made.store(source, sha256, link=made.link):
                    return True
        return False

    def _beside(self, made: _Taking, root: int, path: str) -> None:
        """Signatures and the like, which are served and in no catalogue."""
        for end in SIDECARS:
            found = self._plain(made, Path(self._storage.path(root, path + end)), path + end)
            if found is not None:
                made.files[root].append(found)

    def _plain(self, made: _Taking, path: Path, name: str) -> Kept | None:
        """Store a file as it is now, by a copy; None where there is none, or it changes all the time."""
        for _ in range(ROUNDS):
            try:
                if not path.is_file() or path.is_symlink():
                    return None
                status, sha256 = path.stat(), digest(path)
                if made.has(sha256) or made.store(path, sha256, link=False):
                    return Kept(name, sha256, status.st_size, status.st_mtime_ns, status.st_mode & 0o7777)
            except OSError as error:
                if error.errno in _FULL:
                    raise
                break
        made.missing.append(name)
        return None

    def _others(self, made: _Taking) -> list[Kept]:
        """The git repositories, each while nobody pushes to it, and what else the data directory needs."""
        found = [self._plain(made, self._data / name, name) for name in DATA]
        for index in self._repositories.list():
            folder = self._repositories.path(index)
            with self._repositories.lock(index, seconds=LOCK_SECONDS):
                for path in sorted(folder.rglob("*")):
                    found.append(self._plain(made, path, str(path.relative_to(self._data))))
        return [each for each in found if each is not None]

    def _config(self, made: _Taking, config: Sequence[Path]) -> list[Kept]:
        found = [self._plain(made, path, str(path).lstrip("/")) for path in config]
        return [each for each in found if each is not None]

    def _known(self, target: Path) -> Mapping[str, tuple[int, int]]:
        """What the newest backup said of stored bytes."""
        for each in manifests.list_backups(target):
            with suppress(Exception):
                return manifests.read(each).blobs
        return {}

    def _prune(self, target: Path, vault: Vault, keep: int) -> tuple[str, ...]:
        """Drop old backups, then bytes that none of the others has."""
        if keep < 1:
            return ()
        old = manifests.list_backups(target)[keep:]
        for each in old:
            aside = each.with_name(f".taking-{each.name}")
            each.rename(aside)
            shutil.rmtree(aside)
        needed: set[str] = set()
        for each in manifests.list_backups(target):
            needed.update(manifests.read(each).hashes)
        for sha256 in [*vault.list()] if old else ():
            if sha256 not in needed:
                vault.drop(sha256)
        return tuple(each.name for each in old)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode & 0o777
    except OSError:
        return 0o644


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Be the only one who takes a backup into a folder, which is made where there is none."""
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(target / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise Forbidden(f"No backup can be written to {target}: {error.strerror}.") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise Conflict(f"Another backup is being taken into {target}. Wait until it is done.") from None
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def _space(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"There is no space left for a backup in {target}.") from None
        raise


def _sync(folder: Path) -> None:
    """Have a folder, and everything that was written before, on the disk."""
    os.sync()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
