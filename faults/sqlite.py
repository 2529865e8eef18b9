"""SQLite's own calls may fail, too: the N-th pwrite, pread, fsync and ftruncate on the catalogue's files."""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from faults import copies
from faults.acts import ACTS, House, Try
from faults.calls import asked, once_more
from faults.server import Broken, environment

SOURCE = Path(__file__).with_name("sqlite_shim.c")
KINDS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
CHANGES = ("upload", "delete", "yank", "adopt", "push", "backup", "restore", "migration")
#: Seconds that the process with the shim in it may take.
LONGEST_SECONDS = 3_000


def impossible() -> str | None:
    """Why this cannot be tested here, or None."""
    if sys.platform != "linux":
        return "LD_PRELOAD is Linux'"
    return (
        None
        if shutil.which("gcc") or shutil.which("cc")
        else "there is no C compiler (Debian: gcc libc6-dev)"
    )


def run(
    acts: tuple[str, ...] = CHANGES, kinds: tuple[str, ...] = tuple(KINDS), every: int = 1
) -> dict[str, object]:
    """Compile the shim, run everything in a process with it, and return its figures. Raises `Broken`."""
    place = Path(tempfile.mkdtemp(prefix="pidex-sqlite-"))
    try:
        library = place / "shim.so"
        compiler = shutil.which("gcc") or shutil.which("cc") or "cc"
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        words = [str(place), str(library), ",".join(acts), ",".join(kinds), str(every)]
        done = subprocess.run(
            [sys.executable, "-m", "faults.sqlite", *words],
            env=environment(LD_PRELOAD=str(library)),
            cwd=SOURCE.parents[1],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_SECONDS,
        )
        if done.returncode:
            raise Broken((done.stderr or done.stdout)[-3000:])
        found = json.loads(done.stdout.splitlines()[-1])
        if "broken" in found:
            raise Broken(found["broken"])
        return {**asked(acts, kinds, every), **found}
    finally:
        shutil.rmtree(place, ignore_errors=True)


class _Series:
    """Acts on one index whose database fails; counts what came of it."""

    def __init__(self, place: Path, library: ctypes.CDLL) -> None:
        self.house, self.library, self.number = House(place), library, 0
        self.counts: Counter[str] = Counter()

    def fail(self, act: str, kind: str, call: int, *, lasting: bool) -> bool:
        """The `call`-th of SQLite's calls in an act fails; False where it makes no more."""
        do = ACTS[act][0]
        self.number += 1
        one = Try(self.house, self.number)
        self.library.faults_arm(call, KINDS[kind], int(lasting))
        status = do(one)
        seen = self.library.faults_seen()
        self.library.faults_arm(0, 0, 0)
        if seen < call:
            return False
        what = f"{act}, SQLite's {kind} at call {call}{', lasting' if lasting else ''}"
        self.counts[act] += 1
        self.counts[f"{act} {kind}: {status}"] += 1
        if status not in (200, 500, 503, 507) and (act, status) != ("push", 403):  # refused by a line
            raise Broken(f"{what}: answered {status}")
        try:
            self._look(one, status, act)
        except Broken as error:
            raise Broken(f"{what}: answered {status}: {error}") from None
        return True

    def _look(self, one: Try, status: int, act: str) -> None:
        do, done = ACTS[act]
        house = self.house
        with closing(sqlite3.connect(house.data / "catalogue.db")) as connection:
            said = connection.execute("pragma quick_check").fetchone()[0]
        if said != "ok":
            raise Broken(f"quick_check: {said}")
        if status == 200 and not done(one):
            raise Broken("it is not so")
        house.intake.recover("main")
        if act == "push":
            house.end_pushes()
        if status != 200:
            if act == "delete" and done(one):
                self.counts["deleted, and told of a failure"] += 1
            elif (again := once_more(one, do)) != 200:
                raise Broken(f"the next try answered {again}")
        house.reconciler.scan()
        if not done(one):
            raise Broken("the next try did not do it")
        if litter := house.litter():
            raise Broken(f"left behind: {litter}")


class _Copies:
    """Backups, restores and migrations whose databases fail."""

    def __init__(self, place: Path, library: ctypes.CDLL) -> None:
        self.series, self.library = copies.Series(place), library

    @property
    def counts(self) -> Counter[str]:
        return self.series.counts

    def fail(self, act: str, kind: str, call: int, *, lasting: bool) -> bool:
        """As `_Series.fail`."""
        ground = self.series.grounds.fresh()
        self.library.faults_arm(call, KINDS[kind], int(lasting))
        status = copies.told(copies.ACTS[act][0], ground)
        seen = self.library.faults_seen()
        self.library.faults_arm(0, 0, 0)
        if seen < call:
            return False
        self.counts[f"{act} {kind}: {status or 'done'}"] += 1
        what = f"{act}, SQLite's {kind} at call {call}{', lasting' if lasting else ''}"
        self.series.hold(what, act, status, full=False)
        return True


def _inside(place: str, library: str, acts: str, kinds: str, every: str) -> dict[str, object]:
    logging.disable(logging.CRITICAL)
    shim = ctypes.CDLL(library)
    series, counts = _Series(Path(place) / "index", shim), Counter[str]()
    whole: _Copies | None = None
    try:
        for act in acts.split(","):
            one: _Series | _Copies = series
            if act in copies.ACTS:
                one = whole = whole or _Copies(Path(place) / "copies", shim)
            for kind in kinds.split(","):
                for lasting in (False, True):
                    call = 1
                    while one.fail(act, kind, call, lasting=lasting):
                        call += int(every)
            if not one.counts[act]:
                raise Broken(f"no call of SQLite was seen in {act}: the shim does not reach it")
    except Broken as error:
        return {"broken": str(error)}
    finally:
        series.house.close()
    counts = series.counts + (whole.counts if whole else counts)
    return {"faults": sum(counts[act] for act in acts.split(",")), **counts, "wrong states": 0}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_inside(*sys.argv[1:])) + "\n")
    sys.stdout.flush()
    os._exit(0)
