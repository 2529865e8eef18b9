"""What is done to whole data directories while calls fail: backups, restores and migrations."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bench.wheels import wheel
from faults.server import Broken
from faults.shim import FULL, Shim

#: So many faults of an act, and the whole state that is left is looked at by a start and by `pidex verify`.
WHOLE_FAULTS = 20
#: Seconds since 1970, another one for each backup: they are named by it.
_times = itertools.count(1_900_000_000)


class Ground(NamedTuple):
    """Directories of one try, made fresh for it: a data directory, its folder, and backups of both."""

    data: Path
    folder: Path
    backups: Path


class Grounds:
    """A data directory of a few files, a backup of it when it had fewer, and an old catalogue."""

    def __init__(self, place: Path) -> None:
        self._made, self._home = place / "made", place / "here"
        self.ground = Ground(self._home / "data", self._home / "packages", self._home / "backups")
        self.ground.folder.mkdir(parents=True)
        self.before = self._put(self.ground, 3)
        backup(self.ground)
        [self.older] = [each.name for each in sound(self.ground.backups)]
        self.after = self.before | self._put(self.ground, 2, start=3)
        self._make_old(old_catalogue(self.ground))
        shutil.copytree(self._home, self._made)

    def fresh(self) -> Ground:
        """All of it as it was made, for one try."""
        shutil.rmtree(self._home)
        shutil.copytree(self._made, self._home)
        return self.ground

    def _put(self, ground: Ground, count: int, start: int = 0) -> frozenset[str]:
        samples = [wheel(f"copy{number}", "1.0", b"x" * 9_000) for number in range(start, start + count)]
        for filename, data in samples:
            (ground.folder / filename).write_bytes(data)
        listed(ground)  # adopts them
        return frozenset(filename for filename, _ in samples)

    def _make_old(self, path: Path) -> None:
        """A catalogue with the tables of the first revision, and a row in it."""
        from pidex.catalogue import schema
        from pidex.catalogue.engine import Catalogue

        newest, schema.REVISION = schema.REVISION, "0001"
        try:
            Catalogue.open(path).close()
        finally:
            schema.REVISION = newest
        with closing(sqlite3.connect(path)) as conn, conn:
            conn.execute("insert into meta values ('kept', 'this row')")


def built(ground: Ground) -> object:
    """The program over a data directory, as who holds it has it."""
    from pidex import app

    flags = {"folders": (str(ground.folder),), "data": str(ground.data), "no_upstream": True}
    return app.build(app.Source(flags, {}).settings(), {}, create=True)


def listed(ground: Ground) -> frozenset[str]:
    """What an index lists after a start, each file whole. Raises `Broken`."""
    from pidex.app import upkeep
    from pidex.app.parts import Pidex
    from pidex.core.model import OPERATOR

    pidex = built(ground)
    assert isinstance(pidex, Pidex)
    with closing(pidex):
        pidex.reconciler().scan()
        found = upkeep.verifier(pidex).verify(deep=True, by=OPERATOR).differences
        if found:
            raise Broken(f"verify: {found[0].sentence}")
        return frozenset(file.filename for file in pidex.resolver.files("main", by=OPERATOR))


def lying(ground: Ground) -> frozenset[str]:
    """What a catalogue lists, each file in the folder with its bytes. Raises `Broken`."""
    with closing(sqlite3.connect(ground.data / "catalogue.db")) as conn:
        if (said := conn.execute("pragma integrity_check").fetchone()[0]) != "ok":
            raise Broken(f"integrity_check: {said}")
        rows = dict(conn.execute("select path, sha256 from files"))
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in ground.folder.glob("*.whl")}
    if rows != there:
        raise Broken(f"catalogue and folder differ: {sorted(set(rows.items()) ^ set(there.items()))[:3]}")
    return frozenset(rows)


def backup(ground: Ground) -> None:
    """Take one, and drop all that were there before."""
    from pidex.backends.folder import Folder
    from pidex.backends.git import Git
    from pidex.backends.repositories import Repositories
    from pidex.backup import Backups

    storage = Folder([ground.folder], ground.data / "kept")
    repositories = Repositories(ground.data / "git", Git(""))
    Backups(ground.data / "catalogue.db", storage, repositories, data=ground.data, clock=now).take(
        ground.backups, keep=1
    )


def now() -> float:
    """The time, as backups have it."""
    return float(next(_times))


def sound(backups: Path) -> list[Path]:
    """All backups of a folder, read to their last byte. Raises `Broken`."""
    from pidex.backup import manifest
    from pidex.backup.restoring import check
    from pidex.core.errors import PidexError

    found = [*manifest.list_backups(backups)]
    for each in found:
        try:
            check(each)
        except PidexError as error:
            raise Broken(str(error)) from None
    return found


def restore(ground: Ground) -> None:
    """Put the backup back over what is there."""
    from pidex.backup.manifest import list_backups
    from pidex.backup.restoring import Restore
    from pidex.core.model import OPERATOR

    oldest = list_backups(ground.backups)[-1]
    folders = {0: ground.folder}
    Restore(oldest, ground.data, folders, clock=now, by=OPERATOR).run()


def migrate(ground: Ground) -> None:
    """Open a catalogue of older tables."""
    from pidex.catalogue.engine import Catalogue

    Catalogue.open(old_catalogue(ground), clock=now).close()


def old_catalogue(ground: Ground) -> Path:
    """The catalogue of older tables among a try's directories."""
    return ground.data.parent / "old-catalogue.db"


def _backed_up(ground: Ground, grounds: Grounds) -> bool:
    found = [each.name for each in sound(ground.backups)]
    if not found:
        raise Broken("no backup is left")
    return found[0] != grounds.older


def _restored(ground: Ground, grounds: Grounds) -> bool:
    found = lying(ground)
    if found not in (grounds.before, grounds.after):
        raise Broken(f"neither the old state nor the new one: {sorted(found)}")
    if left := [path.name for path in ground.data.parent.rglob("*restoring*")]:
        raise Broken(f"left behind: {left}")
    return found == grounds.before


def _migrated(ground: Ground, grounds: Grounds) -> bool:
    from pidex.catalogue import schema

    with closing(sqlite3.connect(old_catalogue(ground))) as conn:
        if (said := conn.execute("pragma integrity_check").fetchone()[0]) != "ok":
            raise Broken(f"integrity_check: {said}")
        [[revision]] = conn.execute("select version_num from alembic_version").fetchall()
        kept = conn.execute("select value from meta where key = 'kept'").fetchall()
    if revision not in ("0001", schema.REVISION) or kept != [("this row",)]:
        raise Broken(f"tables {revision}, and of the old row: {kept}")
    return bool(revision == schema.REVISION)


#: What is done, and how it is seen that it is done; that raises `Broken` where the state is neither.
ACTS: dict[str, tuple[Callable[[Ground], None], Callable[[Ground, Grounds], bool]]] = {
    "backup": (backup, _backed_up),
    "restore": (restore, _restored),
    "migration": (migrate, _migrated),
}


class Series:
    """As `faults.calls.Series`, each fault on directories of its own."""

    def __init__(self, place: Path) -> None:
        self.grounds = Grounds(place)
        self.counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def run(self, act: str, kind: str, *, lasting: bool = False, every: int = 1) -> None:
        """The first, second, ... call of an act fails, until it makes no more calls. Raises `Broken`."""
        call = 1
        while self.fail(act, kind, call, lasting=lasting):
            call += every

    def fail(self, act: str, kind: str, call: int, *, lasting: bool) -> bool:
        """One of them; False where the act makes fewer calls."""
        ground = self.grounds.fresh()
        with Shim(kind, call, lasting=lasting).standing() as shim:
            status = told(ACTS[act][0], ground)
        if shim.seen < call:
            return False
        what = f"{act}, {kind} at call {call} ({shim.where}){', lasting' if lasting else ''}"
        self.hold(what, act, status, full=kind in FULL)
        self.notes[f"{act} {kind}: {status or 'done'}"] += 1
        return True

    def hold(self, what: str, act: str, status: int, *, full: bool) -> None:
        """The old state or the new one; a full disk is called that, and the next try does it."""
        (do, done), ground = ACTS[act], self.grounds.ground
        self.counts[act] += 1
        try:
            if full and status not in (0, 503, 507):
                raise Broken(f"a full disk is called {status}")
            if act == "restore":
                from pidex.backup.restoring import resume

                resume(ground.data)  # what each start does first
            if not done(ground, self.grounds):
                if not status:
                    raise Broken("it ended without a complaint, and is not done")
                if again := told(do, ground):
                    raise Broken(f"the next try is refused: {again}")
                if not done(ground, self.grounds):
                    raise Broken("the next try did not do it")
            if act == "restore" and self.counts[act] % WHOLE_FAULTS == 1:
                listed(ground)
        except Broken as error:
            raise Broken(f"{what}: {error}") from None


def told(do: Callable[[Ground], None], ground: Ground) -> int:
    """Do it; 0, or the status of the refusal (500: the system's own, which commands repeat)."""
    from pidex.core.errors import PidexError

    try:
        do(ground)
    except PidexError as error:
        return error.status
    except OSError:
        return 500
    return 0
