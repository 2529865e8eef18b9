"""Daily copies of a SQLite catalogue: taken while it is written, checked, and kept in a small number."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pidex.catalogue import connections
from pidex.catalogue.refusals import damaged, translated
from pidex.core.errors import CatalogueError, StorageFull

#: How many snapshots stay.
KEEP = 7
#: Seconds between two.
INTERVAL = 86_400

_NAME = re.compile(r"catalogue-(\d{8}T\d{6})Z-(daily|migration|asked)\.db\Z")
_STAMP = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One copy. `taken` in Unix seconds; `why` is 'daily', 'migration' or 'asked'; `size` in bytes."""

    path: Path
    taken: float
    why: str
    size: int


def folder_of(catalogue: Path) -> Path:
    """Where the snapshots of a catalogue file lie."""
    return catalogue.parent / "snapshots"


def list(folder: Path) -> Sequence[Snapshot]:  # noqa: A001
    """The finished snapshots in a folder, newest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        match = _NAME.match(name)
        if match is not None:
            taken = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).timestamp()
            path = folder / name
            found.append(Snapshot(path, taken, match[2], path.stat().st_size))
    return sorted(found, key=lambda snapshot: (snapshot.taken, snapshot.path.name), reverse=True)


def due(folder: Path, now: float, interval: float = INTERVAL) -> bool:
    """Whether the newest snapshot is older than `interval` seconds, or dated in the future."""
    newest = next(iter(list(folder)), None)
    return newest is None or not 0 <= now - newest.taken < interval


def take(catalogue: Path, folder: Path, now: float, *, why: str = "daily", keep: int = KEEP) -> Snapshot:
    """Copy the catalogue file into `folder`, check the copy, then drop all but the `keep` newest.

    Writers go on meanwhile; the copy is one consistent state with what was in the write-ahead log.
    Raises `CatalogueError` where the copy is damaged: then no older snapshot is dropped; `StorageFull`.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP)
    target = folder / f"catalogue-{stamp}Z-{why}.db"
    part = folder / f".taking-{os.getpid()}.db"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(".taking-*"):  # of one that was killed: only one process takes snapshots
            left.unlink(missing_ok=True)
        # Made here and not by SQLite: it is for the owner's eyes only.
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        _copy(catalogue, part)
        _sync(part)
        part.replace(target)
        _sync(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"There is no space left for a snapshot in {folder}.") from error
        raise CatalogueError(f"No snapshot can be written to {folder}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    for old in list(folder)[max(keep, 1) :]:
        old.path.unlink(missing_ok=True)
    taken = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    return Snapshot(target, taken, why, target.stat().st_size)


def restore(catalogue: Path, snapshot: Path, now: float) -> Path | None:
    """Put a snapshot in the catalogue's place; returns where the old catalogue lies now, None without one.

    For who holds the data directory. The snapshot is copied and the copy checked before anything is moved, so
    that a cut leaves the old catalogue or the new one. Raises `CatalogueError`, `StorageFull`.
    """
    part = catalogue.with_name(f".restoring-{os.getpid()}.db")
    stamp = datetime.fromtimestamp(now, UTC).strftime(_STAMP)
    aside = catalogue.with_name(f"{catalogue.name}.replaced-{stamp}Z")
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        _copy(snapshot, part)
        _sync(part)
        existed = catalogue.exists()
        if existed:
            # The log belongs to the old file: it goes with that, and never stays beside the new one.
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{catalogue}{suffix}", f"{aside}{suffix}")
            os.link(catalogue, aside)
        part.replace(catalogue)
        _sync(catalogue.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"There is no space left to restore {catalogue}.") from error
        raise CatalogueError(f"{catalogue} cannot be restored: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return aside if existed else None


def copy(catalogue: Path, target: Path) -> None:
    """Copy a catalogue file as it is now into a new file, and check that. Raises `CatalogueError`."""
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    _copy(catalogue, target)


def settle(catalogue: Path) -> None:
    """Have all of a catalogue that nobody else has open in its one file, on the disk."""
    with translated(str(catalogue)), closing(sqlite3.connect(catalogue)) as copied:
        copied.execute("PRAGMA journal_mode=DELETE")
    _sync(catalogue)


def _copy(catalogue: Path, target: Path) -> None:
    existing = f"{catalogue.absolute().as_uri()}?mode=rw"
    with (
        translated(str(catalogue)),
        closing(sqlite3.connect(existing, uri=True, timeout=connections.BUSY_SECONDS)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        # The copy says of itself that it has a write-ahead log: as a single file it needs none.
        copy.execute("PRAGMA journal_mode=DELETE")
        found = [row[0] for row in copy.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise damaged(str(catalogue), found[0].replace("\n", " "))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
