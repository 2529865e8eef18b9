"""The loops over the folders of every index, started and stopped as indexes come and go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pidex.core.errors import CatalogueError, StorageDown
from pidex.core.folder import MOST_ROOTS, first_root
from pidex.core.model import DEFAULT_INDEX, OPERATOR

if TYPE_CHECKING:
    from pidex.app.parts import Pidex
    from pidex.catalogue.indexes import Index
    from pidex.processes import Loops
    from pidex.reconciler import Reconciler

#: Seconds between two looks whether indexes came or went.
LOOK_SECONDS = 0.5

log = logging.getLogger("pidex")


@dataclass(frozen=True, slots=True)
class _House:
    """An index whose folders are followed."""

    index: Index
    reconciler: Reconciler
    loops: Loops


class Houses:
    """One reconciler and one watch for each index that has folders. For who holds the lock."""

    def __init__(self, pidex: Pidex) -> None:
        self._pidex = pidex
        self._probe = pidex.catalogue.probe()
        self._houses: dict[tuple[int, str, tuple[str, ...]], _House] = {}
        self._stopped = False
        self._lock = threading.Lock()
        self.look()

    def run(self, stop: threading.Event) -> None:
        """Follow what indexes there are until `stop`; then all their loops are ended."""
        due = False
        try:
            while not stop.wait(LOOK_SECONDS):
                try:
                    due = self._probe.changed() or due
                    if due:
                        self.look()
                        due = False
                except CatalogueError as error:
                    if error.retry_after is None:
                        raise
                    log.debug("Which indexes there are is asked again: %s", error)
        finally:
            self.close()

    def look(self) -> None:
        """Start the loops of indexes that are new, end those of indexes that are gone."""
        from pidex.catalogue import indexes  # noqa: PLC0415  # half a second, which workers have spent by now

        self._pidex.lineages()
        with self._pidex.catalogue.read() as conn:
            there = {(each.id, each.name, each.folders): each for each in indexes.list(conn) if each.watched}
        with self._lock:
            gone = [] if self._stopped else [key for key in self._houses if key not in there]
            ended = [self._houses.pop(key) for key in gone]
            if not self._stopped:
                for key, index in there.items():
                    if key not in self._houses:
                        self._houses[key] = self._start(index)
        for house in ended:
            house.loops.stop()

    @staticmethod
    def leads() -> bool:
        """Whether this process does what one does for all: alone it does."""
        return True

    def nudge(self, paths: Iterable[tuple[int, str]]) -> None:
        """Have the loops look at these paths, each at those of its own folders."""
        for root, path in paths:
            for house in self._houses.values():
                first = first_root(house.index.name, house.index.id)
                if first <= root < first + MOST_ROOTS:
                    house.reconciler.nudge([(root, path)])

    def look_again(self) -> None:
        """Have all loops list everything: something came in by another way than they hear of."""
        for house in [*self._houses.values()]:
            house.reconciler.nudge(None)

    def close(self) -> None:
        """End all loops."""
        with self._lock:
            self._stopped = True
            houses, self._houses = [*self._houses.values()], {}
        for house in houses:
            house.loops.stop()

    def _start(self, index: Index) -> _House:
        from pidex.core.folder import roots_of  # noqa: PLC0415
        from pidex.ingress.watch import Watch  # noqa: PLC0415
        from pidex.processes import Loops  # noqa: PLC0415

        pidex = self._pidex
        reconciler = pidex.reconciler(index.name)
        roots = roots_of(pidex.storage.folders, index.name, index.id)
        watch = Watch(
            [pidex.storage.folders[root] for root in roots],
            _numbered(reconciler, roots),
            mode=pidex.settings.watch,
            log=logging.getLogger("pidex.watch"),
        )
        at = "" if index.name == DEFAULT_INDEX else f" of {index.name}"
        every = {f"reconciler{at}": reconciler.run}
        loops = Loops(every | ({f"watch{at}": watch.run} if roots else {}))
        loops.start()
        return _House(index, reconciler, loops)


def _numbered(reconciler: Reconciler, roots: list[int]) -> Callable[[Iterable[tuple[int, str]] | None], None]:
    """A watch counts the folders that it was given; a reconciler has them by their numbers."""

    def nudge(paths: Iterable[tuple[int, str]] | None) -> None:
        reconciler.nudge(None if paths is None else [(roots[at], path) for at, path in paths])

    return nudge


def restart(pidex: Pidex, *, alone: bool = True) -> None:
    """Note that nobody knows what was put into the folders meanwhile: no 404 before the first listing.

    Deletions and uploads that were cut off are finished or undone: no worker takes any yet. `alone`: no other
    node is there, whose work this could be.
    """
    from pidex.catalogue import indexes, scans  # noqa: PLC0415  # see above

    with pidex.catalogue.write() as conn:
        indexes.ensure(conn, DEFAULT_INDEX, pidex.clock())
        every = indexes.list(conn)
        for each in every if alone else ():
            scans.restart(conn, each.id)
    pidex.lineages()
    if alone:
        pidex.storage.sweep()
    node = pidex.owner.partition(":")[0]
    intake = pidex.intake()
    curator = pidex.curator(intake, pidex.accounts())
    left = finished = undone = 0
    for each in every:
        try:
            left += curator.finish(each.name, by=OPERATOR)
            received = intake.recover(each.name, given_up=lambda intent: alone or intent.node == node)
        except StorageDown as error:
            log.warning("%s What the last stop cut off in %s is looked at later.", error, each.name)
            continue
        finished, undone = finished + received[0], undone + received[1]
    if left:
        log.warning("Deletions that the last stop cut off: %d files removed.", left)
    if finished or undone:
        log.warning("Uploads that the last stop cut off: %d finished, %d undone.", finished, undone)
