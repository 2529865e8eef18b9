"""One node of a cluster: it says that it is alive, and runs what one node at a time has to do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from pidex.app.ground import node_of
from pidex.app.houses import Houses, restart
from pidex.core.errors import PidexError

if TYPE_CHECKING:
    from pidex.app.dropping import Box
    from pidex.app.parts import Pidex
    from pidex.processes import Loop, Loops

#: The lease of who follows the folders and does what is done once for all nodes.
KEEPER = "keeper"
#: Seconds between two times that guesses are forgotten which count no more.
PRUNE_SECONDS = 600.0

log = logging.getLogger("pidex.nodes")


class Node:
    """The part of a main process that knows of other nodes. For who holds the lock.

    Leases are rows with a time in them, renewed often and given back at the end: what holds one and dies is
    followed by another node within `leases.SECONDS` and one renewal. Two may overlap for a moment, when a
    node stops and goes on again: each step of a loop is one transaction over what the folders say, which does
    no harm when it is made twice.
    """

    def __init__(self, pidex: Pidex, others: Mapping[str, Loop], boxes: Sequence[Box] = ()) -> None:
        self._pidex, self._others, self._boxes = pidex, others, boxes
        self._dropping: dict[str, Loops] = {}
        self.name = node_of(pidex.data)
        self._probe = pidex.catalogue.probe()
        self._houses: Houses | None = None
        self._loops: Loops | None = None
        self._renewed = self._pruned = float("-inf")

    def nudge(self, paths: Iterable[tuple[int, str]]) -> None:
        """Have this node's loops look at these paths, if it follows the folders."""
        houses = self._houses
        if houses is not None:
            houses.nudge(paths)

    def leads(self) -> bool:
        """Whether this node does what one does for all."""
        return self._houses is not None

    def run(self, stop: threading.Event) -> None:
        """Renew leases until `stop`; then give them back."""
        from pidex.catalogue import leases  # noqa: PLC0415  # half a second, which workers have spent by now

        try:
            while True:
                self._turn()
                if stop.wait(leases.RENEW_SECONDS):
                    return
        finally:
            self._end()
            with suppress(PidexError), self._pidex.catalogue.beside() as conn:
                for lease in (KEEPER, *(box.name for box in self._boxes)):
                    leases.release(conn, lease, self.name)
                leases.release(conn, f"node:{self.name}", self.name)

    def _turn(self) -> None:
        from pidex.catalogue import leases  # noqa: PLC0415  # see above

        began = monotonic()
        try:
            with self._pidex.catalogue.beside() as conn:
                leases.take(conn, f"node:{self.name}", self.name)
                ours = leases.take(conn, KEEPER, self.name)
                held = [box for box in self._boxes if box.there() and leases.take(conn, box.name, self.name)]
                dead = [node for node, alive in leases.nodes(conn).items() if not alive]
        except PidexError as error:
            if (self._loops or self._dropping) and monotonic() - self._renewed > leases.SECONDS:
                log.error("The lease cannot be renewed, another node may have it: %s", error)
                self._end()
            return
        self._renewed = began
        self._learn()
        self._drop(held)
        if ours and self._loops is None:
            try:
                self._begin()
            except PidexError as error:
                log.error("The folders cannot be followed yet: %s", error)
        elif not ours and self._loops is not None:
            log.warning("Another node follows the folders from now on.")
            self._end()
        if ours:
            for node in dead:
                self._bury(node)
            self._prune(began)

    def _drop(self, held: Sequence[Box]) -> None:
        """Empty the drop boxes whose leases this node has, and no others."""
        from pidex.processes import Loops  # noqa: PLC0415  # loads the HTTP server

        names = {box.name for box in held}
        for name in self._dropping.keys() - names:
            self._dropping.pop(name).stop()
        for box in held:
            if box.name not in self._dropping:
                running = self._dropping[box.name] = Loops({box.name: box.run})
                running.start()

    def _learn(self) -> None:
        """Know the folders of indexes that were made at other nodes: whoever follows them asks itself."""
        with suppress(PidexError):
            if self._houses is None and self._probe.changed():
                self._pidex.lineages()

    def _begin(self) -> None:
        from pidex.processes import Loops  # noqa: PLC0415  # loads the HTTP server

        houses = Houses(self._pidex)
        log.info("This node (%s) follows the folders from now on.", self.name)
        self._houses = houses
        self._loops = Loops({"indexes": houses.run, **self._others})
        self._loops.start()

    def _end(self) -> None:
        loops, self._loops, self._houses = self._loops, None, None
        if loops is not None:
            loops.stop()
        self._drop(())

    def _prune(self, now: float) -> None:
        from pidex.catalogue import guesses  # noqa: PLC0415  # see above

        if now >= self._pruned + PRUNE_SECONDS:
            self._pruned = now
            with suppress(PidexError), self._pidex.catalogue.beside() as conn:
                guesses.prune(conn)

    def _bury(self, node: str) -> None:
        """Finish or undo what a dead node was publishing, and forget it."""
        from pidex.catalogue import leases  # noqa: PLC0415  # see above

        try:
            finished, undone = recover(self._pidex, node)
            with self._pidex.catalogue.beside() as conn:
                leases.forget_node(conn, node)
        except PidexError as error:
            log.error("What node %s left cannot be settled yet: %s", node, error)
            return
        if finished and self._houses is not None:
            self._houses.look_again()  # what was finished is admitted, and has to be read to be listed
        log.warning("Node %s has gone; uploads that it left: %d finished, %d undone.", node, finished, undone)


def join(pidex: Pidex) -> bool:
    """Say that this node is there; whether it is the only one."""
    from pidex.catalogue import leases  # noqa: PLC0415  # see above

    name = node_of(pidex.data)
    with pidex.catalogue.beside() as conn:
        leases.take(conn, f"node:{name}", name)
        return not any(alive for node, alive in leases.nodes(conn).items() if node != name)


def settle(pidex: Pidex) -> None:
    """What a start does, for a command that has this node's data directory alone.

    What nodes left that are gone is settled, too; what nodes that live are publishing is theirs.
    """
    from pidex.catalogue import leases  # noqa: PLC0415  # see above

    others: Mapping[str, bool] = {}
    if pidex.settings.catalogue:
        own = node_of(pidex.data)
        with pidex.catalogue.beside() as conn:
            others = {node: alive for node, alive in leases.nodes(conn).items() if node != own}
    restart(pidex, alone=not any(others.values()))
    for node, alive in others.items():
        if not alive:
            recover(pidex, node)


def recover(pidex: Pidex, node: str) -> tuple[int, int]:
    """Finish or undo what a node was publishing; how many of each."""
    from pidex.catalogue import indexes  # noqa: PLC0415  # see above

    pidex.lineages()
    with pidex.catalogue.read() as conn:
        every = [each.name for each in indexes.list(conn)]
    intake = pidex.intake()
    found = [intake.recover(name, given_up=lambda intent: intent.node == node) for name in every]
    return sum(each[0] for each in found), sum(each[1] for each in found)
