"""Putting a backup back: everything is checked and staged first, then recorded, and only then renamed."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pidex.backends.vault import Vault, clone, copy, digest, there
from pidex.backup import manifest as manifests
from pidex.backup.manifest import BLOBS, CATALOGUE, Kept, Manifest
from pidex.catalogue import journal, restoration, snapshots
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import BadRequest, Conflict, Forbidden, PidexError, StorageFull
from pidex.core.interfaces import Clock
from pidex.core.model import Principal, Stat

#: In the data directory: what a restore that has passed its last check still has to do.
RECORD = "restoring.json"
#: Names of what is staged, and of what it replaced.
STAGED, REPLACED = "restoring", "replaced"

Progress = Callable[[int, int], None]
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Restored:
    """A finished restore. `replaced`: where what was there before is now; `burnt`: names that stay burnt."""

    backup: str
    data: str
    folders: tuple[str, ...]
    files: int
    serial: int
    burnt: int
    replaced: tuple[str, ...]


def check(backup: Path, progress: Progress = lambda done, total: None) -> Manifest:
    """Read every byte of a backup. Raises `NotFound`, or `BadRequest` naming what is damaged."""
    found = manifests.read(backup)
    vault = Vault(backup.parent / BLOBS)
    bad: list[str] = []
    with suppress(OSError):
        if digest(backup / CATALOGUE) != found.catalogue[0]:
            bad.append(CATALOGUE)
    if not there(backup / CATALOGUE):
        bad.append(CATALOGUE)
    hashes = sorted(found.hashes)
    for number, sha256 in enumerate(hashes):
        progress(number, len(hashes))
        if not vault.sound(sha256):
            bad.append(sha256)
    if bad:
        named = ", ".join(sorted(set(bad))[:5])
        raise BadRequest(
            f"The backup {backup} is damaged: {len(set(bad))} of its files are missing or have other bytes"
            f" ({named}). Nothing was changed. Restore an older one."
        )
    return found


class Restore:
    """One restore into a data directory whose lock the caller holds, and into folders by their numbers."""

    def __init__(
        self, backup: Path, data: Path, folders: Mapping[int, Path], *, clock: Clock, by: Principal
    ) -> None:
        self._backup, self._data, self._clock, self._by = backup, data, clock, by
        self._folders = dict(folders)
        self._id = secrets.token_hex(8)
        self._stage = data / f"{STAGED}-{self._id}"
        self._vault = Vault(backup.parent / BLOBS)

    def run(self, progress: Progress = lambda done, total: None, step: Step = lambda name: None) -> Restored:
        """Check, stage, and switch. A cut before the switch leaves what was there as it was; later, `resume`
        goes on, which each start calls.

        Raises `BadRequest` for a damaged backup, `Conflict` and `Forbidden` for a folder that has to stay,
        `StorageFull`.
        """
        with _space(self._data):
            return self._run(progress, step)

    def _run(self, progress: Progress, step: Step) -> Restored:
        resume(self._data)
        step("check")
        found = check(self._backup, progress)
        targets = {number: self._target(found, number) for number in found.roots}
        for number, target in targets.items():
            self._replaceable(target, found.roots[number])
        try:
            step("stage")
            self._stage.mkdir(mode=0o700)
            staged = {
                number: target.parent / f".{target.name}.{STAGED}-{self._id}"
                for number, target in targets.items()
            }
            _write(self._stage / "staged.json", [str(path) for path in staged.values()])
            stats, kept = self._files(found, staged, step)
            step("catalogue")
            burnt, serial = self._catalogue(found, stats, kept, targets)
            moves = self._moves(staged, targets)
            step("sync")
            os.sync()
            step("record")
            _write(self._data / RECORD, {"id": self._id, "moves": moves})
        except BaseException:
            if not there(self._data / RECORD):
                clean(self._data)
            raise
        replaced = resume(self._data, step)
        return Restored(
            str(self._backup), str(self._data), tuple(map(str, targets.values())),
            sum(map(len, found.files.values())), serial, burnt, replaced,
        )  # fmt: skip

    def _target(self, found: Manifest, number: int) -> Path:
        """Where a folder goes: as asked, else to where it lay, from the data directory if it was in there."""
        asked = self._folders.get(number)
        if asked is not None:
            return Path(os.path.abspath(asked))
        former, data = Path(found.roots[number]), Path(found.data_dir)
        return self._data / former.relative_to(data) if former.is_relative_to(data) else former

    def _replaceable(self, target: Path, former: str) -> None:
        instead = f"Name another folder with --folder {former}=DIR."
        if os.path.ismount(target):
            raise Forbidden(f"{target} is a mount point and cannot be replaced in one step. {instead}")
        if target.exists() and str(target) != former and any(target.iterdir()):
            raise Conflict(f"{target} is not empty. {instead}")
        if self._data.is_relative_to(target):
            raise Conflict(f"{target} contains the data directory {self._data}. {instead}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Forbidden(f"{target} cannot be made: {error.strerror}. {instead}") from None
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise Forbidden(
                f"{target.parent} cannot be written, so {target.name} cannot be replaced. {instead}"
            )

    # --- staging --------------------------------------------------------------------------------------------

    def _files(
        self, found: Manifest, staged: Mapping[int, Path], step: Step
    ) -> tuple[dict[restoration.Key, Stat], frozenset[restoration.Key]]:
        """Put all files where they are only to be renamed; their stats, and which have a kept name."""
        step("folders")
        keep = self._stage / "kept"
        paths: dict[restoration.Key, Path] = {}
        first: dict[str, restoration.Key] = {}
        for number, folder in staged.items():
            folder.mkdir(parents=True)
            former = self._target(found, number)
            if former.is_dir():
                shutil.copymode(former, folder)
            for each in found.files.get(number, ()):
                self._put(each, folder / each.path)
                paths[number, each.path] = folder / each.path
                first.setdefault(each.sha256, (number, each.path))
        step("kept")
        linked: set[str] = set()
        for sha256, size in found.kept:
            target = keep / sha256[:2] / sha256
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if sha256 in first:
                with suppress(OSError):
                    os.link(paths[first[sha256]], target)
                    linked.add(sha256)
            else:
                self._put(Kept(sha256, sha256, size, 0), target)
        step("data")
        for each in found.data:
            self._put(each, self._stage / each.path)
        stats = {key: _stat(path) for key, path in paths.items()}
        return stats, frozenset(key for sha256, key in first.items() if sha256 in linked)

    def _put(self, each: Kept, target: Path) -> None:
        """Bytes of their own: nothing that is written to them reaches the backup."""
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self._vault.path(each.sha256)
        if not clone(source, target):
            copy(source, target)
        os.chmod(target, each.mode)
        if each.mtime_ns:
            os.utime(target, ns=(each.mtime_ns, each.mtime_ns))

    def _catalogue(
        self,
        found: Manifest,
        stats: Mapping[restoration.Key, Stat],
        kept: frozenset[restoration.Key],
        targets: Mapping[int, Path],
    ) -> tuple[int, int]:
        """The catalogue, in this program's tables, with what was decided since; how much that was."""
        path = self._stage / CATALOGUE
        copy(self._backup / CATALOGUE, path)
        path.chmod(0o600)
        now = int(self._clock() * 1_000_000)
        with closing(Catalogue.open(path, create=True, clock=self._clock)) as opened, opened.write() as conn:
            restoration.restat(conn, stats, kept)
            moved = {found.roots[number]: str(target) for number, target in targets.items()}
            restoration.move_folders(conn, moved)
            since = self._since()
            burnt = restoration.carry(conn, since, at=now, by=self._by, source=self._backup.name)
            serial = journal.serial(conn)
        snapshots.settle(path)
        shutil.rmtree(self._stage / "snapshots", ignore_errors=True)
        return burnt, serial

    def _since(self) -> restoration.Since | None:
        """What the catalogue that is to be replaced knows; None where there is none that can be read."""
        path = self._data / CATALOGUE
        if not there(path):
            return None
        try:
            with closing(Catalogue.open(path, create=False)) as opened, opened.read() as conn:
                return restoration.Since(conn)
        except PidexError:
            return None

    def _moves(self, staged: Mapping[int, Path], targets: Mapping[int, Path]) -> list[list[str]]:
        """What `resume` does: [from, to, where what is there goes], in this order; no `from`: only that."""
        moves: list[list[str]] = []
        gone = (
            f"{CATALOGUE}-wal",
            f"{CATALOGUE}-shm",
            "cache.db",
            "cache.db-wal",
            "cache.db-shm",
            "search.db",
        )
        for name in (*gone, CATALOGUE, "kept", "git", "instance"):
            source = self._stage / name
            moves.append([str(source) if there(source) else "", *self._pair(self._data / name)])
        for number, target in targets.items():
            moves.append([str(staged[number]), *self._pair(target)])
        return moves

    def _pair(self, target: Path) -> tuple[str, str]:
        return str(target), str(target.with_name(f".{target.name.lstrip('.')}.{REPLACED}-{self._id}"))


@contextmanager
def _space(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"There is no space left to restore into {data}. Free some, and do it again: a restore that"
                " had begun to move files goes on then, any other has changed nothing."
            ) from None
        raise


# --- after the last check -----------------------------------------------------------------------------------


def resume(data: Path, step: Step = lambda name: None) -> tuple[str, ...]:
    """Go on with a restore that was cut after its record was written; drop what others staged.

    For who holds the data directory, at each start, before anything is opened. Every step can be repeated.
    Returns where what was replaced lies now.
    """
    record = data / RECORD
    try:
        found = json.loads(record.read_bytes())
    except FileNotFoundError:
        clean(data)
        return ()
    replaced = []
    for number, (source, target, aside) in enumerate(found["moves"]):
        step(f"move-{number}")
        if there(source) if source else not there(aside):
            if there(target):
                os.rename(target, aside if not there(aside) else f"{aside}-{secrets.token_hex(4)}")
                step(f"moved-{number}")
            if source:
                os.rename(source, target)
        with suppress(OSError):  # an empty folder is nothing to keep
            os.rmdir(aside)
        if there(aside):
            replaced.append(aside)
    os.sync()
    step("done")
    record.unlink()
    clean(data)
    return tuple(replaced)


def clean(data: Path) -> None:
    """Drop what a restore staged that was cut before its record."""
    with suppress(OSError):
        (data / f".{RECORD}.part").unlink()
    for stage in data.glob(f"{STAGED}-*"):
        with suppress(OSError, ValueError):
            for path in json.loads((stage / "staged.json").read_bytes()):
                if f".{STAGED}-" in os.path.basename(path):
                    shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(stage, ignore_errors=True)


def _write(path: Path, value: Mapping[str, object] | Sequence[str]) -> None:
    """Have a file on the disk, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _stat(path: Path) -> Stat:
    status = path.stat()
    return Stat(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
