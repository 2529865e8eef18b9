"""Every storage call may fail: the N-th one, for every N, by every way a disk has to refuse."""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import cached_property
from pathlib import Path

from faults import copies
from faults.acts import ACTS, REST_SECONDS, House, Try
from faults.server import Broken
from faults.shim import FULL, KINDS, Shim

#: Seconds in which a next try has to succeed where it is told to come back.
AGAIN_SECONDS = 5.0
#: What may be answered to a fault; a fetch may say, too, that the upstream is at fault.
ANSWERS = (200, 403, 500, 502, 503, 507)
#: Acts that are answered to people: where a disk is full they are told so, or to come back.
_TOLD = frozenset({"upload", "delete", "yank", "push"})


class Series:
    """All calls of some acts, failing one after the other; counts what came of it."""

    def __init__(self, place: Path) -> None:
        self.house = House(place)
        self.number = 0
        self.counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def run(self, act: str, kind: str, *, lasting: bool = False, every: int = 1) -> None:
        """The first, second, ... call of an act fails, until it makes no more calls. Raises `Broken`."""
        call = 1
        while self._fail(act, kind, call, lasting=lasting):
            call += every

    def _fail(self, act: str, kind: str, call: int, *, lasting: bool) -> bool:
        house, do = self.house, ACTS[act][0]
        self.number += 1
        one = Try(house, self.number)
        house.rest()
        before = house.open_files()
        with Shim(kind, call, lasting=lasting).standing() as shim:
            status = do(one)
        if shim.seen < call:
            return False
        what = f"{act}, {kind} at call {call} ({shim.where}){', lasting' if lasting else ''}"
        self.counts[act] += 1
        self.notes[f"{act} {kind}: {status}"] += 1
        if status not in ANSWERS or (kind in FULL and act in _TOLD and status not in (200, 503, 507)):
            raise Broken(f"{what}: answered {status}")
        try:
            self._look(one, status, act, before)
        except Broken as error:
            raise Broken(f"{what}: answered {status}: {error}") from None
        return True

    def _look(self, one: Try, status: int, act: str, before: Counter[str]) -> None:
        """Nothing half, nothing left, and the next try does it."""
        house, (do, done) = self.house, ACTS[act]
        if status == 200 and not done(one):
            if act != "fetch":
                raise Broken("it is not so")
            # Whoever asked has the bytes, and they were checked; here there was no room for them.
            self.counts["fetched, and not kept"] += 1
            status = 507
        # What a minute later, or a start, does with what could not be undone at once.
        house.intake.recover("main")
        if act == "push":
            house.end_pushes()
        self._at_rest(before)
        if status != 200:
            if act == "delete" and done(one):
                self.counts["deleted, and told of a failure"] += 1
            elif (again := once_more(one, do)) != 200:
                raise Broken(f"the next try answered {again}")
        if not done(one):
            raise Broken("the next try did not do it")
        house.reconciler.scan()
        if not done(one):
            raise Broken("undone by the next scan")
        if act != "delete" and one.old[0] not in house.listed(f"old{one.number}"):
            raise Broken("another file is not listed any more")
        whole = dict((one.old, one.new, one.dropped, *one.pushed_ones))
        for path in house.folder.iterdir():
            if path.name in whole and path.read_bytes() != whole[path.name]:
                raise Broken(f"{path.name} is partial")

    def _at_rest(self, before: Counter[str]) -> None:
        """What goes on beside an answer comes to its end, and leaves neither names nor descriptors."""
        end = time.monotonic() + REST_SECONDS
        while True:
            gc.collect()
            left, litter = self.house.open_files() - before, self.house.litter()
            if not left and not litter:
                return
            if time.monotonic() > end:
                raise Broken(f"left behind: {litter}, open: {dict(left)}")
            self.house.rest()


def once_more(one: Try, do: Callable[[Try], int]) -> int:
    """The next try, and those after it while it is told to come back: the loop over the folder goes on."""
    end = time.monotonic() + AGAIN_SECONDS
    while (status := do(one)) in (502, 503) and time.monotonic() < end:
        time.sleep(0.1)
        one.house.reconciler.scan()
    return status


def possible(act: str) -> bool:
    """Whether an act can be done here: a push needs git."""
    return act != "push" or shutil.which("git") is not None


class Calls:
    """Acts of both kinds while calls fail; what they are done to is made at a place when it is needed."""

    def __init__(self, place: Path) -> None:
        self._place = place

    @cached_property
    def _index(self) -> Series:
        return Series(self._place / "index")

    @cached_property
    def _copies(self) -> copies.Series:
        return copies.Series(self._place / "copies")

    def run(self, act: str, kind: str, *, every: int = 1) -> int:
        """The first, second, ... call of an act fails, once and lastingly; how many did. Raises `Broken`."""
        one = self._copies if act in copies.ACTS else self._index
        before = one.counts[act]
        for lasting in (False, True):
            one.run(act, kind, lasting=lasting, every=every)
        return one.counts[act] - before

    def figures(self) -> dict[str, object]:
        """What came of all of them."""
        counts, notes = Counter[str](), Counter[str]()
        for name in {"_index", "_copies"} & set(vars(self)):
            counts += getattr(self, name).counts
            notes += getattr(self, name).notes
        faults = sum(counts[act] for act in (*ACTS, *copies.ACTS))
        return {"faults": faults, **counts, "wrong states": 0, "left behind": 0, "answers": dict(notes)}

    def close(self) -> None:
        """Let go of what was made."""
        if "_index" in vars(self):
            self._index.house.close()


def run(
    acts: tuple[str, ...] = (*ACTS, *copies.ACTS), kinds: tuple[str, ...] = tuple(KINDS), every: int = 1
) -> dict[str, object]:
    """Every call of acts, by each kind, once and lasting; the figures. Raises `Broken`."""
    with (
        tempfile.TemporaryDirectory(prefix="pidex-calls-", ignore_cleanup_errors=True) as place,
        closing(Calls(Path(place))) as calls,
    ):
        for act in filter(possible, acts):
            faults = sum(calls.run(act, kind, every=every) for kind in kinds)
            print(f"{act}: {faults} faults", flush=True)
        return asked(acts, kinds, every) | calls.figures()


def asked(acts: tuple[str, ...], kinds: tuple[str, ...], every: int) -> dict[str, object]:
    """What was tried, in words."""
    calls = "all" if every == 1 else f"the first, and each {every}. after it"
    return {"acts": ", ".join(acts), "kinds": ", ".join(kinds), "of calls": calls}
