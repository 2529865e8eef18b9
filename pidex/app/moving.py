"""Moving an installation: both sides from their settings, and what belongs to it beside rows and files."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.app import gits, upkeep
from pidex.app.ground import catalogue_of
from pidex.app.parts import Pidex, build
from pidex.backends import staging
from pidex.backends.cache import Cache
from pidex.catalogue import branches, moves, snapshots
from pidex.catalogue.engine import Catalogue, address_of
from pidex.config import Settings, data_dir, environment, load
from pidex.core.errors import CatalogueError, ConfigError, Conflict, NotFound, PidexError
from pidex.core.folder import filename_key
from pidex.core.model import OPERATOR
from pidex.indexing.indexes import FOLDER
from pidex.intake.batch import index_of
from pidex.moving import Mover, Outcome, Progress, Side
from pidex.processes import DataLock
from pidex.verify import Difference

if TYPE_CHECKING:
    from pidex.backends.git import Repository
    from pidex.intake.branches import Branches

#: Seconds that a push which is under way may keep a move waiting.
PUSH_SECONDS = 60.0
#: What is kept of damaged files.
ASIDE = "quarantine"
#: By whom a pack is said to have come that has a whole repository, and what is read at once.
BY, PIECE_BYTES = "pidex", 1024 * 1024


def settled(target: str, source: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings of the target: those of a configuration file, or the source's with another catalogue.

    Raises `ConfigError` for what names neither.
    """
    if target.endswith(".toml"):
        if not Path(target).is_file():
            raise ConfigError(f"There is no configuration file {target}.")
        apart = {name: value for name, value in environ.items() if not name.startswith("PIDEX_")}
        return load({"config": target}, apart)
    if "://" in target:
        return replace(source, catalogue=target)
    path = Path(target).absolute()
    if path.name != "catalogue.db":
        raise ConfigError(
            f"{target} is no place for a catalogue: name a configuration file (x.toml), postgresql://..., or"
            " catalogue.db in a data directory."
        )
    if path.exists():
        raise Conflict(f"{target} is there already. Name a file that is not.")
    return replace(source, catalogue=None, data=path.parent)


def move(
    source: Settings,
    target: Settings,
    *,
    step: Callable[[str], None] = lambda _name: None,
    progress: Progress = lambda _done, _all: None,
) -> Outcome:
    """Move the installation of some settings to those of others. Beside its server, or without one.

    Raises `ConfigError`, `Conflict` and others where that cannot be: nothing is different then.
    """
    with _source(source) as old, _target(source, target, old.data) as new:
        parts = _Beside(old, new)
        step("mirror")
        parts.mirror()
        mover = Mover(
            _side(old), _side(new), old.clock, secrets.token_hex(8),
            paths=parts.paths, step=step, progress=progress,
        )  # fmt: skip
        return mover.run(parts.carry, lambda: _differences(old, new))


def cancel(settings: Settings) -> moves.Move | None:
    """Have a server take changes again that was moved, or whose move was cut; what is taken back."""
    data = data_dir(settings, environment())
    place = _there(settings, data)
    with closing(Catalogue.open(place, create=False)) as catalogue, catalogue.steer() as conn:
        return moves.cancel(conn)


@contextmanager
def _source(settings: Settings) -> Iterator[Pidex]:
    data = data_dir(settings, environment())
    _there(settings, data)
    lock = DataLock(data)
    if lock.holder() is None and data.exists():
        lock.acquire()  # no server runs, and none starts meanwhile
    try:
        with closing(build(settings, environment(), create=False)) as old:
            yield old
    finally:
        lock.release()


def _there(settings: Settings, data: Path) -> str | Path:
    place = catalogue_of(settings, data)
    if isinstance(place, Path) and not place.exists():
        raise NotFound(f"There is no catalogue in {data} yet: start `pidex serve` first, or name --data.")
    return place


@contextmanager
def _target(source: Settings, settings: Settings, beside: Path) -> Iterator[Pidex]:
    data = data_dir(settings, environment(), create=True)
    place = catalogue_of(settings, data)
    if address_of(place) == address_of(catalogue_of(source, beside)):
        raise ConfigError(
            "The catalogue is there already: the target needs a database, or a data directory, of its own."
        )
    with ExitStack() as stack:
        if data.resolve() != beside.resolve():
            lock = DataLock(data)
            lock.acquire()
            stack.callback(lock.release)
        yield stack.enter_context(closing(build(settings, environment(), create=not _begun(place))))


def _begun(place: str | Path) -> bool:
    """Whether an earlier run has begun to fill a catalogue."""
    with (
        suppress(CatalogueError),
        closing(Catalogue.open(place, create=False)) as catalogue,
        catalogue.read() as conn,
    ):
        return moves.arriving(conn) is not None
    return False


def _side(pidex: Pidex) -> Side:
    objects = None
    if pidex.storage.bucket is not None:
        from pidex.backends.objects.beside import Beside  # noqa: PLC0415  # an extra

        assert isinstance(pidex.storage, Beside), "nothing else has a bucket"
        objects = pidex.storage.objects
    return Side(pidex.catalogue, pidex.storage, objects, pidex.data, pidex.shared, pidex.shared / FOLDER)


def _differences(old: Pidex, new: Pidex) -> Sequence[str]:
    """What `pidex verify` says of the target, and did not say of the source."""

    def found(pidex: Pidex) -> dict[tuple[str, str], Difference]:
        pidex.lineages()
        objects = _side(pidex).objects
        with objects.seen() if objects is not None else nullcontext():
            differences = upkeep.verifier(pidex).verify(by=OPERATOR).differences
        return {(each.code, each.subject): each for each in differences}

    there = found(new)
    known = found(old) if there else {}
    return [each.sentence for key, each in there.items() if key not in known]


class _Beside:
    """What an installation has beside rows and files: repositories, what is held of upstreams, and more."""

    def __init__(self, old: Pidex, new: Pidex) -> None:
        self._old, self._new = old, new
        self._apart = old.data.resolve() != new.data.resolve()
        self._branches = gits.branches(old)
        self._shared = old.shared.resolve() != new.shared.resolve()

    def paths(self) -> Mapping[str, Mapping[str, str]]:
        """Where branches of indexes in the bucket have their files: a folder has them there, too."""
        found = {}
        for index in self._branches.list():
            repository = self._branches.refresh(index)
            tree = sorted(repository.tree(repository.tip()), key=lambda path: (-path.count("/"), path))
            found[index] = {filename_key(path): path for path in tree}
        return found

    def mirror(self) -> None:
        """Have the files of upstreams at the target, too: linked, or copied to another file system."""
        if not self._apart:
            return
        old, new = Cache(self._old.data / "mirror"), Cache(self._new.data / "mirror")
        there = {each.sha256 for each in new.list()}
        for each in old.list():
            if each.sha256 not in there:
                with suppress(FileNotFoundError):  # it was dropped meanwhile
                    _copy(old.path(each.sha256), new.path(each.sha256))

    def carry(self) -> None:
        """Have the rest there, while nothing changes."""
        self.mirror()
        if self._apart:
            self._expendable()
        self._repositories()
        if self._shared:
            for path in sorted((self._old.shared / ASIDE).rglob("*")):
                there = self._new.shared / path.relative_to(self._old.shared)
                if path.is_file() and not there.exists():
                    _copy(path, there)

    def _expendable(self) -> None:
        """What is held of upstreams, when tokens were used, and what waits to be counted."""
        here, there = self._old.data / "cache.db", self._new.data / "cache.db"
        part = there.with_name(f".moving-{os.getpid()}.db")
        try:
            snapshots.copy(here, part)
        except PidexError:  # it may be lost, and is made anew
            part.unlink(missing_ok=True)
            return
        self._new.expendable.close()
        for ending in ("-wal", "-shm"):
            there.with_name(there.name + ending).unlink(missing_ok=True)
        part.replace(there)

    def _repositories(self) -> None:
        """Each when no push to it is under way; none comes to anything meanwhile."""
        old, new, there = self._old.repositories(), self._new.repositories(), gits.branches(self._new)
        for index in old.list():
            with old.lock(index, seconds=PUSH_SECONDS):
                if there.holds(index):
                    self._pack(index, old.get(index), there)
                elif self._shared:
                    fresh = new.folder / f"{index}.new"
                    shutil.rmtree(fresh, ignore_errors=True)
                    shutil.copytree(old.path(index), fresh, symlinks=True)
                    shutil.rmtree(new.path(index), ignore_errors=True)
                    fresh.rename(new.path(index))
        for index in self._branches.list():
            repository = self._branches.refresh(index)
            if there.holds(index):
                if self._old.storage.bucket != self._new.storage.bucket:
                    self._pack(index, repository, there)
                continue
            shutil.rmtree(new.path(index), ignore_errors=True)
            fresh_one, tip = new.create(index, gits.hook(self._new, index)), repository.tip()
            if tip is not None:
                with repository.packed(None, tip) as path, path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    file.seek(0)
                    fresh_one.take(iter(partial(file.read, PIECE_BYTES), b""), digest)
                fresh_one.point(tip, None)
            with self._new.catalogue.steer() as conn:
                branches.forget(conn, index_of(conn, index).id)

    def _pack(self, index: str, repository: Repository, there: Branches) -> None:
        """Have all that leads to a branch in the target's bucket as one pack."""
        tip, at = repository.tip(), int(self._old.clock() * 1_000_000)
        with ExitStack() as stack:
            packs = []
            if tip is not None:
                packs = [stack.enter_context(repository.packed(None, tip))]
            brought = there.store(packs)
        with self._new.catalogue.steer() as conn:
            number = index_of(conn, index).id
            branches.forget(conn, number)
            branches.enable(conn, number)
            if tip is not None:
                branches.move(conn, number, None, tip, brought, by=BY, at=at)


def _copy(path: Path, there: Path) -> None:
    """Have the bytes of a file that nobody writes to lie elsewhere, too."""
    there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = there.with_name(staging.temporary())
    try:
        try:
            os.link(path, part)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copy2(path, part)
        part.replace(there)
    finally:
        part.unlink(missing_ok=True)
