"""Which files are to be looked into, not before when, and in which order."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from pidex.core.folder import Key, same
from pidex.core.model import Entry

#: A file that is due while a look at what it was before is under way waits so long for its end, in seconds.
OVERLAP_SECONDS = 0.05
#: How many looks that say nothing of a file an agenda that comes to an end waits for.
VAIN_LOOKS = 10


class Order(IntEnum):
    """What goes first. Among equals small files do: the number of pages that must wait then falls fastest."""

    WANTED = 0  # somebody waits for a page
    FRESH = 1  # dropped or changed
    FIRST = 2  # found by the first listing
    AGAIN = 3  # looked into before, and not whole then


@dataclass(slots=True)
class _Task:
    entry: Entry
    due: float
    order: Order
    number: int  # what a heap says of a task holds only with the task's present number


class Agenda:
    """The files to look into, each once, as last seen. Times in seconds of any one clock. For one thread.

    `ends`: whether it is to be at rest at last, though nobody can look into some of the files now.
    """

    def __init__(self) -> None:
        self.ends = False
        self._vain: Counter[Key] = Counter()
        self._tasks: dict[Key, _Task] = {}
        self._running: dict[Key, Entry] = {}
        self._later: list[tuple[float, int, Key]] = []
        self._ready: list[tuple[int, int, int, Key]] = []
        self._names: Counter[str] = Counter()
        self._orders: Counter[Order] = Counter()
        self._number = 0

    def put(self, entry: Entry, *, due: float, order: Order) -> None:
        """Have a file looked into. One that is waiting or under way exactly as seen now stays as it is."""
        key = (entry.root, entry.path)
        there = self._tasks.get(key)
        if there is not None and same(there.entry.stat, entry.stat):
            if order >= there.order:
                return
            due = min(due, there.due)
        elif there is None and key in self._running and same(self._running[key].stat, entry.stat):
            return
        if there is not None:
            order = min(order, there.order)
        self.drop(key)
        self._add(key, _Task(entry, due, order, 0))

    def put_back(self, entry: Entry, *, due: float) -> None:
        """Have a file tried again into which nobody could look: as one still to be read, while that helps."""
        key = (entry.root, entry.path)
        self._vain[key] += self.ends
        self.put(entry, due=due, order=Order.FRESH if self._vain[key] < VAIN_LOOKS else Order.AGAIN)

    def drop(self, key: Key) -> None:
        """Have a file not looked into after all. A look that is under way goes on."""
        there = self._tasks.pop(key, None)
        if there is not None:
            self._orders[there.order] -= 1
            self._unname(key)

    def want(self, keys: Iterable[Key]) -> None:
        """Let these files go first, where they are waiting."""
        for key in keys:
            there = self._tasks.get(key)
            if there is not None:
                self.drop(key)
                there.order = Order.WANTED
                self._add(key, there)

    def take(self, now: float) -> Entry | None:
        """The next file that is due; its look is under way until `done`."""
        while self._later and self._later[0][0] <= now:
            _, number, key = heapq.heappop(self._later)
            task = self._tasks.get(key)
            if task is not None and task.number == number:
                heapq.heappush(self._ready, (task.order, task.entry.stat.size, number, key))
        while self._ready:
            _, _, number, key = heapq.heappop(self._ready)
            task = self._tasks.get(key)
            if task is None or task.number != number:
                continue
            if key in self._running:
                task.due = now + OVERLAP_SECONDS
                heapq.heappush(self._later, (task.due, number, key))
                continue
            del self._tasks[key]
            self._orders[task.order] -= 1
            self._running[key] = task.entry
            return task.entry
        return None

    def done(self, entry: Entry) -> None:
        """A look has ended."""
        key = (entry.root, entry.path)
        if self._running.pop(key, None) is not None:
            self._unname(key)

    def next_due(self) -> float | None:
        """When the next waiting file is due (a past time where one is due now), or None where none waits."""
        if self._ready:
            return 0.0
        return self._later[0][0] if self._later else None

    def holds(self, name: str) -> bool:
        """Whether a file of that casefolded name is waiting or under way, at whatever path."""
        return name in self._names

    def waiting(self, order: Order) -> int:
        """How many files of that order wait."""
        return self._orders[order]

    @property
    def running(self) -> int:
        """How many looks are under way."""
        return len(self._running)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is to be done but to look again at what was not whole."""
        return not self._running and len(self._tasks) == self._orders[Order.AGAIN]

    def _add(self, key: Key, task: _Task) -> None:
        self._number += 1
        task.number = self._number
        self._tasks[key] = task
        self._orders[task.order] += 1
        self._names[_name(key)] += 1
        heapq.heappush(self._later, (task.due, task.number, key))

    def _unname(self, key: Key) -> None:
        name = _name(key)
        self._names[name] -= 1
        if self._names[name] <= 0:
            del self._names[name]


def _name(key: Key) -> str:
    return key[1].rpartition("/")[2].casefold()
